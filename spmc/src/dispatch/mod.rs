//! The dispatcher: every call from the Normal world and from partitions ends up here.
//!
//! A call from the Normal world is handled to its end on the PE that it came in on:
//! [`Spmc::handle`] runs partitions as needed and returns when the Normal world gets the PE back.
//! Nothing here waits for another PE, except for the few instructions of a lock.

mod buffers;
mod chain;
mod console;
mod cycles;
mod direct;
mod discovery;
mod el3_calls;
mod failure;
mod features;
mod framework;
mod indirect;
mod interrupt;
mod interrupt_calls;
mod interrupt_life;
mod lifecycle;
mod long_calls;
mod mem_perm;
mod notification;
mod partition;
mod preempt;
mod run;
mod setup;
mod stop;
mod watchdog;

pub(crate) use chain::works_for;
pub(crate) use run::Member;

use crate::error::{FfaError, Result};
use crate::ffa::calls::{self, Origin, Row};
use crate::ffa::{Answer, FunctionId, SmcFrame, function};
use crate::hal::Hal;
use crate::mem::SendKind;
use crate::partition::{Endpoint, Partition};
use crate::spmc::{Pe, Spmc};

/// Where a call comes from. Which functions exist, and how their registers read, depends on it.
pub(crate) enum Instance<'s, C> {
    /// The Normal world, through the SPMD.
    NormalWorld(&'s Endpoint),
    /// A partition.
    Partition(&'s Partition<C>),
}

impl<'s, C> Instance<'s, C> {
    /// The caller as an endpoint.
    pub(crate) fn endpoint(&self) -> &'s Endpoint {
        match self {
            Self::NormalWorld(endpoint) => endpoint,
            Self::Partition(partition) => &partition.endpoint,
        }
    }

    /// Returns the column of the table of calls.
    pub(crate) const fn origin(&self) -> Origin {
        match self {
            Self::NormalWorld(_) => Origin::NormalWorld,
            Self::Partition(_) => Origin::Partition,
        }
    }

    /// Begins a call: whoever makes one negotiates its version no more, unless it is `FFA_VERSION`.
    /// `registers` are those from x0 on. Errors as [`Row::judge`].
    #[inline(always)]
    pub(crate) fn begin(&self, id: FunctionId, registers: &[u64]) -> Result<()> {
        let endpoint = self.endpoint();
        if calls::is_plain(id, self.origin(), endpoint.version()) {
            endpoint.end_negotiation();
            Ok(())
        } else if id.0 == function::VERSION {
            Ok(())
        } else {
            self.begin_slowly(id, registers)
        }
    }

    #[cold]
    #[inline(never)]
    fn begin_slowly(&self, id: FunctionId, registers: &[u64]) -> Result<()> {
        self.begin_by(calls::find(id), registers)
    }

    /// Begins a call whose row was found.
    #[inline(always)]
    pub(crate) fn begin_by(&self, row: &Row, registers: &[u64]) -> Result<()> {
        let endpoint = self.endpoint();
        endpoint.end_negotiation();
        row.judge(self.origin(), endpoint.version(), registers)
    }
}

impl<H: Hal> Spmc<H> {
    /// Handles what the SPMD passed to this PE and leaves in `frame` what goes back.
    ///
    /// That is a call of the Normal world or a framework message of the SPMD; the answer may be its
    /// completion, or `FFA_INTERRUPT` if a Non-secure interrupt came in between.
    pub fn handle(&self, pe: &mut Pe, frame: &mut SmcFrame) {
        let id = frame.function();
        let result = match id.0 {
            function::MSG_SEND_DIRECT_REQ_32 | function::MSG_SEND_DIRECT_REQ_64 => {
                self.normal_world_request(pe, id, frame)
            }
            function::MSG_SEND_DIRECT_REQ2 => self.normal_world_request2(pe, frame),
            function::RUN => self.normal_world_run(pe, frame),
            function::ERROR => {
                if frame.w(2) as i32 == FfaError::Aborted as i32 {
                    self.mem_sender_aborted(pe);
                }
                // The SPMD refused what we sent last: FFA_ABORT, in place of an answer, or
                // FFA_NORMAL_WORLD_RESUME while the Normal world was not interrupted. There is
                // nothing to undo; we wait for its next call.
                match pe.held.take() {
                    Some(held) => *frame = held,
                    None => frame.answer(Answer::new([function::MSG_WAIT as u64])),
                }
                Ok(())
            }
            function::INTERRUPT => {
                self.normal_world_interrupted(pe, frame);
                Ok(())
            }
            function::PARTITION_INFO_GET_REGS => {
                let instance = Instance::NormalWorld(&self.normal_world);
                instance
                    .begin(id, &frame.x)
                    .and_then(|()| self.partition_info_get_regs(&instance, frame))
                    .map(|answer| *frame = answer)
            }
            _ => {
                let instance = Instance::NormalWorld(&self.normal_world);
                instance
                    .begin(id, &frame.x)
                    .and_then(|()| self.call(pe, &instance, id, frame))
                    .and_then(|answer| self.finish_for_normal_world(pe, answer))
                    .map(|answer| frame.answer(answer))
            }
        };
        if let Err(error) = result {
            frame.answer(Answer::error(error));
        }
        self.clean_up(pe, frame);
    }

    /// Handles the calls that never leave the SPMC, once they have begun: set-up, discovery and
    /// memory management, for every caller.
    fn call(
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
            function::MEM_OP_RESUME if endpoint.may_be_paused() => self.mem_resume(endpoint, frame),
            function::MEM_RELINQUISH => self.mem_relinquish(endpoint),
            function::MEM_RECLAIM => self.mem_reclaim(endpoint, frame),
            function::NOTIFICATION_BITMAP_CREATE
            | function::NOTIFICATION_BITMAP_DESTROY
            | function::NOTIFICATION_BIND
            | function::NOTIFICATION_UNBIND
            | function::NOTIFICATION_SET
            | function::NOTIFICATION_GET
            | function::NOTIFICATION_INFO_GET_32
            | function::NOTIFICATION_INFO_GET_64 => self.notification_call(pe, instance, id, frame),
            _ => Err(FfaError::NotSupported),
        }
    }
}
