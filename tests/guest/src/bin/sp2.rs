//! The second test partition: an execution context for each PE, FF-A 1.1, calls by SMC.

#![no_std]
#![no_main]

use guest::ffa::{SP2, V1_1};
use guest::rt::call::Conduit;
use guest::sp::Identity;

guest::secure_partition!(Identity {
    name: "sp2",
    id: SP2,
    version: V1_1,
    conduit: Conduit::Smc,
    contexts: 8,
});
