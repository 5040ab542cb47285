//! Memory that the boot PE carves once and that is never given back, for what depends on where the
//! image runs and on what the PE implements, so that the linker cannot size it.

use core::alloc::Layout;
use core::cell::UnsafeCell;
use core::ops::Range;
use core::ptr::NonNull;

use buddy_system_allocator::Heap;

/// The largest block has 64 KiB.
const ORDER: usize = 17;

struct Carver(UnsafeCell<Heap<ORDER>>);

// SAFETY: the boot PE alone uses it, before any other PE is let in; see `carve`.
unsafe impl Sync for Carver {}

static CARVER: Carver = Carver(UnsafeCell::new(Heap::new()));

/// Adds `region` to the memory that can be carved.
///
/// # Safety
///
/// Called on the boot PE, before any other PE is let in. Nothing else uses the region from now on.
pub unsafe fn add(region: Range<u64>) {
    // SAFETY: the boot PE runs alone, so this is the only reference to the heap; nothing else uses
    // the region (contract above).
    unsafe { (*CARVER.0.get()).add_to_heap(region.start as usize, region.end as usize) };
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
    let block = unsafe { (*CARVER.0.get()).alloc(layout) };
    block.unwrap_or_else(|()| panic!("no memory left to carve {bytes} bytes from"))
}
