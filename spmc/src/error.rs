//! The FF-A status codes (FF-A v1.0 table 7.2) as an error type.

/// Why a call is refused: the value of w2 in `FFA_ERROR`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(i32)]
pub enum FfaError {
    /// The function is not implemented, or not at this instance.
    NotSupported = -1,
    /// A register or a descriptor field has a value that the ABI does not allow.
    InvalidParameters = -2,
    /// A table, pool or buffer is too small.
    NoMemory = -3,
    /// A resource that the call needs is in use; trying again later may help.
    Busy = -4,
    /// The call was interrupted.
    Interrupted = -5,
    /// The caller, or the state of what the call names, does not allow it.
    Denied = -6,
    /// Try again at once.
    Retry = -7,
    /// The callee, or the operation, was aborted.
    Aborted = -8,
    /// There is nothing to report (1.1).
    NoData = -9,
}

impl FfaError {
    /// The register value: 32-bit two's complement, upper half zero.
    pub const fn to_reg(self) -> u64 {
        self as i32 as u32 as u64
    }
}

/// Result of everything that can be refused.
pub type Result<T> = core::result::Result<T, FfaError>;
