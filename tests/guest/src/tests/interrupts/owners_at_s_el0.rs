//! Interrupts with partitions at S-EL0 (FF-A v1.1 chapter 9). Nothing is signalled to such a
//! partition: its interrupts come as `FFA_INTERRUPT` when it waits. Which partitions an interrupt
//! stops is as with the others. Only for the layout `interrupts/s-el0`, which says:
//!
//! | | runs at | Non-secure interrupts | secure interrupts of others | owns |
//! |---|---|---|---|---|
//! | sp1 | S-EL1 | managed exit, vFIQ | signaled | |
//! | sp2 | S-EL1, 8 contexts | queued | queued | |
//! | sp3 | S-EL0 | signaled | signaled | the secure PL011 |
//! | sp4 | S-EL0 | queued | queued | |

use crate::board::package;
use crate::ffa::error::ABORTED;
use crate::ffa::{self, NWD, SP1, SP2, SP3, SP4, id, route};
use crate::nwd::{Nwd, Test, ask, pe, peek, poke};
use crate::rt::call::call;
use crate::rt::check::{Check, equal, holds};
use crate::rt::{PATIENCE_MS, wait_until};
use crate::sp::{Command, Sp};
use crate::support::chain_cases::{Case, FIQ, NOTHING};
use crate::support::chains::{Raised, bind_all, raise_by, run_chain, unbind_all};
use crate::support::helper_call::request;
use crate::support::interrupt_handler::{ARM, CAME};
use crate::support::s_el0_helpers::with_flag;
use crate::support::s_el0_helpers::{READ, SPIN};
use crate::support::secure_uart::{SAY_AND_LOOK, TRANSMIT, UART, uart_mask};
use crate::support::spinning::{SPINNING, preempt, resume};
use crate::support::virtual_interrupts::{DEACTIVATE, GET, NONE, hf};
use crate::{command, helper, println, test};

/// The tests of this file.
pub const TESTS: &[Test] = &[
    test!(
        el0_chains,
        "A Non-secure interrupt in chains with partitions at S-EL0"
    ),
    test!(
        el0_owner_by_what_runs,
        "The interrupt of sp3, which waits, in chains of all others"
    ),
    test!(
        el0_owner_stops_the_normal_world,
        "sp3 handles its interrupt while the Normal world runs",
        pes = 2
    ),
    test!(
        el0_owner_runs,
        "The interrupt of sp3 comes while it runs: it is handled when it waits"
    ),
    test!(
        el0_owner_fetches,
        "sp3 fetches its interrupt in the middle of a request"
    ),
    test!(
        el0_owner_runs_elsewhere,
        "sp3 runs on another PE than the one that takes its interrupt",
        pes = 2
    ),
    test!(
        el0_owner_is_blocked,
        "sp3 is blocked when its interrupt comes"
    ),
    test!(
        el0_owner_is_preempted,
        "sp3 is preempted when its interrupt comes"
    ),
    test!(
        el0_owner_dies,
        "sp3 dies; its interrupt does not come, the others go on"
    ),
];

/// Code of the partitions.
pub const HELPERS: &[Command] = &[
    helper!(raise_own),
    helper!(raise_and_fetch),
    helper!(raised_by),
];
const PARTITIONS: u16 = 4;

// ---- Non-secure interrupts ----

const CHAINS: &[Case] = &[
    (&[3], true, &[NOTHING]),
    (&[4], false, &[NOTHING]),
    (&[1, 3], false, &[FIQ, NOTHING]),
    (&[3, 1], true, &[NOTHING, FIQ]),
    (&[2, 3], false, &[NOTHING, NOTHING]),
    (&[3, 2], true, &[NOTHING, NOTHING]),
    (&[3, 4], true, &[NOTHING, NOTHING]),
    (&[4, 3], false, &[NOTHING, NOTHING]),
    (&[1, 4], false, &[FIQ, NOTHING]),
    (&[4, 1], false, &[NOTHING, NOTHING]),
    // Chains of three.
    (&[1, 3, 4], false, &[FIQ, NOTHING, NOTHING]),
    (&[3, 1, 4], true, &[NOTHING, FIQ, NOTHING]),
    (&[3, 4, 1], true, &[NOTHING, NOTHING, NOTHING]),
    (&[4, 3, 1], false, &[NOTHING, NOTHING, NOTHING]),
    (&[4, 1, 3], false, &[NOTHING, NOTHING, NOTHING]),
    (&[3, 2, 1], true, &[NOTHING, NOTHING, NOTHING]),
];

// req: ME-02, ME-04, ME-09, INT-01, INT-02, INT-03, INT-10
fn el0_chains(nwd: &Nwd) -> Check {
    bind_all(PARTITIONS)?;
    for (n, case) in CHAINS.iter().enumerate() {
        run_chain(0, *case)?;
        if nwd.pes > 1 {
            let body = |[n, ..]: [u64; 4]| run_chain(1, CHAINS[n as usize]).map(|()| [0; 4]);
            pe::run_on(1, body, [n as u64, 0, 0, 0])?;
        }
    }
    unbind_all()
}

// ---- secure interrupts ----

/// Chains, and the members that still see the interrupt unhandled.
const RAISED: &[Raised] = &[
    (&[1], &[0]),
    (&[2], &[1]),
    (&[4], &[1]),
    // A member that has the interrupt queued answers to one that has not, or calls it.
    (&[1, 2], &[0, 1]),
    (&[1, 4], &[0, 1]),
    (&[2, 1], &[0, 0]),
    (&[4, 1], &[0, 0]),
    (&[2, 4], &[1, 1]),
    (&[4, 2], &[1, 1]),
    // Chains of three.
    (&[1, 2, 4], &[0, 1, 1]),
    (&[1, 4, 2], &[0, 1, 1]),
    (&[2, 1, 4], &[0, 0, 1]),
    (&[4, 2, 1], &[0, 0, 0]),
];

// req: INT-04, INT-05, INT-07, SEL0-06
fn el0_owner_by_what_runs(_: &Nwd) -> Check {
    RAISED.iter().try_for_each(|case| raise_by(SP3, *case))
}

/// Fails unless sp3 has handled the interrupt that it let through, at the latest when the Normal
/// world got the PE.
fn is_handled_once() -> Check {
    equal(ask(SP3, CAME, [0; 4])?[0], 1u64)
}

// req: INT-04, INT-05, INT-06, SEL0-06
fn el0_owner_stops_the_normal_world(_: &Nwd) -> Check {
    for partition in [SP1, SP2, SP4] {
        ask(SP3, ARM, [0; 4])?;
        // This PE, which the interrupt goes to, waits.
        let say = |[partition, ..]: [u64; 4]| ask(partition as u16, SAY_AND_LOOK, [0; 4]);
        pe::run_on(1, say, [partition.into(), 0, 0, 0])?;
        is_handled_once()?;
    }
    Ok(())
}

/// Raises the interrupt of this partition, and does not handle it.
fn raise_own(sp: &Sp, _: [u64; 4]) -> Check<[u64; 4]> {
    println!("# {}: raises its own interrupt", sp.identity.name);
    equal(uart_mask(), u64::from(TRANSMIT))?;
    Ok([0; 4])
}

// req: INT-03, INT-04, SEL0-06
fn el0_owner_runs(_: &Nwd) -> Check {
    ask(SP3, ARM, [0; 4])?;
    ask(SP3, command!(raise_own), [0; 4])?;
    is_handled_once()?;
    // In a chain, sp3 waits again before its caller goes on, and is run in place of the caller,
    // unless the caller has the interrupt queued.
    const RAISED: &[Raised] = &[(&[1, 3], &[0, 1]), (&[2, 3], &[1, 1]), (&[4, 3], &[1, 1])];
    RAISED.iter().try_for_each(|case| raise_by(SP3, *case))
}

/// Raises the interrupt of this partition, and fetches it.
fn raise_and_fetch(sp: &Sp, _: [u64; 4]) -> Check<[u64; 4]> {
    equal(hf(GET, &[]), NONE)?;
    println!("# {}: raises its own interrupt", sp.identity.name);
    let mut id = NONE;
    wait_until(PATIENCE_MS, || {
        id = hf(GET, &[]);
        id != NONE
    });
    equal(id, UART)?;
    crate::support::secure_uart::quieten();
    equal(hf(DEACTIVATE, &[UART, UART]), 0u64)?;
    equal(hf(GET, &[]), NONE)?;
    Ok([0; 4])
}

// req: INT-04
fn el0_owner_fetches(_: &Nwd) -> Check {
    ask(SP3, ARM, [0; 4])?;
    ask(SP3, command!(raise_and_fetch), [0; 4])?;
    // No interrupt is left that sp3 would be run for.
    equal(ask(SP3, CAME, [0; 4])?[0], 0u64)
}

// req: INT-04, INT-14, SEL0-06
fn el0_owner_runs_elsewhere(_: &Nwd) -> Check {
    ask(SP3, ARM, [0; 4])?;
    with_flag(|flag| {
        let spin = |[flag, ..]: [u64; 4]| ask(SP3, SPIN, [flag, 4, 0, 0]);
        pe::start(1, spin, [flag, 0, 0, 0])?;
        holds(wait_until(PATIENCE_MS, || peek(flag) == SPINNING), flag)?;
        let [mask, ..] = ask(SP1, SAY_AND_LOOK, [0; 4])?;
        poke(flag, crate::support::spinning::GO);
        pe::finish(1)?;
        equal(mask, u64::from(TRANSMIT))
    })?;
    let handled = || ask(SP3, CAME, [0; 4]).is_ok_and(|[count, ..]| count == 1);
    holds(wait_until(PATIENCE_MS, handled), 0u64)?;
    is_handled_once()
}

/// Lets another partition raise the interrupt of this one, which is blocked meanwhile.
fn raised_by(sp: &Sp, [other, ..]: [u64; 4]) -> Check<[u64; 4]> {
    let [mask, ..] = sp.ask(other as u16, SAY_AND_LOOK, [0; 4])?;
    equal(mask, u64::from(TRANSMIT))?;
    // This partition runs again, and still is not told.
    equal(uart_mask(), u64::from(TRANSMIT))?;
    Ok([0; 4])
}

// req: INT-08, SEL0-06
fn el0_owner_is_blocked(_: &Nwd) -> Check {
    for other in [SP1, SP2, SP4] {
        ask(SP3, ARM, [0; 4])?;
        ask(SP3, command!(raised_by), [other.into(), 0, 0, 0])?;
        is_handled_once()?;
    }
    Ok(())
}

// req: INT-08, SEL0-06
fn el0_owner_is_preempted(_: &Nwd) -> Check {
    ask(SP3, ARM, [0; 4])?;
    with_flag(|flag| {
        preempt(SP3, 0, SPIN, [flag, 9, 0, 0], flag)?;
        let [mask, ..] = ask(SP1, SAY_AND_LOOK, [0; 4])?;
        equal(mask, u64::from(TRANSMIT))?;
        resume(SP3, 0, flag, 9)
    })?;
    is_handled_once()
}

// req: INT-09
fn el0_owner_dies(_: &Nwd) -> Check {
    ask(SP3, ARM, [0; 4])?;
    let elsewhere = [package(0), 0, 0, 0];
    let message = request(id::DIRECT_REQ_64, route(NWD, SP3), READ, elsewhere);
    ffa::refused(&call(ffa::conduit(), message), ABORTED)?;
    for partition in [SP1, SP2, SP4] {
        let [mask, ..] = ask(partition, SAY_AND_LOOK, [0; 4])?;
        equal(mask, u64::from(TRANSMIT))?;
    }
    Ok(())
}
