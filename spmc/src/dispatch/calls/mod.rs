//! The calls that are answered at once: set-up, discovery, notifications and memory management.
//!
//! Nothing here changes which context has the PE. A handler takes the instance that made the call,
//! or the context if the call is about that, and returns the answer.

mod buffers;
mod console;
mod discovery;
mod el3_calls;
mod features;
mod indirect;
mod mem_perm;
mod memory_calls;
mod notification;
mod ns_resources;
pub(super) mod paravirtual;
pub(super) mod setup;

use crate::error::{FfaError, Result};
use crate::ffa::{Answer, FunctionId, Handle, SmcFrame, function};
use crate::hal::Hal;
use crate::mem::SendKind;
use crate::spmc::{Pe, Spmc};

use super::Instance;

impl<H: Hal> Spmc<H> {
    /// Handles the calls that return x0 to x17, once they have begun.
    #[inline(never)]
    pub(super) fn wide_call(
        &self,
        pe: &mut Pe,
        instance: &Instance<'_, H::Context>,
        id: FunctionId,
        frame: &SmcFrame,
    ) -> Result<SmcFrame> {
        match id.0 {
            function::NOTIFICATION_GET2 => self.notification_get2(instance, frame),
            function::NS_RES_INFO_GET => self.ns_res_info_get(pe, frame),
            _ => self.partition_info_get_regs(instance, frame),
        }
    }

    /// Handles the calls that never leave the SPMC, once they have begun: set-up, discovery and
    /// memory management, for every caller.
    pub(super) fn call(
        &self,
        pe: &mut Pe,
        instance: &Instance<'_, H::Context>,
        id: FunctionId,
        frame: &SmcFrame,
    ) -> Result<Answer> {
        let endpoint = instance.endpoint();
        match id.0 {
            function::VERSION => Ok(Self::version(endpoint, frame)),
            function::FEATURES => self.features(instance, frame),
            function::ID_GET => Ok(Self::id_get(endpoint)),
            function::SPM_ID_GET => self.spm_id_get(),
            function::RXTX_MAP_32 | function::RXTX_MAP_64 => self.rxtx_map(pe, instance, id, frame),
            function::RXTX_UNMAP => self.rxtx_unmap(instance, frame),
            function::RX_RELEASE => self.rx_release(instance, frame),
            function::RX_ACQUIRE => self.rx_acquire(instance, frame),
            function::PARTITION_INFO_GET => self.partition_info_get(pe, instance, frame),
            function::MSG_SEND2 => self.msg_send2(pe, instance, frame),
            function::MEM_DONATE_32 | function::MEM_DONATE_64 => {
                self.mem_send(pe, endpoint, SendKind::Donate, frame)
            }
            function::MEM_LEND_32 | function::MEM_LEND_64 => {
                self.mem_send(pe, endpoint, SendKind::Lend, frame)
            }
            function::MEM_SHARE_32 | function::MEM_SHARE_64 => {
                self.mem_send(pe, endpoint, SendKind::Share, frame)
            }
            function::MEM_RETRIEVE_REQ_32 | function::MEM_RETRIEVE_REQ_64 => {
                self.mem_retrieve(pe, endpoint, frame)
            }
            function::MEM_FRAG_TX => self.mem_fragment_tx(pe, endpoint, frame),
            function::MEM_FRAG_RX => self.mem_fragment_rx(pe, endpoint, frame),
            function::MEM_OP_RESUME if endpoint.may_be_paused() => {
                self.memory().resume(endpoint, Handle::of_call(frame))
            }
            function::MEM_RELINQUISH => self.memory().relinquish(endpoint),
            function::MEM_RECLAIM => {
                self.memory()
                    .reclaim(endpoint, Handle::of_call(frame), frame.w(3))
            }
            function::NOTIFICATION_BITMAP_CREATE
            | function::NOTIFICATION_BITMAP_DESTROY
            | function::NOTIFICATION_BIND
            | function::NOTIFICATION_UNBIND
            | function::NOTIFICATION_SET
            | function::NOTIFICATION_GET
            | function::NOTIFICATION_BIND2
            | function::NOTIFICATION_UNBIND2
            | function::NOTIFICATION_SET2
            | function::NOTIFICATION_INFO_GET_32
            | function::NOTIFICATION_INFO_GET_64 => self.notification_call(pe, instance, id, frame),
            _ => Err(FfaError::NotSupported),
        }
    }
}
