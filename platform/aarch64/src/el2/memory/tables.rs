//! The translation tables that the engine hands out: those of the image and, where the SPMC
//! manifest gives memory for more, these behind them.
//!
//! Memory that the manifest gives can lie anywhere. For the engine it has to follow the tables of
//! the image, so then both get virtual addresses of their own, one piece, in a GiB that nothing
//! else uses. The tables of EL2's own stage 1 that lead there are the last ones of the image.

use core::cell::UnsafeCell;
use core::ptr::{null, slice_from_raw_parts};

use spmc::addr::{PAGE_SIZE, Pa, PageRange};
use spmc::hal::{Table, TableMemoryError, TablePlaces};

use super::bulk::{window_settle, window_zero};
use super::{layout, stage1};

/// Tables of the image that the engine keeps in any case.
const LEAST: usize = 16;

/// The tables of the engine, and where they lie.
struct Tables {
    all: *const [Table],
    places: TablePlaces,
}

struct Shared(UnsafeCell<Tables>);

// SAFETY: the boot PE alone writes, before any other PE is let in and before anything has a
// reference (`init`, `add`); so the others only read, and see it.
unsafe impl Sync for Shared {}

static TABLES: Shared = Shared(UnsafeCell::new(Tables {
    all: slice_from_raw_parts(null(), 0),
    places: TablePlaces {
        first: Pa::new(0),
        count: 0,
        more: Pa::new(0),
    },
}));

impl Shared {
    /// Lets the engine have these tables.
    ///
    /// # Safety
    ///
    /// On the boot PE, before any other PE is let in; nobody uses what [`all`] and [`places`]
    /// returned.
    unsafe fn set(&self, all: *const [Table], places: TablePlaces) {
        // SAFETY: nobody else has a reference (contract above).
        unsafe { *self.0.get() = Tables { all, places } };
    }

    #[inline(always)]
    fn get(&'static self) -> &'static Tables {
        // SAFETY: not written any more while this reference is used (contract of `set`).
        unsafe { &*self.0.get() }
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
    // SAFETY: first of all, so nobody has asked for tables.
    unsafe { TABLES.set(image, places) };
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
    // SAFETY: `init` ran; tables that are mapped for ever, and atomics, of which any bits are one.
    unsafe { &*TABLES.get().all }
}

/// See [`spmc::hal::Hal::table_places`].
#[inline(always)]
pub fn places() -> &'static TablePlaces {
    &TABLES.get().places
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
    let all = slice_from_raw_parts(first as *const Table, kept.len() + more);
    // SAFETY: called once, at boot, before anything asks for the tables (contract of `Hal`).
    unsafe { TABLES.set(all, places) };
    Ok(())
}
