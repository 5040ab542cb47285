//! Defines the registers of a vCPU that does not run.

use core::arch::asm;

use aarch64_cpu::registers::CNTPCT_EL0;
use bitflags::bitflags;
use spmc::hal::Context;
use spmc::manifest::config::ExceptionLevel;
use tock_registers::interfaces::Readable;

use super::features;
use crate::el2::gic::timer::Timer;

/// Declares a block of system registers that are saved and restored together, two at a time, in the
/// order of declaration.
macro_rules! register_block {
    ($(#[$doc:meta])* pub struct $name:ident { $($a:ident: $register_a:literal, $b:ident: $register_b:literal;)* }) => {
        $(#[$doc])*
        #[repr(C)]
        pub struct $name { $(pub $a: u64, pub $b: u64,)* }

        impl $name {
            /// All zero.
            pub const ZERO: Self = Self { $($a: 0, $b: 0,)* };

            /// Takes the registers of this PE.
            #[inline(always)]
            pub fn save(&mut self) {
                // SAFETY: the stores fill `self`, which has the layout of the list by construction;
                // reading the registers has no side effect.
                unsafe {
                    asm!(
                        $(
                            concat!("mrs {a}, ", $register_a),
                            concat!("mrs {b}, ", $register_b),
                            "stp {a}, {b}, [{p}], #16",
                        )*
                        a = out(reg) _,
                        b = out(reg) _,
                        p = inout(reg) &raw mut *self => _,
                        options(nostack, preserves_flags),
                    );
                }
            }

            /// Puts the registers on this PE.
            #[inline(always)]
            pub fn load(&self) {
                // SAFETY: the registers belong to EL1 and EL0; EL2 does not depend on them.
                unsafe {
                    asm!(
                        $(
                            "ldp {a}, {b}, [{p}], #16",
                            concat!("msr ", $register_a, ", {a}"),
                            concat!("msr ", $register_b, ", {b}"),
                        )*
                        a = out(reg) _,
                        b = out(reg) _,
                        p = inout(reg) &raw const *self => _,
                        options(nostack, preserves_flags),
                    );
                }
            }
        }
    };
}

register_block! {
    /// The state of EL1 and EL0 that both a partition and the Normal world use.
    ///
    /// Not here is what a partition can neither read nor change, because it is trapped (debug,
    /// performance monitors, RAS, MTE, SVE and SME control, ACTLR, and by fine-grained traps
    /// TPIDR2_EL0, PIR_EL1 and their like, see `features.rs`): that stays the Normal world's.
    /// DISR_EL1 is VDISR_EL2 to a partition, which EL3 switches between worlds. CNTV is here
    /// although the Normal world's virtual timer stands still meanwhile: its offset, CNTVOFF_EL2,
    /// is the SPMD's to switch, so that it would fire at the wrong time.
    ///
    /// With E2H = 1 the plain names of most of these mean registers of EL2. Those are written by
    /// the encoding of their alias (SCTLR_EL12, CNTV_CTL_EL02 ...), as the assembler knows the
    /// aliases only with FEAT_VHE.
    pub struct El1State {
        sctlr: "s3_5_c1_c0_0", cpacr: "s3_5_c1_c0_2";
        tcr: "s3_5_c2_c0_2", ttbr0: "s3_5_c2_c0_0";
        ttbr1: "s3_5_c2_c0_1", mair: "s3_5_c10_c2_0";
        amair: "s3_5_c10_c3_0", contextidr: "s3_5_c13_c0_1";
        vbar: "s3_5_c12_c0_0", sp_el1: "sp_el1";
        elr: "s3_5_c4_c0_1", spsr: "s3_5_c4_c0_0";
        esr: "s3_5_c5_c2_0", far: "s3_5_c6_c0_0";
        afsr0: "s3_5_c5_c1_0", afsr1: "s3_5_c5_c1_1";
        par: "par_el1", csselr: "csselr_el1";
        tpidr_el0: "tpidr_el0", tpidrro_el0: "tpidrro_el0";
        tpidr_el1: "tpidr_el1", sp_el0: "sp_el0";
        cntkctl: "s3_5_c14_c1_0", cntv_cval: "s3_5_c14_c3_2";
        // The control last: the timer may only fire by its new compare value.
        cntv_ctl: "s3_5_c14_c3_1", vmpidr: "vmpidr_el2";
    }
}

register_block! {
    /// Pointer authentication keys (APIA, APIB, APDA, APDB, APGA), by encoding: the assembler knows
    /// their names only with FEAT_PAuth.
    pub struct PointerKeys {
        ia_low: "s3_0_c2_c1_0", ia_high: "s3_0_c2_c1_1";
        ib_low: "s3_0_c2_c1_2", ib_high: "s3_0_c2_c1_3";
        da_low: "s3_0_c2_c2_0", da_high: "s3_0_c2_c2_1";
        db_low: "s3_0_c2_c2_2", db_high: "s3_0_c2_c2_3";
        ga_low: "s3_0_c2_c3_0", ga_high: "s3_0_c2_c3_1";
    }
}

/// The FP and Advanced SIMD registers.
#[repr(C, align(16))]
pub struct FpState {
    pub v: [u128; 32],
    pub fpsr: u64,
    pub fpcr: u64,
}

impl FpState {
    /// All zero.
    pub const ZERO: Self = Self {
        v: [0; 32],
        fpsr: 0,
        fpcr: 0,
    };
}

bitflags! {
    /// Reasons not to just go on with a context.
    #[repr(transparent)]
    #[derive(Clone, Copy, PartialEq, Eq)]
    pub struct Attention: u8 {
        /// Its timer is to be watched.
        const TIMER = 1 << 0;
        /// There are registers that are not its own, and not trapped.
        const STRAYS = 1 << 1;
        /// The memory system refused one of its stores so late that it had left the PE.
        const LATE_ERROR = 1 << 2;
    }
}

/// The saved state of one vCPU.
#[repr(C)]
pub struct GuestContext {
    /// x0 to x30; first, and followed by `pc` and `spsr`: `vectors.rs` relies on it.
    gprs: [u64; 31],
    /// ELR_EL2 and SPSR_EL2 for its next entry.
    pub pc: u64,
    pub spsr: u64,
    pub el1: El1State,
    pub timer: Timer,
    pub keys: PointerKeys,
    pub fp: FpState,
    /// State to be set up when the context is put on a PE, beyond registers.
    pub attention: Attention,
}

const _: () = assert!(core::mem::offset_of!(GuestContext, gprs) == 0);
const _: () = assert!(
    core::mem::offset_of!(GuestContext, spsr) == core::mem::offset_of!(GuestContext, pc) + 8
);

impl GuestContext {
    /// A context that enters at `pc` with the registers at their reset values. One of S-EL0 has no
    /// EL1: its registers there are zero, and PSTATE is too.
    pub fn reset(&mut self, level: ExceptionLevel, pc: u64, vcpu_index: u16) {
        /// EL1h with D, A, I and F masked.
        const EL1H_MASKED: u64 = 0x3c5;
        /// The RES1 bits; MMU, caches and alignment checks off, little endian.
        const SCTLR_RESET: u64 = 0x30d0_0800;
        /// MPIDR's RES1 bit.
        const MPIDR_RES1: u64 = 1 << 31;

        *self = Self::NEW;
        self.pc = pc;
        self.attention
            .set(Attention::STRAYS, features::has_strays());
        if level == ExceptionLevel::SEl0 {
            // It cannot set the key of PACGA: each has its own, no secret to who knows when it
            // started.
            self.keys.ga_low = CNTPCT_EL0.get();
            self.keys.ga_high = &raw const *self as u64;
            return;
        }
        self.spsr = EL1H_MASKED;
        self.el1.sctlr = SCTLR_RESET;
        self.el1.vmpidr = MPIDR_RES1 | u64::from(vcpu_index);
    }
}

impl Context for GuestContext {
    const NEW: Self = Self {
        gprs: [0; 31],
        pc: 0,
        spsr: 0,
        el1: El1State::ZERO,
        timer: Timer::OFF,
        keys: PointerKeys::ZERO,
        fp: FpState::ZERO,
        attention: Attention::empty(),
    };

    fn gprs(&self) -> &[u64; 31] {
        &self.gprs
    }

    fn gprs_mut(&mut self) -> &mut [u64; 31] {
        &mut self.gprs
    }

    fn pc(&self) -> u64 {
        self.pc
    }
}
