//! A lock for what the PEs of one image share. Nothing preempts who holds it for long: interrupts
//! are masked in the guests.

use core::hint::spin_loop;
use core::sync::atomic::{AtomicBool, Ordering};

/// A spin lock without content.
pub struct Lock(AtomicBool);

impl Lock {
    /// Free.
    pub const fn new() -> Self {
        Self(AtomicBool::new(false))
    }

    /// Runs `body` while nobody else runs under this lock.
    pub fn with<T>(&self, body: impl FnOnce() -> T) -> T {
        while self.0.swap(true, Ordering::Acquire) {
            spin_loop();
        }
        let result = body();
        self.0.store(false, Ordering::Release);
        result
    }
}

impl Default for Lock {
    fn default() -> Self {
        Self::new()
    }
}
