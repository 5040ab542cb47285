//! Vulnerabilities of CPUs for which EL2 has to do something at run time, by identification
//! registers. The functions are pure, so that a host can test them.

/// The way in which EL2 clears the branch history after an exception from a partition, so that the
/// partition does not steer EL2's indirect branches (Spectre-BHB, CVE-2022-23960).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BranchHistory {
    /// Nothing needs to be cleared.
    Confined,
    /// The instruction CLRBHB.
    Instruction,
    /// That many taken branches.
    Branches(u8),
}

/// Identification registers of a PE.
#[derive(Clone, Copy)]
pub struct Identity {
    /// MIDR_EL1.
    pub midr: u64,
    /// ID_AA64PFR0_EL1.
    pub pfr0: u64,
    /// ID_AA64MMFR1_EL1.
    pub mmfr1: u64,
    /// ID_AA64ISAR2_EL1.
    pub isar2: u64,
}

/// CPUs, by implementer and part number in MIDR_EL1, that need a loop, with its number of branches.
/// The numbers are those of Arm ("Spectre-BHB", 2022 and 2025) and of other vendors, as Linux has
/// them in `spectre_bhb_loop_affected`. CPUs without S-EL2 are left out.
const LOOPS: &[((u64, u64), u8)] = &[
    ((ARM, 0xd40), 32),  // Neoverse V1
    ((ARM, 0xd47), 32),  // Cortex-A710
    ((ARM, 0xd48), 32),  // Cortex-X2
    ((ARM, 0xd49), 32),  // Neoverse N2
    ((ARM, 0xd4d), 38),  // Cortex-A715
    ((ARM, 0xd4e), 132), // Cortex-X3
    ((ARM, 0xd4f), 132), // Neoverse V2
    ((ARM, 0xd81), 38),  // Cortex-A720
    ((ARM, 0xd89), 38),  // Cortex-A720AE
    ((0x48, 0xd02), 24), // HiSilicon HIP09
    ((0x6d, 0xd49), 32), // Microsoft Azure Cobalt 100, a Neoverse N2
    ((0xc0, 0xac3), 11), // AmpereOne
];

/// CPUs, by implementer and part number in MIDR_EL1, on which a broadcast TLBI and the DSB behind
/// it may complete before everybody observes the stores that were translated by the invalidated
/// entries (CVE-2025-10263; erratum 2441009 of Cortex-A510). CPUs without S-EL2 are left out.
const EARLY_COMPLETIONS: &[(u64, u64)] = &[
    (ARM, 0xd40),  // Neoverse V1
    (ARM, 0xd46),  // Cortex-A510
    (ARM, 0xd47),  // Cortex-A710
    (ARM, 0xd48),  // Cortex-X2
    (ARM, 0xd49),  // Neoverse N2
    (ARM, 0xd4e),  // Cortex-X3
    (ARM, 0xd4f),  // Neoverse V2
    (ARM, 0xd82),  // Cortex-X4
    (ARM, 0xd83),  // Neoverse V3AE
    (ARM, 0xd84),  // Neoverse V3
    (ARM, 0xd85),  // Cortex-X925
    (ARM, 0xd8c),  // C1-Ultra
    (ARM, 0xd90),  // C1-Premium
    (0x4e, 0x010), // NVIDIA Olympus
    (0x6d, 0xd49), // Microsoft Azure Cobalt 100
];

/// The implementer of Arm's own CPUs.
const ARM: u64 = 0x41;

/// Returns implementer and part number of a CPU.
fn model(midr: u64) -> (u64, u64) {
    (midr >> 24 & 0xff, midr >> 4 & 0xfff)
}

/// Returns whether broadcast TLBIs must be followed by one more TLBI and DSB as long as a PE with
/// this MIDR_EL1 runs.
pub fn completes_tlbis_early(midr: u64) -> bool {
    EARLY_COMPLETIONS.contains(&model(midr))
}

/// Returns what clears the branch history of a PE.
pub fn branch_history(identity: &Identity) -> BranchHistory {
    let field = |register: u64, low: u32| register >> low & 0xf;
    // FEAT_CSV2_3 and FEAT_ECBHB confine the history (Arm ARM D24, CSV2 and ECBHB).
    if field(identity.pfr0, 56) >= 3 || field(identity.mmfr1, 60) >= 1 {
        return BranchHistory::Confined;
    }
    // FEAT_CLRBHB.
    if field(identity.isar2, 28) >= 1 {
        return BranchHistory::Instruction;
    }
    let model = model(identity.midr);
    match LOOPS.iter().find(|(with_loop, _)| *with_loop == model) {
        Some((_, branches)) => BranchHistory::Branches(*branches),
        None => BranchHistory::Confined,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEOVERSE_N2: Identity = Identity {
        midr: 0x410f_d493,
        pfr0: 0x1201_1111_2011_1112,
        mmfr1: 0x0000_0001_1021_2122,
        isar2: 0,
    };

    #[test]
    fn the_cpu_decides_whether_a_tlbi_is_followed_by_another() {
        for midr in [
            0x410f_d493,
            0x411f_d4f1,
            0x410f_d460,
            0x6d0f_d490,
            0x4e0f_0100,
        ] {
            assert!(completes_tlbis_early(midr), "{midr:#x}");
        }
        // QEMU's `max`, Cortex-A720, and another implementer's CPU with the number of Neoverse N2.
        for midr in [0x000f_0510, 0x410f_d810, 0x510f_d493] {
            assert!(!completes_tlbis_early(midr), "{midr:#x}");
        }
    }

    #[test]
    fn the_cpu_decides_how_the_branch_history_is_cleared() {
        use BranchHistory::{Branches, Confined, Instruction};
        let of = |change: fn(&mut Identity)| {
            let mut identity = NEOVERSE_N2;
            change(&mut identity);
            branch_history(&identity)
        };
        assert_eq!(of(|_| ()), Branches(32));
        assert_eq!(of(|cpu| cpu.midr = 0x411f_d4f1), Branches(132));
        assert_eq!(of(|cpu| cpu.midr = 0xc00f_ac30), Branches(11));
        // Neoverse N1, and another implementer's CPU with the same part number.
        assert_eq!(of(|cpu| cpu.midr = 0x413f_d0c1), Confined);
        assert_eq!(of(|cpu| cpu.midr = 0x510f_d493), Confined);
        assert_eq!(of(|cpu| cpu.isar2 |= 1 << 28), Instruction);
        assert_eq!(of(|cpu| cpu.mmfr1 |= 1 << 60), Confined);
        assert_eq!(of(|cpu| cpu.pfr0 |= 3 << 56), Confined);
    }
}
