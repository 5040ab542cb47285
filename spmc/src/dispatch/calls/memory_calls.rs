//! Memory management: `FFA_MEM_DONATE`, `_LEND`, `_SHARE`, `_RETRIEVE_REQ`, `_RELINQUISH`,
//! `_RECLAIM`, `_FRAG_TX`, `_FRAG_RX` and `_OP_RESUME` (FF-A v1.0 chapters 11 and 12.2).

use crate::error::Result;
use crate::ffa::memory_call::{DescriptorCall, FragmentRx, FragmentTx};
use crate::ffa::{Answer, Handle, SmcFrame, function};
use crate::hal::Hal;
use crate::id::PartitionId;
use crate::mem::{Endpoints, Engine, SendKind};
use crate::partition::{Endpoint, Proxy, StreamEndpoint};
use crate::spmc::{Pe, Spmc};

impl<H: Hal> Endpoints for Spmc<H> {
    #[inline]
    fn endpoint(&self, id: PartitionId) -> Option<&Endpoint> {
        let of_stream = || self.stream(id).map(|stream| &stream.endpoint);
        Spmc::endpoint(self, id).or_else(of_stream)
    }

    #[inline]
    fn proxy(&self, id: PartitionId) -> Option<Proxy> {
        self.stream(id).map(StreamEndpoint::proxy)
    }

    fn estate(&self, id: PartitionId) -> Option<&Endpoint> {
        if id.is_secure() {
            self.partition(id).map(|partition| &partition.endpoint)
        } else {
            Some(&self.normal_world)
        }
    }

    fn streams_of(&self, proxy: PartitionId) -> impl Iterator<Item = &Endpoint> {
        self.streams
            .iter()
            .filter(move |stream| stream.proxy() == Proxy::Partition(proxy))
            .map(|stream| &stream.endpoint)
    }

    fn index(&self, id: PartitionId) -> Option<usize> {
        id.is_secure().then(|| self.directory.index(id))
    }
}

/// The calls. Each decodes its registers and enters the engine once. None is inlined into the
/// dispatcher: their stack frames are large, and messages are not to pay for that.
impl<H: Hal> Spmc<H> {
    /// Returns the engine of memory transactions.
    pub(in crate::dispatch) fn memory(&self) -> Engine<'_, H, Self> {
        Engine {
            hal: &self.hal,
            shares: &self.shares,
            endpoints: self,
        }
    }

    /// `FFA_MEM_DONATE`, `FFA_MEM_LEND`, `FFA_MEM_SHARE`: see [`Engine::send`].
    #[inline(never)]
    pub(super) fn mem_send(
        &self,
        pe: &mut Pe,
        caller: &Endpoint,
        kind: SendKind,
        frame: &SmcFrame,
    ) -> Result<Answer> {
        let call = DescriptorCall::decode(frame)?;
        let result = self.memory().send(&mut pe.scratch, caller, kind, &call);
        note_fragment(pe, &result);
        result
    }

    /// `FFA_MEM_RETRIEVE_REQ`: see [`Engine::retrieve`].
    #[inline(never)]
    pub(super) fn mem_retrieve(
        &self,
        pe: &mut Pe,
        caller: &Endpoint,
        frame: &SmcFrame,
    ) -> Result<Answer> {
        let call = DescriptorCall::decode(frame)?;
        self.memory().retrieve(&mut pe.scratch, caller, &call)
    }

    /// `FFA_MEM_FRAG_TX`: see [`Engine::fragment_tx`].
    #[inline(never)]
    pub(super) fn mem_fragment_tx(
        &self,
        pe: &mut Pe,
        caller: &Endpoint,
        frame: &SmcFrame,
    ) -> Result<Answer> {
        let call = FragmentTx::decode(frame);
        let result = self.memory().fragment_tx(&mut pe.scratch, caller, &call);
        note_fragment(pe, &result);
        result
    }

    /// `FFA_MEM_FRAG_RX`: see [`Engine::fragment_rx`].
    #[inline(never)]
    pub(super) fn mem_fragment_rx(
        &self,
        pe: &mut Pe,
        caller: &Endpoint,
        frame: &SmcFrame,
    ) -> Result<Answer> {
        let call = FragmentRx::decode(frame);
        self.memory().fragment_rx(&mut pe.scratch, caller, &call)
    }

    /// Ends the transaction that the last `FFA_MEM_FRAG_RX` from this PE asked to go on with: the
    /// Hypervisor answers with `FFA_ERROR`, which names none. See [`Engine::sender_aborted`].
    pub(in crate::dispatch) fn mem_sender_aborted(&self, pe: &mut Pe) {
        if let Some(handle) = pe.fragment_asked.take() {
            self.memory().sender_aborted(handle);
        }
    }
}

/// Remembers the transaction that the answer asks to go on with, if it is `FFA_MEM_FRAG_RX`.
fn note_fragment(pe: &mut Pe, result: &Result<Answer>) {
    if let Ok(answer) = result
        && let [id, low, high, ..] = answer.x
        && id == function::MEM_FRAG_RX as u64
    {
        pe.fragment_asked = Some(Handle::from_halves([low, high]));
    }
}
