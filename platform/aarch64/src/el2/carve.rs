//! Memory that is carved once, on the boot PE, and never given back: what the image cannot size because it depends on where it
//! runs and on what the PE implements.

use core::alloc::Layout;
use core::cell::UnsafeCell;
use core::ptr::NonNull;

use buddy_system_allocator::Heap;

use super::layout;

/// Blocks of up to 64 KiB.
const ORDER: usize = 17;

struct Carver(UnsafeCell<Heap<ORDER>>);

// SAFETY: used by the boot PE only, before any other PE is let in; see `carve`.
unsafe impl Sync for Carver {}

static CARVER: Carver = Carver(UnsafeCell::new(Heap::new()));

/// Makes the carve region available.
///
/// # Safety
///
/// Called once, on the boot PE, before [`carve`].
pub unsafe fn init() {
    let region = layout::carve();
    // SAFETY: nobody else refers to the heap (contract above), and the linker script keeps everything else out of the region.
    unsafe { (*CARVER.0.get()).init(region.start as usize, (region.end - region.start) as usize) };
}

/// A block of uninitialised memory, aligned to its size rounded up to a power of two.
///
/// Panics if the region is used up: its size is a constant that every boot needs the same of.
///
/// # Safety
///
/// Called on the boot PE only, before any other PE is let in. There is no lock, because atomics need the MMU and this
/// must work before it is on.
pub unsafe fn carve(bytes: usize) -> NonNull<u8> {
    let Ok(layout) = Layout::from_size_align(bytes, bytes.next_power_of_two()) else {
        panic!("no layout for {bytes} bytes");
    };
    // SAFETY: nobody else refers to the heap (contract above).
    let block = unsafe { (*CARVER.0.get()).alloc(layout) };
    block.unwrap_or_else(|()| panic!("carve region used up"))
}
