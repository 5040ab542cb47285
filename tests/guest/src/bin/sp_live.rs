//! A partition that is replaced while the system runs: one execution context, FF-A 1.3,
//! calls by SMC.

#![no_std]
#![no_main]

use guest::ffa::{SP3, V1_3};
use guest::rt::call::Conduit;
use guest::sp::Identity;

guest::secure_partition!(Identity {
    name: "live image 1",
    id: SP3,
    version: V1_3,
    conduit: Conduit::Smc,
    contexts: 1,
});
