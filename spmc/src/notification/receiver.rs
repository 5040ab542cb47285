//! The notifications of one receiver, bound and pending (FF-A v1.1 sections 10.3 to 10.5).
//!
//! There is a map of 64 notifications for the senders of each world, where each notification is
//! bound to one sender. The notifications of the framework come in addition. This module is pure
//! state: a refused operation changes nothing.

use alloc::boxed::Box;

use arrayvec::ArrayVec;

use crate::error::{FfaError, Result};
use crate::id::PartitionId;
use crate::vcpu_set::VcpuSet;

use super::InfoList;

/// The addressee of a notification.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Target {
    /// The receiver: any of its vCPUs may take the notification.
    Global,
    /// One vCPU of the receiver.
    Vcpu(u16),
}

/// Notifications of the framework itself, which no sender binds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Framework {
    /// A partition put a message into RX: bit 0 of the SPM's map.
    RxFullSpm,
    /// A VM put a message into RX: bit 0 of the Hypervisor's map.
    RxFullHypervisor,
}

/// The notifications that one `FFA_NOTIFICATION_GET` returns.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Pending {
    /// Notifications from partitions.
    pub partitions: u64,
    /// Notifications from VMs.
    pub vms: u64,
    /// Notifications from the SPM.
    pub spm: u32,
    /// Notifications from the Hypervisor.
    pub hypervisor: u32,
}

impl Pending {
    /// Flag in w2 of `FFA_NOTIFICATION_GET`: notifications from partitions.
    pub const PARTITIONS: u32 = 1 << 0;
    /// Flag: notifications from VMs.
    pub const VMS: u32 = 1 << 1;
    /// Flag: notifications from the SPM.
    pub const SPM: u32 = 1 << 2;
    /// Flag: notifications from the Hypervisor.
    pub const HYPERVISOR: u32 = 1 << 3;
}

/// The notifications from senders of one world.
#[derive(Clone, Debug)]
struct Source {
    /// Notifications that are bound. All others are neither per vCPU nor pending.
    bound: u64,
    /// Bound notifications that are per vCPU.
    per_vcpu: u64,
    /// The sender that each notification is bound to.
    senders: [u16; 64],
    /// Pending global notifications.
    global: u64,
    /// Pending notifications of each vCPU.
    vcpus: Box<[u64]>,
}

impl Source {
    /// No notifications, of at most `room` vCPUs.
    fn new(room: u16) -> Self {
        Self {
            bound: 0,
            per_vcpu: 0,
            senders: [0; 64],
            global: 0,
            vcpus: (0..room).map(|_| 0).collect(),
        }
    }

    /// Forgets everything.
    fn clear(&mut self) {
        self.bound = 0;
        self.per_vcpu = 0;
        self.global = 0;
        self.vcpus.fill(0);
    }

    /// Returns whether all notifications in `map` are bound to `sender`.
    fn is_bound(&self, sender: PartitionId, map: u64) -> bool {
        let is_senders = |(bit, bound): (usize, &u16)| map & 1 << bit == 0 || *bound == sender.0;
        map & !self.bound == 0 && self.senders.iter().enumerate().all(is_senders)
    }

    fn pending(&self) -> u64 {
        self.vcpus.iter().fold(self.global, |all, map| all | map)
    }

    fn bind(&mut self, sender: PartitionId, map: u64, per_vcpu: bool) -> Result<()> {
        if self.bound & map != 0 {
            return Err(FfaError::Denied);
        }
        self.bound |= map;
        if per_vcpu {
            self.per_vcpu |= map;
        }
        self.set_senders(sender.0, map);
        Ok(())
    }

    fn unbind(&mut self, sender: PartitionId, map: u64) -> Result<()> {
        if !self.is_bound(sender, map) || self.pending() & map != 0 {
            return Err(FfaError::Denied);
        }
        self.bound &= !map;
        self.per_vcpu &= !map;
        Ok(())
    }

    fn set_senders(&mut self, sender: u16, map: u64) {
        for (bit, bound) in self.senders.iter_mut().enumerate() {
            if map & 1 << bit != 0 {
                *bound = sender;
            }
        }
    }

    /// Returns the pending notifications for `target`; `None` if there is no such vCPU.
    fn map_mut(&mut self, target: Target) -> Option<&mut u64> {
        match target {
            Target::Global => Some(&mut self.global),
            Target::Vcpu(vcpu) => self.vcpus.get_mut(vcpu as usize),
        }
    }

    /// Takes all pending notifications of `vcpu` but those in `kept`.
    fn take(&mut self, vcpu: u16, kept: u64) -> u64 {
        let own = self.map_mut(Target::Vcpu(vcpu));
        let own = own.map_or(0, |map| take_from(map, kept));
        take_from(&mut self.global, kept) | own
    }

    fn is_pending_for(&self, target: Target) -> bool {
        match target {
            Target::Global => self.global != 0,
            Target::Vcpu(vcpu) => self.vcpus.get(vcpu as usize).is_some_and(|map| *map != 0),
        }
    }
}

/// Takes the bits of `map` that are not in `kept`.
fn take_from(map: &mut u64, kept: u64) -> u64 {
    let taken = *map & !kept;
    *map &= kept;
    taken
}

/// One receiver.
#[derive(Clone, Debug)]
pub struct Receiver {
    vcpus: u16,
    from_partitions: Source,
    from_vms: Source,
    spm: u32,
    hypervisor: u32,
    /// Set if a global notification is pending that has not been reported to the scheduler.
    global_news: bool,
    /// The vCPUs that `FFA_NOTIFICATION_INFO_GET` has not reported yet.
    vcpu_news: VcpuSet,
}

impl Receiver {
    /// Makes a receiver without vCPUs, for which nothing is bound or pending. It has room for
    /// `room` of them.
    pub fn new(room: u16) -> Self {
        Self {
            vcpus: 0,
            from_partitions: Source::new(room),
            from_vms: Source::new(room),
            spm: 0,
            hypervisor: 0,
            global_news: false,
            vcpu_news: VcpuSet::new(room),
        }
    }

    /// Begins anew, with `vcpus` vCPUs, and with nothing bound or pending. Returns whether there is
    /// room for them; otherwise nothing changes.
    pub fn begin(&mut self, vcpus: u16) -> bool {
        if usize::from(vcpus) > self.from_vms.vcpus.len() {
            return false;
        }
        self.vcpus = vcpus;
        self.from_partitions.clear();
        self.from_vms.clear();
        self.spm = 0;
        self.hypervisor = 0;
        self.global_news = false;
        self.vcpu_news.clear();
        true
    }

    fn source_of(&mut self, sender: PartitionId) -> &mut Source {
        if sender.is_secure() {
            &mut self.from_partitions
        } else {
            &mut self.from_vms
        }
    }

    /// Handles `FFA_NOTIFICATION_BIND`. `DENIED` if any notification in `map` is bound already.
    pub fn bind(&mut self, sender: PartitionId, map: u64, per_vcpu: bool) -> Result<()> {
        self.source_of(sender).bind(sender, map, per_vcpu)
    }

    /// Handles `FFA_NOTIFICATION_UNBIND`. `DENIED` if any notification in `map` is not bound to
    /// `sender`, or is pending.
    pub fn unbind(&mut self, sender: PartitionId, map: u64) -> Result<()> {
        self.source_of(sender).unbind(sender, map)
    }

    /// Handles `FFA_NOTIFICATION_SET`. Returns whether any notification in `map` was not pending
    /// yet.
    ///
    /// `DENIED` if any notification is not bound to `sender`; `INVALID_PARAMETERS` if any is not of
    /// the kind of `target`, or if there is no such vCPU.
    pub fn set(&mut self, sender: PartitionId, map: u64, target: Target) -> Result<bool> {
        let vcpus = self.vcpus;
        let source = self.source_of(sender);
        let kind = match target {
            Target::Global => !source.per_vcpu,
            Target::Vcpu(_) => source.per_vcpu,
        };
        if !source.is_bound(sender, map) {
            return Err(FfaError::Denied);
        }
        if map & !kind != 0 || matches!(target, Target::Vcpu(vcpu) if vcpu >= vcpus) {
            return Err(FfaError::InvalidParameters);
        }
        let pending = source.map_mut(target).ok_or(FfaError::InvalidParameters)?;
        let is_new = *pending & map != map;
        *pending |= map;
        if is_new {
            self.note(target);
        }
        Ok(is_new)
    }

    /// Makes a notification of the framework pending. Each message is news, even if the receiver
    /// took the last message without fetching its notification.
    pub fn set_framework(&mut self, which: Framework) {
        match which {
            Framework::RxFullSpm => self.spm = 1,
            Framework::RxFullHypervisor => self.hypervisor = 1,
        }
        self.note(Target::Global);
    }

    /// Handles `FFA_NOTIFICATION_GET`: takes the notifications that are pending for `vcpu`, of the
    /// kinds in `flags`, but those in `kept`. `INVALID_PARAMETERS` if there is no such vCPU.
    pub fn take(&mut self, vcpu: u16, flags: u32, kept: &Pending) -> Result<Pending> {
        if vcpu >= self.vcpus {
            return Err(FfaError::InvalidParameters);
        }
        let mut pending = Pending::default();
        if flags & Pending::PARTITIONS != 0 {
            pending.partitions = self.from_partitions.take(vcpu, kept.partitions);
        }
        if flags & Pending::VMS != 0 {
            pending.vms = self.from_vms.take(vcpu, kept.vms);
        }
        if flags & Pending::SPM != 0 {
            pending.spm = self.spm & !kept.spm;
            self.spm &= kept.spm;
        }
        if flags & Pending::HYPERVISOR != 0 {
            pending.hypervisor = self.hypervisor & !kept.hypervisor;
            self.hypervisor &= kept.hypervisor;
        }
        // Notifications that were fetched need not be reported any more.
        self.global_news &= self.is_pending_globally();
        if !self.is_pending_for_vcpu(vcpu) {
            self.vcpu_news.remove(vcpu);
        }
        Ok(pending)
    }

    /// Moves news into `list`, in the form that [`InfoList::push`] expects. Returns `false` if some
    /// did not fit.
    pub fn report(&mut self, id: PartitionId, list: &mut InfoList) -> bool {
        if self.global_news {
            if !list.push(id, &[]) {
                return false;
            }
            self.global_news = false;
        }
        while !self.vcpu_news.is_empty() {
            let news = self.vcpu_news.iter().take(list.room_for_vcpus());
            let vcpus: ArrayVec<u16, { InfoList::MAX_VCPUS }> = news.collect();
            if vcpus.is_empty() || !list.push(id, &vcpus) {
                return false;
            }
            vcpus.iter().for_each(|vcpu| self.vcpu_news.remove(*vcpu));
        }
        true
    }

    /// Returns whether RX holds a message whose notification the receiver has not fetched.
    pub fn has_unseen_message(&self) -> bool {
        self.spm | self.hypervisor != 0
    }

    /// Returns whether any notification is pending.
    pub fn is_pending(&self) -> bool {
        self.is_pending_globally() || self.from_partitions.pending() | self.from_vms.pending() != 0
    }

    /// Returns whether `FFA_NOTIFICATION_GET` would return notifications for `vcpu`.
    pub fn is_pending_on(&self, vcpu: u16) -> bool {
        self.is_pending_globally() || self.is_pending_for_vcpu(vcpu)
    }

    /// Returns whether `FFA_NOTIFICATION_INFO_GET` has something to report.
    pub fn has_news(&self) -> bool {
        self.global_news || !self.vcpu_news.is_empty()
    }

    /// Returns whether a notification is pending that is not for one vCPU.
    pub fn is_pending_globally(&self) -> bool {
        let global = Target::Global;
        self.from_partitions.is_pending_for(global)
            || self.from_vms.is_pending_for(global)
            || self.spm | self.hypervisor != 0
    }

    fn is_pending_for_vcpu(&self, vcpu: u16) -> bool {
        let own = Target::Vcpu(vcpu);
        self.from_partitions.is_pending_for(own) || self.from_vms.is_pending_for(own)
    }

    fn note(&mut self, target: Target) {
        match target {
            Target::Global => self.global_news = true,
            Target::Vcpu(vcpu) => self.vcpu_news.insert(vcpu),
        }
    }
}
