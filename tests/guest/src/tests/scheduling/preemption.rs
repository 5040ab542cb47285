//! A Non-secure interrupt takes the PE from a partition; `FFA_RUN` gives it back (FF-A v1.0 section
//! 4.5.3). And what must survive a switch.

use crate::ffa::error::{BUSY, DENIED};
use crate::ffa::memory_calls::reclaim;
use crate::ffa::memory_descriptor::access;
use crate::ffa::{self, NWD, SP1, SP2, id, route};
use crate::nwd::{Nwd, Test, ask, gic, page, pe, peek, poke};
use crate::rt::call::{Regs, call};
use crate::rt::check::{Check, equal, holds};
use crate::rt::stage1::{self, Attributes};
use crate::rt::{PATIENCE_MS, fp, probe, wait_until};
use crate::sp::{Command, Sp};
use crate::support::helper_call::{self, request};
use crate::tests::memory::transfer::share;
use crate::tests::memory::{Borrow, give_back, is_fine};
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
    helper!(nothing),
    helper!(pass_on),
];

/// [`spin`], for other files.
pub(crate) const SPIN: u32 = command!(spin);
/// [`pass_on`], for other files.
pub(crate) const PASS_ON: u32 = command!(pass_on);

const TIMER_MS: u64 = 2;
/// The word in the shared page: it ends the spinning.
pub(crate) const GO: u64 = 1;
/// The word in the shared page: somebody spins.
pub(crate) const SPINNING: u64 = 2;

#[track_caller]
pub(crate) fn same(got: &fp::Vectors, want: &fp::Vectors) -> Check {
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

pub(crate) fn load_vectors(_: &Sp, [seed, ..]: [u64; 4]) -> Check<[u64; 4]> {
    fp::load(&fp::pattern(seed));
    Ok([0; 4])
}

pub(crate) fn check_vectors(_: &Sp, [seed, ..]: [u64; 4]) -> Check<[u64; 4]> {
    same(&fp::store(), &fp::pattern(seed))?;
    Ok([0; 4])
}

/// Keeps the PE, with values in all vector registers, until the Normal world writes to the page
/// that it shared.
fn spin(_: &Sp, [address, seed, ..]: [u64; 4]) -> Check<[u64; 4]> {
    fp::load(&fp::pattern(seed));
    stage1::map(address, Attributes::NonSecure);
    // SAFETY: the page that the Normal world shared for this.
    let begun = unsafe { probe::write(address, SPINNING as u32) };
    let told = wait_until(PATIENCE_MS, || probe::read(address) == Ok(GO as u32));
    stage1::unmap(address);
    same(&fp::store(), &fp::pattern(seed))?;
    holds(begun.is_ok() && told, told)?;
    Ok([!seed, 0, 0, 0])
}

/// Lets another partition spin.
fn pass_on(sp: &Sp, [other, address, seed, ..]: [u64; 4]) -> Check<[u64; 4]> {
    sp.ask(other as u16, command!(spin), [address, seed, 0, 0])
}

fn nothing(_: &Sp, _: [u64; 4]) -> Check<[u64; 4]> {
    Ok([0; 4])
}

/// Shares the page through which a spinning partition is told to end, runs `body` with its address,
/// and takes it back.
pub(crate) fn with_flag(partition: u16, body: impl FnOnce(u64) -> Check) -> Check {
    let address = page(70);
    poke(address, 0);
    let handle = share(partition, access::RW, &[(address, 1)])?;
    is_fine(Borrow::new(handle).by(partition)?)?;
    body(address)?;
    give_back(partition, handle, 0, 0)?;
    ffa::done(&reclaim(handle, 0))
}

/// Sends a request during which the timer fires, and checks that it stops `partition` while
/// somebody spins on `flag`. `pe` is the index of this PE.
pub(crate) fn preempt(
    partition: u16,
    pe: u16,
    command: u32,
    arguments: [u64; 4],
    flag: u64,
) -> Check {
    let index = if partition == SP1 { 0 } else { pe };
    let message = request(id::DIRECT_REQ_64, route(NWD, partition), command, arguments);
    let mut next = message;
    while peek(flag) != SPINNING {
        // The first time, or the interrupt came before the spinning.
        fp::load(&fp::pattern(7));
        gic::start_timer(pe as usize, TIMER_MS);
        let stopped = call(ffa::conduit(), next);
        equal(stopped[0], id::INTERRUPT)?;
        equal(stopped[1], vcpu(partition, index))?;
        for register in &stopped[2..8] {
            equal(*register, 0u64)?;
        }
        same(&fp::store(), &fp::pattern(7))?;
        gic::acknowledge(pe as usize)?;
        next = ffa::regs(id::RUN, &[vcpu(partition, index)]);
    }
    Ok(())
}

pub(crate) const fn vcpu(partition: u16, index: u16) -> u64 {
    (partition as u64) << 16 | index as u64
}

pub(crate) fn run(partition: u16, index: u16) -> Regs {
    ffa::call(id::RUN, &[vcpu(partition, index)])
}

/// Tells the preempted partition to end, resumes it, and takes its answer.
pub(crate) fn resume(partition: u16, index: u16, flag: u64, seed: u64) -> Check {
    poke(flag, GO);
    let [answer, ..] = helper_call::answer(NWD, partition, &run(partition, index))?;
    poke(flag, 0);
    equal(answer, !seed)
}

/// A request to `partition`, which is in the middle of something.
#[track_caller]
pub(crate) fn is_busy(partition: u16) -> Check {
    let message = request(
        id::DIRECT_REQ_64,
        route(NWD, partition),
        command!(nothing),
        [0; 4],
    );
    ffa::refused(&call(ffa::conduit(), message), BUSY)
}

// req: GEN-25, INT-01, MSGD-24, MSGD-07, MSGW-12, MSGW-18, MSGW-20, MSGW-23, RUN-19, RUN-20, RUN-21
// req: RUN-22, STAT-04, STAT-06
fn interrupt_preempts(_: &Nwd) -> Check {
    for (partition, other) in [(SP1, SP2), (SP2, SP1)] {
        with_flag(partition, |flag| {
            preempt(partition, 0, command!(spin), [flag, 1, 0, 0], flag)?;
            is_busy(partition)?;
            // The other one does not care.
            ask(other, command!(load_vectors), [2, 0, 0, 0])?;
            resume(partition, 0, flag, 1)
        })?;
    }
    Ok(())
}

// req: INT-02, MSGD-07, MSGW-15, MSGW-18, MSGW-20, RUN-19, RUN-20
fn interrupt_preempts_chain(_: &Nwd) -> Check {
    for (first, second) in [(SP1, SP2), (SP2, SP1)] {
        with_flag(second, |flag| {
            preempt(
                first,
                0,
                command!(pass_on),
                [second as u64, flag, 3, 0],
                flag,
            )?;
            is_busy(first)?;
            is_busy(second)?;
            // Not the one that the Normal world runs.
            ffa::refused(&run(second, 0), DENIED)?;
            resume(first, 0, flag, 3)
        })?;
    }
    Ok(())
}

// req: GEN-19, MSGW-12, RUN-20, RUN-23, RUN-24
fn preempted_moves(_: &Nwd) -> Check {
    with_flag(SP1, |flag| {
        preempt(SP1, 0, command!(spin), [flag, 4, 0, 0], flag)?;
        let elsewhere = |[flag, ..]: [u64; 4]| resume(SP1, 0, flag, 4).map(|()| [0; 4]);
        pe::run_on(1, elsewhere, [flag, 0, 0, 0])?;
        Ok(())
    })
}

// req: GEN-20, MSGW-19, RUN-13, RUN-23
fn preempted_stays(_: &Nwd) -> Check {
    with_flag(SP2, |flag| {
        preempt(SP2, 0, command!(spin), [flag, 6, 0, 0], flag)?;
        let [code, ..] = pe::run_on(1, |_| Ok([run(SP2, 0)[2], 0, 0, 0]), [0; 4])?;
        holds(code != 0, code)?;
        // Its context there is not concerned.
        pe::run_on(
            1,
            |_| ask(SP2, command!(load_vectors), [8, 0, 0, 0]),
            [0; 4],
        )?;
        resume(SP2, 0, flag, 6)
    })
}
