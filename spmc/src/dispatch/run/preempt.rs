//! Non-secure interrupts (FF-A v1.1 section 8.3). They preempt the running chain as a whole, unless
//! a member of it uses managed exit. Then the nearest such member gets the PE with virtual
//! interrupt 4 pending, and the chain below it is stopped; that member leaves by itself, and may
//! resume the chain later.
//!
//! A chain with a member that has Non-secure interrupts queued never gets here: the members that
//! work for it run with those interrupts masked.

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
    /// Gives the PE up for a Non-secure interrupt and tells the Normal world which context to
    /// resume; or asks the nearest member of the chain that uses managed exit to leave.
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
                // That member gets the PE when its callee answers, and is asked then.
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

    /// Puts `current`, which is on the PE, there once more, so that changes of its record take
    /// effect.
    fn load_anew(&self, current: &mut Current<'_, H::Context>) {
        self.hal.save(&mut current.vcpu.context);
        self.re_enter(current);
    }
}

/// Returns whether `context` uses managed exit now. Managed exit is for direct requests only.
fn exits_managed<C: Context>(context: &Current<'_, C>) -> bool {
    context.frozen.config.ns_interrupts == NsInterruptAction::ManagedExit
        && matches!(context.vcpu.model(), Model::Request(_))
        && !context.partition.is_dead()
}

/// Asks `context` to leave, by virtual interrupt 4. Non-secure interrupts stay pending until it has
/// answered.
fn ask_for_exit<C: Context>(context: &mut Current<'_, C>) {
    context.partition.pend(context.id.index, Line::MANAGED_EXIT);
    context.vcpu.masked = true;
}
