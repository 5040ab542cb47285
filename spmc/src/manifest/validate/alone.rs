//! Checks what one manifest alone must not ask for.

use crate::addr::World;
use crate::limits::MAX_MAILBOX_PAGES;
use crate::manifest::config::{
    AbortAction, Branches, ExceptionLevel, MemoryRegion, PartitionConfig, Permissions,
};
use crate::manifest::error::{Found, ManifestError, Parsed, Refused, Report, go_on, limit_text};
use crate::manifest::refusal::{device_error, first, memory_error};

/// Checks a manifest by itself: it asks for nothing that this SPMC cannot isolate, and its RX/TX
/// buffers fit together.
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
    } else if config.branches == Branches::ToTargets {
        // A partition at S-EL1 guards pages by its own stage 1.
        let expected = "it for S-EL0 only";
        let found = Found::text(b"S-EL1");
        report.refuse("/", "branch-target-identification", expected, found);
    }
    go_on(check_buffers(config, report));
    go_on(check_state_buffer(config, report));
}

/// Checks an S-EL0 partition, which has no stage 1 of its own to separate writable from executable
/// memory.
pub(super) fn check_s_el0(config: &PartitionConfig, report: &Report) {
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
    // The partition runs under a stage 1, which no SMMU could use as stage 2.
    for region in &config.device_regions {
        if let Some(streams) = &region.streams {
            let expected = "none, as exception-level is 1 (S-EL0)";
            device_error(region, "stream-ids", expected, first(streams), report);
        }
    }
}

/// Checks that RX and TX are two Secure regions of equal size, with the permissions that each needs
/// and without execution.
pub(super) fn check_buffers(config: &PartitionConfig, report: &Report) -> Parsed<()> {
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

/// Returns the region in which an image leaves its state.
fn state_buffer(config: &PartitionConfig) -> Option<(usize, &MemoryRegion)> {
    let index = config.live_activation?.state_buffer?;
    Some((index, config.memory_regions.get(index)?))
}

/// Notes that the state of an image would not be safe in its region.
#[cold]
#[inline(never)]
fn unsafe_state(region: &MemoryRegion, expected: &'static str, report: &Report) -> Refused {
    let found = Found::Range(region.range);
    report.refuse(
        "/live-state-buffer-info",
        "live-state-buffer",
        expected,
        found,
    )
}

/// Checks that nobody else can change the state that an image leaves to the next one, and that
/// messages do not.
fn check_state_buffer(config: &PartitionConfig, report: &Report) -> Parsed<()> {
    let Some((index, region)) = state_buffer(config) else {
        return Ok(());
    };
    let expected = if region.world != World::Secure {
        "a Secure region"
    } else if region.permissions != Permissions::READ | Permissions::WRITE {
        "a region to read and write, without execute permission"
    } else if config
        .rx_tx
        .is_some_and(|(rx, tx)| index == rx || index == tx)
    {
        "a region other than RX and TX"
    } else {
        return Ok(());
    };
    Err(unsafe_state(region, expected, report))
}

/// Checks that the next image does not overwrite the state when it is loaded.
pub(super) fn check_state_place(config: &PartitionConfig, report: &Report) -> Parsed<()> {
    match state_buffer(config) {
        Some((_, region)) if region.in_package => Err(unsafe_state(
            region,
            "a region outside of the package",
            report,
        )),
        _ => Ok(()),
    }
}

/// Refuses streams in a partition whose image is loaded again, as it is restarted or replaced:
/// nothing stops a device meanwhile, so the device could change what was just checked.
pub(super) fn check_reload(config: &PartitionConfig, report: &Report) -> Parsed<()> {
    let expected = if config.abort_action == AbortAction::Restart {
        "none that see a partition with abort-action 2 (restart)"
    } else if config.live_activation.is_some() {
        "none that see a partition with live-activation-support"
    } else {
        return Ok(());
    };
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
            expected,
            first(streams),
            report,
        )),
        None => Ok(()),
    }
}
