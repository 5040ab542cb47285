//! Every capacity of the SPMC in one place.
//!
//! Other tables are sized at boot by what the manifests say; nothing is allocated later. A manifest
//! that needs more is refused with a message that names the limit; a call that needs more gets
//! `NO_MEMORY` and changes nothing.

/// Processing elements (PEs) that run partitions, by the width of a link. The Normal world has PEs
/// beyond that to itself.
pub const MAX_PES: usize = 512;

/// Execution contexts that a partition can have on a system with fewer PEs; on others it is the
/// number of PEs. Contexts of PEs that do not exist never run, but callers can name them.
pub const MIN_CONTEXTS: u16 = 8;

/// Secure Partitions, by the width of a word with a bit for each and two for other work: an exit to
/// the Normal world looks at that one word (`Spmc::aftermath`). TF-A's BL2 loads at most 8
/// packages.
pub const MAX_PARTITIONS: usize = 62;

/// Interrupts of all device regions of one partition, by the width of a word with a bit for each,
/// and five for those that the SPMC makes up.
pub const MAX_PARTITION_INTERRUPTS: usize = 59;

/// Memory transactions that can be live at the same time, if the SPMC manifest does not say, and
/// the quotas do not need more.
pub const DEFAULT_SHARES: u16 = 1024;

/// Memory transactions that only the Normal world can have, with all its VMs.
pub const SHARES_NORMAL_WORLD: usize = 32;

/// Memory transactions that only one partition can have, for each. What is sent to a stream
/// endpoint is its sender's.
pub const SHARES_PARTITION: usize = 4;

/// Memory transactions that are for all, at least.
pub const SHARES_COMMON: usize = 32;

/// Borrowers of one memory transaction.
pub const MAX_BORROWERS: usize = 16;

/// Memory transactions with several borrowers that only the Normal world can have.
pub const CROWDS_NORMAL_WORLD: usize = 8;

/// Memory transactions with several borrowers that only one partition can have, for each.
pub const CROWDS_PARTITION: usize = 2;

/// Memory transactions with several borrowers that are for all.
pub const CROWDS_COMMON: usize = 8;

/// VMs that can be notified at the same time, and VMs whose RX/TX pairs a Hypervisor can register,
/// if the SPMC manifest does not say.
pub const DEFAULT_VMS: u16 = 8;

/// VMs for which the SPMC manifest can ask.
pub const MAX_VMS: u16 = 1024;

/// vCPUs that a VM can have for notifications on a system with fewer PEs; on others it is the
/// number of PEs. Linux passes the number of its CPU ids, which may be larger than that of CPUs.
pub const MIN_NOTIFIED_VCPUS: u16 = 64;

/// Memory transactions of one endpoint of which fragments may be missing on a system with fewer
/// PEs; on others it is the number of PEs. All ids of the Normal world are one endpoint.
pub const MIN_ARRIVING: usize = 8;

/// Memory transactions of one sender id of which fragments may be missing on a system with fewer
/// PEs; on others it is the number of PEs.
pub const MIN_ARRIVING_PER_SENDER: usize = 4;

/// Pages that a call zeroes at once for a caller that agrees to be paused.
pub const SLICE_PAGES: u64 = 256;

/// 4 KiB pages of one RX or TX buffer, at most: Linux with pages of 64 KiB registers that many.
pub const MAX_MAILBOX_PAGES: u32 = 16;

/// Regions of GIC redistributors of a board.
pub const MAX_REDISTRIBUTOR_REGIONS: usize = 8;

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
