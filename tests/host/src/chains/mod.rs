//! Scheduling, as a system that is explored completely: three contexts, two PEs, every event.
//!
//! A move is one call of the Normal world, one exit of a running partition, or one event of the
//! hardware. Between two moves every PE is held, in the Normal world or in the middle of a
//! partition, so that partitions run on both PEs at once in every order. Interleavings within one
//! call of the engine are left to the tests of races.

mod check;
mod expect;
mod moves;
mod partitions;
mod setup;
mod state;

use std::collections::BTreeMap;
use std::sync::Arc;

use spmc::hal::{Conduit, Exit};
use spmc::partition::vcpu::{Message, Model};
use spmc::partition::{Partition, Slot};

use crate::ffa::*;
use crate::hal::FakeContext;
use crate::held::{Command, Held, Holder, Report, Shown};
use crate::system::System;
use crate::walk::Walker;
pub use moves::{Does, Move};
use partitions::{LIMIT_MS, Partitions, STAGED};
use setup::MANAGED_EXIT;
pub use setup::Setup;
use state::{Context, Is, On, Value};

/// The first partition, which owns [`LINE`].
const A: u16 = 0x8001;
const LINE: u32 = 40;
/// The bit of [`LINE`] in the words of lines.
const BIT: u64 = 1;
/// The virtual interrupt that requests a managed exit.
const MANAGED_EXIT_ID: u64 = 4;

const ENABLE: u64 = 0xff03;
const GET: u64 = 0xff04;
const DEACTIVATE: u64 = 0xff08;

/// The SPMC, and the logical partition as which EL3 asks for a live activation.
const SPMC: u16 = 0x8000;
const LSP: u16 = 0xffc0;
/// Kinds of framework messages: the stop message, the response to it, and those by which EL3 begins
/// and ends a live activation.
const STOP: u64 = 0x8000_000a;
const STOPPED: u64 = 0x8000_000b;
const START: u64 = 0x8000_000c;
const FINISH: u64 = 0x8000_000e;

/// The number of restarts of a partition within a short time. After that many a system is worn.
const RESTARTS: usize = 18;
/// The number of handlers after which an interrupted context continues for a moment. After that
/// many a system is worn, too.
const HANDLERS: usize = 8;

/// The work that a context is in the middle of, as the context sees it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Doing {
    /// The context runs.
    Free,
    /// The context waits for a message.
    Waits,
    /// A call that completes at once.
    Calls,
    /// The context has sent a request to that partition, or given it cycles.
    Asks(usize),
    Runs(usize),
    Yields,
    /// The context was interrupted.
    Stands,
}

/// The test's own record of a context.
#[derive(Clone, Debug)]
struct Guest {
    number: usize,
    doing: Doing,
    gprs: [u64; 31],
    shown: Option<Shown>,
    /// The request that the context serves: its sender and its number.
    serves: Option<(u16, u64)>,
    /// The number of the last request to each partition.
    sent: Vec<u64>,
}

impl Guest {
    fn asks(&self) -> bool {
        matches!(self.doing, Doing::Asks(_))
    }
}

/// A system with three contexts.
pub struct Chains {
    setup: Setup,
    system: Arc<System>,
    holders: Vec<Holder>,
    /// The number of pages of the new package.
    staged: u64,
    /// All contexts, by partition and index.
    ids: Vec<(u16, u16)>,
    guests: Vec<Guest>,
    pes: Vec<On>,
    /// The number of the last request of the Normal world to each context.
    sent: Vec<u64>,
    /// The last call of the Normal world on each PE.
    called: Vec<Option<Move>>,
    requests: u64,
    restarts: Vec<usize>,
    /// The number of interrupt handlers that began on each PE since the Normal world last had it.
    handlers: Vec<usize>,
}

/// Returns the function of requests to a context. The second context receives the second kind.
fn request(to: usize) -> u64 {
    if to == 1 { DIRECT_REQ2 } else { DIRECT_REQ_64 }
}

impl Chains {
    fn partition(&self, index: usize) -> &Partition<FakeContext> {
        &self.system.spmc.partitions[usize::from(self.ids[index].0 - A)]
    }

    fn slot(&self, index: usize) -> &Slot<FakeContext> {
        &self.partition(index).vcpus[usize::from(self.ids[index].1)]
    }

    fn id_word(&self, index: usize) -> u64 {
        let (id, vcpu) = self.ids[index];
        u64::from(id) << 16 | u64::from(vcpu)
    }

    /// Returns the context that a call to the partition of `index` reaches on that PE.
    fn on(&self, index: usize, pe: usize) -> usize {
        if self.ids[index].0 == A && self.setup.first > 1 {
            pe
        } else {
            index
        }
    }

    fn is_pinned(&self, index: usize) -> bool {
        self.ids[index].0 == A && self.setup.first > 1
    }

    fn owners(&self) -> Vec<usize> {
        let count = if self.setup.interrupt {
            self.setup.first as usize
        } else {
            0
        };
        (0..count).collect()
    }

    /// Returns the contexts with a managed exit.
    fn exits(&self) -> Vec<usize> {
        let action = |index: &usize| self.setup.actions[usize::from(self.ids[*index].0 - A)];
        let all = 0..self.ids.len();
        all.filter(|index| action(index) == MANAGED_EXIT).collect()
    }

    /// Notes that the PE is held at another place now.
    fn arrive(&mut self, pe: usize, report: Report) {
        let stack = match std::mem::replace(&mut self.pes[pe], On::Normal) {
            On::Runs(stack) => stack,
            On::Off | On::Normal => Vec::new(),
        };
        let mut stack: Vec<usize> = stack
            .into_iter()
            .filter(|index| self.slot(*index).state() == spmc::partition::vcpu::State::Running)
            .collect();
        match report {
            Report::Enters(entered) => {
                let of = (entered.id, entered.vcpu);
                let index = self.ids.iter().position(|id| *id == of).expect("a context");
                if stack.last() != Some(&index) {
                    assert!(!stack.contains(&index), "it runs inside of itself");
                    stack.push(index);
                }
                self.pes[pe] = On::Runs(stack);
                let guest = &self.guests[index];
                let begins = guest.doing == Doing::Waits || guest.number != entered.guest;
                if begins && matches!(entered.shown.0, Model::Interrupt) {
                    self.handlers[pe] += 1;
                }
                self.enters(index, &entered);
            }
            Report::Returns(regs) => {
                assert!(stack.is_empty(), "{stack:?} run in the Normal world");
                self.handlers[pe] = 0;
                self.returns(pe, &regs);
            }
            Report::Fails => unreachable!("it was told before"),
        }
        for (index, id) in self.ids.iter().enumerate() {
            if id.1 == 0 {
                let turns = self.system.spmc.partitions[usize::from(id.0 - A)].turns();
                self.restarts[index] = usize::from(turns) / 2;
            }
        }
        self.system.machine.journal().clear();
    }

    /// Makes the Normal world do that move on a PE.
    fn command(&mut self, pe: usize, chosen: Move) {
        self.called[pe] = Some(chosen);
        let command = match chosen {
            Move::Ask(_, to) => {
                self.requests += 1;
                let to_id = u64::from(self.ids[to].0);
                Command::Call(Regs::new([request(to), to_id, 0, 0, self.requests]))
            }
            Move::Run(_, to) => Command::Call(Regs::new([RUN, self.id_word(to)])),
            Move::Take(_) => Command::Call(Regs::new([INTERRUPT])),
            Move::Start(_) | Move::Finish(_) => {
                let is_start = matches!(chosen, Move::Start(_));
                let ids = u64::from(LSP) << 16 | u64::from(SPMC);
                let (message, base, pages) = if is_start {
                    (START, STAGED, self.staged)
                } else {
                    (FINISH, 0, 0)
                };
                Command::Call(Regs::new([
                    DIRECT_REQ_64,
                    ids,
                    message,
                    A.into(),
                    base,
                    pages,
                ]))
            }
            Move::TurnOff(_) => {
                let psci_off = 0x8400_0002;
                Command::Call(Regs::new([
                    DIRECT_REQ_32,
                    0xffff_8000,
                    0x8000_0000,
                    psci_off,
                ]))
            }
            _ => Command::TurnOn,
        };
        let before: Option<Context> = match chosen {
            Move::Ask(_, to) | Move::Run(_, to) => Some(self.look(to)),
            Move::Start(_) | Move::Finish(_) => Some(self.look(0)),
            _ => None,
        };
        let step = self.activation().0;
        let report = self.holders[pe].command(command);
        if let (Move::Ask(_, to), Report::Enters(_)) = (chosen, &report) {
            self.sent[to] = self.requests;
        }
        if let Some(before) = before {
            self.expect(pe, chosen, &before, &report);
            if let Move::Start(_) | Move::Finish(_) = chosen {
                self.expect_of_step(chosen, &before, step, &report);
            }
        }
        self.arrive(pe, report);
    }

    /// Makes the context that runs on a PE do that.
    fn act(&mut self, pe: usize, does: Does) {
        let index = self.running(pe).expect("somebody runs");
        let own = u64::from(self.ids[index].0) << 16;
        let call = |regs: &[u64]| {
            let mut all = [0; 18];
            all[..regs.len()].copy_from_slice(regs);
            all
        };
        let error = [ERROR, 0, (-6_i32) as u32 as u64];
        let before = match does {
            // A partition that has failed meanwhile calls nobody.
            Does::Asks(to) if !self.partition(index).is_dead() => Some(self.look(self.on(to, pe))),
            _ => None,
        };
        // The context that the caller runs, if it is the one that the call names, and whether it
        // was stopped for the caller.
        let runs = match does {
            Does::Runs(to) => {
                let here = self.on(to, pe);
                Some((here, here == to, self.is_stopped_for(here, index)))
            }
            _ => None,
        };
        let line = if self.look(index).lines[3] & BIT == 0 {
            MANAGED_EXIT_ID
        } else {
            LINE.into()
        };
        let guest = &mut self.guests[index];
        let (doing, regs) = match does {
            Does::Asks(to) => {
                self.requests += 1;
                let to_id = u64::from(self.ids[to].0);
                (
                    Doing::Asks(to),
                    call(&[request(to), own | to_id, 0, 0, self.requests]),
                )
            }
            Does::Answers if guest.serves == Some((SPMC, STOP)) => {
                let ids = own | u64::from(SPMC);
                (Doing::Waits, call(&[DIRECT_RESP_64, ids, STOPPED]))
            }
            Does::Answers | Does::AnswersWrongly => {
                let (to, number) = guest.serves.unwrap_or((0, 0));
                let kind = match guest.shown {
                    Some((Model::Request(request), ..)) if request.kind == Message::DirectReq2 => {
                        DIRECT_RESP2
                    }
                    _ => DIRECT_RESP_64,
                };
                let kind = match (does, kind) {
                    (Does::Answers, _) => kind,
                    (_, DIRECT_RESP_64) => DIRECT_RESP2,
                    _ => DIRECT_RESP_64,
                };
                let doing = if does == Does::Answers {
                    Doing::Waits
                } else {
                    Doing::Calls
                };
                (doing, call(&[kind, own | u64::from(to), 0, 0, number]))
            }
            Does::Waits => (Doing::Waits, call(&[MSG_WAIT])),
            Does::Yields => (Doing::Yields, call(&[YIELD])),
            Does::Runs(to) => {
                let (id, vcpu) = self.ids[to];
                (
                    Doing::Runs(runs.map_or(to, |(here, ..)| here)),
                    call(&[RUN, u64::from(id) << 16 | u64::from(vcpu)]),
                )
            }
            Does::Refuses => (Doing::Waits, call(&error)),
            Does::Aborts => (Doing::Calls, call(&[ABORT_64])),
            Does::Fetches => (Doing::Calls, call(&[GET])),
            Does::Ends => (Doing::Calls, call(&[DEACTIVATE, line, line])),
            Does::Crashes => (Doing::Calls, call(&[])),
            Does::IsPreempted | Does::IsInterrupted => (Doing::Stands, call(&guest.gprs[..18])),
        };
        guest.doing = doing;
        let mut gprs = guest.gprs;
        gprs[..18].copy_from_slice(&regs);
        let number = guest.number;
        let exit = match does {
            Does::Crashes => Exit::Trap { syndrome: 0, pc: 0 },
            Does::IsPreempted => Exit::NonSecureInterrupt,
            Does::IsInterrupted => Exit::SecureInterrupt,
            _ => Exit::Call(Conduit::Smc),
        };
        let exits = match does {
            // A partition that has failed meanwhile ends, whatever stopped it.
            Does::IsPreempted if !self.partition(index).is_dead() => Some(self.who_exits(index)),
            _ => None,
        };
        let report = self.holders[pe].exit(exit, gprs);
        if let Some(exits) = exits {
            self.expect_of_interrupt(exits, &report);
        }
        if let (Does::Asks(_), Report::Enters(e)) = (does, &report)
            && e.guest != number
        {
            let callee = self.ids.iter().position(|id| *id == (e.id, e.vcpu));
            self.guests[index].sent[callee.expect("a context")] = self.requests;
        }
        let refused = match &report {
            Report::Enters(e) if e.guest == number => {
                Regs(e.gprs[..18].try_into().expect("18")).error()
            }
            _ => None,
        };
        if let (Some(before), Does::Asks(to)) = (before, does) {
            self.expect_of_partition(to, &before, refused, &report);
        }
        if let Some((here, is_named, is_stopped)) = runs
            && !self.partition(index).is_dead()
        {
            assert!(
                !is_stopped || refused.is_none(),
                "{index} cannot go on with {here}: {report:?}"
            );
            assert!(
                is_stopped || is_named || refused.is_some(),
                "{index} does not name {here}, and runs it"
            );
        }
        // A refused call completes at once.
        if refused.is_some() && !matches!(does, Does::IsPreempted | Does::IsInterrupted) {
            self.guests[index].doing = Doing::Calls;
        }
        self.arrive(pe, report);
    }

    fn running(&self, pe: usize) -> Option<usize> {
        match &self.pes[pe] {
            On::Runs(stack) => stack.last().copied(),
            On::Off | On::Normal => None,
        }
    }

    fn does(&self, pe: usize, index: usize) -> Vec<Does> {
        use Does::*;
        let mut all = vec![AnswersWrongly, Waits, Yields, Refuses];
        let (model, _, masked) = self.guests[index].shown.expect("it runs");
        if matches!(model, Model::Request(_)) {
            all.push(Answers);
        }
        let own = self.ids[index].0;
        for other in 0..self.ids.len() {
            let (id, vcpu) = self.ids[other];
            if id == own {
                continue;
            }
            if self.setup.is_line && id != own + 1 {
                continue;
            }
            // Requests are sent to partitions, not to contexts.
            if vcpu == 0 {
                all.push(Asks(other));
            }
            all.push(Runs(other));
        }
        if !masked {
            all.push(IsPreempted);
        }
        if self.system.machine.gic().has_interrupt(pe) {
            all.push(IsInterrupted);
        }
        if self.setup.fails {
            all.extend([Aborts, Crashes]);
        }
        let [pending, enabled, _, active, _] = self.look(index).lines;
        if pending & enabled != 0 {
            all.push(Fetches);
        }
        if active != 0 {
            all.push(Ends);
        }
        all
    }
}

impl Walker for Chains {
    type Setup = Setup;
    type Move = Move;
    type State = Value;

    fn boot(setup: &Setup) -> Self {
        let mut first = BTreeMap::new();
        if setup.interrupt {
            first.insert(A, vec![vec![ENABLE, LINE.into(), 1, 0]]);
        }
        let (held, holders) = Held::new(setup.pes, first);
        let Partitions {
            system,
            ids,
            staged,
        } = Partitions::boot(setup, &held);
        for pe in 1..setup.pes {
            system.turn_on(pe);
        }
        let mut holders = holders;
        for (pe, holder) in holders.iter_mut().enumerate() {
            holder.begin(&system, pe);
        }
        let count = ids.len();
        let guest = Guest {
            number: usize::MAX,
            doing: Doing::Waits,
            gprs: [0; 31],
            shown: None,
            serves: None,
            sent: vec![0; count],
        };
        Self {
            setup: setup.clone(),
            system,
            staged,
            holders,
            ids,
            guests: vec![guest; count],
            pes: vec![On::Normal; setup.pes],
            sent: vec![0; count],
            called: vec![None; setup.pes],
            requests: 0,
            restarts: vec![0; count],
            handlers: vec![0; setup.pes],
        }
    }

    fn moves(&self) -> Vec<Move> {
        let mut moves = Vec::new();
        for pe in 0..self.pes.len() {
            match &self.pes[pe] {
                On::Off => moves.push(Move::TurnOn(pe)),
                On::Normal => {
                    for to in 0..self.ids.len() {
                        if self.is_pinned(to) && to != pe {
                            continue;
                        }
                        if !self.setup.is_line || self.ids[to].0 == A {
                            moves.push(Move::Ask(pe, to));
                        }
                        moves.push(Move::Run(pe, to));
                    }
                    if self.system.machine.gic().has_interrupt(pe) {
                        moves.push(Move::Take(pe));
                    }
                    let others = self.pes.iter().filter(|on| **on != On::Off).count();
                    if self.setup.off && others > 1 {
                        moves.push(Move::TurnOff(pe));
                    }
                    if self.setup.live {
                        moves.extend([Move::Start(pe), Move::Finish(pe)]);
                    }
                }
                On::Runs(stack) => {
                    let index = *stack.last().expect("it runs");
                    let does = self.does(pe, index).into_iter();
                    moves.extend(does.map(|does| Move::Here(pe, does)));
                }
            }
        }
        // The interrupt is raised again only after its owner has deactivated it.
        let gic = self.system.machine.gic();
        if self.setup.interrupt && !gic.is_pending(LINE) && !gic.is_active(LINE) {
            moves.push(Move::Strike);
        }
        drop(gic);
        let is_held =
            |index: usize| matches!(self.look(index).is, Is::Yielded(false) | Is::Stopped(false));
        if (0..self.ids.len()).any(is_held) || self.activation() == (2, false) {
            moves.push(Move::Pass);
        }
        moves
    }

    fn make(&mut self, chosen: Move) {
        match chosen {
            Move::Ask(pe, _) | Move::Run(pe, _) | Move::Take(pe) => self.command(pe, chosen),
            Move::Start(pe) | Move::Finish(pe) => self.command(pe, chosen),
            Move::TurnOff(pe) | Move::TurnOn(pe) => self.command(pe, chosen),
            Move::Here(pe, does) => self.act(pe, does),
            Move::Strike => self.system.machine.gic().pulse(LINE),
            Move::Pass => {
                // In microseconds.
                let time = match self.activation() {
                    (2, false) => u64::from(LIMIT_MS) * 1000,
                    _ => 2_000_000,
                };
                self.system.machine.gic().pass(time);
            }
        }
    }

    fn state(&self) -> Value {
        self.value()
    }

    fn check(&self) {
        self.value().check(&self.owners(), &self.exits(), LINE, BIT);
    }

    fn is_worn(&self) -> bool {
        let is_tired = self.restarts.iter().any(|count| *count >= RESTARTS);
        is_tired || self.handlers.iter().any(|count| *count >= HANDLERS)
    }

    fn end(mut self) {
        for pe in 0..self.pes.len() {
            while self.running(pe).is_some() {
                self.act(pe, Does::Crashes);
            }
        }
    }

    fn helps(chosen: Move) -> bool {
        match chosen {
            Move::Run(..) | Move::Take(_) | Move::Finish(_) | Move::Pass => true,
            Move::Here(_, does) => matches!(
                does,
                Does::Answers
                    | Does::Waits
                    | Does::Runs(_)
                    | Does::Fetches
                    | Does::Ends
                    | Does::IsInterrupted
            ),
            Move::Ask(..) | Move::Start(_) | Move::TurnOff(_) | Move::TurnOn(_) | Move::Strike => {
                false
            }
        }
    }

    fn is_at_rest(state: &Value) -> bool {
        state.is_at_rest()
    }
}
