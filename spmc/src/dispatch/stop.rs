//! Secure interrupts of a context that is blocked (FF-A v1.1 section 8.4 and chapter 9): whom it waits for is stopped, and its call ends with `FFA_INTERRUPT`.
//! When it has handled them it resumes the other one with `FFA_RUN`, and waits for the answer as before.
//!
//! Only for the next one up the chain: that is the one whose call can end. Others see their interrupts when they run again.

use crate::error::{FfaError, Result};
use crate::ffa::{SmcFrame, Version, function};
use crate::hal::Hal;
use crate::id::VcpuId;
use crate::manifest::config::ExceptionLevel;
use crate::partition::vcpu::{Caller, Event, Model, State};
use crate::spmc::{Pe, Spmc};

use super::run::{Current, deliver};

impl<H: Hal> Spmc<H> {
    /// If whoever waits for the answer of `current` has interrupts to handle, its call ends with `FFA_INTERRUPT`; it resumes `current` with `FFA_RUN`. It
    /// needs FF-A 1.1 and S-EL1 for that; and who handles interrupts already, or initialises, goes on without a pause.
    #[cold]
    pub(super) fn stop_for_caller<'s>(&'s self, current: &mut Current<'s, H::Context>) {
        let Some(mut caller) = self.caller_with_interrupts(current) else {
            return;
        };
        if current.vcpu.step(Event::Preempt).is_err() || caller.vcpu.step(Event::Unblock).is_err() {
            return;
        }
        self.hal.save(&mut current.vcpu.context);
        caller.vcpu.model_before = caller.vcpu.model;
        caller.vcpu.model = Model::Resume;
        caller.vcpu.stopped = current.id;
        let interrupt = SmcFrame::new([function::INTERRUPT as u64]);
        deliver(&mut caller.vcpu.context, &interrupt);
        self.re_enter(&mut caller);
        *current = caller;
    }

    /// The blocked context that `current` works for, if it is to be called for its interrupts.
    fn caller_with_interrupts<'s>(
        &'s self,
        current: &Current<'s, H::Context>,
    ) -> Option<Current<'s, H::Context>> {
        let Caller::Vcpu(id) = current.vcpu.caller else {
            return None;
        };
        let member = self.member(id.partition)?;
        let config = &member.frozen.config;
        let (lines, _) = member.partition.lines(id.index)?;
        let calls = lines.calls();
        if calls == 0
            || member.partition.is_dead()
            || config.exception_level != ExceptionLevel::SEl1
            || member.partition.endpoint.version() < Version::V1_1
        {
            return None;
        }
        let caller = self.blocked(id)?;
        let is_free = matches!(caller.vcpu.model, Model::Request { .. } | Model::Run);
        if !is_free || !caller.vcpu.waits_for(current.id) {
            return None;
        }
        lines.answer(calls);
        Some(caller)
    }

    /// Claims the context `target`, which yielded to `current` or was stopped for it.
    pub(super) fn resumable<'s>(
        &'s self,
        pe: &Pe,
        current: &Current<'s, H::Context>,
        target: VcpuId,
    ) -> Result<Current<'s, H::Context>> {
        let callee = self.look_at(pe, target)?;
        if callee.partition.is_dead() {
            return Err(FfaError::Aborted);
        }
        let state = if current.vcpu.must_resume(target) {
            State::Preempted
        } else {
            State::Yielded
        };
        if callee.vcpu.state() == state && callee.vcpu.caller.context() == Some(current.id) {
            return Ok(callee);
        }
        let member = callee.member();
        drop(callee);
        self.looked_at(member, target.index);
        Err(FfaError::Denied)
    }

    /// Whether `current` has to resume a context that is pinned to another PE.
    pub(super) fn is_held_elsewhere(&self, pe: &Pe, current: &Current<'_, H::Context>) -> bool {
        let stopped = current.vcpu.stopped;
        current.vcpu.must_resume(stopped)
            && self.context(stopped).is_ok_and(|context| {
                context.vcpu.state() == State::Preempted
                    && stopped.index != Self::index_on(pe, context.frozen)
            })
    }
}
