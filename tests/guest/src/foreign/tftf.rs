//! A Normal world in the style of TF-A's tests.
//!
//! TF-A's tests expect of `FFA_FEATURES` what their tables say, and answers of 64 bits even to
//! requests of 32. They make memory calls in the 32-bit form.

use crate::ffa::error::{DENIED, INVALID_PARAMETERS, NOT_SUPPORTED};
use crate::ffa::memory_calls::reclaim;
use crate::ffa::memory_descriptor::{NORMAL_WB, Receiver, Transaction, access};
use crate::ffa::{self, NWD, V1_2, call, id, route};
use crate::nwd::gic::{self, State};
use crate::nwd::{self, Nwd, Test, page, pe, peek, poke};
use crate::rt::call::Regs;
use crate::rt::check::{Check, equal};
use crate::test;

use super::{CACTUS, TRUSTY, cactus, outcome, request, send, trusty};

/// Milliseconds until the interrupt comes.
const TIMER_MS: u64 = 2;
/// Milliseconds for which the partition works that is interrupted.
const WORK_MS: u64 = 50;

/// The tests of this file, in their order.
pub const TESTS: &[Test] = &[
    test!(
        tftf_negotiates,
        "TF-A's tests negotiate, and map their buffers"
    ),
    test!(tftf_features, "TF-A's tests find their table of features"),
    test!(
        tftf_asks,
        "TF-A's tests ask a partition that answers in 64 bits"
    ),
    test!(
        tftf_sends_memory,
        "TF-A's tests share, lend and donate in the 32-bit form"
    ),
    test!(
        tftf_interrupts_managed_exit,
        "TF-A's tests interrupt a partition that makes a managed exit, and let it go on"
    ),
    test!(
        tftf_interrupts_signaled,
        "TF-A's tests interrupt a partition, and FFA_RUN lets it go on"
    ),
    test!(
        tftf_secure_interrupt,
        "TF-A's tests see a partition handle its interrupt while another one serves"
    ),
    test!(
        tftf_is_denied,
        "TF-A's tests may not send memory of partitions"
    ),
];

fn tftf_negotiates(_: &Nwd) -> Check {
    for version in [0x8000_0000_u64 | u64::from(V1_2), 0x0000_0009] {
        equal(call(id::VERSION, &[version])[0], ffa::NOT_SUPPORTED)?;
    }
    equal(call(id::VERSION, &[V1_2.into()])[0], V1_2)?;
    let map = [nwd::TX.address(), nwd::RX.address(), 1];
    ffa::done(&call(id::RXTX_MAP_64, &map))?;
    // w1 may name a VM, but not a partition.
    let other = call(id::RXTX_UNMAP, &[u64::from(CACTUS) << 16]);
    ffa::refused(&other, INVALID_PARAMETERS)?;
    ffa::done(&call(id::RXTX_UNMAP, &[]))?;
    ffa::done(&call(id::RXTX_MAP_64, &map))
}

fn tftf_features(_: &Nwd) -> Check {
    for function in [
        id::ERROR,
        id::SUCCESS,
        id::INTERRUPT,
        id::VERSION,
        id::FEATURES,
        id::RX_RELEASE,
        id::RXTX_MAP_64,
        id::RXTX_UNMAP,
        id::PARTITION_INFO_GET,
        id::ID_GET,
        id::SPM_ID_GET,
        id::MSG_WAIT,
        id::RUN,
        id::DIRECT_REQ_32,
        id::DIRECT_RESP_32,
        id::DIRECT_REQ_64,
        id::DIRECT_RESP_64,
        id::MEM_DONATE_32,
        id::MEM_LEND_32,
        id::MEM_SHARE_32,
        id::MEM_RETRIEVE_RESP,
        id::MEM_RELINQUISH,
        id::MEM_RECLAIM,
        id::NOTIFICATION_BIND,
        id::NOTIFICATION_UNBIND,
        id::NOTIFICATION_SET,
        id::NOTIFICATION_GET,
        id::NOTIFICATION_INFO_GET_64,
        id::PARTITION_INFO_GET_REGS,
        id::DIRECT_REQ2,
        id::DIRECT_RESP2,
    ] {
        let answer = call(id::FEATURES, &[function.into()]);
        if answer[0] != u64::from(id::SUCCESS) {
            // The error names the function.
            equal(function, 0u32)?;
        }
    }
    // The most and the least that a buffer can have: one page, and 4 KiB.
    equal(call(id::FEATURES, &[id::RXTX_MAP_64.into()])[2], 1u64 << 16)?;
    for unknown in [id::RXTX_MAP_32, 0x8400_00fe, 1, 3, 0xffff] {
        let answer = call(id::FEATURES, &[unknown.into()]);
        ffa::refused(&answer, NOT_SUPPORTED)?;
    }
    Ok(())
}

fn tftf_asks(nwd: &Nwd) -> Check {
    // Each PE has a context of the partition.
    for pe in 0..nwd.pes {
        pe::run_on(pe, echo, [0; 4])?;
    }
    Ok(())
}

fn echo(_: [u64; 4]) -> Check<[u64; 4]> {
    for function in [id::DIRECT_REQ_32, id::DIRECT_REQ_64] {
        for word in [0, 0x1234_5678] {
            let answer = request(function, NWD, CACTUS, &[cactus::ECHO, word]);
            equal(outcome(&answer, id::DIRECT_RESP_64, CACTUS, NWD)?, word)?;
        }
    }
    Ok([0; 4])
}

/// Returns a transaction of pages that go to the partition.
fn transaction<'a>(
    function: u32,
    receivers: &'a [Receiver],
    ranges: &'a [(u64, u32)],
) -> Transaction<'a> {
    // A single receiver of lent or donated memory specifies the attributes itself.
    let attributes = if function == id::MEM_SHARE_32 {
        NORMAL_WB
    } else {
        0
    };
    Transaction {
        sender: NWD,
        attributes,
        flags: 0,
        handle: 0,
        tag: 0,
        receivers,
        ranges,
    }
}

fn to_cactus(function: u32) -> [Receiver; 1] {
    let access = if function == id::MEM_DONATE_32 {
        access::NOT_SPECIFIED
    } else {
        access::RW
    };
    [Receiver {
        id: CACTUS,
        access,
        flags: 0,
    }]
}

fn tftf_sends_memory(_: &Nwd) -> Check {
    let pages = page(8);
    for function in [id::MEM_SHARE_32, id::MEM_LEND_32, id::MEM_DONATE_32] {
        poke(pages, 40);
        let (receivers, ranges) = (to_cactus(function), [(pages, 2)]);
        let transaction = transaction(function, &receivers, &ranges);
        let handle = nwd::caller().sent(function, &transaction)?;
        let words = [cactus::MEMORY, handle, function.into()];
        let answer = request(id::DIRECT_REQ_64, NWD, CACTUS, &words);
        equal(outcome(&answer, id::DIRECT_RESP_64, CACTUS, NWD)?, 40u64)?;
        if function != id::MEM_DONATE_32 {
            ffa::done(&reclaim(handle, 0))?;
            equal(peek(pages), 41u64)?;
        }
    }
    Ok(())
}

fn tftf_interrupts_managed_exit(_: &Nwd) -> Check {
    gic::start_timer(0, TIMER_MS);
    let sleep = direct(CACTUS, &[cactus::SLEEP, WORK_MS]);
    equal(
        outcome(&sleep, id::DIRECT_RESP_64, CACTUS, NWD)?,
        cactus::EXITED,
    )?;
    equal(gic::state_of(0, gic::TIMER), State::Pending)?;
    gic::acknowledge(0)?;
    let resumed = direct(CACTUS, &[cactus::RESUME]);
    equal(outcome(&resumed, id::DIRECT_RESP_64, CACTUS, NWD)?, WORK_MS)
}

fn tftf_interrupts_signaled(_: &Nwd) -> Check {
    gic::start_timer(0, TIMER_MS);
    let stopped = direct(TRUSTY, &[trusty::WORK, WORK_MS]);
    equal(stopped[0], id::INTERRUPT)?;
    equal(stopped[1], u64::from(TRUSTY) << 16)?;
    gic::acknowledge(0)?;
    let resumed = send(&[id::RUN.into(), stopped[1]]);
    equal(outcome(&resumed, id::DIRECT_RESP_64, TRUSTY, NWD)?, WORK_MS)
}

fn tftf_secure_interrupt(_: &Nwd) -> Check {
    let ask = |word| outcome(&direct(CACTUS, &[word]), id::DIRECT_RESP_64, CACTUS, NWD);
    ask(cactus::ARM)?;
    let works = direct(TRUSTY, &[trusty::WORK, TIMER_MS]);
    equal(outcome(&works, id::DIRECT_RESP_64, TRUSTY, NWD)?, TIMER_MS)?;
    equal(ask(cactus::HANDLED)?, 1u64)
}

/// Makes a direct request, and returns its completion, whatever that is.
fn direct(partition: u16, words: &[u64]) -> Regs {
    let mut registers = [0; 8];
    [registers[0], registers[1]] = [id::DIRECT_REQ_64.into(), route(NWD, partition)];
    registers[3..][..words.len()].copy_from_slice(words);
    send(&registers)
}

fn tftf_is_denied(_: &Nwd) -> Check {
    for function in [id::MEM_SHARE_32, id::MEM_LEND_32, id::MEM_DONATE_32] {
        // Memory of a partition, and memory of the SPMC.
        for address in [0x0e40_0000, 0x0e10_0000] {
            let (receivers, ranges) = (to_cactus(function), [(address, 1)]);
            let transaction = transaction(function, &receivers, &ranges);
            ffa::refused(&nwd::caller().send(function, &transaction), DENIED)?;
        }
    }
    ffa::done(&call(id::RXTX_UNMAP, &[]))
}
