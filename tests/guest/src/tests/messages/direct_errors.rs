//! Direct messages that are refused, and calls that do not exist (FF-A v1.0 sections 10.2 and 10.3,
//! chapter 6).

use crate::ffa::error::{ABORTED, BUSY, DENIED, INVALID_PARAMETERS, NOT_SUPPORTED};
use crate::ffa::{self, NOBODY, NWD, SP1, SP2, SP3, SPMC, id, route};
use crate::nwd::{Nwd, Test, ask};
use crate::rt::call::{Conduit, call};
use crate::rt::check::{Check, equal, holds};
use crate::sp::{Command, Sp};
use crate::{command, helper, test};

/// The tests of this file.
pub const TESTS: &[Test] = &[
    test!(
        request_errors,
        "Requests with wrong ids or reserved bits are refused"
    ),
    test!(
        failed_partition,
        "A partition that failed, or never was, is not reached"
    ),
    test!(unknown_calls, "Calls that do not exist are NOT_SUPPORTED"),
    test!(
        request_errors_of_partitions,
        "A partition's wrong requests are refused, and any to the Normal world"
    ),
    test!(cyclic_request, "sp1 asks sp2, which cannot ask sp1 back"),
    test!(
        response_errors,
        "A response to the wrong one, of the wrong kind or at the wrong time is refused"
    ),
    test!(
        unknown_calls_of_partitions,
        "A partition's unknown calls are answered, not obeyed"
    ),
];

/// Code of the partitions.
pub const HELPERS: &[Command] = &[
    helper!(bad_requests),
    helper!(ask_back),
    helper!(expect_busy),
    helper!(bad_responses),
    helper!(unknown_here),
    helper!(nothing),
];

const VM: u16 = 0x0001;

fn nothing(_: &Sp, _: [u64; 4]) -> Check<[u64; 4]> {
    Ok([0; 4])
}

fn request(function: u32, source: u16, destination: u16, w2: u64) -> ffa::Answer {
    ffa::call(
        function,
        &[route(source, destination), w2, command!(nothing) as u64],
    )
}

// req: MSGD-04, MSGD-05, GEN-28, GEN-30, STAT-01, STAT-02
fn request_errors(_: &Nwd) -> Check {
    for function in [id::DIRECT_REQ_32, id::DIRECT_REQ_64] {
        for (source, destination) in [
            (NWD, NOBODY),
            (NWD, VM),
            (NWD, NWD),
            (NWD, SPMC),
            (SP1, SP2),
            (SP1, SP1),
            (SPMC, SP1),
        ] {
            ffa::refused(
                &request(function, source, destination, 0),
                INVALID_PARAMETERS,
            )?;
        }
        for w2 in [1, 0x80, 1 << 30] {
            ffa::refused(&request(function, NWD, SP1, w2), INVALID_PARAMETERS)?;
        }
        // None of the refused requests reached a partition.
        equal(request(function, NWD, SP1, 0)[3], 0u64)?;
        equal(request(function, NWD, SP2, 0)[3], 0u64)?;
    }
    Ok(())
}

// req: BOOT-11, MSGD-08, MSGW-16, PINFO-12, MEMO-12
fn failed_partition(_: &Nwd) -> Check {
    let refused = |answer: ffa::Answer| {
        equal(answer[0], id::ERROR)?;
        let code = answer[2] as u32 as i32;
        holds(code == ABORTED || code == INVALID_PARAMETERS, answer[2])
    };
    for function in [id::DIRECT_REQ_32, id::DIRECT_REQ_64] {
        refused(request(function, NWD, SP3, 0))?;
    }
    refused(ffa::call(id::RUN, &[(SP3 as u64) << 16]))
}

// req: GEN-12, COMP-01, COMP-06, COMP-12, COMP-13, COMP-17, MSGD-10, MSGW-25, RUN-04, RUN-14
fn unknown_calls(_: &Nwd) -> Check {
    for function in [
        id::MSG_POLL,
        id::MSG_SEND,
        id::MEM_OP_PAUSE,
        id::MEM_OP_RESUME,
        id::MSG_WAIT,
        id::INTERRUPT,
        id::SECONDARY_EP_REGISTER,
    ] {
        ffa::refused(&ffa::call(function, &[]), NOT_SUPPORTED)?;
    }
    // The SPMD answers DENIED.
    equal(ffa::call(id::NORMAL_WORLD_RESUME, &[])[0], id::ERROR)
}

// req: MSGD-04, MSGD-05, MSGD-20, MSGD-21, RUN-10, RUN-17, GEN-28
fn request_errors_of_partitions(_: &Nwd) -> Check {
    for (partition, other) in [(SP1, SP2), (SP2, SP1)] {
        ask(partition, command!(bad_requests), [other as u64, 0, 0, 0])?;
    }
    Ok(())
}

fn bad_requests(sp: &Sp, [other, ..]: [u64; 4]) -> Check<[u64; 4]> {
    let (me, other) = (sp.identity.id, other as u16);
    for function in [id::DIRECT_REQ_32, id::DIRECT_REQ_64] {
        for (source, destination) in [
            (me, me),
            (me, NOBODY),
            (me, NWD),
            (me, VM),
            (me, SPMC),
            (other, me),
            (NWD, other),
            (NOBODY, other),
        ] {
            ffa::refused(
                &request(function, source, destination, 0),
                INVALID_PARAMETERS,
            )?;
        }
        for w2 in [1, 1 << 30] {
            ffa::refused(&request(function, me, other, w2), INVALID_PARAMETERS)?;
        }
    }
    Ok([0; 4])
}

// req: MSGD-07, MSGD-23, RUN-17
fn cyclic_request(_: &Nwd) -> Check {
    for (first, second) in [(SP1, SP2), (SP2, SP1)] {
        ask(first, command!(ask_back), [second as u64, 0, 0, 0])?;
    }
    Ok(())
}

fn ask_back(sp: &Sp, [other, ..]: [u64; 4]) -> Check<[u64; 4]> {
    sp.ask(
        other as u16,
        command!(expect_busy),
        [sp.identity.id as u64, 0, 0, 0],
    )
}

/// Fails unless the partition in x4, which works for somebody already, is busy.
fn expect_busy(sp: &Sp, [other, ..]: [u64; 4]) -> Check<[u64; 4]> {
    for function in [id::DIRECT_REQ_32, id::DIRECT_REQ_64] {
        ffa::refused(&request(function, sp.identity.id, other as u16, 0), BUSY)?;
    }
    Ok([0; 4])
}

// req: MSGD-15, MSGD-16, MSGD-17, MSGD-19, MSGW-06, RUN-17, RUN-18, GEN-30
fn response_errors(_: &Nwd) -> Check {
    for (partition, other) in [(SP1, SP2), (SP2, SP1)] {
        ask(partition, command!(bad_responses), [other as u64, 0, 0, 0])?;
        // The same responses, in a request of a partition.
        ask(other, command!(bad_responses), [partition as u64, 1, 0, 0])?;
    }
    Ok(())
}

/// Tries wrong responses while it processes a 64-bit request. With x5 = 1 it asks the other
/// partition to do so, so that the requester is a partition.
fn bad_responses(sp: &Sp, [other, pass_on, ..]: [u64; 4]) -> Check<[u64; 4]> {
    let (me, other) = (sp.identity.id, other as u16);
    if pass_on == 1 {
        return sp.ask(other, command!(bad_responses), [NOBODY as u64, 0, 0, 0]);
    }
    let requester = (sp.request[1] >> 16) as u16;
    let respond =
        |function, source, destination, w2| ffa::call(function, &[route(source, destination), w2]);
    for (source, destination) in [(requester, requester), (NOBODY, requester), (me, NOBODY)] {
        let answer = respond(id::DIRECT_RESP_64, source, destination, 0);
        ffa::refused(&answer, INVALID_PARAMETERS)?;
    }
    ffa::refused(
        &respond(id::DIRECT_RESP_64, me, requester, 1),
        INVALID_PARAMETERS,
    )?;
    // An endpoint that is neither the requester nor this partition.
    let somebody = [NWD, SP1, SP2]
        .into_iter()
        .find(|id| *id != requester && *id != me);
    if let Some(somebody) = somebody {
        ffa::refused(&respond(id::DIRECT_RESP_64, me, somebody, 0), DENIED)?;
    }
    ffa::refused(&ffa::call(id::MSG_WAIT, &[]), DENIED)?;
    Ok([0; 4])
}

// req: GEN-07, GEN-11, GEN-12, COMP-01, COMP-06, COMP-12, COMP-13, COMP-17, COMP-22, MSGW-25
// req: RUN-04
fn unknown_calls_of_partitions(_: &Nwd) -> Check {
    for partition in [SP1, SP2] {
        ask(partition, command!(unknown_here), [0; 4])?;
    }
    Ok(())
}

fn unknown_here(_: &Sp, _: [u64; 4]) -> Check<[u64; 4]> {
    for conduit in [Conduit::Smc, Conduit::Hvc] {
        for function in [
            id::UNDEFINED,
            id::MSG_POLL,
            id::MSG_SEND,
            id::NORMAL_WORLD_RESUME,
            id::INTERRUPT,
            id::RX_ACQUIRE,
            id::MEM_OP_PAUSE,
        ] {
            ffa::refused(&call(conduit, ffa::regs(function, &[])), NOT_SUPPORTED)?;
        }
        // Calls of PSCI, of a vendor, and of the Arm Architecture Service, none of which a
        // partition has.
        for function in [
            0x8400_0000,
            0x8400_0008,
            0xc400_0003,
            0x8600_0000,
            0x8000_0000,
        ] {
            let answer = call(conduit, ffa::regs(function, &[]));
            equal(answer[0] & 0xffff_ffff, ffa::NOT_SUPPORTED)?;
        }
    }
    Ok([0; 4])
}
