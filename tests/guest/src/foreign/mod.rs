//! Partitions and Normal-world clients in the style of others, one file for each style: what they send, in which order, and
//! what they insist on in the answers, as their sources show. None of it is their code.
//!
//! Our own guests share habits with the SPMC: the same hands wrote both. What is here has the habits of software that is in
//! the field, so that strictness that would break it shows.

pub mod linux;
pub mod odp;

use crate::ffa;
use crate::rt::call::{Regs, call};
use crate::rt::check::{Check, Failure};
use crate::rt::probe::{self, Fault};
use crate::rt::stage1::{self, Attributes};
use crate::sp::Identity;

/// The partition in the style of the Open Device Partnership.
pub const ODP: u16 = 0x8001;

/// Entry point of a partition that does everything after the mapping of its image in its own way.
#[macro_export]
macro_rules! foreign_partition {
    ($identity:expr, $life:path) => {
        $crate::secure_partition!(@ $identity, |entry| {
            $crate::sp::prepare(&IDENTITY, entry);
            $life(&IDENTITY)
        });
    };
}

/// Makes a call with these registers from x0 on, and zeroes behind them.
fn send(registers: &[u64]) -> Regs {
    let mut all = [0; 18];
    all[..registers.len()].copy_from_slice(registers);
    call(ffa::conduit(), all)
}

/// Returns w1 of the answer to a message with `w1`.
fn swapped(w1: u64) -> u64 {
    w1 >> 16 & 0xffff | (w1 & 0xffff) << 16
}

/// Returns the line of the check that failed, 0 if none did.
fn line(result: &Check) -> u64 {
    match result {
        Ok(()) => 0,
        Err(Failure::Check { at, .. } | Failure::Partition { at, .. }) => at.line().into(),
        Err(Failure::Skip(_)) => 1,
    }
}

/// Gives up, as a partition whose initialisation failed.
fn give_up(identity: &Identity, why: &Failure) -> ! {
    crate::println!("# {}: {why}", identity.name);
    crate::sp::give_up()
}

/// Adds 1 to the word at `address` of Non-secure memory, and returns what it was.
fn increment(address: u64) -> Result<u32, Fault> {
    stage1::map(address, Attributes::NonSecure);
    let word = probe::read(address);
    // SAFETY: the page was lent or shared by a test, for this.
    let done = word.and_then(|word| unsafe { probe::write(address, word + 1) });
    stage1::unmap(address);
    done.and(word)
}
