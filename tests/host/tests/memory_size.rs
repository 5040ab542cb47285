//! The memory that the engine allocates at boot, against what `sizes.rs` of the platform promises.

use std::sync::Arc;

use host_tests::PartitionSpec;
use host_tests::allocations::Allocations;
use host_tests::hal::{FakeContext, FakeHal};
use host_tests::machine::{Machine, SPMC_IMAGE, on_pe};
use spmc::addr::{Pa, PageRange, World};
use spmc::manifest::board::Board;
use spmc::mem::Shares;
use spmc::partition::Partition;
use spmc::{Spmc, manifest};
use vm_fdt::FdtWriter;

#[path = "../../../platform/aarch64/src/sizes.rs"]
mod sizes;

use sizes::Counts;

/// Where packages lie, and what each has.
const PACKAGES: u64 = 0x10_0000_0000;
const PACKAGE_SIZE: u64 = 0x10_0000;

/// Returns the manifest of a system in which each partition has as many contexts as there are PEs.
fn spmc_manifest(size: Counts) -> Vec<u8> {
    let mut fdt = FdtWriter::new().unwrap();
    let root = fdt.begin_node("").unwrap();
    fdt.property_string("compatible", "arm,ffa-core-manifest-1.0")
        .unwrap();
    fdt.property_u32("#address-cells", 2).unwrap();
    fdt.property_u32("#size-cells", 2).unwrap();
    let node = fdt.begin_node("attribute").unwrap();
    for (name, value) in [
        ("spmc_id", 0x8000),
        ("maj_ver", 1),
        ("min_ver", 2),
        ("exec_state", 0),
    ] {
        fdt.property_u32(name, value).unwrap();
    }
    fdt.end_node(node).unwrap();
    let node = fdt.begin_node("hypervisor").unwrap();
    fdt.property_u32("memory-transactions", size.transactions as u32)
        .unwrap();
    fdt.property_u32("vms", size.vms as u32).unwrap();
    for n in 0..size.partitions {
        let vm = fdt.begin_node(&format!("vm{}", n + 1)).unwrap();
        fdt.property_null("is_ffa_partition").unwrap();
        fdt.property_string("debug_name", &format!("p{n}")).unwrap();
        fdt.property_u64("load_address", PACKAGES + n * PACKAGE_SIZE)
            .unwrap();
        fdt.property_u64("mem_size", PACKAGE_SIZE).unwrap();
        fdt.property_u32("vcpu_count", size.pes as u32).unwrap();
        fdt.end_node(vm).unwrap();
    }
    fdt.end_node(node).unwrap();
    let node = fdt.begin_node("cpus").unwrap();
    fdt.property_u32("#address-cells", 2).unwrap();
    fdt.property_u32("#size-cells", 0).unwrap();
    for pe in 0..size.pes {
        let cpu = fdt.begin_node(&format!("cpu@{pe:x}")).unwrap();
        fdt.property_string("device_type", "cpu").unwrap();
        fdt.property_u64("reg", pe).unwrap();
        fdt.end_node(cpu).unwrap();
    }
    fdt.end_node(node).unwrap();
    let memory = PACKAGES..PACKAGES + size.partitions.max(1) * PACKAGE_SIZE;
    for (kind, range) in [
        ("memory", memory),
        ("ns-memory", 0x8000_0000..0x1_0000_0000),
    ] {
        let node = fdt
            .begin_node(&format!("memory@{:x}", range.start))
            .unwrap();
        fdt.property_string("device_type", kind).unwrap();
        fdt.property_array_u64("reg", &[range.start, range.end - range.start])
            .unwrap();
        fdt.end_node(node).unwrap();
    }
    fdt.end_node(root).unwrap();
    fdt.finish().unwrap()
}

/// Makes the engine of that system. Returns the bytes that it takes, with contexts of the size that
/// `sizes.rs` promises.
fn taken(size: Counts) -> u64 {
    let tables = 2 * size.partitions as usize + 256;
    let machine = Arc::new_cyclic(|this| Machine::new(this.clone(), size.pes as usize, tables, 1));
    let end = PACKAGES + size.partitions * PACKAGE_SIZE;
    machine.memory().declare(World::Secure, PACKAGES..end);
    for n in 0..size.partitions {
        let spec = PartitionSpec::new(&format!("p{n}")).with(|spec| {
            spec.vcpus = if size.pes == 1 { 1 } else { size.pes as u32 };
            spec.uuids = (0..8).map(|i| [n as u32 + 1, i, 3, 4]).collect();
        });
        let package = spec.package();
        machine
            .memory()
            .write(World::Secure, PACKAGES + n * PACKAGE_SIZE, &package)
            .unwrap();
    }
    let dtb = spmc_manifest(size);
    let image = PageRange::from_bytes(Pa::new(SPMC_IMAGE.start), 0x20_0000).unwrap();
    let hal = FakeHal(Arc::clone(&machine));
    let (spmc, allocations) = Allocations::of(|| {
        let manifest = manifest::system(&dtb, 48, &mut Board::default()).unwrap();
        on_pe(0, || Spmc::new(hal, Ok(manifest), image))
    });
    assert_eq!(spmc.partitions.len() as u64, size.partitions, "{size:?}");
    let contexts = size.partitions * size.pes;
    let own = Partition::<FakeContext>::CONTEXT_SIZE as u64;
    allocations.taken as u64 - contexts * own + contexts * sizes::CONTEXT_SIZE
}

#[test]
fn the_engine_takes_no_more_memory_than_boot_says() {
    for (pes, partitions, transactions, vms) in [
        (1, 0, 1, 0),
        (1, 1, 1024, 8),
        (4, 2, 1024, 8),
        (8, 8, 64, 8),
        (32, 8, 1024, 100),
        (64, 32, 4096, 8),
        (512, 2, 1024, 8),
        (2, 62, 1, 1024),
        (512, 62, 1024, 8),
        (512, 62, 16384, 1024),
    ] {
        let slots = Shares::count(partitions as usize, transactions);
        let size = Counts {
            pes,
            partitions,
            transactions: slots as u64,
            vms,
        };
        let (taken, promised) = (taken(size), size.engine());
        println!("{size:?}: {taken} of {promised}");
        assert!(taken <= promised, "{size:?}: {taken} of {promised}");
    }
}
