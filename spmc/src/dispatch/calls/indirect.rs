//! Indirect messages: `FFA_MSG_SEND2` (FF-A v1.1 chapter 7 and section 15.1).
//!
//! The message is copied from TX of the sender to RX of the receiver, and a framework notification
//! tells the receiver. No context runs for it. The header is copied once, checked, and written in
//! the layout of the receiver's version; the payload is never interpreted.
//!
//! Both mailboxes are locked while the payload is copied, in ascending order of id, so that neither
//! buffer can be taken away meanwhile.

use crate::error::{FfaError, Result};
use crate::ffa::message::{Header, MAX_HEADER, header_size};
use crate::ffa::{Answer, SmcFrame, Version};
use crate::hal::Hal;
use crate::id::{PartitionId, Uuid};
use crate::manifest::config::Messaging;
use crate::partition::{Endpoint, Frozen, Mailbox};
use crate::spmc::{Pe, Spmc};

use crate::dispatch::Instance;
use crate::invariant::Invariant;

/// w2: the schedule receiver interrupt waits until the sender gives the PE back.
const DELAY_SRI: u32 = 1 << 1;

/// The arguments of `FFA_MSG_SEND2`.
struct Send2 {
    /// The VM that a Hypervisor speaks for.
    vm: PartitionId,
    flags: u32,
}

impl Send2 {
    /// Decodes w1 and w2.
    fn decode(frame: &SmcFrame) -> Self {
        Self {
            vm: PartitionId((frame.w(1) >> 16) as u16),
            flags: frame.w(2),
        }
    }
}

impl<H: Hal> Spmc<H> {
    /// Handles `FFA_MSG_SEND2`: sends the message in TX of the caller, or of the VM that a
    /// Hypervisor names in w1.
    ///
    /// `INVALID_PARAMETERS` for wrong flags, ids or header, a service that the receiver does not
    /// have, or without TX; `DENIED` if either side has no indirect messages, as a Hypervisor
    /// without a notification bitmap; `ABORTED` if the receiver failed, `BUSY` if its RX is not
    /// empty or missing, `NO_MEMORY` if it is too short.
    pub(super) fn msg_send2(
        &self,
        pe: &mut Pe,
        instance: &Instance<'_, H::Context>,
        frame: &SmcFrame,
    ) -> Result<Answer> {
        let caller = instance.endpoint();
        let Send2 { vm, flags } = Send2::decode(frame);
        let (sender, known_flags) = match instance {
            Instance::NormalWorld(_) if !vm.is_secure() => (vm, 0),
            Instance::Partition(_) if vm.0 == 0 => (caller.id(), DELAY_SRI),
            _ => return Err(FfaError::InvalidParameters),
        };
        if flags & !known_flags != 0 {
            return Err(FfaError::InvalidParameters);
        }
        let mut bytes = [0; MAX_HEADER];
        let (start, _) = bytes.split_at_mut(header_size(caller.version()));
        self.mailbox(sender)
            .ok_or(FfaError::InvalidParameters)?
            .read_tx(&self.hal, start)?;
        let header = Header::decode(&bytes, caller.version());
        if header.flags != 0
            || header.sender != sender
            || (header.offset as usize) < header_size(caller.version())
        {
            return Err(FfaError::InvalidParameters);
        }
        if let Instance::Partition(partition) = instance
            && !is_indirect(&partition.frozen)
        {
            return Err(FfaError::Denied);
        }
        let version = self.receiver_of_indirect(&header)?;
        self.pass_on(pe, &header, version, flags & DELAY_SRI != 0)?;
        Ok(Answer::success([]))
    }

    /// Checks that the receiver in the header can get the message. Returns the version that it
    /// speaks.
    fn receiver_of_indirect(&self, header: &Header) -> Result<Version> {
        let receiver = header.receiver;
        if receiver == header.sender {
            return Err(FfaError::InvalidParameters);
        }
        if !receiver.is_secure() {
            // Messages between VMs are the Hypervisor's.
            return match self.normal_world.version() {
                _ if !header.sender.is_secure() => Err(FfaError::InvalidParameters),
                version if version < Version::V1_1 => Err(FfaError::Denied),
                _ if self.is_deaf(receiver) => Err(FfaError::Denied),
                version => Ok(version),
            };
        }
        let partition = self
            .partition(receiver)
            .ok_or(FfaError::InvalidParameters)?;
        let frozen = &partition.frozen;
        let version = partition.endpoint.version();
        if !is_indirect(frozen) || version < Version::V1_1 {
            return Err(FfaError::Denied);
        }
        if !serves(frozen, &header.uuid) {
            return Err(FfaError::InvalidParameters);
        }
        if partition.is_dead() {
            return Err(FfaError::Aborted);
        }
        Ok(version)
    }

    /// Returns whether `receiver` is a Hypervisor or OS kernel that cannot be told of a message,
    /// because it has no notification bitmap. It would never empty its RX, and that RX is also the
    /// one for the results of its own calls, so that a single message would refuse it all of them.
    fn is_deaf(&self, receiver: PartitionId) -> bool {
        receiver == PartitionId::NORMAL_WORLD && self.notified(receiver).is_none()
    }

    /// Copies the message, passes RX to the receiver, which speaks `version`, and notifies the
    /// receiver.
    fn pass_on(&self, pe: &mut Pe, header: &Header, version: Version, delay: bool) -> Result<()> {
        let (sender, receiver) = (header.sender, header.receiver);
        let lock = |id: PartitionId, missing| self.mailbox(id).ok_or(missing);
        let (tx, mut rx) = if sender < receiver {
            let tx = lock(sender, FfaError::InvalidParameters)?;
            (tx, lock(receiver, FfaError::Busy)?)
        } else {
            let rx = lock(receiver, FfaError::Busy)?;
            (lock(sender, FfaError::InvalidParameters)?, rx)
        };
        // The payload stays where the sender put it, unless the receiver's header is longer.
        let offset = header.offset.max(header_size(version) as u32);
        let passed = Header { offset, ..*header };
        let bytes = passed.encode();
        let length = MAX_HEADER.min(offset as usize);
        check(&tx, header, &rx, offset)?;
        self.copy(pe, (&tx, header.offset), (&rx, offset), header.size)?;
        rx.write_rx_at(&self.hal, 0, bytes.get(..length).unwrap_or(&bytes))?;
        let end = (offset as usize).saturating_add(header.size as usize);
        rx.pass_rx(&self.hal, end.max(length), version)?;
        // RX is still locked: a receiver that finds it full finds the notification, too.
        let is_notified = self.pend_rx_full(sender, receiver);
        drop((tx, rx));
        if is_notified {
            self.tell_of_message(pe, receiver, delay);
        }
        Ok(())
    }

    /// Passes RX of a partition that begins to wait back to the SPMC, unless it holds a message
    /// that the partition has not been told of.
    pub(in crate::dispatch) fn release_rx_on_wait(&self, endpoint: &Endpoint) {
        let mut mailbox = endpoint.mailbox.lock();
        if !mailbox.can_release_rx() {
            return;
        }
        let unseen = self
            .notifications
            .receiver(&self.directory, endpoint.id())
            .is_some_and(|mut receiver| receiver.with(|receiver| receiver.has_unseen_message()));
        if !unseen {
            // It can be, see above.
            Invariant::Transition.expect(mailbox.release_rx().is_ok());
        }
    }

    /// Copies the payload, as much at a time as there is room for.
    fn copy(
        &self,
        pe: &mut Pe,
        (tx, from): (&Mailbox, u32),
        (rx, to): (&Mailbox, u32),
        size: u32,
    ) -> Result<()> {
        let (size, mut done) = (size as usize, 0_usize);
        while done < size {
            let room = size.saturating_sub(done).min(pe.scratch.len());
            let chunk = pe.scratch.get_mut(..room).ok_or(FfaError::NoMemory)?;
            let at = |start: u32| (start as usize).saturating_add(done);
            tx.read_tx_at(&self.hal, at(from), chunk)?;
            rx.write_rx_at(&self.hal, at(to), chunk)?;
            done = done.saturating_add(room);
        }
        Ok(())
    }
}

/// Checks that the payload lies in TX, that header and payload fit into RX, and that RX is free.
fn check(tx: &Mailbox, header: &Header, rx: &Mailbox, offset: u32) -> Result<()> {
    let end = |start: u32| u64::from(start).saturating_add(header.size.into());
    let buffers = tx.buffers().ok_or(FfaError::InvalidParameters)?;
    if end(header.offset) > buffers.tx.size() {
        return Err(FfaError::InvalidParameters);
    }
    rx.check_rx(end(offset) as usize)
}

fn is_indirect(frozen: &Frozen) -> bool {
    frozen.messaging.contains(Messaging::INDIRECT)
}

/// Returns whether a service with that UUID gets indirect messages; nil stands for any.
fn serves(frozen: &Frozen, uuid: &Uuid) -> bool {
    uuid.is_nil()
        || frozen
            .config
            .services
            .iter()
            .any(|service| service.uuid == *uuid && service.messaging.contains(Messaging::INDIRECT))
}
