//! Checks where packages, memory regions and device regions lie: inside the nodes of the SPMC
//! manifest, and over nothing that somebody else has.

use crate::addr::{Pa, PageRange, World};
use crate::geometry::Geometry;
use crate::manifest::config::{PackageEntry, PartitionConfig, SpmcManifest};
use crate::manifest::error::{Found, ManifestError, Report};
use crate::manifest::refusal::{device_error, refuse_memory};

/// Checks the SPMC manifest against `image`, all memory of the SPMC itself, which the Normal world
/// must not be said to own, and against the registers of the board.
///
/// Errors: `ns-memory` or `table-memory` that overlaps the image; memory in which the GIC or the
/// console is.
#[inline(never)]
pub fn spmc(spmc: &SpmcManifest, image: &PageRange<Pa>) -> Result<(), ManifestError> {
    let report = Report::new();
    judge_spmc(spmc, image, &report);
    report.verdict()
}

/// Checks the SPMC manifest as [`spmc`] does, and leaves all that is wrong in `report`.
#[inline(never)]
pub fn judge_spmc(spmc: &SpmcManifest, image: &PageRange<Pa>, report: &Report) {
    let normal = spmc.ns_memory.iter().map(|range| ("ns-memory", range));
    let tables = spmc.table_memory.iter();
    let ranges = normal.chain(tables.map(|range| ("table-memory", range)));
    for (property, range) in ranges.filter(|(_, range)| range.overlaps(image)) {
        let found = Found::Overlap(*range, image.base());
        report.refuse("/", property, "ranges outside the SPMC", found);
    }
    judge_board(spmc, report);
}

/// Checks that the GIC and the console are in no memory that partitions can have.
///
/// Errors: registers in memory.
#[inline(never)]
pub fn board(spmc: &SpmcManifest) -> Result<(), ManifestError> {
    let report = Report::new();
    judge_board(spmc, &report);
    report.verdict()
}

fn judge_board(spmc: &SpmcManifest, report: &Report) {
    for (name, device) in spmc.board.ranges() {
        let mut memory = spmc.memory.iter().chain(&spmc.ns_memory);
        if let Some(memory) = memory.find(|memory| memory.overlaps(&device)) {
            let found = Found::Overlap(device, memory.base());
            report.refuse("/", name, "registers outside of memory", found);
        }
    }
}

/// Returns the smallest geometry in which all ranges of the SPMC manifest have an address, on PEs
/// whose physical addresses have `bits` bits.
///
/// Errors: a range that such PEs do not reach.
#[inline(never)]
pub fn geometry(spmc: &SpmcManifest, bits: u32) -> Result<Geometry, ManifestError> {
    let kinds: [(_, &[PageRange<Pa>]); 4] = [
        ("memory", &spmc.memory),
        ("ns-memory", &spmc.ns_memory),
        ("device-memory", &spmc.device_memory),
        ("ns-device-memory", &spmc.ns_device_memory),
    ];
    let mut highest = None::<(_, &PageRange<Pa>)>;
    for (kind, ranges) in kinds {
        for range in ranges {
            if highest.is_none_or(|(_, other)| other.end() < range.end()) {
                highest = Some((kind, range));
            }
        }
    }
    let Some((kind, range)) = highest else {
        return Ok(Geometry::SMALL);
    };
    let last = range.end().raw().saturating_sub(1);
    let needed = u64::BITS.saturating_sub(last.leading_zeros());
    Geometry::choose(needed, bits).ok_or_else(|| {
        let expected = "addresses that the PEs have";
        ManifestError::new("/", kind, expected, Found::Range(*range))
    })
}

/// Checks where a package lies, before anything is read there: in Secure memory, and over neither
/// the SPMC nor another package.
///
/// Errors: an address outside the SPMC manifest's Secure memory nodes, or one that something else
/// has.
#[inline(never)]
pub fn package(
    entry: &PackageEntry,
    spmc: &SpmcManifest,
    image: &PageRange<Pa>,
) -> Result<(), ManifestError> {
    let report = Report::new();
    judge_package(entry.index, &entry.memory, spmc, image, &report);
    report.verdict()
}

/// Checks where a package lies as [`package`] does, and leaves all that is wrong in `report`.
#[inline(never)]
pub fn judge_package(
    index: usize,
    package: &PageRange<Pa>,
    spmc: &SpmcManifest,
    image: &PageRange<Pa>,
    report: &Report,
) {
    let refuse = |expected, found| {
        report.refuse("package", "load_address", expected, found);
    };
    if !inside(package, &spmc.memory) {
        let expected = "a range inside a memory node of the SPMC manifest";
        refuse(expected, Found::Range(*package));
    } else if is_spmcs(package, spmc, image) {
        refuse("a range outside the SPMC", Found::Range(*package));
    }
    for other in spmc.partitions.iter().filter(|other| other.index != index) {
        if package.overlaps(&other.memory) {
            let expected = "a range that no other package has";
            refuse(expected, Found::Taken(*package, other.id()));
        }
    }
}

/// Checks where a new package of a partition lies, before anything is read there: in Secure memory
/// of nobody.
///
/// Errors: an address outside the SPMC manifest's Secure memory nodes, or one that the SPMC, a
/// package or a region of `partitions` has.
pub fn staged<'a>(
    range: &PageRange<Pa>,
    mut partitions: impl Iterator<Item = &'a PartitionConfig>,
    spmc: &SpmcManifest,
    image: &PageRange<Pa>,
) -> Result<(), ManifestError> {
    let report = Report::new();
    // It belongs to no place in the SPMC manifest.
    judge_package(usize::MAX, range, spmc, image, &report);
    let has = |config: &&PartitionConfig| {
        let mut regions = config.memory_regions.iter();
        regions.any(|region| region.range.overlaps(range))
    };
    if let Some(owner) = partitions.find(has) {
        let expected = "a range that no region has";
        let found = Found::Taken(*range, owner.id);
        report.refuse("package", "load_address", expected, found);
    }
    report.verdict()
}

/// Checks that memory regions lie in memory of their security state and overlap nothing but the
/// partition's own package. Only a relative region may cover the load address.
pub(super) fn check_memory_regions(
    config: &PartitionConfig,
    spmc: &SpmcManifest,
    image: &PageRange<Pa>,
    report: &Report,
) {
    for (index, region) in config.memory_regions.iter().enumerate() {
        let range = &region.range;
        let refuse = |expected, found| {
            refuse_memory(region, expected, found, report);
        };
        let nodes: &[_] = match region.world {
            World::Secure => &spmc.memory,
            World::NonSecure => &spmc.ns_memory,
        };
        if !inside(range, nodes) || (region.in_package && region.world != World::Secure) {
            let expected = "a range inside a memory node of its security state";
            refuse(expected, Found::Range(*range));
        } else if is_spmcs(range, spmc, image) {
            refuse("a range outside the SPMC", Found::Range(*range));
        }
        if region.in_package && !region.relative && range.base() == config.memory.base() {
            refuse("a range behind the load address", Found::Range(*range));
        }
        for package in &spmc.partitions {
            let is_own = region.in_package && package.index == config.index;
            if !is_own && range.overlaps(&package.memory) {
                let expected = "a range that no package has";
                refuse(expected, Found::Taken(*range, package.id()));
            }
        }
        let mut others = config.memory_regions.iter().take(index);
        if others.any(|other| range.overlaps(&other.range)) {
            refuse("a range that no other region has", Found::Range(*range));
        }
    }
}

/// Checks that device regions lie in device nodes of their security state in the SPMC manifest, and
/// never in Secure memory or in the GIC. A partition may have the console, which all writers share.
pub(super) fn check_device_regions(
    config: &PartitionConfig,
    spmc: &SpmcManifest,
    image: &PageRange<Pa>,
    report: &Report,
) {
    for (index, region) in config.device_regions.iter().enumerate() {
        let range = &region.range;
        let refuse = |expected| {
            let found = Found::Range(*range);
            device_error(region, "base-address", expected, found, report);
        };
        let nodes: &[_] = match region.world {
            World::Secure => &spmc.device_memory,
            World::NonSecure => &spmc.ns_device_memory,
        };
        // A device may lie in a node of the Normal world's memory: boot takes the device out of
        // that.
        let mut normal = spmc.ns_memory.iter();
        let is_carved_out = inside(range, &spmc.ns_memory);
        let mut own = config.memory_regions.iter();
        if !inside(range, nodes) {
            refuse("a range inside a device memory node of its security state");
        } else if is_spmcs(range, spmc, image)
            || spmc.memory.iter().any(|memory| range.overlaps(memory))
            || !is_carved_out && normal.any(|memory| range.overlaps(memory))
            || range.overlaps(&config.memory)
            || own.any(|memory| range.overlaps(&memory.range))
        {
            refuse("a range without memory");
        }
        if spmc.board.gic().any(|frames| range.overlaps(&frames)) {
            refuse("a range outside the GIC");
        }
        let mut others = config.device_regions.iter().take(index);
        if others.any(|other| range.overlaps(&other.range)) {
            refuse("a range that no other region has");
        }
    }
}

/// Checks that no memory region overlaps a region of `other`, and that neither partition has a
/// device that the other wants for itself.
pub(super) fn check_regions(config: &PartitionConfig, other: &PartitionConfig, report: &Report) {
    for region in &config.memory_regions {
        let mut taken = other.memory_regions.iter();
        let mut devices = other.device_regions.iter();
        if taken.any(|taken| region.range.overlaps(&taken.range))
            || devices.any(|taken| region.range.overlaps(&taken.range))
        {
            let found = Found::Taken(region.range, other.id);
            let expected = "a range that no other partition has";
            refuse_memory(region, expected, found, report);
        }
    }
    for region in &config.device_regions {
        let mut taken = other
            .device_regions
            .iter()
            .filter(|taken| region.range.overlaps(&taken.range));
        let mut memory = other.memory_regions.iter();
        if taken.any(|taken| region.exclusive || taken.exclusive)
            || memory.any(|taken| region.range.overlaps(&taken.range))
        {
            let found = Found::Taken(region.range, other.id);
            let expected = "a device that no other partition has";
            device_error(region, "base-address", expected, found, report);
        }
    }
}

/// Returns whether `range` overlaps the SPMC's own memory: its image, or what the manifest gives
/// for tables.
pub(super) fn is_spmcs(range: &PageRange<Pa>, spmc: &SpmcManifest, image: &PageRange<Pa>) -> bool {
    let mut own = spmc.table_memory.iter().chain([image]);
    own.any(|own| range.overlaps(own))
}

/// Returns whether nodes cover the whole range, one alone or several that adjoin.
pub(super) fn inside(range: &PageRange<Pa>, nodes: &[PageRange<Pa>]) -> bool {
    let mut at = range.base();
    while at < range.end() {
        match nodes
            .iter()
            .find(|node| node.base() <= at && at < node.end())
        {
            Some(node) => at = node.end(),
            None => return false,
        }
    }
    true
}
