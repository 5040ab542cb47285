//! The locks that each PE holds, for tests: a wait that could be for ever is seen where it could
//! begin, whichever way the other PEs went. A PE is a thread here.
//!
//! Who waits for the claim of a context must hold nothing that others wait for: see
//! [`Slot::claim`](crate::partition::Slot::claim).

extern crate std;

use core::cell::RefCell;
use std::thread_local;

use arrayvec::ArrayVec;

/// A lock that this PE holds.
struct Held {
    /// Address of the lock.
    lock: usize,
    /// Another PE may wait for it.
    is_awaited: bool,
}

thread_local! {
    /// The locks, in the order in which they were taken. Nothing here allocates, because the engine
    /// may not.
    static HELD: RefCell<ArrayVec<Held, 16>> = const { RefCell::new(ArrayVec::new_const()) };
}

pub(super) fn took(lock: usize) {
    HELD.with_borrow_mut(|held| {
        held.push(Held {
            lock,
            is_awaited: true,
        });
    });
}

pub(super) fn gave(lock: usize) {
    HELD.with_borrow_mut(|held| held.retain(|held| held.lock != lock));
}

pub(super) fn note_awaited(lock: usize, is_awaited: bool) {
    HELD.with_borrow_mut(|held| {
        let of_lock = held.iter_mut().find(|held| held.lock == lock);
        if let Some(of_lock) = of_lock {
            of_lock.is_awaited = is_awaited;
        }
    });
}

pub(super) fn assert_may_wait() {
    let is_awaited = HELD.with_borrow(|held| held.iter().any(|held| held.is_awaited));
    assert!(
        !is_awaited,
        "a PE waits for a claim while others may wait for what it holds"
    );
}
