//! Moves: the things that happen in a system, one at a time.

/// The next thing that the context on a PE does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Does {
    /// A direct request.
    Asks(usize),
    /// The response to the one that it serves.
    Answers,
    /// A response to nothing.
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
    /// A trap that kills it.
    Crashes,
    /// A Non-secure interrupt comes.
    IsPreempted,
    /// It is interrupted by what the GIC has for this PE.
    IsInterrupted,
    /// It fetches an interrupt.
    Fetches,
    /// It is done with one that it has fetched.
    Ends,
}

/// A move.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Move {
    /// The Normal world sends a direct request.
    Ask(usize, usize),
    /// The Normal world gives cycles.
    Run(usize, usize),
    /// The Normal world is interrupted by what the GIC has for this PE.
    Take(usize),
    /// The PE is turned off.
    TurnOff(usize),
    /// The PE is turned on.
    TurnOn(usize),
    /// Whoever runs on that PE does something.
    Here(usize, Does),
    /// The interrupt is raised, which is neither pending nor active.
    Strike,
    /// Time goes on, until nobody has a time of his own left.
    Pass,
}
