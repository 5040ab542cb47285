//! Framework messages in direct messages: bit 31 of w2 is set, `[7:0]` is the type (FF-A v1.1
//! section 18.2 and 18.3).
//!
//! This file holds the numbers only. `dispatch` decides who may send which message to whom.

/// Bit 31 of w2.
pub const FRAMEWORK: u32 = 1 << 31;
/// PSCI request: w3 holds the PSCI function id, w4 and the registers behind it the arguments.
pub const PSCI_REQUEST: u32 = FRAMEWORK;
/// The PE left a low-power state.
pub const WARM_BOOT: u32 = FRAMEWORK | 1;
/// Answer to both messages above, with a PSCI status in w3.
pub const PSCI_RESPONSE: u32 = FRAMEWORK | 2;
/// A VM was created.
pub const VM_CREATED: u32 = FRAMEWORK | 4;
/// Answer to it.
pub const VM_CREATED_RESPONSE: u32 = FRAMEWORK | 5;
/// A VM was destroyed.
pub const VM_DESTROYED: u32 = FRAMEWORK | 6;
/// Answer to it.
pub const VM_DESTROYED_RESPONSE: u32 = FRAMEWORK | 7;
/// `FFA_VERSION` of the Normal world, with its version in w3.
pub const VERSION_REQUEST: u32 = FRAMEWORK | 8;
/// Answer to it.
pub const VERSION_RESPONSE: u32 = FRAMEWORK | 9;
/// The partition is to stop. w3 says why.
pub const STOP_REQUEST: u32 = FRAMEWORK | 10;
/// Answer to it: w3 holds 0 or a status code, x4 and x5 base and size of the live-state buffer.
pub const STOP_RESPONSE: u32 = FRAMEWORK | 11;
/// Live activation of the partition in w3 begins, with the package at x4 of x5 pages.
pub const START_REQUEST: u32 = FRAMEWORK | 12;
/// Answer to it, with a status code in w3.
pub const START_RESPONSE: u32 = FRAMEWORK | 13;
/// Live activation of the partition in w3 ends: the new image is entered.
pub const FINISH_REQUEST: u32 = FRAMEWORK | 14;
/// Answer to it, with a status code in w3.
pub const FINISH_RESPONSE: u32 = FRAMEWORK | 15;

/// w3 of [`STOP_REQUEST`]: the partition is activated live.
pub const FOR_LIVE_ACTIVATION: u32 = 1;

/// Returns the kind of the message that answers one of `kind`.
pub const fn answer_to(kind: u32) -> u32 {
    match kind {
        PSCI_REQUEST | WARM_BOOT => PSCI_RESPONSE,
        VM_CREATED => VM_CREATED_RESPONSE,
        VM_DESTROYED => VM_DESTROYED_RESPONSE,
        _ => VERSION_RESPONSE,
    }
}
