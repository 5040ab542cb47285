//! The FF-A status codes (FF-A v1.0 table 7.2) as an error type.

use core::fmt;

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
    /// The receiver, or the callee, is not ready (1.3).
    NotReady = -10,
}

impl FfaError {
    /// All status codes.
    const ALL: [Self; 10] = [
        Self::NotSupported,
        Self::InvalidParameters,
        Self::NoMemory,
        Self::Busy,
        Self::Interrupted,
        Self::Denied,
        Self::Retry,
        Self::Aborted,
        Self::NoData,
        Self::NotReady,
    ];

    /// Returns the code that a register holds, if its lower half is one.
    pub fn from_reg(register: u64) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|code| *code as i32 == register as i32)
    }

    /// Returns the name in the specification.
    pub const fn name(self) -> &'static str {
        match self {
            Self::NotSupported => "NOT_SUPPORTED",
            Self::InvalidParameters => "INVALID_PARAMETERS",
            Self::NoMemory => "NO_MEMORY",
            Self::Busy => "BUSY",
            Self::Interrupted => "INTERRUPTED",
            Self::Denied => "DENIED",
            Self::Retry => "RETRY",
            Self::Aborted => "ABORTED",
            Self::NoData => "NO_DATA",
            Self::NotReady => "NOT_READY",
        }
    }

    /// The register value: 32-bit two's complement, upper half zero.
    pub const fn to_reg(self) -> u64 {
        self as i32 as u32 as u64
    }
}

/// The status code in a register, which is displayed by its name. What is no status code is a
/// number.
pub struct Status(pub u64);

impl fmt::Display for Status {
    #[cold]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match FfaError::from_reg(self.0) {
            Some(code) => f.write_str(code.name()),
            None => write!(f, "{}", self.0 as i32),
        }
    }
}

/// Result of everything that can be refused.
pub type Result<T> = core::result::Result<T, FfaError>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_code_is_found_by_its_register_and_has_a_name() {
        for code in FfaError::ALL {
            assert_eq!(FfaError::from_reg(code.to_reg()), Some(code));
        }
        assert_eq!(
            FfaError::from_reg(0xdead_0000_ffff_fffa).map(FfaError::name),
            Some("DENIED")
        );
        assert_eq!(FfaError::from_reg(0), None);
        assert_eq!(FfaError::from_reg(0xffff_fff5), None);
    }
}
