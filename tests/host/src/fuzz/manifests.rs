//! Fuzzes the inputs that are read before any partition runs, manifests and headers of packages,
//! and the boot information that is written.

use spmc::addr::{Pa, PageRange, World};
use spmc::ffa::Version;
use spmc::hal::Stream;
use spmc::manifest::board::{self, Board};
use spmc::manifest::config::PackageEntry;
use spmc::manifest::{Kind, Report, boot_info as written, check, partition_manifest};
use vm_fdt::FdtWriter;

use crate::machine::{NORMAL_RAM, SECURE_DEVICE, SECURE_RAM, SPMC_IMAGE};
use crate::manifest::{
    ENTRY, PARTITION_SIZE, PartitionSpec, partition_base, spmc_manifest, spmc_manifest_with,
};
use crate::puppet::Puppet;
use crate::system::System;

/// Tests a partition manifest: parsing it twice has the same result, and a partition with an
/// accepted manifest gets nothing that belongs to others.
pub fn partition(dtb: &[u8]) {
    let first = check(dtb).map_err(|error| error.to_string());
    assert_eq!(first, check(dtb).map_err(|error| error.to_string()));
    let memory = PageRange::from_bytes(Pa::new(partition_base(1)), PARTITION_SIZE);
    let entry = PackageEntry {
        index: 1,
        name: Default::default(),
        memory: memory.expect("pages"),
        vcpu_count: 1,
        smc_whitelist: Default::default(),
        smc_whitelist_permissive: false,
    };
    let report = Report::new();
    partition_manifest::read(dtb, &entry, &report);
    if report.is_good() && dtb.len() <= ENTRY as usize - 0x1000 {
        boot_with(dtb);
    }
}

/// Boots the partition between two partitions that have only their own memory.
fn boot_with(dtb: &[u8]) {
    let specs = ["sp1", "sp2", "sp3"].map(PartitionSpec::new);
    let mut builder = System::builder().pes(1).tables(64);
    for (index, mut spec) in specs.into_iter().enumerate() {
        if index == 1 {
            let mut package = spec.package();
            package[12..16].copy_from_slice(&(dtb.len() as u32).to_le_bytes());
            package[0x1000..][..dtb.len()].copy_from_slice(dtb);
            spec.package = Some(package);
        }
        builder = builder.sp(Puppet::control(spec, index).0);
    }
    let system = builder.boot();
    for id in [0x8001, 0x8003] {
        assert_eq!(system.nwd().ask(id, [7; 5]), [7; 5]);
    }
    let pages = |index: usize| {
        let mut pages = [Vec::new(), Vec::new()];
        // The partition in question may be missing, and then the others move up.
        let mut partitions = system.spmc.partitions.iter();
        if let Some(partition) = partitions.find(|partition| partition.frozen.config.index == index)
        {
            let worlds = [World::Secure, World::NonSecure];
            for (pages, world) in pages.iter_mut().zip(worlds) {
                let tables = system.machine.tables();
                tables.for_each_of(&partition.frozen.roots, world, &mut |ipa, _| {
                    pages.push(ipa)
                });
            }
        }
        pages
    };
    let [secure, non_secure] = pages(1);
    for page in &secure {
        assert!(!SPMC_IMAGE.contains(page), "{page:#x} is the SPMC's");
        assert!(SECURE_RAM.contains(page) || SECURE_DEVICE.contains(page));
    }
    assert!(non_secure.iter().all(|page| NORMAL_RAM.contains(page)));
    for other in [0, 2] {
        let [others, _] = pages(other);
        assert!(
            others
                .iter()
                .all(|page| secure.binary_search(page).is_err())
        );
    }
}

/// Returns manifests with all properties.
pub fn partition_seeds() -> Vec<Vec<u8>> {
    let plain = PartitionSpec::new("sp");
    let full = PartitionSpec::new("sp").vcpus(1).with(|spec| {
        let region = |name, base, relative, attributes| crate::manifest::Region {
            name,
            base,
            relative,
            pages: 1,
            attributes,
        };
        spec.regions = vec![
            region("tx", 0x1_0000, true, 3),
            region("rx", 0x1_1000, true, 1),
            region("ns", NORMAL_RAM.start + 0x80_0000, false, 0xb),
        ];
        spec.rx_tx = Some(("rx", "tx"));
        spec.device = true;
        spec.boot_register = Some(0);
        spec.boot_order = Some(1);
        spec.uuids.push([1, 2, 3, 4]);
    });
    vec![
        plain.manifest(),
        plain.version(0).manifest(),
        full.manifest(),
    ]
}

/// Tests an SPMC manifest: parsing it twice has the same result.
pub fn spmc(dtb: &[u8]) {
    let read = || {
        let manifest = spmc::manifest::spmc_manifest::parse(dtb);
        manifest
            .map(|manifest| format!("{manifest:?}"))
            .map_err(|error| error.to_string())
    };
    let first = read();
    assert_eq!(first, read());
    if first.is_ok() {
        assert_ne!(check(dtb).ok(), Some(Kind::Partition));
    }
    // The same bytes as a hardware configuration: what is accepted has a GIC in places of its own.
    let mut board = Board::default();
    if board::complete(&mut board, dtb).is_ok() {
        let gic: Vec<_> = board
            .ranges()
            .filter(|(name, _)| *name != "console")
            .collect();
        assert!(gic.len() >= 2);
        for (n, (_, range)) in gic.iter().enumerate() {
            assert!(!gic[..n].iter().any(|(_, other)| other.overlaps(range)));
        }
    }
}

/// Returns the SPMC manifest of the host tests, with and without partitions.
pub fn spmc_seeds() -> Vec<Vec<u8>> {
    let mut seeds = spmc_manifests();
    seeds.push(board_nodes());
    seeds
}

fn spmc_manifests() -> Vec<Vec<u8>> {
    let partitions = ["sp1", "sp2"].map(PartitionSpec::new);
    vec![
        spmc_manifest_with(&partitions, 4, &[(0x8100, vec![Stream { smmu: 0, id: 1 }])]),
        spmc_manifest(&[], 1),
    ]
}

/// Returns a tree with a UART below a bus, and a GIC.
fn board_nodes() -> Vec<u8> {
    let write = || {
        let mut tree = FdtWriter::new()?;
        let root = tree.begin_node("")?;
        tree.property_u32("#address-cells", 1)?;
        tree.property_u32("#size-cells", 1)?;
        let bus = tree.begin_node("soc")?;
        tree.property_null("ranges")?;
        let uart = tree.begin_node("serial@9040000")?;
        tree.property_string("compatible", "ns16550a")?;
        tree.property_array_u32("reg", &[0, 0x0904_0000, 0x100])?;
        tree.property_u32("reg-shift", 2)?;
        tree.property_u32("reg-io-width", 4)?;
        tree.property_u32("clock-frequency", 24_000_000)?;
        tree.property_string("status", "disabled")?;
        tree.property_string("secure-status", "okay")?;
        tree.end_node(uart)?;
        tree.end_node(bus)?;
        let gic = tree.begin_node("interrupt-controller@8000000")?;
        tree.property_string("compatible", "arm,gic-v3")?;
        let reg = [
            0x0800_0000,
            0x1_0000,
            0x0810_0000,
            0x10_0000,
            0x0900_0000,
            0x2_0000,
        ];
        tree.property_array_u32("reg", &reg)?;
        tree.property_u32("#redistributor-regions", 2)?;
        tree.property_u32("redistributor-stride", 0x2_0000)?;
        tree.end_node(gic)?;
        tree.end_node(root)?;
        tree.finish()
    };
    write().unwrap_or_else(|error: vm_fdt::Error| panic!("{error}"))
}

/// Tests boot information for any version, address, size and room: it fits or is not written at
/// all.
pub fn boot_info(input: &[u8]) {
    let mut bytes = [0; 16];
    let count = input.len().min(16);
    bytes[..count].copy_from_slice(&input[..count]);
    let [minor, room, ..] = bytes;
    let (minor, room) = (u32::from(minor % 3), usize::from(room));
    let field = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
    let (size, address) = (field(4), u64::from(field(8)) << 32 | u64::from(field(12)));
    let Some(version) = Version::from_word(0x1_0000 | minor) else {
        return;
    };
    let mut blob = [0xa5; 256];
    let kind = written::Kind::Manifest;
    let content = written::Content {
        kind,
        address,
        size,
    };
    let Some(length) = written::write(&mut blob[..room], version, &[content]) else {
        assert!(room < 64);
        assert_eq!(blob, [0xa5; 256], "no room, but written");
        return;
    };
    assert!(length <= room && blob[length..].iter().all(|byte| *byte == 0xa5));
    let word = |at: usize| u64::from_le_bytes(blob[at..at + 8].try_into().expect("eight bytes"));
    if minor == 0 {
        assert_eq!(blob[..8], *b"FF-A\x01\0\0\0");
        assert_eq!((length, word(24), word(32)), (40, address, size.into()));
    } else {
        assert_eq!(blob[..4], 0xffa_u32.to_le_bytes());
        assert_eq!(word(8), 64 | 32 << 32, "sizes of blob and descriptor");
        assert_eq!(word(16), 1 | 32 << 32, "count and offset of descriptors");
        assert_eq!(word(48) >> 32, size.into());
        assert_eq!((length, word(56)), (64, address));
    }
}

/// Returns one input for each layout.
pub fn boot_info_seeds() -> Vec<Vec<u8>> {
    (0..3)
        .map(|minor| vec![minor, 64, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0x10, 0x30, 0x0e])
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seeds_are_accepted() {
        for seed in partition_seeds() {
            assert_eq!(check(&seed).ok(), Some(Kind::Partition));
        }
        for seed in spmc_manifests() {
            assert_eq!(check(&seed).ok(), Some(Kind::Spmc));
        }
    }
}
