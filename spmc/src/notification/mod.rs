//! Notifications (FF-A v1.1 chapter 10): which receivers there are, which notifications are pending
//! for them, and which of these have been reported to the scheduler.
//!
//! Each receiver, a partition or a VM, has a slot with a lock of its own; no lock covers two slots.
//! A slot's lock is the last in the order of locks: no other lock is taken while it is held. A
//! bit for each slot, in atomic words, says whether the slot has news, that is, notifications that
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
use core::iter;

use crate::bits::members;
use crate::error::{FfaError, Result};
use crate::id::PartitionId;
use crate::invariant::Invariant;
use crate::partition::Directory;
use crate::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use crate::sync::{Mutex, MutexGuard};

/// Marks the key of a slot that is in use; the other bits are the id.
const USED: u32 = 1 << 16;

const WORD: usize = u64::BITS as usize;

/// Returns the word and the bit in it that stand for a slot.
const fn place(slot: usize) -> (usize, u64) {
    (slot / WORD, 1_u64.wrapping_shl((slot % WORD) as u32))
}

struct Slot {
    /// Zero, or [`USED`] and the receiver's id. Written with the lock held.
    key: AtomicU32,
    receiver: Mutex<Receiver>,
}

/// All receivers.
pub struct Notifications {
    /// Slots of partitions, by index, then slots of VMs in any order.
    slots: Box<[Slot]>,
    /// The number of slots of partitions.
    partitions: usize,
    /// Held while a VM gets or loses its slot, so that no VM gets two slots.
    registry: Mutex<()>,
    /// One bit for each slot, set if the slot has news. Written with the slot's lock held.
    news: Box<[AtomicU64]>,
}

/// A receiver whose lock is held.
pub struct Locked<'n> {
    receiver: MutexGuard<'n, Receiver>,
    news: &'n [AtomicU64],
    slot: usize,
}

impl Locked<'_> {
    /// Applies `action` to the receiver, and records whether the receiver has news afterwards.
    pub fn with<T>(&mut self, action: impl FnOnce(&mut Receiver) -> T) -> T {
        let result = action(&mut self.receiver);
        let (word, bit) = place(self.slot);
        if let Some(word) = self.news.get(word) {
            if self.receiver.has_news() {
                word.fetch_or(bit, Ordering::AcqRel);
            } else {
                word.fetch_and(!bit, Ordering::AcqRel);
            }
        }
        result
    }

    /// Returns whether `FFA_NOTIFICATION_INFO_GET` has something to report for the receiver.
    pub fn has_news(&self) -> bool {
        self.receiver.has_news()
    }

    /// Returns whether `FFA_NOTIFICATION_GET` would return notifications for every vCPU.
    pub fn is_pending_globally(&self) -> bool {
        self.receiver.is_pending_globally()
    }

    /// Returns whether `FFA_NOTIFICATION_GET` would return notifications for `vcpu`.
    #[inline]
    pub fn is_pending_on(&self, vcpu: u16) -> bool {
        self.receiver.is_pending_on(vcpu)
    }
}

impl Notifications {
    /// Creates the table without receivers, for partitions that have so many contexts each, and
    /// for `vms` VMs with up to `vcpus` vCPUs.
    pub fn new(contexts: impl Iterator<Item = u16> + Clone, vms: u16, vcpus: u16) -> Self {
        let vacant = |room| Slot {
            key: AtomicU32::new(0),
            receiver: Mutex::new(Receiver::new(room)),
        };
        let vms = iter::repeat_n(vcpus, vms.into());
        let slots: Box<[Slot]> = contexts.clone().chain(vms).map(vacant).collect();
        let words = 0..slots.len().div_ceil(WORD);
        Self {
            slots,
            partitions: contexts.count(),
            registry: Mutex::new(()),
            news: words.map(|_| AtomicU64::new(0)).collect(),
        }
    }

    /// Lets the partition at `index` receive notifications in `vcpus` execution contexts.
    pub fn enable_partition(&self, index: usize, id: PartitionId, vcpus: u16) {
        let filled = self.slots.get(index).map(|slot| slot.fill(id, vcpus));
        Invariant::Bounds.expect(filled == Some(Ok(())));
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
        let vcpus = u16::try_from(vcpus).map_err(|_| FfaError::NoMemory)?;
        let mut of_vms = self.slots.iter().skip(self.partitions);
        let is_free = |slot: &&Slot| slot.key.load(Ordering::Acquire) == 0;
        let free = of_vms.find(is_free).ok_or(FfaError::NoMemory)?;
        free.fill(id, vcpus)
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

    /// Gives up the bitmaps of the VM `id`, which has ended, if a notification is pending for it:
    /// as nobody takes that any more, the bitmaps could never be destroyed. Others are left for
    /// [`Self::destroy`].
    pub fn end_vm(&self, id: PartitionId) {
        let _registry = self.registry.lock();
        if let Some(mut locked) = self.find_vm(id).and_then(|found| self.lock(found, id))
            && locked.receiver.is_pending()
        {
            self.empty(&mut locked);
        }
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
        for index in members(&self.news, |word| word.load(Ordering::Acquire)) {
            let Some(slot) = self.slots.get(index) else {
                continue;
            };
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
        self.news
            .iter()
            .any(|word| word.load(Ordering::Acquire) != 0)
    }

    fn find_vm(&self, id: PartitionId) -> Option<(usize, &Slot)> {
        let slots = self.slots.iter().enumerate().skip(self.partitions);
        let mut of_vms = slots.filter(|(_, slot)| slot.key.load(Ordering::Acquire) == key(id));
        of_vms.next()
    }

    #[inline]
    fn empty(&self, locked: &mut Locked<'_>) {
        locked.with(|receiver| receiver.begin(0));
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

impl Slot {
    /// Makes it the slot of `id`. `NO_MEMORY` if it has no room for so many vCPUs.
    fn fill(&self, id: PartitionId, vcpus: u16) -> Result<()> {
        let mut receiver = self.receiver.lock();
        if !receiver.begin(vcpus) {
            return Err(FfaError::NoMemory);
        }
        self.key.store(key(id), Ordering::Release);
        Ok(())
    }
}

const fn key(id: PartitionId) -> u32 {
    USED | id.0 as u32
}
