//! Which partitions may have a context that must run for its interrupts: a PE that looks for
//! handlers visits these, and no others.
//!
//! A bit stands for a partition. A PE that makes a line pending for which a context must be run
//! sets the bit after that. The PE with the claim of the context clears it when nothing is pending
//! any more, then looks once more, and sets it again if something is. All changes are exchanges, so
//! either the first PE sets the bit behind the other, or the second one sees the line when it looks
//! again.

use alloc::boxed::Box;

use crate::limits::MAX_PARTITIONS;
use crate::sync::atomic::{AtomicU64, Ordering};

const _: () = assert!(MAX_PARTITIONS <= u64::BITS as usize, "a partition is a bit");

/// Sets of partitions.
#[derive(Debug)]
pub struct Calling {
    /// Partitions whose only context runs on any PE.
    migrating: AtomicU64,
    /// For each PE, the partitions whose context is pinned to it.
    pinned: Box<[AtomicU64]>,
}

/// The set to which a context belongs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Seat {
    /// The context runs on any PE.
    Any,
    /// The context is pinned to the PE with that index.
    Pe(u16),
}

impl Calling {
    /// Makes the sets for contexts that are pinned to PEs with an index below `pes`.
    pub fn new(pes: u16) -> Self {
        Self {
            migrating: AtomicU64::new(0),
            pinned: (0..pes).map(|_| AtomicU64::new(0)).collect(),
        }
    }

    #[inline(always)]
    fn set(&self, seat: Seat) -> Option<&AtomicU64> {
        match seat {
            Seat::Any => Some(&self.migrating),
            Seat::Pe(pe) => self.pinned.get(usize::from(pe)),
        }
    }

    /// Notes that something is pending for the context of `partition` in that seat; acquires and
    /// releases.
    #[inline(always)]
    pub fn note(&self, partition: usize, seat: Seat) {
        if let Some(set) = self.set(seat) {
            set.fetch_or(bit(partition), Ordering::AcqRel);
        }
    }

    /// Takes the note back, if there is one; acquires and releases. The caller must look once more
    /// whether something is pending, and call [`Self::note`] then.
    #[inline(always)]
    pub fn forget(&self, partition: usize, seat: Seat) {
        if let Some(set) = self.set(seat)
            // A note that is not seen yet stays.
            && set.load(Ordering::Relaxed) & bit(partition) != 0
        {
            set.fetch_and(!bit(partition), Ordering::AcqRel);
        }
    }

    /// Returns whether the context of `partition` in that seat is noted.
    #[cfg(feature = "explore")]
    pub fn has(&self, partition: usize, seat: Seat) -> bool {
        let set = self.set(seat);
        set.is_some_and(|set| set.load(Ordering::Acquire) & bit(partition) != 0)
    }

    /// Returns the partitions with a context noted that may run on the PE with index `pe`, a bit
    /// for each; acquires.
    #[inline(always)]
    pub fn on(&self, pe: u16) -> u64 {
        let pinned = self.pinned.get(usize::from(pe));
        let pinned = pinned.map_or(0, |set| set.load(Ordering::Acquire));
        pinned | self.migrating.load(Ordering::Acquire)
    }
}

/// Returns the members of `set` from `first` on, and then those before it.
#[inline(always)]
pub fn in_turn(set: u64, first: usize) -> impl Iterator<Item = usize> {
    let before = bit(first).wrapping_sub(1);
    let mut rest = [set & !before, set & before];
    core::iter::from_fn(move || {
        let [next, after] = &mut rest;
        if *next == 0 {
            *next = core::mem::take(after);
        }
        let lowest = next.trailing_zeros();
        *next &= next.wrapping_sub(1);
        (lowest < u64::BITS).then_some(lowest as usize)
    })
}

/// Returns the bit of a partition; none for an index that no partition has.
#[inline(always)]
fn bit(partition: usize) -> u64 {
    1_u64.checked_shl(partition as u32).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::vec::Vec;

    fn on(calling: &Calling, pe: u16, first: usize) -> Vec<usize> {
        in_turn(calling.on(pe), first).collect()
    }

    #[test]
    fn a_pe_sees_its_own_contexts_and_those_that_migrate() {
        let calling = Calling::new(512);
        calling.note(3, Seat::Any);
        calling.note(61, Seat::Pe(511));
        calling.note(0, Seat::Pe(0));
        calling.note(5, Seat::Pe(512));
        assert_eq!(on(&calling, 0, 0), [0, 3]);
        assert_eq!(on(&calling, 511, 0), [3, 61]);
        assert_eq!(on(&calling, 512, 0), [3]);
        calling.forget(3, Seat::Pe(511));
        assert_eq!(on(&calling, 511, 0), [3, 61]);
        calling.forget(3, Seat::Any);
        assert_eq!(on(&calling, 511, 0), [61]);
    }

    #[test]
    fn partitions_take_turns() {
        let calling = Calling::new(1);
        let all = [0, 1, 30, 61];
        for partition in all {
            calling.note(partition, Seat::Pe(0));
        }
        for first in 0..70 {
            let (after, before): (Vec<_>, Vec<_>) = all.iter().partition(|index| **index >= first);
            assert_eq!(on(&calling, 0, first), [after, before].concat(), "{first}");
        }
    }
}
