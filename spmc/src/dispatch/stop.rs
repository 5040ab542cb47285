//! Secure interrupts of a context that is blocked (FF-A v1.1 section 8.4 and chapter 9): whom it waits for is stopped, and its call ends with `FFA_INTERRUPT`.
//! When it has handled them it resumes the other one with `FFA_RUN`, and waits for the answer as before.
//!
//! Only for the next one up the chain: that is the one whose call can end. Others see their interrupts when they run again.

use crate::error::{FfaError, Result};
use crate::ffa::{Answer, Version, function};
use crate::hal::Hal;
use crate::id::VcpuId;
use crate::manifest::config::ExceptionLevel;
use crate::partition::vcpu::{Caller, Event, Model, State};
use crate::spmc::{Pe, Spmc};

use super::run::{Current, complete};

impl<H: Hal> Spmc<H> {
    /// Ends the call of whoever waits for the answer of `current` with `FFA_INTERRUPT`, if that one
    /// has interrupts to handle; it resumes `current` with `FFA_RUN`. It needs FF-A 1.1 and S-EL1
    /// for that; and who handles interrupts already, or initialises, goes on without a pause.
    #[cold]
    pub(super) fn stop_for_caller<'s>(&'s self, current: &mut Current<'s, H::Context>) {
        let Some((mut caller, model)) = self.caller_with_interrupts(current) else {
            return;
        };
        let link = current.vcpu.link();
        // One runs, the other waits for it.
        let until = self.time_of_caller(0);
        if current.vcpu.step(Event::Stop(until)).is_err()
            || caller.vcpu.step(Event::Unblock(link)).is_err()
        {
            return;
        }
        self.hal.save(&mut current.vcpu.context);
        caller.vcpu.model = model;
        let interrupt = Answer::new([function::INTERRUPT as u64]);
        complete(&mut caller.vcpu.context, &interrupt);
        self.re_enter(&mut caller);
        *current = caller;
    }

    /// Returns the blocked context that `current` works for, if it is to be called for its
    /// interrupts, and the model that it has then.
    fn caller_with_interrupts<'s>(
        &'s self,
        current: &Current<'s, H::Context>,
    ) -> Option<(Current<'s, H::Context>, Model)> {
        let Caller::Vcpu(link) = current.vcpu.caller else {
            return None;
        };
        let callee = current.vcpu.link();
        let caller = self.waiting_for(callee, link)?;
        let model = caller.vcpu.model.stop(callee)?;
        let partition = caller.partition;
        let (lines, _) = partition.lines(caller.id.index)?;
        let calls = lines.calls();
        if calls == 0
            || partition.is_dead()
            || caller.frozen.config.exception_level != ExceptionLevel::SEl1
            || partition.endpoint.version() < Version::V1_1
        {
            return None;
        }
        lines.answer(calls);
        Some((caller, model))
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
        let is_left = match (current.vcpu.model.stopped(), callee.vcpu.state()) {
            (Some(stopped), State::Stopped(_)) => callee.vcpu.link() == stopped,
            (None, State::Yielded(_)) => true,
            _ => false,
        };
        if is_left && callee.vcpu.caller.link() == Some(current.vcpu.link()) {
            Ok(callee)
        } else {
            Err(FfaError::Denied)
        }
    }
}
