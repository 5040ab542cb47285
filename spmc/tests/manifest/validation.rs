//! Checks of a partition against the rest of the system.

use spmc::manifest::config::{PackageEntry, PartitionConfig};
use spmc::manifest::{ManifestError, check, spmc_manifest, validate};

use crate::log_capture::capture;
use crate::tree::{
    Node, entry, manifest, parse_partition, range, spmc_manifest, with_live_activation,
};

/// Validates the usual manifest against the SPMC manifest and `earlier` partitions, after changes
/// to both manifests.
fn validate(
    earlier: &[&PartitionConfig],
    change: impl FnOnce(&mut Node),
    change_spmc: impl FnOnce(&mut Node),
) -> Result<(), ManifestError> {
    let mut tree = manifest();
    change(&mut tree);
    let mut spmc = spmc_manifest();
    change_spmc(&mut spmc);
    let spmc = spmc_manifest::parse(&spmc.to_dtb()).unwrap();
    let (config, _) = capture(|| parse_partition(&tree.to_dtb(), &spmc.partitions[0]));
    validate::partition(
        &config?,
        earlier.iter().copied(),
        &spmc,
        &range(0x0610_0000, 0x80),
    )
}

#[track_caller]
fn refused(change: impl FnOnce(&mut Node), line: &str) {
    assert_eq!(validate(&[], change, |_| {}).unwrap_err().to_string(), line);
}

// req: MAN-41
#[test]
fn the_normal_world_does_not_own_the_spmc() {
    let spmc = spmc_manifest::parse(&spmc_manifest().to_dtb()).unwrap();
    for (base, pages) in [(0x3fff_f000, 1), (0x5000_0000, 0x80), (0x0610_0000, 0x80)] {
        validate::spmc(&spmc, &range(base, pages)).unwrap();
    }
    for base in [0x3fff_f000, 0x4010_0000, 0x4fff_f000] {
        let error = validate::spmc(&spmc, &range(base, 2)).unwrap_err();
        let line = format!(
            "/: ns-memory: expected ranges outside the SPMC, found 0x40000000..0x50000000, \
             which overlaps the one at {base:#x}"
        );
        assert_eq!(error.to_string(), line);
    }
}

/// Returns the partition of vm2, which asks for little.
fn second(change: impl FnOnce(&mut Node)) -> PartitionConfig {
    let mut tree = manifest();
    tree.put("", "id", &[2]);
    tree.put("", "boot-order", &[4]);
    for name in ["rx_tx-info", "memory-regions", "device-regions"] {
        tree.remove_node(name);
    }
    tree.put_string(
        "memory-regions",
        "compatible",
        "arm,ffa-manifest-memory-regions",
    );
    tree.put_string(
        "device-regions",
        "compatible",
        "arm,ffa-manifest-device-regions",
    );
    change(&mut tree);
    let entry = PackageEntry {
        index: 1,
        memory: range(0x0650_0000, 0x100),
        ..entry()
    };
    capture(|| parse_partition(&tree.to_dtb(), &entry))
        .0
        .unwrap()
}

#[track_caller]
fn refused_behind(earlier: PartitionConfig, change: impl FnOnce(&mut Node), line: &str) {
    assert_eq!(
        validate(&[&earlier], change, |_| {})
            .unwrap_err()
            .to_string(),
        line
    );
}

// req: PMAN-30, PMAN-31
#[test]
fn no_image_overwrites_the_state_of_the_one_before_it() {
    assert_eq!(validate(&[], with_live_activation, |_| {}), Ok(()));
    refused(
        |tree| {
            with_live_activation(tree);
            tree.put("memory-regions/state", "base-address", &[0, 0x063f_0000]);
        },
        "/live-state-buffer-info: live-state-buffer: expected a region outside of the package, \
         found 0x63f0000..0x63f2000",
    );
    // A device that sees the partition could change the new image before it runs.
    refused(
        |tree| {
            with_live_activation(tree);
            tree.put("device-regions/uart", "smmu-id", &[0]);
            tree.put("device-regions/uart", "stream-ids", &[7]);
        },
        "/device-regions/uart: stream-ids: expected none that see a partition with \
         live-activation-support, found 0x7",
    );
}

// req: MAN-01, MAN-04, MAN-15, MAN-27, MAN-28
#[test]
fn partitions_that_want_different_things_are_accepted() {
    // Both partitions have the same UUID, which is allowed.
    assert_eq!(validate(&[&second(|_| {})], |_| {}, |_| {}), Ok(()));
    let last = |tree: &mut Node| tree.put("", "boot-order", &[0xffff]);
    assert_eq!(validate(&[&second(last)], last, |_| {}), Ok(()));
}

// req: MAN-23, MAN-27, PMAN-14
#[test]
fn where_a_region_may_lie() {
    // A relative region may lie behind the package, and an absolute one inside of it.
    let behind = |tree: &mut Node| {
        tree.put(
            "memory-regions/heap",
            "load-address-relative-offset",
            &[0x10_2000],
        );
        tree.put("memory-regions/rx", "base-address", &[0x063f_0000]);
    };
    assert_eq!(validate(&[], behind, |_| {}), Ok(()));
    let first_page = |tree: &mut Node| {
        tree.put("memory-regions/heap", "load-address-relative-offset", &[0]);
    };
    assert_eq!(validate(&[], first_page, |_| {}), Ok(()));
    let two_nodes = |spmc: &mut Node| {
        let reg = [0, 0x0640_1000, 0, 0x10_0000, 0, 0x0600_0000, 0, 0x0040_1000];
        spmc.put("memory@6000000", "reg", &reg);
    };
    let across = |tree: &mut Node| {
        tree.put("memory-regions/rx", "pages-count", &[2]);
        tree.put("memory-regions/tx", "pages-count", &[2]);
        tree.put("memory-regions/tx", "base-address", &[0x0640_2000]);
    };
    assert_eq!(validate(&[], across, two_nodes), Ok(()));
}

// req: MAN-27, PMAN-24
#[test]
fn memory_outside_the_nodes_of_its_security_state() {
    refused(
        |tree| tree.put("memory-regions/rx", "base-address", &[0x0900_0000]),
        "/memory-regions/rx: base-address: expected a range inside a memory node of its security state, found 0x9000000..0x9001000",
    );
    refused(
        |tree| tree.put("memory-regions/shared", "attributes", &[3]),
        "/memory-regions/shared: base-address: expected a range inside a memory node of its security state, found 0x40000000..0x40010000",
    );
    refused(
        |tree| tree.put("memory-regions/heap", "attributes", &[0xb]),
        "/memory-regions/heap: load-address-relative-offset: expected a range inside a memory node of its security state, found 0x6380000..0x6384000",
    );
    refused(
        |tree| tree.put("memory-regions/shared", "base-address", &[0x0700_0000]),
        "/memory-regions/shared: base-address: expected a range inside a memory node of its security state, found 0x7000000..0x7010000",
    );
    refused(
        |tree| tree.put("memory-regions/shared", "base-address", &[0x4fff_1000]),
        "/memory-regions/shared: base-address: expected a range inside a memory node of its security state, found 0x4fff1000..0x50001000",
    );
}

// req: MAN-28
#[test]
fn memory_that_something_else_has() {
    refused(
        |tree| tree.put("memory-regions/rx", "base-address", &[0x0617_f000]),
        "/memory-regions/rx: base-address: expected a range outside the SPMC, found 0x617f000..0x6180000",
    );
    refused(
        |tree| tree.put("memory-regions/rx", "base-address", &[0x065f_f000]),
        "/memory-regions/rx: base-address: expected a range that no package has, found 0x65ff000..0x6600000, which 0x8002 has",
    );
    refused(
        |tree| tree.put("memory-regions/rx", "base-address", &[0x0630_0000]),
        "/memory-regions/rx: base-address: expected a range behind the load address, found 0x6300000..0x6301000",
    );
    refused(
        |tree| tree.put("memory-regions/tx", "base-address", &[0x0640_0000]),
        "/memory-regions/tx: base-address: expected a range that no other region has, found 0x6400000..0x6401000",
    );
    refused(
        |tree| {
            tree.put(
                "memory-regions/heap",
                "load-address-relative-offset",
                &[0xf_d000],
            )
        },
        "/memory-regions/heap: load-address-relative-offset: expected a range that no package has, found 0x63fd000..0x6401000, which 0x8001 has",
    );
    refused_behind(
        second(|tree| {
            tree.put("memory-regions/x", "base-address", &[0x4000_f000]);
            tree.put("memory-regions/x", "pages-count", &[2]);
            tree.put("memory-regions/x", "attributes", &[9]);
        }),
        |_| {},
        "/memory-regions/shared: base-address: expected a range that no other partition has, found 0x40000000..0x40010000, which 0x8002 has",
    );
}

// req: MAN-27, MAN-28
#[test]
fn packages_in_the_wrong_place() {
    let package = |base: u32, line: &str| {
        let result = validate(
            &[],
            |tree| tree.remove_node("memory-regions"),
            |spmc| spmc.put("hypervisor/vm1", "load_address", &[base]),
        );
        let without_buffers = |tree: &mut Node| {
            tree.remove_node("memory-regions");
            tree.remove_node("rx_tx-info");
        };
        assert!(result.is_err());
        let result = validate(&[], without_buffers, |spmc| {
            spmc.put("hypervisor/vm1", "load_address", &[base])
        });
        assert_eq!(result.unwrap_err().to_string(), line);
    };
    package(
        0x5fff_f000,
        "package: load_address: expected a range inside a memory node of the SPMC manifest, found 0x5ffff000..0x600ff000",
    );
    package(
        0x0601_0000,
        "package: load_address: expected a range outside the SPMC, found 0x6010000..0x6110000",
    );
    package(
        0x0658_0000,
        "package: load_address: expected a range that no other package has, found 0x6580000..0x6680000, which 0x8002 has",
    );
}

// req: MAN-29, MAN-31, PMAN-24
#[test]
fn devices_that_are_none() {
    refused(
        |tree| tree.put("device-regions/uart", "base-address", &[0x0905_0000]),
        "/device-regions/uart: base-address: expected a range inside a device memory node of its security state, found 0x9050000..0x9051000",
    );
    refused(
        |tree| tree.put("device-regions/uart", "attributes", &[0xb]),
        "/device-regions/uart: base-address: expected a range inside a device memory node of its security state, found 0x9040000..0x9041000",
    );
    refused(
        |tree| tree.put("device-regions/rtc", "pages-count", &[0x11]),
        "/device-regions/rtc: base-address: expected a range inside a device memory node of its security state, found 0x9010000..0x9021000",
    );
}

// req: MAN-28, MAN-31
#[test]
fn a_device_is_what_a_node_says_and_never_memory() {
    let at =
        |base: u32| move |tree: &mut Node| tree.put("device-regions/uart", "base-address", &[base]);
    let error = validate(&[], |_| {}, |spmc| spmc.remove_node("memory@9040000")).unwrap_err();
    assert_eq!(
        error.to_string(),
        "/device-regions/uart: base-address: expected a range inside a device memory node of its security state, found 0x9040000..0x9041000"
    );
    let everything = |spmc: &mut Node| spmc.put("memory@9040000", "reg", &[0, 0, 0, 0x8000_0000]);
    assert_eq!(validate(&[], at(0x1c09_0000), everything), Ok(()));
    for base in [0x0700_0000, 0x0630_0000, 0x0610_0000] {
        let error = validate(&[], at(base), everything).unwrap_err().to_string();
        let expected =
            "/device-regions/uart: base-address: expected a range without memory, found ";
        assert!(error.starts_with(expected), "{error}");
    }
}

// The console is one of the devices that partitions commonly share. The GIC is the SPMC's.
// req: MAN-28
#[test]
fn no_partition_gets_registers_of_the_gic() {
    let board = |spmc: &mut Node| {
        spmc.put("memory@9040000", "reg", &[0, 0, 0, 0x4000_0000]);
        spmc.put_string("serial@9040000", "compatible", "arm,pl011");
        spmc.put("serial@9040000", "reg", &[0, 0x0904_0000, 0, 0x1000]);
        spmc.put_string("gic", "compatible", "arm,gic-v3");
        spmc.put("gic", "#redistributor-regions", &[2]);
        let ranges = [
            [0x1000_0000, 0x1_0000],
            [0x100a_0000, 0x4_0000],
            [0x2000_0000, 0x2_0000],
        ];
        let reg = ranges.map(|[base, size]| [0, base, 0, size]);
        spmc.put("gic", "reg", reg.as_flattened());
    };
    let at = |base: u32, pages: u32| {
        move |tree: &mut Node| {
            tree.put("device-regions/uart", "base-address", &[base]);
            tree.put("device-regions/uart", "pages-count", &[pages]);
        }
    };
    for (base, pages) in [
        (0x0904_0000, 1),
        (0x0fff_f000, 1),
        (0x1001_0000, 0x90),
        (0x100e_0000, 1),
        (0x2002_0000, 1),
    ] {
        assert_eq!(validate(&[], at(base, pages), board), Ok(()), "{base:#x}");
    }
    for (base, pages) in [
        (0x1000_0000, 0x10),
        (0x0fff_f000, 2),
        (0x1000_f000, 1),
        (0x1001_0000, 0x91),
        (0x100d_f000, 1),
        (0x2001_f000, 2),
        (0x0f00_0000, 0x2000),
    ] {
        let error = validate(&[], at(base, pages), board).unwrap_err();
        let end = base + pages * 0x1000;
        let line = format!(
            "/device-regions/uart: base-address: expected a range outside the GIC, \
             found {base:#x}..{end:#x}"
        );
        assert_eq!(error.to_string(), line);
    }
}

// A device may lie where the SPMC manifest says that the Normal world has memory.
// req: MAN-28
#[test]
fn a_device_inside_of_the_normal_worlds_memory() {
    for (node, name, attributes) in [
        ("memory@9000000", "rtc", 3 | 8),
        ("memory@9040000", "uart", 3),
    ] {
        let everything = |spmc: &mut Node| spmc.put(node, "reg", &[0, 0x0900_0000, 0, 0x7000_0000]);
        let path = format!("device-regions/{name}");
        let at = |base: u32, pages: u32| {
            let path = path.as_str();
            move |tree: &mut Node| {
                tree.put(path, "base-address", &[base]);
                tree.put(path, "pages-count", &[pages]);
            }
        };
        assert_eq!(validate(&[], at(0x4800_0000, 2), everything), Ok(()));
        // Only half of the device lies in the memory of the Normal world.
        let error = validate(&[], at(0x4fff_f000, 2), everything).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!(
                "/{path}: base-address: expected a range without memory, found 0x4ffff000..0x50001000"
            )
        );
        // A range that a manifest describes as memory cannot be a device, neither in the same
        // manifest nor in another one.
        let shared = |tree: &mut Node| {
            tree.put("memory-regions/m", "base-address", &[0x4800_0000]);
            tree.put("memory-regions/m", "pages-count", &[4]);
            tree.put("memory-regions/m", "attributes", &[3 | 8]);
        };
        let error = validate(
            &[],
            |tree| {
                shared(tree);
                at(0x4800_1000, 1)(tree);
            },
            everything,
        );
        assert_eq!(
            error.unwrap_err().to_string(),
            format!(
                "/{path}: base-address: expected a range without memory, found 0x48001000..0x48002000"
            )
        );
        let error = validate(&[&second(shared)], at(0x4800_1000, 1), everything);
        assert_eq!(
            error.unwrap_err().to_string(),
            format!(
                "/{path}: base-address: expected a device that no other partition has, found 0x48001000..0x48002000, which 0x8002 has"
            )
        );
        let device = second(|tree| {
            tree.put("device-regions/d", "base-address", &[0x4800_1000]);
            tree.put("device-regions/d", "pages-count", &[1]);
            tree.put("device-regions/d", "attributes", &[attributes]);
        });
        let error = validate(&[&device], shared, everything);
        assert_eq!(
            error.unwrap_err().to_string(),
            "/memory-regions/m: base-address: expected a range that no other partition has, found 0x48000000..0x48004000, which 0x8002 has"
        );
    }
}

// req: MAN-28, MAN-36
#[test]
fn devices_that_another_partition_owns() {
    let uart = |exclusive: bool| {
        second(|tree| {
            tree.put("device-regions/u", "base-address", &[0x0904_0000]);
            tree.put("device-regions/u", "pages-count", &[1]);
            tree.put("device-regions/u", "attributes", &[3]);
            if exclusive {
                tree.put("device-regions/u", "exclusive-access", &[]);
            }
        })
    };
    let line = "/device-regions/uart: base-address: expected a device that no other partition has, found 0x9040000..0x9041000, which 0x8002 has";
    refused_behind(uart(false), |_| {}, line);
    let shared = |tree: &mut Node| tree.remove("device-regions/uart", "exclusive-access");
    refused_behind(uart(true), shared, line);
    assert_eq!(validate(&[&uart(false)], shared, |_| {}), Ok(()));
    refused(
        |tree| tree.put("device-regions/rtc", "base-address", &[0x0904_0000]),
        "/device-regions/rtc: base-address: expected a range inside a device memory node of its security state, found 0x9040000..0x9041000",
    );
    refused(
        |tree| {
            tree.put("device-regions/rtc2", "base-address", &[0x0901_0000]);
            tree.put("device-regions/rtc2", "pages-count", &[1]);
            tree.put("device-regions/rtc2", "attributes", &[9]);
        },
        "/device-regions/rtc2: base-address: expected a range that no other region has, found 0x9010000..0x9011000",
    );
}

// A copied manifest asks for the id of the first partition. Hafnium reads no ids, and here each
// partition gets the id of its place.
// req: MAN-05, GEN-16, GEN-17
#[test]
fn an_id_twice() {
    let same = |tree: &mut Node| tree.put("", "id", &[0x8001]);
    assert_eq!(validate(&[&second(same)], same, |_| {}), Ok(()));
}

// req: MAN-06
#[test]
fn an_auxiliary_id_that_is_taken() {
    for id in [0, 0x8000, 0x8001, 0x8002, 0xffff] {
        refused(
            |tree| tree.put("", "auxiliary-id", &[id]),
            &format!("/: auxiliary-id: expected an id that no partition has, found {id:#x}"),
        );
    }
    // Several partitions may have the same auxiliary id.
    let auxiliary = |tree: &mut Node| tree.put("", "auxiliary-id", &[0xae00]);
    assert_eq!(validate(&[&second(auxiliary)], auxiliary, |_| {}), Ok(()));
}

// req: PMAN-26
#[test]
fn a_uuid_of_an_image_twice() {
    let with_image = |tree: &mut Node| tree.put("", "image-uuid", &[1, 2, 3, 4]);
    refused_behind(
        second(with_image),
        with_image,
        "/: image-uuid: expected a UUID that no other image has, found \"that of another\"",
    );
}

// req: MAN-15
#[test]
fn a_boot_order_twice() {
    refused_behind(
        second(|tree| tree.put("", "boot-order", &[3])),
        |_| {},
        "/: boot-order: expected a number that no other partition has, found 0x3, which 0x8002 has",
    );
}

// req: MAN-33
#[test]
fn an_interrupt_twice() {
    refused_behind(
        second(|tree| {
            tree.put("device-regions/u", "base-address", &[0x0900_0000]);
            tree.put("device-regions/u", "pages-count", &[1]);
            tree.put("device-regions/u", "attributes", &[9]);
            tree.put("device-regions/u", "interrupts", &[33, 0x900, 40, 0x900]);
        }),
        |tree| tree.put("device-regions/uart", "interrupts", &[40, 0x900]),
        "/device-regions/uart: interrupts: expected an interrupt that no other partition has, found 0x28, which 0x8002 has",
    );
}

// req: MAN-32, PMAN-13
#[test]
fn an_interrupt_for_a_pe_that_is_not_there() {
    refused_behind(
        second(|_| {}),
        |tree| {
            tree.put("device-regions/uart", "interrupts", &[5000, 0xb7f]);
            tree.put(
                "device-regions/uart",
                "interrupts-target",
                &[5000, 0, 0x4_0000],
            );
        },
        "/device-regions/uart: interrupts-target: expected a PE of the SPMC manifest, found 0x40000",
    );
}

// req: MAN-20, ME-01
#[test]
fn an_s_el0_partition_has_no_managed_exit() {
    for property in ["ns-interrupts-action", "managed-exit"] {
        refused(
            |tree| {
                tree.put("", "exception-level", &[1]);
                let value: &[u32] = if property == "managed-exit" {
                    &[]
                } else {
                    &[1]
                };
                tree.put("", property, value);
            },
            "/: ns-interrupts-action: expected 0 or 2 for an S-EL0 partition, found 1",
        );
    }
}

// req: MAN-27, MEMO-02
#[test]
fn an_s_el0_partition_has_no_region_to_write_and_execute() {
    let change = |tree: &mut Node, attributes: u32| {
        tree.put("", "exception-level", &[1]);
        tree.put("memory-regions/heap", "attributes", &[attributes]);
    };
    assert!(validate(&[], |tree| change(tree, 5), |_| {}).is_ok());
    assert!(
        validate(
            &[],
            |tree| tree.put("memory-regions/heap", "attributes", &[7]),
            |_| {}
        )
        .is_ok()
    );
    refused(
        |tree| change(tree, 7),
        "/memory-regions/heap: attributes: expected not writable and executable, as exception-level is 1 (S-EL0), found 0x7",
    );
}

// req: MAN-01
#[test]
fn check_finds_the_same_without_a_system() {
    let error = |change: &dyn Fn(&mut Node)| {
        let mut tree = manifest();
        change(&mut tree);
        capture(|| check(&tree.to_dtb()))
            .0
            .map_err(|error| error.to_string())
    };
    assert_eq!(error(&|_| {}), Ok(spmc::manifest::Kind::Partition));
    assert_eq!(
        error(&|tree| tree.remove("", "load-address")),
        Ok(spmc::manifest::Kind::Partition)
    );
    assert_eq!(
        error(&|tree| tree.put("", "exception-level", &[3])).unwrap_err(),
        "/: exception-level: expected 1 (S-EL0) or 2 (S-EL1), found 3"
    );
    assert_eq!(
        error(&|tree| tree.put("", "mem-size", &[0x4000])).unwrap_err(),
        "/: entrypoint-offset: expected an instruction inside the package, found 0x4000"
    );
    assert_eq!(
        error(&|tree| tree.put_string("", "compatible", "linux,dummy")).unwrap_err(),
        "/: compatible: expected \"arm,ffa-core-manifest-1.0\" or \"arm,ffa-manifest-1.0\" or \"-1.1\", found \"linux,dummy\""
    );
}

#[test]
fn all_partitions_together_have_memory_for_their_vectors() {
    let mut spmc = spmc_manifest::parse(&spmc_manifest().to_dtb()).unwrap();
    let image = range(0x0610_0000, 0x80);
    let first = second(|tree| tree.put("", "sve-vector-length", &[128]));
    let mut tree = manifest();
    tree.put("", "sve-vector-length", &[256]);
    let (config, _) = capture(|| parse_partition(&tree.to_dtb(), &spmc.partitions[0]));
    let config = config.unwrap();
    let contexts = u64::from(first.vcpu_count);
    let [short, long] = [&first, &config].map(|c| c.vectors.unwrap().state_bytes());
    let enough = long + contexts * short;
    spmc.vector_memory = enough;
    assert_eq!(
        validate::partition(&config, [&first].into_iter(), &spmc, &image),
        Ok(())
    );
    spmc.vector_memory = enough - 1;
    assert_eq!(
        validate::partition(&config, [].into_iter(), &spmc, &image),
        Ok(())
    );
    let error = validate::partition(&config, [&first].into_iter(), &spmc, &image).unwrap_err();
    let line = format!(
        "/: sve-vector-length: expected SVE registers for which the SPMC has memory, with those of others, \
         found {enough:#x}"
    );
    assert_eq!(error.to_string(), line);
    // A partition without SVE needs none.
    spmc.vector_memory = 0;
    let plain = second(|_| {});
    let refused = validate::partition(&plain, [&config].into_iter(), &spmc, &image);
    assert_eq!(refused, Ok(()));
}
