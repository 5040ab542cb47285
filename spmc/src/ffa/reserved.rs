//! Parameter registers that a function takes nothing from.

use crate::error::{FfaError, Result};

use super::{Version, function};

/// Returns the registers of `function`, whose bits stand for w0 to w7, that FF-A v1.0 reserves (MBZ) and the SPMC looks at.
///
/// From v1.1 on the text says of them that callers should leave them zero (SBZ), and what is in them is ignored.
const fn in_1_0(function: u32) -> u8 {
    match function {
        function::PARTITION_INFO_GET => from(6),
        function::RXTX_MAP_32 | function::RXTX_MAP_64 | function::MEM_RECLAIM => from(4),
        function::RUN => from(2),
        function::MEM_DONATE_32
        | function::MEM_DONATE_64
        | function::MEM_LEND_32
        | function::MEM_LEND_64
        | function::MEM_SHARE_32
        | function::MEM_SHARE_64
        | function::MEM_RETRIEVE_REQ_32
        | function::MEM_RETRIEVE_REQ_64
        | function::MEM_FRAG_RX
        | function::MEM_FRAG_TX => from(5),
        function::MEM_OP_RESUME => from(3),
        function::MEM_RELINQUISH => from(1),
        _ => 0,
    }
}

/// Returns wN to w7.
const fn from(n: u32) -> u8 {
    0xff << n
}

/// Checks the reserved registers of a call by somebody who speaks `version`. `registers` are those
/// from x0 on.
///
/// `INVALID_PARAMETERS` if the lower half of one is not zero that must be.
#[inline(always)]
pub fn check(function: u32, version: Version, registers: &[u64]) -> Result<()> {
    if version >= Version::V1_1 {
        return Ok(());
    }
    let reserved = in_1_0(function);
    let mut arguments = registers.iter().take(8).enumerate();
    if arguments.any(|(n, x)| reserved & 1 << n != 0 && *x as u32 != 0) {
        return Err(FfaError::InvalidParameters);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    // req: GEN-28, RXTX-18, PINFO-01, MSGW-11, MEMX-01, MEMRL-01
    #[test]
    fn each_reserved_register_must_be_zero_at_1_0_alone() {
        for (function, first) in [
            (function::MEM_RELINQUISH, 1),
            (function::RUN, 2),
            (function::MEM_OP_RESUME, 3),
            (function::RXTX_MAP_32, 4),
            (function::RXTX_MAP_64, 4),
            (function::MEM_RECLAIM, 4),
            (function::MEM_DONATE_32, 5),
            (function::MEM_DONATE_64, 5),
            (function::MEM_LEND_32, 5),
            (function::MEM_LEND_64, 5),
            (function::MEM_SHARE_32, 5),
            (function::MEM_SHARE_64, 5),
            (function::MEM_RETRIEVE_REQ_32, 5),
            (function::MEM_RETRIEVE_REQ_64, 5),
            (function::MEM_FRAG_RX, 5),
            (function::MEM_FRAG_TX, 5),
            (function::PARTITION_INFO_GET, 6),
            (function::RX_RELEASE, 8),
        ] {
            for n in 0..18 {
                let mut registers = [0xffff_ffff_0000_0000; 18];
                assert_eq!(check(function, Version::V1_0, &registers), Ok(()));
                registers[n] = 1;
                let reserved = (first..8).contains(&n);
                let answer = if reserved {
                    Err(FfaError::InvalidParameters)
                } else {
                    Ok(())
                };
                assert_eq!(
                    check(function, Version::V1_0, &registers),
                    answer,
                    "{function:#x} w{n}"
                );
                for version in [Version::V1_1, Version::V1_2] {
                    assert_eq!(check(function, version, &registers), Ok(()));
                }
            }
        }
    }
}
