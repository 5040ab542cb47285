//! Partition information descriptors (FF-A v1.0 table 8.25; 24 bytes from v1.1 on).

use bitflags::bitflags;

use crate::ffa::Version;
use crate::id::{PartitionId, Uuid};
use crate::manifest::config::Messaging;

bitflags! {
    /// Partition properties.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct Properties: u32 {
        /// Receives direct requests.
        const RECEIVE_DIRECT = 1 << 0;
        /// Sends direct requests.
        const SEND_DIRECT = 1 << 1;
        /// Sends and receives indirect messages.
        const INDIRECT = 1 << 2;
        /// Receives notifications (1.1).
        const NOTIFICATIONS = 1 << 3;
        /// Subscribed to messages about VMs that are created (1.1).
        const VM_CREATED = 1 << 6;
        /// Subscribed to messages about VMs that are destroyed (1.1).
        const VM_DESTROYED = 1 << 7;
        /// Runs in AArch64 (1.1).
        const AARCH64 = 1 << 8;
        /// Receives FFA_MSG_SEND_DIRECT_REQ2 (1.2).
        const RECEIVE_DIRECT2 = 1 << 9;
        /// Sends FFA_MSG_SEND_DIRECT_REQ2 (1.2).
        const SEND_DIRECT2 = 1 << 10;
    }
}

impl From<Messaging> for Properties {
    /// The manifest uses the bit numbers of the properties.
    fn from(messaging: Messaging) -> Self {
        Self::from_bits_truncate(messaging.bits())
    }
}

/// Returns the bytes of one descriptor for a caller of that version.
pub const fn descriptor_size(version: Version) -> usize {
    if version.is_at_least(Version::V1_1) {
        MAX_DESCRIPTOR
    } else {
        8
    }
}

/// One descriptor.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Descriptor {
    /// Partition id.
    pub id: PartitionId,
    /// Number of execution contexts.
    pub contexts: u16,
    /// Properties as the caller may see them.
    pub properties: Properties,
    /// UUID of the service; nil if the query named one.
    pub uuid: Uuid,
}

/// Bytes of the longest descriptor.
pub const MAX_DESCRIPTOR: usize = 24;

impl Descriptor {
    /// Returns the descriptor as three registers: head and UUID.
    pub fn words(&self) -> [u64; 3] {
        let [low, high] = self.uuid.registers();
        let head = u64::from(self.properties.bits()) << 32
            | u64::from(self.contexts) << 16
            | u64::from(self.id.0);
        [head, low, high]
    }

    /// Returns the descriptor as bytes, the first 8 of which are the layout of 1.0.
    pub fn bytes(&self) -> [u8; MAX_DESCRIPTOR] {
        let mut bytes = [0; MAX_DESCRIPTOR];
        let (chunks, _) = bytes.as_chunks_mut();
        for (to, word) in chunks.iter_mut().zip(self.words()) {
            *to = word.to_le_bytes();
        }
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DESCRIPTOR: Descriptor = Descriptor {
        id: PartitionId(0x8002),
        contexts: 8,
        properties: Properties::RECEIVE_DIRECT.union(Properties::AARCH64),
        uuid: Uuid([7; 16]),
    };

    // req: PINFO-05, PINFO-14
    #[test]
    fn layouts() {
        let bytes = DESCRIPTOR.bytes();
        assert_eq!(bytes[..8], [0x02, 0x80, 8, 0, 1, 1, 0, 0]);
        assert_eq!(bytes[8..], [7; 16]);
        let uuid = 0x0707_0707_0707_0707;
        assert_eq!(DESCRIPTOR.words(), [0x101_0008_8002, uuid, uuid]);
        assert_eq!(descriptor_size(Version::V1_0), 8);
        assert_eq!(descriptor_size(Version::V1_1), bytes.len());
    }
}
