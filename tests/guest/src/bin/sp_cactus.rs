//! A partition in the style of TF-A's test partitions.

#![no_std]
#![no_main]

use guest::ffa::V1_2;
use guest::foreign::{CACTUS, cactus};
use guest::rt::call::Conduit;
use guest::sp::Identity;

guest::foreign_partition!(
    Identity {
        name: "cactus",
        id: CACTUS,
        version: V1_2,
        conduit: Conduit::Smc,
        contexts: 8,
    },
    cactus::main
);
