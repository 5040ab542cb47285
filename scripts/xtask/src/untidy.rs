//! A few instructions in front of the SPMC that leave registers of EL2 as no firmware should.
//!
//! The SPMC must set every trap that it relies on: registers of EL2 are UNKNOWN out of reset, and
//! TF-A happens to zero those that it keeps for the Secure world. No test notices what is not set
//! there. So a layout with `"untidy": true` has these instructions where EL3 enters, and the SPMC
//! behind them.

/// Bytes in front of the SPMC, whose sections are aligned to as much.
const SIZE: usize = 0x2000;

/// A system register by op1, CRn, CRm and op2 (op0 is 3), and what is left there.
type Left = ([u32; 4], u64);

/// Registers that the SPMC has a reason to set, and that EL3 lets EL2 use in the build of TF-A for
/// tests.
const LEFT: &[Left] = &[
    // HFGRTR_EL2, HFGWTR_EL2, HFGITR_EL2, HDFGRTR_EL2, HDFGWTR_EL2: everything goes through,
    // TPIDR2_EL0, PIR_EL1, POR_EL1 and GCSCR_EL1 among it.
    ([4, 1, 1, 4], 0xfffc << 48),
    ([4, 1, 1, 5], 0xfffc << 48),
    ([4, 1, 1, 6], 0x1f80 << 48),
    ([4, 3, 1, 4], 0x7800 << 48),
    ([4, 3, 1, 5], 0x7800 << 48),
    // HCRX_EL2: GCSEn, SCTLR2En, TCR2En, MSCEn, EnASR, EnALS, EnAS0.
    ([4, 1, 2, 2], 1 << 22 | 1 << 15 | 1 << 14 | 1 << 11 | 7),
    // MDCR_EL2, CPTR_EL2, HSTR_EL2, CNTHCTL_EL2: nothing traps, or the wrong things.
    ([4, 1, 1, 1], 0x6),
    ([4, 1, 1, 2], 0),
    ([4, 1, 1, 3], 0xffff),
    ([4, 14, 1, 0], 0xfff),
    // CNTVOFF_EL2, VPIDR_EL2, VTTBR_EL2, VSTTBR_EL2, TPIDR_EL2, MAIR_EL2, TTBR0_EL2, VBAR_EL2.
    ([4, 14, 0, 3], 0x1234_5678_9abc),
    ([4, 0, 0, 0], 0x5a5a_5a5a),
    ([4, 2, 1, 0], 0x5a5a_0000_5a5a_0000),
    ([4, 2, 6, 0], 0x5a5a_0000_5a5a_0000),
    ([4, 13, 0, 2], 0x5a5a_5a5a_5a5a_5a5a),
    ([4, 10, 2, 0], 0x5a5a_5a5a_5a5a_5a5a),
    ([4, 2, 0, 0], 0x5a5a_5a5a_5000),
    ([4, 12, 0, 0], 0x5a5a_5a5a_5000),
];

/// TCR2_EL2.PIE where the CPU has it: permissions by PIR_EL2, which gives none.
const INDIRECT_PERMISSIONS: [u32; 5] = [
    0xd538_0769, // MRS X9, ID_AA64MMFR3_EL1
    0xf240_0d3f, // TST X9, #0xf
    0x5400_0060, // B.EQ .+12
    0xd280_0049, // MOV X9, #2
    0xd51c_2069, // MSR TCR2_EL2, X9
];

/// Five instructions for each register, and two at the end.
const _: () = assert!(5 * (LEFT.len() + 1) + 2 <= SIZE / 4);

/// Returns BL32: the instructions, and `spmc` behind them.
pub fn precede(spmc: &[u8]) -> Vec<u8> {
    // EL3 passes x0 to x4.
    const SCRATCH: u32 = 9;
    let mut words = INDIRECT_PERMISSIONS.to_vec();
    for ([op1, crn, crm, op2], value) in LEFT {
        for half in 0..4_u32 {
            // MOVZ, then MOVK.
            let opcode = if half == 0 { 0xd280_0000 } else { 0xf280_0000 };
            let immediate = (value >> (16 * half)) as u32 & 0xffff;
            words.push(opcode | half << 21 | immediate << 5 | SCRATCH);
        }
        let register = op1 << 16 | crn << 12 | crm << 8 | op2 << 5;
        words.push(0xd518_0000 | register | SCRATCH);
    }
    words.push(0xd503_3fdf); // ISB
    let rest = SIZE / 4 - words.len();
    words.push(0x1400_0000 | rest as u32); // B
    let mut bytes: Vec<u8> = words.into_iter().flat_map(u32::to_le_bytes).collect();
    bytes.resize(SIZE, 0);
    bytes.extend(spmc);
    bytes
}
