//! The GICv3 as far as the SPMC uses it: the SPMC's own private interrupts, and Secure Group 1 of
//! the CPU interface.
//!
//! TF-A initialises the GIC and owns it. The SPMC changes only what belongs to its own interrupts
//! and to those of partitions.

use aarch64_cpu::asm::barrier;
use aarch64_cpu::registers::ICH_HCR_EL2;
use arm_gic::gicv3::GicCpuInterface;
use spmc::own_interrupts::{LOOK_AGAIN, SCHEDULE_RECEIVER};
use tock_registers::interfaces::{Readable, Writeable};

pub mod frames;
pub mod interrupt;
pub mod timer;
pub mod watchdog;

use self::interrupt::{Group, Interrupt};
use super::affinity;
use super::cpu::header;
use super::registers::{
    ICC_AP0R0_EL1, ICC_AP1R0_EL1, ICC_ASGI1R_EL1, ICC_CTLR_EL1, ICC_EOIR1_EL1, ICC_HPPIR0_EL1,
    ICC_HPPIR1_EL1, ICC_IAR1_EL1, ICC_IGRPEN0_EL1, ICC_IGRPEN1_EL1, ICC_SGI1R_EL1,
};
use crate::traps;

/// Priority of the SPMC's own interrupts: high enough for the priority mask that keeps Non-secure
/// interrupts pending while a partition runs (a lower value is a higher priority).
const PRIORITY: u8 = 0x40;

/// ICC_SGI1R_EL1.IRM: the SGI goes to all PEs except this one.
const ALL_OTHERS: u64 = 1 << 40;

/// ICC_CTLR_EL1.EOImode: a write of ICC_EOIR1_EL1 only drops the priority; deactivation is a
/// separate step.
const EOI_MODE: u64 = 1 << 1;

/// Prepares this PE: enables the system register interface, sets the traps of the CPU interface,
/// enables the signalling of Secure Group 1, and makes the SPMC's own interrupts Secure Group 1
/// interrupts. The watchdog's stays disabled.
///
/// The priority mask is not changed: both worlds share that register.
///
/// Logs an error if the GIC has no redistributor for this PE. The PE then goes on without the
/// interrupts of the SPMC: the watchdog, the partitions' physical timer, and the SGI by which PEs
/// make each other look again.
#[cold]
pub fn init_pe() {
    GicCpuInterface::enable_system_register_el2(true);
    // With ICC_SRE_EL2.SRE = 0 the accesses below are UNDEFINED (Arm ARM, ICC_SRE_EL2). QEMU
    // has SRE fixed at 1, so no test shows the order.
    barrier::isb(barrier::SY);
    ICH_HCR_EL2.set(traps::ICH_HCR);
    separate_deactivation();
    GicCpuInterface::enable_group1(true);
    let Some(frame) = frames::own() else {
        log::error!("no GIC redistributor for PE {:#x}", affinity::own());
        return;
    };
    header::set_private_frame(frame);
    // TF-A leaves private interrupts that it does not know in Non-secure Group 1, and makes SGIs 8
    // to 15 Secure. The schedule receiver interrupt belongs to the Normal world, which enables it.
    for (interrupt, group, enable) in [
        (watchdog::INTERRUPT, Group::Secure, false),
        (timer::INTERRUPT, Group::Secure, true),
        (LOOK_AGAIN, Group::Secure, true),
        (SCHEDULE_RECEIVER, Group::NonSecure, false),
    ] {
        if let Some(interrupt) = Interrupt::find(interrupt) {
            interrupt.enable(false);
            interrupt.set_group(group);
            if group == Group::Secure {
                interrupt.set_priority(PRIORITY);
            }
            if enable {
                interrupt.enable(true);
            }
        }
    }
}

/// Restores what a partition may have changed in the CPU interface before it leaves this PE, where
/// partitions access the physical one: signals interrupts of both groups, clears the active
/// priorities, and separates deactivation from the end of an interrupt. The priority mask needs no
/// restoring, since it is set at each entry of a partition.
#[inline(always)]
pub fn reclaim_cpu_interface() {
    ICC_IGRPEN0_EL1.set(1);
    ICC_IGRPEN1_EL1.set(1);
    ICC_AP0R0_EL1.set(0);
    ICC_AP1R0_EL1.set(0);
    ICC_CTLR_EL1.set(EOI_MODE);
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
fn number(interrupt: u32) -> u64 {
    u64::from(interrupt) << 24
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
#[inline(never)]
pub fn enable_watchdog(enable: bool) {
    if let Some(interrupt) = Interrupt::find(watchdog::INTERRUPT) {
        interrupt.enable(enable);
    }
}

/// Returns the pending Secure Group 1 interrupt of highest priority.
#[inline(always)]
pub fn pending() -> Option<u32> {
    real(ICC_HPPIR1_EL1.get())
}

/// Returns the pending Group 0 interrupt of highest priority. Group 0 belongs to EL3.
pub fn pending_group0() -> Option<u32> {
    real(ICC_HPPIR0_EL1.get())
}

/// Drops the special INTIDs 1020 to 1023, which mean that there is no interrupt.
#[inline(always)]
fn real(interrupt: u64) -> Option<u32> {
    (interrupt >> 2 != 1020 >> 2).then_some(interrupt as u32)
}

/// Acknowledges the next pending interrupt of a partition and drops its priority. Completes the
/// SPMC's SGI on the way. Leaves the watchdog's interrupt pending until the next entry of a
/// partition, and then returns `None`. `timer_fires` is called for the timer's interrupt, and
/// returns what this function then returns.
///
/// The interrupts of the SPMC's timers are levels, and are never acknowledged: a timer that is
/// stopped takes its level back. Whoever acknowledged after that would take the next interrupt that
/// is pending, and lose the edge of a partition.
pub fn acknowledge(timer_fires: impl Fn() -> Option<u32>) -> Option<u32> {
    loop {
        let next = pending()?;
        if next == timer::INTERRUPT {
            return timer_fires();
        }
        if next == watchdog::INTERRUPT {
            return None;
        }
        let interrupt = take()?;
        if interrupt != LOOK_AGAIN {
            return Some(interrupt);
        }
        deactivate(interrupt);
    }
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
#[inline(always)]
fn take() -> Option<u32> {
    separate_deactivation();
    let interrupt = ICC_IAR1_EL1.get();
    // The barrier waits until the GIC has made the interrupt active. Deactivation is a store to
    // another interface, which could otherwise arrive first and be lost.
    barrier::dsb(barrier::SY);
    let interrupt = real(interrupt)?;
    ICC_EOIR1_EL1.set(interrupt.into());
    // The next read of ICC_IAR1_EL1 must find the priority dropped: it returns no interrupt that
    // the running priority holds back, and a write of one register need not be seen by the read of
    // another without synchronization (Arm ARM D24.1, synchronization of System registers).
    barrier::isb(barrier::SY);
    Some(interrupt)
}

/// Deactivates an acknowledged interrupt, by GICD_ICACTIVER or GICR_ICACTIVER0: QEMU ignores writes
/// of ICC_DIR_EL1 at S-EL2.
///
/// The handler has cleared the interrupt by a store to the device before. Stores to different
/// peripherals are not ordered (Arm ARM B2, Device memory), and if the device's came second, the
/// interrupt would be pending again.
#[inline(always)]
pub fn deactivate(interrupt: u32) {
    barrier::dsb(barrier::SY);
    match Interrupt::shared(interrupt) {
        Some(interrupt) => interrupt.deactivate(),
        None => deactivate_other(interrupt),
    }
}

#[inline(never)]
fn deactivate_other(interrupt: u32) {
    if let Some(interrupt) = Interrupt::find(interrupt) {
        interrupt.deactivate();
    }
}
