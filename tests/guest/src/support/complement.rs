//! The helper for tests to which any answer of a partition will do: it answers with the complement
//! of its arguments.

use crate::ffa::{SP1, SP2};
use crate::nwd::ask;
use crate::rt::check::{Check, equal};
use crate::sp::{Command, Sp};
use crate::{command, helper};

/// Code of the partitions.
pub const HELPERS: &[Command] = &[helper!(complement)];

/// The number of the helper.
pub const COMPLEMENT: u32 = command!(complement);

fn complement(_: &Sp, arguments: [u64; 4]) -> Check<[u64; 4]> {
    Ok(arguments.map(|word| !word))
}

/// Fails unless `partition` answers the Normal world.
#[track_caller]
pub fn answers(partition: u16, word: u64) -> Check {
    let [answer, ..] = ask(partition, COMPLEMENT, [word, 0, 0, 0])?;
    equal(answer, !word)
}

/// Fails unless sp1 and sp2 answer on this PE.
pub fn both_answer([word, ..]: [u64; 4]) -> Check<[u64; 4]> {
    answers(SP1, word)?;
    answers(SP2, word)?;
    Ok([0; 4])
}
