//! `FFA_MEM_SHARE` and `FFA_MEM_RECLAIM` as U-Boot's FF-A bus makes them, byte by byte and register
//! by register. The bus speaks 1.0 and sends one constituent.
//!
//! Both versions of U-Boot's patch for `FFA_MEM_SHARE` fill TX and the registers in the same way;
//! they differ in what the bus asks of its own clients.

use crate::board::package;
use crate::ffa::error::{DENIED, INVALID_PARAMETERS};
use crate::ffa::{self, NOBODY, SP1, SP2, id};
use crate::nwd::{self, Nwd, Test, page, peek, poke};
use crate::rt::call::{Conduit, Regs, call};
use crate::rt::check::{Check, equal};
use crate::support::borrowing::{Borrow, asked_to_give_back, is_error, is_fine};
use crate::support::reach::{ABORT, DONE, Space, Try, reaches, reads};
use crate::test;

/// The tests of this file. They need a Normal world at 1.0.
pub const TESTS: &[Test] = &[
    test!(
        u_boot_shares_and_reclaims,
        "U-Boot shares memory with a partition and reclaims it"
    ),
    test!(
        u_boot_shares_with_two,
        "U-Boot shares memory with two partitions"
    ),
    test!(
        u_boot_sees_errors,
        "U-Boot reads the error codes of both calls"
    ),
];

/// `struct ffa_mem_ops_args`: the arguments of a client of the bus.
struct Arguments<'a> {
    /// Receiver and permissions of each borrower.
    attrs: &'a [(u16, u8)],
    flags: u32,
    tag: u64,
    address: u64,
    pages: u32,
}

/// Read-write.
const RW: u8 = 1 << 1;
/// Read-only.
const RO: u8 = 1 << 0;
/// Normal memory, write-back, inner shareable.
const ATTRIBUTES: u8 = 1 << 5 | 3 << 2 | 3;

/// Fills TX and makes the call. U-Boot does not clear the buffer before, so the bytes that it does
/// not write are arbitrary.
fn memory_share(arguments: &Arguments) -> Regs {
    let tx = &nwd::TX;
    tx.fill(0xa5);
    tx.write(16, &arguments.tag.to_le_bytes());
    tx.write(4, &arguments.flags.to_le_bytes());
    tx.write(0, &[0, 0]); // the id that FFA_ID_GET gave
    tx.write(2, &[ATTRIBUTES]);
    tx.write(8, &[0; 8]); // handle
    let count = arguments.attrs.len();
    tx.write(28, &(count as u32).to_le_bytes());
    tx.write(3, &[0]);
    tx.write(24, &[0; 4]);

    let composite = 32 + 16 * count;
    for (n, (receiver, permissions)) in arguments.attrs.iter().enumerate() {
        let at = 32 + 16 * n;
        tx.write(at, &receiver.to_le_bytes());
        tx.write(at + 2, &[*permissions]);
        tx.write(at + 4, &(composite as u32).to_le_bytes());
        tx.write(at + 3, &[0]);
        tx.write(at + 8, &[0; 8]);
    }
    tx.write(composite, &arguments.pages.to_le_bytes());
    tx.write(composite + 4, &1u32.to_le_bytes());
    tx.write(composite + 8, &[0; 8]);
    let constituent = composite + 16;
    tx.write(constituent, &arguments.address.to_le_bytes());
    tx.write(constituent + 8, &arguments.pages.to_le_bytes());
    tx.write(constituent + 12, &[0; 4]);

    let total = (constituent + 16) as u64;
    let mut regs = [0; 18];
    regs[0] = 0x8400_0073;
    regs[1] = total;
    regs[2] = total;
    call(Conduit::Smc, regs)
}

/// Returns the handle as U-Boot puts it together. U-Boot compares the whole of x0 with the 32-bit
/// id.
#[track_caller]
fn handle(answer: &Regs) -> Check<u64> {
    equal(answer[0], 0x8400_0061u64)?;
    Ok(answer[2] & 0xffff_ffff | (answer[3] & 0xffff_ffff) << 32)
}

fn memory_reclaim(handle: u64, flags: u32) -> Regs {
    let mut regs = [0; 18];
    regs[0] = 0x8400_0077;
    regs[1] = handle & 0xffff_ffff;
    regs[2] = handle >> 32;
    regs[3] = flags.into();
    call(Conduit::Smc, regs)
}

// req: MEMD-21, MEMD-59, MEMD-61, MEMS-01, MEMX-02, MEMRC-01, MEMRC-09, MEMRC-13, MEMRC-14, VER-09
fn u_boot_shares_and_reclaims(_: &Nwd) -> Check {
    for (partition, permissions, pages) in [(SP1, RW, 1), (SP2, RW, 16), (SP1, RO, 1), (SP2, RO, 4)]
    {
        let arguments = Arguments {
            attrs: &[(partition, permissions)],
            flags: 0,
            tag: 0x1122_3344_5566_7788,
            address: page(20),
            pages,
        };
        // Nobody retrieved the memory.
        let unused = handle(&memory_share(&arguments))?;
        ffa::done(&memory_reclaim(unused, 0))?;

        let shared = handle(&memory_share(&arguments))?;
        poke(page(20), 0x5150);
        let borrow = Borrow {
            tag: arguments.tag,
            access: permissions,
            ..Borrow::new(shared)
        };
        let got = is_fine(borrow.by(partition)?)?;
        equal(got.first, arguments.address)?;
        equal(got.pages, pages)?;
        reads(partition, page(20), Some(0x5150))?;
        let last = page(20 + u64::from(pages) - 1);
        let write = if permissions == RW { DONE } else { ABORT };
        reaches(partition, last, Space::NonSecure, Try::Write(0x5151), write)?;
        ffa::refused(&memory_reclaim(shared, 0), DENIED)?;
        asked_to_give_back(ffa::NWD, partition, shared)?;
        ffa::done(&memory_reclaim(shared, 0))?;
        reads(partition, page(20), ABORT)?;
    }
    Ok(())
}

// req: MEMD-59, MEMD-61, MEMD-69, MEMRC-07
fn u_boot_shares_with_two(_: &Nwd) -> Check {
    let arguments = Arguments {
        attrs: &[(SP1, RW), (SP2, RW)],
        flags: 0,
        tag: 0,
        address: page(21),
        pages: 1,
    };
    let shared = handle(&memory_share(&arguments))?;
    for (partition, other) in [(SP1, SP2), (SP2, SP1)] {
        let borrow = Borrow {
            other,
            ..Borrow::new(shared)
        };
        is_fine(borrow.by(partition)?)?;
    }
    reaches(SP1, page(21), Space::NonSecure, Try::Write(0x2121), DONE)?;
    reads(SP2, page(21), Some(0x2121))?;
    equal(peek(page(21)) & 0xffff_ffff, 0x2121u64)?;
    for partition in [SP1, SP2] {
        ffa::refused(&memory_reclaim(shared, 0), DENIED)?;
        asked_to_give_back(ffa::NWD, partition, shared)?;
    }
    // The flag asks for the memory to be cleared.
    ffa::done(&memory_reclaim(shared, 1))?;
    equal(peek(page(21)), 0u64)
}

// req: MEMS-01, MEMX-07, MEMX-09, MEMRC-02, MEMRC-03, MEMRC-04, MEMRC-13, GEN-30
fn u_boot_sees_errors(_: &Nwd) -> Check {
    let good = Arguments {
        attrs: &[(SP1, RW)],
        flags: 0,
        tag: 0,
        address: page(22),
        pages: 1,
    };
    for (wrong, code) in [
        (Arguments { attrs: &[], ..good }, INVALID_PARAMETERS),
        (
            Arguments {
                attrs: &[(NOBODY, RW)],
                ..good
            },
            INVALID_PARAMETERS,
        ),
        // A share says nothing about execution.
        (
            Arguments {
                attrs: &[(SP1, RW | 1 << 2)],
                ..good
            },
            INVALID_PARAMETERS,
        ),
        (
            Arguments {
                attrs: &[(SP1, RW | 1 << 3)],
                ..good
            },
            INVALID_PARAMETERS,
        ),
        // Only lent memory can be cleared for the borrower.
        (Arguments { flags: 1, ..good }, INVALID_PARAMETERS),
        (Arguments { pages: 0, ..good }, INVALID_PARAMETERS),
        (
            Arguments {
                address: page(22) + 8,
                ..good
            },
            INVALID_PARAMETERS,
        ),
        (
            Arguments {
                address: package(0),
                ..good
            },
            DENIED,
        ),
    ] {
        let answer = memory_share(&wrong);
        equal(answer[0], id::ERROR)?;
        equal(answer[2] as u32, code as u32)?;
    }
    let shared = handle(&memory_share(&good))?;
    ffa::refused(&memory_share(&good), DENIED)?;
    for (wrong, flags) in [(shared + 1, 0), (!shared, 0), (shared, 2), (shared, 4)] {
        ffa::refused(&memory_reclaim(wrong, flags), INVALID_PARAMETERS)?;
    }
    ffa::done(&memory_reclaim(shared, 0))?;
    ffa::refused(&memory_reclaim(shared, 0), INVALID_PARAMETERS)?;
    is_error(Borrow::new(shared).by(SP1)?, INVALID_PARAMETERS)
}
