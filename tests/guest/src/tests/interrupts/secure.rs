//! Secure interrupts of a partition (FF-A v1.1 chapter 9): sp1 owns that of the secure PL011, which
//! anybody raises who writes to the console while sp1 lets it through. And interrupts between
//! contexts of sp2.

use core::arch::asm;
use core::sync::atomic::{AtomicU64, Ordering};

use super::{interrupt_soak, storms};
use crate::ffa::{self, SP1, SP2};
use crate::nwd::{Nwd, Test, ask, gic, pe};
use crate::rt::call::call;
use crate::rt::check::{Check, equal, holds};
use crate::rt::mark::mark;
use crate::rt::uart::SECURE_UART;
use crate::rt::{PATIENCE_MS, counter, exception_level, ticks_per_ms, wait_until};
use crate::sp::{Command, Identity, Sp};
use crate::{command, helper, println, test};

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

/// Where nobody claims the virtual timer.
pub const VIRTUAL_TIMER: &[Test] = &[test!(
    virtual_timer_of_a_partition,
    "The virtual timer of sp1 does not preempt it, but is seen by it"
)];

/// Code of the partitions.
pub const HELPERS: &[Command] = &[
    helper!(while_it_runs),
    helper!(arm),
    helper!(handled),
    helper!(say),
    helper!(careless),
    helper!(timer_while_it_runs),
    helper!(virtual_timer_while_it_runs),
    helper!(start_timer),
    helper!(timer_has_expired),
    helper!(enable_ipi),
    helper!(send_ipi),
];

/// [`arm`] and [`handled`], for other files.
pub(crate) const ARM: u32 = command!(arm);
pub(crate) const CAME: u32 = command!(handled);
/// [`say`] and [`while_it_runs`], for other files.
pub(crate) const SAY: u32 = command!(say);
pub(crate) const WHILE_IT_RUNS: u32 = command!(while_it_runs);

/// The calls of partitions for interrupts.
pub(crate) const ENABLE: u32 = 0xff03;
pub(crate) const GET: u32 = 0xff04;
pub(crate) const DEACTIVATE: u32 = 0xff08;
pub(crate) const RECONFIGURE: u32 = 0xff09;
pub(crate) const SEND_IPI: u32 = 0xff0a;
pub(crate) const NONE: u64 = 0xffff_ffff;

/// INTID of the secure PL011.
pub(crate) const UART: u64 = 40;
pub(crate) const IPI: u64 = 9;
const TIMER: u64 = 3;

const DATA: usize = 0x00;
const MASK: usize = 0x38;
const CLEAR: usize = 0x44;
/// The transmit interrupt in both.
pub(crate) const TRANSMIT: u32 = 1 << 5;

/// Counts the interrupts that contexts of this partition handled.
pub(crate) static HANDLED: AtomicU64 = AtomicU64::new(0);
/// When they handled the last of it.
static LAST: AtomicU64 = AtomicU64::new(0);
/// They do not clear the source.
static CARELESS: AtomicU64 = AtomicU64::new(0);

fn uart(register: usize, value: u32) {
    // SAFETY: a register of the PL011, mapped as device memory.
    unsafe { ((SECURE_UART + register) as *mut u32).write_volatile(value) };
}

/// Returns what the UART lets through.
pub(crate) fn uart_mask() -> u64 {
    // SAFETY: as above.
    u64::from(unsafe { ((SECURE_UART + MASK) as *const u32).read_volatile() })
}

pub(crate) fn hf(function: u32, arguments: &[u64]) -> u64 {
    call(ffa::conduit(), ffa::regs(function, arguments))[0]
}

/// Virtual interrupts that are signalled: bit 0 an IRQ, bit 1 an FIQ; at S-EL0, none.
pub(crate) fn signals() -> u64 {
    if exception_level() == 0 {
        return 0;
    }
    let pending: u64;
    // SAFETY: reads a status register.
    unsafe { asm!("mrs {}, isr_el1", out(reg) pending, options(nomem, nostack)) };
    (pending >> 7 & 1) | (pending >> 6 & 1) << 1
}

/// The virtual IRQ is pending.
fn is_signalled() -> bool {
    signals() & 1 != 0
}

/// How often sp1 handled the interrupt that it armed at the end of its initialisation, for the
/// first of those that boot after it. At most, if it armed none.
static AT_BOOT: AtomicU64 = AtomicU64::new(u64::MAX);
const TIMES_AT_BOOT: u64 = 2;

/// Called last of all by the boot context: sp1 lets through the interrupts that the next partition
/// raises when it writes to the console. What it wrote itself is the first one.
pub fn during_initialisation(identity: &Identity) {
    if identity.id == SP1 && enable().is_ok() {
        AT_BOOT.store(0, Ordering::Relaxed);
        uart(MASK, TRANSMIT);
    }
}

/// Handles the interrupt of a context that got `FFA_INTERRUPT`.
pub fn on_interrupt() {
    // At S-EL0 there is no other way to find out.
    while exception_level() == 0 || is_signalled() {
        let id = hf(GET, &[]);
        if id == NONE {
            return;
        }
        if id == UART && AT_BOOT.load(Ordering::Relaxed) < TIMES_AT_BOOT {
            if AT_BOOT.fetch_add(1, Ordering::Relaxed) + 1 == TIMES_AT_BOOT {
                quieten();
            }
            uart(CLEAR, TRANSMIT);
        } else if storms::handle(id) {
            continue;
        } else {
            if id == UART && CARELESS.load(Ordering::Relaxed) == 0 {
                quieten();
            }
            interrupt_soak::count(id);
        }
        HANDLED.fetch_add(1, Ordering::Relaxed);
        LAST.store(counter(), Ordering::Relaxed);
        hf(DEACTIVATE, &[id, id]);
    }
}

/// Handles the interrupt, if there is one, of a context that got cycles: the scheduler may have
/// given them for it.
pub fn on_run() {
    if exception_level() == 1 && is_signalled() {
        on_interrupt();
    }
}

pub(crate) fn quieten() {
    uart(MASK, 0);
    uart(CLEAR, TRANSMIT);
}

pub(crate) fn enable() -> Check {
    equal(hf(ENABLE, &[UART, 1, 0]), 0u64)?;
    equal(hf(RECONFIGURE, &[UART, 2, 1]), 0u64)
}

/// Lets the interrupt `id` through, an edge.
pub fn let_through(id: u64) -> Check<[u64; 4]> {
    equal(hf(ENABLE, &[id, 1, 0]), 0u64)?;
    Ok([0; 4])
}

/// For the benchmarks: fetches and deactivates the interrupt of the UART, with marks round both.
pub fn measure(get: u64, deactivate: u64) -> Check<[u64; 4]> {
    quieten();
    enable()?;
    uart(MASK, TRANSMIT);
    println!("# an interrupt");
    holds(wait_until(PATIENCE_MS, is_signalled), 0u64)?;
    quieten();
    mark(get);
    let id = hf(GET, &[]);
    mark(get + 1);
    equal(id, UART)?;
    mark(deactivate);
    let done = hf(DEACTIVATE, &[UART, UART]);
    mark(deactivate + 1);
    equal(done, 0u64)?;
    Ok([0; 4])
}

// req: INT-04, INT-13
fn interrupt_of_running_partition(_: &Nwd) -> Check {
    ask(SP1, command!(while_it_runs), [0; 4])?;
    Ok(())
}

fn while_it_runs(_: &Sp, _: [u64; 4]) -> Check<[u64; 4]> {
    quieten();
    enable()?;
    equal(hf(GET, &[]), NONE)?;
    for round in 0..3 {
        holds(!is_signalled(), round as u64)?;
        uart(MASK, TRANSMIT);
        println!("# interrupt {round}");
        holds(wait_until(PATIENCE_MS, is_signalled), round as u64)?;
        equal(hf(GET, &[]), UART)?;
        // Active: it does not come again, though its source goes on.
        holds(!is_signalled(), round as u64)?;
        equal(hf(GET, &[]), NONE)?;
        quieten();
        equal(hf(DEACTIVATE, &[UART, UART]), 0u64)?;
        equal(hf(GET, &[]), NONE)?;
    }
    Ok([0; 4])
}

/// Lets the interrupt through that the next character on the console raises.
fn arm(_: &Sp, _: [u64; 4]) -> Check<[u64; 4]> {
    quieten();
    enable()?;
    HANDLED.store(0, Ordering::Relaxed);
    uart(MASK, TRANSMIT);
    Ok([0; 4])
}

/// Lets the interrupt of the UART through once: now, if anybody has written since it was cleared,
/// or with the next character.
pub(crate) fn let_uart_through() {
    uart(MASK, TRANSMIT);
}

/// Writes a character if that raises the interrupt of the UART.
pub(crate) fn write_if_let_through() {
    if uart_mask() != 0 {
        uart(DATA, b' '.into());
    }
}

fn handled(_: &Sp, _: [u64; 4]) -> Check<[u64; 4]> {
    let at_boot = AT_BOOT.load(Ordering::Relaxed);
    let last = LAST.load(Ordering::Relaxed);
    Ok([HANDLED.load(Ordering::Relaxed), at_boot, last, 0])
}

fn say(sp: &Sp, _: [u64; 4]) -> Check<[u64; 4]> {
    println!(
        "# {}: a character that raises an interrupt",
        sp.identity.name
    );
    Ok([7; 4])
}

// req: INT-05, INT-07, INT-11
fn interrupt_stops_other_partition(_: &Nwd) -> Check {
    ask(SP1, command!(arm), [0; 4])?;
    equal(ask(SP2, command!(say), [0; 4])?[0], 7u64)?;
    equal(ask(SP1, command!(handled), [0; 4])?[0], 1u64)
}

// req: INT-05, INT-06, INT-14
fn interrupt_stops_normal_world(_: &Nwd) -> Check {
    ask(SP1, command!(arm), [0; 4])?;
    // This PE, to which the interrupt goes, waits.
    pe::run_on(1, |_| ask(SP2, command!(say), [0; 4]), [0; 4])?;
    equal(ask(SP1, command!(handled), [0; 4])?[0], 1u64)
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
    ask(SP1, command!(arm), [0; 4])?;
    ask(SP2, command!(say), [0; 4])?;
    let many = ask(SP1, command!(handled), [0; 4])?[0];
    ask(SP1, command!(careless), [0; 4])?;
    holds(many > 10, many)?;
    // Its owner can have it again.
    interrupt_of_running_partition(&Nwd { pes: 1 })
}

/// CNTP_CTL_EL0: the timer is on; it expired.
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

pub(crate) fn set_virtual_timer(control: u64, ms: u64) {
    let ticks = ms * ticks_per_ms();
    // SAFETY: the timer of this partition, whose interrupt is masked in PSTATE.
    unsafe {
        asm!(
            "msr cntv_tval_el0, {}",
            "msr cntv_ctl_el0, {}",
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

// Timers of partitions: id 3.
// req: SINT-25
fn timer_of_a_partition(_: &Nwd) -> Check {
    ask(SP1, command!(timer_while_it_runs), [0; 4])?;
    ask(SP1, command!(start_timer), [0; 4])?;
    // Nobody is woken.
    let waited = wait_until(5, || false);
    holds(!waited, 0u64)?;
    ask(SP1, command!(timer_has_expired), [0; 4])?;
    Ok(())
}

// The EL1 virtual timer: id 3, too, as far as the Normal world lets its interrupt through.
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

/// The EL1 virtual timer does not stop its partition, but is seen by it.
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

fn timer_has_expired(_: &Sp, _: [u64; 4]) -> Check<[u64; 4]> {
    equal(HANDLED.load(Ordering::Relaxed), 0u64)?;
    timer_has_expired_now()?;
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

// Paravirtual interface, id 9.
// req: SINT-24
fn interrupt_between_contexts(_: &Nwd) -> Check {
    pe::run_on(1, |_| ask(SP2, command!(enable_ipi), [0; 4]), [0; 4])?;
    ask(SP2, command!(send_ipi), [1, 0, 0, 0])?;
    Ok(())
}
