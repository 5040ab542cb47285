//! Attempts to reach memory of others. Each ends in an abort in the image that tries, and
//! everything goes on.

use crate::board::{
    BL33, CLOCK, EL3, GICD, GICR, IMAGE_OFFSET, NORMAL_UART, RAM, SELECTION, SPMC, package,
};
use crate::ffa::{SP1, SP2};
use crate::nwd::{Nwd, Test, page, poke};
use crate::rt::check::{Check, fail, holds};
use crate::rt::probe;
use crate::support::reach::{ABORT, Space, Try, reaches};
use crate::{println, test};

/// The tests of this file.
pub const TESTS: &[Test] = &[
    test!(
        partitions_reach_no_secure_memory,
        "Partitions reach neither each other, nor the SPMC, nor EL3"
    ),
    test!(
        partitions_reach_no_normal_memory,
        "Partitions do not reach Normal-world memory that nobody shared"
    ),
    test!(
        partitions_reach_no_devices,
        "Partitions do not reach devices that are not theirs"
    ),
    test!(
        normal_world_reaches_no_secure_memory,
        "The Normal world does not reach the partitions, the SPMC or EL3"
    ),
];

const TRIES: [Try; 3] = [Try::Read, Try::Write(0xdead), Try::Execute];

/// Lets `partition` try everything on `address`, as Secure and as Non-secure memory.
fn cannot_reach(partition: u16, address: u64, whose: &str) -> Check {
    for what in TRIES {
        for space in [Space::Secure, Space::NonSecure] {
            reaches(partition, address, space, what, ABORT)?;
        }
    }
    println!("# {partition:#x} cannot read, write or execute {whose} at {address:#x}");
    Ok(())
}

// req: GEN-01, GEN-03, MEMO-01, MEMO-03, MEMO-08, GEN-13
fn partitions_reach_no_secure_memory(_: &Nwd) -> Check {
    for address in [package(0), package(0) + IMAGE_OFFSET, package(1) - 0x1000] {
        cannot_reach(SP2, address, "the memory of sp1")?;
    }
    for address in [package(1), package(1) + IMAGE_OFFSET, package(2) - 0x1000] {
        cannot_reach(SP1, address, "the memory of sp2")?;
    }
    for partition in [SP1, SP2] {
        for address in [SPMC, SPMC + 0x1000, SPMC + 0xf_f000, package(0) - 0x1000] {
            cannot_reach(partition, address, "the SPMC")?;
        }
        for address in EL3 {
            cannot_reach(partition, address, "EL3 memory")?;
        }
        cannot_reach(partition, package(2), "secure memory that is nobody's")?;
        cannot_reach(partition, 0, "the boot flash")?;
    }
    Ok(())
}

// req: GEN-03, GEN-04, GEN-13, MEMO-03, MEMO-07
fn partitions_reach_no_normal_memory(_: &Nwd) -> Check {
    poke(page(60), 0x600d);
    for partition in [SP1, SP2] {
        for address in [page(60), RAM, BL33, SELECTION] {
            cannot_reach(partition, address, "Normal-world memory")?;
        }
    }
    holds(
        crate::nwd::peek(page(60)) == 0x600d,
        crate::nwd::peek(page(60)),
    )
}

// req: GEN-03, GEN-24
fn partitions_reach_no_devices(_: &Nwd) -> Check {
    for partition in [SP1, SP2] {
        for (address, whose) in [
            (NORMAL_UART, "the UART of the Normal world"),
            (GICD, "the GIC distributor"),
            (GICR, "the GIC redistributors"),
            (CLOCK, "the clock"),
        ] {
            cannot_reach(partition, address, whose)?;
        }
    }
    Ok(())
}

// req: GEN-01, MEMO-03, GEN-13
fn normal_world_reaches_no_secure_memory(_: &Nwd) -> Check {
    for (address, whose) in [
        (package(0), "sp1"),
        (package(0) + IMAGE_OFFSET, "sp1"),
        (package(1) + IMAGE_OFFSET, "sp2"),
        (SPMC, "the SPMC"),
        (EL3[2], "EL3"),
    ] {
        if let Ok(value) = probe::read(address) {
            return fail(value);
        }
        // SAFETY: nothing of this image lies there.
        if unsafe { probe::write(address, 0xdead) }.is_ok() {
            return fail(address);
        }
        println!("# the Normal world cannot read or write {whose} at {address:#x}");
    }
    Ok(())
}
