//! Sees whether the engine allocates when it must not: after boot, when the platform's allocator is
//! sealed.
//!
//! Memory that the fake hardware, the hooks of tests and loggers allocate in the middle of the
//! engine's work does not count; they say so by [`pause`].

use std::cell::Cell;

thread_local! {
    /// The engine runs on this thread, and may not allocate.
    static IS_WATCHED: Cell<bool> = const { Cell::new(false) };
    /// Bytes of the first allocation that was seen, or 0.
    static SEEN: Cell<usize> = const { Cell::new(0) };
}

/// Notes that this thread allocates or frees memory of `bytes` bytes. Allocates nothing itself.
pub(crate) fn note(bytes: usize) {
    if IS_WATCHED.get() && SEEN.get() == 0 {
        SEEN.set(bytes.max(1));
    }
}

/// Ends the watch, or its pause, when it is dropped.
#[must_use]
pub struct Until(bool);

impl Drop for Until {
    fn drop(&mut self) {
        IS_WATCHED.set(self.0);
    }
}

/// Lets this thread allocate until the result is dropped.
pub fn pause() -> Until {
    Until(IS_WATCHED.replace(false))
}

/// Runs the engine in `work`. Panics if it allocates memory, or frees some.
pub fn forbid<T>(work: impl FnOnce() -> T) -> T {
    let before = SEEN.replace(0);
    let watch = Until(IS_WATCHED.replace(true));
    let result = work();
    drop(watch);
    let bytes = SEEN.replace(before);
    assert_eq!(
        bytes, 0,
        "the engine allocates or frees {bytes} bytes after boot"
    );
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_allocation_is_seen_unless_the_watch_pauses() {
        forbid(|| {
            let _pause = pause();
            drop(std::hint::black_box(Box::new(1)));
        });
        let kept = std::hint::black_box(Box::new(1));
        let works: [fn(Box<i32>); 2] = [
            |kept| std::mem::forget((kept, std::hint::black_box(Box::new(1)))),
            drop,
        ];
        for work in works {
            let kept = kept.clone();
            let seen = std::panic::catch_unwind(|| forbid(|| work(kept)));
            assert!(seen.is_err());
        }
    }
}
