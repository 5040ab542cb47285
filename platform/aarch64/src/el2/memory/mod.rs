//! The memory and the translation of EL2 itself, and the hardware side of partitions' translation.

pub mod bulk;
pub mod carve;
pub mod layout;
pub mod stacks;
pub mod stage1;
pub mod stage2;
pub mod tables;
pub mod window;
