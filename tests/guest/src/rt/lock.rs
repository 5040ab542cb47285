//! A lock for what the PEs of one image share. Guests mask interrupts, so a holder is not preempted
//! within its own image.

use core::hint::spin_loop;
use core::sync::atomic::{AtomicBool, Ordering};

/// A spin lock without content.
pub struct Lock(AtomicBool);

impl Lock {
    /// Returns a lock that is free.
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
