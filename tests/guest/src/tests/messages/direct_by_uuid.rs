//! Direct messages of the second kind (FF-A v1.2): `FFA_MSG_SEND_DIRECT_REQ2` and its response. A
//! partition answers with the complement of all words.

use crate::ffa::error::{DENIED, INVALID_PARAMETERS};
use crate::ffa::{self, NOBODY, NWD, SP1, SP2, SP3, id, route};
use crate::nwd::{Nwd, Test, ask, pe};
use crate::rt::call::{Regs, call};
use crate::rt::check::{Check, equal};
use crate::sp::{Command, Identity, Sp};
use crate::{command, helper, test};

/// The tests of this file.
pub const TESTS: &[Test] = &[
    test!(
        second_kind,
        "Requests of the second kind carry 14 words each way"
    ),
    test!(
        second_kind_on_each_pe,
        "Requests of the second kind arrive from each PE",
        pes = 2
    ),
    test!(
        second_kind_between_partitions,
        "Partitions exchange requests of the second kind"
    ),
    test!(
        second_kind_refused,
        "Requests of the second kind that nobody takes, or with a foreign UUID, are refused"
    ),
];

/// Code of the partitions.
pub const HELPERS: &[Command] = &[helper!(send_second_kind)];

/// UUIDs of the manifests, as two registers.
const UUID_1: [u64; 2] = [0xe14f_904a_1e67_b5b4, 0xcbda_e1da_13fb_1fb8];
const UUID_3: [u64; 2] = [0x8f4c_1e5b_d2c3_f7a6, 0x03f8_c561_2b7e_409d];

fn words(seed: u64) -> [u64; 14] {
    core::array::from_fn(|n| (seed << 32 | seed).rotate_left(5 * n as u32))
}

fn message(function: u32, route: u64, uuid: [u64; 2], words: [u64; 14]) -> Regs {
    let mut regs = ffa::regs(function, &[route, uuid[0], uuid[1]]);
    regs[4..].copy_from_slice(&words);
    regs
}

/// Answers a request of the second kind as a partition, and returns the next message of that
/// partition.
pub fn answer(identity: &Identity, request: &Regs) -> Regs {
    let mut words = [0; 14];
    for (to, from) in words.iter_mut().zip(&request[4..]) {
        *to = !from;
    }
    let back = route(identity.id, (request[1] >> 16) as u16);
    call(
        ffa::conduit(),
        message(id::DIRECT_RESP2, back, [0; 2], words),
    )
}

/// Sends a request from `me`, and checks the answer.
fn exchange(me: u16, partition: u16, uuid: [u64; 2], seed: u64) -> Check {
    let sent = words(seed);
    let request = message(id::DIRECT_REQ2, route(me, partition), uuid, sent);
    let answer = call(ffa::conduit(), request);
    if answer[0] == id::ERROR as u64 {
        equal(answer[2], 0u64)?;
    }
    let expected = message(
        id::DIRECT_RESP2,
        route(partition, me),
        [0; 2],
        sent.map(|word| !word),
    );
    for (got, want) in answer.into_iter().zip(expected) {
        equal(got, want)?;
    }
    Ok(())
}

// req: MSGD-01, MSGD-12, MSGD-14, MSGD-19, RUN-08, DIR2-01, DIR2-02, DIR2-03
fn second_kind(_: &Nwd) -> Check {
    for seed in 1..20 {
        exchange(NWD, SP1, UUID_1, seed)?;
        exchange(NWD, SP3, UUID_3, seed)?;
        exchange(NWD, SP1, [0; 2], seed)?;
    }
    Ok(())
}

// req: RUN-05, GEN-19
fn second_kind_on_each_pe(nwd: &Nwd) -> Check {
    for pe in 1..nwd.pes {
        let job = |[seed, ..]: [u64; 4]| exchange(NWD, SP1, UUID_1, seed).map(|()| [0; 4]);
        pe::run_on(pe, job, [pe as u64, 0, 0, 0])?;
    }
    Ok(())
}

// req: MSGD-20, RUN-10, DIR2-09, DIR2-16
fn second_kind_between_partitions(_: &Nwd) -> Check {
    for seed in 1..5 {
        for [partition, other] in [[SP1, SP3], [SP3, SP1]] {
            let arguments = [other as u64, seed, 0, 0];
            ask(partition, command!(send_second_kind), arguments)?;
        }
    }
    Ok(())
}

fn send_second_kind(sp: &Sp, [other, seed, ..]: [u64; 4]) -> Check<[u64; 4]> {
    let uuid = if other == SP1 as u64 { UUID_1 } else { UUID_3 };
    exchange(sp.identity.id, other as u16, uuid, seed)?;
    // sp2 speaks 1.1, and the Normal world takes no requests.
    for (receiver, code) in [(SP2, DENIED), (NWD, INVALID_PARAMETERS)] {
        let request = ffa::call(id::DIRECT_REQ2, &[route(sp.identity.id, receiver)]);
        ffa::refused(&request, code)?;
    }
    Ok([0; 4])
}

// req: MSGD-04, MSGD-06, DIR2-04, DIR2-05, DIR2-06
fn second_kind_refused(_: &Nwd) -> Check {
    let [low, high] = UUID_1;
    for (ids, uuid, code) in [
        (route(NWD, SP2), [0; 2], DENIED),
        (route(NWD, NOBODY), [0; 2], INVALID_PARAMETERS),
        (route(SP3, SP1), [0; 2], INVALID_PARAMETERS),
        (route(NWD, SP1), UUID_3, INVALID_PARAMETERS),
        (route(NWD, SP1), [high, low], INVALID_PARAMETERS),
        (route(NWD, SP1), [low, 0], INVALID_PARAMETERS),
    ] {
        let answer = ffa::call(id::DIRECT_REQ2, &[ids, uuid[0], uuid[1]]);
        ffa::refused(&answer, code)?;
    }
    exchange(NWD, SP1, UUID_1, 3)
}
