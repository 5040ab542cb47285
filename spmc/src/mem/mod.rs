//! The memory-transaction engine (FF-A v1.0 chapters 5 and 11): who may use whose memory, by
//! handle.
//!
//! A send puts a share into a slot, and the handle of the share names slot and generation.
//! Retrieve, relinquish and reclaim find the share there. Page state is kept in the address spaces
//! alone ([`crate::mm`]); a share remembers the one leaf that all its pages had before the send,
//! and the one that they have now.
//!
//! Every call first validates its arguments and then makes its change. A change that fails leaves
//! everything as it was. A caller's buffer is copied once, and only the copy is read.
//!
//! Memory that is sent to an independent device is mapped for the device with the send, and
//! unmapped with the reclaim ([`independent`]).
//!
//! Lock order: mailbox of the caller, then slot, then address spaces in ascending order of
//! partition id (the Normal world is 0). A call whose answer does not go to RX unlocks the mailbox
//! before it takes the next lock.

mod answers;
mod borrowers;
mod channel;
mod donation;
mod end;
mod flags;
mod grant;
mod independent;
mod intake;
mod offer;
mod range_list;
mod response;
mod retrieve;
mod send;
mod share;
mod shares;
mod slices;

pub use share::SendKind;
pub use shares::Shares;

use crate::error::FfaError;
use crate::hal::Hal;
use crate::id::PartitionId;
use crate::mm::ChangeError;
use crate::partition::{Endpoint, Proxy};

/// The endpoints of the system, as far as the engine needs them.
pub(crate) trait Endpoints {
    /// Returns the endpoint that `id` stands for, if it exists and is alive. Every Non-secure id
    /// stands for the Normal world.
    fn endpoint(&self, id: PartitionId) -> Option<&Endpoint>;

    /// Returns who speaks for the endpoint `id`, if that is a stream endpoint.
    fn proxy(&self, id: PartitionId) -> Option<Proxy>;

    /// Returns the endpoint that `id` stands for, dead or alive. Its quota holds the records of
    /// what it sent.
    fn estate(&self, id: PartitionId) -> Option<&Endpoint>;

    /// Returns the stream endpoints that `proxy` speaks for, dead or alive.
    fn streams_of(&self, proxy: PartitionId) -> impl Iterator<Item = &Endpoint>;

    /// Returns the index of the partition `id` in the partition table; `None` for the Normal world.
    fn index(&self, id: PartitionId) -> Option<usize>;
}

/// The engine, for the time of one call.
pub(crate) struct Engine<'s, H, E> {
    pub(crate) hal: &'s H,
    pub(crate) shares: &'s Shares,
    pub(crate) endpoints: &'s E,
}

impl<H: Hal, E: Endpoints> Engine<'_, H, E> {
    /// Returns the endpoint with that id, if `caller` may speak for it: for itself, and for the
    /// stream endpoints whose proxy it is (section 5.2.1).
    #[inline]
    fn spoken_for<'e>(&'e self, id: PartitionId, caller: &'e Endpoint) -> Option<&'e Endpoint> {
        if id == caller.id() {
            return Some(caller);
        }
        let is_proxy = self.endpoints.proxy(id) == Some(Proxy::Partition(caller.id()));
        self.endpoints.endpoint(id).filter(|_| is_proxy)
    }
}

/// Returns the status code for a change that failed: `mismatch` if a page did not have the leaf
/// that the change expects.
fn refused(error: ChangeError, mismatch: FfaError) -> FfaError {
    match error {
        ChangeError::Mismatch => mismatch,
        ChangeError::NoMemory => FfaError::NoMemory,
    }
}

#[cfg(test)]
mod tests;
