//! A hostile partition for demos, which interrupts, attacks, dies and starts anew.

#![no_std]
#![no_main]

use guest::ffa::{SP3, V1_2};
use guest::rt::call::Conduit;
use guest::sp::Identity;

guest::secure_partition!(
    Identity {
        name: "fire",
        id: SP3,
        version: V1_2,
        conduit: Conduit::Smc,
        contexts: 1,
    },
    guest::tests::hostile::fire::burn
);
