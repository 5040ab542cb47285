//! The interrupt of the secure PL011: anybody who writes to the console raises it while its owner
//! lets it through.

use crate::rt::check::{Check, equal, holds};
use crate::rt::uart::SECURE_UART;
use crate::rt::{PATIENCE_MS, wait_until};
use crate::sp::{Command, Sp};
use crate::support::virtual_interrupts::{
    DEACTIVATE, ENABLE, GET, NONE, RECONFIGURE, hf, is_signalled,
};
use crate::{command, helper, println};

/// Code of the partitions.
pub const HELPERS: &[Command] = &[helper!(while_it_runs), helper!(say), helper!(say_and_look)];

/// The numbers of the helpers [`say`] and [`while_it_runs`].
pub(crate) const SAY: u32 = command!(say);
pub(crate) const WHILE_IT_RUNS: u32 = command!(while_it_runs);
/// The number of the helper [`say_and_look`].
pub(crate) const SAY_AND_LOOK: u32 = command!(say_and_look);

/// INTID of the secure PL011.
pub(crate) const UART: u64 = 40;

/// Offsets of the registers UARTDR, UARTIMSC and UARTICR.
const DATA: usize = 0x00;
pub(crate) const MASK: usize = 0x38;
pub(crate) const CLEAR: usize = 0x44;
/// The bit of the transmit interrupt in both registers.
pub(crate) const TRANSMIT: u32 = 1 << 5;

/// Writes a register of the secure PL011.
pub(crate) fn uart(register: usize, value: u32) {
    // SAFETY: a register of the PL011, mapped as device memory.
    unsafe { ((SECURE_UART + register) as *mut u32).write_volatile(value) };
}

/// Returns the interrupts that the UART lets through.
pub(crate) fn uart_mask() -> u64 {
    // SAFETY: as above.
    u64::from(unsafe { ((SECURE_UART + MASK) as *const u32).read_volatile() })
}

/// Masks and clears the interrupt of the UART.
pub(crate) fn quieten() {
    uart(MASK, 0);
    uart(CLEAR, TRANSMIT);
}

/// Enables the interrupt of the UART for this partition, and its delivery.
pub(crate) fn enable() -> Check {
    equal(hf(ENABLE, &[UART, 1, 0]), 0u64)?;
    equal(hf(RECONFIGURE, &[UART, 2, 1]), 0u64)
}

/// Raises the interrupt of the UART three times, and handles it while this context runs.
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
        // An active interrupt does not come again, though its source goes on.
        holds(!is_signalled(), round as u64)?;
        equal(hf(GET, &[]), NONE)?;
        quieten();
        equal(hf(DEACTIVATE, &[UART, UART]), 0u64)?;
        equal(hf(GET, &[]), NONE)?;
    }
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

/// Writes a character, which raises the interrupt of the UART if that is let through.
fn say(sp: &Sp, _: [u64; 4]) -> Check<[u64; 4]> {
    println!(
        "# {}: a character that raises an interrupt",
        sp.identity.name
    );
    Ok([7; 4])
}

/// Raises the interrupt of sp1. Result: not zero if the interrupt is unhandled when this partition
/// goes on.
fn say_and_look(sp: &Sp, _: [u64; 4]) -> Check<[u64; 4]> {
    println!("# {}: raises an interrupt", sp.identity.name);
    Ok([uart_mask(), 0, 0, 0])
}
