//! The boot allocator: memory that the boot PE carves, for what depends on the manifests, on where
//! the image runs and on what the PE implements, so that the linker cannot size it.
//!
//! The engine allocates through it, too (`alloc`). It is sealed when boot ends: after that no
//! memory is handed out or taken back, and other PEs may be let in.

use core::alloc::{GlobalAlloc, Layout};
use core::cell::UnsafeCell;
use core::ops::Range;
use core::ptr::{NonNull, null_mut};
use core::sync::atomic::{AtomicBool, Ordering};

use buddy_system_allocator::Heap;

/// The largest block has 16 MiB.
const ORDER: usize = 25;

struct Carver {
    heap: UnsafeCell<Heap<ORDER>>,
    is_sealed: AtomicBool,
}

// SAFETY: the boot PE alone uses the heap, before any other PE is let in: see `add`, `carve` and
// `seal`. From then on only `is_sealed` is read, which is atomic.
unsafe impl Sync for Carver {}

#[global_allocator]
static CARVER: Carver = Carver {
    heap: UnsafeCell::new(Heap::new()),
    is_sealed: AtomicBool::new(false),
};

// SAFETY: the heap hands out blocks that nothing else uses, with the size and alignment asked for.
// It is used only until it is sealed, by the boot PE alone, and no function of it calls back.
unsafe impl GlobalAlloc for Carver {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if self.is_sealed.load(Ordering::Relaxed) {
            return null_mut();
        }
        // SAFETY: the heap is not sealed, so the boot PE runs alone: this is the only reference.
        let block = unsafe { (*self.heap.get()).alloc(layout) };
        block.map_or(null_mut(), NonNull::as_ptr)
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        if self.is_sealed.load(Ordering::Relaxed) {
            return;
        }
        if let Some(block) = NonNull::new(block) {
            // SAFETY: as in `alloc`, which returned the block for this layout (contract of the
            // trait).
            unsafe { (*self.heap.get()).dealloc(block, layout) };
        }
    }
}

/// Adds `region` to the memory that can be carved.
///
/// # Safety
///
/// Called on the boot PE, before any other PE is let in. Nothing else uses the region from now on.
pub unsafe fn add(region: Range<u64>) {
    // SAFETY: the boot PE runs alone, so this is the only reference to the heap; nothing else uses
    // the region (contract above).
    unsafe { (*CARVER.heap.get()).add_to_heap(region.start as usize, region.end as usize) };
}

/// Returns a block of uninitialised memory that is aligned to its size, rounded up to a power of
/// two.
///
/// Panics if no memory is left. `sizes::carve_size` covers the largest need.
///
/// # Safety
///
/// Called on the boot PE, before any other PE is let in. There is no lock, because this must work
/// before the MMU is on, and atomics need the MMU.
pub unsafe fn carve(bytes: usize) -> NonNull<u8> {
    let Ok(layout) = Layout::from_size_align(bytes, bytes.next_power_of_two()) else {
        panic!("no layout for {bytes} bytes");
    };
    // SAFETY: the boot PE runs alone, so this is the only reference to the heap (contract above).
    let block = unsafe { (*CARVER.heap.get()).alloc(layout) };
    block.unwrap_or_else(|()| panic!("no memory left to carve {bytes} bytes from"))
}

/// Ends the use of the allocator. The boot PE calls this before it lets any other PE in.
pub fn seal() {
    CARVER.is_sealed.store(true, Ordering::Relaxed);
}
