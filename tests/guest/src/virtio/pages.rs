//! The driver's memory: one area of pages that the driver shares with the device and hands out page
//! by page.
//!
//! Data of the device's driver that lies elsewhere is copied in and out, so that the device reaches
//! nothing but the area.

use core::ptr::NonNull;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use virtio_drivers::{BufferDirection, Hal, PhysAddr};

use crate::rt::page::{PAGE_SIZE, Shared};

use super::AREA_SHIFT;

/// Number of pages of the area.
pub const PAGES: usize = 16;

static MEMORY: Shared<{ PAGES * PAGE_SIZE }> = Shared::new();
/// One bit for each page that is handed out.
static USED: AtomicU32 = AtomicU32::new(0);
/// The number under which the device knows the area.
static NUMBER: AtomicU64 = AtomicU64::new(0);

/// Returns the address of the first page.
pub fn base() -> u64 {
    MEMORY.address()
}

/// Makes addresses those of area `number` from now on.
pub fn set_area(number: u16) {
    NUMBER.store(number.into(), Ordering::Relaxed);
}

/// Returns the number of pages that are handed out.
pub fn used() -> u32 {
    USED.load(Ordering::Relaxed).count_ones()
}

/// Hands out `count` pages in a row and returns their offset, or `None` if there are not so many.
fn take(count: usize) -> Option<usize> {
    let mask = (1_u32 << count) - 1;
    let used = USED.load(Ordering::Relaxed);
    let first = (0..=PAGES - count).find(|first| used & (mask << first) == 0)?;
    USED.fetch_or(mask << first, Ordering::Relaxed);
    let offset = first * PAGE_SIZE;
    for n in (0..count * PAGE_SIZE).step_by(8) {
        MEMORY.write(offset + n, &[0; 8]);
    }
    Some(offset)
}

fn give_back(address: PhysAddr, count: usize) {
    let first = offset(address) / PAGE_SIZE;
    USED.fetch_and(!(((1_u32 << count) - 1) << first), Ordering::Relaxed);
}

fn address(offset: usize) -> PhysAddr {
    NUMBER.load(Ordering::Relaxed) << AREA_SHIFT | offset as u64
}

fn offset(address: PhysAddr) -> usize {
    (address & ((1 << AREA_SHIFT) - 1)) as usize
}

/// The area as the virtio drivers use it.
pub struct Area;

// SAFETY: `dma_alloc` returns zeroed pages of a static block that nobody else has until they are
// given back.
unsafe impl Hal for Area {
    fn dma_alloc(pages: usize, _: BufferDirection) -> (PhysAddr, NonNull<u8>) {
        match take(pages) {
            Some(offset) => {
                let pointer = (base() as usize + offset) as *mut u8;
                (
                    address(offset),
                    NonNull::new(pointer).unwrap_or(NonNull::dangling()),
                )
            }
            // Address 0 says that there is no memory.
            None => (0, NonNull::dangling()),
        }
    }

    unsafe fn dma_dealloc(address: PhysAddr, _: NonNull<u8>, pages: usize) -> i32 {
        give_back(address, pages);
        0
    }

    unsafe fn mmio_phys_to_virt(_: PhysAddr, _: usize) -> NonNull<u8> {
        unreachable!("the bus has no registers")
    }

    unsafe fn share(buffer: NonNull<[u8]>, direction: BufferDirection) -> PhysAddr {
        let count = buffer.len().div_ceil(PAGE_SIZE);
        let offset = take(count).expect("a page for the request");
        if direction != BufferDirection::DeviceToDriver {
            // SAFETY: the caller says that the buffer is valid and that nobody else accesses it.
            MEMORY.write(offset, unsafe { buffer.as_ref() });
        }
        address(offset)
    }

    unsafe fn unshare(address: PhysAddr, mut buffer: NonNull<[u8]>, direction: BufferDirection) {
        if direction != BufferDirection::DriverToDevice {
            // SAFETY: as above.
            MEMORY.read(offset(address), unsafe { buffer.as_mut() });
        }
        give_back(address, buffer.len().div_ceil(PAGE_SIZE));
    }
}
