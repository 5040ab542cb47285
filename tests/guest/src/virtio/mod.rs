//! virtio-msg over FF-A (the bus of the Linux series of July 2025), both ends of it. Partitions
//! serve a disk. The Normal world finds them by their UUID and drives the disk with a virtio driver
//! that knows nothing of FF-A.
//!
//! Memory that driver and device share is an *area*: the driver sends it with `FFA_MEM_SHARE` and
//! announces it by AREA_SHARE, and the device retrieves it before it answers. Addresses in rings
//! are `area << 56 | offset`.

pub mod areas;
pub mod device;
pub mod disk;
pub mod driver;
pub mod frame;
pub mod pages;
pub mod ring;

/// UUID of the service as four little-endian words: c66028b5-2498-4aa1-9de7-77da6122abf0.
pub const UUID: [u32; 4] = [0xb528_60c6, 0xa14a_9824, 0xda77_e79d, 0xf0ab_2261];

/// Position of the number of the area in an address.
pub const AREA_SHIFT: u32 = 56;

/// The version of the bus that both ends speak.
pub const BUS_VERSION: u32 = 1;
/// The revision of virtio-msg that both ends speak.
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

/// `result` of a response about an area that says that the request failed.
pub const RESULT_ERROR: u16 = 1;
