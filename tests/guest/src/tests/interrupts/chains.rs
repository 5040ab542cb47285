//! Interrupts by state, action and configuration: chains of partitions with all actions for
//! Non-secure interrupts, owners of secure interrupts in every state, interrupts of a PE's own, and
//! what comes at a bad time. Only for the layout that says which partition has what:
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

#[path = "../../../../cases/interrupt_chains.rs"]
mod cases;

use core::arch::asm;
use core::sync::atomic::{AtomicU64, Ordering};

use crate::ffa::error::ABORTED;
use crate::ffa::{self, NWD, SP1, SP2, SP3, SP4, SP5, SP6, SP7, SP8, id, route};
use crate::nwd::source::{CLOCK_INTERRUPT, GPIO_INTERRUPT, Source};
use crate::nwd::{Nwd, Test, ask, gic, pe};
use crate::rt::call::{Regs, call};
use crate::rt::check::{Check, equal, holds};
use crate::rt::{PATIENCE_MS, counter, ticks_per_ms, wait_until};
use crate::sp::{Command, Sp};
use crate::support::helper_call::{self, request};
use crate::tests::interrupts::secure::{
    ARM, CAME, DEACTIVATE, ENABLE, GET, HANDLED, IPI, NONE, SEND_IPI, TRANSMIT, hf,
    set_virtual_timer, signals, uart_mask,
};
use crate::tests::scheduling::preemption::{SPIN, preempt, resume, run, vcpu, with_flag};
use crate::{command, helper, println, test};
use cases::CHAINS;

pub(crate) use cases::{Case, FIQ, IRQ, NOTHING};

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
        "The same on another PE",
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

/// The last one: sp8 is no more after it.
pub const LAST: &[Test] = &[test!(
    interrupt_of_a_dead_partition,
    "sp8 dies; its interrupt does not come, the others go on"
)];

/// Code of the partitions.
pub const HELPERS: &[Command] = &[
    helper!(chain),
    helper!(say_and_look),
    helper!(raise_in_chain),
    helper!(say_again_and_again),
    helper!(own_timer),
    helper!(start_long_timer),
    helper!(timer_is_mine),
    helper!(want),
    helper!(count_of),
    helper!(allow_ipi),
    helper!(call_context),
    helper!(abort),
];

/// Some of them, for other files.
pub(crate) const SAY_AND_LOOK: u32 = command!(say_and_look);
pub(crate) const RAISE_IN_CHAIN: u32 = command!(raise_in_chain);
pub(crate) const OWN_TIMER: u32 = command!(own_timer);
pub(crate) const ALLOW_IPI: u32 = command!(allow_ipi);
pub(crate) const CALL_CONTEXT: u32 = command!(call_context);

pub(crate) const MANAGED_EXIT: u64 = 4;
/// INTIDs of the EL1 virtual timer, the clock and the GPIO.
pub(crate) const VIRTUAL_TIMER: u64 = 27;

// req: INT-07, BOOT-17
fn interrupt_while_another_initialises(_: &Nwd) -> Check {
    let [_, at_boot, ..] = ask(SP1, CAME, [0; 4])?;
    equal(at_boot, 2u64)
}

// ---- Non-secure interrupts in chains ----

/// Long enough to see a signal that is there.
const WAIT_MS: u64 = 1;

/// The schedule receiver interrupt: the Non-secure interrupt that a partition can raise.
pub(crate) const SCHEDULE_RECEIVER: u32 = 8;

/// Raises a Non-secure interrupt on this PE: notifies the Normal world.
fn raise_non_secure(sp: &Sp) -> Check {
    let who = route(sp.identity.id, NWD);
    ffa::done(&ffa::call(
        id::NOTIFICATION_SET,
        &[who, 0, notification_of(sp.identity.id), 0],
    ))
}

/// The notification of the Normal world that a partition sets.
fn notification_of(partition: u16) -> u64 {
    1 << (partition & 0xf)
}

/// Lets all partitions, which are so many, notify the Normal world.
pub(crate) fn bind_all(partitions: u16) -> Check {
    ffa::done(&ffa::call(id::NOTIFICATION_BITMAP_CREATE, &[NWD.into(), 1]))?;
    for partition in SP1..SP1 + partitions {
        let arguments = [route(partition, NWD), 0, notification_of(partition), 0];
        ffa::done(&ffa::call(id::NOTIFICATION_BIND, &arguments))?;
    }
    Ok(())
}

pub(crate) fn unbind_all() -> Check {
    ffa::done(&ffa::call(id::NOTIFICATION_BITMAP_DESTROY, &[NWD.into()]))
}

/// Takes the interrupt and the notification behind it, so that it can be raised again.
pub(crate) fn take(pe: usize) -> Check {
    const FROM_SPS: u64 = 1;
    gic::take(pe, SCHEDULE_RECEIVER)?;
    equal(
        ffa::call(id::NOTIFICATION_INFO_GET_64, &[])[0],
        id::SUCCESS_64,
    )?;
    ffa::succeeded(&ffa::call(id::NOTIFICATION_GET, &[NWD.into(), FROM_SPS]))
}

/// Calls the first member of the rest of a chain, whose last one raises a Non-secure interrupt.
pub(crate) fn call_chain(sp: &Sp, path: u64) -> Regs {
    let ids = route(sp.identity.id, 0x8000 | (path & 0xf) as u16);
    let arguments = [path >> 4, 0, 0, 0];
    call(
        ffa::conduit(),
        request(id::DIRECT_REQ_64, ids, command!(chain), arguments),
    )
}

/// Calls the rest of the chain, whose last member raises the interrupt; then waits until it sees a
/// signal, or long enough.
fn chain(sp: &Sp, [path, ..]: [u64; 4]) -> Check<[u64; 4]> {
    let mut seen = 0;
    if path != 0 {
        let next = 0x8000 | (path & 0xf) as u16;
        let answer = match call_chain(sp, path) {
            // It leaves when it has the answer.
            [function, who, ..] if function == u64::from(id::INTERRUPT) => {
                ffa::call(id::RUN, &[who])
            }
            answer => answer,
        };
        [seen, ..] = helper_call::answer(sp.identity.id, next, &answer)?;
    } else {
        raise_non_secure(sp)?;
    }
    wait_until(WAIT_MS, || signals() != NOTHING);
    let own = signals();
    if own != NOTHING {
        equal(hf(GET, &[]), MANAGED_EXIT)?;
        equal(signals(), NOTHING)?;
        equal(hf(DEACTIVATE, &[MANAGED_EXIT, MANAGED_EXIT]), 0u64)?;
    }
    Ok([seen << 4 | own, 0, 0, 0])
}

pub(crate) fn packed(numbers: &[u64]) -> u64 {
    let four_bits = |rest: u64, number: &u64| rest << 4 | number;
    numbers.iter().rev().fold(0, four_bits)
}

/// Runs a chain on the PE with index `pe`, this one, during which the interrupt comes.
pub(crate) fn run_chain(pe: usize, (members, preempts, sees): Case) -> Check {
    let path = packed(members);
    let root = 0x8000 | members[0] as u16;
    let index = if root.is_multiple_of(2) { pe as u16 } else { 0 };
    let arguments = [path >> 4, 0, 0, 0];
    let message = request(
        id::DIRECT_REQ_64,
        route(NWD, root),
        command!(chain),
        arguments,
    );
    gic::open(pe, SCHEDULE_RECEIVER);
    let mut answer = call(ffa::conduit(), message);
    if preempts {
        equal(answer[0], id::INTERRUPT)?;
        equal(answer[1], vcpu(root, index))?;
        take(pe)?;
        answer = run(root, index);
    }
    let [seen, ..] = helper_call::answer(NWD, root, &answer)?;
    if !preempts {
        // Nobody took it.
        holds(gic::waits(SCHEDULE_RECEIVER), path)?;
        take(pe)?;
    }
    equal(seen | path << 32, packed(sees) | path << 32)
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
    // One chain a job: a PE is given up after a while.
    for n in 0..CHAINS.len() {
        let body = |[n, ..]: [u64; 4]| run_chain(1, CHAINS[n as usize]).map(|()| [0; 4]);
        pe::run_on(1, body, [n as u64, 0, 0, 0])?;
    }
    unbind_all()
}

// ---- secure interrupts ----

/// Raises the interrupt of sp1; whether it has not been handled when this goes on.
fn say_and_look(sp: &Sp, _: [u64; 4]) -> Check<[u64; 4]> {
    println!("# {}: raises an interrupt", sp.identity.name);
    Ok([uart_mask(), 0, 0, 0])
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
        let [mask, ..] = ask(partition, command!(say_and_look), [0; 4])?;
        equal(mask, u64::from(left))?;
        // At the latest when the Normal world had the PE.
        equal(ask(SP1, CAME, [0; 4])?[0], 1u64)?;
    }
    Ok(())
}

/// Calls the rest of the chain, whose last member raises the interrupt. Result: for each member,
/// the first one lowest, whether it has not been handled when that has the PE again.
fn raise_in_chain(sp: &Sp, [path, ..]: [u64; 4]) -> Check<[u64; 4]> {
    let mut left = 0;
    if path != 0 {
        let next = 0x8000 | (path & 0xf) as u16;
        [left, ..] = sp.ask(next, command!(raise_in_chain), [path >> 4, 0, 0, 0])?;
    } else {
        println!("# {}: raises an interrupt", sp.identity.name);
    }
    let own = u64::from(uart_mask() != 0);
    Ok([left << 4 | own, 0, 0, 0])
}

/// Members of a chain, and who of them still sees the interrupt unhandled.
pub(crate) type Raised = (&'static [u64], &'static [u64]);

/// Lets a chain raise the interrupt of `owner`, which waits, or is the last member.
pub(crate) fn raise_by(owner: u16, (members, left): Raised) -> Check {
    ask(owner, ARM, [0; 4])?;
    let path = packed(members);
    let root = 0x8000 | members[0] as u16;
    let [seen, ..] = ask(root, command!(raise_in_chain), [path >> 4, 0, 0, 0])?;
    equal(seen | path << 32, packed(left) | path << 32)?;
    // At the latest when the Normal world had the PE.
    equal(ask(owner, CAME, [0; 4])?[0], 1u64)
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
    // Others are preempted afterwards as ever.
    run_chain(0, (&[1], true, &[NOTHING]))?;
    unbind_all()
}

// req: INT-08, INT-05
fn preempted_owner(_: &Nwd) -> Check {
    ask(SP1, ARM, [0; 4])?;
    with_flag(SP1, |flag| {
        preempt(SP1, 0, SPIN, [flag, 9, 0, 0], flag)?;
        let [mask, ..] = ask(SP2, command!(say_and_look), [0; 4])?;
        equal(mask, u64::from(TRANSMIT))?;
        // It answers without a look at it, and is run for it then.
        resume(SP1, 0, flag, 9)
    })?;
    equal(ask(SP1, CAME, [0; 4])?[0], 1u64)
}

fn own_timer(_: &Sp, _: [u64; 4]) -> Check<[u64; 4]> {
    equal(hf(ENABLE, &[VIRTUAL_TIMER, 1, 1]), 0u64)?;
    for round in 0..2_u64 {
        set_virtual_timer(1, 1);
        holds(wait_until(PATIENCE_MS, || signals() == FIQ), round)?;
        equal(hf(GET, &[]), VIRTUAL_TIMER)?;
        equal(hf(GET, &[]), NONE)?;
        set_virtual_timer(0, 0);
        equal(hf(DEACTIVATE, &[VIRTUAL_TIMER, VIRTUAL_TIMER]), 0u64)?;
        equal(signals(), NOTHING)?;
    }
    Ok([0; 4])
}

// req: INT-04, INT-13
fn interrupt_of_each_pe(nwd: &Nwd) -> Check {
    for pe in 0..nwd.pes {
        pe::run_on(pe, |_| ask(SP2, command!(own_timer), [0; 4]), [0; 4])?;
    }
    Ok(())
}

/// When the timer of each context was set to expire.
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

/// Sets the timer of this context.
fn start_long_timer(sp: &Sp, [ms, ..]: [u64; 4]) -> Check<[u64; 4]> {
    equal(hf(ENABLE, &[TIMER, 1, 0]), 0u64)?;
    let at = counter() + ms * ticks_per_ms();
    EXPIRES[sp.vcpu].store(at, Ordering::Relaxed);
    HANDLED.store(0, Ordering::Relaxed);
    set_timer_to(at, 1);
    Ok([0; 4])
}

/// The timer of this context expires when it was set to, and not before; nobody was woken for it.
fn timer_is_mine(sp: &Sp, _: [u64; 4]) -> Check<[u64; 4]> {
    let at = EXPIRES[sp.vcpu].load(Ordering::Relaxed);
    holds(signals() == NOTHING || counter() >= at, at)?;
    holds(wait_until(PATIENCE_MS, || signals() == IRQ), at)?;
    holds(counter() >= at, at)?;
    equal(hf(GET, &[]), TIMER)?;
    set_timer_to(0, 0);
    equal(hf(DEACTIVATE, &[TIMER, TIMER]), 0u64)?;
    equal(HANDLED.load(Ordering::Relaxed), 0u64)?;
    Ok([0; 4])
}

// Timers of partitions: id 3.
fn timers_of_contexts(nwd: &Nwd) -> Check {
    // sp1 moves to the next PE while its timer runs; each context of sp8 has its own.
    ask(SP1, command!(start_long_timer), [5, 0, 0, 0])?;
    for pe in 0..nwd.pes {
        let start = |[ms, ..]: [u64; 4]| ask(SP8, command!(start_long_timer), [ms, 0, 0, 0]);
        pe::run_on(pe, start, [2 + 4 * pe as u64, 0, 0, 0])?;
    }
    let elsewhere = |partition: u16| {
        let look =
            |[partition, ..]: [u64; 4]| ask(partition as u16, command!(timer_is_mine), [0; 4]);
        pe::run_on(1, look, [partition.into(), 0, 0, 0])
    };
    elsewhere(SP1)?;
    ask(SP8, command!(timer_is_mine), [0; 4])?;
    for pe in 1..nwd.pes {
        pe::run_on(pe, |_| ask(SP8, command!(timer_is_mine), [0; 4]), [0; 4])?;
    }
    Ok(())
}

/// Lets an edge through to this partition.
fn want(_: &Sp, [interrupt, ..]: [u64; 4]) -> Check<[u64; 4]> {
    equal(hf(ENABLE, &[interrupt, 1, 0]), 0u64)?;
    Ok([0; 4])
}

fn count_of(_: &Sp, _: [u64; 4]) -> Check<[u64; 4]> {
    Ok([HANDLED.load(Ordering::Relaxed), 0, 0, 0])
}

/// Has `partition` enable one of its interrupts.
pub(crate) fn let_through(partition: u16, interrupt: u64) -> Check {
    ask(partition, command!(want), [interrupt, 0, 0, 0]).map(drop)
}

/// How many interrupts `partition` has handled.
pub(crate) fn handled_by(partition: u16) -> Check<u64> {
    ask(partition, command!(count_of), [0; 4]).map(|[count, ..]| count)
}

/// Waits until `partition` has handled `count` interrupts.
pub(crate) fn comes_to(partition: u16, count: u64) -> Check {
    let mut seen = 0;
    let came = wait_until(PATIENCE_MS, || {
        seen = handled_by(partition).unwrap_or(u64::MAX);
        seen == count
    });
    holds(came, seen)
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
            let touch =
                |[partition, ..]: [u64; 4]| ask(partition as u16, command!(count_of), [0; 4]);
            pe::run_on(1, touch, [partition.into(), 0, 0, 0])?;
            source.raise();
            comes_to(partition, before + n)?;
        }
    }
    Ok(())
}

fn allow_ipi(_: &Sp, _: [u64; 4]) -> Check<[u64; 4]> {
    equal(hf(ENABLE, &[IPI, 1, 0]), 0u64)?;
    HANDLED.store(0, Ordering::Relaxed);
    Ok([0; 4])
}

fn call_context(_: &Sp, [to, ..]: [u64; 4]) -> Check<[u64; 4]> {
    equal(hf(SEND_IPI, &[to]), 0u64)?;
    Ok([0; 4])
}

// FF-A v1.1 section 9.3, sri-interrupts-policy.
fn scheduler_runs_owner(_: &Nwd) -> Check {
    let prepare = |_: [u64; 4]| {
        gic::open(1, SCHEDULE_RECEIVER);
        ask(SP4, command!(allow_ipi), [0; 4])
    };
    let scheduled = |_: [u64; 4]| -> Check<[u64; 4]> {
        gic::take(1, SCHEDULE_RECEIVER)?;
        let list = ffa::call(id::NOTIFICATION_INFO_GET_64, &[]);
        equal(list[0], id::SUCCESS_64)?;
        // One list, with one context.
        equal(list[2], 1u64 << 7 | 1 << 12)?;
        equal(list[3], u64::from(SP4) | 1 << 16)?;
        let answer = run(SP4, 1);
        equal(answer[0], id::MSG_WAIT)?;
        Ok([0; 4])
    };
    pe::run_on(1, prepare, [0; 4])?;
    ask(SP4, command!(call_context), [1, 0, 0, 0])?;
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
