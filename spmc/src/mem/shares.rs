//! The table of shares ([`super::share`]): a fixed number of slots with one lock each, and a bitmap
//! of the slots in use.
//!
//! Slots are divided by their index: each endpoint that can send has some of its own, and the
//! others are for endpoints whose own slots are all in use. So a slot that becomes vacant goes back
//! to where it came from, without a count that could go wrong.
//!
//! A handle is `generation << 16 | slot`. The generation moves on when the slot is vacated, so a
//! handle never names anything but the share that it was made for; it starts at 1 and stays below
//! 2^32, so no handle is 0 or all-ones, and bit 63 is 0 as FF-A wants of handles that the SPM
//! allocates (v1.0 section 5.10.2).

use alloc::boxed::Box;
use core::ops::Range;

use super::borrowers::Crowds;
use super::share::{Share, Stage};
use crate::bits::members;
use crate::error::{FfaError, Result};
use crate::ffa::Handle;
use crate::invariant::Invariant;
use crate::limits::{
    MAX_PARTITIONS, MIN_ARRIVING, MIN_ARRIVING_PER_SENDER, SHARES_COMMON, SHARES_NORMAL_WORLD,
    SHARES_PARTITION,
};
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::{Mutex, MutexGuard};

/// The contents of a slot, behind its lock.
#[derive(Debug)]
struct Slot {
    /// Generation of the current handle, or of the next one; not 0.
    generation: u32,
    share: Option<Share>,
}

const WORD: usize = u64::BITS as usize;
const SLOT_BITS: u32 = 16;

const _: () = assert!(first_slot(MAX_PARTITIONS) + SHARES_COMMON <= 1 << SLOT_BITS);

/// Returns the first slot of the partition at that index, behind those of the Normal world and of
/// the partitions before it.
const fn first_slot(index: usize) -> usize {
    SHARES_NORMAL_WORLD.saturating_add(index.saturating_mul(SHARES_PARTITION))
}

/// Returns the slots that only the partition at that index may use, or for `None` the Normal world.
#[inline]
fn own_slots(partition: Option<usize>) -> Range<usize> {
    match partition {
        None => 0..SHARES_NORMAL_WORLD,
        Some(index) => first_slot(index)..first_slot(index.saturating_add(1)),
    }
}

/// Returns the bits of `slots` in the word whose first bit is slot `first`.
#[inline]
fn bits_of(slots: &Range<usize>, first: usize) -> u64 {
    let below = |end: usize| {
        let count = end.saturating_sub(first).min(WORD);
        u64::MAX
            .checked_shl(count as u32)
            .map_or(u64::MAX, |above| !above)
    };
    below(slots.end) & !below(slots.start)
}

/// All shares. Rank of the slots: after the mailbox of the caller, before address spaces; never two
/// slots at once.
#[derive(Debug)]
pub struct Shares {
    used: Box<[AtomicU64]>,
    /// Slots of shares of which fragments are missing. Written with the slot locked. A bit is a
    /// hint: it may stay set for a moment after the last fragment has arrived.
    arriving: Box<[AtomicU64]>,
    clock: AtomicU64,
    slots: Box<[Mutex<Slot>]>,
    pub(super) crowds: Crowds,
    /// The slots that all endpoints may use.
    common: Range<usize>,
    /// How many shares of one sender id may have missing fragments.
    pub(super) arriving_of_sender: usize,
    /// How many shares of one endpoint may.
    pub(super) arriving_of_endpoint: usize,
}

impl Shares {
    /// Bytes that are allocated for each share.
    pub const SLOT_SIZE: usize = size_of::<Mutex<Slot>>();

    /// Returns how many shares there is room for in a system with that many partitions: `least`, or
    /// more if quotas need more.
    pub fn count(partitions: usize, least: u16) -> usize {
        let quotas = first_slot(partitions).saturating_add(SHARES_COMMON);
        quotas.max(least.into())
    }

    /// No shares, in a system with that many partitions, at most [`MAX_PARTITIONS`], and PEs, and
    /// with room for [`Self::count`] of them.
    pub fn new(partitions: usize, least: u16, pes: usize) -> Self {
        let common = first_slot(partitions);
        let count = Self::count(partitions, least);
        let words = 0..count.div_ceil(WORD);
        let vacant = || {
            Mutex::new(Slot {
                generation: 1,
                share: None,
            })
        };
        Self {
            used: words.clone().map(|_| AtomicU64::new(0)).collect(),
            arriving: words.map(|_| AtomicU64::new(0)).collect(),
            clock: AtomicU64::new(0),
            slots: (0..count).map(|_| vacant()).collect(),
            common: common..count,
            arriving_of_sender: pes.max(MIN_ARRIVING_PER_SENDER),
            arriving_of_endpoint: pes.max(MIN_ARRIVING),
            crowds: Crowds::new(partitions),
        }
    }

    /// Returns the number of shares.
    pub fn live(&self) -> usize {
        self.used
            .iter()
            .map(|word| word.load(Ordering::Relaxed).count_ones() as usize)
            .sum()
    }

    /// Takes a vacant slot for a send of the partition at that index, or for `None` of the Normal
    /// world: one of its own slots, or else one that all may use. `NO_MEMORY` if there is none.
    #[inline]
    pub(super) fn claim(&self, partition: Option<usize>) -> Result<Vacancy<'_>> {
        let index = self
            .take(own_slots(partition))
            .or_else(|| self.take(self.common.clone()))
            .ok_or(FfaError::NoMemory)?;
        let slot = self.slots.get(index).ok_or(FfaError::NoMemory)?;
        Ok(Vacancy {
            shares: self,
            slot,
            index,
        })
    }

    /// Takes one of `slots`, if one is vacant, and returns its index.
    #[inline]
    fn take(&self, slots: Range<usize>) -> Option<usize> {
        let begin = slots.start / WORD;
        let words = self.used.get(begin..slots.end.div_ceil(WORD))?;
        let firsts = (begin.wrapping_mul(WORD)..).step_by(WORD);
        words.iter().zip(firsts).find_map(|(word, first)| {
            let bits = bits_of(&slots, first);
            let taken = word.fetch_update(Ordering::Acquire, Ordering::Relaxed, |used| {
                let vacant = bits & !used;
                (vacant != 0).then(|| used | vacant & vacant.wrapping_neg())
            });
            let vacant = bits & !taken.ok()?;
            Some(first.wrapping_add(vacant.trailing_zeros() as usize))
        })
    }

    /// Makes handles of the slots begin with that generation.
    #[cfg(test)]
    pub(super) fn begin_at(&self, generation: u32) {
        for slot in &self.slots {
            slot.lock().generation = generation;
        }
    }

    /// Iterates over all shares. Each one is locked until the next is asked for.
    ///
    /// A PE that has marked an endpoint dead and then looks at all shares, and a PE that fills a
    /// slot and then asks whether that endpoint is dead, cannot miss each other. Both PEs change
    /// the word of `used`, because this function reads the word by an exchange, and every change of
    /// such a word is an exchange:
    /// - If the slot was taken before this exchange, the bit is seen, and the slot is locked here.
    ///   Either the share is in it, or the other PE takes the lock later, and so sees the mark.
    /// - If the slot was taken after this exchange, the other PE acquired in [`Self::take`] what
    ///   this one released here, the mark included.
    ///
    /// A plain load in place of the exchange could be made before the mark is seen by others.
    pub(super) fn iter(&self) -> impl Iterator<Item = Found<'_>> {
        let used = members(&self.used, |word| word.fetch_or(0, Ordering::AcqRel));
        used.filter_map(|index| self.lock(index))
            .filter(|found| found.slot.share.is_some())
    }

    /// Locks the slot with that index.
    #[inline]
    fn lock(&self, index: usize) -> Option<Found<'_>> {
        Some(Found {
            shares: self,
            slot: self.slots.get(index)?.lock(),
            index,
        })
    }

    /// Finds the share that `handle` names, if it is sent. `INVALID_PARAMETERS` if there is none,
    /// `BUSY` if a call about it is paused.
    #[inline]
    pub(super) fn find(&self, handle: Handle) -> Result<Found<'_>> {
        let mut found = self.find_any(handle)?;
        match found.share()?.stage {
            Stage::Sent => Ok(found),
            Stage::Paused(_) => Err(FfaError::Busy),
            Stage::Arriving { .. } | Stage::Given | Stage::Void => Err(FfaError::InvalidParameters),
        }
    }

    /// Finds the share that `handle` names, in any stage. `INVALID_PARAMETERS` if there is none.
    #[inline(always)]
    pub(super) fn find_any(&self, handle: Handle) -> Result<Found<'_>> {
        let index = (handle.bits() & ((1 << SLOT_BITS) - 1)) as usize;
        self.lock(index)
            .filter(|found| found.slot.share.is_some() && found.handle() == handle)
            .ok_or(FfaError::InvalidParameters)
    }

    /// Returns the next age.
    pub(super) fn age(&self) -> u64 {
        self.clock.fetch_add(1, Ordering::Relaxed)
    }

    /// Finds the share of an arrival again; `None` if it is not arriving any more.
    pub(super) fn find_arriving(&self, arrival: Arrival) -> Option<Found<'_>> {
        let mut found = self.find_any(arrival.handle).ok()?;
        (found.arrival() == Some(arrival)).then_some(found)
    }

    /// Iterates over all shares of which fragments are missing. Each one is locked until the next
    /// is asked for.
    pub(super) fn arriving(&self) -> impl Iterator<Item = Found<'_>> {
        let marked = members(&self.arriving, |word| word.load(Ordering::Acquire));
        marked.filter_map(|index| {
            let mut found = self.lock(index)?;
            found.arrival().is_some().then_some(found)
        })
    }

    #[inline]
    fn free(&self, index: usize) {
        clear(&self.arriving, index);
        clear(&self.used, index);
    }
}

/// Sets the bit with that index.
#[inline]
fn set(bits: &[AtomicU64], index: usize) {
    if let Some(word) = bits.get(index / WORD) {
        word.fetch_or(bit(index), Ordering::Release);
    }
}

/// Clears the bit with that index.
#[inline]
fn clear(bits: &[AtomicU64], index: usize) {
    if let Some(word) = bits.get(index / WORD) {
        word.fetch_and(!bit(index), Ordering::Release);
    }
}

/// Returns the bit with that index, in its word.
const fn bit(index: usize) -> u64 {
    1_u64.wrapping_shl((index % WORD) as u32)
}

#[inline]
fn handle_of(slot: &Slot, index: usize) -> Handle {
    Handle::new((slot.generation as u64) << SLOT_BITS | index as u64)
}

/// A share that was found while fragments of it were missing, and let go. It may have become whole
/// meanwhile, or have ended: only [`Shares::find_arriving`] leads back to it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Arrival {
    handle: Handle,
    age: u64,
}

impl Arrival {
    /// Returns whether this one began before `other`.
    pub(super) fn is_older_than(&self, other: &Self) -> bool {
        self.age < other.age
    }
}

/// A slot that is taken and not filled yet. It becomes vacant again when this is dropped.
pub(super) struct Vacancy<'s> {
    shares: &'s Shares,
    slot: &'s Mutex<Slot>,
    index: usize,
}

impl Vacancy<'_> {
    /// Moves `share` to the slot, and returns the handle.
    #[inline]
    pub(super) fn fill(self, share: Share) -> Handle {
        let mut slot = self.slot.lock();
        if let Stage::Arriving { .. } = share.stage {
            set(&self.shares.arriving, self.index);
        }
        // The slot is empty, because it was vacated.
        Invariant::Capacity.expect(slot.share.is_none());
        slot.share = Some(share);
        let handle = handle_of(&slot, self.index);
        if let Some(share) = &slot.share {
            share.tell_sent(handle);
        }
        drop(slot);
        core::mem::forget(self);
        handle
    }
}

impl Drop for Vacancy<'_> {
    fn drop(&mut self) {
        self.shares.free(self.index);
    }
}

/// A share, locked.
pub(super) struct Found<'s> {
    shares: &'s Shares,
    slot: MutexGuard<'s, Slot>,
    index: usize,
}

impl Found<'_> {
    /// The share. The error cannot happen: a slot is found only while it has a share.
    pub(super) fn share(&mut self) -> Result<&mut Share> {
        self.slot.share.as_mut().ok_or(FfaError::InvalidParameters)
    }

    /// Returns the handle of the share.
    pub(super) fn handle(&self) -> Handle {
        handle_of(&self.slot, self.index)
    }

    /// Returns how to find the share again after it was unlocked, if fragments of it are missing.
    pub(super) fn arrival(&mut self) -> Option<Arrival> {
        let handle = self.handle();
        match self.share().ok()?.stage {
            Stage::Arriving { age, .. } => Some(Arrival { handle, age }),
            _ => None,
        }
    }

    /// Notes that the last fragment has arrived.
    pub(super) fn has_arrived(&self) {
        clear(&self.shares.arriving, self.index);
    }

    /// Ends the share and its handle.
    #[inline]
    pub(super) fn vacate(mut self) {
        if let Some(share) = &mut self.slot.share {
            self.shares.crowds.dismiss(&mut share.borrowers);
        }
        self.slot.share = None;
        // After 2^32 - 1 shares in one slot its handles begin anew.
        self.slot.generation = self.slot.generation.checked_add(1).unwrap_or(1);
        self.shares.free(self.index);
    }
}
