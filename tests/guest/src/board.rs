//! The board that the guests run on: addresses, and nothing else. The data lies with that of the
//! board's SPMC; a feature of this package chooses it.

#[cfg(not(feature = "qemu-sbsa"))]
include!("../../../platform/qemu-virt/guest.rs");
#[cfg(feature = "qemu-sbsa")]
include!("../../../platform/qemu-sbsa/guest.rs");

/// Where the Normal-world test OS is loaded.
pub const BL33: u64 = RAM + 0x2000_0000;
/// The word that has the number of the selection that the test OS runs.
pub const SELECTION: u64 = RAM + 0x3000_0000;

/// Two words for the tests that are selected: the seed of random choices, and how many calls to
/// make.
pub const PARAMETERS: u64 = SELECTION + 8;

/// Where the package of partition number `slot` is loaded, from 0 on.
pub const fn package(slot: u64) -> u64 {
    PARTITIONS + slot * 0x10_0000
}

/// Where a package has its image.
pub const IMAGE_OFFSET: u64 = 0x4000;
