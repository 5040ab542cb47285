//! Preemption: a Non-secure interrupt takes the PE from a partition, and `FFA_RUN` gives it back
//! (FF-A v1.0 section 4.5.3). Vector registers must survive every switch.

use crate::ffa::error::DENIED;
use crate::ffa::{self, SP1, SP2};
use crate::nwd::{Nwd, Test, ask, pe};
use crate::rt::check::{Check, holds};
use crate::rt::fp;
use crate::support::spinning::{
    CHECK_VECTORS, LOAD_VECTORS, PASS_ON, SPIN, is_busy, preempt, resume, run, same, with_flag,
};
use crate::test;

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

// req: GEN-20, RUN-20, MSGW-23, MSGD-25
fn vectors_survive_messages(_: &Nwd) -> Check {
    let own = fp::pattern(0);
    for round in 1..4 {
        for partition in [SP1, SP2] {
            fp::load(&own);
            let seed = round << 16 | partition as u64;
            ask(partition, LOAD_VECTORS, [seed, 0, 0, 0])?;
            same(&fp::store(), &own)?;
        }
        for partition in [SP1, SP2] {
            let seed = round << 16 | partition as u64;
            ask(partition, CHECK_VECTORS, [seed, 0, 0, 0])?;
        }
    }
    Ok(())
}

// req: GEN-25, INT-01, MSGD-24, MSGD-07, MSGW-12, MSGW-18, MSGW-20, MSGW-23, RUN-19, RUN-20, RUN-21
// req: RUN-22, STAT-04, STAT-06
fn interrupt_preempts(_: &Nwd) -> Check {
    for (partition, other) in [(SP1, SP2), (SP2, SP1)] {
        with_flag(partition, |flag| {
            preempt(partition, 0, SPIN, [flag, 1, 0, 0], flag)?;
            is_busy(partition)?;
            // The other partition answers as ever.
            ask(other, LOAD_VECTORS, [2, 0, 0, 0])?;
            resume(partition, 0, flag, 1)
        })?;
    }
    Ok(())
}

// req: INT-02, MSGD-07, MSGW-15, MSGW-18, MSGW-20, RUN-19, RUN-20
fn interrupt_preempts_chain(_: &Nwd) -> Check {
    for (first, second) in [(SP1, SP2), (SP2, SP1)] {
        with_flag(second, |flag| {
            preempt(first, 0, PASS_ON, [second as u64, flag, 3, 0], flag)?;
            is_busy(first)?;
            is_busy(second)?;
            // The Normal world runs the first partition of the chain, not the second.
            ffa::refused(&run(second, 0), DENIED)?;
            resume(first, 0, flag, 3)
        })?;
    }
    Ok(())
}

// req: GEN-19, MSGW-12, RUN-20, RUN-23, RUN-24
fn preempted_moves(_: &Nwd) -> Check {
    with_flag(SP1, |flag| {
        preempt(SP1, 0, SPIN, [flag, 4, 0, 0], flag)?;
        let elsewhere = |[flag, ..]: [u64; 4]| resume(SP1, 0, flag, 4).map(|()| [0; 4]);
        pe::run_on(1, elsewhere, [flag, 0, 0, 0])?;
        Ok(())
    })
}

// req: GEN-20, MSGW-19, RUN-13, RUN-23
fn preempted_stays(_: &Nwd) -> Check {
    with_flag(SP2, |flag| {
        preempt(SP2, 0, SPIN, [flag, 6, 0, 0], flag)?;
        let [code, ..] = pe::run_on(1, |_| Ok([run(SP2, 0)[2], 0, 0, 0]), [0; 4])?;
        holds(code != 0, code)?;
        // The context of sp2 on PE 1 is free.
        pe::run_on(1, |_| ask(SP2, LOAD_VECTORS, [8, 0, 0, 0]), [0; 4])?;
        resume(SP2, 0, flag, 6)
    })
}
