//! Sweeps of all system registers: no world or partition sees or changes what another one wrote. A
//! sweep goes over encodings instead of a list of registers, so that it finds registers that nobody
//! thought of.

use core::arch::asm;

use crate::ffa::{SP1, SP2, SP3};
use crate::nwd::{Nwd, Test, ask};
use crate::rt::check::{Check, Failure, equal, holds};
use crate::sp::{Command, Sp};
use crate::support::system_register::Register;
use crate::system_registers::Treatment;
use crate::{command, helper, test};

/// The tests of this file.
pub const TESTS: &[Test] = &[
    test!(
        registers_of_the_worlds,
        "No partition sees or changes a system register of the Normal world"
    ),
    test!(
        registers_of_partitions,
        "No partition sees a system register of another one"
    ),
    test!(
        registers_are_as_documented,
        "A partition reaches the system registers that docs/hardware.md lists, and no others"
    ),
];

/// The test for the layout with partitions at S-EL0.
pub const EL0_TESTS: &[Test] = &[
    test!(
        el0_has_its_own_key,
        "PACGA at S-EL0 uses a key of the partition, whoever was there before"
    ),
    test!(
        el0_has_no_control_stack,
        "A partition at S-EL0 calls functions while the Normal world has a control stack for EL0"
    ),
];

/// Code of the partitions.
pub const HELPERS: &[Command] = &[helper!(generic_code), helper!(generic_codes)];

// req: GEN-20, MSGW-23, RUN-20
fn registers_of_the_worlds(_: &Nwd) -> Check {
    let mut faults = 0_u64;
    for register in Register::all().filter(|register| register.is_free_at_el2()) {
        let Ok(before) = register.get() else { continue };
        // SAFETY: EL2 does not rely on it, and it is restored.
        if unsafe { register.set(register.pattern()) }.is_err() {
            continue;
        }
        let held = register.get().unwrap_or(before);
        if held != before {
            if register.get_in(SP1)? == Some(held) {
                register.says("is seen by sp1");
                faults += 1;
            }
            if register.is_free_at_el1() {
                let own = register.get_in(SP1)?;
                register.set_in(SP1, !register.pattern())?;
                if let Some(own) = own {
                    register.set_in(SP1, own)?;
                }
            }
            if register.get().ok() != Some(held) {
                register.says("is changed by sp1");
                faults += 1;
            }
        }
        // SAFETY: as it was.
        let _ = unsafe { register.set(before) };
    }
    equal(faults, 0u64)
}

// req: GEN-20, MSGW-23, RUN-20
fn registers_of_partitions(_: &Nwd) -> Check {
    let mut faults = 0_u64;
    for register in Register::all().filter(|register| register.is_free_at_el1()) {
        let Some(before) = register.get_in(SP1)? else {
            continue;
        };
        let other = register.get_in(SP2)?;
        let held = register.set_in(SP1, register.pattern())?;
        if held.is_some_and(|held| held != before) && register.get_in(SP2)? == held && held != other
        {
            register.says("of sp1 is seen by sp2");
            faults += 1;
        }
        register.set_in(SP1, before)?;
    }
    equal(faults, 0u64)
}

// req: GEN-20
fn registers_are_as_documented(_: &Nwd) -> Check {
    let mut faults = 0_u64;
    for register in Register::every() {
        let treatment = register.row().map(|row| row.treatment);
        // Reading some registers of the GIC acknowledges interrupts.
        if treatment == Some(Treatment::Interface) {
            continue;
        }
        let seen = register.get_in(SP1)?;
        let fault = match (treatment, seen) {
            (None, Some(_)) => Some("is reached by sp1 and not documented"),
            (Some(Treatment::Trapped), Some(_)) => Some("does not trap for sp1"),
            (Some(Treatment::Stray), Some(1..)) => Some("neither traps nor is zero for sp1"),
            _ => None,
        };
        if let Some(fault) = fault {
            register.says(fault);
            faults += 1;
        }
    }
    equal(faults, 0u64)
}

/// Returns PACGA of two words.
fn pacga() -> u64 {
    let code: u64;
    // SAFETY: computes a number.
    unsafe {
        asm!(".inst 0x9ac23020", in("x1") 0x1234_5678_u64, in("x2") 0x42_u64, lateout("x0") code,
            options(nomem, nostack));
    }
    code
}

/// Sets APGAKey.
fn set_key(key: u64) {
    // SAFETY: this image signs no pointers.
    unsafe {
        asm!("msr s3_0_c2_c3_0, {}", "msr s3_0_c2_c3_1, {}", "isb", in(reg) key, in(reg) !key,
            options(nostack));
    }
}

fn generic_code(_: &Sp, _: [u64; 4]) -> Check<[u64; 4]> {
    Ok([pacga(), 0, 0, 0])
}

/// Returns the codes of sp1 with a key, and of sp3, which sp1 asks.
fn generic_codes(sp: &Sp, [key, ..]: [u64; 4]) -> Check<[u64; 4]> {
    set_key(key);
    let own = pacga();
    let [other, ..] = sp.ask(SP3, command!(generic_code), [0; 4])?;
    equal(pacga(), own)?;
    Ok([own, other, 0, 0])
}

// req: GEN-20
fn el0_has_no_control_stack(_: &Nwd) -> Check {
    let features: u64;
    // SAFETY: reads an identification register.
    unsafe { asm!("mrs {}, id_aa64pfr1_el1", out(reg) features, options(nomem, nostack)) };
    if features >> 44 & 0xf == 0 {
        return Err(Failure::Skip("needs FEAT_GCS"));
    }
    let read = || {
        let [control, pointer];
        // SAFETY: reads GCSCRE0_EL1 and GCSPR_EL0.
        unsafe {
            asm!("mrs {}, s3_0_c2_c5_2", "mrs {}, s3_3_c2_c5_1", out(reg) control, out(reg) pointer,
                options(nostack));
        }
        [control, pointer]
    };
    let write = |[control, pointer]: [u64; 2]| {
        // SAFETY: nothing of this image runs at EL0.
        unsafe {
            asm!("msr s3_0_c2_c5_2, {}", "msr s3_3_c2_c5_1, {}", "isb", in(reg) control, in(reg) pointer,
                options(nostack));
        }
    };
    let before = read();
    // PCRSEL: calls push return addresses there, where nothing is mapped.
    write([1, 0x5a5a_5000]);
    let own = read();
    let answer = ask(SP3, command!(generic_code), [0; 4]);
    let after = read();
    write(before);
    answer?;
    for (after, own) in after.into_iter().zip(own) {
        equal(after, own)?;
    }
    Ok(())
}

// req: GEN-20
fn el0_has_its_own_key(_: &Nwd) -> Check {
    let [first, ..] = ask(SP3, command!(generic_code), [0; 4])?;
    for key in [0x1111_2222_3333_4444, 0x9999_8888_7777_6666] {
        set_key(key);
        let own = pacga();
        let [other, ..] = ask(SP3, command!(generic_code), [0; 4])?;
        equal(other, first)?;
        holds(other != own, other)?;
        equal(pacga(), own)?;

        let [own, other, ..] = ask(SP1, command!(generic_codes), [!key, 0, 0, 0])?;
        equal(other, first)?;
        holds(other != own, other)?;
    }
    Ok(())
}
