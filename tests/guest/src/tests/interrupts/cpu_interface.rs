//! A partition that writes to the GIC's CPU interface. A virtual interface would harm the partition
//! alone; on QEMU the partition reaches the physical one, and all others must go on as before once
//! it gives the PE back.

use core::arch::naked_asm;

use crate::ffa::{SP2, SP7};
use crate::nwd::source::{CLOCK_INTERRUPT, Source};
use crate::nwd::{Nwd, Test, ask, gic};
use crate::rt::check::{Check, equal, holds};
use crate::rt::probe;
use crate::sp::{Command, Sp};
use crate::support::interrupt_handler::{comes_to, handled_by, let_through};
use crate::{command, helper, println, test};

/// The tests of this file.
pub const TESTS: &[Test] = &[test!(
    cpu_interface_survives,
    "A partition writes to each register of the CPU interface; interrupts go on"
)];

/// Code of the partitions.
pub const HELPERS: &[Command] = &[helper!(play)];

/// Exception class of an undefined instruction.
const UNDEFINED: u64 = 0;

macro_rules! plays {
    ($($name:ident $instructions:literal,)+) => {
        $(
            /// Executes the instructions.
            #[unsafe(naked)]
            extern "C" fn $name() {
                naked_asm!($instructions, "isb", "mov x0, #0", "ret")
            }
        )+
        /// The uses of the CPU interface that the partition tries.
        static PLAYS: [(&str, extern "C" fn()); [$(stringify!($name)),+].len()] =
            [$((stringify!($name), $name)),+];
    };
}

plays! {
    mask_everything "mov x9, #0; msr S3_0_C4_C6_0, x9", // ICC_PMR_EL1
    mask_nothing "mov x9, #0xff; msr S3_0_C4_C6_0, x9",
    group0_off "mov x9, #0; msr S3_0_C12_C12_6, x9", // ICC_IGRPEN0_EL1
    group1_off "mov x9, #0; msr S3_0_C12_C12_7, x9", // ICC_IGRPEN1_EL1
    end_is_deactivation "mov x9, #0; msr S3_0_C12_C12_4, x9", // ICC_CTLR_EL1
    no_preemption_group0 "mov x9, #7; msr S3_0_C12_C8_3, x9", // ICC_BPR0_EL1
    no_preemption_group1 "mov x9, #7; msr S3_0_C12_C12_3, x9", // ICC_BPR1_EL1
    all_priorities_active_group0 "mov x9, #0xffffffff; msr S3_0_C12_C8_4, x9", // ICC_AP0R0_EL1
    all_priorities_active_group1 "mov x9, #0xffffffff; msr S3_0_C12_C9_0, x9", // ICC_AP1R0_EL1
    acknowledge_group0 "mrs x9, S3_0_C12_C8_0", // ICC_IAR0_EL1
    acknowledge_group1 "mrs x9, S3_0_C12_C12_0", // ICC_IAR1_EL1
    end_group0 "mov x9, #34; msr S3_0_C12_C8_1, x9", // ICC_EOIR0_EL1
    end_group1 "mov x9, #34; msr S3_0_C12_C12_1, x9", // ICC_EOIR1_EL1
    deactivate "mov x9, #34; msr S3_0_C12_C11_1, x9", // ICC_DIR_EL1
    no_system_registers "mov x9, #0; msr S3_0_C12_C12_5, x9", // ICC_SRE_EL1
    // ICC_SGI1R_EL1
    secure_sgi_to_all "movz x9, #0x100, lsl #32; movk x9, #0x900, lsl #16; msr S3_0_C12_C11_5, x9",
    // ICC_ASGI1R_EL1
    non_secure_sgi_to_all "movz x9, #0x100, lsl #32; movk x9, #0x800, lsl #16; msr S3_0_C12_C11_6, x9",
    // ICC_SGI0R_EL1
    group0_sgi_to_all "movz x9, #0x100, lsl #32; movk x9, #0xf00, lsl #16; msr S3_0_C12_C11_7, x9",
}

// req: INT-14, ME-05
fn cpu_interface_survives(_: &Nwd) -> Check {
    let_through(SP7, CLOCK_INTERRUPT)?;
    for (n, (name, _)) in PLAYS.iter().enumerate() {
        let [undefined, ..] = ask(SP2, command!(play), [n as u64, 0, 0, 0])?;
        println!(
            "# {name}: {}",
            if undefined == 1 { "undefined" } else { "done" }
        );
        // Only the SPMC may interrupt other PEs.
        holds(undefined == 1 || !name.contains("sgi_to_all"), n as u64)?;
        let before = handled_by(SP7)?;
        Source::Clock.raise();
        comes_to(SP7, before + 1)?;
        gic::enable(0);
        gic::fire(0);
        gic::acknowledge(0)?;
        equal(handled_by(SP7)?, before + 1)?;
    }
    Ok(())
}

/// Executes one of [`PLAYS`]. Result: whether it is an undefined instruction.
fn play(_: &Sp, [n, ..]: [u64; 4]) -> Check<[u64; 4]> {
    let (_, instruction) = PLAYS[n as usize];
    // SAFETY: the function returns, and keeps what the procedure call standard says.
    let outcome = unsafe { probe::execute(instruction as *const () as u64) };
    let undefined = matches!(outcome, Err(fault) if fault.class() == UNDEFINED);
    Ok([undefined.into(), 0, 0, 0])
}
