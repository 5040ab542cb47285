//! Sweeps of system registers: what one world or partition writes, no other one sees or changes.
//! Not by a list of registers that somebody thought of, but by their encodings (findings P7, P8 and
//! P9).

use core::arch::{asm, global_asm};

use crate::ffa::{SP1, SP2, SP3};
use crate::nwd::{Nwd, Test, ask};
use crate::println;
use crate::rt::check::{Check, equal, holds};
use crate::rt::probe;
use crate::sp::{Command, Sp};
use crate::{command, helper, test};

/// The tests of this file.
pub const TESTS: &[Test] = &[
    test!(
        registers_of_the_worlds,
        "No partition sees or changes a system register of the Normal world"
    ),
    test!(
        registers_of_partitions,
        "No partition sees a system register of another one"
    ),
];

/// For the layout with partitions at S-EL0.
pub const EL0_TESTS: &[Test] = &[test!(
    el0_has_its_own_key,
    "PACGA at S-EL0 uses a key of the partition, whoever was there before"
)];

/// Code of the partitions.
pub const HELPERS: &[Command] = &[
    helper!(read),
    helper!(write),
    helper!(generic_code),
    helper!(generic_codes),
];

// An accessor of each encoding with op0 = 3: op1 = 0 and 3; 2048 combinations of CRn, CRm and op2.
global_asm!(
    ".section .text.sweep, \"ax\"",
    ".balign 16",
    ".macro sweep name, instruction",
    ".global \\name",
    "\\name:",
    ".set n, 0",
    ".rept 2048",
    ".inst \\instruction + (n << 5)",
    "ret",
    ".set n, n + 1",
    ".endr",
    ".endm",
    "sweep read_el1, 0xd5380001",  // mrs x1, s3_0_...
    "sweep write_el1, 0xd5180002", // msr s3_0_..., x2
    "sweep read_el0, 0xd53b0001",
    "sweep write_el0, 0xd51b0002",
    ".previous",
);

unsafe extern "C" {
    static read_el1: u8;
    static write_el1: u8;
    static read_el0: u8;
    static write_el0: u8;
}

/// A system register with op0 = 3 and op1 = 0 or 3.
#[derive(Clone, Copy)]
pub(crate) struct Register {
    op1: u64,
    /// CRn, CRm and op2.
    rest: u64,
}

impl Register {
    fn all() -> impl Iterator<Item = Self> {
        let of = |op1| (0..2048).map(move |rest| Self { op1, rest });
        of(0).chain(of(3))
    }

    /// The identification register with this CRm and op2.
    pub(crate) fn identification(crm: u64, op2: u64) -> Self {
        Self {
            op1: 0,
            rest: crm << 3 | op2,
        }
    }

    fn crn(self) -> u64 {
        self.rest >> 7
    }

    fn crm(self) -> u64 {
        self.rest >> 3 & 0xf
    }

    fn op2(self) -> u64 {
        self.rest & 7
    }

    /// Reads the register.
    pub(crate) fn get(self) -> Result<u64, probe::Fault> {
        let table = match self.op1 {
            0 => &raw const read_el1,
            _ => &raw const read_el0,
        };
        // SAFETY: an accessor of the table, which reads a register.
        unsafe { probe::call(table as u64 + 8 * self.rest, 0) }
    }

    /// Writes the register.
    ///
    /// # Safety
    ///
    /// The value changes nothing that this image relies on.
    unsafe fn set(self, value: u64) -> Result<u64, probe::Fault> {
        let table = match self.op1 {
            0 => &raw const write_el1,
            _ => &raw const write_el0,
        };
        // SAFETY: an accessor of the table, and the caller's promise.
        unsafe { probe::call(table as u64 + 8 * self.rest, value) }
    }

    /// Returns whether EL2 of the Normal world may write anything there.
    fn is_free_at_el2(self) -> bool {
        match (self.op1, self.crn()) {
            (0, 1 | 2 | 3 | 5 | 6 | 7 | 10 | 13) => true,
            (0, 12) => self.crm() <= 1 && self.op2() != 2,
            (0, 14) => self.crm() == 1,
            (3, 2 | 3 | 5 | 10 | 13) => true,
            // From DIT on; FPCR, FPSR.
            (3, 4) => self.crm() == 2 && self.op2() > 4 || self.crm() == 4,
            _ => false,
        }
    }

    /// Returns whether a partition may write anything there, as long as it restores it.
    fn is_free_at_el1(self) -> bool {
        match (self.op1, self.crn()) {
            // SCTLR, TTBR0, TTBR1, TCR, MAIR: it runs by them.
            (0, 1) => self.crm() != 0 || self.op2() != 0,
            (0, 2) => self.crm() != 0,
            (0, 3 | 5 | 6 | 7 | 9 | 13) => true,
            (0, 10) => self.crm() != 2 || self.op2() != 0,
            (0, 12 | 14) => self.crm() == 1,
            (3, 2 | 3 | 5 | 9 | 10 | 13) => true,
            (3, 4) => self.crm() == 4,
            _ => false,
        }
    }

    /// A value that tells who wrote it.
    fn pattern(self) -> u64 {
        0x5aa5_1234_5678_9aa5 ^ self.rest << 20
    }

    fn says(self, what: &str) {
        println!(
            "# S3_{}_C{}_C{}_{} {what}",
            self.op1,
            self.crn(),
            self.crm(),
            self.op2()
        );
    }

    /// Reads the register in a partition, where that may.
    fn get_in(self, partition: u16) -> Check<Option<u64>> {
        let [may, value, ..] = ask(partition, command!(read), [self.op1, self.rest, 0, 0])?;
        Ok((may == 1).then_some(value))
    }

    /// Writes the register in a partition, and returns what it then holds, where the partition may.
    fn set_in(self, partition: u16, value: u64) -> Check<Option<u64>> {
        let [may, value, ..] = ask(partition, command!(write), [self.op1, self.rest, value, 0])?;
        Ok((may == 1).then_some(value))
    }
}

fn read(_: &Sp, [op1, rest, ..]: [u64; 4]) -> Check<[u64; 4]> {
    Ok(match (Register { op1, rest }).get() {
        Ok(value) => [1, value, 0, 0],
        Err(_) => [0; 4],
    })
}

fn write(_: &Sp, [op1, rest, value, ..]: [u64; 4]) -> Check<[u64; 4]> {
    let register = Register { op1, rest };
    // SAFETY: the test asks for registers that are free, and restores them.
    Ok(match unsafe { register.set(value) } {
        Ok(_) => [1, register.get().unwrap_or(!value), 0, 0],
        Err(_) => [0; 4],
    })
}

// req: GEN-20, MSGW-23, RUN-20
fn registers_of_the_worlds(_: &Nwd) -> Check {
    let mut faults = 0_u64;
    for register in Register::all().filter(|register| register.is_free_at_el2()) {
        let Ok(before) = register.get() else { continue };
        // SAFETY: EL2 does not rely on it, and it is restored.
        if unsafe { register.set(register.pattern()) }.is_err() {
            continue;
        }
        let held = register.get().unwrap_or(before);
        if held != before {
            if register.get_in(SP1)? == Some(held) {
                register.says("is seen by sp1");
                faults += 1;
            }
            if register.is_free_at_el1() {
                let own = register.get_in(SP1)?;
                register.set_in(SP1, !register.pattern())?;
                if let Some(own) = own {
                    register.set_in(SP1, own)?;
                }
            }
            if register.get().ok() != Some(held) {
                register.says("is changed by sp1");
                faults += 1;
            }
        }
        // SAFETY: as it was.
        let _ = unsafe { register.set(before) };
    }
    equal(faults, 0u64)
}

// req: GEN-20, MSGW-23, RUN-20
fn registers_of_partitions(_: &Nwd) -> Check {
    let mut faults = 0_u64;
    for register in Register::all().filter(|register| register.is_free_at_el1()) {
        let Some(before) = register.get_in(SP1)? else {
            continue;
        };
        let other = register.get_in(SP2)?;
        let held = register.set_in(SP1, register.pattern())?;
        if held.is_some_and(|held| held != before) && register.get_in(SP2)? == held && held != other
        {
            register.says("of sp1 is seen by sp2");
            faults += 1;
        }
        register.set_in(SP1, before)?;
    }
    equal(faults, 0u64)
}

/// PACGA of two words.
fn pacga() -> u64 {
    let code: u64;
    // SAFETY: computes a number.
    unsafe {
        asm!(".inst 0x9ac23020", in("x1") 0x1234_5678_u64, in("x2") 0x42_u64, lateout("x0") code,
            options(nomem, nostack));
    }
    code
}

/// Sets APGAKey.
fn set_key(key: u64) {
    // SAFETY: this image signs no pointers.
    unsafe {
        asm!("msr s3_0_c2_c3_0, {}", "msr s3_0_c2_c3_1, {}", "isb", in(reg) key, in(reg) !key,
            options(nostack));
    }
}

fn generic_code(_: &Sp, _: [u64; 4]) -> Check<[u64; 4]> {
    Ok([pacga(), 0, 0, 0])
}

/// The codes of sp1 with a key, and of sp3, which it asks.
fn generic_codes(sp: &Sp, [key, ..]: [u64; 4]) -> Check<[u64; 4]> {
    set_key(key);
    let own = pacga();
    let [other, ..] = sp.ask(SP3, command!(generic_code), [0; 4])?;
    equal(pacga(), own)?;
    Ok([own, other, 0, 0])
}

// req: GEN-20
fn el0_has_its_own_key(_: &Nwd) -> Check {
    let [first, ..] = ask(SP3, command!(generic_code), [0; 4])?;
    for key in [0x1111_2222_3333_4444, 0x9999_8888_7777_6666] {
        set_key(key);
        let own = pacga();
        let [other, ..] = ask(SP3, command!(generic_code), [0; 4])?;
        equal(other, first)?;
        holds(other != own, other)?;
        equal(pacga(), own)?;

        let [own, other, ..] = ask(SP1, command!(generic_codes), [!key, 0, 0, 0])?;
        equal(other, first)?;
        holds(other != own, other)?;
    }
    Ok(())
}
