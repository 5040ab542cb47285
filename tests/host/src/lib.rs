//! The engine on the host: fake hardware, and everything that tests need to drive the engine.
//!
//! [`machine::Machine`] is the hardware: physical memory with caches, processing elements, and
//! translation with TLBs that keep whatever the architecture permits. [`hal::FakeHal`] is the
//! engine's view of the hardware and checks that the engine follows the contract of
//! [`spmc::hal::Hal`]. Partitions are [`guest`] scripts: plain Rust closures that make FF-A calls.
//! [`system::System`] combines all of them, and represents the Normal world.
//!
//! Nothing in this crate uses the engine's constants or codecs: [`ffa`] is a second, independent
//! reading of the specification.

pub mod after_boot;
pub mod allocations;
pub mod caches;
mod careless;
pub mod chains;
pub mod exhaust;
pub mod ffa;
pub mod fuzz;
pub mod gic;
pub mod go_between;
pub mod growth;
pub mod guest;
pub mod hal;
pub mod held;
pub mod machine;
pub mod manifest;
pub mod memory;
mod mmu_off;
pub mod model;
pub mod puppet;
pub mod remote;
pub mod restless;
pub mod schedule;
pub mod smmu;
pub mod snapshot;
pub mod source;
mod start;
pub mod system;
pub mod transfer_list;
pub mod translation;
pub mod walk;

pub use ffa::Regs;
pub use guest::Sp;
pub use manifest::PartitionSpec;
pub use puppet::Puppet;
pub use remote::Remote;
pub use system::{Nwd, System};
