//! Lists what a Non-secure interrupt does to chains of partitions: one table for the host and for
//! the board.
//!
//! Partitions 1 and 2 have it signaled, 3 a managed exit by vFIQ, 4 by vIRQ, 5 and 6 have it
//! queued; even ones have a context for each PE.

/// The member of the chain sees nothing of the interrupt.
pub const NOTHING: u64 = 0;
pub const IRQ: u64 = 1;
pub const FIQ: u64 = 2;

/// A chain: the numbers of its members, from 1 on; whether the Normal world is told of the
/// interrupt before the answer; what the members see.
pub type Case = (&'static [u64], bool, &'static [u64]);

pub const CHAINS: &[Case] = &[
    (&[1], true, &[NOTHING]),
    (&[2], true, &[NOTHING]),
    (&[3], false, &[FIQ]),
    (&[4], false, &[IRQ]),
    (&[5], false, &[NOTHING]),
    (&[6], false, &[NOTHING]),
    // Neither has managed exit, only the caller, only the callee, both.
    (&[1, 2], true, &[NOTHING, NOTHING]),
    (&[3, 1], false, &[FIQ, NOTHING]),
    (&[4, 2], false, &[IRQ, NOTHING]),
    (&[1, 3], true, &[NOTHING, FIQ]),
    (&[2, 4], true, &[NOTHING, IRQ]),
    (&[3, 4], false, &[FIQ, IRQ]),
    (&[4, 3], false, &[IRQ, FIQ]),
    // The least permissive action wins as long as whoever has it is in the chain.
    (&[5, 1], false, &[NOTHING, NOTHING]),
    (&[5, 3], false, &[NOTHING, NOTHING]),
    (&[6, 4], false, &[NOTHING, NOTHING]),
    (&[1, 5], true, &[NOTHING, NOTHING]),
    (&[3, 6], false, &[FIQ, NOTHING]),
    // Chains of three.
    (&[1, 2, 3], true, &[NOTHING, NOTHING, FIQ]),
    (&[3, 1, 2], false, &[FIQ, NOTHING, NOTHING]),
    (&[3, 4, 1], false, &[FIQ, IRQ, NOTHING]),
    (&[1, 3, 5], true, &[NOTHING, FIQ, NOTHING]),
    (&[3, 5, 4], false, &[FIQ, NOTHING, NOTHING]),
    (&[6, 3, 1], false, &[NOTHING, NOTHING, NOTHING]),
];
