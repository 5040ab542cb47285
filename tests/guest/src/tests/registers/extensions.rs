//! The state of optional extensions must survive: the Normal world's SVE registers, which
//! partitions cannot use but whose low parts are the FP registers that partitions use, and
//! everybody's pointer authentication keys.

use core::arch::asm;

use crate::ffa::{SP1, SP2};
use crate::nwd::{Nwd, Test, ask, pe};
use crate::rt::check::{Check, Failure, equal, holds};
use crate::rt::fp;
use crate::rt::sve::{self, Longest};
use crate::sp::{Command, MAX_CONTEXTS, Sp};
use crate::{command, helper, test};

/// The tests of this file.
pub const TESTS: &[Test] = &[
    test!(
        sve_survives_messages,
        "SVE registers of the Normal world survive messages to partitions that use FP, on each PE"
    ),
    test!(
        keys_survive_messages,
        "Pointer authentication keys of the Normal world and of each partition survive messages"
    ),
];

/// Code of the partitions.
pub const HELPERS: &[Command] = &[
    helper!(use_vectors),
    helper!(write_keys),
    helper!(check_keys),
];

// req: GEN-20, MSGW-23, RUN-20
fn sve_survives_messages(nwd: &Nwd) -> Check {
    if !sve::is_there() {
        return Err(Failure::Skip("needs FEAT_SVE"));
    }
    for pe in 0..nwd.pes {
        pe::run_on(pe, sve_survives_here, [pe as u64, 0, 0, 0])?;
    }
    Ok(())
}

fn sve_survives_here([pe, ..]: [u64; 4]) -> Check<[u64; 4]> {
    let bytes = sve::enable_el2(16);
    for round in 0..2 {
        for partition in [SP1, SP2] {
            let own = Longest::pattern(bytes, (pe << 4 | round << 1) as u8 | 1);
            own.load(bytes);
            let seed = pe << 32 | round << 16 | partition as u64;
            ask(partition, command!(use_vectors), [seed, 0, 0, 0])?;
            holds(Longest::store(bytes) == own, bytes as u64)?;
        }
    }
    Ok([0; 4])
}

/// Checks that the values of the last request of this kind are still there, and nothing of the
/// Normal world.
fn use_vectors(sp: &Sp, [seed, ..]: [u64; 4]) -> Check<[u64; 4]> {
    static LEFT: [core::sync::atomic::AtomicU64; MAX_CONTEXTS] =
        [const { core::sync::atomic::AtomicU64::new(0) }; MAX_CONTEXTS];
    let left = LEFT[sp.vcpu].swap(seed + 1, core::sync::atomic::Ordering::Relaxed);
    if left != 0 {
        holds(fp::store() == fp::pattern(left - 1), left)?;
    }
    fp::load(&fp::pattern(seed));
    Ok([0; 4])
}

/// Returns whether the PE has FEAT_PAuth.
fn has_keys() -> bool {
    let features: u64;
    // SAFETY: reads an identification register.
    unsafe { asm!("mrs {}, id_aa64isar1_el1", out(reg) features, options(nomem, nostack)) };
    features & 0xff0 != 0
}

/// Returns APIAKey, APDBKey and APGAKey, by halves.
fn keys() -> [u64; 6] {
    let [a, b, c, d, e, f];
    // SAFETY: reading has no effect.
    unsafe {
        asm!(
            "mrs {}, s3_0_c2_c1_0", "mrs {}, s3_0_c2_c1_1",
            "mrs {}, s3_0_c2_c2_2", "mrs {}, s3_0_c2_c2_3",
            "mrs {}, s3_0_c2_c3_0", "mrs {}, s3_0_c2_c3_1",
            out(reg) a, out(reg) b, out(reg) c, out(reg) d, out(reg) e, out(reg) f,
            options(nostack)
        );
    }
    [a, b, c, d, e, f]
}

fn set_keys([a, b, c, d, e, f]: [u64; 6]) {
    // SAFETY: this image signs no pointers.
    unsafe {
        asm!(
            "msr s3_0_c2_c1_0, {}", "msr s3_0_c2_c1_1, {}",
            "msr s3_0_c2_c2_2, {}", "msr s3_0_c2_c2_3, {}",
            "msr s3_0_c2_c3_0, {}", "msr s3_0_c2_c3_1, {}",
            in(reg) a, in(reg) b, in(reg) c, in(reg) d, in(reg) e, in(reg) f,
            options(nostack)
        );
    }
}

fn keys_of(seed: u64) -> [u64; 6] {
    core::array::from_fn(|n| !seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ n as u64)
}

#[track_caller]
fn keys_are(seed: u64) -> Check {
    for (got, want) in keys().into_iter().zip(keys_of(seed)) {
        equal(got, want)?;
    }
    Ok(())
}

// req: GEN-20, MSGW-23, RUN-20
fn keys_survive_messages(_: &Nwd) -> Check {
    if !has_keys() {
        return Err(Failure::Skip("needs FEAT_PAuth"));
    }
    set_keys(keys_of(1));
    for round in 1..3 {
        for command in [command!(write_keys), command!(check_keys)] {
            for partition in [SP1, SP2] {
                let seed = round << 16 | partition as u64;
                ask(partition, command, [seed, 0, 0, 0])?;
                keys_are(1)?;
            }
        }
    }
    Ok(())
}

fn write_keys(_: &Sp, [seed, ..]: [u64; 4]) -> Check<[u64; 4]> {
    set_keys(keys_of(seed));
    Ok([0; 4])
}

fn check_keys(_: &Sp, [seed, ..]: [u64; 4]) -> Check<[u64; 4]> {
    keys_are(seed)?;
    Ok([0; 4])
}
