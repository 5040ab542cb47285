//! The structural check in front of the `fdt` crate, which reads trees that pass it (Devicetree
//! Specification v0.4 chapter 5).
//!
//! The crate is made for trees that firmware vouches for. Each item names damage, what the crate
//! (0.2.0-alpha3) does about it, even where it returns `Result`, and in bold the rule here that
//! refuses such a tree:
//!
//! - A header that is cut off, of another format, or of a version without sizes of blocks (5.1,
//!   5.2): the crate takes other words for sizes. **header**
//! - Offset and size of a block that overflow together (5.2): it panics, or slices wrapped offsets
//!   and panics then. **bounds**
//! - Blocks behind the total size (5.2): it reads bytes that are not part of the tree. **bounds**
//! - An address or offset that is not aligned (5.6): it reads tokens at any offset. **alignment**
//! - A structure block of one word (5.4): it panics on `len - 4`. **tokens**
//! - Unknown tokens, or tokens in the wrong place (5.4.1): its iterators return the same error for
//!   ever. **tokens**
//! - A property behind a child node (5.4.2): the property and all further children are an error, or
//!   are not seen. **tokens**
//! - END early, late or twice, nodes without an end or a root (5.4.2): it looks at the last word
//!   alone and drops the rest. **nesting**
//! - A name, value or padding that reaches beyond the block (5.4.1): it takes that for the end of
//!   the node and drops what follows. **truncation**
//! - A name of a property that lies outside the strings block or has no end (5.5): it returns an
//!   error in place of the property, time and again. **names**
//!
//! The crate itself reports one kind of damage: a name that is not UTF-8. [`unread`] notes that
//! error, so that the tree is refused as well.
//!
//! Neither the check nor the functions of the crate that are used recurse: nesting of any depth
//! costs no stack. The memory reservation block is not checked, because nobody reads it.

use fdt::Fdt;
use fdt::helpers::UnalignedFallibleNode;
use fdt::nodes::AsNode;
use zerocopy::{FromBytes, IntoBytes};

use super::error::{Found, Parsed, Refused, Report};

const HEADER_SIZE: usize = 40;
const MAGIC: u32 = 0xd00d_feed;
/// The version whose header has the size of the structure block, and the version that it is
/// compatible with. dtc writes no other.
const VERSION: u32 = 17;
const LAST_COMPATIBLE_VERSION: u32 = 16;

const BEGIN_NODE: u32 = 1;
const END_NODE: u32 = 2;
const PROP: u32 = 3;
const NOP: u32 = 4;
const END: u32 = 9;

/// The expectation that messages name where a block is cut off.
const TRUNCATED: &str = "more of the structure block";

/// Rules for header and blocks.
#[derive(Clone, Copy)]
enum Rule {
    Address,
    Header,
    Magic,
    Version,
    Compatible,
    Total,
    Strings,
    Structure,
    Words,
    Nul,
}

impl Rule {
    /// Returns the name of that part of the tree in messages, and what is expected of it.
    fn text(self) -> (&'static str, &'static str) {
        match self {
            Self::Address => ("address modulo 8", "0x0"),
            Self::Header => ("header", "40 bytes"),
            Self::Magic => ("magic", "0xd00dfeed"),
            Self::Version => ("version", "17 or later"),
            Self::Compatible => ("last compatible version", "16 or 17"),
            Self::Total => ("total size", "no more than was read"),
            Self::Strings => ("strings block", "a block inside the tree"),
            Self::Structure => ("structure block", "a block inside the tree"),
            Self::Words => ("structure block", "whole words at a multiple of 4 bytes"),
            Self::Nul => ("strings block", "a NUL at its end"),
        }
    }
}

/// A tree that the crate reads without a panic or a loss.
pub struct CheckedTree<'a>(UnalignedFallibleNode<'a>);

impl<'a> CheckedTree<'a> {
    /// Checks a tree. What is wrong with it goes to `report`.
    #[inline(never)]
    pub fn check(dtb: &'a [u8], report: &Report) -> Parsed<Self> {
        let wrong = |rule: Rule, found: u32| {
            let (property, expected) = rule.text();
            let found = match rule {
                Rule::Header => Found::Bytes(found as usize),
                Rule::Total => Found::Count(found.into()),
                _ => Found::Number(found.into()),
            };
            report.broken(property, expected, found)
        };
        let misplaced = dtb.as_ptr().addr() as u32 % 8;
        let header = <[u32; HEADER_SIZE / 4]>::ref_from_prefix(dtb);
        let (Ok((header, _)), 0) = (header, misplaced) else {
            return Err(match dtb.len() {
                ..HEADER_SIZE => wrong(Rule::Header, dtb.len() as u32),
                _ => wrong(Rule::Address, misplaced),
            });
        };
        let [
            magic,
            total,
            structure_offset,
            strings_offset,
            _,
            version,
            compatible,
            _,
            strings_size,
            structure_size,
        ] = header.map(u32::from_be);
        if magic != MAGIC {
            return Err(wrong(Rule::Magic, magic));
        }
        if version < VERSION {
            return Err(wrong(Rule::Version, version));
        }
        if !(LAST_COMPATIBLE_VERSION..=VERSION).contains(&compatible) {
            return Err(wrong(Rule::Compatible, compatible));
        }
        let Some(tree) = dtb.get(..total as usize) else {
            return Err(wrong(Rule::Total, total));
        };
        let block = |offset: u32, size: u32| {
            let behind_header = Some(offset as usize).filter(|offset| *offset >= HEADER_SIZE);
            tree.get(behind_header?..)?.get(..size as usize)
        };
        let Some(strings) = block(strings_offset, strings_size) else {
            return Err(wrong(Rule::Strings, strings_offset));
        };
        let Some(structure) = block(structure_offset, structure_size) else {
            return Err(wrong(Rule::Structure, structure_offset));
        };
        let Ok(structure) = <[u32]>::ref_from_bytes(structure) else {
            return Err(wrong(Rule::Words, structure_offset));
        };
        if strings.last().is_some_and(|last| *last != 0) {
            return Err(wrong(Rule::Nul, strings_offset));
        }
        let mut rest = structure;
        if let Err(expected) = walk(&mut rest, strings.len()) {
            let found = Found::BeforeEnd(rest.as_bytes().len());
            return Err(report.broken("structure block", expected, found));
        }
        let root = Fdt::new_unaligned_fallible(tree).and_then(|tree| tree.root());
        let root = root.map(|root| root.as_node());
        root.map(Self).map_err(|_| unread(report))
    }

    /// Returns the root node.
    pub fn root(&self) -> UnalignedFallibleNode<'a> {
        self.0
    }
}

/// Notes the one error that the check leaves to the crate: a name of a node or property that is not
/// UTF-8.
#[cold]
#[inline(never)]
pub fn unread(report: &Report) -> Refused {
    report.broken(
        "node or property",
        "a name in UTF-8",
        Found::text(b"another"),
    )
}

/// Walks a structure block from its first token to its last.
///
/// Errors: the text says what was expected where `rest` begins.
fn walk(rest: &mut &[u32], strings: usize) -> Result<(), &'static str> {
    let mut depth = 0_usize;
    // No property may follow, and no other root.
    let mut behind_child = false;
    loop {
        match word(rest)? {
            NOP => {}
            BEGIN_NODE if depth > 0 || !behind_child => {
                name(rest, depth == 0)?;
                depth = depth.saturating_add(1);
                behind_child = false;
            }
            PROP if depth > 0 && !behind_child => {
                let size = word(rest)? as usize;
                if word(rest)? as usize >= strings {
                    return Err("a property with a name");
                }
                *rest = rest.get(size.div_ceil(4)..).ok_or(TRUNCATED)?;
            }
            END_NODE if depth > 0 => {
                depth = depth.saturating_sub(1);
                behind_child = true;
            }
            END if depth == 0 && behind_child && rest.is_empty() => return Ok(()),
            _ => return Err("a token that may stand there"),
        }
    }
}

/// Passes over the name of a node and its padding. Only the root has an empty name.
fn name(rest: &mut &[u32], is_root: bool) -> Result<(), &'static str> {
    const ONES: u32 = 0x0101_0101;
    const HIGH: u32 = 0x8080_8080;
    let mut part = word(rest)?;
    if (part >> 24 == 0) != is_root {
        return Err("a name, which the root alone has not");
    }
    // Subtracting 1 sets bit 7 of a byte that is 0, and of no other byte without that bit.
    while part.wrapping_sub(ONES) & !part & HIGH == 0 {
        part = word(rest)?;
    }
    Ok(())
}

fn word(rest: &mut &[u32]) -> Result<u32, &'static str> {
    let word = rest.split_off_first().ok_or(TRUNCATED)?;
    Ok(u32::from_be(*word))
}

#[cfg(test)]
mod tests;
