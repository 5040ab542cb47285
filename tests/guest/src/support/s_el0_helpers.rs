//! Helpers of partitions at S-EL0, which have no stage 1 of their own.

use crate::ffa::SP3;
use crate::rt::check::{Check, holds};
use crate::rt::{PATIENCE_MS, fp, wait_until};
use crate::sp::{Command, Sp};
use crate::support::spinning::{GO, SPINNING, same};
use crate::{command, helper};

/// Code of the partitions.
pub const HELPERS: &[Command] = &[helper!(spin), helper!(read)];

/// The numbers of the helpers [`spin`] and [`read`].
pub(crate) const SPIN: u32 = command!(spin);
pub(crate) const READ: u32 = command!(read);

/// Keeps the PE, with values in all vector registers, until the Normal world writes to the page
/// that it shared.
fn spin(_: &Sp, [address, seed, ..]: [u64; 4]) -> Check<[u64; 4]> {
    fp::load(&fp::pattern(seed));
    let word = address as *mut u64;
    // SAFETY: the page that the Normal world shared for this.
    unsafe { word.write_volatile(SPINNING) };
    // SAFETY: as above.
    let told = wait_until(PATIENCE_MS, || unsafe { word.read_volatile() } == GO);
    same(&fp::store(), &fp::pattern(seed))?;
    holds(told, told)?;
    Ok([!seed, 0, 0, 0])
}

/// Reads the word at the address in x4.
fn read(_: &Sp, [address, ..]: [u64; 4]) -> Check<[u64; 4]> {
    // SAFETY: a load has no effect on this image. A fault ends the partition, as the test wants.
    Ok([unsafe { (address as *const u64).read_volatile() }, 0, 0, 0])
}

/// Runs `body` as [`crate::support::spinning::with_flag`] does, for sp3.
pub(crate) fn with_flag(body: impl FnOnce(u64) -> Check) -> Check {
    crate::support::spinning::with_flag(SP3, body)
}
