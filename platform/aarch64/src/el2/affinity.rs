//! The affinities of the PEs that have run.

use alloc::vec::Vec;
use core::sync::atomic::{AtomicU64, Ordering};

use aarch64_cpu::registers::MPIDR_EL1;
use tock_registers::interfaces::Readable;

use super::per_pe::PerPe;

/// The affinity fields of MPIDR_EL1.
const FIELDS: u64 = 0xff_00ff_ffff;

/// MPIDR_EL1 of each PE that has run, by index, and 0 for all other PEs: no PE has the value 0,
/// because bit 31 is RES1. Each PE writes its own element; the entry code reads all of them.
pub static OF_PES: PerPe<AtomicU64> = PerPe::new();

/// Makes room for that many PEs, as [`PerPe::fill`] does.
pub fn make_room(count: usize) {
    OF_PES.fill((0..count).map(|_| AtomicU64::new(0)).collect::<Vec<_>>());
}

/// Returns the affinity of this PE: Aff3:Aff2:Aff1:Aff0.
pub fn own() -> u64 {
    MPIDR_EL1.get() & FIELDS
}

/// Records the affinity of this PE under `index`.
pub fn introduce(index: usize) {
    if let Some(own) = OF_PES.all().get(index) {
        own.store(MPIDR_EL1.get(), Ordering::Relaxed);
    }
}

/// Returns whether the PE with that index has run.
pub fn has_run(index: usize) -> bool {
    let pe = OF_PES.all().get(index);
    pe.is_some_and(|pe| pe.load(Ordering::Relaxed) != 0)
}

/// Returns the affinity of the PE with that index, if it has run.
pub fn of(index: u64) -> Option<u64> {
    let pe = OF_PES.all().get(usize::try_from(index).ok()?)?;
    let mpidr = pe.load(Ordering::Relaxed);
    (mpidr != 0).then_some(mpidr & FIELDS)
}
