//! The engine on the host: fake hardware and everything that tests need to drive it.
//!
//! [`machine::Machine`] is the hardware: physical memory, processing elements, translation with
//! TLBs that keep whatever they may keep. [`hal::FakeHal`] is the engine's view of it and checks
//! that the engine keeps to the contract of [`spmc::hal::Hal`]. Partitions are [`guest`] scripts:
//! plain Rust closures that make FF-A calls. [`system::System`] puts it all together and is the
//! Normal world.
//!
//! Nothing here uses the engine's constants or codecs: [`ffa`] is a second, independent reading of
//! the specification.

mod careless;
pub mod chains;
pub mod exhaust;
pub mod ffa;
pub mod fuzz;
pub mod gic;
pub mod go_between;
pub mod guest;
pub mod hal;
pub mod held;
pub mod machine;
pub mod manifest;
pub mod memory;
pub mod model;
pub mod puppet;
pub mod remote;
pub mod restless;
pub mod schedule;
pub mod smmu;
pub mod snapshot;
pub mod source;
pub mod system;
pub mod translation;
pub mod walk;

pub use ffa::Regs;
pub use guest::Sp;
pub use manifest::PartitionSpec;
pub use puppet::Puppet;
pub use remote::Remote;
pub use system::{Nwd, System};
