//! The hardware side of partitions' translation: the geometry that `spmc::mm` builds tables for,
//! and TLB maintenance.
//!
//! One root per IPA space, 4 KiB granule, walks from level 1. IPAs have 39 bits: one root table,
//! and within the PA size of every CPU with S-EL2, so that one geometry fits all; or, with the
//! feature `wide-ipa`, 41 bits: a root is four tables, one behind the other.

use core::arch::asm;

use aarch64_cpu::registers::{ID_AA64MMFR0_EL1, VTCR_EL2, VTTBR_EL2};
use spmc::addr::{Ipa, PAGE_SHIFT, PageRange, World};
use spmc::hal::{Stage2Roots, TlbScope};
use tock_registers::interfaces::{Readable, Writeable};

use crate::el2::registers::VSTCR_EL2;

/// Bits of an IPA.
pub const IPA_BITS: u32 = if cfg!(feature = "wide-ipa") { 41 } else { 39 };

/// T0SZ, SL0 = walk from level 1, TG0 = 4 KiB; the same fields in VTCR_EL2 and VSTCR_EL2. Bit 31 is
/// RES1.
const GEOMETRY: u64 = 1 << 31 | 0b01 << 6 | (64 - IPA_BITS as u64);

/// VTCR_EL2 only, and for both: walks are write-back cacheable and inner shareable, VMIDs have 8
/// bits (VS = 0).
const WALKS: u64 = 0b11 << 12 | 0b01 << 10 | 0b01 << 8;

/// Non-secure IPAs lead to Non-secure memory (NSA = 1), by tables that lie in Secure memory (NSW =
/// 0). VSTCR_EL2.SA and SW are both 0: Secure IPAs lead to Secure memory by Secure tables.
const NSA: u64 = 1 << 30;

/// More pages than this are cheaper to forget with everything else of the partition.
pub const MAX_PAGES_BY_ADDRESS: u64 = 64;

/// Sets the geometry on this PE.
pub fn init_pe() {
    // PS: what the PE implements, up to the 48 bits that the descriptors hold.
    let pa_size = (ID_AA64MMFR0_EL1.get() & 0xf).min(5);
    // 2 is 40 bits, the next more is 42.
    assert!(
        IPA_BITS <= 40 || pa_size > 2,
        "physical addresses are narrower than {IPA_BITS} bits"
    );
    VTCR_EL2.set(GEOMETRY | WALKS | NSA | pa_size << 16);
    VSTCR_EL2.set(GEOMETRY);
}

/// Makes new descriptors visible to walks.
pub fn publish() {
    // SAFETY: a barrier.
    unsafe { asm!("dsb ishst", options(nostack, preserves_flags)) };
}

/// Forgets translations of the partition with these `roots` on all PEs, after making table updates
/// visible.
pub fn invalidate(roots: &Stage2Roots, scope: TlbScope<'_>) {
    // TLB maintenance names the partition by the VMID in VTTBR_EL2. No partition runs on this PE
    // meanwhile.
    let loaded = VTTBR_EL2.get();
    VTTBR_EL2.set(u64::from(roots.vmid) << 48 | roots.non_secure.raw());
    // SAFETY: a barrier: updates first; the VMID is in place.
    unsafe { asm!("dsb ishst", "isb", options(nostack, preserves_flags)) };
    match scope {
        TlbScope::Ranges(ranges) if pages(ranges) <= MAX_PAGES_BY_ADDRESS => {
            for (world, range) in ranges {
                invalidate_range(*world, range);
            }
            // What combines both stages is tagged by virtual address; it goes after the stage-2
            // entries are gone.
            // SAFETY: TLB maintenance drops caches only.
            unsafe {
                asm!(
                    "dsb ish",
                    "tlbi vmalle1is",
                    options(nostack, preserves_flags)
                )
            };
        }
        // Both stages, what combines them, and entries of every level: tables may be about to
        // become something else.
        // SAFETY: TLB maintenance drops caches only.
        _ => unsafe { asm!("tlbi vmalls12e1is", options(nostack, preserves_flags)) },
    }
    // SAFETY: a barrier: complete on all PEs.
    unsafe { asm!("dsb ish", options(nostack, preserves_flags)) };
    VTTBR_EL2.set(loaded);
    // SAFETY: a barrier.
    unsafe { asm!("isb", options(nostack, preserves_flags)) };
}

/// All pages of the ranges.
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
        // SAFETY: TLB maintenance drops caches only.
        unsafe {
            asm!("tlbi ipas2e1is, {}", in(reg) space | page, options(nostack, preserves_flags))
        };
    }
}
