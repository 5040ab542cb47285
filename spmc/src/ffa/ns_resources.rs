//! The list that `FFA_NS_RES_INFO_GET` returns (FF-A v1.3): a header and entries, as one stream of
//! bytes that the caller fetches in pieces.

use crate::addr::{Pa, PageRange};
use crate::id::PartitionId;

/// Bytes of the header, and of an entry.
pub const ENTRY: usize = 16;

/// Rights of unprivileged software in an entry. The bits of privileged software are four places
/// higher.
pub const READ: u8 = 1 << 0;
/// As [`READ`].
pub const WRITE: u8 = 1 << 1;
/// As [`READ`].
pub const EXECUTE: u8 = 1 << 2;

/// Returns the same rights for privileged software.
pub const fn privileged(unprivileged: u8) -> u8 {
    unprivileged << 4
}

/// One region of Non-secure memory that somebody in the Secure world can reach.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Resource {
    /// The pages.
    pub range: PageRange<Pa>,
    /// The rights, by [`READ`] and so on.
    pub permissions: u8,
    /// The partition that reaches it, or the SPMC.
    pub endpoint: PartitionId,
    /// Partitions reach it through the SPMC only.
    pub indirect: bool,
}

impl Resource {
    /// Encodes the entry.
    pub fn bytes(&self) -> [u8; ENTRY] {
        let [id_low, id_high] = self.endpoint.0.to_le_bytes();
        let pages = u32::try_from(self.range.pages()).unwrap_or(u32::MAX);
        let rest = [self.permissions, id_low, id_high, u8::from(self.indirect)];
        let rest = u32::from_le_bytes(rest);
        join([
            self.range.base().raw(),
            u64::from(rest) << 32 | u64::from(pages),
        ])
    }
}

/// Encodes the header of a stream with that many entries.
pub fn header(entries: u32) -> [u8; ENTRY] {
    join([u64::from(entries) << 32 | ENTRY as u64, ENTRY as u64])
}

fn join(words: [u64; 2]) -> [u8; ENTRY] {
    let mut bytes = [0; ENTRY];
    let (chunks, _) = bytes.as_chunks_mut();
    for (to, word) in chunks.iter_mut().zip(words) {
        *to = word.to_le_bytes();
    }
    bytes
}

/// How far a caller has come with the stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Retrieval {
    /// The partition that it asks about, or all.
    pub partition: Option<PartitionId>,
    /// Bytes that it has got.
    pub done: u64,
    /// The count of changes of all maps when it began.
    pub maps: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    // req: NSRES-02, NSRES-03
    #[test]
    fn layouts() {
        assert_eq!(
            header(0x1234),
            [16, 0, 0, 0, 0x34, 0x12, 0, 0, 16, 0, 0, 0, 0, 0, 0, 0]
        );
        let resource = Resource {
            range: PageRange::new(Pa::new(0x4567_8000), 0x1_0002).unwrap(),
            permissions: READ | privileged(READ | WRITE),
            endpoint: PartitionId(0x8003),
            indirect: true,
        };
        assert_eq!(
            resource.bytes(),
            [
                0, 0x80, 0x67, 0x45, 0, 0, 0, 0, 2, 0, 1, 0, 0x31, 3, 0x80, 1
            ]
        );
    }
}
