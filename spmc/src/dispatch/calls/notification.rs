//! Notification calls (FF-A v1.1 chapters 10 and 16): their arguments, and which endpoints may make
//! them.
//!
//! The order of checks is: instance and version, ids, flags and maps, and then the state of the
//! receiver, which `notification` keeps. Registers that a call does not use are ignored, as v1.1
//! says. The calls of v1.3, whose names end in 2, have room for 384 notifications from each world;
//! there are 64 here, and a call that names another one is refused. The schedule receiver interrupt
//! makes the scheduler run a receiver whose map changed.

use arrayvec::ArrayVec;

use crate::bits::ones;
use crate::error::{FfaError, Result};
use crate::ffa::{Answer, FunctionId, SmcFrame, function};
use crate::hal::{Hal, SriTime};
use crate::id::PartitionId;
use crate::notification::{Framework, InfoList, Locked, Pending, Target};
use crate::partition::Partition;
use crate::spmc::{Pe, Spmc};
use crate::sync::atomic::Ordering;

use crate::dispatch::Instance;
use crate::dispatch::context::Member;

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

/// Returns the map of notifications in x3 to x8, of which the first word holds all that there are.
/// `INVALID_PARAMETERS` for an empty one, and for notifications that do not exist.
fn wide_map(frame: &SmcFrame) -> Result<u64> {
    match frame.x {
        [_, _, _, map, 0, 0, 0, 0, 0, ..] if map != 0 => Ok(map),
        _ => Err(FfaError::InvalidParameters),
    }
}

/// Returns x2 and the map of a call of v1.3, or w2 and the map of an older one.
fn flags_and_map(id: FunctionId, frame: &SmcFrame) -> Result<(u64, u64)> {
    if id.is_64() {
        Ok((frame.x[2], wide_map(frame)?))
    } else {
        Ok((frame.w(2).into(), map(frame)?))
    }
}

/// The arguments of `FFA_NOTIFICATION_BIND` and `FFA_NOTIFICATION_UNBIND`.
struct Binding {
    sender: PartitionId,
    receiver: PartitionId,
    flags: u64,
    map: u64,
}

impl Binding {
    /// Decodes w1 to w4, or x1 to x8. Errors as [`flags_and_map`].
    fn decode(id: FunctionId, frame: &SmcFrame) -> Result<Self> {
        let (sender, receiver) = halves(frame.w(1));
        let (flags, map) = flags_and_map(id, frame)?;
        Ok(Self {
            sender: PartitionId(sender),
            receiver,
            flags,
            map,
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
    /// Decodes w1 to w4, or x1 to x8. Errors as [`flags_and_map`], and `INVALID_PARAMETERS` for a
    /// vCPU that no endpoint can have.
    fn decode(id: FunctionId, frame: &SmcFrame) -> Result<Self> {
        let (sender, receiver) = halves(frame.w(1));
        let (flags, map) = flags_and_map(id, frame)?;
        Ok(Self {
            sender: PartitionId(sender),
            receiver,
            flags: flags as u32 & 0xffff,
            vcpu: u16::try_from(flags >> 16).map_err(|_| FfaError::InvalidParameters)?,
            map,
        })
    }
}

/// The arguments of `FFA_NOTIFICATION_GET`.
struct Get {
    receiver: PartitionId,
    vcpu: u16,
    flags: u32,
    /// The notifications that stay pending.
    kept: Pending,
}

impl Get {
    /// Decodes w1 and w2.
    fn decode(frame: &SmcFrame) -> Self {
        let (vcpu, receiver) = halves(frame.w(1));
        Self {
            receiver,
            vcpu,
            flags: frame.w(2),
            kept: Pending::default(),
        }
    }

    /// Decodes x1 to x16 of a call of v1.3. `INVALID_PARAMETERS` for flags behind w2.
    fn decode_wide(frame: &SmcFrame) -> Result<Self> {
        let [_, _, flags, partitions, _, _, _, _, _, vms, ..] = frame.x;
        Ok(Self {
            flags: u32::try_from(flags).map_err(|_| FfaError::InvalidParameters)?,
            kept: Pending {
                partitions,
                vms,
                spm: frame.w(15),
                hypervisor: frame.w(16),
            },
            ..Self::decode(frame)
        })
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
                log::debug!("notifications: {vm} has a bitmap, for {} vCPUs", frame.w(2));
            }
            function::NOTIFICATION_BITMAP_DESTROY => {
                let vm = Self::vm(frame)?;
                self.notifications.destroy(vm)?;
                log::debug!("notifications: {vm} has no bitmap any more");
            }
            function::NOTIFICATION_BIND | function::NOTIFICATION_BIND2 => {
                self.notification_bind(instance, id, frame)?;
            }
            function::NOTIFICATION_UNBIND | function::NOTIFICATION_UNBIND2 => {
                self.notification_unbind(instance, id, frame)?;
            }
            function::NOTIFICATION_SET | function::NOTIFICATION_SET2 => {
                self.notification_set(pe, instance, id, frame)?;
            }
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
        id: FunctionId,
        frame: &SmcFrame,
        flags: u32,
    ) -> Result<Binding> {
        let binding = Binding::decode(id, frame)?;
        let valid = binding.sender != binding.receiver
            && Self::speaks_for(instance, binding.receiver)
            && self.can_face(instance, binding.sender)
            && binding.flags & !u64::from(flags) == 0;
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
        id: FunctionId,
        frame: &SmcFrame,
    ) -> Result<()> {
        let Binding {
            sender,
            receiver,
            flags,
            map,
        } = self.binding(instance, id, frame, PER_VCPU)?;
        let mut locked = self.notified(receiver).ok_or(FfaError::NotSupported)?;
        let per_vcpu = flags as u32 & PER_VCPU != 0;
        locked.with(|receiver| receiver.bind(sender, map, per_vcpu))?;
        log::debug!("notifications: {receiver} binds {map:#x} to {sender}");
        Ok(())
    }

    /// Handles `FFA_NOTIFICATION_UNBIND`. Errors as for [`Self::notification_bind`]; `DENIED` if
    /// any of the notifications is not bound to the sender, or is pending.
    fn notification_unbind(
        &self,
        instance: &Instance<'_, H::Context>,
        id: FunctionId,
        frame: &SmcFrame,
    ) -> Result<()> {
        let Binding {
            sender,
            receiver,
            map,
            ..
        } = self.binding(instance, id, frame, 0)?;
        let mut locked = self.notified(receiver).ok_or(FfaError::NotSupported)?;
        locked.with(|receiver| receiver.unbind(sender, map))?;
        log::debug!("notifications: {receiver} unbinds {map:#x} from {sender}");
        Ok(())
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
        id: FunctionId,
        frame: &SmcFrame,
    ) -> Result<()> {
        let Set {
            sender,
            receiver,
            flags,
            vcpu,
            map,
        } = Set::decode(id, frame)?;
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

    /// Handles `FFA_NOTIFICATION_GET`. Errors as for [`Self::take_notifications`]. A partition that
    /// asks for notifications of the SPM gets those of the Hypervisor, too.
    fn notification_get(
        &self,
        instance: &Instance<'_, H::Context>,
        frame: &SmcFrame,
    ) -> Result<Answer> {
        let get = Get::decode(frame);
        // The framework's notifications of both managers are one map to Hafnium's clients.
        let wanted = match instance {
            Instance::Partition(_) if get.flags & Pending::SPM != 0 => Pending::HYPERVISOR,
            _ => 0,
        };
        let pending = self.take_notifications(instance, &get, wanted)?;
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

    /// Handles `FFA_NOTIFICATION_GET2` (1.3), which leaves the notifications in its masks pending.
    /// The results are where the masks were. Errors as for [`Self::take_notifications`].
    pub(super) fn notification_get2(
        &self,
        instance: &Instance<'_, H::Context>,
        frame: &SmcFrame,
    ) -> Result<SmcFrame> {
        let pending = self.take_notifications(instance, &Get::decode_wide(frame)?, 0)?;
        let mut answer = SmcFrame::new([function::SUCCESS_64.into(), 0, 0, pending.partitions]);
        answer.x[9] = pending.vms;
        answer.x[15] = pending.spm.into();
        answer.x[16] = pending.hypervisor.into();
        Ok(answer)
    }

    /// Takes the pending notifications of the receiver, which is the caller, and of its vCPU: those
    /// of the kinds that the call names, and of the kinds in `also`.
    ///
    /// `INVALID_PARAMETERS` for ids, a vCPU that is not there, and flags, among them those for maps
    /// that the Hypervisor keeps; `NOT_SUPPORTED` if the partition gets no notifications. A Normal
    /// world without a bitmap for id 0 gets empty maps.
    fn take_notifications(
        &self,
        instance: &Instance<'_, H::Context>,
        get: &Get,
        also: u32,
    ) -> Result<Pending> {
        let Get {
            receiver,
            vcpu,
            flags,
            kept,
        } = get;
        let (receiver, flags) = (*receiver, *flags);
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
        let mut locked = match self.notified(receiver) {
            Some(locked) => locked,
            // A scheduler may poll before it has created a bitmap of its own.
            None if receiver == PartitionId::NORMAL_WORLD => return Ok(Pending::default()),
            None => return Err(missing),
        };
        let was_global = locked.is_pending_globally();
        let pending = locked.with(|receiver| receiver.take(*vcpu, flags | also, kept))?;
        if let Instance::Partition(partition) = instance {
            // The lock is still held: a notification that is set after this pends the interrupt
            // again.
            let contexts = if was_global && !locked.is_pending_globally() {
                0..partition.frozen.config.vcpu_count
            } else {
                *vcpu..vcpu.saturating_add(1)
            };
            partition.keep_notification_interrupts(contexts, |vcpu| locked.is_pending_on(vcpu));
        }
        Ok(pending)
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

    /// Notes that the scheduler is to run a context of `partition` for its interrupts.
    pub(in crate::dispatch) fn want_cycles(&self, partition: &Partition<H::Context>, index: u16) {
        partition.wants_cycles().insert(index);
        let bit = 1_u64.wrapping_shl(partition.frozen.index as u32);
        self.wants_cycles.fetch_or(bit, Ordering::AcqRel);
    }

    /// Adds the contexts that want cycles for their interrupts to `list`, as far as there is room.
    /// Returns whether more are left.
    fn report_interrupted(&self, list: &mut InfoList) -> bool {
        for number in ones(self.wants_cycles.load(Ordering::Acquire)) {
            let Some(Member { partition, .. }) = self.member_at(number) else {
                continue;
            };
            if partition.is_dead() {
                continue;
            }
            let config = &partition.frozen.config;
            let wants = partition.wants_cycles();
            let room = if config.is_up() {
                1
            } else {
                list.room_for_vcpus()
            };
            let mut wanted = wants.iter().peekable();
            if wanted.peek().is_none() {
                let bit = 1_u64.wrapping_shl(number as u32);
                self.wants_cycles.fetch_and(!bit, Ordering::AcqRel);
                // This pairs with `want_cycles`; the interrupt that asks for this call follows.
                if wants.iter().next().is_some() {
                    self.wants_cycles.fetch_or(bit, Ordering::AcqRel);
                }
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
                let back = |index: &u16| self.want_cycles(partition, *index);
                indices.iter().for_each(back);
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
    pub(super) fn notified(&self, id: PartitionId) -> Option<Locked<'_>> {
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
