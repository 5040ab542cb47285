//! PEs that go off and come back (PSCI CPU_OFF and CPU_ON, which EL3 passes on: FF-A v1.1 section
//! 18.2). A context that is pinned to a PE starts anew with the PE; everything else goes on.

use core::arch::asm;
use core::sync::atomic::Ordering;

use crate::ffa::error::{ABORTED, INVALID_PARAMETERS};
use crate::ffa::{self, SP1, SP2, id};
use crate::nwd::{Nwd, Test, ask, pe};
use crate::rt::check::{Check, equal};
use crate::rt::fp;
use crate::sp::{CONTEXT_ENTRY, Command, Sp};
use crate::support::complement::both_answer;
use crate::support::helper_call;
use crate::support::spinning::{PASS_ON, SPIN, is_busy, preempt, resume, run, with_flag};
use crate::{command, helper, test};

/// The tests of this file.
pub const TESTS: &[Test] = &[
    test!(
        cpu_off_and_on,
        "PEs are turned off and on again, one after the other, three times",
        pes = 2
    ),
    test!(
        all_off_and_on,
        "All PEs but one are turned off and on again at the same time",
        pes = 2
    ),
    test!(
        sp1_outlives_its_pe,
        "sp1, preempted on a PE that is turned off, goes on on another one",
        pes = 2
    ),
    test!(
        sp2_ends_with_its_pe,
        "A context of sp2, preempted on a PE that is turned off, starts anew",
        pes = 2
    ),
    test!(
        chain_ends_with_its_pe,
        "sp1, whose callee went off with its PE, is told",
        pes = 2
    ),
];

/// Code of the partitions.
pub const HELPERS: &[Command] = &[helper!(leave_marks), helper!(is_new)];

const ROUNDS: u64 = 3;

/// Leaves marks in registers of this PE's context of sp2.
fn mark_sp2([word, ..]: [u64; 4]) -> Check<[u64; 4]> {
    ask(SP2, command!(leave_marks), [word, 0, 0, 0])
}

/// Checks that the context of sp2 on this PE has just begun, as the PE itself has.
fn sp2_is_new(_: [u64; 4]) -> Check<[u64; 4]> {
    ask(SP2, command!(is_new), [0; 4])
}

fn thread_pointer() -> u64 {
    let value: u64;
    // SAFETY: a register without effect.
    unsafe { asm!("mrs {}, tpidr_el1", out(reg) value, options(nomem, nostack)) };
    value
}

fn leave_marks(sp: &Sp, [word, ..]: [u64; 4]) -> Check<[u64; 4]> {
    // SAFETY: a register without effect.
    unsafe { asm!("msr tpidr_el1, {}", in(reg) !word, options(nomem, nostack)) };
    fp::load(&fp::pattern(word));
    CONTEXT_ENTRY[sp.vcpu].store(u64::MAX, Ordering::Relaxed);
    Ok([0; 4])
}

/// Fails unless the context came in by its entry point since the marks were left, and found its
/// registers as at reset.
fn is_new(sp: &Sp, _: [u64; 4]) -> Check<[u64; 4]> {
    equal(
        CONTEXT_ENTRY[sp.vcpu].load(Ordering::Relaxed),
        sp.vcpu as u64,
    )?;
    equal(thread_pointer(), 0u64)?;
    for vector in fp::store() {
        equal((vector >> 64) as u64 | vector as u64, 0u64)?;
    }
    Ok([0; 4])
}

// req: BOOT-03, BOOT-09, GEN-18, GEN-19, RUN-12, RUN-13, RUN-15
fn cpu_off_and_on(nwd: &Nwd) -> Check {
    for round in 0..ROUNDS {
        for pe in 1..nwd.pes {
            let word = round << 32 | pe as u64;
            // The last partition that ran on the PE is sp1 in one round, sp2 in the other.
            pe::run_on(pe, mark_sp2, [word, 0, 0, 0])?;
            if round % 2 == 0 {
                pe::run_on(pe, both_answer, [word, 0, 0, 0])?;
                pe::run_on(pe, mark_sp2, [word, 0, 0, 0])?;
            }
            pe::all_off(pe..pe + 1)?;
            both_answer([word, 0, 0, 0])?;
            pe::all_on(pe..pe + 1)?;
            pe::run_on(pe, sp2_is_new, [0; 4])?;
            pe::run_on(pe, both_answer, [word, 0, 0, 0])?;
        }
    }
    both_answer([ROUNDS, 0, 0, 0]).map(drop)
}

// req: BOOT-09, RUN-12, RUN-13
fn all_off_and_on(nwd: &Nwd) -> Check {
    let others = 1..nwd.pes;
    for round in 0..ROUNDS {
        for pe in others.clone() {
            pe::run_on(pe, mark_sp2, [round, 0, 0, 0])?;
        }
        pe::all_off(others.clone())?;
        both_answer([round, 0, 0, 0])?;
        pe::all_on(others.clone())?;
        for pe in others.clone() {
            pe::run_on(pe, sp2_is_new, [0; 4])?;
            pe::run_on(pe, both_answer, [round, 0, 0, 0])?;
        }
    }
    Ok(())
}

/// Has `partition` preempted on PE 1 while it spins.
fn preempt_on_1(partition: u16, flag: u64, seed: u64) -> Check {
    let job = |[partition, flag, seed, _]: [u64; 4]| {
        preempt(partition as u16, 1, SPIN, [flag, seed, 0, 0], flag).map(|()| [0; 4])
    };
    pe::run_on(1, job, [partition as u64, flag, seed, 0]).map(drop)
}

// req: GEN-19, RUN-19, RUN-20, RUN-23
fn sp1_outlives_its_pe(_: &Nwd) -> Check {
    with_flag(SP1, |flag| {
        preempt_on_1(SP1, flag, 11)?;
        pe::all_off(1..2)?;
        is_busy(SP1)?;
        resume(SP1, 0, flag, 11)?;
        pe::all_on(1..2)?;
        pe::run_on(1, both_answer, [0; 4])?;
        Ok(())
    })
}

// req: BOOT-03, BOOT-09, MSGW-15, RUN-13
fn sp2_ends_with_its_pe(_: &Nwd) -> Check {
    with_flag(SP2, |flag| {
        pe::run_on(1, mark_sp2, [12, 0, 0, 0])?;
        preempt_on_1(SP2, flag, 12)?;
        pe::all_off(1..2)?;
        // The context is pinned to a PE that is off.
        ffa::refused(&run(SP2, 1), INVALID_PARAMETERS)?;
        both_answer([12, 0, 0, 0])?;
        pe::all_on(1..2)?;
        pe::run_on(1, sp2_is_new, [0; 4])?;
        pe::run_on(1, both_answer, [12, 0, 0, 0])?;
        Ok(())
    })
}

// req: MSGW-16, RUN-13, RUN-23
fn chain_ends_with_its_pe(_: &Nwd) -> Check {
    with_flag(SP2, |flag| {
        let job = |[flag, ..]: [u64; 4]| {
            let arguments = [SP2 as u64, flag, 13, 0];
            preempt(SP1, 1, PASS_ON, arguments, flag).map(|()| [0; 4])
        };
        pe::run_on(1, job, [flag, 0, 0, 0])?;
        pe::all_off(1..2)?;
        is_busy(SP1)?;
        // sp1 sees its call end with an error, on this PE: its helper reports a failed check.
        let answer = run(SP1, 0);
        equal(answer[0], id::DIRECT_RESP_64)?;
        equal(answer[3], helper_call::FAILED)?;
        equal(answer[5], ABORTED as u32)?;
        both_answer([13, 0, 0, 0])?;
        pe::all_on(1..2)?;
        pe::run_on(1, both_answer, [13, 0, 0, 0])?;
        both_answer([13, 0, 0, 0]).map(drop)
    })
}
