//! The values of HCR_EL2, MDCR_EL2 and CNTHCTL_EL2, which decide what a partition does without EL2,
//! and what traps to EL2. `features.rs` sets the fine-grained traps.

/// HCR_EL2 at all times, except while an S-EL0 partition runs, when TGE is 1, too (`el0.rs`), and
/// except for the bits of the two constants below. EL2 itself depends on E2H only.
pub const HCR: u64 = {
    const VM: u64 = 1 << 0; // stage 2
    // A data cache invalidate by set/way also cleans, so that it cannot drop what others wrote.
    const SWIO: u64 = 1 << 1;
    const PTW: u64 = 1 << 2; // stage-1 walks may not go through device memory
    const FMO: u64 = 1 << 3; // interrupts and SErrors are taken to EL2
    const IMO: u64 = 1 << 4;
    const AMO: u64 = 1 << 5;
    // Local TLB maintenance, cache maintenance and barriers of a partition apply to all PEs,
    // because UP partitions move between PEs.
    const FB: u64 = 1 << 9;
    const BSU_INNER: u64 = 1 << 10;
    const TWI: u64 = 1 << 13; // WFI traps: it would stop the PE for the Normal world, too
    const TID3: u64 = 1 << 18; // reads of identification registers trap (id_registers.rs)
    const TSC: u64 = 1 << 19; // SMC of a partition traps, as a call to the SPMC
    const TIDCP: u64 = 1 << 20; // IMPLEMENTATION DEFINED registers trap
    const TACR: u64 = 1 << 21; // ACTLR_EL1 traps
    const RW: u64 = 1 << 31; // EL1 is AArch64
    const TLOR: u64 = 1 << 35; // LORegion registers trap
    const TERR: u64 = 1 << 36; // RAS error record registers trap
    const TEA: u64 = 1 << 37; // synchronous External aborts are taken to EL2
    // EL2 shares its translation regime with S-EL0 partitions. E2H never changes, since TLBs may
    // cache it.
    const E2H: u64 = 1 << 34;
    // Zero on purpose: ATA (partitions have no MTE), API and APK (the first use of pointer
    // authentication traps), TGE (see el0.rs).
    VM | SWIO
        | PTW
        | FMO
        | IMO
        | AMO
        | FB
        | BSU_INNER
        | TWI
        | TID3
        | TSC
        | TIDCP
        | TACR
        | RW
        | TLOR
        | TERR
        | TEA
        | E2H
};

/// HCR_EL2.API and APK, which let a partition use pointer authentication.
pub const HCR_POINTER_AUTHENTICATION: u64 = 0b11 << 40;

/// HCR_EL2.VI and VF, which make a virtual IRQ and FIQ pending for a partition.
pub const HCR_SIGNALS: u64 = 0b11 << 6;

/// MDCR_EL2: accesses to debug registers (TDRA, TDOSA, TDA), performance monitors (TPM, TPMCR),
/// statistical profiling (TPMS, E2PB = 0) and trace (TTRF, E2TB = 0) trap.
pub const MDCR: u64 = 1 << 19 | 1 << 14 | 1 << 11 | 1 << 10 | 1 << 9 | 1 << 6 | 1 << 5;

/// MDCR_EL2.HPMN, which the SPMC preserves: not every value of the field is permitted.
pub const MDCR_HPMN: u64 = 0x1f;

/// CNTHCTL_EL2: EL1 (EL1PCTEN) and S-EL0 partitions (EL0PCTEN, EL0VCTEN) read the counters;
/// accesses to the physical timer trap (EL1PTEN = 0); S-EL0 partitions have no timer (EL0VTEN and
/// EL0PTEN = 0).
pub const CNTHCTL: u64 = 1 << 10 | 1 << 1 | 1 << 0;
