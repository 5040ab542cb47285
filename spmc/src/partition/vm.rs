//! RX/TX pairs of VMs, which their Hypervisor registers for them (FF-A v1.0 section 4.2.2.2).
//!
//! To the SPMC a VM is an id with a mailbox: its memory, version and identity are the Hypervisor's.

use alloc::boxed::Box;

use crate::error::{FfaError, Result};
use crate::id::PartitionId;
use crate::partition::Mailbox;
use crate::partition::mailbox::Buffers;
use crate::sync::atomic::{AtomicU16, Ordering};
use crate::sync::{Mutex, MutexGuard};

/// A VM with buffers, or a free slot, whose mailbox has no buffers.
struct Slot {
    /// Read and written with the mailbox locked.
    id: AtomicU16,
    mailbox: Mutex<Mailbox>,
}

/// All VMs with buffers.
pub struct VmMailboxes {
    slots: Box<[Slot]>,
    /// Held while a VM gets a slot, so that no VM gets two.
    registry: Mutex<()>,
}

impl VmMailboxes {
    /// Creates the table without VMs, for as many of them.
    pub fn new(vms: u16) -> Self {
        let free = || Slot {
            id: AtomicU16::new(0),
            mailbox: Mutex::new(Mailbox::new()),
        };
        Self {
            slots: (0..vms).map(|_| free()).collect(),
            registry: Mutex::new(()),
        }
    }

    /// Locks the mailbox of the VM with that id; `None` if it has no buffers.
    #[inline]
    pub fn find(&self, id: PartitionId) -> Option<MutexGuard<'_, Mailbox>> {
        // Whoever registers `id` meanwhile has it registered after this call.
        let is_same = |slot: &&Slot| slot.id.load(Ordering::Relaxed) == id.0;
        self.slots.iter().filter(is_same).find_map(|slot| {
            let mailbox = slot.mailbox.lock();
            let found = is_same(&slot) && mailbox.buffers().is_some();
            found.then_some(mailbox)
        })
    }

    /// Registers the pair that `claim` returns for the VM `id`. `DENIED` if it has one, `NO_MEMORY`
    /// if there is no slot left, and the errors of `claim`, which is called last.
    pub fn map(&self, id: PartitionId, claim: impl FnOnce() -> Result<Buffers>) -> Result<()> {
        let _registry = self.registry.lock();
        if self.find(id).is_some() {
            return Err(FfaError::Denied);
        }
        let (slot, mut mailbox) = self
            .slots
            .iter()
            .map(|slot| (slot, slot.mailbox.lock()))
            .find(|(_, mailbox)| mailbox.buffers().is_none())
            .ok_or(FfaError::NoMemory)?;
        mailbox.map(claim()?)?;
        slot.id.store(id.0, Ordering::Relaxed);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::addr::{Pa, PageRange, World};

    const VMS: u16 = 3;

    fn pair() -> Result<Buffers> {
        let page = |base| PageRange::new(Pa::new(base), 1).unwrap();
        Ok(Buffers {
            tx: page(0x1000),
            rx: page(0x2000),
            world: World::NonSecure,
        })
    }

    // req: RXTX-21, RXTX-22, RXTX-23
    #[test]
    fn each_vm_has_one_pair_and_slots_are_used_again() {
        let vms = VmMailboxes::new(VMS);
        let id = PartitionId;
        for n in 1..=VMS {
            assert_eq!(
                vms.map(id(n), || Err(FfaError::InvalidParameters)),
                Err(FfaError::InvalidParameters)
            );
            assert!(vms.find(id(n)).is_none());
            assert_eq!(vms.map(id(n), pair), Ok(()));
            assert_eq!(vms.map(id(n), pair), Err(FfaError::Denied));
        }
        let next = id(VMS + 1);
        assert_eq!(vms.map(next, pair), Err(FfaError::NoMemory));
        assert!(vms.find(next).is_none());
        vms.find(id(2)).unwrap().unmap().unwrap();
        assert!(vms.find(id(2)).is_none());
        assert_eq!(vms.map(next, pair), Ok(()));
        assert!(vms.find(next).is_some() && vms.find(id(1)).is_some());
    }
}
