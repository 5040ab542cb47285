//! The board that the guests run on: addresses, and nothing else. The data lies with that of the
//! board's SPMC; a feature of this package chooses it.

#[cfg(not(feature = "qemu-sbsa"))]
include!("../../../platform/qemu-virt/guest.rs");
#[cfg(feature = "qemu-sbsa")]
include!("../../../platform/qemu-sbsa/guest.rs");

include!("../places.rs");

/// Where the package of partition number `slot` is loaded, from 0 on.
pub const fn package(slot: u64) -> u64 {
    PARTITIONS + slot * 0x10_0000
}

/// Where a package has its image.
pub const IMAGE_OFFSET: u64 = 0x4000;
