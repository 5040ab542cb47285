//! Checks of the SPMC manifest, which EL3 reads, too.

use sp_layout::MAX_CONFIG;
use spmc::addr::{ADDRESS_LIMIT, PAGE_SIZE, Pa, PageRange};
use spmc::manifest::config::SpmcManifest;
use spmc::manifest::own_memory::{Wants, own_memory};
use spmc::manifest::{self, validate};
use spmc::mem::Shares;

use crate::diagnostic::{By, Diagnostics, Place};
use crate::engine::{System, hear};
use crate::redistributor::{Typer, redistributors};
use crate::sizes::{self, Counts};
use crate::source::Source;

/// Pages that EL2 reaches by one table of level 3. With `table-memory`, the SPMC takes such tables
/// from the rest.
const ENTRIES: u64 = 512;

/// Judges the SPMC manifest and the addresses that it gives to packages.
pub fn judge<'s>(source: &'s Source, diagnostics: &mut Diagnostics) -> System<'s> {
    let mut image = image(source);
    let mut needed = None;
    let manifest = hear(source, None, diagnostics, |report| {
        let mut manifest = manifest::spmc_manifest::read(&source.dtb, report);
        if let Some(start) = manifest.load_address {
            let pes = manifest.cpus.len().max(1) as u64;
            let partitions = manifest.partitions.len();
            let wants = Wants {
                least: Counts {
                    pes,
                    partitions: partitions as u64,
                    transactions: Shares::count(partitions, manifest.transactions) as u64,
                    vms: manifest.vms.into(),
                }
                .needed(),
                most: sizes::WANTED,
            };
            if let Some(own) = own_memory(&mut manifest, Pa::new(start), &wants, report) {
                image = own;
                needed = Some(wants.least);
            }
        }
        validate::judge_spmc(&manifest, &image, report);
        for (index, device) in manifest.stream_devices.iter().enumerate() {
            let earlier = manifest.stream_devices.get(..index).unwrap_or(&[]);
            validate::judge_stream_device(device, earlier, &manifest, report);
        }
        manifest
    });
    for entry in &manifest.partitions {
        let vm = format!("/hypervisor/vm{}", entry.index + 1);
        hear(source, Some(&vm), diagnostics, |report| {
            validate::judge_package(entry.index, &entry.memory, &manifest, &image, report);
        });
    }
    judge_attribute(source, diagnostics);
    if let Some(needed) = needed {
        diagnostics.note(memory(&image, needed, manifest.table_memory.as_ref()));
    }
    judge_redistributors(source, &manifest, diagnostics);
    if manifest.cpus.is_empty() {
        let message = "/cpus: expected a node for each PE, found nothing";
        diagnostics.error(By::Firmware, source.tree.place("/cpus", ""), message);
    }
    if source.dtb.len() > MAX_CONFIG {
        let size = source.dtb.len();
        let message =
            format!("TOS_FW_CONFIG: expected at most {MAX_CONFIG} bytes as a blob, found {size}");
        diagnostics.error(By::Firmware, Place::whole(&source.path), message);
    }
    System {
        source,
        manifest,
        image,
    }
}

/// Compares the regions of redistributors with the PEs. Where no property states the distance
/// between two redistributors, the GIC does, which is not known here.
fn judge_redistributors(source: &Source, manifest: &SpmcManifest, diagnostics: &mut Diagnostics) {
    const KIB: u64 = 1024;
    const USUAL: u64 = 128 * KIB;
    const WITH_VIRTUAL_LPIS: u64 = 256 * KIB;
    let Some(gic) = &manifest.board.gic else {
        return;
    };
    let pes = manifest.cpus.len();
    let room = |distance| {
        let walk = |region: &PageRange<Pa>| {
            let range = region.base().raw()..region.end().raw();
            redistributors(range, Some(distance), |_| Some(Typer(0)))
        };
        gic.redistributors.iter().flat_map(walk).take(pes).count()
    };
    let (least, most) = match gic.stride {
        Some(stride) => (stride, stride),
        None => (USUAL, WITH_VIRTUAL_LPIS),
    };
    if room(least) < pes {
        let mut nodes = source.tree.nodes();
        let gic = nodes.find(|node| {
            let compatible = node.property("compatible");
            compatible.is_some_and(|value| value.has_string("arm,gic-v3"))
        });
        let path = gic.map_or("/", |node| node.path.as_str());
        let message = format!(
            "{path}: reg: expected redistributors of {pes} PEs, found room for {} of {} KiB each",
            room(least),
            least / KIB
        );
        diagnostics.warn(By::Spmc, source.tree.place(path, "reg"), message);
    } else if room(most) < pes {
        diagnostics.note(format!(
            "GIC: redistributors for {} of {pes} PEs if each takes {} KiB, as with virtual LPIs",
            room(most),
            most / KIB
        ));
    }
}

/// Returns a line about the SPMC's own memory, in the words of the line at boot, and about the
/// pages for translation tables, which bound what can be shared (docs/memory.md).
fn memory(own: &PageRange<Pa>, needed: u64, table_memory: Option<&PageRange<Pa>>) -> String {
    let mut tables = sizes::LEAST_TABLES + own.size().saturating_sub(needed) / PAGE_SIZE;
    if let Some(more) = table_memory {
        tables += more.pages();
        // One table of level 2, and those of level 3 below it.
        tables -= 1 + tables.div_ceil(ENTRIES);
    }
    format!(
        "memory: {} KiB needed, {} in all at {}; at least {tables} pages for tables",
        needed / 1024,
        own.size() / 1024,
        own.base(),
    )
}

/// Returns the range that the manifest states for the SPMC, or the last page of all addresses if it
/// states none.
fn image(source: &Source) -> PageRange<Pa> {
    let number = |name| source.tree.number("/attribute", name);
    let base = number("load_address");
    let size = number("binary_size").unwrap_or(PAGE_SIZE);
    let said = base.and_then(|base| PageRange::new(Pa::new(base), size.div_ceil(PAGE_SIZE)));
    let last = || PageRange::new(Pa::new(ADDRESS_LIMIT - PAGE_SIZE), 1);
    said.or_else(last).expect("the last page is a range")
}

/// Checks what the SPMD, but not the SPMC, reads from `attribute`. The SPMD refuses entry points of
/// secondary PEs that are not in the image.
fn judge_attribute(source: &Source, diagnostics: &mut Diagnostics) {
    let tree = &source.tree;
    if tree.node("/attribute").is_none() {
        return;
    }
    let mut refuse = |name: &str, expected: &str, found: &str| {
        let message = format!("/attribute: {name}: expected {expected}, found {found}");
        diagnostics.error(By::Firmware, tree.place("/attribute", name), message);
    };
    let mut said = |name: &str, expected: &str| {
        let number = tree.number("/attribute", name);
        if number.is_none() {
            refuse(name, expected, "nothing");
        }
        number
    };
    let base = said("load_address", "the address at which BL2 loads the SPMC");
    let size = said(
        "binary_size",
        "the bytes of the SPMC, without which it has one PE alone",
    );
    let entry = said("entrypoint", "the first instruction of the SPMC");
    if let (Some(base), Some(size), Some(entry)) = (base, size, entry)
        && !(base..base.saturating_add(size)).contains(&entry)
    {
        let end = base.saturating_add(size);
        let expected = format!("an address in {base:#x}..{end:#x}");
        refuse("entrypoint", &expected, &format!("{entry:#x}"));
    }
}
