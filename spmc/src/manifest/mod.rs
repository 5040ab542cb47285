//! Manifests and packages: device trees and headers turned into typed, validated configuration, before anything is loaded.
//!
//! The order of use at boot:
//!
//! 1. [`spmc::parse`] reads the SPMC manifest; faults of single partitions are listed in it.
//! 2. For each package, [`package::Package::parse`] checks the header, [`partition::parse`] reads the manifest that it points
//!    to, and [`validate::partition`] decides whether the partition may have what it asks for.
//! 3. [`boot_info::write`] tells a partition where its own manifest is.
//!
//! `cargo xtask manifest check` calls [`check`], which does as much of this as one file alone allows. Every error is one
//! [`ManifestError`], printed as one line. The input is never trusted: no bytes make these functions panic or loop.

pub mod boot_info;
pub mod config;
mod devices;
mod dtb;
mod error;
mod interrupts;
pub mod package;
pub mod partition;
mod regions;
mod services;
pub mod spmc;
pub mod validate;

pub use error::{Found, ManifestError};

use crate::addr::{ADDRESS_LIMIT, Pa, PageRange};
use crate::id::PartitionId;
use arrayvec::ArrayVec;
use config::{Name, PackageEntry};
use dtb::{Property, Reader};
use error::{Parsed, Report};

/// All kinds of `compatible`, for messages.
const COMPATIBLE: &str = "\"arm,ffa-core-manifest-1.0\" or \"arm,ffa-manifest-1.0\" or \"-1.1\"";

/// What a manifest describes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// The SPMC manifest.
    Spmc,
    /// The manifest of one partition.
    Partition,
}

/// Checks one manifest by itself, as far as that is possible without the system that it is for. A partition's memory is taken to be
/// what `load-address` and `mem-size` say, or all memory where they are absent.
///
/// Errors: those of [`spmc::parse`] together with the first of its faults, or those of [`partition::parse`] and
/// [`validate::supported`]; a `compatible` that is none of theirs.
pub fn check(dtb: &[u8]) -> Result<Kind, ManifestError> {
    let report = Report::new();
    let package = read(dtb, &report).map_err(|refused| report.explain(refused))?;
    let Some(package) = package else {
        return match spmc::parse(dtb)?.faults.pop_at(0) {
            Some(fault) => Err(fault),
            None => Ok(Kind::Spmc),
        };
    };
    validate::supported(&partition::parse(dtb, &package)?)?;
    Ok(Kind::Partition)
}

/// The package that a partition's manifest describes, nothing for the SPMC manifest.
fn read(dtb: &[u8], report: &Report) -> Parsed<Option<PackageEntry>> {
    let mut reader = Reader::new(dtb, report)?;
    let root = reader.path();
    let mut kind = None;
    let mut load_address = 0;
    let mut mem_size = None;
    let mut vcpu_count = 1;
    while let Some(property) = reader.next_property()? {
        match property.name {
            "compatible" => kind = Some(kind_of(&property)?),
            "load-address" => load_address = property.u64()?,
            "mem-size" => mem_size = Some(property.u64()?),
            "execution-ctx-count" => vcpu_count = property.u32()? as u16,
            _ => {}
        }
    }
    if kind.ok_or_else(|| root.missing("compatible", COMPATIBLE))? == Kind::Spmc {
        return Ok(None);
    }
    let size = mem_size.unwrap_or_else(|| ADDRESS_LIMIT.saturating_sub(load_address));
    let memory = PageRange::from_bytes(Pa::new(load_address), size).ok_or_else(|| {
        root.error(
            "load-address",
            "whole 4 KiB pages within the 48-bit address space",
            Found::Number(load_address),
        )
    })?;
    Ok(Some(PackageEntry {
        id: PartitionId::from_index(0),
        name: Name::from("partition").unwrap_or_default(),
        memory,
        vcpu_count,
        smc_whitelist: ArrayVec::new(),
        smc_whitelist_permissive: false,
    }))
}

fn kind_of(property: &Property) -> Parsed<Kind> {
    if property.has_string(spmc::COMPATIBLE) {
        Ok(Kind::Spmc)
    } else if property.has_string(partition::COMPATIBLE_1_0)
        || property.has_string(partition::COMPATIBLE_1_1)
    {
        Ok(Kind::Partition)
    } else {
        Err(property.error(COMPATIBLE, Found::text(property.value)))
    }
}
