//! Packages in the form of transfer lists, as TF-A's tools write them and as they never would.

use spmc::manifest::package::{Package, Piece};

use crate::package::{BASE, parse};

const MEM_SIZE: u64 = 0x10_0000;

const VOID: u32 = 0;
const HOB_LIST: u32 = 3;
const IMAGE: u32 = 0x103;
const MANIFEST: u32 = 0x106;

/// Puts entries, each a tag and data, into a list. What must begin on a page does.
fn list(entries: &[(u32, &[u8])]) -> Vec<u8> {
    let mut list = empty();
    for (tag, data) in entries {
        if matches!(*tag, HOB_LIST | IMAGE | MANIFEST) {
            let data = (list.len() + 16).next_multiple_of(0x1000);
            let void = data - 16 - list.len();
            put(&mut list, VOID, &vec![0; void]);
        }
        put(&mut list, *tag, data);
    }
    list[12..16].copy_from_slice(&0x10_0000_u32.to_le_bytes());
    whole(list)
}

/// Returns a header for data on pages, with a checksum and without sizes.
fn empty() -> Vec<u8> {
    let words = [0x4a0f_b10b_u32, 0x0c18_0100, 0, u32::MAX, 1, 0];
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

/// Makes the used size that of the list.
fn whole(mut list: Vec<u8>) -> Vec<u8> {
    let size = (list.len() as u32).to_le_bytes();
    list[8..12].copy_from_slice(&size);
    sealed(list)
}

fn put(list: &mut Vec<u8>, tag: u32, data: &[u8]) {
    list.extend((tag | 8 << 24).to_le_bytes());
    list.extend((data.len() as u32).to_le_bytes());
    list.extend(data);
    list.resize(list.len().next_multiple_of(8), 0);
}

/// Corrects the checksum.
fn sealed(mut list: Vec<u8>) -> Vec<u8> {
    list[4] = 0;
    let sum = list.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte));
    list[4] = sum.wrapping_neg();
    list
}

/// Returns the usual package: manifest, HOB list and image.
fn usual() -> Vec<u8> {
    list(&[
        (MANIFEST, &[1; 0x601]),
        (HOB_LIST, &hobs()),
        (IMAGE, &[2; 0x1235]),
    ])
}

/// Returns a HOB list as TF-A's tool writes it, on the second page.
fn hobs() -> Vec<u8> {
    let at = BASE + 0x2000;
    let words = [
        &[56 << 16 | 1, 10, 0, 0, 0, 0, at + 176][..],
        &[24 << 16 | 5, BASE + 0x3000, 0x1235],
        &[96 << 16 | 4],
        &[0x4e2a_bf8d_0703_f912, 0x92c5_2525_27ab_07be],
        &[2, 1, 2, 3, 4, 5, 6, 7, 8],
        &[8 << 16 | 0xffff, 0, 0],
    ];
    words
        .concat()
        .iter()
        .flat_map(|word| word.to_le_bytes())
        .collect()
}

/// Checks that a list is refused with `line`.
#[track_caller]
fn refused(list: &[u8], line: &str) {
    let error = parse(list, MEM_SIZE).unwrap_err();
    assert_eq!(error.to_string(), line);
}

/// Checks that the usual package is refused with `line` if bytes at `at` are others.
#[track_caller]
fn changed(at: usize, bytes: &[u8], line: &str) {
    let mut list = usual();
    list[at..at + bytes.len()].copy_from_slice(bytes);
    refused(&sealed(list), line);
}

fn places(package: &Package) -> [u64; 4] {
    [
        package.manifest_offset(),
        package.manifest_size() as u64,
        package.image_offset(),
        package.image_size(),
    ]
}

// req: PMAN-27, BOOT-21
#[test]
fn the_usual_list() {
    let package = parse(&usual(), MEM_SIZE).unwrap();
    assert_eq!(places(&package), [0x1000, 0x601, 0x3000, 0x1235]);
    // The list ends before the entry does.
    let hobs = Piece {
        offset: 0x2000,
        size: 184,
    };
    assert_eq!(package.hob_list(), Some(hobs));
    assert_eq!(package.offset_behind_boot_info(96), Ok(0x1000));
}

// req: PMAN-27
#[test]
fn other_entries_are_passed_over() {
    let with = list(&[
        (2, b"a block"),
        (0xff_ffff, b""),
        (MANIFEST, &[1; 8]),
        (VOID, &[0; 3]),
        (IMAGE, &[2; 1]),
    ]);
    let package = parse(&with, MEM_SIZE).unwrap();
    assert_eq!(places(&package), [0x1000, 8, 0x2000, 1]);
    assert_eq!(package.hob_list(), None);
    // A used size that is not rounded up.
    let exact = with[..0x2001].to_vec();
    assert_eq!(parse(&whole(exact), MEM_SIZE), Ok(package));
    // Longer headers of entries: the first one is followed by what was its data.
    let mut longer = with;
    longer[24 + 3] = 12;
    longer[24 + 4] = 3;
    assert_eq!(parse(&sealed(longer), MEM_SIZE), Ok(package));
}

// req: PMAN-28
#[test]
fn headers() {
    changed(
        5,
        &[0],
        "transfer list: version: expected 1 or later, found 0x0",
    );
    let mut later = usual();
    later[5] = 2;
    assert!(parse(&sealed(later), MEM_SIZE).is_ok());
    for size in [0, 23, 32] {
        let line = format!("transfer list: header size: expected 24, found {size:#x}");
        changed(6, &[size], &line);
    }
    for alignment in [21, 64, 255] {
        let line = format!(
            "transfer list: alignment: expected at most the alignment of the load address, found \
             {alignment:#x}"
        );
        changed(7, &[alignment], &line);
    }
    for size in [0, 23, 0x10_0001, u32::MAX] {
        let line =
            format!("transfer list: used size: expected 24 bytes to mem_size, found {size:#x}");
        changed(8, &size.to_le_bytes(), &line);
    }
    for size in [0, 0x4237_u32] {
        let line =
            format!("transfer list: maximum size: expected the used size or more, found {size:#x}");
        changed(12, &size.to_le_bytes(), &line);
    }
}

// req: PMAN-28
#[test]
fn every_byte_counts_for_the_checksum() {
    let good = usual();
    for at in [4, 24, 0x1000, 0x1100, good.len() - 1] {
        let mut list = good.clone();
        list[at] ^= 0x80;
        refused(
            &list,
            "transfer list: checksum: expected bytes whose sum is 0 modulo 256, found 0x80",
        );
        // A list without a checksum.
        list[16] = 0;
        assert!(parse(&list, MEM_SIZE).is_ok(), "{at:#x}");
    }
}

// req: PMAN-28
#[test]
fn entries_that_reach_too_far() {
    let used = usual().len() as u32;
    let entry = 0x3000 - 8;
    for size in [used - 0x3000 + 1, 0xffff_f000, u32::MAX] {
        let line = format!(
            "transfer list: entry at {entry:#x}: size: expected an end within the used size, \
             found {size:#x}"
        );
        changed(entry + 4, &size.to_le_bytes(), &line);
    }
    for size in [0, 7] {
        let line = format!(
            "transfer list: entry at 0x18: header size: expected 8 or more, found {size:#x}"
        );
        changed(24 + 3, &[size], &line);
    }
    // The entry ends four bytes before the used size, so the next one has no room for its header.
    let mut cut = list(&[(VOID, &[0; 8])]);
    cut.resize(44, 0);
    refused(
        &whole(cut),
        "transfer list: entry at 0x28: expected 8 bytes of its header, found 4 bytes",
    );
}

// req: PMAN-28
#[test]
fn missing_and_repeated_entries() {
    refused(
        &list(&[]),
        "transfer list: manifest: expected an entry, found nothing",
    );
    refused(
        &list(&[(IMAGE, &[1])]),
        "transfer list: manifest: expected an entry, found nothing",
    );
    refused(
        &list(&[(MANIFEST, &[1])]),
        "transfer list: image: expected an entry, found nothing",
    );
    refused(
        &list(&[(MANIFEST, &[1]), (MANIFEST, &[1]), (IMAGE, &[1])]),
        "transfer list: entry at 0x1ff8: tag: expected one entry of its kind, found 0x106",
    );
    let hobs = hobs();
    refused(
        &list(&[(HOB_LIST, &hobs), (HOB_LIST, &hobs), (MANIFEST, &[1])]),
        "transfer list: entry at 0x1ff8: tag: expected one entry of its kind, found 0x3",
    );
    for last in [VOID, MANIFEST, IMAGE, 7] {
        let mut all = list(&[(MANIFEST, &[1]), (IMAGE, &[1; 8])]);
        put(&mut all, last, &[]);
        let line = format!(
            "transfer list: entry at 0x2008: tag: expected no entry behind the image, found \
             {last:#x}"
        );
        refused(&whole(all), &line);
    }
}

// req: PMAN-28
#[test]
fn data_of_the_wrong_size_or_place() {
    for (tag, name) in [(MANIFEST, "0x106"), (IMAGE, "0x103"), (HOB_LIST, "0x3")] {
        let line = "transfer list: entry at 0xff8: size: expected 1 byte or more, found 0x0";
        refused(&list(&[(tag, &[])]), line);
        let mut packed = empty();
        put(&mut packed, tag, name.as_bytes());
        refused(
            &whole(packed),
            "transfer list: entry at 0x18: data: expected a page of its own, found 0x20",
        );
    }
    refused(
        &list(&[(MANIFEST, &[0; 0x4001]), (IMAGE, &[1])]),
        "transfer list: entry at 0xff8: size: expected at most 16 KiB of manifest, found 0x4001",
    );
}

/// Checks that the package is refused with `line` if bytes of the HOB list are others.
#[track_caller]
fn lies(at: usize, bytes: &[u8], line: &str) {
    changed(0x2000 + at, bytes, &format!("HOB list: {line}"));
}

// req: BOOT-22
#[test]
fn a_hob_list_with_wrong_lengths() {
    for (at, lengths) in [
        (0, [0, 8, 48, 57, 208, 0xfff8]),
        (56, [0, 7, 16, 25, 0x98, 0xfff8]),
        (80, [0, 8, 16, 97, 0x80, 0xfff8]),
        (176, [0, 4, 12, 9, 32, 0xfff8]),
    ] {
        for length in lengths {
            lies(
                at + 2,
                &u16::to_le_bytes(length),
                &format!(
                    "length of a block: expected that of the kind, within the entry, found \
                     {length:#x}"
                ),
            );
        }
    }
}

// req: BOOT-22
#[test]
fn a_hob_list_without_beginning_or_end() {
    let kind = |kind: u32| {
        format!("kind of a block: expected hand-off information first, and once, found {kind:#x}")
    };
    lies(0, &[2], &kind(2));
    lies(56, &[1, 0, 56, 0], &kind(1));
    // An unknown kind in place of the end, and nothing behind it.
    let mut without = hobs();
    without[176] = 2;
    without.truncate(184);
    without[48..56].copy_from_slice(&(BASE + 0x20b0).to_le_bytes());
    refused(
        &list(&[(MANIFEST, &[1]), (HOB_LIST, &without), (IMAGE, &[1])]),
        "HOB list: end: expected one within the entry, found nothing",
    );
    refused(
        &list(&[(MANIFEST, &[1]), (HOB_LIST, &[1; 7]), (IMAGE, &[1])]),
        "HOB list: end: expected one within the entry, found nothing",
    );
    for end in [0, BASE + 0x1fff, BASE + 0x20c9, u64::MAX] {
        lies(
            48,
            &end.to_le_bytes(),
            &format!("end of the list: expected an address within the entry, found {end:#x}"),
        );
    }
}

// req: BOOT-22
#[test]
fn a_hob_list_that_counts_more_memory_than_it_has() {
    for count in [3, u32::MAX] {
        lies(
            104,
            &count.to_le_bytes(),
            &format!("descriptors: expected a count of memory that the block has, found {count}"),
        );
    }
}
