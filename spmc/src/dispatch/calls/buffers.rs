//! RX/TX buffers: `FFA_RXTX_MAP`, `FFA_RXTX_UNMAP`, `FFA_RX_RELEASE`, `FFA_RX_ACQUIRE` (FF-A v1.0
//! sections 4.2.2 and 8.3 to 8.5, v1.1 section 13).
//!
//! The Normal world has a pair of its own, and its Hypervisor registers a pair for each VM that
//! asks for one. The buffers of partitions are in their own memory. Reserved registers are checked
//! only where the function has a status code for that.

use crate::addr::{Ipa, PAGE_SIZE, PageRange};
use crate::error::{FfaError, Result};
use crate::ffa::rxtx_descriptor::RxTxDescriptor;
use crate::ffa::{Answer, FunctionId, SmcFrame, Version};
use crate::hal::Hal;
use crate::id::PartitionId;
use crate::invariant::Invariant;
use crate::mm::BufferPages;
use crate::partition::mailbox::Buffers;
use crate::partition::{Endpoint, Mailbox};
use crate::spmc::{Pe, Spmc};
use crate::sync::MutexGuard;

use super::setup;
use crate::dispatch::Instance;

/// The arguments of `FFA_RXTX_MAP`.
struct RxTxMap {
    tx: u64,
    rx: u64,
    pages: u32,
}

impl RxTxMap {
    /// Decodes x1, x2 and w3. `INVALID_PARAMETERS` for more pages than `most`.
    fn decode(id: FunctionId, frame: &SmcFrame, most: u32) -> Result<Self> {
        let [_, tx, rx, ..] = frame.x;
        let pages = frame.w(3);
        if pages > most {
            return Err(FfaError::InvalidParameters);
        }
        Ok(Self {
            tx: setup::address(id, tx),
            rx: setup::address(id, rx),
            pages,
        })
    }
}

impl<H: Hal> Spmc<H> {
    /// Handles `FFA_RXTX_MAP`: registers the caller's buffers, which it must own exclusively.
    ///
    /// `INVALID_PARAMETERS` for a bad count or address, or overlapping buffers; `DENIED` if a pair
    /// is registered; `NO_MEMORY` if the pages cannot be recorded. Memory that is not exclusively
    /// the caller's is `DENIED` to the Normal world, and `INVALID_PARAMETERS` of a partition, as
    /// Hafnium answers.
    pub(super) fn rxtx_map(
        &self,
        pe: &mut Pe,
        instance: &Instance<'_, H::Context>,
        id: FunctionId,
        frame: &SmcFrame,
    ) -> Result<Answer> {
        let endpoint = instance.endpoint();
        let RxTxMap { tx, rx, pages } = RxTxMap::decode(id, frame, self.manifest.mailbox_pages)?;
        if let Instance::NormalWorld(_) = instance
            && (tx, rx, pages) == (0, 0, 0)
        {
            return self.rxtx_map_vm(pe);
        }
        let foreign = match instance {
            Instance::NormalWorld(_) => FfaError::Denied,
            Instance::Partition(_) => FfaError::InvalidParameters,
        };
        // Of memory, `DENIED` says that it is not exclusively the caller's.
        let told = |error| match error {
            FfaError::Denied => foreign,
            error => error,
        };
        let buffer = |address: u64| {
            if pages == 0 || !address.is_multiple_of(PAGE_SIZE) {
                return Err(FfaError::InvalidParameters);
            }
            PageRange::new(Ipa::new(address), pages.into()).ok_or(foreign)
        };
        let (tx, rx) = (buffer(tx)?, buffer(rx)?);
        let pair = BufferPages { tx, rx };
        let mut mailbox = endpoint.mailbox.lock();
        if let Some(former) = mailbox.buffers() {
            if let Instance::Partition(partition) = instance
                && partition.images.lock().keeps_buffers()
            {
                self.move_buffers(endpoint, &mut mailbox, former, pair)
                    .map_err(told)?;
                partition.images.lock().own_buffers();
                return Ok(Answer::success([]));
            }
            return Err(FfaError::Denied);
        }
        let locked = endpoint.memory.lock().lock_mailbox(&self.hal, pair);
        mailbox.map(locked.map_err(told)?)?;
        Ok(Answer::success([]))
    }

    /// Registers a pair of a partition in place of `former`, which an earlier image registered. The
    /// same pair stays as it is, with what is in RX. Errors as [`Self::rxtx_map`].
    #[cold]
    fn move_buffers(
        &self,
        endpoint: &Endpoint,
        mailbox: &mut Mailbox,
        former: Buffers,
        pair: BufferPages,
    ) -> Result<()> {
        let old = BufferPages {
            tx: former.tx.identity(),
            rx: former.rx.identity(),
        };
        if (old.tx, old.rx) == (pair.tx, pair.rx) {
            return Ok(());
        }
        let mut memory = endpoint.memory.lock();
        memory.unlock_mailbox(&self.hal, &former);
        match memory.lock_mailbox(&self.hal, pair) {
            Ok(buffers) => {
                mailbox.unmap()?;
                mailbox.map(buffers)
            }
            Err(error) => {
                // The tables of its pages exist.
                Invariant::Undo.expect(memory.lock_mailbox(&self.hal, old).is_ok());
                Err(error)
            }
        }
    }

    /// Handles `FFA_RXTX_MAP` of a Hypervisor on behalf of the VM that the descriptor in the
    /// Hypervisor's TX names.
    ///
    /// `INVALID_PARAMETERS` without such a TX, or for what the descriptor must not say; `DENIED` if
    /// the VM has a pair, or for memory that is not exclusively the Normal world's; `NO_MEMORY` for
    /// too many VMs, or buffers that are not contiguous.
    fn rxtx_map_vm(&self, pe: &mut Pe) -> Result<Answer> {
        let hypervisor = &self.normal_world;
        let descriptor = {
            let mailbox = hypervisor.mailbox.lock();
            // One page is longer than any valid descriptor, and not longer than any TX.
            let page = pe
                .scratch
                .first_chunk_mut::<{ PAGE_SIZE as usize }>()
                .ok_or(FfaError::NoMemory)?;
            mailbox.read_tx(&self.hal, page)?;
            RxTxDescriptor::decode(page, hypervisor.version(), self.manifest.mailbox_pages)?
        };
        if descriptor.id.is_secure() || descriptor.id == PartitionId::NORMAL_WORLD {
            return Err(FfaError::InvalidParameters);
        }
        self.vms.map(descriptor.id, || {
            let (tx, rx) = (descriptor.tx, descriptor.rx);
            hypervisor
                .memory
                .lock()
                .lock_mailbox(&self.hal, BufferPages { tx, rx })
        })?;
        Ok(Answer::success([]))
    }

    /// Handles `FFA_RXTX_UNMAP`: gives back the buffers of the caller, or of the VM that a
    /// Hypervisor names in w1.
    ///
    /// `INVALID_PARAMETERS` if there are none, or if w1 names anybody else or has reserved bits.
    /// When the Normal world gives up its own pair, it may negotiate its version again: the next
    /// stage of its boot is another client.
    pub(super) fn rxtx_unmap(
        &self,
        instance: &Instance<'_, H::Context>,
        frame: &SmcFrame,
    ) -> Result<Answer> {
        let endpoint = instance.endpoint();
        if endpoint.version() < Version::V1_1 && frame.w(1) as u16 != 0 {
            return Err(FfaError::InvalidParameters);
        }
        let owner = PartitionId((frame.w(1) >> 16) as u16);
        let mut mailbox = self.mailbox_named(instance, owner)?;
        let buffers = mailbox.unmap()?;
        endpoint.memory.lock().unlock_mailbox(&self.hal, &buffers);
        match instance {
            Instance::NormalWorld(_) if owner == PartitionId::NORMAL_WORLD => {
                endpoint.reopen_negotiation();
            }
            Instance::NormalWorld(_) => {}
            Instance::Partition(partition) => partition.images.lock().own_buffers(),
        }
        Ok(Answer::success([]))
    }

    /// Handles `FFA_RX_RELEASE`: passes RX of the caller, or of the VM that a Hypervisor names in
    /// w1, back to the SPMC. `DENIED` if neither of them owns it, `INVALID_PARAMETERS` for a VM
    /// without buffers.
    pub(super) fn rx_release(
        &self,
        instance: &Instance<'_, H::Context>,
        frame: &SmcFrame,
    ) -> Result<Answer> {
        let owner = match instance {
            Instance::NormalWorld(_) => PartitionId(frame.w(1) as u16),
            Instance::Partition(_) => PartitionId(0),
        };
        self.mailbox_named(instance, owner)?.release_rx()?;
        Ok(Answer::success([]))
    }

    /// Handles `FFA_RX_ACQUIRE` (v1.1): gives RX of the VM in w1 to the Hypervisor, which is about
    /// to write to it.
    ///
    /// `INVALID_PARAMETERS` for an id that is not of a VM with buffers, `DENIED` if its RX is not
    /// empty.
    pub(super) fn rx_acquire(
        &self,
        instance: &Instance<'_, H::Context>,
        frame: &SmcFrame,
    ) -> Result<Answer> {
        let vm = PartitionId(frame.w(1) as u16);
        if vm == PartitionId::NORMAL_WORLD {
            return Err(FfaError::InvalidParameters);
        }
        self.mailbox_named(instance, vm)?.acquire_rx()?;
        Ok(Answer::success([]))
    }

    /// Locks the mailbox that a caller names by `id`: its own by zero or by its id, or, for a
    /// Hypervisor, that of a VM. `INVALID_PARAMETERS` for any other id, and for a VM without
    /// buffers.
    fn mailbox_named<'s>(
        &'s self,
        instance: &Instance<'s, H::Context>,
        id: PartitionId,
    ) -> Result<MutexGuard<'s, Mailbox>> {
        let endpoint = instance.endpoint();
        if id == PartitionId(0) || id == endpoint.id() {
            return Ok(endpoint.mailbox.lock());
        }
        match instance {
            Instance::NormalWorld(_) => self.vms.find(id),
            Instance::Partition(_) => None,
        }
        .ok_or(FfaError::InvalidParameters)
    }
}
