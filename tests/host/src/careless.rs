//! Callers that are careless: from FF-A v1.1 on they leave anything in the registers that a call takes nothing from (SBZ).

use crate::ffa::*;

/// Value that they leave there.
const GARBAGE: u64 = 0x6761_7262_6167_6501;

/// Returns the first of the registers up to x7 that `function` takes nothing from, at 1.1 and later. `FFA_MSG_WAIT` and
/// `FFA_YIELD` are not among them: callers leave zero there, as Hafnium wants it.
pub fn ignored_from(function: u64) -> usize {
    match function {
        ID_GET
        | SPM_ID_GET
        | MEM_RELINQUISH
        | NOTIFICATION_INFO_GET_32
        | NOTIFICATION_INFO_GET_64 => 1,
        RXTX_UNMAP
        | RX_RELEASE
        | RX_ACQUIRE
        | RUN
        | NOTIFICATION_BITMAP_DESTROY
        | SECONDARY_EP_REGISTER_32
        | SECONDARY_EP_REGISTER_64 => 2,
        FEATURES | MSG_SEND2 | NOTIFICATION_BITMAP_CREATE | NOTIFICATION_GET | MEM_OP_RESUME => 3,
        RXTX_MAP_32 | RXTX_MAP_64 | MEM_RECLAIM | MEM_PERM_SET_32 | MEM_PERM_SET_64 => 4,
        MEM_DONATE_32 | MEM_DONATE_64 | MEM_LEND_32 | MEM_LEND_64 | MEM_SHARE_32 | MEM_SHARE_64
        | MEM_RETRIEVE_REQ_32 | MEM_RETRIEVE_REQ_64 | MEM_FRAG_RX | MEM_FRAG_TX
        | NOTIFICATION_BIND | NOTIFICATION_UNBIND | NOTIFICATION_SET => 5,
        PARTITION_INFO_GET => 6,
        _ => 8,
    }
}

/// Leaves garbage in those of the registers x0 to x7 that the call takes nothing from, if only the first `given` were chosen on purpose.
pub fn leave_garbage(registers: &mut [u64], given: usize) {
    let ignored = ignored_from(registers[0]).max(given);
    for register in registers.iter_mut().take(8).skip(ignored) {
        *register = GARBAGE;
    }
}
