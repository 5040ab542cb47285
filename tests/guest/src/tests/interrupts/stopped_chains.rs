//! Chains that are stopped and go on: for secure interrupts of sp1, which is blocked above the
//! chain, and for managed exits of sp3. Only for the layout `interrupts` (see
//! [`super::actions_and_states`]).

use core::sync::atomic::{AtomicU64, Ordering};

use crate::ffa::error::BUSY;
use crate::ffa::{self, NWD, SP1, SP2, SP3, SP4, SP5, SP6, SP7, SP8, id, route};
use crate::nwd::{Nwd, Test, ask, gic};
use crate::rt::check::{Check, equal, holds};
use crate::sp::{Command, Sp};
use crate::support::chain_cases::{FIQ, IRQ, NOTHING};
use crate::support::chains::{
    RAISE_IN_CHAIN, SCHEDULE_RECEIVER, bind_all, call_chain, packed, take, unbind_all,
};
use crate::support::helper_call;
use crate::support::interrupt_handler::{ARM, CAME, HANDLED, on_interrupt};
use crate::support::secure_uart::{SAY_AND_LOOK, TRANSMIT};
use crate::support::virtual_interrupts::{DEACTIVATE, GET, MANAGED_EXIT, hf, signals};
use crate::{command, helper, test};

/// The tests of this file.
pub const TESTS: &[Test] = &[
    test!(
        blocked_owner,
        "sp1 is blocked when its interrupt comes: it handles it and resumes the other"
    ),
    test!(
        owner_above_a_chain,
        "sp1 is blocked above a chain when its interrupt comes: it handles it, and the chain goes on"
    ),
    test!(
        exit_above_a_chain,
        "sp3 makes its managed exit above a chain, and goes on with that in a later request"
    ),
];

/// Code of the partitions.
pub const HELPERS: &[Command] = &[
    helper!(say_by),
    helper!(ask_chain),
    helper!(leave),
    helper!(go_on),
];

/// Lets another partition raise the interrupt of this one, which is blocked meanwhile. Results:
/// whether the interrupt was unhandled when the other partition went on, and how often it is
/// handled by now.
fn say_by(sp: &Sp, [other, ..]: [u64; 4]) -> Check<[u64; 4]> {
    let [mask, ..] = sp.ask(other as u16, SAY_AND_LOOK, [0; 4])?;
    let called = HANDLED.load(Ordering::Relaxed);
    if signals() == IRQ {
        on_interrupt();
    }
    equal(signals(), NOTHING)?;
    Ok([mask, called, 0, 0])
}

// req: INT-08, INT-11
fn blocked_owner(_: &Nwd) -> Check {
    for other in [SP2, SP3, SP4, SP5, SP7, SP8] {
        ask(SP1, ARM, [0; 4])?;
        let [mask, called, ..] = ask(SP1, command!(say_by), [other.into(), 0, 0, 0])?;
        equal(mask, 0u64)?;
        equal(called, 1u64)?;
        equal(ask(SP1, CAME, [0; 4])?[0], 1u64)?;
    }
    // sp6 has interrupts of others queued, so nothing stops it.
    ask(SP1, ARM, [0; 4])?;
    let [mask, called, ..] = ask(SP1, command!(say_by), [SP6.into(), 0, 0, 0])?;
    equal(mask, u64::from(TRANSMIT))?;
    equal(called, 0u64)?;
    equal(ask(SP1, CAME, [0; 4])?[0], 1u64)
}

/// Has a chain raise the interrupt of this partition, which is blocked meanwhile. Results: for each
/// member, whether the interrupt was unhandled when the member went on; and how often it was
/// handled before the chain had answered.
fn ask_chain(sp: &Sp, [path, ..]: [u64; 4]) -> Check<[u64; 4]> {
    let first = 0x8000 | (path & 0xf) as u16;
    let [left, ..] = sp.ask(first, RAISE_IN_CHAIN, [path >> 4, 0, 0, 0])?;
    let called = HANDLED.load(Ordering::Relaxed);
    on_interrupt();
    equal(signals(), NOTHING)?;
    Ok([left, called, 0, 0])
}

/// Members of a chain below sp1, and whether sp1 is called for its interrupt.
const CHAINS: &[(&[u64], bool)] = &[
    (&[2], true),
    (&[2, 3], true),
    (&[3, 8], true),
    (&[5, 4], true),
    (&[2, 7, 8], true),
    (&[8, 5, 3, 2], true),
    // sp6, be it the last or not, has interrupts of others queued.
    (&[2, 6], false),
    (&[6, 2], false),
    (&[3, 6, 8], false),
];

// req: INT-08, INT-11, INT-10
fn owner_above_a_chain(_: &Nwd) -> Check {
    for (members, is_called) in CHAINS {
        ask(SP1, ARM, [0; 4])?;
        let path = packed(members);
        let [left, called, ..] = ask(SP1, command!(ask_chain), [path, 0, 0, 0])?;
        let mut all = 0;
        if !is_called {
            members.iter().for_each(|_| all = all << 4 | 1);
        }
        equal(left | path << 32, all | path << 32)?;
        equal(called | path << 32, u64::from(*is_called) | path << 32)?;
        equal(ask(SP1, CAME, [0; 4])?[0], 1u64)?;
    }
    Ok(())
}

/// The chain that sp3 left: w1 of `FFA_RUN`.
static LEFT: AtomicU64 = AtomicU64::new(0);

/// Calls a chain that raises a Non-secure interrupt, and makes a managed exit for it.
fn leave(sp: &Sp, [path, ..]: [u64; 4]) -> Check<[u64; 4]> {
    let answer = call_chain(sp, path);
    equal(answer[0], id::INTERRUPT)?;
    equal(answer[1] >> 16, 0x8000 | path & 0xf)?;
    equal(signals(), FIQ)?;
    equal(hf(GET, &[]), MANAGED_EXIT)?;
    equal(hf(DEACTIVATE, &[MANAGED_EXIT, MANAGED_EXIT]), 0u64)?;
    LEFT.store(answer[1], Ordering::Relaxed);
    Ok([0; 4])
}

/// Goes on with the chain that this partition left. Result: what the members saw.
fn go_on(sp: &Sp, _: [u64; 4]) -> Check<[u64; 4]> {
    let left = LEFT.load(Ordering::Relaxed);
    let answer = ffa::call(id::RUN, &[left]);
    helper_call::answer(sp.identity.id, (left >> 16) as u16, &answer)
}

// req: ME-02, ME-03, ME-04, ME-05, ME-06
fn exit_above_a_chain(_: &Nwd) -> Check {
    const PATHS: &[&[u64]] = &[&[1], &[2], &[1, 2], &[2, 7, 8]];
    bind_all(8)?;
    for members in PATHS {
        let path = packed(members);
        gic::open(0, SCHEDULE_RECEIVER);
        ask(SP3, command!(leave), [path, 0, 0, 0])?;
        // Nobody took the interrupt, and the chain is not over.
        holds(gic::waits(SCHEDULE_RECEIVER), path)?;
        for member in *members {
            let ids = route(NWD, 0x8000 | *member as u16);
            ffa::refused(&ffa::call(id::DIRECT_REQ_64, &[ids]), BUSY)?;
        }
        take(0)?;
        equal(ask(SP3, command!(go_on), [0; 4])?[0], 0u64)?;
    }
    unbind_all()
}
