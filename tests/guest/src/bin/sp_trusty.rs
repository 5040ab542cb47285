//! A partition in the style of Trusty.

#![no_std]
#![no_main]

use guest::ffa::V1_1;
use guest::foreign::{TRUSTY, trusty};
use guest::rt::call::Conduit;
use guest::sp::Identity;

guest::foreign_partition!(
    Identity {
        name: "trusty",
        id: TRUSTY,
        version: V1_1,
        conduit: Conduit::Smc,
        contexts: 1,
    },
    trusty::main
);
