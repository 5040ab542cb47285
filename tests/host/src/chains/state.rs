//! The state that determines how scheduling continues, as a value.

use spmc::id::PartitionId;
use spmc::partition::Link;
use spmc::partition::vcpu::{Caller, Message, Model, State};

use super::Chains;
use crate::gic::Gic;

/// An execution context, by its place in the list of all contexts, and whether its present life is
/// meant. `None` means no context.
pub type Named = Option<(usize, bool)>;

/// The run-time state of a context.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Is {
    /// The context is off.
    Off,
    /// The context waits for a message.
    Waiting,
    /// The context runs.
    Running,
    /// The context waits for that one.
    Blocked(Named),
    /// The context has yielded; true if the time of its caller is over.
    Yielded(bool),
    /// The context was stopped for interrupts of its caller; true if the time of the caller is
    /// over.
    Stopped(bool),
    /// The context was preempted.
    Preempted,
    /// The context has failed.
    Aborted,
    /// The context has stopped for another image.
    Halted,
}

/// The reason why a context runs.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Why {
    /// The context initialises.
    Init,
    /// The context was given cycles.
    Run,
    /// The context serves a request of that endpoint; true if the request is of the second kind.
    Request(u16, bool),
    /// The context handles interrupts.
    Interrupt,
    /// The context handles interrupts and must then resume that one.
    Resume(Named, Option<(u16, bool)>),
}

/// The party that gets the PE back.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Whose {
    /// The Normal world.
    Outside,
    /// That context.
    Context(Named),
    /// That context, which replaces one whose PE was turned off.
    Heir(Named),
}

impl Whose {
    /// Returns the context, if its present life is meant.
    pub fn living(self) -> Option<usize> {
        match self {
            Self::Context(Some((index, true))) | Self::Heir(Some((index, true))) => Some(index),
            _ => None,
        }
    }
}

/// A context.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Context {
    /// The run-time state.
    pub is: Is,
    /// The work, while the state gives it a meaning.
    pub work: Option<(Why, Whose, bool)>,
    /// Set if the context waits for the answer to a request, and not for the result of `FFA_RUN`.
    pub asks: bool,
    /// Set if the partition has failed.
    pub dead: bool,
    /// The words of virtual interrupts: pending, enabled, as FIQ, active, woken for.
    pub lines: [u64; 5],
    /// Set if the partition looks for interrupts of this context.
    pub may_have_interrupts: bool,
}

/// A PE.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum On {
    /// The PE is off.
    Off,
    /// The Normal world has the PE.
    Normal,
    /// These contexts run on the PE: each handles interrupts in place of the one before it.
    Runs(Vec<usize>),
}

/// The whole state.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Value {
    /// The contexts.
    pub contexts: Vec<Context>,
    /// The PEs.
    pub pes: Vec<On>,
    /// The interrupt controller.
    pub gic: Gic,
    /// The step of the live activation, and whether the time of a loaded image is over.
    pub activation: (u8, bool),
}

impl Chains {
    fn named(&self, link: Link) -> Named {
        if link == Link::NONE {
            return None;
        }
        let (partition, vcpu) = link.indices();
        let of = (PartitionId::of_place(partition).0, vcpu as u16);
        let index = self.ids.iter().position(|id| *id == of);
        let index = index.expect("one of the contexts");
        Some((index, self.slot(index).link() == link))
    }

    fn why(&self, model: Model) -> Why {
        let request =
            |r: spmc::partition::vcpu::Request| (r.requester.0, r.kind == Message::DirectReq2);
        match model {
            Model::Init => Why::Init,
            Model::Run => Why::Run,
            Model::Request(r) => Why::Request(request(r).0, request(r).1),
            Model::Interrupt => Why::Interrupt,
            Model::Resume {
                stopped,
                request: asked,
            } => Why::Resume(self.named(stopped), asked.map(request)),
        }
    }

    fn whose(&self, caller: Caller) -> Whose {
        match caller {
            Caller::Outside => Whose::Outside,
            Caller::Vcpu(link) => Whose::Context(self.named(link)),
            Caller::Heir(link) => Whose::Heir(self.named(link)),
        }
    }

    /// Returns the state of one context.
    pub fn look(&self, index: usize) -> Context {
        let slot = self.slot(index);
        let state = slot.state();
        let now = self.system.machine.gic().now();
        let is = match state {
            State::Off => Is::Off,
            State::Waiting => Is::Waiting,
            State::Running => Is::Running,
            State::Blocked(link) => Is::Blocked(self.named(link)),
            State::Yielded(until) => Is::Yielded(until <= now),
            State::Stopped(until) => Is::Stopped(until <= now),
            State::Preempted => Is::Preempted,
            State::Aborted => Is::Aborted,
            State::Halted => Is::Halted,
        };
        let shown = match (is, slot.try_claim()) {
            (Is::Running, None) => Some(self.guests[index].shown.expect("it was seen to run")),
            (Is::Running, Some(_)) => panic!("{index} runs, and nobody has its claim"),
            (_, None) => panic!("{index} is claimed and does not run: {state:?}"),
            (Is::Off | Is::Waiting | Is::Aborted | Is::Halted, _) => None,
            (_, Some(vcpu)) => Some((vcpu.model(), vcpu.caller(), vcpu.masked)),
        };
        let work =
            shown.map(|(model, caller, masked)| (self.why(model), self.whose(caller), masked));
        let partition = self.partition(index);
        let (lines, _) = partition.lines(self.ids[index].1).expect("its lines");
        let [pending, enabled, fiq, active, woke] = lines.words();
        assert!(
            lines.calls() == 0 || partition.is_found(self.ids[index].1),
            "{index} has interrupts, and nobody finds it"
        );
        Context {
            is,
            work,
            asks: matches!(is, Is::Blocked(_)) && self.guests[index].asks(),
            dead: partition.is_dead(),
            // A context that was woken for a line that is no longer pending behaves like any other.
            lines: [pending, enabled, fiq, active, woke & pending],
            may_have_interrupts: partition.may_be_interrupted(self.ids[index].1),
        }
    }

    /// Returns the step of the live activation, and whether the time of a loaded image is over.
    pub fn activation(&self) -> (u8, bool) {
        let now = self.system.machine.gic().now();
        self.system.spmc.activation().shown(now)
    }

    /// Returns the whole state.
    pub fn value(&self) -> Value {
        Value {
            activation: self.activation(),
            contexts: (0..self.ids.len()).map(|index| self.look(index)).collect(),
            pes: self.pes.clone(),
            gic: self.system.machine.gic().without_time(),
        }
    }
}
