//! Partitions and Normal-world clients in the style of other projects, one file for each style: the
//! calls that they make, their order, and what they insist on in the answers, as their sources
//! show. None of their code is here.
//!
//! The test partitions share habits with the SPMC, since they have the same authors. The guests of
//! this folder have the habits of software in the field, so that tests show where the SPMC is too
//! strict for it.

mod borrow;
pub mod cactus;
pub mod linux;
pub mod odp;
pub mod optee;
pub mod stmm;
pub mod tee;
pub mod tftf;
pub mod trusty;
pub mod uefi;
pub mod xen;

use crate::ffa::{self, id, route};
use crate::rt::call::{Conduit, Regs, call};
use crate::rt::check::{Check, Failure, equal};
use crate::rt::probe::{self, Fault};
use crate::rt::stage1::{self, Attributes};
use crate::sp::Identity;

/// The partition in the style of the Open Device Partnership.
pub const ODP: u16 = 0x8041;
/// The partition in the style of TF-A's test partitions.
pub const CACTUS: u16 = 0x8002;
/// The partition in the style of OP-TEE.
pub const OPTEE: u16 = 0x8003;
/// The partition in the style of Trusty.
pub const TRUSTY: u16 = 0x8004;
/// The partition in the style of EDK2's StandaloneMm.
pub const STMM: u16 = 0x8005;

/// Defines the entry point of a partition that does everything after the mapping of its image in
/// its own way.
#[macro_export]
macro_rules! foreign_partition {
    ($identity:expr, $life:path) => {
        $crate::secure_partition!(@ $identity, |entry| {
            $crate::sp::prepare(&IDENTITY, entry);
            $life(&IDENTITY)
        });
    };
}

/// Makes a call with these registers from x0 on, and zeros behind them.
fn send(registers: &[u64]) -> Regs {
    send_by(ffa::conduit(), registers)
}

fn send_by(conduit: Conduit, registers: &[u64]) -> Regs {
    let mut all = [0; 18];
    all[..registers.len()].copy_from_slice(registers);
    call(conduit, all)
}

/// Writes to the console by `FFA_CONSOLE_LOG` (64), up to `most` characters a call.
fn log(text: &str, most: usize) -> Check {
    for chunk in text.as_bytes().chunks(most) {
        let mut registers = [0; 18];
        registers[0] = id::CONSOLE_LOG_64.into();
        registers[1] = chunk.len() as u64;
        for (to, from) in registers[2..].iter_mut().zip(chunk.chunks(8)) {
            let mut word = [0; 8];
            word[..from.len()].copy_from_slice(from);
            *to = u64::from_le_bytes(word);
        }
        equal(send(&registers)[0], id::SUCCESS)?;
    }
    Ok(())
}

/// Sends a direct request and resumes the partition with `FFA_RUN` while interrupts come, as
/// clients do.
fn request(function: u32, from: u16, partition: u16, words: &[u64]) -> Regs {
    let mut registers = [0; 18];
    [registers[0], registers[1]] = [function.into(), route(from, partition)];
    registers[3..3 + words.len()].copy_from_slice(words);
    let mut answer = send(&registers);
    while answer[0] == u64::from(id::INTERRUPT) {
        answer = send(&[id::RUN.into(), answer[1]]);
    }
    answer
}

/// Checks an answer whose x3 is 0 or the line of a check that failed in the partition, and returns
/// x4.
#[track_caller]
fn outcome(answer: &Regs, function: u32, partition: u16, from: u16) -> Check<u64> {
    if answer[0] == u64::from(id::ERROR) {
        equal(answer[2], 0u64)?;
    }
    equal(answer[0], function)?;
    equal(answer[1], route(partition, from))?;
    equal(answer[2], 0u64)?;
    if answer[3] != 0 {
        return Err(Failure::Partition {
            at: core::panic::Location::caller(),
            id: partition,
            line: answer[3],
            got: answer[4],
            want: 0,
        });
    }
    Ok(answer[4])
}

/// Returns w1 of the answer to a message with `w1`.
fn swapped(w1: u64) -> u64 {
    w1 >> 16 & 0xffff | (w1 & 0xffff) << 16
}

/// Returns the line of the check that failed, or 0 if none did.
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

/// Adds 1 to the word at `address` of Non-secure memory, and returns the word before.
fn increment(address: u64) -> Result<u32, Fault> {
    stage1::map(address, Attributes::NonSecure);
    let word = probe::read(address);
    // SAFETY: the page was lent or shared by a test, for this.
    let done = word.and_then(|word| unsafe { probe::write(address, word + 1) });
    stage1::unmap(address);
    done.and(word)
}
