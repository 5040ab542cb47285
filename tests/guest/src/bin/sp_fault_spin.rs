//! A partition that never comes back while it initialises.

#![no_std]
#![no_main]

use guest as _;

guest::failing_partition!(Spin);
