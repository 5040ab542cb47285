//! The records that the plugin `tests/qemu/ffa-trace.c` writes: calls and returns between exception
//! levels, with their registers, and the bytes that the SPMC copies.

use anyhow::{Context, Result};
use spmc::ffa::SmcFrame;

/// The number of words of a record: five, and the registers.
const WORDS: usize = 5 + 18;
/// Bytes of a record.
const SIZE: usize = 8 * WORDS;

/// The kinds of records of copies, which follow those of passages: from memory, then to memory.
const FROM_MEMORY: usize = KINDS.len();

/// The kinds of records of translation tables.
const TABLES: usize = KINDS.len() + 2;
const ROOTS: usize = KINDS.len() + 3;

/// The direction in which control passes. The order is that of the plugin.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// The Normal world makes a call.
    NwdCall,
    /// EL3 returns to the Normal world.
    ToNwd,
    /// EL3 enters the SPMC.
    ToSpmc,
    /// The SPMC calls or answers EL3.
    SpmcOut,
    /// A partition makes a call.
    SpCall,
    /// The SPMC enters a partition.
    ToSp,
}

const KINDS: [Kind; 6] = [
    Kind::NwdCall,
    Kind::ToNwd,
    Kind::ToSpmc,
    Kind::SpmcOut,
    Kind::SpCall,
    Kind::ToSp,
];

/// A passage of control.
#[derive(Clone, Copy, Debug)]
pub struct Record {
    pub kind: Kind,
    /// The PE.
    pub pe: usize,
    /// Instructions that all PEs have executed.
    pub time: u64,
    /// Instructions that this PE has executed, in all and in the SPMC.
    pub executed: Count,
    /// VMID or ASID of the partition, if there is one.
    pub tag: u64,
    /// x0 to x17.
    pub frame: SmcFrame,
}

/// Bytes that the SPMC copied from or to memory of others.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Copied {
    /// The PE.
    pub pe: usize,
    pub direction: Direction,
    /// The physical address of the first byte.
    pub address: u64,
    pub bytes: Vec<u8>,
}

/// The direction of a copy.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Direction {
    /// The SPMC reads, as it reads TX.
    FromMemory,
    /// The SPMC writes, as it writes RX.
    ToMemory,
}

/// The registers that say where the tables of a partition begin.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Roots {
    /// VMID or ASID of the partition.
    pub tag: u64,
    pub is_el0: bool,
    pub vttbr: u64,
    pub vsttbr: u64,
    pub vtcr: u64,
    pub vstcr: u64,
    pub ttbr0: u64,
    pub tcr: u64,
}

/// An event of a run.
#[derive(Clone, Debug)]
pub enum Event {
    Passage(Record),
    Copy(Copied),
    /// Bytes of translation tables from an address on, which replace those before.
    Tables(u64, Vec<u8>),
    Roots(Roots),
}

/// A number of instructions of one PE.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Count {
    pub all: u64,
    /// Those of the SPMC.
    pub spmc: u64,
}

impl Count {
    /// Returns what was executed since an earlier count of the same PE.
    pub fn since(self, earlier: Self) -> Self {
        Self {
            all: self.all - earlier.all,
            spmc: self.spmc - earlier.spmc,
        }
    }
}

/// Parses the plugin's file. A record that is cut off at the end, since QEMU was killed, is left
/// out.
pub fn parse(bytes: &[u8]) -> Result<Vec<Event>> {
    bytes.as_chunks().0.iter().map(one).collect()
}

/// Returns the kind in the first word of a record of a passage.
pub fn kind(first: u64) -> Result<Kind> {
    let kind = KINDS.get(first as usize & 0xff).copied();
    kind.with_context(|| format!("the trace has a record of unknown kind: {first:#x}"))
}

fn one(bytes: &[u8; SIZE]) -> Result<Event> {
    let mut words = bytes.as_chunks().0.iter().copied().map(u64::from_le_bytes);
    let mut next = || words.next().unwrap_or_default();
    let first = next();
    let pe = (first >> 16) as usize & 0xffff;
    let kind = first as usize & 0xff;
    if (FROM_MEMORY..=TABLES).contains(&kind) {
        let length = (first >> 32) as usize;
        let copied = bytes.get(2 * 8..).and_then(|rest| rest.get(..length));
        let copied = copied.with_context(|| format!("the trace has a copy of {length} bytes"))?;
        let (address, bytes) = (next(), copied.to_vec());
        let direction = match kind {
            TABLES => return Ok(Event::Tables(address, bytes)),
            FROM_MEMORY => Direction::FromMemory,
            _ => Direction::ToMemory,
        };
        return Ok(Event::Copy(Copied {
            pe,
            direction,
            address,
            bytes,
        }));
    }
    if kind == ROOTS {
        return Ok(Event::Roots(Roots {
            tag: next(),
            is_el0: next() != 0,
            vttbr: next(),
            vsttbr: next(),
            vtcr: next(),
            vstcr: next(),
            ttbr0: next(),
            tcr: next(),
        }));
    }
    let kind = self::kind(first)?;
    let [time, all, spmc, tag] = [next(), next(), next(), next()];
    let mut frame = SmcFrame::ZERO;
    frame.x.fill_with(next);
    Ok(Event::Passage(Record {
        kind,
        pe,
        time,
        executed: Count { all, spmc },
        tag,
        frame,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(words: impl IntoIterator<Item = u64>) -> Vec<u8> {
        let mut bytes: Vec<u8> = words.into_iter().flat_map(u64::to_le_bytes).collect();
        bytes.resize(bytes.len().next_multiple_of(SIZE), 0);
        bytes
    }

    #[test]
    fn whole_records_are_read_and_unknown_ones_refused() {
        let words = [3 << 16 | 4, 100, 50, 20, 7].into_iter().chain(0x10..0x22);
        let mut bytes = bytes(words);
        bytes.extend_from_slice(&[0; SIZE - 1]);
        let records = parse(&bytes).unwrap();
        let [Event::Passage(record)] = records.as_slice() else {
            panic!("one record is whole");
        };
        assert_eq!(
            (record.kind, record.pe, record.time),
            (Kind::SpCall, 3, 100)
        );
        assert_eq!(record.executed, Count { all: 50, spmc: 20 });
        assert_eq!(
            (record.tag, record.frame.x[0], record.frame.x[17]),
            (7, 0x10, 0x21)
        );
        bytes[0] = 10;
        assert!(parse(&bytes).is_err());
    }

    #[test]
    fn copies_have_a_direction_a_place_and_bytes() {
        let copy = |first| bytes([first, 0x4000_0010, u64::from_le_bytes(*b"abcdefgh")]);
        let read = |first| parse(&copy(first)).unwrap().pop();
        for (kind, direction) in [(6, Direction::FromMemory), (7, Direction::ToMemory)] {
            let Some(Event::Copy(copied)) = read(3 << 32 | 2 << 16 | kind) else {
                panic!("a copy");
            };
            let (pe, address) = (2, 0x4000_0010);
            let bytes = b"abc".to_vec();
            assert_eq!(
                copied,
                Copied {
                    pe,
                    direction,
                    address,
                    bytes
                }
            );
        }
        assert!(parse(&copy(169 << 32 | 6)).is_err());
    }

    #[test]
    fn tables_have_roots_and_bytes() {
        let tables = parse(&bytes([8 << 32 | 8, 0xe10_0000, 7])).unwrap();
        let [Event::Tables(0xe10_0000, word)] = tables.as_slice() else {
            panic!("tables");
        };
        assert_eq!(word[..], [7, 0, 0, 0, 0, 0, 0, 0]);
        let roots = parse(&bytes([9, 1, 0, 2, 3, 4, 5, 6, 7])).unwrap();
        let [Event::Roots(roots)] = roots.as_slice() else {
            panic!("roots");
        };
        let Roots {
            tag,
            is_el0,
            vttbr,
            vsttbr,
            vtcr,
            vstcr,
            ttbr0,
            tcr,
        } = *roots;
        assert_eq!((tag, is_el0), (1, false));
        assert_eq!([vttbr, vsttbr, vtcr, vstcr, ttbr0, tcr], [2, 3, 4, 5, 6, 7]);
    }
}
