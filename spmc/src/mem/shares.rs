//! The table of shares: a fixed number of slots, one lock each, and a bitmap of those in use.
//!
//! Slots are divided by their index: each endpoint that can send has some that nobody else gets, and the others are for whoever has used up
//! its own. So a slot that becomes vacant goes back to where it came from, without a count that could go wrong.
//!
//! A handle is `generation << 16 | slot`. The generation moves on when the slot is vacated, so a handle never names
//! anything but the share that it was made for; it starts at 1 and stays below 2^32, so no handle is 0 or
//! all-ones, and bit 63 is 0 as FF-A wants of handles that the SPM allocates (v1.0 section 5.10.2).

use core::mem;
use core::num::NonZeroU32;
use core::ops::Range;

use arrayvec::ArrayVec;

use super::regions::{Position, Regions};
use crate::addr::{Ipa, PageRange, World};
use crate::error::{FfaError, Result};
use crate::ffa::memory::{AccessPermissions, MemoryType};
use crate::ffa::memory_descriptor::Layout;
use crate::id::PartitionId;
use crate::limits::{
    MAX_BORROWERS, MAX_PARTITIONS, MAX_SHARES, SHARES_NORMAL_WORLD, SHARES_PARTITION,
};
use crate::manifest::config::Permissions;
use crate::mm::Leaf;
use crate::partition::Proxy;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::{Mutex, MutexGuard};

/// The three ways to send memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SendKind {
    /// Ownership goes with it.
    Donate,
    /// The owner has no access meanwhile.
    Lend,
    /// Owner and borrowers have access.
    Share,
}

/// A receiver of a share.
#[derive(Clone, Debug)]
pub(super) struct Borrower {
    pub(super) id: PartitionId,
    /// Who speaks for it, if it is a stream endpoint.
    pub(super) proxy: Option<Proxy>,
    /// As the owner gave them.
    pub(super) permissions: AccessPermissions,
    pub(super) implementation_defined: [u64; 2],
    /// What its pages are mapped by while it has retrieved them.
    pub(super) mapped: Option<Leaf>,
    /// It has retrieved the region at least once.
    pub(super) has_retrieved: bool,
    /// It wants the region zeroed when it dies with it.
    pub(super) zero_after: bool,
    /// The request that it is sending.
    pub(super) asking: Option<Asking>,
    /// The response that it reads, or has read last.
    pub(super) reading: Reading,
}

impl Borrower {
    /// Whether `id` speaks for it: its own, or that of its proxy.
    pub(super) fn is_spoken_for_by(&self, id: PartitionId) -> bool {
        match self.proxy {
            None => self.id == id,
            Some(proxy) => proxy == Proxy::Partition(id),
        }
    }

    /// Whether it is an independent device, for which nobody can speak.
    pub(super) fn is_independent(&self) -> bool {
        self.proxy == Some(Proxy::None)
    }
}

/// What a receiver is given.
#[derive(Clone, Copy, Debug)]
pub(super) struct Grant {
    pub(super) permissions: AccessPermissions,
    pub(super) memory: MemoryType,
    pub(super) leaf: Leaf,
    pub(super) zero_after: bool,
    /// The receiver has said where the region is to lie, and need not be told.
    pub(super) placed: bool,
    /// How the request was laid out, and the response is.
    pub(super) layout: Layout,
}

/// A retrieve request of which fragments are missing. It is granted if the rest of the addresses are the right ones.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asking {
    pub(super) grant: Grant,
    /// Bytes of the request that are there, and of all of it.
    pub(super) received: usize,
    pub(super) total: usize,
    /// What its fragments come in, if that is not TX.
    pub(super) buffer: Option<PageRange<Ipa>>,
    pub(super) compared: Position,
}

/// A descriptor that the SPMC sends in fragments: offsets as its reader counts.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) struct Reading {
    /// Where the last fragment started.
    pub(super) last: usize,
    /// Where the next one starts; 0: nothing is being sent.
    pub(super) next: usize,
    /// What they go in, if that is not RX.
    pub(super) buffer: Option<PageRange<Ipa>>,
    /// How it is laid out.
    pub(super) layout: Layout,
}

impl Reading {
    /// Returns whether the next fragment starts at `offset`.
    fn continues_at(&self, offset: usize) -> bool {
        self.next != 0 && offset == self.next
    }

    /// Returns whether the last fragment, other than that which came with the response, started at `offset`.
    fn repeats(&self, offset: usize) -> bool {
        self.next != 0 && offset != 0 && offset == self.last
    }
}

/// Who reads a response.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Reader {
    /// The Hypervisor, for whom nothing is mapped.
    Hypervisor,
    /// A borrower, or its proxy.
    Borrower,
}

/// A call that zeroes a region slice by slice.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Zeroing {
    pub(super) operation: Operation,
    pub(super) pace: Pace,
    pub(super) done: Position,
}

impl Zeroing {
    /// Nothing is zeroed yet of what a dead borrower had.
    pub(super) const ESTATE: Self = Self {
        operation: Operation::Estate,
        pace: Pace::Spmc,
        done: Position::START,
    };
}

/// The party that goes on after a slice, and when.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Pace {
    /// The call is paused until its caller resumes it.
    Caller,
    /// The SPMC goes on by itself when it has seen to its interrupts.
    Spmc,
}

impl Pace {
    /// Returns the pace of a call whose caller agrees to be paused, or does not.
    pub(super) fn of(agrees: bool) -> Self {
        if agrees { Self::Caller } else { Self::Spmc }
    }
}

/// What is zeroed for. Nobody has access meanwhile.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Operation {
    /// It is being sent.
    Send,
    /// The last borrower, which had it with that leaf, gives it back.
    Relinquish(PartitionId, Leaf),
    /// Its owner takes it back.
    Reclaim,
    /// Its last borrower died with it, so this is nobody's call: the SPMC goes on when a PE is
    /// free, and the owner as soon as it reclaims the region.
    Estate,
}

/// How far a share has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Stage {
    /// Fragments of its descriptor are missing. Its owner's pages are as they were.
    Arriving {
        /// Bytes of the descriptor that are there, and of all of it.
        received: usize,
        total: usize,
        /// Pages that the descriptor claims to have.
        pages: u64,
        /// What its fragments come in, if that is not TX.
        buffer: Option<PageRange<Ipa>>,
        /// The younger of two has the higher number.
        age: u64,
    },
    /// It can be retrieved, or was.
    Sent,
    /// A call about it was paused in the middle of zeroing, and must be resumed before anything else happens to it.
    Paused(Zeroing),
    /// It was donated and retrieved. Nothing is left of it but the response, which the new owner still reads.
    Given,
    /// Sending it failed. Its owner's pages are as they were.
    Void,
}

/// What a share was that was found while fragments of it were missing, and let go. It may have become whole meanwhile, or have ended:
/// only [`Shares::find_arriving`] leads back to it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Arrival {
    handle: u64,
    age: u64,
}

impl Arrival {
    /// Returns whether this one began before `other`.
    pub(super) fn is_older_than(&self, other: &Self) -> bool {
        self.age < other.age
    }
}

/// One region that was sent and not reclaimed.
#[derive(Debug)]
pub(super) struct Share {
    pub(super) kind: SendKind,
    /// The sender as the descriptor names it: a partition, or an id of the Normal world.
    pub(super) owner: PartitionId,
    pub(super) tag: u64,
    pub(super) stage: Stage,
    /// What a borrower may ask for at most, if the owner has said so.
    pub(super) memory: Option<MemoryType>,
    /// Zeroed when it was sent.
    pub(super) zeroed: bool,
    /// Its sender agrees to be paused.
    pub(super) sliced: bool,
    /// To be zeroed when nobody has it any more, before anybody gets it.
    pub(super) zero_after: bool,
    /// Its owner is dead: nobody can retrieve it any more, and it ends with the last relinquish.
    pub(super) orphaned: bool,
    /// Where its pages lie, once it is sent.
    pub(super) world: World,
    /// The owner's pages before they were sent, and now; no leaves while fragments are missing.
    pub(super) owned: Leaf,
    pub(super) sent: Leaf,
    pub(super) regions: Regions,
    /// The response that the Hypervisor reads.
    pub(super) hypervisor: Reading,
    pub(super) borrowers: ArrayVec<Borrower, MAX_BORROWERS>,
}

impl Share {
    /// Nothing yet that `owner` sends.
    pub(super) fn new(kind: SendKind, owner: PartitionId) -> Self {
        Self {
            kind,
            owner,
            tag: 0,
            stage: Stage::Sent,
            memory: None,
            zeroed: false,
            sliced: false,
            zero_after: false,
            orphaned: false,
            world: World::Secure,
            owned: Leaf::NONE,
            sent: Leaf::NONE,
            regions: Regions::EMPTY,
            hypervisor: Reading::default(),
            borrowers: ArrayVec::new(),
        }
    }

    /// What a borrower may ask for at most.
    pub(super) fn memory(&self) -> MemoryType {
        self.memory.unwrap_or(self.owned.attributes().memory)
    }

    /// Whether its pages are memory that the owner can write, and not a device.
    pub(super) fn owner_can_zero(&self) -> bool {
        let own = self.owned.attributes();
        own.memory.is_normal() && own.permissions.contains(Permissions::WRITE)
    }

    /// Whether it is `caller` that sent it. The Normal world answers for all its ids, a partition for its own.
    pub(super) fn is_sent_by(&self, caller: PartitionId) -> bool {
        if caller.is_secure() {
            self.owner == caller
        } else {
            !self.owner.is_secure()
        }
    }

    /// Returns whether nobody has it and it is still to be zeroed, after the death of its last borrower.
    pub(super) fn is_estate(&self) -> bool {
        matches!(self.stage, Stage::Paused(zeroing) if zeroing.operation == Operation::Estate)
    }

    /// Whether a borrower that can relinquish it has the region mapped.
    pub(super) fn must_be_relinquished(&self) -> bool {
        let mut borrowers = self.borrowers.iter();
        borrowers.any(|borrower| borrower.mapped.is_some() && !borrower.is_independent())
    }

    /// Returns whether independent devices are among the receivers.
    #[inline]
    pub(super) fn has_devices(&self) -> bool {
        self.borrowers.iter().any(Borrower::is_independent)
    }

    /// Whether any borrower has the region mapped.
    pub(super) fn is_retrieved(&self) -> bool {
        self.borrowers
            .iter()
            .any(|borrower| borrower.mapped.is_some())
    }

    /// Whether more than one receiver can have it, which are then all bound to what the owner said of memory type and execution.
    pub(super) fn is_uniform(&self) -> bool {
        self.kind == SendKind::Share || self.borrowers.len() > 1
    }

    /// Returns the response whose fragment at `offset` the endpoint `reader` may fetch: the Hypervisor's, or that of a borrower that has
    /// the region and that `reader` speaks for. Where a proxy reads several, one that goes on there comes before one that is repeated.
    pub(super) fn reading(
        &mut self,
        reader: PartitionId,
        offset: usize,
    ) -> Option<(Reader, &mut Reading)> {
        if !reader.is_secure() {
            let reading = &mut self.hypervisor;
            let may = reading.continues_at(offset) || reading.repeats(offset);
            return may.then_some((Reader::Hypervisor, reading));
        }
        let heard =
            |borrower: &Borrower| borrower.mapped.is_some() && borrower.is_spoken_for_by(reader);
        let mut having = self.borrowers.iter().enumerate().filter(|(_, b)| heard(b));
        let next = having
            .clone()
            .find(|(_, borrower)| borrower.reading.continues_at(offset));
        let (index, _) = next.or_else(|| having.find(|(_, b)| b.reading.repeats(offset)))?;
        let borrower = self.borrowers.get_mut(index)?;
        Some((Reader::Borrower, &mut borrower.reading))
    }

    /// The receiver with that id.
    pub(super) fn borrower(&mut self, id: PartitionId) -> Option<&mut Borrower> {
        self.borrowers.iter_mut().find(|borrower| borrower.id == id)
    }
}

/// What is behind the lock of a slot.
#[derive(Debug)]
struct Slot {
    /// Generation of the current handle less one: all zero at boot.
    past: u32,
    /// One or none. Unlike an `Option`, none is written as zeros: the table takes no room in the image.
    share: ArrayVec<Share, 1>,
}

const WORD: usize = u64::BITS as usize;
const SLOT_BITS: u32 = 16;

/// The first slot that is for all.
const COMMON: usize = SHARES_NORMAL_WORLD + MAX_PARTITIONS * SHARES_PARTITION;

const _: () = assert!(COMMON <= MAX_SHARES && MAX_SHARES <= 1 << SLOT_BITS);

/// The slots that only `sender` gets.
fn own_slots(sender: PartitionId) -> Range<usize> {
    if !sender.is_secure() {
        return 0..SHARES_NORMAL_WORLD;
    }
    // No slots for what is no partition; it cannot send.
    let before = sender.index().min(MAX_PARTITIONS);
    let start = SHARES_NORMAL_WORLD.saturating_add(before.saturating_mul(SHARES_PARTITION));
    start..start.saturating_add(SHARES_PARTITION).min(COMMON)
}

/// The bits of `slots` in the word whose first bit is slot `first`.
fn bits_of(slots: &Range<usize>, first: usize) -> u64 {
    let below = |end: usize| {
        let count = end.saturating_sub(first).min(WORD);
        u64::MAX
            .checked_shl(count as u32)
            .map_or(u64::MAX, |above| !above)
    };
    below(slots.end) & !below(slots.start)
}

/// All shares. Rank of the slots: after the mailbox of the caller, before address spaces; never two slots at once.
#[derive(Debug)]
pub struct Shares {
    used: [AtomicU64; MAX_SHARES.div_ceil(WORD)],
    /// Slots of shares of which fragments are missing. Written with the slot locked; a bit may stay a moment longer than that is so.
    arriving: [AtomicU64; MAX_SHARES.div_ceil(WORD)],
    clock: AtomicU64,
    slots: [Mutex<Slot>; MAX_SHARES],
}

impl Shares {
    /// No shares.
    pub const fn new() -> Self {
        Self {
            used: [const { AtomicU64::new(0) }; MAX_SHARES.div_ceil(WORD)],
            arriving: [const { AtomicU64::new(0) }; MAX_SHARES.div_ceil(WORD)],
            clock: AtomicU64::new(0),
            slots: [const {
                Mutex::new(Slot {
                    past: 0,
                    share: ArrayVec::new_const(),
                })
            }; MAX_SHARES],
        }
    }

    /// How many shares there are.
    pub fn live(&self) -> usize {
        self.used
            .iter()
            .map(|word| word.load(Ordering::Relaxed).count_ones() as usize)
            .sum()
    }

    /// Takes a vacant slot for what `sender` sends: one of its own, or of those that are for all. `NO_MEMORY` if there is none.
    pub(super) fn claim(&self, sender: PartitionId) -> Result<Vacancy<'_>> {
        let index = self
            .take(own_slots(sender))
            .or_else(|| self.take(COMMON..MAX_SHARES))
            .ok_or(FfaError::NoMemory)?;
        let slot = self.slots.get(index).ok_or(FfaError::NoMemory)?;
        Ok(Vacancy {
            shares: self,
            slot,
            index,
        })
    }

    /// Takes one of `slots`, if one is vacant; its index.
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
            slot.lock().past = generation.wrapping_sub(1);
        }
    }

    /// All shares there are, one after the other. Each is locked until the next is asked for.
    pub(super) fn iter(&self) -> impl Iterator<Item = Found<'_>> {
        self.slots.iter().enumerate().filter_map(|(index, slot)| {
            let slot = slot.lock();
            let found = Found {
                shares: self,
                slot,
                index,
            };
            (!found.slot.share.is_empty()).then_some(found)
        })
    }

    /// The share that `handle` names, if it is sent. `INVALID_PARAMETERS` if there is none, `BUSY` if a call about it is paused.
    pub(super) fn find(&self, handle: u64) -> Result<Found<'_>> {
        let mut found = self.find_any(handle)?;
        match found.share()?.stage {
            Stage::Sent => Ok(found),
            Stage::Paused(_) => Err(FfaError::Busy),
            Stage::Arriving { .. } | Stage::Given | Stage::Void => Err(FfaError::InvalidParameters),
        }
    }

    /// The share that `handle` names, however far it has come. `INVALID_PARAMETERS` if there is none.
    pub(super) fn find_any(&self, handle: u64) -> Result<Found<'_>> {
        let index = (handle & ((1 << SLOT_BITS) - 1)) as usize;
        let invalid = FfaError::InvalidParameters;
        let slot = self.slots.get(index).ok_or(invalid)?.lock();
        if slot.share.is_empty() || handle_of(&slot, index) != handle {
            return Err(invalid);
        }
        Ok(Found {
            shares: self,
            slot,
            index,
        })
    }

    /// The next age.
    pub(super) fn age(&self) -> u64 {
        self.clock.fetch_add(1, Ordering::Relaxed)
    }

    /// Finds again what was arriving; `None` if it is not arriving any more.
    pub(super) fn find_arriving(&self, arrival: Arrival) -> Option<Found<'_>> {
        let mut found = self.find_any(arrival.handle).ok()?;
        (found.arrival() == Some(arrival)).then_some(found)
    }

    /// All shares of which fragments are missing, one after the other. Each is locked until the next is asked for.
    pub(super) fn arriving(&self) -> impl Iterator<Item = Found<'_>> {
        let words = self.arriving.iter().zip((0..MAX_SHARES).step_by(WORD));
        let marked = words.flat_map(|(word, first)| {
            let mut bits = word.load(Ordering::Acquire);
            core::iter::from_fn(move || {
                let bit = bits.trailing_zeros();
                bits &= bits.wrapping_sub(1);
                (bit < u64::BITS).then(|| first.wrapping_add(bit as usize))
            })
        });
        marked.filter_map(|index| {
            let mut found = Found {
                shares: self,
                slot: self.slots.get(index)?.lock(),
                index,
            };
            found.arrival().is_some().then_some(found)
        })
    }

    fn free(&self, index: usize) {
        mark(&self.arriving, index, false);
        mark(&self.used, index, false);
    }
}

/// Sets or clears the bit with that index.
fn mark(bits: &[AtomicU64], index: usize, on: bool) {
    if let Some(word) = bits.get(index / WORD) {
        let bit = 1_u64.wrapping_shl((index % WORD) as u32);
        if on {
            word.fetch_or(bit, Ordering::Release);
        } else {
            word.fetch_and(!bit, Ordering::Release);
        }
    }
}

impl Default for Shares {
    fn default() -> Self {
        Self::new()
    }
}

fn handle_of(slot: &Slot, index: usize) -> u64 {
    let generation = NonZeroU32::MIN.saturating_add(slot.past).get();
    (generation as u64) << SLOT_BITS | index as u64
}

/// A slot taken and not filled yet; vacant again when dropped.
pub(super) struct Vacancy<'s> {
    shares: &'s Shares,
    slot: &'s Mutex<Slot>,
    index: usize,
}

impl Vacancy<'_> {
    /// Fills the slot with `share`, of which nothing is left, and returns the handle.
    #[inline]
    pub(super) fn fill(self, share: &mut Share) -> u64 {
        let mut slot = self.slot.lock();
        if let Stage::Arriving { .. } = share.stage {
            mark(&self.shares.arriving, self.index, true);
        }
        // Room for borrowers is most of a share, and most have one: only those that there are, are
        // copied. There is room: who vacated the slot left nothing in it.
        let _ = slot.share.try_push(Share {
            regions: mem::replace(&mut share.regions, Regions::EMPTY),
            borrowers: ArrayVec::new_const(),
            ..*share
        });
        if let Some(filled) = slot.share.first_mut() {
            for borrower in share.borrowers.drain(..) {
                let _ = filled.borrowers.try_push(borrower);
            }
        }
        let handle = handle_of(&slot, self.index);
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
    /// The share. `INVALID_PARAMETERS` cannot be: a slot is found only while it has one.
    pub(super) fn share(&mut self) -> Result<&mut Share> {
        self.slot
            .share
            .first_mut()
            .ok_or(FfaError::InvalidParameters)
    }

    /// Its handle.
    pub(super) fn handle(&self) -> u64 {
        handle_of(&self.slot, self.index)
    }

    /// Returns what leads back to the share when it has been let go, if fragments of it are missing.
    pub(super) fn arrival(&mut self) -> Option<Arrival> {
        let handle = self.handle();
        match self.share().ok()?.stage {
            Stage::Arriving { age, .. } => Some(Arrival { handle, age }),
            _ => None,
        }
    }

    /// Notes that no fragment of it is missing any more.
    pub(super) fn has_arrived(&self) {
        mark(&self.shares.arriving, self.index, false);
    }

    /// Ends the share and its handle.
    pub(super) fn vacate(mut self) {
        self.slot.share.clear();
        // After 2^32 - 1 shares in one slot its handles begin anew.
        self.slot.past = self
            .slot
            .past
            .checked_add(1)
            .filter(|past| *past != u32::MAX)
            .unwrap_or(0);
        self.shares.free(self.index);
    }
}
