//! The tests. Each file holds tests of the Normal world and, beside them, the helpers that run
//! inside the partitions.
//!
//! A line `// req:` above a test names the requirement rows that it shows.

pub mod boot;
pub mod concurrency;
pub mod console;
pub mod cpu_interface;
pub mod direct;
pub mod direct2;
pub mod direct_errors;
pub mod discovery;
pub mod extensions;
pub mod features;
mod hole;
pub mod hostile;
pub mod identification;
pub mod indirect;
pub mod instructions;
pub mod interrupt_chains;
pub mod interrupt_s_el0;
pub mod interrupt_soak;
pub mod interrupt_storms;
pub mod interrupts;
pub mod lifecycle;
pub mod managed_exit;
pub mod memory;
pub mod notification;
pub mod power;
pub mod preemption;
pub mod queued;
pub mod registers;
pub mod run;
pub mod s_el0;
pub mod setup;
pub mod soak;
pub mod state;
pub mod stopped_chains;
pub mod subscriptions;
pub mod unserved;
pub mod v1_0;
pub mod version;
pub mod virtio;
pub mod yielding;

use crate::foreign;
use crate::nwd::Test;
use crate::sp::Command;

/// All tests of a Normal world that speaks FF-A 1.2, in the order in which they run.
pub const ALL: &[&[Test]] = &[
    version::TESTS,
    setup::TESTS,
    discovery::TESTS,
    version::LATER,
    features::TESTS,
    boot::TESTS,
    direct::TESTS,
    direct::ON_EACH_PE,
    direct_errors::TESTS,
    run::TESTS,
    memory::transfer::TESTS,
    memory::errors::TESTS,
    memory::retrieval::TESTS,
    memory::between::TESTS,
    memory::devices::TESTS,
    memory::sizes::TESTS,
    memory::fragments::TESTS,
    memory::race::TESTS,
    preemption::TESTS,
    notification::TESTS,
    interrupts::TESTS,
    memory::long_calls::TESTS,
    interrupts::VIRTUAL_TIMER,
    indirect::TESTS,
    console::TESTS,
    state::TESTS,
    extensions::TESTS,
    registers::TESTS,
    concurrency::TESTS,
    power::TESTS,
    memory::isolation::TESTS,
    memory::sizes::LARGE,
    instructions::TESTS,
    identification::TESTS,
];

/// The tests of a Normal world that speaks FF-A 1.0.
pub const NORMAL_WORLD_1_0: &[&[Test]] = &[
    v1_0::TESTS,
    memory::u_boot::TESTS,
    memory::sizes::TESTS,
    memory::fragments::TESTS,
    v1_0::LATER,
];

/// The tests for the layout in which sp2 speaks FF-A 1.0 and has much memory.
pub const MEMORY: &[&[Test]] = &[
    version::TESTS,
    setup::TESTS,
    memory::sizes::TESTS,
    memory::sizes::OF_PARTITIONS,
    memory::fragments::TESTS,
    memory::race::TESTS,
    memory::death::TESTS,
];

/// The tests for the layout whose SPMC manifest gives memory for tables.
pub const FAR_APART: &[&[Test]] = &[version::TESTS, setup::TESTS, memory::far::TESTS];

/// The tests for the layout in which sp1 has Non-secure interrupts queued.
pub const QUEUED: &[&[Test]] = &[version::TESTS, setup::TESTS, queued::TESTS];

/// The tests for the layout in which partitions have all actions for interrupts.
pub const INTERRUPTS: &[&[Test]] = &[
    version::TESTS,
    interrupt_soak::SETUP,
    interrupts::TESTS,
    interrupt_chains::TESTS,
    stopped_chains::TESTS,
    cpu_interface::TESTS,
    managed_exit::TESTS,
    interrupt_storms::TESTS,
    interrupt_chains::LAST,
];

/// The tests for the layout in which partitions at S-EL0 have interrupts.
pub const INTERRUPTS_S_EL0: &[&[Test]] = &[
    version::TESTS,
    interrupt_soak::SETUP,
    interrupt_s_el0::TESTS,
];

/// The soak of interrupts, for the same partitions.
pub const INTERRUPT_SOAK: &[&[Test]] =
    &[version::TESTS, interrupt_soak::SETUP, interrupt_soak::TESTS];

/// The tests for the layout with a third partition and with subscribers to framework messages.
pub const SCHEDULING: &[&[Test]] = &[
    version::TESTS,
    direct2::TESTS,
    yielding::TESTS,
    subscriptions::TESTS,
    lifecycle::TESTS,
];

/// The tests for a boot in which EL3 knows no entry point of PEs other than the first.
pub const FIRST_PE_ONLY: &[&[Test]] = &[
    version::TESTS,
    setup::TESTS,
    unserved::ALL_BUT_THE_FIRST,
    unserved::TESTS,
];

/// The tests for a boot with more PEs than the SPMC has room for.
pub const MANY_PES: &[&[Test]] = &[
    version::TESTS,
    setup::TESTS,
    unserved::MORE_THAN_FIT,
    unserved::TESTS,
];

/// The tests that do something on each PE, for an SPMC that has room for more than usual.
pub const EACH_PE: &[&[Test]] = &[
    version::TESTS,
    setup::TESTS,
    direct::ON_EACH_PE,
    concurrency::TESTS,
    power::TESTS,
];

/// The tests for a board with less memory than its manifest says.
pub const HOLE: &[&[Test]] = &[version::TESTS, setup::TESTS, hole::TESTS];

/// The tests for the layout whose partitions have the style of others.
pub const FOREIGN: &[&[Test]] = &[
    foreign::uefi::TESTS,
    foreign::linux::TESTS,
    foreign::tftf::TESTS,
    foreign::tee::TESTS,
    foreign::xen::TESTS,
];

/// The tests of who sees which system registers.
pub const REGISTERS: &[&[Test]] = &[
    version::TESTS,
    setup::TESTS,
    state::TESTS,
    registers::TESTS,
    identification::TESTS,
];

/// The tests that hold where EL3 lets EL2 set all traps.
pub const TRAPS: &[&[Test]] = &[
    version::TESTS,
    setup::TESTS,
    state::TESTS,
    registers::TESTS,
    instructions::TESTS,
    identification::TESTS,
];

/// The tests for the layout whose partitions serve a disk over virtio-msg.
pub const VIRTIO_MSG: &[&[Test]] = &[virtio::TESTS];

/// The soak, for a layout with eight partitions.
pub const SOAK: &[&[Test]] = &[soak::TESTS];

/// Hostile guests.
pub const HOSTILE: &[&[Test]] = &[hostile::TESTS];

/// The tests for the layout with partitions at S-EL0.
pub const S_EL0: &[&[Test]] = &[version::TESTS, registers::EL0_TESTS, s_el0::TESTS];

/// All helpers.
pub const HELPERS: &[&[Command]] = &[
    version::HELPERS,
    setup::HELPERS,
    discovery::HELPERS,
    features::HELPERS,
    boot::HELPERS,
    direct::HELPERS,
    direct_errors::HELPERS,
    indirect::HELPERS,
    console::HELPERS,
    run::HELPERS,
    preemption::HELPERS,
    notification::HELPERS,
    interrupts::HELPERS,
    interrupt_chains::HELPERS,
    stopped_chains::HELPERS,
    cpu_interface::HELPERS,
    interrupt_s_el0::HELPERS,
    interrupt_soak::HELPERS,
    interrupt_storms::HELPERS,
    managed_exit::HELPERS,
    s_el0::HELPERS,
    state::HELPERS,
    extensions::HELPERS,
    registers::HELPERS,
    concurrency::HELPERS,
    power::HELPERS,
    unserved::HELPERS,
    instructions::HELPERS,
    identification::HELPERS,
    direct2::HELPERS,
    yielding::HELPERS,
    subscriptions::HELPERS,
    lifecycle::HELPERS,
    memory::HELPERS,
    soak::HELPERS,
    hostile::HELPERS,
    memory::retrieval::HELPERS,
    memory::between::HELPERS,
    memory::devices::HELPERS,
    memory::sizes::HELPERS,
    memory::far::HELPERS,
    memory::fragments::HELPERS,
    memory::death::HELPERS,
    memory::race::HELPERS,
    crate::nwd::bench::HELPERS,
];
