//! Finds out by trying what EL3 lets EL2 use, and which registers of partitions follow from that.
//!
//! EL3 keeps registers of extensions that it does not know to itself: their use traps to it. ID
//! registers do not tell. TF-A makes an Undefined Instruction exception of such an access, which
//! the vectors turn into an answer while a probe runs (`vectors.rs`; the probes are between the
//! accessors of the window, `bulk.rs`).
//!
//! Registers that have no place in a context are kept from partitions by fine-grained traps
//! (FEAT_FGT). Where EL3 keeps those to itself, the registers are *strays*: the Normal world's
//! values are put away before a partition runs, which finds zeros.

use core::sync::atomic::{AtomicBool, AtomicU16, Ordering};

use aarch64_cpu::registers::{ID_AA64MMFR0_EL1, ID_AA64MMFR1_EL1};
use tock_registers::interfaces::{Readable, Writeable};

use crate::el2::memory::bulk;
use crate::el2::registers::{
    GCSCR_EL12, GCSCRE0_EL1, GCSPR_EL0, GCSPR_EL12, HCRX_EL2, HDFGRTR_EL2, HDFGRTR2_EL2,
    HDFGWTR_EL2, HDFGWTR2_EL2, HFGITR_EL2, HFGITR2_EL2, HFGRTR_EL2, HFGRTR2_EL2, HFGWTR_EL2,
    HFGWTR2_EL2, PIR_EL12, PIRE0_EL12, POR_EL0, POR_EL12, TCR2_EL12, TPIDR2_EL0,
};
use crate::id_registers;

static FINE_GRAINED_TRAPS: AtomicBool = AtomicBool::new(false);
static MORE_FINE_GRAINED_TRAPS: AtomicBool = AtomicBool::new(false);
static HYPERVISOR_CONFIGURATION: AtomicBool = AtomicBool::new(false);
static POINTER_KEYS: AtomicBool = AtomicBool::new(false);
/// A bit for each register of [`Strays`].
static STRAYS: AtomicU16 = AtomicU16::new(0);

/// Finds out what EL3 lets EL2 use. The boot PE calls this, once, when exceptions have vectors; all
/// PEs are taken to be alike.
pub fn probe() {
    let field = |register: u64, low: u32| register >> low & 0xf;
    let fine_grained_traps = field(ID_AA64MMFR0_EL1.get(), 56);
    if fine_grained_traps >= 1 {
        FINE_GRAINED_TRAPS.store(bulk::has_fine_grained_traps(), Ordering::Relaxed);
    }
    if fine_grained_traps >= 2 {
        let has = bulk::has_more_fine_grained_traps();
        MORE_FINE_GRAINED_TRAPS.store(has, Ordering::Relaxed);
    }
    if field(ID_AA64MMFR1_EL1.get(), 40) != 0 {
        let has = bulk::has_hypervisor_configuration();
        HYPERVISOR_CONFIGURATION.store(has, Ordering::Relaxed);
    }
    if has_pointer_authentication() {
        let has = bulk::has_pointer_keys();
        POINTER_KEYS.store(has, Ordering::Relaxed);
        if !has {
            log::warn!(
                "EL3 keeps pointer authentication to itself: it is undefined for partitions, and none can be at S-EL0"
            );
        }
    }
    if !FINE_GRAINED_TRAPS.load(Ordering::Relaxed) {
        STRAYS.store(Strays::probe(), Ordering::Relaxed);
    }
}

/// Sets the fine-grained traps of this PE: nothing is trapped that a bit of 1 would trap, and
/// everything that a bit of 1 would let through. EL3 may have left anything there. What it keeps to
/// itself has no effect.
pub fn init_pe() {
    if HYPERVISOR_CONFIGURATION.load(Ordering::Relaxed) {
        HCRX_EL2.set(0);
    }
    if MORE_FINE_GRAINED_TRAPS.load(Ordering::Relaxed) {
        HFGRTR2_EL2.set(0);
        HFGWTR2_EL2.set(0);
        HFGITR2_EL2.set(0);
        HDFGRTR2_EL2.set(0);
        HDFGWTR2_EL2.set(0);
    }
    if FINE_GRAINED_TRAPS.load(Ordering::Relaxed) {
        HFGRTR_EL2.set(0);
        HFGWTR_EL2.set(0);
        HFGITR_EL2.set(0);
        HDFGRTR_EL2.set(0);
        HDFGWTR_EL2.set(0);
    }
}

/// Returns whether the PE has FEAT_PAuth, with whatever algorithm, for addresses or for data.
fn has_pointer_authentication() -> bool {
    [
        id_registers::ID_AA64ISAR1_EL1,
        id_registers::ID_AA64ISAR2_EL1,
    ]
    .into_iter()
    .any(|number| id_registers::read(number) & id_registers::pointer_authentication(number) != 0)
}

/// Returns whether keys can be switched, so that partitions may use pointer authentication.
pub fn has_pointer_keys() -> bool {
    POINTER_KEYS.load(Ordering::Relaxed)
}

/// Returns whether S-EL0 partitions can be kept from what they must not do. PACGA at S-EL0 has no
/// trap to EL2 (HCR_EL2.API has no effect while TGE = 1): it uses whatever key there is, or traps
/// to an EL3 that does not expect it.
pub fn confines_s_el0() -> bool {
    has_pointer_keys() || !has_pointer_authentication()
}

/// Returns whether this system has strays.
pub fn has_strays() -> bool {
    STRAYS.load(Ordering::Relaxed) != 0
}

macro_rules! strays {
    ($($name:ident: $register:ident, $probe:ident;)*) => {
        /// The Normal world's values of registers that are not trapped.
        pub struct Strays { $($name: u64,)* }

        /// Numbers of the registers.
        #[allow(non_camel_case_types, reason = "named as the fields")]
        #[derive(Clone, Copy)]
        enum Number { $($name,)* }

        impl Strays {
            /// All zero.
            pub const ZERO: Self = Self { $($name: 0,)* };

            /// A bit for each register that EL2 can use.
            fn probe() -> u16 {
                let mut found = 0;
                $(if bulk::$probe() { found |= 1 << Number::$name as u16; })*
                found
            }

            /// Takes the registers of this PE.
            pub fn save(&mut self) {
                let found = STRAYS.load(Ordering::Relaxed);
                $(if found & 1 << Number::$name as u16 != 0 { self.$name = $register.get(); })*
            }

            /// Puts the registers on this PE.
            pub fn load(&self) {
                let found = STRAYS.load(Ordering::Relaxed);
                $(if found & 1 << Number::$name as u16 != 0 { $register.set(self.$name); })*
            }
        }
    };
}

strays! {
    thread: TPIDR2_EL0, has_tpidr2;
    translation_control: TCR2_EL12, has_tcr2;
    permissions: PIR_EL12, has_pir;
    el0_permissions: PIRE0_EL12, has_pire0;
    overlay: POR_EL12, has_por;
    el0_overlay: POR_EL0, has_por_el0;
    control_stack: GCSCR_EL12, has_gcscr;
    control_stack_pointer: GCSPR_EL12, has_gcspr;
    el0_control_stack: GCSCRE0_EL1, has_gcscre0;
    el0_control_stack_pointer: GCSPR_EL0, has_gcspr_el0;
}
