//! Stops the chain below a blocked context. The call of that context ends with `FFA_INTERRUPT`, and
//! the running member of the chain is taken off the PE. Later the context resumes the chain by
//! `FFA_RUN` on its callee, and waits for the answer as before. The members in between stay blocked
//! and see nothing of this.
//!
//! Chains are stopped for secure interrupts of a blocked context (FF-A v1.1 section 8.4 and chapter
//! 9) and for managed exits ([`super::preempt`]).

use crate::error::{FfaError, Result};
use crate::ffa::{Answer, Version, function};
use crate::hal::{Context, Hal};
use crate::id::VcpuId;
use crate::interrupt::Line;
use crate::manifest::config::ExceptionLevel;
use crate::partition::Link;
use crate::partition::vcpu::{Caller, Event, State};
use crate::spmc::{Pe, Spmc};

use crate::dispatch::context::{Current, complete};

/// Why the chain below a blocked context is stopped.
#[derive(Clone, Copy)]
pub(super) enum Reason {
    /// The blocked context has secure interrupts to handle. `FFA_INTERRUPT` does not name its
    /// callee.
    Interrupts,
    /// A Non-secure interrupt is pending, and the blocked context has a managed exit.
    /// `FFA_INTERRUPT` names its callee.
    ManagedExit,
}

impl<H: Hal> Spmc<H> {
    /// Ends, with `FFA_INTERRUPT`, the call of the nearest context that `current` works for and
    /// that has interrupts to handle. Nothing happens if `current`, or a context in between, has
    /// interrupts of others queued.
    #[cold]
    pub(super) fn stop_for_caller<'s>(&'s self, current: &mut Current<'s, H::Context>) {
        let Some((caller, callee)) = self.caller_with_interrupts(current) else {
            return;
        };
        self.stop_chain(current, caller, callee, Reason::Interrupts);
    }

    /// Claims the nearest context that `current` works for and that is to run for its interrupts.
    /// Returns it with the link of its callee. A context that handles interrupts already, or
    /// initialises, is not interrupted.
    fn caller_with_interrupts<'s>(
        &'s self,
        current: &Current<'s, H::Context>,
    ) -> Option<(Current<'s, H::Context>, Link)> {
        let mut is_open = !current.frozen.config.queues_other_interrupts;
        let (caller, callee) = self.find_caller(current, |member, known_as| {
            let lines = member.partition.lines(member.id.index);
            let is_called = is_open
                && lines.is_some_and(|(lines, _)| lines.calls() & Line::STOPPING != 0)
                && member.vcpu.model().stop(Link::NONE).is_some()
                && can_resume(member, known_as);
            is_open &= !member.frozen.config.queues_other_interrupts;
            is_called
        })?;
        let (lines, _) = caller.partition.lines(caller.id.index)?;
        lines.answer(lines.calls() & Line::STOPPING);
        Some((caller, callee))
    }

    /// Stops `current`. The context `caller`, for which `current` works, gets the PE, and its call
    /// of `callee` ends with `FFA_INTERRUPT`.
    pub(super) fn stop_chain<'s>(
        &'s self,
        current: &mut Current<'s, H::Context>,
        mut caller: Current<'s, H::Context>,
        callee: Link,
        reason: Reason,
    ) {
        // `current` runs and `caller` is blocked, so both events are allowed.
        let until = self.time_of_caller(0);
        if current.vcpu.step(Event::Stop(until)).is_err() {
            return;
        }
        let (unblocked, whom) = match reason {
            Reason::Interrupts => (caller.vcpu.unblock_for_interrupts(callee), None),
            Reason::ManagedExit => (caller.vcpu.step(Event::Unblock(callee)), self.name(callee)),
        };
        if unblocked.is_err() {
            return;
        }
        let whom = whom.map_or(0, VcpuId::to_w1);
        let interrupt = Answer::new([function::INTERRUPT as u64, whom]);
        self.hal.save(&mut current.vcpu.context);
        complete(&mut caller, &interrupt);
        self.re_enter(&mut caller);
        *current = caller;
    }

    /// Claims the last member of the chain that begins at `asked` and that yielded to `current`, or
    /// was stopped for interrupts or a managed exit of `current`. Returns it with the link of the
    /// first member.
    ///
    /// For a stopped chain only the partition in `asked` counts: a caller that migrates cannot know
    /// the index of the context that serves it, and a context that is pinned to another PE could
    /// not go on here.
    pub(super) fn resumable<'s>(
        &'s self,
        pe: &Pe,
        current: &Current<'s, H::Context>,
        asked: VcpuId,
    ) -> Result<(Link, Current<'s, H::Context>)> {
        let target = self.id_on(pe, asked.partition)?;
        let refusal = if asked == target {
            FfaError::Denied
        } else {
            FfaError::InvalidParameters
        };
        if target == current.id {
            return Err(refusal);
        }
        loop {
            let callee = self.context(target)?;
            let link = callee.vcpu.link();
            // `current` runs, so a blocked context that has it as caller belongs to a stopped
            // chain.
            let is_left = match (current.vcpu.model().stopped(), callee.vcpu.state()) {
                (Some(stopped), State::Stopped(_) | State::Blocked(_)) => link == stopped,
                (None, State::Stopped(_) | State::Blocked(_)) => true,
                (None, State::Yielded(_)) => asked == target,
                _ => false,
            };
            if !is_left || callee.vcpu.caller().link() != Some(current.vcpu.link()) {
                let is_dead = callee.partition.is_dead();
                return Err(if is_dead { FfaError::Aborted } else { refusal });
            }
            if let Some(end) = self.end_of_chain(pe, callee)? {
                return Ok((link, end));
            }
        }
    }
}

/// Returns whether `context` can resume its callee after its call has ended early. It needs FF-A
/// 1.1 and S-EL1 for that, and must have called that callee itself: `known_as` is what the callee
/// has as its caller.
pub(super) fn can_resume<C: Context>(context: &Current<'_, C>, known_as: Caller) -> bool {
    matches!(known_as, Caller::Vcpu(_))
        && !context.partition.is_dead()
        && context.frozen.config.exception_level == ExceptionLevel::SEl1
        && context.partition.endpoint.version() >= Version::V1_1
}
