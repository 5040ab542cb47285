//! The words that the readers of all formats share: a part of a package, and its bytes.

use crate::addr::PAGE_SIZE;

/// Copies bytes from an offset of the package into a buffer.
pub type Read<'r, E> = dyn FnMut(u64, &mut [u8]) -> Result<(), E> + 'r;

/// A part of the package: never empty, and its end is within the package.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Piece {
    /// Bytes from the start of the package.
    pub offset: u32,
    /// Its bytes.
    pub size: u32,
}

impl Piece {
    /// Returns the offset behind the last byte.
    pub fn end(self) -> u64 {
        u64::from(self.offset).saturating_add(self.size.into())
    }

    /// Returns whether the piece starts on a page of its own, not on that of the header.
    pub(super) fn starts_page(self) -> bool {
        self.offset != 0 && u64::from(self.offset).is_multiple_of(PAGE_SIZE)
    }
}
