//! Discovery of partitions, with the UUIDs of the test partitions.

use crate::ffa::{self, id};

/// The UUID of sp1, as four registers carry it.
pub const SP1_UUID: [u64; 4] = [0x1e67_b5b4, 0xe14f_904a, 0x13fb_1fb8, 0xcbda_e1da];
/// A UUID that nobody has.
pub const UNKNOWN_UUID: [u64; 4] = [0x1e67_b5b4, 0xe14f_904a, 0x13fb_1fb8, 0xcbda_e1db];

/// Property: receives direct requests.
pub const RECEIVES: u32 = 1;

/// Makes `FFA_PARTITION_INFO_GET`.
pub fn info_get(uuid: [u64; 4], flags: u64) -> ffa::Answer {
    let [a, b, c, d] = uuid;
    ffa::call(id::PARTITION_INFO_GET, &[a, b, c, d, flags])
}
