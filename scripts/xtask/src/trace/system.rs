//! The partitions of a system, as the SPMC's own readers of manifests see them: names, ids,
//! versions and numbers of execution contexts.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, anyhow};
use spmc::addr::{Pa, PageRange};
use spmc::boot::FIRST_VMID;
use spmc::ffa::Version;
use spmc::id::PartitionId;
use spmc::manifest::config::{PartitionConfig, SpmcManifest};
use spmc::manifest::package::Package;
use spmc::manifest::{ManifestError, Report, ids, partition_manifest, spmc_manifest};

use crate::process::output;

/// The node with the list of packages, in the configuration of BL2.
const PACKAGES: &str = "/secure-partitions";

/// A partition.
#[derive(Clone, Debug)]
pub struct Partition {
    /// VMID or ASID.
    pub tag: u64,
    pub id: PartitionId,
    pub name: String,
    /// The version that its manifest states.
    pub version: Version,
    /// Set if it has one execution context for each PE.
    pub is_mp: bool,
}

/// Returns the partitions of the flash image in `dir`: those that BL2 loads, each with the name and
/// the place that the SPMC manifest gives it. A package that the boot refuses is left out, as far
/// as its manifest shows that.
pub fn partitions(dir: &Path) -> Result<Vec<Partition>> {
    let manifest = spmc_manifest(dir)?;
    let list = dir.join("tb_fw_config.dtb");
    let names = output(Command::new("fdtget").arg("-l").arg(&list).arg(PACKAGES))?;
    let mut configs: Vec<PartitionConfig> = Vec::new();
    for name in names.lines() {
        let node = format!("{PACKAGES}/{name}");
        let mut query = Command::new("fdtget");
        query
            .args(["-t", "x"])
            .arg(&list)
            .args([&node, "load-address"]);
        let words = output(&mut query)?;
        let address = words.split_whitespace().try_fold(0, |address, word| {
            Ok::<_, anyhow::Error>(address << 32 | u64::from_str_radix(word, 16)?)
        })?;
        configs.extend(config(
            &dir.join(format!("{name}.pkg")),
            address,
            &manifest,
        )?);
    }
    configs.sort_by_key(|config| config.index);
    for n in 0..configs.len() {
        let (earlier, rest) = configs.split_at_mut(n);
        if let Some(config) = rest.first_mut() {
            ids::settle(config, earlier.iter(), &manifest);
        }
    }
    Ok(configs.iter().map(Partition::of).collect())
}

/// Returns what the manifest of the SPMC says that is beside the flash image.
pub fn spmc_manifest(dir: &Path) -> Result<SpmcManifest> {
    let manifest = spmc_manifest::parse(&read(&dir.join("tos_fw_config.dtb"))?);
    manifest.map_err(|fault| anyhow!("the SPMC manifest: {fault}"))
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

/// Returns what the manifest in a package says, or `None` if the boot refuses the package.
fn config(path: &Path, address: u64, manifest: &SpmcManifest) -> Result<Option<PartitionConfig>> {
    let mut entries = manifest.partitions.iter();
    let Some(entry) = entries.find(|entry| entry.memory.base().raw() == address) else {
        return Ok(None);
    };
    let bytes = read(path)?;
    let package = unpack(&bytes, entry.memory);
    let dtb = package.and_then(|package| {
        let start = package.manifest_offset() as usize;
        bytes.get(start..start + package.manifest_size())
    });
    Ok(dtb.and_then(|dtb| {
        let report = Report::new();
        let config = partition_manifest::read(dtb, entry, &report);
        report.is_good().then_some(config)
    }))
}

/// The refusal of a package.
struct Refused;

impl From<ManifestError> for Refused {
    fn from(_: ManifestError) -> Self {
        Self
    }
}

/// Parses a package that BL2 loads to the beginning of `memory`.
fn unpack(bytes: &[u8], memory: PageRange<Pa>) -> Option<Package> {
    Package::parse::<Refused>(memory, &mut |offset, to| {
        let from = bytes.get(offset as usize..);
        let there = from.and_then(|from| from.get(..to.len()));
        to.copy_from_slice(there.ok_or(Refused)?);
        Ok(())
    })
    .ok()
}

impl Partition {
    fn of(config: &PartitionConfig) -> Self {
        Self {
            tag: u64::from(FIRST_VMID) + config.index as u64,
            id: config.id,
            name: config.name.to_string(),
            version: config.ffa_version,
            is_mp: config.vcpu_count > 1,
        }
    }
}
