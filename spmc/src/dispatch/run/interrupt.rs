//! Interrupts of partitions (FF-A v1.1 chapter 9): taken at S-EL2, handed to the context that owns
//! them, which fetches them by its calls ([`crate::dispatch::calls::paravirtual`]).
//!
//! A physical interrupt is acknowledged and its line becomes pending. The interrupt stays active in
//! the GIC until its owner deactivates it, so that it is not signalled again before. What follows
//! depends on the state of the owner's context on this PE. A context that runs sees the line at
//! once. A context that waits is run with `FFA_INTERRUPT` in place of the interrupted context, and
//! gives the PE back by `FFA_MSG_WAIT`. A context in another state sees the line when it runs
//! again. If the context runs on another PE, an IPI makes the other PEs look again.
//!
//! Handlers run one after the other, never nested, with Non-secure interrupts masked. An interrupt
//! that comes meanwhile waits for its turn. Timers of partitions are in [`super::timers`].

use core::sync::atomic::{Ordering, fence};

use crate::ffa::{Answer, SmcFrame, function};
use crate::hal::Hal;
use crate::id::VcpuId;
use crate::interrupt::{Line, Source, in_turn};
use crate::invariant::Invariant;
use crate::manifest::config::{ExceptionLevel, SriPolicy};
use crate::notification::Target;
use crate::own_interrupts;
use crate::partition::Partition;
use crate::partition::vcpu::{Begin, State};
use crate::spmc::{Pe, Spmc};

use super::Flow;
use crate::dispatch::calls::paravirtual::NO_INTERRUPT;
use crate::dispatch::context::{Current, Member, complete};

/// The number of interrupts that are acknowledged in one go. The GIC signals the others again.
const BATCH: usize = 32;

/// Handlers that run before the interrupted context goes on for a moment.
pub(super) const TURNS: usize = 8;

impl<H: Hal> Spmc<H> {
    /// Handles a secure interrupt, or an IPI to look again, that stopped `current`.
    #[cold]
    #[inline(never)]
    pub(super) fn secure_interrupt<'s>(
        &'s self,
        pe: &mut Pe,
        current: &mut Current<'s, H::Context>,
        frame: &mut SmcFrame,
    ) -> Flow {
        if !pe.handles_interrupts {
            pe.flood.begin(self.hal.now());
        }
        self.accept_interrupts(pe, Some(current));
        if pe.handles_interrupts {
            // The loop over handlers finds the next one.
            self.signal(current);
        } else if current.frozen.config.queues_other_interrupts {
            self.signal(current);
            if self.next_handler(pe).is_some() {
                // They run when `current` answers or waits (`end_work`), or when the Normal world
                // has the PE.
                current.partition.pend(current.id.index, Line::QUEUED);
                self.hal.look_again_on_return();
            }
        } else {
            if self.handler_waits(pe, current.id) {
                self.hal.save(&mut current.vcpu.context);
                self.run_handlers(pe, Some(current), frame);
                self.re_enter(current);
            }
            self.stop_for_caller(current);
            self.signal(current);
        }
        Flow::Continue
    }

    /// Looks at the interrupts of `current`, which begins to wait. If it has not fetched all of
    /// them, it is to run again at once.
    #[inline(always)]
    pub(crate) fn end_work(&self, pe: &mut Pe, current: &Current<'_, H::Context>) {
        if current.partition.may_have_interrupts() {
            self.end_work_with_interrupts(pe, current);
        }
    }

    #[cold]
    #[inline(never)]
    fn end_work_with_interrupts(&self, pe: &mut Pe, current: &Current<'_, H::Context>) {
        let Some((lines, _)) = current.partition.lines(current.id.index) else {
            return;
        };
        lines.clear(Line::QUEUED);
        // The context is done with what it fetched, if it has not said so itself.
        for line in Line::all(lines.deactivate_all()) {
            self.finish_interrupt(current, lines, line);
        }
        if current.frozen.config.queues_other_interrupts
            && !pe.handles_interrupts
            && self.handler_waits(pe, current.id)
        {
            self.hal.look_again_here();
        }
        if lines.is_timed() {
            self.wait_for_timer(pe, current);
        }
        if lines.calls() == 0 {
            current.partition.forget_interrupts(current.id.index);
            return;
        }
        if current
            .frozen
            .config
            .sri_policy
            .contains(SriPolicy::LEAVING)
        {
            self.ask_for_cycles(current);
        } else if !pe.handles_interrupts {
            self.hal.look_again_here();
        }
    }

    /// Asks the scheduler of the Normal world to run a context for its interrupts
    /// (`sri-interrupts-policy`). The SPMC does not run it then.
    fn ask_for_cycles(&self, context: &Current<'_, H::Context>) {
        if let Some((lines, _)) = context.partition.lines(context.id.index) {
            lines.answer(lines.calls());
        }
        self.want_cycles(context.partition, context.id.index);
        self.raise_schedule_receiver(false);
    }

    /// Handles `FFA_INTERRUPT` from the SPMD: a secure interrupt stopped the Normal world.
    #[cold]
    #[inline(never)]
    pub(in crate::dispatch) fn normal_world_interrupted(&self, pe: &mut Pe, frame: &mut SmcFrame) {
        pe.flood.begin(self.hal.now());
        self.accept_interrupts(pe, None);
        self.adopt_timers(pe);
        self.run_handlers(pe, None, frame);
        frame.answer(Answer::new([function::NORMAL_WORLD_RESUME as u64]));
    }

    /// Acknowledges the secure interrupts that are pending on this PE and makes them pending at
    /// their owners.
    #[inline]
    fn accept_interrupts(&self, pe: &mut Pe, current: Option<&Current<'_, H::Context>>) {
        for _ in 0..BATCH {
            let Some(id) = self.hal.acknowledge_interrupt() else {
                return;
            };
            self.accept(pe, id, current);
        }
    }

    /// Makes the physical interrupt `id`, which was acknowledged, pending at its owner.
    // Not inlined: most batches have one interrupt or none, and this function has a long prologue.
    #[inline(never)]
    fn accept(&self, pe: &mut Pe, id: u32, current: Option<&Current<'_, H::Context>>) {
        let Some(source) = self.pend_physical(pe, id, current) else {
            if id == own_interrupts::PARTITION_TIMER {
                return self.look_at_timers(pe);
            }
            log::warn!("interrupt {id} belongs to nobody: masked");
            self.hal.enable_interrupt(id, false);
            self.hal.deactivate_interrupt(id);
            return;
        };
        self.count(pe, source);
    }

    /// Counts an interrupt of a partition, and masks the source of a flood.
    #[inline]
    pub(super) fn count(&self, pe: &mut Pe, source: Source) {
        if pe.flood.take(source) {
            self.mask_flood(pe);
        }
    }

    /// Masks the source of a flood; its owner may enable it again.
    #[cold]
    fn mask_flood(&self, pe: &mut Pe) {
        let handler = pe.handles_interrupts.then_some(pe.handler);
        let culprit = pe.flood.culprit(handler, self.hal.now());
        let source = culprit.and_then(|(partition, line)| {
            let member = self.member_at(partition)?;
            Some((member, line, member.frozen.claims.id(line)?))
        });
        let Some((Member { partition, frozen }, line, id)) = source else {
            return;
        };
        if line.is_physical() {
            log::warn!("interrupt {id} leaves the PE to nobody else: masked");
            self.hal.enable_interrupt(id, false);
        } else if let Some((lines, _)) = partition.lines(Self::index_on(pe, frozen)) {
            let name = frozen.config.name;
            log::warn!("{name}: its timer leaves the PE to nobody else: masked");
            lines.disable(line);
        }
    }

    /// Makes the physical interrupt `id` pending at its owner, if there is one. Returns the owner
    /// and the line.
    fn pend_physical(
        &self,
        pe: &Pe,
        id: u32,
        current: Option<&Current<'_, H::Context>>,
    ) -> Option<Source> {
        let source @ (number, line) = self.owners.source(id)?;
        let member = self.member_at(number)?;
        let Member { partition, frozen } = member;
        if partition.is_dead() {
            return None;
        }
        let index = Self::index_on(pe, frozen);
        let owner = VcpuId {
            partition: frozen.config.id,
            index,
        };
        // An owner in the chain on this PE is looked at here; no other PE has anything to do for
        // it.
        if current.is_some_and(|current| self.is_in_chain(current, owner)) {
            partition.pend(index, line);
        } else {
            self.pend(pe, member, index, line);
        }
        Some(source)
    }

    /// Makes `line` pending at a context, and makes other PEs look again if one of them may run it.
    /// The caller must look for handlers, or at the line, after that.
    #[inline]
    fn pend(&self, pe: &Pe, member: Member<'_, H::Context>, index: u16, line: Line) {
        let partition = member.partition;
        let Some((_, slot)) = partition.lines(index) else {
            return;
        };
        partition.pend(index, line);
        // This PE looks at lines before anything goes on. The claim of a context that migrates may
        // be held by another PE.
        let is_pinned_here = !member.frozen.config.is_up() && index == pe.index;
        if is_pinned_here {
            return;
        }
        // A blocked owner's callee may run on another PE.
        let must_look = slot
            .claim()
            .is_none_or(|context| matches!(context.state(), State::Blocked(_)) && line.is_waking());
        if must_look {
            self.hal.look_again_elsewhere();
        }
    }

    /// Makes the notification pending interrupt pending at the context that `target` names, or at
    /// each context.
    pub(in crate::dispatch) fn pend_notification(
        &self,
        pe: &Pe,
        member: Member<'_, H::Context>,
        target: Target,
    ) {
        match target {
            Target::Vcpu(index) => {
                self.pend(pe, member, index, Line::NOTIFICATION);
            }
            Target::Global => {
                for index in 0..member.frozen.config.vcpu_count {
                    self.pend(pe, member, index, Line::NOTIFICATION);
                }
            }
        }
    }

    /// Returns whether a context of this PE other than `current` waits and has interrupts to
    /// handle.
    ///
    /// No context is claimed: this PE still holds the claim of `current`, which begins to wait, so
    /// waiting for another claim could deadlock.
    #[inline]
    fn handler_waits(&self, pe: &Pe, current: VcpuId) -> bool {
        in_turn(self.callers(pe), 0).any(|index| {
            let waits = || {
                let Member { partition, frozen } = self.member_at(index)?;
                let index = Self::index_on(pe, frozen);
                let (lines, slot) = partition.lines(index)?;
                let is_other = frozen.config.id != current.partition;
                let calls = is_other && !partition.is_dead() && lines.calls() != 0;
                Some(calls && slot.state() == State::Waiting)
            };
            waits().unwrap_or(false)
        })
    }

    /// Claims a context of this PE that waits and has interrupts to handle. Partitions take turns:
    /// the search begins behind the partition whose handler ran last.
    #[inline]
    fn next_handler(&self, pe: &Pe) -> Option<Current<'_, H::Context>> {
        let callers = self.callers(pe);
        if callers == 0 {
            return None;
        }
        in_turn(callers, pe.handler.wrapping_add(1))
            .find_map(|index| self.handler_of(pe, self.member_at(index)?.partition))
    }

    /// Returns the partitions that may have a context on this PE with interrupts to handle, a bit
    /// for each.
    #[inline(always)]
    fn callers(&self, pe: &Pe) -> u64 {
        // Either this PE sees that the claim of a context is free, or the PE that holds it sees the
        // line that was made pending here before.
        fence(Ordering::SeqCst);
        self.calling.on(pe.index)
    }

    /// Claims the context of the partition on this PE, if it waits and has interrupts to handle.
    #[inline(never)]
    fn handler_of<'s>(
        &self,
        pe: &Pe,
        partition: &'s Partition<H::Context>,
    ) -> Option<Current<'s, H::Context>> {
        let frozen = &partition.frozen;
        let index = Self::index_on(pe, frozen);
        let (lines, slot) = partition.lines(index)?;
        if lines.calls() == 0 || partition.is_dead() {
            return None;
        }
        let vcpu = slot.claim()?;
        if vcpu.state() != State::Waiting {
            return None;
        }
        let handler = Current {
            partition,
            frozen,
            id: VcpuId {
                partition: frozen.config.id,
                index,
            },
            vcpu,
        };
        if frozen.config.sri_policy.contains(SriPolicy::WAITING) {
            self.ask_for_cycles(&handler);
            return None;
        }
        Some(handler)
    }

    /// Runs the contexts of this PE that wait and have interrupts to handle, each until it waits
    /// again, in place of `current` or of the Normal world. A handler with new interrupts runs
    /// again; but after [`TURNS`] turns the interrupted context goes on for a moment.
    ///
    /// Nobody reads what handlers leave in `frame`.
    fn run_handlers(
        &self,
        pe: &mut Pe,
        current: Option<&Current<'_, H::Context>>,
        frame: &mut SmcFrame,
    ) {
        pe.handles_interrupts = true;
        // The watchdog of the interrupted context stands still.
        let watch = pe.watch;
        let mut since = None;
        for turn in 0.. {
            let Some(mut handler) = self.next_handler(pe) else {
                break;
            };
            if turn == TURNS {
                pe.flood.cut_off();
                self.hal.look_again_here();
                break;
            }
            pe.handler = handler.frozen.index;
            self.start_handler(&mut handler);
            // Non-secure interrupts are masked: the Normal world would not get the PE back from a
            // handler that does not end.
            since.get_or_insert_with(|| self.hal.now());
            self.watch_handler(pe, pe.handler, handler.vcpu.link());
            self.run(pe, handler, frame);
            pe.flood.end(pe.handler, self.hal.now());
            // Interrupts that came meanwhile have their turn before the same handler runs again.
            self.accept_interrupts(pe, current);
        }
        pe.handles_interrupts = false;
        if let Some(since) = since {
            self.go_on_with_watch(pe, watch, since);
        }
    }

    /// Puts a waiting context on the PE to handle its interrupts. `FFA_INTERRUPT` names the first
    /// of them.
    fn start_handler(&self, handler: &mut Current<'_, H::Context>) {
        let mut id = None;
        if let Some((lines, _)) = handler.partition.lines(handler.id.index) {
            let calls = lines.calls();
            let first = lines.oldest(calls);
            if handler.frozen.config.exception_level == ExceptionLevel::SEl1 {
                lines.answer(calls);
            } else if let Some(line) = first {
                // No virtual interrupt is signalled to it, so it is told of each line by itself.
                lines.answer(line.bit());
                if line.is_physical() {
                    lines.tell(line);
                } else {
                    lines.clear(line);
                }
            }
            id = first.and_then(|line| handler.frozen.claims.id(line));
        }
        // It waits.
        Invariant::Transition.expect(handler.vcpu.begin(Begin::Interrupt).is_ok());
        let id = id.map_or(NO_INTERRUPT, u64::from);
        let message = Answer::new([function::INTERRUPT as u64, 0, id]);
        complete(handler, &message);
        self.enter(handler, true);
    }

    /// Signals to `current`, which is on this PE, its pending interrupts.
    #[cold]
    #[inline(never)]
    pub(crate) fn signal(&self, current: &mut Current<'_, H::Context>) {
        self.show(current);
        current.partition.forget_interrupts(current.id.index);
    }

    /// Signals like [`Self::signal`], but keeps the hint that something may be pending.
    #[inline(always)]
    pub(in crate::dispatch) fn show(&self, current: &mut Current<'_, H::Context>) {
        if let Some((lines, _)) = current.partition.lines(current.id.index) {
            let signals = lines.signals();
            self.hal
                .signal(&mut current.vcpu.context, signals.irq, signals.fiq);
        }
    }

    /// Drops a managed-exit request that was not consumed, and signals pending interrupts to a
    /// context that begins new work.
    #[cold]
    #[inline(never)]
    pub(crate) fn signal_anew(&self, current: &mut Current<'_, H::Context>) {
        if let Some((lines, _)) = current.partition.lines(current.id.index) {
            lines.clear(Line::MANAGED_EXIT);
        }
        self.show(current);
    }

    /// Returns whether `context` is `current`, or a context that `current` works for.
    fn is_in_chain(&self, current: &Current<'_, H::Context>, context: VcpuId) -> bool {
        current.id == context || self.any_caller(current, |member| member.id == context)
    }
}
