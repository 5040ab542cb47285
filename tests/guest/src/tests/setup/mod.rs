//! Setting up: negotiation, discovery, buffers, and how partitions come to life.

pub mod boot;
pub mod buffers;
pub mod discovery;
pub mod features;
pub mod hob_list;
pub mod normal_world_1_0;
pub mod version;
pub mod version_1_3;
