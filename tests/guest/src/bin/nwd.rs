//! The Normal-world test OS (BL33).

#![no_std]
#![no_main]

guest::normal_world!();
