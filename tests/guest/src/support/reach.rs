//! Accesses that a partition tries for a test, and that work or end in an abort.

use crate::rt::check::{Check, equal};
use crate::rt::probe;
use crate::rt::stage1::{self, Attributes};
use crate::sp::{Command, Sp};
use crate::{command, helper, nwd};

/// Code of the partitions.
pub const HELPERS: &[Command] = &[helper!(touch)];

/// An access that a partition tries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Try {
    /// A load.
    Read,
    /// A store.
    Write(u32),
    /// A branch.
    Execute,
}

/// The address space to which the stage 1 of the partition maps the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Space {
    /// The Secure one: NS = 0.
    Secure = 0,
    /// The Non-secure one: NS = 1.
    NonSecure = 1,
}

/// An access that ends in an abort.
pub const ABORT: Option<u32> = None;
/// A store or a branch that works.
pub const DONE: Option<u32> = Some(0);

/// Lets `partition` try to reach `address`, and fails unless that gives the value `want`, or an
/// abort if that is wanted.
#[track_caller]
pub fn reaches(partition: u16, address: u64, space: Space, what: Try, want: Option<u32>) -> Check {
    let got = nwd::ask(partition, command!(touch), arguments(address, space, what))?;
    equal(outcome(got), want.map_or(u64::MAX, u64::from))
}

/// Lets `me` ask `partition` to try to reach `address`, and fails like [`reaches`].
#[track_caller]
pub fn reaches_from(me: &Sp, partition: u16, address: u64, what: Try, want: Option<u32>) -> Check {
    let got = me.ask(
        partition,
        command!(touch),
        arguments(address, Space::Secure, what),
    )?;
    equal(outcome(got), want.map_or(u64::MAX, u64::from))
}

/// Lets `partition` read Non-secure memory.
#[track_caller]
pub fn reads(partition: u16, address: u64, want: Option<u32>) -> Check {
    reaches(partition, address, Space::NonSecure, Try::Read, want)
}

fn arguments(address: u64, space: Space, what: Try) -> [u64; 4] {
    let (kind, value) = match what {
        Try::Read => (0, 0),
        Try::Write(value) => (1, value),
        Try::Execute => (2, 0),
    };
    [address, space as u64, kind, value as u64]
}

/// Returns the value, or after an abort a number that no value has.
fn outcome([reached, value, ..]: [u64; 4]) -> u64 {
    if reached == 1 { value } else { u64::MAX }
}

/// Maps a page, reads, writes or executes it, and unmaps it. Results: 1 and the value, or 0 after
/// an abort.
fn touch(_: &Sp, [address, space, kind, value]: [u64; 4]) -> Check<[u64; 4]> {
    let page = address & !0xfff;
    stage1::map(
        page,
        if space == 1 {
            Attributes::NonSecure
        } else {
            Attributes::Anything
        },
    );
    let outcome = match kind {
        0 => probe::read(address),
        // SAFETY: the tests name only addresses that this image does not use.
        1 => unsafe { probe::write(address, value as u32) }.map(|()| 0),
        // SAFETY: whatever can be executed there was written by a test, and returns.
        _ => unsafe { probe::execute(address) }.map(|()| 0),
    };
    stage1::unmap(page);
    match outcome {
        Ok(value) => Ok([1, value as u64, 0, 0]),
        Err(fault) => {
            let class = if kind == 2 {
                probe::Fault::INSTRUCTION_ABORT
            } else {
                probe::Fault::DATA_ABORT
            };
            equal(fault.class(), class)?;
            Ok([0; 4])
        }
    }
}
