//! The memory and the translation of EL2 itself, and the hardware side of partitions' translation.

use crate::boot_allocator::BootAllocator;

pub mod bulk;
pub mod layout;
pub mod stacks;
pub mod stage1;
pub mod stage2;
pub mod tables;
pub mod window;

/// The memory of the SPMC that boot hands out.
#[global_allocator]
pub static BOOT: BootAllocator = BootAllocator::new();
