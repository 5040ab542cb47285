//! The memory of the SPMC itself: its image, and what follows it up to the end that the SPMC
//! manifest states.
//!
//! Boot and `cargo xtask manifest check` decide by this code, from the same sizes.

use super::config::SpmcManifest;
use super::error::{Found, Report};
use crate::addr::{ADDRESS_LIMIT, PAGE_SIZE, Pa, PageRange};

/// The bytes of memory that an SPMC needs and that it likes to have.
#[derive(Clone, Copy, Debug)]
pub struct Wants {
    /// The least number of bytes with which the SPMC boots.
    pub least: u64,
    /// The number of bytes up to which it takes memory behind the end that the manifest states, if
    /// the manifest gives that memory to nobody.
    pub most: u64,
}

/// Returns the memory of an SPMC whose image begins at `start`, or `None` if that is not enough,
/// with the reason in `report`.
///
/// The memory ends at `load_address` + `binary_size`. TF-A's manifests for Hafnium state a
/// `binary_size` that is smaller than the memory of Hafnium, since EL3 only checks by it where
/// other PEs enter. If there is less memory than [`Wants::most`], the SPMC therefore takes what
/// follows, as far as the manifest gives it to nobody.
#[cold]
#[inline(never)]
pub fn own_memory(
    manifest: &SpmcManifest,
    start: Pa,
    wants: &Wants,
    report: &Report,
) -> Option<PageRange<Pa>> {
    let behind = |bytes: u64| {
        start
            .raw()
            .saturating_add(bytes)
            .next_multiple_of(PAGE_SIZE)
    };
    let base = manifest.load_address.unwrap_or(start.raw());
    let size = manifest.binary_size.unwrap_or(0);
    let stated = base.saturating_add(size).max(start.raw()) & !(PAGE_SIZE - 1);
    let least = behind(wants.least);
    let mut end = stated.max(least).max(behind(wants.most));
    if stated < end {
        end = end.min(next_of_others(manifest, stated));
    }
    let upto = |end: u64| PageRange::from_bytes(start, end.saturating_sub(start.raw()));
    if end < least {
        let expected = "memory for the SPMC that nothing else has";
        let found = upto(least).map_or(Found::Number(least), |range| {
            Found::Overlap(range, Pa::new(end))
        });
        report.refuse("/attribute", "binary_size", expected, found);
        return None;
    }
    upto(end)
}

/// Returns the first address from `from` on that the manifest gives to somebody.
fn next_of_others(manifest: &SpmcManifest, from: u64) -> u64 {
    let packages = manifest.partitions.iter().map(|package| &package.memory);
    let taken = packages
        .chain(&manifest.table_memory)
        .chain(&manifest.ns_memory)
        .chain(&manifest.device_memory)
        .chain(&manifest.ns_device_memory)
        .filter(|range| range.end().raw() > from)
        .map(|range| range.base().raw().max(from));
    // A node of Secure memory may begin before the SPMC: then the SPMC is in it.
    let nodes = manifest.memory.iter().map(|range| range.base().raw());
    let nodes = nodes.filter(|base| *base >= from);
    taken.chain(nodes).min().unwrap_or(ADDRESS_LIMIT)
}
