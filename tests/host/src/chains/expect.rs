//! The expected results of a move: what each context and the Normal world find when they continue.

use spmc::partition::vcpu::{Message, Model};

use super::state::{Context, Is, On, Why};
use super::{Chains, Doing, FINISH, LINE, LSP, Move, SPMC, START, STOP};
use crate::ffa::*;
use crate::held::{Entered, Report};

impl Chains {
    /// Checks that what a context finds when it continues fits what it did.
    pub(super) fn enters(&mut self, index: usize, entered: &Entered) {
        let own = u64::from(self.ids[index].0);
        let word = self.id_word(index);
        let ids = &self.ids;
        let guest = &mut self.guests[index];
        if guest.number != entered.guest {
            // The guest has initialised and begun to wait.
            guest.number = entered.guest;
            guest.doing = Doing::Waits;
            guest.sent.fill(0);
            guest.serves = None;
        }
        let regs = Regs(entered.gprs[..18].try_into().expect("18"));
        let doing = std::mem::replace(&mut guest.doing, Doing::Free);
        let before = std::mem::replace(&mut guest.gprs, entered.gprs);
        guest.shown = Some(entered.shown);
        let by = regs.function();
        match doing {
            Doing::Free => panic!("{index} was not in the middle of anything"),
            Doing::Calls => {}
            Doing::Stands => assert_eq!(before, entered.gprs, "an interrupt changed registers"),
            Doing::Yields => assert_eq!(by, SUCCESS_32, "{index}"),
            Doing::Waits => match by {
                DIRECT_REQ_64 | DIRECT_REQ2 => {
                    assert_eq!(regs.0[1] & 0xffff, own);
                    let from = (regs.0[1] >> 16) as u16;
                    guest.serves = Some((from, regs.0[4]));
                    let Model::Request(model) = entered.shown.0 else {
                        panic!("{index} serves what the engine knows nothing of");
                    };
                    let kind = model.kind == Message::DirectReq2;
                    assert_eq!((model.requester.0, kind), (from, by == DIRECT_REQ2));
                }
                DIRECT_REQ_32 => {
                    assert_eq!(regs.0[1..4], [u64::from(SPMC) << 16 | own, STOP, 1]);
                    guest.serves = Some((SPMC, STOP));
                }
                RUN => assert_eq!(regs.0[1], word),
                INTERRUPT => assert_eq!(regs.0[2], u64::from(LINE)),
                _ => panic!("{index} waits, and gets {regs:?}"),
            },
            Doing::Asks(to) | Doing::Runs(to) => {
                let callee = u64::from(self.ids[to].0);
                match by {
                    DIRECT_RESP_64 | DIRECT_RESP2 => {
                        assert_eq!(regs.0[1], callee << 16 | own, "{index}");
                        // The request was sent to any of the partition's contexts.
                        let mut sent = ids.iter().zip(&guest.sent);
                        let is_known =
                            sent.any(|(id, sent)| id.0 == ids[to].0 && *sent == regs.0[4]);
                        assert!(
                            is_known,
                            "{index} gets the answer to another request: {regs:?}"
                        );
                    }
                    ERROR => {}
                    // FFA_INTERRUPT names no context to a partition that handles a Secure
                    // interrupt.
                    INTERRUPT if matches!(entered.shown.0, Model::Resume { .. }) => {
                        assert_eq!(regs.0[1], 0);
                    }
                    INTERRUPT => assert_eq!(regs.0[1] >> 16, callee),
                    YIELD => assert_eq!(regs.0[1] >> 16, callee),
                    MSG_WAIT => {
                        assert!(matches!(doing, Doing::Runs(_)), "{index} has no answer");
                        assert_eq!(regs.0[1] >> 16, callee);
                    }
                    _ => panic!("{index} called {to}, and gets {regs:?}"),
                }
            }
        }
    }

    /// Checks what the Normal world finds when it gets a PE back.
    pub(super) fn returns(&mut self, pe: usize, regs: &Regs) {
        let by = regs.function();
        match self.called[pe].expect("it called") {
            Move::Ask(_, to) | Move::Run(_, to) => match by {
                DIRECT_RESP_64 | DIRECT_RESP2 => {
                    let from = (regs.0[1] >> 16) as u16;
                    assert_eq!(regs.0[1] & 0xffff, 0);
                    let of = self
                        .ids
                        .iter()
                        .zip(&self.sent)
                        .filter(|(id, _)| id.0 == from);
                    let mut of = of.map(|(_, sent)| *sent);
                    assert!(
                        of.any(|sent| sent == regs.0[4]),
                        "the answer to another request: {regs:?}"
                    );
                }
                INTERRUPT => assert_eq!(regs.0[1], self.id_word(to)),
                YIELD | ERROR => {}
                MSG_WAIT => {
                    let runs = matches!(self.called[pe], Some(Move::Run(..)));
                    assert!(runs, "a request is never answered: {regs:?}");
                }
                _ => panic!("{:?}: {regs:?}", self.called[pe]),
            },
            Move::Start(_) | Move::Finish(_) => self.ends_step(pe, regs),
            Move::Take(_) => assert_eq!(by, NORMAL_WORLD_RESUME),
            Move::TurnOff(_) => {
                assert_eq!(regs.0[..4], [DIRECT_RESP_32, 0x8000_ffff, 0x8000_0002, 0]);
                self.pes[pe] = On::Off;
            }
            Move::TurnOn(_) => assert_eq!(by, MSG_WAIT),
            other => panic!("the Normal world did not {other:?}"),
        }
    }

    /// Checks the answer of a step of a live activation.
    fn ends_step(&self, pe: usize, regs: &Regs) {
        let is_start = matches!(self.called[pe], Some(Move::Start(_)));
        let answer = if is_start { START + 1 } else { FINISH + 1 };
        let ids = u64::from(SPMC) << 16 | u64::from(LSP);
        assert_eq!(regs.0[..3], [DIRECT_RESP_32, ids, answer]);
        if regs.0[3] != 0 {
            return;
        }
        let (is, step) = (self.look(0).is, self.activation().0);
        let expected = if is_start {
            (Is::Halted, 2)
        } else {
            (Is::Waiting, 0)
        };
        assert_eq!((is, step), expected);
    }

    /// Checks how a step of a live activation begins: `before` is the first context, `step` that of
    /// the activation that was under way.
    pub(super) fn expect_of_step(&self, chosen: Move, before: &Context, step: u8, report: &Report) {
        let status = match report {
            Report::Returns(regs) => Some(regs.0[3] as u32 as i32),
            Report::Enters(_) | Report::Fails => None,
        };
        let wanted = match chosen {
            Move::Start(_) if step != 0 => Some(DENIED),
            Move::Start(_) if before.dead => Some(ABORTED),
            Move::Start(_) if before.is == Is::Waiting => None,
            Move::Start(_) => Some(RETRY),
            _ if before.dead => Some(ABORTED),
            _ if step == 2 => Some(0),
            _ => Some(DENIED),
        };
        assert_eq!(
            status, wanted,
            "{chosen:?} of {before:?} at {step}: {report:?}"
        );
    }

    /// Checks the result of a call of the Normal world against the state of the called context.
    pub(super) fn expect(&self, pe: usize, chosen: Move, before: &Context, report: &Report) {
        let (Move::Ask(_, to) | Move::Run(_, to)) = chosen else {
            return;
        };
        let error = match report {
            Report::Returns(regs) => regs.error(),
            Report::Enters(_) | Report::Fails => None,
        };
        let runs = matches!(chosen, Move::Run(..));
        let idle = matches!(
            before.is,
            Is::Off | Is::Waiting | Is::Running | Is::Aborted | Is::Halted
        );
        let wanted = match before.is {
            _ if before.dead && (idle || !runs) => Some(ABORTED),
            Is::Waiting => None,
            _ if !runs || matches!(before.is, Is::Off | Is::Running | Is::Halted) => Some(BUSY),
            _ => return,
        };
        assert_eq!(
            error, wanted,
            "{chosen:?} of {before:?} on {pe}: {report:?}"
        );
        if wanted.is_none() {
            let is_it = |e: &Entered| (e.id, e.vcpu) == self.ids[to];
            assert!(
                matches!(report, Report::Enters(e) if is_it(e)),
                "{report:?}"
            );
        }
    }

    /// Returns the context that must leave when a Non-secure interrupt stops `index`: the nearest
    /// one that serves a request and has a managed exit.
    pub(super) fn who_exits(&self, index: usize) -> Option<usize> {
        let (value, exits) = (self.value(), self.exits());
        let asked = |context: &Context| {
            matches!(context.work, Some((Why::Request(..), ..))) && !context.dead
        };
        let mut chain = value.chain_of(index).into_iter();
        chain.find(|member| exits.contains(member) && asked(&value.contexts[*member]))
    }

    /// Checks the result of a Non-secure interrupt for which `exits` must leave.
    pub(super) fn expect_of_interrupt(&self, exits: Option<usize>, report: &Report) {
        match (exits, report) {
            (None, Report::Returns(regs)) => assert_eq!(regs.function(), INTERRUPT),
            (Some(exits), Report::Enters(entered)) => {
                assert_eq!((entered.id, entered.vcpu), self.ids[exits]);
                assert!(entered.masked, "{entered:?}");
            }
            _ => panic!("{exits:?} has to leave: {report:?}"),
        }
    }

    /// Returns whether `index` was stopped for `caller`, which runs and may continue it by any
    /// index of that partition.
    pub(super) fn is_stopped_for(&self, index: usize, caller: usize) -> bool {
        let (context, runs) = (self.look(index), self.look(caller));
        let may_run = match runs.work {
            Some((Why::Resume(stopped, _), ..)) => stopped == Some((index, true)),
            Some((why, ..)) => matches!(why, Why::Run | Why::Request(..)),
            None => false,
        };
        let is_stopped = matches!(context.is, Is::Stopped(_));
        may_run && is_stopped && !context.dead && context.caller() == Some(caller)
    }

    /// Checks the result of a partition's request.
    pub(super) fn expect_of_partition(
        &self,
        to: usize,
        before: &Context,
        refused: Option<i32>,
        report: &Report,
    ) {
        let wanted: &[Option<i32>] = match before.is {
            _ if before.dead => &[Some(ABORTED)],
            Is::Waiting => &[None],
            // A context that was given cycles in the caller's own chain cannot receive a request.
            _ if matches!(before.work, Some((Why::Run, ..))) => &[Some(BUSY), Some(DENIED)],
            _ => &[Some(BUSY)],
        };
        assert!(
            wanted.contains(&refused),
            "a request to {to}, {before:?}: {report:?}"
        );
    }
}
