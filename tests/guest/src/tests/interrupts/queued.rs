//! Non-secure interrupts that a manifest wants queued (FF-A v1.1 section 8.3): sp1 has them queued,
//! sp2 signaled. Only for the layout `queued`.
//!
//! Another PE makes the interrupt pending while a partition spins, and only then lets the partition
//! go on.

use crate::ffa::{self, NWD, SP1, SP2, id, route};
use crate::nwd::{Nwd, Test, gic, pe, peek, poke};
use crate::rt::call::{Regs, call};
use crate::rt::check::{Check, equal, holds};
use crate::rt::{PATIENCE_MS, wait_until};
use crate::support::helper_call::{self, request};
use crate::support::spinning::{GO, PASS_ON, SPIN, SPINNING, run, vcpu, with_flag};
use crate::test;

/// The tests of this file.
pub const TESTS: &[Test] = &[
    test!(
        queued_is_not_stopped,
        "A Non-secure interrupt waits until sp1 is done",
        pes = 2
    ),
    test!(
        queued_protects_its_callee,
        "A Non-secure interrupt waits while sp2 works for sp1",
        pes = 2
    ),
    test!(
        queued_callee_delays,
        "A Non-secure interrupt waits while sp1 works for sp2, and then stops sp2",
        pes = 2
    ),
];

const SEED: u64 = 21;

/// Makes the interrupt pending while a partition spins, then lets the partition go on. Runs on
/// another PE.
fn fire([flag, ..]: [u64; 4]) -> Check<[u64; 4]> {
    let spins = wait_until(PATIENCE_MS, || peek(flag) == SPINNING);
    gic::fire(0);
    poke(flag, GO);
    holds(spins, flag)?;
    Ok([0; 4])
}

/// Sends a request to `partition` during which the interrupt fires, and returns the answer and
/// whether the interrupt is pending then.
fn interrupted(
    partition: u16,
    command: u32,
    arguments: [u64; 4],
    flag: u64,
) -> Check<(Regs, bool)> {
    let message = request(id::DIRECT_REQ_64, route(NWD, partition), command, arguments);
    gic::enable(0);
    pe::start(1, fire, [flag, 0, 0, 0])?;
    let answer = call(ffa::conduit(), message);
    let pending = gic::is_pending();
    pe::finish(1)?;
    gic::acknowledge(0)?;
    Ok((answer, pending))
}

#[track_caller]
fn is_done(partition: u16, answer: &Regs) -> Check {
    let [result, ..] = helper_call::answer(NWD, partition, answer)?;
    equal(result, !SEED)
}

// req: INT-10, GEN-26, SINT-11
fn queued_is_not_stopped(_: &Nwd) -> Check {
    with_flag(SP1, |flag| {
        let (answer, pending) = interrupted(SP1, SPIN, [flag, SEED, 0, 0], flag)?;
        is_done(SP1, &answer)?;
        holds(pending, 0u64)
    })
}

// req: INT-10, GEN-26, SINT-11, SINT-14
fn queued_protects_its_callee(_: &Nwd) -> Check {
    with_flag(SP2, |flag| {
        let arguments = [SP2 as u64, flag, SEED, 0];
        let (answer, pending) = interrupted(SP1, PASS_ON, arguments, flag)?;
        is_done(SP1, &answer)?;
        holds(pending, 0u64)
    })
}

// req: INT-02, INT-10
fn queued_callee_delays(_: &Nwd) -> Check {
    with_flag(SP1, |flag| {
        let arguments = [SP1 as u64, flag, SEED, 0];
        let (stopped, pending) = interrupted(SP2, PASS_ON, arguments, flag)?;
        equal(stopped[0], id::INTERRUPT)?;
        equal(stopped[1], vcpu(SP2, 0))?;
        holds(pending, 0u64)?;
        // sp1 is done with the request, and takes requests again.
        let free = request(id::DIRECT_REQ_64, route(NWD, SP1), 0, [0; 4]);
        equal(call(ffa::conduit(), free)[0], id::DIRECT_RESP_64)?;
        is_done(SP2, &run(SP2, 0))
    })
}
