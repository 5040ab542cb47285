//! The HOB list that TF-A's tools put into a transfer list for a manifest with `hob_list` in
//! `boot-info`: where image, heap and the Normal world's buffer are (UEFI Platform Initialization
//! specification, volume 3, chapters 4 and 5).

use dtoolkit::fdt::{Fdt, FdtNode};
use dtoolkit::{Node, Property};

/// The places of the parts, as the partition sees them.
#[derive(Clone, Copy)]
pub struct Places {
    /// The load address of the package.
    pub package: u64,
    /// The first address of the list.
    pub list: u64,
    /// The first address of the image.
    pub image: u64,
    /// The bytes of the image.
    pub image_size: u64,
    /// The end of the memory that the package may have.
    pub end: u64,
}

/// A range of memory.
struct Region {
    name: String,
    base: u64,
    size: u64,
}

/// Hand-off information, a GUID extension, a firmware volume, and the end.
const PHIT: u16 = 1;
const GUID_EXTENSION: u16 = 4;
const FIRMWARE_VOLUME: u16 = 5;
const END: u16 = 0xffff;

const PHIT_VERSION: u64 = 10;
const PAGE: u64 = 0x1000;

/// f00497e3-bfa2-41a1-9d29-54c2e93721c5, as EFI has it in memory: the Normal world's buffer.
const NS_BUFFER: [u8; 16] = [
    0xe3, 0x97, 0x04, 0xf0, 0xa2, 0xbf, 0xa1, 0x41, 0x9d, 0x29, 0x54, 0xc2, 0xe9, 0x37, 0x21, 0xc5,
];
/// 0703f912-bf8d-4e2a-be07-ab272525c592: all memory.
const MEMORY: [u8; 16] = [
    0x12, 0xf9, 0x03, 0x07, 0x8d, 0xbf, 0x2a, 0x4e, 0xbe, 0x07, 0xab, 0x27, 0x25, 0x25, 0xc5, 0x92,
];

/// States of memory: cacheable, and also in use.
const FREE: u64 = 0x8;
const IN_USE: u64 = 0x18;

/// Returns the list for a manifest; `None` if the manifest does not ask for one, or has no regions
/// named `heap` and `ns_comm_buffer`.
pub fn hob_list(manifest: &[u8], places: &Places) -> Option<Vec<u8>> {
    let tree = Fdt::new(manifest).ok()?;
    tree.root().child("boot-info")?.property("hob_list")?;
    let node = tree.root().child("memory-regions")?;
    let regions: Option<Vec<_>> = node
        .children()
        .map(|node| region(&node, places.package))
        .collect();
    let mut others = regions?;
    let mut take = |name: &str| {
        let at = others.iter().position(|region| region.name == name)?;
        Some(others.remove(at))
    };
    let (heap, buffer) = (take("heap")?, take("ns_comm_buffer")?);
    // Readers find the first four by their places. The second is a Secure buffer, which nobody has.
    let image_end = (places.image + places.image_size).next_multiple_of(PAGE);
    let mut memory = vec![
        descriptor(places.package, image_end - places.package, IN_USE),
        descriptor(places.package, 0, IN_USE),
        of_region(&buffer, IN_USE),
        of_region(&heap, FREE),
    ];
    memory.extend(others.iter().map(|region| of_region(region, IN_USE)));

    let mut hobs = block(
        FIRMWARE_VOLUME,
        &[&words(&[places.image, places.image_size])],
    );
    let buffer = of_region(&buffer, IN_USE);
    hobs.extend(block(GUID_EXTENSION, &[&NS_BUFFER, &buffer]));
    let count = words(&[memory.len() as u64]);
    let memory = memory.concat();
    hobs.extend(block(GUID_EXTENSION, &[&MEMORY, &count, &memory]));
    let phit = 56;
    let last = places.list + phit + hobs.len() as u64;
    let end = last + 8;
    let fields = [
        PHIT_VERSION,
        places.end,
        places.package,
        (places.package + PAGE).max(end),
        end,
        last,
    ];
    let mut list = block(PHIT, &[&words(&fields)]);
    list.extend(hobs);
    list.extend(block(END, &[]));
    Some(list)
}

fn block(kind: u16, fields: &[&[u8]]) -> Vec<u8> {
    let fields = fields.concat();
    let mut block = Vec::from(kind.to_le_bytes());
    block.extend((fields.len() as u16 + 8).to_le_bytes());
    block.extend([0; 4]);
    block.extend(fields);
    block
}

fn words(words: &[u64]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

fn descriptor(base: u64, size: u64, state: u64) -> Vec<u8> {
    words(&[base, base, size, state])
}

fn of_region(region: &Region, state: u64) -> Vec<u8> {
    descriptor(region.base, region.size, state)
}

fn region(node: &FdtNode, package: u64) -> Option<Region> {
    let number = |name: &str| {
        let value = node.property(name)?;
        let bytes = value.value().iter();
        Some(bytes.fold(0, |number, byte| number << 8 | u64::from(*byte)))
    };
    let relative = || Some(package + number("load-address-relative-offset")?);
    Some(Region {
        name: node.name().into(),
        base: number("base-address").or_else(relative)?,
        size: number("pages-count")? * PAGE,
    })
}
