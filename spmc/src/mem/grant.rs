//! Judges a retrieve request by the share that it names (FF-A v1.0 sections 5.11, 5.12 and
//! 11.4.1.2). Nothing is changed here.

use super::flags::{FLAG_ZERO, sliced_flag};
use super::share::{Borrower, Grant, SendKind, Share};
use crate::addr::{PAGE_SIZE, World};
use crate::error::{FfaError, Result};
use crate::ffa::memory::{
    ATTRIBUTE_NON_SECURE, AccessPermissions, DataAccess, InstructionAccess, MemoryType,
};
use crate::ffa::memory_descriptor::{Layout, Receiver, Response, Transaction};
use crate::ffa::{Handle, Version};
use crate::id::PartitionId;
use crate::manifest::config::Permissions;
use crate::mm::{Attributes, Leaf, Pages, State};
use crate::partition::Endpoint;

/// Flag: zero the memory when it is relinquished.
const FLAG_ZERO_AFTER: u32 = 1 << 2;
/// Flags: type of the transaction, 0 if the receiver leaves it open.
const TYPE_SHIFT: u32 = 3;
const TYPE: u32 = 0b11 << TYPE_SHIFT;
/// Flags: log2 of the alignment in pages that the receiver wants, with a bit that makes it valid.
const ALIGNMENT_SHIFT: u32 = 5;
const ALIGNMENT: u32 = 0b1111 << ALIGNMENT_SHIFT;
const ALIGNMENT_VALID: u32 = 1 << 9;
/// Flag from version 1.1 on: the request does not list the other borrowers.
const FLAG_BYPASS: u32 = 1 << 10;

/// Flag of an entry: its borrower does not retrieve the region now.
const RECEIVER_OTHER: u8 = 1 << 0;
/// Reserved flag of an entry, where OP-TEE before 3.17 repeats the flag for time slicing. The flag
/// is ignored in the entry of whoever retrieves the region.
const RECEIVER_SLICED: u8 = 1 << 1;

const fn type_flags(kind: SendKind) -> u32 {
    let number = match kind {
        SendKind::Share => 1,
        SendKind::Lend => 2,
        SendKind::Donate => 3,
    };
    number << TYPE_SHIFT
}

/// Returns the receivers that the request may be made for: those that it does not list as other
/// borrowers.
#[inline]
pub(super) fn retrieving(request: &Transaction<'_>) -> impl Iterator<Item = PartitionId> {
    let receivers = request.receivers().filter_map(Result::ok);
    let receivers = receivers.filter(|receiver| receiver.flags & RECEIVER_OTHER == 0);
    receivers.map(|receiver| receiver.id)
}

/// Returns whether the request names no addresses for the region.
#[inline]
pub(super) fn is_unplaced(request: &Transaction<'_>) -> bool {
    let mut receivers = request.receivers().filter_map(Result::ok);
    receivers.all(|receiver| receiver.composite_offset == 0)
}

/// Returns the access that `receiver`, which the caller speaks for, is granted, and the offset of
/// the addresses in the request, 0 if it names none. It is an error to ask for more than the owner
/// gave.
#[inline]
pub(super) fn judge(
    share: &Share,
    request: &Transaction<'_>,
    caller: &Endpoint,
    receiver: PartitionId,
    store: Pages<'_>,
) -> Result<(Grant, u32)> {
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
    let own = judge_receivers(share, request, receiver)?;
    // An entry of 16 bytes has no place to repeat the value.
    if request.layout == Layout::V1_2
        && own.implementation_defined != borrower.implementation_defined
    {
        return Err(invalid);
    }
    let permissions = judge_permissions(share, borrower, own.permissions)?;
    let memory = MemoryType::decode(request.attributes)?.unwrap_or(share.memory());
    judge_flags(share, borrower, request.flags, permissions, caller, store)?;
    let placed = own.composite_offset != 0;
    if placed && request.flags & ALIGNMENT_VALID != 0 {
        return Err(invalid);
    }
    if !share.memory().allows(memory) || borrower.mapped().is_some() || share.orphaned {
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
    let grant = Grant {
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
        placed,
        layout: request.layout,
    };
    Ok((grant, own.composite_offset))
}

/// Checks that the receivers are those that the owner named, or `own` alone if the caller asks for
/// no check of the others. Returns the entry of `own`.
#[inline]
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
        let (index, borrower) = share
            .borrowers
            .iter()
            .enumerate()
            .find(|(_, borrower)| borrower.id == receiver.id)
            .ok_or(invalid)?;
        let bit = 1_u32.wrapping_shl(index as u32);
        // The request names no addresses for the other borrowers.
        let is_own = receiver.id == own;
        if named & bit != 0 || !is_own && receiver.composite_offset != 0 {
            return Err(invalid);
        }
        named |= bit;
        if is_own {
            if receiver.flags & !RECEIVER_SLICED != 0 {
                return Err(invalid);
            }
            entry = Some(receiver);
        } else {
            let permissions = AccessPermissions::decode(receiver.permissions)?;
            if receiver.flags & !RECEIVER_OTHER != 0 || permissions.instruction.is_some() {
                return Err(invalid);
            }
            // Only its own entry changes what a borrower gets. For the others it may name less
            // access than the owner gave.
            if borrower.permissions.data < permissions.data {
                return Err(FfaError::Denied);
            }
        }
    }
    entry.ok_or(invalid)
}

/// Returns the permissions that the receiver gets, both of them specified.
#[inline]
fn judge_permissions(share: &Share, borrower: &Borrower, asked: u8) -> Result<AccessPermissions> {
    let asked = AccessPermissions::decode(asked)?;
    let owner = share.owned.attributes().permissions;
    // A donor names no permissions: its own access is the limit.
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

#[inline]
fn judge_flags(
    share: &Share,
    borrower: &Borrower,
    flags: u32,
    permissions: AccessPermissions,
    caller: &Endpoint,
    store: Pages<'_>,
) -> Result<()> {
    let invalid = FfaError::InvalidParameters;
    let mut known = FLAG_ZERO | FLAG_ZERO_AFTER | TYPE | ALIGNMENT | ALIGNMENT_VALID;
    known |= sliced_flag(caller);
    if caller.version() >= Version::V1_1 && share.borrowers.len() > 1 {
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
    let writes = permissions.data == Some(DataAccess::ReadWrite);
    if zeroing && !writes
        || flags & FLAG_ZERO != 0 && !share.zeroed
        || flags & FLAG_ZERO_AFTER != 0 && !share.owner_can_zero()
    {
        return Err(FfaError::Denied);
    }
    if flags & ALIGNMENT_VALID != 0 {
        // Addresses are those of the owner, so the SPMC cannot choose aligned ones.
        let alignment = PAGE_SIZE.wrapping_shl((flags & ALIGNMENT) >> ALIGNMENT_SHIFT);
        let mut ranges = share.ranges.iter(store);
        if ranges.any(|range| !range.base().raw().is_multiple_of(alignment)) {
            return Err(FfaError::Denied);
        }
    }
    Ok(())
}

/// Returns the response for `caller`, which describes the access that `receiver` gets.
#[inline]
pub(super) fn describe(
    share: &Share,
    grant: &Grant,
    handle: Handle,
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
        layout: grant.layout,
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
        pages: share.ranges.pages(),
        constituents: if grant.placed {
            0
        } else {
            share.ranges.count()
        },
    })
}

/// Returns the response for the Hypervisor, which asks by the handle alone where the region of one
/// of its VMs lies (section 11.4.3), with the attributes that the owner wrote. Nothing is mapped.
pub(super) fn describe_to_hypervisor(
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
        placed: false,
        layout: request.layout,
    };
    let response = describe(share, &grant, request.handle, caller, first.id)?;
    let security = response.attributes & ATTRIBUTE_NON_SECURE;
    Ok(Response {
        attributes: u16::from(share.said) | security,
        ..response
    })
}
