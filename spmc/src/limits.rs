//! Every capacity of the SPMC in one place.
//!
//! Tables are sized at build time so that nothing is allocated after boot. A manifest that needs
//! more is refused with a message that names the limit; a call that needs more gets `NO_MEMORY` and
//! changes nothing.

/// Processing elements (PEs) that run partitions: the variable `SPMC_PES` at build time, or 8. The
/// Normal world has PEs beyond that to itself.
pub const MAX_PES: usize = from_environment(option_env!("SPMC_PES"), 8);

const _: () = assert!(
    1 <= MAX_PES && MAX_PES <= 64,
    "SPMC_PES is not a number from 1 to 64"
);

/// Secure Partitions. TF-A's BL2 loads at most 8 packages.
pub const MAX_PARTITIONS: usize = 8;

/// Execution contexts of one partition: an MP partition has one per PE.
pub const MAX_VCPUS: usize = MAX_PES;

/// Services (UUIDs) of one partition.
pub const MAX_SERVICES: usize = 8;

/// Memory regions in one SP manifest.
pub const MAX_MEMORY_REGIONS: usize = 8;

/// Device regions in one SP manifest.
pub const MAX_DEVICE_REGIONS: usize = 16;

/// Interrupts of one device region.
pub const MAX_DEVICE_INTERRUPTS: usize = 4;

/// Interrupts of all device regions of one partition. Each is a bit of its lines.
pub const MAX_PARTITION_INTERRUPTS: usize = 32;

/// Stream ids of one device region.
pub const MAX_DEVICE_STREAMS: usize = 4;

/// Stream endpoints (SEPIDs) of all partitions together.
pub const MAX_STREAM_ENDPOINTS: usize = 4;

/// Ranges of each memory kind in the SPMC manifest.
pub const MAX_MEMORY_RANGES: usize = 20;

/// Ranges of each device memory kind in the SPMC manifest.
pub const MAX_DEVICE_RANGES: usize = 10;

/// Regions of GIC redistributors of a board.
pub const MAX_REDISTRIBUTOR_REGIONS: usize = 8;

/// SMC function ids that one SP may be allowed to call (`smc_whitelist`).
pub const MAX_SMC_WHITELIST: usize = 32;

/// Memory transactions that are live at the same time. Those that no endpoint has for itself are
/// for all.
pub const MAX_SHARES: usize = 96;

/// Of these, how many only the Normal world can have, with all its VMs.
pub const SHARES_NORMAL_WORLD: usize = 32;

/// How many only one partition can have, for each of [`MAX_PARTITIONS`]. What is sent to a stream
/// endpoint is its sender's.
pub const SHARES_PARTITION: usize = 4;

/// Borrowers of one memory transaction.
pub const MAX_BORROWERS: usize = 8;

/// VMs that can be notified at the same time.
pub const MAX_NOTIFIED_VMS: usize = 8;

/// vCPUs of one receiver of notifications: of a VM, or the contexts of a partition.
pub const MAX_NOTIFIED_VCPUS: usize = if MAX_VCPUS > 32 { MAX_VCPUS } else { 32 };

/// Memory transactions of one endpoint of which fragments are missing; all ids of the Normal world
/// are one endpoint.
pub const MAX_ARRIVING: usize = 8;

/// Limits the arriving transactions of one sender id.
pub const MAX_ARRIVING_PER_SENDER: usize = 4;

/// Pages that a call zeroes at once for a caller that agrees to be paused.
pub const SLICE_PAGES: u64 = 256;

/// 4 KiB pages of one RX or TX buffer. 16 pages serve kernels with a 64 KiB granule.
pub const MAX_MAILBOX_PAGES: u32 = 16;

/// VMs whose RX/TX pairs a Hypervisor has registered.
pub const MAX_VM_MAILBOXES: usize = 8;

/// Characters of a console line that one execution context writes; a longer one is broken.
pub const MAX_CONSOLE_LINE: usize = 120;

/// Bytes of a descriptor that are copied and looked at together: one page. A longer one is taken
/// piece by piece.
pub const MAX_DESCRIPTOR: usize = 4096;

/// Largest SP manifest (DTB) that is accepted, bytes.
pub const MAX_SP_MANIFEST: usize = 16 * 1024;

/// Pages of the pools that translation tables and the lists of memory transactions come from: pages
/// have numbers of 16 bits.
pub const MAX_TABLES: u64 = u16::MAX as u64;

/// Pages that the SPMC manifest can add to those of the SPMC's own memory (`table-memory`).
pub const MAX_TABLE_MEMORY_PAGES: u64 = MAX_TABLES - 256;

/// The number that a variable says at build time: `default` where it is not set, 0 where it is
/// none.
const fn from_environment(variable: Option<&str>, default: usize) -> usize {
    match variable {
        None => default,
        Some(text) => match usize::from_str_radix(text, 10) {
            Ok(number) => number,
            Err(_) => 0,
        },
    }
}
