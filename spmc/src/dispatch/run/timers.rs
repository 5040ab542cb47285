//! Timers of partitions: virtual interrupt 3, with the rules of Hafnium.
//!
//! The platform watches the timer of the context that is loaded. The timer of a context that waits
//! is watched while the Normal world has the PE: it stops the Normal world as a physical interrupt
//! would, and the context runs. A PE remembers the partitions whose context began to wait there
//! with an armed timer ([`Pe::timers`]). It may remember one whose context has run elsewhere since,
//! and then finds out when it looks. The timer of a context in any other state is looked at when
//! the context runs again.

use crate::bits::ones;
use crate::hal::Hal;
use crate::interrupt::Line;
use crate::partition::vcpu::State;
use crate::spmc::{Pe, Spmc};
use crate::sync::atomic::Ordering;

use super::Flow;
use crate::dispatch::context::Current;

impl<H: Hal> Spmc<H> {
    /// Handles a change of the timer of `current`: it expired, or the partition wrote to it.
    #[cold]
    #[inline(never)]
    pub(super) fn timer_changed(
        &self,
        pe: &mut Pe,
        current: &mut Current<'_, H::Context>,
        expired: bool,
    ) -> Flow {
        let index = current.id.index;
        if expired {
            current.partition.pend(index, Line::TIMER);
            if pe.handles_interrupts {
                // A handler that waits for its timer again and again would keep the PE.
                self.count(pe, (current.frozen.index, Line::TIMER));
            }
        } else if let Some((lines, _)) = current.partition.lines(index) {
            lines.clear(Line::TIMER);
        }
        let is_armed = self.hal.deadline(&current.vcpu.context).is_some();
        current.partition.note_timer(index, is_armed);
        self.signal(current);
        Flow::Continue
    }

    /// Has the Normal world stopped on this PE when the timer of `current` expires, which begins to
    /// wait.
    #[cold]
    pub(super) fn wait_for_timer(&self, pe: &mut Pe, current: &Current<'_, H::Context>) {
        if let Some(deadline) = self.hal.deadline(&current.vcpu.context) {
            pe.timers |= bit(current.frozen.index);
            pe.next_timer = pe.next_timer.min(deadline);
            self.hal.stop_normal_world_at(pe.next_timer);
        }
    }

    /// Looks at the timers that this PE remembers. The interrupt of each that has expired becomes
    /// pending at its context; the earliest of the others is watched. The caller must look for
    /// handlers after that.
    ///
    /// No context is claimed on this PE.
    #[cold]
    pub(super) fn look_at_timers(&self, pe: &mut Pe) {
        let now = self.hal.now();
        let timers = core::mem::take(&mut pe.timers);
        pe.next_timer = u64::MAX;
        for index in ones(timers) {
            let Some(deadline) = self.waiting_timer(pe, index, now) else {
                continue;
            };
            if deadline <= now {
                self.count(pe, (index, Line::TIMER));
            } else {
                pe.timers |= bit(index);
                pe.next_timer = pe.next_timer.min(deadline);
            }
        }
        self.watch_timers(pe);
    }

    /// Returns the deadline of the partition with that index, if its context on this PE waits with
    /// an armed timer. If the deadline has passed at the time `now`, the interrupt of the timer is
    /// made pending.
    fn waiting_timer(&self, pe: &Pe, index: usize, now: u64) -> Option<u64> {
        let partition = self.member_at(index)?.partition;
        let context = Self::index_on(pe, &partition.frozen);
        let (_, slot) = partition.lines(context)?;
        let mut vcpu = slot.claim()?;
        if partition.is_dead() || vcpu.state() != State::Waiting {
            return None;
        }
        let deadline = self.hal.deadline(&vcpu.context)?;
        if deadline <= now {
            self.hal.expire(&mut vcpu.context);
            partition.note_timer(context, false);
            // A PE that claims the context after this sees the line.
            partition.pend(context, Line::TIMER);
        }
        Some(deadline)
    }

    /// Watches the earliest timer that this PE remembers. The PE may have lost its own timer since.
    pub(crate) fn watch_timers(&self, pe: &Pe) {
        if pe.timers != 0 {
            self.hal.stop_normal_world_at(pe.next_timer);
        }
    }

    /// Leaves the timers of contexts that migrate to other PEs, as this PE goes off. The caller
    /// must make other PEs look again.
    #[cold]
    pub(super) fn leave_timers(&self, pe: &mut Pe) {
        let timers = core::mem::take(&mut pe.timers);
        pe.next_timer = u64::MAX;
        let migrates = |index: &usize| {
            let member = self.member_at(*index);
            member.is_some_and(|member| member.frozen.config.is_up())
        };
        let left = ones(timers)
            .filter(migrates)
            .fold(0, |set, index| set | bit(index));
        self.left_timers.fetch_or(left, Ordering::AcqRel);
    }

    /// Remembers the timers that a PE left when it went off.
    #[inline]
    pub(super) fn adopt_timers(&self, pe: &mut Pe) {
        if self.left_timers.load(Ordering::Relaxed) != 0 {
            pe.timers |= self.left_timers.swap(0, Ordering::AcqRel);
            self.look_at_timers(pe);
        }
    }
}

/// Returns the bit of the partition with that index.
fn bit(partition: usize) -> u64 {
    1_u64.checked_shl(partition as u32).unwrap_or(0)
}
