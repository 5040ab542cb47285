//! A partition at S-EL0 that makes accesses that it may not make, when a request tells it to.

#![no_std]
#![no_main]

use guest as _;

guest::s_el0_victim!();
