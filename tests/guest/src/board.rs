//! The addresses of the board that the guests run on. The values lie in the folder of the board
//! below `platform`; a feature of this package chooses the board.

#[cfg(not(feature = "qemu-sbsa"))]
include!("../../../platform/qemu-virt/guest.rs");
#[cfg(feature = "qemu-sbsa")]
include!("../../../platform/qemu-sbsa/guest.rs");

include!("../places.rs");

/// Returns the address at which the package of partition number `slot` is loaded, counted from 0.
pub const fn package(slot: u64) -> u64 {
    PARTITIONS + slot * 0x10_0000
}

/// Offset of the image in a package.
pub const IMAGE_OFFSET: u64 = 0x4000;
