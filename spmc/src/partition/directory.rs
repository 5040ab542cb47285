//! Finds partitions by their ids.

use crate::id::PartitionId;
use crate::sync::atomic::{AtomicU8, Ordering};

/// The index of each partition in the partition table, by the low byte of its id: no two partitions
/// have the same low byte. Written at boot.
pub struct Directory([AtomicU8; 256]);

impl Directory {
    /// A directory without partitions.
    pub const fn new() -> Self {
        Self([const { AtomicU8::new(0) }; 256])
    }

    /// Returns the index of the only partition that may have this id. The caller must compare its
    /// id.
    #[inline(always)]
    pub fn index(&self, id: PartitionId) -> usize {
        let [_, low] = id.0.to_be_bytes();
        let index = self.0.get(usize::from(low));
        index.map_or(0, |index| usize::from(index.load(Ordering::Relaxed)))
    }

    /// Enters the partition at `index`, whose id is `id`.
    pub fn enter(&self, id: PartitionId, index: usize) {
        let [_, low] = id.0.to_be_bytes();
        if let Some(entry) = self.0.get(usize::from(low)) {
            entry.store(index as u8, Ordering::Relaxed);
        }
    }
}

const _: () = assert!(
    crate::limits::MAX_PARTITIONS <= 256,
    "an index has eight bits"
);

impl Default for Directory {
    fn default() -> Self {
        Self::new()
    }
}
