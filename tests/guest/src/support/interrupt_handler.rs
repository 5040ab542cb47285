//! How a partition handles interrupts when it waits or is given cycles, and how often it did.

use core::sync::atomic::{AtomicU64, Ordering};

use crate::ffa::SP1;
use crate::nwd::ask;
use crate::rt::check::{Check, equal, holds};
use crate::rt::{PATIENCE_MS, counter, exception_level, wait_until};
use crate::sp::{Command, Identity, Sp};
use crate::support::secure_uart::{CLEAR, MASK, TRANSMIT, UART, enable, quieten, uart};
use crate::support::virtual_interrupts::{DEACTIVATE, ENABLE, GET, IPI, NONE, hf, is_signalled};
use crate::support::{interrupt_counts, interrupt_flood};
use crate::{command, helper};

/// Code of the partitions.
pub const HELPERS: &[Command] = &[
    helper!(arm),
    helper!(handled),
    helper!(want),
    helper!(count_of),
    helper!(allow_ipi),
];

/// Asks how many interrupts the partition has handled.
pub(crate) const COUNT_OF: u32 = command!(count_of);

/// [`arm`] and [`handled`], for other files.
pub(crate) const ARM: u32 = command!(arm);
pub(crate) const CAME: u32 = command!(handled);

/// Counts the interrupts that contexts of this partition handled.
pub(crate) static HANDLED: AtomicU64 = AtomicU64::new(0);
/// When they handled the last of it.
static LAST: AtomicU64 = AtomicU64::new(0);
/// They do not clear the source.
pub(crate) static CARELESS: AtomicU64 = AtomicU64::new(0);

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
        } else if interrupt_flood::handle(id) {
            continue;
        } else {
            if id == UART && CARELESS.load(Ordering::Relaxed) == 0 {
                quieten();
            }
            interrupt_counts::count(id);
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

/// Lets the interrupt through that the next character on the console raises.
fn arm(_: &Sp, _: [u64; 4]) -> Check<[u64; 4]> {
    quieten();
    enable()?;
    HANDLED.store(0, Ordering::Relaxed);
    uart(MASK, TRANSMIT);
    Ok([0; 4])
}

fn handled(_: &Sp, _: [u64; 4]) -> Check<[u64; 4]> {
    let at_boot = AT_BOOT.load(Ordering::Relaxed);
    let last = LAST.load(Ordering::Relaxed);
    Ok([HANDLED.load(Ordering::Relaxed), at_boot, last, 0])
}
pub(crate) const ALLOW_IPI: u32 = command!(allow_ipi);

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

fn allow_ipi(_: &Sp, _: [u64; 4]) -> Check<[u64; 4]> {
    equal(hf(ENABLE, &[IPI, 1, 0]), 0u64)?;
    HANDLED.store(0, Ordering::Relaxed);
    Ok([0; 4])
}
