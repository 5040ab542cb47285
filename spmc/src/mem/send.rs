//! `FFA_MEM_DONATE`, `FFA_MEM_LEND`, `FFA_MEM_SHARE` (FF-A v1.0 sections 11.1 to 11.3): an owner
//! offers memory to others.
//!
//! Constituents are recorded as they arrive, be it with the call or in fragments behind it
//! ([`super::fragments`]). Only when the last one is there is the memory itself looked at and taken
//! from the owner.

use super::channel::Channel;
use super::regions::Regions;
use super::share::{Borrower, Operation, Pace, Reading, SendKind, Share, Stage};
use super::shares::Arrival;
use super::slices::paused;
use super::{Call, Endpoints, Engine, FLAG_SLICED, FLAG_ZERO, refused, sliced_flag};
use crate::error::{FfaError, Result};
use crate::ffa::memory::{AccessPermissions, DataAccess, InstructionAccess, MemoryType};
use crate::ffa::memory_descriptor::{
    CONSTITUENT, Composite, Constituents, DescriptorBuffer, Receiver, Transaction, constituents,
};
use crate::ffa::{Answer, Handle, SmcFrame, Version};
use crate::hal::Hal;
use crate::id::PartitionId;
use crate::limits::{MAX_ARRIVING, MAX_ARRIVING_PER_SENDER};
use crate::manifest::config::Permissions;
use crate::mm::{Change, Leaf, Pages, State};
use crate::partition::{Endpoint, Proxy};

/// Part of a fragment that is already copied.
pub(super) struct Piece {
    /// Bytes of the fragment that are in the copy, or were.
    pub(super) read: usize,
    /// Where in the copy the next constituent starts, and where the copied bytes end.
    pub(super) start: usize,
    pub(super) end: usize,
}

impl Piece {
    /// Nothing is copied yet.
    pub(super) const NOTHING: Self = Self {
        read: 0,
        start: 0,
        end: 0,
    };
}

impl<H: Hal, E: Endpoints> Engine<'_, H, E> {
    /// Validates the descriptor in the caller's TX or buffer, takes access from the caller as
    /// `kind` demands, and records the share. The answer carries the handle; it is
    /// `FFA_MEM_FRAG_RX` if more fragments must come, and `FFA_MEM_OP_PAUSE` if there is more to be
    /// zeroed than a slice, and the caller agrees.
    ///
    /// `DENIED` if the sender is not the caller, a partition sends to the Normal world, or the
    /// region is not the caller's alone, with all that it offers; `NO_MEMORY` if the share or the
    /// change of the caller's tables cannot be recorded; `ABORTED` if memory does not answer;
    /// `INVALID_PARAMETERS` for everything else that is wrong with the call.
    pub(crate) fn send(
        &self,
        buffer: &mut DescriptorBuffer,
        caller: &Endpoint,
        kind: SendKind,
        frame: &SmcFrame,
    ) -> Result<Answer> {
        let Call {
            total,
            fragment,
            buffer: through,
        } = Call::of(frame)?;
        let channel = Channel::open(caller, through);
        let bytes = channel.read_first(self.hal, buffer, fragment)?;
        let read = bytes.len();
        let transaction = Transaction::parse(bytes, caller.version())?;
        // Built where it is: it is large, and copied only into its slot.
        let mut share = Share::new(kind, transaction.sender);
        let composite = self.judge(&transaction, caller, &mut share, total)?;

        let store = Pages::of(self.hal);
        let partition = self.endpoints.index(caller.id());
        let vacancy = self.with_room(caller, || self.shares.claim(partition))?;
        // Room for what is there. More is announced perhaps, but nothing shows that it will come.
        let here = fragment.saturating_sub(composite.start) / CONSTITUENT;
        let reserved = self.with_room(caller, || {
            let mut space = caller.memory.lock();
            share.regions.reserve(store, space.pool(), here)
        });
        let piece = Piece {
            read,
            start: composite.start,
            end: read,
        };
        let recorded = reserved
            .and_then(|()| self.record(&channel, buffer, &mut share.regions, piece, fragment));
        drop(channel);
        let whole = fragment == total;
        let sent = recorded.and_then(|()| {
            if whole {
                self.complete(caller, &mut share, composite.pages)
            } else {
                share.stage = Stage::Arriving {
                    received: fragment,
                    total,
                    pages: composite.pages,
                    buffer: through,
                    age: self.shares.age(),
                };
                Ok(())
            }
        });
        if let Err(error) = sent {
            share.regions.release(store, caller.memory.lock().pool());
            return Err(error);
        }

        let (owner, stage) = (share.owner, share.stage);
        let handle = vacancy.fill(&mut share);
        if !whole {
            self.limit_arriving(owner);
        }
        if self.endpoints.endpoint(caller.id()).is_none() {
            // It died meanwhile on another PE, which may have looked for its shares before this one
            // was there.
            self.bury(caller);
            return Err(FfaError::Aborted);
        }
        Ok(match stage {
            Stage::Arriving { .. } => Self::ask_for_more(caller, owner, handle, fragment),
            stage => completion(stage, handle),
        })
    }

    /// Records the constituents of one fragment. Errors as [`Self::each_piece`].
    pub(super) fn record(
        &self,
        channel: &Channel<'_>,
        buffer: &mut DescriptorBuffer,
        regions: &mut Regions,
        piece: Piece,
        length: usize,
    ) -> Result<()> {
        let store = Pages::of(self.hal);
        self.each_piece(channel, buffer, piece, length, |ranges| {
            regions.append(store, ranges)
        })
    }

    /// Hands on the constituents of one fragment of `length` bytes: those that are copied already,
    /// and then the rest of what the caller sends, piece by piece. `INVALID_PARAMETERS` if one is
    /// not whole, the errors of [`Channel::read`], and what `take` says of those that are
    /// malformed.
    pub(super) fn each_piece(
        &self,
        channel: &Channel<'_>,
        buffer: &mut DescriptorBuffer,
        piece: Piece,
        length: usize,
        mut take: impl FnMut(Constituents<'_>) -> Result<()>,
    ) -> Result<()> {
        let Piece {
            mut read,
            mut start,
            mut end,
        } = piece;
        loop {
            let bytes = buffer.get(start..end).unwrap_or(&[]);
            take(constituents(bytes, H::IPA_BITS))?;
            let rest = bytes.len() % CONSTITUENT;
            if read >= length {
                // A fragment ends where a constituent ends.
                return if rest == 0 {
                    Ok(())
                } else {
                    Err(FfaError::InvalidParameters)
                };
            }
            buffer.copy_within(end.saturating_sub(rest)..end, 0);
            let more = length
                .saturating_sub(read)
                .min(buffer.len().saturating_sub(rest));
            (start, end) = (0, rest.saturating_add(more));
            let free = buffer.get_mut(rest..end).unwrap_or(&mut []);
            channel.read(self.hal, read, free)?;
            read = read.saturating_add(more);
        }
    }

    /// All constituents are there: sends the share.
    pub(super) fn complete(&self, caller: &Endpoint, share: &mut Share, pages: u64) -> Result<()> {
        if share.regions.pages() != pages {
            return Err(FfaError::InvalidParameters);
        }
        self.take_access(caller, share)?;
        if share.stage == Stage::Sent && share.has_devices() {
            // Else when all is zeroed.
            self.map_for_devices(caller, share)?;
        }
        Ok(())
    }

    /// Tries again as long as something of which fragments are missing can make room for it.
    fn with_room<T>(&self, caller: &Endpoint, mut attempt: impl FnMut() -> Result<T>) -> Result<T> {
        loop {
            match attempt() {
                Err(FfaError::NoMemory) if self.drop_oldest(None, caller.id(), 0, None) => {}
                result => return result,
            }
        }
    }

    /// Ends what `sender` and its endpoint left unfinished longest ago, where they have too much of
    /// that. It has begun another one before, so that PEs that do the same at the same time count
    /// each other's.
    fn limit_arriving(&self, sender: PartitionId) {
        while self.drop_oldest(Some(sender), sender, MAX_ARRIVING_PER_SENDER, None) {}
        while self.drop_oldest(None, sender, MAX_ARRIVING, None) {}
    }

    /// Ends the oldest of the transactions of `owner`'s endpoint of which fragments are missing, or
    /// only of those of `sender`, if there are more than `keep` beside `spared`. Returns whether
    /// there were: if the oldest has become whole or has ended meanwhile on another PE, it is left
    /// alone, and the caller looks again.
    pub(super) fn drop_oldest(
        &self,
        sender: Option<PartitionId>,
        owner: PartitionId,
        keep: usize,
        spared: Option<Arrival>,
    ) -> bool {
        let (mut count, mut oldest) = (0_usize, None::<Arrival>);
        for mut found in self.shares.arriving() {
            let Some(arrival) = found.arrival().filter(|it| Some(*it) != spared) else {
                continue;
            };
            let Ok(share) = found.share() else { continue };
            let same_endpoint =
                share.owner == owner || !share.owner.is_secure() && !owner.is_secure();
            if same_endpoint && sender.is_none_or(|sender| share.owner == sender) {
                count = count.saturating_add(1);
                if oldest.is_none_or(|oldest| arrival.is_older_than(&oldest)) {
                    oldest = Some(arrival);
                }
            }
        }
        let Some(oldest) = oldest.filter(|_| count > keep) else {
            return false;
        };
        if let Some(found) = self.shares.find_arriving(oldest) {
            self.discard(found);
        }
        true
    }

    /// Judges header and receivers, and notes in the new share what they say.
    fn judge(
        &self,
        transaction: &Transaction<'_>,
        caller: &Endpoint,
        share: &mut Share,
        total: usize,
    ) -> Result<Composite> {
        let invalid = FfaError::InvalidParameters;
        let (kind, sender) = (share.kind, share.owner);
        // The Normal world answers for all its ids, a partition for its own.
        let is_caller = if caller.id().is_secure() {
            sender == caller.id()
        } else {
            !sender.is_secure()
        };
        if !is_caller {
            return Err(FfaError::Denied);
        }
        let zero = if kind == SendKind::Share {
            0
        } else {
            FLAG_ZERO
        };
        let allowed_flags = zero | sliced_flag(caller);
        if transaction.handle != Handle::NONE || transaction.flags & !allowed_flags != 0 {
            return Err(invalid);
        }
        let count = transaction.receiver_count();
        if count == 0 || kind == SendKind::Donate && count != 1 {
            return Err(invalid);
        }

        let borrowers = &mut share.borrowers;
        let mut offset = None;
        for receiver in transaction.receivers() {
            let receiver = receiver?;
            if *offset.get_or_insert(receiver.composite_offset) != receiver.composite_offset
                || borrowers.iter().any(|borrower| borrower.id == receiver.id)
            {
                return Err(invalid);
            }
            let borrower = self.judge_receiver(&receiver, sender, kind)?;
            borrowers
                .try_push(borrower)
                .map_err(|_| FfaError::NoMemory)?;
        }
        // Who alone receives may choose memory type and execution at retrieval, so the owner must
        // leave that open.
        let memory = MemoryType::decode(transaction.attributes)?;
        let for_device = borrowers.iter().any(Borrower::is_independent);
        if for_device && kind == SendKind::Donate {
            // It could neither say that it has it nor ever part with it.
            return Err(FfaError::Denied);
        }
        let owner_decides = kind == SendKind::Share || count > 1;
        if owner_decides && memory.is_none() {
            return Err(FfaError::Denied);
        }
        if !owner_decides && memory.is_some() && !for_device {
            return Err(invalid);
        }

        share.tag = transaction.tag;
        share.memory = memory;
        share.zeroed = transaction.flags & FLAG_ZERO != 0;
        share.sliced = transaction.flags & FLAG_SLICED != 0;
        transaction.composite(offset.ok_or(invalid)?, total)
    }

    fn judge_receiver(
        &self,
        receiver: &Receiver,
        sender: PartitionId,
        kind: SendKind,
    ) -> Result<Borrower> {
        let invalid = FfaError::InvalidParameters;
        if !receiver.id.is_secure() {
            // No borrower in the Normal world: a partition must not, and the Normal world's own
            // business is its Hypervisor's.
            return Err(if sender.is_secure() {
                FfaError::Denied
            } else {
                invalid
            });
        }
        if receiver.id == sender || self.endpoints.endpoint(receiver.id).is_none() {
            return Err(invalid);
        }
        let permissions = AccessPermissions::decode(receiver.permissions)?;
        let proxy = self.endpoints.proxy(receiver.id);
        // A stream endpoint never executes, and has nobody who could choose its access (sections
        // 5.11.2 and 5.11.3).
        let must_say_data = kind != SendKind::Donate || proxy.is_some();
        let may_say_instruction =
            proxy.is_some() && permissions.instruction == Some(InstructionAccess::ExecuteNever);
        if proxy == Some(Proxy::None) && permissions.instruction == Some(InstructionAccess::Execute)
        {
            return Err(FfaError::Denied);
        }
        if receiver.flags != 0
            || permissions.instruction.is_some() && !may_say_instruction
            || permissions.data.is_some() != must_say_data
        {
            return Err(invalid);
        }
        Ok(Borrower {
            id: receiver.id,
            proxy,
            permissions,
            implementation_defined: receiver.implementation_defined,
            mapped: None,
            has_retrieved: false,
            zero_after: false,
            asking: None,
            reading: Reading::default(),
        })
    }

    /// Checks the owner's pages and takes away the access that it gives up, zeroing them if asked.
    fn take_access(&self, caller: &Endpoint, share: &mut Share) -> Result<()> {
        let mut space = caller.memory.lock();
        let ranges = share.regions.iter(Pages::of(self.hal));
        let (world, owned) = ranges
            .clone()
            .next()
            .and_then(|first| space.first_leaf(self.hal, first))
            .ok_or(FfaError::Denied)?;
        if !may_offer(caller, owned, share) {
            return Err(FfaError::Denied);
        }
        let state = match share.kind {
            SendKind::Share => State::OwnerShared,
            SendKind::Lend | SendKind::Donate => State::OwnerNoAccess,
        };
        let change = Change {
            from: owned,
            to: owned.with_state(state),
        };
        // Whether all pages are like the first shows when they are changed, and what is wrong is
        // only of interest then.
        let made = match space.change_owned(self.hal, world, ranges.clone(), change) {
            Ok(made) => made,
            Err(error) => {
                return Err(if space.are_alike(self.hal, ranges) {
                    // One of them is in the region twice.
                    refused(error, FfaError::InvalidParameters)
                } else {
                    FfaError::Denied
                });
            }
        };
        share.stage = Stage::Sent;
        share.world = world;
        share.owned = made.from;
        share.sent = made.to;
        if share.zeroed {
            let pace = Pace::of(share.sliced);
            self.zero_for(share, &mut space, Operation::Send, pace)?;
        }
        Ok(())
    }
}

/// Returns the answer to a send that has come to that stage.
pub(super) fn completion(stage: Stage, handle: Handle) -> Answer {
    match stage {
        Stage::Paused(_) => paused(handle),
        _ => success(handle),
    }
}

/// The end of a send.
pub(super) fn success(handle: Handle) -> Answer {
    Answer::success(handle.halves().map(|half| half as u32))
}

/// Returns whether an owner of pages with that leaf may offer them so. A device can only be lent,
/// to one partition, and is never zeroed; FF-A v1.0 knows no transactions of devices (section
/// 2.10).
fn may_offer(owner: &Endpoint, owned: Leaf, share: &Share) -> bool {
    let own = owned.attributes();
    let to_one_partition = share.kind == SendKind::Lend
        && !share.is_uniform()
        && share.borrowers.iter().all(|b| b.proxy.is_none());
    let fits_device = owner.version() >= Version::V1_1 && to_one_partition && !share.zeroed;
    let gives_write = share.zeroed
        || share
            .borrowers
            .iter()
            .any(|b| b.permissions.data == Some(DataAccess::ReadWrite));
    owned.state() == Some(State::OwnerExclusive)
        && (own.memory.is_normal() || fits_device)
        && share.memory.is_none_or(|memory| own.memory.allows(memory))
        && own.permissions.contains(Permissions::READ)
        && (own.permissions.contains(Permissions::WRITE) || !gives_write)
}
