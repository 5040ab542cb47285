//! Chains of partitions: each member calls the next one, and the last one raises an interrupt.

use crate::ffa::{self, NWD, SP1, id, route};
use crate::nwd::{ask, gic};
use crate::rt::call::{Regs, call};
use crate::rt::check::{Check, equal, holds};
use crate::rt::wait_until;
use crate::sp::{Command, Sp};
use crate::support::chain_cases::{Case, NOTHING};
use crate::support::helper_call::{self, request};
use crate::support::interrupt_handler::{ARM, CAME};
use crate::support::secure_uart::uart_mask;
use crate::support::spinning::{run, vcpu};
use crate::support::virtual_interrupts::{DEACTIVATE, GET, MANAGED_EXIT, hf, signals};
use crate::{command, helper, println};

/// Code of the partitions.
pub const HELPERS: &[Command] = &[helper!(chain), helper!(raise_in_chain)];

/// The number of the helper [`raise_in_chain`].
pub(crate) const RAISE_IN_CHAIN: u32 = command!(raise_in_chain);

/// Milliseconds that are enough to see a signal that is there.
pub(crate) const WAIT_MS: u64 = 1;

/// The schedule receiver interrupt: the Non-secure interrupt that a partition can raise.
pub(crate) const SCHEDULE_RECEIVER: u32 = 8;

/// Raises a Non-secure interrupt on this PE by notifying the Normal world.
pub(crate) fn raise_non_secure(sp: &Sp) -> Check {
    let who = route(sp.identity.id, NWD);
    ffa::done(&ffa::call(
        id::NOTIFICATION_SET,
        &[who, 0, notification_of(sp.identity.id), 0],
    ))
}

/// Returns the notification of the Normal world that a partition sets.
fn notification_of(partition: u16) -> u64 {
    1 << (partition & 0xf)
}

/// Lets the first partitions, `partitions` of them, notify the Normal world.
pub(crate) fn bind_all(partitions: u16) -> Check {
    ffa::done(&ffa::call(id::NOTIFICATION_BITMAP_CREATE, &[NWD.into(), 1]))?;
    for partition in SP1..SP1 + partitions {
        let arguments = [route(partition, NWD), 0, notification_of(partition), 0];
        ffa::done(&ffa::call(id::NOTIFICATION_BIND, &arguments))?;
    }
    Ok(())
}

/// Destroys the bitmap of the Normal world's notifications.
pub(crate) fn unbind_all() -> Check {
    ffa::done(&ffa::call(id::NOTIFICATION_BITMAP_DESTROY, &[NWD.into()]))
}

/// Takes the interrupt and the notification behind it, so that they can be raised again.
pub(crate) fn take(pe: usize) -> Check {
    const FROM_SPS: u64 = 1;
    gic::take(pe, SCHEDULE_RECEIVER)?;
    equal(
        ffa::call(id::NOTIFICATION_INFO_GET_64, &[])[0],
        id::SUCCESS_64,
    )?;
    ffa::succeeded(&ffa::call(id::NOTIFICATION_GET, &[NWD.into(), FROM_SPS]))
}

/// Calls the next member of a chain whose last member raises a Non-secure interrupt.
pub(crate) fn call_chain(sp: &Sp, path: u64) -> Regs {
    let ids = route(sp.identity.id, 0x8000 | (path & 0xf) as u16);
    let arguments = [path >> 4, 0, 0, 0];
    call(
        ffa::conduit(),
        request(id::DIRECT_REQ_64, ids, command!(chain), arguments),
    )
}

/// Calls the rest of the chain, or raises the interrupt as its last member; then waits until this
/// member sees a signal, or long enough. Result: the signals that each member saw.
fn chain(sp: &Sp, [path, ..]: [u64; 4]) -> Check<[u64; 4]> {
    let mut seen = 0;
    if path != 0 {
        let next = 0x8000 | (path & 0xf) as u16;
        let answer = match call_chain(sp, path) {
            // The member makes its managed exit when it has the answer.
            [function, who, ..] if function == u64::from(id::INTERRUPT) => {
                ffa::call(id::RUN, &[who])
            }
            answer => answer,
        };
        [seen, ..] = helper_call::answer(sp.identity.id, next, &answer)?;
    } else {
        raise_non_secure(sp)?;
    }
    wait_until(WAIT_MS, || signals() != NOTHING);
    let own = signals();
    if own != NOTHING {
        equal(hf(GET, &[]), MANAGED_EXIT)?;
        equal(signals(), NOTHING)?;
        equal(hf(DEACTIVATE, &[MANAGED_EXIT, MANAGED_EXIT]), 0u64)?;
    }
    Ok([seen << 4 | own, 0, 0, 0])
}

/// Packs numbers of four bits each into a word, the first one lowest.
pub(crate) fn packed(numbers: &[u64]) -> u64 {
    let four_bits = |rest: u64, number: &u64| rest << 4 | number;
    numbers.iter().rev().fold(0, four_bits)
}

/// Runs a chain on this PE, whose index is `pe`, and checks what the interrupt does to it.
pub(crate) fn run_chain(pe: usize, (members, preempts, sees): Case) -> Check {
    let path = packed(members);
    let root = 0x8000 | members[0] as u16;
    let index = if root.is_multiple_of(2) { pe as u16 } else { 0 };
    let arguments = [path >> 4, 0, 0, 0];
    let message = request(
        id::DIRECT_REQ_64,
        route(NWD, root),
        command!(chain),
        arguments,
    );
    gic::open(pe, SCHEDULE_RECEIVER);
    let mut answer = call(ffa::conduit(), message);
    if preempts {
        equal(answer[0], id::INTERRUPT)?;
        equal(answer[1], vcpu(root, index))?;
        take(pe)?;
        answer = run(root, index);
    }
    let [seen, ..] = helper_call::answer(NWD, root, &answer)?;
    if !preempts {
        // Nobody took the interrupt.
        holds(gic::waits(SCHEDULE_RECEIVER), path)?;
        take(pe)?;
    }
    equal(seen | path << 32, packed(sees) | path << 32)
}

/// Calls the rest of the chain, or raises the interrupt as its last member. Result: for each
/// member, the first one lowest, whether the interrupt was unhandled when that member had the PE
/// again.
fn raise_in_chain(sp: &Sp, [path, ..]: [u64; 4]) -> Check<[u64; 4]> {
    let mut left = 0;
    if path != 0 {
        let next = 0x8000 | (path & 0xf) as u16;
        [left, ..] = sp.ask(next, command!(raise_in_chain), [path >> 4, 0, 0, 0])?;
    } else {
        println!("# {}: raises an interrupt", sp.identity.name);
    }
    let own = u64::from(uart_mask() != 0);
    Ok([left << 4 | own, 0, 0, 0])
}

/// A chain, and for each member whether it still sees the interrupt unhandled.
pub(crate) type Raised = (&'static [u64], &'static [u64]);

/// Lets a chain raise the interrupt of `owner`, which waits, or is the last member, and checks who
/// sees it unhandled.
pub(crate) fn raise_by(owner: u16, (members, left): Raised) -> Check {
    ask(owner, ARM, [0; 4])?;
    let path = packed(members);
    let root = 0x8000 | members[0] as u16;
    let [seen, ..] = ask(root, command!(raise_in_chain), [path >> 4, 0, 0, 0])?;
    equal(seen | path << 32, packed(left) | path << 32)?;
    // The interrupt is handled at the latest when the Normal world gets the PE.
    equal(ask(owner, CAME, [0; 4])?[0], 1u64)
}
