//! A partition that is replaced while the system runs, without a state that it hands over: one
//! execution context, FF-A 1.3, calls by SMC.

#![no_std]
#![no_main]

use guest::ffa::{SP4, V1_3};
use guest::rt::call::Conduit;
use guest::sp::Identity;

guest::secure_partition!(Identity {
    name: "stateless image 1",
    id: SP4,
    version: V1_3,
    conduit: Conduit::Smc,
    contexts: 1,
});
