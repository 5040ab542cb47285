//! A strict pull reader of flattened device trees (Devicetree Specification chapter 5).
//!
//! It walks the structure block once, in order, and hands out nodes and properties as it meets them. The bytes come from outside:
//! every offset is checked, a truncated block is an error and never an end, and nothing here recurses or loops without consuming
//! a token. It copies nothing; alignment of the input does not matter.
//!
//! It is our own because the `fdt` crate, also where it promises not to panic, adds and slices unchecked offsets of the header, and
//! takes truncation for the end: a region that is cut off would silently be missing. Tests compare the two.

use core::str;

use arrayvec::{ArrayString, ArrayVec};

use super::config::Name;
use super::error::{Broken, Found, Parsed, Refused, Report, Walked, push_lossy};

const MAGIC: u32 = 0xd00d_feed;
/// The version that has the size of the structure block in its header, and what it is compatible with: all that dtc writes.
const VERSION: u32 = 17;
const LAST_COMPATIBLE_VERSION: u32 = 16;

const BEGIN_NODE: u32 = 1;
const END_NODE: u32 = 2;
const PROP: u32 = 3;
const NOP: u32 = 4;
const END: u32 = 9;

/// Names of the nodes from the root downwards, without the root. Manifests are flat: what lies deeper than this keeps the path of
/// its ancestor.
#[derive(Clone, Copy)]
pub struct Path<'a> {
    names: [&'a [u8]; 3],
    report: &'a Report<'a>,
}

impl<'a> Path<'a> {
    /// The path of the root of a tree whose errors go to `report`.
    pub fn root(report: &'a Report<'a>) -> Self {
        Self {
            names: [&[]; 3],
            report,
        }
    }

    /// The name of the last node, empty for the root.
    #[inline(never)]
    pub fn name(&self) -> &'a str {
        let mut names = self.names.iter().rev();
        names
            .find(|name| !name.is_empty())
            .map_or("", |name| known(name))
    }

    /// An error at `property` of the node, or at the node itself if `property` is empty.
    #[cold]
    #[inline(never)]
    pub fn error(&self, property: &str, expected: &'static str, found: Found) -> Refused {
        let mut text = ArrayString::<96>::new();
        for name in self.names.iter().filter(|name| !name.is_empty()) {
            push_lossy(&mut text, b"/");
            push_lossy(&mut text, name);
        }
        let node = if text.is_empty() { "/" } else { &text };
        self.report.refuse(node, property, expected, found)
    }

    /// The error for a mandatory property (or child) that is not there.
    #[cold]
    #[inline(never)]
    pub fn missing(&self, property: &str, expected: &'static str) -> Refused {
        self.error(property, expected, Found::Nothing)
    }

    fn child(&self, depth: usize, name: &'a [u8]) -> Self {
        let mut path = *self;
        if let Some(slot) = path.names.get_mut(depth) {
            *slot = name;
        }
        path
    }
}

/// A property, with typed access to its value.
#[derive(Clone, Copy)]
pub struct Property<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its value as it stands in the tree.
    pub value: &'a [u8],
    /// The node that it belongs to.
    pub node: Path<'a>,
}

impl<'a> Property<'a> {
    /// An error at this property.
    #[cold]
    #[inline(never)]
    pub fn error(&self, expected: &'static str, found: Found) -> Refused {
        let mut name = ArrayString::<32>::new();
        push_lossy(&mut name, self.name.as_bytes());
        self.node.error(&name, expected, found)
    }

    /// A 32-bit value, in one cell or, as some write it, in the second of two.
    #[inline(never)]
    pub fn u32(&self) -> Parsed<u32> {
        let value = self.u64()?;
        u32::try_from(value).map_err(|_| self.error("a 32-bit value", Found::Number(value)))
    }

    /// One cell with a value of at most `max`; `expected` says so.
    #[inline(never)]
    pub fn u32_up_to(&self, max: u32, expected: &'static str) -> Parsed<u32> {
        let value = self.u32()?;
        if value > max {
            return Err(self.error(expected, Found::Number(value.into())));
        }
        Ok(value)
    }

    /// A 64-bit value in one cell or in two; some write a small one in half a cell (`/bits/ 16`).
    #[inline(never)]
    pub fn u64(&self) -> Parsed<u64> {
        if let Some(cells) = self.value.as_array() {
            return Ok(u64::from_be_bytes(*cells));
        }
        if let Some(half) = self.value.as_array() {
            return Ok(u16::from_be_bytes(*half).into());
        }
        match self.value.as_array() {
            Some(cell) => Ok(u32::from_be_bytes(*cell).into()),
            None => Err(self.error("one or two 32-bit cells", Found::Bytes(self.value.len()))),
        }
    }

    /// A list of groups of `N` cells, at least one group.
    pub fn cells<const N: usize>(
        &self,
        expected: &'static str,
    ) -> Parsed<impl ExactSizeIterator<Item = [u32; N]> + use<'a, N>> {
        let (cells, rest) = self.value.as_chunks::<4>();
        let (groups, odd) = cells.as_chunks::<N>();
        if groups.is_empty() || !odd.is_empty() || !rest.is_empty() {
            return Err(self.error(expected, Found::Bytes(self.value.len())));
        }
        Ok(groups.iter().map(|group| group.map(u32::from_be_bytes)))
    }

    /// A list of cells, at least one and at most as many as the list takes; `expected` says so.
    pub fn list<const CAP: usize>(&self, expected: &'static str) -> Parsed<ArrayVec<u32, CAP>> {
        let cells = self.cells::<1>(expected)?;
        if cells.len() > CAP {
            return Err(self.error(expected, Found::Count(cells.len() as u64)));
        }
        Ok(cells.map(|[cell]| cell).collect())
    }

    /// Presence: a property without a value.
    #[inline(never)]
    pub fn flag(&self) -> Parsed<bool> {
        if !self.value.is_empty() {
            return Err(self.error("no value", Found::Bytes(self.value.len())));
        }
        Ok(true)
    }

    /// One string.
    #[inline(never)]
    pub fn str(&self) -> Parsed<&'a str> {
        let text = match self.value.split_last() {
            Some((0, text)) if !text.contains(&0) => str::from_utf8(text).ok(),
            _ => None,
        };
        text.ok_or_else(|| self.error("a string", Found::Bytes(self.value.len())))
    }

    /// The beginning of one string, as a name for messages.
    pub fn short_name(&self) -> Parsed<Name> {
        let mut name = Name::new();
        push_lossy(&mut name, self.str()?.as_bytes());
        Ok(name)
    }

    /// Whether the list of strings holds `wanted`.
    #[inline(never)]
    pub fn has_string(&self, wanted: &[u8]) -> bool {
        self.value
            .split(|byte| *byte == 0)
            .any(|text| text == wanted)
    }
}

/// What the reader met.
pub enum Item<'a> {
    /// A property of the current node.
    Property(Property<'a>),
    /// The beginning of a child, which is now the current node.
    Node(Path<'a>),
    /// The end of the current node; its parent is the current one again.
    End,
}

/// The reader. It starts inside the root node.
pub struct Reader<'a> {
    rest: &'a [u8],
    strings: &'a [u8],
    path: Path<'a>,
    /// Ancestors of the current node; 0 in the root.
    depth: usize,
    /// A child of the current node has ended: no more properties may come.
    behind_child: bool,
}

impl<'a> Reader<'a> {
    /// Checks the header and enters the root node. Errors go to `report`.
    #[inline(never)]
    pub fn new(dtb: &'a [u8], report: &'a Report<'a>) -> Walked<Self> {
        let (words, _) = dtb.as_chunks::<4>();
        let Some(header) = words.first_chunk::<10>() else {
            return Err(report.break_off("header", "40 bytes", Found::Bytes(dtb.len())));
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
        ] = header.map(u32::from_be_bytes);
        let wrong = |name, expected, found: u32| {
            Err(report.break_off(name, expected, Found::Number(found.into())))
        };
        if magic != MAGIC {
            return wrong("magic", "0xd00dfeed", magic);
        }
        if version < VERSION {
            return wrong("version", "17 or later", version);
        }
        if !(LAST_COMPATIBLE_VERSION..=VERSION).contains(&compatible) {
            return wrong("last compatible version", "16 or 17", compatible);
        }
        let Some(tree) = dtb.get(..total as usize) else {
            let expected = "no more than was read";
            return Err(report.break_off("total size", expected, Found::Count(total.into())));
        };
        let block = |offset: u32, size: u32| tree.get(offset as usize..)?.get(..size as usize);
        let expected = "a block inside the tree";
        let Some(strings) = block(strings_offset, strings_size) else {
            return wrong("strings block", expected, strings_offset);
        };
        let Some(rest) = block(structure_offset, structure_size) else {
            return wrong("structure block", expected, structure_offset);
        };
        let mut reader = Self {
            strings,
            rest,
            path: Path::root(report),
            depth: 0,
            behind_child: false,
        };
        if reader.token()? != BEGIN_NODE || !reader.string()?.is_empty() {
            return Err(reader.broken("the root node"));
        }
        Ok(reader)
    }

    /// The path of the current node.
    pub fn path(&self) -> Path<'a> {
        self.path
    }

    /// The next item of the current node. Not to be called again after the end of the root.
    #[inline(never)]
    pub fn next(&mut self) -> Walked<Item<'a>> {
        match self.token()? {
            PROP if !self.behind_child => Ok(Item::Property(self.property()?)),
            BEGIN_NODE => {
                let name = self.string()?;
                if name.is_empty() {
                    return Err(self.broken("a node with a name"));
                }
                self.path = self.path.child(self.depth, name);
                self.depth = self.depth.saturating_add(1);
                self.behind_child = false;
                Ok(Item::Node(self.path))
            }
            END_NODE => {
                self.behind_child = true;
                match self.depth.checked_sub(1) {
                    Some(depth) => {
                        self.depth = depth;
                        self.path = self.path.child(depth, &[]);
                    }
                    None if self.token()? == END => {}
                    None => return Err(self.broken("the end of the tree")),
                }
                Ok(Item::End)
            }
            PROP => Err(self.broken("no property behind a child node")),
            _ => Err(self.broken("a property, a node or the end of a node")),
        }
    }

    /// The next property or the end of the current node (`None`), passing over its children.
    #[inline(never)]
    pub fn next_property(&mut self) -> Walked<Option<Property<'a>>> {
        loop {
            match self.next()? {
                Item::Property(property) => return Ok(Some(property)),
                Item::Node(_) => self.skip_node()?,
                Item::End => return Ok(None),
            }
        }
    }

    /// Passes over the rest of the current node.
    #[inline(never)]
    pub fn skip_node(&mut self) -> Walked<()> {
        let depth = self.depth;
        loop {
            if let Item::End = self.next()?
                && self.depth < depth
            {
                return Ok(());
            }
        }
    }

    /// The next token that is not a NOP.
    #[inline(never)]
    fn token(&mut self) -> Walked<u32> {
        loop {
            let token = self.word()?;
            if token != NOP {
                return Ok(token);
            }
        }
    }

    #[inline(never)]
    fn word(&mut self) -> Walked<u32> {
        let Some((word, rest)) = self.rest.split_first_chunk() else {
            return Err(self.broken("more of the structure block"));
        };
        self.rest = rest;
        Ok(u32::from_be_bytes(*word))
    }

    /// `size` bytes and the padding behind them.
    #[inline(never)]
    fn bytes(&mut self, size: usize) -> Walked<&'a [u8]> {
        let split = size
            .checked_next_multiple_of(4)
            .and_then(|padded| self.rest.split_at_checked(padded));
        let Some((padded, rest)) = split else {
            return Err(self.broken("more of the structure block"));
        };
        self.rest = rest;
        Ok(padded.get(..size).unwrap_or(padded))
    }

    /// A string in the structure block and the padding behind it.
    #[inline(never)]
    fn string(&mut self) -> Walked<&'a [u8]> {
        let Some(length) = self.rest.iter().position(|byte| *byte == 0) else {
            return Err(self.broken("a string that ends"));
        };
        let with_nul = self.bytes(length.saturating_add(1))?;
        Ok(with_nul.get(..length).unwrap_or(with_nul))
    }

    fn property(&mut self) -> Walked<Property<'a>> {
        let size = self.word()? as usize;
        let name_offset = self.word()? as usize;
        let value = self.bytes(size)?;
        let names = self.strings.get(name_offset..).unwrap_or(&[]);
        let Some(length) = names.iter().position(|byte| *byte == 0) else {
            return Err(self.broken("a property with a name"));
        };
        Ok(Property {
            name: known(names.get(..length).unwrap_or(names)),
            value,
            node: self.path,
        })
    }

    /// An error of the format itself, after which the reader is of no use.
    #[cold]
    #[inline(never)]
    fn broken(&self, expected: &'static str) -> Broken {
        let found = Found::BeforeEnd(self.rest.len());
        self.path
            .report
            .break_off("structure block", expected, found)
    }
}

/// A name as text, which compares in less code than bytes do. Names that are not even UTF-8 are none that anyone looks for.
fn known(name: &[u8]) -> &str {
    str::from_utf8(name).unwrap_or("")
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::format;
    use std::string::String;
    use std::vec::Vec;

    use fdt::Fdt;
    use fdt::helpers::UnalignedFallibleNode;
    use vm_fdt::FdtWriter;

    use super::*;

    /// Nodes, properties of every padding, and a node without anything.
    fn tree() -> Vec<u8> {
        let mut writer = FdtWriter::new().unwrap();
        let root = writer.begin_node("").unwrap();
        for size in 0..9 {
            writer
                .property(&format!("size-{size}"), &[0xa5; 9][..size])
                .unwrap();
        }
        for outer in ["one", "longer-name@1000"] {
            let outer = writer.begin_node(outer).unwrap();
            writer
                .property_string("compatible", "something,1.0")
                .unwrap();
            for inner in ["a", "ab", "abc", "abcd"] {
                let inner = writer.begin_node(inner).unwrap();
                writer.property_u64("reg", 0x1234).unwrap();
                writer.end_node(inner).unwrap();
            }
            writer.end_node(outer).unwrap();
        }
        let empty = writer.begin_node("empty").unwrap();
        writer.end_node(empty).unwrap();
        writer.end_node(root).unwrap();
        writer.finish().unwrap()
    }

    fn accepted<T>(walked: Walked<T>) -> T {
        walked.unwrap_or_else(|_| panic!("the tree is refused"))
    }

    fn ours(reader: &mut Reader, at: &str, lines: &mut Vec<String>) {
        loop {
            match accepted(reader.next()) {
                Item::Property(property) => {
                    lines.push(format!("{at}: {} = {:x?}", property.name, property.value));
                }
                Item::Node(node) => ours(reader, &format!("{at}/{}", node.name()), lines),
                Item::End => return,
            }
        }
    }

    fn theirs(node: &UnalignedFallibleNode, at: &str, lines: &mut Vec<String>) {
        for property in node.properties().unwrap() {
            let property = property.unwrap();
            lines.push(format!("{at}: {} = {:x?}", property.name, property.value));
        }
        for child in node.children().unwrap() {
            let child = child.unwrap();
            theirs(&child, &format!("{at}/{}", child.name().unwrap()), lines);
        }
    }

    // req: MAN-02
    #[test]
    fn an_independent_reader_finds_the_same() {
        let dtb = tree();
        let (mut found, mut expected) = (Vec::new(), Vec::new());
        let report = Report::new();
        let mut reader = accepted(Reader::new(&dtb, &report));
        ours(&mut reader, "", &mut found);
        let root = Fdt::new_unaligned_fallible(&dtb)
            .unwrap()
            .find_node("/")
            .unwrap()
            .unwrap();
        theirs(&root, "", &mut expected);
        assert_eq!(found, expected);
        assert_eq!(found.len(), 9 + 2 * 5);
    }

    // req: MAN-01
    #[test]
    fn properties_behind_a_child_are_refused() {
        let words = [
            BEGIN_NODE,
            0,
            BEGIN_NODE,
            0x6e00_0000,
            END_NODE,
            PROP,
            0,
            0,
            END_NODE,
            END,
        ];
        let size = 4 * words.len() as u32;
        let header = [MAGIC, 42 + size, 40, 40 + size, 0, 17, 16, 0, 2, size];
        let words = header
            .iter()
            .chain(&words)
            .flat_map(|word| word.to_be_bytes());
        let dtb: Vec<u8> = words.chain(*b"p\0").collect();
        let report = Report::new();
        let mut reader = accepted(Reader::new(&dtb, &report));
        assert!(matches!(reader.next(), Ok(Item::Node(_))));
        assert!(matches!(reader.next(), Ok(Item::End)));
        assert!(reader.next().is_err());
        assert_eq!(
            report.verdict().map_err(|error| format!("{error}")),
            Err(
                "device tree: structure block: expected no property behind a child node, found something else 16 bytes before its end"
                    .into()
            )
        );
    }
}
