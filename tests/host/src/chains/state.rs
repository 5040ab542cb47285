//! The state that decides how scheduling goes on, as a value.

use spmc::id::PartitionId;
use spmc::partition::Link;
use spmc::partition::vcpu::{Caller, Message, Model, State};

use super::Chains;
use crate::gic::Gic;

/// An execution context, by its place in the list of all, and whether in the life that it lives
/// now. `None` is nobody.
pub type Named = Option<(usize, bool)>;

/// Run-time state of a context.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Is {
    /// Off.
    Off,
    /// Waits for a message.
    Waiting,
    /// Runs.
    Running,
    /// Waits for that one.
    Blocked(Named),
    /// Yielded; whether the time of its caller is over.
    Yielded(bool),
    /// Stopped for the interrupts of its caller; whether the time of that one is over.
    Stopped(bool),
    /// Preempted.
    Preempted,
    /// Failed.
    Aborted,
}

/// Why a context runs.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Why {
    /// Initialises.
    Init,
    /// Has cycles.
    Run,
    /// Serves a request of that endpoint; whether it is of the second kind.
    Request(u16, bool),
    /// Handles interrupts.
    Interrupt,
    /// Handles interrupts, and has to resume that one.
    Resume(Named, Option<(u16, bool)>),
}

/// Who gets the PE back.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Whose {
    /// The Normal world.
    Outside,
    /// That context.
    Context(Named),
    /// That context, in place of one that went off.
    Heir(Named),
}

impl Whose {
    /// The context, if it is one that lives.
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
    /// Its state.
    pub is: Is,
    /// Only while it means something.
    pub work: Option<(Why, Whose, bool)>,
    /// True if it waits for the answer to a request, and not for what `FFA_RUN` brings.
    pub asks: bool,
    /// Its partition failed.
    pub dead: bool,
    /// Its virtual interrupts: pending, enabled, as FIQ, active, woken for.
    pub lines: [u64; 5],
    /// True if its partition looks for interrupts of it.
    pub may_have_interrupts: bool,
}

/// A PE.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum On {
    /// It is off.
    Off,
    /// The Normal world has it.
    Normal,
    /// These contexts run there, the last one in place of those before it.
    Runs(Vec<usize>),
}

/// All of it.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Value {
    /// The contexts.
    pub contexts: Vec<Context>,
    /// The PEs.
    pub pes: Vec<On>,
    /// The interrupt controller.
    pub gic: Gic,
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
            |r: spmc::partition::vcpu::Request| (r.requester.0, r.kind == Message::Second);
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

    /// One of the contexts.
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
        };
        let shown = match (is, slot.try_claim()) {
            (Is::Running, None) => Some(self.guests[index].shown.expect("it was seen to run")),
            (Is::Running, Some(_)) => panic!("{index} runs, and nobody has its claim"),
            (_, None) => panic!("{index} is claimed and does not run: {state:?}"),
            (Is::Off | Is::Waiting | Is::Aborted, _) => None,
            (_, Some(vcpu)) => Some((vcpu.model(), vcpu.caller(), vcpu.masked)),
        };
        let work =
            shown.map(|(model, caller, masked)| (self.why(model), self.whose(caller), masked));
        let partition = self.partition(index);
        let (lines, _) = partition.lines(self.ids[index].1).expect("its lines");
        let [pending, enabled, fiq, active, woke] = lines.words();
        Context {
            is,
            work,
            asks: matches!(is, Is::Blocked(_)) && self.guests[index].asks(),
            dead: partition.is_dead(),
            // Who was woken for what is pending no more makes no difference.
            lines: [pending, enabled, fiq, active, woke & pending],
            may_have_interrupts: partition.interrupted().contains(self.ids[index].1),
        }
    }

    /// Everything.
    pub fn value(&self) -> Value {
        Value {
            contexts: (0..self.ids.len()).map(|index| self.look(index)).collect(),
            pes: self.pes.clone(),
            gic: self.system.machine.gic().without_time(),
        }
    }
}
