//! The SVE registers, at the longest vector length of the PE. As with [`super::fp`], code of the
//! guests never uses them.

use core::arch::{asm, global_asm};

/// Bytes of a vector at the longest length that the architecture has.
const LONGEST: usize = 256;
/// P0 to P15 and FFR.
const PREDICATES: usize = 17;

/// Z0 to Z31, P0 to P15 and FFR, packed by the vector length of the PE.
#[repr(C, align(16))]
#[derive(PartialEq, Eq)]
pub struct Scalable {
    vectors: [u8; 32 * LONGEST],
    predicates: [u8; PREDICATES * LONGEST / 8],
}

global_asm!(
    ".section .text.sve, \"ax\"",
    ".arch_extension sve",
    ".macro scalable name, op",
    ".global \\name",
    "\\name:",
    ".irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31",
    "\\op z\\n, [x0, #\\n, mul vl]",
    ".endr",
    ".irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15",
    "\\op p\\n, [x1, #\\n, mul vl]",
    ".endr",
    "ret",
    ".endm",
    "scalable sve_store, str",
    "scalable sve_load, ldr",
    ".global sve_store_ffr, sve_load_ffr, sve_bytes",
    "sve_store_ffr:", // uses P0
    "rdffr p0.b",
    "str p0, [x0]",
    "ret",
    "sve_load_ffr:", // uses P0
    "ldr p0, [x0]",
    "wrffr p0.b",
    "ret",
    "sve_bytes:",
    "rdvl x0, #1",
    "ret",
    ".arch_extension nosve",
    ".previous",
);

unsafe extern "C" {
    fn sve_store(vectors: *mut u8, predicates: *mut u8);
    fn sve_load(vectors: *const u8, predicates: *const u8);
    fn sve_store_ffr(to: *mut u8);
    fn sve_load_ffr(from: *const u8);
    fn sve_bytes() -> usize;
}

/// Returns whether the PE has SVE.
pub fn is_there() -> bool {
    let features: u64;
    // SAFETY: reads an identification register.
    unsafe { asm!("mrs {}, id_aa64pfr0_el1", out(reg) features, options(nomem, nostack)) };
    features >> 32 & 0xf != 0
}

/// Enables SVE at the longest length for this image at EL2, and returns that length in bytes.
pub fn enable_el2() -> usize {
    const RES1: u64 = 0x32ff;
    // SAFETY: CPTR_EL2 without traps of FP and SVE, then ZCR_EL2.LEN; this image keeps nothing in
    // these registers.
    unsafe {
        asm!("msr cptr_el2, {}", "isb", "msr s3_4_c1_c2_0, {}", "isb", in(reg) RES1, in(reg) 0xfu64, options(nostack));
        sve_bytes()
    }
}

impl Scalable {
    /// All registers zero.
    pub const ZERO: Self = Self {
        vectors: [0; 32 * LONGEST],
        predicates: [0; PREDICATES * LONGEST / 8],
    };

    /// Returns different values for each register of `bytes` bytes. The low half of FFR is set,
    /// since FFR may only be a run of ones from bit 0 on.
    pub fn pattern(bytes: usize, seed: u8) -> Self {
        let mut this = Self::ZERO;
        let value = |n: usize| (n as u8).wrapping_mul(29).wrapping_add((n >> 8) as u8) ^ seed;
        for (n, byte) in this.vectors[..32 * bytes].iter_mut().enumerate() {
            *byte = value(n);
        }
        let predicate = bytes / 8;
        for (n, byte) in this.predicates[..16 * predicate].iter_mut().enumerate() {
            *byte = !value(n);
        }
        this.predicates[16 * predicate..][..predicate / 2].fill(0xff);
        this
    }

    /// Loads the values into the registers.
    pub fn load(&self, bytes: usize) {
        // SAFETY: long enough for the longest registers; the code of this target keeps nothing in
        // them.
        unsafe {
            sve_load_ffr(self.predicates[2 * bytes..].as_ptr());
            sve_load(self.vectors.as_ptr(), self.predicates.as_ptr());
        }
    }

    /// Stores the registers.
    pub fn store(&mut self, bytes: usize) {
        // SAFETY: writes into the arrays, which are long enough for the longest registers.
        unsafe {
            sve_store(self.vectors.as_mut_ptr(), self.predicates.as_mut_ptr());
            sve_store_ffr(self.predicates[2 * bytes..].as_mut_ptr());
        }
    }
}
