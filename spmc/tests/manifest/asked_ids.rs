//! Ids that manifests ask for: which of them a partition gets, and what is logged about it.

use spmc::id::PartitionId;
use spmc::manifest::config::PartitionConfig;
use spmc::manifest::{ids, spmc_manifest, validate};

use crate::log_capture::capture;
use crate::tree::{Node, manifest, parse_partition, range, spmc_manifest};

/// The first partition of the SPMC manifest, and the partitions that are settled before it.
struct Case<'c> {
    asks: u32,
    earlier: &'c [&'c PartitionConfig],
    change: &'c dyn Fn(&mut Node),
    change_spmc: &'c dyn Fn(&mut Node),
}

impl Default for Case<'_> {
    fn default() -> Self {
        Self {
            asks: 0,
            earlier: &[],
            change: &|_| {},
            change_spmc: &|_| {},
        }
    }
}

impl Case<'_> {
    /// Returns the id that the partition gets, and the lines of the log.
    fn settle(&self) -> (u16, Vec<String>) {
        let mut spmc = spmc_manifest();
        (self.change_spmc)(&mut spmc);
        let spmc = spmc_manifest::parse(&spmc.to_dtb()).unwrap();
        let mut tree = manifest();
        tree.put("", "id", &[self.asks]);
        (self.change)(&mut tree);
        let (mut config, _) =
            capture(|| parse_partition(&tree.to_dtb(), &spmc.partitions[0]).unwrap());
        let ((), lines) = capture(|| ids::settle(&mut config, self.earlier.iter().copied(), &spmc));
        (config.id.0, lines)
    }

    #[track_caller]
    fn keeps_its_place(&self) {
        let asked = PartitionId(self.asks as u16);
        let line = format!(
            "WARN vm1: id: {asked} is no Secure id that is free; \
             the partition has 0x8001 by its place in the SPMC manifest"
        );
        assert_eq!(self.settle(), (0x8001, vec![line]));
    }
}

/// Returns the second partition of the SPMC manifest, after a change to its own manifest.
fn second(change: impl FnOnce(&mut Node)) -> PartitionConfig {
    let spmc = spmc_manifest::parse(&spmc_manifest().to_dtb()).unwrap();
    let mut tree = manifest();
    change(&mut tree);
    let tree = tree.to_dtb();
    let (config, _) = capture(|| parse_partition(&tree, &spmc.partitions[1]).unwrap());
    config
}

// req: MAN-05, GEN-16, PMAN-19
#[test]
fn a_free_id_is_granted() {
    // The first id has the low byte of the partition's own place, and the second that of a place
    // without a partition.
    for asks in [0x9001, 0x8003, 0x8041, 0xffbf, 0xff00] {
        let case = Case {
            asks,
            ..Case::default()
        };
        let asked = PartitionId(asks as u16);
        let line = format!("INFO vm1: id: {asked}, not 0x8001 by its place");
        assert_eq!(case.settle(), (asks as u16, vec![line]));
    }
    for asks in [1, 0x8001] {
        let case = Case {
            asks,
            ..Case::default()
        };
        assert_eq!(case.settle(), (0x8001, vec![]), "{asks:#x} is its own");
    }
}

// req: MAN-05, GEN-16, GEN-17, PMAN-19
#[test]
fn an_id_that_stands_for_something_else_is_not() {
    // Numbers of places, ids of EL3, the id of another place, and an id with the low byte of that.
    for asks in [2, 7, 0x7ffe, 0xffc0, 0xfffe, 0x8002, 0x9002] {
        Case {
            asks,
            ..Case::default()
        }
        .keeps_its_place();
    }
    let spmc = &|tree: &mut Node| tree.put("attribute", "spmc_id", &[0x8800]);
    let of_spmc = Case {
        asks: 0x8800,
        change_spmc: spmc,
        ..Case::default()
    };
    of_spmc.keeps_its_place();
    let device = &|tree: &mut Node| {
        tree.put("stream-endpoints/device", "stream-endpoint-id", &[0x8041]);
        tree.put("stream-endpoints/device", "smmu-id", &[0]);
        tree.put("stream-endpoints/device", "stream-ids", &[1]);
    };
    let of_device = Case {
        asks: 0x8041,
        change_spmc: device,
        ..Case::default()
    };
    of_device.keeps_its_place();
    let auxiliary = &|tree: &mut Node| tree.put("", "auxiliary-id", &[0x8041]);
    let own = Case {
        asks: 0x8041,
        change: auxiliary,
        ..Case::default()
    };
    own.keeps_its_place();
}

// req: MAN-05, MAN-06, GEN-17, PMAN-19
#[test]
fn an_id_that_an_earlier_partition_has_is_not() {
    let mut granted = second(|_| {});
    granted.id = PartitionId(0x8041);
    for asks in [0x8041, 0x9041] {
        let earlier = &[&granted];
        Case {
            asks,
            earlier,
            ..Case::default()
        }
        .keeps_its_place();
    }
    let auxiliary = second(|tree| tree.put("", "auxiliary-id", &[0x8041]));
    let mut streams = second(|_| {});
    streams.stream_endpoints.push(PartitionId(0x8041));
    for earlier in [auxiliary, streams] {
        let earlier = &[&earlier];
        Case {
            asks: 0x8041,
            earlier,
            ..Case::default()
        }
        .keeps_its_place();
    }
}

// req: MAN-06, GEN-17
#[test]
fn nothing_else_has_an_id_that_was_granted() {
    let mut first = second(|tree| {
        for name in ["rx_tx-info", "memory-regions", "device-regions"] {
            tree.remove_node(name);
        }
        tree.remove("", "boot-order");
    });
    first.id = PartitionId(0x8041);
    let spmc = spmc_manifest::parse(&spmc_manifest().to_dtb()).unwrap();
    let mut tree = manifest();
    tree.put("", "auxiliary-id", &[0x8041]);
    let auxiliary = parse_partition(&tree.to_dtb(), &spmc.partitions[0]).unwrap();
    let mut streams = parse_partition(&manifest().to_dtb(), &spmc.partitions[0]).unwrap();
    streams.stream_endpoints.push(PartitionId(0x8041));
    for (config, line) in [
        (
            auxiliary,
            "/: auxiliary-id: expected an id that no partition or stream endpoint has, \
             found 0x8041, which 0x8041 has",
        ),
        (
            streams,
            "/: stream-endpoint-ids: expected ids that no other manifest has, \
             found 0x8041, which 0x8041 has",
        ),
    ] {
        let image = range(0x0610_0000, 0x80);
        let error = validate::partition(&config, [&first].into_iter(), &spmc, &image);
        assert_eq!(error.unwrap_err().to_string(), line);
    }
}
