//! Walks along the links of a chain of contexts: up to the callers of a context, or down to the
//! last callee.
//!
//! All members of a chain but the last one are blocked. The PE that holds the claim of a member
//! claims the others one after the other.

use crate::error::{FfaError, Result};
use crate::hal::{Context, Hal};
use crate::manifest::config::NsInterruptAction;
use crate::partition::vcpu::{Caller, State};
use crate::partition::{Claim, Link};
use crate::spmc::{Pe, Spmc};

use crate::dispatch::context::{Current, Place};

impl<H: Hal> Spmc<H> {
    /// Returns whether `wanted` accepts a context that `current` works for.
    pub(in crate::dispatch) fn any_caller(
        &self,
        current: &Current<'_, H::Context>,
        mut wanted: impl FnMut(&mut Current<'_, H::Context>) -> bool,
    ) -> bool {
        self.find_caller(current, |member, _| wanted(member))
            .is_some()
    }

    /// Claims the nearest context that `current` works for and that `wanted` accepts. Returns it
    /// with the link of the context that it called. `wanted` also gets the `Caller` by which the
    /// callee knows the context.
    pub(super) fn find_caller<'s>(
        &'s self,
        current: &Current<'_, H::Context>,
        mut wanted: impl FnMut(&mut Current<'s, H::Context>, Caller) -> bool,
    ) -> Option<(Current<'s, H::Context>, Link)> {
        let (mut callee, mut caller) = (current.vcpu.link(), current.vcpu.caller());
        loop {
            // Members of a chain are blocked, so another PE holds their claims only to look.
            let mut member = self.waiting_for(callee, caller.link()?)?;
            if wanted(&mut member, caller) {
                return Some((member, callee));
            }
            (callee, caller) = (member.vcpu.link(), member.vcpu.caller());
        }
    }

    /// Decides for each member of the chain of `current` whether Non-secure interrupts are masked:
    /// for all of them if `all`, otherwise for each that has them queued, or that works for one
    /// that has.
    pub(super) fn mask_chain(&self, current: &mut Current<'_, H::Context>, all: bool) {
        let queues = |member: &Current<'_, H::Context>| {
            member.frozen.config.ns_interrupts == NsInterruptAction::Queued
        };
        // Members are counted from `current` on. Those before the last one with queued interrupts
        // work for that one.
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

    /// Returns the last context of the chain below `current`. Returns `None` if another PE was
    /// looking at a member: a PE with the claim of `current` must not wait for that member, and
    /// once the claim is released the chain may change, so the caller starts again.
    #[inline(always)]
    pub(super) fn end_of_chain<'s>(
        &'s self,
        pe: &Pe,
        current: Current<'s, H::Context>,
    ) -> Result<Option<Current<'s, H::Context>>> {
        let model = current.vcpu.model();
        if !matches!(current.vcpu.state(), State::Blocked(_)) && model.stopped().is_none() {
            // `current` is the only member, and has no stopped chain to resume.
            return Ok(Some(current));
        }
        self.walk_down(pe, current)
    }

    /// Implements [`Self::end_of_chain`] for a chain of any length.
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

    /// Returns whether `current` has to resume a stopped chain with a member that is pinned to
    /// another PE.
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
            is_elsewhere |= link.vcpu() != Self::index_on(pe, &partition.frozen);
            member = match slot.state() {
                State::Blocked(callee) => Some(callee),
                State::Stopped(_) => return is_elsewhere,
                _ => None,
            };
        }
        false
    }
}

/// Returns whether `context` works for the context `caller`, which waits for it.
pub(crate) fn works_for<C: Context>(context: &Claim<'_, C>, caller: Link) -> bool {
    context.caller().link() == Some(caller)
        && matches!(
            context.state(),
            State::Running | State::Blocked(_) | State::Stopped(_) | State::Preempted
        )
}
