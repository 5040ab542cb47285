//! Sets of execution contexts, or of vCPUs, of one endpoint.

use crate::limits::{MAX_NOTIFIED_VCPUS, MAX_VCPUS};
use crate::sync::atomic::{AtomicU64, Ordering};

/// A set of indices of one endpoint's contexts or vCPUs: a bit of one word for each.
///
/// An index beyond the last one is in no set, whatever was put in: it never stands for another.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct VcpuSet(u64);

const _: () = assert!(MAX_VCPUS <= VcpuSet::CAPACITY && MAX_NOTIFIED_VCPUS <= VcpuSet::CAPACITY);

impl VcpuSet {
    /// Indices that there is a bit for: those below.
    pub const CAPACITY: usize = u64::BITS as usize;

    /// The set without members.
    pub const EMPTY: Self = Self(0);

    /// The set of all indices.
    pub const ALL: Self = Self(u64::MAX);

    /// Returns the set of that index alone; the empty one if there is no bit for it.
    pub const fn of(index: u16) -> Self {
        match 1_u64.checked_shl(index as u32) {
            Some(bit) => Self(bit),
            None => Self::EMPTY,
        }
    }

    /// Returns whether the set has no members.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Returns whether `index` is a member.
    pub const fn contains(self, index: u16) -> bool {
        self.0 & Self::of(index).0 != 0
    }

    /// Returns the members of both sets.
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Returns the members that `other` does not have.
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Takes the lowest index out and returns it.
    pub const fn take_first(&mut self) -> Option<u16> {
        if self.0 == 0 {
            return None;
        }
        let first = self.0.trailing_zeros() as u16;
        self.0 &= self.0.wrapping_sub(1);
        Some(first)
    }
}

impl FromIterator<u16> for VcpuSet {
    fn from_iter<I: IntoIterator<Item = u16>>(indices: I) -> Self {
        let add = |set: Self, index| set.union(Self::of(index));
        indices.into_iter().fold(Self::EMPTY, add)
    }
}

/// A [`VcpuSet`] that several PEs change.
#[derive(Debug)]
pub struct AtomicVcpuSet(AtomicU64);

impl AtomicVcpuSet {
    /// An empty one. All zero.
    #[allow(clippy::new_without_default, reason = "`Default` is not const")]
    pub const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// Returns whether it has no members, without ordering anything.
    #[inline(always)]
    pub fn is_empty(&self) -> bool {
        self.0.load(Ordering::Relaxed) == 0
    }

    /// Returns the members; acquires.
    #[cfg(feature = "explore")]
    pub fn get(&self) -> VcpuSet {
        VcpuSet(self.0.load(Ordering::Acquire))
    }

    /// Adds members; acquires and releases.
    pub fn add(&self, members: VcpuSet) {
        self.0.fetch_or(members.0, Ordering::AcqRel);
    }

    /// Takes members out; acquires and releases.
    pub fn remove(&self, members: VcpuSet) {
        self.0.fetch_and(!members.0, Ordering::AcqRel);
    }

    /// Takes all members out and returns them; acquires and releases.
    pub fn take(&self) -> VcpuSet {
        VcpuSet(self.0.swap(0, Ordering::AcqRel))
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::vec::Vec;

    // A shift such as `1 << (index & 0x1f)` would let one context stand for another.
    #[test]
    fn no_index_stands_for_another() {
        for index in 0..200_u16 {
            let set = VcpuSet::of(index);
            let members: Vec<u16> = (0..200).filter(|other| set.contains(*other)).collect();
            let is_one = usize::from(index) < VcpuSet::CAPACITY;
            assert_eq!(members, if is_one { [index].to_vec() } else { Vec::new() });
            assert_eq!(set.is_empty(), !is_one);
        }
    }

    #[test]
    fn members_come_in_order_and_go() {
        let mut set: VcpuSet = [63, 3, 31, 32, 64].into_iter().collect();
        set = set.without(VcpuSet::of(31));
        let members: Vec<u16> = core::iter::from_fn(|| set.take_first()).collect();
        assert_eq!(members, [3, 32, 63]);
        assert_eq!(set, VcpuSet::EMPTY);
    }

    #[test]
    fn what_is_taken_is_gone() {
        let shared = AtomicVcpuSet::new();
        shared.add(VcpuSet::of(40).union(VcpuSet::of(8)));
        shared.remove(VcpuSet::of(8));
        assert!(!shared.is_empty());
        assert_eq!(shared.take(), VcpuSet::of(40));
        assert!(shared.is_empty());
    }
}
