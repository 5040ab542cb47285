//! Handlers that raise their own interrupt anew each time, and count how often.

use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::nwd::pe;
use crate::rt::check::Check;
use crate::sp::{Command, Sp, vcpu_index};
use crate::support::secure_uart::{UART, let_uart_through, quieten, write_if_let_through};
use crate::support::virtual_interrupts::{
    DEACTIVATE, IPI, SEND_IPI, VIRTUAL_TIMER, hf, set_virtual_timer,
};
use crate::{command, helper};

/// Code of the partitions.
pub const HELPERS: &[Command] = &[helper!(flood), helper!(floods)];

/// The number of the helper by which handlers raise their interrupt anew from now on, or no more.
pub(crate) const RAISE_ANEW: u32 = command!(flood);

/// The number of the helper that returns how often the context raised its interrupt anew.
pub(crate) const RAISED_ANEW: u32 = command!(floods);

/// Says whether handlers raise their interrupt anew.
static FLOOD: AtomicBool = AtomicBool::new(false);
/// Number of times that each context did so.
static FLOODS: [AtomicU64; pe::MAX] = [const { AtomicU64::new(0) }; pe::MAX];

/// Handles `interrupt` and raises it anew, if handlers are to do so. Returns whether it did.
pub fn handle(interrupt: u64) -> bool {
    if !FLOOD.load(Ordering::Relaxed) {
        return false;
    }
    let vcpu = vcpu_index();
    FLOODS[vcpu].fetch_add(1, Ordering::Relaxed);
    // Silence the source, so that the SPMC does not take it for one that was never cleared.
    match interrupt {
        UART => quieten(),
        VIRTUAL_TIMER => set_virtual_timer(0, 0),
        _ => {}
    }
    hf(DEACTIVATE, &[interrupt, interrupt]);
    match interrupt {
        UART => {
            let_uart_through();
            write_if_let_through();
        }
        VIRTUAL_TIMER => set_virtual_timer(1, 0),
        IPI => {
            hf(SEND_IPI, &[1 - vcpu as u64]);
        }
        _ => {}
    }
    true
}

fn flood(_: &Sp, [on, ..]: [u64; 4]) -> Check<[u64; 4]> {
    FLOOD.store(on != 0, Ordering::Relaxed);
    for floods in &FLOODS {
        floods.store(0, Ordering::Relaxed);
    }
    quieten();
    Ok([0; 4])
}

/// Returns how often this context raised its interrupt anew, and silences its timer.
fn floods(sp: &Sp, _: [u64; 4]) -> Check<[u64; 4]> {
    set_virtual_timer(0, 0);
    Ok([FLOODS[sp.vcpu].load(Ordering::Relaxed), 0, 0, 0])
}
