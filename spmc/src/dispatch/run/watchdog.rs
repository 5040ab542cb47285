//! The watchdog: limits the time in which a context initialises, answers a request of EL3, or
//! handles interrupts: until then the Normal world does not get the PE.
//!
//! Time is charged to the context that was given it. A context that works for that one when the
//! time is over is not to blame: it gets the same time once more. If that is not enough either, the
//! Normal world is left to run it. Each handler of interrupts has a time of its own, within the
//! time that all handlers of its partition have together, and the watchdog of the interrupted
//! context stands still meanwhile.

use crate::ffa::SmcFrame;
use crate::hal::Hal;
use crate::partition::Link;
use crate::partition::vcpu::{Event, State};
use crate::spmc::{Pe, Spmc, Watch};

use super::Flow;
use super::interrupt::TURNS;
use crate::boot::DEFAULT_INIT_TIMEOUT_MS;
use crate::dispatch::context::Current;
use crate::invariant::Invariant;

impl<H: Hal> Spmc<H> {
    /// Returns the end of the time that begins now.
    pub(super) fn limit(&self) -> u64 {
        let limit = self
            .manifest
            .init_timeout_ms
            .unwrap_or(DEFAULT_INIT_TIMEOUT_MS);
        self.hal.now().saturating_add(self.hal.ticks(limit))
    }

    /// Starts the time of the context `of`.
    #[cold]
    pub(crate) fn start_watch(&self, pe: &mut Pe, of: Link) {
        let end = self.limit();
        pe.watch = Watch::Of(of, end);
        self.hal.start_watchdog(end);
    }

    /// Starts the time of the handler `of`, which belongs to the partition with that index.
    ///
    /// Handlers of one partition that follow each other without a pause have the time of [`TURNS`]
    /// together, as many as run in one go: an owner can have its handler run again and again.
    #[cold]
    pub(super) fn watch_handler(&self, pe: &mut Pe, partition: usize, of: Link) {
        let now = self.hal.now();
        let limit = self.limit().saturating_sub(now);
        let left = limit.saturating_mul(TURNS as u64);
        let left = left.saturating_sub(pe.flood.spent(partition));
        let end = now.saturating_add(limit.min(left));
        pe.watch = Watch::Of(of, end);
        self.hal.start_watchdog(end);
    }

    /// Ends the time that [`Self::start_watch`] began.
    #[cold]
    pub(crate) fn stop_watch(&self, pe: &mut Pe) {
        pe.watch = Watch::Off;
        self.hal.stop_watchdog();
    }

    /// Continues a watch that stood still since `since`.
    #[cold]
    pub(super) fn go_on_with_watch(&self, pe: &mut Pe, watch: Watch, since: u64) {
        let pause = self.hal.now().saturating_sub(since);
        pe.watch = match watch {
            Watch::Off => Watch::Off,
            Watch::Of(of, end) => Watch::Of(of, end.saturating_add(pause)),
            Watch::Rest(end) => Watch::Rest(end.saturating_add(pause)),
        };
        match pe.watch {
            Watch::Off => self.hal.stop_watchdog(),
            Watch::Of(_, end) | Watch::Rest(end) => self.hal.start_watchdog(end),
        }
    }

    /// Handles the end of the time: stops the context that it was given to.
    pub(super) fn watchdog<'s>(
        &'s self,
        pe: &mut Pe,
        current: &mut Current<'s, H::Context>,
        frame: &mut SmcFrame,
    ) -> Flow {
        let of = match pe.watch {
            Watch::Off => return Flow::Continue,
            Watch::Rest(_) => return self.leave_to_normal_world(current),
            Watch::Of(of, _) => of,
        };
        if current.vcpu.link() == of {
            log_end(current);
            return self.abort(current, frame);
        }
        let is_blocked = |context: State| matches!(context, State::Blocked(_));
        if let Some(mut owner) = self.follow(of, |owner| is_blocked(owner.state())) {
            log_end(&owner);
            self.end(&mut owner);
        }
        let end = self.limit();
        pe.watch = Watch::Rest(end);
        self.hal.start_watchdog(end);
        Flow::Continue
    }

    /// Takes the PE from a chain whose root was stopped; the Normal world can run the chain. Nobody
    /// would read an answer, since the root was initialising or handling interrupts.
    fn leave_to_normal_world(&self, current: &mut Current<'_, H::Context>) -> Flow {
        log::warn!(
            "{}: works too long for one that was stopped; left to the Normal world",
            current.frozen.config.name
        );
        // Members do not inherit the mask of the root any more.
        self.mask_chain(current, false);
        // `current` runs, so the event is allowed.
        Invariant::Transition.expect(current.vcpu.step(Event::Preempt).is_ok());
        self.hal.save(&mut current.vcpu.context);
        Flow::Leave
    }
}

fn log_end<C>(context: &Current<'_, C>) {
    log::error!(
        "{}: stopped, it did not finish within init-timeout-ms",
        context.frozen.config.name
    );
}
