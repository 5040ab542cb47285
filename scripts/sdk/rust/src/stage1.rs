//! Stage 1 of the running partition: nothing that can be written is executed.
//!
//! [`protect`] replaces the first translation table, which is coarse. Code is read-only, constants
//! are read-only and never executed, and everything else is never executed. The names of the parts
//! of an image are those of `image.ld` of `aarch64-rt`.

use core::arch::asm;
use core::cell::UnsafeCell;
use core::ops::Range;

use crate::start::{BLOCK, GIB, NEVER_EXECUTED, NON_SECURE, PAGE_TABLE};

const PAGE: usize = 1 << 12;
/// Bytes that one descriptor of the second level maps.
const BIG: usize = 1 << 21;
const ENTRIES: usize = 512;

/// Blocks of 2 MiB that may hold code and constants.
const CODE_BLOCKS: usize = 2;

/// A descriptor that points to a table.
const TABLE: usize = 3;
/// A page, in place of a block.
const IS_PAGE: usize = 2;
const READ_ONLY: usize = 1 << 7;
/// EL0 never executes it.
const USER_NEVER_EXECUTES: usize = 1 << 54;

/// The first table is in use as ASID 0, so that no stale entry of the TLB fits this one.
const ASID: usize = 1 << 48;
/// SCTLR_EL1.WXN: what is writable is never executed, whatever the descriptor says.
const WXN: u64 = 1 << 19;

#[repr(C, align(4096))]
struct Table([usize; ENTRIES]);

struct Tables {
    first: Table,
    second: Table,
    third: [Table; CODE_BLOCKS],
}

struct Cell(UnsafeCell<Tables>);
// SAFETY: the only execution context of a partition writes it, once.
unsafe impl Sync for Cell {}

static TABLES: Cell = Cell(UnsafeCell::new(Tables {
    first: Table([0; ENTRIES]),
    second: Table([0; ENTRIES]),
    third: [const { Table([0; ENTRIES]) }; CODE_BLOCKS],
}));

unsafe extern "C" {
    static text_begin: u8;
    static text_end: u8;
    static data_begin: u8;
}

/// Takes away the right to write to code and constants, and the right to execute anything else.
///
/// # Panics
///
/// Panics if code and constants do not fit into two blocks of 2 MiB in the first GiB.
pub(crate) fn protect() {
    let code = (&raw const text_begin) as usize..(&raw const text_end) as usize;
    let constants = code.end..(&raw const data_begin) as usize;
    assert!(
        constants.end < NON_SECURE.start * GIB,
        "the image lies too high"
    );
    // SAFETY: this runs once, on the only execution context.
    let tables = unsafe { &mut *TABLES.0.get() };
    fill(tables, &code, &constants);
    // SAFETY: the new tables map all that the old ones did, the running code as executable.
    unsafe {
        asm!(
            "dsb ishst",
            "msr ttbr0_el1, {table}",
            "isb",
            "mrs {old}, sctlr_el1",
            "orr {old}, {old}, {wxn}",
            "msr sctlr_el1, {old}",
            "isb",
            "tlbi vmalle1",
            "dsb nsh",
            "isb",
            table = in(reg) (&raw const tables.first) as usize | ASID,
            wxn = in(reg) WXN,
            old = out(reg) _,
        );
    }
}

/// Writes the tables for an image with code and constants in these places.
fn fill(tables: &mut Tables, code: &Range<usize>, constants: &Range<usize>) {
    tables.first.0 = PAGE_TABLE.0;
    for gib in &mut tables.first.0[..NON_SECURE.start] {
        *gib |= NEVER_EXECUTED;
    }
    tables.first.0[0] = (&raw const tables.second) as usize | TABLE;
    for (n, block) in tables.second.0.iter_mut().enumerate() {
        *block = (n * BIG) | BLOCK | NEVER_EXECUTED;
    }
    let blocks = code.start / BIG..constants.end.div_ceil(BIG);
    assert!(
        blocks.len() <= CODE_BLOCKS,
        "code and constants are too large"
    );
    for (block, third) in blocks.zip(&mut tables.third) {
        for (n, page) in third.0.iter_mut().enumerate() {
            let address = block * BIG + n * PAGE;
            let rights = if code.contains(&address) {
                READ_ONLY | USER_NEVER_EXECUTES
            } else if constants.contains(&address) {
                READ_ONLY | NEVER_EXECUTED
            } else {
                NEVER_EXECUTED
            };
            *page = address | BLOCK | IS_PAGE | rights;
        }
        tables.second.0[block] = (&raw const *third) as usize | TABLE;
    }
}

/// Returns whether stage 1 maps a range as memory of that world.
pub(crate) fn maps(start: u64, length: usize, is_secure: bool) -> bool {
    let first = usize::try_from(start).ok();
    let end = first.and_then(|start| start.checked_add(length));
    let (Some(start), Some(end)) = (first, end) else {
        return false;
    };
    let world = if is_secure {
        0..NON_SECURE.start
    } else {
        NON_SECURE
    };
    world.start * GIB <= start && end <= world.end * GIB
}
