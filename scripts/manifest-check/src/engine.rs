//! Faults that the SPMC's own parser and checks report, with their places in the source.

use std::cell::RefCell;

use log::{LevelFilter, Log, Metadata, Record};
use spmc::addr::{Pa, PageRange};
use spmc::manifest::config::{PackageEntry, PartitionConfig, SpmcManifest};
use spmc::manifest::{self, Fault, Found, Report, validate};

use crate::diagnostic::{By, Diagnostics, Place};
use crate::names;
use crate::source::Source;
use crate::tree::{Property, Tree};

/// The system for which partitions are judged.
pub struct System<'s> {
    /// The file of the SPMC manifest.
    pub source: &'s Source,
    /// The values of the SPMC manifest, as far as they can be read.
    pub manifest: SpmcManifest,
    /// The memory of the SPMC.
    pub image: PageRange<Pa>,
}

impl System<'_> {
    /// Returns the entry of the package at that address.
    pub fn package_at(&self, address: u64) -> Option<&PackageEntry> {
        let mut packages = self.manifest.partitions.iter();
        packages.find(|entry| entry.memory.base() == Pa::new(address))
    }
}

/// A fault as the parser reported it, with owned strings.
struct Heard {
    node: String,
    property: String,
    message: String,
    found: Found,
}

/// Judges a partition's manifest together with what the SPMC manifest says about its package, and
/// against the `earlier` partitions.
pub fn partition(
    source: &Source,
    entry: &PackageEntry,
    system: &System,
    earlier: &[PartitionConfig],
    diagnostics: &mut Diagnostics,
) -> PartitionConfig {
    hear(source, None, diagnostics, |report| {
        let mut config = manifest::partition_manifest::read(&source.dtb, entry, report);
        let System {
            manifest, image, ..
        } = system;
        manifest::ids::settle(&mut config, earlier.iter(), manifest);
        validate::judge(&config, earlier.iter(), manifest, image, report);
        config
    })
}

/// Judges a manifest by itself.
pub fn alone(source: &Source, diagnostics: &mut Diagnostics) {
    hear(source, None, diagnostics, |report| {
        manifest::judge(&source.dtb, report)
    });
}

/// Runs the SPMC's checks in `work` for `source`, and adds what they report and what they would
/// log. `package` is the path of the node that describes the judged package, if there is one.
pub fn hear<T>(
    source: &Source,
    package: Option<&str>,
    diagnostics: &mut Diagnostics,
    work: impl FnOnce(&Report) -> T,
) -> T {
    let misspelt = names::misspelt(source);
    let heard = RefCell::new(Vec::new());
    let listener = |fault: &Fault| {
        let node = match (fault.node, package) {
            ("package", Some(node)) => node,
            // The package was judged together with the SPMC manifest.
            ("package", None) => return,
            (node, _) => node,
        };
        let (expected, found) = (fault.expected, fault.found);
        let colon = if fault.property.is_empty() { "" } else { ": " };
        heard.borrow_mut().push(Heard {
            node: node.into(),
            property: fault.property.into(),
            message: format!(
                "{node}{colon}{}: expected {expected}, found {found}",
                fault.property
            ),
            found,
        });
    };
    LINES.take();
    let result = work(&Report::telling(&listener));
    for word in &misspelt {
        diagnostics.add(word.diagnostic());
    }
    let heard = heard.into_inner();
    for (index, fault) in heard.iter().enumerate() {
        let known = heard.get(..index).unwrap_or(&[]);
        let explained = misspelt
            .iter()
            .any(|word| word.explains(&fault.node, &fault.property));
        if fault.found == Found::Nothing && (explained || known.iter().any(|k| k.is_within(fault)))
        {
            continue;
        }
        diagnostics.error(By::Spmc, place(&source.tree, fault), &fault.message);
    }
    for line in LINES.take() {
        // The line is `name: property: reason`, or a line about the SPMC manifest.
        let property = line.split(": ").nth(1).unwrap_or("");
        let place = match property.contains("CPUs") {
            true => source.tree.place("/cpus", ""),
            false => source.tree.place("/", property),
        };
        diagnostics.warn(By::Spmc, place, line);
    }
    result
}

impl Heard {
    /// Returns whether this fault lies in what `other` reports as missing, and so only follows from
    /// `other`.
    fn is_within(&self, other: &Self) -> bool {
        let own = format!("{}/{}", self.node, self.property).replace("//", "/");
        let missed = format!("{}/{}", other.node, other.property).replace("//", "/");
        match own.strip_prefix(&missed) {
            Some(rest) => rest.is_empty() || rest.starts_with('/') || missed.ends_with('@'),
            None => false,
        }
    }
}

/// Returns the place of a fault in the source.
fn place(tree: &Tree, fault: &Heard) -> Place {
    if !fault.node.starts_with('/') {
        return tree.place("/", "");
    }
    // The SPMC names the kind of memory, but not the node.
    if let Found::Overlap(range, _) = fault.found
        && let Some(node) = tree.nodes().find(|node| {
            let is_kind = |kind: &Property| kind.has_string(&fault.property);
            let reg = node.property("reg");
            node.property("device_type").is_some_and(is_kind)
                && reg.is_some_and(|reg| holds(reg, range.base().raw()))
        })
    {
        return tree.place(&node.path, "reg");
    }
    tree.place(&fault.node, &fault.property)
}

/// Returns whether a cell of `reg`, or a pair of cells, is the address.
fn holds(reg: &Property, address: u64) -> bool {
    let cells = reg.cells();
    let long = |pair: &[u32]| match *pair {
        [high, low] => u64::from(high) << 32 | u64::from(low) == address,
        _ => false,
    };
    cells.windows(2).any(long) || cells.iter().any(|cell| u64::from(*cell) == address)
}

thread_local! {
    static LINES: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

struct Lines;

impl Log for Lines {
    fn enabled(&self, _: &Metadata) -> bool {
        true
    }

    fn log(&self, record: &Record) {
        LINES.with_borrow_mut(|lines| lines.push(record.args().to_string()));
    }

    fn flush(&self) {}
}

/// Collects, from now on, the lines that the SPMC would print in its log.
pub fn listen_to_the_log() {
    if log::set_logger(&Lines).is_ok() {
        log::set_max_level(LevelFilter::Warn);
    }
}
