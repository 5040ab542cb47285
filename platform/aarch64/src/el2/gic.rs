//! The GICv3 as far as the SPMC uses it: one private interrupt for the watchdog, and the CPU interface's Secure Group 1.
//!
//! TF-A has set the GIC up and keeps it; only what is ours is changed here.

use core::ptr::NonNull;

use arm_gic::gicv3::{
    GicCpuInterface, GicRedistributor, GicRedistributorIterator, Group, SecureIntGroup,
};
use arm_gic::{IntId, InterruptGroup};
use spmc::hal::SCHEDULE_RECEIVER_INTERRUPT;
use spmc::limits::MAX_PES;
use tock_registers::interfaces::{Readable, Writeable};

use super::platform;
use super::registers::{ICC_ASGI1R_EL1, ICC_CTLR_EL1, ICC_DIR_EL1};
use super::watchdog;
use crate::Board;

/// Priority of our interrupts: in the upper half of the Secure half, so that they pass the mask that stops the Normal world's.
const PRIORITY: u8 = 0x40;

/// The same number for `arm-gic`.
const SCHEDULE_RECEIVER: IntId = IntId::sgi(SCHEDULE_RECEIVER_INTERRUPT);

/// ICC_CTLR_EL1.EOImode: end of interrupt drops the priority only, ICC_DIR_EL1 deactivates.
const EOI_MODE: u64 = 1 << 1;

/// Prepares this PE: system registers on, Secure Group 1 interrupts signalled, the watchdog's interrupt ours but off.
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
        // TF-A takes SGIs 8 to 15 for the Secure world; this one is the Normal world's to enable.
        redistributor.enable_interrupt(SCHEDULE_RECEIVER, false)?;
        redistributor.set_group(SCHEDULE_RECEIVER, Group::Group1NS)
    });
}

/// Makes the schedule receiver interrupt pending on this PE.
pub fn raise_schedule_receiver() {
    let affinity = platform::affinity();
    let field = |from: u32, bits: u32, to: u32| (affinity >> from & ((1 << bits) - 1)) << to;
    // Aff3, Aff2 and Aff1 as they are; Aff0 as a range of 16 and a bit in it.
    let target = field(32, 8, 48) | field(16, 8, 32) | field(8, 8, 16) | field(4, 4, 44);
    let bit = 1 << field(0, 4, 0);
    ICC_ASGI1R_EL1.set(target | u64::from(SCHEDULE_RECEIVER_INTERRUPT) << 24 | bit);
}

/// Lets the watchdog's interrupt through on this PE, or not.
pub fn enable_watchdog(board: &Board, enable: bool) {
    with_redistributor(board, |redistributor| {
        redistributor.enable_interrupt(watchdog::INTERRUPT, enable)
    });
}

/// Acknowledges the interrupt that was signalled; `None` if it is gone.
pub fn acknowledge() -> Option<IntId> {
    // 1020 to 1023 are no interrupts.
    GicCpuInterface::get_and_acknowledge_interrupt(InterruptGroup::Group1)
        .filter(|&interrupt| u32::from(interrupt) < u32::from(IntId::SPECIAL_SECURE))
}

/// Ends and deactivates an acknowledged interrupt.
pub fn complete(interrupt: IntId) {
    GicCpuInterface::end_interrupt(interrupt, InterruptGroup::Group1);
    ICC_DIR_EL1.set(u32::from(interrupt).into());
}

/// Uses the redistributor of this PE. A GIC that does not look as the board data says is logged: all that it costs is the watchdog.
fn with_redistributor(
    board: &Board,
    action: impl FnOnce(&mut GicRedistributor<'_>) -> Result<(), arm_gic::gicv3::GicError>,
) {
    let result = NonNull::new(board.redistributors as *mut _).map(|base| {
        // SAFETY: the frames of MAX_PES PEs are mapped, and `take` stops behind them. Each PE writes to its own frame only.
        let frames = unsafe { GicRedistributorIterator::new(base) }?;
        let affinity = platform::affinity();
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
