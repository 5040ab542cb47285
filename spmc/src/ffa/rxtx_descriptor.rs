//! The endpoint RX/TX descriptor (FF-A v1.0 table 8.19; with offsets from v1.1 on): a Hypervisor
//! names the buffers of one of its VMs with it.
//!
//! Each buffer may be listed in several ranges, which must form one run of pages.

use crate::addr::{Ipa, PageRange};
use crate::error::{FfaError, Result};
use crate::ffa::Version;
use crate::id::PartitionId;

/// Bytes of one range: address, page count, a reserved word.
const RANGE: usize = 16;
/// Bytes of the header of a composite descriptor: total page count, range count, two reserved
/// words.
const COMPOSITE: usize = 16;

/// The buffers of an endpoint.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RxTxDescriptor {
    /// The endpoint.
    pub id: PartitionId,
    /// The RX buffer.
    pub rx: PageRange<Ipa>,
    /// The TX buffer, of the same size.
    pub tx: PageRange<Ipa>,
}

impl RxTxDescriptor {
    /// Decodes a descriptor as a Hypervisor of that version writes it, with buffers of `most` pages
    /// at most; bytes behind it are ignored.
    ///
    /// `INVALID_PARAMETERS` for reserved fields, wrong offsets, counts and ranges, and buffers of
    /// different or unsupported sizes; `NO_MEMORY` for a buffer that is not contiguous, as there is
    /// no way to map it.
    pub fn decode(bytes: &[u8], version: Version, most: u32) -> Result<Self> {
        let id = PartitionId(u16_at(bytes, 0)?);
        if u16_at(bytes, 2)? != 0 {
            return Err(FfaError::InvalidParameters);
        }
        let (rx, tx) = if version >= Version::V1_1 {
            let rx = composite(bytes, u32_at(bytes, 4)? as usize, most)?;
            (rx, composite(bytes, u32_at(bytes, 8)? as usize, most)?)
        } else {
            let (rx_count, tx_count) = (u32_at(bytes, 4)?, u32_at(bytes, 8)?);
            let rx = join(bytes, 12, rx_count, most)?;
            let tx_at = 12_usize.saturating_add(RANGE.saturating_mul(rx_count as usize));
            (rx, join(bytes, tx_at, tx_count, most)?)
        };
        if rx.pages() != tx.pages() || rx.pages() > most.into() {
            return Err(FfaError::InvalidParameters);
        }
        Ok(Self { id, rx, tx })
    }
}

/// Reads the composite descriptor at `at`, behind the 16 bytes of the header and 8-byte aligned.
fn composite(bytes: &[u8], at: usize, most: u32) -> Result<PageRange<Ipa>> {
    if at < 16 || !at.is_multiple_of(8) {
        return Err(FfaError::InvalidParameters);
    }
    let pages = u32_at(bytes, at)?;
    let count = u32_at(bytes, at.saturating_add(4))?;
    let buffer = join(bytes, at.saturating_add(COMPOSITE), count, most)?;
    if buffer.pages() != pages.into() {
        return Err(FfaError::InvalidParameters);
    }
    Ok(buffer)
}

/// Returns the `count` ranges at `at`, of `most` pages at most, as one.
fn join(bytes: &[u8], at: usize, count: u32, most: u32) -> Result<PageRange<Ipa>> {
    // A range has at least one page.
    if count == 0 || count > most {
        return Err(FfaError::InvalidParameters);
    }
    let mut joined: Option<PageRange<Ipa>> = None;
    for n in 0..count as usize {
        let at = at.saturating_add(n.saturating_mul(RANGE));
        let base = Ipa::new(u64_at(bytes, at)?);
        let pages = u32_at(bytes, at.saturating_add(8))?;
        let range = PageRange::new(base, pages.into()).ok_or(FfaError::InvalidParameters)?;
        joined = match joined {
            None => Some(range),
            Some(before) if before.end() == range.base() => {
                PageRange::new(before.base(), before.pages().saturating_add(range.pages()))
            }
            Some(_) => return Err(FfaError::NoMemory),
        };
    }
    joined.ok_or(FfaError::InvalidParameters)
}

fn field<const N: usize>(bytes: &[u8], at: usize) -> Result<[u8; N]> {
    bytes
        .get(at..)
        .and_then(|rest| rest.first_chunk())
        .copied()
        .ok_or(FfaError::InvalidParameters)
}

fn u16_at(bytes: &[u8], at: usize) -> Result<u16> {
    field(bytes, at).map(u16::from_le_bytes)
}

fn u32_at(bytes: &[u8], at: usize) -> Result<u32> {
    field(bytes, at).map(u32::from_le_bytes)
}

fn u64_at(bytes: &[u8], at: usize) -> Result<u64> {
    field(bytes, at).map(u64::from_le_bytes)
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use crate::limits::MAX_MAILBOX_PAGES;
    use FfaError::{InvalidParameters, NoMemory};
    use std::vec::Vec;

    type Ranges<'a> = &'a [(u64, u32)];

    fn ranges(ranges: Ranges<'_>) -> Vec<u8> {
        let each = ranges.iter().map(|(base, pages)| {
            let mut bytes = base.to_le_bytes().to_vec();
            bytes.extend(u64::from(*pages).to_le_bytes());
            bytes
        });
        each.flatten().collect()
    }

    fn v1_0(id: u16, rx: Ranges<'_>, tx: Ranges<'_>) -> Vec<u8> {
        let mut bytes = u32::from(id).to_le_bytes().to_vec();
        bytes.extend((rx.len() as u32).to_le_bytes());
        bytes.extend((tx.len() as u32).to_le_bytes());
        bytes.extend(ranges(rx));
        bytes.extend(ranges(tx));
        bytes
    }

    fn v1_1(id: u16, rx: Ranges<'_>, tx: Ranges<'_>) -> Vec<u8> {
        let composite = |list: Ranges<'_>| {
            let pages: u32 = list.iter().map(|(_, pages)| pages).sum();
            let mut bytes = pages.to_le_bytes().to_vec();
            bytes.extend((list.len() as u32).to_le_bytes());
            bytes.extend([0; 8]);
            bytes.extend(ranges(list));
            bytes
        };
        let (rx, tx) = (composite(rx), composite(tx));
        let mut bytes = u32::from(id).to_le_bytes().to_vec();
        bytes.extend(16_u32.to_le_bytes());
        bytes.extend((16 + rx.len() as u32).to_le_bytes());
        bytes.extend([0; 4]);
        bytes.extend(rx);
        bytes.extend(tx);
        bytes
    }

    fn both(rx: Ranges<'_>, tx: Ranges<'_>) -> Result<RxTxDescriptor> {
        let old = RxTxDescriptor::decode(&v1_0(3, rx, tx), Version::V1_0, MAX_MAILBOX_PAGES);
        let new = RxTxDescriptor::decode(&v1_1(3, rx, tx), Version::V1_2, MAX_MAILBOX_PAGES);
        assert_eq!(old, new);
        old
    }

    // req: RXTX-23
    #[test]
    fn both_layouts_name_the_same() {
        let page = |base, pages| PageRange::new(Ipa::new(base), pages).unwrap();
        let expected = RxTxDescriptor {
            id: PartitionId(3),
            rx: page(0x1000, 2),
            tx: page(0x8000, 2),
        };
        assert_eq!(both(&[(0x1000, 2)], &[(0x8000, 2)]), Ok(expected));
        let split = both(&[(0x1000, 1), (0x2000, 1)], &[(0x8000, 2)]);
        assert_eq!(split, Ok(expected));
    }

    // req: RXTX-07, RXTX-19, RXTX-22
    #[test]
    fn what_is_no_pair() {
        let good: Ranges<'_> = &[(0x8000, 1)];
        assert_eq!(
            both(&[(0x1000, 1), (0x3000, 1)], &[(0x8000, 2)]),
            Err(NoMemory)
        );
        for bad in [
            &[][..],
            &[(0x1000, 0)],
            &[(0x1001, 1)],
            &[(0x1000, 2)],
            &[(!0xfff, 1)],
            &[(1 << 47, u32::MAX)],
        ] {
            assert_eq!(both(bad, good), Err(InvalidParameters), "{bad:?}");
            assert_eq!(both(good, bad), Err(InvalidParameters), "{bad:?}");
        }
        assert_eq!(
            both(&[(0x10_0000, 17)], &[(0x20_0000, 17)]),
            Err(InvalidParameters)
        );
    }

    #[test]
    fn every_cut_and_every_wild_field_is_refused_or_harmless() {
        let pair: (Ranges<'_>, Ranges<'_>) = (&[(0x1000, 1)], &[(0x8000, 1)]);
        for (bytes, version) in [
            (v1_0(3, pair.0, pair.1), Version::V1_0),
            (v1_1(3, pair.0, pair.1), Version::V1_1),
        ] {
            // The last word is reserved and never read.
            for length in 0..bytes.len() - 4 {
                let cut = RxTxDescriptor::decode(&bytes[..length], version, MAX_MAILBOX_PAGES);
                assert_eq!(cut, Err(InvalidParameters));
            }
            for at in (0..bytes.len()).step_by(4) {
                let mut wild = bytes.clone();
                wild[at..][..4].fill(0xff);
                let _ = RxTxDescriptor::decode(&wild, version, MAX_MAILBOX_PAGES);
            }
            let mut reserved = bytes;
            reserved[2] = 1;
            assert_eq!(
                RxTxDescriptor::decode(&reserved, version, MAX_MAILBOX_PAGES),
                Err(InvalidParameters)
            );
        }
    }
}
