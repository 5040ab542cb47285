//! The state of the Non-secure interrupt in the GIC while a partition makes its managed exit (FF-A
//! v1.0 section 4.5.4). Only for the layout `interrupts`, in which sp3 has that action.

use crate::ffa::{self, NWD, SP3, id, route};
use crate::nwd::gic::{self, State, TIMER};
use crate::nwd::{Nwd, Test, pe, peek, poke};
use crate::rt::call::call;
use crate::rt::check::{Check, equal, holds};
use crate::rt::stage1::{self, Attributes};
use crate::rt::{PATIENCE_MS, probe, wait_until};
use crate::sp::{Command, Sp};
use crate::support::helper_call::{self, request};
use crate::support::spinning::{GO, SPINNING, with_flag};
use crate::support::virtual_interrupts::{DEACTIVATE, GET, MANAGED_EXIT, hf, signals};
use crate::{command, helper, test};

/// The tests of this file.
pub const TESTS: &[Test] = &[test!(
    interrupt_stays_pending,
    "The interrupt behind a managed exit stays pending, and is not acknowledged",
    pes = 2
)];

/// Code of the partitions.
pub const HELPERS: &[Command] = &[helper!(exit_slowly)];

const TIMER_MS: u64 = 2;

/// Waits for a managed exit and then, in the middle of it, until the Normal world has looked.
fn exit_slowly(_: &Sp, [flag, ..]: [u64; 4]) -> Check<[u64; 4]> {
    stage1::map(flag, Attributes::NonSecure);
    let came = wait_until(PATIENCE_MS, || signals() != 0);
    let id = hf(GET, &[]);
    // SAFETY: the page that the Normal world shared for this.
    let told = unsafe { probe::write(flag, SPINNING as u32) };
    let looked = wait_until(PATIENCE_MS, || probe::read(flag) == Ok(GO as u32));
    stage1::unmap(flag);
    holds(came && told.is_ok() && looked, looked)?;
    equal(id, MANAGED_EXIT)?;
    equal(hf(DEACTIVATE, &[MANAGED_EXIT, MANAGED_EXIT]), 0u64)?;
    Ok([0; 4])
}

// req: ME-06, ME-02, ME-04
fn interrupt_stays_pending(_: &Nwd) -> Check {
    with_flag(SP3, |flag| {
        let body = |[flag, ..]: [u64; 4]| -> Check<[u64; 4]> {
            gic::start_timer(1, TIMER_MS);
            let ids = route(NWD, SP3);
            let request = request(
                id::DIRECT_REQ_64,
                ids,
                command!(exit_slowly),
                [flag, 0, 0, 0],
            );
            helper_call::answer(NWD, SP3, &call(ffa::conduit(), request))?;
            // Nobody has acknowledged the interrupt.
            equal(gic::state_of(1, TIMER), State::Pending)?;
            gic::acknowledge(1)?;
            equal(gic::state_of(1, TIMER), State::Inactive)?;
            Ok([0; 4])
        };
        pe::start(1, body, [flag, 0, 0, 0])?;
        let exits = wait_until(PATIENCE_MS, || peek(flag) == SPINNING);
        let state = gic::state_of(1, TIMER);
        poke(flag, GO);
        pe::finish(1)?;
        poke(flag, 0);
        holds(exits, flag)?;
        equal(state, State::Pending)
    })
}
