//! Partition information descriptors (FF-A v1.0 table 8.25; 24 bytes from v1.1 on, 48 from v1.3
//! on). Each layout begins with the older ones.

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
        /// Can be replaced by another image while the system runs (1.3). Bit 12, by which that
        /// needs all PEs to meet, is never set.
        const LIVE_ACTIVATION = 1 << 11;
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
    if version.is_at_least(Version::V1_3) {
        MAX_DESCRIPTOR
    } else if version.is_at_least(Version::V1_1) {
        DESCRIPTOR_1_1
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
    /// UUID of the image (1.3); nil if it has none, or the query named it.
    pub image: Uuid,
    /// The version that the partition speaks (1.3).
    pub version: Version,
}

/// Bytes of a descriptor at 1.1 and 1.2.
pub const DESCRIPTOR_1_1: usize = 24;
/// Bytes of the longest descriptor.
pub const MAX_DESCRIPTOR: usize = 48;
/// Registers of the longest descriptor.
pub const WORDS: usize = MAX_DESCRIPTOR / size_of::<u64>();

impl Descriptor {
    /// Returns the longest form as registers: head, UUID, UUID of the image, and version.
    pub fn words(&self) -> [u64; WORDS] {
        let [low, high] = self.uuid.registers();
        let [image_low, image_high] = self.image.registers();
        let head = u64::from(self.properties.bits()) << 32
            | u64::from(self.contexts) << 16
            | u64::from(self.id.0);
        let version = self.version.to_word().into();
        [head, low, high, image_low, image_high, version]
    }

    /// Returns the longest form as bytes, which begins with the older ones.
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
        image: Uuid([9; 16]),
        version: Version::V1_3,
    };

    // req: PINFO-05, PINFO-14, PINFO-20
    #[test]
    fn layouts() {
        let bytes = DESCRIPTOR.bytes();
        assert_eq!(bytes[..8], [0x02, 0x80, 8, 0, 1, 1, 0, 0]);
        assert_eq!(bytes[8..24], [7; 16]);
        assert_eq!(bytes[24..40], [9; 16]);
        assert_eq!(bytes[40..], [3, 0, 1, 0, 0, 0, 0, 0]);
        let (uuid, image) = (0x0707_0707_0707_0707, 0x0909_0909_0909_0909);
        assert_eq!(
            DESCRIPTOR.words(),
            [0x101_0008_8002, uuid, uuid, image, image, 0x1_0003]
        );
        let versions = [Version::V1_0, Version::V1_1, Version::V1_2, Version::V1_3];
        assert_eq!(versions.map(descriptor_size), [8, 24, 24, 48]);
    }
}
