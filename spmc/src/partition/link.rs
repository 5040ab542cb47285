//! Links: the names by which execution contexts remember each other.
//!
//! A context that starts anew, because its PE was off or its partition was loaded again, is another
//! one: whoever called the former, or was called by it, has nothing to do with the new one. So a
//! link says which life it means, and one word says it all: following a link is comparing words.

/// An execution context in one of its lives.
///
/// Bits `[63:20]` are the life, counted from 1; `[19:12]` and `[11:4]` the indices of the partition
/// and of the context; `[3:0]` are zero, and have the kind of a state where a link is part of one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Link(pub(super) u64);

const PARTITION: u32 = 12;
const VCPU: u32 = 4;
const LIFE: u32 = 20;

const _: () = assert!(
    crate::limits::MAX_PARTITIONS <= 256 && crate::limits::MAX_VCPUS <= 256,
    "a link has eight bits for each index"
);

impl Link {
    /// No context in any life: leads nowhere.
    pub const NONE: Self = Self(0);

    /// The context `vcpu` of the partition at the index `partition`, whose last link was `before`,
    /// begins another life. At one a microsecond lives would last for half a year; then they begin
    /// with 1 again.
    pub fn reborn(partition: usize, vcpu: u16, before: Self) -> Self {
        let indices = (partition as u64 & 0xff) << PARTITION | (u64::from(vcpu) & 0xff) << VCPU;
        let life = (before.0 >> LIFE).wrapping_add(1) << LIFE;
        let first = 1 << LIFE;
        Self(if life == 0 { first } else { life } | indices)
    }

    /// The partition, and the index of the context in it.
    #[inline(always)]
    pub const fn indices(self) -> (usize, usize) {
        let partition = self.0 >> PARTITION & 0xff;
        let vcpu = self.0 >> VCPU & 0xff;
        (partition as usize, vcpu as usize)
    }

    /// The index of the context in its partition.
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
        let last = Link(u64::MAX << LIFE | first.0 & 0xf_ffff);
        assert_eq!(Link::reborn(2, 7, last), first);
        assert_ne!(Link::reborn(0, 0, Link::NONE), Link::NONE);
    }
}
