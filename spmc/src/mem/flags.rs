//! The flags that memory calls have in common (FF-A v1.0 section 5.12.4).

use crate::partition::Endpoint;

/// Flag of every call: the memory is to be zeroed.
pub(super) const FLAG_ZERO: u32 = 1 << 0;
/// Flag of every call: it may be paused.
pub(super) const FLAG_SLICED: u32 = 1 << 1;

/// The flags that every call of `caller` may have in common. The SPMD relays no pauses, so the
/// Normal world cannot be paused, and a partition at S-EL0 is not to be.
pub(super) fn sliced_flag(caller: &Endpoint) -> u32 {
    if caller.may_be_paused() {
        FLAG_SLICED
    } else {
        0
    }
}
