//! The owner of each physical interrupt, found by its INTID without a search.

use alloc::boxed::Box;
use alloc::vec::Vec;

use super::{Claims, Line, Source};

/// INTIDs below that are places in the table.
const LOW: u32 = 1120;

/// The first INTID of extended SPIs, whose places follow.
const EXTENDED: u32 = 4096;

/// The owner of each interrupt, by [`place`], up to the last one that anybody owns. Written at
/// boot.
#[derive(Debug)]
pub struct Owners(Box<[Entry]>);

/// The number of a line, and in the upper byte the index of its partition plus one; 0 for nobody.
type Entry = u16;

impl Owners {
    /// Returns the owners of what each partition claims, by index.
    pub fn new<'a>(claims: impl Iterator<Item = &'a Claims>) -> Self {
        let mut entries = Vec::<Entry>::new();
        for (partition, claims) in (1_u8..).zip(claims) {
            for (line, claim) in (0_u8..).zip(claims.iter()) {
                let Some(place) = place(claim.id) else {
                    continue;
                };
                if entries.len() <= place {
                    entries.resize(place.saturating_add(1), 0);
                }
                if let Some(entry) = entries.get_mut(place) {
                    *entry = u16::from_be_bytes([partition, line]);
                }
            }
        }
        Self(entries.into())
    }

    /// Returns the partition that owns the interrupt `id`, and its line there.
    #[inline(always)]
    pub fn source(&self, id: u32) -> Option<Source> {
        let [partition, line] = self.0.get(place(id)?)?.to_be_bytes();
        Some((usize::from(partition).checked_sub(1)?, Line(line)))
    }

    /// Returns the line of the interrupt `id`, if the partition with that index owns it.
    #[inline(always)]
    pub fn line(&self, partition: usize, id: u32) -> Option<Line> {
        let (owner, line) = self.source(id)?;
        (owner == partition).then_some(line)
    }
}

/// Returns the place of an INTID in the table.
#[inline(always)]
fn place(id: u32) -> Option<usize> {
    let place = if id < LOW {
        id
    } else {
        id.checked_sub(EXTENDED)?.checked_add(LOW)?
    };
    Some(place as usize)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::config::DeviceInterrupt;

    fn claims(ids: &[u32]) -> Claims {
        let claim = |id: &u32| DeviceInterrupt {
            id: *id,
            attributes: 0,
            target: None,
        };
        Claims(ids.iter().map(claim).collect())
    }

    #[test]
    fn each_interrupt_has_the_owner_that_claims_it() {
        let all = [
            claims(&[1019, 4096]),
            claims(&[]),
            claims(&[16, 1056, 5119, 32]),
        ];
        let owners = Owners::new(all.iter());
        for id in 0..0x1_0000 {
            let source = all.iter().enumerate().find_map(|(partition, claims)| {
                let line = claims.iter().position(|claim| claim.id == id)?;
                Some((partition, Line(line as u8)))
            });
            assert_eq!(owners.source(id), source, "{id}");
            for partition in 0..4 {
                let line = source.filter(|source| source.0 == partition);
                assert_eq!(owners.line(partition, id), line.map(|source| source.1));
            }
        }
        assert_eq!(owners.source(u32::MAX), None);
    }
}
