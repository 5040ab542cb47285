//! Checks that a partition may have what its manifest asks for, as far as that needs the rest of
//! the system (FF-A v1.0 sections 2.1, 3.1).
//!
//! Nothing is assigned here. A partition that fails is not started; the partitions before it are
//! not touched.

mod alone;
mod ranges;

mod streams;

pub use alone::{judge_supported, supported};
pub use ranges::{board, geometry, judge_package, judge_spmc, package, spmc, staged};
pub use streams::{judge_stream_device, stream_device};

use super::config::{PartitionConfig, SpmcManifest};
use super::error::{Found, ManifestError, Parsed, Report, go_on};
use super::interrupts;
use crate::addr::{Pa, PageRange};
use crate::vector_length::VectorLength;
use alone::{check_reload, check_state_place};
use ranges::{check_device_regions, check_memory_regions, check_regions};
use streams::{check_independent_streams, check_stream_endpoints, check_streams};

/// Checks `config` against `earlier` accepted partitions, the SPMC manifest and `image`, all memory
/// of the SPMC itself.
///
/// Errors: what [`supported`] refuses; memory outside the SPMC manifest's nodes of its security
/// state, or that something else has (own regions, other packages and partitions, the SPMC); a
/// device that is not one, is the GIC, or that another partition owns; an id, boot order or
/// interrupt that an earlier partition has; more SVE registers than there is memory for; RX/TX
/// buffers that do not fit together.
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
    let mut vector_bytes = vector_bytes(config, spmc);
    for other in earlier {
        judge_together(config, other, report);
        vector_bytes = vector_bytes.saturating_add(self::vector_bytes(other, spmc));
    }
    if config.vectors.is_some() && vector_bytes > spmc.vector_memory {
        let expected = "SVE registers for which the SPMC has memory, with those of others";
        let found = Found::Number(vector_bytes);
        report.refuse("/", "sve-vector-length", expected, found);
    }
}

/// Returns the number of bytes for the SVE registers of all contexts of a partition.
fn vector_bytes(config: &PartitionConfig, spmc: &SpmcManifest) -> u64 {
    let contexts = config.vcpu_count.min(spmc.most_contexts());
    let bytes = config.vectors.map_or(0, VectorLength::state_bytes);
    bytes.saturating_mul(contexts.into())
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
    go_on(check_reload(config, report));
    go_on(check_state_place(config, report));
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

/// Checks that an auxiliary id is not the id of a partition.
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

/// Refuses a boot order or an image UUID that another partition has. The ids that manifests ask for
/// may be the same, see [`ids`](super::ids).
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
    if !config.image_uuid.is_nil() && config.image_uuid == other.image_uuid {
        let expected = "a UUID that no other image has";
        report.refuse("/", "image-uuid", expected, Found::text(b"that of another"));
    }
}
