//! A partition at S-EL0 that tries what it may not, when it is told to.

#![no_std]
#![no_main]

use guest as _;

guest::s_el0_victim!();
