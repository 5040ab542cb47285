//! The registers of EL2 and of the CPU interface that S-EL2 has for itself: who keeps each of them
//! while the Normal world has the PE, and where the SPMC writes it.
//!
//! A suspend with loss of power leaves every register UNKNOWN that EL3 does not keep (Arm ARM D24,
//! reset values), and the SPMD does not tell the SPMC of it: the SPMC goes on behind the SMC by
//! which it gave up the PE. So a register that EL3 does not keep must be written before each use,
//! and not only when the PE enters. `docs/hardware.md` lists the groups, and
//! `scripts/xtask/tests/own_registers.rs` compares them with the sources.

/// Who keeps a register while the Normal world has the PE.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kept {
    /// EL3, always.
    Always,
    /// EL3, in the case that the text states. In all other cases the register has no effect, or is
    /// written before each use.
    If(&'static str),
    /// Nobody.
    Never,
}

/// The time at which the SPMC gives a register the value that S-EL2 needs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Written {
    /// When a PE enters, for the first time or after it was off.
    AtEntry,
    /// Before each use, in these functions, each with its file below `el2`.
    BeforeUse(&'static [(&'static str, &'static str)]),
    /// Never: exceptions write the register, or nothing depends on it.
    Never,
}

/// Registers that are treated alike.
pub struct Group {
    /// The names in the Arm ARM and in the GIC specification.
    pub names: &'static [&'static str],
    /// Who keeps them.
    pub kept: Kept,
    /// The time at which they are written.
    pub written: Written,
    /// The document's words for that.
    pub what: &'static str,
}

/// All registers.
pub const GROUPS: &[Group] = &[
    Group {
        names: &[
            "HCR_EL2",
            "CPTR_EL2",
            "MDCR_EL2",
            "HSTR_EL2",
            "CNTHCTL_EL2",
            "CNTVOFF_EL2",
            "VPIDR_EL2",
            "VTCR_EL2",
            "ICH_HCR_EL2",
            "SCTLR_EL2",
            "TCR_EL2",
            "TTBR0_EL2",
            "MAIR_EL2",
            "VBAR_EL2",
            "TPIDR_EL2",
            "ICC_SRE_EL2",
        ],
        kept: Kept::Always,
        written: Written::AtEntry,
        what: "written when a PE enters",
    },
    Group {
        names: &["VMPIDR_EL2", "VTTBR_EL2"],
        kept: Kept::Always,
        written: Written::BeforeUse(&[("cpu/mod.rs", "load")]),
        what: "written with each context",
    },
    Group {
        names: &["ESR_EL2", "FAR_EL2", "HPFAR_EL2", "ELR_EL2", "SPSR_EL2"],
        kept: Kept::Always,
        written: Written::Never,
        what: "each exception writes them; ELR and SPSR are written before each return",
    },
    Group {
        names: &[
            "ICH_VMCR_EL2",
            "ACTLR_EL2",
            "HACR_EL2",
            "AMAIR_EL2",
            "AFSR0_EL2",
            "AFSR1_EL2",
        ],
        kept: Kept::Always,
        written: Written::Never,
        what: "nothing uses them",
    },
    Group {
        names: &[
            "HFGRTR_EL2",
            "HFGWTR_EL2",
            "HFGITR_EL2",
            "HDFGRTR_EL2",
            "HDFGWTR_EL2",
            "HFGRTR2_EL2",
            "HFGWTR2_EL2",
            "HFGITR2_EL2",
            "HDFGRTR2_EL2",
            "HDFGWTR2_EL2",
            "HCRX_EL2",
            "MPAM2_EL2",
            "MPAMHCR_EL2",
            "TCR2_EL2",
            "SCTLR2_EL2",
        ],
        kept: Kept::If("if EL3 has the feature enabled; if not, they have no effect"),
        written: Written::AtEntry,
        what: "written when a PE enters",
    },
    Group {
        names: &["PIR_EL2", "PIRE0_EL2", "POR_EL2", "GCSCR_EL2", "GCSPR_EL2"],
        kept: Kept::If("if EL3 has the feature enabled; if not, they have no effect"),
        written: Written::Never,
        what: "nothing uses them: TCR2_EL2 is 0, and no code at EL2 is compiled for GCS",
    },
    Group {
        names: &["VDISR_EL2"],
        kept: Kept::If("with ENABLE_FEAT_RAS"),
        written: Written::BeforeUse(&[("cpu/mod.rs", "load")]),
        what: "written with each context",
    },
    Group {
        names: &["VSESR_EL2"],
        kept: Kept::If("with ENABLE_FEAT_RAS"),
        written: Written::Never,
        what: "nothing uses it: no virtual SError is ever pending",
    },
    Group {
        names: &["TTBR1_EL2", "CONTEXTIDR_EL2"],
        kept: Kept::If("with ENABLE_FEAT_VHE"),
        written: Written::Never,
        what: "TCR_EL2.EPD1 = 1: nothing walks TTBR1; nothing uses CONTEXTIDR",
    },
    Group {
        names: &["VSTTBR_EL2"],
        kept: Kept::Never,
        written: Written::BeforeUse(&[("cpu/mod.rs", "load")]),
        what: "written with each context",
    },
    Group {
        names: &["VSTCR_EL2"],
        kept: Kept::Never,
        written: Written::BeforeUse(&[("cpu/mod.rs", "load")]),
        what: "written when the first context of a stay is loaded",
    },
    Group {
        names: &["CNTHPS_CTL_EL2", "CNTHPS_CVAL_EL2"],
        kept: Kept::Never,
        written: Written::BeforeUse(&[("gic/watchdog.rs", "start")]),
        what: "written when a partition is limited; at all other times the interrupt is disabled",
    },
    Group {
        names: &["CNTHVS_CTL_EL2", "CNTHVS_CVAL_EL2"],
        kept: Kept::Never,
        written: Written::BeforeUse(&[("gic/timer.rs", "fire_at")]),
        what: "written when the timer of a partition is to be watched; an interrupt that nobody waits for turns the timer off",
    },
    Group {
        names: &["ZCR_EL2"],
        kept: Kept::Never,
        written: Written::BeforeUse(&[
            ("cpu/vector_state.rs", "load"),
            ("cpu/vector_state.rs", "longest_bytes"),
        ]),
        what: "the Normal world's: saved, written before vectors are used, and restored",
    },
    Group {
        names: &["SMCR_EL2"],
        kept: Kept::Never,
        written: Written::BeforeUse(&[("cpu/vector_state.rs", "register_file_bytes")]),
        what: "the Normal world's: saved, written while the size of vectors is measured, and restored",
    },
    Group {
        names: &["ICC_CTLR_EL1"],
        kept: Kept::Never,
        written: Written::BeforeUse(&[("gic/mod.rs", "set_control")]),
        what: "EOImode is written whenever an interrupt is acknowledged",
    },
    Group {
        names: &["ICC_IGRPEN1_EL1"],
        kept: Kept::If("TF-A enables Secure Group 1 when the PE wakes (`gicv3_cpuif_enable`)"),
        written: Written::AtEntry,
        what: "written when a PE enters",
    },
    Group {
        names: &["ICC_BPR1_EL1"],
        kept: Kept::Never,
        written: Written::Never,
        what: "nothing depends on it: all interrupts of the SPMC and of partitions are taken one at a time",
    },
    Group {
        names: &["ICC_PMR_EL1"],
        kept: Kept::Never,
        written: Written::BeforeUse(&[("cpu/mod.rs", "run")]),
        what: "the Normal world's: saved, written at each entry of a partition, and restored",
    },
];
