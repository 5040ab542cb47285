//! Memory calls that zero more than a slice for a caller that does not resume them: the Normal
//! world, to which the SPMD relays no pauses, partitions at S-EL0, and partitions that did not ask
//! for pauses.
//!
//! The engine pauses after each slice all the same, with all its locks free. The SPMC resumes the
//! call itself, and takes Secure interrupts in between: their handlers wait for one slice at most.
//! Non-secure interrupts wait for the end of the call: FF-A has no answer that would give the PE
//! back to the Normal world.

use crate::error::Result;
use crate::ffa::{Answer, SmcFrame, function};
use crate::hal::Hal;
use crate::partition::Endpoint;
use crate::spmc::{Pe, Spmc};

use crate::dispatch::context::Current;

impl<H: Hal> Spmc<H> {
    /// Completes a call of the Normal world that has come to `answer`, which becomes that of the
    /// whole call. Errors are those of the call.
    #[inline(always)]
    pub(in crate::dispatch) fn finish_for_normal_world(
        &self,
        pe: &mut Pe,
        answer: &mut Answer,
    ) -> Result<()> {
        if answer.x[0] != function::MEM_OP_PAUSE.into() {
            return Ok(());
        }
        let between = || self.interrupts_between(pe);
        self.finish(&self.normal_world, answer, between)
    }

    /// Completes a call of `current` that has come to `answer`, or stops where `current` is to
    /// resume it. `answer` becomes the last one. Errors are those of the call.
    #[inline(always)]
    pub(in crate::dispatch) fn finish_for_partition(
        &self,
        pe: &mut Pe,
        current: &mut Current<'_, H::Context>,
        answer: &mut Answer,
    ) -> Result<()> {
        if answer.x[0] != function::MEM_OP_PAUSE.into() {
            return Ok(());
        }
        let endpoint = &current.partition.endpoint;
        let between = || self.interrupts_within(pe, current);
        self.finish(endpoint, answer, between)
    }

    /// Takes secure interrupts in the middle of a call of `current`, and runs their handlers in its
    /// place, unless `current` has interrupts of others queued. Interrupts of `current` itself, and
    /// of contexts that it works for, are found when it goes on.
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
        // The PE is free, as it is when an interrupt stops the Normal world.
        self.normal_world_interrupted(pe, &mut SmcFrame { ..SmcFrame::ZERO });
    }

    /// Continues a call of `caller`, with `between` after each slice, until it is complete or
    /// `caller` is to resume it.
    #[cold]
    #[inline(never)]
    fn finish(
        &self,
        caller: &Endpoint,
        answer: &mut Answer,
        mut between: impl FnMut(),
    ) -> Result<()> {
        while let Some(handle) = self.memory().unfinished(answer) {
            between();
            *answer = self.memory().finish(caller, handle)?;
        }
        Ok(())
    }
}
