//! `FFA_VERSION` (FF-A v1.0 section 8.1). These tests run first: any other call ends the
//! negotiation.

use crate::ffa::{self, NOT_SUPPORTED, SP1, SP2, V1_0, V1_1, V1_2, V1_3, id};
use crate::nwd::{Nwd, Test, ask};
use crate::rt::call::Regs;
use crate::rt::check::{Check, equal, holds};
use crate::sp::{Command, Sp};
use crate::{command, helper, test};

/// The version that the Normal world is offered: that of TF-A 2.12.
const OWN: u32 = V1_2;
/// The version that partitions are offered.
const OF_PARTITIONS: u32 = V1_3;
const BIT_31: u32 = 1 << 31;

/// The tests for the time before the first other call of the Normal world.
pub const TESTS: &[Test] = &[
    test!(
        version_unknown_is_refused,
        "FFA_VERSION refuses a malformed version and another major"
    ),
    test!(
        version_negotiates_1_2,
        "The Normal world and the SPMC agree on FF-A 1.2"
    ),
];

/// The tests for the time after the Normal world has mapped its buffers.
pub const LATER: &[Test] = &[
    test!(
        version_is_locked,
        "After other calls FFA_VERSION repeats its answer and accepts no other version"
    ),
    test!(
        version_of_partitions,
        "Each partition has its own version, locked in the same way"
    ),
];

/// Code of the partitions.
pub const HELPERS: &[Command] = &[helper!(ask_versions)];

fn version(asked: u32) -> Regs {
    ffa::call(id::VERSION, &[asked as u64])
}

#[track_caller]
fn answers(regs: &Regs, value: u64) -> Check {
    equal(regs[0] & 0xffff_ffff, value)?;
    for register in &regs[1..8] {
        equal(*register, 0u64)?;
    }
    Ok(())
}

// req: VER-03, VER-06, VER-07, VER-08, VER-14
fn version_unknown_is_refused(_: &Nwd) -> Check {
    answers(&version(BIT_31), NOT_SUPPORTED)?;
    answers(&version(BIT_31 | V1_2), NOT_SUPPORTED)?;
    for other_major in [0x0_0009, 0x2_0000, 0x7fff_0000] {
        let answer = version(other_major)[0] & 0xffff_ffff;
        holds(answer == NOT_SUPPORTED || answer == OWN as u64, answer)?;
    }
    Ok(())
}

// req: VER-01, VER-02, VER-04, VER-05, VER-09, VER-11, VER-14, COMP-20, GEN-05
fn version_negotiates_1_2(_: &Nwd) -> Check {
    for minor in [0x1_0009, V1_0, V1_1, V1_2] {
        answers(&version(minor), OWN as u64)?;
    }
    Ok(())
}

// req: VER-13, VER-16
fn version_is_locked(_: &Nwd) -> Check {
    answers(&version(V1_2), OWN as u64)?;
    answers(&version(V1_1), NOT_SUPPORTED)?;
    answers(&version(V1_0), NOT_SUPPORTED)?;
    answers(&version(V1_2), OWN as u64)
}

// req: VER-09, VER-12, VER-13
fn version_of_partitions(_: &Nwd) -> Check {
    ask(
        SP1,
        command!(ask_versions),
        [V1_2 as u64, V1_1 as u64, 0, 0],
    )?;
    ask(
        SP2,
        command!(ask_versions),
        [V1_1 as u64, V1_0 as u64, 0, 0],
    )?;
    Ok(())
}

/// Repeats the version that is in force, then tries another one, while it processes a request.
fn ask_versions(_: &Sp, [in_force, other, ..]: [u64; 4]) -> Check<[u64; 4]> {
    answers(&version(in_force as u32), OF_PARTITIONS as u64)?;
    answers(&version(other as u32), NOT_SUPPORTED)?;
    answers(&version(BIT_31), NOT_SUPPORTED)?;
    answers(&version(in_force as u32), OF_PARTITIONS as u64)?;
    Ok([0; 4])
}
