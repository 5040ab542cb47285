//! RX/TX buffers: `FFA_RXTX_MAP`, `FFA_RXTX_UNMAP`, `FFA_RX_RELEASE` (FF-A v1.0 sections 4.2.2 and
//! 8.3 to 8.5).

use crate::board::{EL3, NORMAL_UART, NOWHERE, SECURE_UART, SPMC, package};
use crate::ffa::error::{BUSY, DENIED, INVALID_PARAMETERS};
use crate::ffa::{self, SP1, SP2, id};
use crate::nwd::{self, Nwd, Test, ask};
use crate::rt::check::{Check, equal};
use crate::rt::page::Shared;
use crate::sp::{self, Command, Sp};
use crate::{command, helper, test};

/// The tests of this file. They leave the buffers of the Normal world mapped.
pub const TESTS: &[Test] = &[
    test!(
        no_buffers,
        "Without buffers there is nothing to release, to unmap or to be told in"
    ),
    test!(
        rxtx_map_errors,
        "FFA_RXTX_MAP refuses what cannot be the caller's buffers"
    ),
    test!(
        rxtx_map_and_unmap,
        "The Normal world maps its buffers, unmaps them and maps them again"
    ),
    test!(
        rxtx_of_partitions,
        "Partitions map, unmap and map again, with the same checks"
    ),
];

/// Code of the partitions.
pub const HELPERS: &[Command] = &[helper!(map_errors), helper!(remap)];

/// Four pages, for buffers of two pages each.
static BUFFERS: Shared<{ 4 * PAGE as usize }> = Shared::new();

const PAGE: u64 = 0x1000;
const SP1_MEMORY: u64 = package(0);
const SP2_MEMORY: u64 = package(1);

fn map(tx: u64, rx: u64, pages: u64) -> ffa::Answer {
    ffa::call(id::RXTX_MAP_64, &[tx, rx, pages])
}

// req: RXTX-26, RXTX-27, RXTX-30, PINFO-11, PINFO-13
fn no_buffers(_: &Nwd) -> Check {
    ffa::refused(&ffa::call(id::RX_RELEASE, &[]), DENIED)?;
    ffa::refused(&ffa::call(id::RXTX_UNMAP, &[]), INVALID_PARAMETERS)?;
    ffa::refused(&ffa::call(id::PARTITION_INFO_GET, &[]), BUSY)?;
    let count = ffa::call(id::PARTITION_INFO_GET, &[0, 0, 0, 0, 1]);
    ffa::results(&count, [2, 0, 0, 0, 0, 0])
}

// req: RXTX-03, RXTX-07, RXTX-18, RXTX-19, RXTX-24, GEN-14, GEN-28, GEN-30, MEMD-10
fn rxtx_map_errors(_: &Nwd) -> Check {
    let (tx, rx) = (nwd::TX.address(), nwd::RX.address());
    refuse_bad_buffers(BUFFERS.address(), DENIED)?;
    for foreign in [SPMC, SP1_MEMORY, EL3[2], NORMAL_UART, SECURE_UART] {
        ffa::refused(&map(foreign, rx, 1), DENIED)?;
        ffa::refused(&map(tx, foreign, 1), DENIED)?;
    }
    ffa::refused(&ffa::call(id::RXTX_UNMAP, &[]), INVALID_PARAMETERS)
}

/// Tries buffers that are wrong for every caller. `base` is the start of four pages of the caller,
/// who is told `foreign` of memory that is not its own.
fn refuse_bad_buffers(base: u64, foreign: i32) -> Check {
    let bad = [
        (base, base + PAGE, 0),           // no page
        (base, base + PAGE, 64),          // more than the field holds
        (base, base + PAGE, 1 << 31 | 1), // reserved bit
        (base + 1, base + 2 * PAGE, 1),   // not aligned
        (base, base + PAGE + 0x800, 1),   // not aligned
        (base, base, 1),                  // the same page
        (base, base + PAGE, 2),           // overlap
        (base + PAGE, base, 2),           // overlap
    ];
    for (tx, rx, pages) in bad {
        ffa::refused(&map(tx, rx, pages), INVALID_PARAMETERS)?;
    }
    // Addresses without memory, without an owner, and at the end of the address space.
    for (tx, rx) in [
        (NOWHERE, base),
        (base, NOWHERE),
        (0, base),
        (u64::MAX - PAGE + 1, base),
    ] {
        ffa::refused(&map(tx, rx, 1), foreign)?;
    }
    Ok(())
}

// req: COMP-19, RXTX-01, RXTX-06, RXTX-14, RXTX-18, RXTX-21, RXTX-24, RXTX-25, RXTX-26, RXTX-27
// req: RXTX-29, RXTX-30, RXTX-31
fn rxtx_map_and_unmap(_: &Nwd) -> Check {
    let (tx, rx) = (nwd::TX.address(), nwd::RX.address());
    let garbage = 0xffff_ffff_0000_0000;
    // 32-bit registers cannot name RAM above 4 GiB.
    if tx.max(rx) >> 32 == 0 {
        ffa::done(&ffa::call(
            id::RXTX_MAP_32,
            &[tx | garbage, rx | garbage, 1],
        ))?;
        ffa::done(&ffa::call(id::RXTX_UNMAP, &[]))?;
    }

    let base = BUFFERS.address();
    ffa::done(&map(base, base + 2 * PAGE, 2))?;
    ffa::refused(&map(base, base + 2 * PAGE, 2), DENIED)?;
    ffa::refused(&map(tx, rx, 1), DENIED)?;
    ffa::refused(
        &ffa::call(id::RXTX_UNMAP, &[(SP1 as u64) << 16]),
        INVALID_PARAMETERS,
    )?;
    // w1[15:0] is reserved, and ignored.
    ffa::done(&ffa::call(id::RXTX_UNMAP, &[1]))?;
    ffa::refused(&ffa::call(id::RXTX_UNMAP, &[]), INVALID_PARAMETERS)?;

    equal(ffa::call(id::VERSION, &[ffa::V1_2 as u64])[0], ffa::V1_2)?;
    ffa::done(&map(tx, rx, 1))?;
    ffa::refused(&ffa::call(id::RX_RELEASE, &[]), DENIED)
}

// req: RXTX-03, RXTX-06, RXTX-09, RXTX-19, RXTX-20, RXTX-21, RXTX-25, RXTX-26, RXTX-27, RXTX-30
fn rxtx_of_partitions(_: &Nwd) -> Check {
    let page = BUFFERS.address();
    ask(SP1, command!(map_errors), [SP2_MEMORY, page, 0, 0])?;
    ask(SP2, command!(map_errors), [SP1_MEMORY, page, 0, 0])?;
    for partition in [SP1, SP2] {
        ask(partition, command!(remap), [0; 4])?;
    }
    Ok(())
}

/// Makes `FFA_RXTX_MAP` while a pair is registered, and with memory that is not this partition's.
fn map_errors(_: &Sp, [other_partition, normal_world, ..]: [u64; 4]) -> Check<[u64; 4]> {
    let (tx, rx) = (sp::TX.address(), sp::RX.address());
    ffa::refused(&map(tx, rx, 1), DENIED)?;
    ffa::refused(&ffa::call(id::RX_RELEASE, &[]), DENIED)?;
    ffa::done(&ffa::call(id::RXTX_UNMAP, &[]))?;

    let free = sp::free_memory();
    refuse_bad_buffers(free, INVALID_PARAMETERS)?;
    for foreign in [
        other_partition,
        normal_world,
        SPMC,
        EL3[2],
        NORMAL_UART,
        SECURE_UART,
    ] {
        ffa::refused(&map(foreign, rx, 1), INVALID_PARAMETERS)?;
        ffa::refused(&map(tx, foreign, 1), INVALID_PARAMETERS)?;
    }
    ffa::done(&map(tx, rx, 1))?;
    Ok([0; 4])
}

fn remap(sp: &Sp, _: [u64; 4]) -> Check<[u64; 4]> {
    let (tx, rx) = (sp::TX.address(), sp::RX.address());
    let own = (sp.identity.id as u64) << 16;
    ffa::done(&ffa::call(id::RXTX_UNMAP, &[own]))?;
    ffa::refused(&ffa::call(id::RXTX_UNMAP, &[]), INVALID_PARAMETERS)?;
    ffa::refused(&ffa::call(id::RX_RELEASE, &[]), DENIED)?;
    ffa::refused(&ffa::call(id::PARTITION_INFO_GET, &[]), BUSY)?;
    ffa::done(&ffa::call(id::RXTX_MAP_32, &[tx, rx, 1]))?;
    ffa::refused(&ffa::call(id::RXTX_UNMAP, &[1 << 16]), INVALID_PARAMETERS)?;
    Ok([0; 4])
}
