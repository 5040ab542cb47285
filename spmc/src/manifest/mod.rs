//! Manifests and packages: device trees and headers turned into typed, validated configuration,
//! before anything is loaded.
//!
//! The order of use at boot:
//!
//! 1. [`spmc_manifest::parse`] reads the SPMC manifest, and lists the faults of single partitions
//!    in it. [`own_memory::own_memory`] says which memory is the SPMC's.
//! 2. For each package, [`package::Package::parse`] finds manifest and image,
//!    [`partition_manifest::read`] reads the manifest, and [`validate::partition`] decides whether
//!    the partition may have what it asks for.
//! 3. [`boot_info::write`] tells a partition where its own manifest is.
//!
//! `cargo xtask manifest check` calls [`check`], which does as much of this as one file alone
//! allows. Every error is one [`ManifestError`], printed as one line. The input is never trusted:
//! no bytes make these functions panic or loop.

pub mod board;
pub mod boot_info;
pub mod config;
mod error;
mod fingerprint;
pub mod hob;
pub mod ids;
mod interrupts;
mod life_cycle;
pub mod own_memory;
pub mod package;
pub mod partition_manifest;
mod preemption;
mod processor;
mod property;
mod refusal;
mod regions;
mod services;
pub mod spmc_manifest;
mod stream_devices;
mod structure;
mod tree;
pub mod validate;

pub use error::{Fault, Found, ManifestError, Report};
pub use fingerprint::Fingerprint;
pub use tree::Name;

use crate::addr::{ADDRESS_LIMIT, Pa, PageRange};
use alloc::boxed::Box;
use alloc::vec::Vec;
use board::Board;
use config::{PackageEntry, SpmcManifest};
use error::Parsed;
use fdt::properties::values::PropertyValue;
use property::Property;
use tree::Node;

/// All kinds of `compatible`, for messages.
const COMPATIBLE: &str = "\"arm,ffa-core-manifest-1.0\" or \"arm,ffa-manifest-1.0\" or \"-1.1\"";

/// Distinguishes manifests by what they describe.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// The SPMC manifest.
    Spmc,
    /// The manifest of one partition.
    Partition,
}

/// Reads the SPMC manifest of a system whose PEs have physical addresses of `bits` bits. The facts
/// about the board in it go to `board`, also those of a manifest that is refused. This is a
/// function of its own, so that its large stack frame is gone when partitions boot.
///
/// Errors: those of [`spmc_manifest::parse`] and [`validate::geometry`].
#[cold]
#[inline(never)]
pub fn system(
    dtb: &[u8],
    bits: u32,
    board: &mut Board,
) -> Result<Box<SpmcManifest>, ManifestError> {
    let mut manifest = spmc_manifest::parse_with(dtb, board)?;
    manifest.geometry = validate::geometry(&manifest, bits)?;
    Ok(Box::new(manifest))
}

/// Checks one manifest by itself, as far as that is possible without the system that it is for. A
/// partition's memory is taken to be what `load-address` and `mem-size` say, or all memory where
/// they are absent.
///
/// Errors: those of [`spmc_manifest::parse`] together with the first of its faults, or those of
/// [`partition_manifest::read`] and [`validate::supported`]; a `compatible` that is none of theirs.
pub fn check(dtb: &[u8]) -> Result<Kind, ManifestError> {
    let report = Report::new();
    let kind = judge(dtb, &report);
    report.verdict()?;
    // Without a fault it is of some kind.
    Ok(kind.unwrap_or(Kind::Spmc))
}

/// Checks one manifest as [`check`] does, and leaves all that is wrong with it in `report`. Returns
/// the kind that it says it is of.
pub fn judge<'a>(dtb: &'a [u8], report: &'a Report<'a>) -> Option<Kind> {
    let (kind, package) = read(dtb, report).ok()?;
    match kind {
        Kind::Spmc => {
            let faults = spmc_manifest::read(dtb, report).faults;
            if report.is_good()
                && let Some(fault) = faults.into_iter().next()
            {
                report.put(fault);
            }
        }
        Kind::Partition => {
            let config = partition_manifest::read(dtb, &package, report);
            validate::judge_supported(&config, report);
        }
    }
    Some(kind)
}

/// The kind of a manifest, and the package that a partition's describes.
fn read<'a>(dtb: &'a [u8], report: &'a Report<'a>) -> Parsed<(Kind, PackageEntry)> {
    let root = Node::root(dtb, report)?;
    let mut kind = None;
    let mut load_address = 0;
    let mut mem_size = None;
    let mut vcpu_count = 1;
    for property in root.properties() {
        match property.name {
            "compatible" => kind = Some(kind_of(&property)),
            "load-address" => load_address = cells(&property).unwrap_or(0),
            "mem-size" => mem_size = cells(&property),
            "execution-ctx-count" => vcpu_count = cells(&property).unwrap_or(1) as u16,
            _ => {}
        }
    }
    let kind = kind.unwrap_or_else(|| Err(root.missing("compatible", COMPATIBLE)))?;
    let size = mem_size.unwrap_or_else(|| ADDRESS_LIMIT.saturating_sub(load_address));
    let memory = PageRange::from_bytes(Pa::new(load_address), size).ok_or_else(|| {
        root.error(
            "load-address",
            "whole 4 KiB pages within the 48-bit address space",
            Found::Number(load_address),
        )
    })?;
    let package = PackageEntry {
        index: 0,
        name: Name::from("partition").unwrap_or_default(),
        memory,
        vcpu_count,
        smc_whitelist: Vec::new(),
        smc_whitelist_permissive: false,
    };
    Ok((kind, package))
}

/// A value of one or two cells. What is none, the parser of that kind of manifest refuses.
fn cells(property: &Property) -> Option<u64> {
    PropertyValue::parse(property.value).ok()
}

fn kind_of(property: &Property) -> Parsed<Kind> {
    if property.has_string(spmc_manifest::COMPATIBLE) {
        Ok(Kind::Spmc)
    } else if property.has_string(partition_manifest::COMPATIBLE_1_0)
        || property.has_string(partition_manifest::COMPATIBLE_1_1)
    {
        Ok(Kind::Partition)
    } else {
        Err(property.error(COMPATIBLE, Found::text(property.value)))
    }
}
