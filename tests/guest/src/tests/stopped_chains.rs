//! Secure interrupts of sp1 while it is blocked: the chain below it is stopped, and goes on when sp1 says so. For the layout of
//! [`super::interrupt_chains`].

use core::sync::atomic::Ordering;

use crate::ffa::{SP1, SP2, SP3};
use crate::nwd::{Nwd, Test, ask};
use crate::rt::check::{Check, equal};
use crate::sp::{Command, Sp};
use crate::{command, helper, test};

use super::interrupt_chains::{
    IRQ, NOTHING, RAISE_IN_CHAIN, SAY_AND_LOOK, SP4, SP5, SP6, SP7, SP8, packed,
};
use super::interrupts::{ARM, CAME, HANDLED, TRANSMIT, on_interrupt, signals};

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
];

/// Code of the partitions.
pub const HELPERS: &[Command] = &[helper!(say_by), helper!(ask_chain)];

/// Lets another partition raise the interrupt of this one, which is blocked meanwhile. Results: whether it was unhandled when the other went on, and
/// how often it is handled by now.
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
    // Nobody stops this one.
    ask(SP1, ARM, [0; 4])?;
    let [mask, called, ..] = ask(SP1, command!(say_by), [SP6.into(), 0, 0, 0])?;
    equal(mask, u64::from(TRANSMIT))?;
    equal(called, 0u64)?;
    equal(ask(SP1, CAME, [0; 4])?[0], 1u64)
}

/// Has a chain raise the interrupt of this partition, which is blocked meanwhile. Results: for each member whether it was unhandled when
/// that went on, and how often it was handled before the chain had answered.
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
    // One has interrupts of others queued, be it the last or not.
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
