//! The tests, in folders by subject. Each file holds tests of the Normal world and, beside them,
//! the helpers that run inside the partitions for these tests. No file uses another one: what
//! several need is in [`crate::support`].
//!
//! A line `// req:` above a test names the requirement rows that it shows.

pub mod hostile;
pub mod interrupts;
pub mod memory;
pub mod messages;
pub mod registers;
pub mod s_el0;
pub mod scheduling;
pub mod setup;
pub mod signer;
pub mod virtio_disk;

use crate::foreign;
use crate::nwd::Test;
use crate::sp::Command;
use crate::support;

/// All tests of a Normal world that speaks FF-A 1.2, in the order in which they run.
pub const ALL: &[&[Test]] = &[
    setup::version::TESTS,
    setup::buffers::TESTS,
    setup::discovery::TESTS,
    setup::version::LATER,
    setup::features::TESTS,
    setup::boot::TESTS,
    messages::direct::TESTS,
    messages::direct::ON_EACH_PE,
    messages::direct_errors::TESTS,
    scheduling::run::TESTS,
    memory::transfer::TESTS,
    memory::errors::TESTS,
    memory::retrieval::TESTS,
    memory::between::TESTS,
    memory::devices::TESTS,
    memory::sizes::TESTS,
    memory::fragments::TESTS,
    memory::race::TESTS,
    scheduling::preemption::TESTS,
    messages::notification::TESTS,
    interrupts::secure::TESTS,
    memory::long_calls::TESTS,
    interrupts::secure::VIRTUAL_TIMER,
    messages::indirect::TESTS,
    messages::console_log::TESTS,
    registers::el1_state::TESTS,
    registers::extensions::TESTS,
    registers::sweeps::TESTS,
    scheduling::concurrency::TESTS,
    scheduling::power::TESTS,
    memory::isolation::TESTS,
    memory::sizes::LARGE,
    registers::instructions::TESTS,
    registers::identification::TESTS,
];

/// The tests of a Normal world that speaks FF-A 1.0.
pub const NORMAL_WORLD_1_0: &[&[Test]] = &[
    setup::normal_world_1_0::TESTS,
    memory::u_boot::TESTS,
    memory::sizes::TESTS,
    memory::fragments::TESTS,
    setup::normal_world_1_0::LATER,
];

/// The tests for the layout in which sp2 speaks FF-A 1.0 and has much memory.
pub const MEMORY: &[&[Test]] = &[
    setup::version::TESTS,
    setup::buffers::TESTS,
    memory::sizes::TESTS,
    memory::sizes::OF_PARTITIONS,
    memory::fragments::TESTS,
    memory::race::TESTS,
    memory::death::TESTS,
];

/// The tests for the layout whose SPMC manifest gives memory for tables.
pub const FAR_APART: &[&[Test]] = &[
    setup::version::TESTS,
    setup::buffers::TESTS,
    memory::far::TESTS,
];

/// The tests for the layout of the partition `signer`.
pub const SIGNER: &[&[Test]] = &[signer::TESTS];

/// The tests for the layout in which sp1 has Non-secure interrupts queued.
pub const QUEUED: &[&[Test]] = &[
    setup::version::TESTS,
    setup::buffers::TESTS,
    interrupts::queued::TESTS,
];

/// The tests for the layout in which partitions have all actions for interrupts.
pub const INTERRUPTS: &[&[Test]] = &[
    setup::version::TESTS,
    interrupts::interrupt_soak::SETUP,
    interrupts::secure::TESTS,
    interrupts::actions_and_states::TESTS,
    interrupts::stopped_chains::TESTS,
    interrupts::cpu_interface::TESTS,
    interrupts::managed_exit::TESTS,
    interrupts::storms::TESTS,
    interrupts::actions_and_states::LAST,
];

/// The tests for the layout in which partitions at S-EL0 have interrupts.
pub const INTERRUPTS_S_EL0: &[&[Test]] = &[
    setup::version::TESTS,
    interrupts::interrupt_soak::SETUP,
    interrupts::owners_at_s_el0::TESTS,
];

/// The soak of interrupts, for the layout of [`INTERRUPTS`] on more PEs.
pub const INTERRUPT_SOAK: &[&[Test]] = &[
    setup::version::TESTS,
    interrupts::interrupt_soak::SETUP,
    interrupts::interrupt_soak::TESTS,
];

/// The tests for the layout with a third partition and with subscribers to framework messages.
pub const SCHEDULING: &[&[Test]] = &[
    setup::version::TESTS,
    setup::version_1_3::TESTS,
    messages::direct_by_uuid::TESTS,
    scheduling::yielding::TESTS,
    messages::subscriptions::TESTS,
    scheduling::lifecycle::TESTS,
];

/// The tests for the layout in which a partition is replaced.
pub const LIVE: &[&[Test]] = &[
    setup::version::TESTS,
    interrupts::interrupt_soak::SETUP,
    scheduling::live_activation::TESTS,
];

/// The tests for the layout in which partitions of other kinds are replaced.
pub const LIVE_KINDS: &[&[Test]] = &[
    setup::version::TESTS,
    interrupts::interrupt_soak::SETUP,
    scheduling::live_kinds::TESTS,
    scheduling::live_activation::AT_S_EL0,
];

/// The tests for a boot in which EL3 knows no entry point of PEs other than the first.
pub const FIRST_PE_ONLY: &[&[Test]] = &[
    setup::version::TESTS,
    setup::buffers::TESTS,
    scheduling::unserved::ALL_BUT_THE_FIRST,
    scheduling::unserved::TESTS,
];

/// The tests for a boot with more PEs than the SPMC has room for.
pub const MANY_PES: &[&[Test]] = &[
    setup::version::TESTS,
    setup::buffers::TESTS,
    scheduling::unserved::MORE_THAN_FIT,
    scheduling::unserved::TESTS,
];

/// The tests that do something on each PE, for an SPMC that has room for more than usual.
pub const EACH_PE: &[&[Test]] = &[
    setup::version::TESTS,
    setup::buffers::TESTS,
    messages::direct::ON_EACH_PE,
    scheduling::concurrency::TESTS,
    scheduling::power::TESTS,
];

/// The tests for a board with less memory than its manifest says.
pub const HOLE: &[&[Test]] = &[
    setup::version::TESTS,
    setup::buffers::TESTS,
    memory::hole::TESTS,
];

/// The tests for the layout with partitions in the style of other projects.
pub const FOREIGN: &[&[Test]] = &[
    foreign::uefi::TESTS,
    foreign::linux::TESTS,
    foreign::tftf::TESTS,
    foreign::tee::TESTS,
    foreign::xen::TESTS,
];

/// The tests of who sees which system registers.
pub const REGISTERS: &[&[Test]] = &[
    setup::version::TESTS,
    setup::buffers::TESTS,
    registers::el1_state::TESTS,
    registers::sweeps::TESTS,
    registers::identification::TESTS,
];

/// The tests that hold where EL3 lets EL2 set all traps.
pub const TRAPS: &[&[Test]] = &[
    setup::version::TESTS,
    setup::buffers::TESTS,
    registers::el1_state::TESTS,
    registers::sweeps::TESTS,
    registers::instructions::TESTS,
    registers::identification::TESTS,
];

/// The tests for the layout whose partitions serve a disk over virtio-msg.
pub const VIRTIO_MSG: &[&[Test]] = &[virtio_disk::TESTS];

/// The soak of messages, for a layout with eight partitions.
pub const SOAK: &[&[Test]] = &[messages::message_soak::TESTS];

/// The hostile guests.
pub const HOSTILE: &[&[Test]] = &[hostile::TESTS];

/// The tests for the layout with partitions at S-EL0.
pub const S_EL0: &[&[Test]] = &[
    setup::version::TESTS,
    registers::sweeps::EL0_TESTS,
    s_el0::TESTS,
];

/// The tests for the layout whose packages are transfer lists.
pub const PACKAGES: &[&[Test]] = &[
    setup::version::TESTS,
    setup::boot::TESTS,
    setup::hob_list::TESTS,
    messages::direct::TESTS,
];

/// The tests for the layout whose partitions at S-EL0 sign addresses.
pub const POINTERS: &[&[Test]] = &[
    setup::version::TESTS,
    interrupts::interrupt_soak::SETUP,
    registers::pointers::TESTS,
];

/// The tests for the layout whose partitions have SVE.
pub const SVE: &[&[Test]] = &[
    setup::version::TESTS,
    interrupts::interrupt_soak::SETUP,
    registers::scalable::TESTS,
];

/// The helpers of all files.
pub const HELPERS: &[&[Command]] = &[
    support::complement::HELPERS,
    support::virtual_interrupts::HELPERS,
    support::secure_uart::HELPERS,
    support::interrupt_handler::HELPERS,
    support::interrupt_flood::HELPERS,
    support::interrupt_counts::HELPERS,
    support::chains::HELPERS,
    support::spinning::HELPERS,
    support::borrowing::HELPERS,
    support::reach::HELPERS,
    support::regions::HELPERS,
    support::system_register::HELPERS,
    support::s_el0_helpers::HELPERS,
    setup::version::HELPERS,
    setup::version_1_3::HELPERS,
    setup::buffers::HELPERS,
    setup::discovery::HELPERS,
    setup::features::HELPERS,
    setup::boot::HELPERS,
    setup::hob_list::HELPERS,
    messages::direct::HELPERS,
    messages::direct_errors::HELPERS,
    messages::indirect::HELPERS,
    messages::console_log::HELPERS,
    scheduling::run::HELPERS,
    messages::notification::HELPERS,
    interrupts::secure::HELPERS,
    interrupts::actions_and_states::HELPERS,
    interrupts::stopped_chains::HELPERS,
    interrupts::cpu_interface::HELPERS,
    interrupts::owners_at_s_el0::HELPERS,
    interrupts::interrupt_soak::HELPERS,
    interrupts::storms::HELPERS,
    interrupts::managed_exit::HELPERS,
    s_el0::HELPERS,
    registers::el1_state::HELPERS,
    registers::extensions::HELPERS,
    registers::pointers::HELPERS,
    registers::scalable::HELPERS,
    registers::sweeps::HELPERS,
    scheduling::concurrency::HELPERS,
    scheduling::power::HELPERS,
    scheduling::unserved::HELPERS,
    registers::instructions::HELPERS,
    registers::identification::HELPERS,
    messages::direct_by_uuid::HELPERS,
    scheduling::yielding::HELPERS,
    messages::subscriptions::HELPERS,
    scheduling::lifecycle::HELPERS,
    scheduling::live_activation::HELPERS,
    messages::message_soak::HELPERS,
    hostile::HELPERS,
    memory::retrieval::HELPERS,
    memory::between::HELPERS,
    memory::devices::HELPERS,
    memory::sizes::HELPERS,
    memory::far::HELPERS,
    memory::fragments::HELPERS,
    memory::hole::HELPERS,
    memory::death::HELPERS,
    memory::race::HELPERS,
    crate::nwd::bench::HELPERS,
];
