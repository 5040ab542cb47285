//! Interrupts: Secure ones of partitions, virtual ones, and Non-secure ones by action.

pub mod actions_and_states;
pub mod cpu_interface;
pub mod interrupt_soak;
pub mod managed_exit;
pub mod owners_at_s_el0;
pub mod queued;
pub mod secure;
pub mod stopped_chains;
pub mod storms;
