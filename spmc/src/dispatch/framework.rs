//! Framework messages of the SPMD (FF-A v1.1 section 18.2): version of the Normal world, power management.
//!
//! They come as direct requests from id 0xffff with bit 31 of w2 set, and must not count as calls of the Normal world.

use crate::error::{FfaError, Result};
use crate::ffa::{SmcFrame, function};
use crate::hal::Hal;
use crate::id::PartitionId;
use crate::spmc::{Pe, Spmc};

/// Bit 31 of w2.
const FRAMEWORK: u32 = 1 << 31;
/// PSCI request.
const PSCI_REQUEST: u32 = FRAMEWORK;
/// The PE left a low-power state.
const WARM_BOOT: u32 = FRAMEWORK | 1;
/// Answer to both.
const PSCI_RESPONSE: u32 = FRAMEWORK | 2;
/// FFA_VERSION of the Normal world, in w3.
const VERSION_REQUEST: u32 = FRAMEWORK | 8;
/// Answer to it.
const VERSION_RESPONSE: u32 = FRAMEWORK | 9;

/// PSCI_CPU_OFF.
const CPU_OFF: u32 = 0x8400_0002;
/// PSCI status SUCCESS.
const PSCI_SUCCESS: u32 = 0;

impl<H: Hal> Spmc<H> {
    /// Answers a framework message. `INVALID_PARAMETERS` if w2 does not name one or the destination is not the SPMC,
    /// `NOT_SUPPORTED` for one that is not known.
    pub(super) fn framework_message(&self, pe: &Pe, frame: &mut SmcFrame) -> Result<()> {
        let spmc = self.spmc_id();
        if frame.w(1) as u16 != spmc.0 || frame.w(2) & FRAMEWORK == 0 {
            return Err(FfaError::InvalidParameters);
        }
        let (kind, status) = match frame.w(2) {
            VERSION_REQUEST => {
                let version = self.normal_world.negotiate(frame.w(3));
                (
                    VERSION_RESPONSE,
                    version.map_or_else(|e| e.to_reg() as u32, |v| v.to_word()),
                )
            }
            PSCI_REQUEST => {
                if frame.w(3) == CPU_OFF {
                    self.turn_off(pe);
                }
                (PSCI_RESPONSE, PSCI_SUCCESS)
            }
            WARM_BOOT => (PSCI_RESPONSE, PSCI_SUCCESS),
            _ => return Err(FfaError::NotSupported),
        };
        *frame = SmcFrame::new([
            function::MSG_SEND_DIRECT_RESP_32 as u64,
            (spmc.0 as u64) << 16 | PartitionId::SPMD.0 as u64,
            kind as u64,
            status as u64,
        ]);
        Ok(())
    }
}
