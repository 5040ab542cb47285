//! A report receives every fault of a manifest, in the order of the tree, and its verdict is the
//! first fault.

use std::cell::RefCell;

use spmc::manifest::{Kind, Report, judge, partition_manifest, spmc_manifest, validate};

use crate::log_capture::capture;
use crate::tree::{Node, manifest, parse_partition, range, region, spmc_manifest};

/// Runs `work` with a report. Returns the place of each fault that the report receives, and the
/// line of the verdict.
fn heard(work: impl FnOnce(&Report)) -> (Vec<String>, String) {
    let places = RefCell::new(Vec::new());
    let listener = |fault: &spmc::manifest::Fault| {
        let place = format!("{}: {}", fault.node, fault.property);
        places.borrow_mut().push(place);
    };
    let report = Report::telling(&listener);
    capture(|| work(&report));
    let verdict = report.verdict();
    assert_eq!(report.verdict(), Ok(()), "a verdict is given once");
    let line = verdict.map_or_else(|error| error.to_string(), |()| "good".into());
    (places.into_inner(), line)
}

#[track_caller]
fn has_faults(tree: &Node, kind: Kind, places: &[&str]) {
    let dtb = tree.to_dtb();
    let mut found = None;
    let (heard, verdict) = heard(|report| found = judge(&dtb, report));
    assert_eq!(heard, places);
    assert_eq!(found, Some(kind));
    assert!(verdict.starts_with(places[0]), "{verdict}");
}

#[test]
fn a_good_manifest_has_none() {
    for tree in [manifest(), spmc_manifest()] {
        let dtb = tree.to_dtb();
        let (heard, verdict) = heard(|report| {
            judge(&dtb, report);
        });
        assert!(heard.is_empty() && verdict == "good", "{heard:?} {verdict}");
    }
}

// req: MAN-01
#[test]
fn faults_of_one_partition() {
    let mut tree = manifest();
    tree.put("", "ffa-version", &[0x2_0000]);
    tree.put("", "exception-level", &[7]);
    tree.remove("", "uuid");
    tree.put("", "entrypoint-offset", &[2]);
    // Two faults are in one region, and one is in the next. Properties that point to a region that
    // is refused are not faults of their own.
    tree.put("memory-regions/rx", "base-address", &[0x0640_0100]);
    tree.put("memory-regions/rx", "attributes", &[0]);
    tree.remove("memory-regions/tx", "pages-count");
    tree.put("memory-regions/shared", "pages-count", &[0]);
    tree.put("device-regions/uart", "attributes", &[4]);
    has_faults(
        &tree,
        Kind::Partition,
        &[
            "/: ffa-version",
            "/: exception-level",
            "/memory-regions/rx: base-address",
            "/memory-regions/rx: attributes",
            "/memory-regions/tx: pages-count",
            "/memory-regions/shared: pages-count",
            "/device-regions/uart: attributes",
            // A value that was refused also counts as missing at the end.
            "/: ffa-version",
            "/: exception-level",
            "/: uuid",
            "/: entrypoint-offset",
        ],
    );
}

// req: MAN-01, GEN-17
#[test]
fn faults_of_the_spmc_manifest() {
    let mut tree = spmc_manifest();
    tree.remove("attribute", "spmc_id");
    tree.put("attribute", "exec_state", &[1]);
    tree.remove("hypervisor/vm1", "mem_size");
    tree.remove("hypervisor/vm1", "vcpu_count");
    tree.put("hypervisor/vm2", "load_address", &[0x0650_0001]);
    tree.put("hypervisor/vm4", "is_ffa_partition", &[]);
    tree.put("cpus/cpu@100", "reg", &[0, 0]);
    tree.put("memory@40000000", "reg", &[0, 0x0700_0000, 0, 0x1000]);
    tree.put("memory@9040000", "reg", &[0, 0x0904_0001, 0, 0x1000]);
    has_faults(
        &tree,
        Kind::Spmc,
        &[
            "/attribute: exec_state",
            "/attribute: spmc_id",
            "/attribute: exec_state",
            "/hypervisor/vm1: mem_size",
            "/hypervisor/vm1: vcpu_count",
            "/hypervisor/vm2: load_address",
            "/hypervisor/vm4: debug_name",
            "/hypervisor/vm4: load_address",
            "/hypervisor/vm4: mem_size",
            "/hypervisor/vm4: vcpu_count",
            "/hypervisor/vm4: ",
            "/cpus/cpu@100: reg",
            "/memory@9040000: reg",
            "/: ns-memory",
        ],
    );
}

// req: MAN-01
#[test]
fn faults_of_partitions_do_not_count_for_the_system() {
    let mut tree = spmc_manifest();
    tree.remove("hypervisor/vm1", "mem_size");
    let dtb = tree.to_dtb();
    let (heard, verdict) = heard(|report| {
        let manifest = spmc_manifest::read(&dtb, report);
        assert_eq!(manifest.faults.len(), 1);
        assert_eq!(manifest.partitions.len(), 1);
    });
    assert_eq!(heard, ["/hypervisor/vm1: mem_size"]);
    assert_eq!(verdict, "good");
}

// req: MAN-27, MAN-28
#[test]
fn faults_that_both_manifests_show() {
    let spmc = spmc_manifest::parse(&spmc_manifest().to_dtb()).unwrap();
    let mut tree = manifest();
    tree.put("", "auxiliary-id", &[0x8002]);
    tree.put("memory-regions/rx", "base-address", &[0x0900_0000]);
    tree.put("memory-regions/shared", "base-address", &[0x0610_0000]);
    tree.put("memory-regions/shared", "attributes", &[3]);
    tree.put("device-regions/rtc", "base-address", &[0x0a00_0000]);
    let (config, _) = capture(|| parse_partition(&tree.to_dtb(), &spmc.partitions[0]));
    let (heard, verdict) = heard(|report| {
        let image = range(0x0610_0000, 0x80);
        validate::judge(&config.unwrap(), [].into_iter(), &spmc, &image, report);
    });
    let places = [
        "/memory-regions/rx: base-address",
        "/memory-regions/shared: base-address",
        "/device-regions/rtc: base-address",
        "/: auxiliary-id",
    ];
    assert_eq!(heard, places);
    assert!(verdict.starts_with(places[0]), "{verdict}");
}

// req: MAN-01
#[test]
fn a_damaged_tree_is_refused_for_its_damage() {
    let mut tree = manifest();
    tree.put("", "ffa-version", &[0x2_0000]);
    let dtb = tree.child(region("late", 0, 0, 0)).to_dtb();
    let mut damaged = dtb.clone();
    // The end of the tree is cut off, and with it the end of the root node.
    let size = u32::from_be_bytes(dtb[36..40].try_into().unwrap());
    damaged[36..40].copy_from_slice(&(size - 4).to_be_bytes());
    let (heard, verdict) = heard(|report| {
        partition_manifest::read(&damaged, &crate::tree::entry(), report);
    });
    assert_eq!(heard, ["device tree: structure block"]);
    let expected = "more of the structure block, found something else 0 bytes before its end";
    assert_eq!(
        verdict,
        format!("device tree: structure block: expected {expected}")
    );
}
