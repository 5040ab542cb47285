//! Stage 1 of the guests (Arm ARM, VMSAv8-64, 4 KiB granule). Virtual addresses are physical
//! addresses.
//!
//! The Normal world maps a few blocks of 1 GiB. A partition maps pages, because the NS bit of a
//! stage 1 descriptor chooses between the Secure and the Non-secure address space that stage 2
//! offers.

use core::arch::asm;
use core::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use super::page::PAGE_SIZE;
use crate::board::{DEVICES, RAM};

#[repr(C, align(4096))]
struct Table([AtomicU64; 512]);

const TABLES: usize = 40;
static POOL: [Table; TABLES] = [const { Table([const { AtomicU64::new(0) }; 512]) }; TABLES];
/// Number of tables in use; the first one is the root.
static USED: AtomicUsize = AtomicUsize::new(1);
static LOCK: AtomicBool = AtomicBool::new(false);

const VALID: u64 = 1;
const TABLE_OR_PAGE: u64 = 2;
const NORMAL: u64 = 1 << 2;
const NON_SECURE: u64 = 1 << 5;
const EL2_RES1: u64 = 1 << 6;
const READ_ONLY: u64 = 1 << 7;
const INNER_SHAREABLE: u64 = 3 << 8;
const ACCESS: u64 = 1 << 10;
const PRIVILEGED_NEVER: u64 = 1 << 53;
const NEVER: u64 = 1 << 54;
const ADDRESS: u64 = 0x0000_ffff_ffff_f000;

/// Index 0: Device-nGnRnE. Index 1: Normal, write-back.
const MAIR: u64 = 0xff00;

/// The way in which a partition maps a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attributes {
    /// Secure memory: code.
    Code,
    /// Secure memory, read and written.
    Data,
    /// Secure memory, read, written and executed, so that only stage 2 can forbid an access.
    Anything,
    /// Secure device.
    Device,
    /// Non-secure device.
    NonSecureDevice,
    /// Non-secure memory, read, written and executed as far as stage 2 allows.
    NonSecure,
}

impl Attributes {
    fn bits(self) -> u64 {
        let common = VALID | TABLE_OR_PAGE | ACCESS | INNER_SHAREABLE;
        match self {
            Self::Code => common | NORMAL | READ_ONLY | NEVER,
            Self::Data => common | NORMAL | NEVER | PRIVILEGED_NEVER,
            Self::Anything => common | NORMAL | NEVER,
            Self::Device => common | NEVER | PRIVILEGED_NEVER,
            Self::NonSecureDevice => common | NEVER | PRIVILEGED_NEVER | NON_SECURE,
            Self::NonSecure => common | NORMAL | NEVER | NON_SECURE,
        }
    }
}

/// Maps the page at `address`, or changes its mapping.
pub fn map(address: u64, attributes: Attributes) {
    set(address, address & ADDRESS | attributes.bits());
}

/// Maps `pages` pages from `address` on.
pub fn map_range(address: u64, pages: usize, attributes: Attributes) {
    for n in 0..pages {
        map(address + (n * PAGE_SIZE) as u64, attributes);
    }
}

/// Returns the entry that leads to the table with the mapping of `address`.
pub fn last_table_entry(address: u64) -> &'static AtomicU64 {
    let upper = next(&POOL[0], (address >> 39) as usize);
    let middle = next(upper, (address >> 30) as usize & 511);
    &middle.0[(address >> 21) as usize & 511]
}

/// Returns an entry that leads to a table in Non-secure memory.
pub fn non_secure_table(address: u64) -> u64 {
    const NON_SECURE_TABLE: u64 = 1 << 63;
    address | VALID | TABLE_OR_PAGE | NON_SECURE_TABLE
}

/// The second GiB of RAM. Partitions map it as Non-secure from the start, so that stage 2 alone
/// decides about accesses.
pub const NON_SECURE_GIB: u64 = RAM + GIB;

const GIB: u64 = 1 << 30;

/// Maps [`NON_SECURE_GIB`] in one block. A partition calls this before its stage 1 is on.
pub fn map_non_secure_gib() {
    let block = (NON_SECURE_GIB | Attributes::NonSecure.bits()) & !TABLE_OR_PAGE;
    set_gib(NON_SECURE_GIB, block);
}

/// Unmaps the page at `address`.
pub fn unmap(address: u64) {
    set(address, 0);
}

fn set(address: u64, descriptor: u64) {
    assert!(address < 1 << ADDRESS_BITS);
    while LOCK.swap(true, Ordering::Acquire) {
        core::hint::spin_loop();
    }
    let upper = next(&POOL[0], (address >> 39) as usize);
    let middle = next(upper, (address >> 30) as usize & 511);
    let last = next(middle, (address >> 21) as usize & 511);
    let entry = &last.0[(address >> 12) as usize & 511];
    // Break before make.
    entry.store(0, Ordering::SeqCst);
    invalidate(address);
    entry.store(descriptor, Ordering::SeqCst);
    // SAFETY: makes the new entry visible to the table walk.
    unsafe { asm!("dsb ishst", "isb", options(nostack)) };
    LOCK.store(false, Ordering::Release);
}

/// Maps the GiB at `address` with this descriptor, before stage 1 is on.
fn set_gib(address: u64, descriptor: u64) {
    let upper = next(&POOL[0], (address >> 39) as usize);
    upper.0[(address >> 30) as usize & 511].store(descriptor, Ordering::SeqCst);
}

/// Returns the table that entry `index` of `table` leads to, or allocates one.
fn next(table: &'static Table, index: usize) -> &'static Table {
    let entry = &table.0[index];
    let present = entry.load(Ordering::SeqCst);
    if present == 0 {
        let new = &POOL[USED.fetch_add(1, Ordering::SeqCst)];
        entry.store(
            new.0.as_ptr() as u64 | VALID | TABLE_OR_PAGE,
            Ordering::SeqCst,
        );
        return new;
    }
    let base = POOL.as_ptr() as u64;
    &POOL[((present & ADDRESS) - base) as usize / PAGE_SIZE]
}

fn invalidate(address: u64) {
    // SAFETY: only drops cached translations of this image's own regime.
    unsafe {
        asm!("dsb ishst", "tlbi vaae1is, {}", "dsb ish", "isb", in(reg) address >> 12, options(nostack))
    };
}

/// Number of address bits. With 48 bits a walk starts at level 0.
const ADDRESS_BITS: u64 = 48;
/// The fields that TCR_EL1 and TCR_EL2 have in common: the size, tables cacheable and inner
/// shareable.
const CONTROL: u64 = (64 - ADDRESS_BITS) | 1 << 8 | 1 << 10 | 3 << 12;
/// The encoding of 48-bit physical addresses (TCR_ELx.IPS, PS).
const OUTPUT_48: u64 = 0b101;

/// Turns stage 1 of a partition on, on this PE. The running code must have been mapped.
pub fn enable_el1() {
    // EPD1: no walks from TTBR1.
    let control = CONTROL | OUTPUT_48 << 32 | 1 << 23;
    // SAFETY: the tables map this image one to one, so execution goes on where it is.
    unsafe {
        asm!(
            "msr mair_el1, {mair}",
            "msr tcr_el1, {tcr}",
            "msr ttbr0_el1, {root}",
            "tlbi vmalle1",
            "dsb ish",
            "isb",
            "msr sctlr_el1, {sctlr}",
            "isb",
            mair = in(reg) MAIR,
            tcr = in(reg) control,
            root = in(reg) POOL.as_ptr(),
            // RES1 bits, MMU, data and instruction caches.
            sctlr = in(reg) 0x30d0_0800u64 | 1 | 1 << 2 | 1 << 12,
            options(nostack),
        )
    };
}

/// Maps RAM and devices for the Normal world and turns stage 1 on, on this PE.
pub fn enable_el2() {
    let block = |address, kind| {
        let descriptor = address | VALID | ACCESS | INNER_SHAREABLE | EL2_RES1 | kind;
        set_gib(address, descriptor);
    };
    for gib in DEVICES {
        block(gib * GIB, NEVER);
    }
    for address in [RAM, RAM + GIB] {
        block(address, NORMAL);
    }
    let control = CONTROL | OUTPUT_48 << 16 | 1 << 23 | 1 << 31;
    // SAFETY: as for EL1.
    unsafe {
        asm!(
            "dsb ishst",
            "msr mair_el2, {mair}",
            "msr tcr_el2, {tcr}",
            "msr ttbr0_el2, {root}",
            "tlbi alle2",
            "dsb ish",
            "isb",
            "msr sctlr_el2, {sctlr}",
            "isb",
            mair = in(reg) MAIR,
            tcr = in(reg) control,
            root = in(reg) POOL.as_ptr(),
            sctlr = in(reg) 0x30c5_0830u64 | 1 | 1 << 2 | 1 << 12,
            options(nostack),
        )
    };
}
