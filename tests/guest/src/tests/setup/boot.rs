//! The initialisation of partitions: entry state, boot information, and the calls that a partition
//! may make before it waits for messages (FF-A v1.0 section 3.5, v1.1 section 5).
//!
//! Partitions make these checks while they initialise; tests ask for the outcome later.

use core::arch::asm;
use core::sync::atomic::{AtomicU64, Ordering};

use crate::board::BL33;
use crate::ffa::error::{DENIED, INVALID_PARAMETERS, NOT_SUPPORTED};
use crate::ffa::{self, NWD, SP1, SP2, id, route};
use crate::nwd::{Nwd, Test, ask};
use crate::rt::check::{Check, Failure, equal, holds};
use crate::rt::exception_level;
use crate::sp::{self, Command, ENTRY, Identity, Sp};
use crate::{command, helper, test};

/// The tests of this file.
pub const TESTS: &[Test] = &[
    test!(
        boot_entry_state,
        "Partitions are entered at EL1 with the MMU off"
    ),
    test!(
        boot_information,
        "sp1 finds its manifest through the boot information"
    ),
    test!(
        boot_calls,
        "What a partition may do while it initialises, and what not"
    ),
    test!(
        boot_is_over,
        "Entry points can only be registered while a partition initialises"
    ),
];

/// Code of the partitions.
pub const HELPERS: &[Command] = &[
    helper!(entry_state),
    helper!(read_boot_information),
    helper!(initialisation),
    helper!(register_late),
];

static SYSTEM_CONTROL: AtomicU64 = AtomicU64::new(u64::MAX);
static MASKS: AtomicU64 = AtomicU64::new(0);

/// Line and value of a check that failed while the partition initialised.
static FAILED: [AtomicU64; 2] = [const { AtomicU64::new(0) }; 2];

/// Notes the state at entry, as the first act of the boot context.
pub fn look_at_entry() {
    let (control, masks): (u64, u64);
    // SAFETY: reads registers.
    unsafe {
        asm!("mrs {}, sctlr_el1", "mrs {}, daif", out(reg) control, out(reg) masks, options(nostack))
    };
    SYSTEM_CONTROL.store(control, Ordering::Relaxed);
    MASKS.store(masks, Ordering::Relaxed);
}

/// Checks boot information and calls, when the boot context has set everything up and before it
/// waits.
pub fn during_initialisation(identity: &Identity) {
    let failure = match try_calls(identity) {
        Ok(()) => return,
        Err(failure) => failure,
    };
    if let Failure::Check { at, got, .. } = failure {
        FAILED[0].store(at.line() as u64, Ordering::Relaxed);
        FAILED[1].store(got, Ordering::Relaxed);
    }
}

/// Tries calls against the run-time model of initialisation (FF-A v1.1 section 8).
fn try_calls(identity: &Identity) -> Check {
    let me = identity.id;
    ffa::refused(&ffa::call(id::DIRECT_RESP_64, &[route(me, NWD)]), DENIED)?;
    ffa::refused(&ffa::call(id::RUN, &[(SP1 as u64) << 16]), DENIED)?;
    ffa::results(
        &ffa::call(id::SPM_ID_GET, &[]),
        [ffa::SPMC as u64, 0, 0, 0, 0, 0],
    )?;
    ffa::succeeded(&ffa::call(id::FEATURES, &[id::RXTX_MAP_64 as u64]))?;

    // sp1 boots before sp2.
    let other = if me == SP1 { SP2 } else { SP1 };
    let answer = ffa::call(
        id::DIRECT_REQ_64,
        &[route(me, other), 0, command!(entry_state) as u64],
    );
    if me == SP1 {
        equal(answer[0], id::ERROR)?;
    } else {
        equal(answer[0], id::DIRECT_RESP_64)?;
        equal(answer[3], 0u64)?;
    }

    if identity.contexts > 1 {
        let register = |entry| ffa::call(id::SECONDARY_EP_REGISTER, &[entry]);
        for outside in [
            0,
            sp::memory_start() - 0x1000,
            sp::memory_start() + (1 << 20),
            BL33,
        ] {
            ffa::refused(&register(outside), INVALID_PARAMETERS)?;
        }
    } else {
        let answer = ffa::call(id::SECONDARY_EP_REGISTER, &[sp::memory_start()]);
        ffa::refused(&answer, NOT_SUPPORTED)?;
    }
    Ok(())
}

// req: BOOT-01, BOOT-03, BOOT-05, BOOT-09, BOOT-10, GEN-02, GEN-18
fn boot_entry_state(_: &Nwd) -> Check {
    for partition in [SP1, SP2] {
        ask(partition, command!(entry_state), [0; 4])?;
    }
    Ok(())
}

fn entry_state(_: &Sp, _: [u64; 4]) -> Check<[u64; 4]> {
    const MMU: u64 = 1;
    equal(exception_level(), 1u64)?;
    equal(SYSTEM_CONTROL.load(Ordering::Relaxed) & MMU, 0u64)?;
    // D, A, I and F are masked.
    equal(MASKS.load(Ordering::Relaxed), 0x3c0u64)?;
    // x4 is the index of the boot PE, which is 0. FF-A promises nothing about the other registers,
    // and the SPMC must leak nothing in them.
    for register in &ENTRY[1..] {
        equal(register.load(Ordering::Relaxed), 0u64)?;
    }
    Ok([0; 4])
}

// req: BOOT-06, BOOT-07, BOOT-08, BOOT-12, BOOT-13, BOOT-14, BOOT-15, MAN-40
fn boot_information(_: &Nwd) -> Check {
    ask(SP1, command!(read_boot_information), [0; 4])?;
    Ok(())
}

fn read_boot_information(_: &Sp, _: [u64; 4]) -> Check<[u64; 4]> {
    const SIGNATURE: u32 = 0x0ffa;
    const DESCRIPTOR: u32 = 32;
    const FDT: u32 = 0;
    const FDT_MAGIC: u32 = 0xd00d_feed;

    let start = sp::memory_start();
    let base = ENTRY[0].load(Ordering::Relaxed);
    // The manifest says that boot information is in the pages in front of the image.
    holds(
        base >= start && base < start + 0x4000 && base.is_multiple_of(0x1000),
        base,
    )?;
    let word = |address: u64| {
        assert!(address >= start && address < start + 0x4000 && address.is_multiple_of(4));
        // SAFETY: memory of this partition, mapped, aligned.
        unsafe { (address as *const u32).read_volatile() }
    };
    equal(word(base), SIGNATURE)?;
    holds(
        word(base + 4) == ffa::V1_1 || word(base + 4) == ffa::V1_2,
        word(base + 4),
    )?;
    let size = word(base + 8);
    equal(word(base + 12), DESCRIPTOR)?;
    equal(word(base + 16), 1u32)?;
    let array = word(base + 20);
    holds(
        array >= 32 && array.is_multiple_of(8) && array + DESCRIPTOR <= size,
        array,
    )?;
    equal(word(base + 24) | word(base + 28), 0u32)?;

    let descriptor = base + array as u64;
    let type_and_flags = word(descriptor + 16);
    equal(type_and_flags & 0xff, FDT)?;
    equal(type_and_flags >> 8 & 0xff, 0u32)?;
    // The name is a string, the contents are an address.
    equal(type_and_flags >> 16, 0u32)?;
    let length = word(descriptor + 20);
    let manifest = word(descriptor + 24) as u64 | (word(descriptor + 28) as u64) << 32;
    holds(
        manifest >= start && manifest + length as u64 <= start + 0x4000,
        manifest,
    )?;
    equal(u32::from_be(word(manifest)), FDT_MAGIC)?;
    holds(u32::from_be(word(manifest + 4)) <= length, length)?;
    Ok([0; 4])
}

// req: BOOT-18, BOOT-17, MSGW-08, COMP-18
fn boot_calls(_: &Nwd) -> Check {
    for partition in [SP1, SP2] {
        ask(partition, command!(initialisation), [0; 4])?;
    }
    Ok(())
}

/// Fails if a check failed during initialisation: `got` is the line of that check, `want` its
/// value.
fn initialisation(_: &Sp, _: [u64; 4]) -> Check<[u64; 4]> {
    let [line, value] = [0, 1].map(|n| FAILED[n].load(Ordering::Relaxed));
    if line == 0 {
        Ok([0; 4])
    } else {
        equal(line, value).map(|()| [0; 4])
    }
}

// req: BOOT-17, BOOT-18
fn boot_is_over(_: &Nwd) -> Check {
    for partition in [SP1, SP2] {
        ask(partition, command!(register_late), [0; 4])?;
    }
    Ok(())
}

fn register_late(sp: &Sp, _: [u64; 4]) -> Check<[u64; 4]> {
    let answer = ffa::call(id::SECONDARY_EP_REGISTER, &[sp::memory_start() + 0x4000]);
    let code = if sp.identity.contexts > 1 {
        DENIED
    } else {
        NOT_SUPPORTED
    };
    ffa::refused(&answer, code)?;
    Ok([0; 4])
}
