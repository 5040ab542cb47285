//! Scenarios: the Normal world and scripted partitions against the whole engine, area by area as the requirements are.

mod boot;
mod chains;
mod console;
mod direct;
mod direct2;
mod discovery;
mod features;
mod fragments;
mod general;
mod indirect;
mod interrupts;
mod lifecycle;
mod memory;
mod memory_limits;
mod notification;
mod oracle;
mod power;
mod retrieve_refused;
mod run;
mod rxtx;
mod s_el0;
mod send_refused;
mod stage;
mod streams;
mod version;
mod yielding;
