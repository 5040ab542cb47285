//! The translation tables that the engine hands out: those of the image and, where the SPMC manifest
//! gives memory for more, these behind them.
//!
//! What is given can lie anywhere. For the engine it has to follow the tables of the image, so then
//! both get virtual addresses of their own, one piece, in a GiB that nothing else uses. The tables of
//! EL2's own stage 1 that lead there are the last ones of the image.

use core::ptr::{null_mut, slice_from_raw_parts};
use core::sync::atomic::{AtomicPtr, AtomicU64, AtomicUsize, Ordering};

use spmc::addr::{PAGE_SIZE, Pa, PageRange};
use spmc::hal::{Table, TableMemoryError, TablePlaces};

use super::bulk::{window_settle, window_zero};
use super::{layout, stage1};

/// Tables of the image that the engine keeps in any case.
const LEAST: usize = 16;

/// What the engine has. Written by the boot PE alone, before any other PE is let in; so the others
/// see it.
struct Tables {
    first: AtomicPtr<Table>,
    len: AtomicUsize,
    /// As [`TablePlaces`] has it.
    base: AtomicU64,
    count: AtomicUsize,
    more: AtomicU64,
}

static TABLES: Tables = Tables {
    first: AtomicPtr::new(null_mut()),
    len: AtomicUsize::new(0),
    base: AtomicU64::new(0),
    count: AtomicUsize::new(0),
    more: AtomicU64::new(0),
};

impl Tables {
    /// Lets the engine have `len` tables, of which the first is at the virtual address `first`.
    fn set(&self, first: *mut Table, len: usize, places: TablePlaces) {
        self.first.store(first, Ordering::Relaxed);
        self.len.store(len, Ordering::Relaxed);
        self.base.store(places.first.raw(), Ordering::Relaxed);
        self.count.store(places.count, Ordering::Relaxed);
        self.more.store(places.more.raw(), Ordering::Relaxed);
    }
}

/// Makes the tables of the image those of the engine. The boot PE calls this once, first of all.
pub fn init() {
    let image = layout::tables();
    let places = TablePlaces {
        // Stage 1 maps the image to itself.
        first: Pa::new(image.as_ptr() as u64),
        count: image.len(),
        more: Pa::new(0),
    };
    TABLES.set(image.as_ptr().cast_mut(), image.len(), places);
    // SAFETY: the image's own memory, atomics that nobody uses yet; whole pages.
    unsafe { zero(image.as_ptr() as u64, image.len()) };
}

/// Zeroes tables; returns whether memory answers there.
///
/// # Safety
///
/// `count` tables at the virtual address `first`, which are the SPMC's, and which nobody uses.
unsafe fn zero(first: u64, count: usize) -> bool {
    let end = first + count as u64 * PAGE_SIZE;
    // SAFETY: as the contract says; a fault is expected.
    unsafe { window_zero(first, end) == 0 && window_settle() == 0 }
}

/// See [`spmc::hal::Hal::tables`].
#[inline(always)]
pub fn all() -> &'static [Table] {
    let (first, len) = (&TABLES.first, &TABLES.len);
    let tables = slice_from_raw_parts(first.load(Ordering::Relaxed), len.load(Ordering::Relaxed));
    // SAFETY: `init` ran; tables that are mapped for ever, and atomics, of which any bits are one.
    unsafe { &*tables }
}

/// See [`spmc::hal::Hal::table_places`].
#[inline(always)]
pub fn places() -> TablePlaces {
    TablePlaces {
        first: Pa::new(TABLES.base.load(Ordering::Relaxed)),
        count: TABLES.count.load(Ordering::Relaxed),
        more: Pa::new(TABLES.more.load(Ordering::Relaxed)),
    }
}

/// See [`spmc::hal::Hal::add_tables`].
pub fn add(range: PageRange<Pa>) -> Result<(), TableMemoryError> {
    let image = layout::tables();
    let more = range.pages() as usize;
    // One for each 2 MiB, and one above them.
    let own = 1 + (image.len() + more).div_ceil(image[0].0.len());
    let Some(kept) = image.len().checked_sub(own).filter(|kept| *kept >= LEAST) else {
        return Err(TableMemoryError::TooMuch);
    };
    let (kept, own) = image.split_at(kept);
    let pieces = [
        (kept.as_ptr() as u64, kept.len()),
        (range.base().raw(), more),
    ];
    let Some(first) = stage1::map_tables(&pieces, own) else {
        return Err(TableMemoryError::TooMuch);
    };
    let added = first + kept.len() as u64 * PAGE_SIZE;
    // SAFETY: mapped there just now; memory that nobody uses (contract of `Hal`); whole pages.
    if !unsafe { zero(added, more) } {
        stage1::unmap_tables(own);
        return Err(TableMemoryError::Unreadable);
    }
    let places = TablePlaces {
        first: Pa::new(kept.as_ptr() as u64),
        count: kept.len(),
        more: range.base(),
    };
    TABLES.set(first as *mut Table, kept.len() + more, places);
    Ok(())
}
