//! The places of the GIC's registers: the distributor, and one redistributor for each PE.
//!
//! The boot PE walks over the redistributors once and maps those of the PEs of the manifest. Each
//! PE looks its own up once, when it starts.

use alloc::vec::Vec;
use core::ops::{ControlFlow, Range};
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use spmc::manifest::board::{Board, Gic};

use crate::el2::affinity;
use crate::el2::cpu::header::PrivateFrame;
use crate::el2::memory::stage1;
use crate::el2::per_pe::PerPe;
use crate::redistributor::{Typer, each_redistributor};
use crate::sizes::PAGE;

/// Bytes of the registers of the distributor.
const DISTRIBUTOR_SIZE: u64 = 0x1_0000;

/// Offset of GICR_TYPER in the first frame of a redistributor, RD_base.
const TYPER: u64 = 8;

/// Offset of the second frame, SGI_base, which has the registers of private interrupts.
pub const SGI_FRAME: u64 = 0x1_0000;

/// The address of the distributor.
static DISTRIBUTOR: AtomicU64 = AtomicU64::new(0);

/// See [`Board::lends_cpu_interface`].
static LENDS_CPU_INTERFACE: AtomicBool = AtomicBool::new(false);

/// A redistributor: its address, and its GICR_TYPER.
struct Redistributor {
    base: u64,
    typer: Typer,
}

/// The redistributors of the PEs of the manifest, in no order.
static REDISTRIBUTORS: PerPe<Redistributor> = PerPe::new();

/// Returns the address of the distributor.
#[inline(always)]
pub fn distributor() -> u64 {
    DISTRIBUTOR.load(Ordering::Relaxed)
}

/// Returns whether partitions at S-EL1 access the physical CPU interface.
pub fn lends_cpu_interface() -> bool {
    LENDS_CPU_INTERFACE.load(Ordering::Relaxed)
}

/// Returns where the registers of this PE's private interrupts are.
pub fn own() -> Option<PrivateFrame> {
    let affinity = affinity::own();
    let mut all = REDISTRIBUTORS.all().iter();
    let own = all.find(|one| one.typer.affinity() == affinity)?;
    Some(PrivateFrame {
        base: own.base + SGI_FRAME,
        count: own.typer.private_interrupts(),
    })
}

/// Maps the distributor, and the redistributors of the PEs with the affinities `cpus` and of this
/// PE. Returns whether the distributor is there. Logs a warning if PEs have no redistributor
/// because the regions end too early.
///
/// # Safety
///
/// Called on the boot PE, once, before any other PE is let in. The device tree that describes the
/// board is right.
#[cold]
#[inline(never)]
pub unsafe fn map(board: &Board, gic: &Gic, cpus: &[u64]) -> bool {
    let distributor = gic.distributor.raw();
    // SAFETY: as this function.
    if !unsafe { map_registers(distributor..distributor + DISTRIBUTOR_SIZE) } {
        return false;
    }
    DISTRIBUTOR.store(distributor, Ordering::Relaxed);
    LENDS_CPU_INTERFACE.store(board.lends_cpu_interface, Ordering::Relaxed);

    // The registers that the SPMC uses are in the first page of each frame.
    // SAFETY: as this function: the pages are in a region that has registers.
    let map_page = |page| unsafe { map_registers(page..page + PAGE) };
    // SAFETY: the page was mapped just now, and GICR_TYPER has no side effect.
    let typer = |base| Typer(unsafe { ((base + TYPER) as *const u64).read_volatile() });
    let own = affinity::own();
    let wanted = cpus.iter().filter(|cpu| **cpu != own).count() + 1;
    let mut found = Vec::with_capacity(wanted);
    let regions = gic.redistributors.iter();
    let regions = regions.map(|region| region.base().raw()..region.end().raw());
    let read = |base| map_page(base).then(|| typer(base));
    let has_more = each_redistributor(regions, gic.stride, read, |base, typer| {
        let affinity = typer.affinity();
        let is_wanted = affinity == own || cpus.contains(&affinity);
        if is_wanted && map_page(base + SGI_FRAME) {
            found.push(Redistributor { base, typer });
        }
        if found.len() < wanted {
            ControlFlow::Continue(())
        } else {
            ControlFlow::Break(())
        }
    });
    let is_found = |cpu: &u64| found.iter().any(|one| one.typer.affinity() == *cpu);
    if has_more && let Some(first) = cpus.iter().filter(|cpu| !is_found(cpu)).min() {
        log::warn!(
            "GIC: the regions end after the redistributors of {} of {wanted} PEs, before PE \
             {first:#x}",
            found.len()
        );
    }
    REDISTRIBUTORS.fill(found);
    true
}

/// Maps registers of the GIC. Logs an error if that cannot be done.
///
/// # Safety
///
/// As [`map`].
#[cold]
unsafe fn map_registers(range: Range<u64>) -> bool {
    let start = range.start;
    // SAFETY: the boot PE runs alone, and these are registers (contract above).
    let mapped = unsafe { stage1::map_registers(range) };
    if !mapped {
        log::error!("GIC: EL2 cannot map the registers at {start:#x}");
    }
    mapped
}
