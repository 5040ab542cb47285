//! A Normal world that speaks FF-A 1.0, as U-Boot does: its calls in its order, with its bytes. At
//! the end comes a client of 1.2, as when Linux starts.

use crate::ffa::error::{BUSY, DENIED, INVALID_PARAMETERS};
use crate::ffa::memory_calls::{Caller, reclaim};
use crate::ffa::memory_descriptor::{NORMAL_WB, Transaction, access};
use crate::ffa::{self, NOT_SUPPORTED, NWD, SP1, SP2, V1_0, V1_1, V1_2, id, route};
use crate::nwd::{self, Nwd, Test, page, peek};
use crate::rt::call::call;
use crate::rt::check::{Check, equal, holds};
use crate::support::borrowing::{Borrow, give_back, is_fine};
use crate::support::helper_call;
use crate::support::partition_info::{RECEIVES, SP1_UUID, UNKNOWN_UUID, info_get};
use crate::support::reach::{ABORT, DONE, Space, Try, reaches, reads};
use crate::support::sharing::{receiver, transaction};
use crate::test;

/// The tests of this file, in their order.
pub const TESTS: &[Test] = &[
    test!(version_negotiates_1_0, "The Normal world asks for FF-A 1.0"),
    test!(set_up_at_1_0, "It maps its buffers as U-Boot does"),
    test!(
        discovery_at_1_0,
        "A 1.0 caller gets 8 bytes for each partition and no size"
    ),
    test!(ping_at_1_0, "It pings the partitions"),
    test!(
        share_1_0_with_both,
        "A page of a 1.0 owner is retrieved by borrowers of 1.2 and 1.1"
    ),
    test!(
        other_layouts_at_1_0,
        "Descriptors of later versions mean nothing in 1.0"
    ),
];

/// The last test: the version changes.
pub const LATER: &[Test] = &[test!(
    next_stage_negotiates_1_2,
    "After it unmapped its buffers the next stage may ask for 1.2"
)];

// req: VER-04, VER-09, VER-14
fn version_negotiates_1_0(_: &Nwd) -> Check {
    for _ in 0..2 {
        let answer = ffa::call(id::VERSION, &[V1_0 as u64]);
        equal(answer[0], V1_2)?;
    }
    nwd::set_version(V1_0);
    Ok(())
}

// req: FEAT-03, FEAT-04, FEAT-05, PINFO-17, RXTX-18, VER-13
fn set_up_at_1_0(_: &Nwd) -> Check {
    ffa::results(&ffa::call(id::ID_GET, &[]), [0; 6])?;
    // U-Boot compares the whole register.
    ffa::results(&ffa::call(id::FEATURES, &[id::RXTX_MAP_64 as u64]), [0; 6])?;
    let (tx, rx) = (nwd::TX.address(), nwd::RX.address());
    ffa::done(&ffa::call(id::RXTX_MAP_64, &[tx, rx, 1]))?;
    equal(
        ffa::call(id::VERSION, &[V1_1 as u64])[0] & 0xffff_ffff,
        NOT_SUPPORTED,
    )?;
    equal(ffa::call(id::VERSION, &[V1_0 as u64])[0], V1_2)
}

// req: PINFO-01, PINFO-04, PINFO-05, PINFO-06, PINFO-08, PINFO-14, VER-09, RUN-07, GEN-27
fn discovery_at_1_0(_: &Nwd) -> Check {
    let release = || ffa::call(id::RX_RELEASE, &[0]);
    ffa::results(&info_get([0; 4], 0), [2, 0, 0, 0, 0, 0])?;
    for (n, (partition, contexts)) in [(SP1, 1u16), (SP2, 8)].into_iter().enumerate() {
        equal(nwd::RX.u16(8 * n), partition)?;
        equal(nwd::RX.u16(8 * n + 2), contexts)?;
        equal(nwd::RX.u32(8 * n + 4), RECEIVES)?;
    }
    ffa::refused(&info_get([0; 4], 0), BUSY)?;
    ffa::done(&release())?;
    // w5 is reserved in 1.0.
    ffa::refused(&info_get([0; 4], 1), INVALID_PARAMETERS)?;
    ffa::refused(&info_get(UNKNOWN_UUID, 0), INVALID_PARAMETERS)?;
    ffa::refused(&release(), DENIED)?;
    ffa::results(&info_get(SP1_UUID, 0), [1, 0, 0, 0, 0, 0])?;
    equal(nwd::RX.u16(0), SP1)?;
    ffa::done(&release())
}

// req: MSGD-12, MSGD-19, VER-09, GEN-27
fn ping_at_1_0(_: &Nwd) -> Check {
    const PING: u64 = 0xaaaa_aaaa_aaaa_aaaa;
    for partition in [SP1, SP2] {
        let ping = ffa::regs(
            id::DIRECT_REQ_64,
            &[route(NWD, partition), 0, PING, PING, PING, PING, PING],
        );
        let answer = call(ffa::conduit(), ping);
        equal(answer[0], id::DIRECT_RESP_64)?;
        equal(answer[1], route(partition, NWD))?;
        // No helper has that number.
        equal(answer[3], helper_call::UNKNOWN)?;
        equal(answer[4], PING & 0xffff_ffff)?;
    }
    Ok(())
}

// req: MEMD-59, MEMD-61, MEMD-69, MEMRQ-18, MEMS-01
fn share_1_0_with_both(_: &Nwd) -> Check {
    let receivers = [receiver(SP1, access::RW), receiver(SP2, access::RW)];
    let ranges = [(page(21), 1)];
    let sent = transaction(&receivers, &ranges);
    let handle = nwd::caller().sent(id::MEM_SHARE_32, &sent)?;
    is_fine(
        Borrow {
            other: SP2,
            ..Borrow::new(handle)
        }
        .by(SP1)?,
    )?;
    is_fine(
        Borrow {
            other: SP1,
            ..Borrow::new(handle)
        }
        .by(SP2)?,
    )?;
    reaches(SP1, page(21), Space::NonSecure, Try::Write(0x2121), DONE)?;
    reads(SP2, page(21), Some(0x2121))?;
    equal(peek(page(21)) & 0xffff_ffff, 0x2121u64)?;
    give_back(SP1, handle, 0, 0)?;
    give_back(SP2, handle, 0, 0)?;
    reads(SP2, page(21), ABORT)?;
    ffa::done(&reclaim(handle, 0))
}

// req: MEMD-61, MEMD-67, VER-09
fn other_layouts_at_1_0(_: &Nwd) -> Check {
    let receivers = [receiver(SP1, access::RW)];
    let ranges = [(page(22), 1)];
    let sent = transaction(&receivers, &ranges);
    for version in [V1_1, V1_2] {
        let later = Caller {
            version,
            ..nwd::caller()
        };
        let answer = later.send(id::MEM_SHARE_32, &sent);
        ffa::refused(&answer, INVALID_PARAMETERS)?;
    }
    // The 8 bits of attributes have no place for the NS bit.
    let ns = Transaction {
        attributes: NORMAL_WB | 1 << 6,
        ..sent
    };
    ffa::refused(
        &nwd::caller().send(id::MEM_SHARE_32, &ns),
        INVALID_PARAMETERS,
    )?;
    let handle = nwd::caller().sent(id::MEM_SHARE_32, &sent)?;
    ffa::done(&reclaim(handle, 0))
}

// req: VER-09, VER-16, RXTX-25, RXTX-26, PINFO-14
fn next_stage_negotiates_1_2(_: &Nwd) -> Check {
    ffa::done(&ffa::call(id::RXTX_UNMAP, &[(NWD as u64) << 16]))?;
    equal(ffa::call(id::VERSION, &[V1_2 as u64])[0], V1_2)?;
    nwd::set_version(V1_2);
    let (tx, rx) = (nwd::TX.address(), nwd::RX.address());
    let features = ffa::call(id::FEATURES, &[id::RXTX_MAP_64 as u64]);
    ffa::succeeded(&features)?;
    holds(features[2] >> 16 > 0, features[2])?;
    ffa::done(&ffa::call(id::RXTX_MAP_64, &[tx, rx, 1]))?;
    ffa::results(&info_get([0; 4], 0), [2, 24, 0, 0, 0, 0])?;
    ffa::done(&ffa::call(id::RX_RELEASE, &[]))?;
    // A client of 1.2 gets all 18 registers.
    let answer = ffa::call(id::PARTITION_INFO_GET_REGS, &[]);
    equal(answer[0], id::SUCCESS_64)?;
    equal(answer[6] & 0xffff, SP2)?;
    holds(answer[8] != 0, answer[8])?;
    let receivers = [receiver(SP1, access::RW)];
    let ranges = [(page(23), 1)];
    let handle = nwd::caller().sent(id::MEM_SHARE_64, &transaction(&receivers, &ranges))?;
    ffa::done(&reclaim(handle, 0))
}
