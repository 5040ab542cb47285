//! Notifications (FF-A v1.1 chapter 10): which receivers there are, which notifications are pending
//! for them, and which of these have been reported to the scheduler.
//!
//! Each receiver, a partition or a VM, has a slot with a lock of its own; no lock covers two slots.
//! A slot's lock is the last in the order of locks: no other lock is taken while it is held. All
//! slots share one atomic word. It says which slots have news, that is, notifications that
//! `FFA_NOTIFICATION_INFO_GET` has not reported yet.
//!
//! No state records that the schedule receiver interrupt was raised. The interrupt is raised
//! whenever a notification becomes pending, or is set again, and has not been reported to the
//! scheduler. So if an interrupt is lost with its PE, another one follows.
//!
//! This module knows neither registers nor states of execution contexts, and runs no partition.

mod info;
mod receiver;
#[cfg(test)]
mod tests;

pub use info::InfoList;
pub use receiver::{Framework, Pending, Receiver, Target};

use alloc::boxed::Box;

use crate::error::{FfaError, Result};
use crate::id::PartitionId;
use crate::limits::{MAX_NOTIFIED_VCPUS, MAX_NOTIFIED_VMS, MAX_PARTITIONS};
use crate::partition::Directory;
use crate::sync::atomic::{AtomicU32, Ordering};
use crate::sync::{Mutex, MutexGuard};
use crate::vcpu_set::VcpuSet;

const SLOTS: usize = MAX_PARTITIONS + MAX_NOTIFIED_VMS;
const _: () = assert!(SLOTS <= u32::BITS as usize);

/// Marks the key of a slot that is in use; the other bits are the id.
const USED: u32 = 1 << 16;

struct Slot {
    /// Zero, or [`USED`] and the receiver's id. Written with the lock held.
    key: AtomicU32,
    receiver: Mutex<Receiver>,
}

/// All receivers.
pub struct Notifications {
    /// Slots of partitions, by index, then slots of VMs in any order.
    slots: Box<[Slot]>,
    /// Held while a VM gets or loses its slot, so that no VM gets two slots.
    registry: Mutex<()>,
    /// One bit for each slot, set if the slot has news. Written with the slot's lock held.
    news: AtomicU32,
}

/// A receiver whose lock is held.
pub struct Locked<'n> {
    receiver: MutexGuard<'n, Receiver>,
    news: &'n AtomicU32,
    slot: usize,
}

impl Locked<'_> {
    /// Applies `action` to the receiver, and records whether the receiver has news afterwards.
    pub fn with<T>(&mut self, action: impl FnOnce(&mut Receiver) -> T) -> T {
        let result = action(&mut self.receiver);
        let bit = 1_u32 << self.slot;
        if self.receiver.has_news() {
            self.news.fetch_or(bit, Ordering::AcqRel);
        } else {
            self.news.fetch_and(!bit, Ordering::AcqRel);
        }
        result
    }

    /// Returns whether `FFA_NOTIFICATION_INFO_GET` has something to report for the receiver.
    pub fn has_news(&self) -> bool {
        self.receiver.has_news()
    }

    /// Returns the vCPUs for which `FFA_NOTIFICATION_GET` would return notifications.
    pub fn pending_on(&self) -> VcpuSet {
        self.receiver.pending_on()
    }
}

impl Notifications {
    /// Creates the table without receivers.
    pub fn new() -> Self {
        let vacant = || Slot {
            key: AtomicU32::new(0),
            receiver: Mutex::new(Receiver::NEW),
        };
        Self {
            slots: (0..SLOTS).map(|_| vacant()).collect(),
            registry: Mutex::new(()),
            news: AtomicU32::new(0),
        }
    }

    /// Lets the partition at `index` receive notifications in `vcpus` execution contexts.
    pub fn enable_partition(&self, index: usize, id: PartitionId, vcpus: u16) {
        if let Some(slot) = self.slots.get(index) {
            slot.fill(id, vcpus);
        }
    }

    /// Removes a partition that failed: it gets no more notifications, and those that are pending
    /// for it are no longer reported to the scheduler.
    pub fn bury(&self, directory: &Directory, id: PartitionId) {
        if let Some(mut locked) = self.receiver(directory, id) {
            self.empty(&mut locked);
        }
    }

    /// Handles `FFA_NOTIFICATION_BITMAP_CREATE`: lets the VM `id` receive notifications in `vcpus`
    /// vCPUs.
    ///
    /// `INVALID_PARAMETERS` for no vCPUs, `DENIED` if the VM has a bitmap already, `NO_MEMORY` for
    /// more vCPUs or VMs than there is room for.
    pub fn create(&self, id: PartitionId, vcpus: u32) -> Result<()> {
        if vcpus == 0 {
            return Err(FfaError::InvalidParameters);
        }
        let _registry = self.registry.lock();
        if self.find_vm(id).is_some() {
            return Err(FfaError::Denied);
        }
        if vcpus as usize > MAX_NOTIFIED_VCPUS {
            return Err(FfaError::NoMemory);
        }
        let free = self
            .slots
            .iter()
            .skip(MAX_PARTITIONS)
            .find(|slot| slot.key.load(Ordering::Acquire) == 0)
            .ok_or(FfaError::NoMemory)?;
        free.fill(id, vcpus as u16);
        Ok(())
    }

    /// Handles `FFA_NOTIFICATION_BITMAP_DESTROY`. `DENIED` if the VM has no bitmap, or if a
    /// notification is pending for the VM.
    pub fn destroy(&self, id: PartitionId) -> Result<()> {
        let _registry = self.registry.lock();
        let vm = self.find_vm(id).and_then(|found| self.lock(found, id));
        let mut locked = vm.ok_or(FfaError::Denied)?;
        if locked.receiver.is_pending() {
            return Err(FfaError::Denied);
        }
        self.empty(&mut locked);
        Ok(())
    }

    /// Locks and returns the receiver with that id; `None` if it cannot be notified.
    pub fn receiver(&self, directory: &Directory, id: PartitionId) -> Option<Locked<'_>> {
        let found = if id.is_secure() {
            let index = directory.index(id);
            (index, self.slots.get(index)?)
        } else {
            self.find_vm(id)?
        };
        self.lock(found, id)
    }

    /// Locks a slot; `None` if the slot does not belong to `id`.
    fn lock<'n>(&'n self, (index, slot): (usize, &'n Slot), id: PartitionId) -> Option<Locked<'n>> {
        let receiver = slot.receiver.lock();
        // The VM may have lost the slot before the lock was taken.
        (slot.key.load(Ordering::Relaxed) == key(id)).then_some(Locked {
            receiver,
            news: &self.news,
            slot: index,
        })
    }

    /// Handles `FFA_NOTIFICATION_INFO_GET`: moves notifications that have not been reported yet
    /// into `list`, as far as there is room. Returns whether any are left.
    pub fn report(&self, list: &mut InfoList) -> bool {
        for (index, slot) in self.slots.iter().enumerate() {
            if self.news.load(Ordering::Acquire) & 1 << index == 0 {
                continue;
            }
            let receiver = slot.receiver.lock();
            let id = PartitionId(slot.key.load(Ordering::Relaxed) as u16);
            let mut locked = Locked {
                receiver,
                news: &self.news,
                slot: index,
            };
            if !locked.with(|receiver| receiver.report(id, list)) {
                return true;
            }
        }
        self.news.load(Ordering::Acquire) != 0
    }

    fn find_vm(&self, id: PartitionId) -> Option<(usize, &Slot)> {
        let slots = self.slots.iter().enumerate().skip(MAX_PARTITIONS);
        let mut of_vms = slots.filter(|(_, slot)| slot.key.load(Ordering::Acquire) == key(id));
        of_vms.next()
    }

    fn empty(&self, locked: &mut Locked<'_>) {
        locked.with(|receiver| *receiver = Receiver::NEW);
        if let Some(slot) = self.slots.get(locked.slot) {
            slot.key.store(0, Ordering::Release);
        }
    }

    /// Calls `look` with each receiver, for tests.
    pub fn for_each(&self, mut look: impl FnMut(PartitionId, &Receiver)) {
        for slot in &self.slots {
            let receiver = slot.receiver.lock();
            let key = slot.key.load(Ordering::Relaxed);
            if key != 0 {
                look(PartitionId(key as u16), &receiver);
            }
        }
    }
}

impl Default for Notifications {
    fn default() -> Self {
        Self::new()
    }
}

impl Slot {
    fn fill(&self, id: PartitionId, vcpus: u16) {
        let mut receiver = self.receiver.lock();
        *receiver = Receiver::with_vcpus(vcpus);
        self.key.store(key(id), Ordering::Release);
    }
}

const fn key(id: PartitionId) -> u32 {
    USED | id.0 as u32
}
