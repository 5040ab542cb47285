//! Checks stream ids and stream endpoints: a stream belongs to one endpoint, and a stream endpoint
//! to one partition.

use crate::id::PartitionId;
use crate::manifest::config::{DeviceRegion, PartitionConfig, SpmcManifest, StreamDevice, Streams};
use crate::manifest::error::{Found, ManifestError, Parsed, Report};
use crate::manifest::refusal::{child, device_error};

/// Checks whether an independent device may have its id and its streams: nothing else has the id,
/// and none of the `earlier` devices has one of the streams.
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

/// Checks that the ids of stream endpoints are Secure and stand for nothing else.
pub(super) fn check_stream_endpoints(
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
pub(super) fn may_be_stream_endpoint(id: PartitionId, spmc: &SpmcManifest) -> bool {
    let reserved = [PartitionId::SPMC, spmc.spmc_id];
    let is_of_place = || spmc.partitions.iter().any(|entry| entry.id() == id);
    id.is_secure() && !id.is_el3() && !reserved.contains(&id) && !is_of_place()
}

/// Checks that no independent device has a stream of the partition.
pub(super) fn check_independent_streams(
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

/// Checks that each stream belongs to one endpoint, and each stream endpoint to one partition.
/// `other` may be the partition itself.
pub(super) fn check_streams(
    config: &PartitionConfig,
    other: &PartitionConfig,
    report: &Report,
) -> Parsed<()> {
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

/// Returns a stream that both name.
pub(super) fn common(streams: &Streams, others: &Streams) -> Option<u32> {
    let mut ids = streams.ids.iter().copied();
    ids.find(|id| streams.smmu == others.smmu && others.ids.contains(id))
}
