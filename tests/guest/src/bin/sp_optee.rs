//! A partition in the style of OP-TEE.

#![no_std]
#![no_main]

use guest::ffa::V1_2;
use guest::foreign::{OPTEE, optee};
use guest::rt::call::Conduit;
use guest::sp::Identity;

guest::foreign_partition!(
    Identity {
        name: "optee",
        id: OPTEE,
        version: V1_2,
        conduit: Conduit::Hvc,
        contexts: 8,
    },
    optee::main
);
