//! Every system register that software at EL1 or EL0 can name (op0 = 2 or 3, op1 = 0 to 3), and
//! what happens to it between partitions and between the worlds.
//!
//! `docs/hardware.md` is generated from this table, and the test `registers_are_as_documented` of
//! the board compares the table with what partitions reach.

/// The result of an access of a partition at S-EL1.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Treatment {
    /// Each context has a value of its own.
    Switched,
    /// The access traps, and the SPMC completes it.
    Answered,
    /// The access traps, and the partition takes an Undefined Instruction exception.
    Trapped,
    /// The register can be read, holds nothing of anybody, and cannot be changed.
    Constant,
    /// The access traps. Where EL3 withholds the trap, the partition finds 0.
    Stray,
    /// On hardware the access traps. On QEMU it reaches the register, which the SPMC repairs when
    /// the partition stops.
    Interface,
}

/// Registers that are next to each other.
pub struct Row {
    /// The names.
    pub name: &'static str,
    /// Op0, Op1 and CRn.
    pub group: (u64, u64, u64),
    /// The first and last CRm.
    pub crm: (u64, u64),
    /// The first and last op2.
    pub op2: (u64, u64),
    /// The result of an access.
    pub treatment: Treatment,
    /// The mechanism or the reason.
    #[allow(dead_code, reason = "only the document tells reasons")]
    pub by: &'static str,
}

impl Row {
    /// Returns whether the row names the register with this encoding.
    #[allow(dead_code, reason = "the document does not look registers up")]
    pub fn has(&self, group: (u64, u64, u64), crm: u64, op2: u64) -> bool {
        let within = |value, (first, last)| first <= value && value <= last;
        self.group == group && within(crm, self.crm) && within(op2, self.op2)
    }
}

use Treatment::{Answered, Constant, Interface, Stray, Switched, Trapped};

/// Returns a row of one register.
const fn one(
    name: &'static str,
    [op0, op1, crn, crm, op2]: [u64; 5],
    treatment: Treatment,
    by: &'static str,
) -> Row {
    many(name, [op0, op1, crn, crm, crm, op2, op2], treatment, by)
}

/// Returns a row of several registers: Op0, Op1, CRn, then the first and last CRm and op2.
const fn many(
    name: &'static str,
    [op0, op1, crn, crm, last_crm, op2, last_op2]: [u64; 7],
    treatment: Treatment,
    by: &'static str,
) -> Row {
    Row {
        name,
        group: (op0, op1, crn),
        crm: (crm, last_crm),
        op2: (op2, last_op2),
        treatment,
        by,
    }
}

const EL1: &str = "`El1State`";
const AUXILIARY: &str = "`AuxiliaryState`, where the PE has it";
const KEYS: &str = "`PointerKeys`, on the first use in a stay (HCR_EL2.APK)";
const STATUS: &str = "PSTATE: SPSR_EL2 of the context";
const FP: &str = "`FpState`, on the first use in a stay (CPTR_EL2.FPEN)";
const MODEL: &str = "the model of the timer (CNTHCTL_EL2.EL1PTEN)";
const MTE: &str = "HCR_EL2.ATA";
const SVE: &str = "CPTR_EL2.ZEN; with `sve-vector-length` `ScalableState`, as FPCR";
const SME: &str = "CPTR_EL2.SMEN";
const RAS: &str = "HCR_EL2.TERR; FIEN for ERXPFG*";
const LORS: &str = "HCR_EL2.TLOR";
const MPAM: &str =
    "MPAM2_EL2.TRAPMPAM0EL1, TRAPMPAM1EL1 and EnMPAMSM, or EL3 (MPAM3_EL3.TRAPLOWER)";
const BANDWIDTH: &str = "EL3 (MPAMBW3_EL3.nTRAPLOWER)";
const PMU: &str = "MDCR_EL2.TPM and TPMCR";
const SPE: &str = "MDCR_EL2.TPMS and E2PB";
const TRACE: &str = "CPTR_EL2.TTA, MDCR_EL2.TTRF";
const TRBE: &str = "MDCR_EL2.E2TB";
const AMU: &str = "CPTR_EL2.TAM";
const DEBUG: &str = "MDCR_EL2.TDA";
const GIC: &str = "ICH_HCR_EL2.TC, TALL0 and TALL1; on QEMU `reclaim_cpu_interface`";
const VENDOR: &str = "HCR_EL2.TIDCP";
const STRAY: &str = "fine-grained traps, otherwise `Strays`";
const FACT: &str = "a fact of the PE";

/// Every row, in the order of encodings. An encoding without a row is not allocated: an access is
/// undefined.
pub const ROWS: &[Row] = &[
    // Debug and trace: op0 = 2.
    many(
        "OSDTRRX_EL1, OSDTRTX_EL1, MDCCINT_EL1, MDSCR_EL1, MDSELR_EL1, MDSTEPOP_EL1, OSECCR_EL1, \
        DBGBVR*_EL1, DBGBCR*_EL1, DBGWVR*_EL1, DBGWCR*_EL1",
        [2, 0, 0, 0, 15, 0, 7],
        Trapped,
        DEBUG,
    ),
    many("MDRAR_EL1", [2, 0, 1, 0, 0, 0, 0], Trapped, "MDCR_EL2.TDRA"),
    many(
        "OSLAR_EL1, OSLSR_EL1, OSDLR_EL1, DBGPRCR_EL1",
        [2, 0, 1, 0, 4, 4, 4],
        Trapped,
        "MDCR_EL2.TDOSA",
    ),
    many(
        "DBGCLAIMSET_EL1, DBGCLAIMCLR_EL1, DBGAUTHSTATUS_EL1",
        [2, 0, 7, 8, 14, 6, 6],
        Trapped,
        DEBUG,
    ),
    many(
        "SPM*_EL1",
        [2, 0, 9, 12, 15, 0, 7],
        Trapped,
        "MDCR_EL2.EnSPM",
    ),
    many(
        "PMEVCNTSVR*_EL1, PMCCNTSVR_EL1, PMICNTSVR_EL1",
        [2, 0, 14, 8, 12, 0, 7],
        Trapped,
        PMU,
    ),
    many("TRC*", [2, 1, 0, 0, 15, 0, 7], Trapped, TRACE),
    many("TRC*", [2, 1, 1, 0, 15, 0, 7], Trapped, TRACE),
    many("TRC*", [2, 1, 2, 0, 15, 0, 7], Trapped, TRACE),
    many("TRC*", [2, 1, 3, 0, 15, 0, 7], Trapped, TRACE),
    many("TRC*", [2, 1, 7, 0, 15, 0, 7], Trapped, TRACE),
    many(
        "BRBINF*_EL1, BRBSRC*_EL1, BRBTGT*_EL1",
        [2, 1, 8, 0, 15, 0, 7],
        Trapped,
        "EL3 (MDCR_EL3.SBRBE), fine-grained traps",
    ),
    many(
        "BRBCR_EL1, BRBFCR_EL1, BRBTS_EL1, BRB*INJ_EL1, BRBIDR0_EL1",
        [2, 1, 9, 0, 2, 0, 2],
        Trapped,
        "EL3 (MDCR_EL3.SBRBE), fine-grained traps",
    ),
    many(
        "MDCCSR_EL0, DBGDTR_EL0, DBGDTRRX_EL0",
        [2, 3, 0, 1, 5, 0, 0],
        Trapped,
        "MDCR_EL2.TDCC and TDA",
    ),
    many(
        "SPM*_EL0",
        [2, 3, 9, 12, 14, 0, 7],
        Trapped,
        "MDCR_EL2.EnSPM",
    ),
    many(
        "SPMEV*_EL0",
        [2, 3, 14, 0, 15, 0, 7],
        Trapped,
        "MDCR_EL2.EnSPM",
    ),
    // EL1: op0 = 3, op1 = 0.
    one(
        "MIDR_EL1",
        [3, 0, 0, 0, 0],
        Constant,
        "VPIDR_EL2 = MIDR_EL1",
    ),
    one(
        "MPIDR_EL1",
        [3, 0, 0, 0, 5],
        Switched,
        "VMPIDR_EL2, the number of the context",
    ),
    one("REVIDR_EL1", [3, 0, 0, 0, 6], Constant, FACT),
    many(
        "ID_*_EL1, MVFR*_EL1",
        [3, 0, 0, 1, 7, 0, 7],
        Answered,
        "`id_registers.rs` (HCR_EL2.TID3)",
    ),
    one("SCTLR_EL1", [3, 0, 1, 0, 0], Switched, EL1),
    one("ACTLR_EL1", [3, 0, 1, 0, 1], Trapped, "HCR_EL2.TACR"),
    one("CPACR_EL1", [3, 0, 1, 0, 2], Switched, EL1),
    one(
        "SCTLR2_EL1",
        [3, 0, 1, 0, 3],
        Trapped,
        "HCRX_EL2.SCTLR2En, or EL3 (SCR_EL3.SCTLR2En)",
    ),
    many("RGSR_EL1, GCR_EL1", [3, 0, 1, 0, 0, 5, 6], Trapped, MTE),
    one("ZCR_EL1", [3, 0, 1, 2, 0], Trapped, SVE),
    many(
        "TRFCR_EL1, TRCITECR_EL1",
        [3, 0, 1, 2, 2, 1, 3],
        Trapped,
        TRACE,
    ),
    one("SMPRI_EL1", [3, 0, 1, 2, 4], Stray, STRAY),
    one("SMCR_EL1", [3, 0, 1, 2, 6], Trapped, SME),
    many(
        "SCTLRMASK_EL1, CPACRMASK_EL1, SCTLR2MASK_EL1, ...",
        [3, 0, 1, 4, 4, 0, 7],
        Trapped,
        "HCRX_EL2.SRMASKEn",
    ),
    many(
        "TTBR0_EL1, TTBR1_EL1, TCR_EL1",
        [3, 0, 2, 0, 0, 0, 2],
        Switched,
        EL1,
    ),
    one(
        "TCR2_EL1",
        [3, 0, 2, 0, 3],
        Trapped,
        "HCRX_EL2.TCR2En, or EL3 (SCR_EL3.TCR2En)",
    ),
    many("APIA*, APIB*", [3, 0, 2, 1, 1, 0, 3], Switched, KEYS),
    many("APDA*, APDB*", [3, 0, 2, 2, 2, 0, 3], Switched, KEYS),
    many("APGA*", [3, 0, 2, 3, 3, 0, 1], Switched, KEYS),
    many(
        "GCSCR_EL1, GCSPR_EL1, GCSCRE0_EL1",
        [3, 0, 2, 5, 5, 0, 2],
        Stray,
        STRAY,
    ),
    many(
        "TCRMASK_EL1, TCR2MASK_EL1, TCRALIAS_EL1, TCR2ALIAS_EL1",
        [3, 0, 2, 7, 7, 2, 7],
        Trapped,
        "HCRX_EL2.SRMASKEn",
    ),
    many("SPSR_EL1, ELR_EL1", [3, 0, 4, 0, 0, 0, 1], Switched, EL1),
    one("SP_EL0", [3, 0, 4, 1, 0], Switched, EL1),
    many(
        "SPSel, CurrentEL, PAN, UAO",
        [3, 0, 4, 2, 2, 0, 4],
        Switched,
        STATUS,
    ),
    many("ALLINT, PM", [3, 0, 4, 3, 3, 0, 1], Switched, STATUS),
    one("ICC_PMR_EL1", [3, 0, 4, 6, 0], Interface, GIC),
    many(
        "AFSR0_EL1, AFSR1_EL1",
        [3, 0, 5, 1, 1, 0, 1],
        Switched,
        AUXILIARY,
    ),
    one("ESR_EL1", [3, 0, 5, 2, 0], Switched, EL1),
    many(
        "ERRIDR_EL1, ERRSELR_EL1, ERX*_EL1",
        [3, 0, 5, 3, 5, 0, 7],
        Trapped,
        RAS,
    ),
    many("TFSR_EL1, TFSRE0_EL1", [3, 0, 5, 6, 6, 0, 1], Trapped, MTE),
    one("FAR_EL1", [3, 0, 6, 0, 0], Switched, EL1),
    one("PFAR_EL1", [3, 0, 6, 0, 5], Stray, STRAY),
    one("PAR_EL1", [3, 0, 7, 4, 0], Switched, EL1),
    many("PMSCR_EL1, PMS*_EL1", [3, 0, 9, 9, 9, 0, 7], Trapped, SPE),
    many(
        "PMBLIMITR_EL1, PMBPTR_EL1, PMBSR_EL1, PMBIDR_EL1",
        [3, 0, 9, 10, 10, 0, 7],
        Trapped,
        SPE,
    ),
    many(
        "TRBLIMITR_EL1, TRB*_EL1",
        [3, 0, 9, 11, 11, 0, 7],
        Trapped,
        TRBE,
    ),
    many("PMSSCR_EL1", [3, 0, 9, 13, 13, 0, 7], Trapped, PMU),
    many(
        "PMINTENSET_EL1, PMINTENCLR_EL1, PMUACR_EL1, PMECR_EL1, PMMIR_EL1",
        [3, 0, 9, 14, 14, 1, 7],
        Trapped,
        PMU,
    ),
    one("MAIR_EL1", [3, 0, 10, 2, 0], Switched, EL1),
    one("MAIR2_EL1", [3, 0, 10, 2, 1], Stray, STRAY),
    many(
        "PIRE0_EL1, PIR_EL1, POR_EL1, S2POR_EL1",
        [3, 0, 10, 2, 2, 2, 5],
        Stray,
        STRAY,
    ),
    one("AMAIR_EL1", [3, 0, 10, 3, 0], Switched, AUXILIARY),
    one("AMAIR2_EL1", [3, 0, 10, 3, 1], Stray, STRAY),
    many(
        "LORSA_EL1, LOREA_EL1, LORN_EL1, LORC_EL1",
        [3, 0, 10, 4, 4, 0, 3],
        Trapped,
        LORS,
    ),
    one(
        "MPAMIDR_EL1",
        [3, 0, 10, 4, 4],
        Trapped,
        "MPAMHCR_EL2.TRAP_MPAMIDR_EL1, or EL3 (MPAM3_EL3.TRAPLOWER)",
    ),
    one("MPAMBWIDR_EL1", [3, 0, 10, 4, 5], Trapped, BANDWIDTH),
    one("LORID_EL1", [3, 0, 10, 4, 7], Trapped, LORS),
    many(
        "MPAM1_EL1, MPAM0_EL1, MPAMSM_EL1",
        [3, 0, 10, 5, 5, 0, 3],
        Trapped,
        MPAM,
    ),
    many(
        "MPAMBW1_EL1, MPAMBW0_EL1, MPAMBWSM_EL1",
        [3, 0, 10, 5, 5, 4, 7],
        Trapped,
        BANDWIDTH,
    ),
    many(
        "IMPLEMENTATION DEFINED",
        [3, 0, 11, 0, 15, 0, 7],
        Trapped,
        VENDOR,
    ),
    one("VBAR_EL1", [3, 0, 12, 0, 0], Switched, EL1),
    one(
        "ISR_EL1",
        [3, 0, 12, 1, 0],
        Switched,
        "HCR_EL2.VI and VF of the loaded context; pending physical interrupts are not shown",
    ),
    one(
        "DISR_EL1",
        [3, 0, 12, 1, 1],
        Switched,
        "VDISR_EL2, cleared for each context (HCR_EL2.AMO)",
    ),
    many("ICC_*_EL1", [3, 0, 12, 8, 12, 0, 7], Interface, GIC),
    one("CONTEXTIDR_EL1", [3, 0, 13, 0, 1], Switched, EL1),
    one("RCWSMASK_EL1", [3, 0, 13, 0, 3], Stray, STRAY),
    one("TPIDR_EL1", [3, 0, 13, 0, 4], Switched, EL1),
    one("ACCDATA_EL1", [3, 0, 13, 0, 5], Stray, STRAY),
    one("RCWMASK_EL1", [3, 0, 13, 0, 6], Stray, STRAY),
    one("SCXTNUM_EL1", [3, 0, 13, 0, 7], Trapped, "HCR_EL2.EnSCXT"),
    one("CNTKCTL_EL1", [3, 0, 14, 1, 0], Switched, EL1),
    many(
        "IMPLEMENTATION DEFINED",
        [3, 0, 15, 0, 15, 0, 7],
        Trapped,
        VENDOR,
    ),
    // Caches: op1 = 1 and 2.
    many(
        "CCSIDR_EL1, CLIDR_EL1, CCSIDR2_EL1",
        [3, 1, 0, 0, 0, 0, 2],
        Constant,
        FACT,
    ),
    one("GMID_EL1", [3, 1, 0, 0, 4], Constant, FACT),
    many("SMIDR_EL1, AIDR_EL1", [3, 1, 0, 0, 0, 6, 7], Constant, FACT),
    many(
        "IMPLEMENTATION DEFINED",
        [3, 1, 11, 0, 15, 0, 7],
        Trapped,
        VENDOR,
    ),
    many(
        "IMPLEMENTATION DEFINED",
        [3, 1, 15, 0, 15, 0, 7],
        Trapped,
        VENDOR,
    ),
    one("CSSELR_EL1", [3, 2, 0, 0, 0], Switched, EL1),
    many(
        "IMPLEMENTATION DEFINED",
        [3, 2, 11, 0, 15, 0, 7],
        Trapped,
        VENDOR,
    ),
    many(
        "IMPLEMENTATION DEFINED",
        [3, 2, 15, 0, 15, 0, 7],
        Trapped,
        VENDOR,
    ),
    // EL0: op1 = 3.
    one("CTR_EL0", [3, 3, 0, 0, 1], Constant, FACT),
    one("DCZID_EL0", [3, 3, 0, 0, 7], Constant, FACT),
    many(
        "RNDR, RNDRRS",
        [3, 3, 2, 4, 4, 0, 1],
        Constant,
        "a new number at each read",
    ),
    one("GCSPR_EL0", [3, 3, 2, 5, 1], Stray, STRAY),
    many("NZCV, DAIF", [3, 3, 4, 2, 2, 0, 1], Switched, STATUS),
    one("SVCR", [3, 3, 4, 2, 2], Trapped, SME),
    many("DIT, SSBS, TCO", [3, 3, 4, 2, 2, 5, 7], Switched, STATUS),
    many("FPCR, FPSR", [3, 3, 4, 4, 4, 0, 1], Switched, FP),
    one(
        "FPMR",
        [3, 3, 4, 4, 2],
        Trapped,
        "HCRX_EL2.EnFPM, or EL3 (SCR_EL3.EnFPM)",
    ),
    many(
        "DSPSR_EL0, DLR_EL0",
        [3, 3, 4, 5, 5, 0, 1],
        Trapped,
        "undefined outside of Debug state",
    ),
    one("PMICNTR_EL0", [3, 3, 9, 4, 0], Trapped, PMU),
    one("PMICFILTR_EL0", [3, 3, 9, 6, 0], Trapped, PMU),
    many("PM*_EL0", [3, 3, 9, 12, 14, 0, 7], Trapped, PMU),
    one("POR_EL0", [3, 3, 10, 2, 4], Stray, STRAY),
    many(
        "IMPLEMENTATION DEFINED",
        [3, 3, 11, 0, 15, 0, 7],
        Trapped,
        VENDOR,
    ),
    many(
        "TPIDR_EL0, TPIDRRO_EL0",
        [3, 3, 13, 0, 0, 2, 3],
        Switched,
        EL1,
    ),
    one("TPIDR2_EL0", [3, 3, 13, 0, 5], Stray, STRAY),
    one("SCXTNUM_EL0", [3, 3, 13, 0, 7], Trapped, "HCR_EL2.EnSCXT"),
    many("AM*_EL0", [3, 3, 13, 2, 15, 0, 7], Trapped, AMU),
    many(
        "CNTFRQ_EL0, CNTPCT_EL0, CNTVCT_EL0",
        [3, 3, 14, 0, 0, 0, 2],
        Constant,
        "the counter, with CNTVOFF_EL2 = 0",
    ),
    many(
        "CNTPCTSS_EL0, CNTVCTSS_EL0",
        [3, 3, 14, 0, 0, 5, 6],
        Constant,
        "the counter, with CNTVOFF_EL2 = 0",
    ),
    many(
        "CNTP_TVAL_EL0, CNTP_CTL_EL0, CNTP_CVAL_EL0",
        [3, 3, 14, 2, 2, 0, 2],
        Answered,
        MODEL,
    ),
    many(
        "CNTV_TVAL_EL0, CNTV_CTL_EL0, CNTV_CVAL_EL0",
        [3, 3, 14, 3, 3, 0, 2],
        Switched,
        EL1,
    ),
    many(
        "PMEVCNTR*_EL0, PMEVTYPER*_EL0, PMCCFILTR_EL0",
        [3, 3, 14, 8, 15, 0, 7],
        Trapped,
        PMU,
    ),
    many(
        "IMPLEMENTATION DEFINED",
        [3, 3, 15, 0, 15, 0, 7],
        Trapped,
        VENDOR,
    ),
];
