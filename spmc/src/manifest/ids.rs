//! Ids that partitions ask for.
//!
//! Places in the SPMC manifest decide ids, as with Hafnium, which reads no `id`. A manifest that
//! asks for a free one gets it. Small numbers, as most public manifests have them, are no ids of
//! partitions: they count places, and often those of another system.

use super::config::{PartitionConfig, SpmcManifest};
use crate::id::PartitionId;

/// Gives a partition the id that its manifest asks for, if that is free; else a line in the log
/// says so.
///
/// Free is a Secure id that stands for nothing else, and whose low byte no other partition's id
/// has: by that byte [`Directory`](crate::partition::Directory) finds partitions. The places of all
/// partitions count as taken, whatever they ask for themselves; among those that ask for the same
/// id the `earlier` one has it.
#[inline(never)]
pub fn settle<'a>(
    config: &mut PartitionConfig,
    mut earlier: impl Iterator<Item = &'a PartitionConfig>,
    spmc: &SpmcManifest,
) {
    let Some(asked) = config.requested_id else {
        return;
    };
    let by_place = config.id;
    // A small number that counts its own place asks for nothing else.
    if PartitionId(asked.0 | PartitionId::SPMC.0) == by_place {
        return;
    }
    let low = |id: PartitionId| id.0 & 0xff;
    let is_named = |config: &PartitionConfig| {
        config.auxiliary_id == Some(asked.0) || config.stream_endpoints.contains(&asked)
    };
    let mut others = spmc.partitions.iter();
    let is_taken = asked.is_el3()
        || [PartitionId::SPMC, spmc.spmc_id].contains(&asked)
        || spmc.stream_devices.iter().any(|device| device.id == asked)
        || others.any(|other| other.index != config.index && low(other.id()) == low(asked))
        || is_named(config)
        || earlier.any(|other| low(other.id) == low(asked) || is_named(other));
    if asked.is_secure() && !is_taken {
        log::info!("{}: id: {asked}, not {by_place} by its place", config.name);
        config.id = asked;
    } else {
        log::warn!(
            "{}: id: {asked} is no Secure id that is free; the partition has {by_place} by its place in the SPMC manifest",
            config.name
        );
    }
}
