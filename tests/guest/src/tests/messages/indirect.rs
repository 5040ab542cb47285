//! Indirect messages and buffers of VMs: `FFA_MSG_SEND2`, `FFA_RX_ACQUIRE`, `FFA_RXTX_MAP` on
//! behalf of a VM (FF-A v1.1 sections 7 and 15.1).
//!
//! sp1 and the Normal world speak 1.2, whose header has 40 bytes; sp2 speaks 1.1, whose header has
//! 20.

use crate::ffa::error::{BUSY, DENIED, INVALID_PARAMETERS, NOT_SUPPORTED};
use crate::ffa::{self, NOBODY, NWD, SP1, SP2, SPMC, V1_2, id};
use crate::nwd::{self, Nwd, Test, ask};
use crate::rt::check::{Check, equal};
use crate::rt::page::{PAGE_SIZE, Shared};
use crate::sp::{self, Command, Sp};
use crate::support::partition_info::{SP1_UUID, UNKNOWN_UUID};
use crate::{command, helper, test};

/// The tests of this file.
pub const TESTS: &[Test] = &[
    test!(
        messages_to_partitions,
        "An indirect message of the Normal world lies in the partition's RX, with the header of its version"
    ),
    test!(
        messages_from_partitions,
        "Partitions send indirect messages to the Normal world, one at a time"
    ),
    test!(
        messages_between_partitions,
        "Partitions of different versions send indirect messages to each other"
    ),
    test!(
        messages_refused,
        "Indirect messages that do not hold change nothing"
    ),
    test!(
        messages_of_vms,
        "A Hypervisor registers buffers of a VM, and takes its RX for itself"
    ),
];

/// Code of the partitions.
pub const HELPERS: &[Command] = &[
    helper!(take_message),
    helper!(post_message),
    helper!(refuse_messages),
];

/// The buffers of a VM.
static VM_TX: Shared<PAGE_SIZE> = Shared::new();
static VM_RX: Shared<PAGE_SIZE> = Shared::new();
const VM: u16 = 5;

/// Returns the size of the header in bytes.
const fn header(version: u32) -> usize {
    if version >= V1_2 { 40 } else { 20 }
}

/// Writes a message of at most one page into `tx`: `size` bytes that count up from `first`.
fn compose(tx: &Shared<PAGE_SIZE>, version: u32, (from, to): (u16, u16), first: u8, size: usize) {
    let offset = header(version);
    tx.fill(0xee);
    tx.write(0, &0_u32.to_le_bytes());
    tx.write(8, &(offset as u32).to_le_bytes());
    tx.write(12, &to.to_le_bytes());
    tx.write(14, &from.to_le_bytes());
    tx.write(16, &(size as u32).to_le_bytes());
    if version >= V1_2 {
        tx.write(24, &[0; 16]);
    }
    for n in 0..size {
        tx.write(offset + n, &[first.wrapping_add(n as u8)]);
    }
}

/// Checks that a message of [`compose`] has arrived in `rx`.
#[track_caller]
fn expect(
    rx: &Shared<PAGE_SIZE>,
    version: u32,
    (from, to): (u16, u16),
    first: u8,
    size: usize,
) -> Check {
    let offset = rx.u32(8) as usize;
    equal(rx.u32(0), 0_u32)?;
    equal(rx.u16(12), to)?;
    equal(rx.u16(14), from)?;
    equal(rx.u32(16), size as u32)?;
    equal((offset < header(version)) as u64, 0_u64)?;
    for n in 0..size {
        let mut byte = [0];
        rx.read(offset + n, &mut byte);
        equal(byte[0], first.wrapping_add(n as u8))?;
    }
    Ok(())
}

fn send() -> ffa::Answer {
    ffa::call(id::MSG_SEND2, &[])
}

fn release() -> ffa::Answer {
    ffa::call(id::RX_RELEASE, &[])
}

// req: RXTX-02, RXTX-11, RXTX-12, RXTX-13, RXTX-14, RXTX-15, IND-01, IND-02, IND-03
fn messages_to_partitions(_: &Nwd) -> Check {
    for partition in [SP1, SP2] {
        for size in [0, 1, 100, PAGE_SIZE - 40] {
            compose(&nwd::TX, V1_2, (NWD, partition), 3, size);
            ffa::done(&send())?;
            ffa::refused(&send(), BUSY)?;
            let arguments = [NWD as u64, 3, size as u64, 0];
            ask(partition, command!(take_message), arguments)?;
        }
    }
    Ok(())
}

/// Checks sender, first byte and size of the message in RX, and that the framework announced it.
/// Releases RX.
fn take_message(sp: &Sp, [from, first, size, _]: [u64; 4]) -> Check<[u64; 4]> {
    let (own, ids) = (sp.identity.id as u64, (from as u16, sp.identity.id));
    expect(
        &sp::RX,
        sp.identity.version,
        ids,
        first as u8,
        size as usize,
    )?;
    // The framework announces messages of partitions in its own name, and messages of VMs in that
    // of the Hypervisor.
    let told = ffa::call(id::NOTIFICATION_GET, &[own, 1 << 2 | 1 << 3]);
    let by_partition = from >> 15;
    ffa::results(&told, [0, 0, 0, 0, by_partition, 1 - by_partition])?;
    ffa::done(&release())?;
    ffa::refused(&release(), DENIED)?;
    Ok([0; 4])
}

/// Sends a message to the caller of this helper, with first byte, size and flags as the caller
/// asks. Result: the error code or 0.
fn post_message(sp: &Sp, [to, first, size, flags]: [u64; 4]) -> Check<[u64; 4]> {
    let ids = (sp.identity.id, to as u16);
    compose(
        &sp::TX,
        sp.identity.version,
        ids,
        first as u8,
        size as usize,
    );
    let answer = ffa::call(id::MSG_SEND2, &[0, flags]);
    if answer[0] == id::ERROR as u64 {
        return Ok([answer[2], 0, 0, 0]);
    }
    ffa::done(&answer)?;
    Ok([0; 4])
}

/// Lets `from` send to `to`, and fails unless the call ends with `result`, an error code or 0.
fn post(from: u16, to: u16, size: u64, flags: u64, result: i32) -> Check {
    let answer = ask(from, command!(post_message), [to as u64, 0x41, size, flags])?;
    equal(answer[0], result as u32)
}

// req: RXTX-13, RXTX-15, RXTX-30, IND-01, IND-13, IND-25
fn messages_from_partitions(_: &Nwd) -> Check {
    const DELAY_SRI: u64 = 1 << 1;
    let bitmap = |function, vcpus| ffa::done(&ffa::call(function, &[NWD as u64, vcpus]));
    post(SP1, NWD, 44, 0, DENIED)?;
    bitmap(id::NOTIFICATION_BITMAP_CREATE, 1)?;
    for partition in [SP1, SP2] {
        for (size, flags) in [(44, 0), (112, DELAY_SRI)] {
            post(partition, NWD, size, flags, 0)?;
            post(partition, NWD, size, flags, BUSY)?;
            // A full RX takes no other results.
            ffa::refused(&ffa::call(id::PARTITION_INFO_GET, &[]), BUSY)?;
            expect(&nwd::RX, V1_2, (partition, NWD), 0x41, size as usize)?;
            ffa::done(&release())?;
            let told = ffa::call(id::NOTIFICATION_GET, &[NWD as u64, 1 << 2]);
            ffa::results(&told, [0, 0, 0, 0, 1, 0])?;
        }
    }
    bitmap(id::NOTIFICATION_BITMAP_DESTROY, 0)?;
    ffa::refused(&release(), DENIED)
}

// req: RXTX-13, RXTX-16, IND-01, IND-03
fn messages_between_partitions(_: &Nwd) -> Check {
    for (from, to) in [(SP1, SP2), (SP2, SP1)] {
        post(from, to, 200, 0, 0)?;
        post(from, to, 200, 0, BUSY)?;
        ask(to, command!(take_message), [from as u64, 0x41, 200, 0])?;
    }
    Ok(())
}

// req: GEN-30, RXTX-15, MSGW-25, IND-04, IND-05, IND-06, IND-07, IND-08, IND-11
fn messages_refused(_: &Nwd) -> Check {
    let (tx, ids) = (&nwd::TX, (NWD, SP1));
    let field = |offset: usize, value: u32| {
        compose(tx, V1_2, ids, 0, 8);
        tx.write(offset, &value.to_le_bytes());
        ffa::refused(&send(), INVALID_PARAMETERS)
    };
    field(0, 1)?;
    field(8, 20)?;
    field(8, PAGE_SIZE as u32 - 7)?;
    field(8, u32::MAX)?;
    field(16, u32::MAX)?;
    for (from, to) in [
        (NWD, NWD),
        (NWD, VM),
        (NWD, SPMC),
        (NWD, NOBODY),
        (SP2, SP1),
        (VM, SP1),
    ] {
        compose(tx, V1_2, (from, to), 0, 8);
        ffa::refused(&send(), INVALID_PARAMETERS)?;
    }
    compose(tx, V1_2, ids, 0, 8);
    for registers in [
        [(VM as u64) << 16, 0],
        [(SP1 as u64) << 16, 0],
        [0, 1],
        [0, 2],
    ] {
        ffa::refused(&ffa::call(id::MSG_SEND2, &registers), INVALID_PARAMETERS)?;
    }
    for (n, word) in UNKNOWN_UUID.iter().enumerate() {
        tx.write(24 + 4 * n, &(*word as u32).to_le_bytes());
    }
    ffa::refused(&send(), INVALID_PARAMETERS)?;
    for partition in [SP1, SP2] {
        ask(partition, command!(refuse_messages), [0; 4])?;
    }
    // None of the refused messages arrived; a message to the service does.
    for (n, word) in SP1_UUID.iter().enumerate() {
        tx.write(24 + 4 * n, &(*word as u32).to_le_bytes());
    }
    ffa::done(&send())?;
    ask(SP1, command!(take_message), [NWD as u64, 0, 8, 0])?;
    Ok(())
}

fn refuse_messages(sp: &Sp, _: [u64; 4]) -> Check<[u64; 4]> {
    let (own, version) = (sp.identity.id, sp.identity.version);
    for (from, to) in [(own, own), (NWD, own), (own, SPMC), (own, NOBODY)] {
        compose(&sp::TX, version, (from, to), 0, 8);
        ffa::refused(&send(), INVALID_PARAMETERS)?;
    }
    compose(&sp::TX, version, (own, NWD), 0, 8);
    for registers in [[(own as u64) << 16, 0], [0, 1], [0, 4]] {
        ffa::refused(&ffa::call(id::MSG_SEND2, &registers), INVALID_PARAMETERS)?;
    }
    ffa::refused(&ffa::call(id::RX_ACQUIRE, &[VM as u64]), NOT_SUPPORTED)?;
    Ok([0; 4])
}

/// Writes the descriptor of the VM's buffers into TX.
fn describe_vm() {
    let tx = &nwd::TX;
    tx.fill(0);
    tx.write(0, &VM.to_le_bytes());
    tx.write(4, &16_u32.to_le_bytes());
    tx.write(8, &48_u32.to_le_bytes());
    for (offset, base) in [(16, VM_RX.address()), (48, VM_TX.address())] {
        // Number of pages, number of ranges, then the range.
        tx.write(offset, &1_u32.to_le_bytes());
        tx.write(offset + 4, &1_u32.to_le_bytes());
        tx.write(offset + 16, &base.to_le_bytes());
        tx.write(offset + 24, &1_u32.to_le_bytes());
    }
}

// req: RXTX-06, RXTX-14, RXTX-20, RXTX-21, RXTX-23, RXTX-25, RXTX-26, RXTX-29, RXTX-30, IND-13
// req: IND-22, VMB-01, VMB-05, VMB-07, VMB-08, VMB-09, VMB-10
fn messages_of_vms(_: &Nwd) -> Check {
    let vm = VM as u64;
    let acquire = || ffa::call(id::RX_ACQUIRE, &[vm]);
    ffa::refused(&acquire(), INVALID_PARAMETERS)?;
    post(SP1, VM, 8, 0, BUSY)?;
    describe_vm();
    ffa::done(&ffa::call(id::RXTX_MAP_64, &[]))?;
    ffa::refused(&ffa::call(id::RXTX_MAP_64, &[]), DENIED)?;

    ffa::done(&acquire())?;
    ffa::refused(&acquire(), DENIED)?;
    post(SP1, VM, 8, 0, BUSY)?;
    ffa::done(&ffa::call(id::RX_RELEASE, &[vm]))?;
    ffa::refused(&ffa::call(id::RX_RELEASE, &[vm]), DENIED)?;
    post(SP1, VM, 8, 0, 0)?;
    expect(&VM_RX, V1_2, (SP1, VM), 0x41, 8)?;
    ffa::refused(&acquire(), DENIED)?;

    compose(&VM_TX, V1_2, (VM, SP2), 9, 60);
    ffa::done(&ffa::call(id::MSG_SEND2, &[vm << 16]))?;
    ask(SP2, command!(take_message), [vm, 9, 60, 0])?;

    ffa::done(&ffa::call(id::RXTX_UNMAP, &[vm << 16]))?;
    ffa::refused(&ffa::call(id::RXTX_UNMAP, &[vm << 16]), INVALID_PARAMETERS)?;
    post(SP1, VM, 8, 0, BUSY)
}
