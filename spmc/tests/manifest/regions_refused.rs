//! Faulty memory regions, device regions and stream endpoints, each with the one line that explains
//! the refusal.

use crate::partition_refused::refused;
use crate::tree::{Node, region};

// req: MAN-22
#[test]
fn a_region_must_say_where_it_is() {
    refused(
        |tree| tree.remove("memory-regions/rx", "base-address"),
        "/memory-regions/rx: base-address: expected an address or load-address-relative-offset, found nothing",
    );
    refused(
        |tree| tree.put("memory-regions/heap", "base-address", &[0x0638_0000]),
        "/memory-regions/heap: load-address-relative-offset: expected no base-address together with it, found 0x80000",
    );
}

// req: MAN-24
#[test]
fn a_region_that_is_not_aligned() {
    refused(
        |tree| tree.put("memory-regions/rx", "base-address", &[0x1234]),
        "/memory-regions/rx: base-address: expected a 4 KiB aligned address, found 0x1234",
    );
    refused(
        |tree| {
            tree.put(
                "memory-regions/heap",
                "load-address-relative-offset",
                &[0x80],
            )
        },
        "/memory-regions/heap: load-address-relative-offset: expected a 4 KiB aligned address, found 0x6300080",
    );
}

// req: MAN-25
#[test]
fn a_region_without_a_size() {
    refused(
        |tree| tree.put("memory-regions/rx", "pages-count", &[0]),
        "/memory-regions/rx: pages-count: expected at least 1, found 0",
    );
    refused(
        |tree| tree.remove("memory-regions/rx", "pages-count"),
        "/memory-regions/rx: pages-count: expected a count of 4 KiB pages, found nothing",
    );
}

// req: MAN-25
#[test]
fn a_region_that_leaves_the_address_space() {
    refused(
        |tree| {
            tree.put("memory-regions/rx", "base-address", &[0xffff, 0xffff_f000]);
            tree.put("memory-regions/rx", "pages-count", &[2]);
        },
        "/memory-regions/rx: pages-count: expected an end within the 48-bit address space, found 2",
    );
}

// req: MAN-26, MAN-27
#[test]
fn memory_permissions_that_make_no_sense() {
    for bits in [0, 2, 4, 6, 8] {
        refused(
            |tree| tree.put("memory-regions/heap", "attributes", &[bits]),
            &format!(
                "/memory-regions/heap: attributes: expected read, optionally write and execute, found {bits:#x}"
            ),
        );
    }
    refused(
        |tree| tree.remove("memory-regions/heap", "attributes"),
        "/memory-regions/heap: attributes: expected one 32-bit cell, found nothing",
    );
}

// req: MAN-29, MAN-30, MAN-31
#[test]
fn a_device_region_lacks_something() {
    for (name, expected) in [
        ("base-address", "an address"),
        ("pages-count", "a count of 4 KiB pages"),
        ("attributes", "one 32-bit cell"),
    ] {
        refused(
            |tree| tree.remove("device-regions/uart", name),
            &format!("/device-regions/uart: {name}: expected {expected}, found nothing"),
        );
    }
}

// req: MAN-31
#[test]
fn device_permissions_that_are_not_read_or_read_write() {
    for bits in [0, 2, 5, 7] {
        refused(
            |tree| tree.put("device-regions/uart", "attributes", &[bits]),
            &format!(
                "/device-regions/uart: attributes: expected read or read-write, never execute, found {bits:#x}"
            ),
        );
    }
}

// req: MAN-32, MAN-33
#[test]
fn faulty_interrupts() {
    let interrupts = |cells: &[u32], line: &str| {
        refused(
            |tree| tree.put("device-regions/uart", "interrupts", cells),
            line,
        );
    };
    interrupts(
        &[40],
        "/device-regions/uart: interrupts: expected pairs of interrupt id and attributes, found 4 bytes",
    );
    for id in [8, 9, 19, 20, 1020, 1055, 1120, 4095, 5120, 8192] {
        interrupts(
            &[id, 0x900],
            &format!(
                "/device-regions/uart: interrupts: expected an SGI, PPI or SPI that the SPMC does not use, found {id:#x}"
            ),
        );
    }
    interrupts(
        &[40, 0x900, 40, 0x900],
        "/device-regions/uart: interrupts: expected each interrupt once, found 0x28",
    );
    refused(
        |tree| {
            tree.put("device-regions/uart", "interrupts", &[40, 0x900]);
            tree.put("device-regions/rtc", "interrupts", &[40, 0x900]);
        },
        "/device-regions/rtc: interrupts: expected each interrupt once, found 0x28",
    );
    refused(
        |tree| {
            tree.put("device-regions/uart", "interrupts", &[40, 0x900]);
            tree.put("device-regions/uart", "interrupts-target", &[41, 0, 0]);
        },
        "/device-regions/uart: interrupts-target: expected an SPI of the interrupts property, found 0x29",
    );
}

// req: MAN-32
#[test]
fn interrupts_that_are_not_what_their_attributes_say() {
    let type_of = "with the type that the id has";
    for (id, attributes, expected) in [
        (40, 0x1900, "in bits 11 to 0"),
        (40, 0x100, type_of),
        (40, 0x500, type_of),
        (40, 0xd00, type_of),
        (27, 0x900, type_of),
        (5, 0x500, type_of),
        (5000, 0x500, type_of),
        (40, 0x800, "of a Secure interrupt"),
        (5, 0x300, "of an edge, as it is an SGI"),
        (40, 0x980, "with a priority below 0x80"),
    ] {
        refused(
            |tree| tree.put("device-regions/uart", "interrupts", &[id, attributes]),
            &format!(
                "/device-regions/uart: interrupts: expected attributes {expected}, found {attributes:#x}"
            ),
        );
    }
    refused(
        |tree| {
            tree.put("device-regions/uart", "interrupts", &[27, 0x700]);
            tree.put("device-regions/uart", "interrupts-target", &[27, 0, 0]);
        },
        "/device-regions/uart: interrupts-target: expected an SPI of the interrupts property, found 0x1b",
    );
}

// req: MAN-34
#[test]
fn stream_ids_without_an_smmu() {
    for path in ["device-regions/uart", "memory-regions/heap"] {
        refused(
            |tree| tree.put(path, "stream-ids", &[1]),
            &format!("/{path}: smmu-id: expected it together with stream-ids, found nothing"),
        );
    }
}

// req: MAN-21, MAN-34, MAN-35
#[test]
fn dma_that_nothing_confines() {
    refused(
        |tree| tree.put("device-regions/uart", "stream-endpoint-id", &[0x8100]),
        "/device-regions/uart: stream-ids: expected them together with stream-endpoint-id, found nothing",
    );
    refused(
        |tree| tree.put("", "stream-endpoint-ids", &[0x8100, 0x8101, 0x8100]),
        "/: stream-endpoint-ids: expected 16-bit ids, each once, found 0x8100",
    );
    refused(
        |tree| {
            tree.put("memory-regions/heap", "smmu-id", &[0]);
            tree.put("memory-regions/heap", "stream-ids", &[7]);
            tree.put(
                "memory-regions/heap",
                "stream-ids-access-permissions",
                &[3, 3],
            );
        },
        "/memory-regions/heap: stream-ids-access-permissions: expected one value for each stream id, found 2",
    );
    refused(
        |tree| {
            tree.put("memory-regions/heap", "smmu-id", &[0]);
            tree.put("memory-regions/heap", "stream-ids", &[7, 8]);
            tree.put(
                "memory-regions/heap",
                "stream-ids-access-permissions",
                &[3, 1],
            );
        },
        "/memory-regions/heap: stream-ids-access-permissions: expected the same value for all, found 0x1",
    );
}

// req: MAN-02, MAN-33
#[test]
fn too_many_interrupts() {
    refused(
        |tree| {
            tree.remove_node("device-regions");
            let parent =
                Node::new("device-regions").string("compatible", "arm,ffa-manifest-device-regions");
            let devices = (0..3).map(|n| {
                let interrupts = (0..20).flat_map(|i| [100 + 20 * n + i, 0x900]);
                let interrupts: Vec<u32> = interrupts.collect();
                let device = region(&format!("d{n}"), 0x0904_0000 + n * 0x1000, 1, 1);
                device.cells("interrupts", &interrupts)
            });
            *tree = tree.clone().child(devices.fold(parent, Node::child));
        },
        "/device-regions/d2: interrupts: expected at most 59 in all regions, found 60",
    );
}

// req: MAN-02
#[test]
fn child_nodes_of_another_kind() {
    for (node, compatible) in [
        ("memory-regions", "arm,ffa-manifest-memory-regions"),
        ("device-regions", "arm,ffa-manifest-device-regions"),
        ("boot-info", "arm,ffa-manifest-boot-info"),
    ] {
        refused(
            |tree| tree.put_string(node, "compatible", "other"),
            &format!("/{node}: compatible: expected \"{compatible}\", found \"another\""),
        );
    }
}

// req: MAN-37, MAN-38, MAN-39
#[test]
fn the_manifest_of_an_independent_device() {
    // Such a device would be an endpoint without code. No binding describes one, so its manifest is
    // read as that of a partition, and refused.
    refused(
        |tree| {
            for name in [
                "uuid",
                "execution-ctx-count",
                "exception-level",
                "execution-state",
            ] {
                tree.remove("", name);
            }
            tree.put("device-regions/uart", "smmu-id", &[0]);
            tree.put("device-regions/uart", "stream-ids", &[1]);
        },
        "/: execution-ctx-count: expected one 32-bit cell, found nothing",
    );
}
