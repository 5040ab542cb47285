//! Execution contexts: their run-time states and the run-time models that say which calls they may
//! make (FF-A v1.0 sections 2.12 and 4.5, v1.1 section 8).
//!
//! Three pure functions hold all rules: [`begin`] for the work that a context is given, [`step`]
//! for what happens to the context after that, [`Model::permits`] for calls. Only
//! [`Claim`](super::Claim) changes a state, and it does so by the first two. Whatever belongs to a
//! state is an argument of the event that leads there, so neither can change without the other.

use crate::error::{FfaError, Result};
use crate::ffa::{Version, framework};
use crate::hal::Context;
use crate::id::PartitionId;
use crate::partition::console::ConsoleLine;
use crate::partition::link::Link;

/// Run-time state of an execution context, with what is so in that state only.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    /// Never entered, or its PE was turned off.
    Off,
    /// Waits for a message or for cycles.
    Waiting,
    /// Runs on a PE.
    Running,
    /// Gave the PE to that context, and waits for it.
    Blocked(Link),
    /// Gave the PE back in the middle of its work (`FFA_YIELD`); the specification calls this
    /// blocked, too. Only its caller may resume it until that time, in the unit of
    /// [`Hal::now`](crate::hal::Hal::now).
    Yielded(u64),
    /// Lost the PE to a context that it works for, which has interrupts to handle or a managed exit
    /// to make. Only that context may resume the chain until that time.
    Stopped(u64),
    /// Was preempted with its chain by a Non-secure interrupt; `FFA_RUN` resumes the chain.
    Preempted,
    /// Its partition failed; it never runs again, unless the partition is loaded again.
    Aborted,
    /// Its partition stopped by itself, and is entered anew with another image.
    Halted,
}

/// Bits of a word that tell the kind of state. The bits above them hold its data.
const KIND: u64 = 0xf;

mod kind {
    pub const OFF: u64 = 0;
    pub const WAITING: u64 = 1;
    pub const RUNNING: u64 = 2;
    pub const BLOCKED: u64 = 3;
    pub const YIELDED: u64 = 4;
    pub const STOPPED: u64 = 5;
    pub const PREEMPTED: u64 = 6;
    pub const ABORTED: u64 = 7;
    pub const HALTED: u64 = 8;
}

impl State {
    /// Packs the state into one word. A time is cut to 60 bits.
    #[inline(always)]
    pub(super) const fn to_word(self) -> u64 {
        match self {
            Self::Off => kind::OFF,
            Self::Waiting => kind::WAITING,
            Self::Running => kind::RUNNING,
            Self::Blocked(Link(link)) => link | kind::BLOCKED,
            Self::Yielded(until) => until << 4 | kind::YIELDED,
            Self::Stopped(until) => until << 4 | kind::STOPPED,
            Self::Preempted => kind::PREEMPTED,
            Self::Aborted => kind::ABORTED,
            Self::Halted => kind::HALTED,
        }
    }

    /// Unpacks a word of [`Self::to_word`].
    #[inline(always)]
    pub(super) const fn from_word(word: u64) -> Self {
        match word & KIND {
            kind::OFF => Self::Off,
            kind::WAITING => Self::Waiting,
            kind::RUNNING => Self::Running,
            kind::BLOCKED => Self::Blocked(Link(word & !KIND)),
            kind::YIELDED => Self::Yielded(word >> 4),
            kind::STOPPED => Self::Stopped(word >> 4),
            kind::PREEMPTED => Self::Preempted,
            kind::ABORTED => Self::Aborted,
            // The last one, so that a kind is a discriminant, which takes no instructions.
            _ => Self::Halted,
        }
    }
}

/// The work that a context is given together with the PE.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Begin {
    /// Initialisation, for boot or with another image.
    Start,
    /// A direct request. Its response goes to that caller.
    Request(Request, Caller),
    /// Cycles that the Normal world gives by `FFA_RUN`.
    Run,
    /// Secure interrupts that came while the context waited.
    Interrupt,
}

impl Begin {
    /// Returns the run-time model of the work.
    #[inline(always)]
    pub(super) const fn model(self) -> Model {
        match self {
            Self::Start => Model::Init,
            Self::Request(request, _) => Model::Request(request),
            Self::Run => Model::Run,
            Self::Interrupt => Model::Interrupt,
        }
    }

    /// Returns who gets the PE when the work is done.
    #[inline(always)]
    pub(super) const fn caller(self) -> Caller {
        match self {
            Self::Request(_, caller) => caller,
            Self::Start | Self::Run | Self::Interrupt => Caller::Outside,
        }
    }
}

/// Returns the state of a context that is given work, or the error for the giver; then nothing
/// changes.
#[inline(always)]
pub const fn begin(state: State, begin: &Begin) -> Result<State> {
    use Begin::*;
    Err(match (state, begin) {
        (State::Off | State::Halted, Start) | (State::Waiting, Request(..) | Run | Interrupt) => {
            return Ok(State::Running);
        }
        (State::Aborted, _) => FfaError::Aborted,
        // A context takes no request while it is busy, or before it has initialised.
        (_, Request(..)) => FfaError::Busy,
        (State::Off | State::Running | State::Halted, Run | Interrupt) => FfaError::Busy,
        _ => FfaError::Denied,
    })
}

/// Events of an execution context.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Event {
    /// `FFA_RUN` from whoever may resume its work.
    Resume,
    /// The context gives the PE to that one (a direct request or `FFA_RUN`).
    Block(Link),
    /// The PE comes back from that callee.
    Unblock(Link),
    /// The first context, its callee, went off: it now waits for the second one, which its callee
    /// had called.
    Rewire(Link, Link),
    /// The context waits for the next message (`FFA_MSG_WAIT` or a response).
    Wait,
    /// The response by which its partition stops, so that another image can take its place.
    Halt,
    /// `FFA_YIELD`; only the caller may resume the context until that time.
    Yield(u64),
    /// A context that it works for takes the PE to handle interrupts, or for a managed exit. Only
    /// that one may resume the chain until that time.
    Stop(u64),
    /// A Non-secure interrupt takes the PE from its chain.
    Preempt,
    /// Its partition fails.
    Abort,
    /// Its PE is turned off.
    TurnOff,
    /// Its partition, which failed, was loaded again.
    Reload,
}

/// Returns the state after `event`, or the error for the cause of the event; then nothing changes.
#[inline(always)]
pub const fn step(state: State, event: Event) -> Result<State> {
    use Event::*;
    use FfaError::*;
    Ok(match (state, event) {
        (State::Aborted, Abort | TurnOff) => State::Aborted,
        (State::Aborted, Reload) => State::Off,
        (State::Aborted, _) => return Err(Aborted),
        (_, Abort) => State::Aborted,

        (State::Preempted | State::Yielded(_) | State::Stopped(_), Resume) => State::Running,
        // Only the callee that it waits for unblocks it, in the life that was called.
        (State::Blocked(Link(callee)), Unblock(Link(from))) if callee == from => State::Running,
        (State::Blocked(Link(callee)), Rewire(Link(from), to)) if callee == from => {
            State::Blocked(to)
        }
        (State::Running, Wait) => State::Waiting,
        (State::Running, Halt) => State::Halted,
        (State::Running, Block(callee)) => State::Blocked(callee),
        (State::Running, Yield(until)) => State::Yielded(until),
        (State::Running, Stop(until)) => State::Stopped(until),
        (State::Running, Preempt) => State::Preempted,
        (State::Running, TurnOff) => return Err(Denied),
        (_, TurnOff) => State::Off,

        (State::Off | State::Running | State::Halted, Resume) => return Err(Busy),
        _ => return Err(Denied),
    })
}

/// The calls by which a context gives up its PE.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Leave {
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
///
/// A context that has never run has the first model, and nothing depends on the numbers of the
/// others.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Model {
    /// Initialises; only boot waits for it.
    Init,
    /// Has cycles from `FFA_RUN`.
    Run,
    /// Processes a direct request.
    Request(Request),
    /// Handles secure interrupts that came while it waited.
    Interrupt,
    /// Handles secure interrupts that came while it was blocked.
    Resume {
        /// The first member of the chain that was stopped for them. `FFA_RUN` on it ends the model.
        stopped: Link,
        /// The request that the context also processes; without one it has cycles from `FFA_RUN`.
        request: Option<Request>,
    },
}

/// The kinds of direct messages. A response has the kind of its request; its width is the
/// responder's choice.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Message {
    /// `FFA_MSG_SEND_DIRECT_REQ` and `FFA_MSG_SEND_DIRECT_RESP`.
    DirectReq,
    /// Those of two endpoints at 1.3, which use x8 to x17 in the 64-bit form.
    WideDirectReq,
    /// `FFA_MSG_SEND_DIRECT_REQ2` and `FFA_MSG_SEND_DIRECT_RESP2`.
    DirectReq2,
}

/// A direct request that is processed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Request {
    /// The endpoint that the response goes to, as it stood in the request.
    pub requester: PartitionId,
    /// The kind that the response must be of.
    pub kind: Message,
    /// w2 of the response: 0, or the kind of framework message that answers the request.
    pub message: u32,
}

impl Model {
    /// Returns w2 of the response that ends the work: 0 unless the context processes a framework
    /// message.
    #[inline(always)]
    pub const fn response_message(self) -> u32 {
        match self {
            Self::Request(request) => request.message,
            Self::Init | Self::Run | Self::Interrupt | Self::Resume { .. } => 0,
        }
    }

    /// Returns the first member of the stopped chain, if there is one to resume.
    #[inline(always)]
    pub const fn stopped(self) -> Option<Link> {
        match self {
            Self::Resume { stopped, .. } => Some(stopped),
            _ => None,
        }
    }

    /// Returns the model after the chain that begins at `stopped` was stopped for interrupts;
    /// `None` for a model in which no chain is stopped for them.
    pub const fn stop(self, stopped: Link) -> Option<Self> {
        let request = match self {
            Self::Request(request) => Some(request),
            Self::Run => None,
            Self::Init | Self::Interrupt | Self::Resume { .. } => return None,
        };
        Some(Self::Resume { stopped, request })
    }

    /// Returns the model after the stopped chain was resumed.
    pub const fn resume(self) -> Self {
        match self {
            Self::Resume {
                request: Some(request),
                ..
            } => Self::Request(request),
            Self::Resume { request: None, .. } => Self::Run,
            model => model,
        }
    }

    /// Checks the table of permitted calls: `DENIED` if a context of this model may not make the
    /// `call`.
    #[inline(always)]
    pub fn permits(self, call: Leave) -> Result<()> {
        let is_power = matches!(
            self,
            Self::Request(Request {
                message: framework::PSCI_RESPONSE,
                ..
            })
        );
        let is_stop = self.response_message() == framework::STOP_RESPONSE;
        match (self, call) {
            // A partition that stops cannot leave that to later.
            (_, Leave::Yield(_)) if is_stop => Err(FfaError::Denied),
            // A context that processes a power message must not leave the PE to others.
            (_, Leave::Request | Leave::Run | Leave::Yield(_)) if is_power => Err(FfaError::Denied),
            (_, Leave::Request) => Ok(()),
            (Self::Run | Self::Request(_) | Self::Resume { .. }, Leave::Run) => Ok(()),
            // A handler of interrupts has nobody to yield to, and goes on.
            (Self::Run | Self::Interrupt, Leave::Yield(_)) => Ok(()),
            (Self::Request(_), Leave::Yield(version)) if version >= Version::V1_2 => Ok(()),
            (Self::Request(_), Leave::Respond) => Ok(()),
            (Self::Init | Self::Run | Self::Interrupt, Leave::Wait) => Ok(()),
            _ => Err(FfaError::Denied),
        }
    }
}

/// Says who gets the PE back when the context is done. A link that leads nowhere means the Normal
/// world, which ran the context last.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Caller {
    /// Boot, or the Normal world.
    Outside,
    /// A context that is blocked meanwhile.
    Vcpu(Link),
    /// The PE of the caller was turned off. The caller's own caller gets the PE, and an error in
    /// place of the caller's answer.
    Heir(Link),
}

impl Caller {
    /// Nobody waits for the context any more.
    pub const NOBODY: Self = Self::Vcpu(Link::NONE);

    /// Returns the link of the context that gets the PE, if it is one.
    #[inline(always)]
    pub const fn link(self) -> Option<Link> {
        match self {
            Self::Outside => None,
            Self::Vcpu(link) | Self::Heir(link) => Some(link),
        }
    }
}

/// State that belongs to whoever has the claim of an execution context. All but console and
/// registers means something only while it is running, blocked, yielded, stopped or preempted.
///
/// Model and caller change together with the state: see [`Claim`](super::Claim).
pub struct Vcpu<C> {
    pub(super) model: Model,
    pub(super) caller: Caller,
    /// Non-secure interrupts stay pending while it runs.
    pub masked: bool,
    /// The number of changes of its tables when it last retried an access.
    pub changes_seen: u32,
    /// The line that it is writing to the console.
    pub console: ConsoleLine,
    /// Registers.
    pub context: C,
}

impl<C: Context> Vcpu<C> {
    /// A context that has never run. All zero: `Init` and `Outside` are the first of their kinds.
    pub const OFF: Self = Self {
        model: Model::Init,
        caller: Caller::Outside,
        masked: false,
        changes_seen: 0,
        console: ConsoleLine::EMPTY,
        context: C::NEW,
    };
}

impl<C> Vcpu<C> {
    /// Returns why the context runs.
    #[inline(always)]
    pub const fn model(&self) -> Model {
        self.model
    }

    /// Returns who gets the PE when the context is done. While the context is yielded or stopped
    /// its caller goes on, and may run it again.
    #[inline(always)]
    pub const fn caller(&self) -> Caller {
        self.caller
    }
}

#[cfg(test)]
mod tests;
