//! The GICv3 as far as the SPMC uses it: the SPMC's own private interrupts, and Secure Group 1 of
//! the CPU interface.
//!
//! TF-A initialises the GIC and owns it. The SPMC changes only what belongs to its own interrupts
//! and to those of partitions.

use core::ptr::NonNull;

use aarch64_cpu::asm::barrier;
use arm_gic::gicv3::{
    GicCpuInterface, GicRedistributor, GicRedistributorIterator, Group, SecureIntGroup,
};
use arm_gic::{IntId, InterruptGroup};
use spmc::limits::MAX_PES;
use spmc::own_interrupts;
use tock_registers::interfaces::{Readable, Writeable};

pub mod interrupt;
pub mod timer;
pub mod watchdog;

use self::interrupt::Interrupt;
use super::registers::{
    ICC_AP0R0_EL1, ICC_AP1R0_EL1, ICC_ASGI1R_EL1, ICC_CTLR_EL1, ICC_IGRPEN0_EL1, ICC_IGRPEN1_EL1,
    ICC_SGI1R_EL1,
};
use super::{BOARD, affinity};
use crate::Board;

/// Priority of the SPMC's own interrupts: high enough for the priority mask that keeps Non-secure
/// interrupts pending while a partition runs (a lower value is a higher priority).
const PRIORITY: u8 = 0x40;

/// The schedule receiver interrupt in the type of `arm-gic`.
const SCHEDULE_RECEIVER: IntId = IntId::sgi(own_interrupts::SCHEDULE_RECEIVER);

/// The Secure SGI by which a PE makes others look at their interrupts again.
const LOOK_AGAIN: IntId = IntId::sgi(own_interrupts::LOOK_AGAIN);

/// ICC_SGI1R_EL1.IRM: the SGI goes to all PEs except this one.
const ALL_OTHERS: u64 = 1 << 40;

/// ICC_CTLR_EL1.EOImode: a write of ICC_EOIR1_EL1 only drops the priority; deactivation is a
/// separate step.
const EOI_MODE: u64 = 1 << 1;

/// Prepares this PE: enables the system register interface and the signalling of Secure Group 1,
/// and makes the SPMC's own interrupts Secure Group 1 interrupts. The watchdog's stays disabled.
///
/// The priority mask is not changed: both worlds share that register.
pub fn init_pe(board: &Board) {
    GicCpuInterface::enable_system_register_el2(true);
    separate_deactivation();
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
        // TF-A makes SGIs 8 to 15 Secure. This one belongs to the Normal world, which enables it.
        redistributor.enable_interrupt(SCHEDULE_RECEIVER, false)?;
        redistributor.set_group(SCHEDULE_RECEIVER, Group::Group1NS)
    });
}

/// Restores what a partition may have changed in the CPU interface before it leaves this PE, if
/// partitions access the physical one: signals interrupts of both groups, clears the active
/// priorities, and separates deactivation from the end of an interrupt. The priority mask needs no
/// restoring, since it is set at each entry of a partition.
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

/// Makes all other PEs look at their interrupts again. They see what this PE has written before.
pub fn look_again_elsewhere() {
    // A write of a system register does not wait for earlier stores.
    barrier::dsb(barrier::ISHST);
    ICC_SGI1R_EL1.set(ALL_OTHERS | number(LOOK_AGAIN));
}

/// Returns the INTID field of the registers that generate SGIs.
fn number(interrupt: IntId) -> u64 {
    u64::from(u32::from(interrupt)) << 24
}

/// Returns the target fields for this PE in those registers: Aff3, Aff2 and Aff1 as they are, and
/// Aff0 as a range of 16 and a bit in it.
fn to_this_pe() -> u64 {
    let affinity = affinity::own();
    let field = |from: u32, bits: u32, to: u32| (affinity >> from & ((1 << bits) - 1)) << to;
    let target = field(32, 8, 48) | field(16, 8, 32) | field(8, 8, 16) | field(4, 4, 44);
    target | 1 << field(0, 4, 0)
}

/// Enables or disables the watchdog's interrupt on this PE.
pub fn enable_watchdog(board: &Board, enable: bool) {
    with_redistributor(board, |redistributor| {
        redistributor.enable_interrupt(watchdog::INTERRUPT, enable)
    });
}

/// Returns the pending Secure Group 1 interrupt of highest priority.
pub fn pending() -> Option<IntId> {
    real(GicCpuInterface::get_pending_interrupt(
        InterruptGroup::Group1,
    ))
}

/// Returns the pending Group 0 interrupt of highest priority. Group 0 belongs to EL3.
pub fn pending_group0() -> Option<IntId> {
    real(GicCpuInterface::get_pending_interrupt(
        InterruptGroup::Group0,
    ))
}

/// Drops the special INTIDs 1020 to 1023, which mean that there is no interrupt.
fn real(interrupt: Option<IntId>) -> Option<IntId> {
    interrupt.filter(|&interrupt| u32::from(interrupt) < u32::from(IntId::SPECIAL_SECURE))
}

/// Acknowledges the next pending interrupt of a partition and drops its priority. Completes the
/// SPMC's SGI on the way. Leaves timer interrupts pending until the next entry of a partition, and
/// then returns `None`. `watches_timer` tells whether the timer may be that of the loaded context.
pub fn acknowledge(watches_timer: impl Fn() -> bool) -> Option<u32> {
    loop {
        let next = pending()?;
        if next == watchdog::INTERRUPT || next == timer::INTERRUPT {
            if next == timer::INTERRUPT && !watches_timer() {
                complete_stray_timer();
            }
            return None;
        }
        let interrupt = take()?;
        if interrupt != LOOK_AGAIN {
            return Some(interrupt.into());
        }
        deactivate(interrupt.into());
    }
}

/// Acknowledges and deactivates the pending interrupt, which is one of the SPMC's own.
pub fn complete_own() {
    if let Some(interrupt) = take() {
        deactivate(interrupt.into());
    }
}

/// Turns off the timer, which nobody waits for, and completes its interrupt. CNTHVS_CTL_EL2.ENABLE
/// is UNKNOWN after a suspend with loss of power (Arm ARM D24).
#[cold]
#[inline(never)]
pub fn complete_stray_timer() {
    timer::stop();
    complete_own();
}

/// Makes the end of an interrupt drop its priority only. ICC_CTLR_EL1.EOImode is UNKNOWN after a
/// suspend with loss of power (GICv3 12), and TF-A leaves it as it is.
#[inline(always)]
fn separate_deactivation() {
    let control = ICC_CTLR_EL1.get();
    if control & EOI_MODE == 0 {
        set_control(control | EOI_MODE);
    }
}

#[cold]
#[inline(never)]
fn set_control(control: u64) {
    ICC_CTLR_EL1.set(control);
    barrier::isb(barrier::SY);
}

/// Acknowledges the next pending interrupt and drops its priority.
fn take() -> Option<IntId> {
    separate_deactivation();
    let interrupt = GicCpuInterface::get_and_acknowledge_interrupt(InterruptGroup::Group1);
    // The barrier waits until the GIC has made the interrupt active. Deactivation is a store to
    // another interface, which could otherwise arrive first and be lost.
    barrier::dsb(barrier::SY);
    let interrupt = real(interrupt)?;
    GicCpuInterface::end_interrupt(interrupt, InterruptGroup::Group1);
    Some(interrupt)
}

/// Deactivates an acknowledged interrupt, by GICD_ICACTIVER or GICR_ICACTIVER0: QEMU ignores writes
/// of ICC_DIR_EL1 at S-EL2.
pub fn deactivate(interrupt: u32) {
    if let Some(interrupt) = Interrupt::new(&BOARD, interrupt) {
        interrupt.deactivate();
    }
}

/// Calls `action` with the redistributor of this PE. Logs an error if the redistributor is not
/// where the board data says; this PE then goes on without the interrupts of the SPMC: the
/// watchdog, the partitions' physical timer, and the SGI by which PEs make each other look again.
fn with_redistributor(
    board: &Board,
    action: impl FnOnce(&mut GicRedistributor<'_>) -> Result<(), arm_gic::gicv3::GicError>,
) {
    let result = NonNull::new(board.redistributors as *mut _).map(|base| {
        // SAFETY: stage 1 maps the frames of MAX_PES PEs as Device memory, and `take` ends the
        // iteration behind them. Each PE writes only to its own frame.
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
