//! Fuzzes the readers of packages: SPKG headers, and transfer lists with HOB lists in them.

use spmc::addr::{Pa, PageRange};
use spmc::manifest::package::{HEADER_SIZE, Package};
use spmc::manifest::{ManifestError, boot_info};

use crate::transfer_list::{self, HOB_LIST, IMAGE, MANIFEST, VOID};

const BASE: u64 = 0x0e30_0000;

/// Parses the package, which has zeros behind the bytes that are given. No byte outside of the
/// memory is read.
fn parse(package: &[u8], size: u64) -> Option<Package> {
    let memory = PageRange::from_bytes(Pa::new(BASE), size)?;
    let parsed: Result<_, ManifestError> = Package::parse(memory, &mut |offset, to| {
        assert!(offset + to.len() as u64 <= size, "outside of the memory");
        for (n, to) in to.iter_mut().enumerate() {
            *to = package.get(offset as usize + n).copied().unwrap_or(0);
        }
        Ok(())
    });
    parsed.ok()
}

fn word(bytes: &[u8], at: usize) -> u64 {
    let word = bytes[at..at + 4].try_into().expect("four bytes");
    u32::from_le_bytes(word).into()
}

/// Tests a package header and the pages of the package: the parts of an accepted package lie in the
/// package, in order, and do not overlap.
pub fn spkg(input: &[u8]) {
    let Some((header, rest)) = input.split_first_chunk::<HEADER_SIZE>() else {
        return;
    };
    let mut pages = [0; 4];
    let count = rest.len().min(4);
    pages[..count].copy_from_slice(&rest[..count]);
    let size = u64::from(u32::from_le_bytes(pages)) << 12;
    // The other form has a target of its own.
    let Some(package) = parse(header, size).filter(|_| word(header, 0) != 0x4a0f_b10b) else {
        return;
    };
    assert_eq!(word(header, 0), 0x474b_5053);
    let found = [
        package.manifest_offset(),
        package.manifest_size() as u64,
        package.image_offset(),
        package.image_size(),
    ];
    assert_eq!(found, [8, 12, 16, 20].map(|at| word(header, at)));
    let version = word(header, 4);
    let [manifest, manifest_size, image, image_size] = found;
    assert!(manifest == if version == 1 { 24 } else { manifest & !0xfff } && manifest != 0);
    assert!((1..=0x4000).contains(&manifest_size) && image_size > 0);
    assert!(manifest + manifest_size <= image && image % 0x1000 == 0);
    assert!(image + image_size <= size && package.hob_list().is_none());
    if let Ok(moved) = package.offset_behind_boot_info(boot_info::MAX_SIZE) {
        assert!(moved == manifest || version == 1);
        assert!(moved >= 40 && moved + manifest_size <= image);
    }
}

/// Returns headers of both versions.
pub fn spkg_seeds() -> Vec<Vec<u8>> {
    [
        [0x474b_5053, 2, 0x1000, 0x800, 0x4000, 0x1000, 0x100],
        [0x474b_5053, 1, 24, 0x400, 0x1000, 0x1000, 2],
    ]
    .into_iter()
    .map(|words: [u32; 7]| words.into_iter().flat_map(u32::to_le_bytes).collect())
    .collect()
}

/// Bytes of an input for the first page of a package, and those for each page border: as many in
/// front of it as an entry needs for its header, and the beginning of its data.
const FIRST: usize = 64;
const BEFORE: usize = 16;
const BORDER: usize = 256;
/// Pages behind the first that an input describes.
const PAGES: usize = 4;

/// The length of an input with all pages.
pub const MAX_LIST: usize = FIRST + PAGES * BORDER;

/// Returns the package that an input describes: what it leaves out is zero.
fn unfold(input: &[u8]) -> Vec<u8> {
    let mut package = vec![0; (PAGES + 1) * 0x1000];
    let (first, borders) = input.split_at(input.len().min(FIRST));
    package[..first.len()].copy_from_slice(first);
    for (n, border) in borders.chunks(BORDER).take(PAGES).enumerate() {
        let at = (n + 1) * 0x1000 - BEFORE;
        package[at..at + border.len()].copy_from_slice(border);
    }
    package
}

/// Returns the input that describes a package.
fn fold(package: &[u8]) -> Vec<u8> {
    let mut whole = package.to_vec();
    whole.resize((PAGES + 1) * 0x1000, 0);
    let mut input = whole[..FIRST].to_vec();
    for page in 1..=PAGES {
        let at = page * 0x1000 - BEFORE;
        input.extend(&whole[at..at + BORDER]);
    }
    input
}

/// Tests a transfer list, as it is and with the right checksum: its parts are what an independent
/// walk finds, and a HOB list can be walked without leaving it.
pub fn transfer_list(input: &[u8]) {
    let mut list = unfold(input);
    list[..4].copy_from_slice(&0x4a0f_b10b_u32.to_le_bytes());
    judge(&list);
    let used = word(&list, 8) as usize;
    if let Some(used) = list.get_mut(..used).filter(|used| used.len() >= 24) {
        transfer_list::seal(used);
        judge(&list);
    }
}

fn judge(list: &[u8]) {
    let size = list.len() as u64;
    let Some(package) = parse(list, size) else {
        return;
    };
    let used = word(list, 8);
    assert!(used <= size && used <= word(list, 12));
    let bytes = &list[..used as usize];
    let sum = bytes.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte));
    assert!(sum == 0 || list[16] & 1 == 0);
    assert!(list[5] != 0 && list[6] == 24);
    let mut found = Vec::new();
    let mut at = 24;
    while at < bytes.len() {
        let start = at + usize::from(bytes[at + 3]);
        let end = start + word(bytes, at + 4) as usize;
        found.push((word(bytes, at) as u32 & 0xff_ffff, start..end));
        assert!(start >= at + 8 && end <= bytes.len());
        at = end.next_multiple_of(8);
    }
    let the = |tag: u32| {
        let mut all = found.iter().filter(|(other, _)| *other == tag);
        let first = all.next().map(|(_, data)| data.clone());
        assert!(all.next().is_none(), "{tag:#x} twice");
        first
    };
    let manifest = the(MANIFEST).expect("a manifest");
    let image = the(IMAGE).expect("an image");
    let of = |start: u64, size: u64| start as usize..(start + size) as usize;
    let manifest_size = package.manifest_size() as u64;
    assert_eq!(of(package.manifest_offset(), manifest_size), manifest);
    assert_eq!(of(package.image_offset(), package.image_size()), image);
    assert_eq!(found.last().map(|(tag, _)| *tag), Some(IMAGE));
    let hobs = the(HOB_LIST);
    assert_eq!(hobs.is_some(), package.hob_list().is_some());
    for part in [&manifest, &image].into_iter().chain(&hobs) {
        assert!(!part.is_empty() && part.start % 0x1000 == 0 && part.start != 0);
    }
    if let (Some(entry), Some(hobs)) = (hobs, package.hob_list()) {
        let place = of(hobs.offset.into(), hobs.size.into());
        assert!(place.start == entry.start && place.end <= entry.end);
        walk(&list[place]);
    }
}

/// Walks a HOB list as a partition does: by the lengths, to the end.
fn walk(list: &[u8]) {
    let mut at = 0;
    loop {
        let kind = word(list, at) & 0xffff;
        let length = (word(list, at) >> 16) as usize;
        assert_eq!(kind == 1, at == 0);
        assert!(length >= 8 && at + length <= list.len());
        let guid = 0x4e2a_bf8d_0703_f912_u64.to_le_bytes();
        if kind == 4 && list[at + 8..at + 16] == guid && list[at + 16] == 0xbe {
            let other = 0x92c5_2525_27ab_07be_u64.to_le_bytes();
            if list[at + 16..at + 24] == other {
                assert!(32 + 32 * word(list, at + 24) <= length as u64);
            }
        }
        at += length;
        if kind == 0xffff {
            assert_eq!(at, list.len());
            return;
        }
    }
}

/// Returns a HOB list with descriptors of memory for an entry whose data are there.
fn hobs(offset: u64) -> Vec<u8> {
    let mut hobs = transfer_list::hob_list(BASE, BASE + offset);
    let end = hobs.split_off(hobs.len() - 8);
    let words = [
        96 << 16 | 4,
        0x4e2a_bf8d_0703_f912,
        0x92c5_2525_27ab_07be,
        2,
    ];
    hobs.extend(words.iter().flat_map(|word: &u64| word.to_le_bytes()));
    hobs.resize(hobs.len() + 64, 0x11);
    hobs.extend(end);
    hobs
}

/// Returns lists with and without a HOB list, and with entries that are passed over.
pub fn transfer_list_seeds() -> Vec<Vec<u8>> {
    let hobs = [0x1000, 0x2000].map(hobs);
    let image = (IMAGE, &[9; 0x123][..]);
    let lists: [&[(u32, &[u8])]; 4] = [
        &[(MANIFEST, &[7; 0x80]), (HOB_LIST, &hobs[1]), image],
        &[(MANIFEST, &[7; 0x80]), image],
        &[
            (2, b"block"),
            (HOB_LIST, &hobs[0]),
            (MANIFEST, &[7]),
            (VOID, &[]),
            image,
        ],
        &[(MANIFEST, &[7; 0x1ff8]), image],
    ];
    let packed = lists.map(|entries| fold(&transfer_list::pack(entries)));
    packed.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seeds_are_accepted() {
        for seed in spkg_seeds() {
            assert!(parse(&seed, 0x10_0000).is_some() || parse(&seed, 0x2000).is_some());
        }
        for (n, seed) in transfer_list_seeds().iter().enumerate() {
            let mut list = unfold(seed);
            let used = word(&list, 8) as usize;
            transfer_list::seal(&mut list[..used]);
            assert!(parse(&list, 0x5000).is_some(), "{n}");
        }
    }
}
