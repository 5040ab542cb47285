//! Function ids of the framework (FF-A v1.0 chapter 6 and the tables of chapters 7 to 12; later
//! versions up to 0x97).

/// A function id as found in w0, with the SVE hint of SMCCC 1.3 (bit 16) taken off.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FunctionId(pub u32);

impl FunctionId {
    /// Decodes w0; the upper half of x0 is ignored.
    pub const fn from_reg(x0: u64) -> Self {
        Self(x0 as u32 & !(1 << 16))
    }

    /// Returns whether the id lies in the range of the framework, 32- or 64-bit.
    pub const fn is_ffa(self) -> bool {
        let base = self.0 & !IS_64;
        base >= FIRST && base <= LAST
    }

    /// Returns whether the call is a fast call (SMCCC, bit 31).
    pub const fn is_fast(self) -> bool {
        self.0 & (1 << 31) != 0
    }

    /// Returns whether SMCCC keeps the id for PSCI or FF-A: of the standard secure services, 0x00
    /// to 0x1f and 0x60 to 0xef.
    pub const fn is_reserved(self) -> bool {
        let base = self.0 & !IS_64;
        matches!(base, 0x8400_0000..=0x8400_001f | 0x8400_0060..=0x8400_00ef)
    }

    /// Returns whether the id is of the SMC64 convention, whose arguments are 64 bits wide.
    pub const fn is_64(self) -> bool {
        self.0 & IS_64 != 0
    }
}

/// Bit of a function id: the SMC64 convention.
pub const IS_64: u32 = 1 << 30;
/// First function id of the framework, in its 32-bit form.
pub const FIRST: u32 = ERROR;
/// Last function id that the framework has so far (1.3), in its 32-bit form.
pub const LAST: u32 = 0x8400_0097;

/// `FFA_ERROR`
pub const ERROR: u32 = 0x8400_0060;
/// `FFA_ERROR`, 64-bit (1.3)
pub const ERROR_64: u32 = 0xc400_0060;
/// `FFA_SUCCESS`, 32-bit
pub const SUCCESS_32: u32 = 0x8400_0061;
/// `FFA_SUCCESS`, 64-bit
pub const SUCCESS_64: u32 = 0xc400_0061;
/// `FFA_INTERRUPT`
pub const INTERRUPT: u32 = 0x8400_0062;
/// `FFA_VERSION`
pub const VERSION: u32 = 0x8400_0063;
/// `FFA_FEATURES`
pub const FEATURES: u32 = 0x8400_0064;
/// `FFA_RX_RELEASE`
pub const RX_RELEASE: u32 = 0x8400_0065;
/// `FFA_RXTX_MAP`, 32-bit
pub const RXTX_MAP_32: u32 = 0x8400_0066;
/// `FFA_RXTX_MAP`, 64-bit
pub const RXTX_MAP_64: u32 = 0xc400_0066;
/// `FFA_RXTX_UNMAP`
pub const RXTX_UNMAP: u32 = 0x8400_0067;
/// `FFA_PARTITION_INFO_GET`
pub const PARTITION_INFO_GET: u32 = 0x8400_0068;
/// `FFA_ID_GET`
pub const ID_GET: u32 = 0x8400_0069;
/// `FFA_MSG_POLL`
pub const MSG_POLL: u32 = 0x8400_006a;
/// `FFA_MSG_WAIT`
pub const MSG_WAIT: u32 = 0x8400_006b;
/// `FFA_MSG_WAIT`, 64-bit (1.3)
pub const MSG_WAIT_64: u32 = 0xc400_006b;
/// `FFA_YIELD`
pub const YIELD: u32 = 0x8400_006c;
/// `FFA_YIELD`, 64-bit (1.3)
pub const YIELD_64: u32 = 0xc400_006c;
/// `FFA_RUN`
pub const RUN: u32 = 0x8400_006d;
/// `FFA_RUN`, 64-bit (1.3)
pub const RUN_64: u32 = 0xc400_006d;
/// `FFA_MSG_SEND`
pub const MSG_SEND: u32 = 0x8400_006e;
/// `FFA_MSG_SEND_DIRECT_REQ`, 32-bit
pub const MSG_SEND_DIRECT_REQ_32: u32 = 0x8400_006f;
/// `FFA_MSG_SEND_DIRECT_REQ`, 64-bit
pub const MSG_SEND_DIRECT_REQ_64: u32 = 0xc400_006f;
/// `FFA_MSG_SEND_DIRECT_RESP`, 32-bit
pub const MSG_SEND_DIRECT_RESP_32: u32 = 0x8400_0070;
/// `FFA_MSG_SEND_DIRECT_RESP`, 64-bit
pub const MSG_SEND_DIRECT_RESP_64: u32 = 0xc400_0070;
/// `FFA_MEM_DONATE`, 32-bit
pub const MEM_DONATE_32: u32 = 0x8400_0071;
/// `FFA_MEM_DONATE`, 64-bit
pub const MEM_DONATE_64: u32 = 0xc400_0071;
/// `FFA_MEM_LEND`, 32-bit
pub const MEM_LEND_32: u32 = 0x8400_0072;
/// `FFA_MEM_LEND`, 64-bit
pub const MEM_LEND_64: u32 = 0xc400_0072;
/// `FFA_MEM_SHARE`, 32-bit
pub const MEM_SHARE_32: u32 = 0x8400_0073;
/// `FFA_MEM_SHARE`, 64-bit
pub const MEM_SHARE_64: u32 = 0xc400_0073;
/// `FFA_MEM_RETRIEVE_REQ`, 32-bit
pub const MEM_RETRIEVE_REQ_32: u32 = 0x8400_0074;
/// `FFA_MEM_RETRIEVE_REQ`, 64-bit
pub const MEM_RETRIEVE_REQ_64: u32 = 0xc400_0074;
/// `FFA_MEM_RETRIEVE_RESP`
pub const MEM_RETRIEVE_RESP: u32 = 0x8400_0075;
/// `FFA_MEM_RELINQUISH`
pub const MEM_RELINQUISH: u32 = 0x8400_0076;
/// `FFA_MEM_RECLAIM`
pub const MEM_RECLAIM: u32 = 0x8400_0077;
/// `FFA_MEM_OP_PAUSE`
pub const MEM_OP_PAUSE: u32 = 0x8400_0078;
/// `FFA_MEM_OP_RESUME`
pub const MEM_OP_RESUME: u32 = 0x8400_0079;
/// `FFA_MEM_FRAG_RX`
pub const MEM_FRAG_RX: u32 = 0x8400_007a;
/// `FFA_MEM_FRAG_TX`
pub const MEM_FRAG_TX: u32 = 0x8400_007b;
/// `FFA_NORMAL_WORLD_RESUME`
pub const NORMAL_WORLD_RESUME: u32 = 0x8400_007c;
/// `FFA_NOTIFICATION_BITMAP_CREATE`
pub const NOTIFICATION_BITMAP_CREATE: u32 = 0x8400_007d;
/// `FFA_NOTIFICATION_BITMAP_DESTROY`
pub const NOTIFICATION_BITMAP_DESTROY: u32 = 0x8400_007e;
/// `FFA_NOTIFICATION_BIND`
pub const NOTIFICATION_BIND: u32 = 0x8400_007f;
/// `FFA_NOTIFICATION_UNBIND`
pub const NOTIFICATION_UNBIND: u32 = 0x8400_0080;
/// `FFA_NOTIFICATION_SET`
pub const NOTIFICATION_SET: u32 = 0x8400_0081;
/// `FFA_NOTIFICATION_GET`
pub const NOTIFICATION_GET: u32 = 0x8400_0082;
/// `FFA_NOTIFICATION_INFO_GET`, 32-bit
pub const NOTIFICATION_INFO_GET_32: u32 = 0x8400_0083;
/// `FFA_NOTIFICATION_INFO_GET`, 64-bit
pub const NOTIFICATION_INFO_GET_64: u32 = 0xc400_0083;
/// `FFA_RX_ACQUIRE`
pub const RX_ACQUIRE: u32 = 0x8400_0084;
/// `FFA_SPM_ID_GET`
pub const SPM_ID_GET: u32 = 0x8400_0085;
/// `FFA_MSG_SEND2`
pub const MSG_SEND2: u32 = 0x8400_0086;
/// `FFA_SECONDARY_EP_REGISTER`, 32-bit
pub const SECONDARY_EP_REGISTER_32: u32 = 0x8400_0087;
/// `FFA_SECONDARY_EP_REGISTER`, 64-bit
pub const SECONDARY_EP_REGISTER_64: u32 = 0xc400_0087;
/// `FFA_MEM_PERM_GET`, 32-bit
pub const MEM_PERM_GET_32: u32 = 0x8400_0088;
/// `FFA_MEM_PERM_GET`, 64-bit
pub const MEM_PERM_GET_64: u32 = 0xc400_0088;
/// `FFA_MEM_PERM_SET`, 32-bit
pub const MEM_PERM_SET_32: u32 = 0x8400_0089;
/// `FFA_MEM_PERM_SET`, 64-bit
pub const MEM_PERM_SET_64: u32 = 0xc400_0089;
/// `FFA_CONSOLE_LOG`, 32-bit
pub const CONSOLE_LOG_32: u32 = 0x8400_008a;
/// `FFA_CONSOLE_LOG`, 64-bit
pub const CONSOLE_LOG_64: u32 = 0xc400_008a;
/// `FFA_PARTITION_INFO_GET_REGS` (64-bit only)
pub const PARTITION_INFO_GET_REGS: u32 = 0xc400_008b;
/// `FFA_EL3_INTR_HANDLE`
pub const EL3_INTR_HANDLE: u32 = 0x8400_008c;
/// `FFA_MSG_SEND_DIRECT_REQ2` (64-bit only)
pub const MSG_SEND_DIRECT_REQ2: u32 = 0xc400_008d;
/// `FFA_MSG_SEND_DIRECT_RESP2` (64-bit only)
pub const MSG_SEND_DIRECT_RESP2: u32 = 0xc400_008e;
/// `FFA_NS_RES_INFO_GET` (64-bit only)
pub const NS_RES_INFO_GET: u32 = 0xc400_008f;
/// `FFA_ABORT`, 32-bit
pub const ABORT_32: u32 = 0x8400_0090;
/// `FFA_ABORT`, 64-bit
pub const ABORT_64: u32 = 0xc400_0090;
/// `FFA_NOTIFICATION_BIND2` (64-bit only)
pub const NOTIFICATION_BIND2: u32 = 0xc400_0094;
/// `FFA_NOTIFICATION_UNBIND2` (64-bit only)
pub const NOTIFICATION_UNBIND2: u32 = 0xc400_0095;
/// `FFA_NOTIFICATION_SET2` (64-bit only)
pub const NOTIFICATION_SET2: u32 = 0xc400_0096;
/// `FFA_NOTIFICATION_GET2` (64-bit only)
pub const NOTIFICATION_GET2: u32 = 0xc400_0097;

#[cfg(test)]
mod tests {
    use super::*;

    // req: COMP-01, COMP-22, GEN-29
    #[test]
    fn decoding() {
        assert!(FunctionId(VERSION).is_ffa() && FunctionId(RXTX_MAP_64).is_ffa());
        assert!(!FunctionId(0x8400_005f).is_ffa() && !FunctionId(0x8400_0098).is_ffa());
        assert!(!FunctionId(0x0400_0063).is_ffa());
        assert_eq!(FunctionId::from_reg(0xdead_beef_8401_0063).0, VERSION);
        assert!(FunctionId(RXTX_MAP_64).is_64() && !FunctionId(RXTX_MAP_32).is_64());
        assert!(FunctionId(0x8000_0000).is_fast() && !FunctionId(0x3200_0000).is_fast());
        for reserved in [0x8400_0000, 0xc400_001f, 0x8400_0060, 0xc400_00ef] {
            assert!(FunctionId(reserved).is_reserved(), "{reserved:#x}");
        }
        // TRNG, SDEI, SiP, and ids just outside of the ranges.
        for other in [
            0x8400_0050,
            0xc400_0020,
            0x8400_005f,
            0x8400_00f0,
            0x8200_0000,
        ] {
            assert!(!FunctionId(other).is_reserved(), "{other:#x}");
        }
    }
}
