//! virtio-msg over FF-A (the bus of the Linux series of July 2025): both ends of it. Partitions
//! serve a disk; the Normal world finds them by their UUID and drives the disk with a virtio driver
//! that knows nothing of FF-A.
//!
//! Memory that driver and device share is an *area*: sent with `FFA_MEM_SHARE`, announced by
//! AREA_SHARE, retrieved before that is answered. Addresses in rings are `area << 56 | offset`.

pub mod areas;
pub mod device;
pub mod disk;
pub mod driver;
pub mod frame;
pub mod pages;
pub mod ring;

/// UUID of the service as four little-endian words: c66028b5-2498-4aa1-9de7-77da6122abf0.
pub const UUID: [u32; 4] = [0xb528_60c6, 0xa14a_9824, 0xda77_e79d, 0xf0ab_2261];

/// Where the number of the area stands in an address.
pub const AREA_SHIFT: u32 = 56;

/// Both ends speak this version of the bus...
pub const BUS_VERSION: u32 = 1;
/// ...and this revision of virtio-msg.
pub const REVISION: u32 = 1;

/// Features of the bus, as VERSION carries them.
#[allow(missing_docs)]
pub mod feature {
    pub const DIRECT_RX: u32 = 1 << 0;
    pub const DIRECT_TX: u32 = 1 << 1;
    pub const INDIRECT_RX: u32 = 1 << 2;
    pub const INDIRECT_TX: u32 = 1 << 3;
    pub const ALL: u32 = 15;
}

/// `result` of a response about an area: it failed.
pub const RESULT_ERROR: u16 = 1;
