//! A partition that serves a disk over virtio-msg, by direct messages.

#![no_std]
#![no_main]

use guest::ffa::{SP1, V1_2};
use guest::rt::call::Conduit;
use guest::sp::Identity;

guest::secure_partition!(
    Identity {
        name: "disk-direct",
        id: SP1,
        version: V1_2,
        conduit: Conduit::Hvc,
        contexts: 1,
    },
    guest::virtio::device::serve_direct
);
