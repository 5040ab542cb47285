//! Lists what a partition does that comes to EL2: the bits of HCR_EL2, MDCR_EL2 and CNTHCTL_EL2.
//! Fine-grained traps are in `features.rs`.

/// HCR_EL2 while an S-EL1 partition runs, and all the time but for the stays of S-EL0 partitions.
/// EL2 itself depends on E2H alone.
pub const HCR: u64 = {
    const VM: u64 = 1 << 0; // stage 2
    // Invalidation by set and way also cleans: it must not lose what others wrote.
    const SWIO: u64 = 1 << 1;
    const PTW: u64 = 1 << 2; // no stage-1 walks through device memory
    const FMO: u64 = 1 << 3; // interrupts and SErrors come to EL2
    const IMO: u64 = 1 << 4;
    const AMO: u64 = 1 << 5;
    // Local TLB and cache maintenance and barriers reach all PEs: UP partitions move between them.
    const FB: u64 = 1 << 9;
    const BSU_INNER: u64 = 1 << 10;
    const TWI: u64 = 1 << 13; // WFI would stop the PE for the Normal world
    const TID3: u64 = 1 << 18; // identification registers (id_registers.rs)
    const TSC: u64 = 1 << 19; // SMC is a conduit to us
    const TIDCP: u64 = 1 << 20; // implementation defined registers
    const TACR: u64 = 1 << 21; // ACTLR_EL1
    const RW: u64 = 1 << 31; // EL1 is AArch64
    const TLOR: u64 = 1 << 35; // LORegions
    const TERR: u64 = 1 << 36; // RAS error records
    const TEA: u64 = 1 << 37; // synchronous external aborts come to EL2
    // EL2 and S-EL0 partitions share a regime; never changed, since TLBs may keep the bit.
    const E2H: u64 = 1 << 34;
    // Zero on purpose: ATA (MTE is not there), API and APK (pointer authentication traps at first
    // use), TGE (see el0.rs).
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

/// HCR_EL2 bits that let a partition use pointer authentication: API, APK.
pub const HCR_POINTER_AUTHENTICATION: u64 = 0b11 << 40;

/// HCR_EL2 bits that show a partition a virtual IRQ and FIQ: VI, VF.
pub const HCR_SIGNALS: u64 = 0b11 << 6;

/// MDCR_EL2: debug (TDRA, TDOSA, TDA), performance monitors (TPM, TPMCR), statistical profiling
/// (TPMS, E2PB = 0) and trace (TTRF, E2TB = 0) trap.
pub const MDCR: u64 = 1 << 19 | 1 << 14 | 1 << 11 | 1 << 10 | 1 << 9 | 1 << 6 | 1 << 5;

/// MDCR_EL2.HPMN stays what it was: its value when counters are trapped is constrained.
pub const MDCR_HPMN: u64 = 0x1f;

/// CNTHCTL_EL2: the counters are open to EL1 (EL1PCTEN) and to S-EL0 partitions (EL0PCTEN,
/// EL0VCTEN); the physical timer traps (EL1PTEN = 0), and S-EL0 partitions have no timer (EL0VTEN
/// and EL0PTEN = 0).
pub const CNTHCTL: u64 = 1 << 10 | 1 << 1 | 1 << 0;
