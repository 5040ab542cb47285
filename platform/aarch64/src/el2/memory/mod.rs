//! EL2's own memory and translation, and the translation of partitions.

pub mod bulk;
pub mod carve;
pub mod layout;
pub mod stacks;
pub mod stage1;
pub mod stage2;
pub mod tables;
pub mod window;
