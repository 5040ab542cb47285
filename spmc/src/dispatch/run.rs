//! Running execution contexts on this PE: claim, enter, switch, give up.
//!
//! A context is claimed by `try_lock`, and the claim is held as long as it runs; failing to claim is `BUSY`. A context that is
//! blocked or preempted is not claimed by anybody: its state says that nobody but the right one may enter it. So a
//! PE holds one claim, or for the moment of a switch two; the second is taken by `try_lock`, or belongs to a
//! blocked context that others hold only while they look at its state. Hence no dead-lock.

use crate::error::{FfaError, Result};
use crate::ffa::{SmcFrame, function};
use crate::hal::{Context, Exit, Hal};
use crate::id::{PartitionId, VcpuId};
use crate::manifest::config::NsInterruptAction;
use crate::partition::vcpu::{Caller, Event, Model, State, Vcpu};
use crate::partition::{Frozen, Partition};
use crate::spmc::{Pe, Spmc};
use crate::sync::MutexGuard;

/// A partition that takes part in a call, dead or alive.
pub(crate) struct Member<'s, C> {
    pub(crate) partition: &'s Partition<C>,
    pub(crate) frozen: &'s Frozen,
}

// By hand: a context need not be `Copy`.
impl<C> Clone for Member<'_, C> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<C> Copy for Member<'_, C> {}

/// A claimed execution context.
pub(crate) struct Current<'s, C> {
    pub(crate) partition: &'s Partition<C>,
    pub(crate) frozen: &'s Frozen,
    pub(crate) id: VcpuId,
    pub(crate) vcpu: MutexGuard<'s, Vcpu<C>>,
}

impl<'s, C> Current<'s, C> {
    /// The partition.
    pub(crate) fn member(&self) -> Member<'s, C> {
        Member {
            partition: self.partition,
            frozen: self.frozen,
        }
    }
}

/// What happens after an exit was handled.
pub(crate) enum Flow {
    /// The current context, which may have become another one, runs on.
    Continue,
    /// The PE goes back to whoever called from outside.
    Leave,
}

impl<H: Hal> Spmc<H> {
    /// The partition with that id, dead or alive.
    #[inline(always)]
    pub(crate) fn member(&self, id: PartitionId) -> Option<Member<'_, H::Context>> {
        let partition = self.partitions.get(id.index())?;
        let frozen = partition.frozen()?;
        Some(Member { partition, frozen })
    }

    /// The context that serves a call to `partition` on this PE: the only one, or the one pinned here.
    #[inline(always)]
    pub(crate) fn index_on(pe: &Pe, frozen: &Frozen) -> u16 {
        if frozen.config.is_up() { 0 } else { pe.index }
    }

    /// Claims the context of a partition on this PE and lets `event` happen to it.
    ///
    /// `BUSY` if there is no context for this PE or another PE has it, otherwise as the state machine says.
    #[inline(always)]
    pub(crate) fn claim<'s>(
        &self,
        pe: &Pe,
        Member { partition, frozen }: Member<'s, H::Context>,
        event: Event,
    ) -> Result<Current<'s, H::Context>> {
        let index = Self::index_on(pe, frozen);
        if index >= frozen.config.vcpu_count {
            return Err(FfaError::Busy);
        }
        let vcpu = partition.vcpus.get(index as usize).ok_or(FfaError::Busy)?;
        let mut vcpu = vcpu.try_lock().ok_or(FfaError::Busy)?;
        vcpu.step(event)?;
        let id = VcpuId {
            partition: frozen.config.id,
            index,
        };
        Ok(Current {
            partition,
            frozen,
            id,
            vcpu,
        })
    }

    /// Claims the context `id`, of a partition dead or alive, pinned here or elsewhere, without changing its state. `INVALID_PARAMETERS` if
    /// there is none, `BUSY` if another PE has it.
    pub(crate) fn context(&self, id: VcpuId) -> Result<Current<'_, H::Context>> {
        let Member { partition, frozen } = self
            .member(id.partition)
            .filter(|member| id.index < member.frozen.config.vcpu_count)
            .ok_or(FfaError::InvalidParameters)?;
        let vcpu = partition.vcpus.get(id.index as usize);
        let vcpu = vcpu.ok_or(FfaError::InvalidParameters)?;
        let vcpu = vcpu.try_lock().ok_or(FfaError::Busy)?;
        Ok(Current {
            partition,
            frozen,
            id,
            vcpu,
        })
    }

    /// Puts the context on the PE, with Non-secure interrupts masked if it or anyone it works for has them queued.
    #[inline(always)]
    pub(crate) fn enter(&self, current: &mut Current<'_, H::Context>, caller_masked: bool) {
        let vcpu = &mut *current.vcpu;
        vcpu.masked = caller_masked
            || vcpu.model == Model::Init
            || current.frozen.config.ns_interrupts == NsInterruptAction::Queued;
        self.hal
            .load(&mut vcpu.context, &current.frozen.roots, vcpu.masked);
        if current.partition.has_interrupt(current.id.index) {
            self.signal_anew(current);
        }
    }

    /// Puts a context back on the PE that had been taken off it in the middle of its work.
    #[inline(always)]
    pub(crate) fn re_enter(&self, current: &mut Current<'_, H::Context>) {
        let vcpu = &mut *current.vcpu;
        self.hal
            .load(&mut vcpu.context, &current.frozen.roots, vcpu.masked);
        if current.partition.has_interrupt(current.id.index) {
            self.signal(current);
        }
    }

    /// Runs `current`, and whatever it calls, until the PE goes back to whoever called from outside; `frame` is then the answer.
    pub(crate) fn run<'s>(
        &'s self,
        pe: &mut Pe,
        mut current: Current<'s, H::Context>,
        frame: &mut SmcFrame,
    ) {
        loop {
            let flow = match self.hal.run(&mut current.vcpu.context) {
                Exit::Call(_) if !current.partition.is_dead() => {
                    self.partition_call(pe, &mut current, frame)
                }
                exit => self.stop(pe, &mut current, &exit, frame),
            };
            if let Flow::Leave = flow {
                return;
            }
        }
    }

    /// Handles what stops a context against its will.
    #[cold]
    #[inline(never)]
    fn stop<'s>(
        &'s self,
        pe: &mut Pe,
        current: &mut Current<'s, H::Context>,
        exit: &Exit,
        frame: &mut SmcFrame,
    ) -> Flow {
        if current.partition.is_dead() {
            // Another of its contexts failed while this one ran on.
            return self.abort(current, frame);
        }
        match *exit {
            Exit::Call(_) => Flow::Continue,
            Exit::Fault(fault) => self.fault(current, &fault, frame),
            Exit::Trap { syndrome, pc } => self.trap(current, syndrome, pc, frame),
            Exit::NonSecureInterrupt => self.preempt(pe, current, frame),
            Exit::SecureInterrupt => self.secure_interrupt(pe, current, frame),
            Exit::Timer { expired } => self.timer_changed(current, expired),
            Exit::Watchdog => self.watchdog(current, frame),
        }
    }

    /// Gives the PE up for a Non-secure interrupt: the whole chain stops, and the Normal world is told whom to run again.
    fn preempt(
        &self,
        pe: &Pe,
        current: &mut Current<'_, H::Context>,
        frame: &mut SmcFrame,
    ) -> Flow {
        if current.vcpu.masked
            || self.asks_for_managed_exit(current)
            || current.vcpu.step(Event::Preempt).is_err()
        {
            return Flow::Continue;
        }
        self.hal.save(&mut current.vcpu.context);
        *frame = SmcFrame::new([function::INTERRUPT as u64, pe.root.to_w1()]);
        Flow::Leave
    }

    /// Ends the work of `current`, whose state has been changed already: its caller gets the PE, with `answer` as the
    /// completion of its call. If that is the Normal world, the answer stays where it is.
    ///
    /// A caller that failed meanwhile is passed over; whoever waits for it gets `ABORTED`.
    #[inline(never)]
    pub(crate) fn give_back<'s>(
        &'s self,
        current: &mut Current<'s, H::Context>,
        answer: &mut SmcFrame,
    ) -> Flow {
        self.hal.save(&mut current.vcpu.context);
        if current.vcpu.caller == Caller::Outside {
            return Flow::Leave;
        }
        self.unblock_caller(current, answer)
    }

    /// What [`Self::give_back`] does once `current` is off the PE.
    pub(crate) fn unblock_caller<'s>(
        &'s self,
        current: &mut Current<'s, H::Context>,
        answer: &mut SmcFrame,
    ) -> Flow {
        loop {
            if let Caller::Heir(_) = current.vcpu.caller {
                bequeath(current, answer);
            }
            let caller = current.vcpu.caller.context();
            let Some(mut caller) = caller.and_then(|id| self.blocked(id)) else {
                return Flow::Leave;
            };
            if !caller.partition.is_dead() && caller.vcpu.step(Event::Unblock).is_ok() {
                deliver(&mut caller.vcpu.context, answer);
                self.re_enter(&mut caller);
                *current = caller;
                return Flow::Continue;
            }
            // Aborting is allowed in every state.
            let _ = caller.vcpu.step(Event::Abort);
            *answer = SmcFrame::error(FfaError::Aborted);
            *current = caller;
        }
    }

    /// The context `id`, which is known to be blocked.
    #[inline(always)]
    pub(crate) fn blocked(&self, id: VcpuId) -> Option<Current<'_, H::Context>> {
        let Member { partition, frozen } = self.member(id.partition)?;
        // Nobody keeps the lock of a blocked context: others look at its state and go.
        let vcpu = partition.vcpus.get(id.index as usize)?.lock();
        Some(Current {
            partition,
            frozen,
            id,
            vcpu,
        })
    }
}

/// Replaces the answer of `current` to a caller that is no more by what whoever gets the PE in its place must know.
#[cold]
fn bequeath<C: Context>(current: &Current<'_, C>, answer: &mut SmcFrame) {
    if current.vcpu.state() != State::Waiting {
        // It failed, or is not done yet: whoever is told can run it again.
        return;
    }
    *answer = match current.vcpu.caller.context() {
        Some(_) => SmcFrame::error(FfaError::Aborted),
        None => SmcFrame::new([function::MSG_WAIT as u64, current.id.to_w1()]),
    };
}

/// Puts a message, or a completion that carries one, into the registers of a context: x0 to x17, so that nothing of
/// the sender or of the SPMC is left in the registers that the message does not use.
pub(crate) fn deliver<C: Context>(context: &mut C, message: &SmcFrame) {
    for (to, from) in context.gprs_mut().iter_mut().zip(message.x) {
        *to = from;
    }
}
