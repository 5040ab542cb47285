//! Decoding of the syndrome registers: an exception from a partition becomes an [`Exit`], or is
//! handled here, so that the partition continues.

use aarch64_cpu::registers::{FAR_EL2, HPFAR_EL2, PAR_EL1};
use spmc::addr::{Ipa, PAGE_SIZE};
use spmc::ffa::{SmcFrame, function};
use spmc::hal::{Access, Conduit, Context, Exit, Fault, FaultKind};
use tock_registers::interfaces::{Readable, Writeable};

use super::context::{Attention, GuestContext};
use super::vectors::kind;
use super::{Cpu, Lazy, features, vector_state};
use crate::el2::gic::{self, timer, watchdog};
use crate::el2::memory::bulk;
use crate::el2::smc;
use crate::id_registers::{self, Granted};
use crate::skip;

/// Exception classes, ESR_EL2.EC (Arm ARM D24.2.37).
mod class {
    pub const WFX: u64 = 0x01;
    pub const FP: u64 = 0x07;
    pub const POINTER_AUTHENTICATION: u64 = 0x09;
    pub const SVC: u64 = 0x15;
    pub const HVC: u64 = 0x16;
    pub const SMC: u64 = 0x17;
    pub const SYSTEM_REGISTER: u64 = 0x18;
    pub const SVE: u64 = 0x19;
    pub const INSTRUCTION_ABORT: u64 = 0x20;
    pub const DATA_ABORT: u64 = 0x24;
}

/// Bytes of an A64 instruction.
const INSTRUCTION: u64 = 4;

/// Returns the call that an exception with that syndrome is, if it is HVC or SMC: nearly all
/// exceptions are.
#[inline(always)]
pub fn call(context: &mut GuestContext, syndrome: u64) -> Option<Conduit> {
    match exception_class(syndrome) {
        class::HVC => Some(Conduit::Hvc),
        class::SMC => {
            // ELR_EL2 has the address of the trapped SMC itself.
            context.pc = context.pc.wrapping_add(INSTRUCTION);
            Some(Conduit::Smc)
        }
        _ => None,
    }
}

fn exception_class(syndrome: u64) -> u64 {
    syndrome >> 26 & 0x3f
}

/// Returns what the engine has to do about a synchronous exception that is no [`call`], or `None`
/// if the exception is handled and the partition continues.
#[cold]
#[inline(never)]
pub fn synchronous(cpu: &mut Cpu, context: &mut GuestContext, syndrome: u64) -> Option<Exit> {
    let lazy = match exception_class(syndrome) {
        // SVC of an S-EL0 partition. SVC at EL0 of an S-EL1 partition is taken to EL1.
        class::SVC => return Some(Exit::Call(Conduit::Svc)),
        class::INSTRUCTION_ABORT | class::DATA_ABORT if cpu.is_el0() => {
            return Some(Exit::Fault(el0_abort(context, syndrome)));
        }
        class::INSTRUCTION_ABORT => return Some(Exit::Fault(instruction_abort(context, syndrome))),
        class::DATA_ABORT => return Some(Exit::Fault(data_abort(context, syndrome))),
        class::WFX => {
            // WFI ends at once, as the architecture permits.
            (context.pc, context.spsr) = skip::wfi(context.pc, context.spsr, syndrome);
            return None;
        }
        class::FP => Some(Lazy::VECTOR),
        class::SVE if context.scalable.is_some() => Some(Lazy::VECTOR),
        class::POINTER_AUTHENTICATION => Some(Lazy::POINTER_KEYS),
        class::SYSTEM_REGISTER => {
            if let Some(register) = timer_register(syndrome) {
                return access_timer(cpu, context, register, syndrome);
            }
            // S-EL0 has no access to identification registers.
            if !cpu.is_el0() && identify(context, syndrome) {
                return None;
            }
            lazy_register(syndrome)
        }
        _ => None,
    };
    match lazy {
        // VECTOR is the only group that an S-EL0 partition opens: its keys are loaded with it.
        Some(group) if is_permitted(cpu, group) => {
            cpu.open(context, group);
            None
        }
        _ => Some(Exit::Trap {
            syndrome,
            pc: context.pc,
        }),
    }
}

/// Returns whether the loaded context may use the registers of `group`.
fn is_permitted(cpu: &Cpu, group: Lazy) -> bool {
    if group == Lazy::VECTOR {
        vector_state::is_available()
    } else {
        features::has_pointer_keys() && !cpu.is_el0()
    }
}

/// Returns Op0, Op1, CRn, CRm and Op2 of a trapped system register.
fn encoding(syndrome: u64) -> (u64, u64, u64, u64, u64) {
    let field = |low: u32, bits: u32| (syndrome >> low) & ((1 << bits) - 1);
    (
        field(20, 2),
        field(14, 3),
        field(10, 4),
        field(1, 4),
        field(17, 3),
    )
}

/// Returns the group to which a trapped system register belongs.
fn lazy_register(syndrome: u64) -> Option<Lazy> {
    match encoding(syndrome) {
        // AP*Key*_EL1.
        (3, 0, 2, 1 | 2, 0..=3) | (3, 0, 2, 3, 0..=1) => Some(Lazy::POINTER_KEYS),
        _ => None,
    }
}

/// Completes a trapped read of an identification register with the value that partitions are shown.
/// Returns whether the instruction is such a read.
#[inline(never)]
#[unsafe(link_section = ".text.identify")]
fn identify(context: &mut GuestContext, syndrome: u64) -> bool {
    let number = match encoding(syndrome) {
        (3, 0, 0, crm @ 1..=7, op2) if is_read(syndrome) => id_registers::number(crm, op2),
        _ => return false,
    };
    /// FP and AdvSIMD of ID_AA64PFR0_EL1, for a PE without either.
    const NO_FP: u64 = 0xff << 16;
    let mut value = id_registers::read(number);
    if number == id_registers::ID_AA64PFR0_EL1 && !vector_state::is_available() {
        value |= NO_FP;
    }
    let granted = Granted {
        pointer_authentication: features::has_pointer_keys(),
        sve: context.scalable.is_some(),
    };
    let shown = id_registers::shown(number, value, granted);
    context.pc = context.pc.wrapping_add(INSTRUCTION);
    set_transfer_register(context, syndrome, shown);
    true
}

/// Returns whether a trapped instruction reads its system register.
fn is_read(syndrome: u64) -> bool {
    syndrome & 1 != 0
}

/// Returns the number of the general-purpose register of a trapped access. Number 31 is the zero
/// register.
fn transfer_register(syndrome: u64) -> usize {
    (syndrome >> 5 & 0x1f) as usize
}

fn set_transfer_register(context: &mut GuestContext, syndrome: u64, value: u64) {
    if let Some(to) = context.gprs_mut().get_mut(transfer_register(syndrome)) {
        *to = value;
    }
}

/// Returns the register of the physical timer that a trapped instruction accesses, if any.
fn timer_register(syndrome: u64) -> Option<timer::Register> {
    /// Op0, Op1, CRn and CRm of CNTP_*_EL0.
    const ENCODING: u64 = 0b11 << 20 | 0b011 << 14 | 14 << 10 | 2 << 1;
    const MASK: u64 = 0b11 << 20 | 0b111 << 14 | 0xf << 10 | 0xf << 1;
    if syndrome & MASK != ENCODING {
        return None;
    }
    match syndrome >> 17 & 0b111 {
        0 => Some(timer::Register::Value),
        1 => Some(timer::Register::Control),
        2 => Some(timer::Register::Compare),
        _ => None,
    }
}

/// Completes a trapped access to the physical timer.
fn access_timer(
    cpu: &mut Cpu,
    context: &mut GuestContext,
    register: timer::Register,
    syndrome: u64,
) -> Option<Exit> {
    context.pc = context.pc.wrapping_add(INSTRUCTION);
    if is_read(syndrome) {
        let value = context.timer.read(register);
        set_transfer_register(context, syndrome, value);
        return None;
    }

    let from = transfer_register(syndrome);
    let value = context.gprs().get(from).copied().unwrap_or(0);
    let was_armed = context.timer.is_armed();
    let takes_back = context.timer.write(register, value);
    let is_armed = context.timer.is_armed();
    context.attention.set(Attention::TIMER, is_armed);
    cpu.watch_timer(context);
    (takes_back || is_armed != was_armed).then_some(Exit::Timer { expired: false })
}

fn instruction_abort(context: &GuestContext, syndrome: u64) -> Fault {
    abort(context, syndrome, Access::Execute)
}

fn data_abort(context: &GuestContext, syndrome: u64) -> Fault {
    abort(context, syndrome, data_access(syndrome))
}

fn data_access(syndrome: u64) -> Access {
    const WRITE: u64 = 1 << 6;
    if syndrome & WRITE != 0 {
        Access::Write
    } else {
        Access::Read
    }
}

/// Decodes an abort of an S-EL0 partition. There is no stage 2 for it, and the engine knows its
/// pages by their VAs, so the VA is reported as the IPA.
fn el0_abort(context: &GuestContext, syndrome: u64) -> Fault {
    let va = reported_va(syndrome);
    Fault {
        access: if exception_class(syndrome) == class::INSTRUCTION_ABORT {
            Access::Execute
        } else {
            data_access(syndrome)
        },
        kind: fault_kind(syndrome),
        va,
        ipa: va.map(|va| Ipa::new(va & !(PAGE_SIZE - 1))),
        on_walk: false,
        pc: context.pc,
    }
}

fn fault_kind(syndrome: u64) -> FaultKind {
    match syndrome & 0x3f {
        0b00_0000..=0b00_0011 => FaultKind::AddressSize,
        0b00_0100..=0b00_0111 => FaultKind::Translation,
        0b00_1100..=0b00_1111 => FaultKind::Permission,
        0b01_0000 | 0b01_0100..=0b01_0111 => FaultKind::External,
        other => FaultKind::Other(other as u8),
    }
}

fn abort(context: &GuestContext, syndrome: u64, access: Access) -> Fault {
    const ON_STAGE_1_WALK: u64 = 1 << 7;
    let va = reported_va(syndrome);
    let on_walk = syndrome & ON_STAGE_1_WALK != 0;
    let kind = fault_kind(syndrome);
    let ipa = match kind {
        FaultKind::Translation | FaultKind::AddressSize => Some(reported_ipa()),
        FaultKind::Permission if on_walk => Some(reported_ipa()),
        // HPFAR_EL2 is not valid for this kind of fault.
        FaultKind::Permission => va.and_then(translate),
        _ => None,
    };
    Fault {
        access,
        kind,
        va,
        ipa,
        on_walk,
        pc: context.pc,
    }
}

/// Returns FAR_EL2, unless it is not valid, which happens with external aborts.
fn reported_va(syndrome: u64) -> Option<u64> {
    const FNV: u64 = 1 << 10;
    (syndrome & FNV == 0).then(|| FAR_EL2.get())
}

/// Returns bits 51:12 of the faulting IPA from HPFAR_EL2. The NS bit is ignored, since QEMU inverts
/// it.
fn reported_ipa() -> Ipa {
    Ipa::new((HPFAR_EL2.get() >> 4 & ((1 << 40) - 1)) << 12)
}

/// Returns the page to which the partition's own stage 1 translates `va`, or `None` if the
/// partition has changed its tables so that the address no longer translates, or that they lead to
/// memory that does not answer.
fn translate(va: u64) -> Option<Ipa> {
    const FAILED: u64 = 1 << 0;
    const ADDRESS: u64 = 0x000f_ffff_ffff_f000;
    // PAR_EL1 belongs to the partition, so its value is put back.
    let kept = PAR_EL1.get();
    let is_walked = bulk::try_translate(va) == 0;
    let result = PAR_EL1.get();
    PAR_EL1.set(kept);
    (is_walked && result & FAILED == 0).then(|| Ipa::new(result & ADDRESS))
}

/// Returns what the engine has to do about an interrupt or SError, or `None` if it is handled and
/// the partition continues.
#[cold]
#[inline(never)]
pub fn asynchronous(cpu: &mut Cpu, context: &mut GuestContext, kind: u64) -> Option<Exit> {
    match kind {
        kind::FIQ => match gic::pending_group0() {
            None if timer::silence_virtual() => Some(Exit::Timer { expired: true }),
            None => Some(Exit::NonSecureInterrupt),
            Some(_) => {
                let mut frame = SmcFrame::new([function::EL3_INTR_HANDLE as u64]);
                smc::smc(&mut frame);
                None
            }
        },
        kind::IRQ => {
            let interrupt = gic::pending()?;
            if interrupt == watchdog::INTERRUPT {
                watchdog::stop();
                Some(Exit::Watchdog)
            } else if interrupt != timer::INTERRUPT {
                Some(Exit::SecureInterrupt)
            } else if !cpu.watches_timer() {
                cpu.timer_fires();
                None
            } else if timer::is_firing() {
                timer::stop();
                context.expire_timer();
                Some(Exit::Timer { expired: true })
            } else {
                None
            }
        }
        _ => Some(Exit::Fault(Fault {
            access: Access::Write,
            kind: FaultKind::External,
            va: None,
            ipa: None,
            on_walk: false,
            pc: context.pc,
        })),
    }
}
