//! The SVE registers. As with [`super::fp`], code of the guests never uses them.

use core::arch::{asm, global_asm};

/// Bytes of Z0 to Z31, P0 to P15 and FFR with vectors of 128 bits.
const QUADWORD: usize = 546;

/// Z0 to Z31, P0 to P15 and FFR, packed by the vector length of whoever stores or loads them, which
/// is at most `N` times 128 bits.
#[repr(C, align(16))]
#[derive(PartialEq, Eq)]
pub struct Scalable<const N: usize>([[u8; QUADWORD]; N]);

/// The registers at the longest length that the architecture has.
pub type Longest = Scalable<16>;

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
    "sve_store_ffr:", // by P0, whose value is at x1
    "rdffr p0.b",
    "str p0, [x0]",
    "ldr p0, [x1]",
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
    fn sve_store_ffr(to: *mut u8, p0: *const u8);
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

/// Enables SVE for this image at EL2, with vectors of `quadwords` times 128 bits at most, and
/// returns their length in bytes.
pub fn enable_el2(quadwords: u64) -> usize {
    const RES1: u64 = 0x32ff;
    // SAFETY: CPTR_EL2 without traps of FP and SVE, then ZCR_EL2.LEN; this image keeps nothing in
    // these registers.
    unsafe {
        asm!("msr cptr_el2, {}", "isb", "msr s3_4_c1_c2_0, {}", "isb", in(reg) RES1, in(reg) quadwords - 1, options(nostack));
    }
    bytes()
}

/// The form of the registers in streaming mode.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Streaming {
    /// There is no FFR.
    Plain,
    /// All of A64 works, so there is an FFR (FEAT_SME_FA64).
    Full,
}

/// Returns whether the PE has streaming mode in that form.
pub fn has_streaming(form: Streaming) -> bool {
    let (features, details): (u64, u64);
    // SAFETY: reads ID_AA64PFR1_EL1 and ID_AA64SMFR0_EL1.
    unsafe {
        asm!("mrs {}, s3_0_c0_c4_1", "mrs {}, s3_0_c0_c4_5", out(reg) features, out(reg) details, options(nomem, nostack))
    };
    features >> 24 & 0xf != 0 && (form == Streaming::Plain || details >> 63 != 0)
}

/// Enters streaming mode at EL2, with vectors of `quadwords` times 128 bits, and returns their
/// length in bytes.
pub fn enter_streaming(form: Streaming, quadwords: u64) -> usize {
    const RES1: u64 = 0x22ff;
    const FA64: u64 = 1 << 31;
    let full = if form == Streaming::Full { FA64 } else { 0 };
    // SAFETY: CPTR_EL2 without traps of FP, SVE and SME, then SMCR_EL2 and SVCR; this image keeps
    // nothing in the registers that change.
    unsafe {
        asm!("msr cptr_el2, {}", "isb", "msr s3_4_c1_c2_6, {}", "msr s0_3_c4_c3_3, xzr", "isb",
            in(reg) RES1, in(reg) full | (quadwords - 1), options(nostack));
    }
    bytes()
}

/// Leaves streaming mode. Returns whether this image was still in that mode.
pub fn leave_streaming() -> bool {
    let mode: u64;
    // SAFETY: reads SVCR and clears SM; this image keeps nothing in the registers that change.
    unsafe {
        asm!("mrs {}, s3_3_c4_c2_2", "msr s0_3_c4_c2_3, xzr", "isb", out(reg) mode, options(nostack))
    };
    mode & 1 != 0
}

/// Enables SVE for this image at EL1.
pub fn enable_el1() {
    const ZEN_FPEN: u64 = 3 << 20 | 3 << 16;
    // SAFETY: this image keeps nothing in the registers that become available.
    unsafe { asm!("msr cpacr_el1, {}", "isb", in(reg) ZEN_FPEN, options(nostack)) };
}

/// Sets ZCR_EL1, which limits the vectors to `limit` + 1 times 128 bits at EL1.
pub fn set_limit(limit: u64) {
    // SAFETY: this image keeps nothing in the registers.
    unsafe { asm!("msr s3_0_c1_c2_0, {}", "isb", in(reg) limit, options(nostack)) };
}

/// Returns ZCR_EL1.
pub fn limit() -> u64 {
    let limit;
    // SAFETY: reading has no effect.
    unsafe { asm!("mrs {}, s3_0_c1_c2_0", out(reg) limit, options(nomem, nostack)) };
    limit
}

/// Returns the length of a vector in bytes.
pub fn bytes() -> usize {
    // SAFETY: reads the vector length; SVE is enabled.
    unsafe { sve_bytes() }
}

impl<const N: usize> Scalable<N> {
    /// All registers zero.
    pub const ZERO: Self = Self([[0; QUADWORD]; N]);

    /// Loads the values as [`Self::load`] does, in streaming mode.
    pub fn load_streaming(&self, form: Streaming, bytes: usize) {
        if form == Streaming::Full {
            return self.load(bytes);
        }
        let registers = self.0.as_flattened();
        // SAFETY: as in `load`.
        unsafe { sve_load(registers.as_ptr(), registers[32 * bytes..].as_ptr()) };
    }

    /// Returns whether the registers have these values, as [`Self::store`] does, in streaming mode.
    pub fn is_in_streaming(&self, form: Streaming, bytes: usize) -> bool {
        if form == Streaming::Full {
            return Self::store(bytes) == *self;
        }
        let mut found = Self::ZERO;
        let (vectors, predicates) = found.0.as_flattened_mut().split_at_mut(32 * bytes);
        // SAFETY: as in `store`.
        unsafe { sve_store(vectors.as_mut_ptr(), predicates.as_mut_ptr()) };
        let end = 34 * bytes;
        found.0.as_flattened()[..end] == self.0.as_flattened()[..end]
    }

    /// Returns different values for each register of `bytes` bytes. The low half of FFR is set,
    /// since FFR may only be a run of ones from bit 0 on.
    pub fn pattern(bytes: usize, seed: u8) -> Self {
        let mut this = Self::ZERO;
        let value = |n: usize| (n as u8).wrapping_mul(29).wrapping_add((n >> 8) as u8) ^ seed;
        let (registers, ffr) = this.0.as_flattened_mut().split_at_mut(34 * bytes);
        for (n, byte) in registers.iter_mut().enumerate() {
            *byte = value(n);
        }
        ffr[..bytes / 16].fill(0xff);
        this
    }

    /// Loads the values into the registers, which have `bytes` bytes each.
    pub fn load(&self, bytes: usize) {
        let registers = self.0.as_flattened();
        // SAFETY: long enough for registers of that length; the code of this target keeps nothing
        // in them.
        unsafe {
            sve_load_ffr(registers[34 * bytes..].as_ptr());
            sve_load(registers.as_ptr(), registers[32 * bytes..].as_ptr());
        }
    }

    /// Returns the registers, which have `bytes` bytes each.
    pub fn store(bytes: usize) -> Self {
        let mut this = Self::ZERO;
        let registers = this.0.as_flattened_mut();
        let (vectors, predicates) = registers.split_at_mut(32 * bytes);
        let (predicates, ffr) = predicates.split_at_mut(2 * bytes);
        assert!(ffr.len() >= bytes / 8);
        // SAFETY: writes into the array, which is long enough for registers of that length.
        unsafe {
            sve_store(vectors.as_mut_ptr(), predicates.as_mut_ptr());
            sve_store_ffr(ffr.as_mut_ptr(), predicates.as_ptr());
        }
        this
    }
}
