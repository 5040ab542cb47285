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

/// Declares the ids, and [`FunctionId::name`] by them.
macro_rules! functions {
    ($($(#[$doc:meta])* $name:ident = $id:literal;)*) => {
        $($(#[$doc])* pub const $name: u32 = $id;)*

        impl FunctionId {
            /// Returns the name of a function of the framework. The names of functions that have
            /// two forms end in `_32` and `_64`; if a form came later, only its name has an end.
            pub const fn name(self) -> Option<&'static str> {
                match self.0 {
                    $($id => Some(concat!("FFA_", stringify!($name))),)*
                    _ => None,
                }
            }
        }
    };
}

functions! {
    /// `FFA_ERROR`
    ERROR = 0x8400_0060;
    /// `FFA_ERROR`, 64-bit (1.3)
    ERROR_64 = 0xc400_0060;
    /// `FFA_SUCCESS`, 32-bit
    SUCCESS_32 = 0x8400_0061;
    /// `FFA_SUCCESS`, 64-bit
    SUCCESS_64 = 0xc400_0061;
    /// `FFA_INTERRUPT`
    INTERRUPT = 0x8400_0062;
    /// `FFA_VERSION`
    VERSION = 0x8400_0063;
    /// `FFA_FEATURES`
    FEATURES = 0x8400_0064;
    /// `FFA_RX_RELEASE`
    RX_RELEASE = 0x8400_0065;
    /// `FFA_RXTX_MAP`, 32-bit
    RXTX_MAP_32 = 0x8400_0066;
    /// `FFA_RXTX_MAP`, 64-bit
    RXTX_MAP_64 = 0xc400_0066;
    /// `FFA_RXTX_UNMAP`
    RXTX_UNMAP = 0x8400_0067;
    /// `FFA_PARTITION_INFO_GET`
    PARTITION_INFO_GET = 0x8400_0068;
    /// `FFA_ID_GET`
    ID_GET = 0x8400_0069;
    /// `FFA_MSG_POLL`
    MSG_POLL = 0x8400_006a;
    /// `FFA_MSG_WAIT`
    MSG_WAIT = 0x8400_006b;
    /// `FFA_MSG_WAIT`, 64-bit (1.3)
    MSG_WAIT_64 = 0xc400_006b;
    /// `FFA_YIELD`
    YIELD = 0x8400_006c;
    /// `FFA_YIELD`, 64-bit (1.3)
    YIELD_64 = 0xc400_006c;
    /// `FFA_RUN`
    RUN = 0x8400_006d;
    /// `FFA_RUN`, 64-bit (1.3)
    RUN_64 = 0xc400_006d;
    /// `FFA_MSG_SEND`
    MSG_SEND = 0x8400_006e;
    /// `FFA_MSG_SEND_DIRECT_REQ`, 32-bit
    MSG_SEND_DIRECT_REQ_32 = 0x8400_006f;
    /// `FFA_MSG_SEND_DIRECT_REQ`, 64-bit
    MSG_SEND_DIRECT_REQ_64 = 0xc400_006f;
    /// `FFA_MSG_SEND_DIRECT_RESP`, 32-bit
    MSG_SEND_DIRECT_RESP_32 = 0x8400_0070;
    /// `FFA_MSG_SEND_DIRECT_RESP`, 64-bit
    MSG_SEND_DIRECT_RESP_64 = 0xc400_0070;
    /// `FFA_MEM_DONATE`, 32-bit
    MEM_DONATE_32 = 0x8400_0071;
    /// `FFA_MEM_DONATE`, 64-bit
    MEM_DONATE_64 = 0xc400_0071;
    /// `FFA_MEM_LEND`, 32-bit
    MEM_LEND_32 = 0x8400_0072;
    /// `FFA_MEM_LEND`, 64-bit
    MEM_LEND_64 = 0xc400_0072;
    /// `FFA_MEM_SHARE`, 32-bit
    MEM_SHARE_32 = 0x8400_0073;
    /// `FFA_MEM_SHARE`, 64-bit
    MEM_SHARE_64 = 0xc400_0073;
    /// `FFA_MEM_RETRIEVE_REQ`, 32-bit
    MEM_RETRIEVE_REQ_32 = 0x8400_0074;
    /// `FFA_MEM_RETRIEVE_REQ`, 64-bit
    MEM_RETRIEVE_REQ_64 = 0xc400_0074;
    /// `FFA_MEM_RETRIEVE_RESP`
    MEM_RETRIEVE_RESP = 0x8400_0075;
    /// `FFA_MEM_RELINQUISH`
    MEM_RELINQUISH = 0x8400_0076;
    /// `FFA_MEM_RECLAIM`
    MEM_RECLAIM = 0x8400_0077;
    /// `FFA_MEM_OP_PAUSE`
    MEM_OP_PAUSE = 0x8400_0078;
    /// `FFA_MEM_OP_RESUME`
    MEM_OP_RESUME = 0x8400_0079;
    /// `FFA_MEM_FRAG_RX`
    MEM_FRAG_RX = 0x8400_007a;
    /// `FFA_MEM_FRAG_TX`
    MEM_FRAG_TX = 0x8400_007b;
    /// `FFA_NORMAL_WORLD_RESUME`
    NORMAL_WORLD_RESUME = 0x8400_007c;
    /// `FFA_NOTIFICATION_BITMAP_CREATE`
    NOTIFICATION_BITMAP_CREATE = 0x8400_007d;
    /// `FFA_NOTIFICATION_BITMAP_DESTROY`
    NOTIFICATION_BITMAP_DESTROY = 0x8400_007e;
    /// `FFA_NOTIFICATION_BIND`
    NOTIFICATION_BIND = 0x8400_007f;
    /// `FFA_NOTIFICATION_UNBIND`
    NOTIFICATION_UNBIND = 0x8400_0080;
    /// `FFA_NOTIFICATION_SET`
    NOTIFICATION_SET = 0x8400_0081;
    /// `FFA_NOTIFICATION_GET`
    NOTIFICATION_GET = 0x8400_0082;
    /// `FFA_NOTIFICATION_INFO_GET`, 32-bit
    NOTIFICATION_INFO_GET_32 = 0x8400_0083;
    /// `FFA_NOTIFICATION_INFO_GET`, 64-bit
    NOTIFICATION_INFO_GET_64 = 0xc400_0083;
    /// `FFA_RX_ACQUIRE`
    RX_ACQUIRE = 0x8400_0084;
    /// `FFA_SPM_ID_GET`
    SPM_ID_GET = 0x8400_0085;
    /// `FFA_MSG_SEND2`
    MSG_SEND2 = 0x8400_0086;
    /// `FFA_SECONDARY_EP_REGISTER`, 32-bit
    SECONDARY_EP_REGISTER_32 = 0x8400_0087;
    /// `FFA_SECONDARY_EP_REGISTER`, 64-bit
    SECONDARY_EP_REGISTER_64 = 0xc400_0087;
    /// `FFA_MEM_PERM_GET`, 32-bit
    MEM_PERM_GET_32 = 0x8400_0088;
    /// `FFA_MEM_PERM_GET`, 64-bit
    MEM_PERM_GET_64 = 0xc400_0088;
    /// `FFA_MEM_PERM_SET`, 32-bit
    MEM_PERM_SET_32 = 0x8400_0089;
    /// `FFA_MEM_PERM_SET`, 64-bit
    MEM_PERM_SET_64 = 0xc400_0089;
    /// `FFA_CONSOLE_LOG`, 32-bit
    CONSOLE_LOG_32 = 0x8400_008a;
    /// `FFA_CONSOLE_LOG`, 64-bit
    CONSOLE_LOG_64 = 0xc400_008a;
    /// `FFA_PARTITION_INFO_GET_REGS` (64-bit only)
    PARTITION_INFO_GET_REGS = 0xc400_008b;
    /// `FFA_EL3_INTR_HANDLE`
    EL3_INTR_HANDLE = 0x8400_008c;
    /// `FFA_MSG_SEND_DIRECT_REQ2` (64-bit only)
    MSG_SEND_DIRECT_REQ2 = 0xc400_008d;
    /// `FFA_MSG_SEND_DIRECT_RESP2` (64-bit only)
    MSG_SEND_DIRECT_RESP2 = 0xc400_008e;
    /// `FFA_NS_RES_INFO_GET` (64-bit only)
    NS_RES_INFO_GET = 0xc400_008f;
    /// `FFA_ABORT`, 32-bit
    ABORT_32 = 0x8400_0090;
    /// `FFA_ABORT`, 64-bit
    ABORT_64 = 0xc400_0090;
    /// `FFA_NOTIFICATION_BIND2` (64-bit only)
    NOTIFICATION_BIND2 = 0xc400_0094;
    /// `FFA_NOTIFICATION_UNBIND2` (64-bit only)
    NOTIFICATION_UNBIND2 = 0xc400_0095;
    /// `FFA_NOTIFICATION_SET2` (64-bit only)
    NOTIFICATION_SET2 = 0xc400_0096;
    /// `FFA_NOTIFICATION_GET2` (64-bit only)
    NOTIFICATION_GET2 = 0xc400_0097;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_have_the_names_of_the_specification() {
        assert_eq!(FunctionId(VERSION).name(), Some("FFA_VERSION"));
        assert_eq!(FunctionId(RXTX_MAP_64).name(), Some("FFA_RXTX_MAP_64"));
        assert_eq!(FunctionId(0x8400_0098).name(), None);
    }

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
