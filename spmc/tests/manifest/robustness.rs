//! Damaged device trees: any answer is right, as long as one comes.

use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use spmc::manifest::{check, spmc_manifest, validate};

use crate::log_capture::capture;
use crate::tree::{entry, manifest, parse_partition, range, spmc_manifest};

const BEGIN_NODE: u32 = 1;
const END_NODE: u32 = 2;
const END: u32 = 9;

/// Runs everything that boot runs on bytes from outside.
fn parse_all(dtb: &[u8]) {
    capture(|| {
        let _ = check(dtb);
        let _ = spmc_manifest::parse(dtb);
        let spmc = spmc_manifest::parse(&spmc_manifest().to_dtb()).unwrap();
        if let Ok(config) = parse_partition(dtb, &entry()) {
            let _ = validate::partition(&config, [].into_iter(), &spmc, &range(0x0610_0000, 0x80));
        }
    });
}

fn originals() -> [Vec<u8>; 2] {
    [manifest().to_dtb(), spmc_manifest().to_dtb()]
}

// req: MAN-01
#[test]
fn every_truncation_is_refused() {
    for dtb in originals() {
        for size in 0..dtb.len() {
            assert!(
                check(&dtb[..size]).is_err(),
                "{size} bytes of {} are enough",
                dtb.len()
            );
        }
    }
}

// req: MAN-01
#[test]
fn every_word_may_be_extreme() {
    for dtb in originals() {
        for at in (0..dtb.len() - 3).step_by(4) {
            for word in [0_u32, 1, 2, 3, 4, 9, 0x7fff_ffff, 0xffff_fffc, u32::MAX] {
                let mut damaged = dtb.clone();
                damaged[at..at + 4].copy_from_slice(&word.to_be_bytes());
                parse_all(&damaged);
            }
        }
    }
}

// req: MAN-01
#[test]
fn a_tree_that_is_not_aligned_is_refused() {
    for dtb in originals() {
        for shift in 1..8 {
            let shifted = [vec![0; shift], dtb.clone()].concat();
            let refused = check(&shifted[shift..]).unwrap_err().to_string();
            let expected = format!("device tree: address modulo 8: expected 0x0, found {shift:#x}");
            assert_eq!(refused, expected);
        }
    }
}

// req: MAN-01
#[test]
fn bytes_behind_the_tree_do_not_matter() {
    for mut dtb in originals() {
        dtb.extend([0xa5; 100]);
        assert!(check(&dtb).is_ok());
    }
}

// req: MAN-01
#[test]
fn deep_nesting_ends() {
    const DEPTH: usize = 100_000;
    let root = [BEGIN_NODE, 0];
    let node = [BEGIN_NODE, u32::from_be_bytes(*b"n\0\0\0")];
    let structure: Vec<u32> = [
        root.to_vec(),
        node.repeat(DEPTH),
        vec![END_NODE; DEPTH + 1],
        vec![END],
    ]
    .concat();
    let size = 4 * structure.len() as u32;
    let header = [0xd00d_feed, 40 + size, 40, 40, 0, 17, 16, 0, 0, size];
    let dtb: Vec<u8> = header
        .iter()
        .chain(&structure)
        .flat_map(|word| word.to_be_bytes())
        .collect();
    assert!(
        check(&dtb)
            .unwrap_err()
            .to_string()
            .starts_with("/: compatible: expected")
    );
}

/// Returns the line with which a damaged header is refused.
fn damaged_header(word: usize, value: u32) -> String {
    let mut dtb = manifest().to_dtb();
    dtb[4 * word..4 * word + 4].copy_from_slice(&value.to_be_bytes());
    check(&dtb).unwrap_err().to_string()
}

// req: MAN-01
#[test]
fn damaged_headers_say_what_is_wrong() {
    assert_eq!(
        damaged_header(0, 0),
        "device tree: magic: expected 0xd00dfeed, found 0x0"
    );
    assert_eq!(
        damaged_header(5, 16),
        "device tree: version: expected 17 or later, found 0x10"
    );
    assert_eq!(
        damaged_header(6, 18),
        "device tree: last compatible version: expected 16 or 17, found 0x12"
    );
    assert_eq!(
        damaged_header(1, 0x10_0000),
        "device tree: total size: expected no more than was read, found 1048576"
    );
    assert_eq!(
        damaged_header(2, u32::MAX),
        "device tree: structure block: expected a block inside the tree, found 0xffffffff"
    );
    assert_eq!(
        damaged_header(8, u32::MAX - 8).split(", found").next(),
        Some("device tree: strings block: expected a block inside the tree")
    );
    assert_eq!(
        check(&[0xd0, 0x0d, 0xfe, 0xed]).unwrap_err().to_string(),
        "device tree: header: expected 40 bytes, found 4 bytes"
    );
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 2048,
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(1),
        ..ProptestConfig::default()
    })]

    // req: MAN-01
    #[test]
    fn damaged_bytes_never_panic(
        which in 0..2_usize,
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..12),
    ) {
        let mut dtb = originals()[which].clone();
        for (index, byte) in damage {
            let at = index.index(dtb.len());
            dtb[at] = byte;
        }
        parse_all(&dtb);
    }
}
