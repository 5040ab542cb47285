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

/// Bytes of one descriptor for a caller of that version.
pub const fn descriptor_size(version: Version) -> usize {
    if version.minor() == 0 { 8 } else { 24 }
}

/// One descriptor.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Descriptor {
    /// Partition id.
    pub id: PartitionId,
    /// Execution contexts.
    pub contexts: u16,
    /// Properties as the caller may see them.
    pub properties: Properties,
    /// Nil where the query named one.
    pub uuid: Uuid,
}

impl Descriptor {
    /// Writes the descriptor in the layout whose size `to` has: 8 bytes without the UUID, or 24 with it.
    pub fn write(&self, to: &mut [u8]) {
        let [id0, id1] = self.id.0.to_le_bytes();
        let [count0, count1] = self.contexts.to_le_bytes();
        let head = [id0, id1, count0, count1]
            .into_iter()
            .chain(self.properties.bits().to_le_bytes());
        for (to, from) in to.iter_mut().zip(head.chain(self.uuid.0)) {
            *to = from;
        }
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
        let mut long = [0xff; 24];
        DESCRIPTOR.write(&mut long);
        assert_eq!(long[..8], [0x02, 0x80, 8, 0, 1, 1, 0, 0]);
        assert_eq!(long[8..], [7; 16]);
        let mut short = [0xff; 8];
        DESCRIPTOR.write(&mut short);
        assert_eq!(short, long[..8]);
        assert_eq!(descriptor_size(Version::V1_0), short.len());
        assert_eq!(descriptor_size(Version::V1_1), long.len());
    }
}
