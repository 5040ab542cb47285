//! The flags that memory calls have in common (FF-A v1.0 section 5.12.4).

use crate::partition::Endpoint;

/// Zero the memory.
pub(super) const FLAG_ZERO: u32 = 1 << 0;
/// The call may be paused: its operation may be time sliced.
pub(super) const FLAG_SLICED: u32 = 1 << 1;

/// Returns [`FLAG_SLICED`] if calls of `caller` may set it. The SPMD relays no pauses, so calls of
/// the Normal world are never paused, and neither are those of partitions at S-EL0.
pub(super) fn sliced_flag(caller: &Endpoint) -> u32 {
    if caller.may_be_paused() {
        FLAG_SLICED
    } else {
        0
    }
}
