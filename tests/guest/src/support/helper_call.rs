//! The protocol by which guests call each other's helpers: a direct request carries the number of a
//! helper in x3 and its arguments in x4 to x7; the response carries the outcome in x3 and the
//! results in x4 to x7.

use core::panic::Location;

use crate::ffa::{self, NWD, id, route};
use crate::rt::call::{Regs, call};
use crate::rt::check::{Check, Failure, equal};
use crate::support::interrupt_handler::on_interrupt;

/// x3 of a response: the helper succeeded.
pub const OK: u64 = 0;
/// x3 of a response: a check failed; x4 is its line, x5 the value that it found, x6 the value that
/// it wanted.
pub const FAILED: u64 = 1;
/// x3 of a response: there is no such helper.
pub const UNKNOWN: u64 = 2;

/// Returns the registers of a request with the function id `function` (32 or 64 bits).
pub fn request(function: u32, route: u64, command: u32, arguments: [u64; 4]) -> Regs {
    let [a, b, c, d] = arguments;
    ffa::regs(function, &[route, 0, command as u64, a, b, c, d])
}

/// Lets `partition` run a helper on behalf of `me`, by a 64-bit request, and returns its results.
#[track_caller]
pub fn ask_from(me: u16, partition: u16, command: u32, arguments: [u64; 4]) -> Check<[u64; 4]> {
    let request = request(id::DIRECT_REQ_64, route(me, partition), command, arguments);
    let got = call(ffa::conduit(), request);
    answer(
        me,
        partition,
        &if me == NWD {
            got
        } else {
            resumed(partition, got)
        },
    )
}

/// Returns the final answer of `partition`, which is resumed each time that it was stopped for an
/// interrupt of this partition, after this partition has handled the interrupt.
pub fn resumed(partition: u16, mut answer: Regs) -> Regs {
    while answer[0] == u64::from(id::INTERRUPT) {
        on_interrupt();
        answer = ffa::call(id::RUN, &[u64::from(partition) << 16]);
    }
    answer
}

/// Takes the results out of the completion of a 64-bit request.
#[track_caller]
pub fn answer(me: u16, partition: u16, answer: &Regs) -> Check<[u64; 4]> {
    if answer[0] == id::ERROR as u64 {
        equal(answer[2], 0u64)?;
    }
    equal(answer[0], id::DIRECT_RESP_64)?;
    equal(answer[1], route(partition, me))?;
    equal(answer[2], 0u64)?;
    if answer[3] == FAILED {
        let [line, got, want] = [answer[4], answer[5], answer[6]];
        return Err(Failure::Partition {
            at: Location::caller(),
            id: partition,
            line,
            got,
            want,
        });
    }
    equal(answer[3], OK)?;
    Ok([answer[4], answer[5], answer[6], answer[7]])
}
