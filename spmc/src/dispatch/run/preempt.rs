//! Non-secure interrupts (FF-A v1.1 section 8.3): the chain that runs is preempted as a whole,
//! unless a member of it has a managed exit. That one leaves by itself: it gets virtual interrupt 4
//! and the PE, with the chain below it stopped, and may go on with that chain later.
//!
//! Nothing comes here from a chain with a member that has them queued: its other members run with
//! Non-secure interrupts masked.

use crate::ffa::{Answer, SmcFrame, function};
use crate::hal::{Context, Hal};
use crate::interrupt::Line;
use crate::manifest::config::NsInterruptAction;
use crate::partition::vcpu::{Event, Model};
use crate::spmc::{Pe, Spmc};

use super::Flow;
use super::stop::{Reason, can_resume};
use crate::dispatch::context::Current;

impl<H: Hal> Spmc<H> {
    /// Gives the PE up for a Non-secure interrupt, and tells the Normal world whom to run again; or
    /// lets the nearest member of the chain with a managed exit do so.
    pub(super) fn preempt<'s>(
        &'s self,
        pe: &Pe,
        current: &mut Current<'s, H::Context>,
        frame: &mut SmcFrame,
    ) -> Flow {
        if current.vcpu.masked {
            return Flow::Continue;
        }
        if exits_managed(current) {
            ask_for_exit(current);
            self.load_anew(current);
            return Flow::Continue;
        }
        let mut resumes = false;
        let caller = self.find_caller(current, |member, known_as| {
            resumes = can_resume(member, known_as);
            exits_managed(member)
        });
        match caller {
            Some((mut caller, callee)) if resumes => {
                ask_for_exit(&mut caller);
                self.stop_chain(current, caller, callee, Reason::ManagedExit);
            }
            Some(_) => {
                // It gets the PE with the answer, and is asked then.
                current.vcpu.masked = true;
                self.load_anew(current);
            }
            None if current.vcpu.step(Event::Preempt).is_ok() => {
                self.hal.save(&mut current.vcpu.context);
                frame.answer(Answer::new([function::INTERRUPT as u64, pe.root.to_w1()]));
                return Flow::Leave;
            }
            None => {}
        }
        Flow::Continue
    }

    /// Has `current`, which is on the PE, run on as its record says by now.
    fn load_anew(&self, current: &mut Current<'_, H::Context>) {
        self.hal.save(&mut current.vcpu.context);
        self.re_enter(current);
    }
}

/// Returns whether `context` leaves by itself for a Non-secure interrupt. Managed exit is for
/// direct requests only.
fn exits_managed<C: Context>(context: &Current<'_, C>) -> bool {
    context.frozen.config.ns_interrupts == NsInterruptAction::ManagedExit
        && matches!(context.vcpu.model(), Model::Request(_))
        && !context.partition.is_dead()
}

/// Asks `context` to leave; until it has answered, Non-secure interrupts stay pending.
fn ask_for_exit<C: Context>(context: &mut Current<'_, C>) {
    context.partition.pend(context.id.index, Line::MANAGED_EXIT);
    context.vcpu.masked = true;
}
