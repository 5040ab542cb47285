//! A share: a region that was sent and not reclaimed, with its receivers and its stage.

use super::borrowers::Borrowers;
use super::range_list::{Position, RangeList};
use crate::addr::{Ipa, PageRange, World};
use crate::ffa::Handle;
use crate::ffa::memory::{AccessPermissions, MemoryType};
use crate::ffa::memory_descriptor::Layout;
use crate::id::PartitionId;
use crate::manifest::config::Permissions;
use crate::mm::Leaf;
use crate::partition::Proxy;

/// The three ways to send memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SendKind {
    /// The receiver becomes the owner.
    Donate,
    /// The owner has no access until it reclaims the region.
    Lend,
    /// Owner and borrowers have access at the same time.
    Share,
}

/// A receiver of a share.
#[derive(Clone, Debug)]
pub(super) struct Borrower {
    pub(super) id: PartitionId,
    /// The proxy, if the receiver is a stream endpoint.
    pub(super) proxy: Option<Proxy>,
    /// Access permissions that the owner gave.
    pub(super) permissions: AccessPermissions,
    pub(super) implementation_defined: [u64; 2],
    pub(super) access: Access,
    /// The receiver has retrieved the region at least once.
    pub(super) has_retrieved: bool,
    /// The receiver wants the region zeroed if it dies before it relinquishes the region.
    pub(super) zero_after: bool,
}

/// The access that a receiver has to the region.
#[derive(Clone, Copy, Debug)]
pub(super) enum Access {
    /// The receiver has none, and asks for none.
    None,
    /// Fragments of the receiver's retrieve request are missing.
    Asking(Asking),
    /// The receiver has retrieved the region.
    Mapped {
        /// The leaf of the receiver's pages.
        leaf: Leaf,
        /// The response that the receiver reads, or read last.
        reading: Reading,
    },
}

impl Access {
    /// Makes the access of a receiver whose pages have the leaf `leaf`, and that reads nothing.
    pub(super) fn mapped(leaf: Leaf) -> Self {
        Self::Mapped {
            leaf,
            reading: Reading::default(),
        }
    }
}

impl Borrower {
    /// Returns the leaf of the receiver's pages while it has retrieved them.
    #[inline]
    pub(super) fn mapped(&self) -> Option<Leaf> {
        match self.access {
            Access::Mapped { leaf, .. } => Some(leaf),
            Access::None | Access::Asking(_) => None,
        }
    }

    /// Returns the response that the receiver reads, if it has retrieved the region.
    fn reading(&self) -> Option<&Reading> {
        match &self.access {
            Access::Mapped { reading, .. } => Some(reading),
            Access::None | Access::Asking(_) => None,
        }
    }

    /// Drops the retrieve request of which fragments are missing, if there is one, and returns it.
    pub(super) fn drop_request(&mut self) -> Option<Asking> {
        let Access::Asking(asking) = self.access else {
            return None;
        };
        self.access = Access::None;
        Some(asking)
    }

    /// Returns whether `id` speaks for the receiver: it is the receiver's own id, or its proxy's.
    pub(super) fn is_spoken_for_by(&self, id: PartitionId) -> bool {
        match self.proxy {
            None => self.id == id,
            Some(proxy) => proxy == Proxy::Partition(id),
        }
    }

    /// Returns whether the receiver is an independent device, for which nobody can speak.
    pub(super) fn is_independent(&self) -> bool {
        self.proxy == Some(Proxy::None)
    }
}

/// The access that a receiver is granted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Grant {
    pub(super) permissions: AccessPermissions,
    pub(super) memory: MemoryType,
    pub(super) leaf: Leaf,
    pub(super) zero_after: bool,
    /// The request lists the addresses, so the response need not list them.
    pub(super) placed: bool,
    /// The layout of the request, which the response has, too.
    pub(super) layout: Layout,
}

/// A retrieve request of which fragments are missing. The request is granted if the rest of its
/// addresses are those of the region.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asking {
    pub(super) grant: Grant,
    pub(super) progress: Progress,
    /// The buffer that the fragments come in, if that is not TX.
    pub(super) buffer: Option<PageRange<Ipa>>,
    pub(super) compared: Position,
}

/// How much of a descriptor has arrived, in bytes. Registers of 32 bits say so.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Progress {
    received: u32,
    total: u32,
}

impl Progress {
    /// The progress of a descriptor of `total` bytes after the first `received`.
    pub(super) fn new(received: usize, total: usize) -> Self {
        Self {
            received: received as u32,
            total: total as u32,
        }
    }

    /// Returns how many bytes have arrived.
    pub(super) fn received(self) -> usize {
        self.received as usize
    }

    /// Returns the progress after `length` more bytes; `None` if so many are not missing.
    pub(super) fn after(self, length: usize) -> Option<Self> {
        let missing = self.total.saturating_sub(self.received);
        let length = u32::try_from(length).ok().filter(|it| *it <= missing)?;
        Some(Self {
            received: self.received.saturating_add(length),
            ..self
        })
    }

    /// Returns whether all has arrived.
    pub(super) fn is_whole(self) -> bool {
        self.received == self.total
    }
}

/// A response that the SPMC sends in fragments, with offsets from its start.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) struct Reading {
    /// Offset at which the last fragment started.
    last: u32,
    /// Offset at which the next fragment starts; 0 if nothing is left to be sent.
    next: u32,
    /// The buffer that the fragments go to, if that is not RX.
    pub(super) buffer: Option<PageRange<Ipa>>,
    /// The layout of the response.
    pub(super) layout: Layout,
}

impl Reading {
    /// A response in that layout whose first fragment went to `buffer`, or to RX, and ended at
    /// `next`.
    pub(super) fn begin(next: usize, buffer: Option<PageRange<Ipa>>, layout: Layout) -> Self {
        let mut reading = Self {
            last: 0,
            next: 0,
            buffer,
            layout,
        };
        reading.go_on(0, next);
        reading
    }

    /// Notes that the last fragment started at `last` and ended at `next`.
    pub(super) fn go_on(&mut self, last: usize, next: usize) {
        // The longest response is shorter than 2^32 bytes, see `range_list`.
        (self.last, self.next) = (last as u32, next as u32);
    }

    /// Returns whether the next fragment starts at `offset`.
    fn continues_at(&self, offset: usize) -> bool {
        self.next != 0 && offset == self.next as usize
    }

    /// Returns whether the last fragment started at `offset`. The first one, which came with
    /// `FFA_MEM_RETRIEVE_RESP`, is not repeated.
    fn repeats(&self, offset: usize) -> bool {
        offset != 0 && offset == self.last as usize
    }
}

/// The reader of a response.
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
    /// The region of a dead borrower, of which nothing is zeroed yet.
    pub(super) const ESTATE: Self = Self {
        operation: Operation::Estate,
        pace: Pace::Spmc,
        done: Position::START,
    };
}

/// Who goes on with a call after a slice.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Pace {
    /// The call is paused until its caller resumes it.
    Caller,
    /// The SPMC goes on by itself after it has handled Secure interrupts.
    Spmc,
}

impl Pace {
    /// Returns `Caller` if the caller `agrees` to be paused, `Spmc` otherwise.
    pub(super) fn of(agrees: bool) -> Self {
        if agrees { Self::Caller } else { Self::Spmc }
    }
}

/// The operation that zeroes a region. Nobody has access to the region meanwhile.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Operation {
    /// The owner sends the region.
    Send,
    /// The last borrower, which had mapped the region with that leaf, relinquishes it.
    Relinquish(PartitionId, Leaf),
    /// The owner reclaims the region.
    Reclaim,
    /// The last borrower died before it relinquished the region, so no call is under way. The SPMC
    /// zeroes a slice whenever a PE is free; if the owner reclaims the region, that call zeroes the
    /// rest.
    Estate,
}

/// The stages of a share.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Stage {
    /// Fragments of the descriptor are missing. The owner's pages are unchanged.
    Arriving {
        progress: Progress,
        /// Total page count of the descriptor.
        pages: u32,
        /// The buffer that the fragments come in, if that is not TX.
        buffer: Option<PageRange<Ipa>>,
        /// Age: of two transactions, the younger has the higher number.
        age: u64,
    },
    /// The region is sent: borrowers can retrieve it, or have.
    Sent,
    /// A call was paused while it zeroed the region. No other call can name the share until that
    /// one is complete.
    Paused(Zeroing),
    /// The region was donated and retrieved. Only the response is left, which the new owner still
    /// reads.
    Given,
    /// The send failed. The owner's pages are unchanged.
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
    /// The attributes as the owner wrote them, for the Hypervisor.
    pub(super) said: u8,
    /// The region was zeroed when it was sent.
    pub(super) zeroed: bool,
    /// The sender agrees to be paused.
    pub(super) sliced: bool,
    /// The region must be zeroed when the last borrower is gone, before anybody else gets it.
    pub(super) zero_after: bool,
    /// The owner is dead: nobody can retrieve the region any more, and the share ends with the last
    /// relinquish.
    pub(super) orphaned: bool,
    /// The IPA space of the pages, once they are sent.
    pub(super) world: World,
    /// The leaf of the owner's pages before the send, and after it; none while fragments are
    /// missing. If one of the pages is execute-never, so are both leaves: a borrower gets only what
    /// the owner may do with every page.
    pub(super) owned: Leaf,
    pub(super) sent: Leaf,
    pub(super) ranges: RangeList,
    /// The response that the Hypervisor reads.
    pub(super) hypervisor: Reading,
    pub(super) borrowers: Borrowers,
}

impl Share {
    /// Makes the share of a region that `owner` is about to send, without ranges and borrowers.
    pub(super) fn new(kind: SendKind, owner: PartitionId) -> Self {
        Self {
            kind,
            owner,
            tag: 0,
            stage: Stage::Sent,
            memory: None,
            said: 0,
            zeroed: false,
            sliced: false,
            zero_after: false,
            orphaned: false,
            world: World::Secure,
            owned: Leaf::NONE,
            sent: Leaf::NONE,
            ranges: RangeList::EMPTY,
            hypervisor: Reading::default(),
            borrowers: Borrowers::default(),
        }
    }

    /// Logs, at level `debug`, that the region is sent, if it is.
    #[inline(always)]
    pub(super) fn tell_sent(&self, handle: Handle) {
        if !log::log_enabled!(log::Level::Debug) || self.stage != Stage::Sent {
            return;
        }
        let (kind, owner, pages) = (self.kind, self.owner, self.ranges.pages());
        let handle = handle.bits();
        for borrower in self.borrowers.iter() {
            let receiver = borrower.id;
            log::debug!("memory {handle:#x}: {kind:?} of {pages} pages by {owner} to {receiver}");
        }
    }

    /// Returns the type that a borrower may ask for at most.
    pub(super) fn memory(&self) -> MemoryType {
        self.memory.unwrap_or(self.owned.attributes().memory)
    }

    /// Returns whether the pages are Normal memory that the owner can write.
    pub(super) fn owner_can_zero(&self) -> bool {
        let own = self.owned.attributes();
        own.memory.is_normal() && own.permissions.contains(Permissions::WRITE)
    }

    /// Returns whether `caller` sent the share. The Normal world answers for all Non-secure ids, a
    /// partition for its own.
    pub(super) fn is_sent_by(&self, caller: PartitionId) -> bool {
        if caller.is_secure() {
            self.owner == caller
        } else {
            !self.owner.is_secure()
        }
    }

    /// Returns whether the region is still to be zeroed after the death of its last borrower.
    pub(super) fn is_estate(&self) -> bool {
        matches!(self.stage, Stage::Paused(zeroing) if zeroing.operation == Operation::Estate)
    }

    /// Returns whether a borrower has the region mapped that can relinquish it.
    #[inline]
    pub(super) fn must_be_relinquished(&self) -> bool {
        let mut borrowers = self.borrowers.iter();
        borrowers.any(|borrower| borrower.mapped().is_some() && !borrower.is_independent())
    }

    /// Returns whether independent devices are among the receivers.
    #[inline]
    pub(super) fn has_devices(&self) -> bool {
        self.borrowers.iter().any(Borrower::is_independent)
    }

    /// Returns whether any borrower has the region mapped.
    #[inline]
    pub(super) fn is_retrieved(&self) -> bool {
        self.borrowers
            .iter()
            .any(|borrower| borrower.mapped().is_some())
    }

    /// Returns whether several receivers may have the region, so that the owner's attributes bind
    /// all.
    pub(super) fn is_uniform(&self) -> bool {
        self.kind == SendKind::Share || self.borrowers.len() > 1
    }

    /// Returns the response whose fragment at `offset` the endpoint `reader` may fetch: the
    /// Hypervisor's, or that of a borrower that has the region and that `reader` speaks for. If a
    /// proxy reads several responses, one whose next fragment starts at `offset` comes before one
    /// whose last fragment did.
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
        let spoken_for = self.borrowers.iter().filter(|b| b.is_spoken_for_by(reader));
        let mut having = spoken_for.filter_map(|b| Some((b.id, b.reading()?)));
        let next = having
            .clone()
            .find(|(_, reading)| reading.continues_at(offset));
        let found = next.or_else(|| having.find(|(_, reading)| reading.repeats(offset)));
        let (id, _) = found?;
        match &mut self.borrower(id)?.access {
            Access::Mapped { reading, .. } => Some((Reader::Borrower, reading)),
            Access::None | Access::Asking(_) => None,
        }
    }

    /// Returns the receiver with that id.
    #[inline]
    pub(super) fn borrower(&mut self, id: PartitionId) -> Option<&mut Borrower> {
        self.borrowers.iter_mut().find(|borrower| borrower.id == id)
    }
}
