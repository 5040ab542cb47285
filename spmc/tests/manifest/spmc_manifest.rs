//! The SPMC manifest.

use spmc::ffa::Version;
use spmc::id::PartitionId;
use spmc::limits::{MAX_PES, MAX_TABLE_MEMORY_PAGES};
use spmc::manifest::config::SpmcManifest;
use spmc::manifest::{Kind, check, spmc_manifest};

use crate::log_capture::capture;
use crate::tree::{Node, range, spmc_manifest};

fn changed(change: impl FnOnce(&mut Node)) -> SpmcManifest {
    let mut tree = spmc_manifest();
    change(&mut tree);
    spmc_manifest::parse(&tree.to_dtb()).unwrap()
}

#[track_caller]
fn refused(change: impl FnOnce(&mut Node), line: &str) {
    let mut tree = spmc_manifest();
    change(&mut tree);
    assert_eq!(
        spmc_manifest::parse(&tree.to_dtb())
            .unwrap_err()
            .to_string(),
        line
    );
}

/// Checks that vm1 is refused with `line` after `change`, and that vm2 is still there.
#[track_caller]
fn faulty_vm1(change: impl FnOnce(&mut Node), line: &str) {
    let manifest = changed(change);
    let [fault] = manifest.faults.as_slice() else {
        panic!("{:?}", manifest.faults)
    };
    assert_eq!(fault.to_string(), line);
    let [vm2] = manifest.partitions.as_slice() else {
        panic!("{:?}", manifest.partitions)
    };
    assert_eq!(vm2.id(), PartitionId(0x8002));
}

// req: MAN-41, MAN-27, PMAN-24, PMAN-25
#[test]
fn all_nodes() {
    let manifest = changed(|tree| {
        tree.put("hypervisor", "log-level", &[4]);
        tree.put("hypervisor", "init-timeout-ms", &[500]);
        tree.put(
            "hypervisor/vm2",
            "smc_whitelist",
            &[0xc200_0001, 0xc200_0002],
        );
        tree.put("hypervisor/vm2", "smc_whitelist_permissive", &[]);
        tree.put("hypervisor/vm2", "hyp_loaded", &[]);
        tree.put_string("hypervisor/vm2", "fdt_filename", "sp2.dtb");
        tree.put(
            "interrupt-controller@8000000",
            "reg",
            &[0, 0x0800_0000, 0, 0x1_0000],
        );
        tree.put("cpus/cpu-map/cluster0/core0", "cpu", &[1]);
    });
    assert_eq!(manifest.spmc_id, PartitionId::SPMC);
    assert_eq!(manifest.version, Version::V1_1);
    assert_eq!(manifest.load_address, Some(0x0610_0000));
    assert_eq!(manifest.cpus.as_slice(), [0, 0x100]);
    assert_eq!(manifest.memory.as_slice(), [range(0x0600_0000, 0x2000)]);
    assert_eq!(
        manifest.ns_memory.as_slice(),
        [range(0x4000_0000, 0x1_0000)]
    );
    assert_eq!(manifest.device_memory.as_slice(), [range(0x0904_0000, 1)]);
    assert_eq!(
        manifest.ns_device_memory.as_slice(),
        [range(0x0900_0000, 0x20)]
    );
    assert_eq!(
        (manifest.log_level, manifest.init_timeout_ms),
        (Some(4), Some(500))
    );
    assert!(manifest.faults.is_empty());
    let [vm1, vm2] = manifest.partitions.as_slice() else {
        panic!()
    };
    assert_eq!((vm1.id(), vm1.name.as_str()), (PartitionId(0x8001), "vm1"));
    assert_eq!((vm1.memory, vm1.vcpu_count), (range(0x0630_0000, 0x100), 1));
    assert!(vm1.smc_whitelist.is_empty() && !vm1.smc_whitelist_permissive);
    assert_eq!(vm2.smc_whitelist.as_slice(), [0xc200_0001, 0xc200_0002]);
    assert!(vm2.smc_whitelist_permissive);
}

// req: MAN-41
#[test]
fn cells_follow_the_tree() {
    let manifest = changed(|tree| {
        tree.put("", "#address-cells", &[1]);
        tree.put("", "#size-cells", &[1]);
        for name in ["memory@6000000", "memory@9040000", "memory@9000000"] {
            tree.put(name, "reg", &[0x0600_0000, 0x1000, 0x0700_0000, 0x2000]);
        }
        tree.put("memory@40000000", "reg", &[0x4000_0000, 0x1000]);
        tree.put("hypervisor/vm1", "load_address", &[0x0630_0000]);
        tree.put("hypervisor/vm1", "mem_size", &[0, 0x10_0000]);
        tree.put("cpus/cpu@100", "reg", &[0x100]);
    });
    assert_eq!(
        manifest.memory.as_slice(),
        [range(0x0600_0000, 1), range(0x0700_0000, 2)]
    );
    assert_eq!(manifest.partitions[0].memory, range(0x0630_0000, 0x100));
    assert_eq!(manifest.cpus[1], 0x100);
}

// req: GEN-17, PMAN-22
#[test]
fn counting_stops_at_the_first_gap() {
    let (manifest, lines) = capture(|| {
        changed(|tree| {
            tree.put("hypervisor/vm4", "is_ffa_partition", &[]);
            tree.put("hypervisor/vm63", "is_ffa_partition", &[]);
            tree.put("hypervisor/vm02", "is_ffa_partition", &[]);
        })
    });
    assert_eq!(manifest.partitions.len(), 2);
    let faults: Vec<_> = manifest.faults.iter().map(ToString::to_string).collect();
    assert_eq!(
        faults,
        ["/hypervisor/vm4: expected each number from vm1 on before it, found \"a gap\""]
    );
    assert!(lines.is_empty(), "{lines:?}");
}

// req: GEN-17, PMAN-22
#[test]
fn the_order_of_nodes_does_not_matter() {
    let swapped = changed(|tree| {
        let mut other = spmc_manifest();
        other.remove_node("hypervisor");
        let vm = |name: &str| {
            Node::new(name)
                .cells("vcpu_count", &[1])
                .cells("mem_size", &[0x1000])
                .cells("load_address", &[0x0630_0000])
                .string("debug_name", name)
                .flag("is_ffa_partition")
        };
        *tree = other.child(Node::new("hypervisor").child(vm("vm2")).child(vm("vm1")));
    });
    let ids = swapped
        .partitions
        .iter()
        .map(|entry| (entry.id().0, entry.name.to_string()));
    assert_eq!(
        ids.collect::<Vec<_>>(),
        [(0x8001, "vm1".into()), (0x8002, "vm2".into())]
    );
}

// req: MAN-01
#[test]
fn what_hafnium_rounds_is_rounded() {
    let (manifest, lines) = capture(|| {
        changed(|tree| {
            tree.put("hypervisor/vm1", "mem_size", &[0xf_f001]);
            tree.put(
                "hypervisor/vm1",
                "smc_whitelist",
                &(1..=33).collect::<Vec<_>>(),
            );
        })
    });
    assert_eq!(manifest.partitions[0].memory.pages(), 0x100);
    assert_eq!(manifest.partitions[0].smc_whitelist.last(), Some(&33));
    assert!(lines.is_empty(), "{lines:?}");
}

// req: GEN-17, PMAN-22
#[test]
fn vm0_is_an_error() {
    refused(
        |tree| tree.put("hypervisor/vm0", "is_ffa_partition", &[]),
        "/hypervisor/vm0: expected numbers from vm1 on, found \"vm0\"",
    );
}

// req: GEN-17, PMAN-22
#[test]
fn too_many_partitions_are_an_error() {
    refused(
        |tree| {
            (3..=63).for_each(|n| tree.put(&format!("hypervisor/vm{n}"), "is_ffa_partition", &[]))
        },
        "/hypervisor/vm63: expected at most 62 partitions, found 63",
    );
}

// req: MAN-01, PMAN-23
#[test]
fn a_fault_of_one_vm_costs_only_that_partition() {
    for (name, expected) in [
        ("is_ffa_partition", "an FF-A partition"),
        ("debug_name", "a string"),
        ("load_address", "an address"),
        ("mem_size", "a size"),
        ("vcpu_count", "a count"),
    ] {
        faulty_vm1(
            |tree| tree.remove("hypervisor/vm1", name),
            &format!("/hypervisor/vm1: {name}: expected {expected}, found nothing"),
        );
    }
    faulty_vm1(
        |tree| tree.put("hypervisor/vm1", "load_address", &[0x0630_0800]),
        "/hypervisor/vm1: load_address: expected a 4 KiB aligned address, found 0x6300800",
    );
    for (size, found) in [
        ([0, 0], "0x0"),
        ([0xffff_ffff, 0xffff_f000], "0xfffffffffffff000"),
    ] {
        faulty_vm1(
            |tree| tree.put("hypervisor/vm1", "mem_size", &size),
            &format!(
                "/hypervisor/vm1: mem_size: expected at least 1, within the 48-bit address space, found {found}"
            ),
        );
    }
    faulty_vm1(
        |tree| tree.put("hypervisor/vm1", "vcpu_count", &[0]),
        "/hypervisor/vm1: vcpu_count: expected at least 1, found 0",
    );
    faulty_vm1(
        |tree| tree.put("hypervisor/vm1", "vcpu_count", &[0x1_0000]),
        "/hypervisor/vm1: vcpu_count: expected at most 0xffff, found 0x10000",
    );
    faulty_vm1(
        |tree| tree.put("hypervisor/vm1", "smc_whitelist", &[]),
        "/hypervisor/vm1: smc_whitelist: expected a list of function ids, found 0 bytes",
    );
}

// req: MAN-41
#[test]
fn nodes_that_must_be_there() {
    refused(
        |tree| tree.put_string("", "compatible", "arm,ffa-manifest-1.0"),
        "/: compatible: expected \"arm,ffa-core-manifest-1.0\", found nothing",
    );
    refused(
        |tree| tree.remove_node("attribute"),
        "/: attribute: expected a node, found nothing",
    );
    refused(
        |tree| tree.remove_node("hypervisor"),
        "/: hypervisor: expected a node, found nothing",
    );
    refused(
        |tree| {
            tree.remove_node("memory@6000000");
            tree.remove_node("memory@40000000");
        },
        "/: memory@: expected a node with device_type \"memory\" or \"ns-memory\", found nothing",
    );
}

// req: MAN-41, GEN-05, VER-10
#[test]
fn faulty_attributes() {
    for name in ["spmc_id", "maj_ver", "min_ver", "exec_state"] {
        refused(
            |tree| tree.remove("attribute", name),
            &format!("/attribute: {name}: expected one 32-bit cell, found nothing"),
        );
    }
    for id in [0, 0x8001, 0x8008, 0xffc0, 0xfffe, 0xffff, 0x1_8000] {
        refused(
            |tree| tree.put("attribute", "spmc_id", &[id]),
            &format!(
                "/attribute: spmc_id: expected a Secure id other than those of EL3 and of partitions, found {id:#x}"
            ),
        );
    }
    refused(
        |tree| tree.put("attribute", "maj_ver", &[2]),
        "/attribute: maj_ver: expected the major version of the SPMC, 1, found 0x2",
    );
    refused(
        |tree| tree.put("attribute", "exec_state", &[1]),
        "/attribute: exec_state: expected 0 (AArch64), found 0x1",
    );
    refused(
        |tree| tree.put("attribute", "load_address", &[0, 0x123]),
        "/attribute: load_address: expected a 4 KiB aligned address, found 0x123",
    );
}

// req: MAN-41
#[test]
fn faulty_cpus_and_memory() {
    refused(
        |tree| tree.put("cpus/cpu@100", "reg", &[0, 0]),
        "/cpus/cpu@100: reg: expected an affinity that no other CPU has, found 0x0",
    );
    refused(
        |tree| tree.put("memory@6000000", "reg", &[0, 0x0600_0000, 0]),
        "/memory@6000000: reg: expected ranges of #address-cells and #size-cells, found 12 bytes",
    );
    refused(
        |tree| tree.put("memory@6000000", "reg", &[0, 0x0600_0010, 0, 0x1000]),
        "/memory@6000000: reg: expected 4 KiB aligned ranges within the 48-bit address space, found 0x6000010",
    );
}

// req: MAN-41
#[test]
fn the_lowest_cpus_are_kept_where_there_are_too_many() {
    let count = MAX_PES as u32 + 4;
    let (manifest, lines) = capture(|| {
        // Hafnium lists the boot CPU first, and then the others in descending order.
        changed(|tree| {
            tree.put("cpus/cpu@100", "reg", &[count - 1]);
            for n in (1..count - 1).rev() {
                tree.put(&format!("cpus/cpu@n{n}"), "reg", &[n]);
            }
        })
    });
    let mut cpus = manifest.cpus.to_vec();
    cpus.sort();
    assert_eq!(cpus, (0..MAX_PES as u64).collect::<Vec<_>>());
    let expected = format!(
        "WARN SPMC manifest: {count} CPUs, but at most {MAX_PES} run partitions: \
         the Normal world has the others to itself"
    );
    assert_eq!(lines, [expected]);
}

// req: MAN-41
#[test]
fn memory_is_of_one_world() {
    let ns_memory = |base: u32, bytes: u32| {
        let reg = [0, 0x4000_0000, 0, 0x1000, 0, base, 0, bytes];
        move |tree: &mut Node| tree.put("memory@40000000", "reg", &reg)
    };
    changed(ns_memory(0x05ff_f000, 0x1000));
    changed(ns_memory(0x0800_0000, 0x1000));
    for (base, bytes, found) in [
        (0x05ff_f000, 0x2000, "0x5fff000..0x6001000"),
        (0x0600_1000, 0x1000, "0x6001000..0x6002000"),
        (0x07ff_f000, 0x10_0000, "0x7fff000..0x80ff000"),
        (0x0500_0000, 0x1000_0000, "0x5000000..0x15000000"),
    ] {
        let line = format!(
            "/: ns-memory: expected ranges outside Secure memory, found {found}, \
             which overlaps the one at 0x6000000"
        );
        refused(ns_memory(base, bytes), &line);
    }
}

// req: FEAT-17
#[test]
fn pages_of_a_buffer() {
    let pages = |count| move |tree: &mut Node| tree.put("hypervisor", "rxtx-pages", &[count]);
    assert_eq!(changed(|_| {}).mailbox_pages, 16);
    assert_eq!(changed(pages(1)).mailbox_pages, 1);
    assert_eq!(changed(pages(16)).mailbox_pages, 16);
    for (count, found) in [(0, "0x0"), (17, "0x11")] {
        let line = format!("/hypervisor: rxtx-pages: expected 1 to 16 pages, found {found}");
        refused(pages(count), &line);
    }
}

// req: MAN-41
#[test]
fn memory_for_tables_is_secure_and_nobody_elses() {
    let tables = |cells: &'static [u32]| {
        move |tree: &mut Node| {
            tree.put("hypervisor", "table-memory", cells);
        }
    };
    assert_eq!(changed(|_| {}).table_memory, None);
    let manifest = changed(tables(&[0, 0x0670_0000, 0, 0x40_0000]));
    assert_eq!(manifest.table_memory, Some(range(0x0670_0000, 0x400)));
    // The range reaches up to the next package, or to the end of the memory node.
    changed(tables(&[0, 0x0640_0000, 0, 0x10_0000]));
    changed(tables(&[0, 0x07ff_f000, 0, 0x1000]));

    let format = "one range: two cells of address and two of size";
    let aligned = "a 4 KiB aligned range within the 48-bit address space";
    let inside = "a range inside a memory node";
    let free = "a range that no package has";
    for (cells, expected, found) in [
        (&[0x0670_0000, 0x40_0000][..], format, "8 bytes"),
        (
            &[0, 0x0670_0000, 0, 0x1000, 0, 0x0680_0000, 0, 0x1000],
            format,
            "32 bytes",
        ),
        (&[0, 0x0670_0800, 0, 0x1000], aligned, "0x6700800"),
        (&[0, 0x0670_0000, 0, 0x800], aligned, "0x6700000"),
        (&[0, 0x0670_0000, 0, 0], aligned, "0x6700000"),
        (&[0x1_0000, 0, 0, 0x1000], aligned, "0x1000000000000"),
    ] {
        let line = format!("/hypervisor: table-memory: expected {expected}, found {found}");
        refused(tables(cells), &line);
    }
    let most = MAX_TABLE_MEMORY_PAGES;
    let line = format!("/hypervisor: table-memory: expected at most {most} pages, found 69632");
    refused(tables(&[0, 0x0670_0000, 0, 0x1100_0000]), &line);
    for (cells, expected, found) in [
        (
            &[0, 0x05ff_f000, 0, 0x2000][..],
            inside,
            "0x5fff000..0x6001000",
        ),
        (&[0, 0x07ff_f000, 0, 0x2000], inside, "0x7fff000..0x8001000"),
        // Memory of the Normal world, and a device.
        (
            &[0, 0x4000_0000, 0, 0x1000],
            inside,
            "0x40000000..0x40001000",
        ),
        (&[0, 0x0904_0000, 0, 0x1000], inside, "0x9040000..0x9041000"),
        (
            &[0, 0x063f_f000, 0, 0x1000],
            free,
            "0x63ff000..0x6400000, which 0x8001 has",
        ),
        (
            &[0, 0x0640_0000, 0, 0x10_1000],
            free,
            "0x6400000..0x6501000, which 0x8002 has",
        ),
    ] {
        let line = format!("/: table-memory: expected {expected}, found {found}");
        refused(tables(cells), &line);
        let mut tree = spmc_manifest();
        tables(cells)(&mut tree);
        assert_eq!(check(&tree.to_dtb()).unwrap_err().to_string(), line);
    }
}

// req: MAN-41
#[test]
fn check_knows_the_kind_and_reports_faults_of_partitions() {
    assert_eq!(check(&spmc_manifest().to_dtb()), Ok(Kind::Spmc));
    let mut tree = spmc_manifest();
    tree.put("hypervisor/vm2", "vcpu_count", &[0]);
    let error = check(&tree.to_dtb()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "/hypervisor/vm2: vcpu_count: expected at least 1, found 0"
    );
}
