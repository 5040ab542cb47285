//! The registers of a vCPU while it does not run.

use core::arch::asm;

use bitflags::bitflags;
use spmc::hal::Context;
use spmc::manifest::config::ExceptionLevel;
use tock_registers::interfaces::{Readable, Writeable};

use super::features;
use super::vector_state::{self, ScalableState};
use crate::el2::gic::timer::Timer;
use crate::el2::registers::{AFSR0_EL12, AFSR1_EL12, AMAIR_EL12};

/// Declares a block of system registers that are saved and restored together, in the order of
/// declaration, two at a time.
macro_rules! register_block {
    ($(#[$doc:meta])* pub struct $name:ident { $($a:ident: $register_a:literal, $b:ident: $register_b:literal;)* }) => {
        $(#[$doc])*
        #[repr(C)]
        pub struct $name { $(pub $a: u64, pub $b: u64,)* }

        impl $name {
            /// All zero.
            pub const ZERO: Self = Self { $($a: 0, $b: 0,)* };

            /// Stores the registers of this PE in the block.
            #[inline(always)]
            pub fn save(&mut self) {
                // SAFETY: the stores fill `self`, whose fields are in the order of the list.
                // Reading the registers has no side effect.
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

            /// Writes the block to the registers of this PE.
            #[inline(always)]
            pub fn load(&self) {
                // SAFETY: the registers control EL1 and EL0; EL2 does not depend on them.
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
    /// The state of EL1 and EL0 that both partitions and the Normal world use.
    ///
    /// State that a partition can neither read nor change, because accesses trap, is not in the
    /// block and stays the Normal world's: debug, performance monitors, RAS, MTE, the control of
    /// SVE and SME, ACTLR, and, by fine-grained traps, TPIDR2_EL0, PIR_EL1 and others (see
    /// `features.rs`). For a partition, DISR_EL1 is VDISR_EL2, which EL3 switches between the
    /// worlds. CNTV is in the block, although the Normal world's virtual timer cannot fire while it
    /// is displaced: the SPMD switches CNTVOFF_EL2, so with the offset of the Secure world the
    /// timer would fire at the wrong time.
    ///
    /// With E2H = 1, the plain names of most of these registers mean registers of EL2. The list
    /// names those by the encodings of their aliases (SCTLR_EL12, CNTV_CTL_EL02 and so on), because
    /// the assembler knows the aliases only with FEAT_VHE.
    pub struct El1State {
        sctlr: "s3_5_c1_c0_0", cpacr: "s3_5_c1_c0_2";
        tcr: "s3_5_c2_c0_2", ttbr0: "s3_5_c2_c0_0";
        ttbr1: "s3_5_c2_c0_1", mair: "s3_5_c10_c2_0";
        contextidr: "s3_5_c13_c0_1", vbar: "s3_5_c12_c0_0";
        sp_el1: "sp_el1", elr: "s3_5_c4_c0_1";
        spsr: "s3_5_c4_c0_0", esr: "s3_5_c5_c2_0";
        far: "s3_5_c6_c0_0", par: "par_el1";
        csselr: "csselr_el1", tpidr_el0: "tpidr_el0";
        tpidrro_el0: "tpidrro_el0", tpidr_el1: "tpidr_el1";
        sp_el0: "sp_el0", cntkctl: "s3_5_c14_c1_0";
        // CNTV_CTL is restored after CNTV_CVAL, so that the timer cannot fire by an old compare
        // value.
        cntv_cval: "s3_5_c14_c3_2", cntv_ctl: "s3_5_c14_c3_1";
    }
}

/// The registers of EL1 whose contents the implementation defines. They hold nothing on most PEs,
/// Arm's own included: they read as zero, and ignore writes.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct AuxiliaryState {
    amair: u64,
    afsr0: u64,
    afsr1: u64,
}

impl AuxiliaryState {
    /// All zero.
    pub const ZERO: Self = Self {
        amair: 0,
        afsr0: 0,
        afsr1: 0,
    };

    /// Returns whether any of the registers of this PE can hold anything. EL1 must not run
    /// meanwhile; the registers have their values back afterwards.
    pub fn exists() -> bool {
        const ONES: AuxiliaryState = AuxiliaryState {
            amair: u64::MAX,
            afsr0: u64::MAX,
            afsr1: u64::MAX,
        };
        let is_zero = |state: Self| state.amair | state.afsr0 | state.afsr1 == 0;
        let before = Self::of_this_pe();
        ONES.load();
        let after = Self::of_this_pe();
        before.load();
        !is_zero(before) || !is_zero(after)
    }

    /// Returns the registers of this PE.
    pub fn of_this_pe() -> Self {
        Self {
            amair: AMAIR_EL12.get(),
            afsr0: AFSR0_EL12.get(),
            afsr1: AFSR1_EL12.get(),
        }
    }

    /// Writes the values to the registers of this PE.
    pub fn load(self) {
        AMAIR_EL12.set(self.amair);
        AFSR0_EL12.set(self.afsr0);
        AFSR1_EL12.set(self.afsr1);
    }
}

register_block! {
    /// Pointer authentication keys (APIA, APIB, APDA, APDB, APGA), by encoding, because the
    /// assembler knows their names only with FEAT_PAuth.
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
    /// Reasons for [`Cpu::load`](super::Cpu::load) to do more than to load registers.
    #[repr(transparent)]
    #[derive(Clone, Copy, PartialEq, Eq)]
    pub struct Attention: u8 {
        /// The hardware must watch the timer of this context.
        const TIMER = 1 << 0;
        /// Partitions reach registers that no context holds, see `features.rs`.
        const STRAYS = 1 << 1;
        /// The memory system refused a store of this context after the context had left the PE.
        const LATE_ERROR = 1 << 2;
        /// The PE has [`AuxiliaryState`].
        const AUXILIARY = 1 << 3;
        /// The context has SVE, which does not work in the streaming mode of the Normal world.
        const STREAMING = 1 << 4;
    }
}

/// The saved state of one vCPU.
#[repr(C)]
pub struct GuestContext {
    /// x0 to x30. `vectors.rs` relies on this field to be the first, and on `pc` and `spsr` to
    /// follow.
    gprs: [u64; 31],
    /// ELR_EL2 and SPSR_EL2 for the next entry of the context.
    pub pc: u64,
    pub spsr: u64,
    pub el1: El1State,
    /// VMPIDR_EL2, which the context reads as MPIDR_EL1 and cannot change. EL3 switches it between
    /// the worlds.
    pub vmpidr: u64,
    pub auxiliary: AuxiliaryState,
    pub timer: Timer,
    pub keys: PointerKeys,
    pub fp: FpState,
    /// The vector registers of a context whose partition has SVE, in place of those in `fp`.
    pub scalable: Option<ScalableState>,
    /// Work for the next load of the context, beyond registers.
    pub attention: Attention,
}

const _: () = assert!(core::mem::offset_of!(GuestContext, gprs) == 0);
const _: () = assert!(
    core::mem::offset_of!(GuestContext, spsr) == core::mem::offset_of!(GuestContext, pc) + 8
);

impl GuestContext {
    /// Makes the context enter at `pc` with all registers at their reset values. A context of S-EL0
    /// has no EL1: its EL1 registers and its PSTATE are zero.
    pub fn reset(&mut self, level: ExceptionLevel, pc: u64, vcpu_index: u16) {
        /// SPSR for EL1h with D, A, I and F masked.
        const EL1H_MASKED: u64 = 0x3c5;
        /// SCTLR_EL1: the RES1 bits are set; MMU, caches and alignment checks are off; little
        /// endian.
        const SCTLR_RESET: u64 = 0x30d0_0800;
        /// The RES1 bit of MPIDR_EL1.
        const MPIDR_RES1: u64 = 1 << 31;

        let mut scalable = self.scalable.take();
        if let Some(scalable) = &mut scalable {
            scalable.reset();
        }
        *self = Self::NEW;
        self.scalable = scalable;
        self.pc = pc;
        self.attention
            .set(Attention::STRAYS, features::has_strays(level));
        let has_sve = self.scalable.is_some();
        self.attention
            .set(Attention::STREAMING, has_sve && vector_state::has_sme());
        if level == ExceptionLevel::SEl0 {
            self.keys = PointerKeys::fresh();
            return;
        }
        self.spsr = EL1H_MASKED;
        self.el1.sctlr = SCTLR_RESET;
        self.vmpidr = MPIDR_RES1 | u64::from(vcpu_index);
    }
}

impl GuestContext {
    /// Notes that the timer expired: the hardware need not watch it any more.
    pub fn expire_timer(&mut self) {
        self.timer.expire();
        self.attention.remove(Attention::TIMER);
    }
}

impl Context for GuestContext {
    const NEW: Self = Self {
        gprs: [0; 31],
        pc: 0,
        spsr: 0,
        el1: El1State::ZERO,
        vmpidr: 0,
        auxiliary: AuxiliaryState::ZERO,
        timer: Timer::OFF,
        keys: PointerKeys::ZERO,
        fp: FpState::ZERO,
        scalable: None,
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
