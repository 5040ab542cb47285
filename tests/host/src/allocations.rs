//! Names for the objects of an engine that boot allocates, so that a lock or an atomic has the same
//! name in each run of a race, wherever it lies.
//!
//! An engine allocates in the same order each time, so an object is named by its distance from the
//! begin of the first allocation if all lay one behind the other.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::collections::BTreeMap;

use crate::after_boot;

/// Notes the allocations of a thread while it makes an engine, and else only passes them on.
struct Noting;

#[global_allocator]
static NOTING: Noting = Noting;

/// An address and a size; the size is 0 if what lay there is freed.
type Note = (usize, usize);

thread_local! {
    /// `None` unless this thread notes its allocations.
    static NOTES: Cell<Option<Vec<Note>>> = const { Cell::new(None) };
}

fn note(address: *mut u8, size: usize) {
    after_boot::note(size);
    // While the notes are taken out, allocations are those of the vector itself.
    let _ = NOTES.try_with(|notes| {
        if let Some(mut all) = notes.take() {
            all.push((address.addr(), size));
            notes.set(Some(all));
        }
    });
}

// SAFETY: everything is passed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Noting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's contract is that of the system's allocator.
        let address = unsafe { System.alloc(layout) };
        note(address, layout.size());
        address
    }

    unsafe fn dealloc(&self, address: *mut u8, layout: Layout) {
        note(address, 0);
        // SAFETY: as above, and `address` came from there.
        unsafe { System.dealloc(address, layout) };
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as above.
        let address = unsafe { System.alloc_zeroed(layout) };
        note(address, layout.size());
        address
    }

    unsafe fn realloc(&self, address: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: as above.
        let moved = unsafe { System.realloc(address, layout, size) };
        note(address, 0);
        note(moved, size);
        moved
    }
}

/// The allocations of an engine.
pub struct Allocations {
    all: BTreeMap<usize, Allocation>,
    /// The bytes of memory that an allocator takes that hands out one block behind the other, each
    /// at a multiple of 16, and uses freed memory again only if it is the last block.
    pub taken: usize,
}

struct Allocation {
    size: usize,
    /// The sizes of all allocations before.
    first: usize,
}

impl Allocations {
    /// Calls `make`, and returns what that returns and what it has allocated on this thread and
    /// not freed.
    pub fn of<T>(make: impl FnOnce() -> T) -> (T, Self) {
        NOTES.set(Some(Vec::new()));
        let made = make();
        let notes = NOTES.take().unwrap_or_default();
        let mut allocations = BTreeMap::new();
        let (mut first, mut taken, mut most) = (0, 0, 0);
        let mut blocks = BTreeMap::new();
        for (address, size) in notes {
            allocations.remove(&address);
            if let Some(block) = blocks.remove(&address)
                && blocks.values().all(|other| *other <= block)
            {
                taken = block;
            }
            if size != 0 {
                allocations.insert(address, Allocation { size, first });
                first += size;
                blocks.insert(address, taken);
                taken += size.next_multiple_of(16);
                most = most.max(taken);
            }
        }
        let all = allocations;
        (made, Self { all, taken: most })
    }

    /// Returns the name of the object at that address, if it is in one of the allocations.
    pub(crate) fn name(&self, address: usize) -> Option<usize> {
        let (base, found) = self.all.range(..=address).next_back()?;
        let offset = address - base;
        (offset < found.size).then_some(found.first + offset)
    }
}
