//! The GICv3 as far as the SPMC uses it: its own private interrupts, and the CPU interface's Secure
//! Group 1.
//!
//! TF-A has set the GIC up and keeps it; only what is ours is changed here.

use core::ptr::NonNull;

use aarch64_cpu::asm::barrier;
use arm_gic::gicv3::{
    GicCpuInterface, GicRedistributor, GicRedistributorIterator, Group, SecureIntGroup,
};
use arm_gic::{IntId, InterruptGroup};
use spmc::hal::SCHEDULE_RECEIVER_INTERRUPT;
use spmc::limits::MAX_PES;
use tock_registers::interfaces::{Readable, Writeable};

pub mod lines;
pub mod timer;
pub mod watchdog;

use self::lines::Line;
use super::registers::{
    ICC_AP0R0_EL1, ICC_AP1R0_EL1, ICC_ASGI1R_EL1, ICC_CTLR_EL1, ICC_IGRPEN0_EL1, ICC_IGRPEN1_EL1,
    ICC_SGI1R_EL1,
};
use super::{BOARD, affinity};
use crate::Board;

/// Priority of our interrupts: in the upper half of the Secure half, so that they pass the mask
/// that stops the Normal world's.
const PRIORITY: u8 = 0x40;

/// Names the schedule receiver interrupt in the type of `arm-gic`.
const SCHEDULE_RECEIVER: IntId = IntId::sgi(SCHEDULE_RECEIVER_INTERRUPT);

/// The Secure SGI by which PEs make each other look at their interrupts again.
const LOOK_AGAIN: IntId = IntId::sgi(9);

/// ICC_SGI1R_EL1.IRM: to all PEs but this one.
const ALL_OTHERS: u64 = 1 << 40;

/// ICC_CTLR_EL1.EOImode: end of interrupt drops the priority only; deactivation is another step.
const EOI_MODE: u64 = 1 << 1;

/// Prepares this PE: system registers on, Secure Group 1 interrupts signalled, the watchdog's
/// interrupt ours but off.
///
/// The priority mask is not touched: it is one register for both worlds.
pub fn init_pe(board: &Board) {
    GicCpuInterface::enable_system_register_el2(true);
    ICC_CTLR_EL1.set(ICC_CTLR_EL1.get() | EOI_MODE);
    GicCpuInterface::enable_group1(true);
    with_redistributor(board, |redistributor| {
        // TF-A leaves private interrupts that it does not know in Non-secure Group 1.
        redistributor.enable_interrupt(watchdog::INTERRUPT, false)?;
        redistributor.set_group(watchdog::INTERRUPT, Group::Secure(SecureIntGroup::Group1S))?;
        redistributor.set_interrupt_priority(watchdog::INTERRUPT, PRIORITY)?;
        redistributor.set_group(timer::INTERRUPT, Group::Secure(SecureIntGroup::Group1S))?;
        redistributor.set_interrupt_priority(timer::INTERRUPT, PRIORITY)?;
        redistributor.enable_interrupt(timer::INTERRUPT, true)?;
        redistributor.set_group(LOOK_AGAIN, Group::Secure(SecureIntGroup::Group1S))?;
        redistributor.set_interrupt_priority(LOOK_AGAIN, PRIORITY)?;
        redistributor.enable_interrupt(LOOK_AGAIN, true)?;
        // TF-A takes SGIs 8 to 15 for the Secure world; this one is the Normal world's to enable.
        redistributor.enable_interrupt(SCHEDULE_RECEIVER, false)?;
        redistributor.set_group(SCHEDULE_RECEIVER, Group::Group1NS)
    });
}

/// Puts back what a partition that leaves this PE may have changed in the CPU interface, where it
/// reaches that: interrupts of both groups are signalled, none is active, and their end is not
/// their deactivation. The priority mask is set whenever somebody enters.
#[inline(always)]
pub fn reclaim_cpu_interface() {
    if BOARD.lends_cpu_interface {
        ICC_IGRPEN0_EL1.set(1);
        ICC_IGRPEN1_EL1.set(1);
        ICC_AP0R0_EL1.set(0);
        ICC_AP1R0_EL1.set(0);
        ICC_CTLR_EL1.set(EOI_MODE);
    }
}

/// Makes the schedule receiver interrupt pending on this PE.
pub fn raise_schedule_receiver() {
    ICC_ASGI1R_EL1.set(to_this_pe() | number(SCHEDULE_RECEIVER));
}

/// Makes this PE look at its interrupts again.
pub fn look_again_here() {
    ICC_SGI1R_EL1.set(to_this_pe() | number(LOOK_AGAIN));
}

/// Makes all other PEs look at their interrupts again. They find what this one has written before.
pub fn look_again_elsewhere() {
    // The write of a system register waits for no store.
    barrier::dsb(barrier::ISHST);
    ICC_SGI1R_EL1.set(ALL_OTHERS | number(LOOK_AGAIN));
}

/// The SGI in a register that generates one.
fn number(interrupt: IntId) -> u64 {
    u64::from(u32::from(interrupt)) << 24
}

/// This PE as the target there: Aff3, Aff2 and Aff1 as they are, Aff0 as a range of 16 and a bit in
/// it.
fn to_this_pe() -> u64 {
    let affinity = affinity::own();
    let field = |from: u32, bits: u32, to: u32| (affinity >> from & ((1 << bits) - 1)) << to;
    let target = field(32, 8, 48) | field(16, 8, 32) | field(8, 8, 16) | field(4, 4, 44);
    target | 1 << field(0, 4, 0)
}

/// Lets the watchdog's interrupt through on this PE, or not.
pub fn enable_watchdog(board: &Board, enable: bool) {
    with_redistributor(board, |redistributor| {
        redistributor.enable_interrupt(watchdog::INTERRUPT, enable)
    });
}

/// The Secure Group 1 interrupt that is pending with the highest priority.
pub fn pending() -> Option<IntId> {
    real(GicCpuInterface::get_pending_interrupt(
        InterruptGroup::Group1,
    ))
}

/// The Group 0 interrupt that is pending with the highest priority; those are EL3's.
pub fn pending_group0() -> Option<IntId> {
    real(GicCpuInterface::get_pending_interrupt(
        InterruptGroup::Group0,
    ))
}

/// 1020 to 1023 are no interrupts.
fn real(interrupt: Option<IntId>) -> Option<IntId> {
    interrupt.filter(|&interrupt| u32::from(interrupt) < u32::from(IntId::SPECIAL_SECURE))
}

/// Acknowledges the next interrupt of a partition that is pending, and drops its priority. Our own
/// ones are dealt with: those of timers stay pending until a partition would run.
pub fn acknowledge() -> Option<u32> {
    loop {
        let next = pending()?;
        if next == watchdog::INTERRUPT || next == timer::INTERRUPT {
            return None;
        }
        let interrupt = take()?;
        if interrupt != LOOK_AGAIN {
            return Some(interrupt.into());
        }
        deactivate(interrupt.into());
    }
}

/// Acknowledges the pending interrupt, which is our own, and is done with it.
pub fn complete_own() {
    if let Some(interrupt) = take() {
        deactivate(interrupt.into());
    }
}

/// Acknowledges the next interrupt that is pending, and drops its priority.
fn take() -> Option<IntId> {
    let interrupt = GicCpuInterface::get_and_acknowledge_interrupt(InterruptGroup::Group1);
    // Only behind this the GIC is sure to have made it active: a deactivation, which goes another
    // way, could otherwise come first and be lost.
    barrier::dsb(barrier::SY);
    let interrupt = real(interrupt)?;
    GicCpuInterface::end_interrupt(interrupt, InterruptGroup::Group1);
    Some(interrupt)
}

/// Deactivates an acknowledged interrupt. By its own register: QEMU ignores what S-EL2 writes to
/// ICC_DIR_EL1.
pub fn deactivate(interrupt: u32) {
    if let Some(line) = Line::new(&BOARD, interrupt) {
        line.deactivate();
    }
}

/// Uses the redistributor of this PE. A GIC that does not look as the board data says is logged:
/// all that it costs is the watchdog.
fn with_redistributor(
    board: &Board,
    action: impl FnOnce(&mut GicRedistributor<'_>) -> Result<(), arm_gic::gicv3::GicError>,
) {
    let result = NonNull::new(board.redistributors as *mut _).map(|base| {
        // SAFETY: the frames of MAX_PES PEs are mapped, and `take` stops behind them. Each PE
        // writes to its own frame only.
        let frames = unsafe { GicRedistributorIterator::new(base) }?;
        let affinity = affinity::own();
        match frames
            .take(MAX_PES)
            .find(|frame| frame.typer().core_mpidr() == affinity)
        {
            Some(mut frame) => action(&mut frame),
            None => {
                log::error!("no GIC redistributor for PE {affinity:#x}");
                Ok(())
            }
        }
    });
    if let Some(Err(error)) = result {
        log::error!("GIC: {error}");
    }
}
