//! Careless callers: from FF-A v1.1 on they leave garbage in the registers that a call ignores
//! (SBZ), as partitions and drivers in the field do.

use core::sync::atomic::{AtomicBool, Ordering};

use super::{NOT_SUPPORTED, V1_1, id};
use crate::rt::call::Regs;

const GARBAGE: u64 = 0x6761_7262_6167_6501;

static CARELESS: AtomicBool = AtomicBool::new(false);

/// Remembers the version that an `FFA_VERSION` call for `version` led to.
pub fn negotiated(version: u64, answer: u64) {
    if answer != NOT_SUPPORTED {
        CARELESS.store(version >= V1_1.into(), Ordering::Relaxed);
    }
}

/// Puts garbage into the registers up to x7 that the call ignores, where the caller chose only the
/// registers before `given`.
#[inline(never)]
pub fn leave_garbage(call: &mut Regs, given: usize) {
    if CARELESS.load(Ordering::Relaxed) {
        let ignored = ignored_from(call[0] as u32).max(given);
        for register in call[..8].iter_mut().skip(ignored) {
            *register = GARBAGE;
        }
    }
}

/// Returns the first of the registers up to x7 that a function ignores. `FFA_MSG_WAIT` and
/// `FFA_YIELD` keep zeros there, as Hafnium wants it.
fn ignored_from(function: u32) -> usize {
    match function {
        id::ID_GET | id::SPM_ID_GET | id::MEM_RELINQUISH => 1,
        id::RXTX_UNMAP | id::RX_RELEASE | id::RX_ACQUIRE | id::RUN => 2,
        id::MSG_SEND2 => 3,
        id::RXTX_MAP_32 | id::RXTX_MAP_64 | id::MEM_RECLAIM => 4,
        id::MEM_DONATE_32
        | id::MEM_DONATE_64
        | id::MEM_LEND_32
        | id::MEM_LEND_64
        | id::MEM_SHARE_32
        | id::MEM_SHARE_64
        | id::MEM_RETRIEVE_REQ_32
        | id::MEM_RETRIEVE_REQ_64
        | id::MEM_FRAG_RX
        | id::MEM_FRAG_TX => 5,
        id::PARTITION_INFO_GET => 6,
        _ => 8,
    }
}
