//! The calls and events that pass the PE on, and the loop that runs a context until the PE goes
//! back.
//!
//! Every function here is called by the PE that holds the claim of the running context
//! ([`super::context`]). What is `pub(super)` here is out of reach for [`super::calls`].

mod chain;
mod cycles;
mod direct;
mod failure;
mod framework;
mod interrupt;
mod interrupt_life;
mod lifecycle;
mod live;
mod long_calls;
mod preempt;
mod stop;
mod timers;
mod watchdog;

pub(crate) use chain::works_for;

use crate::error::FfaError;
use crate::ffa::{Answer, SmcFrame, function};
use crate::hal::{Exit, Hal};
use crate::invariant::Invariant;
use crate::manifest::config::NsInterruptAction;
use crate::partition::vcpu::{Caller, Event, Model, State};
use crate::spmc::{Pe, Spmc};
use crate::sync;

use super::context::{Current, complete};

/// Tells how the loop of [`Spmc::run`] goes on after an exit.
pub(crate) enum Flow {
    /// The current context runs on. It may be another one than before.
    Continue,
    /// The PE goes back to the Normal world, EL3 or boot, whichever entered the SPMC.
    Leave,
}

impl<H: Hal> Spmc<H> {
    /// Puts the context on the PE for new work. Non-secure interrupts are masked if the context, or
    /// a context that it works for, has them queued.
    #[inline(always)]
    pub(crate) fn enter(&self, current: &mut Current<'_, H::Context>, caller_masked: bool) {
        let vcpu = &mut *current.vcpu;
        vcpu.masked = caller_masked
            || vcpu.model() == Model::Init
            || current.frozen.config.ns_interrupts == NsInterruptAction::Queued;
        self.hal
            .load(&mut vcpu.context, &current.frozen.roots, vcpu.masked);
        if current.partition.may_have_interrupts() {
            self.signal_anew(current);
        }
    }

    /// Puts a context back on the PE that had been taken off it in the middle of its work.
    #[inline(always)]
    pub(crate) fn re_enter(&self, current: &mut Current<'_, H::Context>) {
        let vcpu = &mut *current.vcpu;
        self.hal
            .load(&mut vcpu.context, &current.frozen.roots, vcpu.masked);
        if current.partition.may_have_interrupts() {
            self.signal(current);
        }
    }

    /// Runs `current`, and the contexts that it calls, until the PE goes back to whoever entered
    /// the SPMC. `frame` then holds the answer.
    pub(crate) fn run<'s>(
        &'s self,
        pe: &mut Pe,
        mut current: Current<'s, H::Context>,
        frame: &mut SmcFrame,
    ) {
        loop {
            sync::runs(&current.vcpu);
            let flow = match self.hal.run(&mut current.vcpu.context) {
                Exit::Call(_) if !current.partition.is_dead() => {
                    current.trace("calls");
                    self.partition_call(pe, &mut current, frame)
                }
                exit => self.stop(pe, &mut current, &exit, frame),
            };
            if let Flow::Leave = flow {
                return;
            }
        }
    }

    /// Runs `callee` with a request that EL3 waits for. The Normal world cannot have the PE before
    /// the answer, so the watchdog limits the time.
    #[cold]
    pub(super) fn run_for_el3(
        &self,
        pe: &mut Pe,
        mut callee: Current<'_, H::Context>,
        answer: &mut SmcFrame,
    ) {
        self.enter(&mut callee, true);
        self.start_watch(pe, callee.vcpu.link());
        pe.el3_waits = true;
        self.run(pe, callee, answer);
        pe.el3_waits = false;
        self.stop_watch(pe);
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
            // Another context of the partition failed while this one was running.
            return self.abort(current, frame);
        }
        match *exit {
            Exit::Call(_) => Flow::Continue,
            Exit::Fault(fault) => self.fault(current, &fault, frame),
            Exit::Trap { syndrome, pc } => self.trap(current, syndrome, pc, frame),
            Exit::NonSecureInterrupt => self.preempt(pe, current, frame),
            Exit::SecureInterrupt => self.secure_interrupt(pe, current, frame),
            Exit::Timer { expired } => self.timer_changed(pe, current, expired),
            Exit::Watchdog => self.watchdog(pe, current, frame),
        }
    }

    /// Returns the PE to the caller of `current`, whose state has been changed already. `answer`
    /// completes the call of the caller; if that is the Normal world, the answer stays in the
    /// frame.
    ///
    /// A caller that failed meanwhile is skipped, and the context that waits for that caller gets
    /// `ABORTED`.
    #[inline(never)]
    pub(crate) fn return_pe<'s>(
        &'s self,
        current: &mut Current<'s, H::Context>,
        answer: &mut SmcFrame,
    ) -> Flow {
        self.hal.save(&mut current.vcpu.context);
        if current.vcpu.caller() == Caller::Outside {
            return Flow::Leave;
        }
        self.unblock_caller(current, answer)
    }

    /// Runs the context that waits for `current`, which has left the PE: the second half of
    /// [`Self::return_pe`].
    pub(crate) fn unblock_caller<'s>(
        &'s self,
        current: &mut Current<'s, H::Context>,
        answer: &mut SmcFrame,
    ) -> Flow {
        loop {
            // A context in another state failed, or is not done: the Normal world can run it again.
            let is_done = current.vcpu.state() == State::Waiting;
            let link = match current.vcpu.caller() {
                Caller::Outside => return Flow::Leave,
                Caller::Vcpu(link) => link,
                Caller::Heir(link) => {
                    if is_done {
                        answer.answer(Answer::error(FfaError::Aborted));
                    }
                    link
                }
            };
            let callee = current.vcpu.link();
            let Some(mut caller) = self.waiting_for(callee, link) else {
                if is_done {
                    answer.answer(Answer::new([function::MSG_WAIT as u64, current.id.to_w1()]));
                }
                return Flow::Leave;
            };
            if !caller.partition.is_dead() && caller.vcpu.step(Event::Unblock(callee)).is_ok() {
                complete(&mut caller, &answer.head());
                self.re_enter(&mut caller);
                *current = caller;
                return Flow::Continue;
            }
            // Aborting is allowed in every state.
            Invariant::Transition.expect(caller.vcpu.step(Event::Abort).is_ok());
            answer.answer(Answer::error(FfaError::Aborted));
            *current = caller;
        }
    }
}
