//! Direct messages that arrive (FF-A v1.0 chapter 10): payload, widths, PEs. Those that are refused
//! are in [`super::direct_errors`].

use core::sync::atomic::{AtomicU64, Ordering};

use crate::ffa::{self, NWD, SP1, SP2, id, route};
use crate::nwd::{Nwd, Test, ask, pe};
use crate::rt::call::{Conduit, call};
use crate::rt::check::{Check, equal, holds};
use crate::rt::{PATIENCE_MS, wait_until};
use crate::sp::{CONTEXT_ENTRY, Command, Sp};
use crate::support::complement::COMPLEMENT;
use crate::support::helper_call::{self, request};
use crate::{command, helper, test};

/// The tests of this file.
pub const TESTS: &[Test] = &[
    test!(
        direct_64_bit,
        "Both partitions answer 64-bit requests; the payload comes through unchanged"
    ),
    test!(
        direct_32_bit,
        "Both partitions answer 32-bit requests; upper halves are not passed on"
    ),
    test!(
        direct_hides_other_registers,
        "x8 to x17 carry nothing from one side to the other, and stay the caller's"
    ),
    test!(
        direct_for_a_vm,
        "A Hypervisor asks on behalf of a VM; the answer goes to the VM"
    ),
    test!(
        direct_by_smc_and_hvc,
        "A partition gets the same answers by SMC and by HVC"
    ),
    test!(direct_between_partitions, "sp1 asks sp2 and sp2 asks sp1"),
    test!(direct_many, "A thousand requests to each partition"),
    test!(
        direct_error_as_answer,
        "FFA_ERROR from a partition reaches whoever asked it"
    ),
];

/// Tests in which each PE takes part.
pub const ON_EACH_PE: &[Test] = &[
    test!(
        direct_from_each_pe,
        "sp2 answers on each PE with the execution context of that PE",
        pes = 2
    ),
    test!(
        direct_migrates,
        "sp1 answers on each PE and keeps its state",
        pes = 2
    ),
    test!(
        direct_at_the_same_time,
        "Two execution contexts of sp2 run at the same time",
        pes = 2
    ),
    test!(
        direct_busy_elsewhere,
        "sp1 is busy while it works for another PE",
        pes = 2
    ),
];

/// Code of the partitions.
pub const HELPERS: &[Command] = &[
    helper!(look_at_request),
    helper!(both_conduits),
    helper!(forward),
    helper!(answer_error),
    helper!(context),
    helper!(count),
    helper!(meet),
    helper!(hold),
    helper!(hold_control),
];

const PATTERN: [u64; 4] = [
    0x0123_4567_89ab_cdef,
    0xfedc_ba98_7654_3210,
    u64::MAX,
    0x8000_0000_0000_0001,
];

// req: GEN-09, GEN-10, COMP-08, COMP-09, MSGD-01, MSGD-11, MSGD-12, MSGD-14, MSGD-18, MSGD-19
// req: MSGD-22, RUN-05, RUN-06, RUN-08, RUN-10
fn direct_64_bit(_: &Nwd) -> Check {
    for partition in [SP1, SP2] {
        let answer = ask(partition, COMPLEMENT, PATTERN)?;
        for (got, sent) in answer.iter().zip(PATTERN) {
            equal(*got, !sent)?;
        }
    }
    Ok(())
}

// req: GEN-29, MSGD-01, MSGD-12, MSGD-14, MSGD-19
fn direct_32_bit(_: &Nwd) -> Check {
    for partition in [SP1, SP2] {
        let mut request = request(
            id::DIRECT_REQ_32,
            route(NWD, partition),
            COMPLEMENT,
            PATTERN,
        );
        for register in &mut request[1..4] {
            *register |= 0xdead_beef_0000_0000;
        }
        let answer = call(ffa::conduit(), request);
        equal(answer[0], id::DIRECT_RESP_32)?;
        equal(answer[1], route(partition, NWD))?;
        equal(answer[2], 0u64)?;
        equal(answer[3], helper_call::OK)?;
        for (got, sent) in answer[4..8].iter().zip(PATTERN) {
            // A partition that saw an upper half would answer its complement.
            equal(*got, !sent & 0xffff_ffff)?;
        }
    }
    Ok(())
}

// req: MSGD-25, GEN-29, BOOT-03
fn direct_hides_other_registers(_: &Nwd) -> Check {
    for partition in [SP1, SP2] {
        for function in [id::DIRECT_REQ_32, id::DIRECT_REQ_64] {
            let mut request = request(
                function,
                route(NWD, partition),
                command!(look_at_request),
                [0; 4],
            );
            const OWN: u64 = 0x5ec2_e75e_c2e7_5ec2;
            request[8..].fill(OWN);
            let answer = call(ffa::conduit(), request);
            for register in &answer[8..] {
                equal(*register, OWN)?;
            }
            // The OR of x8 to x17 as the partition saw them.
            equal(answer[4], 0u64)?;
            // x0 to x2 as the partition saw them.
            equal(answer[5], function)?;
            equal(answer[6], route(NWD, partition))?;
            equal(answer[7], 0u64)?;
        }
    }
    Ok(())
}

fn look_at_request(sp: &Sp, _: [u64; 4]) -> Check<[u64; 4]> {
    let rest = sp.request[8..]
        .iter()
        .fold(0, |all, register| all | register);
    Ok([rest, sp.request[0], sp.request[1], sp.request[2]])
}

// req: MSGD-04, MSGD-14, MSGD-22, RUN-02
fn direct_for_a_vm(_: &Nwd) -> Check {
    for vm in [1, 0x7fff] {
        let answer = helper_call::ask_from(vm, SP1, COMPLEMENT, PATTERN)?;
        equal(answer[0], !PATTERN[0])?;
    }
    Ok(())
}

// req: GEN-06, GEN-07, COMP-15, MSGD-02
fn direct_by_smc_and_hvc(_: &Nwd) -> Check {
    ask(SP1, command!(both_conduits), [SP2 as u64, 0, 0, 0])?;
    ask(SP2, command!(both_conduits), [SP1 as u64, 0, 0, 0])?;
    Ok(())
}

fn both_conduits(sp: &Sp, [other, ..]: [u64; 4]) -> Check<[u64; 4]> {
    let me = sp.identity.id;
    for conduit in [Conduit::Smc, Conduit::Hvc] {
        let own = call(conduit, ffa::regs(id::ID_GET, &[]));
        ffa::results(&own, [me as u64, 0, 0, 0, 0, 0])?;
        let request = request(
            id::DIRECT_REQ_64,
            route(me, other as u16),
            COMPLEMENT,
            PATTERN,
        );
        let answer = helper_call::answer(me, other as u16, &call(conduit, request))?;
        equal(answer[0], !PATTERN[0])?;
    }
    Ok([0; 4])
}

// req: GEN-01, MSGD-20, MSGD-12, MSGD-15, RUN-10
fn direct_between_partitions(_: &Nwd) -> Check {
    for (first, second) in [(SP1, SP2), (SP2, SP1)] {
        let answer = ask(first, command!(forward), [second as u64, 1, 2, 3])?;
        equal(answer[0], !1u64)?;
        equal(answer[1], !2u64)?;
        equal(answer[2], !3u64)?;
    }
    Ok(())
}

/// Passes three words on to another partition, by requests of 64 bits and of 32 bits.
fn forward(sp: &Sp, [other, a, b, c]: [u64; 4]) -> Check<[u64; 4]> {
    let (me, other) = (sp.identity.id, other as u16);
    let words = [a, b, c, 0];
    let short = request(id::DIRECT_REQ_32, route(me, other), COMPLEMENT, words);
    let answer = call(ffa::conduit(), short);
    equal(answer[0], id::DIRECT_RESP_32)?;
    equal(answer[4], !a & 0xffff_ffff)?;
    equal(
        answer[8..].iter().fold(0, |all, register| all | register),
        0u64,
    )?;
    sp.ask(other, COMPLEMENT, words)
}

// req: MSGD-12, MSGD-18, RUN-05
fn direct_many(_: &Nwd) -> Check {
    for n in 0..1000u64 {
        for partition in [SP1, SP2] {
            let answer = ask(partition, COMPLEMENT, [n, n << 32, !n, 0])?;
            equal(answer[0], !n)?;
            equal(answer[1], !(n << 32))?;
        }
    }
    Ok(())
}

// req: MSGD-11, COMP-16, STAT-01
fn direct_error_as_answer(_: &Nwd) -> Check {
    for partition in [SP1, SP2] {
        let request = request(
            id::DIRECT_REQ_64,
            route(NWD, partition),
            command!(answer_error),
            [0; 4],
        );
        ffa::refused(&call(ffa::conduit(), request), ffa::error::NOT_SUPPORTED)?;
        ask(partition, COMPLEMENT, [0; 4])?;
    }
    Ok(())
}

/// Answers `FFA_ERROR` in place of a response.
fn answer_error(sp: &Sp, _: [u64; 4]) -> Check<[u64; 4]> {
    let code = ffa::error::NOT_SUPPORTED as u32;
    sp.response
        .set(Some(ffa::regs(id::ERROR, &[0, code as u64])));
    Ok([0; 4])
}

// req: RUN-12, RUN-13, GEN-18, GEN-20, GEN-22, BOOT-09, BOOT-17
fn direct_from_each_pe(nwd: &Nwd) -> Check {
    for pe in 0..nwd.pes {
        let [vcpu, entered_with, ..] =
            pe::run_on(pe, |_| ask(SP2, command!(context), [0; 4]), [0; 4])?;
        equal(vcpu, pe as u64)?;
        equal(entered_with, pe as u64)?;
    }
    Ok(())
}

/// Returns the execution context that runs, and the PE index that it was first entered with.
fn context(sp: &Sp, _: [u64; 4]) -> Check<[u64; 4]> {
    Ok([
        sp.vcpu as u64,
        CONTEXT_ENTRY[sp.vcpu].load(Ordering::Relaxed),
        0,
        0,
    ])
}

// req: GEN-19, RUN-12, RUN-20
fn direct_migrates(nwd: &Nwd) -> Check {
    let [start, ..] = ask(SP1, command!(count), [0; 4])?;
    for pe in 0..nwd.pes {
        let [now, vcpu, ..] = pe::run_on(pe, |_| ask(SP1, command!(count), [0; 4]), [0; 4])?;
        equal(now, start + 1 + pe as u64)?;
        equal(vcpu, 0u64)?;
    }
    Ok(())
}

static COUNT: AtomicU64 = AtomicU64::new(0);

fn count(sp: &Sp, _: [u64; 4]) -> Check<[u64; 4]> {
    Ok([
        COUNT.fetch_add(1, Ordering::Relaxed) + 1,
        sp.vcpu as u64,
        0,
        0,
    ])
}

// req: GEN-20, RUN-13
fn direct_at_the_same_time(_: &Nwd) -> Check {
    pe::start(1, |_| ask(SP2, command!(meet), [0; 4]), [0; 4])?;
    let here = ask(SP2, command!(meet), [0; 4]);
    pe::finish(1)?;
    here.map(drop)
}

static ARRIVED: AtomicU64 = AtomicU64::new(0);

/// Waits until a second execution context is here, too.
fn meet(_: &Sp, _: [u64; 4]) -> Check<[u64; 4]> {
    ARRIVED.fetch_add(1, Ordering::Relaxed);
    holds(
        wait_until(PATIENCE_MS, || ARRIVED.load(Ordering::Relaxed) >= 2),
        0u64,
    )?;
    Ok([0; 4])
}

// req: MSGD-07, RUN-24, GEN-19, MSGW-14
fn direct_busy_elsewhere(_: &Nwd) -> Check {
    ask(SP2, command!(hold_control), [HOLD, 0, 0, 0])?;
    pe::start(1, |_| ask(SP1, command!(hold), [0; 4]), [0; 4])?;
    let arrived = wait_until(PATIENCE_MS, || {
        ask(SP2, command!(hold_control), [LOOK, 0, 0, 0]).is_ok_and(|answer| answer[0] > 0)
    });
    let message = request(id::DIRECT_REQ_64, route(NWD, SP1), COMPLEMENT, [0; 4]);
    let refused = call(ffa::conduit(), message);
    let run = ffa::call(id::RUN, &[(SP1 as u64) << 16]);
    ask(SP2, command!(hold_control), [RELEASE, 0, 0, 0])?;
    pe::finish(1)?;

    holds(arrived, 0u64)?;
    ffa::refused(&refused, ffa::error::BUSY)?;
    holds(run[2] != 0, run[0])?;
    ask(SP1, COMPLEMENT, [0; 4])?;
    Ok(())
}

const HOLD: u64 = 0;
const LOOK: u64 = 1;
const RELEASE: u64 = 2;
const POLL: u64 = 3;
static HELD: AtomicU64 = AtomicU64::new(0);
static POLLS: AtomicU64 = AtomicU64::new(0);

/// Keeps sp1 busy until the other side tells sp2.
fn hold(sp: &Sp, _: [u64; 4]) -> Check<[u64; 4]> {
    let mut outcome = Ok([0; 4]);
    holds(
        wait_until(PATIENCE_MS, || {
            outcome = sp.ask(SP2, command!(hold_control), [POLL, 0, 0, 0]);
            !matches!(outcome, Ok([1, ..]))
        }),
        0u64,
    )?;
    outcome
}

/// Sets or reads the flag in sp2 that sp1 polls, and counts the polls, as x4 says.
fn hold_control(_: &Sp, [what, ..]: [u64; 4]) -> Check<[u64; 4]> {
    match what {
        HOLD => {
            POLLS.store(0, Ordering::Relaxed);
            HELD.store(1, Ordering::Relaxed);
        }
        RELEASE => HELD.store(0, Ordering::Relaxed),
        POLL => drop(POLLS.fetch_add(1, Ordering::Relaxed)),
        _ => return Ok([POLLS.load(Ordering::Relaxed), 0, 0, 0]),
    }
    Ok([HELD.load(Ordering::Relaxed), 0, 0, 0])
}
