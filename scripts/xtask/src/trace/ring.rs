//! The rings of an SPMC that was built with `--trace-ring` (`platform/aarch64/src/el2/ring.rs`), as
//! the events of a trace.
//!
//! The rings have what passes to and from the SPMC. Calls of the Normal world begin where EL3
//! enters the SPMC. The time is that of CNTPCT_EL0, and so is the cost of a call.

use std::collections::HashMap;

use anyhow::{Context, Result, bail, ensure};
use spmc::ffa::SmcFrame;

use super::calls::{self, Who};
use super::decode;
use super::record::{Count, Event, Kind, Record, kind};
use super::system;
use super::text::Writer;
use crate::board::QEMU_VIRT;
use crate::build::Extras;
use crate::image::{Components, assemble};
use crate::layout::Layout;
use crate::qemu::Machine;
use crate::selection::Selection;

/// The first word of the rings.
const MAGIC: u64 = u64::from_le_bytes(*b"FFA ring");
/// Words in front of the part of the first PE.
const HEAD: usize = 4;
/// Words of a record: kind and PE, the time, the VMID or ASID of the partition, and x0 to x17.
const RECORD: usize = 3 + 18;

/// The mark of lines in which the Normal world printed words: an index and four words.
const PRINTED: &str = "RING ";

/// The first line of a text: the meaning of the columns.
pub const HEADING: &str =
    "       ticks PE  caller -> callee: call = result  <ticks of the call, of the SPMC>\n";

/// Returns the events in a copy of the rings, or in the lines of a console.
pub fn parse(bytes: &[u8]) -> Result<Vec<Event>> {
    let words = if bytes.starts_with(&MAGIC.to_le_bytes()) {
        let words = bytes.as_chunks().0.iter().copied();
        words.map(u64::from_le_bytes).collect()
    } else {
        printed(&String::from_utf8_lossy(bytes))?
    };
    Ok(with_the_normal_world(records(&words)?))
}

/// Returns the words that a console shows. Those that are not shown are zero.
fn printed(text: &str) -> Result<Vec<u64>> {
    let mut all = Vec::new();
    for line in text
        .lines()
        .filter_map(|line| Some(line.split_once(PRINTED)?.1))
    {
        let words = line
            .split_whitespace()
            .map(|word| u64::from_str_radix(word, 16));
        let words: Vec<_> = words
            .collect::<Result<_, _>>()
            .with_context(|| line.to_string())?;
        let [first, words @ ..] = words.as_slice() else {
            bail!("no words: {line}");
        };
        let end = usize::try_from(*first)? + words.len();
        ensure!(end < 1 << 24, "no ring has so many words: {line}");
        all.resize(all.len().max(end), 0);
        all[end - words.len()..end].copy_from_slice(words);
    }
    // The last record may end with zeros.
    all.resize(all.len() + RECORD, 0);
    Ok(all)
}

/// Returns the records of all PEs in the order of time.
fn records(words: &[u64]) -> Result<Vec<Record>> {
    let [MAGIC, pes, length, _, ..] = *words else {
        bail!("this is no copy of the rings");
    };
    let length = usize::try_from(length)?;
    ensure!(length < 1 << 20, "no ring has {length} records");
    let mut all = Vec::new();
    let parts = words.get(HEAD..).unwrap_or_default();
    for part in parts
        .chunks(1 + length * RECORD)
        .take(usize::try_from(pes)?)
    {
        let Some((written, part)) = part.split_first() else {
            continue;
        };
        let slots: Vec<_> = part.as_chunks::<RECORD>().0.iter().collect();
        let written = usize::try_from(*written)?;
        for n in written.saturating_sub(length)..written {
            // A copy may end early.
            if let Some(slot) = slots.get(n % length) {
                all.push(one(slot)?);
            }
        }
    }
    all.sort_by_key(|record| record.time);
    Ok(all)
}

fn one(words: &[u64; RECORD]) -> Result<Record> {
    let [first, time, tag, x @ ..] = *words;
    Ok(Record {
        kind: kind(first)?,
        pe: (first >> 16) as usize & 0xffff,
        time,
        executed: Count::default(),
        tag,
        frame: SmcFrame { x },
    })
}

/// Holds what is known of a PE.
#[derive(Default)]
struct Pe {
    /// The SPMC has made a call to EL3.
    calls_el3: bool,
    /// The Normal world has made a call.
    is_called: bool,
    /// When control passed last, and to whom: whether to the SPMC.
    since: u64,
    is_in_spmc: bool,
    spmc: u64,
}

/// Adds the calls of the Normal world and their ends, and counts ticks in place of instructions.
fn with_the_normal_world(records: Vec<Record>) -> Vec<Event> {
    let mut pes: HashMap<usize, Pe> = HashMap::new();
    let mut events = Vec::new();
    for mut record in records {
        let pe = pes.entry(record.pe).or_default();
        if pe.is_in_spmc {
            pe.spmc += record.time - pe.since;
        }
        pe.since = record.time;
        pe.is_in_spmc = matches!(record.kind, Kind::ToSpmc | Kind::SpCall);
        record.executed = Count {
            all: record.time,
            spmc: pe.spmc,
        };
        let mut add = |kind| events.push(Event::Passage(Record { kind, ..record }));
        match record.kind {
            Kind::ToSpmc if std::mem::take(&mut pe.calls_el3) => add(Kind::ToSpmc),
            Kind::ToSpmc => {
                let sender = decode::sender(&record.frame).map(Who::of);
                pe.is_called = sender != Some(Who::Spmd);
                if pe.is_called {
                    add(Kind::NwdCall);
                }
                add(Kind::ToSpmc);
            }
            Kind::SpmcOut => {
                add(Kind::SpmcOut);
                if !decode::is_answer(&record.frame) {
                    pe.calls_el3 = true;
                } else if std::mem::take(&mut pe.is_called) {
                    add(Kind::ToNwd);
                }
            }
            kind => add(kind),
        }
    }
    events
}

/// Boots an SPMC with rings, whose Normal world prints them, and demands that they have the calls.
pub fn check() -> Result<()> {
    let extras = Extras {
        ring: true,
        ..Extras::default()
    };
    let components = Components::build_with(&QEMU_VIRT, Some("default"), extras)?;
    let flash = assemble(&components, &Layout::find("default")?, None)?;
    let machine = Machine {
        selection: Selection::Ping,
        ..Machine::default()
    };
    let boot = machine.boot(&flash, "trace-ring")?;
    boot.check()?;
    let lines: Vec<_> = boot.log.iter().map(|line| line.text.as_str()).collect();
    let is_told = lines.iter().any(|line| line.contains("trace ring: "));
    ensure!(is_told, "the log does not say where the rings are");
    let images = flash.parent().context("the flash image has no folder")?;
    let partitions = system::partitions(images)?;
    let trace = calls::follow(&parse(lines.join("\n").as_bytes())?, &partitions);
    let names = Writer {
        partitions: &partitions,
        is_coloured: false,
    };
    let text: String = trace.calls.iter().map(|call| names.line(call)).collect();
    for expected in EXPECTED {
        ensure!(text.contains(expected), "no `{expected}` in\n{text}");
    }
    Ok(())
}

/// Parts of lines that the test demands.
const EXPECTED: &[&str] = &[
    "sp1 -> SPMC              FFA_ID_GET() = FFA_SUCCESS_32(",
    "sp1 -> sp2               FFA_MSG_SEND_DIRECT_REQ_64(",
    "FFA_ERROR(BUSY)",
    "SPMD -> SPMC             FFA_MSG_SEND_DIRECT_REQ_32(",
    "NWd -> SPMC              FFA_PARTITION_INFO_GET(",
    "NWd -> sp2               FFA_MSG_SEND_DIRECT_REQ_64(sender=NWd, receiver=sp2, \
     x3=0x6f6c6c6568) = FFA_MSG_SEND_DIRECT_RESP_64(sender=sp2, receiver=NWd, x3=0x2",
];

#[cfg(test)]
mod tests {
    use super::*;
    use spmc::ffa::function;

    /// Returns the words of rings for two PEs with `length` records each.
    fn rings(length: usize, records: &[(usize, u64, [u64; 5])]) -> Vec<u64> {
        let part = 1 + length * RECORD;
        let mut words = vec![0; HEAD + 2 * part];
        words[..3].copy_from_slice(&[MAGIC, 2, length as u64]);
        for (pe, kind, [time, tag, x0, x1, x3]) in records {
            let own = &mut words[HEAD + pe * part..][..part];
            let at = 1 + own[0] as usize % length * RECORD;
            own[at..at + 7].copy_from_slice(&[
                (*pe as u64) << 16 | kind,
                *time,
                *tag,
                *x0,
                *x1,
                0,
                *x3,
            ]);
            own[0] += 1;
        }
        words
    }

    fn bytes(words: &[u64]) -> Vec<u8> {
        words.iter().flat_map(|word| word.to_le_bytes()).collect()
    }

    /// A direct message from the Normal world on PE 1, after work on PE 0 and older records.
    fn message() -> Vec<u64> {
        let (request, response) = (
            function::MSG_SEND_DIRECT_REQ_64.into(),
            function::MSG_SEND_DIRECT_RESP_64.into(),
        );
        rings(
            4,
            &[
                (1, 3, [1, 0, function::MSG_WAIT.into(), 0, 0]),
                (1, 2, [100, 0, request, 0x8001, 7]),
                (1, 5, [110, 1, request, 0x8001, 7]),
                (1, 4, [150, 1, response, 0x8001_0000, 8]),
                (1, 3, [155, 0, response, 0x8001_0000, 8]),
                (0, 3, [90, 0, function::MSG_WAIT.into(), 0, 0]),
            ],
        )
    }

    #[test]
    fn the_last_records_of_all_pes_become_calls_with_costs_in_ticks() {
        let trace = calls::follow(&parse(&bytes(&message())).unwrap(), &[]);
        let times: Vec<_> = trace
            .calls
            .iter()
            .map(|call| (call.pe, call.time))
            .collect();
        // The oldest record of PE 1 was overwritten.
        assert_eq!(times, [(0, 90), (1, 100), (1, 150)]);
        let call = &trace.calls[1];
        assert_eq!(call.caller, Who::NormalWorld(spmc::id::PartitionId(0)));
        assert_eq!(call.answer.map(|answer| answer.x[3]), Some(8));
        assert_eq!(call.cost, Some(Count { all: 55, spmc: 15 }));
    }

    #[test]
    fn lines_of_a_console_are_as_good_as_memory() {
        let words = message();
        let lines = words
            .chunks(4)
            .enumerate()
            .filter(|(_, words)| words.iter().any(|w| *w != 0));
        let text: String = lines
            .map(|(n, words)| {
                let words: String = words.iter().map(|word| format!(" {word:x}")).collect();
                format!("uart0 | RING {:x}{words}\r\n", 4 * n)
            })
            .collect();
        let text = format!("TESTS 3\n{text}# 0 skipped\n");
        let [shown, kept] = [text.into_bytes(), bytes(&words)].map(|copy| parse(&copy).unwrap());
        // The last record in memory, a call of a partition, ends with zeros.
        assert_eq!(format!("{shown:?}"), format!("{kept:?}"));
        assert!(parse(b"RING 0 x").is_err());
        assert!(parse(b"nothing").is_err());
    }

    #[test]
    fn a_copy_that_ends_early_has_what_it_has() {
        let mut copy = bytes(&message());
        copy.truncate(8 * (HEAD + 1 + RECORD) + 5);
        let events = parse(&copy).unwrap();
        assert_eq!(events.len(), 1);
        copy[8 * (HEAD + 1)] = 9;
        assert!(parse(&copy).is_err());
    }
}
