//! The moves: events in a system, one at a time.

/// The next action of the context on a PE.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Does {
    /// A direct request.
    Asks(usize),
    /// The response to the request that the context serves.
    Answers,
    /// A response without a request.
    AnswersWrongly,
    /// `FFA_MSG_WAIT`.
    Waits,
    /// `FFA_YIELD`.
    Yields,
    /// `FFA_RUN`.
    Runs(usize),
    /// `FFA_ERROR`.
    Refuses,
    /// `FFA_ABORT`.
    Aborts,
    /// A trap that makes the partition fail.
    Crashes,
    /// A Non-secure interrupt comes in.
    IsPreempted,
    /// The context is interrupted by the pending interrupt of this PE.
    IsInterrupted,
    /// The context fetches an interrupt.
    Fetches,
    /// The context deactivates an interrupt that it has fetched.
    Ends,
}

/// A move.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Move {
    /// The Normal world sends a direct request.
    Ask(usize, usize),
    /// The Normal world gives cycles (`FFA_RUN`).
    Run(usize, usize),
    /// The Normal world is interrupted by the pending interrupt of this PE.
    Take(usize),
    /// EL3 begins a live activation of the first partition.
    Start(usize),
    /// EL3 has the new image entered.
    Finish(usize),
    /// The PE is turned off.
    TurnOff(usize),
    /// The PE is turned on.
    TurnOn(usize),
    /// The context that runs on that PE does something.
    Here(usize, Does),
    /// The interrupt is raised while it is neither pending nor active.
    Strike,
    /// Time passes, until no time limit is running.
    Pass,
}
