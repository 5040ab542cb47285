//! Checks that a partition may have what its manifest asks for, as far as that needs the rest of
//! the system (FF-A v1.0 sections 2.1, 3.1).
//!
//! Nothing is assigned here. A partition that fails is not started; the partitions before it are
//! not touched.

use arrayvec::ArrayString;

use super::config::{
    AbortAction, DeviceRegion, ExceptionLevel, MemoryRegion, NsInterruptAction, PackageEntry,
    PartitionConfig, Permissions, SpmcManifest, StreamDevice, Streams,
};
use super::error::{Found, ManifestError, Parsed, Refused, Report, go_on, limit_text, push_lossy};
use super::interrupts;
use crate::addr::{Pa, PageRange, World};
use crate::id::PartitionId;
use crate::limits::MAX_MAILBOX_PAGES;

const NO_STREAMS: &str = "none: streams belong to devices, and see what the endpoint does";

/// Checks `config` against `earlier` accepted partitions, the SPMC manifest and `image`, all memory
/// of the SPMC itself.
///
/// Errors: what [`supported`] refuses; memory outside the SPMC manifest's nodes of its security
/// state, or that something else has (own regions, other packages and partitions, the SPMC); a
/// device that is not one or that another partition owns; an id, boot order or interrupt that an
/// earlier partition has; RX/TX buffers that do not fit together.
pub fn partition<'a>(
    config: &PartitionConfig,
    earlier: impl Iterator<Item = &'a PartitionConfig>,
    spmc: &SpmcManifest,
    image: &PageRange<Pa>,
) -> Result<(), ManifestError> {
    let report = Report::new();
    judge(config, earlier, spmc, image, &report);
    report.verdict()
}

/// Checks a partition as [`partition`] does, and leaves all that is wrong in `report`.
pub fn judge<'a>(
    config: &PartitionConfig,
    earlier: impl Iterator<Item = &'a PartitionConfig>,
    spmc: &SpmcManifest,
    image: &PageRange<Pa>,
    report: &Report,
) {
    judge_alone(config, spmc, image, report);
    for other in earlier {
        judge_together(config, other, report);
    }
}

/// Checks what does not depend on other partitions' manifests.
#[inline(never)]
fn judge_alone(
    config: &PartitionConfig,
    spmc: &SpmcManifest,
    image: &PageRange<Pa>,
    report: &Report,
) {
    judge_supported(config, report);
    judge_package(config.index, &config.memory, spmc, image, report);
    check_memory_regions(config, spmc, image, report);
    check_device_regions(config, spmc, image, report);
    interrupts::check_targets(config, spmc, report);
    go_on(check_auxiliary_id(config, spmc, report));
    go_on(check_restart(config, report));
    go_on(check_independent_streams(config, spmc, report));
    go_on(check_stream_endpoints(config, spmc, report));
    go_on(check_streams(config, config, report));
}

/// Checks what two partitions cannot both have.
#[inline(never)]
fn judge_together(config: &PartitionConfig, other: &PartitionConfig, report: &Report) {
    check_numbers(config, other, report);
    interrupts::check_owners(config, other, report);
    go_on(check_streams(config, other, report));
    check_regions(config, other, report);
}

/// Checks what concerns the manifest alone: it asks for nothing that this SPMC cannot isolate, and
/// its RX/TX buffers fit together.
///
/// Errors: what an S-EL0 partition cannot have; stream ids of memory; unfit buffers.
pub fn supported(config: &PartitionConfig) -> Result<(), ManifestError> {
    let report = Report::new();
    judge_supported(config, &report);
    report.verdict()
}

/// Checks what [`supported`] does, and leaves all that is wrong in `report`.
pub fn judge_supported(config: &PartitionConfig, report: &Report) {
    if config.exception_level == ExceptionLevel::SEl0 {
        check_s_el0(config, report);
    }
    for region in &config.memory_regions {
        if let Some(streams) = &region.streams {
            memory_error(region, "stream-ids", NO_STREAMS, first(streams), report);
        }
    }
    go_on(check_buffers(config, report));
}

/// An S-EL0 partition has no stage 1 of its own that could keep writing and executing apart, and no
/// vectors that a virtual interrupt could come to.
fn check_s_el0(config: &PartitionConfig, report: &Report) {
    if config.ns_interrupts == NsInterruptAction::ManagedExit {
        report.refuse(
            "/",
            "ns-interrupts-action",
            "0 or 2, as exception-level is 1 (S-EL0)",
            Found::Count(1),
        );
    }
    let write_execute = Permissions::WRITE | Permissions::EXECUTE;
    for region in &config.memory_regions {
        if region.permissions.contains(write_execute) {
            memory_error(
                region,
                "attributes",
                "not writable and executable, as exception-level is 1 (S-EL0)",
                Found::Number(region.permissions.bits().into()),
                report,
            );
        }
    }
    // What the partition runs under is no stage 2, so no SMMU could use it.
    for region in &config.device_regions {
        if let Some(streams) = &region.streams {
            let expected = "none, as exception-level is 1 (S-EL0)";
            device_error(region, "stream-ids", expected, first(streams), report);
        }
    }
}

/// RX and TX are two Secure regions of equal size that the partition can use but not execute.
fn check_buffers(config: &PartitionConfig, report: &Report) -> Parsed<()> {
    let Some((rx, tx)) = config.rx_tx else {
        return Ok(());
    };
    let refuse =
        |property, expected, found| Err(report.refuse("/rx_tx-info", property, expected, found));
    let region = |index: usize| config.memory_regions.get(index);
    let (Some(rx_region), Some(tx_region)) = (region(rx), region(tx)) else {
        return Ok(());
    };
    if rx == tx {
        return refuse(
            "tx-buffer",
            "another region than rx-buffer",
            Found::Range(tx_region.range),
        );
    }
    if rx_region.range.pages() != tx_region.range.pages() {
        return refuse(
            "tx-buffer",
            "as many pages as rx-buffer",
            Found::Count(tx_region.range.pages()),
        );
    }
    if rx_region.range.pages() > MAX_MAILBOX_PAGES.into() {
        return refuse(
            "rx-buffer",
            limit_text!("at most ", MAX_MAILBOX_PAGES as usize, " pages"),
            Found::Count(rx_region.range.pages()),
        );
    }
    for (property, region) in [("rx-buffer", rx_region), ("tx-buffer", tx_region)] {
        if region.world != World::Secure {
            return refuse(property, "a Secure region", Found::Range(region.range));
        }
        if region.permissions.contains(Permissions::EXECUTE) {
            return refuse(
                property,
                "a region without execute permission",
                Found::Range(region.range),
            );
        }
    }
    if !tx_region.permissions.contains(Permissions::WRITE) {
        return refuse(
            "tx-buffer",
            "a writable region",
            Found::Range(tx_region.range),
        );
    }
    Ok(())
}

/// Checks the SPMC manifest against `image`, all memory of the SPMC itself, which the Normal world
/// must not be said to own.
///
/// Errors: `ns-memory` or `table-memory` that overlaps it.
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
}

/// Returns whether the SPMC has memory of `range` for itself: its image, or what the manifest gives
/// for tables.
fn is_spmcs(range: &PageRange<Pa>, spmc: &SpmcManifest, image: &PageRange<Pa>) -> bool {
    let mut own = spmc.table_memory.iter().chain([image]);
    own.any(|own| range.overlaps(own))
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

/// Memory regions lie in memory of their security state and overlap nothing but the partition's own
/// package. There too they must be meant: only a relative region may cover the load address.
fn check_memory_regions(
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

/// Device regions lie in devices of their security state, by the nodes of the SPMC manifest, and
/// never in Secure memory.
fn check_device_regions(
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
        // It may lie in what the Normal world's memory is said to be, which it is taken out of
        // then.
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
        let mut others = config.device_regions.iter().take(index);
        if others.any(|other| range.overlaps(&other.range)) {
            refuse("a range that no other region has");
        }
    }
}

/// An auxiliary id is nobody's partition id.
fn check_auxiliary_id(
    config: &PartitionConfig,
    spmc: &SpmcManifest,
    report: &Report,
) -> Parsed<()> {
    let Some(id) = config.auxiliary_id else {
        return Ok(());
    };
    let reserved = [0, 0xffff, spmc.spmc_id.0];
    if reserved.contains(&id) || spmc.partitions.iter().any(|package| package.id().0 == id) {
        let expected = "an id that no partition has";
        return Err(report.refuse("/", "auxiliary-id", expected, Found::Number(id.into())));
    }
    Ok(())
}

/// Nothing stops a device while its partition is loaded anew, so it could change what was just
/// checked.
fn check_restart(config: &PartitionConfig, report: &Report) -> Parsed<()> {
    if config.abort_action != AbortAction::Restart {
        return Ok(());
    }
    let mut devices = config.device_regions.iter();
    let own = devices.find_map(|region| {
        let streams = region.streams.as_ref();
        Some((
            region,
            streams.filter(|_| region.stream_endpoint.is_none())?,
        ))
    });
    match own {
        Some((region, streams)) => Err(device_error(
            region,
            "stream-ids",
            "none that see a partition with abort-action 2 (restart)",
            first(streams),
            report,
        )),
        None => Ok(()),
    }
}

/// A stream endpoint has an id of the Secure world that stands for nothing else.
fn check_stream_endpoints(
    config: &PartitionConfig,
    spmc: &SpmcManifest,
    report: &Report,
) -> Parsed<()> {
    let taken = |id: PartitionId| {
        !may_be_stream_endpoint(id, spmc)
            || config.auxiliary_id == Some(id.0)
            || spmc.stream_devices.iter().any(|device| device.id == id)
    };
    match config.stream_endpoints.iter().find(|id| taken(**id)) {
        Some(id) => Err(report.refuse(
            "/",
            "stream-endpoint-ids",
            "Secure ids that no partition has or can have",
            Found::Number(id.0.into()),
        )),
        None => Ok(()),
    }
}

/// Returns whether the id is Secure, and neither reserved nor a partition's.
fn may_be_stream_endpoint(id: PartitionId, spmc: &SpmcManifest) -> bool {
    let reserved = [PartitionId::SPMC, spmc.spmc_id];
    id.is_secure() && !id.is_el3() && !reserved.contains(&id) && !id.is_of_place()
}

/// Checks whether an independent device may have its id and its streams: nothing else has that id,
/// nor one of the `earlier` devices the streams.
pub fn stream_device(
    device: &StreamDevice,
    earlier: &[StreamDevice],
    spmc: &SpmcManifest,
) -> Result<(), ManifestError> {
    let report = Report::new();
    judge_stream_device(device, earlier, spmc, &report);
    report.verdict()
}

/// Checks an independent device as [`stream_device`] does, and leaves all that is wrong in
/// `report`.
pub fn judge_stream_device(
    device: &StreamDevice,
    earlier: &[StreamDevice],
    spmc: &SpmcManifest,
    report: &Report,
) {
    let node = child("/stream-endpoints/", &device.name);
    let mut same_id = earlier.iter().filter(|other| other.id == device.id);
    if !may_be_stream_endpoint(device.id, spmc) || same_id.next().is_some() {
        report.refuse(
            &node,
            "stream-endpoint-id",
            "a Secure id that nothing else has or can have",
            Found::Number(device.id.0.into()),
        );
    }
    for other in earlier {
        if let Some(id) = common(&device.streams, &other.streams) {
            report.refuse(
                &node,
                "stream-ids",
                "streams that no other endpoint has",
                Found::Used(id.into(), other.id),
            );
        }
    }
}

/// A stream that both name.
fn common(streams: &Streams, others: &Streams) -> Option<u32> {
    let mut ids = streams.ids.iter().copied();
    ids.find(|id| streams.smmu == others.smmu && others.ids.contains(id))
}

/// No independent device has a stream of the partition.
fn check_independent_streams(
    config: &PartitionConfig,
    spmc: &SpmcManifest,
    report: &Report,
) -> Parsed<()> {
    for region in &config.device_regions {
        for device in &spmc.stream_devices {
            let streams = region.streams.as_ref();
            if let Some(id) = streams.and_then(|streams| common(streams, &device.streams)) {
                let found = Found::Used(id.into(), device.id);
                let expected = "streams that no other endpoint has";
                return Err(device_error(region, "stream-ids", expected, found, report));
            }
        }
    }
    Ok(())
}

/// A stream belongs to one endpoint, and a stream endpoint to one partition. `other` may be the
/// partition itself.
fn check_streams(config: &PartitionConfig, other: &PartitionConfig, report: &Report) -> Parsed<()> {
    let shared = |id: &&PartitionId| {
        config.index != other.index
            && (other.id == **id
                || other.stream_endpoints.contains(id)
                || other.auxiliary_id == Some(id.0))
    };
    if let Some(id) = config.stream_endpoints.iter().find(shared) {
        let found = Found::Used(id.0.into(), other.id);
        let expected = "ids that no other manifest has";
        return Err(report.refuse("/", "stream-endpoint-ids", expected, found));
    }
    if let Some(id) = config.auxiliary_id.map(PartitionId)
        && (other.stream_endpoints.contains(&id) || other.id == id)
    {
        let found = Found::Used(id.0.into(), other.id);
        let expected = "an id that no partition or stream endpoint has";
        return Err(report.refuse("/", "auxiliary-id", expected, found));
    }
    let endpoint = |of: &PartitionConfig, region: &DeviceRegion| {
        let id = of.id;
        region.stream_endpoint.unwrap_or(id)
    };
    for region in &config.device_regions {
        for taken in &other.device_regions {
            let (Some(streams), Some(others)) = (&region.streams, &taken.streams) else {
                continue;
            };
            if let Some(id) = common(streams, others)
                && endpoint(config, region) != endpoint(other, taken)
            {
                let found = Found::Used(id.into(), endpoint(other, taken));
                let expected = "streams that no other endpoint has";
                return Err(device_error(region, "stream-ids", expected, found, report));
            }
        }
    }
    Ok(())
}

/// Refuses a boot order that another partition has. The ids that manifests ask for may be the same,
/// see [`ids`](super::ids).
fn check_numbers(config: &PartitionConfig, other: &PartitionConfig, report: &Report) {
    if let Some(order) = config.boot_order
        && config.boot_order == other.boot_order
    {
        let expected = "a number that no other partition has";
        report.refuse(
            "/",
            "boot-order",
            expected,
            Found::Used(order.into(), other.id),
        );
    }
}

/// No memory region overlaps a region of `other`, and no device one that either wants for itself.
fn check_regions(config: &PartitionConfig, other: &PartitionConfig, report: &Report) {
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

/// Returns whether nodes cover the whole range, one alone or several that adjoin.
fn inside(range: &PageRange<Pa>, nodes: &[PageRange<Pa>]) -> bool {
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

#[cold]
#[inline(never)]
fn refuse_memory(
    region: &MemoryRegion,
    expected: &'static str,
    found: Found,
    report: &Report,
) -> Refused {
    let property = if region.relative {
        "load-address-relative-offset"
    } else {
        "base-address"
    };
    memory_error(region, property, expected, found, report)
}

#[cold]
#[inline(never)]
fn memory_error(
    region: &MemoryRegion,
    property: &str,
    expected: &'static str,
    found: Found,
    report: &Report,
) -> Refused {
    report.refuse(
        &child("/memory-regions/", &region.name),
        property,
        expected,
        found,
    )
}

#[cold]
#[inline(never)]
pub(super) fn device_error(
    region: &DeviceRegion,
    property: &str,
    expected: &'static str,
    found: Found,
    report: &Report,
) -> Refused {
    report.refuse(
        &child("/device-regions/", &region.name),
        property,
        expected,
        found,
    )
}

fn child(parent: &str, name: &str) -> ArrayString<64> {
    let mut path = ArrayString::new();
    push_lossy(&mut path, parent.as_bytes());
    push_lossy(&mut path, name.as_bytes());
    path
}

fn first(streams: &Streams) -> Found {
    Found::Number(streams.ids.first().copied().unwrap_or(0).into())
}
