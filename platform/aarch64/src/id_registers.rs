//! Identification registers as partitions at S-EL1 read them. The reads trap (HCR_EL2.TID3).
//!
//! A field that the table does not name reads as zero, and so does each field that a later version
//! of the architecture adds. The table names a feature if no trap that `traps.rs` and
//! `el2/cpu/features.rs` configure denies it to partitions, and if a context holds all state that
//! the feature adds. Some features are there for partitions that were granted them only
//! ([`Granted`]). The registers of SME and FP8 have no row, nor have registers that describe only
//! EL2, EL3 or AArch32 at EL1.

/// Number of an identification register (op0 = 3, op1 = 0, CRn = 0).
pub type Number = usize;

/// Returns the number of the register with that CRm and op2.
pub const fn number(crm: u64, op2: u64) -> Number {
    (crm << 3 | op2) as usize
}

/// Size of a table by number, for CRm up to 7. No register here has CRm = 0.
const NUMBERS: usize = 64;

/// The limit of a field that is shown unchanged. Signed fields, in which 0xf means that the feature
/// is not implemented, have no other limit.
const ANY: u64 = 0xf;

/// The limit of a whole AArch32 register that is shown unchanged: EL0 may use AArch32.
const ALL: u64 = 0xffff_ffff;

/// Declares registers, each with the lowest bit of every field that is shown and with the greatest
/// value that the field shows. A field has four bits, and each value includes the features of all
/// lower values.
macro_rules! id_registers {
    ($($name:ident = ($crm:literal, $op2:literal) { $($field:ident[$low:literal]: $limit:expr,)* })*) => {
        $(#[doc = stringify!($name)] pub const $name: Number = number($crm, $op2);)*

        /// The greatest value that each field of each register shows.
        static LIMITS: [u64; NUMBERS] = {
            let mut limits = [0; NUMBERS];
            $(limits[$name] = 0 $(| $limit << $low)*;)*
            limits
        };

        /// Reads a register of this PE. Returns zero if no field of the register is shown.
        #[cfg(target_os = "none")]
        #[unsafe(link_section = ".text.identify")]
        pub fn read(number: Number) -> u64 {
            match number {
                $($name => {
                    let value: u64;
                    // SAFETY: EL2 can read each register of the table on every PE, and a read has
                    // no side effect.
                    unsafe {
                        core::arch::asm!(
                            concat!("mrs {}, s3_0_c0_c", $crm, "_", $op2),
                            out(reg) value,
                            options(pure, nomem, nostack, preserves_flags)
                        );
                    }
                    value
                })*
                _ => 0,
            }
        }
    };
}

id_registers! {
    ID_AA64PFR0_EL1 = (4, 0) {
        EL0[0]: ANY,
        EL1[4]: 1, // AArch64 (HCR_EL2.RW)
        EL2[8]: 1, // there is HVC
        EL3[12]: 1, // there is SMC
        FP[16]: ANY,
        ADV_SIMD[20]: ANY,
        SVE[32]: ANY,
        SEL2[36]: ANY,
        DIT[48]: ANY,
        CSV2[56]: 1, // above is SCXTNUM_EL0 (HCR_EL2.EnSCXT)
        CSV3[60]: ANY,
    }
    ID_AA64PFR1_EL1 = (4, 1) {
        BT[0]: ANY,
        SSBS[4]: ANY,
        CSV2_FRAC[32]: 1, // as CSV2
    }
    ID_AA64ZFR0_EL1 = (4, 4) {
        SVE_VER[0]: ANY,
        AES[4]: ANY,
        ELT_PERM[12]: ANY,
        BIT_PERM[16]: ANY,
        BF16[20]: ANY,
        B16B16[24]: ANY,
        SHA3[32]: ANY,
        SM4[40]: ANY,
        I8MM[44]: ANY,
        F32MM[52]: ANY,
        F64MM[56]: ANY,
    }
    // No debug, performance monitors, profiling or trace (MDCR_EL2).
    ID_AA64DFR0_EL1 = (5, 0) {}
    ID_AA64ISAR0_EL1 = (6, 0) {
        AES[4]: ANY,
        SHA1[8]: ANY,
        SHA2[12]: ANY,
        CRC32[16]: ANY,
        ATOMIC[20]: ANY,
        RDM[28]: ANY,
        SHA3[32]: ANY,
        SM3[36]: ANY,
        SM4[40]: ANY,
        DP[44]: ANY,
        FHM[48]: ANY,
        TS[52]: ANY,
        TLB[56]: ANY,
        RNDR[60]: ANY,
    }
    // No 64-byte stores (HCRX_EL2.EnALS).
    ID_AA64ISAR1_EL1 = (6, 1) {
        DPB[0]: ANY,
        APA[4]: ANY,
        API[8]: ANY,
        JSCVT[12]: ANY,
        FCMA[16]: ANY,
        LRCPC[20]: ANY,
        GPA[24]: ANY,
        GPI[28]: ANY,
        FRINTTS[32]: ANY,
        SB[36]: ANY,
        SPECRES[40]: ANY,
        BF16[44]: ANY,
        DGH[48]: ANY,
        I8MM[52]: ANY,
        XS[56]: ANY,
    }
    // No memory copy (HCRX_EL2.MSCEn) and no 128-bit system registers (HCRX_EL2.D128En).
    ID_AA64ISAR2_EL1 = (6, 2) {
        WFXT[0]: ANY,
        RPRES[4]: ANY,
        GPA3[8]: ANY,
        APA3[12]: ANY,
        BC[20]: ANY,
        PAC_FRAC[24]: ANY,
        CLRBHB[28]: ANY,
        PRFMSLC[40]: ANY,
        RPRFM[48]: ANY,
        CSSC[52]: ANY,
        LUT[56]: ANY,
        ATS1A[60]: ANY,
    }
    ID_AA64ISAR3_EL1 = (6, 3) {
        CPA[0]: 1, // above is SCTLR2_EL1
        FAMINMAX[4]: ANY,
        LSFE[16]: ANY,
        FPRCVT[28]: ANY,
    }
    ID_AA64MMFR0_EL1 = (7, 0) {
        PA_RANGE[0]: ANY,
        ASID_BITS[4]: ANY,
        BIG_END[8]: ANY,
        SNS_MEM[12]: ANY,
        BIG_END_EL0[16]: ANY,
        TGRAN16[20]: ANY,
        TGRAN64[24]: ANY,
        TGRAN4[28]: ANY,
        EXS[44]: ANY,
        ECV[60]: 1, // above is CNTPOFF_EL2
    }
    // No LORegions (HCR_EL2.TLOR).
    ID_AA64MMFR1_EL1 = (7, 1) {
        HAFDBS[0]: 2, // above are TCR2_EL1 and HDBSSBR_EL2
        HPDS[12]: ANY,
        PAN[20]: ANY,
        SPEC_SEI[24]: ANY,
        ETS[36]: ANY,
        AFP[44]: ANY,
        N_TLBPA[48]: ANY,
        TIDCP1[52]: ANY,
        CMOW[56]: ANY,
        ECBHB[60]: ANY,
    }
    ID_AA64MMFR2_EL1 = (7, 2) {
        CNP[0]: ANY,
        UAO[4]: ANY,
        LSM[8]: ANY,
        VA_RANGE[16]: ANY,
        CCIDX[20]: ANY,
        ST[28]: ANY,
        AT[32]: ANY,
        IDS[36]: 1,
        TTL[48]: ANY,
        BBM[52]: ANY,
        E0PD[60]: ANY,
    }
    // AArch32, for EL0.
    ID_PFR0_EL1 = (1, 0) {
        STATES[0]: 0xffff,
        CSV2[16]: 1,
        DIT[24]: ANY,
    }
    ID_PFR1_EL1 = (1, 1) {
        GEN_TIMER[16]: 1,
    }
    ID_ISAR0_EL1 = (2, 0) { WHOLE[0]: ALL, }
    ID_ISAR1_EL1 = (2, 1) { WHOLE[0]: ALL, }
    ID_ISAR2_EL1 = (2, 2) { WHOLE[0]: ALL, }
    ID_ISAR3_EL1 = (2, 3) { WHOLE[0]: ALL, }
    ID_ISAR4_EL1 = (2, 4) { WHOLE[0]: ALL, }
    ID_ISAR5_EL1 = (2, 5) { WHOLE[0]: ALL, }
    ID_ISAR6_EL1 = (2, 7) { WHOLE[0]: ALL, }
    MVFR0_EL1 = (3, 0) { WHOLE[0]: ALL, }
    MVFR1_EL1 = (3, 1) { WHOLE[0]: ALL, }
    MVFR2_EL1 = (3, 2) { WHOLE[0]: ALL, }
    ID_PFR2_EL1 = (3, 4) {
        CSV3[0]: ANY,
        SSBS[4]: ANY,
    }
}

/// Returns the mask of a register's fields for pointer authentication. All of them are zero on a PE
/// without FEAT_PAuth.
pub fn pointer_authentication(number: Number) -> u64 {
    match number {
        ID_AA64ISAR1_EL1 => 0xff00_0ff0, // APA, API, GPA, GPI
        ID_AA64ISAR2_EL1 => 0x0f00_ff00, // GPA3, APA3, PAC_frac
        _ => 0,
    }
}

/// Features that are there for some partitions, or on some systems.
#[derive(Clone, Copy)]
pub struct Granted {
    /// EL2 can switch the keys of pointer authentication.
    pub pointer_authentication: bool,
    /// The partition has SVE.
    pub sve: bool,
}

/// Returns the mask of a register's fields for SVE.
fn sve(number: Number) -> u64 {
    match number {
        ID_AA64PFR0_EL1 => 0xf << 32,
        ID_AA64ZFR0_EL1 => u64::MAX,
        _ => 0,
    }
}

/// Returns what a partition reads from a register that has `value` on this PE.
pub fn shown(number: Number, value: u64, granted: Granted) -> u64 {
    /// ID_AA64DFR0_EL1.DoubleLock is a signed field.
    const NO_DOUBLE_LOCK: u64 = 0xf << 36;
    let mut limits = LIMITS.get(number).copied().unwrap_or(0);
    if !granted.pointer_authentication {
        limits &= !pointer_authentication(number);
    }
    if !granted.sve {
        limits &= !sve(number);
    }
    let field = |of: u64, low: u32| of & 0xf << low;
    let absent = match number {
        ID_AA64DFR0_EL1 => NO_DOUBLE_LOCK,
        _ => 0,
    };
    (0..64).step_by(4).fold(absent, |all, low| {
        all | field(value, low).min(field(limits, low))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL_GRANTED: Granted = Granted {
        pointer_authentication: true,
        sve: true,
    };

    const WITHOUT_SVE: Granted = Granted {
        sve: false,
        ..ALL_GRANTED
    };

    /// Features that the SPMC hides from partitions, with the register and the lowest bit of the
    /// field.
    const KEPT_FROM_PARTITIONS: &[(&str, Number, u32)] = &[
        ("GIC", ID_AA64PFR0_EL1, 24),
        ("RAS", ID_AA64PFR0_EL1, 28),
        ("MPAM", ID_AA64PFR0_EL1, 40),
        ("AMU", ID_AA64PFR0_EL1, 44),
        ("RME", ID_AA64PFR0_EL1, 52),
        ("MTE", ID_AA64PFR1_EL1, 8),
        ("RAS_frac", ID_AA64PFR1_EL1, 12),
        ("MPAM_frac", ID_AA64PFR1_EL1, 16),
        ("SME", ID_AA64PFR1_EL1, 24),
        ("RNDR_trap", ID_AA64PFR1_EL1, 28),
        ("NMI", ID_AA64PFR1_EL1, 36),
        ("MTE_frac", ID_AA64PFR1_EL1, 40),
        ("GCS", ID_AA64PFR1_EL1, 44),
        ("THE", ID_AA64PFR1_EL1, 48),
        ("MTEX", ID_AA64PFR1_EL1, 52),
        ("DF2", ID_AA64PFR1_EL1, 56),
        ("PFAR", ID_AA64PFR1_EL1, 60),
        ("DebugVer", ID_AA64DFR0_EL1, 0),
        ("TraceVer", ID_AA64DFR0_EL1, 4),
        ("PMUVer", ID_AA64DFR0_EL1, 8),
        ("PMSVer", ID_AA64DFR0_EL1, 32),
        ("TraceFilt", ID_AA64DFR0_EL1, 40),
        ("TraceBuffer", ID_AA64DFR0_EL1, 44),
        ("MTPMU", ID_AA64DFR0_EL1, 48),
        ("BRBE", ID_AA64DFR0_EL1, 52),
        ("TME", ID_AA64ISAR0_EL1, 24),
        ("LS64", ID_AA64ISAR1_EL1, 60),
        ("MOPS", ID_AA64ISAR2_EL1, 16),
        ("SYSREG_128", ID_AA64ISAR2_EL1, 32),
        ("SYSINSTR_128", ID_AA64ISAR2_EL1, 36),
        ("TLBIW", ID_AA64ISAR3_EL1, 8),
        ("PACM", ID_AA64ISAR3_EL1, 12),
        ("FGT", ID_AA64MMFR0_EL1, 56),
        ("VMIDBits", ID_AA64MMFR1_EL1, 4),
        ("VH", ID_AA64MMFR1_EL1, 8),
        ("LO", ID_AA64MMFR1_EL1, 16),
        ("XNX", ID_AA64MMFR1_EL1, 28),
        ("TWED", ID_AA64MMFR1_EL1, 32),
        ("HCX", ID_AA64MMFR1_EL1, 40),
        ("IESB", ID_AA64MMFR2_EL1, 12),
        ("NV", ID_AA64MMFR2_EL1, 24),
        ("FWB", ID_AA64MMFR2_EL1, 40),
        ("EVT", ID_AA64MMFR2_EL1, 56),
        ("AMU of AArch32", ID_PFR0_EL1, 20),
        ("RAS of AArch32", ID_PFR0_EL1, 28),
        ("GIC of AArch32", ID_PFR1_EL1, 28),
        ("RAS_frac of AArch32", ID_PFR2_EL1, 8),
    ];

    /// CRm and op2 of registers that read as zero: ID_AA64PFR2_EL1,
    /// ID_AA64SMFR0_EL1, ID_AA64FPFR0_EL1, ID_AA64DFR1_EL1, ID_AA64DFR2_EL1, ID_AA64AFR0_EL1,
    /// ID_AA64AFR1_EL1, ID_AA64MMFR3_EL1, ID_AA64MMFR4_EL1, ID_DFR0_EL1, ID_DFR1_EL1; then reserved
    /// ones.
    const NOTHING_FOR_PARTITIONS: &[(u64, u64)] = &[
        (4, 2),
        (4, 5),
        (4, 7),
        (5, 1),
        (5, 2),
        (5, 4),
        (5, 5),
        (7, 3),
        (7, 4),
        (1, 2),
        (3, 5),
        (3, 3),
        (3, 7),
        (4, 3),
        (4, 6),
        (5, 3),
        (5, 7),
        (6, 4),
        (6, 7),
        (7, 5),
        (7, 7),
    ];

    /// Registers of a PE similar to QEMU's `-cpu max`: number, value on the PE, value that
    /// partitions read.
    const TYPICAL: &[(Number, u64, u64)] = &[
        (
            ID_AA64PFR0_EL1,
            0x1301_1111_1311_2222,
            0x1101_0010_0011_1112,
        ),
        (
            ID_AA64PFR1_EL1,
            0x0000_0001_0101_0321,
            0x0000_0001_0000_0021,
        ),
        (
            ID_AA64DFR0_EL1,
            0x0000_0f00_0620_9609,
            0x0000_00f0_0000_0000,
        ),
        (
            ID_AA64ISAR0_EL1,
            0x1221_1110_1021_1120,
            0x1221_1110_1021_1120,
        ),
        (
            ID_AA64ISAR2_EL1,
            0x0000_0010_0011_0001,
            0x0000_0000_0010_0001,
        ),
        (
            ID_AA64MMFR0_EL1,
            0x1100_0022_2210_1126,
            0x1000_0000_2210_1126,
        ),
        (
            ID_AA64MMFR1_EL1,
            0x1101_1111_1131_2122,
            0x1101_1010_0130_2002,
        ),
        (
            ID_AA64MMFR2_EL1,
            0x1221_0111_0110_1011,
            0x1021_0011_0010_0011,
        ),
    ];

    fn field(value: u64, low: u32) -> u64 {
        value >> low & 0xf
    }

    #[test]
    fn what_partitions_cannot_use_is_not_there() {
        for (name, number, low) in KEPT_FROM_PARTITIONS {
            for value in [u64::MAX, 0x1111_1111_1111_1111] {
                assert_eq!(field(shown(*number, value, ALL_GRANTED), *low), 0, "{name}");
            }
        }
        for (crm, op2) in NOTHING_FOR_PARTITIONS {
            let shown = shown(number(*crm, *op2), u64::MAX, ALL_GRANTED);
            assert_eq!(shown, 0, "CRm {crm}, op2 {op2}");
        }
    }

    #[test]
    fn what_partitions_can_use_is_as_it_is() {
        for (number, value, want) in TYPICAL {
            let got = shown(*number, *value, WITHOUT_SVE);
            assert_eq!(got, *want, "{number:#o}: {got:#018x}, not {want:#018x}");
        }
    }

    #[test]
    fn signed_fields_say_what_is_not_there() {
        for value in [0, u64::MAX] {
            assert_eq!(field(shown(ID_AA64DFR0_EL1, value, ALL_GRANTED), 36), 0xf);
        }
        // FP and AdvSIMD, TGran64 and TGran4.
        for (number, low) in [
            (ID_AA64PFR0_EL1, 16),
            (ID_AA64PFR0_EL1, 20),
            (ID_AA64MMFR0_EL1, 24),
            (ID_AA64MMFR0_EL1, 28),
        ] {
            for value in [0, 1, 0xf] {
                assert_eq!(field(shown(number, value << low, ALL_GRANTED), low), value);
            }
        }
    }

    #[test]
    fn a_part_of_a_feature_is_shown_as_that_part() {
        for (name, number, low, most) in [
            ("EL1", ID_AA64PFR0_EL1, 4, 1),
            ("CSV2", ID_AA64PFR0_EL1, 56, 1),
            ("CPA", ID_AA64ISAR3_EL1, 0, 1),
            ("ECV", ID_AA64MMFR0_EL1, 60, 1),
            ("HAFDBS", ID_AA64MMFR1_EL1, 0, 2),
        ] {
            for value in 0..=4 {
                let got = field(shown(number, value << low, ALL_GRANTED), low);
                assert_eq!(got, value.min(most), "{name}");
            }
        }
    }

    #[test]
    fn pointer_authentication_is_there_if_its_keys_can_be_switched() {
        for (number, low) in [
            (ID_AA64ISAR1_EL1, 4),
            (ID_AA64ISAR1_EL1, 8),
            (ID_AA64ISAR1_EL1, 24),
            (ID_AA64ISAR1_EL1, 28),
            (ID_AA64ISAR2_EL1, 8),
            (ID_AA64ISAR2_EL1, 12),
            (ID_AA64ISAR2_EL1, 24),
        ] {
            let without = Granted {
                pointer_authentication: false,
                ..ALL_GRANTED
            };
            assert_eq!(shown(number, 5 << low, ALL_GRANTED), 5 << low);
            assert_eq!(shown(number, 5 << low, without), 0);
        }
    }

    #[test]
    fn sve_is_there_for_partitions_that_have_it() {
        // QEMU's `-cpu max` has SVE 2.1.
        let features = 0x0110_1101_0121_0022;
        for (number, value) in [(ID_AA64PFR0_EL1, 1 << 32), (ID_AA64ZFR0_EL1, features)] {
            assert_eq!(shown(number, value, ALL_GRANTED), value);
            assert_eq!(shown(number, value, WITHOUT_SVE), 0);
        }
    }
}
