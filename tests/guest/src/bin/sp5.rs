//! The fifth test partition of layouts with many partitions: one execution context, FF-A 1.2.

#![no_std]
#![no_main]

use guest::ffa::V1_2;
use guest::rt::call::Conduit;
use guest::sp::Identity;

guest::secure_partition!(Identity {
    name: "sp5",
    id: 0x8005,
    version: V1_2,
    conduit: Conduit::Smc,
    contexts: 1,
});
