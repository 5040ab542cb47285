//! Interrupts of partitions (FF-A v1.1 chapter 9): taken at S-EL2, handed to the context that owns
//! them, which fetches them by its calls ([`crate::dispatch::calls::paravirtual`]).
//!
//! A physical interrupt is acknowledged, its line becomes pending, and it stays active in the GIC
//! until its owner deactivates it, so that it does not come again before. Then, by the state of the
//! owner's context on this PE: one that runs sees the line at once, one that waits is run with
//! `FFA_INTERRUPT`, in place of whoever was interrupted, and gives the PE back by `FFA_MSG_WAIT`;
//! any other sees it when it runs again. One that runs on another PE is found by an interrupt to
//! the other PEs, which look again.
//!
//! Handlers are run one after the other, never inside of each other, with Non-secure interrupts
//! masked. What comes meanwhile waits for its turn.

use core::sync::atomic::{Ordering, fence};

use crate::ffa::{Answer, SmcFrame, function};
use crate::hal::Hal;
use crate::id::VcpuId;
use crate::interrupt::{Line, Source};
use crate::invariant::Invariant;
use crate::limits::MAX_PARTITIONS;
use crate::manifest::config::SriPolicy;
use crate::notification::Target;
use crate::partition::Partition;
use crate::partition::vcpu::{Begin, State};
use crate::spmc::{Pe, Spmc, Watch};
use crate::vcpu_set::VcpuSet;

use super::Flow;
use crate::dispatch::calls::paravirtual::NO_INTERRUPT;
use crate::dispatch::context::{Current, Member, complete};

/// Interrupts that are acknowledged in one go. More of them have to come again.
const BATCH: usize = 32;

impl<H: Hal> Spmc<H> {
    /// A secure interrupt, or another PE's wish to look again, stopped `current`.
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
            // Between two handlers the next one is found anyway.
            self.signal(current);
        } else if current.frozen.config.queues_other_interrupts {
            self.signal(current);
            if self.next_handler(pe).is_some() {
                // When it answers or waits, see `end_work`, or when the Normal world has the PE.
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

    /// `current` begins to wait. What it has not fetched by then, because it could not see it or
    /// would not, is reason to run it at once.
    #[inline(always)]
    pub(crate) fn end_work(&self, pe: &Pe, current: &Current<'_, H::Context>) {
        if current.partition.may_have_interrupts() {
            self.end_work_with_interrupts(pe, current);
        }
    }

    #[cold]
    #[inline(never)]
    fn end_work_with_interrupts(&self, pe: &Pe, current: &Current<'_, H::Context>) {
        let Some((lines, _)) = current.partition.lines(current.id.index) else {
            return;
        };
        lines.clear(Line::QUEUED);
        if current.frozen.config.queues_other_interrupts
            && !pe.handles_interrupts
            && self.handler_waits(pe, current.id)
        {
            self.hal.look_again_here();
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

    /// Asks the scheduler of the Normal world, not the SPMC, to run a context for its interrupts
    /// (`sri-interrupts-policy`).
    fn ask_for_cycles(&self, context: &Current<'_, H::Context>) {
        if let Some((lines, _)) = context.partition.lines(context.id.index) {
            lines.answer(lines.calls());
        }
        let own = VcpuSet::of(context.id.index);
        context.partition.want_cycles(own);
        self.raise_schedule_receiver(false);
    }

    /// The timer of `current` expired, or does no longer say so.
    #[cold]
    #[inline(never)]
    pub(super) fn timer_changed(
        &self,
        current: &mut Current<'_, H::Context>,
        expired: bool,
    ) -> Flow {
        if expired {
            current.partition.pend(current.id.index, Line::TIMER);
        } else if let Some((lines, _)) = current.partition.lines(current.id.index) {
            lines.clear(Line::TIMER);
        }
        self.signal(current);
        Flow::Continue
    }

    /// `FFA_INTERRUPT` from the SPMD: a secure interrupt stopped the Normal world.
    #[cold]
    #[inline(never)]
    pub(in crate::dispatch) fn normal_world_interrupted(&self, pe: &mut Pe, frame: &mut SmcFrame) {
        pe.flood.begin(self.hal.now());
        self.accept_interrupts(pe, None);
        self.run_handlers(pe, None, frame);
        frame.answer(Answer::new([function::NORMAL_WORLD_RESUME as u64]));
    }

    /// Takes what the GIC has for us and makes it pending at its owners.
    fn accept_interrupts(&self, pe: &mut Pe, current: Option<&Current<'_, H::Context>>) {
        for _ in 0..BATCH {
            let Some(id) = self.hal.acknowledge_interrupt() else {
                return;
            };
            self.accept(pe, id, current);
        }
    }

    /// Makes the physical interrupt `id`, which was acknowledged, pending at its owner.
    // Not inlined: a batch is mostly of one interrupt or none, and what this sets up is long.
    #[inline(never)]
    fn accept(&self, pe: &mut Pe, id: u32, current: Option<&Current<'_, H::Context>>) {
        let Some(source) = self.pend_physical(pe, id, current) else {
            log::warn!("interrupt {id} belongs to nobody: masked");
            self.hal.enable_interrupt(id, false);
            self.hal.deactivate_interrupt(id);
            return;
        };
        if pe.flood.take(source) {
            self.mask_flood(pe);
        }
    }

    /// Masks the source of a flood; its owner may enable it again.
    #[cold]
    fn mask_flood(&self, pe: &mut Pe) {
        let handler = pe.handles_interrupts.then_some(pe.handler);
        let culprit = pe.flood.culprit(handler, self.hal.now());
        let id = culprit.and_then(|(partition, line)| {
            let member = self.member_at(partition)?;
            member.frozen.claims.id(line)
        });
        if let Some(id) = id {
            log::warn!("interrupt {id} leaves the PE to nobody else: masked");
            self.hal.enable_interrupt(id, false);
        }
    }

    /// Makes the physical interrupt `id` pending at its owner, if there is one. Returns that and
    /// the line.
    fn pend_physical(
        &self,
        pe: &Pe,
        id: u32,
        current: Option<&Current<'_, H::Context>>,
    ) -> Option<Source> {
        for (number, partition) in self.all_partitions().enumerate() {
            let Some(frozen) = partition.frozen() else {
                continue;
            };
            let Some(line) = frozen.claims.physical(id) else {
                continue;
            };
            if partition.is_dead() {
                return None;
            }
            let index = Self::index_on(pe, frozen);
            let owner = VcpuId {
                partition: frozen.config.id,
                index,
            };
            // An owner that is on this PE, or blocked by what is, is looked at here; no other PE
            // has anything to do for it.
            if current.is_some_and(|current| self.is_in_chain(current, owner)) {
                partition.pend(index, line);
            } else {
                self.pend(pe, Member { partition, frozen }, index, line);
            }
            return Some((number, line));
        }
        None
    }

    /// Makes `line` pending at a context. If another PE runs that, it looks again. This one must
    /// look for handlers, or at the line, after that.
    fn pend(&self, pe: &Pe, member: Member<'_, H::Context>, index: u16, line: Line) {
        let partition = member.partition;
        let Some((_, slot)) = partition.lines(index) else {
            return;
        };
        partition.pend(index, line);
        // On this PE lines are looked at before anything goes on. Whoever has the claim of a
        // context that moves may be another PE.
        let is_pinned_here = !member.frozen.config.is_up() && index == pe.index;
        if is_pinned_here {
            return;
        }
        // So may be the PE whose context works for this one.
        let must_look = slot.claim().is_none_or(|context| {
            matches!(context.state(), State::Blocked(_)) && line.bit() & Line::WAKING != 0
        });
        if must_look {
            self.hal.look_again_elsewhere();
        }
    }

    /// A notification of the partition became pending: its context, or each of them, is told so.
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
    /// It claims nothing: `current`, which begins to wait, is claimed still, so waiting for another
    /// claim could wait for ever.
    fn handler_waits(&self, pe: &Pe, current: VcpuId) -> bool {
        // As in `next_handler`.
        fence(Ordering::SeqCst);
        self.partitions_from(0)
            .filter(|partition| partition.may_have_interrupts() && !partition.is_dead())
            .any(|partition| {
                let waits = || {
                    let frozen = partition.frozen()?;
                    let index = Self::index_on(pe, frozen);
                    let (lines, slot) = partition.lines(index)?;
                    let is_other = frozen.config.id != current.partition;
                    Some(is_other && lines.calls() != 0 && slot.state() == State::Waiting)
                };
                waits().unwrap_or(false)
            })
    }

    /// Returns a context of this PE that waits and has interrupts to handle, claimed. Partitions
    /// take turns: the first to be looked at is the one after whoever had the last.
    fn next_handler(&self, pe: &Pe) -> Option<Current<'_, H::Context>> {
        // Either this sees that a claim is free, or whoever has it sees the line.
        fence(Ordering::SeqCst);
        for partition in self.partitions_from(pe.handler.wrapping_add(1)) {
            if partition.may_have_interrupts()
                && let Some(handler) = self.handler_of(pe, partition)
            {
                return Some(handler);
            }
        }
        None
    }

    /// Returns the context of the partition on this PE, claimed, if it waits and has interrupts to
    /// handle.
    #[inline(never)]
    fn handler_of<'s>(
        &self,
        pe: &Pe,
        partition: &'s Partition<H::Context>,
    ) -> Option<Current<'s, H::Context>> {
        let frozen = partition.frozen()?;
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

    /// Runs contexts of this PE that wait and have interrupts to handle, each until it waits again,
    /// in place of `current` or of the Normal world. One that is called for again meanwhile runs
    /// again; but after as many as there can be partitions, whoever was interrupted goes on for a
    /// moment. Nobody reads what they leave in `frame`.
    fn run_handlers(
        &self,
        pe: &mut Pe,
        current: Option<&Current<'_, H::Context>>,
        frame: &mut SmcFrame,
    ) {
        pe.handles_interrupts = true;
        // The time of whoever was interrupted stands still.
        let watch = pe.watch;
        let since = match watch {
            Watch::Off => 0,
            _ => self.hal.now(),
        };
        for turn in 0.. {
            let Some(mut handler) = self.next_handler(pe) else {
                break;
            };
            if turn == MAX_PARTITIONS {
                pe.flood.cut_off();
                self.hal.look_again_here();
                break;
            }
            pe.handler = handler.frozen.config.index;
            self.start_handler(&mut handler);
            if watch != Watch::Off {
                self.start_watch(pe, handler.vcpu.link());
            }
            self.run(pe, handler, frame);
            pe.flood.end(pe.handler, self.hal.now());
            // What came meanwhile has its turn, too, before the same comes again.
            self.accept_interrupts(pe, current);
        }
        pe.handles_interrupts = false;
        if watch != Watch::Off {
            self.go_on_with_watch(pe, watch, since);
        }
    }

    /// Puts a context on the PE that waits, to handle its interrupts: the first of them is named to
    /// it by `FFA_INTERRUPT`.
    fn start_handler(&self, handler: &mut Current<'_, H::Context>) {
        let mut id = None;
        if let Some((lines, _)) = handler.partition.lines(handler.id.index) {
            let calls = lines.calls();
            lines.answer(calls);
            id = Line::first(calls).and_then(|line| handler.frozen.claims.id(line));
        }
        // It waits.
        Invariant::Transition.expect(handler.vcpu.begin(Begin::Interrupt).is_ok());
        let id = id.map_or(NO_INTERRUPT, u64::from);
        let message = Answer::new([function::INTERRUPT as u64, 0, id]);
        complete(&mut handler.vcpu.context, &message);
        self.enter(handler, true);
    }

    /// Signals what is due to `current`, which is on this PE.
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

    /// Drops a managed exit that the last work of the context did not take, and shows it its
    /// signals: it begins with something new.
    #[cold]
    #[inline(never)]
    pub(crate) fn signal_anew(&self, current: &mut Current<'_, H::Context>) {
        if let Some((lines, _)) = current.partition.lines(current.id.index) {
            lines.clear(Line::MANAGED_EXIT);
        }
        self.show(current);
    }

    /// Returns whether `context` is `current`, or one that it works for.
    fn is_in_chain(&self, current: &Current<'_, H::Context>, context: VcpuId) -> bool {
        current.id == context || self.any_caller(current, |member| member.id == context)
    }
}
