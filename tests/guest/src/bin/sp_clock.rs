//! A partition with a clock, for demos: interrupts and messages beside real systems.

#![no_std]
#![no_main]

use guest::ffa::V1_2;
use guest::rt::call::Conduit;
use guest::sp::Identity;

guest::secure_partition!(
    Identity {
        name: "clock",
        id: 0x8004,
        version: V1_2,
        conduit: Conduit::Smc,
        contexts: 1,
    },
    guest::sp::clock::serve
);
