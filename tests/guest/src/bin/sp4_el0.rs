//! The fourth test partition of a layout with interrupts: at S-EL0, FF-A 1.2, calls by SVC.

#![no_std]
#![no_main]

use guest::ffa::V1_2;
use guest::rt::call::Conduit;
use guest::sp::Identity;

guest::s_el0_partition!(Identity {
    name: "sp4",
    id: 0x8004,
    version: V1_2,
    conduit: Conduit::Svc,
    contexts: 1,
});
