//! The first test partition: one execution context, FF-A 1.2, calls by HVC.

#![no_std]
#![no_main]

use guest::ffa::{SP1, V1_2};
use guest::rt::call::Conduit;
use guest::sp::Identity;

guest::secure_partition!(Identity {
    name: "sp1",
    id: SP1,
    version: V1_2,
    conduit: Conduit::Hvc,
    contexts: 1,
});
