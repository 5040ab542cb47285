//! System registers by their encoding, in this image or in a partition.

use core::arch::global_asm;

use crate::nwd::ask;
use crate::rt::check::Check;
use crate::rt::probe;
use crate::sp::{Command, Sp};
use crate::{command, helper, println};

/// Code of the partitions.
pub const HELPERS: &[Command] = &[helper!(read), helper!(write)];

// Accessors for each encoding with op0 = 3 and op1 = 0 or 3: 2048 combinations of CRn, CRm and op2.
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
    /// Returns all registers with op0 = 3 and op1 = 0 or 3.
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        let of = |op1| (0..2048).map(move |rest| Self { op1, rest });
        of(0).chain(of(3))
    }

    /// Returns the identification register with this CRm and op2.
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
    pub(crate) unsafe fn set(self, value: u64) -> Result<u64, probe::Fault> {
        let table = match self.op1 {
            0 => &raw const write_el1,
            _ => &raw const write_el0,
        };
        // SAFETY: an accessor of the table, and the caller's promise.
        unsafe { probe::call(table as u64 + 8 * self.rest, value) }
    }

    /// Returns whether EL2 of the Normal world may write anything there.
    pub(crate) fn is_free_at_el2(self) -> bool {
        match (self.op1, self.crn()) {
            (0, 1 | 2 | 3 | 5 | 6 | 7 | 10 | 13) => true,
            (0, 12) => self.crm() <= 1 && self.op2() != 2,
            (0, 14) => self.crm() == 1,
            (3, 2 | 3 | 5 | 10 | 13) => true,
            // CRm 2 from DIT on; FPCR and FPSR.
            (3, 4) => self.crm() == 2 && self.op2() > 4 || self.crm() == 4,
            _ => false,
        }
    }

    /// Returns whether a partition may write anything there, as long as it restores it.
    pub(crate) fn is_free_at_el1(self) -> bool {
        match (self.op1, self.crn()) {
            // All but SCTLR, TTBR0, TTBR1, TCR and MAIR, which the partition runs by.
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

    /// Returns a value that differs from register to register.
    pub(crate) fn pattern(self) -> u64 {
        0x5aa5_1234_5678_9aa5 ^ self.rest << 20
    }

    /// Writes a line about the register to the console.
    pub(crate) fn says(self, what: &str) {
        println!(
            "# S3_{}_C{}_C{}_{} {what}",
            self.op1,
            self.crn(),
            self.crm(),
            self.op2()
        );
    }

    /// Reads the register in a partition. Returns `None` if the partition may not.
    pub(crate) fn get_in(self, partition: u16) -> Check<Option<u64>> {
        let [may, value, ..] = ask(partition, command!(read), [self.op1, self.rest, 0, 0])?;
        Ok((may == 1).then_some(value))
    }

    /// Writes the register in a partition, and returns the value that it then holds. Returns `None`
    /// if the partition may not.
    pub(crate) fn set_in(self, partition: u16, value: u64) -> Check<Option<u64>> {
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
