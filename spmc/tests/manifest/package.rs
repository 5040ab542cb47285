//! Package headers, as `sptool` writes them and as it never would.

use spmc::addr::{Pa, PageRange};
use spmc::manifest::ManifestError;
use spmc::manifest::boot_info;
use spmc::manifest::package::{HEADER_SIZE, Lack, Package};

/// The address of all packages.
pub const BASE: u64 = 0x630_0000;
const MEM_SIZE: u64 = 0x10_0000;

/// Parses a package at the beginning of memory of that size.
pub fn parse(package: &[u8], mem_size: u64) -> Result<Package, ManifestError> {
    let memory = PageRange::from_bytes(Pa::new(BASE), mem_size).unwrap();
    Package::parse(memory, &mut |offset, to| {
        let from = &package[offset as usize..];
        to.copy_from_slice(&from[..to.len()]);
        Ok(())
    })
}

fn header(words: [u32; 6]) -> [u8; HEADER_SIZE] {
    let mut bytes = [0; HEADER_SIZE];
    for (to, word) in bytes.chunks_exact_mut(4).zip(words) {
        to.copy_from_slice(&word.to_le_bytes());
    }
    bytes
}

const SPKG: u32 = u32::from_le_bytes(*b"SPKG");

/// Checks that the usual package of version 2 is refused with `line` after one word of its header
/// changed.
#[track_caller]
fn refused(index: usize, value: u32, line: &str) {
    let mut words = [SPKG, 2, 0x1000, 0x600, 0x4000, 0x1_0000];
    words[index] = value;
    let error = parse(&header(words), MEM_SIZE).unwrap_err();
    assert_eq!(error.to_string(), line);
}

// req: MAN-01, PMAN-20
#[test]
fn version_2() {
    let words = [SPKG, 2, 0x1000, 0x600, 0x4000, 0xf_c000];
    let package = parse(&header(words), MEM_SIZE).unwrap();
    assert_eq!(
        (package.manifest_offset(), package.manifest_size()),
        (0x1000, 0x600)
    );
    assert_eq!(
        (package.image_offset(), package.image_size()),
        (0x4000, 0xf_c000)
    );
    assert_eq!(
        package.offset_behind_boot_info(boot_info::MAX_SIZE),
        Ok(0x1000)
    );
}

// req: MAN-01, PMAN-20
#[test]
fn version_1() {
    let words = [SPKG, 1, 24, 0x601, 0x1000, 0x1_0000];
    let package = parse(&header(words), MEM_SIZE).unwrap();
    assert_eq!(
        (package.manifest_offset(), package.manifest_size()),
        (24, 0x601)
    );
    let moved = package
        .offset_behind_boot_info(boot_info::MAX_SIZE)
        .unwrap();
    assert_eq!(moved, boot_info::MAX_SIZE as u64);
    // A manifest that fills all the space up to the image cannot be moved.
    let full = [SPKG, 1, 24, 0x1000 - 24, 0x1000, 0x1_0000];
    let package = parse(&header(full), MEM_SIZE).unwrap();
    assert_eq!(
        package.offset_behind_boot_info(boot_info::MAX_SIZE),
        Err(Lack::RoomForBootInfo)
    );
}

// req: MAN-01, PMAN-20
#[test]
fn another_format() {
    refused(
        0,
        0,
        "package header: magic: expected 0x474b5053 (\"SPKG\") or 0x4a0fb10b (transfer list), \
         found 0x0",
    );
    refused(1, 0, "package header: version: expected 1 or 2, found 0x0");
    refused(1, 3, "package header: version: expected 1 or 2, found 0x3");
}

// req: MAN-01, PMAN-21
#[test]
fn pieces_in_the_wrong_place() {
    for offset in [0, 24, 0x1800] {
        refused(
            2,
            offset,
            &format!(
                "package header: manifest offset: expected a page behind the header, found {offset:#x}"
            ),
        );
        refused(
            4,
            offset,
            &format!(
                "package header: image offset: expected a page behind the header, found {offset:#x}"
            ),
        );
    }
    refused(
        4,
        0x1000,
        "package header: image offset: expected an image behind the manifest, found 0x1000",
    );
    refused(
        3,
        0x3001,
        "package header: image offset: expected an image behind the manifest, found 0x4000",
    );
    refused(
        2,
        0x8000,
        "package header: image offset: expected an image behind the manifest, found 0x4000",
    );
    let version_1 = [SPKG, 1, 32, 0x601, 0x1000, 0x1_0000];
    assert_eq!(
        parse(&header(version_1), MEM_SIZE).unwrap_err().to_string(),
        "package header: manifest offset: expected 24, right behind the header, found 0x20"
    );
}

// req: MAN-01, PMAN-21
#[test]
fn pieces_of_the_wrong_size() {
    refused(
        3,
        0,
        "package header: manifest size: expected 1 byte to 16 KiB, found 0x0",
    );
    let large = [SPKG, 2, 0x1000, 0x4001, 0x6000, 0x1_0000];
    assert_eq!(
        parse(&header(large), MEM_SIZE).unwrap_err().to_string(),
        "package header: manifest size: expected 1 byte to 16 KiB, found 0x4001"
    );
    for size in [0, 0xf_c001] {
        refused(
            5,
            size,
            &format!(
                "package header: image size: expected 1 byte to what mem_size leaves, found {size:#x}"
            ),
        );
    }
}

// req: MAN-01, PMAN-21
#[test]
fn numbers_that_would_overflow() {
    let max = u32::MAX;
    refused(
        3,
        max,
        "package header: image offset: expected an image behind the manifest, found 0x4000",
    );
    refused(
        5,
        max,
        "package header: image size: expected 1 byte to what mem_size leaves, found 0xffffffff",
    );
    refused(
        2,
        max & !0xfff,
        "package header: image offset: expected an image behind the manifest, found 0x4000",
    );
    let words = [SPKG, 2, 0x1000, 1, max & !0xfff, max];
    assert!(parse(&header(words), MEM_SIZE).is_err());
}

// req: MAN-01, PMAN-21
#[test]
fn a_truncated_package() {
    let words = [SPKG, 2, 0x1000, 0x600, 0x4000, 0x1_0000];
    for mem_size in [0x1000, 0x4000, 0x1_3000] {
        assert!(parse(&header(words), mem_size).is_err());
    }
    assert!(parse(&header(words), 0x1_4000).is_ok());
}
