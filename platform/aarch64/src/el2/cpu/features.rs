//! Features that EL3 may keep EL2 from using, found by trying, and the registers of partitions that
//! depend on them.
//!
//! EL3 traps accesses to registers of extensions that it does not support, and identification
//! registers do not show this. TF-A answers such an access with an Undefined Instruction exception.
//! While a probe runs, the vectors turn that exception into a result (`vectors.rs`; the probes are
//! among the accessors of the window in `bulk.rs`).
//!
//! Fine-grained traps (FEAT_FGT) deny partitions the registers that no context holds. Where EL3
//! keeps EL2 from using these traps, the registers are *strays*: the Normal world's values are
//! saved before a partition runs, and the partition finds zeros.

use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use aarch64_cpu::registers::{
    ID_AA64DFR0_EL1, ID_AA64MMFR0_EL1, ID_AA64MMFR1_EL1, MIDR_EL1, SCTLR_EL2,
};
use spmc::manifest::config::ExceptionLevel;
use tock_registers::interfaces::{Readable, Writeable};

use crate::el2::memory::bulk;
use crate::el2::registers::{
    ACCDATA_EL1, AMAIR2_EL12, GCSCR_EL12, GCSCRE0_EL1, GCSPR_EL0, GCSPR_EL12, HCRX_EL2,
    HDFGRTR_EL2, HDFGRTR2_EL2, HDFGWTR_EL2, HDFGWTR2_EL2, HFGITR_EL2, HFGITR2_EL2, HFGRTR_EL2,
    HFGRTR2_EL2, HFGWTR_EL2, HFGWTR2_EL2, MAIR2_EL12, MPAM2_EL2, MPAMHCR_EL2, MPAMIDR_EL1,
    PFAR_EL12, PIR_EL12, PIRE0_EL12, PMCR_EL0, POR_EL0, POR_EL12, RCWMASK_EL1, RCWSMASK_EL1,
    S2POR_EL1, SMPRI_EL1, TCR2_EL12, TPIDR2_EL0,
};
use crate::errata::Identity;
use crate::{id_registers, traps};

static FINE_GRAINED_TRAPS: AtomicBool = AtomicBool::new(false);
static MORE_FINE_GRAINED_TRAPS: AtomicBool = AtomicBool::new(false);
static HYPERVISOR_CONFIGURATION: AtomicBool = AtomicBool::new(false);
static POINTER_KEYS: AtomicBool = AtomicBool::new(false);
static RANDOM_NUMBERS: AtomicBool = AtomicBool::new(false);
static RESOURCE_PARTITIONING: AtomicBool = AtomicBool::new(false);
/// One bit for each register of [`Strays`] that EL2 can access.
static STRAYS: AtomicU32 = AtomicU32::new(0);

/// Finds out what EL3 lets EL2 use. The boot PE calls this once, when the vectors are installed.
/// All PEs are assumed to be alike.
#[cold]
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
    if field(id_registers::read(id_registers::ID_AA64ISAR0_EL1), 60) != 0 {
        RANDOM_NUMBERS.store(bulk::has_random_numbers(), Ordering::Relaxed);
    }
    if has_resource_partitioning() {
        RESOURCE_PARTITIONING.store(bulk::has_mpam(), Ordering::Relaxed);
    }
    let mut strays = Strays::probe();
    if FINE_GRAINED_TRAPS.load(Ordering::Relaxed) {
        strays &= AT_S_EL0;
    }
    STRAYS.store(strays, Ordering::Relaxed);
}

/// Lets S-EL0 partitions use what this PE has for them, and sets the fine-grained traps of this PE,
/// in which EL3 may have left any value. With 0, each
/// positive trap bit does not trap, and each negative one (a register's name with the prefix `n`)
/// does. A register that EL3 keeps from EL2 has no effect.
#[cold]
pub fn init_pe() {
    let mut control = SCTLR_EL2.get();
    if has_pointer_keys() {
        control |= traps::SCTLR_POINTER_AUTHENTICATION;
    }
    if has_branch_targets() {
        control |= traps::SCTLR_BRANCH_TARGETS;
    }
    SCTLR_EL2.set(control);
    if HYPERVISOR_CONFIGURATION.load(Ordering::Relaxed) {
        HCRX_EL2.set(0);
    }
    if RESOURCE_PARTITIONING.load(Ordering::Relaxed) {
        MPAM2_EL2.set(traps::MPAM2);
        if MPAMIDR_EL1.get() & traps::MPAMIDR_HAS_HCR != 0 {
            MPAMHCR_EL2.set(traps::MPAMHCR);
        }
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

/// Returns the number of event counters, which is the value for MDCR_EL2.HPMN. Other values are
/// reserved without FEAT_HPMN0, and the value with which EL3 enters the Secure world is one of them
/// (Arm ARM D24, MDCR_EL2). Returns 0 if there are no performance monitors, or if EL3 keeps them.
pub fn event_counters() -> u64 {
    const PMU_VERSION: u32 = 8;
    match ID_AA64DFR0_EL1.get() >> PMU_VERSION & 0xf {
        0 | 0xf => 0,
        _ if bulk::has_event_counters() => PMCR_EL0.get() >> 11,
        _ => 0,
    }
}

/// Returns whether the PE has FEAT_PAuth, with any algorithm, for addresses or for generic data.
fn has_pointer_authentication() -> bool {
    [
        id_registers::ID_AA64ISAR1_EL1,
        id_registers::ID_AA64ISAR2_EL1,
    ]
    .into_iter()
    .any(|number| id_registers::read(number) & id_registers::pointer_authentication(number) != 0)
}

/// Returns whether the PE has MPAM, of any version.
fn has_resource_partitioning() -> bool {
    let mpam = id_registers::read(id_registers::ID_AA64PFR0_EL1) >> 40 & 0xf;
    let fraction = id_registers::read(id_registers::ID_AA64PFR1_EL1) >> 16 & 0xf;
    mpam | fraction != 0
}

/// Returns whether EL2 can switch the keys, so that partitions may use pointer authentication.
pub fn has_pointer_keys() -> bool {
    POINTER_KEYS.load(Ordering::Relaxed)
}

/// Returns whether the PE has FEAT_BTI.
pub fn has_branch_targets() -> bool {
    id_registers::read(id_registers::ID_AA64PFR1_EL1) & 0xf != 0
}

/// Returns whether the PE has FEAT_RNG, and EL3 lets EL2 use it.
pub fn has_random_numbers() -> bool {
    RANDOM_NUMBERS.load(Ordering::Relaxed)
}

/// Returns whether S-EL0 partitions can be denied what they must not do. No trap to EL2 exists for
/// PACGA at S-EL0 (HCR_EL2.API has no effect while TGE = 1), so without access to the keys PACGA
/// would use the key of somebody else, or trap to an EL3 that does not expect it.
pub fn confines_s_el0() -> bool {
    has_pointer_keys() || !has_pointer_authentication()
}

/// The strays that fine-grained traps do not deny S-EL0 partitions, since these traps have no
/// effect while TGE = 1 (Arm ARM D24, HFGRTR_EL2): with the Normal world's value of GCSCRE0_EL1, a
/// partition would push return addresses to the Normal world's stack.
const AT_S_EL0: u32 =
    1 << Number::el0_control_stack as u32 | 1 << Number::el0_control_stack_pointer as u32;

/// Returns whether there are strays for a context at that level.
pub fn has_strays(level: ExceptionLevel) -> bool {
    let found = STRAYS.load(Ordering::Relaxed);
    found & !AT_S_EL0 != 0 || level == ExceptionLevel::SEl0 && found != 0
}

/// Returns what this PE says that it is.
pub fn identity() -> Identity {
    Identity {
        midr: MIDR_EL1.get(),
        pfr0: id_registers::read(id_registers::ID_AA64PFR0_EL1),
        mmfr1: ID_AA64MMFR1_EL1.get(),
        isar2: id_registers::read(id_registers::ID_AA64ISAR2_EL1),
    }
}

/// Returns whether this PE has statistical profiling or a trace buffer, which write to memory.
pub fn has_records() -> bool {
    const PROFILING: u64 = 0xf << 32;
    const TRACE_BUFFER: u64 = 0xf << 44;
    ID_AA64DFR0_EL1.get() & (PROFILING | TRACE_BUFFER) != 0
}

macro_rules! strays {
    ($($name:ident: $register:ident, $probe:ident;)*) => {
        /// The Normal world's values of the strays.
        pub struct Strays { $($name: u64,)* }

        /// Bit numbers of the registers in [`STRAYS`].
        #[allow(non_camel_case_types, reason = "variants are named like the fields")]
        #[derive(Clone, Copy)]
        enum Number { $($name,)* }

        impl Strays {
            /// All zero.
            pub const ZERO: Self = Self { $($name: 0,)* };

            /// Returns one bit for each register that EL2 can access.
            fn probe() -> u32 {
                let mut found = 0;
                $(if bulk::$probe() { found |= 1 << Number::$name as u32; })*
                found
            }

            /// Stores the strays of this PE.
            pub fn save(&mut self) {
                let found = STRAYS.load(Ordering::Relaxed);
                $(if found & 1 << Number::$name as u32 != 0 { self.$name = $register.get(); })*
            }

            /// Writes the values to the strays of this PE.
            pub fn load(&self) {
                let found = STRAYS.load(Ordering::Relaxed);
                $(if found & 1 << Number::$name as u32 != 0 { $register.set(self.$name); })*
            }
        }
    };
}

strays! {
    thread: TPIDR2_EL0, has_tpidr2;
    streaming_priority: SMPRI_EL1, has_smpri;
    translation_control: TCR2_EL12, has_tcr2;
    permissions: PIR_EL12, has_pir;
    el0_permissions: PIRE0_EL12, has_pire0;
    overlay: POR_EL12, has_por;
    el0_overlay: POR_EL0, has_por_el0;
    control_stack: GCSCR_EL12, has_gcscr;
    control_stack_pointer: GCSPR_EL12, has_gcspr;
    el0_control_stack: GCSCRE0_EL1, has_gcscre0;
    el0_control_stack_pointer: GCSPR_EL0, has_gcspr_el0;
    stage2_overlay: S2POR_EL1, has_s2por;
    attributes: MAIR2_EL12, has_mair2;
    auxiliary_attributes: AMAIR2_EL12, has_amair2;
    fault_address: PFAR_EL12, has_pfar;
    checked_bits: RCWMASK_EL1, has_rcwmask;
    soft_checked_bits: RCWSMASK_EL1, has_rcwsmask;
    accelerator_data: ACCDATA_EL1, has_accdata;
}
