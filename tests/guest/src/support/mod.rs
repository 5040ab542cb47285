//! Helpers that several files of tests use, with the code that runs inside partitions for them.

pub mod borrowing;
pub mod chains;
pub mod complement;
pub mod forbidden_instructions;
pub mod helper_call;
pub mod interrupt_counts;
pub mod interrupt_flood;
pub mod interrupt_handler;
pub mod partition_info;
pub mod reach;
pub mod regions;
pub mod s_el0_helpers;
pub mod secure_uart;
pub mod sharing;
pub mod spinning;
pub mod system_register;
pub mod virtual_interrupts;

#[path = "../../../cases/interrupt_chains.rs"]
pub(crate) mod chain_cases;
