//! Notification calls (FF-A v1.1 chapters 10 and 16): their arguments, and which endpoints may make
//! them.
//!
//! The order of checks is: instance and version, ids, flags and maps, and then the state of the
//! receiver, which `notification` keeps. Registers that a call does not use are ignored, as v1.1
//! says. The schedule receiver interrupt makes the scheduler run a receiver whose map changed.

use arrayvec::ArrayVec;

use crate::error::{FfaError, Result};
use crate::ffa::{Answer, FunctionId, SmcFrame, function};
use crate::hal::{Hal, SriTime};
use crate::id::PartitionId;
use crate::notification::{Framework, InfoList, Locked, Pending, Target};
use crate::spmc::{Pe, Spmc};

use crate::dispatch::Instance;

/// w2 of BIND and SET: the notifications are per vCPU.
const PER_VCPU: u32 = 1 << 0;
/// w2 of SET: the interrupt waits until the sender gives the PE back.
const DELAY_SRI: u32 = 1 << 1;

/// Splits w1 of BIND, UNBIND and SET into sender and receiver, and w1 of GET into vCPU and
/// receiver.
fn halves(w1: u32) -> (u16, PartitionId) {
    ((w1 >> 16) as u16, PartitionId(w1 as u16))
}

/// Returns the map of notifications in w3 and w4. `INVALID_PARAMETERS` for an empty one.
fn map(frame: &SmcFrame) -> Result<u64> {
    match u64::from(frame.w(4)) << 32 | u64::from(frame.w(3)) {
        0 => Err(FfaError::InvalidParameters),
        map => Ok(map),
    }
}

/// The arguments of `FFA_NOTIFICATION_BIND` and `FFA_NOTIFICATION_UNBIND`.
struct Binding {
    sender: PartitionId,
    receiver: PartitionId,
    flags: u32,
    map: u64,
}

impl Binding {
    /// Decodes w1 to w4. `INVALID_PARAMETERS` for an empty map.
    fn decode(frame: &SmcFrame) -> Result<Self> {
        let (sender, receiver) = halves(frame.w(1));
        Ok(Self {
            sender: PartitionId(sender),
            receiver,
            flags: frame.w(2),
            map: map(frame)?,
        })
    }
}

/// The arguments of `FFA_NOTIFICATION_SET`.
struct Set {
    sender: PartitionId,
    receiver: PartitionId,
    flags: u32,
    vcpu: u16,
    map: u64,
}

impl Set {
    /// Decodes w1 to w4. `INVALID_PARAMETERS` for an empty map.
    fn decode(frame: &SmcFrame) -> Result<Self> {
        let (sender, receiver) = halves(frame.w(1));
        Ok(Self {
            sender: PartitionId(sender),
            receiver,
            flags: frame.w(2) & 0xffff,
            vcpu: (frame.w(2) >> 16) as u16,
            map: map(frame)?,
        })
    }
}

/// The arguments of `FFA_NOTIFICATION_GET`.
struct Get {
    receiver: PartitionId,
    vcpu: u16,
    flags: u32,
}

impl Get {
    /// Decodes w1 and w2.
    fn decode(frame: &SmcFrame) -> Self {
        let (vcpu, receiver) = halves(frame.w(1));
        Self {
            receiver,
            vcpu,
            flags: frame.w(2),
        }
    }
}

impl<H: Hal> Spmc<H> {
    /// Passes a call on to the handler in this file.
    pub(super) fn notification_call(
        &self,
        pe: &Pe,
        instance: &Instance<'_, H::Context>,
        id: FunctionId,
        frame: &SmcFrame,
    ) -> Result<Answer> {
        match id.0 {
            function::NOTIFICATION_BITMAP_CREATE => {
                let vm = Self::vm(frame)?;
                self.notifications.create(vm, frame.w(2))?;
            }
            function::NOTIFICATION_BITMAP_DESTROY => {
                self.notifications.destroy(Self::vm(frame)?)?;
            }
            function::NOTIFICATION_BIND => self.notification_bind(instance, frame)?,
            function::NOTIFICATION_UNBIND => self.notification_unbind(instance, frame)?,
            function::NOTIFICATION_SET => self.notification_set(pe, instance, frame)?,
            function::NOTIFICATION_GET => return self.notification_get(instance, frame),
            _ => return self.notification_info_get(id),
        }
        Ok(Answer::success([]))
    }

    /// w1 of BITMAP_CREATE and BITMAP_DESTROY. `INVALID_PARAMETERS` if it is no VM id.
    fn vm(frame: &SmcFrame) -> Result<PartitionId> {
        let id = PartitionId(frame.w(1) as u16);
        if id.is_secure() || frame.w(1) >> 16 != 0 {
            return Err(FfaError::InvalidParameters);
        }
        Ok(id)
    }

    /// Returns whether the caller is the endpoint `id`, or the Hypervisor of the VM `id`.
    fn speaks_for(instance: &Instance<'_, H::Context>, id: PartitionId) -> bool {
        match instance {
            Instance::NormalWorld(_) => !id.is_secure(),
            Instance::Partition(partition) => partition.endpoint.id() == id,
        }
    }

    /// Returns whether `id` can be the other side of the caller's notifications: a partition, or,
    /// if the caller is a partition, also a VM. Only the Hypervisor knows which VMs exist.
    fn can_face(&self, instance: &Instance<'_, H::Context>, id: PartitionId) -> bool {
        if id.is_secure() {
            self.partition(id).is_some()
        } else {
            matches!(instance, Instance::Partition(_))
        }
    }

    /// Decodes the arguments of a call that changes bindings. `INVALID_PARAMETERS` for an empty
    /// map, flags other than `flags`, or ids that do not fit: the caller must be the receiver.
    fn binding(
        &self,
        instance: &Instance<'_, H::Context>,
        frame: &SmcFrame,
        flags: u32,
    ) -> Result<Binding> {
        let binding = Binding::decode(frame)?;
        let valid = binding.sender != binding.receiver
            && Self::speaks_for(instance, binding.receiver)
            && self.can_face(instance, binding.sender)
            && binding.flags & !flags == 0;
        if !valid {
            return Err(FfaError::InvalidParameters);
        }
        Ok(binding)
    }

    /// Handles `FFA_NOTIFICATION_BIND`: binds the notifications in w3 and w4 of the receiver, which
    /// is the caller, to the sender in w1.
    ///
    /// `INVALID_PARAMETERS` for ids, flags or an empty map, `NOT_SUPPORTED` if the receiver gets no
    /// notifications, `DENIED` if any is bound.
    fn notification_bind(
        &self,
        instance: &Instance<'_, H::Context>,
        frame: &SmcFrame,
    ) -> Result<()> {
        let Binding {
            sender,
            receiver,
            flags,
            map,
        } = self.binding(instance, frame, PER_VCPU)?;
        let mut receiver = self.notified(receiver).ok_or(FfaError::NotSupported)?;
        receiver.with(|receiver| receiver.bind(sender, map, flags & PER_VCPU != 0))
    }

    /// Handles `FFA_NOTIFICATION_UNBIND`. Errors as for [`Self::notification_bind`]; `DENIED` if
    /// any of the notifications is not bound to the sender, or is pending.
    fn notification_unbind(
        &self,
        instance: &Instance<'_, H::Context>,
        frame: &SmcFrame,
    ) -> Result<()> {
        let Binding {
            sender,
            receiver,
            map,
            ..
        } = self.binding(instance, frame, 0)?;
        let mut receiver = self.notified(receiver).ok_or(FfaError::NotSupported)?;
        receiver.with(|receiver| receiver.unbind(sender, map))
    }

    /// Handles `FFA_NOTIFICATION_SET`: makes the notifications in w3 and w4 pending for the
    /// receiver in w1. The caller is the sender.
    ///
    /// `INVALID_PARAMETERS` for ids, an empty map, flags, a delay from the Normal world or a vCPU
    /// that is not there; `DENIED` if the receiver gets no notifications or any is not bound to the
    /// sender as it is set.
    fn notification_set(
        &self,
        pe: &Pe,
        instance: &Instance<'_, H::Context>,
        frame: &SmcFrame,
    ) -> Result<()> {
        let Set {
            sender,
            receiver,
            flags,
            vcpu,
            map,
        } = Set::decode(frame)?;
        let (target, delays) = match instance {
            Instance::NormalWorld(_) => (flags, 0),
            Instance::Partition(_) => (flags & !DELAY_SRI, flags & DELAY_SRI),
        };
        let target = match target {
            0 if vcpu == 0 => Target::Global,
            PER_VCPU => Target::Vcpu(vcpu),
            _ => return Err(FfaError::InvalidParameters),
        };
        let valid = sender != receiver
            && Self::speaks_for(instance, sender)
            && self.can_face(instance, receiver);
        if !valid {
            return Err(FfaError::InvalidParameters);
        }
        let mut locked = self.notified(receiver).ok_or(FfaError::Denied)?;
        let is_new = locked.with(|receiver| receiver.set(sender, map, target))?;
        let is_untold = locked.has_news();
        drop(locked);
        if is_new && let Some(member) = self.member(receiver) {
            self.pend_notification(pe, member, target);
        }
        if is_untold {
            self.raise_schedule_receiver(delays != 0);
        }
        Ok(())
    }

    /// Handles `FFA_NOTIFICATION_GET`: takes the pending notifications of the receiver in w1, which
    /// is the caller, and of its vCPU.
    ///
    /// `INVALID_PARAMETERS` for ids, a vCPU that is not there, and flags, among them those for maps
    /// that the Hypervisor keeps; `NOT_SUPPORTED` if the partition gets no notifications. A Normal
    /// world without a bitmap for id 0 gets empty maps. A partition that asks for notifications of
    /// the SPM gets those of the Hypervisor, too.
    fn notification_get(
        &self,
        instance: &Instance<'_, H::Context>,
        frame: &SmcFrame,
    ) -> Result<Answer> {
        let Get {
            receiver,
            vcpu,
            flags,
        } = Get::decode(frame);
        let (maps, missing) = match instance {
            Instance::NormalWorld(_) => (
                Pending::PARTITIONS | Pending::SPM,
                FfaError::InvalidParameters,
            ),
            Instance::Partition(_) => (
                Pending::PARTITIONS | Pending::SPM | Pending::VMS | Pending::HYPERVISOR,
                FfaError::NotSupported,
            ),
        };
        if !Self::speaks_for(instance, receiver) || flags & !maps != 0 {
            return Err(FfaError::InvalidParameters);
        }
        // The framework's notifications of both managers are one map to Hafnium's clients.
        let flags = match instance {
            Instance::Partition(_) if flags & Pending::SPM != 0 => flags | Pending::HYPERVISOR,
            _ => flags,
        };
        let mut locked = match self.notified(receiver) {
            Some(locked) => locked,
            // A scheduler may poll before it has created a bitmap of its own.
            None if receiver == PartitionId::NORMAL_WORLD => return Ok(Answer::success([])),
            None => return Err(missing),
        };
        let pending = locked.with(|receiver| receiver.take(vcpu, flags))?;
        if let Instance::Partition(partition) = instance {
            // The lock is still held: a notification that is set after this pends the interrupt
            // again.
            partition.keep_notification_interrupts(|vcpu| locked.is_pending_on(vcpu));
        }
        drop(locked);
        let (partitions, vms) = (pending.partitions, pending.vms);
        Ok(Answer::success([
            partitions as u32,
            (partitions >> 32) as u32,
            vms as u32,
            (vms >> 32) as u32,
            pending.spm,
            pending.hypervisor,
        ]))
    }

    /// Handles `FFA_NOTIFICATION_INFO_GET`: lists the receivers that the scheduler should run.
    /// `NO_DATA` if it has been told of all.
    fn notification_info_get(&self, id: FunctionId) -> Result<Answer> {
        let mut list = InfoList::new(id.is_64());
        let more = self.notifications.report(&mut list) || self.report_interrupted(&mut list);
        if list.is_empty() {
            return Err(FfaError::NoData);
        }
        Ok(list.answer(more))
    }

    /// Adds the contexts that want cycles for their interrupts to `list`, as far as there is room.
    /// Returns whether more are left.
    fn report_interrupted(&self, list: &mut InfoList) -> bool {
        for partition in self.live_partitions() {
            let config = &partition.frozen.config;
            let wants = partition.wants_cycles();
            let room = if config.is_up() {
                1
            } else {
                list.room_for_vcpus()
            };
            let mut wanted = wants.iter().peekable();
            if wanted.peek().is_none() {
                continue;
            }
            // Taken out first: what a context wants from here on is news again.
            let taken = wanted.by_ref().take(room);
            let taken = taken.filter(|index| wants.remove(*index));
            let indices: ArrayVec<u16, { InfoList::MAX_VCPUS }> = taken.collect();
            // A receiver with one context is told as a whole.
            let told: &[u16] = if config.is_up() { &[] } else { &indices };
            let is_told = !indices.is_empty() && list.push(config.id, told);
            if !is_told {
                indices.iter().for_each(|index| wants.insert(*index));
            }
            if !is_told || wanted.next().is_some() {
                return true;
            }
        }
        false
    }

    /// Pends the framework's notification that a message of `sender` is in the RX buffer of
    /// `receiver`, and takes no lock but the receiver's. Returns `false` if the receiver gets no
    /// notifications; otherwise [`Self::tell_of_message`] must follow.
    pub(super) fn pend_rx_full(&self, sender: PartitionId, receiver: PartitionId) -> bool {
        let which = if sender.is_secure() {
            Framework::RxFullSpm
        } else {
            Framework::RxFullHypervisor
        };
        let Some(mut locked) = self.notified(receiver) else {
            return false;
        };
        locked.with(|receiver| receiver.set_framework(which));
        true
    }

    /// Interrupts the contexts of `receiver` for [`Self::pend_rx_full`], and has the scheduler
    /// told: with `delay` when this PE goes back to the Normal world. It may wait for the claims of
    /// the contexts, so no lock may be held.
    pub(super) fn tell_of_message(&self, pe: &Pe, receiver: PartitionId, delay: bool) {
        if let Some(member) = self.member(receiver) {
            self.pend_notification(pe, member, Target::Global);
        }
        self.raise_schedule_receiver(delay);
    }

    /// Locks the receiver with that id, if it gets notifications. A partition that failed gets
    /// none, since its record is emptied; one that speaks 1.0 binds none, and gets no indirect
    /// messages either.
    fn notified(&self, id: PartitionId) -> Option<Locked<'_>> {
        self.notifications.receiver(&self.directory, id)
    }

    /// Asks the scheduler of the Normal world to call `FFA_NOTIFICATION_INFO_GET`, at once or when
    /// this PE goes back to it.
    pub(in crate::dispatch) fn raise_schedule_receiver(&self, delay: bool) {
        self.hal.raise_schedule_receiver(if delay {
            SriTime::OnReturn
        } else {
            SriTime::Now
        });
    }
}
