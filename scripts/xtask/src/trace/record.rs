//! The records that the plugin `tests/qemu/ffa-trace.c` writes: calls and returns between exception
//! levels, with their registers.

use anyhow::{Context, Result};
use spmc::ffa::SmcFrame;

/// The number of words of a record: five, and the registers.
const WORDS: usize = 5 + 18;
/// Bytes of a record.
const SIZE: usize = 8 * WORDS;

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
pub fn parse(bytes: &[u8]) -> Result<Vec<Record>> {
    bytes.chunks_exact(SIZE).map(one).collect()
}

fn one(bytes: &[u8]) -> Result<Record> {
    let mut words = bytes.as_chunks().0.iter().copied().map(u64::from_le_bytes);
    let mut next = || words.next().unwrap_or_default();
    let [first, time, all, spmc, tag] = [next(), next(), next(), next(), next()];
    let kind = KINDS.get(first as usize & 0xff).copied();
    let kind =
        kind.with_context(|| format!("the trace has a record of unknown kind: {first:#x}"))?;
    let mut frame = SmcFrame::ZERO;
    frame.x.fill_with(next);
    Ok(Record {
        kind,
        pe: (first >> 16) as usize & 0xffff,
        time,
        executed: Count { all, spmc },
        tag,
        frame,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_records_are_read_and_unknown_ones_refused() {
        let mut bytes = Vec::new();
        for word in [3 << 16 | 4, 100, 50, 20, 7].into_iter().chain(0x10..0x22) {
            bytes.extend_from_slice(&u64::to_le_bytes(word));
        }
        bytes.extend_from_slice(&[0; SIZE - 1]);
        let records = parse(&bytes).unwrap();
        let [record] = records.as_slice() else {
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
        bytes[0] = 6;
        assert!(parse(&bytes).is_err());
    }
}
