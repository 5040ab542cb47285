//! `FFA_RUN` and `FFA_MSG_WAIT` (FF-A v1.0 sections 9.1 and 9.3).

use core::sync::atomic::Ordering;

use crate::ffa::error::{BUSY, DENIED, INVALID_PARAMETERS};
use crate::ffa::{self, NOBODY, NWD, SP1, SP2, SPMC, V1_2, id};
use crate::nwd::{Nwd, Test, ask, pe};
use crate::rt::check::{Check, equal};
use crate::sp::{Command, NEXT_WAIT, RUNS, Sp};
use crate::{command, helper, test};

/// The tests of this file.
pub const TESTS: &[Test] = &[
    test!(
        run_waiting,
        "FFA_RUN gives cycles to a partition that waits; it gives them back with FFA_MSG_WAIT"
    ),
    test!(
        run_errors,
        "FFA_RUN of what does not exist, or not on this PE, is refused"
    ),
    test!(
        run_on_each_pe,
        "FFA_RUN reaches the execution context of each PE",
        pes = 2
    ),
    test!(
        run_by_partitions,
        "A partition cannot run others, nor itself"
    ),
    test!(
        wait_releases_rx,
        "FFA_MSG_WAIT gives RX back, unless a partition of 1.2 keeps it"
    ),
    test!(
        wait_errors,
        "FFA_MSG_WAIT with reserved bits, or while a request is processed, is refused"
    ),
];

/// Code of the partitions.
pub const HELPERS: &[Command] = &[
    helper!(runs),
    helper!(run_others),
    helper!(fill_rx),
    helper!(rx_is),
    helper!(wait_now),
];

const fn vcpu(partition: u16, index: u16) -> u64 {
    (partition as u64) << 16 | index as u64
}

fn run(target: u64) -> ffa::Answer {
    ffa::call(id::RUN, &[target])
}

/// Runs a waiting context on this PE.
fn run_once(partition: u16, index: u16) -> Check {
    let [before, ..] = ask(partition, command!(runs), [0; 4])?;
    let answer = run(vcpu(partition, index));
    equal(answer[0], id::MSG_WAIT)?;
    equal(answer[1], vcpu(partition, index))?;
    for register in &answer[2..8] {
        equal(*register, 0u64)?;
    }
    let [after, ..] = ask(partition, command!(runs), [0; 4])?;
    equal(after, before + 1)
}

fn runs(sp: &Sp, _: [u64; 4]) -> Check<[u64; 4]> {
    Ok([RUNS[sp.vcpu].load(Ordering::Relaxed), 0, 0, 0])
}

// req: COMP-08, COMP-10, COMP-19, MSGW-02, MSGW-03, MSGW-04, MSGW-05, MSGW-11, MSGW-12, MSGW-18
// req: GEN-25, GEN-26
fn run_waiting(_: &Nwd) -> Check {
    run_once(SP1, 0)?;
    run_once(SP2, 0)?;
    run_once(SP1, 0)
}

// req: MSGW-11, MSGW-13, MSGW-15, MSGW-19, GEN-28
fn run_errors(_: &Nwd) -> Check {
    for (partition, index) in [
        (NOBODY, 0),
        (0xffff, 0),
        (SPMC, 0),
        (NWD, 0),
        (1, 0),
        (SP1, 1),
        (SP1, 0xffff),
        (SP2, 8),
    ] {
        ffa::refused(&run(vcpu(partition, index)), INVALID_PARAMETERS)?;
    }
    // The context is pinned to another PE.
    ffa::refused(&run(vcpu(SP2, 1)), INVALID_PARAMETERS)?;
    Ok(())
}

// req: RUN-12, RUN-13, MSGW-12, MSGW-19, GEN-20
fn run_on_each_pe(nwd: &Nwd) -> Check {
    fn job([index, ..]: [u64; 4]) -> Check<[u64; 4]> {
        run_once(SP2, index as u16)?;
        run_once(SP1, 0)?;
        let elsewhere = if index == 0 { 1 } else { 0 };
        ffa::refused(&run(vcpu(SP2, elsewhere)), INVALID_PARAMETERS)?;
        Ok([0; 4])
    }
    for pe in 0..nwd.pes {
        pe::run_on(pe, job, [pe as u64, 0, 0, 0])?;
    }
    Ok(())
}

// req: COMP-18, MSGW-13, MSGW-15, RUN-17
fn run_by_partitions(_: &Nwd) -> Check {
    for (partition, other) in [(SP1, SP2), (SP2, SP1)] {
        ask(partition, command!(run_others), [other as u64, 0, 0, 0])?;
    }
    Ok(())
}

fn run_others(sp: &Sp, [other, ..]: [u64; 4]) -> Check<[u64; 4]> {
    ffa::refused(&run(vcpu(other as u16, 0)), DENIED)?;
    ffa::refused(&run(vcpu(sp.identity.id, 0)), DENIED)?;
    for (partition, index) in [(NOBODY, 0), (NWD, 0), (other as u16, 9)] {
        ffa::refused(&run(vcpu(partition, index)), INVALID_PARAMETERS)?;
    }
    Ok([0; 4])
}

// req: MSGW-01, MSGW-02, RXTX-11, RXTX-13, RXTX-14, IND-23
fn wait_releases_rx(_: &Nwd) -> Check {
    const EMPTY: u64 = 0;
    const FULL: u64 = 1;
    for partition in [SP1, SP2] {
        ask(partition, command!(fill_rx), [0; 4])?;
        // A response does not release RX.
        ask(partition, command!(rx_is), [FULL, 0, 0, 0])?;
        run_once(partition, 0)?;
        ask(partition, command!(rx_is), [EMPTY, 0, 0, 0])?;
    }
    ask(SP1, command!(fill_rx), [KEEP_RX, 0, 0, 0])?;
    run_once(SP1, 0)?;
    ask(SP1, command!(rx_is), [FULL, 0, 0, 0])?;
    run_once(SP1, 0)?;
    ask(SP1, command!(rx_is), [EMPTY, 0, 0, 0])?;
    Ok(())
}

/// w2 of `FFA_MSG_WAIT` (1.2): the caller keeps RX.
const KEEP_RX: u64 = 1;

/// Has the SPMC fill RX, and leaves RX full. x4 is w2 of the next `FFA_MSG_WAIT`.
fn fill_rx(_: &Sp, [next_wait, ..]: [u64; 4]) -> Check<[u64; 4]> {
    NEXT_WAIT.store(next_wait, Ordering::Relaxed);
    ffa::succeeded(&ffa::call(id::PARTITION_INFO_GET, &[]))?;
    Ok([0; 4])
}

/// Fails unless RX is full or empty, as x4 says.
fn rx_is(_: &Sp, [full, ..]: [u64; 4]) -> Check<[u64; 4]> {
    let answer = ffa::call(id::PARTITION_INFO_GET, &[]);
    if full == 1 {
        ffa::refused(&answer, BUSY)?;
    } else {
        ffa::succeeded(&answer)?;
        ffa::done(&ffa::call(id::RX_RELEASE, &[]))?;
    }
    Ok([0; 4])
}

// req: MSGW-01, MSGW-06, MSGW-07, RUN-17, RUN-18
fn wait_errors(_: &Nwd) -> Check {
    for partition in [SP1, SP2] {
        ask(partition, command!(wait_now), [0; 4])?;
    }
    Ok(())
}

fn wait_now(sp: &Sp, _: [u64; 4]) -> Check<[u64; 4]> {
    let code = if sp.identity.version < V1_2 {
        INVALID_PARAMETERS
    } else {
        DENIED
    };
    ffa::refused(&ffa::call(id::MSG_WAIT, &[0, KEEP_RX]), code)?;
    ffa::refused(&ffa::call(id::MSG_WAIT, &[]), DENIED)?;
    ffa::refused(&ffa::call(id::MSG_WAIT, &[1]), INVALID_PARAMETERS)?;
    ffa::refused(
        &ffa::call(id::MSG_WAIT, &[0, 0, 0, 0, 0, 0, 1]),
        INVALID_PARAMETERS,
    )?;
    Ok([0; 4])
}
