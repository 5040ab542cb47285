//! The end of a partition, and what comes after it (`abort-action`, FF-A v1.3 lifecycle as far as
//! it is known; `FFA_ABORT`).
//!
//! A partition that fails is stopped at once, whoever waits for it gets `ABORTED`, and what it held
//! of others goes back. What takes time, or the PE, comes when the work that was under way has left
//! the PE: starting it anew, telling EL3.

use core::sync::atomic::Ordering;

use crate::error::{FfaError, Result};
use crate::ffa::{Answer, SmcFrame, function};
use crate::hal::Hal;
use crate::limits::MAX_PARTITIONS;
use crate::manifest::config::AbortAction;
use crate::partition::restarts::PRICE_MS;
use crate::partition::vcpu::{Event, Model};
use crate::spmc::{Pe, Spmc};

use super::Flow;
use crate::dispatch::context::{Current, Member};
use crate::invariant::{self, Invariant};

/// In `Spmc::aftermath`: EL3 is to be told. The lowest bits stand for partitions that start anew or
/// are destroyed, by index.
const TELL_EL3: u32 = 1 << 31;
/// In `Spmc::aftermath`: memory that the dead had borrowed is to be zeroed.
const SETTLE: u32 = 1 << 30;

const _: () = assert!(MAX_PARTITIONS < 30);

impl<H: Hal> Spmc<H> {
    /// `FFA_ABORT` from a partition: it says itself that it cannot go on.
    pub(in crate::dispatch) fn partition_abort<'s>(
        &'s self,
        current: &mut Current<'s, H::Context>,
        frame: &mut SmcFrame,
    ) -> Result<Flow> {
        log::error!(
            "{} vcpu {}: FFA_ABORT",
            current.frozen.config.name,
            current.id.index
        );
        Ok(self.abort(current, frame))
    }

    /// Stops the partition of `current`. Whoever waits for it gets `ABORTED`.
    pub(super) fn abort<'s>(
        &'s self,
        current: &mut Current<'s, H::Context>,
        frame: &mut SmcFrame,
    ) -> Flow {
        self.end(current);
        frame.answer(Answer::error(FfaError::Aborted));
        self.return_pe(current, frame)
    }

    /// Stops the partition of `current`, if that is still to be done, and `current` with it.
    pub(in crate::dispatch) fn end(&self, current: &mut Current<'_, H::Context>) {
        let todo = if current.partition.kill() {
            log::error!("{} is dead", current.frozen.config.name);
            invariant::report();
            self.bury(current)
        } else {
            0
        };
        // Every state can be aborted.
        Invariant::Transition.expect(current.vcpu.step(Event::Abort).is_ok());
        // Last: another PE may start the partition anew at once. It waits for the claim of
        // `current`, which it can only begin a life of once that is aborted.
        self.aftermath.fetch_or(todo, Ordering::AcqRel);
    }

    /// Gives back what a partition held that has just died. Returns what its manifest wants to
    /// happen then, as in `Spmc::aftermath`.
    fn bury(&self, current: &Current<'_, H::Context>) -> u32 {
        let endpoint = &current.partition.endpoint;
        let mailbox = core::mem::take(&mut *endpoint.mailbox.lock());
        if let Some(buffers) = mailbox.buffers() {
            endpoint.memory.lock().unlock_mailbox(&self.hal, &buffers);
        }
        // First: no device writes to what goes back now.
        self.detach_streams(&current.frozen.config);
        let settle = if self.memory().bury(endpoint) {
            SETTLE
        } else {
            0
        };
        self.notifications
            .bury(&self.directory, current.id.partition);
        self.mask_interrupts(current);
        let config = &current.frozen.config;
        let action = match config.abort_action {
            AbortAction::Stop => 0,
            // One that does not get through its initialisation would fail for ever.
            AbortAction::Restart if current.vcpu.model() == Model::Init => 0,
            AbortAction::Destroy | AbortAction::Restart => 1_u32.wrapping_shl(config.index as u32),
            AbortAction::Propagate => TELL_EL3,
        };
        settle | action
    }

    /// Does what partitions that failed left to be done, now that the PE is free; `frame` is what
    /// the Normal world is about to get.
    #[inline(always)]
    pub(in crate::dispatch) fn clean_up(&self, pe: &mut Pe, frame: &mut SmcFrame) {
        if self.aftermath.load(Ordering::Relaxed) != 0 {
            self.deal_with_aftermath(pe, frame);
        }
    }

    #[cold]
    #[inline(never)]
    fn deal_with_aftermath(&self, pe: &mut Pe, frame: &mut SmcFrame) {
        let mut done = 0;
        let mut later = 0;
        loop {
            let found = self.aftermath.swap(0, Ordering::AcqRel);
            // Whoever starts anew may bring others down; nobody gets more than one chance in one
            // go. What comes again waits for the next call, on whichever PE.
            later |= found & done;
            let todo = found & !done;
            if todo == 0 {
                break;
            }
            done |= todo;
            if todo & SETTLE != 0 && self.memory().settle() {
                later |= SETTLE;
            }
            if todo & TELL_EL3 != 0 {
                pe.held = Some(*frame);
                frame.answer(Answer::new([function::ABORT_32 as u64]));
            }
            for index in 0..MAX_PARTITIONS {
                let bit = 1_u32.wrapping_shl(index as u32);
                if todo & bit != 0
                    && let Some(member) = self.member_at(index)
                    && !self.act(pe, member)
                {
                    later |= bit;
                }
            }
        }
        self.aftermath.fetch_or(later, Ordering::AcqRel);
    }

    /// Does what the manifest of a dead partition wants. Returns `false` if that has to wait.
    fn act(&self, pe: &mut Pe, member: Member<'_, H::Context>) -> bool {
        if member.frozen.config.abort_action == AbortAction::Restart {
            return self.restart(pe, member);
        }
        self.scrub(pe, &member.partition.endpoint, &member.frozen.config);
        true
    }

    /// Loads a partition anew and lets it initialise. Returns `false` if it did so too often, and
    /// has to wait.
    fn restart(&self, pe: &mut Pe, member: Member<'_, H::Context>) -> bool {
        let Member { partition, frozen } = member;
        let name = frozen.config.name;
        let began = self.hal.now();
        let price = self.hal.ticks(PRICE_MS);
        if !partition.restarts.may_begin(began, price) {
            return false;
        }
        match self.reload(pe, partition, frozen) {
            Ok(boot_info) => {
                let entry = frozen.config.entry_point();
                self.initialise(pe, partition, frozen, entry, boot_info);
                if !partition.is_dead() {
                    log::info!("{name} runs again");
                }
            }
            Err(error) => log::error!("{name}: not restarted: {error}"),
        }
        partition.restarts.made(began, self.hal.now(), price);
        true
    }
}
