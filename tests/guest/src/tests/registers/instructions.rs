//! Instructions that a partition may not use: each causes an Undefined Instruction exception in
//! that partition, and everything goes on. Also calls by SMC or HVC that are not FF-A's: the SPMC
//! answers them, and EL3 does not see them.

use crate::ffa::{NOT_SUPPORTED, SP1, SP2};
use crate::nwd::{Nwd, Test, ask};
use crate::rt::call::{Conduit, call};
use crate::rt::check::{Check, equal, fail};
use crate::sp::{Command, Sp};
use crate::support::complement::COMPLEMENT;
use crate::support::forbidden_instructions::{
    FORBIDDEN, UNDEFINED, close_at_el1, exception_class, open_at_el1,
};
use crate::{command, helper, println, test};

/// The tests of this file.
pub const TESTS: &[Test] = &[
    test!(
        forbidden_instructions,
        "SVE, SME, PMU, debug, MTE and EL2 are undefined for partitions"
    ),
    test!(
        foreign_calls,
        "Calls of partitions to PSCI and others end at the SPMC"
    ),
    test!(
        listed_calls,
        "Calls that the SPMC manifest lists go to EL3 and back"
    ),
];

/// Code of the partitions.
pub const HELPERS: &[Command] = &[
    helper!(try_forbidden),
    helper!(ask_el3),
    helper!(call_others),
];

// req: BOOT-03, GEN-03, MSGW-23, RUN-20
fn forbidden_instructions(_: &Nwd) -> Check {
    for partition in [SP1, SP2] {
        let [tried, ..] = ask(partition, command!(try_forbidden), [0; 4])?;
        equal(tried, FORBIDDEN.len() as u64)?;
        println!("# {partition:#x} tried {tried} instructions; all are undefined");
        for other in [SP1, SP2] {
            let [answer, ..] = ask(other, COMPLEMENT, [tried, 0, 0, 0])?;
            equal(answer, !tried)?;
        }
    }
    Ok(())
}

/// Tries all instructions. Result: how many are undefined.
fn try_forbidden(sp: &Sp, _: [u64; 4]) -> Check<[u64; 4]> {
    let before = open_at_el1();
    let mut outcome = Ok([FORBIDDEN.len() as u64, 0, 0, 0]);
    for (n, (name, instruction)) in FORBIDDEN.iter().enumerate() {
        let class = exception_class(*instruction);
        if class != UNDEFINED {
            println!("# {}: {name}: exception class {class:#x}", sp.identity.name);
            outcome = fail(n as u64);
        }
    }
    close_at_el1(before);
    outcome
}

/// PSCI_VERSION, CPU_OFF, CPU_ON, SYSTEM_OFF, SYSTEM_RESET; SMCCC_VERSION; TRNG_VERSION; SiP, OEM
/// and Trusted OS services.
const FOREIGN: [u32; 10] = [
    0x8400_0000,
    0x8400_0002,
    0xc400_0003,
    0x8400_0008,
    0x8400_0009,
    0x8000_0000,
    0x8400_0050,
    0x8200_0000,
    0x8300_0000,
    0xb200_0000,
];

// req: GEN-06, GEN-07, GEN-11, GEN-12
fn foreign_calls(_: &Nwd) -> Check {
    for partition in [SP1, SP2] {
        ask(partition, command!(call_others), [0; 4])?;
    }
    Ok(())
}

/// SMCCC_ARCH_FEATURES, which the SPMC manifest lets sp1 call.
const ARCH_FEATURES: u64 = 0x8000_0001;
/// SMCCC_VERSION.
const SMCCC_VERSION: u64 = 0x8000_0000;

// req: GEN-06, GEN-11
fn listed_calls(_: &Nwd) -> Check {
    ask(SP1, command!(ask_el3), [0, 0, 0, 0])?;
    ask(SP2, command!(ask_el3), [NOT_SUPPORTED, 0, 0, 0])?;
    Ok(())
}

fn ask_el3(_: &Sp, [wanted, ..]: [u64; 4]) -> Check<[u64; 4]> {
    let mut regs: [u64; 18] = core::array::from_fn(|n| 0x1234_5678_0000_0000 + n as u64);
    regs[0] = ARCH_FEATURES;
    regs[1] = SMCCC_VERSION;
    let answer = call(Conduit::Smc, regs);
    equal(answer[0] & 0xffff_ffff, wanted)?;
    // The other registers come back as they were.
    for (got, kept) in answer[4..].iter().zip(&regs[4..]) {
        equal(*got, *kept)?;
    }
    Ok([0; 4])
}

fn call_others(_: &Sp, _: [u64; 4]) -> Check<[u64; 4]> {
    for conduit in [Conduit::Smc, Conduit::Hvc] {
        for function in FOREIGN {
            let mut regs = [0; 18];
            regs[0] = function as u64;
            let answer = call(conduit, regs);
            equal(answer[0] & 0xffff_ffff, NOT_SUPPORTED)?;
        }
    }
    Ok([0; 4])
}
