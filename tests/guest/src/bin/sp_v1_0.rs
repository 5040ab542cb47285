//! The second test partition at FF-A 1.0: an execution context for each PE, calls by SMC.

#![no_std]
#![no_main]

use guest::ffa::{SP2, V1_0};
use guest::rt::call::Conduit;
use guest::sp::Identity;

guest::secure_partition!(Identity {
    name: "sp2",
    id: SP2,
    version: V1_0,
    conduit: Conduit::Smc,
    contexts: 8,
});
