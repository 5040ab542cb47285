//! `interrupts` and `interrupts-target` of a device region (FF-A v1.0 table 3.3 in TF-A's binding):
//! which physical interrupts belong to a partition.
//!
//! The attributes of an interrupt must be right, and nobody else may have it. Otherwise the GIC
//! would lose the interrupt or signal it to the wrong world.

use alloc::vec::Vec;

use super::config::{DeviceInterrupt, PartitionConfig, SpmcManifest};
use super::error::{Found, Parsed, Report};
use super::property::Property;
use super::refusal::device_error;
use crate::own_interrupts;

/// Interrupts of one device region.
pub type Interrupts = Vec<DeviceInterrupt>;

/// All bits of the attribute cell that have a meaning.
const ATTRIBUTES: u32 = 0xfff;

/// The lower half of priorities is for Secure interrupts.
const LOWEST_PRIORITY: u32 = 0x7f;

/// Reads `interrupts`: pairs of INTID and attributes.
///
/// Refused: special INTIDs and LPIs, INTIDs that the SPMC uses itself, an INTID that is there
/// twice, attributes that contradict the INTID, Non-secure interrupts, and priorities of the
/// Non-secure half.
pub fn parse(property: &Property) -> Parsed<Interrupts> {
    let mut interrupts = Interrupts::new();
    for [id, attributes] in property.cells("pairs of interrupt id and attributes")? {
        let interrupt = DeviceInterrupt {
            id,
            attributes,
            target: None,
        };
        let found = Found::Number(id.into());
        if interrupt.kind().is_none() || own_interrupts::ALL.contains(&id) {
            let expected = "an SGI, PPI or SPI that the SPMC does not use";
            return Err(property.error(expected, found));
        }
        if interrupts.iter().any(|other| other.id == id) {
            return Err(property.error("each interrupt once", found));
        }
        if let Some(expected) = contradiction(&interrupt) {
            return Err(property.error(expected, Found::Number(attributes.into())));
        }
        interrupts.push(interrupt);
    }
    Ok(interrupts)
}

/// Returns what is expected of the attributes, if they do not fit the interrupt.
fn contradiction(interrupt: &DeviceInterrupt) -> Option<&'static str> {
    const SECURE: u32 = 1 << 8;
    let attributes = interrupt.attributes;
    if attributes & !ATTRIBUTES != 0 {
        return Some("attributes in bits 11 to 0");
    }
    if interrupt.kind() != Some(attributes >> 10) {
        return Some("attributes with the type that the id has");
    }
    if attributes & SECURE == 0 {
        return Some("attributes of a Secure interrupt");
    }
    if interrupt.id < 16 && interrupt.is_level() {
        return Some("attributes of an edge, as it is an SGI");
    }
    if attributes & 0xff > LOWEST_PRIORITY {
        return Some("attributes with a priority below 0x80");
    }
    None
}

/// Adds the PEs that `interrupts-target` names to the interrupts. The property has triples of INTID
/// and MPIDR in two cells.
pub fn targeted(mut interrupts: Interrupts, targets: Option<Property>) -> Parsed<Interrupts> {
    let Some(targets) = targets else {
        return Ok(interrupts);
    };
    for [id, high, low] in targets.cells("triples of interrupt id and MPIDR in two cells")? {
        let interrupt = interrupts
            .iter_mut()
            .find(|interrupt| interrupt.id == id && !interrupt.is_private())
            .ok_or_else(|| {
                let expected = "an SPI of the interrupts property";
                targets.error(expected, Found::Number(id.into()))
            })?;
        interrupt.target = Some(u64::from(high) << 32 | u64::from(low));
    }
    Ok(interrupts)
}

/// Checks that each target is a PE of the system.
pub(super) fn check_targets(config: &PartitionConfig, spmc: &SpmcManifest, report: &Report) {
    for region in &config.device_regions {
        let targets = region.interrupts.iter().filter_map(|one| one.target);
        for target in targets {
            if !spmc.cpus.contains(&target) {
                let expected = "a PE of the SPMC manifest";
                let found = Found::Number(target);
                device_error(region, "interrupts-target", expected, found, report);
            }
        }
    }
}

/// Checks that no interrupt belongs to both partitions.
pub(super) fn check_owners(config: &PartitionConfig, other: &PartitionConfig, report: &Report) {
    for region in &config.device_regions {
        for interrupt in &region.interrupts {
            let mut others = other
                .device_regions
                .iter()
                .flat_map(|device| &device.interrupts);
            if others.any(|taken| taken.id == interrupt.id) {
                let found = Found::Used(interrupt.id.into(), other.id);
                let expected = "an interrupt that no other partition has";
                device_error(region, "interrupts", expected, found, report);
            }
        }
    }
}
