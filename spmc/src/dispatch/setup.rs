//! Set-up calls: version and ids (FF-A v1.0 chapter 8).

use crate::error::Result;
use crate::ffa::{Answer, FunctionId, SmcFrame};
use crate::hal::Hal;
use crate::id::PartitionId;
use crate::partition::Endpoint;
use crate::spmc::Spmc;

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
    pub(super) fn version(endpoint: &Endpoint, frame: &SmcFrame) -> Answer {
        let word = match endpoint.negotiate(frame.w(1)) {
            Ok(version) => version.to_word() as u64,
            Err(error) => error.to_reg(),
        };
        Answer::new([word])
    }

    /// `FFA_ID_GET`
    #[inline(always)]
    pub(super) fn id_get(endpoint: &Endpoint) -> Answer {
        Answer::success([endpoint.id().0 as u32])
    }

    /// `FFA_SPM_ID_GET`
    pub(super) fn spm_id_get(&self) -> Result<Answer> {
        Ok(Answer::success([self.spmc_id().0 as u32]))
    }

    /// The id that the SPMC manifest gives us.
    pub(crate) fn spmc_id(&self) -> PartitionId {
        self.manifest
            .get()
            .map_or(PartitionId::SPMC, |manifest| manifest.spmc_id)
    }
}
