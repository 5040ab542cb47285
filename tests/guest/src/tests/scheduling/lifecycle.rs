//! A partition that fails starts anew (`abort-action` 2), by `FFA_ABORT` or by a fault.

use core::sync::atomic::{AtomicU64, Ordering};

use crate::ffa::error::ABORTED;
use crate::ffa::{self, NWD, SP1, SP3, id, route};
use crate::nwd::{Nwd, Test, ask, pe};
use crate::rt::call::call;
use crate::rt::check::{Check, equal};
use crate::sp::{Command, Sp, fault};
use crate::support::helper_call::request;
use crate::{command, helper, test};

/// The tests of this file.
pub const TESTS: &[Test] = &[
    test!(
        restart_after_abort,
        "sp3 says that it cannot go on, and starts anew, again and again"
    ),
    test!(
        restart_after_fault,
        "sp3 cannot take an exception, and starts anew"
    ),
    test!(
        restart_under_a_partition,
        "sp1 is told that sp3 failed, and finds it again later"
    ),
    test!(
        restart_on_another_pe,
        "sp3 fails on one PE and serves another",
        pes = 2
    ),
];

/// Code of the partitions.
pub const HELPERS: &[Command] = &[
    helper!(live),
    helper!(give_up),
    helper!(fall),
    helper!(see_fail),
];

/// A word that is zero in the image.
static MARK: AtomicU64 = AtomicU64::new(0);
/// A word that is not zero in the image.
static CONSTANT: AtomicU64 = AtomicU64::new(0x600d);

/// Returns two words as this life found them, and changes them.
fn live(_: &Sp, _: [u64; 4]) -> Check<[u64; 4]> {
    let found = [
        MARK.swap(1, Ordering::Relaxed),
        CONSTANT.swap(0xbad, Ordering::Relaxed),
    ];
    Ok([found[0], found[1], 0, 0])
}

fn give_up(_: &Sp, _: [u64; 4]) -> Check<[u64; 4]> {
    let answer = ffa::call(id::ABORT_32, &[]);
    equal(answer[0], 0u64)?;
    Ok([0; 4])
}

fn fall(_: &Sp, _: [u64; 4]) -> Check<[u64; 4]> {
    fault::die();
    Ok([0; 4])
}

/// Fails unless sp3 has just begun, with its memory as in the image.
fn is_new() -> Check {
    let [mark, constant, ..] = ask(SP3, command!(live), [0; 4])?;
    equal(mark, 0u64)?;
    equal(constant, 0x600du64)?;
    // The second request sees the changes of the first one.
    let [mark, constant, ..] = ask(SP3, command!(live), [0; 4])?;
    equal(mark, 1u64)?;
    equal(constant, 0xbadu64)
}

fn fails(me: u16, command: u32) -> Check {
    let request = request(id::DIRECT_REQ_64, route(me, SP3), command, [0; 4]);
    ffa::refused(&call(ffa::conduit(), request), ABORTED)
}

// req: MSGD-08, MSGD-11, BOOT-02
fn restart_after_abort(_: &Nwd) -> Check {
    for _ in 0..3 {
        is_new()?;
        fails(NWD, command!(give_up))?;
    }
    is_new()?;
    fails(NWD, command!(give_up))
}

// req: MSGD-08
fn restart_after_fault(_: &Nwd) -> Check {
    is_new()?;
    fails(NWD, command!(fall))?;
    is_new()?;
    fails(NWD, command!(give_up))
}

fn see_fail(sp: &Sp, _: [u64; 4]) -> Check<[u64; 4]> {
    fails(sp.identity.id, command!(give_up))?;
    Ok([0; 4])
}

// req: MSGD-08, MSGD-20
fn restart_under_a_partition(_: &Nwd) -> Check {
    ask(SP1, command!(see_fail), [0; 4])?;
    is_new()?;
    fails(NWD, command!(give_up))
}

// req: MSGD-08, GEN-19
fn restart_on_another_pe(nwd: &Nwd) -> Check {
    for pe in 1..nwd.pes {
        pe::run_on(pe, |_| is_new().map(|()| [0; 4]), [0; 4])?;
        fails(NWD, command!(give_up))?;
    }
    pe::run_on(
        1,
        |_| fails(NWD, command!(give_up)).map(|()| [0; 4]),
        [0; 4],
    )?;
    is_new()
}
