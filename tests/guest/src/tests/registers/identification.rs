//! Identification registers as partitions at S-EL1 read them: they show the features that a
//! partition can use, and no others.

use core::arch::{asm, naked_asm};

use crate::ffa::{SP1, SP2};
use crate::nwd::{Nwd, Test, ask};
use crate::rt::check::{Check, equal, fail, holds};
use crate::sp::{Command, Sp};
use crate::support::forbidden_instructions::{
    close_at_el1, copy_memory, is_undefined, open_at_el1, rdsvl, rdvl, read_amcr_el0,
    read_errselr_el1, read_gcr_el1, read_lorc_el1, read_mdscr_el1, read_pmcr_el0, read_pmscr_el1,
    read_scxtnum_el0, read_trblimitr_el1, read_trfcr_el1,
};
use crate::support::system_register::Register;
use crate::{command, helper, println, test};

/// The tests of this file.
pub const TESTS: &[Test] = &[
    test!(
        identification_is_part_of_the_truth,
        "A partition reads no more than the truth from each identification register"
    ),
    test!(
        features_can_be_used,
        "A partition can use all features that it is shown, and none that it is not"
    ),
];

/// Code of the partitions.
pub const HELPERS: &[Command] = &[
    helper!(read),
    helper!(read_to_registers),
    helper!(use_features),
];

/// CRm and op2.
type Number = (u64, u64);

const PFR0: Number = (4, 0);
const PFR1: Number = (4, 1);
const DFR0: Number = (5, 0);
const ISAR0: Number = (6, 0);
const ISAR1: Number = (6, 1);
const ISAR2: Number = (6, 2);
const MMFR0: Number = (7, 0);
const MMFR1: Number = (7, 1);
const MMFR2: Number = (7, 2);

/// OS Double Lock, in which 0xf is less than 0.
const DOUBLE_LOCK: (Number, u32) = (DFR0, 36);

/// Sizes, which are shown as they are: PARange, ASIDBits, TGran16, TGran64, TGran4; VARange, CCIDX.
const SIZES: [(Number, u64); 2] = [(MMFR0, 0xfff0_00ff), (MMFR2, 0x00ff_0000)];

fn identification((crm, op2): Number) -> Check<u64> {
    match Register::identification(crm, op2).get() {
        Ok(value) => Ok(value),
        Err(fault) => fail(fault.0),
    }
}

fn field(value: u64, low: u32) -> u64 {
    value >> low & 0xf
}

// req: BOOT-03
fn identification_is_part_of_the_truth(_: &Nwd) -> Check {
    for partition in [SP1, SP2] {
        for crm in 1..8 {
            for op2 in 0..8 {
                let number = (crm, op2);
                let [shown, ..] = ask(partition, command!(read), [crm, op2, 0, 0])?;
                let truth = identification(number)?;
                for low in (0..64).step_by(4) {
                    let is_part = field(shown, low) <= field(truth, low);
                    holds(is_part || (number, low) == DOUBLE_LOCK, shown)?;
                }
                for (_, mask) in SIZES.iter().filter(|(of, _)| *of == number) {
                    equal(shown & mask, truth & mask)?;
                }
            }
        }
        ask(partition, command!(read_to_registers), [0; 4])?;
    }
    Ok(())
}

fn read(_: &Sp, [crm, op2, ..]: [u64; 4]) -> Check<[u64; 4]> {
    Ok([identification((crm, op2))?, 0, 0, 0])
}

/// Checks that a read changes the register that the instruction names, and no other.
fn read_to_registers(_: &Sp, _: [u64; 4]) -> Check<[u64; 4]> {
    let want = identification(PFR0)?;
    let (first, last, other): (u64, u64, u64);
    // SAFETY: reads an identification register.
    unsafe {
        asm!(
            "mov x9, #9",
            "mrs x0, id_aa64pfr0_el1",
            "mrs x30, id_aa64pfr0_el1",
            "mrs xzr, id_aa64pfr0_el1",
            out("x0") first,
            out("x30") last,
            out("x9") other,
            options(nostack)
        );
    }
    equal(first, want)?;
    equal(last, want)?;
    equal(other, 9u64)?;
    Ok([0; 4])
}

macro_rules! uses {
    ($($name:ident $instruction:literal,)+) => {
        $(
            /// Executes the instruction.
            #[unsafe(naked)]
            extern "C" fn $name() {
                naked_asm!($instruction, "mov x0, #0", "ret")
            }
        )+
    };
}

// The instructions are written as encodings, so that the assembler need not know the extensions.
uses! {
    fp ".inst 0x9e6703e0", // FMOV D0, XZR
    half_precision ".inst 0x0e401400", // FADD V0.4H, V0.4H, V0.4H
    advanced_simd ".inst 0x4f00e400", // MOVI V0.16B, #0
    aese ".inst 0x4e284800",
    pmull ".inst 0x0ee0e000",
    sha1h ".inst 0x5e280800",
    sha256su0 ".inst 0x5e282800",
    sha512su0 ".inst 0xcec08000",
    crc32b ".inst 0x1ac94129",
    // SWP X9, XZR, [X9], below the frame of the probe, which has x29.
    swp "sub x9, sp, #16\n.inst 0xf829813f",
    sqrdmlah ".inst 0x6e808400",
    rax1 ".inst 0xce608c00",
    sm3partw1 ".inst 0xce60c000",
    sm4e ".inst 0xcec08400",
    udot ".inst 0x6e809400",
    fmlal ".inst 0x4e20ec00",
    cfinv ".inst 0xd500401f",
    axflag ".inst 0xd500405f",
    tlbi_vmalle1os "sys #0, c8, c1, #0",
    read_rndr "mrs x9, s3_3_c2_c4_0",
    dc_cvap "mov x9, sp\nsys #3, c7, c12, #1, x9",
    dc_cvadp "mov x9, sp\nsys #3, c7, c13, #1, x9",
    fjcvtzs ".inst 0x1e7e0009",
    fcadd ".inst 0x6e80e400",
    ldapr "mov x9, sp\n.inst 0xf8bfc12a",
    ldapur "mov x9, sp\n.inst 0xd940012a",
    frint32z ".inst 0x1e284000",
    sb ".inst 0xd50330ff",
    cfp_rctx "sys #3, c7, c3, #4, xzr",
    bfdot ".inst 0x6e40fc00",
    smmla ".inst 0x4e80a400",
    wfet ".inst 0xd503101f",
    read_key "mrs x9, s3_0_c2_c1_0", // APIAKeyLo_EL1
    read_dit "mrs x9, s3_3_c4_c2_5",
    read_ssbs "mrs x9, s3_3_c4_c2_6",
    read_pan "mrs x9, s3_0_c4_c2_3",
    read_uao "mrs x9, s3_0_c4_c2_4",
    read_cntvctss "mrs x9, s3_3_c14_c0_6",
    read_osdlr "mrs x9, s2_0_c1_c3_4",
    read_sctlr_el12 "mrs x9, s3_5_c1_c0_0",
}

/// Features that the PE may have: register, field, the least value that shows the feature, and an
/// instruction of it. A field of 0xf shows that the feature is not there.
const USES: &[(Number, u32, u64, extern "C" fn())] = &[
    (PFR0, 16, 0, fp),
    (PFR0, 16, 1, half_precision),
    (PFR0, 20, 0, advanced_simd),
    (PFR0, 28, 1, read_errselr_el1),
    (PFR0, 32, 1, rdvl),
    (PFR0, 44, 1, read_amcr_el0),
    (PFR0, 48, 1, read_dit),
    (PFR0, 56, 2, read_scxtnum_el0),
    (PFR1, 4, 2, read_ssbs),
    (PFR1, 8, 2, read_gcr_el1),
    (PFR1, 24, 1, rdsvl),
    (DFR0, 0, 6, read_mdscr_el1),
    (DFR0, 8, 1, read_pmcr_el0),
    (DFR0, 32, 1, read_pmscr_el1),
    (DFR0, 36, 0, read_osdlr),
    (DFR0, 40, 1, read_trfcr_el1),
    (DFR0, 44, 1, read_trblimitr_el1),
    (ISAR0, 4, 1, aese),
    (ISAR0, 4, 2, pmull),
    (ISAR0, 8, 1, sha1h),
    (ISAR0, 12, 1, sha256su0),
    (ISAR0, 12, 2, sha512su0),
    (ISAR0, 16, 1, crc32b),
    (ISAR0, 20, 2, swp),
    (ISAR0, 28, 1, sqrdmlah),
    (ISAR0, 32, 1, rax1),
    (ISAR0, 36, 1, sm3partw1),
    (ISAR0, 40, 1, sm4e),
    (ISAR0, 44, 1, udot),
    (ISAR0, 48, 1, fmlal),
    (ISAR0, 52, 1, cfinv),
    (ISAR0, 52, 2, axflag),
    (ISAR0, 56, 1, tlbi_vmalle1os),
    (ISAR0, 60, 1, read_rndr),
    (ISAR1, 0, 1, dc_cvap),
    (ISAR1, 0, 2, dc_cvadp),
    (ISAR1, 12, 1, fjcvtzs),
    (ISAR1, 16, 1, fcadd),
    (ISAR1, 20, 1, ldapr),
    (ISAR1, 20, 2, ldapur),
    (ISAR1, 32, 1, frint32z),
    (ISAR1, 36, 1, sb),
    (ISAR1, 40, 1, cfp_rctx),
    (ISAR1, 44, 1, bfdot),
    (ISAR1, 52, 1, smmla),
    (ISAR2, 0, 2, wfet),
    (ISAR2, 16, 1, copy_memory),
    (MMFR0, 60, 1, read_cntvctss),
    (MMFR1, 8, 1, read_sctlr_el12),
    (MMFR1, 16, 1, read_lorc_el1),
    (MMFR1, 20, 1, read_pan),
    (MMFR2, 4, 1, read_uao),
];

// req: BOOT-03
fn features_can_be_used(_: &Nwd) -> Check {
    for partition in [SP1, SP2] {
        let [there, ..] = ask(partition, command!(use_features), [0; 4])?;
        println!(
            "# {partition:#x} is shown {there} of {} features",
            USES.len() + 1
        );
        holds(there > 0, there)?;
    }
    Ok(())
}

/// Tries an instruction of each feature. Result: how many features are there.
fn use_features(sp: &Sp, _: [u64; 4]) -> Check<[u64; 4]> {
    let before = open_at_el1();
    let outcome = compare(sp);
    close_at_el1(before);
    Ok([outcome?, 0, 0, 0])
}

fn compare(sp: &Sp) -> Check<u64> {
    let mut there = 0;
    let mut outcome = Ok(());
    let mut check = |number: Number, low: u32, is_shown: bool, instruction: extern "C" fn()| {
        let is_there = !is_undefined(instruction);
        if is_shown != is_there {
            println!(
                "# {}: {number:?}[{low}] shown: {is_shown}, there: {is_there}",
                sp.identity.name
            );
            outcome = fail(number.0 << 16 | number.1 << 8 | low as u64);
        }
        there += u64::from(is_there);
    };
    for &(number, low, least, instruction) in USES {
        let value = field(identification(number)?, low);
        check(number, low, value >= least && value != 0xf, instruction);
    }
    // Pointer authentication has a field for each algorithm and use.
    let keys = identification(ISAR1)? & 0xff00_0ff0 | identification(ISAR2)? & 0xff00;
    check(ISAR1, 4, keys != 0, read_key);
    outcome?;
    Ok(there)
}
