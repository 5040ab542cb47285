//! `FFA_MEM_RETRIEVE_REQ` (FF-A v1.0 section 11.4): a receiver asks for access to what was sent to it.

use spin::MutexGuard;

use super::shares::{Borrower, Found, Reading, SendKind, Share, Stage};
use super::{Endpoints, Engine, FLAG_ZERO, copy_tx, refused};
use crate::addr::{PAGE_SIZE, World};
use crate::error::{FfaError, Result};
use crate::ffa::memory::{
    ATTRIBUTE_NON_SECURE, AccessPermissions, DataAccess, InstructionAccess, MemoryType,
};
use crate::ffa::memory_descriptor::{DescriptorBuffer, Receiver, Response, Transaction};
use crate::ffa::{SmcFrame, Version, function};
use crate::hal::Hal;
use crate::id::PartitionId;
use crate::manifest::config::Permissions;
use crate::mm::{AddressSpace, Attributes, Change, Leaf, Pages, State};
use crate::partition::{Endpoint, Mailbox};

/// Zero the memory when it is relinquished.
const FLAG_ZERO_AFTER: u32 = 1 << 2;
/// Type of the transaction, 0 if the receiver does not say.
const TYPE_SHIFT: u32 = 3;
const TYPE: u32 = 0b11 << TYPE_SHIFT;
/// log2 of the alignment in pages that the receiver wants, valid with the bit above.
const ALIGNMENT_SHIFT: u32 = 5;
const ALIGNMENT: u32 = 0b1111 << ALIGNMENT_SHIFT;
const ALIGNMENT_VALID: u32 = 1 << 9;
/// 1.1: the other borrowers are not listed.
const FLAG_BYPASS: u32 = 1 << 10;

/// The entry is of a borrower that does not retrieve now.
const RECEIVER_OTHER: u8 = 1 << 0;

const fn type_flags(kind: SendKind) -> u32 {
    let number = match kind {
        SendKind::Share => 1,
        SendKind::Lend => 2,
        SendKind::Donate => 3,
    };
    number << TYPE_SHIFT
}

/// What a receiver is given.
struct Grant {
    permissions: AccessPermissions,
    memory: MemoryType,
    leaf: Leaf,
    zero_after: bool,
}

impl<H: Hal, E: Endpoints> Engine<'_, H, E> {
    /// Validates the request in the caller's TX against the share that it names, maps the region for the caller, and describes it in
    /// the caller's RX. The answer is `FFA_MEM_RETRIEVE_RESP`.
    ///
    /// `DENIED` if the sender is not the owner, the request exceeds what was granted, or the caller has the region already;
    /// `BUSY` if RX is not free; `NO_MEMORY` if the region cannot be mapped or described; `ABORTED` if RX does not answer; `INVALID_PARAMETERS` for
    /// everything else that is wrong with the call.
    pub(crate) fn retrieve(
        &self,
        buffer: &mut DescriptorBuffer,
        caller: &Endpoint,
        frame: &SmcFrame,
    ) -> Result<SmcFrame> {
        let (length, fragment) = Self::lengths(frame)?;
        if fragment != length {
            return Err(FfaError::InvalidParameters);
        }
        // Held to the end: nothing may be mapped that RX has no room to describe.
        let mut mailbox = caller.mailbox.lock();
        let bytes = copy_tx(self.hal, &mailbox, buffer, length)?;
        let request = Transaction::parse(bytes, caller.version())?;
        if request.receivers_end() != length {
            return Err(FfaError::InvalidParameters);
        }
        let mut found = self.shares.find(request.handle)?;
        let share = found.share()?;
        if self.endpoints.endpoint(caller.id()).is_none() {
            // Died meanwhile on another PE; what it retrieved now would never come back.
            return Err(FfaError::Denied);
        }
        if !caller.id().is_secure() {
            let response = describe_to_hypervisor(share, &request, caller)?;
            let (answer, reading) = self.answer(&mut mailbox, buffer, caller, share, &response)?;
            share.hypervisor = reading;
            return Ok(answer);
        }
        let receiver = self
            .spoken_for(retrieving(&request).unwrap_or(caller.id()), caller)
            .ok_or(FfaError::InvalidParameters)?;
        let grant = judge(share, &request, caller, receiver.id(), Pages::of(self.hal))?;
        let response = describe(share, &grant, request.handle, caller, receiver.id())?;
        mailbox.check_rx(0)?;
        if share.kind == SendKind::Donate {
            let parties = (caller, receiver);
            return self.give(found, &grant, &response, buffer, parties, &mut mailbox);
        }

        let mut space = receiver.memory.lock();
        let change = Change {
            from: Leaf::NONE,
            to: grant.leaf,
        };
        let ranges = share.regions.iter(Pages::of(self.hal));
        space
            .change(self.hal, share.world, ranges.clone(), change)
            .map_err(|error| refused(error, FfaError::Denied))?;
        let (answer, reading) = match self.answer(&mut mailbox, buffer, caller, share, &response) {
            Ok(answered) => answered,
            Err(error) => {
                let undone = space.change(self.hal, share.world, ranges, change.inverse());
                debug_assert!(undone.is_ok());
                return Err(error);
            }
        };
        share.zero_after |= grant.zero_after;
        if let Some(borrower) = share.borrower(receiver.id()) {
            borrower.mapped = Some(grant.leaf);
            borrower.has_retrieved = true;
            borrower.reading = reading;
        }
        Ok(answer)
    }

    /// Ends a donation: the receiver that the caller speaks for owns the region, the donor does not know it any more, the handle is spent.
    fn give(
        &self,
        mut found: Found<'_>,
        grant: &Grant,
        response: &Response,
        buffer: &mut DescriptorBuffer,
        (caller, receiver): (&Endpoint, &Endpoint),
        mailbox: &mut Mailbox,
    ) -> Result<SmcFrame> {
        let share = found.share()?;
        let store = Pages::of(self.hal);
        let donor = self
            .endpoints
            .endpoint(share.owner)
            .ok_or(FfaError::Denied)?;
        let (mut donor_space, mut space) = lock_both(donor, receiver);
        let ranges = share.regions.iter(store);
        let taken = Change {
            from: Leaf::NONE,
            to: grant.leaf,
        };
        let given = Change {
            from: share.sent,
            to: donor_space.given_away(share.sent),
        };
        space
            .change(self.hal, share.world, ranges.clone(), taken)
            .map_err(|error| refused(error, FfaError::Denied))?;
        let answered = donor_space
            .change(self.hal, share.world, ranges.clone(), given)
            .map_err(|error| refused(error, FfaError::Aborted))
            .and_then(|()| {
                let answered = self.answer(mailbox, buffer, caller, share, response);
                if answered.is_err() {
                    let undone =
                        donor_space.change(self.hal, share.world, ranges.clone(), given.inverse());
                    debug_assert!(undone.is_ok());
                }
                answered
            });
        let (answer, reading) = match answered {
            Ok(answered) => answered,
            Err(error) => {
                let undone = space.change(self.hal, share.world, ranges, taken.inverse());
                debug_assert!(undone.is_ok());
                return Err(error);
            }
        };
        if reading == Reading::default() {
            share.regions.release(store, donor_space.pool());
            found.vacate();
            return Ok(answer);
        }
        share.stage = Stage::Given;
        if let Some(borrower) = share.borrower(receiver.id()) {
            borrower.mapped = Some(grant.leaf);
            borrower.reading = reading;
        }
        Ok(answer)
    }

    /// The new owner does not want what it has begun to read the description of (section 12.2.2.3, 8): it is the donor's again, as before
    /// it was retrieved.
    ///
    /// `DENIED` if the receiver has used its ownership already, or the donor is dead; `NO_MEMORY` if the donor cannot record it.
    pub(super) fn give_back(
        &self,
        share: &mut Share,
        receiver: &Endpoint,
        leaf: Leaf,
    ) -> Result<()> {
        let donor = self
            .endpoints
            .endpoint(share.owner)
            .ok_or(FfaError::Denied)?;
        let (mut donor_space, mut space) = lock_both(donor, receiver);
        let ranges = share.regions.iter(Pages::of(self.hal));
        let untaken = Change {
            from: leaf,
            to: Leaf::NONE,
        };
        let back = Change {
            from: donor_space.given_away(share.sent),
            to: share.sent,
        };
        space
            .change(self.hal, share.world, ranges.clone(), untaken)
            .map_err(|error| refused(error, FfaError::Denied))?;
        if let Err(error) = donor_space.change(self.hal, share.world, ranges.clone(), back) {
            let undone = space.change(self.hal, share.world, ranges, untaken.inverse());
            debug_assert!(undone.is_ok());
            return Err(refused(error, FfaError::Aborted));
        }
        share.stage = Stage::Sent;
        if let Some(borrower) = share.borrower(receiver.id()) {
            borrower.mapped = None;
        }
        Ok(())
    }

    /// Writes the response, or as much of it as fits, to the caller's RX. Returns the completion of the call, and what is left to be read.
    fn answer(
        &self,
        mailbox: &mut Mailbox,
        buffer: &mut DescriptorBuffer,
        caller: &Endpoint,
        share: &Share,
        response: &Response,
    ) -> Result<(SmcFrame, Reading)> {
        let total = response.size(caller.version());
        let length = self.put_fragment(mailbox, buffer, caller, share, Some(response), 0)?;
        let reading = if length < total {
            Reading {
                last: 0,
                next: length,
            }
        } else {
            Reading::default()
        };
        let frame = SmcFrame::new([
            function::MEM_RETRIEVE_RESP as u64,
            total as u64,
            length as u64,
        ]);
        Ok((frame, reading))
    }
}

/// The spaces of donor and receiver, locked in ascending order.
fn lock_both<'e>(
    donor: &'e Endpoint,
    receiver: &'e Endpoint,
) -> (MutexGuard<'e, AddressSpace>, MutexGuard<'e, AddressSpace>) {
    if donor.id() < receiver.id() {
        let first = donor.memory.lock();
        (first, receiver.memory.lock())
    } else {
        let first = receiver.memory.lock();
        (donor.memory.lock(), first)
    }
}

/// The receiver that a request is made for: the first that it does not list as another borrower.
fn retrieving(request: &Transaction<'_>) -> Option<PartitionId> {
    let mut receivers = request.receivers().filter_map(Result::ok);
    let receiver = receivers.find(|receiver| receiver.flags & RECEIVER_OTHER == 0);
    receiver.map(|receiver| receiver.id)
}

/// What `receiver`, which the caller speaks for, gets if it asks for no more than it may.
fn judge(
    share: &Share,
    request: &Transaction<'_>,
    caller: &Endpoint,
    receiver: PartitionId,
    store: Pages<'_>,
) -> Result<Grant> {
    let invalid = FfaError::InvalidParameters;
    let borrower = share
        .borrowers
        .iter()
        .find(|borrower| borrower.id == receiver)
        .ok_or(invalid)?;
    if request.sender != share.owner {
        return Err(FfaError::Denied);
    }
    if request.tag != share.tag {
        return Err(invalid);
    }
    let memory = MemoryType::decode(request.attributes)?.unwrap_or(share.memory());
    let own = judge_receivers(share, request, receiver)?;
    // Before 1.2 a request has no place to repeat the value.
    if caller.version() >= Version::V1_2
        && own.implementation_defined != borrower.implementation_defined
    {
        return Err(invalid);
    }
    let permissions = judge_permissions(share, borrower, own.permissions)?;
    judge_flags(
        share,
        borrower,
        request.flags,
        permissions,
        caller.version(),
        store,
    )?;
    if !share.memory().allows(memory) || borrower.mapped.is_some() || share.orphaned {
        return Err(FfaError::Denied);
    }
    let mut access = Permissions::READ;
    access.set(
        Permissions::WRITE,
        permissions.data == Some(DataAccess::ReadWrite),
    );
    access.set(
        Permissions::EXECUTE,
        permissions.instruction == Some(InstructionAccess::Execute),
    );
    let state = match share.kind {
        SendKind::Donate => State::OwnerExclusive,
        SendKind::Lend if !share.is_uniform() => State::BorrowedExclusive,
        SendKind::Lend | SendKind::Share => State::BorrowedShared,
    };
    Ok(Grant {
        permissions,
        memory,
        leaf: Leaf::new(
            Attributes {
                permissions: access,
                memory,
            },
            state,
        ),
        zero_after: request.flags & FLAG_ZERO_AFTER != 0,
    })
}

/// The receivers must be those that the owner named, or `own` alone where the caller asks not to be checked. Returns its entry.
fn judge_receivers(share: &Share, request: &Transaction<'_>, own: PartitionId) -> Result<Receiver> {
    let invalid = FfaError::InvalidParameters;
    let alone = request.flags & FLAG_BYPASS != 0;
    let expected = if alone { 1 } else { share.borrowers.len() };
    if request.receiver_count() != expected {
        return Err(invalid);
    }
    let mut entry = None;
    let mut named = 0_u32;
    for receiver in request.receivers() {
        let receiver = receiver?;
        let index = share
            .borrowers
            .iter()
            .position(|b| b.id == receiver.id)
            .ok_or(invalid)?;
        let bit = 1_u32.wrapping_shl(index as u32);
        // The SPMC chooses the addresses: no composite descriptor may come with a request.
        if named & bit != 0 || receiver.composite_offset != 0 {
            return Err(invalid);
        }
        named |= bit;
        if receiver.id == own {
            if receiver.flags != 0 {
                return Err(invalid);
            }
            entry = Some(receiver);
        } else {
            let permissions = AccessPermissions::decode(receiver.permissions)?;
            if receiver.flags != RECEIVER_OTHER || permissions.instruction.is_some() {
                return Err(invalid);
            }
            if share
                .borrowers
                .get(index)
                .is_some_and(|b| b.permissions.data != permissions.data)
            {
                return Err(FfaError::Denied);
            }
        }
    }
    entry.ok_or(invalid)
}

/// The permissions that the caller gets, both specified.
fn judge_permissions(share: &Share, borrower: &Borrower, asked: u8) -> Result<AccessPermissions> {
    let asked = AccessPermissions::decode(asked)?;
    let owner = share.owned.attributes().permissions;
    // A donor says nothing: its own access is the limit.
    let most = borrower
        .permissions
        .data
        .unwrap_or(if owner.contains(Permissions::WRITE) {
            DataAccess::ReadWrite
        } else {
            DataAccess::ReadOnly
        });
    let data = asked.data.unwrap_or(most);
    if data > most {
        return Err(FfaError::Denied);
    }
    if share.is_uniform() && asked.instruction.is_some() {
        return Err(FfaError::InvalidParameters);
    }
    let instruction = asked.instruction.unwrap_or(InstructionAccess::ExecuteNever);
    let may_execute = borrower.proxy.is_none()
        && share.world == World::Secure
        && owner.contains(Permissions::EXECUTE)
        && data == DataAccess::ReadOnly;
    if instruction == InstructionAccess::Execute && !may_execute {
        return Err(FfaError::Denied);
    }
    Ok(AccessPermissions {
        data: Some(data),
        instruction: Some(instruction),
    })
}

fn judge_flags(
    share: &Share,
    borrower: &Borrower,
    flags: u32,
    permissions: AccessPermissions,
    version: Version,
    store: Pages<'_>,
) -> Result<()> {
    let invalid = FfaError::InvalidParameters;
    let mut known = FLAG_ZERO | FLAG_ZERO_AFTER | TYPE | ALIGNMENT | ALIGNMENT_VALID;
    if version >= Version::V1_1 && share.borrowers.len() > 1 {
        known |= FLAG_BYPASS;
    }
    let wrong_type = flags & TYPE != 0 && flags & TYPE != type_flags(share.kind);
    let hint_without_use = flags & ALIGNMENT_VALID == 0 && flags & ALIGNMENT != 0;
    let zeroing = flags & (FLAG_ZERO | FLAG_ZERO_AFTER) != 0;
    if flags & !known != 0
        || wrong_type
        || hint_without_use
        || zeroing && share.kind == SendKind::Share
        || flags & FLAG_ZERO != 0 && borrower.has_retrieved
    {
        return Err(invalid);
    }
    if flags & FLAG_ZERO != 0 && !share.zeroed
        || flags & FLAG_ZERO_AFTER != 0 && permissions.data != Some(DataAccess::ReadWrite)
    {
        return Err(FfaError::Denied);
    }
    if flags & ALIGNMENT_VALID != 0 {
        // Addresses are those of the owner, so they are aligned as wanted or cannot be.
        let alignment = PAGE_SIZE.wrapping_shl((flags & ALIGNMENT) >> ALIGNMENT_SHIFT);
        let mask = alignment.wrapping_sub(1);
        if share
            .regions
            .iter(store)
            .any(|range| range.base().raw() & mask != 0)
        {
            return Err(FfaError::Denied);
        }
    }
    Ok(())
}

/// What `caller` is told of what `receiver` gets.
fn describe(
    share: &Share,
    grant: &Grant,
    handle: u64,
    caller: &Endpoint,
    receiver: PartitionId,
) -> Result<Response> {
    let borrower = share
        .borrowers
        .iter()
        .find(|borrower| borrower.id == receiver);
    let borrower = borrower.ok_or(FfaError::InvalidParameters)?;
    let security = if share.world == World::NonSecure && caller.is_told_security_state() {
        ATTRIBUTE_NON_SECURE
    } else {
        0
    };
    let zeroed = if share.zeroed { FLAG_ZERO } else { 0 };
    Ok(Response {
        sender: share.owner,
        attributes: grant.memory.encode() | security,
        flags: type_flags(share.kind) | zeroed,
        handle,
        tag: share.tag,
        receiver: Receiver {
            id: receiver,
            permissions: grant.permissions.encode(),
            flags: 0,
            composite_offset: 0,
            implementation_defined: borrower.implementation_defined,
        },
        pages: share.regions.pages(),
        constituents: share.regions.count(),
    })
}

/// The Hypervisor asks by handle alone where the region of one of its VMs lies (section 11.4.3). Nothing is mapped.
fn describe_to_hypervisor(
    share: &Share,
    request: &Transaction<'_>,
    caller: &Endpoint,
) -> Result<Response> {
    let invalid = FfaError::InvalidParameters;
    let says_more = request.receiver_count() != 0
        || request.sender != PartitionId::NORMAL_WORLD
        || request.attributes != 0
        || request.flags != 0
        || request.tag != 0;
    if says_more || share.owner.is_secure() {
        return Err(invalid);
    }
    let first = share.borrowers.first().ok_or(invalid)?;
    let grant = Grant {
        permissions: first.permissions,
        memory: share.memory(),
        leaf: Leaf::NONE,
        zero_after: false,
    };
    describe(share, &grant, request.handle, caller, first.id)
}
