//! Judges what an owner offers (FF-A v1.0 sections 5.11, 5.12 and 11.1 to 11.3): the header of its
//! descriptor and the receivers. Pages are not checked here.

use super::flags::{FLAG_SLICED, FLAG_ZERO, sliced_flag};
use super::share::{Access, Borrower, SendKind, Share};
use super::{Endpoints, Engine};
use crate::error::{FfaError, Result};
use crate::ffa::Handle;
use crate::ffa::memory::{AccessPermissions, InstructionAccess, MemoryType};
use crate::ffa::memory_descriptor::{Composite, Receiver, Transaction};
use crate::hal::Hal;
use crate::id::PartitionId;
use crate::partition::{Endpoint, Proxy};

impl<H: Hal, E: Endpoints> Engine<'_, H, E> {
    /// Judges the header and the receivers, and records them in the new share.
    pub(super) fn judge(
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

        let owner = self.endpoints.index(caller.id());
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
            self.shares.crowds.add(owner, borrowers, borrower)?;
        }
        // A single receiver may choose memory type and execution when it retrieves the region, so
        // the owner must leave both open.
        let memory = MemoryType::decode(transaction.attributes)?;
        let for_device = borrowers.iter().any(Borrower::is_independent);
        if for_device && kind == SendKind::Donate {
            // A device can neither retrieve the region nor give it away again.
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
        // Decoding has shown that there are no more bits.
        share.said = transaction.attributes as u8;
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
            // No borrower is in the Normal world: partitions must not send there, and the
            // Hypervisor handles transactions between VMs.
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
        // A stream endpoint never executes and cannot choose its access (sections 5.11.2 and
        // 5.11.3).
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
            access: Access::None,
            has_retrieved: false,
            zero_after: false,
        })
    }
}
