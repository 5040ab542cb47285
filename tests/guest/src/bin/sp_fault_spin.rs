//! A partition whose initialisation never ends.

#![no_std]
#![no_main]

use guest as _;

guest::failing_partition!(Spin);
