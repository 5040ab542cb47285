//! Instructions before the SPMC that leave unusual values in registers of EL2.
//!
//! The SPMC must set every trap on which it relies: registers of EL2 are UNKNOWN out of reset, but
//! TF-A zeroes those that it keeps for the Secure world, so that no test would notice a register
//! that the SPMC forgets. In a layout with `"untidy": true`, EL3 enters these instructions, and the
//! SPMC follows them.

/// Bytes before the SPMC, a multiple of the alignment of its sections.
const SIZE: usize = 0x2000;

/// A system register, by op1, CRn, CRm and op2 (op0 is 3), and the value that is left in it.
type Left = ([u32; 4], u64);

/// Registers that the SPMC has a reason to set, and that EL3, as TF-A is built for tests, lets EL2
/// use.
const LEFT: &[Left] = &[
    // HFGRTR_EL2, HFGWTR_EL2, HFGITR_EL2, HDFGRTR_EL2, HDFGWTR_EL2: no access traps, not even to
    // TPIDR2_EL0, PIR_EL1, POR_EL1 and GCSCR_EL1.
    ([4, 1, 1, 4], 0xfffc << 48),
    ([4, 1, 1, 5], 0xfffc << 48),
    ([4, 1, 1, 6], 0x1f80 << 48),
    ([4, 3, 1, 4], 0x7800 << 48),
    ([4, 3, 1, 5], 0x7800 << 48),
    // HCRX_EL2: GCSEn, SCTLR2En, TCR2En, MSCEn, EnASR, EnALS, EnAS0.
    ([4, 1, 2, 2], 1 << 22 | 1 << 15 | 1 << 14 | 1 << 11 | 7),
    // MDCR_EL2, CPTR_EL2, HSTR_EL2, CNTHCTL_EL2: no traps, or the wrong ones.
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

/// Instructions that set TCR2_EL2.PIE if the CPU has it: permissions then come from PIR_EL2, which
/// grants none.
const INDIRECT_PERMISSIONS: [u32; 5] = [
    0xd538_0769, // MRS X9, ID_AA64MMFR3_EL1
    0xf240_0d3f, // TST X9, #0xf
    0x5400_0060, // B.EQ .+12
    0xd280_0049, // MOV X9, #2
    0xd51c_2069, // MSR TCR2_EL2, X9
];

// Each register takes five instructions, and two follow at the end.
const _: () = assert!(5 * (LEFT.len() + 1) + 2 <= SIZE / 4);

/// Returns BL32: the instructions, followed by `spmc`.
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
