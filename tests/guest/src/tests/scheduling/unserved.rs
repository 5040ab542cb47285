//! PEs that the Normal world turns on and the SPMC does not serve: those that its image has no room
//! for, or all but the first where EL3 did not take their entry point. The Normal world goes on
//! with them, and partitions go on without them.

use core::arch::asm;
use core::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};

use crate::ffa::error::NOT_SUPPORTED;
use crate::ffa::{self, NWD, SP1, SP2, id, route};
use crate::nwd::{Nwd, Test, ask, pe};
use crate::rt::check::{Check, equal};
use crate::sp::{Command, Sp};
use crate::support::complement::both_answer;
use crate::support::virtual_interrupts::{SEND_IPI, hf};
use crate::{command, helper, test};

/// The test for a boot in which the boot PE alone is served.
pub const ALL_BUT_THE_FIRST: &[Test] = &[test!(
    first_pe_is_served,
    "The boot PE has partitions",
    pes = 2
)];

/// The test for a boot with more PEs than sp2 has contexts.
pub const MORE_THAN_FIT: &[Test] = &[test!(
    pes_that_fit_are_served,
    "As many PEs as the SPMC has room for have partitions",
    pes = 9
)];

/// The tests for both kinds of boot.
pub const TESTS: &[Test] = &[
    test!(
        unserved_pes_are_told,
        "Calls from a PE that is not served are refused",
        pes = 2
    ),
    test!(
        unserved_pes_are_not_disturbed,
        "An interrupt that the SPMC sends to all PEs leaves the registers of one that is not served",
        pes = 2
    ),
    test!(
        unserved_pes_come_and_go,
        "PEs that are not served are turned off and on, and nothing of the SPMC begins again",
        pes = 2
    ),
];

/// Code of the partitions.
pub const HELPERS: &[Command] = &[helper!(mark), helper!(is_marked), helper!(interrupt_next)];

/// Number of PEs that are served: the first ones.
static SERVED: AtomicUsize = AtomicUsize::new(0);

static MARK: AtomicU64 = AtomicU64::new(0);

fn mark(_: &Sp, [word, ..]: [u64; 4]) -> Check<[u64; 4]> {
    MARK.store(word, Ordering::Relaxed);
    Ok([0; 4])
}

fn is_marked(_: &Sp, [word, ..]: [u64; 4]) -> Check<[u64; 4]> {
    equal(MARK.load(Ordering::Relaxed), word)?;
    Ok([0; 4])
}

fn interrupt_next(_: &Sp, _: [u64; 4]) -> Check<[u64; 4]> {
    equal(hf(SEND_IPI, &[1]), 0u64)?;
    Ok([0; 4])
}

fn first_pe_is_served(_: &Nwd) -> Check {
    SERVED.store(1, Ordering::Relaxed);
    both_answer([1, 0, 0, 0]).map(drop)
}

fn pes_that_fit_are_served(_: &Nwd) -> Check {
    const FIT: usize = 8;
    SERVED.store(FIT, Ordering::Relaxed);
    for pe in 0..FIT {
        pe::run_on(pe, both_answer, [pe as u64, 0, 0, 0])?;
    }
    Ok(())
}

/// Fails unless all calls of this PE are refused.
fn is_refused(_: [u64; 4]) -> Check<[u64; 4]> {
    ffa::refused(&ffa::call(id::PARTITION_INFO_GET, &[]), NOT_SUPPORTED)?;
    ffa::refused(&ffa::call(id::RUN, &[(SP2 as u64) << 16]), NOT_SUPPORTED)?;
    for partition in [SP1, SP2] {
        let answer = ffa::call(id::DIRECT_REQ_64, &[route(NWD, partition)]);
        ffa::refused(&answer, NOT_SUPPORTED)?;
    }
    Ok([0; 4])
}

// req: GEN-19
fn unserved_pes_are_told(nwd: &Nwd) -> Check {
    for pe in SERVED.load(Ordering::Relaxed)..nwd.pes {
        pe::run_on(pe, is_refused, [0; 4])?;
    }
    Ok(())
}

/// Ends [`keep_registers`].
static STOP: AtomicU32 = AtomicU32::new(0);

/// Keeps values in the registers that calls return results in, until it is stopped.
fn keep_registers(_: [u64; 4]) -> Check<[u64; 4]> {
    let mut x: [u64; 8] = core::array::from_fn(|n| 0x1111_1111_1111_1111 * (n as u64 + 1));
    let before = x;
    // SAFETY: reads a static.
    unsafe {
        asm!(
            "2: ldr w9, [x10]",
            "cbz w9, 2b",
            inout("x0") x[0],
            inout("x1") x[1],
            inout("x2") x[2],
            inout("x3") x[3],
            inout("x4") x[4],
            inout("x5") x[5],
            inout("x6") x[6],
            inout("x7") x[7],
            out("x9") _,
            in("x10") STOP.as_ptr(),
            options(nostack, readonly),
        );
    }
    for (now, before) in x.iter().zip(before) {
        equal(*now, before)?;
    }
    Ok([0; 4])
}

fn unserved_pes_are_not_disturbed(nwd: &Nwd) -> Check {
    let unserved = SERVED.load(Ordering::Relaxed)..nwd.pes;
    for round in 1..=20 {
        STOP.store(0, Ordering::Relaxed);
        for pe in unserved.clone() {
            pe::start(pe, keep_registers, [0; 4])?;
        }
        for _ in 0..round {
            ask(SP2, command!(interrupt_next), [0; 4])?;
        }
        STOP.store(1, Ordering::Relaxed);
        for pe in unserved.clone() {
            pe::finish(pe)?;
        }
    }
    Ok(())
}

fn unserved_pes_come_and_go(nwd: &Nwd) -> Check {
    let unserved = SERVED.load(Ordering::Relaxed)..nwd.pes;
    for round in 1..=3_u64 {
        for partition in [SP1, SP2] {
            ask(partition, command!(mark), [round << 32, 0, 0, 0])?;
        }
        pe::all_off(unserved.clone())?;
        both_answer([round, 0, 0, 0])?;
        pe::all_on(unserved.clone())?;
        for pe in unserved.clone() {
            pe::run_on(pe, is_refused, [0; 4])?;
        }
        for partition in [SP1, SP2] {
            ask(partition, command!(is_marked), [round << 32, 0, 0, 0])?;
        }
    }
    Ok(())
}
