//! Partition manifests that are accepted: their meaning, and which of their properties cause a
//! warning.

use spmc::addr::World;
use spmc::ffa::Version;
use spmc::id::{PartitionId, Uuid};
use spmc::limits::MAX_PES;
use spmc::manifest::ManifestError;
use spmc::manifest::config::{
    BootInfo, Branches, ExceptionLevel, Messaging, NsInterruptAction, PackageEntry,
    PartitionConfig, Permissions,
};
use spmc::vector_length::VectorLength;

use crate::log_capture::capture;
use crate::tree::{Node, entry, manifest, parse_partition, range, region, with_live_activation};

fn parse(tree: &Node) -> Result<PartitionConfig, ManifestError> {
    parse_partition(&tree.to_dtb(), &entry())
}

/// Parses the usual manifest after a change, which must be accepted. Returns the lines of the log,
/// too.
fn changed(change: impl FnOnce(&mut Node)) -> (PartitionConfig, Vec<String>) {
    let mut tree = manifest();
    change(&mut tree);
    let (config, lines) = capture(|| parse(&tree));
    (config.unwrap(), lines)
}

// req: MAN-02, MAN-03, MAN-04, MAN-05, MAN-07, MAN-08, MAN-09, MAN-11, MAN-12, MAN-13, MAN-14
// req: MAN-15, MAN-17, MAN-40
// req: PMAN-07, PMAN-15
#[test]
fn properties() {
    let (config, lines) = changed(|_| {});
    assert_eq!(lines, [""; 0]);
    assert_eq!(config.id, PartitionId(0x8001));
    assert_eq!(config.requested_id, Some(PartitionId(1)));
    assert_eq!(config.name.as_str(), "sp1");
    assert_eq!(config.memory, range(0x0630_0000, 0x100));
    assert_eq!(config.ffa_version, Version::V1_1);
    let uuid = Uuid::from_words([0xb491_4f7c, 0x4d69_7ff8, 0x0f0b_1a38, 0x45b6_f7c4]);
    assert_eq!(config.services.len(), 1);
    assert_eq!(config.services[0].uuid, uuid);
    assert_eq!(
        config.messaging(),
        Messaging::RECEIVE_DIRECT | Messaging::SEND_DIRECT
    );
    assert_eq!(config.vcpu_count, 1);
    assert!(config.is_up());
    assert_eq!(config.exception_level, ExceptionLevel::SEl1);
    assert_eq!(config.entrypoint_offset, 0x4000);
    assert_eq!(config.boot_order, Some(3));
    assert_eq!(config.boot_register, Some(2));
    assert_eq!(
        config.boot_info,
        Some(BootInfo {
            ffa_manifest: true,
            hob_list: false
        })
    );
    assert_eq!(config.ns_interrupts, NsInterruptAction::Queued);
    assert_eq!(config.smc_whitelist.as_slice(), [0xc200_0001]);
}

// req: MAN-16, MAN-22, MAN-23, MAN-24, MAN-25, MAN-26, RXTX-05, PMAN-14
#[test]
fn memory_regions() {
    let (config, _) = changed(|_| {});
    let [rx, tx, heap, shared] = config.memory_regions.as_slice() else {
        panic!()
    };
    assert_eq!(config.rx_tx, Some((0, 1)));
    assert_eq!((rx.name.as_str(), rx.range), ("rx", range(0x0640_0000, 1)));
    assert_eq!(
        (rx.world, rx.permissions),
        (World::Secure, Permissions::READ)
    );
    assert_eq!(tx.permissions, Permissions::READ | Permissions::WRITE);
    assert_eq!((heap.range, heap.relative), (range(0x0638_0000, 4), true));
    assert_eq!(
        (shared.range, shared.world),
        (range(0x4000_0000, 16), World::NonSecure)
    );
    assert_eq!(shared.permissions, Permissions::READ | Permissions::WRITE);
}

// req: MAN-29, MAN-30, MAN-31, MAN-36
#[test]
fn device_regions() {
    let (config, _) = changed(|_| {});
    let [uart, rtc] = config.device_regions.as_slice() else {
        panic!()
    };
    assert_eq!(
        (uart.range, uart.world),
        (range(0x0904_0000, 1), World::Secure)
    );
    assert_eq!(uart.permissions, Permissions::READ | Permissions::WRITE);
    assert!(uart.exclusive && !rtc.exclusive);
    assert_eq!(
        (rtc.world, rtc.permissions),
        (World::NonSecure, Permissions::READ)
    );
}

// req: MAN-32, PMAN-13
#[test]
fn interrupts_with_targets_are_read() {
    let (config, lines) = changed(|tree| {
        tree.put("device-regions/uart", "interrupts", &[40, 0x900, 41, 0xb00]);
        tree.put("device-regions/uart", "interrupts-target", &[41, 1, 0x200]);
        tree.put("device-regions/rtc", "interrupts", &[42, 0x900]);
    });
    let [first, second] = config.device_regions[0].interrupts.as_slice() else {
        panic!()
    };
    assert_eq!(
        (first.id, first.attributes, first.target),
        (40, 0x900, None)
    );
    assert_eq!(
        (second.id, second.attributes, second.target),
        (41, 0xb00, Some(0x1_0000_0200))
    );
    assert_eq!(lines, [""; 0]);
}

// req: MAN-21, MAN-34, MAN-35
#[test]
fn stream_ids_are_read() {
    let (config, lines) = changed(|tree| {
        tree.put("device-regions/uart", "smmu-id", &[5]);
        tree.put("device-regions/uart", "stream-ids", &[0, 1]);
        tree.put("memory-regions/heap", "smmu-id", &[5]);
        tree.put("memory-regions/heap", "stream-ids", &[1]);
        tree.put("memory-regions/heap", "stream-ids-access-permissions", &[3]);
        tree.put("device-regions/rtc", "smmu-id", &[6]);
    });
    let streams = config.device_regions[0].streams.as_ref().unwrap();
    assert_eq!(
        (streams.smmu, streams.ids.as_slice()),
        (5, [0, 1].as_slice())
    );
    assert_eq!(
        config.memory_regions[2]
            .streams
            .as_ref()
            .unwrap()
            .ids
            .as_slice(),
        [1]
    );
    assert!(config.device_regions[1].streams.is_none());
    let expected = "memory-regions/heap: stream-ids: accepted without effect";
    assert!(
        lines.iter().any(|line| line.ends_with(expected)),
        "{lines:?}"
    );
}

// req: MAN-12, MAN-13, MAN-14, MAN-15, MAN-40, PMAN-07
#[test]
fn optional_properties_have_defaults() {
    let (config, lines) = changed(|tree| {
        let optional = [
            "description",
            "id",
            "load-address",
            "entrypoint-offset",
            "xlat-granule",
            "boot-order",
            "ns-interrupts-action",
            "gp-register-num",
        ];
        for name in optional {
            tree.remove("", name);
        }
        for name in [
            "boot-info",
            "rx_tx-info",
            "memory-regions",
            "device-regions",
        ] {
            tree.remove_node(name);
        }
    });
    assert_eq!(lines, [""; 0]);
    assert_eq!(
        (
            config.entrypoint_offset,
            config.boot_order,
            config.boot_register
        ),
        (0, None, None)
    );
    assert_eq!((config.boot_info, config.rx_tx), (None, None));
    assert_eq!(config.ns_interrupts, NsInterruptAction::Signaled);
    assert!(config.memory_regions.is_empty() && config.device_regions.is_empty());
}

// req: MAN-04, PMAN-04
#[test]
fn a_uuid_list_shares_one_messaging_method_or_has_one_each() {
    let uuids = [1, 2, 3, 4, 5, 6, 7, 8];
    let (config, _) = changed(|tree| tree.put("", "uuid", &uuids));
    assert_eq!(config.services.len(), 2);
    assert_eq!(config.services[1].uuid, Uuid::from_words([5, 6, 7, 8]));
    assert_eq!(config.services[0].messaging, config.services[1].messaging);

    let (config, _) = changed(|tree| {
        tree.put("", "uuid", &uuids);
        tree.put("", "messaging-method", &[1, 2]);
    });
    assert_eq!(config.services[0].messaging, Messaging::RECEIVE_DIRECT);
    assert_eq!(config.services[1].messaging, Messaging::SEND_DIRECT);
}

// req: MAN-04, MAN-17, PMAN-01, PMAN-02
#[test]
fn services_of_the_1_1_format() {
    let (config, lines) = changed(|tree| {
        tree.put_string("", "compatible", "arm,ffa-manifest-1.1");
        tree.remove("", "uuid");
        tree.remove("", "messaging-method");
        tree.put_string("services", "compatible", "arm,ffa-manifest-services");
        tree.put_string(
            "services/first",
            "uuid",
            "486178e0-e7f8-11e3-bc5e-0002a5d5c51b",
        );
        tree.put("services/first", "messaging-method", &[1]);
        tree.put_string(
            "services/second",
            "uuid",
            "486178E0-E7F8-11E3-BC5E-0002A5D5C51C",
        );
        tree.put("services/second", "messaging-method", &[2]);
        // The UUID has four cells, as in the root node.
        tree.put("services/third", "uuid", &[5, 6, 7, 8]);
        tree.put("services/third", "messaging-method", &[3]);
    });
    assert_eq!(lines, [""; 0]);
    let words = [0xe078_6148, 0xe311_f8e7, 0x0200_5ebc, 0x1bc5_d5a5];
    assert_eq!(config.services[0].uuid, Uuid::from_words(words));
    assert_eq!(config.services[0].messaging, Messaging::RECEIVE_DIRECT);
    assert_eq!(config.services[1].messaging, Messaging::SEND_DIRECT);
    assert_eq!(config.services[2].uuid, Uuid::from_words([5, 6, 7, 8]));
}

// req: MAN-12, PMAN-17
#[test]
fn addresses_may_be_one_cell_or_two() {
    let (one, lines) = changed(|tree| {
        tree.put("", "load-address", &[0x0630_0000]);
        tree.put("", "entrypoint-offset", &[0, 0x4000]);
        tree.put("memory-regions/rx", "base-address", &[0x0640_0000]);
        tree.put(
            "memory-regions/heap",
            "load-address-relative-offset",
            &[0x8_0000],
        );
        tree.put("device-regions/uart", "base-address", &[0x0904_0000]);
    });
    let (two, _) = changed(|_| {});
    assert_eq!(lines, [""; 0]);
    assert_eq!(format!("{one:?}"), format!("{two:?}"));
}

/// A property that has no effect yet: its place, its name and its cells.
const WITHOUT_EFFECT: [(&str, &str, &[u32]); 3] = [
    ("", "auxiliary-id", &[0x9000]),
    ("", "time-slice-mem", &[]),
    ("", "stream-endpoint-ids", &[1, 2]),
];

// req: MAN-06, MAN-18
#[test]
fn a_property_without_effect_costs_one_line_that_names_partition_and_property() {
    for (path, name, cells) in WITHOUT_EFFECT {
        let (_, lines) = changed(|tree| tree.put(path, name, cells));
        let about: Vec<_> = lines.iter().filter(|line| line.contains(name)).collect();
        let expected = format!("WARN sp1: {name}: accepted without effect, not supported yet");
        assert_eq!(about, [&expected]);
    }
}

// req: PMAN-30
#[test]
fn live_activation_has_what_it_needs() {
    for phandle in [&[21][..], &[0, 21]] {
        for register in [0, 1, 3, 5, 6, 7] {
            let (config, lines) = changed(|tree| {
                with_live_activation(tree);
                tree.put("", "live-activation-register", &[register]);
                tree.put("live-state-buffer-info", "live-state-buffer", phandle);
            });
            assert_eq!(lines, [""; 0]);
            let live = config.live_activation.expect("the manifest asks for it");
            assert_eq!(u32::from(live.register), register);
            let buffer = live.state_buffer.expect("the manifest names one");
            let region = &config.memory_regions[buffer];
            assert_eq!(region.range, range(0x0641_0000, 2));
        }
    }
    let (stateless, lines) = changed(|tree| {
        with_live_activation(tree);
        tree.remove_node("live-state-buffer-info");
    });
    assert_eq!(lines, [""; 0]);
    let live = stateless.live_activation.expect("the manifest asks for it");
    assert_eq!((live.register, live.state_buffer), (1, None));
    assert_eq!(changed(|_| {}).0.live_activation, None);
}

// req: PMAN-30
#[test]
fn parts_of_live_activation_are_nothing_without_support() {
    let (config, lines) = changed(|tree| {
        with_live_activation(tree);
        tree.remove("", "live-activation-support");
    });
    assert_eq!(config.live_activation, None);
    let line =
        |name| format!("WARN sp1: {name}: without effect, as there is no live-activation-support");
    let names = ["live-activation-register", "live-state-buffer-info"];
    assert_eq!(lines, names.map(line));
}

// req: MAN-18, PMAN-08
#[test]
fn managed_exit_is_known_in_both_forms() {
    for (name, cells) in [
        ("ns-interrupts-action", &[1_u32][..]),
        ("managed-exit", &[]),
    ] {
        let (config, lines) = changed(|tree| {
            tree.remove("", "ns-interrupts-action");
            tree.put("", name, cells);
        });
        assert_eq!(config.ns_interrupts, NsInterruptAction::ManagedExit);
        assert_eq!(lines, [""; 0]);
    }
}

// req: MAN-20, PMAN-07
#[test]
fn the_run_time_model_counts_where_no_action_does() {
    use NsInterruptAction::{ManagedExit, Queued, Signaled};
    let overruled = "WARN sp1: run-time-model: overruled by the action on Non-secure interrupts";
    // The model, and `ns-interrupts-action`, with 3 for `managed-exit`; what counts.
    for (model, action, counts, is_overruled) in [
        (Some(0), None, Queued, false),
        (Some(1), None, Signaled, false),
        (None, None, Signaled, false),
        (Some(0), Some(0), Queued, false),
        (Some(1), Some(0), Queued, true),
        (Some(0), Some(1), ManagedExit, true),
        (Some(1), Some(1), ManagedExit, false),
        (Some(0), Some(2), Signaled, true),
        (Some(1), Some(2), Signaled, false),
        (Some(0), Some(3), ManagedExit, true),
        (Some(1), Some(3), ManagedExit, false),
    ] {
        let (config, lines) = changed(|tree| {
            tree.remove("", "ns-interrupts-action");
            match action {
                Some(3) => tree.put("", "managed-exit", &[]),
                Some(action) => tree.put("", "ns-interrupts-action", &[action]),
                None => {}
            }
            if let Some(model) = model {
                tree.put("", "run-time-model", &[model]);
            }
        });
        assert_eq!(config.ns_interrupts, counts, "{model:?} {action:?}");
        let expected: &[&str] = if is_overruled { &[overruled] } else { &[] };
        assert_eq!(lines, expected, "{model:?} {action:?}");
    }
}

// req: PMAN-29
#[test]
fn services_may_be_there_in_both_forms() {
    let words = [0xe078_6148, 0xe311_f8e7, 0x0200_5ebc, 0x1bc5_d5a5];
    for compatible in ["arm,ffa-manifest-1.0", "arm,ffa-manifest-1.1"] {
        let (config, lines) = changed(|tree| {
            tree.put_string("", "compatible", compatible);
            tree.put("", "uuid", &words);
            tree.put("", "messaging-method", &[1]);
            tree.put_string("services", "compatible", "arm,ffa-manifest-services");
            tree.put_string(
                "services/one",
                "uuid",
                "486178e0-e7f8-11e3-bc5e-0002a5d5c51b",
            );
            tree.put("services/one", "messaging-method", &[2]);
        });
        assert_eq!(lines, [""; 0]);
        let [service] = config.services[..] else {
            panic!("{:?}", config.services);
        };
        assert_eq!(service.uuid, Uuid::from_words(words));
        let counts = match compatible.ends_with('0') {
            true => Messaging::RECEIVE_DIRECT,
            false => Messaging::SEND_DIRECT,
        };
        assert_eq!(service.messaging, counts);
    }
}

// req: MAN-17, RUN-03, PMAN-06
#[test]
fn every_kind_of_message_is_supported() {
    let (config, lines) = changed(|tree| {
        tree.put("", "ffa-version", &[0x1_0002]);
        tree.put("", "messaging-method", &[0x607]);
    });
    assert_eq!(config.messaging(), Messaging::all());
    assert!(lines.is_empty(), "{lines:?}");
}

// req: MAN-08, MAN-12
#[test]
fn contradictions_to_the_spmc_manifest_cost_a_warning() {
    let (config, lines) = changed(|tree| {
        tree.put("", "load-address", &[0x0628_0000]);
        tree.put("", "mem-size", &[0xd8_0000]);
        tree.put("", "execution-ctx-count", &[8]);
    });
    assert_eq!((config.id, config.vcpu_count), (PartitionId(0x8001), 8));
    assert_eq!(config.memory, range(0x0630_0000, 0x100));
    assert_eq!(
        lines,
        [
            "WARN sp1: load-address: the package is at 0x6300000, not 0x6280000",
            "WARN sp1: mem-size: the SPMC manifest gives 0x100000 bytes, not 0xd80000",
            "WARN sp1: execution-ctx-count: 8 contexts, vcpu_count of the SPMC manifest (1) ignored",
        ]
    );
}

// req: MAN-08
#[test]
fn contexts_beyond_the_last_pe_do_not_exist() {
    let (config, lines) = changed(|tree| tree.put("", "execution-ctx-count", &[512 + 1]));
    assert_eq!(config.vcpu_count as usize, MAX_PES);
    let expected = format!(
        "WARN sp1: execution-ctx-count: 513 contexts, but at most {MAX_PES} PEs run partitions"
    );
    assert!(lines.contains(&expected), "{lines:?}");
}

// req: MAN-08, PMAN-11
#[test]
fn power_messages_are_for_partitions_with_a_context_on_each_pe() {
    let power = |contexts: u32| {
        let (config, _) = changed(|tree| {
            tree.put("", "execution-ctx-count", &[contexts]);
            tree.put("", "power-management-messages", &[1]);
        });
        config.power_messages.bits()
    };
    assert_eq!((power(1), power(2)), (0, 1));
}

// Manifests for OP-TEE use such a number.
// req: MAN-15, PMAN-15
#[test]
fn a_number_of_16_bits() {
    let (config, lines) = changed(|tree| tree.put_bytes("", "boot-order", vec![1, 2]));
    assert_eq!(config.boot_order, Some(0x102));
    assert_eq!(lines, [""; 0]);
}

// req: MAN-01, MAN-15, PMAN-15, PMAN-18
#[test]
fn unknown_properties_and_nodes_are_passed_over() {
    let (config, lines) = changed(|tree| {
        tree.put("", "vendor,something", &[1, 2, 3]);
        tree.put("vendor-node/deeper/and/deeper/still", "x", &[1]);
        tree.put("memory-regions/heap", "vendor,hint", &[]);
        tree.put("memory-regions/heap/child", "x", &[1]);
        tree.put("", "boot-order", &[0xffff]);
    });
    assert_eq!(lines, [""; 0]);
    assert_eq!((config.memory_regions.len(), config.boot_order), (4, None));
}

#[test]
fn vectors_have_the_length_that_the_manifest_says() {
    let vectors = |bits| {
        changed(|tree| tree.put("", "sve-vector-length", &[bits]))
            .0
            .vectors
    };
    for bits in [128, 256, 512, 1024, 2048] {
        assert_eq!(vectors(bits).map(VectorLength::bits), Some(bits as u16));
    }
    assert_eq!(vectors(0), None);
    assert_eq!(changed(|_| {}).0.vectors, None);
    let (_, lines) = changed(|tree| tree.put("", "sme-vector-length", &[0]));
    assert_eq!(lines, [""; 0]);
}

#[test]
fn branches_are_free_unless_the_manifest_guards_code() {
    let config = |guarded: bool| {
        let change = |tree: &mut Node| {
            tree.put("", "exception-level", &[1]);
            if guarded {
                tree.put("", "branch-target-identification", &[]);
            }
        };
        changed(change).0
    };
    assert_eq!(config(false).branches, Branches::Anywhere);
    assert_eq!(config(true).branches, Branches::ToTargets);
}

// req: MAN-10
#[test]
fn an_s_el0_partition_parses_with_one_context() {
    let (config, _) = changed(|tree| tree.put("", "exception-level", &[1]));
    assert_eq!(config.exception_level, ExceptionLevel::SEl0);
}

// req: MAN-08
#[test]
fn all_limits_can_be_reached() {
    let mut tree = manifest();
    tree.put("", "execution-ctx-count", &[8]);
    tree.put("", "uuid", &(1..=32).collect::<Vec<_>>());
    tree.remove_node("memory-regions");
    tree.remove_node("device-regions");
    tree.remove_node("rx_tx-info");
    let mut memory =
        Node::new("memory-regions").string("compatible", "arm,ffa-manifest-memory-regions");
    let mut devices =
        Node::new("device-regions").string("compatible", "arm,ffa-manifest-device-regions");
    for n in 0..8 {
        memory = memory.child(region(&format!("m{n}"), 0x0700_0000 + n * 0x1000, 1, 1));
    }
    for n in 0..16 {
        let interrupts = [100 + 2 * n, 0x900, 101 + 2 * n, 0x900];
        let device = region(&format!("d{n}"), 0x0904_0000 + n * 0x1000, 1, 1);
        devices = devices.child(device.cells("interrupts", &interrupts));
    }
    let (config, _) = capture(|| parse(&tree.clone().child(memory).child(devices)));
    let config = config.unwrap();
    assert_eq!((config.vcpu_count, config.services.len()), (8, 8));
    assert_eq!(
        (config.memory_regions.len(), config.device_regions.len()),
        (8, 16)
    );
    assert!(
        config
            .device_regions
            .iter()
            .all(|device| device.interrupts.len() == 2)
    );
}

// req: MAN-01
#[test]
fn a_package_entry_is_taken_over() {
    let entry = PackageEntry {
        index: 2,
        smc_whitelist_permissive: true,
        ..entry()
    };
    let mut tree = manifest();
    tree.put("", "id", &[3]);
    let config = parse_partition(&tree.to_dtb(), &entry).unwrap();
    assert_eq!(config.id, PartitionId(0x8003));
    assert!(config.smc_whitelist_permissive);
}
