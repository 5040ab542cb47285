//! A Non-secure interrupt takes the PE from a partition; `FFA_RUN` gives it back (FF-A v1.0 section 4.5.3). And what must survive a switch.

use crate::ffa::error::{BUSY, DENIED};
use crate::ffa::{self, NWD, SP1, SP2, id, route};
use crate::message::{self, request};
use crate::nwd::{Nwd, Test, ask, interrupt, pe};
use crate::rt::call::{Regs, call};
use crate::rt::check::{Check, equal, holds};
use crate::rt::{fp, wait_until};
use crate::sp::{Command, Sp};
use crate::{command, helper, test};

/// The tests of this file.
pub const TESTS: &[Test] = &[
    test!(
        vectors_survive_messages,
        "FP/SIMD registers of the Normal world and of each partition survive messages"
    ),
    test!(
        interrupt_preempts,
        "A Non-secure interrupt stops a partition that spins; FFA_RUN lets it go on"
    ),
    test!(
        interrupt_preempts_chain,
        "A Non-secure interrupt stops a chain of partitions; FFA_RUN of the first lets it go on"
    ),
    test!(
        preempted_moves,
        "A preempted sp1 goes on on another PE",
        pes = 2
    ),
    test!(
        preempted_stays,
        "A preempted context of sp2 does not go on on another PE",
        pes = 2
    ),
];

/// Code of the partitions.
pub const HELPERS: &[Command] = &[
    helper!(load_vectors),
    helper!(check_vectors),
    helper!(spin),
    helper!(pass_on),
];

/// The partition spins much longer than the timer takes.
const SPIN_MS: u64 = 60;
const TIMER_MS: u64 = 10;

#[track_caller]
fn same(got: &fp::Vectors, want: &fp::Vectors) -> Check {
    for (got, want) in got.iter().zip(want) {
        equal(*got as u64, *want as u64)?;
        equal((*got >> 64) as u64, (*want >> 64) as u64)?;
    }
    Ok(())
}

// req: GEN-20, RUN-20, MSGW-23, MSGD-25
fn vectors_survive_messages(_: &Nwd) -> Check {
    let own = fp::pattern(0);
    for round in 1..4 {
        for partition in [SP1, SP2] {
            fp::load(&own);
            let seed = round << 16 | partition as u64;
            ask(partition, command!(load_vectors), [seed, 0, 0, 0])?;
            same(&fp::store(), &own)?;
        }
        for partition in [SP1, SP2] {
            let seed = round << 16 | partition as u64;
            ask(partition, command!(check_vectors), [seed, 0, 0, 0])?;
        }
    }
    Ok(())
}

fn load_vectors(_: &Sp, [seed, ..]: [u64; 4]) -> Check<[u64; 4]> {
    fp::load(&fp::pattern(seed));
    Ok([0; 4])
}

fn check_vectors(_: &Sp, [seed, ..]: [u64; 4]) -> Check<[u64; 4]> {
    same(&fp::store(), &fp::pattern(seed))?;
    Ok([0; 4])
}

/// Keeps the PE for `ms` milliseconds, with values in all vector registers.
fn spin(_: &Sp, [ms, seed, ..]: [u64; 4]) -> Check<[u64; 4]> {
    fp::load(&fp::pattern(seed));
    wait_until(ms, || false);
    same(&fp::store(), &fp::pattern(seed))?;
    Ok([!seed, 0, 0, 0])
}

/// Lets another partition spin.
fn pass_on(sp: &Sp, [other, ms, seed, ..]: [u64; 4]) -> Check<[u64; 4]> {
    sp.ask(other as u16, command!(spin), [ms, seed, 0, 0])
}

/// Sends a request during which the timer fires, and checks that it stops `partition`, context `index`.
fn preempt(partition: u16, index: u16, command: u32, arguments: [u64; 4]) -> Check {
    fp::load(&fp::pattern(7));
    interrupt::start_timer(index as usize, TIMER_MS);
    let message = request(id::DIRECT_REQ_64, route(NWD, partition), command, arguments);
    let stopped = call(ffa::conduit(), message);
    equal(stopped[0], id::INTERRUPT)?;
    equal(stopped[1], vcpu(partition, index))?;
    for register in &stopped[2..8] {
        equal(*register, 0u64)?;
    }
    same(&fp::store(), &fp::pattern(7))?;
    interrupt::acknowledge(index as usize)
}

const fn vcpu(partition: u16, index: u16) -> u64 {
    (partition as u64) << 16 | index as u64
}

fn run(partition: u16, index: u16) -> Regs {
    ffa::call(id::RUN, &[vcpu(partition, index)])
}

/// Resumes the partition until it answers, and takes the answer.
fn resume(partition: u16, index: u16, seed: u64) -> Check {
    let [answer, ..] = message::answer(NWD, partition, &run(partition, index))?;
    equal(answer, !seed)
}

// req: GEN-25, INT-01, MSGD-24, MSGD-07, MSGW-12, MSGW-18, MSGW-20, MSGW-23, RUN-19, RUN-20, RUN-21, RUN-22, STAT-04, STAT-06
fn interrupt_preempts(_: &Nwd) -> Check {
    for partition in [SP1, SP2] {
        preempt(partition, 0, command!(spin), [SPIN_MS, 1, 0, 0])?;
        // It works for somebody, though not right now.
        let message = request(
            id::DIRECT_REQ_64,
            route(NWD, partition),
            command!(spin),
            [0; 4],
        );
        ffa::refused(&call(ffa::conduit(), message), BUSY)?;
        // The other one does not care.
        let other = if partition == SP1 { SP2 } else { SP1 };
        ask(other, command!(spin), [0, 2, 0, 0])?;
        resume(partition, 0, 1)?;
    }
    Ok(())
}

// req: INT-02, MSGD-07, MSGW-15, MSGW-18, MSGW-20, RUN-19, RUN-20
fn interrupt_preempts_chain(_: &Nwd) -> Check {
    for (first, second) in [(SP1, SP2), (SP2, SP1)] {
        preempt(first, 0, command!(pass_on), [second as u64, SPIN_MS, 3, 0])?;
        for partition in [first, second] {
            let message = request(
                id::DIRECT_REQ_64,
                route(NWD, partition),
                command!(spin),
                [0; 4],
            );
            ffa::refused(&call(ffa::conduit(), message), BUSY)?;
        }
        // Not the one that the Normal world runs.
        ffa::refused(&run(second, 0), DENIED)?;
        resume(first, 0, 3)?;
    }
    Ok(())
}

// req: GEN-19, MSGW-12, RUN-20, RUN-23, RUN-24
fn preempted_moves(_: &Nwd) -> Check {
    preempt(SP1, 0, command!(spin), [SPIN_MS, 4, 0, 0])?;
    pe::run_on(1, |_| resume(SP1, 0, 4).map(|()| [0; 4]), [0; 4])?;
    ask(SP1, command!(spin), [0, 5, 0, 0])?;
    Ok(())
}

// req: GEN-20, MSGW-19, RUN-13, RUN-23
fn preempted_stays(_: &Nwd) -> Check {
    preempt(SP2, 0, command!(spin), [SPIN_MS, 6, 0, 0])?;
    let elsewhere = pe::run_on(1, |_| Ok([run(SP2, 0)[2], 0, 0, 0]), [0; 4])?;
    holds(elsewhere[0] != 0, elsewhere[0])?;
    // Its context there is not concerned.
    pe::run_on(1, |_| ask(SP2, command!(spin), [0, 8, 0, 0]), [0; 4])?;
    resume(SP2, 0, 6)
}
