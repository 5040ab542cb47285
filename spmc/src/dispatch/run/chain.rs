//! Chains of contexts, by the links between them: up to those that a context works for, down to the
//! one that works for all.
//!
//! Members of a chain are blocked, but for the last one. Whoever has the claim of one looks at the
//! others one after the other.

use crate::error::{FfaError, Result};
use crate::hal::{Context, Hal};
use crate::manifest::config::NsInterruptAction;
use crate::partition::vcpu::{Caller, State};
use crate::partition::{Claim, Link};
use crate::spmc::{Pe, Spmc};

use crate::dispatch::context::{Current, Place};

impl<H: Hal> Spmc<H> {
    /// Returns whether `wanted` takes somebody that `current` works for.
    pub(in crate::dispatch) fn any_caller(
        &self,
        current: &Current<'_, H::Context>,
        mut wanted: impl FnMut(&mut Current<'_, H::Context>) -> bool,
    ) -> bool {
        self.find_caller(current, |member, _| wanted(member))
            .is_some()
    }

    /// Returns the nearest context that `current` works for and `wanted` takes, claimed, and whom
    /// it called. `wanted` is also told as what that one knows it.
    pub(super) fn find_caller<'s>(
        &'s self,
        current: &Current<'_, H::Context>,
        mut wanted: impl FnMut(&mut Current<'s, H::Context>, Caller) -> bool,
    ) -> Option<(Current<'s, H::Context>, Link)> {
        let (mut callee, mut caller) = (current.vcpu.link(), current.vcpu.caller());
        loop {
            // Members of a chain are blocked; others only look at them.
            let mut member = self.waiting_for(callee, caller.link()?)?;
            if wanted(&mut member, caller) {
                return Some((member, callee));
            }
            (callee, caller) = (member.vcpu.link(), member.vcpu.caller());
        }
    }

    /// Has the members of the chain of `current` mask Non-secure interrupts: all of them if `all`,
    /// otherwise each that has them queued, or works for one that has.
    pub(super) fn mask_chain(&self, current: &mut Current<'_, H::Context>, all: bool) {
        let queues = |member: &Current<'_, H::Context>| {
            member.frozen.config.ns_interrupts == NsInterruptAction::Queued
        };
        // Counted from `current` on; those up to the last that has them queued work for that one.
        let mut masked = if all {
            u32::MAX
        } else {
            u32::from(queues(current))
        };
        let mut count = 1_u32;
        self.any_caller(current, |member| {
            count = count.saturating_add(1);
            if queues(member) {
                masked = masked.max(count);
            }
            false
        });
        current.vcpu.masked = masked != 0;
        count = 1;
        self.any_caller(current, |member| {
            count = count.saturating_add(1);
            member.vcpu.masked = count <= masked;
            false
        });
    }

    /// Returns the last context of the chain that goes on from `current`; `None` if another PE
    /// looked at a member. With the claim of `current` nobody may wait for that, and without it the
    /// chain may be another one.
    #[inline(always)]
    pub(super) fn end_of_chain<'s>(
        &'s self,
        pe: &Pe,
        current: Current<'s, H::Context>,
    ) -> Result<Option<Current<'s, H::Context>>> {
        let model = current.vcpu.model();
        if !matches!(current.vcpu.state(), State::Blocked(_)) && model.stopped().is_none() {
            // It is the only one, and has no chain to resume.
            return Ok(Some(current));
        }
        self.walk_down(pe, current)
    }

    /// Does what [`Self::end_of_chain`] says, for a chain of any length.
    fn walk_down<'s>(
        &'s self,
        pe: &Pe,
        mut current: Current<'s, H::Context>,
    ) -> Result<Option<Current<'s, H::Context>>> {
        loop {
            if self.is_held_elsewhere(pe, &current) {
                return Err(FfaError::Denied);
            }
            let State::Blocked(callee) = current.vcpu.state() else {
                return Ok(Some(current));
            };
            let Some(Place { partition, slot }) = self.place(callee) else {
                return Ok(Some(current));
            };
            let Some(next) = slot.try_claim() else {
                if slot.link() != callee {
                    return Ok(Some(current));
                }
                drop(current);
                return slot.claim().map(|_| None).ok_or(FfaError::Busy);
            };
            let caller = current.vcpu.link();
            let next = Self::arrive(callee, partition, next, |next| works_for(next, caller));
            let Some(next) = next else {
                return Ok(Some(current));
            };
            // A chain stays on its PE, except for contexts that may migrate.
            if next.id.index != Self::index_on(pe, next.frozen) {
                return Err(FfaError::Denied);
            }
            current = next;
        }
    }

    /// Returns whether `current` has to resume a chain with a member that is pinned to another PE.
    fn is_held_elsewhere(&self, pe: &Pe, current: &Current<'_, H::Context>) -> bool {
        let mut member = current.vcpu.model().stopped();
        let mut is_elsewhere = false;
        while let Some(link) = member {
            let Some(Place { partition, slot }) = self.place(link) else {
                return false;
            };
            if slot.link() != link {
                return false;
            }
            is_elsewhere |= partition
                .frozen()
                .is_some_and(|frozen| link.vcpu() != Self::index_on(pe, frozen));
            member = match slot.state() {
                State::Blocked(callee) => Some(callee),
                State::Stopped(_) => return is_elsewhere,
                _ => None,
            };
        }
        false
    }
}

/// Returns whether `context` does the work of the context `caller`, which waits for it.
pub(crate) fn works_for<C: Context>(context: &Claim<'_, C>, caller: Link) -> bool {
    context.caller().link() == Some(caller)
        && matches!(
            context.state(),
            State::Running | State::Blocked(_) | State::Stopped(_) | State::Preempted
        )
}
