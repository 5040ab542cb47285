//! Execution contexts: their run-time states and the run-time models that say which calls they may make (FF-A v1.0
//! sections 2.12 and 4.5, v1.1 section 8).
//!
//! Two pure functions hold all rules: [`step`] for states, [`Model::on`] for calls. Whoever wants to change a state goes
//! through them.

use crate::error::{FfaError, Result};
use crate::ffa::{Version, framework};
use crate::hal::Context;
use crate::id::{PartitionId, VcpuId};
use crate::partition::console::Line;

/// Run-time state of an execution context.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    /// Never entered, or its PE was turned off.
    Off,
    /// Waits for a message or for cycles.
    Waiting,
    /// Runs on a PE.
    Running,
    /// Waits for another partition, which it gave the PE to.
    Blocked,
    /// Gave the PE back in the middle of its work (`FFA_YIELD`); the specification calls this blocked, too.
    Yielded,
    /// Was interrupted; `FFA_RUN` resumes it.
    Preempted,
    /// Its partition failed; it never runs again, unless the partition is loaded anew.
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
    /// It gives the PE to another partition (a direct request or `FFA_RUN`).
    Block,
    /// The PE comes back from there.
    Unblock,
    /// It waits for the next message (`FFA_MSG_WAIT` or a response).
    Wait,
    /// `FFA_YIELD`
    Yield,
    /// An interrupt takes the PE: a Non-secure one, or one of whom it works for.
    Preempt,
    /// Its partition fails.
    Abort,
    /// Its PE is turned off.
    TurnOff,
    /// Its partition, which failed, was loaded anew.
    Reload,
}

/// The state after `event`, or the error that whoever caused the event gets; then nothing changes.
#[inline(always)]
pub const fn step(state: State, event: Event) -> Result<State> {
    use Event::*;
    use FfaError::*;
    Ok(match (state, event) {
        (State::Aborted, Abort | TurnOff) => State::Aborted,
        (State::Aborted, Reload) => State::Off,
        (State::Aborted, _) => return Err(Aborted),
        (_, Abort) => State::Aborted,

        (State::Off, Start) => State::Running,
        (State::Waiting, Request | Run) => State::Running,
        (State::Preempted | State::Yielded, Run) => State::Running,
        (State::Blocked, Unblock) => State::Running,
        (State::Running, Wait) => State::Waiting,
        (State::Running, Block) => State::Blocked,
        (State::Running, Yield) => State::Yielded,
        (State::Running, Preempt) => State::Preempted,
        (State::Running, TurnOff) => return Err(Denied),
        (_, TurnOff) => State::Off,

        // A context that is busy with something else takes no request; one that never ran neither.
        (_, Request) => return Err(Busy),
        (State::Off | State::Running, Run) => return Err(Busy),
        _ => return Err(Denied),
    })
}

/// The calls by which a context gives up its PE.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Call {
    /// A direct request.
    Request,
    /// The response to one.
    Respond,
    /// `FFA_RUN`
    Run,
    /// `FFA_MSG_WAIT`
    Wait,
    /// `FFA_YIELD` of a partition that speaks this version.
    Yield(Version),
}

/// Why the context runs: the run-time model.
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
        /// w2 of the response: 0, or the kind of framework message that answers the request.
        message: u32,
    },
    /// Handles secure interrupts that came while it waited.
    Interrupt,
    /// Handles secure interrupts that came while it was blocked. It ends with `FFA_RUN` on the context that they stopped.
    Resume,
}

impl Model {
    /// w2 of the response that it ends with: 0 unless it processes a framework message.
    #[inline(always)]
    pub const fn response_message(self) -> u32 {
        match self {
            Self::Request { message, .. } => message,
            Self::Init | Self::Run | Self::Interrupt | Self::Resume => 0,
        }
    }

    /// What a `call` by a context of that model is for its state: the table of permitted calls. `DENIED` if the model does
    /// not permit it.
    #[inline(always)]
    pub fn on(self, call: Call) -> Result<Event> {
        let is_power = matches!(
            self,
            Self::Request {
                message: framework::PSCI_RESPONSE,
                ..
            }
        );
        Ok(match (self, call) {
            // A PE that goes to sleep has no time for others.
            (_, Call::Request | Call::Run | Call::Yield(_)) if is_power => {
                return Err(FfaError::Denied);
            }
            (_, Call::Request) => Event::Block,
            (Self::Run | Self::Request { .. } | Self::Resume, Call::Run) => Event::Block,
            (Self::Run, Call::Yield(_)) => Event::Yield,
            (Self::Request { .. }, Call::Yield(version)) if version >= Version::V1_2 => {
                Event::Yield
            }
            (Self::Request { .. }, Call::Respond) => Event::Wait,
            (Self::Init | Self::Run | Self::Interrupt, Call::Wait) => Event::Wait,
            _ => return Err(FfaError::Denied),
        })
    }
}

/// Who gets the PE back when the context is done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Caller {
    /// Boot, or the Normal world.
    Outside,
    /// A context that is blocked meanwhile.
    Vcpu(VcpuId),
    /// The PE of the one that called was turned off. What that one was called for comes to nothing: its own caller, or the
    /// Normal world ([`VcpuId::NONE`]), gets the PE.
    Heir(VcpuId),
}

impl Caller {
    /// The context that gets the PE, if it is one.
    pub fn context(self) -> Option<VcpuId> {
        match self {
            Self::Outside => None,
            Self::Vcpu(id) => Some(id),
            Self::Heir(id) => Some(id).filter(|id| *id != VcpuId::NONE),
        }
    }
}

/// One execution context.
pub struct Vcpu<C> {
    state: State,
    /// Valid while the context is running, blocked, yielded or preempted.
    pub model: Model,
    /// What `model` was before it became [`Model::Resume`]; valid in that model.
    pub model_before: Model,
    /// The context that it has to resume, valid like `model_before`.
    pub stopped: VcpuId,
    /// Valid like `model`. While the context is yielded, or stopped for its caller's interrupts, the caller goes on and may run it again.
    pub caller: Caller,
    /// Non-secure interrupts stay pending while it runs; valid like `model`.
    pub masked: bool,
    /// The context that this one is blocked on; valid in that state.
    pub callee: VcpuId,
    /// How often its tables had been changed when it last tried an access again.
    pub changes_seen: u32,
    /// What it is writing to the console.
    pub console: Line,
    /// Registers.
    pub context: C,
}

impl<C: Context> Vcpu<C> {
    /// A context that has never run. All zero: `Off`, `Init` and `Outside` are the first of their kinds.
    pub const OFF: Self = Self {
        state: State::Off,
        model: Model::Init,
        model_before: Model::Init,
        stopped: VcpuId::NONE,
        caller: Caller::Outside,
        masked: false,
        callee: VcpuId::NONE,
        changes_seen: 0,
        console: Line::EMPTY,
        context: C::NEW,
    };

    /// The run-time state.
    pub fn state(&self) -> State {
        self.state
    }

    /// Whether the context `caller` is blocked until this one gives the PE back.
    pub fn works_for(&self, caller: VcpuId) -> bool {
        self.caller.context() == Some(caller)
            && matches!(
                self.state,
                State::Running | State::Blocked | State::Preempted
            )
    }

    /// Whether it has to resume the context `other`, which was stopped for its interrupts.
    pub fn must_resume(&self, other: VcpuId) -> bool {
        self.model == Model::Resume && self.stopped == other
    }

    /// Whether it has to resume a context of the partition `other`.
    pub fn has_stopped(&self, other: PartitionId) -> bool {
        self.model == Model::Resume && self.stopped.partition == other
    }

    /// Whether it is blocked on the context `callee`.
    pub fn waits_for(&self, callee: VcpuId) -> bool {
        self.state == State::Blocked && self.callee == callee
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

    const STATES: [State; 7] = [
        State::Off,
        State::Waiting,
        State::Running,
        State::Blocked,
        State::Yielded,
        State::Preempted,
        State::Aborted,
    ];

    const EVENTS: [Event; 11] = [
        Start, Request, Run, Block, Unblock, Wait, Yield, Preempt, Abort, TurnOff, Reload,
    ];

    // req: GEN-25, MSGD-07, MSGD-08, MSGW-14, MSGW-15, MSGW-16, RUN-19, RUN-24
    #[test]
    fn every_state_and_event() {
        let (d, b, a) = (Err(Denied), Err(Busy), Err(Aborted));
        let dead = Ok(State::Aborted);
        let runs = Ok(State::Running);
        let off = Ok(State::Off);
        let expected = [
            // Start, Request, Run, Block, Unblock, Wait, Yield, Preempt, Abort, TurnOff, Reload
            [runs, b, b, d, d, d, d, d, dead, off, d],
            [d, runs, runs, d, d, d, d, d, dead, off, d],
            [
                d,
                b,
                b,
                Ok(State::Blocked),
                d,
                Ok(State::Waiting),
                Ok(State::Yielded),
                Ok(State::Preempted),
                dead,
                d,
                d,
            ],
            [d, b, d, d, runs, d, d, d, dead, off, d],
            [d, b, runs, d, d, d, d, d, dead, off, d],
            [d, b, runs, d, d, d, d, d, dead, off, d],
            [a, a, a, a, a, a, a, a, dead, dead, off],
        ];
        for (state, expected) in STATES.into_iter().zip(expected) {
            assert_eq!(
                EVENTS.map(|event| step(state, event)),
                expected,
                "{state:?}"
            );
        }
    }

    const fn request(message: u32) -> Model {
        Model::Request {
            requester: PartitionId(0x8001),
            response: 0,
            message,
        }
    }

    // Run-time models of v1.1 section 8.2 to 8.5, and v1.2 for FFA_YIELD.
    // req: RUN-17, RUN-18, MSGW-06, MSGD-09, BOOT-18
    #[test]
    fn every_model_and_call() {
        const N: Result<Event> = Err(Denied);
        const CALLS: [super::Call; 5] = [
            super::Call::Request,
            super::Call::Run,
            super::Call::Respond,
            super::Call::Wait,
            super::Call::Yield(Version::V1_2),
        ];
        let (block, wait, leave) = (Ok(Block), Ok(Wait), Ok(Yield));
        let expected = [
            // Request, Run, Respond, Wait, Yield; Yield in 1.1
            (Model::Init, [block, N, N, wait, N], N),
            (Model::Run, [block, block, N, wait, leave], leave),
            (request(0), [block, block, wait, N, leave], N),
            (
                request(framework::VM_CREATED_RESPONSE),
                [block, block, wait, N, leave],
                N,
            ),
            (request(framework::PSCI_RESPONSE), [N, N, wait, N, N], N),
            (Model::Interrupt, [block, N, N, wait, N], N),
            (Model::Resume, [block, block, N, N, N], N),
        ];
        for (model, permitted, yield_1_1) in expected {
            assert_eq!(CALLS.map(|call| model.on(call)), permitted, "{model:?}");
            assert_eq!(
                model.on(super::Call::Yield(Version::V1_1)),
                yield_1_1,
                "{model:?}"
            );
        }
    }
}
