//! Boot information, read back byte by byte.

use spmc::ffa::Version;
use spmc::manifest::boot_info::{self, Content, Kind, MAX_SIZE};

const MANIFEST: Content = Content {
    kind: Kind::Manifest,
    address: 0x0630_1000,
    size: 0x5f3,
};
const HOBS: Content = Content {
    kind: Kind::HobList,
    address: 0x0630_0060,
    size: 0x130,
};

fn u32_at(blob: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(blob[at..at + 4].try_into().unwrap())
}

fn u64_at(blob: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(blob[at..at + 8].try_into().unwrap())
}

fn blob(version: Version) -> Vec<u8> {
    let mut page = [0xff; 0x1000];
    let size = boot_info::write(&mut page, version, &[MANIFEST]).unwrap();
    assert!(size <= MAX_SIZE);
    assert!(
        page[size..].iter().all(|byte| *byte == 0xff),
        "written beyond the blob"
    );
    page[..size].to_vec()
}

// req: BOOT-12, BOOT-14, BOOT-15, PMAN-16
#[test]
fn header() {
    for version in [Version::V1_1, Version::V1_2] {
        let blob = blob(version);
        assert_eq!(u32_at(&blob, 0), 0x0ffa);
        assert_eq!(u32_at(&blob, 4), version.to_word());
        assert_eq!(u32_at(&blob, 8) as usize, blob.len());
        assert_eq!(u32_at(&blob, 12), 32);
        assert_eq!(u32_at(&blob, 16), 1);
        assert_eq!(u32_at(&blob, 20), 32);
        assert_eq!(u64_at(&blob, 24), 0);
        assert_eq!(blob.len(), 64);
    }
}

// req: BOOT-13, BOOT-15
#[test]
fn descriptor() {
    let blob = blob(Version::V1_1);
    let descriptor = &blob[32..];
    assert_eq!(&descriptor[..16], b"ffa_manifest\0\0\0\0");
    // Standard type, flattened device tree; reserved byte; the name is a string and the contents
    // are an address.
    assert_eq!(&descriptor[16..20], [0, 0, 0, 0]);
    assert_eq!(u32_at(descriptor, 20), 0x5f3);
    assert_eq!(u64_at(descriptor, 24), 0x0630_1000);
}

// req: BOOT-04
#[test]
fn a_1_0_partition_gets_name_value_pairs() {
    let blob = blob(Version::V1_0);
    assert_eq!(&blob[..4], b"FF-A");
    assert_eq!(u32_at(&blob, 4), 1);
    assert_eq!(&blob[8..24], b"TYPE_DT\0\0\0\0\0\0\0\0\0");
    assert_eq!(u64_at(&blob, 24), 0x0630_1000);
    assert_eq!(u64_at(&blob, 32), 0x5f3);
    assert_eq!(blob.len(), 40);
}

// req: BOOT-14
#[test]
fn a_buffer_that_is_too_small_stays_as_it_is() {
    let mut small = [0xff; MAX_SIZE - 1];
    assert_eq!(
        boot_info::write(&mut small, Version::V1_2, &[MANIFEST, HOBS]),
        None
    );
    assert_eq!(small, [0xff; MAX_SIZE - 1]);
}

// req: BOOT-19
#[test]
fn both_kinds_of_contents() {
    let mut page = [0; MAX_SIZE];
    for contents in [&[MANIFEST, HOBS][..], &[HOBS]] {
        let size = boot_info::write(&mut page, Version::V1_2, contents).unwrap();
        assert_eq!(size, 32 + 32 * contents.len());
        assert_eq!(u32_at(&page, 8) as usize, size);
        assert_eq!(u32_at(&page, 16) as usize, contents.len());
        let last = &page[size - 32..size];
        assert_eq!(&last[..16], b"hob_list\0\0\0\0\0\0\0\0");
        assert_eq!(&last[16..20], [1, 0, 0, 0]);
        assert_eq!((u32_at(last, 20), u64_at(last, 24)), (0x130, 0x0630_0060));
    }
    assert_eq!(boot_info::write(&mut page, Version::V1_0, &[HOBS]), None);
}

// A header of a device tree and hand-off information are longer than a value.
// req: BOOT-23
#[test]
fn contents_are_addresses() {
    let mut page = [0; MAX_SIZE];
    let size = boot_info::write(&mut page, Version::V1_3, &[MANIFEST, HOBS]).unwrap();
    for (descriptor, content) in page[32..size].chunks(32).zip([MANIFEST, HOBS]) {
        assert_eq!(descriptor[18..20], [0, 0]);
        assert_eq!(u64_at(descriptor, 24), content.address);
    }
}
