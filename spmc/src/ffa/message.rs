//! The header of indirect messages in TX and RX buffers (FF-A v1.1 section 7.2; with a service UUID
//! from v1.2 on).
//!
//! The payload behind the header belongs to the endpoints and is never read.

use crate::ffa::Version;
use crate::id::{PartitionId, Uuid};

/// Bytes of the longest header, that of 1.2.
pub const MAX_HEADER: usize = 40;

/// Returns the bytes of the header of an endpoint that speaks `version`: flags, a reserved word,
/// offset of the payload, receiver, sender, size of the payload; from 1.2 on another reserved word
/// and the UUID of the service.
pub const fn header_size(version: Version) -> usize {
    if version.is_at_least(Version::V1_2) {
        MAX_HEADER
    } else {
        20
    }
}

/// A header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header {
    /// Must be zero.
    pub flags: u32,
    /// Offset of the payload in the buffer.
    pub offset: u32,
    /// The receiver.
    pub receiver: PartitionId,
    /// The sender.
    pub sender: PartitionId,
    /// Bytes of the payload.
    pub size: u32,
    /// The service that the message is for; nil for any service, and below 1.2.
    pub uuid: Uuid,
}

impl Header {
    /// Decodes the header of a sender that speaks `version`; the bytes behind it are ignored. The
    /// reserved words may hold anything.
    pub fn decode(bytes: &[u8; MAX_HEADER], version: Version) -> Self {
        // Reserved words lie in the upper halves of the first and the third.
        let [flags, offset_and_ids, size, uuid_low, uuid_high] = words(bytes);
        Self {
            flags: flags as u32,
            offset: offset_and_ids as u32,
            receiver: PartitionId((offset_and_ids >> 32) as u16),
            sender: PartitionId((offset_and_ids >> 48) as u16),
            size: size as u32,
            uuid: if header_size(version) == MAX_HEADER {
                Uuid::from_registers([uuid_low, uuid_high])
            } else {
                Uuid::NIL
            },
        }
    }

    /// Returns the bytes in the longer form, which begins with the shorter one.
    pub fn encode(&self) -> [u8; MAX_HEADER] {
        let ids = u64::from(self.sender.0) << 16 | u64::from(self.receiver.0);
        let [uuid_low, uuid_high] = self.uuid.registers();
        let words = [
            self.flags.into(),
            ids << 32 | u64::from(self.offset),
            self.size.into(),
            uuid_low,
            uuid_high,
        ];
        let mut bytes = [0; MAX_HEADER];
        for (to, word) in bytes.chunks_exact_mut(8).zip(words) {
            to.copy_from_slice(&word.to_le_bytes());
        }
        bytes
    }
}

fn words(bytes: &[u8; MAX_HEADER]) -> [u64; 5] {
    let mut words = [0; 5];
    let (chunks, _) = bytes.as_chunks();
    for (word, chunk) in words.iter_mut().zip(chunks) {
        *word = u64::from_le_bytes(*chunk);
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: Header = Header {
        flags: 0x1122_3344,
        offset: 0x2a,
        receiver: PartitionId(0x8002),
        sender: PartitionId(0x8001),
        size: 0x5566,
        uuid: Uuid([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16]),
    };

    #[test]
    fn fields_lie_where_v1_1_and_v1_2_put_them() {
        let bytes = HEADER.encode();
        assert_eq!(bytes[..8], [0x44, 0x33, 0x22, 0x11, 0, 0, 0, 0]);
        assert_eq!(bytes[8..16], [0x2a, 0, 0, 0, 2, 0x80, 1, 0x80]);
        assert_eq!(bytes[16..24], [0x66, 0x55, 0, 0, 0, 0, 0, 0]);
        assert_eq!(bytes[24..], HEADER.uuid.0);
    }

    #[test]
    fn the_uuid_counts_from_1_2_on_and_reserved_words_never() {
        let mut bytes = HEADER.encode();
        bytes[4..8].fill(0xff);
        bytes[20..24].fill(0xff);
        assert_eq!(Header::decode(&bytes, Version::V1_2), HEADER);
        let without = Header {
            uuid: Uuid::NIL,
            ..HEADER
        };
        assert_eq!(Header::decode(&bytes, Version::V1_1), without);
        assert_eq!(header_size(Version::V1_1), 20);
        assert_eq!(header_size(Version::V1_2), 40);
    }
}
