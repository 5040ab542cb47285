//! Compares the check with the boot on layouts with random faults: the check must report a fault
//! wherever the boot refuses something, and the boot must print each line that the check says the
//! SPMC would print.
//!
//! `MANIFEST_CHECK_LAYOUTS` is the number of layouts.

use std::cell::RefCell;
use std::fmt::Write;
use std::process::Command;
use std::sync::Arc;

use host_tests::manifest::{Region, partition_base, spmc_manifest};
use host_tests::schedule::{Random, seeds};
use host_tests::source::Source;
use host_tests::{PartitionSpec, System};
use log::{Level, LevelFilter, Log, Metadata, Record};
use sp_layout::{Contents, Form, Offsets};

use crate::device_tree::Tree;
use crate::support::{Case, Fault};

/// The files of a layout: the SPMC manifest, and those of the partitions.
const FILES: [&str; 4] = ["spmc.dtb", "one.dtb", "two.dtb", "three.dtb"];

/// The values by which a cell is replaced.
const CELLS: [u32; 24] = [
    0,
    1,
    2,
    3,
    4,
    5,
    7,
    8,
    9,
    16,
    40,
    0xffff,
    0x1000,
    0x8000,
    0x8001,
    0x8002,
    0x8041,
    0x1_0000,
    0x1_0001,
    0x1_0003,
    0x0e20_0000,
    0x0e40_0000,
    0x4010_0000,
    u32::MAX,
];

/// The numbers that are added to a cell.
const STEPS: [u32; 6] = [
    1,
    0x1000,
    0x10_0000,
    0x20_0000,
    0u32.wrapping_sub(0x10_0000),
    u32::MAX,
];

/// The properties that are not changed: they state where BL2 puts the SPMC, and the fake machine
/// does not take that from the manifest.
const FIRMWARES: [&str; 3] = ["load_address", "binary_size", "entrypoint"];

/// Returns partitions that use everything that a manifest may contain.
fn partitions() -> [PartitionSpec; 3] {
    let region = |name, base, relative, attributes| Region {
        name,
        base,
        relative,
        pages: 1,
        attributes,
    };
    let one = PartitionSpec::new("one").with(|spec| {
        spec.regions = vec![
            region("tx", 0x1_0000, true, 3),
            region("rx", 0x1_1000, true, 1),
            region("heap", 0x0ee0_0000, false, 3),
            region("ns", 0x4080_0000, false, 0xb),
        ];
        spec.rx_tx = Some(("rx", "tx"));
        spec.boot_register = Some(0);
        spec.boot_order = Some(2);
    });
    let two = PartitionSpec::new("two").vcpus(2).with(|spec| {
        spec.device = true;
        spec.device_properties.push(("interrupts", vec![40, 0xb10]));
        spec.boot_order = Some(1);
        spec.uuids.push([1, 2, 3, 4]);
        spec.vm.push(("smc_whitelist", vec![0x8400_0000]));
        spec.extra = Some(Arc::new(|fdt| {
            for flag in ["managed-exit-virq", "notification-support"] {
                fdt.property_null(flag).unwrap();
            }
        }));
    });
    let three = PartitionSpec::new("three")
        .version(1)
        .s_el0()
        .property("id", 3)
        .property("sri-interrupts-policy", 1);
    [one, two, three]
}

fn cell(value: u32) -> Vec<u8> {
    value.to_be_bytes().to_vec()
}

/// Makes one random change. Returns a description of it.
fn change(trees: &mut [Tree; 4], random: &mut Random) -> String {
    let number = random.below(4) as usize;
    let other = trees[random.below(4) as usize].clone();
    let tree = &mut trees[number];
    let at = random.below(tree.count() as u64) as usize;
    let node = tree.node(at);
    let mut what = format!("{}, {}: ", FILES[number], node.name);
    if random.rarely(8) && !node.children.is_empty() {
        let index = random.below(node.children.len() as u64) as usize;
        let child = node.children[index].clone();
        let _ = write!(what, "{}", child.name);
        match random.below(2) {
            0 => {
                node.children.remove(index);
                what += " removed";
            }
            _ => {
                node.children.push(child);
                what += " twice";
            }
        }
        return what;
    }
    if node.properties.is_empty() {
        return what + "left";
    }
    let index = random.below(node.properties.len() as u64) as usize;
    let (name, value) = node.properties[index].clone();
    let _ = write!(what, "{name} ");
    if FIRMWARES.contains(&name.as_str()) {
        return what + "left";
    }
    let cells = value.len() / 4;
    let value_of = |of: &Tree| {
        let mut of = of.clone();
        (0..of.count()).find_map(|number| {
            let properties = &of.node(number).properties;
            let same = properties.iter().find(|(other, _)| *other == name);
            same.map(|(_, value)| value.clone())
        })
    };
    match random.below(16) {
        0 => {
            node.properties.remove(index);
            what += "removed";
        }
        1 => {
            let second = (name.clone(), cell(random.pick(&CELLS)));
            node.properties.push(second);
            what += "twice";
        }
        2 => {
            let short = value.len().saturating_sub(1 + random.below(4) as usize);
            node.properties[index].1.truncate(short);
            what += "shorter";
        }
        3 => {
            node.properties[index].1.extend(cell(random.pick(&CELLS)));
            what += "longer";
        }
        4..8 => {
            if let Some(value) = value_of(&other) {
                node.properties[index].1 = value;
            }
            what += "as elsewhere";
        }
        _ if cells > 0 => {
            let cell_at = random.below(cells as u64) as usize;
            let old = u32::from_be_bytes(value[4 * cell_at..][..4].try_into().unwrap());
            let new = match random.below(2) {
                0 => random.pick(&CELLS),
                _ => old.wrapping_add(random.pick(&STEPS)),
            };
            node.properties[index].1[4 * cell_at..][..4].copy_from_slice(&new.to_be_bytes());
            let _ = write!(what, "[{cell_at}] = {new:#x}");
        }
        _ => {
            node.properties[index].1 = cell(random.pick(&CELLS));
            what += "is a cell";
        }
    }
    what
}

thread_local! {
    static LINES: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// Keeps the warnings and errors of the thread that boots.
struct Lines;

impl Log for Lines {
    fn enabled(&self, metadata: &Metadata) -> bool {
        metadata.level() <= Level::Warn
    }

    fn log(&self, record: &Record) {
        let line = record.args().to_string();
        // No manifest states which interrupts the board lacks.
        if !line.contains("the GIC has no interrupt") {
            LINES.with_borrow_mut(|lines| lines.push(line));
        }
    }

    fn flush(&self) {}
}

/// The result of a boot.
#[derive(Debug)]
struct Booted {
    /// Set if all partitions of the layout were started.
    all: bool,
    /// The warnings and errors.
    lines: Vec<String>,
}

fn boot(trees: &[Tree; 4]) -> Booted {
    let [spmc, manifests @ ..] = trees;
    let mut builder = System::builder()
        .pes(2)
        .tables(64)
        .spmc_manifest(spmc.to_dtb());
    for (mut spec, manifest) in partitions().into_iter().zip(manifests) {
        let contents = Contents {
            manifest: &manifest.to_dtb(),
            image: &[0; 4],
            load_address: 0,
        };
        let package = sp_layout::pack(Form::V2, Offsets::default(), &contents);
        spec.package = Some(package.expect("it is small").bytes);
        builder = builder.sp(spec);
    }
    LINES.take();
    let system = builder.boot();
    let started = |index: usize| {
        let mut all = system.spmc.partitions.iter();
        all.any(|partition| partition.frozen.config.index == index && !partition.is_dead())
    };
    Booted {
        all: (0..3).all(started),
        lines: LINES.take(),
    }
}

fn judge(case: &Case, trees: &[Tree; 4]) -> Vec<Fault> {
    for (file, tree) in FILES.iter().zip(trees) {
        std::fs::write(case.dir.join(file), tree.to_dtb()).unwrap();
    }
    // Layouts contain this file as source.
    let mut dtc = Command::new("dtc");
    dtc.args([
        "-q", "-f", "-I", "dtb", "-O", "dts", "-o", "spmc.dts", FILES[0],
    ]);
    assert!(dtc.current_dir(&case.dir).status().unwrap().success());
    case.judge(&["."]).1
}

fn layout() -> Case {
    let entries: Vec<_> = (0..3)
        .map(|index| {
            let name = &FILES[index + 1][..FILES[index + 1].len() - 4];
            let base = partition_base(index);
            format!(
                r#""{name}": {{ "image": "image.bin", "pm": "{name}.dtb", "physical-load-address": "{base:#x}" }}"#
            )
        })
        .collect();
    Case::new("differential")
        .write("image.bin", [0; 4])
        .write("sp_layout.json", format!("{{ {} }}", entries.join(", ")))
}

#[test]
fn the_check_says_what_the_boot_does() {
    log::set_logger(&Lines).expect("the only one");
    log::set_max_level(LevelFilter::Warn);
    let case = layout();
    let specs = partitions();
    let good = [
        spmc_manifest(&specs, 2),
        specs[0].manifest(),
        specs[1].manifest(),
        specs[2].manifest(),
    ];
    let good = good.map(|dtb| Tree::parse(&dtb));
    let (booted, faults) = (boot(&good), judge(&case, &good));
    assert!(booted.all && faults.is_empty(), "{booted:?} {faults:?}");
    let (mut differ, mut refused, mut accepted) = (String::new(), 0, 0);
    for seed in seeds("MANIFEST_CHECK_LAYOUTS", 60) {
        let mut random = Random::new(seed);
        let mut trees = good.clone();
        let changes: Vec<_> = (0..1 + random.below(2))
            .map(|_| change(&mut trees, &mut random))
            .collect();
        let booted = boot(&trees);
        let faults = judge(&case, &trees);
        let by_spmc = faults.iter().any(|fault| fault.by == "spmc");
        let missed = (!booted.all || !booted.lines.is_empty()) && faults.is_empty();
        let invented = by_spmc && booted.all && booted.lines.is_empty();
        refused += usize::from(!booted.all);
        accepted += usize::from(booted.all && booted.lines.is_empty());
        if missed || invented {
            let _ = writeln!(
                differ,
                "seed {seed}: {changes:?}\n  {booted:?}\n  {faults:?}"
            );
        }
    }
    assert!(differ.is_empty(), "{differ}");
    assert!(refused > 0 && accepted > 0);
    println!("{refused} refused, {accepted} accepted");
}
