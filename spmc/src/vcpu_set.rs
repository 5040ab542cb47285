//! Sets of execution contexts, or of vCPUs, of one endpoint, of as many words as these need.

use alloc::boxed::Box;

use crate::sync::atomic::{AtomicU64, Ordering};

const WORD: usize = u64::BITS as usize;

/// Returns the word and the bit in it that stand for `index`.
const fn place(index: u16) -> (usize, u64) {
    let index = index as usize;
    (index / WORD, 1_u64.wrapping_shl((index % WORD) as u32))
}

/// Takes the lowest index out of a word whose first bit stands for `first`, and returns it.
fn take_first(word: &mut u64, first: u16) -> Option<u16> {
    if *word == 0 {
        return None;
    }
    let bit = word.trailing_zeros() as u16;
    *word &= word.wrapping_sub(1);
    Some(first.saturating_add(bit))
}

/// Returns the words of a set, each with the index that its first bit stands for.
fn numbered<T>(words: &[T]) -> impl Iterator<Item = (u16, &T)> {
    (0..).step_by(WORD).zip(words)
}

/// A set of indices of one endpoint's vCPUs. It is as large as the number of vCPUs that it was made
/// for; an index beyond the last one is in no set, whatever was put in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct VcpuSet(Box<[u64]>);

impl VcpuSet {
    /// Makes an empty set with room for the indices below `count`.
    pub fn new(count: u16) -> Self {
        Self((0..usize::from(count).div_ceil(WORD)).map(|_| 0).collect())
    }

    /// Returns whether the set has no members.
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(|word| *word == 0)
    }

    /// Puts `index` in.
    pub fn insert(&mut self, index: u16) {
        let (word, bit) = place(index);
        if let Some(word) = self.0.get_mut(word) {
            *word |= bit;
        }
    }

    /// Takes `index` out.
    pub fn remove(&mut self, index: u16) {
        let (word, bit) = place(index);
        if let Some(word) = self.0.get_mut(word) {
            *word &= !bit;
        }
    }

    /// Takes all indices out.
    pub fn clear(&mut self) {
        self.0.fill(0);
    }

    /// Returns the members, in order.
    pub fn iter(&self) -> impl Iterator<Item = u16> {
        numbered(&self.0).flat_map(|(first, word)| {
            let mut word = *word;
            core::iter::from_fn(move || take_first(&mut word, first))
        })
    }
}

/// A set of one endpoint's contexts that several PEs change, as large as the number of contexts.
#[derive(Debug)]
pub struct AtomicVcpuSet(Box<[AtomicU64]>);

impl AtomicVcpuSet {
    /// Makes an empty set with room for the indices below `count`.
    pub fn new(count: u16) -> Self {
        let words = 0..usize::from(count).div_ceil(WORD);
        Self(words.map(|_| AtomicU64::new(0)).collect())
    }

    /// Puts `index` in; acquires and releases.
    pub fn insert(&self, index: u16) {
        let (word, bit) = place(index);
        if let Some(word) = self.0.get(word) {
            word.fetch_or(bit, Ordering::AcqRel);
        }
    }

    /// Takes `index` out, and returns whether it was in; acquires and releases.
    pub fn remove(&self, index: u16) -> bool {
        let (word, bit) = place(index);
        let word = self.0.get(word);
        word.is_some_and(|word| word.fetch_and(!bit, Ordering::AcqRel) & bit != 0)
    }

    /// Returns the members, in order, as they are when their word is looked at; acquires.
    pub fn iter(&self) -> impl Iterator<Item = u16> {
        numbered(&self.0).flat_map(|(first, word)| {
            let mut word = word.load(Ordering::Acquire);
            core::iter::from_fn(move || take_first(&mut word, first))
        })
    }
}

/// One word for all contexts of a partition, by which a PE that finds no mark is spared a look at
/// each. Contexts whose indices differ by a multiple of 64 share a mark.
#[derive(Debug)]
pub struct Marks(AtomicU64);

impl Marks {
    /// No marks.
    #[allow(clippy::new_without_default, reason = "`Default` is not const")]
    pub const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// Returns whether there are none, without ordering anything.
    #[inline(always)]
    pub fn is_empty(&self) -> bool {
        self.0.load(Ordering::Relaxed) == 0
    }

    /// Returns whether the context `index`, or one that shares its mark, is marked; acquires.
    #[cfg(feature = "explore")]
    pub fn has(&self, index: u16) -> bool {
        self.0.load(Ordering::Acquire) & place(index).1 != 0
    }

    /// Marks the context `index`; acquires and releases.
    pub fn set(&self, index: u16) {
        self.0.fetch_or(place(index).1, Ordering::AcqRel);
    }

    /// Takes the mark of the context `index` away; acquires and releases. The caller must set it
    /// again if it finds that one of [`Self::sharers`] needs it.
    pub fn clear(&self, index: u16) {
        self.0.fetch_and(!place(index).1, Ordering::AcqRel);
    }

    /// Returns the indices below `count` that share the mark of the context `index`, which is one
    /// of them.
    pub fn sharers(index: u16, count: u16) -> impl Iterator<Item = u16> {
        let (_, bit) = place(index);
        (bit.trailing_zeros() as u16..count).step_by(WORD)
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
            let mut set = VcpuSet::new(130);
            let shared = AtomicVcpuSet::new(130);
            set.insert(index);
            shared.insert(index);
            // There is room up to the end of the last word.
            let members = if index < 192 {
                [index].to_vec()
            } else {
                Vec::new()
            };
            assert_eq!(set.iter().collect::<Vec<_>>(), members);
            assert_eq!(shared.iter().collect::<Vec<_>>(), members);
            assert_eq!(set.is_empty(), members.is_empty());
            assert!(!shared.remove(index ^ 64) && shared.remove(index) == (index < 192));
            set.remove(index);
            assert!(set.is_empty() && shared.iter().next().is_none());
        }
    }

    #[test]
    fn members_come_in_order_and_go() {
        let mut set = VcpuSet::new(512);
        let indices = [3, 31, 63, 64, 300, 511];
        indices.iter().rev().for_each(|index| set.insert(*index));
        assert_eq!(set.iter().collect::<Vec<_>>(), indices);
        set.clear();
        assert!(set.is_empty() && VcpuSet::new(0).is_empty());
    }

    #[test]
    fn a_mark_stands_for_all_that_share_it() {
        let marks = Marks::new();
        marks.set(70);
        assert!(!marks.is_empty());
        assert_eq!(
            Marks::sharers(70, 200).collect::<Vec<_>>(),
            [6, 70, 134, 198]
        );
        assert_eq!(Marks::sharers(6, 4).count(), 0);
        marks.clear(6);
        assert!(marks.is_empty());
    }
}
