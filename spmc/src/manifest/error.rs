//! The reason why a manifest or a package is refused, in one line: the place, what was expected
//! there, and what was found.
//!
//! Errors are built on the cold path only, so they may copy names; they never refer to the device
//! tree, which no longer exists when they are printed.
//!
//! The expectation is a fixed text. If the text names a capacity, [`limit_text`] makes it at build
//! time.
//!
//! Parsers and checks go on after a fault, to the end of their input, and write all faults into a
//! [`Report`]. The report keeps the first one, for which boot refuses the input, and passes each to
//! a listener: `cargo xtask manifest check` shows them all. So both judge by the same steps. The
//! operator `?` hands on an empty [`Refused`], because an error is large, and many paths could
//! return it.

use core::cell::Cell;
use core::fmt::{self, Write};

use arrayvec::ArrayString;

use crate::addr::{Pa, PageRange};
use crate::id::PartitionId;

/// A fault of a manifest or package. Prints as `/memory-regions/heap: base-address: expected a 4
/// KiB aligned address, found 0x1234`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ManifestError {
    /// Node path and property, cut off if they are too long.
    place: ArrayString<68>,
    expected: &'static str,
    found: Found,
}

/// The value that was found in place of the expected one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Found {
    /// Nothing: the property or node is missing.
    Nothing,
    /// A value of that many bytes.
    Bytes(usize),
    /// An unexpected token, that many bytes before the end of the block that is read.
    BeforeEnd(usize),
    /// An address or a word, printed in hexadecimal.
    Number(u64),
    /// A count, printed in decimal.
    Count(u64),
    /// A text, cut off if it is too long.
    Text(ArrayString<16>),
    /// A range of memory.
    Range(PageRange<Pa>),
    /// A range of memory, or a part of it, that a partition already has.
    Taken(PageRange<Pa>, PartitionId),
    /// A range of memory that has pages in common with the one that begins there.
    Overlap(PageRange<Pa>, Pa),
    /// A number that a partition already has.
    Used(u64, PartitionId),
}

impl Found {
    /// Returns the beginning of a string property.
    pub fn text(value: &[u8]) -> Self {
        let mut text = ArrayString::new();
        push_lossy(&mut text, value);
        Self::Text(text)
    }
}

/// Returns how many there are at least, if a list of `capacity` is full.
pub(super) fn one_more(capacity: usize) -> Found {
    Found::Count(capacity.saturating_add(1) as u64)
}

impl ManifestError {
    /// Makes an error at a node path (`/device-regions/uart`) and property, or at another part of
    /// the input such as `package header`.
    #[cold]
    #[inline(never)]
    pub fn new(node: &str, property: &str, expected: &'static str, found: Found) -> Self {
        let mut place = ArrayString::new();
        // Both writes may be cut off: the beginning of a long name is enough to find it.
        push_lossy(&mut place, node.as_bytes());
        if !property.is_empty() {
            push_lossy(&mut place, b": ");
            push_lossy(&mut place, property.as_bytes());
        }
        Self {
            place,
            expected,
            found,
        }
    }
}

/// A text with a number in it.
pub(super) struct LimitText {
    bytes: [u8; 40],
    length: usize,
}

#[allow(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "evaluated only at build time, where a panic stops the build"
)]
impl LimitText {
    /// Joins three texts, the second of which is a number.
    pub const fn new(before: &str, number: usize, after: &str) -> Self {
        let mut text = Self {
            bytes: [0; 40],
            length: 0,
        };
        text.push(before.as_bytes());
        let mut unit = 1;
        while number / unit >= 10 {
            unit *= 10;
        }
        while unit > 0 {
            text.push(&[b'0' + (number / unit % 10) as u8]);
            unit /= 10;
        }
        text.push(after.as_bytes());
        text
    }

    const fn push(&mut self, bytes: &[u8]) {
        let mut n = 0;
        while n < bytes.len() {
            self.bytes[self.length] = bytes[n];
            self.length += 1;
            n += 1;
        }
    }

    /// Returns the text.
    pub const fn as_str(&self) -> &str {
        match str::from_utf8(self.bytes.split_at(self.length).0) {
            Ok(text) => text,
            Err(_) => "",
        }
    }
}

/// Makes a `&'static str` of a text, a capacity and another text.
macro_rules! limit_text {
    ($before:literal, $number:expr, $after:literal) => {{
        const TEXT: &$crate::manifest::error::LimitText =
            &$crate::manifest::error::LimitText::new($before, $number, $after);
        const { TEXT.as_str() }
    }};
}
pub(super) use limit_text;

/// The result of a parser.
pub(super) type Parsed<T> = Result<T, Refused>;

/// The refusal of a value, or of the tree itself. The [`Report`] has the reason.
pub(super) struct Refused(());

/// Goes on after a fault, which the [`Report`] has.
pub(super) fn go_on(parsed: Parsed<()>) {
    let (Ok(()) | Err(Refused(()))) = parsed;
}

/// One fault as it is found, with its place in full.
#[derive(Clone, Copy, Debug)]
pub struct Fault<'a> {
    /// Path of the node (`/device-regions/uart`), or another part of the input such as `package
    /// header`.
    pub node: &'a str,
    /// Name of the property; empty for the node itself.
    pub property: &'a str,
    /// The value that was expected there, in words.
    pub expected: &'static str,
    /// The value in its place.
    pub found: Found,
}

/// The report that parsers and checks write the faults of their input to.
pub struct Report<'l> {
    first: Cell<Option<ManifestError>>,
    listener: Option<&'l dyn Fn(&Fault)>,
}

impl Default for Report<'_> {
    fn default() -> Self {
        Self::new()
    }
}

impl<'l> Report<'l> {
    /// Returns a report without faults that keeps the first.
    pub const fn new() -> Self {
        Self {
            first: Cell::new(None),
            listener: None,
        }
    }

    /// Returns a report without faults that keeps the first and passes each one to `listener`.
    pub const fn telling(listener: &'l dyn Fn(&Fault)) -> Self {
        Self {
            first: Cell::new(None),
            listener: Some(listener),
        }
    }

    /// Returns whether no fault is noted.
    pub fn is_good(&self) -> bool {
        let first = self.first.take();
        let good = first.is_none();
        self.first.set(first);
        good
    }

    /// Takes the first fault out of the report; the input is good if there is none.
    #[cold]
    #[inline(never)]
    pub fn verdict(&self) -> Result<(), ManifestError> {
        self.first.take().map_or(Ok(()), Err)
    }

    /// Notes a fault that the listener knows already.
    pub(super) fn put(&self, fault: ManifestError) {
        self.first.set(Some(fault));
    }

    /// Notes a fault of a value, as [`ManifestError::new`] has it.
    #[cold]
    #[inline(never)]
    pub(super) fn refuse(
        &self,
        node: &str,
        property: &str,
        expected: &'static str,
        found: Found,
    ) -> Refused {
        if let Some(listener) = self.listener {
            listener(&Fault {
                node,
                property,
                expected,
                found,
            });
        }
        let first = self.first.take();
        self.first.set(Some(first.unwrap_or_else(|| {
            ManifestError::new(node, property, expected, found)
        })));
        Refused(())
    }

    /// Notes a fault of the tree itself.
    #[cold]
    #[inline(never)]
    pub(super) fn broken(&self, property: &str, expected: &'static str, found: Found) -> Refused {
        self.refuse("device tree", property, expected, found)
    }

    /// Does some work and returns its first fault, which does not count for the verdict.
    pub(super) fn apart(&self, work: impl FnOnce()) -> Option<ManifestError> {
        let before = self.first.take();
        work();
        self.first.replace(before)
    }
}

/// Appends as much printable ASCII of `bytes` as fits, up to the first NUL; other bytes become `?`.
pub(super) fn push_lossy<const N: usize>(to: &mut ArrayString<N>, bytes: &[u8]) {
    for &byte in bytes.iter().take_while(|byte| **byte != 0) {
        let printable = byte == b' ' || byte.is_ascii_graphic();
        if to
            .try_push(if printable { byte as char } else { '?' })
            .is_err()
        {
            return;
        }
    }
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Found::Nothing => f.write_str("nothing"),
            Found::Bytes(count) => write!(f, "{count} bytes"),
            Found::BeforeEnd(left) => write!(f, "something else {left} bytes before its end"),
            Found::Number(number) => write!(f, "{number:#x}"),
            Found::Count(count) => write!(f, "{count}"),
            Found::Text(text) => {
                f.write_char('"')?;
                f.write_str(text)?;
                f.write_char('"')
            }
            Found::Range(range) => write!(f, "{range}"),
            Found::Taken(range, owner) => write!(f, "{range}, which {owner} has"),
            Found::Overlap(range, other) => {
                write!(f, "{range}, which overlaps the one at {other}")
            }
            Found::Used(number, owner) => write!(f, "{number:#x}, which {owner} has"),
        }
    }
}

impl fmt::Display for ManifestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            place,
            expected,
            found,
        } = self;
        write!(f, "{place}: expected {expected}, found {found}")
    }
}

impl core::error::Error for ManifestError {}
