//! Each rule by itself: a tree that breaks one rule is refused with the words of that rule. The
//! `fdt` crate would refuse many of these trees, too. The comparison with `dtoolkit` in
//! `tree/damage.rs` shows that nothing else gets through.

extern crate std;

use std::string::{String, ToString};
use std::vec;
use std::vec::Vec;

use super::*;

/// The structure block of a root with one property and one child.
const STRUCTURE: [u32; 12] = [
    BEGIN_NODE, 0, PROP, 4, 0, 0xdead, BEGIN_NODE, LETTER, END_NODE, NOP, END_NODE, END,
];
/// A name of one letter.
const LETTER: u32 = 0x6100_0000;
const STRINGS: [u8; 8] = *b"id\0more\0";

/// A blob at an address that is a multiple of 8: a header of these words, then the structure block
/// and the strings block.
struct Blob {
    header: [u32; HEADER_SIZE / 4],
    structure: Vec<u32>,
    strings: Vec<u8>,
}

impl Blob {
    fn new() -> Self {
        let structure = STRUCTURE.to_vec();
        let behind = HEADER_SIZE + 4 * structure.len();
        let total = behind + STRINGS.len();
        let [total, behind, size] = [total, behind, 4 * structure.len()].map(|n| n as u32);
        Self {
            header: [
                MAGIC,
                total,
                40,
                behind,
                40,
                17,
                16,
                0,
                STRINGS.len() as u32,
                size,
            ],
            structure,
            strings: STRINGS.to_vec(),
        }
    }

    /// Returns the reason why the blob is refused from byte `from` to `end`, or an empty string.
    fn refusal_of(&self, from: usize, end: usize) -> String {
        let mut words = vec![0_u64; 32];
        let mut bytes = Vec::new();
        for word in self.header.iter().chain(&self.structure) {
            bytes.extend(word.to_be_bytes());
        }
        bytes.extend(&self.strings);
        words.as_mut_bytes()[from..from + bytes.len()].copy_from_slice(&bytes);
        let report = Report::new();
        let _ = CheckedTree::check(
            &words.as_bytes()[from..from + end.min(bytes.len())],
            &report,
        );
        let verdict = report.verdict();
        verdict.map_or_else(|error| error.to_string(), |()| String::new())
    }

    fn refusal(&self) -> String {
        self.refusal_of(0, usize::MAX)
    }
}

/// Returns the refusal of a blob with one word of its header changed.
fn with_header(word: usize, value: u32) -> String {
    let mut blob = Blob::new();
    blob.header[word] = value;
    blob.refusal()
}

// req: MAN-01
#[test]
fn a_tree_that_breaks_no_rule_is_read() {
    assert_eq!(Blob::new().refusal(), "");
    // In turn: a later version, one that needs no earlier version, and a strings block that ends
    // early.
    for (word, value) in [(5, 18), (6, 17), (8, 3)] {
        assert_eq!(with_header(word, value), "", "word {word}");
    }
    // The buffer continues behind the end of the tree.
    let mut blob = Blob::new();
    blob.header[8] = 3;
    blob.header[1] -= 5;
    assert_eq!(blob.refusal(), "");
}

// req: MAN-01
#[test]
fn each_rule_for_the_header() {
    let behind = HEADER_SIZE as u32 + 48;
    for (word, value, part, expected) in [
        (0, MAGIC + 1, "magic", "0xd00dfeed"),
        (5, 16, "version", "17 or later"),
        (6, 15, "last compatible version", "16 or 17"),
        (6, 18, "last compatible version", "16 or 17"),
        (1, behind + 9, "total size", "no more than was read"),
        (2, 39, "structure block", "a block inside the tree"),
        (2, 36, "structure block", "a block inside the tree"),
        (
            2,
            u32::MAX - 3,
            "structure block",
            "a block inside the tree",
        ),
        (9, behind + 8, "structure block", "a block inside the tree"),
        (9, u32::MAX, "structure block", "a block inside the tree"),
        (2, 41, "structure block", "whole words"),
        (9, 47, "structure block", "whole words"),
        (3, 39, "strings block", "a block inside the tree"),
        (3, u32::MAX, "strings block", "a block inside the tree"),
        (8, 9, "strings block", "a block inside the tree"),
        (8, u32::MAX, "strings block", "a block inside the tree"),
        (8, 2, "strings block", "a NUL at its end"),
    ] {
        let refusal = with_header(word, value);
        let wanted = std::format!("device tree: {part}: expected {expected}");
        assert!(
            refusal.starts_with(&wanted),
            "word {word} = {value:#x}: {refusal}"
        );
    }
    let cut = Blob::new().refusal_of(0, 39);
    assert!(
        cut.starts_with("device tree: header: expected 40 bytes"),
        "{cut}"
    );
    let moved = Blob::new().refusal_of(4, usize::MAX);
    assert!(
        moved.starts_with("device tree: address modulo 8"),
        "{moved}"
    );
}

// req: MAN-01
#[test]
fn each_rule_for_tokens_nesting_and_truncation() {
    const TOKEN: &str = "a token that may stand there";
    const NAME: &str = "a name, which the root alone has not";
    let cases: &[(&[u32], &str)] = &[
        // Nothing, or a token that begins no node.
        (&[], TRUNCATED),
        (&[END], TOKEN),
        (&[PROP, 0, 0, END], TOKEN),
        (&[END_NODE, END], TOKEN),
        (&[7, END], TOKEN),
        // A second root, and a token behind the end.
        (
            &[BEGIN_NODE, 0, END_NODE, BEGIN_NODE, 0, END_NODE, END],
            TOKEN,
        ),
        (&[BEGIN_NODE, 0, END_NODE, END, NOP], TOKEN),
        (&[BEGIN_NODE, 0, END_NODE, END, END], TOKEN),
        // Ends that are missing or too early.
        (&[BEGIN_NODE, 0, END], TOKEN),
        (&[BEGIN_NODE, 0, BEGIN_NODE, LETTER, END_NODE, END], TOKEN),
        (&[BEGIN_NODE, 0, END_NODE], TRUNCATED),
        (&[BEGIN_NODE, 0, END_NODE, END_NODE, END], TOKEN),
        // A property behind a child, and one outside of all nodes.
        (
            &[
                BEGIN_NODE, 0, BEGIN_NODE, LETTER, END_NODE, PROP, 0, 0, END_NODE, END,
            ],
            TOKEN,
        ),
        (&[BEGIN_NODE, 0, END_NODE, PROP, 0, 0, END], TOKEN),
        // Values and names that reach beyond the block.
        (&[BEGIN_NODE, 0, PROP, 17, 0, 0, END_NODE, END], TRUNCATED),
        (
            &[BEGIN_NODE, 0, PROP, u32::MAX, 0, END_NODE, END],
            TRUNCATED,
        ),
        (&[BEGIN_NODE, 0, PROP], TRUNCATED),
        (&[BEGIN_NODE, 0, PROP, 0], TRUNCATED),
        (
            &[BEGIN_NODE, 0, BEGIN_NODE, 0x6161_6161, 0x6161_6161],
            TRUNCATED,
        ),
        (&[BEGIN_NODE], TRUNCATED),
        (
            &[BEGIN_NODE, 0, PROP, 0, 8, END_NODE, END],
            "a property with a name",
        ),
        // A root with a name, and a child without one.
        (&[BEGIN_NODE, LETTER, END_NODE, END], NAME),
        (
            &[BEGIN_NODE, 0, BEGIN_NODE, 0, END_NODE, END_NODE, END],
            NAME,
        ),
    ];
    for (structure, expected) in cases {
        let words: Vec<_> = structure.iter().map(|word| word.to_be()).collect();
        assert_eq!(walk(&mut &words[..], 8), Err(*expected), "{structure:x?}");
    }
    for structure in [
        &[BEGIN_NODE, 0, END_NODE, END][..],
        &[
            NOP, BEGIN_NODE, 0, NOP, PROP, 5, 7, 0, 0, NOP, END_NODE, NOP, END,
        ],
        &STRUCTURE,
    ] {
        let words: Vec<_> = structure.iter().map(|word| word.to_be()).collect();
        assert_eq!(walk(&mut &words[..], 8), Ok(()), "{structure:x?}");
    }
}
