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

/// The allocator.
pub struct BootAllocator {
    memory: UnsafeCell<Memory>,
    is_sealed: AtomicBool,
}

// SAFETY: the boot PE alone uses the memory, before any other PE is let in: see the contracts of
// the methods. From `seal` on only `is_sealed` is read, which is atomic.
unsafe impl Sync for BootAllocator {}

/// Shows that the allocator is sealed: other PEs may be let in.
pub struct Sealed(());

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

impl BootAllocator {
    /// Returns an allocator without memory.
    pub const fn new() -> Self {
        Self {
            memory: UnsafeCell::new(Memory {
                pieces: Heap::new(),
                rest: 0..0,
            }),
            is_sealed: AtomicBool::new(false),
        }
    }

    /// Sets the memory that can be carved.
    ///
    /// # Safety
    ///
    /// Called once, on the boot PE, before anything is carved. Nothing else uses the memory from
    /// now on.
    pub unsafe fn init(&self, memory: Range<u64>) {
        // SAFETY: the boot PE runs alone, so this is the only reference (contract above).
        unsafe { (*self.memory.get()).rest = memory.start as usize..memory.end as usize };
    }

    /// Adds the memory from the end of what there is up to `end`.
    ///
    /// # Safety
    ///
    /// Called on the boot PE, before any other PE is let in. Nothing else uses that memory from now
    /// on.
    pub unsafe fn extend(&self, end: u64) {
        // SAFETY: the boot PE runs alone, so this is the only reference (contract above).
        unsafe { (*self.memory.get()).rest.end = end as usize };
    }

    /// Takes the last whole pages of what is left in one piece, `most` at most.
    ///
    /// # Safety
    ///
    /// Called on the boot PE, before any other PE is let in.
    pub unsafe fn take_pages(&self, most: u64) -> Range<u64> {
        // SAFETY: the boot PE runs alone, so this is the only reference (contract above).
        let rest = unsafe { &mut (*self.memory.get()).rest };
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
    /// Called on the boot PE, before any other PE is let in. There is no lock, because this must
    /// work before the MMU is on, and atomics need the MMU.
    #[cold]
    pub unsafe fn carve(&self, bytes: usize, align: usize) -> NonNull<u8> {
        let Ok(layout) = Layout::from_size_align(bytes, align) else {
            panic!("no layout for {bytes} bytes");
        };
        // SAFETY: the boot PE runs alone, so this is the only reference (contract above).
        let block = unsafe { (*self.memory.get()).alloc(layout) };
        block.unwrap_or_else(|| panic!("no memory left to carve {bytes} bytes from"))
    }

    /// Ends the use of the allocator. The boot PE calls this before it lets any other PE in.
    pub fn seal(&self) -> Sealed {
        self.is_sealed.store(true, Ordering::Relaxed);
        Sealed(())
    }
}

// SAFETY: the memory hands out blocks that nothing else uses, with the size and alignment asked
// for. It is used only until it is sealed, by the boot PE alone, and none of its functions calls
// back.
unsafe impl GlobalAlloc for BootAllocator {
    // Not inlined: there are many callers, which all run at boot.
    #[inline(never)]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if self.is_sealed.load(Ordering::Relaxed) {
            return null_mut();
        }
        // SAFETY: the allocator is not sealed, so the boot PE runs alone: this is the only
        // reference.
        let block = unsafe { (*self.memory.get()).alloc(layout) };
        block.map_or(null_mut(), NonNull::as_ptr)
    }

    #[inline(never)]
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

#[cfg(test)]
mod tests {
    use super::*;

    const PAGES: usize = 4;

    /// Returns an allocator with four pages, and the address of the first.
    fn allocator() -> (BootAllocator, usize) {
        let bytes = (PAGES + 1) * PAGE as usize;
        let memory = vec![0_u8; bytes].leak().as_ptr() as usize;
        let start = memory.next_multiple_of(PAGE as usize);
        let allocator = BootAllocator::new();
        let end = start + PAGES * PAGE as usize;
        // SAFETY: nothing else uses the memory, which is never freed.
        unsafe { allocator.init(start as u64..end as u64) };
        (allocator, start)
    }

    fn layout(bytes: usize, align: usize) -> Layout {
        Layout::from_size_align(bytes, align).unwrap()
    }

    #[test]
    fn memory_is_taken_from_the_front_and_what_is_freed_serves_again() {
        let (allocator, start) = allocator();
        // SAFETY: one thread, sizes that are not 0, and blocks of this allocator.
        unsafe {
            let first = allocator.alloc(layout(24, 8));
            assert_eq!(first as usize, start);
            let second = allocator.alloc(layout(64, 64));
            assert_eq!(second as usize, start + 64);
            // The gap in front of the second block is used.
            let gap = allocator.alloc(layout(32, 8)) as usize;
            assert!((start + 24..start + 64).contains(&gap), "{gap:#x}");
            // The last block goes back to the rest.
            allocator.dealloc(second, layout(64, 64));
            assert_eq!(allocator.alloc(layout(4096, 64)) as usize, start + 64);
            assert!(allocator.alloc(layout(PAGES * 4096, 8)).is_null());
        }
    }

    #[test]
    fn a_block_that_grows_keeps_what_it_holds() {
        let (allocator, _) = allocator();
        // SAFETY: one thread, sizes that are not 0, and blocks of this allocator.
        unsafe {
            let block = allocator.alloc(layout(16, 8));
            block.copy_from_nonoverlapping([7; 16].as_ptr(), 16);
            let _behind = allocator.alloc(layout(16, 8));
            let grown = allocator.realloc(block, layout(16, 8), 3000);
            assert_eq!(core::slice::from_raw_parts(grown, 16), [7; 16]);
            assert_eq!(allocator.realloc(grown, layout(3000, 8), 8), grown);
            assert!(
                allocator
                    .realloc(grown, layout(3000, 8), PAGES * 4096)
                    .is_null()
            );
        }
    }

    #[test]
    fn whole_pages_are_taken_from_the_end() {
        let (allocator, start) = allocator();
        // SAFETY: one thread, and a size that is not 0.
        unsafe {
            allocator.carve(16, 8);
            let end = (start + PAGES * 4096) as u64;
            assert_eq!(allocator.take_pages(2), end - 2 * PAGE..end);
            let rest = start as u64 + PAGE..end - 2 * PAGE;
            assert_eq!(allocator.take_pages(100), rest);
            assert!(allocator.take_pages(100).is_empty());
            allocator.extend(end);
            assert_eq!(allocator.take_pages(100), start as u64 + PAGE..end);
        }
    }

    // The memory that is left becomes translation tables, and other PEs run.
    #[test]
    fn nothing_is_handed_out_or_taken_back_after_the_seal() {
        let (allocator, start) = allocator();
        // SAFETY: one thread, sizes that are not 0, and blocks of this allocator.
        unsafe {
            let block = allocator.alloc(layout(16, 8));
            let last = allocator.alloc(layout(16, 8));
            let rest = start + 32..start + PAGES * 4096;
            allocator.seal();
            assert!(allocator.alloc(layout(16, 8)).is_null());
            assert!(allocator.alloc_zeroed(layout(4096, 8)).is_null());
            assert!(allocator.realloc(block, layout(16, 8), 17).is_null());
            allocator.dealloc(last, layout(16, 8));
            allocator.dealloc(block, layout(16, 8));
            let memory = &*allocator.memory.get();
            assert_eq!(memory.rest, rest);
            assert_eq!(memory.pieces.stats_total_bytes(), 0);
        }
    }
}
