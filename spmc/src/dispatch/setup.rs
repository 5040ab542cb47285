//! Set-up calls: version, ids, RX/TX buffers (FF-A v1.0 chapter 8).

use crate::addr::{Ipa, PageRange};
use crate::error::{FfaError, Result};
use crate::ffa::{FunctionId, SmcFrame};
use crate::hal::Hal;
use crate::id::PartitionId;
use crate::limits::MAX_MAILBOX_PAGES;
use crate::partition::Endpoint;
use crate::spmc::Spmc;

use super::Instance;

/// An address argument: 32-bit functions use the low half of the register.
pub(super) fn address(id: FunctionId, register: u64) -> u64 {
    if id.is_64() {
        register
    } else {
        register & u32::MAX as u64
    }
}

impl<H: Hal> Spmc<H> {
    /// `FFA_VERSION`: the result stands in w0 itself.
    pub(super) fn version(endpoint: &Endpoint, frame: &SmcFrame) -> SmcFrame {
        let word = match endpoint.negotiate(frame.w(1)) {
            Ok(version) => version.to_word() as u64,
            Err(error) => error.to_reg(),
        };
        SmcFrame::new([word])
    }

    /// `FFA_SPM_ID_GET`
    pub(super) fn spm_id_get(&self) -> Result<SmcFrame> {
        Ok(SmcFrame::success([self.spmc_id().0 as u32]))
    }

    /// The id that the SPMC manifest gives us.
    pub(crate) fn spmc_id(&self) -> PartitionId {
        self.manifest
            .get()
            .map_or(PartitionId::SPMC, |manifest| manifest.spmc_id)
    }

    /// `FFA_RXTX_MAP`: registers the caller's buffers, which must be its own and nobody else's.
    ///
    /// `INVALID_PARAMETERS` for a bad count or address, overlapping buffers, or memory that is not exclusively the caller's; `DENIED`
    /// if a pair is registered; `NO_MEMORY` if the pages cannot be recorded.
    pub(super) fn rxtx_map(
        &self,
        instance: &Instance<'_, H::Context>,
        id: FunctionId,
        frame: &SmcFrame,
    ) -> Result<SmcFrame> {
        let endpoint = instance.endpoint();
        let pages = frame.w(3);
        if pages > MAX_MAILBOX_PAGES || (4..8).any(|n| frame.w(n) != 0) {
            return Err(FfaError::InvalidParameters);
        }
        let buffer = |register: u64| {
            PageRange::new(Ipa::new(address(id, register)), pages as u64)
                .ok_or(FfaError::InvalidParameters)
        };
        let (tx, rx) = (buffer(frame.x[1])?, buffer(frame.x[2])?);
        if tx.overlaps(&rx) {
            return Err(FfaError::InvalidParameters);
        }
        let mut mailbox = endpoint.mailbox.lock();
        if mailbox.buffers().is_some() {
            return Err(FfaError::Denied);
        }
        let buffers = endpoint.memory.lock().lock_mailbox(&self.hal, tx, rx)?;
        mailbox.map(buffers)?;
        Ok(SmcFrame::success([]))
    }

    /// `FFA_RXTX_UNMAP`: gives the buffers back.
    ///
    /// `INVALID_PARAMETERS` if there are none, or if w1 names anybody but the caller. When the Normal world does it, it may negotiate
    /// its version anew: the next stage of its boot is another client.
    pub(super) fn rxtx_unmap(
        &self,
        instance: &Instance<'_, H::Context>,
        frame: &SmcFrame,
    ) -> Result<SmcFrame> {
        let endpoint = instance.endpoint();
        let owner = PartitionId((frame.w(1) >> 16) as u16);
        let names_caller = owner == PartitionId(0) || owner == endpoint.id();
        if !names_caller || frame.w(1) as u16 != 0 {
            return Err(FfaError::InvalidParameters);
        }
        let mut mailbox = endpoint.mailbox.lock();
        let buffers = mailbox.unmap()?;
        endpoint.memory.lock().unlock_mailbox(&self.hal, &buffers);
        if let Instance::NormalWorld(_) = instance {
            endpoint.reopen_negotiation();
        }
        Ok(SmcFrame::success([]))
    }

    /// `FFA_RX_RELEASE`: RX is empty again. `DENIED` if the caller does not own it, `INVALID_PARAMETERS` for a VM id, as
    /// no VM has buffers of its own here.
    pub(super) fn rx_release(
        &self,
        instance: &Instance<'_, H::Context>,
        frame: &SmcFrame,
    ) -> Result<SmcFrame> {
        if matches!(instance, Instance::NormalWorld(_)) && frame.w(1) != 0 {
            return Err(FfaError::InvalidParameters);
        }
        instance.endpoint().mailbox.lock().release_rx()?;
        Ok(SmcFrame::success([]))
    }
}
