//! The hardware side of partitions' translation: the geometry of the tables that `spmc::mm` builds,
//! and TLB maintenance.
//!
//! There is one root for each IPA space, and the granule is 4 KiB. The engine chooses the rest of
//! the [`Geometry`] on the boot PE, before there are any tables: how many bits an IPA has, and at
//! which level walks start.

use core::arch::asm;
use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use aarch64_cpu::registers::{ID_AA64MMFR0_EL1, VTCR_EL2, VTTBR_EL2};
use spmc::addr::{Ipa, PAGE_SHIFT, Pa, PageRange, World};
use spmc::geometry::Geometry;
use spmc::hal::TlbScope;
use tock_registers::interfaces::{Readable, Writeable};

use super::stage1;

struct Chosen(UnsafeCell<Geometry>);

// SAFETY: only the boot PE writes, in `set_geometry`, before any other PE is let in. All other
// accesses are reads that come later.
unsafe impl Sync for Chosen {}

static GEOMETRY: Chosen = Chosen(UnsafeCell::new(Geometry::SMALL));

/// Returns T0SZ, SL0 (the level at which walks start) and TG0 (4 KiB): the same fields in VTCR_EL2
/// and VSTCR_EL2. Bit 31 is RES1.
const fn fields(geometry: Geometry) -> u64 {
    let sl0 = if geometry.level() == 0 { 0b10 } else { 0b01 };
    1 << 31 | sl0 << 6 | (64 - geometry.bits() as u64)
}

/// Fields of VTCR_EL2 that apply to walks of both spaces: Write-Back cacheable, Inner Shareable;
/// VMIDs have 8 bits (VS = 0).
const WALKS: u64 = 0b11 << 12 | 0b01 << 10 | 0b01 << 8;

/// VTCR_EL2.NSA: Non-secure IPAs translate to Non-secure PAs. NSW = 0: their tables lie in Secure
/// memory. VSTCR_EL2.SA and SW are 0: Secure IPAs translate to Secure PAs, by tables in Secure
/// memory.
const NSA: u64 = 1 << 30;

static SECURE_CONTROL: AtomicU64 = AtomicU64::new(fields(Geometry::SMALL));

/// Returns the value of VSTCR_EL2.
#[inline(always)]
pub fn secure_control() -> u64 {
    SECURE_CONTROL.load(Ordering::Relaxed)
}

/// The largest number of pages that are invalidated by address. For more, it is cheaper to
/// invalidate all translations of the partition.
pub const MAX_PAGES_BY_ADDRESS: u64 = 64;

/// The encoding of 48 bits in ID_AA64MMFR0_EL1.PARange and in VTCR_EL2.PS.
const PS_48_BITS: u64 = 5;

/// Returns the size of physical addresses that this PE implements, as encoded in PARange, limited
/// to the 48 bits that descriptors hold.
fn pa_size() -> u64 {
    (ID_AA64MMFR0_EL1.get() & 0xf).min(PS_48_BITS)
}

/// Returns how many bits the physical addresses of this PE have, up to 48.
#[inline(never)]
pub fn address_bits() -> u32 {
    const BITS: [u8; 6] = [32, 36, 40, 42, 44, 48];
    BITS[pa_size() as usize].into()
}

/// See [`spmc::hal::Hal::set_geometry`].
pub fn set_geometry(geometry: Geometry) {
    // SAFETY: called on the boot PE, before any other PE is let in (contract of `Hal`), while no
    // reference to the geometry exists.
    unsafe { *GEOMETRY.0.get() = geometry };
    SECURE_CONTROL.store(fields(geometry), Ordering::Relaxed);
    init_pe();
    if geometry.stage1().level() == 0 {
        stage1::widen();
    }
}

/// See [`spmc::hal::Hal::geometry`].
pub fn geometry() -> Geometry {
    // SAFETY: nothing writes at the same time (see `Chosen`).
    unsafe { *GEOMETRY.0.get() }
}

/// Programs the geometry on this PE. VSTCR_EL2 is written in each stay ([`secure_control`]).
#[inline(never)]
pub fn init_pe() {
    let geometry = geometry();
    assert!(
        geometry.bits() <= address_bits(),
        "too few bits of physical addresses"
    );
    VTCR_EL2.set(fields(geometry) | WALKS | NSA | pa_size() << 16);
}

/// Makes new descriptors visible to table walks.
pub fn publish() {
    // SAFETY: a barrier changes no state.
    unsafe { asm!("dsb ishst", options(nostack, preserves_flags)) };
}

/// Set if a PE may complete TLBIs early, see [`errata`](crate::errata).
static REPEATS: AtomicBool = AtomicBool::new(false);

/// Makes each [`complete`] from now on, on any PE, take two steps.
pub fn repeat_tlbis() {
    REPEATS.store(true, Ordering::Relaxed);
    // SAFETY: a barrier changes no state. Every PE that invalidates what this PE translates from
    // now on sees the flag.
    unsafe { asm!("dsb ish", options(nostack, preserves_flags)) };
}

/// Waits until TLBIs that this PE has broadcast are complete on all PEs, and with them everything
/// that was translated by what they invalidated.
#[inline(always)]
pub fn complete() {
    // SAFETY: a barrier changes no state.
    unsafe { asm!("dsb ish", options(nostack, preserves_flags)) };
    if REPEATS.load(Ordering::Relaxed) {
        // SAFETY: TLB maintenance only drops cached translations. Any broadcast TLBI does.
        unsafe {
            asm!(
                "tlbi vale2is, xzr",
                "dsb ish",
                options(nostack, preserves_flags)
            )
        };
    }
}

/// Invalidates translations of the partition with this `vmid` on all PEs, after making updates of
/// its tables visible. Returns when no PE can use them any more. `non_secure` is the root of its
/// Non-secure IPA space.
pub fn invalidate(vmid: u16, non_secure: Pa, scope: TlbScope<'_>) {
    // TLB maintenance applies to the VMID in VTTBR_EL2. No partition runs on this PE until the old
    // value is back.
    let loaded = VTTBR_EL2.get();
    VTTBR_EL2.set(u64::from(vmid) << 48 | non_secure.raw());
    // SAFETY: barriers change no state. DSB completes the table updates; ISB makes the new VMID
    // effective for the TLBIs.
    unsafe { asm!("dsb ishst", "isb", options(nostack, preserves_flags)) };
    match scope {
        TlbScope::Ranges(ranges) if pages(ranges) <= MAX_PAGES_BY_ADDRESS => {
            for (world, range) in ranges {
                invalidate_range(*world, range);
            }
            // Combined entries of both stages are tagged by virtual address. They are invalidated
            // after the stage-2 entries, from which a PE could otherwise make them again.
            // SAFETY: TLB maintenance only drops cached translations.
            unsafe {
                asm!(
                    "dsb ish",
                    "tlbi vmalle1is",
                    options(nostack, preserves_flags)
                )
            };
        }
        // Entries of both stages, combined entries, and entries of every level: a table may be
        // about to be used for something else.
        // SAFETY: TLB maintenance only drops cached translations.
        _ => unsafe { asm!("tlbi vmalls12e1is", options(nostack, preserves_flags)) },
    }
    complete();
    VTTBR_EL2.set(loaded);
    // SAFETY: a barrier changes no state.
    unsafe { asm!("isb", options(nostack, preserves_flags)) };
}

/// Returns the number of pages in all ranges.
pub fn pages(ranges: &[(World, PageRange<Ipa>)]) -> u64 {
    ranges
        .iter()
        .fold(0, |sum, (_, range)| sum.saturating_add(range.pages()))
}

fn invalidate_range(world: World, range: &PageRange<Ipa>) {
    const NON_SECURE_IPA: u64 = 1 << 63;
    let space = if world == World::NonSecure {
        NON_SECURE_IPA
    } else {
        0
    };
    let first = range.base().raw() >> PAGE_SHIFT;
    for page in first..first + range.pages() {
        // SAFETY: TLB maintenance only drops cached translations.
        unsafe {
            asm!("tlbi ipas2e1is, {}", in(reg) space | page, options(nostack, preserves_flags))
        };
    }
}
