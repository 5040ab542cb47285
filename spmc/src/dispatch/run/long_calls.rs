//! Memory calls that zero more than a slice for a caller that does not resume them: the Normal
//! world, to which the SPMD relays no pauses, S-EL0, and whoever did not ask for pauses.
//!
//! The engine stops after each slice all the same, with all its locks free. The SPMC goes on by
//! itself, and sees to Secure interrupts in between: their handlers wait for a slice at most, and
//! not for whatever region somebody else has zeroed. Non-secure interrupts wait for the call: FF-A
//! has no answer to it by which the Normal world could be given the PE back.

use crate::error::Result;
use crate::ffa::{Answer, SmcFrame, function};
use crate::hal::Hal;
use crate::partition::Endpoint;
use crate::spmc::{Pe, Spmc};

use crate::dispatch::context::Current;

impl<H: Hal> Spmc<H> {
    /// Brings a call of the Normal world that has come to `answer` to its end. Errors are those of
    /// the call.
    #[inline(always)]
    pub(in crate::dispatch) fn finish_for_normal_world(
        &self,
        pe: &mut Pe,
        answer: Answer,
    ) -> Result<Answer> {
        if answer.x[0] != function::MEM_OP_PAUSE.into() {
            return Ok(answer);
        }
        let between = || self.interrupts_between(pe);
        self.finish(&self.normal_world, answer, between)
    }

    /// Brings a call of `current` that has come to `answer` to its end, or to where `current` is to
    /// resume it. Errors are those of the call.
    #[inline(always)]
    pub(in crate::dispatch) fn finish_for_partition(
        &self,
        pe: &mut Pe,
        current: &mut Current<'_, H::Context>,
        answer: Answer,
    ) -> Result<Answer> {
        if answer.x[0] != function::MEM_OP_PAUSE.into() {
            return Ok(answer);
        }
        let endpoint = &current.partition.endpoint;
        let between = || self.interrupts_within(pe, current);
        self.finish(endpoint, answer, between)
    }

    /// Takes secure interrupts in the middle of a call of `current`, and runs their handlers in its
    /// place, unless it is not to be interrupted by others. What is due to `current` itself, and to
    /// whom it works for, is found when it goes on.
    fn interrupts_within(&self, pe: &mut Pe, current: &mut Current<'_, H::Context>) {
        if pe.handles_interrupts || current.frozen.config.queues_other_interrupts {
            return;
        }
        self.hal.save(&mut current.vcpu.context);
        self.interrupts_between(pe);
        self.re_enter(current);
        self.hal.look_again_here();
    }

    /// Takes secure interrupts in the middle of long work, and runs their handlers. No partition
    /// may be on the PE, and no lock be held.
    pub(crate) fn interrupts_between(&self, pe: &mut Pe) {
        // The PE is as free as it is when the Normal world was interrupted.
        self.normal_world_interrupted(pe, &mut SmcFrame { ..SmcFrame::ZERO });
    }

    /// Goes on with a call of `caller`, with `between` after each slice, until it is over or
    /// `caller` is to resume it.
    #[cold]
    #[inline(never)]
    fn finish(
        &self,
        caller: &Endpoint,
        mut answer: Answer,
        mut between: impl FnMut(),
    ) -> Result<Answer> {
        while let Some(handle) = self.memory().unfinished(&answer) {
            between();
            answer = self.memory().finish(caller, handle)?;
        }
        Ok(answer)
    }
}
