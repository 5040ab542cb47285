//! Damaged trees: the `fdt` crate reads every tree that passes the check without a panic and
//! without an error, and reads the same as `dtoolkit`.
//!
//! `DAMAGED_TREES` is the number of random trees; others are made in order.

extern crate std;

use std::collections::BTreeMap;
use std::format;
use std::path::Path as FilePath;
use std::process::Command;
use std::string::{String, ToString};
use std::vec::Vec;

use dtoolkit::error::FdtErrorKind;
use dtoolkit::fdt::{Fdt, FdtNode};
use dtoolkit::{Node as _, Property as _};

use zerocopy::IntoBytes;

use super::*;
use crate::addr::{Pa, PageRange};
use crate::manifest::config::PackageEntry;
use crate::manifest::partition_manifest;

/// Header words that are likely to matter when damaged: offsets and sizes.
const HEADER_WORDS: [usize; 7] = [1, 2, 3, 4, 5, 8, 9];

/// Words with a meaning: tokens, and the limits of the range.
const WORDS: [u32; 9] = [0, 1, 2, 3, 4, 9, 0x7fff_ffff, 0xffff_fffc, u32::MAX];

/// A tree at an address that is a multiple of 8, followed by bytes that are not part of it.
struct Blob {
    words: Vec<u64>,
    size: usize,
}

impl Blob {
    fn new(dtb: &[u8]) -> Self {
        let mut words = std::vec![u64::MAX; dtb.len() / 8 + 2];
        words.as_mut_bytes()[..dtb.len()].copy_from_slice(dtb);
        Self {
            words,
            size: dtb.len(),
        }
    }

    fn bytes(&self) -> &[u8] {
        &self.words.as_bytes()[..self.size]
    }
}

/// Returns manifests as dtc compiles them.
fn originals() -> Vec<Vec<u8>> {
    let sources = [
        "tests/host/corpus/manifests/dma.dts",
        "tests/host/corpus/manifests/services.dts",
        "tests/host/corpus/manifests/spmc-fvp.dts",
        "tests/host/corpus/manifests/optee.dts",
    ];
    let root = FilePath::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let compile = |source: &str| {
        let mut dtc = Command::new("dtc");
        dtc.args(["-q", "-I", "dts", "-O", "dtb"])
            .arg(root.join(source));
        let output = dtc.output().expect("dtc is needed");
        assert!(output.status.success(), "{source}: {output:?}");
        output.stdout
    };
    sources.map(compile).to_vec()
}

/// The contents of a tree as a reader gives them: each node and property by its path, with the
/// value.
type Lines = Vec<(String, Vec<u8>)>;

/// Reads a whole tree after the check. An error is the line of the report.
fn ours(dtb: &[u8]) -> Result<Lines, String> {
    fn read(node: &Node, at: &str, lines: &mut Lines) {
        // A name that is not text is refused when it is read.
        node.short_name();
        let at = match node.node.name() {
            Ok(name) if name.name == ROOT => String::new(),
            Ok(name) => format!("{at}/{name}"),
            Err(_) => return,
        };
        lines.push((at.clone(), Vec::new()));
        for property in node.properties() {
            lines.push((format!("{at}: {}", property.name), property.value.to_vec()));
        }
        for child in node.children() {
            read(&child, &at, lines);
        }
    }
    let report = Report::new();
    let mut lines = Lines::new();
    if let Ok(root) = Node::root(dtb, &report) {
        read(&root, "", &mut lines);
    }
    report
        .verdict()
        .map(|()| lines)
        .map_err(|error| error.to_string())
}

/// Reads a whole tree with `dtoolkit`.
fn theirs(dtb: &[u8]) -> Result<Lines, FdtErrorKind> {
    fn read(node: &FdtNode, at: &str, lines: &mut Lines) {
        let name = node.name();
        let at = if name.is_empty() {
            String::new()
        } else {
            format!("{at}/{name}")
        };
        lines.push((at.clone(), Vec::new()));
        for property in node.properties() {
            lines.push((
                format!("{at}: {}", property.name()),
                property.value().to_vec(),
            ));
        }
        for child in node.children() {
            read(&child, &at, lines);
        }
    }
    let mut lines = Lines::new();
    read(
        &Fdt::new(whole(dtb)).map_err(|error| error.kind)?.root(),
        "",
        &mut lines,
    );
    Ok(lines)
}

/// Returns the bytes that the header counts, as far as they exist, because `dtoolkit` accepts no
/// others.
fn whole(dtb: &[u8]) -> &[u8] {
    let total = dtb.get(4..8).map_or(0, |total| {
        u32::from_be_bytes(total.try_into().unwrap()) as usize
    });
    dtb.get(..total).unwrap_or(dtb)
}

/// Returns the rule by which `dtoolkit` refuses a tree that the check accepts. No reader of
/// manifests depends on such a rule.
fn leniency(refused: &FdtErrorKind) -> Option<&'static str> {
    match refused {
        FdtErrorKind::InvalidHeader(text) if text.contains("memrsvmap") => {
            Some("the memory reservation block may lie anywhere: nobody reads it")
        }
        FdtErrorKind::MemReserveNotTerminated | FdtErrorKind::MemReserveInvalid => {
            Some("the memory reservation block may hold anything: nobody reads it")
        }
        FdtErrorKind::InvalidHeader("strings block not after struct block") => {
            Some("the blocks may come in any order: section 5 says only that they should")
        }
        FdtErrorKind::InvalidNodeName | FdtErrorKind::InvalidPropertyName => Some(
            "names may be of any length and characters: those of manifests are compared in full",
        ),
        FdtErrorKind::BadToken(1 | 9) => Some("NOP may stand before the root and before END"),
        _ => None,
    }
}

/// Returns the regions of a tree according to `dtoolkit`: number of pages, and the address if there
/// is one.
fn regions(dtb: &[u8]) -> Vec<(u64, Option<u64>)> {
    fn number(node: &FdtNode, name: &str) -> Option<u64> {
        let last = node
            .properties()
            .filter(|property| property.name() == name)
            .last();
        let value = last?.value().to_vec();
        Some(
            value
                .iter()
                .fold(0, |number, byte| number << 8 | u64::from(*byte)),
        )
    }
    let tree = Fdt::new(whole(dtb)).unwrap();
    let lists = tree.root().children();
    ["memory-regions", "device-regions"]
        .into_iter()
        .flat_map(|list| lists.clone().filter(move |node| node.name() == list))
        .flat_map(|list| list.children().collect::<Vec<_>>())
        .map(|region| {
            (
                number(&region, "pages-count").unwrap(),
                number(&region, "base-address"),
            )
        })
        .collect()
}

/// Reads a tree as the manifest of a partition, and checks that the result has every region of the
/// tree. Returns `false` if the manifest is refused.
fn no_region_is_lost(dtb: &[u8]) -> bool {
    let entry = PackageEntry {
        index: 0,
        name: Name::new(),
        memory: PageRange::from_bytes(Pa::new(0), 1 << 47).unwrap(),
        vcpu_count: 1,
        smc_whitelist: Default::default(),
        smc_whitelist_permissive: false,
    };
    let report = Report::new();
    let config = partition_manifest::read(dtb, &entry, &report);
    if report.verdict().is_err() {
        return false;
    }
    let memory = config.memory_regions.iter().map(|region| region.range);
    let devices = config.device_regions.iter().map(|region| region.range);
    let found: Vec<_> = memory.chain(devices).collect();
    let expected = regions(dtb);
    assert_eq!(found.len(), expected.len(), "{dtb:x?}");
    for (found, (pages, base)) in found.iter().zip(expected) {
        assert_eq!(found.pages(), pages, "{dtb:x?}");
        assert_eq!(
            base.unwrap_or(found.base().raw()),
            found.base().raw(),
            "{dtb:x?}"
        );
    }
    true
}

/// The number of trees by outcome.
type Tally = BTreeMap<String, u64>;

/// Reads one tree with both readers, and compares.
fn compare(dtb: &[u8], tally: &mut Tally) {
    let blob = Blob::new(dtb);
    let dtb = blob.bytes();
    let outcome = match (ours(dtb), theirs(dtb)) {
        (Ok(ours), Ok(theirs)) => {
            assert_eq!(ours, theirs, "{dtb:x?}");
            if no_region_is_lost(dtb) {
                "read, a good manifest"
            } else {
                "read"
            }
            .into()
        }
        (Ok(_), Err(kind)) => match leniency(&kind) {
            Some(row) => row.into(),
            None => panic!("dtoolkit says {kind}, the check nothing: {dtb:x?}"),
        },
        (Err(error), Ok(_)) => {
            let place = error.split(", found").next().unwrap();
            format!("refused here alone: {place}")
        }
        (Err(_), Err(_)) => "refused".into(),
    };
    *tally.entry(outcome).or_default() += 1;
}

/// Prints the tally, and checks that every outcome in `wanted` occurred.
fn conclude(tally: &Tally, wanted: &[&str]) {
    for (outcome, count) in tally {
        std::println!("{count:>9} {outcome}");
    }
    for outcome in wanted {
        assert!(
            tally.keys().any(|met| met.contains(outcome)),
            "no tree was: {outcome}"
        );
    }
}

fn put(dtb: &mut [u8], word: usize, value: u32) {
    if let Some(to) = dtb.get_mut(4 * word..4 * word + 4) {
        to.copy_from_slice(&value.to_be_bytes());
    }
}

fn get(dtb: &[u8], word: usize) -> u32 {
    let bytes = dtb.get(4 * word..4 * word + 4);
    bytes.map_or(0, |bytes| u32::from_be_bytes(bytes.try_into().unwrap()))
}

/// Damages each manifest in order: truncates it at each length, with and without a matching header;
/// flips one bit, and all bits, of each byte; puts each word with a meaning in each place; and
/// drops and doubles each word of the structure block, with matching sizes.
// req: MAN-01, MAN-02
#[test]
fn each_damage_alone() {
    let mut tally = Tally::new();
    for dtb in originals() {
        compare(&dtb, &mut tally);
        for size in 0..dtb.len() {
            let mut cut = dtb[..size].to_vec();
            compare(&cut, &mut tally);
            put(&mut cut, 1, size as u32);
            compare(&cut, &mut tally);
        }
        for at in 0..dtb.len() {
            let mut damaged = dtb.clone();
            for bits in [1 << (at % 8), 0xff] {
                damaged[at] ^= bits;
                compare(&damaged, &mut tally);
                damaged[at] = dtb[at];
            }
        }
        for at in 0..dtb.len() / 4 {
            for word in WORDS {
                let mut damaged = dtb.clone();
                put(&mut damaged, at, word);
                compare(&damaged, &mut tally);
            }
        }
        let start = get(&dtb, 2) as usize;
        for at in (start..start + get(&dtb, 9) as usize).step_by(4) {
            let word = dtb[at..at + 4].to_vec();
            for doubled in [false, true] {
                compare(
                    &spliced(&dtb, at, 4, if doubled { &word } else { &[] }, doubled),
                    &mut tally,
                );
            }
        }
    }
    conclude(&tally, &["read, a good manifest", "read"]);
}

/// Returns the tree with `gone` bytes at `at` replaced by `new`, or with `new` put before them if
/// they stay. The header is adjusted.
fn spliced(dtb: &[u8], at: usize, gone: usize, new: &[u8], stay: bool) -> Vec<u8> {
    let mut dtb = dtb.to_vec();
    let gone = if stay {
        0
    } else {
        gone.min(dtb.len().saturating_sub(at))
    };
    dtb.splice(at..at + gone, new.iter().copied());
    let grown = (new.len() as u32).wrapping_sub(gone as u32);
    for word in [1, 9] {
        let size = get(&dtb, word).wrapping_add(grown);
        put(&mut dtb, word, size);
    }
    if get(&dtb, 3) as usize >= at {
        let offset = get(&dtb, 3).wrapping_add(grown);
        put(&mut dtb, 3, offset);
    }
    dtb
}

/// A random number generator with a fixed sequence.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(0x5851_f42d_4c95_7f2d)
            .wrapping_add(0x1405_7b7e_f767_814f);
        (self.0 >> 33) as usize % limit.max(1)
    }
}

/// Damages a tree once at random.
fn damage(dtb: &mut Vec<u8>, random: &mut Random) {
    let size = dtb.len();
    if size < 44 {
        return;
    }
    let start = 4 * (get(dtb, 2) as usize / 4).clamp(10, size / 4 - 1);
    let word = |random: &mut Random| start + 4 * random.below((size - start) / 4);
    match random.below(9) {
        0 => {
            let at = random.below(size);
            dtb[at] = random.below(256) as u8;
        }
        1 => {
            let at = word(random);
            put(dtb, at / 4, WORDS[random.below(WORDS.len())]);
        }
        2 => {
            let at = word(random);
            let delta = [1, 2, 4, u32::MAX, u32::MAX - 3][random.below(5)];
            let value = get(dtb, at / 4).wrapping_add(delta);
            put(dtb, at / 4, value);
        }
        3 => {
            let at = HEADER_WORDS[random.below(HEADER_WORDS.len())];
            let delta = [1, 4, 8, 40, u32::MAX, u32::MAX - 3, 1 << 31][random.below(7)];
            let value = get(dtb, at).wrapping_add(delta);
            put(dtb, at, value);
        }
        4 => dtb.truncate(size - random.below(64).min(size)),
        5 => *dtb = spliced(dtb, word(random), 4 * (1 + random.below(6)), &[], false),
        6 => {
            let (from, to) = (word(random), word(random));
            let piece = dtb[from..(from + 4 * (1 + random.below(12))).min(size)].to_vec();
            let piece = &piece[..piece.len() / 4 * 4];
            *dtb = spliced(dtb, to, 0, piece, true);
        }
        7 => {
            let token = WORDS[1 + random.below(5)].to_be_bytes();
            *dtb = spliced(dtb, word(random), 0, &token, true);
        }
        _ => {
            let (one, other) = (word(random) / 4, word(random) / 4);
            let (first, second) = (get(dtb, one), get(dtb, other));
            put(dtb, one, second);
            put(dtb, other, first);
        }
    }
}

// req: MAN-01, MAN-02
#[test]
fn damage_upon_damage() {
    let trees = std::env::var("DAMAGED_TREES").ok();
    let trees: u64 = trees.map_or(20_000, |trees| trees.parse().unwrap());
    let originals = originals();
    let mut tally = Tally::new();
    for seed in 0..trees {
        let mut random = Random(seed);
        random.below(1);
        let mut dtb = originals[random.below(originals.len())].clone();
        for _ in 0..1 + random.below(3) {
            damage(&mut dtb, &mut random);
        }
        compare(&dtb, &mut tally);
    }
    conclude(
        &tally,
        &[
            "read, a good manifest",
            "may lie anywhere",
            "may hold anything",
            "any order",
            "any length",
            "NOP",
        ],
    );
}
