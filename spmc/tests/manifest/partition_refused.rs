//! Faulty partition manifests, each with the one line that explains the refusal. Regions are in
//! `regions_refused`.

use spmc::manifest::validate;

use crate::tree::{Node, entry, manifest, parse_partition, with_live_activation};

/// Checks that the usual manifest is refused with `line` after `change`.
#[track_caller]
pub fn refused(change: impl FnOnce(&mut Node), line: &str) {
    let mut tree = manifest();
    change(&mut tree);
    let config = parse_partition(&tree.to_dtb(), &entry());
    let result = config.and_then(|config| validate::supported(&config));
    assert_eq!(result.unwrap_err().to_string(), line);
}

// req: MAN-02, PMAN-01
#[test]
fn another_compatible() {
    refused(
        |tree| tree.put_string("", "compatible", "linux,dummy"),
        "/: compatible: expected \"arm,ffa-manifest-1.0\" or \"-1.1\", found \"linux,dummy\"",
    );
}

// req: MAN-02, MAN-03, MAN-04, MAN-08, MAN-09, MAN-11, MAN-17, RUN-03
#[test]
fn a_mandatory_property_missing() {
    for (name, expected) in [
        ("compatible", "\"arm,ffa-manifest-1.0\" or \"-1.1\""),
        ("ffa-version", "one 32-bit cell"),
        ("uuid", "four cells"),
        ("execution-ctx-count", "one 32-bit cell"),
        ("exception-level", "one 32-bit cell"),
        ("execution-state", "one 32-bit cell"),
        ("messaging-method", "one value, or one for each UUID"),
    ] {
        refused(
            |tree| tree.remove("", name),
            &format!("/: {name}: expected {expected}, found nothing"),
        );
    }
}

// req: MAN-03
#[test]
fn a_version_that_the_spmc_does_not_speak() {
    for word in [0x2_0000, 0x1_0004, 0x0_0009, 0x8001_0000] {
        refused(
            |tree| tree.put("", "ffa-version", &[word]),
            &format!("/: ffa-version: expected a version from 1.0 to 1.3, found {word:#x}"),
        );
    }
}

// req: PMAN-26
#[test]
fn uuids_of_images() {
    refused(
        |tree| tree.put("", "image-uuid", &[0; 4]),
        "/: image-uuid: expected a UUID other than nil, found \"nil\"",
    );
    refused(
        |tree| tree.put("", "image-uuid", &[1, 2, 3, 4, 5, 6, 7, 8]),
        "/: image-uuid: expected a string, found 32 bytes",
    );
    refused(
        |tree| {
            tree.put("", "uuid", &[1, 2, 3, 4]);
            tree.put("", "image-uuid", &[1, 2, 3, 4]);
        },
        "/: image-uuid: expected a UUID of its own, found \"a service's UUID\"",
    );
}

#[test]
fn vectors_of_a_length_that_sve_does_not_have() {
    for bits in [1, 64, 129, 192, 384, 4096, 0x100_0080] {
        let expected = "0 (no SVE), 128, 256, 512, 1024 or 2048 bits";
        refused(
            |tree| tree.put("", "sve-vector-length", &[bits]),
            &format!("/: sve-vector-length: expected {expected}, found {bits}"),
        );
    }
}

#[test]
fn guarded_code_at_s_el1() {
    refused(
        |tree| tree.put("", "branch-target-identification", &[]),
        "/: branch-target-identification: expected it for S-EL0 only, found \"S-EL1\"",
    );
    refused(
        |tree| tree.put("", "branch-target-identification", &[1]),
        "/: branch-target-identification: expected no value, found 4 bytes",
    );
}

#[test]
fn sme() {
    refused(
        |tree| tree.put("", "sme-vector-length", &[256]),
        "/: sme-vector-length: expected 0: partitions have no SME, found 0x100",
    );
}

// req: MAN-04, PMAN-05
#[test]
fn uuids_that_name_no_service() {
    refused(
        |tree| tree.put("", "uuid", &[0; 4]),
        "/: uuid: expected a UUID other than nil, found \"nil\"",
    );
    refused(
        |tree| tree.put("", "uuid", &[1, 2, 3]),
        "/: uuid: expected UUIDs of four cells each, found 12 bytes",
    );
    refused(
        |tree| tree.put("", "uuid", &[1, 2, 3, 4, 1, 2, 3, 4]),
        "/: uuid: expected each UUID once, found \"one twice\"",
    );
}

// req: MAN-04, MAN-17, PMAN-03
#[test]
fn faulty_services_nodes() {
    let services = |change: &dyn Fn(&mut Node), line: &str| {
        refused(
            |tree| {
                tree.put_string("", "compatible", "arm,ffa-manifest-1.1");
                tree.remove("", "uuid");
                tree.put_string("services", "compatible", "arm,ffa-manifest-services");
                tree.put_string("services/s", "uuid", "486178e0-e7f8-11e3-bc5e-0002a5d5c51b");
                tree.put("services/s", "messaging-method", &[1]);
                change(tree);
            },
            line,
        );
    };
    services(
        &|tree| tree.remove_node("services"),
        "/: services: expected a node with at least one service, found nothing",
    );
    services(
        &|tree| tree.put_string("services", "compatible", "other"),
        "/services: compatible: expected \"arm,ffa-manifest-services\", found \"another\"",
    );
    services(
        &|tree| tree.put_string("services/s", "uuid", "486178e0e7f811e3bc5e0002a5d5c51b"),
        "/services/s: uuid: expected a UUID like 01234567-89ab-cdef-0123-456789abcdef, found \"486178e0e7f811e3\"",
    );
    services(
        &|tree| tree.put_string("services/s", "uuid", "486178e0-e7f8-11e3-bc5e-0002a5d5c51x"),
        "/services/s: uuid: expected a UUID like 01234567-89ab-cdef-0123-456789abcdef, found \"486178e0-e7f8-11\"",
    );
    services(
        &|tree| tree.remove("services/s", "messaging-method"),
        "/services/s: messaging-method: expected one 32-bit cell, found nothing",
    );
    services(
        &|tree| tree.remove("services/s", "uuid"),
        "/services/s: uuid: expected a UUID, found nothing",
    );
}

// req: MAN-05
#[test]
fn reserved_ids() {
    for (id, found) in [
        (0, "0x0"),
        (0x8000, "0x8000"),
        (0xffff, "0xffff"),
        (0x1_8001, "0x18001"),
    ] {
        refused(
            |tree| tree.put("", "id", &[id]),
            &format!("/: id: expected a partition id, found {found}"),
        );
    }
}

// req: MAN-08
#[test]
fn context_counts_out_of_range() {
    for count in [0, 0x1_0000, 0x1_0001] {
        refused(
            |tree| tree.put("", "execution-ctx-count", &[count]),
            &format!(
                "/: execution-ctx-count: expected 1 to 65535 execution contexts, found {count}"
            ),
        );
    }
}

// req: MAN-09
#[test]
fn a_run_time_level_of_the_normal_world() {
    refused(
        |tree| tree.put("", "exception-level", &[0]),
        "/: exception-level: expected 1 (S-EL0) or 2 (S-EL1), found 0",
    );
}

// req: MAN-10, GEN-21
#[test]
fn an_s_el0_partition_with_two_contexts() {
    refused(
        |tree| {
            tree.put("", "exception-level", &[1]);
            tree.put("", "execution-ctx-count", &[2]);
        },
        "/: execution-ctx-count: expected 1 for an S-EL0 partition, found 2",
    );
}

// req: MAN-11
#[test]
fn aarch32() {
    refused(
        |tree| tree.put("", "execution-state", &[1]),
        "/: execution-state: expected 0 (AArch64), found 0x1",
    );
}

// req: MAN-13
#[test]
fn an_entry_point_that_is_none() {
    for offset in [0x10_0000, 0x4002] {
        refused(
            |tree| tree.put("", "entrypoint-offset", &[offset]),
            &format!(
                "/: entrypoint-offset: expected an instruction inside the package, found {offset:#x}"
            ),
        );
    }
}

// req: MAN-14, GEN-14
#[test]
fn a_large_granule() {
    for granule in [1, 2] {
        refused(
            |tree| tree.put("", "xlat-granule", &[granule]),
            &format!("/: xlat-granule: expected 0 (4 KiB), found {granule:#x}"),
        );
    }
}

// req: MAN-15, PMAN-15
#[test]
fn a_boot_order_beyond_16_bits() {
    refused(
        |tree| tree.put("", "boot-order", &[0x1_0000]),
        "/: boot-order: expected at most 0xffff, found 0x10000",
    );
}

// req: MAN-16
#[test]
fn buffers_that_are_no_regions() {
    refused(
        |tree| tree.put("rx_tx-info", "rx-buffer", &[99]),
        "/rx_tx-info: rx-buffer: expected a phandle of a memory region, found 0x63",
    );
    refused(
        |tree| tree.remove("rx_tx-info", "tx-buffer"),
        "/rx_tx-info: tx-buffer: expected a phandle of a memory region, found nothing",
    );
    refused(
        |tree| tree.put_string("rx_tx-info", "compatible", "x"),
        "/rx_tx-info: compatible: expected \"arm,ffa-manifest-rx_tx-buffer\", found \"another\"",
    );
}

// req: MAN-16, RXTX-03, RXTX-07, RXTX-09, RXTX-19
#[test]
fn buffers_that_do_not_fit() {
    refused(
        |tree| tree.put("rx_tx-info", "tx-buffer", &[11]),
        "/rx_tx-info: tx-buffer: expected another region than rx-buffer, found 0x6400000..0x6401000",
    );
    refused(
        |tree| tree.put("memory-regions/tx", "pages-count", &[2]),
        "/rx_tx-info: tx-buffer: expected as many pages as rx-buffer, found 2",
    );
    refused(
        |tree| {
            tree.put("memory-regions/rx", "pages-count", &[17]);
            tree.put("memory-regions/tx", "pages-count", &[17]);
        },
        "/rx_tx-info: rx-buffer: expected at most 16 pages, found 17",
    );
    refused(
        |tree| tree.put("memory-regions/rx", "attributes", &[9]),
        "/rx_tx-info: rx-buffer: expected a Secure region, found 0x6400000..0x6401000",
    );
    refused(
        |tree| tree.put("memory-regions/rx", "attributes", &[5]),
        "/rx_tx-info: rx-buffer: expected a region without execute permission, found 0x6400000..0x6401000",
    );
    refused(
        |tree| tree.put("memory-regions/tx", "attributes", &[1]),
        "/rx_tx-info: tx-buffer: expected a writable region, found 0x6401000..0x6402000",
    );
}

// req: MAN-17, PMAN-04, PMAN-06
#[test]
fn faulty_messaging_methods() {
    refused(
        |tree| tree.put("", "messaging-method", &[8]),
        "/: messaging-method: expected bits 0, 1, 2, 9 and 10 only, found 0x8",
    );
    refused(
        |tree| tree.put("", "messaging-method", &[1, 2]),
        "/: messaging-method: expected one value, or one for each UUID, found 2",
    );
    refused(
        |tree| tree.put("", "messaging-method", &[0x201]),
        "/: messaging-method: expected bits 9 and 10 only with ffa-version 1.2, found 0x201",
    );
    refused(
        |tree| tree.put_bytes("", "messaging-method", vec![0, 0, 3]),
        "/: messaging-method: expected one value, or one for each UUID, found 3 bytes",
    );
}

// req: MAN-18, MAN-20, ME-01, PMAN-07, PMAN-09, PMAN-10
#[test]
fn faulty_interrupt_policies() {
    refused(
        |tree| {
            tree.put("", "exception-level", &[1]);
            tree.put("", "execution-ctx-count", &[1]);
            tree.put("", "ns-interrupts-action", &[1]);
        },
        "/: ns-interrupts-action: expected 0 or 2 for an S-EL0 partition, found 1",
    );
    refused(
        |tree| tree.put("", "ns-interrupts-action", &[3]),
        "/: ns-interrupts-action: expected 0 to 2, found 0x3",
    );
    refused(
        |tree| tree.put("", "run-time-model", &[2]),
        "/: run-time-model: expected 0 or 1, found 0x2",
    );
    refused(
        |tree| {
            tree.put("", "ns-interrupts-action", &[2]);
            tree.put("", "other-s-interrupts-action", &[0]);
        },
        "/: other-s-interrupts-action: expected 1, as ns-interrupts-action is not 0, found 0",
    );
    refused(
        |tree| tree.put("", "sri-interrupts-policy", &[4]),
        "/: sri-interrupts-policy: expected bits 0 and 1 only, found 0x4",
    );
}

// req: MAN-19
#[test]
fn a_primary_scheduler() {
    refused(
        |tree| tree.put("", "has-primary-scheduler", &[]),
        "/: has-primary-scheduler: expected a partition without a primary scheduler, found \"one\"",
    );
}

// req: MAN-02, PMAN-12
#[test]
fn reserved_bits() {
    refused(
        |tree| tree.put("", "vm-availability-messages", &[4]),
        "/: vm-availability-messages: expected bits 0 and 1 only, found 0x4",
    );
}

// req: MAN-02
#[test]
fn values_of_the_wrong_type() {
    refused(
        |tree| tree.put("", "boot-order", &[1, 0]),
        "/: boot-order: expected a 32-bit value, found 0x100000000",
    );
    refused(
        |tree| tree.put("", "load-address", &[0, 0, 1]),
        "/: load-address: expected one or two 32-bit cells, found 12 bytes",
    );
    refused(
        |tree| tree.put("", "notification-support", &[1]),
        "/: notification-support: expected no value, found 4 bytes",
    );
    refused(
        |tree| tree.put("memory-regions/heap", "description", &[1]),
        "/memory-regions/heap: description: expected a string, found 4 bytes",
    );
}

// req: MAN-06
#[test]
fn an_auxiliary_id_beyond_16_bits() {
    refused(
        |tree| tree.put("", "auxiliary-id", &[0x1_0000]),
        "/: auxiliary-id: expected a 16-bit id, found 0x10000",
    );
}

// req: MAN-02
#[test]
fn life_cycle_properties_that_contradict_each_other() {
    refused(
        |tree| tree.put("", "abort-action", &[2]),
        "/: lifecycle-support: expected it together with abort-action, found nothing",
    );
    refused(
        |tree| {
            tree.put("", "lifecycle-support", &[]);
            tree.put("", "abort-action", &[4]);
        },
        "/: abort-action: expected 0 to 3, found 0x4",
    );
    refused(
        |tree| {
            tree.put("", "lifecycle-support", &[]);
            tree.put("", "abort-action", &[2]);
            tree.put("", "execution-ctx-count", &[2]);
        },
        "/: execution-ctx-count: expected 1, as abort-action is 2 (restart), found 2",
    );
}

// req: PMAN-30
#[test]
fn live_activation_that_lacks_something() {
    let live = |change: &dyn Fn(&mut Node), line: &str| {
        refused(
            |tree| {
                with_live_activation(tree);
                change(tree);
            },
            line,
        );
    };
    let together = "expected it together with live-activation-support, found nothing";
    for name in [
        "lifecycle-support",
        "image-uuid",
        "live-activation-register",
    ] {
        live(
            &|tree| tree.remove("", name),
            &format!("/: {name}: {together}"),
        );
    }
    live(
        &|tree| tree.put("", "execution-ctx-count", &[2]),
        "/: execution-ctx-count: expected 1 with live-activation-support, found 2",
    );
    live(
        &|tree| tree.put("", "live-activation-support", &[1]),
        "/: live-activation-support: expected no value, found 4 bytes",
    );
    for register in [4, 8, 0x101] {
        live(
            &|tree| tree.put("", "live-activation-register", &[register]),
            &format!("/: live-activation-register: expected 0 to 3 or 5 to 7, found {register}"),
        );
    }
    live(
        &|tree| tree.put("", "live-activation-register", &[2]),
        "/: live-activation-register: expected another register than gp-register-num, found 2",
    );
}

// req: PMAN-31
#[test]
fn buffers_in_which_no_state_is_safe() {
    let info = "/live-state-buffer-info: live-state-buffer: expected";
    let changed = |node: &str, name: &str, cells: &[u32], line: &str| {
        refused(
            |tree| {
                with_live_activation(tree);
                tree.put(node, name, cells);
            },
            line,
        );
    };
    let info_node = "live-state-buffer-info";
    let here = "0x6410000..0x6412000";
    let phandle = format!("{info} a phandle of a memory region, found");
    changed(
        info_node,
        "live-state-buffer",
        &[22],
        &format!("{phandle} 0x16"),
    );
    changed(
        info_node,
        "live-state-buffer",
        &[0],
        &format!("{phandle} 0x0"),
    );
    changed(
        info_node,
        "compatible",
        &[1],
        &format!(
            "/{info_node}: compatible: expected \"arm,ffa-manifest,live-state-buffer\", found \"another\""
        ),
    );
    changed(
        info_node,
        "live-state-buffer",
        &[11],
        &format!(
            "{info} a region to read and write, without execute permission, found 0x6400000..0x6401000"
        ),
    );
    changed(
        info_node,
        "live-state-buffer",
        &[12],
        &format!("{info} a region other than RX and TX, found 0x6401000..0x6402000"),
    );
    let state = "memory-regions/state";
    for attributes in [1, 5, 7] {
        changed(
            state,
            "attributes",
            &[attributes],
            &format!("{info} a region to read and write, without execute permission, found {here}"),
        );
    }
    changed(
        state,
        "attributes",
        &[0xb],
        &format!("{info} a Secure region, found {here}"),
    );
    changed(
        state,
        "base-address",
        &[0, 0x0641_0800],
        "/memory-regions/state: base-address: expected a 4 KiB aligned address, found 0x6410800",
    );
    refused(
        |tree| {
            with_live_activation(tree);
            tree.remove(info_node, "live-state-buffer");
        },
        "/live-state-buffer-info: live-state-buffer: expected a phandle of a memory region, found nothing",
    );
}

// req: MAN-40
#[test]
fn a_boot_register_beyond_x3() {
    refused(
        |tree| tree.put("", "gp-register-num", &[4]),
        "/: gp-register-num: expected 0 to 3, found 0x4",
    );
}

// req: PMAN-29
#[test]
fn a_service_that_only_the_form_of_the_other_format_has() {
    let with_services = |tree: &mut Node| {
        tree.put_string("services", "compatible", "arm,ffa-manifest-services");
        tree.put("services/one", "uuid", &[5, 6, 7, 8]);
        tree.put("services/one", "messaging-method", &[1]);
    };
    refused(
        with_services,
        "/: services: expected no others than uuid has, found \"another\"",
    );
    refused(
        |tree| {
            tree.put_string("", "compatible", "arm,ffa-manifest-1.1");
            with_services(tree);
        },
        "/: uuid: expected no others than services have, found \"another\"",
    );
}
