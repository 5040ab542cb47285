//! System registers by their encoding, in this image or in a partition.

use core::arch::asm;

use crate::nwd::ask;
use crate::rt::check::Check;
use crate::rt::lock::Lock;
use crate::rt::page::{PAGE_SIZE, Shared};
use crate::rt::{exception_level, probe, stage1};
use crate::sp::{Command, Sp};
use crate::system_registers::{ROWS, Row};
use crate::{command, helper, println};

/// Code of the partitions.
pub const HELPERS: &[Command] = &[helper!(read), helper!(write)];

/// `MRS x1, S2_0_C0_C0_0`. The fields of the register begin at bit 5.
const READ: u32 = 0xd530_0001;
/// `MSR S2_0_C0_C0_0, x2`.
const WRITE: u32 = 0xd510_0002;
const RETURN: u32 = 0xd65f_03c0;

/// The memory for an accessor: its instruction is written there before each access.
static ACCESSOR: Shared<PAGE_SIZE> = Shared::new();
static LOCK: Lock = Lock::new();

/// Executes `instruction`, which reads x1 or writes x2.
///
/// # Safety
///
/// The instruction changes nothing that this image relies on.
unsafe fn execute(instruction: u32, argument: u64) -> Result<u64, probe::Fault> {
    LOCK.with(|| {
        let address = ACCESSOR.address();
        if exception_level() == 1 {
            stage1::map(address, stage1::Attributes::Anything);
        }
        for (n, word) in [instruction, RETURN].into_iter().enumerate() {
            ACCESSOR.write(4 * n, &word.to_le_bytes());
        }
        // SAFETY: makes the two words, which are in one cache line, visible to instruction fetch.
        unsafe {
            asm!("dc cvau, {0}", "dsb ish", "ic ivau, {0}", "dsb ish", "isb", in(reg) address, options(nostack));
        }
        // SAFETY: the code that was just written: the instruction and a return.
        unsafe { probe::call(address, argument) }
    })
}

/// A system register that EL1 or EL0 can name.
#[derive(Clone, Copy)]
pub(crate) struct Register {
    op0: u64,
    op1: u64,
    /// CRn, CRm and op2.
    rest: u64,
}

impl Register {
    /// Returns all registers with op0 = 3 and op1 = 0 or 3.
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        Self::of(3, 0).chain(Self::of(3, 3))
    }

    /// Returns all registers with op0 = 2 or 3 and op1 up to 3.
    pub(crate) fn every() -> impl Iterator<Item = Self> {
        let groups = [(2, 0), (2, 1), (2, 3), (3, 0), (3, 1), (3, 2), (3, 3)];
        groups.into_iter().flat_map(|(op0, op1)| Self::of(op0, op1))
    }

    fn of(op0: u64, op1: u64) -> impl Iterator<Item = Self> {
        (0..2048).map(move |rest| Self { op0, op1, rest })
    }

    /// Returns the row of the register in the table of the platform.
    pub(crate) fn row(self) -> Option<&'static Row> {
        let group = (self.op0, self.op1, self.crn());
        ROWS.iter()
            .find(|row| row.has(group, self.crm(), self.op2()))
    }

    /// Returns the identification register with this CRm and op2.
    pub(crate) fn identification(crm: u64, op2: u64) -> Self {
        Self {
            op0: 3,
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

    /// Returns `instruction` for this register.
    fn instruction(self, instruction: u32) -> u32 {
        let fields = (self.op0 - 2) << 14 | self.op1 << 11 | self.rest;
        instruction | (fields as u32) << 5
    }

    /// Reads the register.
    pub(crate) fn get(self) -> Result<u64, probe::Fault> {
        // SAFETY: reads a register.
        unsafe { execute(self.instruction(READ), 0) }
    }

    /// Writes the register.
    ///
    /// # Safety
    ///
    /// The value changes nothing that this image relies on.
    pub(crate) unsafe fn set(self, value: u64) -> Result<u64, probe::Fault> {
        // SAFETY: the caller's promise.
        unsafe { execute(self.instruction(WRITE), value) }
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
            "# S{}_{}_C{}_C{}_{} {what}",
            self.op0,
            self.op1,
            self.crn(),
            self.crm(),
            self.op2()
        );
    }

    /// Reads the register in a partition. Returns `None` if the partition may not.
    pub(crate) fn get_in(self, partition: u16) -> Check<Option<u64>> {
        let [may, value, ..] = ask(
            partition,
            command!(read),
            [self.op0, self.op1, self.rest, 0],
        )?;
        Ok((may == 1).then_some(value))
    }

    /// Writes the register in a partition, and returns the value that it then holds. Returns `None`
    /// if the partition may not.
    pub(crate) fn set_in(self, partition: u16, value: u64) -> Check<Option<u64>> {
        let [may, value, ..] = ask(
            partition,
            command!(write),
            [self.op0, self.op1, self.rest, value],
        )?;
        Ok((may == 1).then_some(value))
    }
}

fn read(_: &Sp, [op0, op1, rest, ..]: [u64; 4]) -> Check<[u64; 4]> {
    Ok(match (Register { op0, op1, rest }).get() {
        Ok(value) => [1, value, 0, 0],
        Err(_) => [0; 4],
    })
}

fn write(_: &Sp, [op0, op1, rest, value]: [u64; 4]) -> Check<[u64; 4]> {
    let register = Register { op0, op1, rest };
    // SAFETY: the test asks for registers that are free, and restores them.
    Ok(match unsafe { register.set(value) } {
        Ok(_) => [1, register.get().unwrap_or(!value), 0, 0],
        Err(_) => [0; 4],
    })
}
