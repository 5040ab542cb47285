//! Instructions that a partition may not use: each is an Undefined Instruction exception for
//! whoever tries, and everything goes on. And calls by SMC or HVC that are not FF-A: the SPMC
//! answers them, and nobody behind it hears of them.

use core::arch::{asm, naked_asm};

use crate::ffa::{NOT_SUPPORTED, SP1, SP2};
use crate::nwd::{Nwd, Test, ask};
use crate::rt::call::{Conduit, call};
use crate::rt::check::{Check, equal, fail};
use crate::rt::probe;
use crate::sp::{Command, Sp};
use crate::support::complement::COMPLEMENT;
use crate::{command, helper, println, test};

/// The tests of this file.
pub const TESTS: &[Test] = &[
    test!(
        forbidden_instructions,
        "SVE, SME, PMU, debug, MTE and EL2 are undefined for partitions"
    ),
    test!(
        foreign_calls,
        "Calls of partitions to PSCI and others end at the SPMC"
    ),
    test!(
        listed_calls,
        "Calls that the SPMC manifest lists go to EL3 and back"
    ),
];

/// Code of the partitions.
pub const HELPERS: &[Command] = &[
    helper!(try_forbidden),
    helper!(ask_el3),
    helper!(call_others),
];

macro_rules! forbidden {
    ($($name:ident $instruction:literal,)+) => {
        $(
            /// The instruction, as a function.
            #[unsafe(naked)]
            pub(crate) extern "C" fn $name() {
                naked_asm!($instruction, "mov x0, #0", "ret")
            }
        )+
        /// The instructions that must be undefined.
        static FORBIDDEN: [(&str, extern "C" fn()); [$(stringify!($name)),+].len()] =
            [$((stringify!($name), $name)),+];
    };
}

// By encoding, so that the assembler need not know the extensions.
forbidden! {
    rdvl ".inst 0x04bf5029", // x9, #1
    ptrue_p0 ".inst 0x2518e3e0",
    read_zcr_el1 "mrs x9, s3_0_c1_c2_0",
    write_zcr_el1 "msr s3_0_c1_c2_0, x9",
    smstart_sm "msr s0_3_c4_c3_3, xzr",
    smstart_za "msr s0_3_c4_c5_3, xzr",
    rdsvl ".inst 0x04bf5829", // x9, #1
    read_svcr "mrs x9, s3_3_c4_c2_2",
    read_smcr_el1 "mrs x9, s3_0_c1_c2_6",
    copy_memory "mov x11, #0\n.inst 0x190a0569", // CPYFP [X9]!, [X10]!, X11!
    read_tcr2_el1 "mrs x9, s3_0_c2_c0_3",
    read_pir_el1 "mrs x9, s3_0_c10_c2_3",
    read_por_el1 "mrs x9, s3_0_c10_c2_4",
    read_gcscr_el1 "mrs x9, s3_0_c2_c5_0",
    read_tpidr2_el0 "mrs x9, s3_3_c13_c0_5",
    write_tpidr2_el0 "msr s3_3_c13_c0_5, x9",
    read_scxtnum_el0 "mrs x9, s3_3_c13_c0_7",
    write_scxtnum_el1 "msr s3_0_c13_c0_7, x9",
    read_pmcr_el0 "mrs x9, s3_3_c9_c12_0",
    write_pmcr_el0 "msr s3_3_c9_c12_0, x9",
    read_pmccntr_el0 "mrs x9, s3_3_c9_c13_0",
    write_pmcntenset_el0 "msr s3_3_c9_c12_1, x9",
    write_pmuserenr_el0 "msr s3_3_c9_c14_0, x9",
    read_mdscr_el1 "mrs x9, s2_0_c0_c2_2",
    write_mdscr_el1 "msr s2_0_c0_c2_2, x9",
    read_dbgbcr0_el1 "mrs x9, s2_0_c0_c0_5",
    write_dbgbvr0_el1 "msr s2_0_c0_c0_4, x9",
    read_mdrar_el1 "mrs x9, s2_0_c1_c0_0",
    write_oslar_el1 "msr s2_0_c1_c0_4, x9",
    read_oslsr_el1 "mrs x9, s2_0_c1_c1_4",
    read_pmscr_el1 "mrs x9, s3_0_c9_c9_0",
    read_trfcr_el1 "mrs x9, s3_0_c1_c2_1",
    read_trblimitr_el1 "mrs x9, s3_0_c9_c11_0",
    read_amcr_el0 "mrs x9, s3_3_c13_c2_0",
    read_gcr_el1 "mrs x9, s3_0_c1_c0_6",
    read_rgsr_el1 "mrs x9, s3_0_c1_c0_5",
    write_tfsr_el1 "msr s3_0_c5_c6_0, x9",
    write_actlr_el1 "msr s3_0_c1_c0_1, x9",
    read_lorc_el1 "mrs x9, s3_0_c10_c4_3",
    read_errselr_el1 "mrs x9, s3_0_c5_c3_1",
    implementation_defined "mrs x9, s3_0_c15_c0_0",
    read_hcr_el2 "mrs x9, s3_4_c1_c1_0",
    write_hcr_el2 "msr s3_4_c1_c1_0, x9",
    read_vttbr_el2 "mrs x9, s3_4_c2_c1_0",
    write_vsttbr_el2 "msr s3_4_c2_c6_0, x9",
    read_sctlr_el2 "mrs x9, s3_4_c1_c0_0",
    write_vbar_el2 "msr s3_4_c12_c0_0, x9",
    read_cptr_el2 "mrs x9, s3_4_c1_c1_2",
    read_scr_el3 "mrs x9, s3_6_c1_c1_0",
    write_vbar_el3 "msr s3_6_c12_c0_0, x9",
    translate_as_el2 "sys #4, c7, c8, #0, x9",
    invalidate_all_of_el1 "sys #4, c8, c7, #4",
}

/// Lets `FPEN`, `ZEN` and `SMEN` of the partition forbid nothing: what is left is what the SPMC
/// forbids.
pub(crate) fn open_at_el1() -> u64 {
    const ALL: u64 = 3 << 24 | 3 << 20 | 3 << 16;
    let before: u64;
    // SAFETY: no instruction becomes available that this image uses.
    unsafe {
        asm!("mrs {}, cpacr_el1", "msr cpacr_el1, {}", "isb", out(reg) before, in(reg) ALL, options(nostack))
    };
    before
}

/// Takes back what [`open_at_el1`] did.
pub(crate) fn close_at_el1(before: u64) {
    // SAFETY: what it was.
    unsafe { asm!("msr cpacr_el1, {}", "isb", in(reg) before, options(nostack)) };
}

// req: BOOT-03, GEN-03, MSGW-23, RUN-20
fn forbidden_instructions(_: &Nwd) -> Check {
    for partition in [SP1, SP2] {
        let [tried, ..] = ask(partition, command!(try_forbidden), [0; 4])?;
        equal(tried, FORBIDDEN.len() as u64)?;
        println!("# {partition:#x} tried {tried} instructions; all are undefined");
        for other in [SP1, SP2] {
            let [answer, ..] = ask(other, COMPLEMENT, [tried, 0, 0, 0])?;
            equal(answer, !tried)?;
        }
    }
    Ok(())
}

/// Exception class of an undefined instruction.
const UNDEFINED: u64 = 0;

/// The class of the exception that an instruction ends in, all bits if in none.
fn exception_class(instruction: extern "C" fn()) -> u64 {
    // SAFETY: the function returns, and keeps what the procedure call standard says.
    unsafe { probe::execute(instruction as *const () as u64) }
        .map_or_else(|fault| fault.class(), |()| u64::MAX)
}

/// Returns whether an instruction is undefined.
pub(crate) fn is_undefined(instruction: extern "C" fn()) -> bool {
    exception_class(instruction) == UNDEFINED
}

/// Result: how many instructions are undefined.
fn try_forbidden(sp: &Sp, _: [u64; 4]) -> Check<[u64; 4]> {
    let before = open_at_el1();
    let mut outcome = Ok([FORBIDDEN.len() as u64, 0, 0, 0]);
    for (n, (name, instruction)) in FORBIDDEN.iter().enumerate() {
        let class = exception_class(*instruction);
        if class != UNDEFINED {
            println!("# {}: {name}: exception class {class:#x}", sp.identity.name);
            outcome = fail(n as u64);
        }
    }
    close_at_el1(before);
    outcome
}

/// PSCI_VERSION, CPU_OFF, CPU_ON, SYSTEM_OFF, SYSTEM_RESET; SMCCC_VERSION; TRNG_VERSION; SiP, OEM
/// and Trusted OS services.
const FOREIGN: [u32; 10] = [
    0x8400_0000,
    0x8400_0002,
    0xc400_0003,
    0x8400_0008,
    0x8400_0009,
    0x8000_0000,
    0x8400_0050,
    0x8200_0000,
    0x8300_0000,
    0xb200_0000,
];

// req: GEN-06, GEN-07, GEN-11, GEN-12
fn foreign_calls(_: &Nwd) -> Check {
    for partition in [SP1, SP2] {
        ask(partition, command!(call_others), [0; 4])?;
    }
    Ok(())
}

/// SMCCC_ARCH_FEATURES, which the SPMC manifest lets sp1 call.
const ARCH_FEATURES: u64 = 0x8000_0001;
/// SMCCC_VERSION.
const SMCCC_VERSION: u64 = 0x8000_0000;

// C11.
// req: GEN-06, GEN-11
fn listed_calls(_: &Nwd) -> Check {
    ask(SP1, command!(ask_el3), [0, 0, 0, 0])?;
    ask(SP2, command!(ask_el3), [NOT_SUPPORTED, 0, 0, 0])?;
    Ok(())
}

fn ask_el3(_: &Sp, [wanted, ..]: [u64; 4]) -> Check<[u64; 4]> {
    let mut regs: [u64; 18] = core::array::from_fn(|n| 0x1234_5678_0000_0000 + n as u64);
    regs[0] = ARCH_FEATURES;
    regs[1] = SMCCC_VERSION;
    let answer = call(Conduit::Smc, regs);
    equal(answer[0] & 0xffff_ffff, wanted)?;
    // Neither EL3 nor the SPMC returns anything else, or anything of its own.
    for (got, kept) in answer[4..].iter().zip(&regs[4..]) {
        equal(*got, *kept)?;
    }
    Ok([0; 4])
}

fn call_others(_: &Sp, _: [u64; 4]) -> Check<[u64; 4]> {
    for conduit in [Conduit::Smc, Conduit::Hvc] {
        for function in FOREIGN {
            let mut regs = [0; 18];
            regs[0] = function as u64;
            let answer = call(conduit, regs);
            equal(answer[0] & 0xffff_ffff, NOT_SUPPORTED)?;
        }
    }
    Ok([0; 4])
}
