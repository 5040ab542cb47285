//! Links: the names by which execution contexts refer to each other.
//!
//! A context that starts again, because its PE was off or its partition was loaded again, begins
//! another life. Callers and callees of its former life have nothing to do with the new one, so a
//! link names the life. A link is one word: following it means comparing words.

use crate::limits::{MAX_PARTITIONS, MAX_PES};

/// An execution context in one of its lives.
///
/// Bits `[63:20]` are the life, counted from 1; `[19:13]` and `[12:4]` the indices of the partition
/// and of the context; `[3:0]` are zero, and have the kind of a state where a link is part of one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Link(pub(super) u64);

const PARTITION: u32 = 13;
const VCPU: u32 = 4;
const LIFE: u32 = 20;

const _: () = assert!(
    MAX_PARTITIONS <= 0x80 && MAX_PES <= 0x200,
    "a link has seven and nine bits for the indices"
);

impl Link {
    /// The link that names no context, and leads nowhere.
    pub const NONE: Self = Self(0);

    /// Returns the link for the next life of the context `vcpu` of the partition at the index
    /// `partition`, whose last link was `before`. With one life each microsecond the count wraps
    /// around after half a year.
    pub fn reborn(partition: usize, vcpu: u16, before: Self) -> Self {
        let indices = (partition as u64 & 0x7f) << PARTITION | (u64::from(vcpu) & 0x1ff) << VCPU;
        let life = (before.0 >> LIFE).wrapping_add(1) << LIFE;
        let first = 1 << LIFE;
        Self(if life == 0 { first } else { life } | indices)
    }

    /// Returns the index of the partition, and of the context in it.
    #[inline(always)]
    pub const fn indices(self) -> (usize, usize) {
        let partition = self.0 >> PARTITION & 0x7f;
        let vcpu = self.0 >> VCPU & 0x1ff;
        (partition as usize, vcpu as usize)
    }

    /// Returns the index of the context in its partition.
    #[inline(always)]
    pub const fn vcpu(self) -> u16 {
        self.indices().1 as u16
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_names_a_context_and_its_life() {
        let first = Link::reborn(2, 7, Link::NONE);
        let second = Link::reborn(2, 7, first);
        assert_eq!((first.indices(), second.indices()), ((2, 7), (2, 7)));
        assert_eq!(first.vcpu(), 7);
        assert!(first != second && first != Link::NONE);
        let most = Link::reborn(MAX_PARTITIONS - 1, MAX_PES as u16 - 1, first);
        assert_eq!(most.indices(), (MAX_PARTITIONS - 1, MAX_PES - 1));
        let last = Link(u64::MAX << LIFE | first.0 & 0xf_ffff);
        assert_eq!(Link::reborn(2, 7, last), first);
        assert_ne!(Link::reborn(0, 0, Link::NONE), Link::NONE);
    }
}
