//! The memory-transaction engine (FF-A v1.0 chapters 5 and 11): who may use whose memory, by handle.
//!
//! A send puts a share into a slot; its handle names slot and generation. Retrieve, relinquish and reclaim find it there. What
//! pages are in is kept in the address spaces alone ([`crate::mm`]): a share remembers the one leaf that all its pages had, and goes from leaf to leaf.
//!
//! Every call first validates all that it was given, then makes its change; a change that cannot be made leaves everything as it was. A
//! caller's buffer is copied once and only the copy is read.
//!
//! What is sent to an independent device is mapped for it with the send, and unmapped with the reclaim ([`devices`]).
//!
//! Lock order: mailbox of the caller, then slot, then address spaces in ascending order of partition id (the Normal world is 0). A call
//! that needs no answer in RX lets the mailbox go before it takes the next lock.

mod devices;
mod fragments;
mod reclaim;
mod regions;
mod relinquish;
mod retrieve;
mod send;
mod shares;

pub use shares::{SendKind, Shares};

use crate::addr::{Ipa, PageRange, World};
use crate::error::{FfaError, Result};
use crate::ffa::memory_descriptor::DescriptorBuffer;
use crate::ffa::{FunctionId, SmcFrame};
use crate::hal::{AccessFault, Hal};
use crate::id::PartitionId;
use crate::mm::ChangeError;
use crate::partition::{Endpoint, Mailbox, Proxy, StreamEndpoint};
use crate::spmc::{Pe, Spmc};

/// Flag of every call: the memory is to be zeroed.
const FLAG_ZERO: u32 = 1 << 0;

/// What the engine needs to know of endpoints.
pub(crate) trait Endpoints {
    /// The endpoint that `id` stands for, if it is there and alive; every Non-secure id stands for the Normal world.
    fn endpoint(&self, id: PartitionId) -> Option<&Endpoint>;

    /// Who speaks for the endpoint `id`, if that is a stream endpoint.
    fn proxy(&self, id: PartitionId) -> Option<Proxy>;
}

/// The engine at work for one call.
pub(crate) struct Engine<'s, H, E> {
    pub(crate) hal: &'s H,
    pub(crate) shares: &'s Shares,
    pub(crate) endpoints: &'s E,
}

impl<H: Hal, E: Endpoints> Engine<'_, H, E> {
    /// The registers that all calls with a descriptor have in common: returns the length of the descriptor and that of its first fragment.
    ///
    /// `INVALID_PARAMETERS` for a buffer other than TX, a fragment longer than the whole, and for registers that must be zero.
    fn lengths(frame: &SmcFrame) -> Result<(usize, usize)> {
        let buffer = if FunctionId::from_reg(frame.x[0]).is_64() {
            frame.x[3]
        } else {
            frame.w(3) as u64
        };
        let (total, fragment) = (frame.w(1), frame.w(2));
        if fragment > total || buffer != 0 || (4..8).any(|n| frame.w(n) != 0) {
            return Err(FfaError::InvalidParameters);
        }
        Ok((total as usize, fragment as usize))
    }

    /// The endpoint with that id, if `caller` may speak for it: it is itself or a stream endpoint that it is proxy for (section 5.2.1).
    fn spoken_for<'e>(&'e self, id: PartitionId, caller: &'e Endpoint) -> Option<&'e Endpoint> {
        if id == caller.id() {
            return Some(caller);
        }
        let is_proxy = self.endpoints.proxy(id) == Some(Proxy::Partition(caller.id()));
        self.endpoints.endpoint(id).filter(|_| is_proxy)
    }

    /// Fills the ranges with zeros. No endpoint may have access to them meanwhile.
    fn zero(
        &self,
        world: World,
        mut ranges: impl Iterator<Item = PageRange<Ipa>>,
    ) -> core::result::Result<(), AccessFault> {
        ranges.try_for_each(|range| self.hal.zero(world, range.identity()))
    }
}

/// Copies the first `length` bytes of the caller's TX, or as many as the copy can hold. `INVALID_PARAMETERS` if there are not so many, `ABORTED`
/// if the memory system refuses the access.
fn copy_tx<'b, H: Hal>(
    hal: &H,
    mailbox: &Mailbox,
    copy: &'b mut DescriptorBuffer,
    length: usize,
) -> Result<&'b mut [u8]> {
    let invalid = FfaError::InvalidParameters;
    let buffers = mailbox.buffers().ok_or(invalid)?;
    if length as u64 > buffers.tx.size() {
        return Err(invalid);
    }
    let first = length.min(copy.len());
    let copy = copy.get_mut(..first).ok_or(invalid)?;
    mailbox.read_tx(hal, copy)?;
    Ok(copy)
}

/// The error for a change that failed, where a page that is not as it should be means `mismatch`.
fn refused(error: ChangeError, mismatch: FfaError) -> FfaError {
    match error {
        ChangeError::Mismatch => mismatch,
        ChangeError::NoMemory => FfaError::NoMemory,
    }
}

impl<H: Hal> Endpoints for Spmc<H> {
    fn endpoint(&self, id: PartitionId) -> Option<&Endpoint> {
        let of_stream = || self.stream(id).map(|stream| &stream.endpoint);
        Spmc::endpoint(self, id).or_else(of_stream)
    }

    fn proxy(&self, id: PartitionId) -> Option<Proxy> {
        self.stream(id).map(StreamEndpoint::proxy)
    }
}

impl<H: Hal> Spmc<H> {
    fn memory_engine(&self) -> Engine<'_, H, Self> {
        Engine {
            hal: &self.hal,
            shares: &self.shares,
            endpoints: self,
        }
    }

    /// `FFA_MEM_DONATE`, `FFA_MEM_LEND`, `FFA_MEM_SHARE`: see [`Engine::send`].
    pub(crate) fn mem_send(
        &self,
        pe: &mut Pe,
        caller: &Endpoint,
        kind: SendKind,
        frame: &SmcFrame,
    ) -> Result<SmcFrame> {
        let answer = self
            .memory_engine()
            .send(&mut pe.scratch, caller, kind, frame)?;
        pe.note_fragment(&answer);
        Ok(answer)
    }

    /// `FFA_MEM_RETRIEVE_REQ`: see [`Engine::retrieve`].
    pub(crate) fn mem_retrieve(
        &self,
        pe: &mut Pe,
        caller: &Endpoint,
        frame: &SmcFrame,
    ) -> Result<SmcFrame> {
        self.memory_engine()
            .retrieve(&mut pe.scratch, caller, frame)
    }

    /// `FFA_MEM_FRAG_TX`: see [`Engine::fragment_tx`].
    pub(crate) fn mem_fragment_tx(
        &self,
        pe: &mut Pe,
        caller: &Endpoint,
        frame: &SmcFrame,
    ) -> Result<SmcFrame> {
        let answer = self
            .memory_engine()
            .fragment_tx(&mut pe.scratch, caller, frame)?;
        pe.note_fragment(&answer);
        Ok(answer)
    }

    /// The Hypervisor answers `FFA_MEM_FRAG_RX` with `FFA_ERROR`: see [`Engine::sender_aborted`].
    pub(crate) fn mem_sender_aborted(&self, pe: &mut Pe) {
        self.memory_engine()
            .sender_aborted(core::mem::take(&mut pe.fragment_asked));
    }

    /// `FFA_MEM_FRAG_RX`: see [`Engine::fragment_rx`].
    pub(crate) fn mem_fragment_rx(
        &self,
        pe: &mut Pe,
        caller: &Endpoint,
        frame: &SmcFrame,
    ) -> Result<SmcFrame> {
        self.memory_engine()
            .fragment_rx(&mut pe.scratch, caller, frame)
    }

    /// `FFA_MEM_RELINQUISH`: see [`Engine::relinquish`].
    pub(crate) fn mem_relinquish(&self, caller: &Endpoint, frame: &SmcFrame) -> Result<SmcFrame> {
        self.memory_engine().relinquish(caller, frame)
    }

    /// `FFA_MEM_RECLAIM`: see [`Engine::reclaim`].
    pub(crate) fn mem_reclaim(&self, caller: &Endpoint, frame: &SmcFrame) -> Result<SmcFrame> {
        self.memory_engine().reclaim(caller, frame)
    }

    /// A partition has died: see [`Engine::bury`].
    pub(crate) fn mem_bury(&self, dead: &Endpoint) {
        let engine = self.memory_engine();
        for stream in &self.streams {
            if stream.proxy() == Proxy::Partition(dead.id()) {
                engine.bury(&stream.endpoint);
            }
        }
        engine.bury(dead);
    }
}

#[cfg(test)]
mod tests;
