//! Sizes that the code and the linker script share. The build script includes this file and passes
//! the sizes to the linker; `xtask` includes it to check that the sizes suffice, and
//! `manifest-check` to judge a manifest by the memory that boot will want.

#![allow(dead_code, reason = "each user needs some of them")]

/// Bytes of a page.
pub const PAGE: u64 = 4096;

/// PEs that the SPMC can have: its private addresses have room for so many.
pub const MAX_PES: u64 = 512;

/// Bytes of the stack of a PE. `cargo xtask build` checks that the deepest path fits
/// (`docs/architecture.md`, "Stacks").
pub const STACK_SIZE: u64 = 3 * PAGE;

/// Bytes of the stack on which the boot PE runs until it serves calls. Parsing manifests needs a
/// deep stack, but only once; afterwards this memory has the stacks of other PEs.
pub const BOOT_STACK_SIZE: u64 = 6 * PAGE;

/// Bytes of the stack for reporting an exception of EL2 itself.
pub const EMERGENCY_STACK_SIZE: u64 = 2048 + 64;

/// Bytes of the frame that the entry code has on a PE's stack for the registers of the SPMD.
pub const SMC_FRAME_SIZE: u64 = 144;

/// Bytes of Z0 to Z31 at the largest vector length of the architecture, 2048 bits.
const VECTOR_REGISTERS: u64 = 2 * PAGE;

/// The most bytes that the file, zero-initialised data and the boot stack have together. The linker
/// script checks it.
pub const IMAGE_SIZE: u64 = 88 * PAGE;

/// Bytes of the first memory of the boot allocator, behind the image: for those tables of EL2's own
/// stage 1 that are made before the SPMC manifest is read, and for reading the manifest.
pub const FIRST_HEAP_SIZE: u64 = 16 * PAGE;

/// The most bytes that the platform and the engine have as the state of a PE.
pub const PE_STATE_SIZE: u64 = 8 * 1024;

/// The most bytes that the engine allocates on each PE for a partition.
pub const PE_PARTITION_SIZE: u64 = 24;

/// The most bytes that the engine allocates for a partition, beside its contexts.
const PARTITION_SIZE: u64 = 16 * 1024;

/// The most bytes that the platform and the engine have as the state of a context.
pub const CONTEXT_SIZE: u64 = 2 * 1024;

/// Contexts that each partition can have where there are fewer PEs (`spmc::limits`).
pub const MIN_CONTEXTS: u64 = 8;

/// vCPUs that each VM can have for notifications where there are fewer PEs (`spmc::limits`).
pub const MIN_NOTIFIED_VCPUS: u64 = 64;

/// The most bytes that the engine allocates for a VM, beside its vCPUs.
const VM_SIZE: u64 = 1536;

/// The most bytes that the engine allocates for a vCPU of a VM.
const NOTIFIED_VCPU_SIZE: u64 = 18;

/// The most bytes that the engine allocates for a memory transaction.
pub const TRANSACTION_SIZE: u64 = 276;

/// The most bytes that the engine allocates beside: for borrowers, and while it reads manifests.
const ENGINE_SIZE: u64 = 88 * 1024;

/// The least number of translation tables with which the SPMC boots: what two partitions need for
/// themselves and for transactions of thousands of scattered pages.
pub const LEAST_TABLES: u64 = 48;

/// The number of bytes up to which the SPMC takes memory that the SPMC manifest gives to nobody.
pub const WANTED: u64 = 2 << 20;

/// Numbers of a system with which the SPMC's own memory grows.
#[derive(Clone, Copy, Debug)]
pub struct Counts {
    pub pes: u64,
    pub partitions: u64,
    /// Live memory transactions (`spmc::mem::Shares::count`).
    pub transactions: u64,
    /// VMs that can be notified, and have RX/TX pairs.
    pub vms: u64,
}

impl Counts {
    /// Returns the number of bytes that the engine allocates at most, beside the state of the PEs.
    pub const fn engine(&self) -> u64 {
        let contexts = at_least(self.pes, MIN_CONTEXTS);
        let partition = PARTITION_SIZE + contexts * CONTEXT_SIZE;
        let vm = VM_SIZE + at_least(self.pes, MIN_NOTIFIED_VCPUS) * NOTIFIED_VCPU_SIZE;
        let transactions = self.transactions * TRANSACTION_SIZE;
        ENGINE_SIZE + self.partitions * partition + self.vms * vm + transactions
    }

    /// Returns the number of bytes that the SPMC needs.
    pub const fn needed(&self) -> u64 {
        // Twelve tables serve what every board has. Others are for private addresses, and for the
        // redistributors of the GIC: a table maps 2 MiB, and a PE has 256 KiB of redistributors at
        // most.
        let pes = self.pes;
        let stage1 = 12 + pes.div_ceil(64) + pes.div_ceil(8);
        // The boot stack becomes the stacks of the first PEs beside the boot PE.
        let reused = BOOT_STACK_SIZE / STACK_SIZE;
        let stacks = pes - if pes - 1 < reused { pes - 1 } else { reused };
        let state = PE_STATE_SIZE + VECTOR_REGISTERS + self.partitions * PE_PARTITION_SIZE;
        let states = pes * state + stacks * STACK_SIZE;
        IMAGE_SIZE + states + self.engine() + (stage1 + LEAST_TABLES) * PAGE
    }
}

/// Returns the larger number.
const fn at_least(number: u64, least: u64) -> u64 {
    if number < least { least } else { number }
}
