//! System registers that the crate `aarch64-cpu` lacks.

use core::arch::asm;

use tock_registers::interfaces::{Readable, Writeable};

/// Declares a 64-bit system register by its encoding (Arm ARM D24), so that no assembler extension
/// is needed.
macro_rules! system_register {
    ($(#[$doc:meta])* $name:ident, $type:ident, $encoding:literal) => {
        $(#[$doc])*
        pub struct $type;

        impl Readable for $type {
            type T = u64;
            type R = ();

            #[inline(always)]
            fn get(&self) -> u64 {
                let value;
                // SAFETY: a read of a register that is declared below has no side effect on memory.
                unsafe {
                    asm!(concat!("mrs {}, ", $encoding), out(reg) value, options(nomem, nostack, preserves_flags));
                }
                value
            }
        }

        impl Writeable for $type {
            type T = u64;
            type R = ();

            #[inline(always)]
            fn set(&self, value: u64) {
                // SAFETY: the registers that are declared below control lower Exception levels,
                // timers and interrupts; none of them changes how EL2 itself accesses memory.
                unsafe {
                    asm!(concat!("msr ", $encoding, ", {}"), in(reg) value, options(nostack, preserves_flags));
                }
            }
        }

        $(#[$doc])*
        pub const $name: $type = $type;
    };
}

system_register! {
    /// Virtualization Secure Translation Table Base Register: root of the Secure IPA space.
    VSTTBR_EL2, VsttbrEl2, "S3_4_C2_C6_0"
}
system_register! {
    /// Virtualization Secure Translation Control Register.
    VSTCR_EL2, VstcrEl2, "S3_4_C2_C6_2"
}
system_register! {
    /// CNTV_CTL_EL0 as EL2 names it with E2H = 1: the EL1 virtual timer of the loaded context.
    CNTV_CTL_EL02, CntvCtlEl02, "S3_5_C14_C3_1"
}
system_register! {
    /// Performance Monitors Control Register.
    PMCR_EL0, PmcrEl0, "S3_3_C9_C12_0"
}
system_register! {
    /// SCTLR_EL1 as EL2 names it with E2H = 1.
    SCTLR_EL12, SctlrEl12, "S3_5_C1_C0_0"
}
system_register! {
    /// VBAR_EL1 as EL2 names it with E2H = 1.
    VBAR_EL12, VbarEl12, "S3_5_C12_C0_0"
}
system_register! {
    /// ELR_EL1 as EL2 names it with E2H = 1.
    ELR_EL12, ElrEl12, "S3_5_C4_C0_1"
}
system_register! {
    /// SPSR_EL1 as EL2 names it with E2H = 1.
    SPSR_EL12, SpsrEl12, "S3_5_C4_C0_0"
}
system_register! {
    /// ESR_EL1 as EL2 names it with E2H = 1.
    ESR_EL12, EsrEl12, "S3_5_C5_C2_0"
}
system_register! {
    /// FAR_EL1 as EL2 names it with E2H = 1.
    FAR_EL12, FarEl12, "S3_5_C6_C0_0"
}
system_register! {
    /// AMAIR_EL1 as EL2 names it with E2H = 1.
    AMAIR_EL12, AmairEl12, "S3_5_C10_C3_0"
}
system_register! {
    /// AFSR0_EL1 as EL2 names it with E2H = 1.
    AFSR0_EL12, Afsr0El12, "S3_5_C5_C1_0"
}
system_register! {
    /// AFSR1_EL1 as EL2 names it with E2H = 1.
    AFSR1_EL12, Afsr1El12, "S3_5_C5_C1_1"
}
system_register! {
    /// Hypervisor System Trap Register.
    HSTR_EL2, HstrEl2, "S3_4_C1_C1_3"
}
system_register! {
    /// Holds the value that EL1 reads as MIDR_EL1.
    VPIDR_EL2, VpidrEl2, "S3_4_C0_C0_0"
}
system_register! {
    /// Control of the Secure EL2 physical timer.
    CNTHPS_CTL_EL2, CnthpsCtlEl2, "S3_4_C14_C5_1"
}
system_register! {
    /// Compare value of the Secure EL2 physical timer.
    CNTHPS_CVAL_EL2, CnthpsCvalEl2, "S3_4_C14_C5_2"
}
system_register! {
    /// Control of the Secure EL2 virtual timer.
    CNTHVS_CTL_EL2, CnthvsCtlEl2, "S3_4_C14_C4_1"
}
system_register! {
    /// Compare value of the Secure EL2 virtual timer.
    CNTHVS_CVAL_EL2, CnthvsCvalEl2, "S3_4_C14_C4_2"
}
system_register! {
    /// Interrupt priority mask of the PE, shared by both worlds.
    ICC_PMR_EL1, IccPmrEl1, "S3_0_C4_C6_0"
}
system_register! {
    /// CPU interface control register; the Secure copy.
    ICC_CTLR_EL1, IccCtlrEl1, "S3_0_C12_C12_4"
}
system_register! {
    /// The pending Group 0 interrupt of highest priority.
    ICC_HPPIR0_EL1, IccHppir0El1, "S3_0_C12_C8_2"
}
system_register! {
    /// The pending Group 1 interrupt of highest priority.
    ICC_HPPIR1_EL1, IccHppir1El1, "S3_0_C12_C12_2"
}
system_register! {
    /// A read acknowledges the pending Group 1 interrupt of highest priority.
    ICC_IAR1_EL1, IccIar1El1, "S3_0_C12_C12_0"
}
system_register! {
    /// A write drops the priority of a Group 1 interrupt.
    ICC_EOIR1_EL1, IccEoir1El1, "S3_0_C12_C12_1"
}
system_register! {
    /// Enables the signalling of Group 0 interrupts to the PE.
    ICC_IGRPEN0_EL1, IccIgrpen0El1, "S3_0_C12_C12_6"
}
system_register! {
    /// Enables the signalling of Group 1 interrupts to the PE; this is the Secure copy.
    ICC_IGRPEN1_EL1, IccIgrpen1El1, "S3_0_C12_C12_7"
}
system_register! {
    /// Active priorities of Group 0.
    ICC_AP0R0_EL1, IccAp0r0El1, "S3_0_C12_C8_4"
}
system_register! {
    /// Active priorities of Group 1; the Secure copy.
    ICC_AP1R0_EL1, IccAp1r0El1, "S3_0_C12_C9_0"
}
system_register! {
    /// Generates an SGI of Group 1 for the current Security state.
    ICC_SGI1R_EL1, IccSgi1rEl1, "S3_0_C12_C11_5"
}
system_register! {
    /// Generates an SGI of Group 1 for the other Security state.
    ICC_ASGI1R_EL1, IccAsgi1rEl1, "S3_0_C12_C11_6"
}
system_register! {
    /// Streaming vector control: PSTATE.SM and PSTATE.ZA.
    SVCR, Svcr, "S3_3_C4_C2_2"
}
system_register! {
    /// Vector length limit of SVE for EL2 and below.
    ZCR_EL2, ZcrEl2, "S3_4_C1_C2_0"
}
system_register! {
    /// ZCR_EL1, the limit of a partition for itself, as EL2 names it with E2H = 1.
    ZCR_EL12, ZcrEl12, "S3_5_C1_C2_0"
}
system_register! {
    /// Vector length limit of SME in streaming mode for EL2 and below.
    SMCR_EL2, SmcrEl2, "S3_4_C1_C2_6"
}
system_register! {
    /// Identification register of SME's features.
    ID_AA64SMFR0_EL1, IdAa64Smfr0El1, "S3_0_C0_C4_5"
}
system_register! {
    /// Second thread pointer of EL0, which software for SME uses.
    TPIDR2_EL0, Tpidr2El0, "S3_3_C13_C0_5"
}
system_register! {
    /// Priority of the streaming mode of SME.
    SMPRI_EL1, SmpriEl1, "S3_0_C1_C2_4"
}
system_register! {
    /// TCR2_EL1 as EL2 names it with E2H = 1.
    TCR2_EL12, Tcr2El12, "S3_5_C2_C0_3"
}
system_register! {
    /// PIR_EL1, the permissions for stage-1 permission indirection, as EL2 names it with E2H = 1.
    PIR_EL12, PirEl12, "S3_5_C10_C2_3"
}
system_register! {
    /// PIRE0_EL1 as EL2 names it with E2H = 1.
    PIRE0_EL12, Pire0El12, "S3_5_C10_C2_2"
}
system_register! {
    /// POR_EL1, the permission overlays of EL1, as EL2 names it with E2H = 1.
    POR_EL12, PorEl12, "S3_5_C10_C2_4"
}
system_register! {
    /// Overlays of the stage-2 permissions by EL1.
    S2POR_EL1, S2porEl1, "S3_0_C10_C2_5"
}
system_register! {
    /// MAIR2_EL1 as EL2 names it with E2H = 1.
    MAIR2_EL12, Mair2El12, "S3_5_C10_C2_1"
}
system_register! {
    /// AMAIR2_EL1 as EL2 names it with E2H = 1.
    AMAIR2_EL12, Amair2El12, "S3_5_C10_C3_1"
}
system_register! {
    /// PFAR_EL1 as EL2 names it with E2H = 1.
    PFAR_EL12, PfarEl12, "S3_5_C6_C0_5"
}
system_register! {
    /// Bits that read-check-write instructions may change.
    RCWMASK_EL1, RcwmaskEl1, "S3_0_C13_C0_6"
}
system_register! {
    /// Bits that soft read-check-write instructions may change.
    RCWSMASK_EL1, RcwsmaskEl1, "S3_0_C13_C0_3"
}
system_register! {
    /// Data of 64-byte stores to accelerators.
    ACCDATA_EL1, AccdataEl1, "S3_0_C13_C0_5"
}
system_register! {
    /// Identifies memory system resource partitioning and monitoring (MPAM).
    MPAMIDR_EL1, MpamidrEl1, "S3_0_C10_C4_4"
}
system_register! {
    /// MPAM partition of EL2, and traps of MPAM registers of EL1.
    MPAM2_EL2, Mpam2El2, "S3_4_C10_C5_0"
}
system_register! {
    /// MPAM of EL1, as a hypervisor controls it.
    MPAMHCR_EL2, MpamhcrEl2, "S3_4_C10_C4_0"
}
system_register! {
    /// Modes of 8-bit floating point.
    FPMR, Fpmr, "S3_3_C4_C4_2"
}
system_register! {
    /// Permission overlays of EL0.
    POR_EL0, PorEl0, "S3_3_C10_C2_4"
}
system_register! {
    /// GCSCR_EL1, the control of EL1's guarded control stack, as EL2 names it with E2H = 1.
    GCSCR_EL12, GcscrEl12, "S3_5_C2_C5_0"
}
system_register! {
    /// GCSPR_EL1 as EL2 names it with E2H = 1.
    GCSPR_EL12, GcsprEl12, "S3_5_C2_C5_1"
}
system_register! {
    /// Control of the guarded control stack of EL0.
    GCSCRE0_EL1, Gcscre0El1, "S3_0_C2_C5_2"
}
system_register! {
    /// Pointer of the guarded control stack of EL0.
    GCSPR_EL0, GcsprEl0, "S3_3_C2_C5_1"
}
system_register! {
    /// Fine-grained traps of reads.
    HFGRTR_EL2, HfgrtrEl2, "S3_4_C1_C1_4"
}
system_register! {
    /// Fine-grained traps of writes.
    HFGWTR_EL2, HfgwtrEl2, "S3_4_C1_C1_5"
}
system_register! {
    /// Fine-grained traps of instructions.
    HFGITR_EL2, HfgitrEl2, "S3_4_C1_C1_6"
}
system_register! {
    /// Fine-grained traps of reads of debug registers.
    HDFGRTR_EL2, HdfgrtrEl2, "S3_4_C3_C1_4"
}
system_register! {
    /// Fine-grained traps of writes of debug registers.
    HDFGWTR_EL2, HdfgwtrEl2, "S3_4_C3_C1_5"
}
system_register! {
    /// Fine-grained traps of reads, the second part (FEAT_FGT2).
    HFGRTR2_EL2, Hfgrtr2El2, "S3_4_C3_C1_2"
}
system_register! {
    /// Fine-grained traps of writes, the second part.
    HFGWTR2_EL2, Hfgwtr2El2, "S3_4_C3_C1_3"
}
system_register! {
    /// Fine-grained traps of instructions, the second part.
    HFGITR2_EL2, Hfgitr2El2, "S3_4_C3_C1_7"
}
system_register! {
    /// Fine-grained traps of reads of debug registers, the second part.
    HDFGRTR2_EL2, Hdfgrtr2El2, "S3_4_C3_C1_0"
}
system_register! {
    /// Fine-grained traps of writes of debug registers, the second part.
    HDFGWTR2_EL2, Hdfgwtr2El2, "S3_4_C3_C1_1"
}
system_register! {
    /// Controls for which HCR_EL2 has no bits (FEAT_HCX).
    HCRX_EL2, HcrxEl2, "S3_4_C1_C2_2"
}
system_register! {
    /// Shows which kinds of interrupts are pending at EL2, whether PSTATE masks them or not.
    ISR_EL1, IsrEl1, "S3_0_C12_C1_0"
}
system_register! {
    /// Holds the value that EL1 accesses as DISR_EL1 while HCR_EL2.AMO = 1.
    VDISR_EL2, VdisrEl2, "S3_4_C12_C1_1"
}
