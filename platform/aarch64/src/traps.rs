//! The registers of EL2 that decide what a partition does without EL2, and what traps to EL2: each
//! field with its reason. The values are computed from the fields; `docs/hardware.md` lists them.
//!
//! `el2/cpu/features.rs` writes those registers that EL3 may withhold from EL2. A field that is not
//! here is 0 and has no effect on partitions.

/// A field of a register.
#[cfg_attr(
    target_os = "none",
    allow(dead_code, reason = "only the document names fields")
)]
pub struct Field {
    /// The name in the Arm ARM.
    pub name: &'static str,
    /// The lowest bit.
    pub low: u32,
    /// The value.
    pub value: u64,
    /// The reason for this value.
    pub why: &'static str,
}

/// A register with its fields.
#[cfg_attr(
    target_os = "none",
    allow(dead_code, reason = "only the document names registers")
)]
pub struct Controls {
    /// The name in the Arm ARM.
    pub name: &'static str,
    /// The section of the Arm ARM, or the other specification.
    pub section: &'static str,
    /// The time at which the register has this value.
    pub when: &'static str,
    /// The fields.
    pub fields: &'static [Field],
}

/// Returns a field.
const fn field(name: &'static str, low: u32, value: u64, why: &'static str) -> Field {
    Field {
        name,
        low,
        value,
        why,
    }
}

/// Returns the value of a register with these fields.
const fn value(fields: &[Field]) -> u64 {
    let mut value = 0;
    let mut n = 0;
    while n < fields.len() {
        assert!(value & fields[n].value << fields[n].low == 0);
        value |= fields[n].value << fields[n].low;
        n += 1;
    }
    value
}

const HCR_FIELDS: &[Field] = &[
    field("VM", 0, 1, "stage 2 translates"),
    field(
        "SWIO",
        1,
        1,
        "a data cache invalidate by set/way also cleans, so that it cannot drop what others wrote",
    ),
    field(
        "PTW",
        2,
        1,
        "stage-1 walks may not go through Device memory",
    ),
    field(
        "FMO",
        3,
        1,
        "FIQs, which are interrupts of the Normal world, are taken to EL2",
    ),
    field(
        "IMO",
        4,
        1,
        "IRQs, which are Secure interrupts, are taken to EL2",
    ),
    field(
        "AMO",
        5,
        1,
        "SErrors are taken to EL2; EL1 accesses VDISR_EL2 by the name DISR_EL1",
    ),
    field(
        "VF, VI",
        6,
        0,
        "set while a virtual interrupt is pending for the loaded context",
    ),
    field(
        "FB",
        9,
        1,
        "local TLB and instruction cache maintenance applies to all PEs, since UP partitions move",
    ),
    field(
        "BSU",
        10,
        0b01,
        "barriers apply to the Inner Shareable domain, for the same reason",
    ),
    field(
        "TWI",
        13,
        1,
        "WFI traps, since it would stop the PE for the Normal world, too",
    ),
    field(
        "TWE",
        14,
        0,
        "WFE returns at the next event, at the latest that of the event stream",
    ),
    field(
        "TID3",
        18,
        1,
        "reads of identification registers trap, and read as `id_registers.rs` says",
    ),
    field("TSC", 19, 1, "SMC traps, as a call to the SPMC"),
    field(
        "TIDCP",
        20,
        1,
        "IMPLEMENTATION DEFINED registers and instructions trap",
    ),
    field("TACR", 21, 1, "ACTLR_EL1 traps"),
    field(
        "TGE",
        27,
        0,
        "1 while a partition at S-EL0 runs, so that there is no EL1 for it",
    ),
    field("HCD", 29, 0, "HVC is a call to the SPMC"),
    field("RW", 31, 1, "EL1 is AArch64"),
    field(
        "E2H",
        34,
        1,
        "EL2 shares its translation regime with S-EL0; never changes, since TLBs may cache it",
    ),
    field("TLOR", 35, 1, "LORegion registers trap"),
    field("TERR", 36, 1, "RAS error record registers trap"),
    field("TEA", 37, 1, "synchronous External aborts are taken to EL2"),
    field(
        "APK, API",
        40,
        0,
        "the first use of pointer authentication in a stay traps; 1 from then on",
    ),
    field(
        "NV",
        42,
        0,
        "no nested virtualization: registers of EL2 are undefined at EL1",
    ),
    field("FIEN", 47, 0, "fault injection registers (ERXPFG*) trap"),
    field("EnSCXT", 53, 0, "SCXTNUM_EL0 and SCXTNUM_EL1 trap"),
    field(
        "ATA",
        56,
        0,
        "there is no MTE: GCR_EL1, RGSR_EL1, TFSR_EL1 and TFSRE0_EL1 trap",
    ),
];

/// HCR_EL2 at all times, except while an S-EL0 partition runs, when TGE is 1, too (`el0.rs`), and
/// except for the bits of the two constants below. EL2 itself depends on E2H only.
pub const HCR: u64 = value(HCR_FIELDS);

/// HCR_EL2.API and APK, which let a partition use pointer authentication.
pub const HCR_POINTER_AUTHENTICATION: u64 = 0b11 << 40;

/// HCR_EL2.VI and VF, which make a virtual IRQ and FIQ pending for a partition.
pub const HCR_SIGNALS: u64 = 0b11 << 6;

const MDCR_FIELDS: &[Field] = &[
    field(
        "HPMN",
        0,
        0,
        "PMCR_EL0.N: other values may be unpredictable, and TF-A leaves 0",
    ),
    field("TPMCR", 5, 1, "PMCR_EL0 traps"),
    field("TPM", 6, 1, "performance monitor registers trap"),
    field("HPME", 7, 0, "no counters are EL2's own"),
    field(
        "TDE",
        8,
        0,
        "debug exceptions are disabled in the Secure state by EL3 (MDCR_EL3.SDD)",
    ),
    field(
        "TDA",
        9,
        1,
        "debug registers trap, MDSCR_EL1 included, which holds the Normal world's value",
    ),
    field(
        "TDOSA",
        10,
        1,
        "OS lock and power-down registers of debug trap",
    ),
    field("TDRA", 11, 1, "debug ROM address registers trap"),
    field("E2PB", 12, 0, "statistical profiling buffer registers trap"),
    field("TPMS", 14, 1, "statistical profiling registers trap"),
    field("EnSPM", 15, 0, "System PMU registers trap"),
    field("HPMD", 17, 1, "event counters do not count at EL2"),
    field("TTRF", 19, 1, "trace filter registers trap"),
    field("HCCD", 23, 1, "the cycle counter does not count at EL2"),
    field("E2TB", 24, 0, "trace buffer registers trap"),
    field(
        "TDCC",
        27,
        1,
        "registers of the debug communication channel trap",
    ),
];

/// MDCR_EL2 without HPMN, which depends on the PE.
pub const MDCR: u64 = value(MDCR_FIELDS);

/// MDCR_EL2.HPMN.
pub const MDCR_HPMN: u64 = 0x1f;

const CNTHCTL_FIELDS: &[Field] = &[
    field(
        "EL0PCTEN",
        0,
        1,
        "S-EL0 partitions read the physical counter",
    ),
    field(
        "EL0VCTEN",
        1,
        1,
        "S-EL0 partitions read the virtual counter",
    ),
    field("EL0VTEN", 8, 0, "S-EL0 partitions have no virtual timer"),
    field(
        "EL0PTEN",
        9,
        0,
        "the physical timer traps at S-EL0, too: partitions have a model",
    ),
    field("EL1PCTEN", 10, 1, "EL1 reads the physical counter"),
    field(
        "EL1PTEN",
        11,
        0,
        "the physical timer traps: the hardware's is the Normal world's, partitions have a model",
    ),
    field(
        "ECV",
        12,
        0,
        "there is no offset of the physical counter (CNTPOFF_EL2)",
    ),
    field(
        "EL1TVT",
        13,
        0,
        "EL1 has the virtual timer, which is switched",
    ),
    field("EL1TVCT", 14, 0, "EL1 reads the virtual counter"),
];

/// CNTHCTL_EL2.
pub const CNTHCTL: u64 = value(CNTHCTL_FIELDS);

const CPTR_FIELDS: &[Field] = &[
    field(
        "ZEN",
        16,
        0,
        "SVE traps; 0b11 from the first use of vectors in a stay on, if the manifest gives SVE",
    ),
    field(
        "FPEN",
        20,
        0,
        "the first use of FP and Advanced SIMD in a stay traps; 0b11 from then on",
    ),
    field("SMEN", 24, 0, "SME traps"),
    field("TTA", 28, 1, "trace registers trap"),
    field("E0POE", 29, 0, "POR_EL0 traps at S-EL0 partitions"),
    field("TAM", 30, 1, "activity monitor registers trap"),
    field("TCPAC", 31, 0, "EL1 has CPACR_EL1, which is switched"),
];

/// CPTR_EL2 with E2H = 1 for a partition that has not used FP in this stay.
pub const CPTR: u64 = value(CPTR_FIELDS);

const ICH_HCR_FIELDS: &[Field] = &[
    field(
        "En",
        0,
        0,
        "there is no virtual CPU interface: virtual interrupts come by HCR_EL2.VI and VF",
    ),
    field(
        "TC",
        10,
        1,
        "registers that both groups have (ICC_PMR_EL1, ICC_CTLR_EL1, ICC_RPR_EL1, ICC_DIR_EL1, SGIs) trap",
    ),
    field("TALL0", 11, 1, "registers of Group 0 trap"),
    field(
        "TALL1",
        12,
        1,
        "registers of Group 1 trap: ICH_VMCR_EL2, which holds their state, is not switched",
    ),
    field(
        "TSEI",
        13,
        1,
        "locally generated SErrors for virtual interrupts trap",
    ),
    field("TDIR", 14, 1, "ICC_DIR_EL1 traps"),
];

const MPAM2_FIELDS: &[Field] = &[
    field(
        "PARTID_D, PARTID_I, PMG_D, PMG_I",
        0,
        0,
        "EL2 has the default partition",
    ),
    field(
        "TRAPMPAM1EL1",
        48,
        1,
        "MPAM1_EL1 traps: it holds the Normal world's value",
    ),
    field(
        "TRAPMPAM0EL1",
        49,
        1,
        "MPAM0_EL1 traps, for the same reason",
    ),
    field("EnMPAMSM", 50, 0, "MPAMSM_EL1 traps"),
];

/// MPAM2_EL2.
pub const MPAM2: u64 = value(MPAM2_FIELDS);

const MPAMHCR_FIELDS: &[Field] = &[
    field(
        "EL0_VPMEN, EL1_VPMEN",
        0,
        0,
        "partition ids of EL1 are not virtual",
    ),
    field("TRAP_MPAMIDR_EL1", 31, 1, "MPAMIDR_EL1 traps"),
];

/// MPAMHCR_EL2, where MPAMIDR_EL1.HAS_HCR says that the PE has it.
pub const MPAMHCR: u64 = value(MPAMHCR_FIELDS);

/// MPAMIDR_EL1.HAS_HCR.
pub const MPAMIDR_HAS_HCR: u64 = 1 << 17;

/// ICH_HCR_EL2.
pub const ICH_HCR: u64 = value(ICH_HCR_FIELDS);

const SCTLR_S_EL0_FIELDS: &[Field] = &[
    field("SA0", 4, 1, "the alignment of SP is checked"),
    field("UMA", 9, 0, "DAIF traps"),
    field(
        "EnRCTX",
        10,
        0,
        "restrictions of speculation by context (CFP RCTX and others) trap",
    ),
    field("DZE", 14, 1, "DC ZVA is permitted"),
    field("UCT", 15, 1, "CTR_EL0 can be read"),
    field("nTWI", 16, 0, "WFI traps"),
    field("nTWE", 18, 1, "WFE is permitted"),
    field("TSCXT", 20, 1, "SCXTNUM_EL0 traps"),
    field("UCI", 26, 1, "cache maintenance by address is permitted"),
    field(
        "MSCEn",
        33,
        0,
        "memory copy and set instructions are undefined",
    ),
    field("EnFPM", 34, 0, "FPMR traps"),
    field(
        "EnDB, EnDA, EnIB, EnIA",
        13,
        0,
        "1, with bits 27, 30 and 31, if EL2 can switch the keys, which each S-EL0 context has for itself; EL2 has no \
        instruction that uses keys",
    ),
    field(
        "BT0",
        35,
        0,
        "1 with FEAT_BTI: PACIASP and PACIBSP are no targets of BR in guarded pages",
    ),
    field("ATA0", 42, 0, "there is no MTE"),
    field(
        "EnAS0, EnALS, EnASR",
        54,
        0,
        "64-byte stores trap (bits 54 to 56)",
    ),
    field("EnTP2", 60, 0, "TPIDR2_EL0 traps"),
    field(
        "TIDCP",
        63,
        1,
        "IMPLEMENTATION DEFINED registers trap: HCR_EL2.TIDCP has no effect while TGE = 1",
    ),
];

/// The fields of SCTLR_EL2 for S-EL0 partitions, which are in the EL2&0 regime.
pub const SCTLR_S_EL0: u64 = value(SCTLR_S_EL0_FIELDS);

/// SCTLR_EL2.EnDB, EnDA, EnIB and EnIA: addresses are signed and authenticated.
pub const SCTLR_POINTER_AUTHENTICATION: u64 = 1 << 13 | 1 << 27 | 1 << 30 | 1 << 31;

/// SCTLR_EL2.BT0.
pub const SCTLR_BRANCH_TARGETS: u64 = 1 << 35;

const FINE_GRAINED: &[Field] = &[
    field(
        "n*",
        0,
        0,
        "each negative trap bit traps: TPIDR2_EL0, ACCDATA_EL1, RCWMASK_EL1, RCWSMASK_EL1, SMPRI_EL1, \
        GCS, PIR_EL1, PIRE0_EL1, POR_EL0, POR_EL1, S2POR_EL1, MAIR2_EL1, AMAIR2_EL1, PFAR_EL1, branch records",
    ),
    field(
        "others",
        0,
        0,
        "positive trap bits do not trap what HCR_EL2 and the others decide about",
    ),
];

const HCRX_FIELDS: &[Field] = &[
    field(
        "EnAS0, EnALS, EnASR",
        0,
        0,
        "64-byte stores trap (bits 0 to 2)",
    ),
    field(
        "MSCEn",
        11,
        0,
        "memory copy and set instructions are undefined",
    ),
    field("TCR2En", 14, 0, "TCR2_EL1 traps and behaves as 0"),
    field("SCTLR2En", 15, 0, "SCTLR2_EL1 traps and behaves as 0"),
    field("D128En", 17, 0, "128-bit system registers trap"),
    field(
        "GCSEn",
        22,
        0,
        "guarded control stacks are off at EL1 and EL0",
    ),
    field("EnFPM", 23, 0, "FPMR traps"),
    field("SRMASKEn", 26, 0, "mask registers of EL1's controls trap"),
];

/// Every register of controls, for the document.
#[cfg_attr(
    target_os = "none",
    allow(dead_code, reason = "only the document lists registers")
)]
pub const CONTROLS: &[Controls] = &[
    Controls {
        name: "HCR_EL2",
        section: "Arm ARM D24",
        when: "always",
        fields: HCR_FIELDS,
    },
    Controls {
        name: "HCRX_EL2",
        section: "Arm ARM D24",
        when: "always, if EL3 lets EL2 use it (FEAT_HCX)",
        fields: HCRX_FIELDS,
    },
    Controls {
        name: "HFGRTR_EL2, HFGWTR_EL2, HFGITR_EL2, HDFGRTR_EL2, HDFGWTR_EL2, and the same with 2",
        section: "Arm ARM D24",
        when: "always, if EL3 lets EL2 use them (FEAT_FGT, FEAT_FGT2); otherwise the registers behind the negative \
               bits are *strays*, which `features.rs` switches",
        fields: FINE_GRAINED,
    },
    Controls {
        name: "MPAM2_EL2",
        section: "Arm ARM D24",
        when: "always, if the PE has MPAM and EL3 lets EL2 use it; otherwise EL3 traps what EL1 does, too \
               (MPAM3_EL3.TRAPLOWER)",
        fields: MPAM2_FIELDS,
    },
    Controls {
        name: "MPAMHCR_EL2",
        section: "Arm ARM D24",
        when: "as MPAM2_EL2, if the PE has it (MPAMIDR_EL1.HAS_HCR)",
        fields: MPAMHCR_FIELDS,
    },
    Controls {
        name: "MDCR_EL2",
        section: "Arm ARM D24",
        when: "always",
        fields: MDCR_FIELDS,
    },
    Controls {
        name: "CPTR_EL2",
        section: "Arm ARM D24",
        when: "always",
        fields: CPTR_FIELDS,
    },
    Controls {
        name: "CNTHCTL_EL2",
        section: "Arm ARM D24",
        when: "always",
        fields: CNTHCTL_FIELDS,
    },
    Controls {
        name: "HSTR_EL2",
        section: "Arm ARM D24",
        when: "always",
        fields: &[field(
            "T*",
            0,
            0,
            "traps of AArch32 at EL1, which partitions do not have",
        )],
    },
    Controls {
        name: "ICH_HCR_EL2",
        section: "GICv3 12",
        when: "always",
        fields: ICH_HCR_FIELDS,
    },
    Controls {
        name: "SCTLR_EL2",
        section: "Arm ARM D24",
        when: "always; these fields matter while S-EL0 runs",
        fields: SCTLR_S_EL0_FIELDS,
    },
];
