//! Normal-world drivers for trusted execution environments: requests of Linux' drivers for OP-TEE
//! and for Trusty.
//!
//! Both drivers share memory by the FF-A driver, in the 64-bit form and with as many ranges as the
//! buffer of an application has, and make direct requests of 32 bits (OP-TEE) or 64 bits (Trusty).

use super::{OPTEE, TRUSTY, optee, outcome, request, send, trusty};
use crate::ffa::memory_calls::{Caller, reclaim, words};
use crate::ffa::memory_descriptor::{NORMAL_WB, Scatter, Transaction, access};
use crate::ffa::{self, NOT_SUPPORTED, NWD, V1_1, V1_2, call, id, route};
use crate::nwd::{self, Nwd, Test, page, pe, peek, poke};
use crate::rt::check::{Check, equal};
use crate::support::sharing::receiver;
use crate::test;

/// The tests of this file, in their order.
pub const TESTS: &[Test] = &[
    test!(
        optee_shares,
        "OP-TEE keeps memory of an application until it is told to let go"
    ),
    test!(
        optee_protects,
        "OP-TEE is lent memory that is to be protected"
    ),
    test!(
        optee_notifies,
        "OP-TEE notifies Linux, the interrupt delayed"
    ),
    test!(
        optee_is_run,
        "OP-TEE has nothing to do when it is run, and says so by FFA_ERROR"
    ),
    test!(
        trusty_refuses,
        "Trusty answers messages that it does not know by FFA_ERROR"
    ),
    test!(
        trusty_shares,
        "Trusty is shared and lent memory, of which it says nothing"
    ),
];

/// Asks OP-TEE and returns w4 of its answer.
#[track_caller]
fn ask(function: u64, first: u64, second: u64) -> Check<u64> {
    let answer = request(id::DIRECT_REQ_32, NWD, OPTEE, &[function, first, second]);
    outcome(&answer, id::DIRECT_RESP_32, OPTEE, NWD)
}

/// Shares or lends `ranges` pages, whose first words are their numbers.
fn sent(function: u32, to: u16, tag: u64, ranges: u32, attributes: u16) -> Check<(u64, Scatter)> {
    let list = Scatter::every_second(page(64), ranges);
    for n in 0..ranges {
        poke(list.constituent(n), n.into());
    }
    let transaction = Transaction {
        sender: NWD,
        attributes,
        flags: 0,
        handle: 0,
        tag,
        receivers: &[receiver(to, access::RW)],
        ranges: &[],
    };
    let driver = Caller {
        version: V1_1,
        ..nwd::caller()
    };
    let handle = driver.sent_scattered(function, &transaction, &list)?;
    Ok((handle, list))
}

/// Checks that the first word of each range of `list` was incremented `times` times.
fn raised(list: &Scatter, times: u32) -> Check {
    for n in 0..list.count {
        equal(peek(list.constituent(n)) as u32, n + times)?;
    }
    Ok(())
}

const fn sum(ranges: u32) -> u32 {
    ranges * (ranges - 1) / 2
}

fn optee_shares(nwd: &Nwd) -> Check {
    let map = [nwd::TX.address(), nwd::RX.address(), 1];
    equal(call(id::VERSION, &[V1_2.into()])[0], V1_2)?;
    ffa::succeeded(&call(id::RXTX_MAP_64, &map))?;
    for pe in 0..nwd.pes {
        let job = |_: [u64; 4]| Ok([ask(optee::VERSION, 0, 0)?, 0, 0, 0]);
        equal(pe::run_on(pe, job, [0; 4])?[0], optee::REVISION)?;
    }
    for ranges in [1, 300] {
        let (handle, list) = sent(id::MEM_SHARE_64, OPTEE, 0, ranges, NORMAL_WB)?;
        let [low, high] = words(handle);
        equal(ask(optee::USE, low, high)?, sum(ranges))?;
        raised(&list, 1)?;
        // The driver does not reclaim before OP-TEE lets go.
        ask(optee::UNREGISTER, low, high)?;
        ffa::done(&reclaim(handle, 0))?;
    }
    Ok(())
}

fn optee_protects(_: &Nwd) -> Check {
    let (handle, list) = sent(id::MEM_LEND_64, OPTEE, 0, 3, 0)?;
    let [low, high] = words(handle);
    equal(ask(optee::PROTECT, low, high)?, sum(3))?;
    ask(optee::UNREGISTER, low, high)?;
    ffa::done(&reclaim(handle, 0))?;
    raised(&list, 1)
}

fn optee_notifies(nwd: &Nwd) -> Check {
    let create = [NWD.into(), nwd.pes as u64];
    ffa::succeeded(&call(id::NOTIFICATION_BITMAP_CREATE, &create))?;
    let bind = [route(OPTEE, NWD), 0, 1, 0];
    ffa::succeeded(&call(id::NOTIFICATION_BIND, &bind))?;
    ask(optee::NOTIFY, 0, 0)?;
    let got = call(id::NOTIFICATION_GET, &[NWD.into(), 1]);
    ffa::results(&got, [1, 0, 0, 0, 0, 0])?;
    ffa::succeeded(&call(id::NOTIFICATION_UNBIND, &bind))?;
    ffa::succeeded(&call(id::NOTIFICATION_BITMAP_DESTROY, &[NWD.into()]))
}

/// Runs OP-TEE, which answers by `FFA_ERROR`. That error is no response: the caller learns that the
/// context waits, and OP-TEE gets no error in turn, at which it would stop.
fn optee_is_run(_: &Nwd) -> Check {
    for _ in 0..2 {
        let w1 = u64::from(OPTEE) << 16;
        let answer = send(&[id::RUN.into(), w1]);
        equal(answer[0], id::MSG_WAIT)?;
        equal(answer[1], w1)?;
        equal(ask(optee::VERSION, 0, 0)?, optee::REVISION)?;
    }
    Ok(())
}

fn trusty_refuses(_: &Nwd) -> Check {
    for request_id in [id::DIRECT_REQ_32, id::DIRECT_REQ_64] {
        let answer = request(request_id, NWD, TRUSTY, &[trusty::UNKNOWN]);
        equal(answer[0], id::ERROR)?;
        equal(answer[2], NOT_SUPPORTED)?;
    }
    let answer = request(id::DIRECT_REQ_64, NWD, TRUSTY, &[trusty::API]);
    equal(outcome(&answer, id::DIRECT_RESP_64, TRUSTY, NWD)?, 5u64)
}

fn trusty_shares(_: &Nwd) -> Check {
    for (request_id, response) in [
        (id::DIRECT_REQ_32, id::DIRECT_RESP_32),
        (id::DIRECT_REQ_64, id::DIRECT_RESP_64),
    ] {
        let answer = request(request_id, NWD, TRUSTY, &[trusty::API]);
        equal(outcome(&answer, response, TRUSTY, NWD)?, 5u64)?;
    }
    for (function, tag, ranges) in [
        (id::MEM_SHARE_64, 0, 1),
        (id::MEM_SHARE_64, 0x7b, 270),
        (id::MEM_LEND_64, 0x7c, 9),
    ] {
        let attributes = if function == id::MEM_LEND_64 {
            0
        } else {
            NORMAL_WB
        };
        let (handle, list) = sent(function, TRUSTY, tag, ranges, attributes)?;
        let words = [trusty::MEMORY, handle, tag];
        let answer = request(id::DIRECT_REQ_64, NWD, TRUSTY, &words);
        equal(
            outcome(&answer, id::DIRECT_RESP_64, TRUSTY, NWD)?,
            sum(ranges),
        )?;
        ffa::done(&reclaim(handle, 0))?;
        raised(&list, 1)?;
    }
    ffa::succeeded(&call(id::RXTX_UNMAP, &[]))
}
