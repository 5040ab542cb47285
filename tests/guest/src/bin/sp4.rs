//! The fourth test partition of layouts with many partitions: an execution context for each PE,
//! FF-A 1.2.

#![no_std]
#![no_main]

use guest::ffa::V1_2;
use guest::rt::call::Conduit;
use guest::sp::Identity;

guest::secure_partition!(Identity {
    name: "sp4",
    id: 0x8004,
    version: V1_2,
    conduit: Conduit::Hvc,
    contexts: 8,
});
