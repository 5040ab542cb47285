//! Discovery: `FFA_PARTITION_INFO_GET`, `FFA_PARTITION_INFO_GET_REGS`, `FFA_ID_GET`,
//! `FFA_SPM_ID_GET` (FF-A v1.0 sections 8.6 and 8.7, v1.1 section 13).

use crate::ffa::error::{BUSY, DENIED, INVALID_PARAMETERS, NOT_SUPPORTED, RETRY};
use crate::ffa::{self, NWD, SP1, SP2, SPMC, V1_2, id};
use crate::nwd::{self, Nwd, Test, ask};
use crate::rt::check::{Check, equal};
use crate::rt::page::{PAGE_SIZE, Shared};
use crate::sp::{self, Command, Sp};
use crate::support::partition_info::{RECEIVES, SP1_UUID, UNKNOWN_UUID, info_get};
use crate::{command, helper, println, test};

/// The tests of this file.
pub const TESTS: &[Test] = &[
    test!(
        discovery_of_all,
        "The Normal world discovers the partitions"
    ),
    test!(
        discovery_by_uuid,
        "A UUID finds its partition, an unknown one nothing"
    ),
    test!(discovery_counts, "The count alone needs no buffer"),
    test!(
        discovery_by_registers,
        "FFA_PARTITION_INFO_GET_REGS tells the same in registers"
    ),
    test!(
        discovery_by_partitions,
        "Partitions discover each other and themselves"
    ),
    test!(ids, "Everybody is told who it is, and who the SPMC is"),
];

/// Code of the partitions.
pub const HELPERS: &[Command] = &[
    helper!(discover),
    helper!(discover_by_registers),
    helper!(own_ids),
];
const SP2_UUID: [u64; 4] = [0x0923_58d1, 0xb947_23f0, 0x6444_7c82, 0xc88f_57f5];
const SENDS: u32 = 1 << 1;
const INDIRECT: u32 = 1 << 2;
const NOTIFICATIONS: u32 = 1 << 3;
const AARCH64: u32 = 1 << 8;
/// The properties that the Normal world sees of either partition.
const NWD_SEES: u32 = RECEIVES | INDIRECT | NOTIFICATIONS | AARCH64;
const COUNT_ONLY: u64 = 1;

fn release() -> ffa::Answer {
    ffa::call(id::RX_RELEASE, &[])
}

/// Checks the descriptor at `offset` of `rx`.
fn is_partition(
    rx: &Shared<PAGE_SIZE>,
    offset: usize,
    (partition, contexts, properties): (u16, u16, u32),
    uuid: [u64; 4],
) -> Check {
    equal(rx.u16(offset), partition)?;
    equal(rx.u16(offset + 2), contexts)?;
    equal(rx.u32(offset + 4), properties)?;
    for (n, word) in uuid.iter().enumerate() {
        equal(rx.u32(offset + 8 + 4 * n), *word)?;
    }
    Ok(())
}

// req: PINFO-01, PINFO-02, PINFO-04, PINFO-06, PINFO-07, PINFO-14, PINFO-15, RXTX-02, RXTX-11
// req: RXTX-13, RXTX-14, RXTX-15, RXTX-29, RXTX-30
// req: GEN-16, GEN-17, MAN-04, MAN-05, RUN-07, COMP-19, COMP-04
fn discovery_of_all(_: &Nwd) -> Check {
    ffa::results(&info_get([0; 4], 0), [2, 24, 0, 0, 0, 0])?;
    for offset in [0, 24] {
        let (rx, word) = (&nwd::RX, |n: usize| {
            nwd::RX.u32(offset + 8 + 4 * n).swap_bytes()
        });
        println!(
            "# partition {:#06x}: {} execution contexts, properties {:#x}, UUID {:08x}-{:04x}-{:04x}-{:04x}-{:04x}{:08x}",
            rx.u16(offset),
            rx.u16(offset + 2),
            rx.u32(offset + 4),
            word(0),
            word(1) >> 16,
            word(1) & 0xffff,
            word(2) >> 16,
            word(2) & 0xffff,
            word(3)
        );
    }
    is_partition(&nwd::RX, 0, (SP1, 1, NWD_SEES), SP1_UUID)?;
    is_partition(&nwd::RX, 24, (SP2, 8, NWD_SEES), SP2_UUID)?;

    ffa::refused(&info_get([0; 4], 0), BUSY)?;
    ffa::refused(&info_get(SP1_UUID, 0), BUSY)?;
    ffa::done(&release())?;
    ffa::refused(&release(), DENIED)
}

// req: PINFO-03, PINFO-04, PINFO-08, PINFO-14, GEN-30, MAN-04, RXTX-15
fn discovery_by_uuid(_: &Nwd) -> Check {
    for (uuid, partition, contexts) in [(SP1_UUID, SP1, 1), (SP2_UUID, SP2, 8)] {
        ffa::results(&info_get(uuid, 0), [1, 24, 0, 0, 0, 0])?;
        is_partition(&nwd::RX, 0, (partition, contexts, NWD_SEES), [0; 4])?;
        ffa::done(&release())?;
    }
    ffa::refused(&info_get(UNKNOWN_UUID, 0), INVALID_PARAMETERS)?;
    ffa::refused(&info_get(UNKNOWN_UUID, COUNT_ONLY), INVALID_PARAMETERS)?;
    ffa::refused(&info_get([0; 4], 1 << 1), INVALID_PARAMETERS)?;
    ffa::refused(&info_get([0; 4], 1 << 31), INVALID_PARAMETERS)?;
    // RX stayed empty.
    ffa::refused(&release(), DENIED)
}

// req: PINFO-13
fn discovery_counts(_: &Nwd) -> Check {
    ffa::results(&info_get([0; 4], COUNT_ONLY), [2, 0, 0, 0, 0, 0])?;
    ffa::results(&info_get(SP2_UUID, COUNT_ONLY), [1, 0, 0, 0, 0, 0])?;
    ffa::refused(&release(), DENIED)?;
    // The count alone does not need RX.
    ffa::results(&info_get([0; 4], 0), [2, 24, 0, 0, 0, 0])?;
    ffa::results(&info_get([0; 4], COUNT_ONLY), [2, 0, 0, 0, 0, 0])?;
    ffa::done(&release())
}

/// Makes `FFA_PARTITION_INFO_GET_REGS`.
fn info_get_regs([a, b, c, d]: [u64; 4], start: u64, tag: u64) -> ffa::Answer {
    let position = tag << 16 | start;
    ffa::call(
        id::PARTITION_INFO_GET_REGS,
        &[b << 32 | a, d << 32 | c, position],
    )
}

/// Checks that an answer has the descriptors from `start` on of `count`, and nothing behind them.
/// Returns the tag of the list.
fn is_list(answer: &ffa::Answer, start: u64, count: u64, descriptors: &[[u64; 3]]) -> Check<u64> {
    equal(answer[0], id::SUCCESS_64)?;
    equal(answer[1], 0u64)?;
    let last = start + descriptors.len() as u64 - 1;
    equal(answer[2] & 0xffff_ffff, last << 16 | (count - 1))?;
    equal(answer[2] >> 48, 24u64)?;
    let registers = descriptors.iter().flatten().chain(core::iter::repeat(&0));
    for (got, want) in answer[3..18].iter().zip(registers) {
        equal(*got, *want)?;
    }
    Ok(answer[2] >> 32 & 0xffff)
}

/// Returns the three registers of a descriptor.
fn in_registers(
    (partition, contexts, properties): (u16, u16, u32),
    [a, b, c, d]: [u64; 4],
) -> [u64; 3] {
    let head = (properties as u64) << 32 | (contexts as u64) << 16 | partition as u64;
    [head, b << 32 | a, d << 32 | c]
}

/// Checks the lists that every caller at 1.2 gets. `properties` are those that the caller sees.
fn lists(properties: u32) -> Check {
    let sp1 = in_registers((SP1, 1, properties), SP1_UUID);
    let sp2 = in_registers((SP2, 8, properties), SP2_UUID);
    let tag = is_list(&info_get_regs([0; 4], 0, 0), 0, 2, &[sp1, sp2])?;
    is_list(&info_get_regs([0; 4], 1, tag), 1, 2, &[sp2])?;
    let found = in_registers((SP2, 8, properties), [0; 4]);
    is_list(&info_get_regs(SP2_UUID, 0, 0), 0, 1, &[found])?;

    ffa::refused(&info_get_regs(UNKNOWN_UUID, 0, 0), INVALID_PARAMETERS)?;
    ffa::refused(&info_get_regs([0; 4], 2, tag), INVALID_PARAMETERS)?;
    ffa::refused(&info_get_regs([0; 4], 0, tag | 1), RETRY)?;
    ffa::refused(&info_get_regs([0; 4], 1, tag ^ 1), RETRY)
}

// req: PINFO-02, PINFO-03, PINFO-08, PINFO-14, PINFO-15, COMP-21, PREG-02, PREG-04, PREG-05
// req: PREG-06, PREG-07, PREG-08, PREG-09, PREG-10
fn discovery_by_registers(_: &Nwd) -> Check {
    lists(NWD_SEES)?;
    for partition in [SP1, SP2] {
        ask(partition, command!(discover_by_registers), [0; 4])?;
    }
    Ok(())
}

fn discover_by_registers(sp: &Sp, _: [u64; 4]) -> Check<[u64; 4]> {
    if sp.identity.version >= V1_2 {
        lists(NWD_SEES | SENDS)?;
    } else {
        ffa::refused(&info_get_regs([0; 4], 0, 0), NOT_SUPPORTED)?;
    }
    Ok([0; 4])
}

// req: PINFO-02, PINFO-03, PINFO-04, PINFO-07, PINFO-08, PINFO-15, RXTX-13, RXTX-15, MSGW-02
fn discovery_by_partitions(_: &Nwd) -> Check {
    for partition in [SP1, SP2] {
        ask(partition, command!(discover), [0; 4])?;
    }
    Ok(())
}

fn discover(_: &Sp, _: [u64; 4]) -> Check<[u64; 4]> {
    let properties = NWD_SEES | SENDS;
    ffa::results(&info_get([0; 4], 0), [2, 24, 0, 0, 0, 0])?;
    is_partition(&sp::RX, 0, (SP1, 1, properties), SP1_UUID)?;
    is_partition(&sp::RX, 24, (SP2, 8, properties), SP2_UUID)?;
    ffa::refused(&info_get(SP2_UUID, 0), BUSY)?;
    ffa::done(&release())?;
    ffa::refused(&info_get(UNKNOWN_UUID, 0), INVALID_PARAMETERS)?;
    ffa::results(&info_get(SP2_UUID, 0), [1, 24, 0, 0, 0, 0])?;
    is_partition(&sp::RX, 0, (SP2, 8, properties), [0; 4])?;
    ffa::done(&release())?;
    ffa::refused(&release(), DENIED)?;
    Ok([0; 4])
}

// req: PINFO-16, PINFO-17, PINFO-19, GEN-16, GEN-17, COMP-05
fn ids(_: &Nwd) -> Check {
    ffa::results(&ffa::call(id::ID_GET, &[]), [NWD as u64, 0, 0, 0, 0, 0])?;
    ffa::results(
        &ffa::call(id::SPM_ID_GET, &[]),
        [SPMC as u64, 0, 0, 0, 0, 0],
    )?;
    for partition in [SP1, SP2] {
        ask(partition, command!(own_ids), [0; 4])?;
    }
    Ok(())
}

fn own_ids(sp: &Sp, _: [u64; 4]) -> Check<[u64; 4]> {
    let own = sp.identity.id as u64;
    ffa::results(&ffa::call(id::ID_GET, &[]), [own, 0, 0, 0, 0, 0])?;
    ffa::results(
        &ffa::call(id::SPM_ID_GET, &[]),
        [SPMC as u64, 0, 0, 0, 0, 0],
    )?;
    Ok([0; 4])
}
