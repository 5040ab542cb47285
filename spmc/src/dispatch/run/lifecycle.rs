//! The end of a partition, and what comes after it (`abort-action`, FF-A v1.3 lifecycle as far as
//! it is known; `FFA_ABORT`).
//!
//! A partition that fails is stopped at once, its callers get `ABORTED`, and memory that it
//! borrowed goes back. Restarting the partition and telling EL3 need time or the PE, so they wait
//! until the work under way has left the PE.

use core::sync::atomic::Ordering;

use crate::bits::ones;
use crate::boot::Entry;
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

/// The bit of `Spmc::aftermath` by which EL3 is to be told. The lowest bits stand for partitions to
/// restart or to destroy, or whose new image was not entered in time, by index.
const TELL_EL3: u64 = 1 << 63;
/// The bit of `Spmc::aftermath` by which memory that dead partitions had borrowed is to be zeroed.
const SETTLE: u64 = 1 << 62;

const _: () = assert!(MAX_PARTITIONS <= 62);

impl<H: Hal> Spmc<H> {
    /// Handles `FFA_ABORT` from a partition, which cannot go on.
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

    /// Stops the partition of `current`. The context that waits for `current` gets `ABORTED`.
    pub(super) fn abort<'s>(
        &'s self,
        current: &mut Current<'s, H::Context>,
        frame: &mut SmcFrame,
    ) -> Flow {
        self.end(current);
        frame.answer(Answer::error(FfaError::Aborted));
        self.return_pe(current, frame)
    }

    /// Stops `current`, and its partition if that was alive.
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
        // This comes last: another PE may restart the partition at once. That PE waits for the
        // claim of `current`, which must be aborted before it can begin another life.
        self.aftermath.fetch_or(todo, Ordering::AcqRel);
    }

    /// Gives back what the partition of `current`, which has just died, held of others. Returns
    /// what its manifest asks for next, as bits of `Spmc::aftermath`.
    fn bury(&self, current: &Current<'_, H::Context>) -> u64 {
        let endpoint = &current.partition.endpoint;
        let mailbox = core::mem::take(&mut *endpoint.mailbox.lock());
        if let Some(buffers) = mailbox.buffers() {
            endpoint.memory.lock().unlock_mailbox(&self.hal, &buffers);
        }
        // Streams are detached first, so that no device writes to memory that goes back.
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
            // The package that was good before is.
            _ if current.partition.images.lock().can_go_back() => {
                1_u64.wrapping_shl(current.frozen.index as u32)
            }
            AbortAction::Stop => 0,
            // A partition that fails in its initialisation would fail again and again.
            AbortAction::Restart if current.vcpu.model() == Model::Init => 0,
            AbortAction::Destroy | AbortAction::Restart => {
                1_u64.wrapping_shl(current.frozen.index as u32)
            }
            AbortAction::Propagate => TELL_EL3,
        };
        settle | action
    }

    /// Does the work that failed partitions left, now that the PE is free. `frame` is what the
    /// Normal world is about to get.
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
            // A partition that restarts may bring others down, so each is dealt with once in this
            // loop. What comes again waits for the next call, on whichever PE.
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
            for index in ones(todo & !(SETTLE | TELL_EL3)) {
                if let Some(member) = self.member_at(index)
                    && !self.act(pe, member)
                {
                    later |= 1_u64.wrapping_shl(index as u32);
                }
            }
        }
        self.aftermath.fetch_or(later, Ordering::AcqRel);
    }

    /// Does what is due for a partition: its manifest's `abort-action` if it is dead, or the end of
    /// a live activation. Returns `false` if that has to wait.
    fn act(&self, pe: &mut Pe, member: Member<'_, H::Context>) -> bool {
        let Member { partition, frozen } = member;
        let is_overdue = self.activation.lock().take_back(frozen.index);
        if is_overdue {
            self.go_back(pe, member);
            return true;
        }
        let goes_back = partition.images.lock().can_go_back();
        match frozen.config.abort_action {
            _ if goes_back => return self.restart(pe, member),
            AbortAction::Restart => return self.restart(pe, member),
            AbortAction::Destroy => self.scrub(pe, &partition.endpoint, &frozen.config),
            AbortAction::Stop | AbortAction::Propagate => {}
        }
        true
    }

    /// Loads a partition again and lets it initialise. Returns `false` if it was restarted too
    /// often, and has to wait.
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
                let entry = Entry {
                    address: frozen.config.entry_point(),
                    boot_info,
                    live: None,
                };
                self.initialise(pe, partition, frozen, &entry);
                if !partition.is_dead() {
                    log::info!("{name} runs again");
                }
            }
            Err(error) => {
                log::error!("{name}: not restarted: {error}");
                self.detach_streams(&frozen.config);
            }
        }
        partition.restarts.made(began, self.hal.now(), price);
        true
    }
}
