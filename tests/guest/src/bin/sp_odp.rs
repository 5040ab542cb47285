//! A partition in the style of the Open Device Partnership.

#![no_std]
#![no_main]

use guest::ffa::V1_2;
use guest::foreign::{ODP, odp};
use guest::rt::call::Conduit;
use guest::sp::Identity;

guest::foreign_partition!(
    Identity {
        name: "odp",
        id: ODP,
        version: V1_2,
        conduit: Conduit::Smc,
        contexts: 1,
    },
    odp::main
);
