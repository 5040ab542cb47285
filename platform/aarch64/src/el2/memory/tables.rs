//! The translation tables that the engine hands out: what boot left of the SPMC's memory, followed
//! by memory that the SPMC manifest gives as `table-memory`.
//!
//! The latter can lie anywhere, but for the engine its tables must follow the others. If there is
//! such memory, both are mapped once more, as one piece, in a GiB of virtual addresses that nothing
//! else uses. The last tables of the SPMC's memory become the stage-1 tables for this map.

use core::cell::UnsafeCell;
use core::ptr::{null, slice_from_raw_parts};
use core::slice;

use spmc::addr::{PAGE_SIZE, Pa, PageRange};
use spmc::hal::{Table, TableMemoryError, TablePlaces};
use spmc::limits::MAX_TABLES;

use super::bulk::{window_settle, window_zero_cached};
use super::{BOOT, stage1};

/// The least number of tables of the SPMC's memory that the engine keeps.
const LEAST: usize = 16;

/// The tables of the engine, and where they lie in physical memory.
struct Tables {
    all: *const [Table],
    places: TablePlaces,
}

struct Shared(UnsafeCell<Tables>);

// SAFETY: only the boot PE writes, in `make` and `add`, before any other PE is let in and before
// anything holds a reference. All other accesses are reads that come later.
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
    /// Sets the tables of the engine.
    ///
    /// # Safety
    ///
    /// Called on the boot PE, before any other PE is let in. Nothing uses an earlier result of
    /// [`all`] or [`places`].
    unsafe fn set(&self, all: *const [Table], places: TablePlaces) {
        // SAFETY: no other reference exists (contract above).
        unsafe { *self.0.get() = Tables { all, places } };
    }

    #[inline(always)]
    fn get(&'static self) -> &'static Tables {
        // SAFETY: nothing writes while this reference is in use (contract of `set`).
        unsafe { &*self.0.get() }
    }
}

/// See [`spmc::hal::Hal::make_tables`]. `more` is the number of pages that [`add`] may add.
pub fn make(more: u64) {
    // SAFETY: the boot PE calls this, before any other PE is let in (contract of `Hal`).
    let memory = unsafe { BOOT.take_pages(MAX_TABLES.saturating_sub(more)) };
    let mut count = ((memory.end - memory.start) / PAGE_SIZE) as usize;
    // SAFETY: whole pages that belong to the SPMC and that nothing uses.
    if !unsafe { zero(memory.start, count) } {
        log::error!("no memory answers at the end of the SPMC's own: is binary_size too large?");
        count = 0;
    }
    let places = TablePlaces {
        // Stage 1 maps the SPMC's memory to its own addresses.
        first: Pa::new(memory.start),
        count,
        more: Pa::new(0),
    };
    let all = slice_from_raw_parts(memory.start as *const Table, count);
    // SAFETY: nothing has asked for the tables yet, and no other PE runs.
    unsafe { TABLES.set(all, places) };
}

/// Returns the number of bytes of the tables in the SPMC's own memory.
pub fn own_bytes() -> u64 {
    places().count as u64 * PAGE_SIZE
}

/// Zeroes tables. Returns whether the memory system accepted the stores.
///
/// # Safety
///
/// `first` is the virtual address of `count` tables that belong to the SPMC and that nothing uses.
#[inline]
unsafe fn zero(first: u64, count: usize) -> bool {
    let end = first + count as u64 * PAGE_SIZE;
    // Table walks are cacheable, so the zeros may stay in caches.
    // SAFETY: contract above; a fault is reported, not fatal.
    unsafe { window_zero_cached(first, end) == 0 && window_settle() == 0 }
}

/// See [`spmc::hal::Hal::tables`].
#[inline(always)]
pub fn all() -> &'static [Table] {
    // SAFETY: `make` has run. The tables stay mapped for ever, and consist of atomics, for which
    // any bits are valid.
    unsafe { &*TABLES.get().all }
}

/// See [`spmc::hal::Hal::table_places`].
#[inline(always)]
pub fn places() -> &'static TablePlaces {
    &TABLES.get().places
}

/// See [`spmc::hal::Hal::add_tables`].
pub fn add(range: PageRange<Pa>) -> Result<(), TableMemoryError> {
    // SAFETY: `make` set the slice, and nothing has asked for the tables since (contract of `Hal`).
    let image = unsafe { slice::from_raw_parts(all().as_ptr(), all().len()) };
    let more = range.pages() as usize;
    // One level-3 table for each 2 MiB, and one level-2 table above them.
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
    // SAFETY: whole pages, mapped just now, of memory that nothing uses (contract of `Hal`).
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
    // SAFETY: called once, on the boot PE, before anything asks for the tables (contract of `Hal`).
    unsafe { TABLES.set(all, places) };
    Ok(())
}
