//! Sources of interrupts that do not stop. The SPMC masks each after a while, so that its PE goes
//! back to the Normal world, and the owner can enable it again.
//!
//! No test depends on the speed of a PE: a source is raised anew by its own handler, or as long as
//! the Normal world gets nothing done.

use core::arch::asm;
use core::sync::atomic::{AtomicBool, Ordering};

use crate::ffa::{SP1, SP2, SP7, SP8};
use crate::nwd::source::{CLOCK_INTERRUPT, GPIO_INTERRUPT, Source};
use crate::nwd::{Nwd, Test, ask, pe};
use crate::rt::check::{Check, equal, holds};
use crate::rt::{PATIENCE_MS, wait_until};
use crate::sp::{Command, Sp};
use crate::support::interrupt_flood::{RAISE_ANEW, RAISED_ANEW};
use crate::support::interrupt_handler::{ALLOW_IPI, ARM, CAME, comes_to, handled_by, let_through};
use crate::support::secure_uart::{SAY, WHILE_IT_RUNS};
use crate::support::virtual_interrupts::{
    CALL_CONTEXT, ENABLE, OWN_TIMER, VIRTUAL_TIMER, hf, set_virtual_timer, signals,
};
use crate::{command, helper, test};

/// The tests of this file.
pub const TESTS: &[Test] = &[
    test!(
        handler_that_raises_its_own,
        "The handler of sp1 raises its interrupt anew each time, and that of sp2 lets its timer expire"
    ),
    test!(
        handlers_on_all_pes,
        "Handlers raise their interrupts anew on all PEs at once",
        pes = 2
    ),
    test!(
        contexts_that_call_each_other,
        "Two contexts of sp2 interrupt each other for ever",
        pes = 2
    ),
    test!(
        edges_without_end,
        "Other PEs raise the interrupts of sp7 and sp8 as fast as they can",
        pes = 2
    ),
    test!(
        edges_beside_a_timer,
        "Another PE raises the interrupt of sp8 while the timer of sp1 expires again and again",
        pes = 2
    ),
];

/// Code of the partitions.
pub const HELPERS: &[Command] = &[helper!(expire), helper!(expire_again)];

/// Lets the virtual timer of this PE expire. The interrupt is not handled before this context
/// waits.
fn expire(_: &Sp, _: [u64; 4]) -> Check<[u64; 4]> {
    equal(hf(ENABLE, &[VIRTUAL_TIMER, 1, 0]), 0u64)?;
    set_virtual_timer(1, 0);
    holds(wait_until(PATIENCE_MS, || signals() != 0), 0u64)?;
    Ok([0; 4])
}

/// Lets the physical timer of this context expire again and again for that many milliseconds. The
/// interrupt stays pending.
fn expire_again(_: &Sp, [ms, ..]: [u64; 4]) -> Check<[u64; 4]> {
    let set_timer = |control: u64| {
        // SAFETY: the timer of this partition, whose interrupt is masked in PSTATE.
        unsafe {
            asm!(
                "msr cntp_tval_el0, xzr",
                "msr cntp_ctl_el0, {}",
                "isb",
                in(reg) control,
                options(nostack),
            )
        };
    };
    wait_until(ms, || {
        set_timer(1);
        false
    });
    set_timer(0);
    Ok([0; 4])
}

// ---- the Normal world ----

/// Fails unless an interrupt was masked in time: the SPMC masks the 257th in a row that leaves
/// others no time.
fn is_bounded(count: u64) -> Check {
    holds((250..300).contains(&count), count)
}

// req: INT-09
fn handler_that_raises_its_own(_: &Nwd) -> Check {
    ask(SP1, RAISE_ANEW, [1, 0, 0, 0])?;
    ask(SP1, ARM, [0; 4])?;
    ask(SP2, SAY, [0; 4])?;
    let [count, ..] = ask(SP1, RAISED_ANEW, [0; 4])?;
    ask(SP1, RAISE_ANEW, [0; 4])?;
    is_bounded(count)?;
    is_had_again()?;
    ask(SP2, RAISE_ANEW, [1, 0, 0, 0])?;
    let outcome = expire_here([0; 4]);
    ask(SP2, RAISE_ANEW, [0; 4])?;
    outcome?;
    ask(SP2, OWN_TIMER, [0; 4]).map(drop)
}

/// Fails unless sp1 can enable its interrupt again.
fn is_had_again() -> Check {
    ask(SP1, WHILE_IT_RUNS, [0; 4])?;
    ask(SP1, ARM, [0; 4])?;
    ask(SP2, SAY, [0; 4])?;
    equal(ask(SP1, CAME, [0; 4])?[0], 1u64)
}

fn expire_here(_: [u64; 4]) -> Check<[u64; 4]> {
    ask(SP2, command!(expire), [0; 4])?;
    // The handler ran before the Normal world had the PE for long.
    let [count, ..] = ask(SP2, RAISED_ANEW, [0; 4])?;
    is_bounded(count)?;
    Ok([0; 4])
}

// req: INT-09
fn handlers_on_all_pes(nwd: &Nwd) -> Check {
    for partition in [SP1, SP2] {
        ask(partition, RAISE_ANEW, [1, 0, 0, 0])?;
    }
    ask(SP1, ARM, [0; 4])?;
    for pe in 1..nwd.pes {
        pe::start(pe, expire_here, [0; 4])?;
    }
    // The interrupt of sp1 comes to this PE.
    let mut outcome = ask(SP2, SAY, [0; 4]).map(drop);
    for pe in 1..nwd.pes {
        outcome = outcome.and(pe::finish(pe).map(drop));
    }
    let [count, ..] = ask(SP1, RAISED_ANEW, [0; 4])?;
    for partition in [SP1, SP2] {
        ask(partition, RAISE_ANEW, [0; 4])?;
    }
    outcome?;
    is_bounded(count)?;
    for pe in 1..nwd.pes {
        pe::run_on(pe, |_| ask(SP2, OWN_TIMER, [0; 4]), [0; 4])?;
    }
    is_had_again()
}

/// Number of requests of the Normal world that must get through.
const REQUESTS: u64 = 200;

// Interrupts between contexts have id 9 in the paravirtual interface.
// req: INT-09
fn contexts_that_call_each_other(_: &Nwd) -> Check {
    ask(SP2, RAISE_ANEW, [1, 0, 0, 0])?;
    let allow = |_: [u64; 4]| ask(SP2, ALLOW_IPI, [0; 4]);
    allow([0; 4])?;
    pe::run_on(1, allow, [0; 4])?;
    ask(SP2, CALL_CONTEXT, [1, 0, 0, 0])?;
    let both = || -> Check<bool> {
        let here = ask(SP2, RAISED_ANEW, [0; 4])?[0];
        let there = pe::run_on(1, |_| ask(SP2, RAISED_ANEW, [0; 4]), [0; 4])?[0];
        Ok(here > 3 && there > 3)
    };
    let mut outcome = Ok(true);
    holds(
        wait_until(PATIENCE_MS, || {
            outcome = both();
            !matches!(outcome, Ok(false))
        }),
        0u64,
    )?;
    outcome?;
    for _ in 0..REQUESTS {
        ask(SP1, CAME, [0; 4])?;
    }
    ask(SP2, RAISE_ANEW, [0; 4])?;
    Ok(())
}

/// Tells the other PEs to go on.
static GO_ON: AtomicBool = AtomicBool::new(false);

// req: INT-09
fn edges_without_end(nwd: &Nwd) -> Check {
    let_through(SP7, CLOCK_INTERRUPT)?;
    let_through(SP8, GPIO_INTERRUPT)?;
    GO_ON.store(true, Ordering::Release);
    let raise = |[pe, ..]: [u64; 4]| -> Check<[u64; 4]> {
        let source = [Source::Clock, Source::Gpio][pe as usize % 2];
        while GO_ON.load(Ordering::Acquire) {
            source.raise();
        }
        Ok([0; 4])
    };
    for pe in 1..nwd.pes {
        pe::start(pe, raise, [pe as u64, 0, 0, 0])?;
    }
    let mut outcome = Ok([0; 4]);
    for _ in 0..REQUESTS {
        outcome = outcome.and_then(|_| ask(SP1, CAME, [0; 4]));
    }
    GO_ON.store(false, Ordering::Release);
    for pe in 1..nwd.pes {
        pe::finish(pe)?;
    }
    outcome?;
    for (partition, source, interrupt) in [
        (SP7, Source::Clock, CLOCK_INTERRUPT),
        (SP8, Source::Gpio, GPIO_INTERRUPT),
    ] {
        let_through(partition, interrupt)?;
        // The last interrupt may still be on its way.
        let mut before = handled_by(partition)?;
        let settled = wait_until(PATIENCE_MS, || {
            let now = handled_by(partition).unwrap_or(u64::MAX);
            core::mem::replace(&mut before, now) == now
        });
        holds(settled, before)?;
        source.raise();
        comes_to(partition, before + 1)?;
    }
    Ok(())
}

/// Number of edges beside a timer.
const EDGES: u64 = 200;

// The edges have a lower priority than the interrupt that the SPMC has for the timer, so that the
// SPMC finds both pending, and sees to the timer first.
// req: INT-04, INT-07
fn edges_beside_a_timer(_: &Nwd) -> Check {
    let_through(SP8, GPIO_INTERRUPT)?;
    let before = handled_by(SP8)?;
    GO_ON.store(true, Ordering::Release);
    // The interrupts come to this PE, which asks for nothing but the timer.
    let raise = |[before, ..]: [u64; 4]| -> Check<[u64; 4]> {
        let mut outcome = Ok(());
        for count in before + 1..=before + EDGES {
            Source::Gpio.raise();
            outcome = outcome.and_then(|()| comes_to(SP8, count));
            if outcome.is_err() {
                break;
            }
        }
        GO_ON.store(false, Ordering::Release);
        outcome.map(|()| [0; 4])
    };
    pe::start(1, raise, [before, 0, 0, 0])?;
    let mut outcome = Ok([0; 4]);
    while GO_ON.load(Ordering::Acquire) && outcome.is_ok() {
        outcome = ask(SP1, command!(expire_again), [10, 0, 0, 0]);
    }
    pe::finish(1)?;
    outcome.map(drop)
}
