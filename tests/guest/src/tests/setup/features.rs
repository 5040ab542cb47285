//! `FFA_FEATURES` (FF-A v1.0 section 8.2): the answer depends on the function, the caller and its
//! version.

use crate::ffa::error::NOT_SUPPORTED;
use crate::ffa::{self, SP1, SP2, V1_1, V1_2, id};
use crate::nwd::{Nwd, Test, ask};
use crate::rt::check::{Check, equal, holds};
use crate::sp::{Command, Sp};
use crate::{command, helper, test};

/// The tests of this file.
pub const TESTS: &[Test] = &[
    test!(
        features_of_normal_world,
        "FFA_FEATURES tells the Normal world what it can use"
    ),
    test!(
        features_of_partitions,
        "FFA_FEATURES tells each partition what it can use"
    ),
];

/// Code of the partitions.
pub const HELPERS: &[Command] = &[helper!(features_here)];

/// Functions that every caller has, without properties.
const COMMON: &[u32] = &[
    id::ERROR,
    id::SUCCESS,
    id::INTERRUPT,
    id::VERSION,
    id::FEATURES,
    id::RX_RELEASE,
    id::RXTX_UNMAP,
    id::PARTITION_INFO_GET,
    id::ID_GET,
    id::SPM_ID_GET,
    id::DIRECT_REQ_32,
    id::DIRECT_REQ_64,
    id::MEM_RECLAIM,
];

/// The functions that neither the Normal world nor a partition can use here.
const NOBODY: &[u32] = &[
    id::NORMAL_WORLD_RESUME,
    id::MSG_POLL,
    id::MSG_SEND,
    id::UNDEFINED,
    0x8400_00ff,
    0x8000_0000,
    // Feature ids that do not exist.
    0,
    0x7f,
    0x100,
];

const NOTIFICATION_PENDING: u32 = 1;
const SCHEDULE_RECEIVER: u32 = 2;
const MANAGED_EXIT: u32 = 3;

/// Input property of FFA_MEM_RETRIEVE_REQ: the caller knows the NS bit.
const NS_BIT: u64 = 1 << 1;

fn features(function: u32) -> ffa::Answer {
    ffa::call(id::FEATURES, &[function as u64])
}

fn common(version: u32) -> Check {
    for function in COMMON {
        ffa::done(&features(*function))?;
    }
    for function in NOBODY {
        ffa::refused(&features(*function), NOT_SUPPORTED)?;
    }
    ffa::refused(&features(id::RXTX_MAP_32), NOT_SUPPORTED)?;
    let map = features(id::RXTX_MAP_64);
    ffa::succeeded(&map)?;
    // The minimum size is 4 KiB. Only from 1.2 on there is a maximum.
    equal(map[2] & 0xffff, 0u64)?;
    if version < V1_2 {
        equal(map[2], 0u64)?;
    }
    equal(map[3], 0u64)?;
    for (function, first) in [(id::MSG_SEND2, V1_1), (id::PARTITION_INFO_GET_REGS, V1_2)] {
        if version >= first {
            ffa::done(&features(function))?;
        } else {
            ffa::refused(&features(function), NOT_SUPPORTED)?;
        }
    }
    for function in [
        id::MEM_DONATE_32,
        id::MEM_DONATE_64,
        id::MEM_LEND_32,
        id::MEM_LEND_64,
        id::MEM_SHARE_32,
        id::MEM_SHARE_64,
    ] {
        let answer = features(function);
        ffa::succeeded(&answer)?;
        // Dynamic buffers are reported before 1.2.
        equal(answer[2], (version < V1_2) as u64)?;
        equal(answer[3], 0u64)?;
    }
    for function in [id::MEM_RETRIEVE_REQ_32, id::MEM_RETRIEVE_REQ_64] {
        let answer = ffa::call(id::FEATURES, &[function as u64, NS_BIT]);
        ffa::succeeded(&answer)?;
        equal(answer[2] & NS_BIT, NS_BIT)?;
        // Dynamic buffers are reported, and no undefined property is.
        equal(answer[2] & !(NS_BIT | 1 << 2), 1u64)?;
        // A borrower retrieves a region once at a time.
        equal(answer[3], 0u64)?;
    }
    Ok(())
}

// req: COMP-03, COMP-05, COMP-07, COMP-13, COMP-14, COMP-21, FEAT-01, FEAT-02, FEAT-03, FEAT-04
// req: FEAT-05, FEAT-06, FEAT-07, FEAT-08
// req: FEAT-09, FEAT-11, FEAT-12, FEAT-13, FEAT-14, FRAG-01, GEN-15, MSGW-25
fn features_of_normal_world(_: &Nwd) -> Check {
    common(V1_2)?;
    for function in [id::RUN, id::RX_ACQUIRE, id::MSG_WAIT] {
        ffa::done(&features(function))?;
    }
    for function in [
        id::SECONDARY_EP_REGISTER,
        id::CONSOLE_LOG_32,
        id::CONSOLE_LOG_64,
        id::MEM_OP_PAUSE,
        id::MEM_OP_RESUME,
        NOTIFICATION_PENDING,
        MANAGED_EXIT,
    ] {
        ffa::refused(&features(function), NOT_SUPPORTED)?;
    }
    let with_input = ffa::call(id::FEATURES, &[SCHEDULE_RECEIVER as u64, 1]);
    ffa::refused(&with_input, NOT_SUPPORTED)
}

// req: COMP-05, COMP-07, COMP-13, COMP-21, FEAT-01, FEAT-02, FEAT-03, FEAT-04, FEAT-05, FEAT-06
// req: FEAT-07, FEAT-08, FEAT-12, FEAT-13
fn features_of_partitions(_: &Nwd) -> Check {
    for partition in [SP1, SP2] {
        ask(partition, command!(features_here), [0; 4])?;
    }
    Ok(())
}

fn features_here(sp: &Sp, _: [u64; 4]) -> Check<[u64; 4]> {
    common(sp.identity.version)?;
    for function in [
        id::MSG_WAIT,
        id::DIRECT_RESP_32,
        id::DIRECT_RESP_64,
        id::MEM_RELINQUISH,
        id::CONSOLE_LOG_32,
        id::CONSOLE_LOG_64,
        id::MEM_OP_PAUSE,
        id::MEM_OP_RESUME,
    ] {
        ffa::done(&features(function))?;
    }
    ffa::refused(&features(SCHEDULE_RECEIVER), NOT_SUPPORTED)?;
    ffa::refused(&features(id::RX_ACQUIRE), NOT_SUPPORTED)?;
    let secondary = features(id::SECONDARY_EP_REGISTER);
    if sp.identity.contexts > 1 {
        ffa::done(&secondary)?;
    } else {
        ffa::refused(&secondary, NOT_SUPPORTED)?;
    }
    holds(
        sp.identity.version < V1_2 || features(id::RXTX_MAP_64)[2] == 16 << 16,
        0u64,
    )?;
    Ok([0; 4])
}
