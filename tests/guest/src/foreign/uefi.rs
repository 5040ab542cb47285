//! A Normal world in the style of UEFI, which talks to StandaloneMm by a buffer.

use crate::ffa::{self, NWD, V1_2, call, id};
use crate::nwd::{self, Nwd, Test, peek, poke};
use crate::rt::check::{Check, equal, holds};
use crate::test;

use super::{STMM, request, stmm};

/// The tests of this file, in their order.
pub const TESTS: &[Test] = &[
    test!(uefi_finds_mm, "UEFI finds StandaloneMm by its UUID"),
    test!(
        uefi_communicates,
        "UEFI talks to StandaloneMm by the buffer of its manifest"
    ),
];

fn uefi_finds_mm(_: &Nwd) -> Check {
    let version = call(id::VERSION, &[V1_2.into()])[0];
    holds(version >> 16 == 1 && version & 0xffff >= 1, version)?;
    let map = [nwd::TX.address(), nwd::RX.address(), 1];
    ffa::succeeded(&call(id::RXTX_MAP_64, &map))?;
    let found = call(id::PARTITION_INFO_GET, &stmm::UUID);
    ffa::succeeded(&found)?;
    equal(found[2], 1u64)?;
    equal(nwd::RX.u16(0), STMM)?;
    ffa::succeeded(&call(id::RX_RELEASE, &[]))?;
    ffa::succeeded(&call(id::RXTX_UNMAP, &[]))
}

fn uefi_communicates(_: &Nwd) -> Check {
    for function in [id::DIRECT_REQ_64, id::DIRECT_REQ_64, id::DIRECT_REQ_32] {
        let word = 0x1234_5678_9abc_def0;
        poke(stmm::BUFFER, word);
        let answer = request(function, NWD, STMM, &[stmm::BUFFER]);
        equal(answer[0], id::DIRECT_RESP_64)?;
        equal(answer[3], stmm::DONE)?;
        equal(peek(stmm::BUFFER), !word)?;
    }
    Ok(())
}
