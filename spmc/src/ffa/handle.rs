//! Handles of memory regions (FF-A v1.0 section 5.10.2).

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::SmcFrame;

/// A 64-bit handle of a memory region. Descriptors carry it as one number, and registers as two
/// halves, the low one first.
#[derive(
    FromBytes, IntoBytes, KnownLayout, Immutable, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug,
)]
#[repr(transparent)]
pub struct Handle(u64);

impl Handle {
    /// Zero, which names no region. A sender puts it where the SPMC is to choose the handle.
    pub const NONE: Self = Self(0);

    /// Makes a handle from all its bits.
    pub const fn new(bits: u64) -> Self {
        Self(bits)
    }

    /// Returns all bits.
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// Returns the handle in w1 and w2 of a call.
    pub fn of_call(frame: &SmcFrame) -> Self {
        Self::from_halves([frame.w(1) as u64, frame.w(2) as u64])
    }

    /// Joins the low half and the high half, each below 2^32.
    pub const fn from_halves([low, high]: [u64; 2]) -> Self {
        Self(high << 32 | low)
    }

    /// Returns the low half and the high half.
    pub const fn halves(self) -> [u64; 2] {
        [self.0 & 0xffff_ffff, self.0 >> 32]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_travel_low_first() {
        let handle = Handle::new(0x0123_4567_89ab_cdef);
        assert_eq!(handle.halves(), [0x89ab_cdef, 0x0123_4567]);
        assert_eq!(Handle::from_halves(handle.halves()), handle);
    }

    #[test]
    fn the_upper_halves_of_registers_are_no_part_of_a_handle() {
        let frame = SmcFrame::new([0, 0xffff_ffff_0000_0001, 0xffff_ffff_0000_0002]);
        assert_eq!(Handle::of_call(&frame).bits(), 2 << 32 | 1);
    }
}
