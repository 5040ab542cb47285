//! The virtual interrupt lines of one execution context.
//!
//! Lines are words of atomic bits rather than behind a lock: the PE that takes an interrupt pends
//! it while the context may run on another PE. Each bit stands for itself, so the order between
//! words does not matter. A PE that pends a line of a context that runs elsewhere makes that PE
//! look again.

use crate::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use super::Line;

/// Tells which virtual interrupts are signalled to a context.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Signals {
    /// The virtual IRQ.
    pub irq: bool,
    /// The virtual FIQ.
    pub fiq: bool,
}

/// Names the lines that a life of a context leaves behind, a bit for each.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Left {
    /// Pending, or fetched and not deactivated.
    pub unfinished: u64,
    /// Enabled.
    pub enabled: u64,
    /// Signalled as FIQ.
    pub fiq: u64,
}

/// The lines of one context. All zero: nothing pending, nothing enabled.
#[derive(Debug)]
pub struct Lines {
    pending: AtomicU64,
    enabled: AtomicU64,
    /// Signalled as FIQ; the others as IRQ.
    fiq: AtomicU64,
    /// Fetched, and not yet deactivated.
    active: AtomicU64,
    /// The context was made to run for them since they became pending: once is enough, whether it
    /// fetched them or not.
    woke: AtomicU64,
    /// The timer of the context is armed, so it must be watched when the context begins to wait.
    timed: AtomicBool,
    /// The number of times that a line became pending, modulo 2^32.
    pended: AtomicU32,
    /// For each line, what `pended` was when the line became pending.
    since: [AtomicU32; u64::BITS as usize],
}

impl Lines {
    /// Nothing pending, nothing enabled.
    pub const fn new() -> Self {
        Self {
            pending: AtomicU64::new(0),
            enabled: AtomicU64::new(0),
            fiq: AtomicU64::new(0),
            active: AtomicU64::new(0),
            woke: AtomicU64::new(0),
            timed: AtomicBool::new(false),
            pended: AtomicU32::new(0),
            since: [const { AtomicU32::new(0) }; u64::BITS as usize],
        }
    }

    /// Begins a life of the context: these lines are enabled, those of `fiq` as FIQ. What another
    /// PE handed over since its last life ended, and what became pending, stays.
    pub fn begin(&self, enabled: u64, fiq: u64) {
        self.fiq.fetch_or(fiq, Ordering::AcqRel);
        self.enabled.fetch_or(enabled, Ordering::AcqRel);
    }

    /// Ends a life of the context: nothing is pending, enabled or active any more. Returns what
    /// was.
    pub fn end(&self) -> Left {
        self.timed.store(false, Ordering::Relaxed);
        let pending = self.pending.swap(0, Ordering::AcqRel);
        let active = self.active.swap(0, Ordering::AcqRel);
        Left {
            unfinished: pending | active,
            enabled: self.enabled.swap(0, Ordering::AcqRel),
            fiq: self.fiq.swap(0, Ordering::AcqRel),
        }
    }

    /// Hands the lines over to a life that goes on with what devices and others did: what is
    /// pending and enabled stays so, and the context is made to run for it once more. What the SPMC
    /// made up for the former life ends.
    pub fn hand_over(&self) {
        self.timed.store(false, Ordering::Relaxed);
        for line in [Line::TIMER, Line::MANAGED_EXIT, Line::QUEUED] {
            self.clear(line);
        }
        self.woke.swap(0, Ordering::AcqRel);
    }

    /// Makes `line` pending.
    pub fn pend(&self, line: Line) {
        if self.pending.load(Ordering::Acquire) & line.bit() == 0
            && let Some(since) = self.since.get(line.index())
        {
            let now = self.pended.fetch_add(1, Ordering::Relaxed);
            since.store(now, Ordering::Relaxed);
        }
        self.pending.fetch_or(line.bit(), Ordering::AcqRel);
        // The order matters: a PE that wakes the context in between must do so for the new
        // interrupt.
        self.woke.fetch_and(!line.bit(), Ordering::AcqRel);
    }

    /// Undoes [`Self::pend`].
    pub fn clear(&self, line: Line) {
        self.pending.fetch_and(!line.bit(), Ordering::AcqRel);
    }

    /// Lets `line` be signalled, as FIQ or as IRQ.
    pub fn enable(&self, line: Line, as_fiq: bool) {
        if as_fiq {
            self.fiq.fetch_or(line.bit(), Ordering::AcqRel);
        } else {
            self.fiq.fetch_and(!line.bit(), Ordering::AcqRel);
        }
        self.enabled.fetch_or(line.bit(), Ordering::AcqRel);
    }

    /// Keeps `line` from being signalled; it can still become pending.
    pub fn disable(&self, line: Line) {
        self.enabled.fetch_and(!line.bit(), Ordering::AcqRel);
    }

    /// Lines that are pending and enabled.
    pub fn due(&self) -> u64 {
        self.pending.load(Ordering::Acquire) & self.enabled.load(Ordering::Acquire)
    }

    /// Lines that a context which waits must be made to run for.
    pub fn calls(&self) -> u64 {
        self.due() & Line::WAKING & !self.woke.load(Ordering::Acquire)
    }

    /// Notes that the context runs, or is about to run, for these `calls`.
    pub fn answer(&self, calls: u64) {
        self.woke.fetch_or(calls, Ordering::AcqRel);
    }

    /// Returns whether any line is pending, enabled or not, or fetched and not deactivated, or may
    /// become pending because the timer is armed.
    pub fn is_unfinished(&self) -> bool {
        self.pending.load(Ordering::Acquire) | self.active.load(Ordering::Acquire) != 0
            || self.is_timed()
    }

    /// Notes whether the timer of the context is armed. Only the PE with the claim may call this.
    pub fn set_timed(&self, armed: bool) {
        self.timed.store(armed, Ordering::Relaxed);
    }

    /// Returns whether the timer of the context is armed, as the PE with the claim noted it.
    pub fn is_timed(&self) -> bool {
        self.timed.load(Ordering::Relaxed)
    }

    /// Returns the signals that the context sees.
    pub fn signals(&self) -> Signals {
        let (due, fiq) = (self.due(), self.fiq.load(Ordering::Acquire));
        Signals {
            irq: due & !fiq != 0,
            fiq: due & fiq != 0,
        }
    }

    /// Returns the line of a map that became pending before the others.
    #[inline]
    pub fn oldest(&self, map: u64) -> Option<Line> {
        let is_several = map & map.wrapping_sub(1) != 0;
        if is_several {
            self.oldest_of_several(map)
        } else {
            Line::all(map).next()
        }
    }

    #[cold]
    #[inline(never)]
    fn oldest_of_several(&self, map: u64) -> Option<Line> {
        let now = self.pended.load(Ordering::Relaxed);
        let age = |line: &Line| {
            let since = self.since.get(line.index());
            since.map_or(0, |since| now.wrapping_sub(since.load(Ordering::Relaxed)))
        };
        // Of equals, which two PEs may make, the last one would win.
        Line::all(map).max_by_key(age)
    }

    /// Fetches the line that is due for the longest time: it is pending no more, and active.
    pub fn take(&self) -> Option<Line> {
        let line = self.oldest(self.due())?;
        self.clear(line);
        self.active.fetch_or(line.bit(), Ordering::AcqRel);
        Some(line)
    }

    /// Returns all of it: pending, enabled, as FIQ, active, woken for.
    #[cfg(feature = "explore")]
    pub fn words(&self) -> [u64; 5] {
        let words = [
            &self.pending,
            &self.enabled,
            &self.fiq,
            &self.active,
            &self.woke,
        ];
        words.map(|word| word.load(Ordering::Acquire))
    }

    /// Notes that a context without virtual interrupts was told of `line`. The line stays pending,
    /// so that the context can fetch it.
    pub fn tell(&self, line: Line) {
        self.active.fetch_or(line.bit(), Ordering::AcqRel);
    }

    /// Ends what [`Self::take`] or [`Self::tell`] began. Returns whether the line was active.
    pub fn deactivate(&self, line: Line) -> bool {
        self.active.fetch_and(!line.bit(), Ordering::AcqRel) & line.bit() != 0
    }

    /// Ends what [`Self::take`] or [`Self::tell`] began, for all lines. Returns them.
    pub fn deactivate_all(&self) -> u64 {
        self.active.swap(0, Ordering::AcqRel)
    }
}

impl Default for Lines {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Line = Line(0);
    const B: Line = Line(7);

    #[test]
    fn what_is_due_is_pending_and_enabled() {
        let lines = Lines::new();
        lines.pend(A);
        assert_eq!((lines.due(), lines.take()), (0, None));
        lines.enable(A, false);
        lines.enable(B, true);
        assert_eq!(
            lines.signals(),
            Signals {
                irq: true,
                fiq: false
            }
        );
        lines.pend(B);
        assert!(lines.signals().fiq);
        lines.disable(A);
        assert_eq!(lines.due(), B.bit());
        assert!(lines.is_unfinished());
        // A pending line can be enabled again as the other type of interrupt.
        lines.enable(B, false);
        let Signals { irq, fiq } = lines.signals();
        assert!(irq && !fiq);
    }

    #[test]
    fn a_context_is_woken_once_each_time_a_line_becomes_pending() {
        let lines = Lines::new();
        lines.pend(A);
        lines.pend(Line::NOTIFICATION);
        assert_eq!(lines.calls(), 0, "not enabled");
        lines.enable(A, false);
        lines.enable(Line::NOTIFICATION, false);
        assert_eq!(lines.calls(), A.bit());
        lines.answer(A.bit());
        assert_eq!((lines.calls(), lines.due() & A.bit()), (0, A.bit()));
        lines.pend(A);
        assert_eq!(lines.calls(), A.bit());
        assert_eq!(lines.take(), Some(A));
        assert_eq!(lines.calls(), 0);
    }

    #[test]
    fn lines_are_fetched_in_the_order_in_which_they_became_pending() {
        const C: Line = Line(40);
        let lines = Lines::new();
        for line in [A, B, C] {
            lines.enable(line, false);
        }
        for order in [[A, B, C], [C, B, A], [B, A, C], [B, C, A]] {
            let [first, second, third] = order;
            for line in [first, second, first, third, second] {
                lines.pend(line);
            }
            assert_eq!(lines.oldest(second.bit() | third.bit()), Some(second));
            let fetched = [lines.take(), lines.take(), lines.take(), lines.take()];
            assert_eq!(fetched, [Some(first), Some(second), Some(third), None]);
        }
    }

    #[test]
    fn a_life_leaves_nothing_to_the_next() {
        let lines = Lines::new();
        lines.begin(A.bit() | B.bit(), B.bit());
        lines.pend(A);
        lines.take();
        lines.pend(B);
        let left = Left {
            unfinished: A.bit() | B.bit(),
            enabled: A.bit() | B.bit(),
            fiq: B.bit(),
        };
        assert_eq!(lines.end(), left);
        let nothing = Left {
            unfinished: 0,
            enabled: 0,
            fiq: 0,
        };
        assert_eq!(lines.end(), nothing);
        lines.pend(Line::IPI);
        lines.begin(A.bit(), 0);
        assert!(!lines.deactivate(A) && lines.due() == 0);
        lines.enable(Line::IPI, false);
        assert_eq!(lines.calls(), Line::IPI.bit(), "it came after the end");
    }

    #[test]
    fn a_life_that_goes_on_has_no_timer_of_the_one_before() {
        let lines = Lines::new();
        lines.begin(A.bit() | Line::TIMER.bit(), 0);
        lines.set_timed(true);
        for line in [A, Line::TIMER] {
            lines.pend(line);
        }
        lines.hand_over();
        assert!(!lines.is_timed());
        assert_eq!(lines.due(), A.bit());
    }

    #[test]
    fn a_line_can_be_pending_again_while_it_is_active() {
        let lines = Lines::new();
        lines.begin(A.bit() | B.bit(), B.bit());
        lines.pend(A);
        lines.pend(B);
        assert_eq!(lines.take(), Some(A));
        lines.pend(A);
        assert!(lines.deactivate(A));
        assert!(!lines.deactivate(A) && !lines.deactivate(B));
        assert_eq!(
            [lines.take(), lines.take(), lines.take()],
            [Some(B), Some(A), None]
        );
        assert_eq!(lines.signals(), Signals::default());
    }
}
