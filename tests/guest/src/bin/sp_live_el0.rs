//! A partition at S-EL0 that is replaced while the system runs: FF-A 1.3, calls by SVC.

#![no_std]
#![no_main]

use guest::ffa::{SP3, V1_3};
use guest::rt::call::Conduit;
use guest::sp::Identity;

guest::s_el0_partition!(Identity {
    name: "live image 1",
    id: SP3,
    version: V1_3,
    conduit: Conduit::Svc,
    contexts: 1,
});
