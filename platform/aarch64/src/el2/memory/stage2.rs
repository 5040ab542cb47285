//! The hardware side of partitions' translation: the geometry of the tables that `spmc::mm` builds,
//! and TLB maintenance.
//!
//! There is one root for each IPA space. The granule is 4 KiB, and walks start at level 1. IPAs
//! have 39 bits: the root is one table, and every CPU with S-EL2 has a PA size of at least that.
//! With the feature `wide-ipa`, IPAs have 41 bits, and the root is four concatenated tables.

use core::arch::asm;

use aarch64_cpu::registers::{ID_AA64MMFR0_EL1, VTCR_EL2, VTTBR_EL2};
use spmc::addr::{Ipa, PAGE_SHIFT, Pa, PageRange, World};
use spmc::hal::TlbScope;
use tock_registers::interfaces::{Readable, Writeable};

/// Bits of an IPA.
pub const IPA_BITS: u32 = if cfg!(feature = "wide-ipa") { 41 } else { 39 };

/// T0SZ, SL0 (walks start at level 1) and TG0 (4 KiB): the same fields in VTCR_EL2 and VSTCR_EL2.
/// Bit 31 is RES1.
const GEOMETRY: u64 = 1 << 31 | 0b01 << 6 | (64 - IPA_BITS as u64);

/// Fields of VTCR_EL2 that apply to walks of both spaces: Write-Back cacheable, Inner Shareable;
/// VMIDs have 8 bits (VS = 0).
const WALKS: u64 = 0b11 << 12 | 0b01 << 10 | 0b01 << 8;

/// VTCR_EL2.NSA: Non-secure IPAs translate to Non-secure PAs. NSW = 0: their tables lie in Secure
/// memory. VSTCR_EL2.SA and SW are 0: Secure IPAs translate to Secure PAs, by tables in Secure
/// memory.
const NSA: u64 = 1 << 30;

/// VSTCR_EL2.
pub const SECURE_CONTROL: u64 = GEOMETRY;

/// The largest number of pages that are invalidated by address. For more, it is cheaper to
/// invalidate all translations of the partition.
pub const MAX_PAGES_BY_ADDRESS: u64 = 64;

/// Programs the geometry on this PE. VSTCR_EL2 is written in each stay ([`SECURE_CONTROL`]).
pub fn init_pe() {
    // PS is the size that the PE implements, limited to the 48 bits that descriptors hold.
    let pa_size = (ID_AA64MMFR0_EL1.get() & 0xf).min(5);
    // The encoding 2 is 40 bits; the next larger size is 42 bits.
    assert!(
        IPA_BITS <= 40 || pa_size > 2,
        "physical addresses are narrower than {IPA_BITS} bits"
    );
    VTCR_EL2.set(GEOMETRY | WALKS | NSA | pa_size << 16);
}

/// Makes new descriptors visible to table walks.
pub fn publish() {
    // SAFETY: a barrier changes no state.
    unsafe { asm!("dsb ishst", options(nostack, preserves_flags)) };
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
    // SAFETY: a barrier changes no state. It waits until the TLBIs are complete on all PEs.
    unsafe { asm!("dsb ish", options(nostack, preserves_flags)) };
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
