//! Grants the ids that partitions ask for.
//!
//! Places in the SPMC manifest decide ids, as with Hafnium, which reads no `id`. A manifest that
//! asks for a free id gets that id. Small numbers, which most public manifests have, are not ids of
//! partitions: they count places, often those of another system.

use super::config::{PartitionConfig, SpmcManifest};
use crate::id::PartitionId;

/// Gives a partition the id that its manifest asks for, if that id is free. Otherwise a line in the
/// log says so.
///
/// An id is free if it is Secure, stands for nothing else, and differs in its low byte from the ids
/// of all other partitions: [`Directory`](crate::partition::Directory) finds partitions by that
/// byte. The ids that belong to places count as taken, whatever their partitions ask for. If
/// several partitions ask for the same id, the first one gets it.
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
    // A small number that is the partition's own place asks for no other id.
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
