//! A partition that reports an error while it initialises.

#![no_std]
#![no_main]

use guest as _;

guest::failing_partition!(Error);
