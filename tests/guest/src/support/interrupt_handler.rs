//! The handling of interrupts in a partition that waits or is given cycles, with a count of them.

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

/// The number of the helper that returns how many interrupts the partition has handled.
pub(crate) const COUNT_OF: u32 = command!(count_of);

/// The numbers of the helpers [`arm`] and [`handled`].
pub(crate) const ARM: u32 = command!(arm);
pub(crate) const CAME: u32 = command!(handled);
/// The number of the helper [`allow_ipi`].
pub(crate) const ALLOW_IPI: u32 = command!(allow_ipi);

/// Number of interrupts that the contexts of this partition handled.
pub(crate) static HANDLED: AtomicU64 = AtomicU64::new(0);
/// Time at which they handled the last one.
static LAST: AtomicU64 = AtomicU64::new(0);
/// Not zero if the contexts do not clear the source.
pub(crate) static CARELESS: AtomicU64 = AtomicU64::new(0);

/// Number of times that sp1 handled the interrupt that it armed at the end of its initialisation,
/// up to [`TIMES_AT_BOOT`]. All ones if it armed none.
static AT_BOOT: AtomicU64 = AtomicU64::new(u64::MAX);
const TIMES_AT_BOOT: u64 = 2;

/// Lets the UART's interrupt through in sp1, as the last act of the boot context. The first
/// interrupt is for sp1's own characters, the next one for those of the partition that boots next.
pub fn during_initialisation(identity: &Identity) {
    if identity.id == SP1 && enable().is_ok() {
        AT_BOOT.store(0, Ordering::Relaxed);
        uart(MASK, TRANSMIT);
    }
}

/// Handles the interrupt of a context that got `FFA_INTERRUPT`.
pub fn on_interrupt() {
    // At S-EL0 nothing is signalled, so only a fetch finds out.
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

/// Handles the interrupt, if there is one, of a context that got cycles, since the scheduler may
/// have given them for it.
pub fn on_run() {
    if exception_level() == 1 && is_signalled() {
        on_interrupt();
    }
}

/// Lets through the interrupt that the next character on the console raises.
fn arm(_: &Sp, _: [u64; 4]) -> Check<[u64; 4]> {
    quieten();
    enable()?;
    HANDLED.store(0, Ordering::Relaxed);
    uart(MASK, TRANSMIT);
    Ok([0; 4])
}

/// Results: the number of interrupts handled, that at boot, and the time of the last one.
fn handled(_: &Sp, _: [u64; 4]) -> Check<[u64; 4]> {
    let at_boot = AT_BOOT.load(Ordering::Relaxed);
    let last = LAST.load(Ordering::Relaxed);
    Ok([HANDLED.load(Ordering::Relaxed), at_boot, last, 0])
}

/// Enables the interrupt in x4, an edge, for this partition.
fn want(_: &Sp, [interrupt, ..]: [u64; 4]) -> Check<[u64; 4]> {
    equal(hf(ENABLE, &[interrupt, 1, 0]), 0u64)?;
    Ok([0; 4])
}

/// Result: the number of interrupts handled.
fn count_of(_: &Sp, _: [u64; 4]) -> Check<[u64; 4]> {
    Ok([HANDLED.load(Ordering::Relaxed), 0, 0, 0])
}

/// Has `partition` enable one of its interrupts.
pub(crate) fn let_through(partition: u16, interrupt: u64) -> Check {
    ask(partition, command!(want), [interrupt, 0, 0, 0]).map(drop)
}

/// Returns how many interrupts `partition` has handled.
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

/// Enables interrupts between contexts, and sets the count of handled interrupts to 0.
fn allow_ipi(_: &Sp, _: [u64; 4]) -> Check<[u64; 4]> {
    equal(hf(ENABLE, &[IPI, 1, 0]), 0u64)?;
    HANDLED.store(0, Ordering::Relaxed);
    Ok([0; 4])
}
