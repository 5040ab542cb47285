//! A partition in the style of EDK2's StandaloneMm.

#![no_std]
#![no_main]

use guest::ffa::V1_2;
use guest::foreign::{STMM, stmm};
use guest::rt::call::Conduit;
use guest::sp::Identity;

guest::s_el0_partition!(
    Identity {
        name: "stmm",
        id: STMM,
        version: V1_2,
        conduit: Conduit::Svc,
        contexts: 1,
    },
    stmm::main
);
