//! The answers that several calls about transactions give (FF-A v1.0 sections 12.2.2 and 12.2.3):
//! a send is complete, is paused, or needs more fragments.

use super::share::Stage;
use super::{Endpoints, Engine};
use crate::ffa::{Answer, Handle, function};
use crate::hal::Hal;
use crate::id::PartitionId;
use crate::partition::Endpoint;

/// Returns the answer to a send that has reached `stage`.
#[inline]
pub(super) fn completion(stage: Stage, handle: Handle) -> Answer {
    match stage {
        Stage::Paused(_) => paused(handle),
        _ => success(handle),
    }
}

/// Returns the completion of a send.
#[inline]
pub(super) fn success(handle: Handle) -> Answer {
    Answer::success(handle.halves().map(|half| half as u32))
}

/// Builds `FFA_MEM_OP_PAUSE`, after which the caller is to resume the call.
pub(super) fn paused(handle: Handle) -> Answer {
    let [low, high] = handle.halves();
    Answer::new([function::MEM_OP_PAUSE as u64, low, high])
}

impl<H: Hal, E: Endpoints> Engine<'_, H, E> {
    /// Returns the answer that asks the sender for the next fragment.
    pub(super) fn ask_for_more(
        caller: &Endpoint,
        owner: PartitionId,
        handle: Handle,
        received: usize,
    ) -> Answer {
        let [low, high] = handle.halves();
        Answer::new([
            function::MEM_FRAG_RX as u64,
            low,
            high,
            received as u64,
            asked_with(caller, owner) as u64,
        ])
    }
}

/// Returns w4 of the calls about a transaction of `owner`. The Hypervisor speaks for many VMs, so
/// w4 says for which one; partitions leave it zero.
pub(super) fn asked_with(caller: &Endpoint, owner: PartitionId) -> u32 {
    if caller.id().is_secure() {
        0
    } else {
        (owner.0 as u32) << 16
    }
}
