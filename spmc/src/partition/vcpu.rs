//! Execution contexts and their run-time states (FF-A v1.0 sections 2.12 and 4.5; states as named from v1.1 on).
//!
//! The state machine is one pure function; whoever wants to change a state goes through it.

use crate::error::{FfaError, Result};
use crate::hal::Context;
use crate::id::{PartitionId, VcpuId};

/// Run-time state of an execution context.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    /// Never entered, or its PE was turned off.
    Off,
    /// Waits for a message or for cycles.
    Waiting,
    /// Runs on a PE.
    Running,
    /// Waits for the response of another partition.
    Blocked,
    /// Was interrupted; `FFA_RUN` resumes it.
    Preempted,
    /// Its partition failed; it never runs again.
    Aborted,
}

/// What can happen to an execution context.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Event {
    /// First entry, for initialisation.
    Start,
    /// A direct request arrives.
    Request,
    /// `FFA_RUN` from whoever runs it.
    Run,
    /// It sends a direct request itself.
    Block,
    /// The response arrives.
    Unblock,
    /// It waits for the next message (`FFA_MSG_WAIT` or a response).
    Wait,
    /// A Non-secure interrupt takes the PE.
    Preempt,
    /// Its partition fails.
    Abort,
    /// Its PE is turned off.
    TurnOff,
}

/// The state after `event`, or the error that whoever caused the event gets; then nothing changes.
pub const fn step(state: State, event: Event) -> Result<State> {
    use Event::*;
    use FfaError::*;
    Ok(match (state, event) {
        (State::Aborted, Abort | TurnOff) => State::Aborted,
        (State::Aborted, _) => return Err(Aborted),
        (_, Abort) => State::Aborted,

        (State::Off, Start) => State::Running,
        (State::Waiting, Request | Run) => State::Running,
        (State::Preempted, Run) => State::Running,
        (State::Blocked, Unblock) => State::Running,
        (State::Running, Wait) => State::Waiting,
        (State::Running, Block) => State::Blocked,
        (State::Running, Preempt) => State::Preempted,
        (State::Off | State::Waiting | State::Blocked | State::Preempted, TurnOff) => State::Off,

        // A context that is busy with something else takes no request; one that never ran neither.
        (State::Off | State::Running | State::Blocked | State::Preempted, Request) => {
            return Err(Busy);
        }
        (State::Off | State::Running, Run) => return Err(Busy),
        _ => return Err(Denied),
    })
}

/// Why the context runs: the run-time model (FF-A v1.1 section 8, v1.0 section 4.5).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Model {
    /// Initialises; nobody waits for it but boot.
    Init,
    /// Has cycles from `FFA_RUN`.
    Run,
    /// Processes a direct request.
    Request {
        /// The endpoint that the response goes to, as it stood in the request.
        requester: PartitionId,
        /// Function id that the response must have: the same kind and width as the request.
        response: u32,
    },
}

/// Who gets the PE back when the context is done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Caller {
    /// Boot, or the Normal world.
    Outside,
    /// A context that is blocked meanwhile.
    Vcpu(VcpuId),
}

/// One execution context.
pub struct Vcpu<C> {
    state: State,
    /// Valid while the context is running, blocked or preempted.
    pub model: Model,
    /// Valid like `model`.
    pub caller: Caller,
    /// The context that the Normal world called and that this one works for; valid like `model`.
    pub root: VcpuId,
    /// Non-secure interrupts stay pending while it runs; valid like `model`.
    pub masked: bool,
    /// The context that this one is blocked on; valid in that state.
    pub callee: VcpuId,
    /// How often its tables had been changed when it last tried an access again.
    pub changes_seen: u32,
    /// Registers.
    pub context: C,
}

impl<C: Context> Vcpu<C> {
    /// A context that has never run. All zero: `Off`, `Init` and `Outside` are the first of their kinds.
    pub const OFF: Self = Self {
        state: State::Off,
        model: Model::Init,
        caller: Caller::Outside,
        root: VcpuId {
            partition: PartitionId(0),
            index: 0,
        },
        masked: false,
        callee: VcpuId {
            partition: PartitionId(0),
            index: 0,
        },
        changes_seen: 0,
        context: C::NEW,
    };

    /// The run-time state.
    pub fn state(&self) -> State {
        self.state
    }

    /// Whether it is processing a request of the context `caller`.
    pub fn works_for(&self, caller: VcpuId) -> bool {
        self.caller == Caller::Vcpu(caller)
            && matches!(
                self.state,
                State::Running | State::Blocked | State::Preempted
            )
    }

    /// Lets `event` happen; errors as [`step`].
    pub fn step(&mut self, event: Event) -> Result<()> {
        self.state = step(self.state, event)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Event::*;
    use FfaError::*;

    const STATES: [State; 6] = [
        State::Off,
        State::Waiting,
        State::Running,
        State::Blocked,
        State::Preempted,
        State::Aborted,
    ];

    fn row(state: State) -> [Result<State>; 9] {
        [
            Start, Request, Run, Block, Unblock, Wait, Preempt, Abort, TurnOff,
        ]
        .map(|e| step(state, e))
    }

    // req: GEN-25, MSGD-07, MSGD-08, MSGW-14, MSGW-15, MSGW-16, RUN-19, RUN-24
    #[test]
    fn every_state_and_event() {
        let (d, b, a) = (Err(Denied), Err(Busy), Err(Aborted));
        let dead = Ok(State::Aborted);
        let runs = Ok(State::Running);
        let expected = [
            // Start, Request, Run, Block, Unblock, Wait, Preempt, Abort, TurnOff
            [runs, b, b, d, d, d, d, dead, Ok(State::Off)],
            [d, runs, runs, d, d, d, d, dead, Ok(State::Off)],
            [
                d,
                b,
                b,
                Ok(State::Blocked),
                d,
                Ok(State::Waiting),
                Ok(State::Preempted),
                dead,
                d,
            ],
            [d, b, d, d, runs, d, d, dead, Ok(State::Off)],
            [d, b, runs, d, d, d, d, dead, Ok(State::Off)],
            [a, a, a, a, a, a, a, dead, dead],
        ];
        for (state, expected) in STATES.into_iter().zip(expected) {
            assert_eq!(row(state), expected, "{state:?}");
        }
    }
}
