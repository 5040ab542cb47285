//! Typed values of properties: cells, strings and lists, each exactly as long as the binding says.
//!
//! The `fdt` crate reads numbers of one or two cells. It is not used for strings and lists, because
//! it accepts strings without an end and any count of cells.

use alloc::vec::Vec;
use core::str;

use arrayvec::ArrayVec;
use fdt::properties::values::PropertyValue;

use super::error::{Found, Parsed, Refused, push_lossy};
use super::tree::{Name, Node};
use crate::invariant::Invariant;

/// A property, with typed access to its value.
#[derive(Clone, Copy)]
pub struct Property<'n, 'a> {
    /// The name.
    pub name: &'a str,
    /// The value, as bytes of the tree.
    pub value: &'a [u8],
    /// The node of the property.
    pub node: &'n Node<'a>,
}

impl<'a> Property<'_, 'a> {
    /// Notes an error at this property.
    #[cold]
    #[inline(never)]
    pub fn error(&self, expected: &'static str, found: Found) -> Refused {
        self.node.error(self.name, expected, found)
    }

    /// Returns a 32-bit value in one cell, or in the second of two, as some manifests have it.
    #[inline(never)]
    pub fn u32(&self) -> Parsed<u32> {
        let value = self.u64()?;
        u32::try_from(value).map_err(|_| self.error("a 32-bit value", Found::Number(value)))
    }

    /// Returns the value of one cell, which is at most `max`; `expected` says so.
    #[inline(never)]
    pub fn u32_up_to(&self, max: u32, expected: &'static str) -> Parsed<u32> {
        let value = self.u32()?;
        if value > max {
            return Err(self.error(expected, Found::Number(value.into())));
        }
        Ok(value)
    }

    /// Returns a 64-bit value in one cell or in two. Some manifests have a small value in half a
    /// cell (`/bits/ 16`).
    #[inline(never)]
    pub fn u64(&self) -> Parsed<u64> {
        if let Some(half) = self.value.as_array() {
            return Ok(u16::from_be_bytes(*half).into());
        }
        PropertyValue::parse(self.value)
            .map_err(|_| self.error("one or two 32-bit cells", Found::Bytes(self.value.len())))
    }

    /// Returns a list of groups of `N` cells, at least one group.
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

    /// Returns a list of cells, at least one; `expected` says so.
    pub fn list(&self, expected: &'static str) -> Parsed<Vec<u32>> {
        let cells = self.cells::<1>(expected)?;
        Ok(cells.map(|[cell]| cell).collect())
    }

    /// Checks that the property has no value, so that only its presence counts.
    #[inline(never)]
    pub fn flag(&self) -> Parsed<bool> {
        if !self.value.is_empty() {
            return Err(self.error("no value", Found::Bytes(self.value.len())));
        }
        Ok(true)
    }

    /// Returns the value as one string.
    #[inline(never)]
    pub fn str(&self) -> Parsed<&'a str> {
        let text = match self.value.split_last() {
            Some((0, text)) if !text.contains(&0) => str::from_utf8(text).ok(),
            _ => None,
        };
        text.ok_or_else(|| self.error("a string", Found::Bytes(self.value.len())))
    }

    /// Returns the beginning of one string, as a name for messages.
    pub fn short_name(&self) -> Parsed<Name> {
        let mut name = Name::new();
        push_lossy(&mut name, self.str()?.as_bytes());
        Ok(name)
    }

    /// Returns true if the list of strings holds `wanted`.
    #[inline(never)]
    pub fn has_string(&self, wanted: &[u8]) -> bool {
        self.value
            .split(|byte| *byte == 0)
            .any(|text| text == wanted)
    }
}

/// Names of properties that are accepted but have no effect yet, each once.
#[derive(Default)]
pub struct Ignored(pub ArrayVec<&'static str, 24>);

impl Ignored {
    /// Notes a property. There are fewer such names than places.
    pub fn note(&mut self, property: &'static str) {
        if !self.0.contains(&property) {
            Invariant::Capacity.expect(self.0.try_push(property).is_ok());
        }
    }
}
