//! A partition that spins on an unknown call while it initialises.

#![no_std]
#![no_main]

use guest as _;

guest::failing_partition!(Unknown);
