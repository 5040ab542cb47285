//! A third test partition that starts anew when it fails: one execution context, FF-A 1.3, calls by
//! SMC.

#![no_std]
#![no_main]

use guest::ffa::{SP3, V1_3};
use guest::rt::call::Conduit;
use guest::sp::Identity;

guest::secure_partition!(Identity {
    name: "sp3",
    id: SP3,
    version: V1_3,
    conduit: Conduit::Smc,
    contexts: 1,
});
