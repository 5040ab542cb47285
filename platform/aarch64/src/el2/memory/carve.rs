//! The boot allocator: memory that the boot PE carves, for what depends on the manifests, on where
//! the image runs and on what the PE implements, so that the linker cannot size it.
//!
//! The engine allocates through it, too (`alloc`). Memory is taken from the front of one piece, so
//! that no more of it is taken than was asked for, and so that the rest stays in one piece, which
//! becomes the pool of translation tables. What is freed serves later requests for small blocks.
//! The allocator is sealed when boot ends: after that no memory is handed out or taken back, and
//! other PEs may be let in.

use core::alloc::{GlobalAlloc, Layout};
use core::cell::UnsafeCell;
use core::ops::Range;
use core::ptr::{NonNull, null_mut};
use core::sync::atomic::{AtomicBool, Ordering};

use buddy_system_allocator::Heap;

use crate::sizes::PAGE;

/// The largest block that is made of freed memory has 2 KiB.
const ORDER: usize = 12;

/// The memory of the allocator.
struct Memory {
    /// Blocks that were freed, and other pieces that are too small for anything else.
    pieces: Heap<ORDER>,
    /// Memory that was never handed out.
    rest: Range<usize>,
}

struct Carver {
    memory: UnsafeCell<Memory>,
    is_sealed: AtomicBool,
}

// SAFETY: the boot PE alone uses the memory, before any other PE is let in: see `init`, `carve` and
// `seal`. From then on only `is_sealed` is read, which is atomic.
unsafe impl Sync for Carver {}

#[global_allocator]
static CARVER: Carver = Carver {
    memory: UnsafeCell::new(Memory {
        pieces: Heap::new(),
        rest: 0..0,
    }),
    is_sealed: AtomicBool::new(false),
};

impl Memory {
    fn alloc(&mut self, layout: Layout) -> Option<NonNull<u8>> {
        if layout.size() < 1 << (ORDER - 1)
            && let Ok(block) = self.pieces.alloc(layout)
        {
            return Some(block);
        }
        let start = self.rest.start.checked_next_multiple_of(layout.align())?;
        let end = start.checked_add(layout.size())?;
        if end > self.rest.end {
            return None;
        }
        let gap = self.rest.start..start;
        self.rest.start = end;
        self.keep(gap);
        NonNull::new(start as *mut u8)
    }

    /// Keeps memory that nothing uses for later requests.
    #[inline(never)]
    fn keep(&mut self, piece: Range<usize>) {
        if piece.end == self.rest.start {
            self.rest.start = piece.start;
        } else {
            // The heap takes whole words only, and panics on a piece without one.
            let start = piece.start.next_multiple_of(size_of::<usize>());
            let end = piece.end & !(size_of::<usize>() - 1);
            if start < end {
                // SAFETY: nothing uses the piece, and no other piece has a part of it.
                unsafe { self.pieces.add_to_heap(start, end) };
            }
        }
    }
}

// SAFETY: the memory hands out blocks that nothing else uses, with the size and alignment asked
// for. It is used only until it is sealed, by the boot PE alone, and none of its functions calls
// back.
unsafe impl GlobalAlloc for Carver {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if self.is_sealed.load(Ordering::Relaxed) {
            return null_mut();
        }
        // SAFETY: the allocator is not sealed, so the boot PE runs alone: this is the only
        // reference.
        let block = unsafe { (*self.memory.get()).alloc(layout) };
        block.map_or(null_mut(), NonNull::as_ptr)
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        if self.is_sealed.load(Ordering::Relaxed) {
            return;
        }
        let start = block as usize;
        // SAFETY: as in `alloc`, which returned at least so many bytes for this layout (contract of
        // the trait).
        unsafe { (*self.memory.get()).keep(start..start + layout.size()) };
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if size <= layout.size() {
            return block;
        }
        // SAFETY: the size is not zero, since it is larger than that of a block, and it does not
        // overflow with the alignment (contract of the trait).
        let larger = unsafe { Layout::from_size_align_unchecked(size, layout.align()) };
        // SAFETY: as above. `block` has the size of `layout`, the new one is larger, and nothing
        // else refers to it.
        unsafe {
            let new = self.alloc(larger);
            if !new.is_null() {
                new.copy_from_nonoverlapping(block, layout.size());
                self.dealloc(block, layout);
            }
            new
        }
    }
}

/// Sets the memory that can be carved.
///
/// # Safety
///
/// Called once, on the boot PE, before anything is carved. Nothing else uses the memory from now
/// on.
pub unsafe fn init(memory: Range<u64>) {
    // SAFETY: the boot PE runs alone, so this is the only reference (contract above).
    unsafe { (*CARVER.memory.get()).rest = memory.start as usize..memory.end as usize };
}

/// Adds the memory from the end of what there is up to `end`.
///
/// # Safety
///
/// Called on the boot PE, before any other PE is let in. Nothing else uses that memory from now on.
pub unsafe fn extend(end: u64) {
    // SAFETY: the boot PE runs alone, so this is the only reference (contract above).
    unsafe { (*CARVER.memory.get()).rest.end = end as usize };
}

/// Takes the last whole pages of what is left in one piece, `most` at most.
///
/// # Safety
///
/// Called on the boot PE, before any other PE is let in.
pub unsafe fn take_pages(most: u64) -> Range<u64> {
    // SAFETY: the boot PE runs alone, so this is the only reference (contract above).
    let rest = unsafe { &mut (*CARVER.memory.get()).rest };
    let end = rest.end as u64 & !(PAGE - 1);
    let start = (rest.start as u64).next_multiple_of(PAGE);
    let start = start.max(end.saturating_sub(most * PAGE)).min(end);
    rest.end = start as usize;
    start..end
}

/// Returns a block of uninitialised memory that is aligned to `align`, a power of two.
///
/// Panics if no memory is left.
///
/// # Safety
///
/// Called on the boot PE, before any other PE is let in. There is no lock, because this must work
/// before the MMU is on, and atomics need the MMU.
pub unsafe fn carve(bytes: usize, align: usize) -> NonNull<u8> {
    let Ok(layout) = Layout::from_size_align(bytes, align) else {
        panic!("no layout for {bytes} bytes");
    };
    // SAFETY: the boot PE runs alone, so this is the only reference (contract above).
    let block = unsafe { (*CARVER.memory.get()).alloc(layout) };
    block.unwrap_or_else(|| panic!("no memory left to carve {bytes} bytes from"))
}

/// Ends the use of the allocator. The boot PE calls this before it lets any other PE in.
pub fn seal() {
    CARVER.is_sealed.store(true, Ordering::Relaxed);
}
