//! Counts of interrupts: how often a partition raised each of its own, and how often it handled
//! each.

use core::sync::atomic::{AtomicU64, Ordering};

use crate::nwd::pe;
use crate::rt::check::{Check, equal};
use crate::rt::stage1::{self, Attributes};
use crate::sp::{Command, Sp};
use crate::support::secure_uart::UART;
use crate::support::virtual_interrupts::{ENABLE, IPI, TIMER, hf};
use crate::{command, helper};

/// Code of the partitions.
pub const HELPERS: &[Command] = &[helper!(count_here), helper!(counted)];

/// The number of the helper that names the page in which a partition counts its edges.
pub(crate) const COUNT_HERE: u32 = command!(count_here);

/// The number of the helper that returns the counts.
pub(crate) const COUNTED: u32 = command!(counted);

/// Address of the page with the count of edges that were handled, or 0.
static PAGE: AtomicU64 = AtomicU64::new(0);
const FIRST_EDGE: u64 = 32;

/// The counts of a source inside the partition.
pub(crate) struct Own {
    raised: AtomicU64,
    handled: AtomicU64,
}

impl Own {
    const fn new() -> Self {
        Self {
            raised: AtomicU64::new(0),
            handled: AtomicU64::new(0),
        }
    }

    /// Returns how often the interrupt was handled.
    pub(crate) fn handled(&self) -> u64 {
        self.handled.load(Ordering::Acquire)
    }

    /// Counts a rise of the source and returns true, unless the last rise was not handled.
    pub(crate) fn begin(&self) -> bool {
        let handled = self.handled.load(Ordering::Acquire);
        let begun =
            self.raised
                .compare_exchange(handled, handled + 1, Ordering::AcqRel, Ordering::Acquire);
        begun.is_ok()
    }
}

/// The secure PL011, which is raised by the next character once sp1 has let its interrupt through.
pub(crate) static LEVEL: Own = Own::new();
/// The interrupts between contexts, by the context that is interrupted.
pub(crate) static CALLS: [Own; pe::MAX] = [const { Own::new() }; pe::MAX];
/// The timers, by context.
pub(crate) static TIMERS: [Own; pe::MAX] = [const { Own::new() }; pe::MAX];

/// Counts an interrupt that is being handled.
pub fn count(interrupt: u64) {
    let own = match interrupt {
        UART => Some(&LEVEL),
        IPI => Some(&CALLS[crate::sp::vcpu_index()]),
        TIMER => Some(&TIMERS[crate::sp::vcpu_index()]),
        _ => None,
    };
    if let Some(own) = own {
        own.handled.fetch_add(1, Ordering::AcqRel);
        return;
    }
    let page = PAGE.load(Ordering::Acquire);
    if page != 0 && interrupt >= FIRST_EDGE {
        // SAFETY: a page that the Normal world shared for this; one context at a time handles the
        // interrupt.
        unsafe {
            let word = page as *mut u64;
            word.write_volatile(word.read_volatile() + 1);
        }
    }
}

fn count_here(_: &Sp, [page, interrupt, ..]: [u64; 4]) -> Check<[u64; 4]> {
    stage1::map(page, Attributes::NonSecure);
    PAGE.store(page, Ordering::Release);
    equal(hf(ENABLE, &[interrupt, 1, 0]), 0u64)?;
    Ok([0; 4])
}

/// Returns the counts of this partition's sources, raised and handled: the level first, then all
/// interrupts between contexts.
fn counted(_: &Sp, _: [u64; 4]) -> Check<[u64; 4]> {
    let mut totals = [0; 4];
    let mut add = |at: usize, own: &Own| {
        totals[at] += own.raised.load(Ordering::Acquire);
        totals[at + 1] += own.handled.load(Ordering::Acquire);
    };
    add(0, &LEVEL);
    CALLS.iter().for_each(|own| add(2, own));
    Ok(totals)
}
