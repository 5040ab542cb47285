//! A partition that keeps the PE until it is told to end, so that it can be preempted, with values
//! in its vector registers that must survive.

use crate::ffa::error::BUSY;
use crate::ffa::memory_calls::reclaim;
use crate::ffa::memory_descriptor::access;
use crate::ffa::{self, NWD, SP1, id, route};
use crate::nwd::{gic, page, peek, poke};
use crate::rt::call::{Regs, call};
use crate::rt::check::{Check, equal, holds};
use crate::rt::stage1::{self, Attributes};
use crate::rt::{PATIENCE_MS, fp, probe, wait_until};
use crate::sp::{Command, Sp};
use crate::support::borrowing::{Borrow, give_back, is_fine};
use crate::support::helper_call::{self, request};
use crate::support::sharing::share;
use crate::{command, helper};

/// Code of the partitions.
pub const HELPERS: &[Command] = &[
    helper!(load_vectors),
    helper!(check_vectors),
    helper!(spin),
    helper!(pass_on),
    helper!(nothing),
];

/// The number of the helper that loads the vector registers with the pattern of a seed.
pub(crate) const LOAD_VECTORS: u32 = command!(load_vectors);

/// The number of the helper that compares the vector registers with the pattern of a seed.
pub(crate) const CHECK_VECTORS: u32 = command!(check_vectors);

/// The number of the helper [`spin`].
pub(crate) const SPIN: u32 = command!(spin);
/// The number of the helper [`pass_on`].
pub(crate) const PASS_ON: u32 = command!(pass_on);

/// Milliseconds until the timer fires.
const TIMER_MS: u64 = 2;
/// The word in the shared page that ends the spinning.
pub(crate) const GO: u64 = 1;
/// The word in the shared page that says that the partition spins.
pub(crate) const SPINNING: u64 = 2;

/// Fails unless both sets of vector registers are equal.
#[track_caller]
pub(crate) fn same(got: &fp::Vectors, want: &fp::Vectors) -> Check {
    for (got, want) in got.iter().zip(want) {
        equal(*got as u64, *want as u64)?;
        equal((*got >> 64) as u64, (*want >> 64) as u64)?;
    }
    Ok(())
}

fn load_vectors(_: &Sp, [seed, ..]: [u64; 4]) -> Check<[u64; 4]> {
    fp::load(&fp::pattern(seed));
    Ok([0; 4])
}

fn check_vectors(_: &Sp, [seed, ..]: [u64; 4]) -> Check<[u64; 4]> {
    same(&fp::store(), &fp::pattern(seed))?;
    Ok([0; 4])
}

/// Keeps the PE, with values in all vector registers, until the Normal world writes to the page
/// that it shared.
fn spin(_: &Sp, [address, seed, ..]: [u64; 4]) -> Check<[u64; 4]> {
    fp::load(&fp::pattern(seed));
    stage1::map(address, Attributes::NonSecure);
    // SAFETY: the page that the Normal world shared for this.
    let begun = unsafe { probe::write(address, SPINNING as u32) };
    let told = wait_until(PATIENCE_MS, || probe::read(address) == Ok(GO as u32));
    stage1::unmap(address);
    same(&fp::store(), &fp::pattern(seed))?;
    holds(begun.is_ok() && told, told)?;
    Ok([!seed, 0, 0, 0])
}

/// Lets another partition spin.
fn pass_on(sp: &Sp, [other, address, seed, ..]: [u64; 4]) -> Check<[u64; 4]> {
    sp.ask(other as u16, command!(spin), [address, seed, 0, 0])
}

fn nothing(_: &Sp, _: [u64; 4]) -> Check<[u64; 4]> {
    Ok([0; 4])
}

/// Shares the page by which a spinning partition is told to end, runs `body` with the address of
/// the page, and reclaims the page.
pub(crate) fn with_flag(partition: u16, body: impl FnOnce(u64) -> Check) -> Check {
    let address = page(70);
    poke(address, 0);
    let handle = share(partition, access::RW, &[(address, 1)])?;
    is_fine(Borrow::new(handle).by(partition)?)?;
    body(address)?;
    give_back(partition, handle, 0, 0)?;
    ffa::done(&reclaim(handle, 0))
}

/// Sends a request during which the timer fires, and checks that the interrupt stops `partition`
/// while a partition spins on `flag`. `pe` is the index of this PE.
pub(crate) fn preempt(
    partition: u16,
    pe: u16,
    command: u32,
    arguments: [u64; 4],
    flag: u64,
) -> Check {
    let index = if partition == SP1 { 0 } else { pe };
    let message = request(id::DIRECT_REQ_64, route(NWD, partition), command, arguments);
    let mut next = message;
    while peek(flag) != SPINNING {
        // The request is new, or the interrupt came before the spinning began.
        fp::load(&fp::pattern(7));
        gic::start_timer(pe as usize, TIMER_MS);
        let stopped = call(ffa::conduit(), next);
        equal(stopped[0], id::INTERRUPT)?;
        equal(stopped[1], vcpu(partition, index))?;
        for register in &stopped[2..8] {
            equal(*register, 0u64)?;
        }
        same(&fp::store(), &fp::pattern(7))?;
        gic::acknowledge(pe as usize)?;
        next = ffa::regs(id::RUN, &[vcpu(partition, index)]);
    }
    Ok(())
}

/// Returns w1 of `FFA_RUN` for this context.
pub(crate) const fn vcpu(partition: u16, index: u16) -> u64 {
    (partition as u64) << 16 | index as u64
}

/// Makes `FFA_RUN` for this context.
pub(crate) fn run(partition: u16, index: u16) -> Regs {
    ffa::call(id::RUN, &[vcpu(partition, index)])
}

/// Tells the preempted partition to end, resumes it, and takes its answer.
pub(crate) fn resume(partition: u16, index: u16, flag: u64, seed: u64) -> Check {
    poke(flag, GO);
    let [answer, ..] = helper_call::answer(NWD, partition, &run(partition, index))?;
    poke(flag, 0);
    equal(answer, !seed)
}

/// Fails unless `partition` refuses a request with `BUSY`.
#[track_caller]
pub(crate) fn is_busy(partition: u16) -> Check {
    let message = request(
        id::DIRECT_REQ_64,
        route(NWD, partition),
        command!(nothing),
        [0; 4],
    );
    ffa::refused(&call(ffa::conduit(), message), BUSY)
}
