//! Device memory: sp1 lends a device of its own to sp2, and the Normal world lends one, too.

use crate::board::{CLOCK, SPARE_DEVICE as DEVICE, SPARE_PART, SPARE_REGISTER};
use crate::ffa::error::DENIED;
use crate::ffa::memory_calls::reclaim;
use crate::ffa::memory_descriptor::{NORMAL_WB, Transaction, access, flag};
use crate::ffa::{self, NWD, SP1, SP2, id};
use crate::nwd::{self, Nwd, Test, ask};
use crate::rt::check::{Check, equal};
use crate::sp::{Command, Sp};
use crate::support::borrowing::{Borrow, give_back, is_error, is_fine};
use crate::support::reach::{ABORT, DONE, Space, Try, reaches};
use crate::support::sharing::receiver;
use crate::{command, helper, test};

/// The tests of this file.
pub const TESTS: &[Test] = &[
    test!(
        lend_a_device,
        "A partition lends a device of its own to the other one, and has it back as it was"
    ),
    test!(
        normal_world_lends_a_device,
        "The Normal world cannot lend or share a device"
    ),
];

/// Code of the partitions.
pub const HELPERS: &[Command] = &[helper!(send_device), helper!(take_back_device)];

/// Address of a register of the device that holds a byte.
const REGISTER: u64 = DEVICE + SPARE_REGISTER;
/// PeriphID0 of a PrimeCell: the low byte of its part number.
const PART: u64 = 0xfe0;

/// Memory region attributes: Device-nGnRnE.
const NGNRNE: u16 = 0x10;

fn secure(partition: u16, address: u64, what: Try, want: Option<u32>) -> Check {
    reaches(partition, address, Space::Secure, what, want)
}

/// Lends the device, and fails unless everything but a lend without zeroing is refused. Result: the
/// handle.
fn send_device(sp: &Sp, [to, ..]: [u64; 4]) -> Check<[u64; 4]> {
    let caller = sp.caller();
    let receivers = [receiver(to as u16, access::RW)];
    let nameless = [receiver(to as u16, access::NOT_SPECIFIED)];
    let ranges = [(DEVICE, 1)];
    let lend = Transaction {
        sender: caller.id,
        attributes: 0,
        flags: 0,
        handle: 0,
        tag: 0,
        receivers: &receivers,
        ranges: &ranges,
    };
    for (function, wrong) in [
        (
            id::MEM_SHARE_64,
            Transaction {
                attributes: NORMAL_WB,
                ..lend
            },
        ),
        (
            id::MEM_SHARE_64,
            Transaction {
                attributes: NGNRNE,
                ..lend
            },
        ),
        (
            id::MEM_DONATE_64,
            Transaction {
                receivers: &nameless,
                ..lend
            },
        ),
        (
            id::MEM_LEND_64,
            Transaction {
                flags: flag::ZERO,
                ..lend
            },
        ),
    ] {
        ffa::refused(&caller.send(function, &wrong), DENIED)?;
    }
    Ok([caller.sent(id::MEM_LEND_64, &lend)?, 0, 0, 0])
}

/// Reclaims the device with these flags. Result: the error code or 0.
fn take_back_device(_: &Sp, [handle, flags, ..]: [u64; 4]) -> Check<[u64; 4]> {
    let answer = reclaim(handle, flags);
    if answer[0] == id::ERROR as u64 {
        return Ok([answer[2], 0, 0, 0]);
    }
    ffa::done(&answer)?;
    Ok([0; 4])
}

#[track_caller]
fn taken_back(handle: u64, flags: u32, code: i32) -> Check {
    let [got, ..] = ask(
        SP1,
        command!(take_back_device),
        [handle, flags.into(), 0, 0],
    )?;
    equal(got, code as u32)
}

// req: GEN-23, GEN-24, MEMD-33, MEMD-39, MEMD-40, MEMD-45, MEMD-56, MEMD-57, MEMD-58, MEMD-79
// req: MEMRL-11
fn lend_a_device(_: &Nwd) -> Check {
    secure(SP1, DEVICE + PART, Try::Read, Some(SPARE_PART))?;
    secure(SP2, DEVICE + PART, Try::Read, ABORT)?;
    let [handle, ..] = ask(SP1, command!(send_device), [SP2.into(), 0, 0, 0])?;
    secure(SP1, DEVICE + PART, Try::Read, ABORT)?;
    secure(SP2, DEVICE + PART, Try::Read, ABORT)?;

    let borrow = Borrow {
        owner: SP1,
        attributes: 0,
        ..Borrow::new(handle)
    };
    for wrong in [
        Borrow {
            attributes: NORMAL_WB,
            ..borrow
        },
        Borrow {
            access: access::RO | access::X,
            ..borrow
        },
        Borrow {
            flags: flag::ZERO_AFTER,
            ..borrow
        },
    ] {
        is_error(wrong.by(SP2)?, DENIED)?;
    }
    let got = is_fine(borrow.by(SP2)?)?;
    equal(got.first, DEVICE)?;
    equal(got.attributes, NGNRNE)?;
    equal(got.access, access::RW | access::XN)?;
    secure(SP2, DEVICE + PART, Try::Read, Some(SPARE_PART))?;
    secure(SP2, REGISTER, Try::Write(0x5a), DONE)?;
    secure(SP2, DEVICE, Try::Execute, ABORT)?;
    secure(SP1, DEVICE + PART, Try::Read, ABORT)?;
    taken_back(handle, 0, DENIED)?;

    give_back(SP2, handle, flag::ZERO, DENIED)?;
    give_back(SP2, handle, 0, 0)?;
    secure(SP2, DEVICE + PART, Try::Read, ABORT)?;
    taken_back(handle, flag::ZERO, DENIED)?;
    taken_back(handle, 0, 0)?;
    // Nobody has zeroed the device.
    secure(SP1, REGISTER, Try::Read, Some(0x5a))?;
    secure(SP1, REGISTER, Try::Write(0), DONE)
}

// req: GEN-23, MEMD-10
fn normal_world_lends_a_device(_: &Nwd) -> Check {
    let owner = nwd::caller();
    let receivers = [receiver(SP1, access::RW)];
    let ranges = [(CLOCK, 1)];
    let lend = Transaction {
        sender: NWD,
        attributes: 0,
        flags: 0,
        handle: 0,
        tag: 0,
        receivers: &receivers,
        ranges: &ranges,
    };
    let share = Transaction {
        attributes: NORMAL_WB,
        ..lend
    };
    ffa::refused(&owner.send(id::MEM_SHARE_64, &share), DENIED)?;
    for _ in 0..2 {
        let handle = owner.sent(id::MEM_LEND_64, &lend)?;
        ffa::refused(&owner.send(id::MEM_LEND_64, &lend), DENIED)?;
        ffa::done(&reclaim(handle, 0))?;
    }
    Ok(())
}
