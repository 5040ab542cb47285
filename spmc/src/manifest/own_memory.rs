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
/// with the reason in `report`. Leaves in the manifest how much of it is for SVE registers: what
/// the SPMC does not need.
///
/// The memory ends at `load_address` + `binary_size`. TF-A's manifests for Hafnium state a
/// `binary_size` that is smaller than the memory of Hafnium, since EL3 only checks by it where
/// other PEs enter. If there is less memory than [`Wants::most`], the SPMC therefore takes what
/// follows, as far as the manifest gives it to nobody.
#[cold]
#[inline(never)]
pub fn own_memory(
    manifest: &mut SpmcManifest,
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
        end = end.min(next_of_others(manifest, start, stated));
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
    manifest.vector_memory = end.saturating_sub(least);
    upto(end)
}

/// Returns the first address from `from` on that the manifest gives to somebody other than the
/// SPMC, which begins at `start`.
fn next_of_others(manifest: &SpmcManifest, start: Pa, from: u64) -> u64 {
    let mut next = ADDRESS_LIMIT;
    let mut leave = |range: &PageRange<Pa>| {
        if range.end().raw() > from {
            next = next.min(range.base().raw().max(from));
        }
    };
    for package in &manifest.partitions {
        leave(&package.memory);
    }
    for ranges in [
        manifest.table_memory.as_slice(),
        &manifest.ns_memory,
        &manifest.device_memory,
        &manifest.ns_device_memory,
    ] {
        ranges.iter().for_each(&mut leave);
    }
    for (_, registers) in manifest.board.ranges() {
        leave(&registers);
    }
    // The SPMC may be in a node of Secure memory.
    let nodes = manifest.memory.iter().map(|range| range.base().raw());
    let nodes = nodes.filter(|base| *base > start.raw() && *base >= from);
    nodes.fold(next, u64::min)
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::string::{String, ToString};

    use super::*;

    const START: u64 = 0x600_0000;
    const WANTS: Wants = Wants {
        least: 0x10_0000,
        most: 0x20_0000,
    };

    /// Returns the end of the SPMC's memory, or the reason why there is too little.
    fn end(size: Option<u64>, change: impl FnOnce(&mut SpmcManifest)) -> Result<u64, String> {
        let mut manifest = SpmcManifest {
            load_address: Some(START),
            binary_size: size,
            ..SpmcManifest::default()
        };
        manifest.memory.push(range(START..START + 0x200_0000));
        change(&mut manifest);
        let report = Report::new();
        let own = own_memory(&mut manifest, Pa::new(START), &WANTS, &report);
        match report.verdict() {
            Ok(()) => {
                let end = own.unwrap().end().raw();
                assert_eq!(manifest.vector_memory, end - START - WANTS.least);
                Ok(end)
            }
            Err(error) => Err(error.to_string()),
        }
    }

    fn range(range: core::ops::Range<u64>) -> PageRange<Pa> {
        PageRange::from_bytes(Pa::new(range.start), range.end - range.start).unwrap()
    }

    #[test]
    fn memory_ends_where_the_manifest_says() {
        for size in [0x20_0000, 0x20_1000, 0x4000_0000] {
            assert_eq!(end(Some(size), |_| ()), Ok(START + size));
        }
        // An incomplete page belongs to nobody.
        assert_eq!(end(Some(0x20_1fff), |_| ()), Ok(START + 0x20_1000));
    }

    #[test]
    fn a_small_size_is_stretched_as_far_as_memory_is_free() {
        for size in [None, Some(0), Some(0x8_0000), Some(0x1f_f000)] {
            assert_eq!(end(size, |_| ()), Ok(START + WANTS.most));
        }
        let stretched = |size, other: u64| {
            let other = range(START + other..START + other + 0x1000);
            let lists: [fn(&mut SpmcManifest, PageRange<Pa>); 5] = [
                |manifest, range| manifest.table_memory = Some(range),
                |manifest, range| manifest.ns_memory.push(range),
                |manifest, range| manifest.device_memory.push(range),
                |manifest, range| manifest.ns_device_memory.push(range),
                |manifest, range| manifest.memory.push(range),
            ];
            let ends = lists.map(|list| end(Some(size), |manifest| list(manifest, other)));
            assert!(ends.iter().all(|end| *end == ends[0]), "{ends:?}");
            ends.into_iter().next().unwrap()
        };
        assert_eq!(stretched(0x8_0000, 0x18_0000), Ok(START + 0x18_0000));
        assert_eq!(stretched(0x8_0000, 0x20_0000), Ok(START + 0x20_0000));
        assert_eq!(stretched(0x8_0000, 0x10_0000), Ok(START + 0x10_0000));
        // Enough was given: what lies behind does not matter, nor what lies in front.
        assert_eq!(stretched(0x18_0000, 0x18_0000), Ok(START + 0x18_0000));
    }

    #[test]
    fn too_little_memory_is_refused_with_what_is_needed() {
        let other = range(START + 0x9_0000..START + 0xa_0000);
        let refused = end(Some(0x8_0000), |manifest| {
            manifest.device_memory.push(other);
        });
        assert_eq!(
            refused.unwrap_err(),
            "/attribute: binary_size: expected memory for the SPMC that nothing else has, \
             found 0x6000000..0x6100000, which overlaps the one at 0x6090000"
        );
    }
}
