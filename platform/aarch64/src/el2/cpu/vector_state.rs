//! FP, Advanced SIMD and SVE registers of partitions and of the Normal world.
//!
//! Partitions have FP and Advanced SIMD, and SVE if their manifests ask for it; SME traps. The
//! Normal world may use all of them when it calls: Z, P and FFR are saved at the vector length that
//! it uses, in or out of streaming mode. ZA and ZT0 need not be saved, since no instruction that a
//! partition may execute accesses them, and PSTATE.ZA does not change.
//!
//! A partition with SVE has the vector length of its manifest, to which ZCR_EL2 limits it. Its
//! whole state is loaded on the first use of any vector register in a stay, before which the Normal
//! world's streaming mode has ended, so that it never sees what others left: bits beyond an earlier
//! vector length are not zeroed by the PE (Arm ARM B1.2.2). Other partitions access the low 128
//! bits of each vector only. EL3 does not switch ZCR_EL2. For the same reason, what a partition
//! leaves beyond the Normal world's length is zeroed before the Normal world has the PE again: it
//! may choose a greater length later.

use alloc::vec;
use core::arch::{asm, global_asm};
use core::ptr::NonNull;
use core::sync::atomic::{AtomicBool, AtomicU16, Ordering};

use aarch64_cpu::registers::{CPTR_EL2, ID_AA64PFR0_EL1, ID_AA64PFR1_EL1};
use spmc::ffa::SmcFrame;
use spmc::vector_length::VectorLength;
use tock_registers::interfaces::{Readable, Writeable};

use super::context::FpState;
use crate::el2::memory::{BOOT, bulk};
use crate::el2::registers::{FPMR, ID_AA64SMFR0_EL1, SMCR_EL2, SVCR, ZCR_EL2, ZCR_EL12};
use crate::el2::smc;
use crate::traps;

// CPTR_EL2 with E2H = 1. The xEN fields enable access for EL2 and for lower Exception levels alike.
const CPTR_ZEN: u64 = 0b11 << 16; // SVE; RES0 without SVE
const CPTR_FPEN: u64 = 0b11 << 20; // FP, Advanced SIMD and everything that depends on them
const CPTR_SMEN: u64 = 0b11 << 24; // SME; RES0 without SME

/// CPTR_EL2 for a partition whose FP registers are loaded.
pub const CPTR_FP_OPEN: u64 = traps::CPTR | CPTR_FPEN;

/// CPTR_EL2 for a partition whose SVE registers are loaded.
const CPTR_SVE_OPEN: u64 = CPTR_FP_OPEN | CPTR_ZEN;

/// PSTATE.SM in SVCR.
const SVCR_SM: u64 = 1 << 0;

/// LEN of ZCR_EL2 and SMCR_EL2: selects the greatest length that the PE has and EL3 permits.
const LONGEST: u64 = 0xf;

/// Fields that say whether FFR exists in streaming mode (FEAT_SME_FA64): the enable bit in
/// SMCR_EL2, and the feature in ID_AA64SMFR0_EL1.
const SMCR_FA64: u64 = 1 << 31;
const SMFR0_FA64: u64 = 1 << 63;

global_asm!(
    r#"
.arch_extension fp
.arch_extension simd
.arch_extension sve
.arch_extension sme

.section .text.vector_state, "ax"

// V0 to V31: stores to [x0] (v_store), loads from [x0] (v_load).
.macro v_all op
    \op     q0, q1, [x0, #0]
    \op     q2, q3, [x0, #32]
    \op     q4, q5, [x0, #64]
    \op     q6, q7, [x0, #96]
    \op     q8, q9, [x0, #128]
    \op     q10, q11, [x0, #160]
    \op     q12, q13, [x0, #192]
    \op     q14, q15, [x0, #224]
    \op     q16, q17, [x0, #256]
    \op     q18, q19, [x0, #288]
    \op     q20, q21, [x0, #320]
    \op     q22, q23, [x0, #352]
    \op     q24, q25, [x0, #384]
    \op     q26, q27, [x0, #416]
    \op     q28, q29, [x0, #448]
    \op     q30, q31, [x0, #480]
    ret
.endm

.global v_store
v_store:
    v_all stp
.global v_load
v_load:
    v_all ldp

// Z0 to Z31 at [x0], P0 to P15 and FFR at [x1]. FFR is left out if x2 = 0.
.macro z_all op
    .irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31
    \op     z\n, [x0, #\n, mul vl]
    .endr
.endm
.macro p_all op
    .irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
    \op     p\n, [x1, #\n, mul vl]
    .endr
.endm

.global z_store
z_store:
    z_all   str
    p_all   str
    cbz     x2, 1f
    rdffr   p0.b
    str     p0, [x1, #16, mul vl]
1:  ret

.global z_load
z_load:
    z_all   ldr
    cbz     x2, 2f
    ldr     p0, [x1, #16, mul vl]
    wrffr   p0.b
2:  p_all   ldr
    ret

// Zeroes Z0 to Z31, P0 to P15 and FFR.
.global z_zero
z_zero:
    .irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31
    mov     z\n\().b, #0
    .endr
    .irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
    pfalse  p\n\().b
    .endr
    wrffr   p0.b
    ret

// Return the bytes of a Z register, out of and in streaming mode.
.global z_bytes
z_bytes:
    rdvl    x0, #1
    ret
.global z_streaming_bytes
z_streaming_bytes:
    rdsvl   x0, #1
    ret

.arch_extension nosme
.arch_extension nosve
.arch_extension nosimd
.arch_extension nofp
"#
);

unsafe extern "C" {
    fn v_store(v: *mut u8);
    fn v_load(v: *const u8);
    fn z_store(z: *mut u8, predicates: *mut u8, ffr: u64);
    fn z_load(z: *const u8, predicates: *const u8, ffr: u64);
    fn z_zero();
    fn z_bytes() -> usize;
    fn z_streaming_bytes() -> usize;
}

fn has_sve() -> bool {
    ID_AA64PFR0_EL1.get() >> 32 & 0xf != 0
}

/// Returns whether the PE has SME.
pub fn has_sme() -> bool {
    ID_AA64PFR1_EL1.get() >> 24 & 0xf != 0
}

/// Set if the Secure world may use FP, Advanced SIMD, and SVE and SME as far as the PE has them.
static AVAILABLE: AtomicBool = AtomicBool::new(false);

/// Finds out whether EL3 lets the Secure world use the vector registers. If EL3 enables SVE or SME
/// for the Normal world only, nobody can save the Normal world's registers, so partitions have no
/// FP then. CPTR_EL3 decides about that; EL2 can only ask (SMCCC_ARCH_FEATURE_AVAILABILITY, DEN0028
/// 1.6). An EL3 that does not know the question may stop the PE at the first use of a vector
/// register, so the likely cause is logged before.
#[cold]
pub fn probe() {
    let sve = if has_sve() { CPTR_EL3_EZ } else { 0 };
    let sme = if has_sme() { CPTR_EL3_ESM } else { 0 };
    let wanted = sve | sme;
    let mut call = SmcFrame::new([FEATURE_AVAILABILITY, CPTR_EL3]);
    if wanted != 0 {
        smc::smc(&mut call);
    }
    let available = match call.x {
        _ if wanted == 0 => true,
        [0, enabled, ..] => enabled & wanted == wanted,
        _ => {
            log::info!(
                "SVE or SME: if this is the last line, ENABLE_SVE_FOR_SWD or ENABLE_SME_FOR_SWD is off"
            );
            true
        }
    };
    if !available {
        log::error!(
            "EL3 keeps SVE or SME from the Secure world (ENABLE_SVE_FOR_SWD, ENABLE_SME_FOR_SWD): partitions have no FP"
        );
    }
    AVAILABLE.store(available, Ordering::Relaxed);
    if available && has_sme() {
        open_all();
        HAS_FPMR.store(bulk::has_fpmr(), Ordering::Relaxed);
        HAS_STREAMING_FFR.store(has_streaming_ffr(), Ordering::Relaxed);
        CPTR_EL2.set(traps::CPTR);
        synchronize();
    }
}

/// Set if a change of streaming mode would make the Normal world lose its FPMR, and EL2 can access
/// the register. Partitions cannot, so nothing else changes it.
static HAS_FPMR: AtomicBool = AtomicBool::new(false);

/// Set if FFR exists in streaming mode as soon as SMCR_EL2.FA64 is set. That has no effect if EL3
/// leaves SMCR_EL3.FA64 at 0: reading FFR is then an exception at EL2, and nobody has an FFR.
static HAS_STREAMING_FFR: AtomicBool = AtomicBool::new(false);

/// Finds out the value of [`HAS_STREAMING_FFR`]. Everything is enabled, and no vector register has
/// a value that matters.
fn has_streaming_ffr() -> bool {
    if ID_AA64SMFR0_EL1.get() & SMFR0_FA64 == 0 {
        return false;
    }
    let (control, mode) = (SMCR_EL2.get(), SVCR.get());
    SMCR_EL2.set(control | SMCR_FA64);
    SVCR.set(mode | SVCR_SM);
    synchronize();
    let has = bulk::has_ffr();
    SVCR.set(mode);
    SMCR_EL2.set(control);
    has
}

/// SMCCC_ARCH_FEATURE_AVAILABILITY, and what selects CPTR_EL3 in it: the fields of its encoding.
const FEATURE_AVAILABILITY: u64 = 0xc000_0003;
const CPTR_EL3: u64 = 0x1e_1140;

/// CPTR_EL3.EZ and ESM: SVE and SME are enabled.
const CPTR_EL3_EZ: u64 = 1 << 8;
const CPTR_EL3_ESM: u64 = 1 << 12;

/// Returns whether partitions have FP and Advanced SIMD.
pub fn is_available() -> bool {
    AVAILABLE.load(Ordering::Relaxed)
}

fn synchronize() {
    // SAFETY: a barrier changes no state.
    unsafe { asm!("isb", options(nostack, preserves_flags)) };
}

/// Enables all of FP, Advanced SIMD, SVE and SME that the PE has.
fn open_all() {
    let mut cptr = CPTR_FP_OPEN;
    if has_sve() {
        cptr |= CPTR_ZEN;
    }
    if has_sme() {
        cptr |= CPTR_SMEN;
    }
    CPTR_EL2.set(cptr);
    synchronize();
}

/// Returns whether the PE, which has SME, is in streaming mode. Leaves everything enabled, as
/// [`open_all`] does.
pub fn is_streaming() -> bool {
    open_all();
    SVCR.get() & SVCR_SM != 0
}

/// Returns FPSR and FPCR.
fn status() -> (u64, u64) {
    let (fpsr, fpcr);
    // SAFETY: reads two registers, access to which the caller has enabled in CPTR_EL2.
    unsafe {
        asm!("mrs {}, s3_3_c4_c4_1", "mrs {}, s3_3_c4_c4_0", out(reg) fpsr, out(reg) fpcr, options(nomem, nostack));
    }
    (fpsr, fpcr)
}

fn set_status(fpsr: u64, fpcr: u64) {
    // SAFETY: the SPMC has no floating-point code that these registers could affect. The caller has
    // enabled access in CPTR_EL2.
    unsafe {
        asm!("msr s3_3_c4_c4_1, {}", "msr s3_3_c4_c4_0, {}", in(reg) fpsr, in(reg) fpcr, options(nomem, nostack));
    }
}

/// Loads the FP registers of a partition and leaves access to them enabled.
pub fn load_fp(fp: &FpState) {
    CPTR_EL2.set(CPTR_FP_OPEN);
    synchronize();
    // SAFETY: `v` has the size of V0 to V31. The SPMC is compiled without use of these registers.
    unsafe { v_load((&raw const fp.v).cast()) };
    set_status(fp.fpsr, fp.fpcr);
}

/// Stores the FP registers of a partition, access to which [`load_fp`] left enabled.
pub fn save_fp(fp: &mut FpState) {
    // SAFETY: `v` has the size of V0 to V31.
    unsafe { v_store((&raw mut fp.v).cast()) };
    (fp.fpsr, fp.fpcr) = status();
}

/// The SVE registers of a context whose partition has SVE.
pub struct ScalableState {
    /// Z0 to Z31, P0 to P15 and FFR, without gaps.
    registers: &'static mut [u128],
    length: VectorLength,
    /// ZCR_EL1, by which the partition chooses a shorter length.
    limit: u64,
}

impl ScalableState {
    /// Allocates registers with vectors of that length, all zero.
    pub fn new(length: VectorLength) -> Self {
        MOST_PROMISED.fetch_max(length.bits(), Ordering::Relaxed);
        Self {
            registers: vec![0; length.state_quadwords()].leak(),
            length,
            limit: 0,
        }
    }

    /// Makes all registers zero.
    pub fn reset(&mut self) {
        self.registers.fill(0);
        self.limit = 0;
    }

    /// Returns the addresses of Z0 and of P0.
    fn places(&mut self) -> (*mut u8, *mut u8) {
        let registers = self.registers.as_mut_ptr();
        let predicates = registers.wrapping_add(32 * self.length.quadwords());
        (registers.cast(), predicates.cast())
    }

    /// Loads the registers and leaves access to them enabled.
    pub fn load(&mut self, fp: &FpState) {
        ZCR_EL2.set(self.length.quadwords() as u64 - 1);
        ZCR_EL12.set(self.limit);
        synchronize();
        let (registers, predicates) = self.places();
        // SAFETY: the memory has the size of all registers at the length that ZCR_EL2 selects, and
        // `open_scalable` has enabled them. FFR exists, since `VectorArea::save` left streaming
        // mode.
        unsafe { z_load(registers, predicates, 1) };
        set_status(fp.fpsr, fp.fpcr);
    }

    /// Stores the registers, which [`Self::load`] loaded.
    pub fn save(&mut self, fp: &mut FpState) {
        let (registers, predicates) = self.places();
        // SAFETY: as in `load`. ZCR_EL2 has not changed since.
        unsafe { z_store(registers, predicates, 1) };
        self.limit = ZCR_EL12.get();
        (fp.fpsr, fp.fpcr) = status();
    }
}

/// Enables SVE for the context that is about to be loaded.
pub fn open_scalable() {
    CPTR_EL2.set(CPTR_SVE_OPEN);
    synchronize();
}

/// The bits of the longest vectors that a partition was promised.
static MOST_PROMISED: AtomicU16 = AtomicU16::new(0);

/// Returns whether this PE has the vectors that partitions were promised.
pub fn has_promised_vectors() -> bool {
    let promised = MOST_PROMISED.load(Ordering::Relaxed);
    promised == 0 || longest().is_some_and(|longest| promised <= longest.bits())
}

/// Returns the greatest vector length of this PE that partitions can have.
pub fn longest() -> Option<VectorLength> {
    if !is_available() || !has_sve() {
        return None;
    }
    open_all();
    let bits = longest_bytes() as u32 * 8;
    CPTR_EL2.set(traps::CPTR);
    synchronize();
    // There may be lengths that are no powers of two, but only beside all powers of two below.
    VectorLength::from_bits(1 << bits.ilog2())
}

/// Returns the bytes of a vector of SVE at the greatest length of this PE. SVE is enabled.
fn longest_bytes() -> usize {
    let limit = ZCR_EL2.get();
    ZCR_EL2.set(LONGEST);
    synchronize();
    // SAFETY: SVE is implemented and enabled (contract above).
    let bytes = unsafe { z_bytes() };
    ZCR_EL2.set(limit);
    bytes
}

/// Returns the bytes of Z0 to Z31 at the greatest vector length of this PE, in or out of streaming
/// mode.
pub fn register_file_bytes() -> usize {
    let mut length = size_of::<u128>();
    if !is_available() {
        return 32 * length;
    }
    open_all();
    if has_sve() {
        length = length.max(longest_bytes());
    }
    if has_sme() {
        let limit = SMCR_EL2.get();
        SMCR_EL2.set(limit | LONGEST);
        synchronize();
        // SAFETY: SME is implemented, and `open_all` has enabled it.
        length = length.max(unsafe { z_streaming_bytes() });
        SMCR_EL2.set(limit);
    }
    CPTR_EL2.set(traps::CPTR);
    synchronize();
    32 * length
}

/// Bytes of P0 to P15 and FFR at the largest vector length of the architecture, 2048 bits.
const PREDICATE_BYTES: usize = 17 * 32;

/// The memory for the Normal world's vector registers.
#[repr(C, align(16))]
pub struct VectorArea {
    predicates: [u8; PREDICATE_BYTES],
    /// Memory for Z0 to Z31, or for V0 to V31 on a PE without SVE.
    registers: Option<NonNull<u8>>,
    bytes: usize,
    svcr: u64,
    fpsr: u64,
    fpcr: u64,
    /// FPMR, if the registers were saved in streaming mode.
    fpmr: u64,
    /// ZCR_EL2 and ZCR_EL1, while a partition with SVE has others.
    limits: Option<(u64, u64)>,
}

impl VectorArea {
    /// An area without memory for the vector registers.
    pub const NEW: Self = Self {
        predicates: [0; PREDICATE_BYTES],
        registers: None,
        bytes: 0,
        svcr: 0,
        fpsr: 0,
        fpcr: 0,
        fpmr: 0,
        limits: None,
    };

    /// Gives the area memory for `bytes` of vector registers.
    ///
    /// # Safety
    ///
    /// As for `BootAllocator::carve`.
    pub unsafe fn carve(&mut self, bytes: usize) {
        // SAFETY: contract above.
        self.registers = Some(unsafe { BOOT.carve(bytes, align_of::<u128>()) });
        self.bytes = bytes;
    }

    /// Returns whether the area has memory for `bytes` of vector registers.
    pub fn holds(&self, bytes: usize) -> bool {
        self.registers.is_some() && self.bytes >= bytes
    }

    fn registers(&self) -> *mut u8 {
        match self.registers {
            Some(registers) => registers.as_ptr(),
            None => panic!("no memory for vector registers"),
        }
    }

    /// Returns whether there are Z and P registers, and whether there is an FFR, in the mode that
    /// `svcr` selects.
    fn shape(svcr: u64) -> (bool, bool) {
        let streaming = svcr & SVCR_SM != 0;
        let full = || HAS_STREAMING_FFR.load(Ordering::Relaxed) && SMCR_EL2.get() & SMCR_FA64 != 0;
        (streaming || has_sve(), has_sve() && (!streaming || full()))
    }

    /// Saves the registers and leaves streaming mode, in which Advanced SIMD would not work for
    /// partitions.
    pub fn save(&mut self) {
        let registers = self.registers();
        open_all();
        self.svcr = if has_sme() { SVCR.get() } else { 0 };
        let (scalable, ffr) = Self::shape(self.svcr);
        // SAFETY: the memory has room for all registers at their greatest length, and `open_all`
        // has enabled them.
        unsafe {
            if scalable {
                z_store(registers, (&raw mut self.predicates).cast(), ffr.into());
            } else {
                v_store(registers);
            }
        }
        (self.fpsr, self.fpcr) = status();
        if self.svcr & SVCR_SM != 0 {
            // A change of PSTATE.SM clears FPMR (Arm ARM C5.2, FPMR).
            if HAS_FPMR.load(Ordering::Relaxed) {
                self.fpmr = FPMR.get();
            }
            SVCR.set(self.svcr & !SVCR_SM);
        }
    }

    /// Saves the limits of the vector length, unless they are saved already. SVE is enabled.
    pub fn save_limits(&mut self) {
        self.limits
            .get_or_insert_with(|| (ZCR_EL2.get(), ZCR_EL12.get()));
    }

    /// Restores the registers in the mode in which they were saved, and disables access to them.
    pub fn restore(&mut self) {
        let registers = self.registers();
        open_all();
        if let Some((el2, el1)) = self.limits.take() {
            ZCR_EL2.set(LONGEST);
            synchronize();
            // SAFETY: `open_all` has enabled SVE, which the PE has, since a partition used it. FFR
            // exists, since `save` left streaming mode.
            unsafe { z_zero() };
            ZCR_EL2.set(el2);
            ZCR_EL12.set(el1);
            synchronize();
        }
        if self.svcr & SVCR_SM != 0 {
            // A change of PSTATE.SM clears the vector registers, FPSR and FPMR, so it comes first.
            SVCR.set(self.svcr);
            if HAS_FPMR.load(Ordering::Relaxed) {
                FPMR.set(self.fpmr);
            }
        }
        let (scalable, ffr) = Self::shape(self.svcr);
        // SAFETY: `save` filled the memory in the same mode, and `open_all` has enabled the
        // registers.
        unsafe {
            if scalable {
                z_load(registers, (&raw const self.predicates).cast(), ffr.into());
            } else {
                v_load(registers);
            }
        }
        set_status(self.fpsr, self.fpcr);
        CPTR_EL2.set(traps::CPTR);
    }
}
