//! Calls and their completions as lines of the log, at level `trace`.

use core::fmt;

use super::{FunctionId, function};
use crate::error::FfaError;

/// Logs that somebody calls with `registers`, or gets them: x0 to x7, behind the [`name`] of x0.
#[inline]
pub(crate) fn trace(who: fmt::Arguments<'_>, does: &str, registers: &[u64]) {
    let Some([x0, x1, x2, x3, x4, x5, x6, x7]) = registers.first_chunk() else {
        return;
    };
    // All are arguments of the line: a type that displays registers would need room on each stack
    // on which anything is displayed.
    log::trace!(
        "{who} {does} {}: {x0:x} {x1:x} {x2:x} {x3:x} {x4:x} {x5:x} {x6:x} {x7:x}",
        name(*x0, *x2)
    );
}

/// Returns the name of the function in x0. `FFA_ERROR` has that of its code, which is in x2.
fn name(x0: u64, x2: u64) -> &'static str {
    let id = FunctionId::from_reg(x0);
    let code = match id.0 {
        function::ERROR | function::ERROR_64 => FfaError::from_reg(x2),
        _ => None,
    };
    code.map(FfaError::name)
        .or_else(|| id.name())
        .unwrap_or("?")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_and_errors_have_their_names() {
        for (x0, x2, expected) in [
            (function::MSG_WAIT.into(), 0, "FFA_MSG_WAIT"),
            (0xdead_0000_c400_006f, 0, "FFA_MSG_SEND_DIRECT_REQ_64"),
            (function::ERROR.into(), FfaError::NoData.to_reg(), "NO_DATA"),
            (
                function::ERROR_64.into(),
                FfaError::Denied.to_reg(),
                "DENIED",
            ),
            (function::ERROR.into(), 5, "FFA_ERROR"),
            // PSCI_VERSION, and the answer to FFA_VERSION.
            (0x8400_0000, 0, "?"),
            (0x1_0003, 0, "?"),
        ] {
            assert_eq!(name(x0, x2), expected, "{x0:#x} {x2:#x}");
        }
    }
}
