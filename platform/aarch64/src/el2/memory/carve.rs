//! Memory that is carved once, on the boot PE, and never given back: what the image cannot size
//! because it depends on where it runs and on what the PE implements.

use core::alloc::Layout;
use core::cell::UnsafeCell;
use core::ops::Range;
use core::ptr::NonNull;

use buddy_system_allocator::Heap;

/// Blocks of up to 64 KiB.
const ORDER: usize = 17;

struct Carver(UnsafeCell<Heap<ORDER>>);

// SAFETY: used by the boot PE only, before any other PE is let in; see `carve`.
unsafe impl Sync for Carver {}

static CARVER: Carver = Carver(UnsafeCell::new(Heap::new()));

/// Makes `region` available.
///
/// # Safety
///
/// Called on the boot PE, before any other PE is let in; nothing else uses the region from now on.
pub unsafe fn add(region: Range<u64>) {
    // SAFETY: nobody else refers to the heap or uses the region (contract above).
    unsafe { (*CARVER.0.get()).add_to_heap(region.start as usize, region.end as usize) };
}

/// A block of uninitialised memory, aligned to its size rounded up to a power of two.
///
/// Panics if nothing is left: the linker script provides for the largest need.
///
/// # Safety
///
/// Called on the boot PE only, before any other PE is let in. There is no lock, because atomics
/// need the MMU and this must work before it is on.
pub unsafe fn carve(bytes: usize) -> NonNull<u8> {
    let Ok(layout) = Layout::from_size_align(bytes, bytes.next_power_of_two()) else {
        panic!("no layout for {bytes} bytes");
    };
    // SAFETY: nobody else refers to the heap (contract above).
    let block = unsafe { (*CARVER.0.get()).alloc(layout) };
    block.unwrap_or_else(|()| panic!("no memory left to carve {bytes} bytes from"))
}
