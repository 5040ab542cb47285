//! A partition at FF-A 1.3 beside others at 1.2 and 1.1.

use crate::ffa::error::INVALID_PARAMETERS;
use crate::ffa::{self, SP1, SP3, V1_3, id};
use crate::nwd::{Nwd, Test, ask};
use crate::rt::check::{Check, equal, holds};
use crate::sp::{self, Command, Sp};
use crate::{command, helper, test};

/// The tests of this file.
pub const TESTS: &[Test] = &[test!(
    partition_at_1_3,
    "A partition at FF-A 1.3 has its layouts, and others have theirs"
)];

/// Code of the partitions.
pub const HELPERS: &[Command] = &[helper!(speak_1_3)];

/// The UUID of the image of SP3, as its manifest has it, in two registers.
const IMAGE: [u64; 2] = [0x2222_2222_1111_1111, 0x4444_4444_3333_3333];

// req: VER-15, PINFO-20, PINFO-21, FEAT-16, MSGW-26, RXTX-32
fn partition_at_1_3(_: &Nwd) -> Check {
    ask(SP3, command!(speak_1_3), [0; 4])?;
    Ok(())
}

fn speak_1_3(_: &Sp, _: [u64; 4]) -> Check<[u64; 4]> {
    let version = |flags| ffa::call(id::VERSION, &[V1_3 as u64, flags])[0];
    equal(version(1), V1_3)?;
    equal(version(2), V1_3)?;
    ffa::results(&ffa::call(id::FEATURES, &[4]), [0; 6])?;

    // All partitions, in descriptors of six registers: the first two are sp1 and sp2.
    let list = ffa::call(id::PARTITION_INFO_GET_REGS, &[0, 0, 0]);
    equal(list[2] >> 48, 48u64)?;
    equal(list[3] as u16, SP1)?;
    equal(list[6] | list[7], 0u64)?;
    equal(list[8], ffa::V1_2)?;
    equal(list[14], ffa::V1_1)?;
    let [low, high] = IMAGE;
    let own = ffa::call(id::PARTITION_INFO_GET_REGS, &[low, high, 0]);
    equal(own[2] & 0xffff_ffff, 0u64)?;
    equal(own[3] as u16, SP3)?;
    holds(own[4] != 0 && own[6] == 0, own[4])?;
    equal(own[8], V1_3)?;

    let [a, b] = [low & 0xffff_ffff, low >> 32];
    let [c, d] = [high & 0xffff_ffff, high >> 32];
    ffa::results(
        &ffa::call(id::PARTITION_INFO_GET, &[a, b, c, d, 0]),
        [1, 48, 0, 0, 0, 0],
    )?;
    let word = |at| sp::RX.u64(at);
    equal(word(0) as u16, SP3)?;
    equal(word(40), V1_3)?;
    for at in (48..4096).step_by(8) {
        equal(word(at), 0u64)?;
    }
    ffa::done(&ffa::call(id::RX_RELEASE, &[]))?;
    // The reserved registers of the 64-bit form.
    let wait = id::MSG_WAIT | 1 << 30;
    ffa::refused(&ffa::call(wait, &[1]), INVALID_PARAMETERS)?;
    Ok([0; 4])
}
