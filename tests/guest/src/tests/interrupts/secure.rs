//! Secure interrupts of a partition (FF-A v1.1 chapter 9): sp1 owns that of the secure PL011, which
//! anybody raises who writes to the console while sp1 lets it through. Also timers of a partition,
//! and interrupts between contexts of sp2.

use core::arch::asm;
use core::sync::atomic::Ordering;

use crate::ffa::{SP1, SP2};
use crate::nwd::{Nwd, Test, ask, gic, pe};
use crate::rt::check::{Check, equal, holds};
use crate::rt::{PATIENCE_MS, ticks_per_ms, wait_until};
use crate::sp::{Command, Sp};
use crate::support::interrupt_handler::{ARM, CAME, CARELESS, HANDLED, comes_to};
use crate::support::secure_uart::{SAY, WHILE_IT_RUNS, quieten};
use crate::support::virtual_interrupts::{
    DEACTIVATE, ENABLE, GET, IPI, SEND_IPI, TIMER, hf, is_signalled, set_virtual_timer,
};
use crate::{command, helper, test};

/// The tests of this file.
pub const TESTS: &[Test] = &[
    test!(
        interrupt_of_running_partition,
        "sp1 sees its interrupt while it runs, again and again"
    ),
    test!(
        interrupt_stops_other_partition,
        "sp1 handles its interrupt while sp2 runs, and sp2 goes on"
    ),
    test!(
        interrupt_stops_normal_world,
        "sp1 handles its interrupt while the Normal world runs",
        pes = 2
    ),
    test!(
        stuck_interrupt_is_masked,
        "An interrupt that sp1 never clears does not keep the PE"
    ),
    test!(
        timer_of_a_partition,
        "The timer of sp1 expires while it runs, and while it waits"
    ),
    test!(
        interrupt_between_contexts,
        "A context of sp2 interrupts another one",
        pes = 2
    ),
];

/// The test for layouts in which nobody claims the virtual timer.
pub const VIRTUAL_TIMER: &[Test] = &[test!(
    virtual_timer_of_a_partition,
    "The virtual timer of sp1 does not preempt it, but is seen by it"
)];

/// Code of the partitions.
pub const HELPERS: &[Command] = &[
    helper!(careless),
    helper!(timer_while_it_runs),
    helper!(virtual_timer_while_it_runs),
    helper!(start_timer),
    helper!(timer_has_expired),
    helper!(enable_ipi),
    helper!(send_ipi),
];

// req: INT-04, INT-13
fn interrupt_of_running_partition(_: &Nwd) -> Check {
    ask(SP1, WHILE_IT_RUNS, [0; 4])?;
    Ok(())
}

// req: INT-05, INT-07, INT-11
fn interrupt_stops_other_partition(_: &Nwd) -> Check {
    ask(SP1, ARM, [0; 4])?;
    equal(ask(SP2, SAY, [0; 4])?[0], 7u64)?;
    equal(ask(SP1, CAME, [0; 4])?[0], 1u64)
}

// req: INT-05, INT-06, INT-14
fn interrupt_stops_normal_world(_: &Nwd) -> Check {
    ask(SP1, ARM, [0; 4])?;
    // This PE, which the interrupt goes to, waits.
    pe::run_on(1, |_| ask(SP2, SAY, [0; 4]), [0; 4])?;
    equal(ask(SP1, CAME, [0; 4])?[0], 1u64)
}

fn careless(_: &Sp, [on, ..]: [u64; 4]) -> Check<[u64; 4]> {
    CARELESS.store(on, Ordering::Relaxed);
    if on == 0 {
        quieten();
    }
    Ok([0; 4])
}

// req: INT-09
fn stuck_interrupt_is_masked(_: &Nwd) -> Check {
    ask(SP1, command!(careless), [1, 0, 0, 0])?;
    ask(SP1, ARM, [0; 4])?;
    ask(SP2, SAY, [0; 4])?;
    let many = ask(SP1, CAME, [0; 4])?[0];
    ask(SP1, command!(careless), [0; 4])?;
    holds(many > 10, many)?;
    // The owner can enable the interrupt again.
    interrupt_of_running_partition(&Nwd { pes: 1 })
}

/// Bits of CNTP_CTL_EL0: the timer is on; the timer has expired.
const ON: u64 = 1;
const EXPIRED: u64 = 1 << 2;

fn set_timer(control: u64, ms: u64) {
    let ticks = ms * ticks_per_ms();
    // SAFETY: the timer of this partition, whose interrupt is masked in PSTATE.
    unsafe {
        asm!(
            "msr cntp_tval_el0, {}",
            "msr cntp_ctl_el0, {}",
            "isb",
            in(reg) ticks,
            in(reg) control,
            options(nostack),
        )
    };
}

fn timer_control() -> u64 {
    let control: u64;
    // SAFETY: reads a status register.
    unsafe { asm!("mrs {}, cntp_ctl_el0", out(reg) control, options(nomem, nostack)) };
    control
}

// Timers of partitions have id 3.
// req: SINT-25, SINT-29
fn timer_of_a_partition(_: &Nwd) -> Check {
    ask(SP1, command!(timer_while_it_runs), [0; 4])?;
    ask(SP1, command!(start_timer), [0; 4])?;
    // This PE, on which sp1 waits, does something else.
    let waited = wait_until(5, || false);
    holds(!waited, 0u64)?;
    comes_to(SP1, 1)?;
    ask(SP1, command!(timer_has_expired), [0; 4])?;
    Ok(())
}

// The EL1 virtual timer has id 3, too, if the Normal world lets its interrupt through.
fn virtual_timer_of_a_partition(_: &Nwd) -> Check {
    const VIRTUAL_TIMER: u32 = 27;
    gic::open(0, VIRTUAL_TIMER);
    let outcome = ask(SP1, command!(virtual_timer_while_it_runs), [0; 4]);
    gic::close(0, VIRTUAL_TIMER);
    outcome.map(drop)
}

fn timer_while_it_runs(_: &Sp, _: [u64; 4]) -> Check<[u64; 4]> {
    equal(hf(ENABLE, &[TIMER, 1, 0]), 0u64)?;
    for round in 0..3 {
        holds(!is_signalled(), round as u64)?;
        set_timer(ON, 1);
        timer_has_expired_now()?;
    }
    Ok([0; 4])
}

/// Checks that the EL1 virtual timer does not stop its partition, and that the partition sees its
/// interrupt.
fn virtual_timer_while_it_runs(_: &Sp, _: [u64; 4]) -> Check<[u64; 4]> {
    equal(hf(ENABLE, &[TIMER, 1, 0]), 0u64)?;
    for round in 0..3 {
        holds(!is_signalled(), round as u64)?;
        set_virtual_timer(ON, 1);
        holds(wait_until(PATIENCE_MS, is_signalled), round as u64)?;
        equal(hf(GET, &[]), TIMER)?;
        set_virtual_timer(0, 0);
        equal(hf(DEACTIVATE, &[TIMER, TIMER]), 0u64)?;
    }
    Ok([0; 4])
}

fn timer_has_expired_now() -> Check {
    holds(wait_until(PATIENCE_MS, is_signalled), timer_control())?;
    equal(timer_control(), ON | EXPIRED)?;
    equal(hf(GET, &[]), TIMER)?;
    holds(!is_signalled(), timer_control())?;
    set_timer(0, 0);
    equal(timer_control(), 0u64)?;
    equal(hf(DEACTIVATE, &[TIMER, TIMER]), 0u64)
}

fn start_timer(_: &Sp, _: [u64; 4]) -> Check<[u64; 4]> {
    HANDLED.store(0, Ordering::Relaxed);
    set_timer(ON, 2);
    Ok([0; 4])
}

/// Checks that the timer has expired, and that its interrupt was handled and does not come again.
fn timer_has_expired(_: &Sp, _: [u64; 4]) -> Check<[u64; 4]> {
    equal(timer_control(), ON | EXPIRED)?;
    holds(!is_signalled(), timer_control())?;
    set_timer(0, 0);
    equal(timer_control(), 0u64)?;
    equal(HANDLED.load(Ordering::Relaxed), 1u64)?;
    Ok([0; 4])
}

fn enable_ipi(_: &Sp, _: [u64; 4]) -> Check<[u64; 4]> {
    HANDLED.store(0, Ordering::Relaxed);
    equal(hf(ENABLE, &[IPI, 1, 0]), 0u64)?;
    Ok([0; 4])
}

fn send_ipi(_: &Sp, [to, ..]: [u64; 4]) -> Check<[u64; 4]> {
    equal(hf(SEND_IPI, &[u64::MAX]), u64::MAX)?;
    equal(hf(SEND_IPI, &[to]), 0u64)?;
    let came = wait_until(PATIENCE_MS, || HANDLED.load(Ordering::Relaxed) == 1);
    holds(came, HANDLED.load(Ordering::Relaxed))?;
    Ok([0; 4])
}

// Interrupts between contexts have id 9 in the paravirtual interface.
// req: SINT-24
fn interrupt_between_contexts(_: &Nwd) -> Check {
    pe::run_on(1, |_| ask(SP2, command!(enable_ipi), [0; 4]), [0; 4])?;
    ask(SP2, command!(send_ipi), [1, 0, 0, 0])?;
    Ok(())
}
