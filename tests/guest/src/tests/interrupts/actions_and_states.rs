//! Interrupts by state, action and configuration: chains of partitions with all actions for
//! Non-secure interrupts, owners of secure interrupts in every state, interrupts of each PE, and
//! interrupts at a bad time. Only for the layout `interrupts`, which says:
//!
//! | | contexts | Non-secure interrupts | secure interrupts of others | owns |
//! |---|---|---|---|---|
//! | sp1 | 1 | signaled | signaled | the secure PL011 |
//! | sp2 | 8 | signaled | signaled | the virtual timer of each PE |
//! | sp3 | 1 | managed exit, vFIQ | signaled | |
//! | sp4 | 8 | managed exit, vIRQ | signaled | is run by the scheduler |
//! | sp5 | 1 | queued | signaled | |
//! | sp6 | 8 | queued | queued | |
//! | sp7 | 1 | signaled | signaled | the clock |
//! | sp8 | 8 | signaled | signaled | the GPIO |

use core::arch::asm;
use core::sync::atomic::{AtomicU64, Ordering};

use crate::ffa::error::ABORTED;
use crate::ffa::{self, NWD, SP1, SP2, SP3, SP4, SP5, SP6, SP7, SP8, id, route};
use crate::nwd::source::{CLOCK_INTERRUPT, GPIO_INTERRUPT, Source};
use crate::nwd::{Nwd, Test, ask, gic, pe};
use crate::rt::call::call;
use crate::rt::check::{Check, equal, holds};
use crate::rt::{PATIENCE_MS, counter, ticks_per_ms, wait_until};
use crate::sp::{Command, Sp};
use crate::support::chain_cases::{CHAINS, NOTHING};
use crate::support::chains::{
    Raised, SCHEDULE_RECEIVER, WAIT_MS, bind_all, raise_by, raise_non_secure, run_chain, take,
    unbind_all,
};
use crate::support::helper_call::request;
use crate::support::interrupt_counts::TIMERS;
use crate::support::interrupt_handler::{
    ALLOW_IPI, ARM, CAME, COUNT_OF, comes_to, handled_by, let_through,
};
use crate::support::secure_uart::{SAY_AND_LOOK, TRANSMIT, uart_mask};
use crate::support::spinning::{SPIN, preempt, resume, run, with_flag};
use crate::support::virtual_interrupts::{CALL_CONTEXT, ENABLE, OWN_TIMER, hf, signals};
use crate::{command, helper, println, test};

/// The tests of this file.
pub const TESTS: &[Test] = &[
    test!(
        interrupt_while_another_initialises,
        "sp1 handled its interrupt while sp2 initialised"
    ),
    test!(
        chains_by_action,
        "A Non-secure interrupt in chains of partitions with all actions"
    ),
    test!(
        chains_by_action_elsewhere,
        "A Non-secure interrupt in such chains on another PE",
        pes = 2
    ),
    test!(
        secure_interrupt_by_what_runs,
        "sp1 handles its interrupt in place of every other partition, but one that has it queued"
    ),
    test!(
        secure_interrupt_in_chains,
        "sp1 handles its interrupt when somebody in a chain gets the PE who does not have it queued"
    ),
    test!(
        queued_behind_secure_interrupts,
        "sp5 is not preempted after secure interrupts"
    ),
    test!(preempted_owner, "sp1 is preempted when its interrupt comes"),
    test!(
        interrupt_of_each_pe,
        "Contexts of sp2 have the virtual timer of their PE as an interrupt"
    ),
    test!(
        timers_of_contexts,
        "Timers of contexts on several PEs expire for their own context only",
        pes = 2
    ),
    test!(
        interrupt_before_it_is_wanted,
        "Interrupts of sp7 and sp8 fire before they are enabled: once, when they are"
    ),
    test!(
        owner_that_moved,
        "sp7 ran on another PE and waits: its interrupt is handled at once",
        pes = 2
    ),
    test!(
        scheduler_runs_owner,
        "sp4 is run by the scheduler for its interrupts",
        pes = 2
    ),
];

/// The test behind all others, since sp8 is dead after it.
pub const LAST: &[Test] = &[test!(
    interrupt_of_a_dead_partition,
    "sp8 dies; its interrupt does not come, the others go on"
)];

/// Code of the partitions.
pub const HELPERS: &[Command] = &[
    helper!(say_again_and_again),
    helper!(start_long_timer),
    helper!(timer_is_mine),
    helper!(abort),
];

// req: INT-07, BOOT-17
fn interrupt_while_another_initialises(_: &Nwd) -> Check {
    let [_, at_boot, ..] = ask(SP1, CAME, [0; 4])?;
    equal(at_boot, 2u64)
}

// req: ME-02, ME-03, ME-04, ME-05, ME-07, ME-09, INT-01, INT-02, INT-10, SINT-11, SINT-12, SINT-13
// req: SINT-14
fn chains_by_action(_: &Nwd) -> Check {
    bind_all(8)?;
    for case in CHAINS {
        run_chain(0, *case)?;
    }
    unbind_all()
}

// req: ME-02, ME-03, ME-04, ME-09, INT-01, INT-02, INT-10
fn chains_by_action_elsewhere(_: &Nwd) -> Check {
    bind_all(8)?;
    // One job runs one chain, because the boot PE waits for a job for a limited time.
    for n in 0..CHAINS.len() {
        let body = |[n, ..]: [u64; 4]| run_chain(1, CHAINS[n as usize]).map(|()| [0; 4]);
        pe::run_on(1, body, [n as u64, 0, 0, 0])?;
    }
    unbind_all()
}

// req: INT-05, INT-07, INT-11
fn secure_interrupt_by_what_runs(_: &Nwd) -> Check {
    for (partition, left) in [
        (SP2, 0),
        (SP3, 0),
        (SP4, 0),
        (SP5, 0),
        (SP6, TRANSMIT),
        (SP7, 0),
        (SP8, 0),
    ] {
        ask(SP1, ARM, [0; 4])?;
        let [mask, ..] = ask(partition, SAY_AND_LOOK, [0; 4])?;
        equal(mask, u64::from(left))?;
        // The interrupt is handled at the latest when the Normal world gets the PE.
        equal(ask(SP1, CAME, [0; 4])?[0], 1u64)?;
    }
    Ok(())
}

// req: INT-05, INT-07, INT-11
fn secure_interrupt_in_chains(_: &Nwd) -> Check {
    const RAISED: &[Raised] = &[
        (&[2, 3], &[0, 0]),
        (&[5, 4], &[0, 0]),
        (&[6, 2], &[0, 0]),
        (&[2, 6], &[0, 1]),
        (&[3, 6], &[0, 1]),
        (&[6, 5], &[0, 0]),
        (&[2, 3, 7], &[0, 0, 0]),
        (&[2, 6, 3], &[0, 0, 0]),
        (&[6, 2, 8], &[0, 0, 0]),
        (&[2, 3, 6], &[0, 0, 1]),
    ];
    RAISED.iter().try_for_each(|case| raise_by(SP1, *case))
}

fn say_again_and_again(sp: &Sp, _: [u64; 4]) -> Check<[u64; 4]> {
    raise_non_secure(sp)?;
    for round in 0..4 {
        sp.ask(SP1, ARM, [0; 4])?;
        println!("# {}: raises interrupt {round}", sp.identity.name);
        equal(uart_mask(), 0u64)?;
        wait_until(WAIT_MS, || false);
    }
    Ok([0; 4])
}

// req: INT-07, INT-10
fn queued_behind_secure_interrupts(_: &Nwd) -> Check {
    bind_all(8)?;
    for _ in 0..2 {
        gic::open(0, SCHEDULE_RECEIVER);
        ask(SP5, command!(say_again_and_again), [0; 4])?;
        holds(gic::waits(SCHEDULE_RECEIVER), 0u64)?;
        take(0)?;
    }
    // Other partitions are preempted afterwards as ever.
    run_chain(0, (&[1], true, &[NOTHING]))?;
    unbind_all()
}

// req: INT-08, INT-05
fn preempted_owner(_: &Nwd) -> Check {
    ask(SP1, ARM, [0; 4])?;
    with_flag(SP1, |flag| {
        preempt(SP1, 0, SPIN, [flag, 9, 0, 0], flag)?;
        let [mask, ..] = ask(SP2, SAY_AND_LOOK, [0; 4])?;
        equal(mask, u64::from(TRANSMIT))?;
        // sp1 answers without handling the interrupt, and is run for it then.
        resume(SP1, 0, flag, 9)
    })?;
    equal(ask(SP1, CAME, [0; 4])?[0], 1u64)
}

// req: INT-04, INT-13
fn interrupt_of_each_pe(nwd: &Nwd) -> Check {
    for pe in 0..nwd.pes {
        pe::run_on(pe, |_| ask(SP2, OWN_TIMER, [0; 4]), [0; 4])?;
    }
    Ok(())
}

/// The time that the timer of each context was set to.
static EXPIRES: [AtomicU64; pe::MAX] = [const { AtomicU64::new(0) }; pe::MAX];
const TIMER: u64 = 3;

fn set_timer_to(compare: u64, control: u64) {
    // SAFETY: the timer of this partition, whose interrupt is masked in PSTATE.
    unsafe {
        asm!(
            "msr cntp_cval_el0, {}",
            "msr cntp_ctl_el0, {}",
            "isb",
            in(reg) compare,
            in(reg) control,
            options(nostack),
        )
    };
}

/// Sets the timer of this context to expire in x4 milliseconds.
fn start_long_timer(sp: &Sp, [ms, ..]: [u64; 4]) -> Check<[u64; 4]> {
    equal(hf(ENABLE, &[TIMER, 1, 0]), 0u64)?;
    let at = counter() + ms * ticks_per_ms();
    EXPIRES[sp.vcpu].store(at, Ordering::Relaxed);
    let handled = TIMERS[sp.vcpu].handled();
    set_timer_to(at, 1);
    Ok([handled, 0, 0, 0])
}

/// Returns how often the timer of this context has expired, whether the time to which it was set
/// has come, and what is signalled.
fn timer_is_mine(sp: &Sp, _: [u64; 4]) -> Check<[u64; 4]> {
    let at = EXPIRES[sp.vcpu].load(Ordering::Relaxed);
    let handled = TIMERS[sp.vcpu].handled();
    Ok([handled, u64::from(counter() >= at), signals(), 0])
}

// Timers of partitions have id 3.
// req: SINT-25, SINT-29
fn timers_of_contexts(nwd: &Nwd) -> Check {
    let start = |[partition, ms, ..]: [u64; 4]| {
        ask(partition as u16, command!(start_long_timer), [ms, 0, 0, 0])
    };
    let look = |[partition, handled, ..]: [u64; 4]| {
        let mut seen = [0; 4];
        let came = wait_until(PATIENCE_MS, || {
            seen = ask(partition as u16, command!(timer_is_mine), [0; 4]).unwrap_or([u64::MAX; 4]);
            seen[0] != handled
        });
        holds(came, seen[0])?;
        equal(seen[0], handled + 1)?;
        equal(seen[1], 1u64)?;
        equal(seen[2], NOTHING)?;
        Ok([0; 4])
    };
    // sp1 moves to the next PE while its timer runs; each context of sp8 has its own.
    let [before, ..] = start([SP1.into(), 5, 0, 0])?;
    let mut handled = [0; pe::MAX];
    for (pe, handled) in handled.iter_mut().enumerate().take(nwd.pes) {
        let ms = 2 + 4 * pe as u64;
        [*handled, ..] = pe::run_on(pe, start, [SP8.into(), ms, 0, 0])?;
    }
    pe::run_on(1, look, [SP1.into(), before, 0, 0])?;
    for (pe, handled) in handled.into_iter().enumerate().take(nwd.pes) {
        pe::run_on(pe, look, [SP8.into(), handled, 0, 0])?;
    }
    Ok(())
}

// req: INT-09, INT-13
fn interrupt_before_it_is_wanted(_: &Nwd) -> Check {
    for (partition, source, interrupt) in [
        (SP7, Source::Clock, CLOCK_INTERRUPT),
        (SP8, Source::Gpio, GPIO_INTERRUPT),
    ] {
        let before = handled_by(partition)?;
        for _ in 0..2 {
            source.raise();
            equal(handled_by(partition)?, before)?;
        }
        let_through(partition, interrupt)?;
        comes_to(partition, before + 1)?;
    }
    Ok(())
}

// req: INT-14, INT-05, INT-06
fn owner_that_moved(_: &Nwd) -> Check {
    for (partition, source, interrupt) in [
        (SP7, Source::Clock, CLOCK_INTERRUPT),
        (SP8, Source::Gpio, GPIO_INTERRUPT),
    ] {
        let_through(partition, interrupt)?;
        let before = handled_by(partition)?;
        for n in 1..4 {
            let touch = |[partition, ..]: [u64; 4]| ask(partition as u16, COUNT_OF, [0; 4]);
            pe::run_on(1, touch, [partition.into(), 0, 0, 0])?;
            source.raise();
            comes_to(partition, before + n)?;
        }
    }
    Ok(())
}

// sri-interrupts-policy (FF-A v1.1 section 9.3).
fn scheduler_runs_owner(_: &Nwd) -> Check {
    let prepare = |_: [u64; 4]| {
        gic::open(1, SCHEDULE_RECEIVER);
        ask(SP4, ALLOW_IPI, [0; 4])
    };
    let scheduled = |_: [u64; 4]| -> Check<[u64; 4]> {
        gic::take(1, SCHEDULE_RECEIVER)?;
        let list = ffa::call(id::NOTIFICATION_INFO_GET_64, &[]);
        equal(list[0], id::SUCCESS_64)?;
        // There is one list, with one context.
        equal(list[2], 1u64 << 7 | 1 << 12)?;
        equal(list[3], u64::from(SP4) | 1 << 16)?;
        let answer = run(SP4, 1);
        equal(answer[0], id::MSG_WAIT)?;
        Ok([0; 4])
    };
    pe::run_on(1, prepare, [0; 4])?;
    ask(SP4, CALL_CONTEXT, [1, 0, 0, 0])?;
    pe::run_on(1, scheduled, [0; 4])?;
    equal(handled_by(SP4)?, 1u64)
}

fn abort(_: &Sp, _: [u64; 4]) -> Check<[u64; 4]> {
    ffa::call(id::ABORT_32, &[]);
    Ok([0; 4])
}

// req: INT-09
fn interrupt_of_a_dead_partition(_: &Nwd) -> Check {
    let_through(SP7, CLOCK_INTERRUPT)?;
    let_through(SP8, GPIO_INTERRUPT)?;
    let message = request(id::DIRECT_REQ_64, route(NWD, SP8), command!(abort), [0; 4]);
    ffa::refused(&call(ffa::conduit(), message), ABORTED)?;
    Source::Gpio.raise();
    for partition in [SP1, SP2, SP3, SP7] {
        handled_by(partition)?;
    }
    let before = handled_by(SP7)?;
    Source::Clock.raise();
    comes_to(SP7, before + 1)
}
