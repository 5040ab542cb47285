//! Memory that the Normal world sends to partitions.

use crate::ffa::memory_descriptor::{NORMAL_WB, Receiver, Transaction};
use crate::ffa::{NWD, id};
use crate::nwd;
use crate::rt::check::Check;

/// Returns a receiver with these permissions.
pub const fn receiver(id: u16, access: u8) -> Receiver {
    Receiver {
        id,
        access,
        flags: 0,
    }
}

/// Returns a share, lend or donate of the Normal world.
pub fn transaction<'a>(receivers: &'a [Receiver], ranges: &'a [(u64, u32)]) -> Transaction<'a> {
    Transaction {
        sender: NWD,
        attributes: NORMAL_WB,
        flags: 0,
        handle: 0,
        tag: 0,
        receivers,
        ranges,
    }
}

/// Shares `ranges` with `partition`, and returns the handle.
#[track_caller]
pub fn share(partition: u16, permission: u8, ranges: &[(u64, u32)]) -> Check<u64> {
    let receivers = [receiver(partition, permission)];
    nwd::caller().sent(id::MEM_SHARE_64, &transaction(&receivers, ranges))
}
