//! The registers of EL1, which the SPMC keeps for everybody and which must survive a switch between
//! the worlds and between partitions.

use core::arch::asm;

use crate::ffa::{SP1, SP2};
use crate::nwd::{Nwd, Test, ask, pe};
use crate::rt::check::{Check, equal};
use crate::sp::{Command, Sp};
use crate::{command, helper, test};

/// The tests of this file.
pub const TESTS: &[Test] = &[
    test!(
        el1_survives_messages,
        "EL1 registers of the Normal world and of each partition survive messages"
    ),
    test!(
        el1_moves_with_sp1,
        "EL1 registers of sp1 move with it to another PE",
        pes = 2
    ),
];

/// Code of the partitions.
pub const HELPERS: &[Command] = &[helper!(write_here), helper!(check_here)];

macro_rules! registers {
    ($($name:literal),+ $(,)?) => {
        /// Reads the registers.
        fn read() -> [u64; [$($name),+].len()] {
            [$({
                let value: u64;
                // SAFETY: reading has no effect.
                unsafe { asm!(concat!("mrs {}, ", $name), out(reg) value, options(nostack)) };
                value
            }),+]
        }

        /// Writes the registers.
        fn write(values: &[u64; [$($name),+].len()]) {
            let mut values = values.iter();
            $(
                let value = values.next().copied().unwrap_or(0);
                // SAFETY: none of them changes how this image runs.
                unsafe { asm!(concat!("msr ", $name, ", {}"), in(reg) value, options(nostack)) };
            )+
        }
    };
}

/// Registers that take any value. A partition uses none of them.
mod plain {
    use super::asm;
    registers!(
        "tpidr_el0",
        "tpidrro_el0",
        "tpidr_el1",
        "contextidr_el1",
        "afsr0_el1",
        "amair_el1",
        "cntv_cval_el0",
        "cntp_cval_el0"
    );

    /// The bits of each register that exist.
    pub const MASKS: [u64; 8] = [
        u64::MAX,
        u64::MAX,
        u64::MAX,
        0xffff_ffff,
        0,
        0,
        u64::MAX,
        u64::MAX,
    ];

    pub fn get() -> [u64; 8] {
        read()
    }
    pub fn set(values: &[u64; 8]) {
        write(values);
    }
}

/// Registers that control EL1. Only the Normal world changes them here, because it runs at EL2.
mod ruling {
    use super::asm;
    registers!(
        "sctlr_el1",
        "ttbr0_el1",
        "ttbr1_el1",
        "tcr_el1",
        "mair_el1",
        "vbar_el1",
        "elr_el1",
        "spsr_el1",
        "esr_el1",
        "far_el1",
        "cpacr_el1",
        "sp_el1",
        "cntkctl_el1",
        "csselr_el1"
    );

    pub fn get() -> [u64; 14] {
        read()
    }
    pub fn set(values: &[u64; 14]) {
        write(values);
    }
}

fn values(seed: u64) -> [u64; 8] {
    core::array::from_fn(|n| {
        seed.wrapping_mul(0x9e37_79b9_7f4a_7c15)
            .wrapping_add(n as u64)
            & plain::MASKS[n]
    })
}

#[track_caller]
fn plain_are(seed: u64) -> Check {
    for (n, (got, want)) in plain::get().iter().zip(values(seed)).enumerate() {
        equal(got & plain::MASKS[n], want)?;
    }
    Ok(())
}

// req: MSGW-23, RUN-20, GEN-20, MSGD-25
fn el1_survives_messages(_: &Nwd) -> Check {
    plain::set(&values(1));
    ruling::set(&[
        0x30d0_0980,
        0x4100_0000,
        0x4200_0000,
        0x19,
        0x44,
        0x4300_0800,
        0x4400_0000,
        0x3c5,
        0x5600_0000,
        0x1234,
        0x30_0000,
        0x4500_0000,
        0x3,
        0x2,
    ]);
    // Some bits read as the PE defines.
    let ruling = ruling::get();
    for round in 0..3 {
        for partition in [SP1, SP2] {
            ask(
                partition,
                command!(write_here),
                [round << 16 | partition as u64, 0, 0, 0],
            )?;
            plain_are(1)?;
            for (got, want) in ruling::get().iter().zip(ruling) {
                equal(*got, want)?;
            }
        }
        for partition in [SP1, SP2] {
            ask(
                partition,
                command!(check_here),
                [round << 16 | partition as u64, 0, 0, 0],
            )?;
        }
    }
    Ok(())
}

fn write_here(_: &Sp, [seed, ..]: [u64; 4]) -> Check<[u64; 4]> {
    plain::set(&values(seed));
    Ok([0; 4])
}

fn check_here(_: &Sp, [seed, ..]: [u64; 4]) -> Check<[u64; 4]> {
    plain_are(seed)?;
    Ok([0; 4])
}

// req: GEN-19, RUN-20, RUN-12
fn el1_moves_with_sp1(nwd: &Nwd) -> Check {
    for pe in 1..nwd.pes {
        ask(SP1, command!(write_here), [pe as u64, 0, 0, 0])?;
        let check = |[seed, ..]: [u64; 4]| ask(SP1, command!(check_here), [seed, 0, 0, 0]);
        pe::run_on(pe, check, [pe as u64, 0, 0, 0])?;
    }
    Ok(())
}
