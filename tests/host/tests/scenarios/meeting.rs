//! A script that waits for its test, in the middle of what it does on another PE.

use std::sync::{Arc, Barrier};

/// Where script and test meet.
#[derive(Clone)]
pub struct Meeting(Arc<Barrier>);

/// Lets the script go on, whatever becomes of the test.
struct End<'a>(&'a Barrier);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.wait();
    }
}

impl Meeting {
    /// Returns a meeting that nobody has come to yet.
    pub fn new() -> Self {
        Self(Arc::new(Barrier::new(2)))
    }

    /// The script comes, and stays until the test is done.
    pub fn attend(&self) {
        self.0.wait();
        self.0.wait();
    }

    /// The test waits for the script, and does `action` as long as that waits.
    pub fn hold<T>(&self, action: impl FnOnce() -> T) -> T {
        self.0.wait();
        let _end = End(&self.0);
        action()
    }
}
