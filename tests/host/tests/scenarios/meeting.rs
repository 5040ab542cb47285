//! A script that waits for its test in the middle of its work on another PE.

use std::sync::{Arc, Barrier};

/// The point at which script and test meet.
#[derive(Clone)]
pub struct Meeting(Arc<Barrier>);

/// Lets the script continue, even if the test panics.
struct End<'a>(&'a Barrier);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.wait();
    }
}

impl Meeting {
    /// Returns a meeting that neither side has reached.
    pub fn new() -> Self {
        Self(Arc::new(Barrier::new(2)))
    }

    /// Called by the script: waits until the test is done.
    pub fn attend(&self) {
        self.0.wait();
        self.0.wait();
    }

    /// Called by the test: waits for the script, and does `action` while the script waits.
    pub fn hold<T>(&self, action: impl FnOnce() -> T) -> T {
        self.0.wait();
        let _end = End(&self.0);
        action()
    }
}
