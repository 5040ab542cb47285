//! Set-up calls: version, ids, and the entry point of secondary contexts (FF-A v1.0 chapter 8).

use crate::addr::Ipa;
use crate::dispatch::context::Current;
use crate::error::{FfaError, Result};
use crate::ffa::{Answer, FunctionId, SmcFrame};
use crate::hal::Hal;
use crate::id::PartitionId;
use crate::partition::Endpoint;
use crate::partition::vcpu::Model;
use crate::spmc::Spmc;

/// Returns an address argument: 32-bit functions use the low half of the register.
pub(in crate::dispatch) fn address(id: FunctionId, register: u64) -> u64 {
    if id.is_64() {
        register
    } else {
        register & u32::MAX as u64
    }
}

impl<H: Hal> Spmc<H> {
    /// Handles `FFA_VERSION`, whose result is in w0.
    pub(in crate::dispatch) fn version(endpoint: &Endpoint, frame: &SmcFrame) -> Answer {
        Answer::new([endpoint.negotiate(frame.w(1), frame.w(2)).into()])
    }

    /// `FFA_ID_GET`
    #[inline(always)]
    pub(in crate::dispatch) fn id_get(endpoint: &Endpoint) -> Answer {
        Answer::success([endpoint.id().0 as u32])
    }

    /// `FFA_SPM_ID_GET`
    pub(super) fn spm_id_get(&self) -> Result<Answer> {
        Ok(Answer::success([self.spmc_id().0 as u32]))
    }

    /// Returns the id that the manifest gives the SPMC.
    pub(crate) fn spmc_id(&self) -> PartitionId {
        self.manifest.spmc_id
    }

    /// Handles `FFA_SECONDARY_EP_REGISTER` (FF-A v1.1 section 18.2.1), which sets the entry point
    /// of the secondary contexts of an MP partition. The last call wins.
    ///
    /// `NOT_SUPPORTED` for a UP partition, `DENIED` after the boot context's initialisation,
    /// `INVALID_PARAMETERS` if the address is not an instruction address in the partition's own
    /// memory.
    pub(in crate::dispatch) fn secondary_ep_register(
        &self,
        current: &Current<'_, H::Context>,
        entry: u64,
    ) -> Result<Answer> {
        let config = &current.frozen.config;
        if config.is_up() {
            return Err(FfaError::NotSupported);
        }
        if current.vcpu.model() != Model::Init || self.has_booted() {
            return Err(FfaError::Denied);
        }
        let memory = config.memory;
        let inside = memory.base().raw() <= entry && entry < memory.end().raw();
        if !inside || !entry.is_multiple_of(4) {
            return Err(FfaError::InvalidParameters);
        }
        current.partition.set_secondary_entry(Ipa::new(entry));
        Ok(Answer::success([]))
    }
}
