//! SVE of partitions: each has vectors as long as its manifest says, and nobody sees or changes
//! those of another. Only for the layout `sve`: sp1 (one context) and sp4 (S-EL0) have 256 bits,
//! sp2 (a context for each PE) 128, sp3 (restarted when it fails) 512, and sp5 has no SVE.

use core::arch::asm;

use crate::ffa::error::ABORTED;
use crate::ffa::{self, NWD, SP1, SP2, SP3, SP4, SP5, id, route};
use crate::nwd::{Nwd, Test, ask, pe};
use crate::rt::call::call;
use crate::rt::check::{Check, Failure, equal, holds};
use crate::rt::stage1::{self, Attributes};
use crate::rt::sve::{self, Longest, Scalable, Streaming};
use crate::rt::{PATIENCE_MS, exception_level, fp, probe, wait_until};
use crate::sp::{Command, Sp};
use crate::support::forbidden_instructions::{FORBIDDEN, close_at_el1, is_undefined, open_at_el1};
use crate::support::helper_call::request;
use crate::support::spinning::{GO, SPINNING, is_busy, preempt, resume, with_flag};
use crate::{command, helper, test};

/// The tests of this file.
pub const TESTS: &[Test] = &[
    test!(
        sve_is_as_promised,
        "Each partition has SVE with the vector length of its manifest, or none"
    ),
    test!(
        sme_is_undefined,
        "SME is undefined, with SVE and without, and identification registers do not show it"
    ),
    test!(
        sve_survives_everybody,
        "SVE registers of the Normal world and of each partition survive each other, on each PE"
    ),
    test!(
        streaming_mode_stays_outside,
        "Partitions use SVE and FP while the Normal world is in streaming mode, on each PE"
    ),
    test!(
        sve_survives_a_chain,
        "SVE registers of sp1 and sp2 survive the messages between them"
    ),
    test!(
        sve_survives_preemption,
        "SVE registers survive when an interrupt stops a partition"
    ),
    test!(
        sve_moves,
        "A preempted sp1 goes on on another PE with its SVE registers",
        pes = 2
    ),
    test!(
        sve_begins_anew,
        "sp3 finds all SVE registers zero when it is restarted"
    ),
];

/// Code of the partitions.
pub const HELPERS: &[Command] = &[
    helper!(describe),
    helper!(limit_to),
    helper!(load),
    helper!(check),
    helper!(check_other),
    helper!(use_fp),
    helper!(spin),
    helper!(give_up),
    helper!(is_new),
    helper!(try_sve),
    helper!(try_sme),
];

/// The registers of a partition: no partition of the layout has longer vectors than 512 bits.
type Registers = Scalable<4>;

/// Partitions with SVE and the bytes of their vectors.
const PARTITIONS: [(u16, u64); 4] = [(SP1, 32), (SP2, 16), (SP3, 64), (SP4, 32)];

/// The names of the instructions of SVE in [`FORBIDDEN`].
const OF_SVE: [&str; 4] = ["rdvl", "ptrue_p0", "read_zcr_el1", "write_zcr_el1"];

/// The names of the instructions of SME in [`FORBIDDEN`].
const OF_SME: [&str; 5] = [
    "smstart_sm",
    "smstart_za",
    "rdsvl",
    "read_svcr",
    "read_smcr_el1",
];

fn needs_sve() -> Check {
    if sve::is_there() {
        Ok(())
    } else {
        Err(Failure::Skip("needs FEAT_SVE"))
    }
}

/// Makes all of the vectors of this partition accessible.
fn open() -> usize {
    if exception_level() == 1 {
        sve::enable_el1();
        sve::set_limit(0xf);
    }
    sve::bytes()
}

/// Returns ID_AA64ZFR0_EL1.
fn features() -> u64 {
    let features;
    // SAFETY: reads an identification register.
    unsafe { asm!("mrs {}, s3_0_c0_c4_4", out(reg) features, options(nomem, nostack)) };
    features
}

/// Returns the length of the vectors, and whether the identification registers show SVE.
fn describe(_: &Sp, _: [u64; 4]) -> Check<[u64; 4]> {
    let bytes = open() as u64;
    let shown = exception_level() == 0 || sve::is_there() && features() & 0xf != 0;
    Ok([bytes, shown.into(), 0, 0])
}

/// Chooses a shorter length, and returns what the last request of this kind chose.
fn limit_to(_: &Sp, [limit, ..]: [u64; 4]) -> Check<[u64; 4]> {
    let before = sve::limit();
    sve::set_limit(limit);
    equal(sve::bytes() as u64, 16 * (limit + 1))?;
    Ok([before, 0, 0, 0])
}

fn load(_: &Sp, [seed, ..]: [u64; 4]) -> Check<[u64; 4]> {
    let bytes = open();
    Registers::pattern(bytes, seed as u8).load(bytes);
    Ok([0; 4])
}

fn check(_: &Sp, [seed, ..]: [u64; 4]) -> Check<[u64; 4]> {
    keeps(seed)?;
    Ok([0; 4])
}

/// Fails unless the registers have the pattern of `seed`.
fn keeps(seed: u64) -> Check {
    let bytes = sve::bytes();
    let is_kept = Registers::store(bytes) == Registers::pattern(bytes, seed as u8);
    holds(is_kept, seed)
}

/// Lets another partition load other values between a load and a check.
fn check_other(sp: &Sp, [other, seed, ..]: [u64; 4]) -> Check<[u64; 4]> {
    load(sp, [seed, 0, 0, 0])?;
    sp.ask(other as u16, command!(load), [!seed, 0, 0, 0])?;
    keeps(seed)?;
    sp.ask(other as u16, command!(check), [!seed, 0, 0, 0])?;
    keeps(seed)?;
    Ok([0; 4])
}

/// Keeps the PE, with values in all registers, until the Normal world writes to the page that it
/// shared.
fn spin(_: &Sp, [address, seed, ..]: [u64; 4]) -> Check<[u64; 4]> {
    let bytes = open();
    stage1::map(address, Attributes::NonSecure);
    Registers::pattern(bytes, seed as u8).load(bytes);
    // SAFETY: the page that the Normal world shared for this.
    let begun = unsafe { probe::write(address, SPINNING as u32) };
    let told = wait_until(PATIENCE_MS, || probe::read(address) == Ok(GO as u32));
    keeps(seed)?;
    stage1::unmap(address);
    holds(begun.is_ok() && told, told)?;
    Ok([!seed, 0, 0, 0])
}

fn give_up(_: &Sp, _: [u64; 4]) -> Check<[u64; 4]> {
    let answer = ffa::call(id::ABORT_32, &[]);
    equal(answer[0], 0u64)?;
    Ok([0; 4])
}

/// Returns how many of the instructions with these names are undefined.
fn undefined(names: &[&str]) -> u64 {
    let before = open_at_el1();
    let named = FORBIDDEN.iter().filter(|(name, _)| names.contains(name));
    let undefined = named.filter(|(_, instruction)| is_undefined(*instruction));
    let count = undefined.count() as u64;
    close_at_el1(before);
    count
}

/// Returns how many instructions of SVE are undefined.
fn try_sve(_: &Sp, _: [u64; 4]) -> Check<[u64; 4]> {
    let count = undefined(&OF_SVE);
    holds(!sve::is_there() && features() == 0, count)?;
    Ok([count, 0, 0, 0])
}

/// Returns how many instructions of SME are undefined.
fn try_sme(_: &Sp, _: [u64; 4]) -> Check<[u64; 4]> {
    let features: u64;
    // SAFETY: reads an identification register.
    unsafe { asm!("mrs {}, id_aa64pfr1_el1", out(reg) features, options(nomem, nostack)) };
    equal(features >> 24 & 0xf, 0u64)?;
    Ok([undefined(&OF_SME), 0, 0, 0])
}

// req: BOOT-03
fn sme_is_undefined(_: &Nwd) -> Check {
    for partition in [SP1, SP2, SP5] {
        let [undefined, ..] = ask(partition, command!(try_sme), [0; 4])?;
        equal(undefined, OF_SME.len() as u64)?;
    }
    Ok(())
}

// req: BOOT-03
fn sve_is_as_promised(_: &Nwd) -> Check {
    needs_sve()?;
    for (partition, bytes) in PARTITIONS {
        let [got, shown, ..] = ask(partition, command!(describe), [0; 4])?;
        equal(got, bytes)?;
        equal(shown, 1u64)?;
    }
    let [undefined, ..] = ask(SP5, command!(try_sve), [0; 4])?;
    equal(undefined, OF_SVE.len() as u64)?;
    // Each partition has a limit of its own, and the Normal world, too.
    sve::enable_el2(16);
    sve::set_limit(9);
    ask(SP1, command!(limit_to), [1, 0, 0, 0])?;
    ask(SP3, command!(limit_to), [3, 0, 0, 0])?;
    equal(ask(SP1, command!(limit_to), [0, 0, 0, 0])?[0], 1u64)?;
    equal(ask(SP3, command!(limit_to), [3, 0, 0, 0])?[0], 3u64)?;
    equal(ask(SP1, command!(limit_to), [1, 0, 0, 0])?[0], 0u64)?;
    equal(sve::limit(), 9u64)
}

// req: GEN-20, MSGW-23, RUN-20
fn sve_survives_everybody(nwd: &Nwd) -> Check {
    needs_sve()?;
    for pe in 0..nwd.pes {
        for quadwords in [16, 4, 1] {
            pe::run_on(pe, survives_here, [pe as u64, quadwords, 0, 0])?;
        }
    }
    Ok(())
}

/// Lets all partitions load values, with vectors of the Normal world of that length, and then check
/// them.
fn survives_here([pe, quadwords, ..]: [u64; 4]) -> Check<[u64; 4]> {
    let bytes = sve::enable_el2(quadwords);
    let own = Longest::pattern(bytes, (pe << 4 | quadwords) as u8);
    own.load(bytes);
    for command in [command!(load), command!(check)] {
        for (partition, _) in PARTITIONS {
            let seed = pe << 4 ^ u64::from(partition);
            ask(partition, command, [seed, 0, 0, 0])?;
            equal(sve::bytes() as u64, bytes as u64)?;
            holds(Longest::store(bytes) == own, partition)?;
        }
    }
    Ok([0; 4])
}

// req: GEN-20, MSGW-23, RUN-20
fn streaming_mode_stays_outside(nwd: &Nwd) -> Check {
    needs_sve()?;
    if !sve::has_streaming(Streaming::Plain) {
        return Err(Failure::Skip("needs FEAT_SME"));
    }
    for pe in 0..nwd.pes {
        pe::run_on(pe, streams_here, [pe as u64, 0, 0, 0])?;
    }
    Ok(())
}

/// Has each partition use its vectors first of all, while the Normal world has values in those of
/// streaming mode.
fn streams_here([pe, ..]: [u64; 4]) -> Check<[u64; 4]> {
    let seed = |partition: u16| pe << 4 ^ u64::from(partition);
    for (partition, _) in PARTITIONS {
        ask(partition, command!(load), [seed(partition), 0, 0, 0])?;
    }
    let calls = PARTITIONS.map(|(partition, _)| (partition, command!(check)));
    for form in [Streaming::Plain, Streaming::Full] {
        if !sve::has_streaming(form) {
            continue;
        }
        for (partition, command) in calls.into_iter().chain([(SP5, command!(use_fp))]) {
            let bytes = sve::enter_streaming(form, 4);
            let own = Longest::pattern(bytes, pe as u8 | 0x50);
            own.load_streaming(form, bytes);
            let answer = ask(partition, command, [seed(partition), 0, 0, 0]);
            let is_kept = own.is_in_streaming(form, bytes);
            let streams = sve::leave_streaming();
            answer?;
            holds(is_kept && streams, partition)?;
        }
    }
    Ok([0; 4])
}

/// Uses the registers of FP.
fn use_fp(_: &Sp, [seed, ..]: [u64; 4]) -> Check<[u64; 4]> {
    fp::load(&fp::pattern(seed));
    holds(fp::store() == fp::pattern(seed), seed)?;
    Ok([0; 4])
}

// req: MSGD-25, RUN-20
fn sve_survives_a_chain(_: &Nwd) -> Check {
    needs_sve()?;
    let bytes = sve::enable_el2(16);
    let own = Longest::pattern(bytes, 3);
    own.load(bytes);
    for (first, second) in [(SP1, SP2), (SP2, SP1), (SP1, SP3), (SP4, SP1)] {
        ask(first, command!(check_other), [second.into(), 0x35, 0, 0])?;
        holds(Longest::store(bytes) == own, second)?;
    }
    Ok(())
}

// req: MSGW-23, RUN-20
fn sve_survives_preemption(_: &Nwd) -> Check {
    needs_sve()?;
    for (partition, other) in [(SP1, SP2), (SP2, SP1)] {
        with_flag(partition, |flag| {
            preempt(partition, 0, command!(spin), [flag, 1, 0, 0], flag)?;
            is_busy(partition)?;
            let bytes = sve::enable_el2(16);
            let own = Longest::pattern(bytes, 5);
            own.load(bytes);
            ask(other, command!(load), [2, 0, 0, 0])?;
            ask(SP3, command!(load), [3, 0, 0, 0])?;
            holds(Longest::store(bytes) == own, partition)?;
            resume(partition, 0, flag, 1)?;
            holds(Longest::store(bytes) == own, partition)
        })?;
    }
    Ok(())
}

// req: GEN-19, RUN-20, RUN-23
fn sve_moves(_: &Nwd) -> Check {
    needs_sve()?;
    with_flag(SP1, |flag| {
        preempt(SP1, 0, command!(spin), [flag, 4, 0, 0], flag)?;
        ask(SP3, command!(load), [3, 0, 0, 0])?;
        let elsewhere = |[flag, ..]: [u64; 4]| {
            ask(SP3, command!(load), [5, 0, 0, 0])?;
            resume(SP1, 0, flag, 4).map(|()| [0; 4])
        };
        pe::run_on(1, elsewhere, [flag, 0, 0, 0])?;
        Ok(())
    })
}

// req: MSGD-08
fn sve_begins_anew(_: &Nwd) -> Check {
    needs_sve()?;
    ask(SP3, command!(load), [6, 0, 0, 0])?;
    let request = request(
        id::DIRECT_REQ_64,
        route(NWD, SP3),
        command!(give_up),
        [0; 4],
    );
    ffa::refused(&call(ffa::conduit(), request), ABORTED)?;
    ask(SP3, command!(is_new), [0; 4])?;
    Ok(())
}

fn is_new(_: &Sp, _: [u64; 4]) -> Check<[u64; 4]> {
    sve::enable_el1();
    equal(sve::limit(), 0u64)?;
    sve::set_limit(0xf);
    let bytes = sve::bytes();
    holds(Registers::store(bytes) == Registers::ZERO, bytes as u64)?;
    Ok([0; 4])
}
