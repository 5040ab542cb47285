//! `FFA_MEM_DONATE`, `FFA_MEM_LEND`, `FFA_MEM_SHARE` (FF-A v1.0 sections 11.1 to 11.3): an owner offers memory to others.

use arrayvec::ArrayVec;

use super::regions::Regions;
use super::shares::{Borrower, SendKind, Share};
use super::{Endpoints, Engine, FLAG_ZERO, copy_tx, refused};
use crate::addr::World;
use crate::error::{FfaError, Result};
use crate::ffa::SmcFrame;
use crate::ffa::memory::{AccessPermissions, DataAccess, MemoryType};
use crate::ffa::memory_descriptor::{Composite, DescriptorBuffer, Receiver, Transaction};
use crate::hal::Hal;
use crate::id::PartitionId;
use crate::limits::MAX_BORROWERS;
use crate::manifest::config::Permissions;
use crate::mm::{AddressSpace, Change, Leaf, Pages, State};
use crate::partition::Endpoint;

/// What a descriptor asks for, as far as it can be judged without looking at the memory.
struct Offer<'b> {
    sender: PartitionId,
    tag: u64,
    zero: bool,
    /// What borrowers may ask for at most, where the owner has to say so.
    memory: Option<MemoryType>,
    borrowers: ArrayVec<Borrower, MAX_BORROWERS>,
    composite: Composite<'b>,
}

impl<H: Hal, E: Endpoints> Engine<'_, H, E> {
    /// Validates the descriptor in the caller's TX, takes access from the caller as `kind` demands, and records the share. The answer
    /// carries the handle.
    ///
    /// `DENIED` if the sender is not the caller, a partition sends to the Normal world, or the region is not the caller's alone, with all
    /// that it offers; `NO_MEMORY` if the share or the change of the caller's tables cannot be recorded; `ABORTED` if memory does not answer;
    /// `INVALID_PARAMETERS` for everything else that is wrong with the call.
    pub(crate) fn send(
        &self,
        buffer: &mut DescriptorBuffer,
        caller: &Endpoint,
        kind: SendKind,
        frame: &SmcFrame,
    ) -> Result<SmcFrame> {
        let length = Self::descriptor_length(frame)?;
        let bytes = copy_tx(self.hal, &caller.mailbox.lock(), buffer, length)?;
        let transaction = Transaction::parse(bytes, caller.version())?;
        let offer = self.judge(&transaction, caller, kind)?;

        let vacancy = self.shares.claim()?;
        let mut space = caller.memory.lock();
        let store = Pages::of(self.hal);
        let mut regions = Regions::EMPTY;
        let taken = record(&mut regions, store, &mut space, &offer.composite)
            .and_then(|()| self.take_access(&mut space, &regions, &offer, kind));
        let (world, change) = match taken {
            Ok(taken) => taken,
            Err(error) => {
                regions.release(store, space.pool());
                return Err(error);
            }
        };
        drop(space);

        let handle = vacancy.fill(Share {
            kind,
            owner: offer.sender,
            tag: offer.tag,
            memory: offer.memory.unwrap_or(change.from.attributes().memory),
            zeroed: offer.zero,
            zero_after: false,
            orphaned: false,
            world,
            owned: change.from,
            sent: change.to,
            regions,
            borrowers: offer.borrowers,
        });
        Ok(SmcFrame::success([handle as u32, (handle >> 32) as u32]))
    }

    /// Judges header and receivers.
    fn judge<'b>(
        &self,
        transaction: &Transaction<'b>,
        caller: &Endpoint,
        kind: SendKind,
    ) -> Result<Offer<'b>> {
        let invalid = FfaError::InvalidParameters;
        let sender = transaction.sender;
        // The Normal world answers for all its ids, a partition for its own.
        let is_caller = if caller.id().is_secure() {
            sender == caller.id()
        } else {
            !sender.is_secure()
        };
        if !is_caller {
            return Err(FfaError::Denied);
        }
        let allowed_flags = if kind == SendKind::Share {
            0
        } else {
            FLAG_ZERO
        };
        if transaction.handle != 0 || transaction.flags & !allowed_flags != 0 {
            return Err(invalid);
        }
        let count = transaction.receiver_count();
        if count == 0 || kind == SendKind::Donate && count != 1 {
            return Err(invalid);
        }

        let mut borrowers = ArrayVec::<Borrower, MAX_BORROWERS>::new();
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
        // Who alone receives may choose memory type and execution at retrieval, so the owner must leave that open.
        let memory = MemoryType::decode(transaction.attributes)?;
        let owner_decides = kind == SendKind::Share || count > 1;
        if owner_decides && memory.is_none() {
            return Err(FfaError::Denied);
        }
        if !owner_decides && memory.is_some() {
            return Err(invalid);
        }

        Ok(Offer {
            sender,
            tag: transaction.tag,
            zero: transaction.flags & FLAG_ZERO != 0,
            memory,
            borrowers,
            composite: transaction.composite(offset.ok_or(invalid)?)?,
        })
    }

    fn judge_receiver(
        &self,
        receiver: &Receiver,
        sender: PartitionId,
        kind: SendKind,
    ) -> Result<Borrower> {
        let invalid = FfaError::InvalidParameters;
        if !receiver.id.is_secure() {
            // No borrower in the Normal world: a partition must not, and the Normal world's own business is its Hypervisor's.
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
        let says_data = permissions.data.is_some();
        if receiver.flags != 0
            || permissions.instruction.is_some()
            || says_data == (kind == SendKind::Donate)
        {
            return Err(invalid);
        }
        Ok(Borrower {
            id: receiver.id,
            permissions,
            implementation_defined: receiver.implementation_defined,
            mapped: None,
            has_retrieved: false,
        })
    }

    /// Checks the owner's pages and takes away the access that it gives up, zeroing them if asked. Returns where they lie and what was changed.
    fn take_access(
        &self,
        space: &mut AddressSpace,
        regions: &Regions,
        offer: &Offer<'_>,
        kind: SendKind,
    ) -> Result<(World, Change)> {
        let ranges = regions.iter(Pages::of(self.hal));
        let (world, owned) = space
            .inspect(self.hal, ranges.clone())
            .ok_or(FfaError::Denied)?;
        if !may_offer(owned, offer) {
            return Err(FfaError::Denied);
        }
        let state = match kind {
            SendKind::Share => State::OwnerShared,
            SendKind::Lend | SendKind::Donate => State::OwnerNoAccess,
        };
        let change = Change {
            from: owned,
            to: owned.with_state(state),
        };
        // All pages were the owner's alone a moment ago: one that is not now is in the region twice.
        space
            .change(self.hal, world, ranges.clone(), change)
            .map_err(|error| refused(error, FfaError::InvalidParameters))?;
        if offer.zero && self.zero(world, ranges.clone()).is_err() {
            let undone = space.change(self.hal, world, ranges, change.inverse());
            debug_assert!(undone.is_ok());
            return Err(FfaError::Aborted);
        }
        Ok((world, change))
    }
}

/// Whether an owner of pages with that leaf may offer them so.
fn may_offer(owned: Leaf, offer: &Offer<'_>) -> bool {
    let own = owned.attributes();
    let gives_write = offer.zero
        || offer
            .borrowers
            .iter()
            .any(|b| b.permissions.data == Some(DataAccess::ReadWrite));
    owned.state() == Some(State::OwnerExclusive)
        && own.memory.is_normal()
        && offer.memory.is_none_or(|memory| own.memory.allows(memory))
        && own.permissions.contains(Permissions::READ)
        && (own.permissions.contains(Permissions::WRITE) || !gives_write)
}

/// Records the constituents.
fn record(
    regions: &mut Regions,
    store: Pages<'_>,
    space: &mut AddressSpace,
    composite: &Composite<'_>,
) -> Result<()> {
    for range in composite.constituents() {
        regions.push(store, space.pool(), range?)?;
    }
    if regions.pages() != composite.pages {
        return Err(FfaError::InvalidParameters);
    }
    Ok(())
}
