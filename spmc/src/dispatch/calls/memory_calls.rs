//! Memory management: `FFA_MEM_DONATE`, `_LEND`, `_SHARE`, `_RETRIEVE_REQ`, `_RELINQUISH`,
//! `_RECLAIM`, `_FRAG_TX`, `_FRAG_RX` and `_OP_RESUME` (FF-A v1.0 chapters 11 and 12.2).

use crate::error::Result;
use crate::ffa::{Answer, Handle, SmcFrame};
use crate::hal::Hal;
use crate::id::PartitionId;
use crate::mem::{Endpoints, Engine, SendKind};
use crate::partition::{Endpoint, Proxy, StreamEndpoint};
use crate::spmc::{Pe, Spmc};

impl<H: Hal> Endpoints for Spmc<H> {
    fn endpoint(&self, id: PartitionId) -> Option<&Endpoint> {
        let of_stream = || self.stream(id).map(|stream| &stream.endpoint);
        Spmc::endpoint(self, id).or_else(of_stream)
    }

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

    fn index(&self, id: PartitionId) -> Option<usize> {
        id.is_secure().then(|| self.directory.index(id))
    }
}

/// The calls. None is inlined into the dispatcher: their frames are large, and messages are not to
/// pay for that.
impl<H: Hal> Spmc<H> {
    fn memory_engine(&self) -> Engine<'_, H, Self> {
        Engine {
            hal: &self.hal,
            shares: &self.shares,
            endpoints: self,
        }
    }

    /// `FFA_MEM_DONATE`, `FFA_MEM_LEND`, `FFA_MEM_SHARE`: see [`Engine::send`].
    #[inline(never)]
    pub(in crate::dispatch) fn mem_send(
        &self,
        pe: &mut Pe,
        caller: &Endpoint,
        kind: SendKind,
        frame: &SmcFrame,
    ) -> Result<Answer> {
        let engine = self.memory_engine();
        let answer = engine.send(&mut pe.scratch, caller, kind, frame);
        if let Ok(answer) = &answer {
            pe.note_fragment(answer);
        }
        answer
    }

    /// `FFA_MEM_RETRIEVE_REQ`: see [`Engine::retrieve`].
    #[inline(never)]
    pub(in crate::dispatch) fn mem_retrieve(
        &self,
        pe: &mut Pe,
        caller: &Endpoint,
        frame: &SmcFrame,
    ) -> Result<Answer> {
        self.memory_engine()
            .retrieve(&mut pe.scratch, caller, frame)
    }

    /// `FFA_MEM_FRAG_TX`: see [`Engine::fragment_tx`].
    #[inline(never)]
    pub(in crate::dispatch) fn mem_fragment_tx(
        &self,
        pe: &mut Pe,
        caller: &Endpoint,
        frame: &SmcFrame,
    ) -> Result<Answer> {
        let engine = self.memory_engine();
        let answer = engine.fragment_tx(&mut pe.scratch, caller, frame);
        if let Ok(answer) = &answer {
            pe.note_fragment(answer);
        }
        answer
    }

    /// The Hypervisor answers `FFA_MEM_FRAG_RX` with `FFA_ERROR`: see [`Engine::sender_aborted`].
    pub(in crate::dispatch) fn mem_sender_aborted(&self, pe: &mut Pe) {
        if let Some(handle) = pe.fragment_asked.take() {
            self.memory_engine().sender_aborted(handle);
        }
    }

    /// `FFA_MEM_FRAG_RX`: see [`Engine::fragment_rx`].
    #[inline(never)]
    pub(in crate::dispatch) fn mem_fragment_rx(
        &self,
        pe: &mut Pe,
        caller: &Endpoint,
        frame: &SmcFrame,
    ) -> Result<Answer> {
        self.memory_engine()
            .fragment_rx(&mut pe.scratch, caller, frame)
    }

    /// `FFA_MEM_RELINQUISH`: see [`Engine::relinquish`].
    #[inline(never)]
    pub(in crate::dispatch) fn mem_relinquish(&self, caller: &Endpoint) -> Result<Answer> {
        self.memory_engine().relinquish(caller)
    }

    /// `FFA_MEM_RECLAIM`: see [`Engine::reclaim`].
    #[inline(never)]
    pub(in crate::dispatch) fn mem_reclaim(
        &self,
        caller: &Endpoint,
        frame: &SmcFrame,
    ) -> Result<Answer> {
        self.memory_engine().reclaim(caller, frame)
    }

    /// `FFA_MEM_OP_RESUME`: see [`Engine::resume`].
    #[inline(never)]
    pub(in crate::dispatch) fn mem_resume(
        &self,
        caller: &Endpoint,
        frame: &SmcFrame,
    ) -> Result<Answer> {
        self.memory_engine().resume(caller, frame)
    }

    /// Returns the handle if `answer` says that a call is paused whose caller did not ask for that:
    /// see [`Engine::unfinished`].
    pub(in crate::dispatch) fn mem_unfinished(&self, answer: &Answer) -> Option<Handle> {
        self.memory_engine().unfinished(answer)
    }

    /// Goes on with such a call: see [`Engine::finish`].
    pub(in crate::dispatch) fn mem_finish(
        &self,
        caller: &Endpoint,
        handle: Handle,
    ) -> Result<Answer> {
        self.memory_engine().finish(caller, handle)
    }

    /// A partition has died: see [`Engine::bury`].
    pub(in crate::dispatch) fn mem_bury(&self, dead: &Endpoint) -> bool {
        let engine = self.memory_engine();
        for stream in &self.streams {
            if stream.proxy() == Proxy::Partition(dead.id()) {
                engine.bury(&stream.endpoint);
            }
        }
        // Finds what its stream endpoints left as well.
        engine.bury(dead)
    }

    /// Zeroes a slice of what the dead had borrowed: see [`Engine::settle`].
    pub(in crate::dispatch) fn mem_settle(&self) -> bool {
        self.memory_engine().settle()
    }
}
