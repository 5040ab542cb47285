//! A share: a region that was sent and not reclaimed, its receivers, and how far it has come.

use arrayvec::ArrayVec;

use super::range_list::{Position, RangeList};
use crate::addr::{Ipa, PageRange, World};
use crate::ffa::memory::{AccessPermissions, MemoryType};
use crate::ffa::memory_descriptor::Layout;
use crate::id::PartitionId;
use crate::limits::MAX_BORROWERS;
use crate::manifest::config::Permissions;
use crate::mm::Leaf;
use crate::partition::Proxy;

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
    /// The leaf of its pages while it has retrieved them.
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
    /// Returns whether `id` speaks for it: its own, or that of its proxy.
    pub(super) fn is_spoken_for_by(&self, id: PartitionId) -> bool {
        match self.proxy {
            None => self.id == id,
            Some(proxy) => proxy == Proxy::Partition(id),
        }
    }

    /// Returns whether it is an independent device, for which nobody can speak.
    pub(super) fn is_independent(&self) -> bool {
        self.proxy == Some(Proxy::None)
    }
}

/// Everything that a receiver is given.
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

/// A retrieve request of which fragments are missing. It is granted if the rest of the addresses
/// are the right ones.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asking {
    pub(super) grant: Grant,
    /// Bytes of the request that are there, and of all of it.
    pub(super) received: usize,
    pub(super) total: usize,
    /// The buffer that its fragments come in, if that is not TX.
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
    /// The buffer that they go in, if that is not RX.
    pub(super) buffer: Option<PageRange<Ipa>>,
    /// How it is laid out.
    pub(super) layout: Layout,
}

impl Reading {
    /// Returns whether the next fragment starts at `offset`.
    fn continues_at(&self, offset: usize) -> bool {
        self.next != 0 && offset == self.next
    }

    /// Returns whether the last fragment, other than that which came with the response, started at
    /// `offset`.
    fn repeats(&self, offset: usize) -> bool {
        offset != 0 && offset == self.last
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

/// The reason for zeroing. Nobody has access meanwhile.
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
        /// The buffer that its fragments come in, if that is not TX.
        buffer: Option<PageRange<Ipa>>,
        /// The younger of two has the higher number.
        age: u64,
    },
    /// It can be retrieved, or was.
    Sent,
    /// A call about it was paused in the middle of zeroing, and must be resumed before anything
    /// else happens to it.
    Paused(Zeroing),
    /// It was donated and retrieved. Nothing is left of it but the response, which the new owner
    /// still reads.
    Given,
    /// Sending it failed. Its owner's pages are as they were.
    Void,
}

/// One region that was sent and not reclaimed.
#[derive(Debug)]
pub(super) struct Share {
    pub(super) kind: SendKind,
    /// The sender as the descriptor names it: a partition, or an id of the Normal world.
    pub(super) owner: PartitionId,
    pub(super) tag: u64,
    pub(super) stage: Stage,
    /// The type that a borrower may ask for at most, if the owner has said so.
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
    /// Execute-never if any of them is: a borrower gets what the owner has of all.
    pub(super) owned: Leaf,
    pub(super) sent: Leaf,
    pub(super) ranges: RangeList,
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
            ranges: RangeList::EMPTY,
            hypervisor: Reading::default(),
            borrowers: ArrayVec::new(),
        }
    }

    /// Returns the type that a borrower may ask for at most.
    pub(super) fn memory(&self) -> MemoryType {
        self.memory.unwrap_or(self.owned.attributes().memory)
    }

    /// Returns whether its pages are memory that the owner can write, and not a device.
    pub(super) fn owner_can_zero(&self) -> bool {
        let own = self.owned.attributes();
        own.memory.is_normal() && own.permissions.contains(Permissions::WRITE)
    }

    /// Returns whether it is `caller` that sent it. The Normal world answers for all its ids, a
    /// partition for its own.
    pub(super) fn is_sent_by(&self, caller: PartitionId) -> bool {
        if caller.is_secure() {
            self.owner == caller
        } else {
            !self.owner.is_secure()
        }
    }

    /// Returns whether nobody has it and it is still to be zeroed, after the death of its last
    /// borrower.
    pub(super) fn is_estate(&self) -> bool {
        matches!(self.stage, Stage::Paused(zeroing) if zeroing.operation == Operation::Estate)
    }

    /// Returns whether a borrower that can relinquish it has the region mapped.
    pub(super) fn must_be_relinquished(&self) -> bool {
        let mut borrowers = self.borrowers.iter();
        borrowers.any(|borrower| borrower.mapped.is_some() && !borrower.is_independent())
    }

    /// Returns whether independent devices are among the receivers.
    #[inline]
    pub(super) fn has_devices(&self) -> bool {
        self.borrowers.iter().any(Borrower::is_independent)
    }

    /// Returns whether any borrower has the region mapped.
    pub(super) fn is_retrieved(&self) -> bool {
        self.borrowers
            .iter()
            .any(|borrower| borrower.mapped.is_some())
    }

    /// Returns whether more than one receiver can have it, so that the attributes that its owner
    /// gave bind all.
    pub(super) fn is_uniform(&self) -> bool {
        self.kind == SendKind::Share || self.borrowers.len() > 1
    }

    /// Returns the response whose fragment at `offset` the endpoint `reader` may fetch: the
    /// Hypervisor's, or that of a borrower that has the region and that `reader` speaks for. Where
    /// a proxy reads several, one that goes on there comes before one that is repeated.
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
