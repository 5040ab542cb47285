//! Pointer authentication and branch targets at S-EL0. Only for the layout `pointers`: sp3 and sp4
//! sign addresses; sp5 and sp6 are victims that branch where they are told, and the code of sp5 is
//! guarded.

use core::arch::asm;

use crate::board::{IMAGE_OFFSET, package};
use crate::ffa::error::ABORTED;
use crate::ffa::{self, NWD, SP1, SP2, SP3, SP4, SP5, SP6, id, route};
use crate::nwd::{Nwd, Test, ask, pe};
use crate::rt::call::{Regs, call};
use crate::rt::check::{Check, Failure, equal, holds};
use crate::sp::{Command, Sp};
use crate::support::complement::answers;
use crate::support::helper_call::{self, request};
use crate::{command, helper, test};

/// The tests of this file.
pub const TESTS: &[Test] = &[
    test!(
        el0_signs,
        "sp3 and sp4 sign addresses with keys of their own, and accept what they signed, on each PE"
    ),
    test!(
        el0_refuses_signatures_of_others,
        "sp4 does not accept an address that sp3 signed"
    ),
    test!(
        el0_branches_to_targets,
        "In guarded code sp5 branches to a target, and is stopped at another instruction"
    ),
];

/// Code of the partitions.
pub const HELPERS: &[Command] = &[helper!(sign), helper!(accept), helper!(own_keys)];

/// An address that is signed. The bits above it are free for signatures.
const ADDRESS: u64 = 0x0e50_4000;
/// The number that a signature depends on, beside the address.
const MODIFIER: u64 = 0x1234;

fn needs_keys() -> Check {
    let features: u64;
    // SAFETY: reads an identification register.
    unsafe { asm!("mrs {}, id_aa64isar1_el1", out(reg) features, options(nomem, nostack)) };
    if features & 0xff0 != 0 {
        Ok(())
    } else {
        Err(Failure::Skip("needs FEAT_PAuth"))
    }
}

/// Returns an address as keys IA, IB, DA and DB sign it.
fn sign(_: &Sp, [address, modifier, ..]: [u64; 4]) -> Check<[u64; 4]> {
    let mut signed = [address; 4];
    let [a, b, c, d] = &mut signed;
    // SAFETY: the instructions change the registers only.
    unsafe {
        asm!(
            ".arch_extension pauth",
            "pacia {}, {m}",
            "pacib {}, {m}",
            "pacda {}, {m}",
            "pacdb {}, {m}",
            inout(reg) *a, inout(reg) *b, inout(reg) *c, inout(reg) *d,
            m = in(reg) modifier,
            options(nomem, nostack)
        );
    }
    Ok(signed)
}

/// Authenticates signed addresses, and returns what comes of them.
fn accept(_: &Sp, [a, b, c, d]: [u64; 4]) -> Check<[u64; 4]> {
    let mut plain = [a, b, c, d];
    let [a, b, c, d] = &mut plain;
    // SAFETY: as above.
    unsafe {
        asm!(
            ".arch_extension pauth",
            "autia {}, {m}",
            "autib {}, {m}",
            "autda {}, {m}",
            "autdb {}, {m}",
            inout(reg) *a, inout(reg) *b, inout(reg) *c, inout(reg) *d,
            m = in(reg) MODIFIER,
            options(nomem, nostack)
        );
    }
    Ok(plain)
}

// req: GEN-20, RUN-20
fn el0_signs(nwd: &Nwd) -> Check {
    needs_keys()?;
    let signatures = |partition| ask(partition, command!(sign), [ADDRESS, MODIFIER, 0, 0]);
    let first = [signatures(SP3)?, signatures(SP4)?];
    for own in &first {
        // Addresses are signed, and each key signs in another way.
        for (n, signed) in own.iter().enumerate() {
            holds(*signed != ADDRESS && !own[..n].contains(signed), *signed)?;
        }
    }
    let [of_sp3, of_sp4] = first;
    for (one, other) in of_sp3.into_iter().zip(of_sp4) {
        holds(one != other, one)?;
    }
    for pe in 0..nwd.pes {
        for (partition, own) in [(SP3, of_sp3), (SP4, of_sp4)] {
            let arguments = [partition.into(), 0, 0, 0];
            let again = |[partition, ..]: [u64; 4]| {
                ask(partition as u16, command!(sign), [ADDRESS, MODIFIER, 0, 0])
            };
            let signed = pe::run_on(pe, again, arguments)?;
            holds(signed == own, pe as u64)?;
            equal(ask(SP1, command!(own_keys), [0; 4])?[0], 0u64)?;
            let plain = ask(partition, command!(accept), own)?;
            holds(plain == [ADDRESS; 4], plain[0])?;
        }
    }
    Ok(())
}

/// Uses a key of its own at S-EL1, which the partition never set: it is zero.
fn own_keys(_: &Sp, _: [u64; 4]) -> Check<[u64; 4]> {
    let [low, high]: [u64; 2];
    // SAFETY: reading has no effect.
    unsafe {
        asm!("mrs {}, s3_0_c2_c1_0", "mrs {}, s3_0_c2_c1_1", out(reg) low, out(reg) high, options(nomem, nostack));
    }
    Ok([low | high, 0, 0, 0])
}

// req: GEN-03
fn el0_refuses_signatures_of_others(_: &Nwd) -> Check {
    needs_keys()?;
    let signed = ask(SP3, command!(sign), [ADDRESS, MODIFIER, 0, 0])?;
    let request = request(id::DIRECT_REQ_64, route(NWD, SP4), command!(accept), signed);
    let answer = call(ffa::conduit(), request);
    // With FEAT_FPAC the partition takes an exception, which ends it; without, the addresses are
    // not usable.
    if answer[0] == u64::from(id::ERROR) {
        ffa::refused(&answer, ABORTED)?;
    } else {
        let plain = helper_call::answer(NWD, SP4, &answer)?;
        holds(!plain.contains(&ADDRESS), plain[0])?;
    }
    answers(SP3, 1)?;
    answers(SP1, 2)
}

/// Lets a victim branch to its code at `offset`.
fn branch(partition: u16, offset: u64) -> Regs {
    let entry = package(u64::from(partition - SP1)) + IMAGE_OFFSET;
    let message = ffa::regs(
        id::DIRECT_REQ_64,
        &[route(NWD, partition), 0, 3, entry + offset],
    );
    call(ffa::conduit(), message)
}

// req: GEN-03
fn el0_branches_to_targets(_: &Nwd) -> Check {
    let features: u64;
    // SAFETY: reads an identification register.
    unsafe { asm!("mrs {}, id_aa64pfr1_el1", out(reg) features, options(nomem, nostack)) };
    if features & 0xf == 0 {
        return Err(Failure::Skip("needs FEAT_BTI"));
    }
    for (partition, offset) in [(SP5, 0x40), (SP6, 0x40), (SP6, 0x80)] {
        equal(branch(partition, offset)[0], id::DIRECT_RESP_64)?;
    }
    ffa::refused(&branch(SP5, 0x80), ABORTED)?;
    equal(branch(SP6, 0x80)[0], id::DIRECT_RESP_64)?;
    answers(SP3, 3)?;
    answers(SP2, 4)
}
