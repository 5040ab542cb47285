//! `FFA_YIELD`, and `FFA_RUN` by partitions on those that yielded to them (FF-A v1.1 section 8.2,
//! v1.2).

use crate::ffa::error::{BUSY, DENIED, INVALID_PARAMETERS};
use crate::ffa::{self, NWD, SP1, SP2, SP3, id, route};
use crate::nwd::{Nwd, Test, ask, pe};
use crate::rt::call::{Regs, call};
use crate::rt::check::{Check, equal};
use crate::sp::{Command, Sp};
use crate::support::helper_call::{self, request};
use crate::{command, helper, test};

/// The tests of this file.
pub const TESTS: &[Test] = &[
    test!(
        yield_in_request,
        "A partition yields in the middle of a request and goes on with FFA_RUN"
    ),
    test!(
        yield_moves,
        "A partition that yielded goes on on another PE",
        pes = 2
    ),
    test!(
        yield_to_partition,
        "A partition yields to the one that asked it, which runs it again"
    ),
    test!(
        yield_refused,
        "FFA_YIELD is refused in a request at 1.1, and with reserved bits"
    ),
];

/// Code of the partitions.
pub const HELPERS: &[Command] = &[
    helper!(yield_once),
    helper!(run_until_done),
    helper!(cannot_yield),
];

const TIME: [u64; 2] = [0x1234_5678, 0x9];

/// Yields, then answers with the complement.
fn yield_once(_: &Sp, [seed, ..]: [u64; 4]) -> Check<[u64; 4]> {
    let go_on = ffa::call(id::YIELD, &[0, TIME[0], TIME[1]]);
    equal(go_on[0], id::SUCCESS)?;
    for register in &go_on[1..8] {
        equal(*register, 0u64)?;
    }
    Ok([!seed, 0, 0, 0])
}

fn ask_to_yield(me: u16, partition: u16, seed: u64) -> Regs {
    let arguments = [seed, 0, 0, 0];
    let ids = route(me, partition);
    let request = request(id::DIRECT_REQ_64, ids, command!(yield_once), arguments);
    call(ffa::conduit(), request)
}

#[track_caller]
fn yielded(answer: &Regs, partition: u16) -> Check {
    equal(answer[0], id::YIELD)?;
    equal(answer[1], (partition as u64) << 16)?;
    equal(answer[2], TIME[0])?;
    equal(answer[3], TIME[1])?;
    equal(answer[4] | answer[5] | answer[6] | answer[7], 0u64)
}

#[track_caller]
fn done(me: u16, partition: u16, answer: &Regs, seed: u64) -> Check {
    let [complement, ..] = helper_call::answer(me, partition, answer)?;
    equal(complement, !seed)
}

// req: MSGW-09, MSGW-10, MSGW-18, MSGW-20, RUN-18, MODEL-06, MODEL-13, MODEL-16, MODEL-18
fn yield_in_request(_: &Nwd) -> Check {
    for partition in [SP1, SP3] {
        let answer = ask_to_yield(NWD, partition, 5);
        yielded(&answer, partition)?;
        let again = request(
            id::DIRECT_REQ_64,
            route(NWD, partition),
            command!(yield_once),
            [0; 4],
        );
        ffa::refused(&call(ffa::conduit(), again), BUSY)?;
        done(NWD, partition, &ffa::call(id::RUN, &[answer[1]]), 5)?;
    }
    Ok(())
}

// req: GEN-19, RUN-23, MODEL-17
fn yield_moves(_: &Nwd) -> Check {
    yielded(&ask_to_yield(NWD, SP1, 6), SP1)?;
    let job = |_| {
        let answer = ffa::call(id::RUN, &[(SP1 as u64) << 16]);
        done(NWD, SP1, &answer, 6).map(|()| [0; 4])
    };
    pe::run_on(1, job, [0; 4]).map(drop)
}

// req: MSGW-11, MSGW-12, MSGW-15, MODEL-09, MODEL-14
fn yield_to_partition(_: &Nwd) -> Check {
    for [partition, other] in [[SP1, SP3], [SP3, SP1], [SP2, SP1]] {
        let arguments = [other as u64, 7, 0, 0];
        ask(partition, command!(run_until_done), arguments)?;
    }
    Ok(())
}

fn run_until_done(sp: &Sp, [other, seed, ..]: [u64; 4]) -> Check<[u64; 4]> {
    let (me, other) = (sp.identity.id, other as u16);
    let target = (other as u64) << 16;
    // The context has not yielded yet.
    ffa::refused(&ffa::call(id::RUN, &[target]), DENIED)?;
    yielded(&ask_to_yield(me, other, seed), other)?;
    done(me, other, &ffa::call(id::RUN, &[target]), seed)?;
    Ok([0; 4])
}

// req: MSGW-09, MODEL-05, MODEL-15
fn yield_refused(_: &Nwd) -> Check {
    ask(SP2, command!(cannot_yield), [DENIED as u64, 0, 0, 0])?;
    let reserved = [INVALID_PARAMETERS as u64, 1, 0, 0];
    for partition in [SP1, SP2] {
        ask(partition, command!(cannot_yield), reserved)?;
    }
    Ok(())
}

fn cannot_yield(_: &Sp, [code, w4, ..]: [u64; 4]) -> Check<[u64; 4]> {
    ffa::refused(&ffa::call(id::YIELD, &[0, 0, 0, w4]), code as i32)?;
    Ok([0; 4])
}
