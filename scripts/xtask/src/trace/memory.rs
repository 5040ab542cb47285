//! Who has which memory, at each moment of a run at which that changes: read from the translation
//! tables of the partitions, and, for the Normal world, from the transactions of the trace.
//!
//! The tables are those that hardware walks, with the state of each page in the bits for software,
//! so that a map shows what is enforced. Every address is mapped to itself.

use std::collections::{BTreeMap, HashMap};

use spmc::addr::World;
use spmc::ffa::function::*;
use spmc::id::PartitionId;
use spmc::manifest::config::{Permissions, SpmcManifest};
use spmc::mm::{Leaf, State};

use super::calls::{Call, Trace, Who};
use super::decode::{Field, Value};
use super::record::{Event, Record, Roots};
use super::system::Partition;

const PAGE: u64 = 4096;
const ADDRESS: u64 = 0x0000_ffff_ffff_f000;

/// The relation of somebody to pages.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Access {
    pub state: State,
    pub permissions: Permissions,
    pub is_device: bool,
}

/// Pages in a row to which somebody has the same relation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Run {
    pub base: u64,
    pub end: u64,
    pub access: Access,
}

/// Somebody with memory.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Holder {
    pub who: Who,
    pub runs: Vec<Run>,
}

impl Holder {
    /// Returns the relation to the page at an address, if there is one.
    pub fn at(&self, address: u64) -> Option<&Access> {
        let index = self.runs.partition_point(|run| run.end <= address);
        let run = self.runs.get(index).filter(|run| run.base <= address);
        run.map(|run| &run.access)
    }
}

/// The memory at one moment.
#[derive(Clone, Debug)]
pub struct Frame {
    /// Instructions that all PEs had executed.
    pub time: u64,
    /// The place in the list of calls of the transaction that led here, if one did.
    pub call: Option<usize>,
    /// The Normal world first, then the SPMC and the partitions.
    pub holders: Vec<Holder>,
}

/// Memory with translation tables, under construction.
#[derive(Default)]
struct Tables {
    pages: HashMap<u64, Vec<u8>>,
    roots: BTreeMap<u64, Roots>,
}

impl Tables {
    fn write(&mut self, address: u64, bytes: &[u8]) {
        let page = self.pages.entry(address & !(PAGE - 1)).or_default();
        page.resize(PAGE as usize, 0);
        let at = (address % PAGE) as usize;
        if let Some(to) = page.get_mut(at..at + bytes.len()) {
            to.copy_from_slice(bytes);
        }
    }

    fn entry(&self, table: u64, index: u64) -> u64 {
        let address = table + 8 * index;
        let page = self.pages.get(&(address & !(PAGE - 1)));
        let at = (address % PAGE) as usize;
        let word = page.and_then(|page| page.get(at..at + 8)?.try_into().ok());
        word.map_or(0, u64::from_le_bytes)
    }

    /// Returns what a partition has, in ascending order.
    fn runs(&self, roots: &Roots) -> Vec<Run> {
        let mut leaves = Vec::new();
        if roots.is_el0 {
            for world in [World::Secure, World::NonSecure] {
                self.walk(roots.ttbr0, roots.tcr, Some(world), &mut leaves);
            }
        } else {
            self.walk(roots.vsttbr, roots.vstcr, None, &mut leaves);
            self.walk(roots.vttbr, roots.vtcr, None, &mut leaves);
        }
        leaves.sort_by_key(|run| run.base);
        joined(leaves)
    }

    /// Walks tables whose root and control registers are given. In the tables of one IPA space of
    /// stage 2, every leaf counts; in those of stage 1, the leaves of a world.
    fn walk(&self, root: u64, control: u64, stage1: Option<World>, to: &mut Vec<Run>) {
        let bits = 64 - (control & 0x3f);
        // Stage 2 says where walks start (SL0); for stage 1 that follows from the size.
        let level = match stage1 {
            Some(_) if bits > 39 => 0,
            Some(_) => 1,
            None => 2_u64.saturating_sub(control >> 6 & 0b11),
        };
        let root = root & ADDRESS & !1;
        let entries = 1_u64 << bits.saturating_sub(shift(level));
        self.table(root, level, 0, entries, stage1, to);
    }

    fn table(
        &self,
        table: u64,
        level: u64,
        base: u64,
        entries: u64,
        stage1: Option<World>,
        to: &mut Vec<Run>,
    ) {
        for index in 0..entries {
            let raw = self.entry(table, index);
            let at = base + (index << shift(level));
            if level < 3 && raw & 0b11 == 0b11 {
                self.table(raw & ADDRESS, level + 1, at, 512, stage1, to);
                continue;
            }
            let leaf = Leaf::of_descriptor(raw, stage1);
            let Some(state) = leaf.state() else {
                continue;
            };
            let attributes = leaf.attributes();
            to.push(Run {
                base: at,
                end: at + (1 << shift(level)),
                access: Access {
                    state,
                    permissions: attributes.permissions,
                    is_device: !attributes.memory.is_normal(),
                },
            });
        }
    }
}

/// Returns log2 of the bytes that an entry at a level covers.
fn shift(level: u64) -> u64 {
    12 + 9 * (3 - level)
}

/// Joins runs that follow each other.
fn joined(runs: Vec<Run>) -> Vec<Run> {
    let mut all: Vec<Run> = Vec::new();
    for run in runs {
        match all.last_mut() {
            Some(last) if last.end == run.base && last.access == run.access => last.end = run.end,
            _ => all.push(run),
        }
    }
    all
}

/// Returns the frames of a run: one for each passage after which somebody has other memory than
/// before. `own` is the memory of the SPMC.
pub fn frames(
    events: &[Event],
    trace: &Trace,
    partitions: &[Partition],
    manifest: &SpmcManifest,
    own: (u64, u64),
) -> Vec<Frame> {
    let mut tables = Tables::default();
    let mut frames: Vec<Frame> = Vec::new();
    let mut has_changed = false;
    for event in events {
        match event {
            Event::Tables(address, bytes) => {
                tables.write(*address, bytes);
                has_changed = true;
            }
            Event::Roots(roots) => {
                tables.roots.insert(roots.tag, *roots);
                has_changed = true;
            }
            Event::Passage(record) if has_changed => {
                has_changed = false;
                let mut holders = holders(&tables, record, trace, partitions, manifest);
                holders.insert(1, spmc(own));
                let before = frames.last();
                if before.is_none_or(|before| before.holders != holders) {
                    let call = cause(record, trace, before.map_or(0, |before| before.time));
                    let time = record.time;
                    frames.push(Frame {
                        time,
                        call,
                        holders,
                    });
                }
            }
            Event::Passage(_) | Event::Copy(_) => {}
        }
    }
    frames
}

fn holders(
    tables: &Tables,
    record: &Record,
    trace: &Trace,
    partitions: &[Partition],
    manifest: &SpmcManifest,
) -> Vec<Holder> {
    let made = trace
        .calls
        .iter()
        .take_while(|call| call.time <= record.time);
    let normal_world = Holder {
        who: Who::of(PartitionId::NORMAL_WORLD),
        runs: normal_world(made, manifest),
    };
    let of_partitions = tables.roots.values().map(|roots| {
        let mut all = partitions.iter();
        let found = all.find(|partition| partition.tag == roots.tag);
        Holder {
            who: found.map_or(Who::Unknown(roots.tag), |found| Who::Partition(found.id)),
            runs: tables.runs(roots),
        }
    });
    [normal_world].into_iter().chain(of_partitions).collect()
}

/// Returns the SPMC with its own memory.
fn spmc((base, end): (u64, u64)) -> Holder {
    let access = Access {
        state: State::Fixed,
        permissions: Permissions::all(),
        is_device: false,
    };
    Holder {
        who: Who::Spmc,
        runs: vec![Run { base, end, access }],
    }
}

/// Returns the place of the frame in which most pages are lent, shared or donated: the last of
/// these.
pub fn fullest(frames: &[Frame]) -> Option<usize> {
    let pages = |frame: &Frame| -> u64 {
        let runs = frame.holders.iter().flat_map(|holder| &holder.runs);
        let away = runs.filter(|run| {
            !matches!(
                run.access.state,
                State::OwnerExclusive | State::Mailbox | State::Fixed
            )
        });
        away.map(|run| run.end - run.base).sum()
    };
    (0..frames.len()).max_by_key(|n| pages(&frames[*n]))
}

/// Returns the last memory transaction on the PE of the record since the last frame.
fn cause(record: &Record, trace: &Trace, since: u64) -> Option<usize> {
    let made = trace.calls.iter().enumerate();
    let made = made.take_while(|(_, call)| call.time <= record.time);
    let is_cause = |call: &Call| call.pe == record.pe && changes(call);
    let found = made.filter(|(_, call)| call.time > since && is_cause(call));
    found.last().map(|(index, _)| index)
}

/// Returns whether a call may change who has which memory.
fn changes(call: &Call) -> bool {
    matches!(
        call.frame.function().0,
        MEM_DONATE_32
            | MEM_DONATE_64
            | MEM_LEND_32
            | MEM_LEND_64
            | MEM_SHARE_32
            | MEM_SHARE_64
            | MEM_RETRIEVE_REQ_32
            | MEM_RETRIEVE_REQ_64
            | MEM_RELINQUISH
            | MEM_RECLAIM
            | MEM_OP_RESUME
            | MEM_FRAG_RX
            | MEM_FRAG_TX
            | MEM_PERM_SET_32
            | MEM_PERM_SET_64
            | RXTX_MAP_32
            | RXTX_MAP_64
            | RXTX_UNMAP
    )
}

/// Returns the memory of the Normal world: what the manifest says, less what the calls so far have
/// taken from it.
fn normal_world<'c>(calls: impl Iterator<Item = &'c Call>, manifest: &SpmcManifest) -> Vec<Run> {
    let whole = [
        (&manifest.ns_memory, false),
        (&manifest.ns_device_memory, true),
    ];
    let mut runs = Vec::new();
    for (ranges, is_device) in whole {
        runs.extend(ranges.iter().map(|range| Run {
            base: range.base().raw(),
            end: range.end().raw(),
            access: Access {
                state: State::OwnerExclusive,
                permissions: Permissions::all(),
                is_device,
            },
        }));
    }
    runs.sort_by_key(|run| run.base);
    let mut sent: BTreeMap<u64, (State, Vec<(u64, u64)>)> = BTreeMap::new();
    for call in calls.filter(|call| call.answer.is_some()) {
        let (arguments, results) = (call.arguments(), call.results());
        let handle = handle(&results).or_else(|| handle(&arguments));
        let is_done = call
            .answer
            .is_some_and(|answer| answer.function().0 != ERROR);
        let Some(handle) = handle.filter(|_| is_done) else {
            continue;
        };
        let state = match call.frame.function().0 {
            MEM_SHARE_32 | MEM_SHARE_64 => State::OwnerShared,
            MEM_LEND_32 | MEM_LEND_64 => State::OwnerNoAccess,
            MEM_DONATE_32 | MEM_DONATE_64 => State::Ceded,
            MEM_FRAG_TX => {
                if let Some((_, more)) = sent.get_mut(&handle) {
                    more.extend(ranges(&arguments));
                }
                continue;
            }
            MEM_RECLAIM => {
                sent.remove(&handle);
                continue;
            }
            _ => continue,
        };
        if matches!(call.caller, Who::NormalWorld(_)) {
            sent.insert(handle, (state, ranges(&arguments)));
        }
    }
    for (state, ranges) in sent.values() {
        for range in ranges {
            runs = cut(runs, *range, *state);
        }
    }
    joined(runs)
}

/// Gives a part of the runs another state.
fn cut(runs: Vec<Run>, (base, end): (u64, u64), state: State) -> Vec<Run> {
    let mut all = Vec::new();
    for run in runs {
        let (from, to) = (base.clamp(run.base, run.end), end.clamp(run.base, run.end));
        let access = Access {
            state,
            ..run.access
        };
        let parts = [
            (run.base, from, run.access),
            (from, to, access),
            (to, run.end, run.access),
        ];
        let parts = parts.into_iter().filter(|(base, end, _)| base < end);
        all.extend(parts.map(|(base, end, access)| Run { base, end, access }));
    }
    all
}

fn handle(fields: &[Field]) -> Option<u64> {
    fields.iter().find_map(|field| match field.value {
        Value::Handle(handle) => Some(handle.bits()),
        _ => None,
    })
}

fn ranges(fields: &[Field]) -> Vec<(u64, u64)> {
    let range = |value: &Value| match value {
        Value::Range(base, end) => Some((*base, *end)),
        _ => None,
    };
    let lists = fields.iter().filter_map(|field| match &field.value {
        Value::List(values) => Some(values),
        _ => None,
    });
    lists.flatten().filter_map(range).collect()
}

#[cfg(test)]
mod tests {
    use spmc::ffa::SmcFrame;

    use super::super::calls::follow;
    use super::super::record::{Count, Kind};
    use super::*;

    /// A leaf of stage 2 as hardware has it: read, write, never execute, write-back.
    fn leaf(address: u64, state: State, bits: u64) -> u64 {
        let memory = 0b1111 << 2 | 0b11 << 8;
        address | memory | 1 << 54 | 1 << 10 | 0b11 << 6 | (state as u64) << 55 | bits
    }

    fn tables(words: &[(u64, u64, u64)]) -> Tables {
        let mut tables = Tables::default();
        for (table, index, word) in words {
            tables.write(table + 8 * index, &word.to_le_bytes());
        }
        tables
    }

    /// T0SZ of 39 bits, from level 1 on.
    const CONTROL: u64 = 1 << 6 | 25;

    fn roots(vsttbr: u64, vttbr: u64) -> Roots {
        Roots {
            tag: 1,
            vsttbr,
            vttbr,
            vtcr: CONTROL,
            vstcr: CONTROL,
            ..Roots::default()
        }
    }

    fn access(state: State) -> Access {
        Access {
            state,
            permissions: Permissions::READ | Permissions::WRITE,
            is_device: false,
        }
    }

    #[test]
    fn pages_blocks_and_both_spaces_of_a_partition_are_found() {
        let (page, block) = (0b11, 0b01);
        let owned = State::OwnerExclusive;
        let tables = tables(&[
            // The Secure space: a table of pages below 2 MiB, behind it a block.
            (0x1000, 0, 0x2000 | 0b11),
            (0x2000, 0, 0x3000 | 0b11),
            (0x2000, 1, leaf(0x20_0000, owned, block)),
            (0x3000, 510, leaf(0x1f_e000, owned, page)),
            (0x3000, 511, leaf(0x1f_f000, owned, page)),
            (0x3000, 5, leaf(0x5000, State::OwnerNoAccess, page & !1)),
            // The Non-secure space.
            (0x4000, 1, 0x5000 | 0b11),
            (0x5000, 0, leaf(0x4000_0000, State::BorrowedShared, block)),
        ]);
        let run = |base, end, state| Run {
            base,
            end,
            access: access(state),
        };
        assert_eq!(
            tables.runs(&roots(0x1000, 0x4000)),
            [
                run(0x5000, 0x6000, State::OwnerNoAccess),
                run(0x1f_e000, 0x40_0000, owned),
                run(0x4000_0000, 0x4020_0000, State::BorrowedShared),
            ]
        );
    }

    #[test]
    fn roots_of_several_tables_are_walked_whole() {
        // 40 bits from level 1 on: two tables.
        let control = 1 << 6 | 24;
        let tables = tables(&[(0x2000, 0, leaf(1 << 39, State::Fixed, 0b01))]);
        let roots = Roots {
            vstcr: control,
            ..roots(0x1000, 0x8000)
        };
        let [run] = tables.runs(&roots)[..] else {
            panic!("one block");
        };
        assert_eq!((run.base, run.end), (1 << 39, (1 << 39) + (1 << 30)));
    }

    fn record(time: u64) -> Event {
        Event::Passage(Record {
            kind: Kind::ToSp,
            pe: 0,
            time,
            executed: Count::default(),
            tag: 1,
            frame: SmcFrame::ZERO,
        })
    }

    #[test]
    fn there_is_a_frame_for_each_change_of_memory() {
        let word =
            |index: u64, word: u64| Event::Tables(0x1000 + 8 * index, word.to_le_bytes().into());
        let block = |state| leaf(0x4000_0000, state, 0b01);
        let events = [
            Event::Roots(roots(0x1000, 0x8000)),
            word(1, block(State::OwnerExclusive)),
            record(100),
            record(200),
            // Something beside the tables.
            Event::Tables(0x9000, vec![1; 128]),
            record(300),
            word(1, block(State::OwnerShared)),
            record(400),
        ];
        let trace = follow(&events, &[]);
        let manifest = SpmcManifest::default();
        let frames = frames(&events, &trace, &[], &manifest, (0xe10_0000, 0xe20_0000));
        let times: Vec<_> = frames.iter().map(|frame| frame.time).collect();
        assert_eq!(times, [100, 400]);
        assert_eq!(fullest(&frames), Some(1));
        let [nwd, spmc, sp] = &frames[1].holders[..] else {
            panic!("three holders");
        };
        assert_eq!(
            (nwd.who, spmc.who),
            (Who::NormalWorld(PartitionId(0)), Who::Spmc)
        );
        assert_eq!(sp.runs[0].access, access(State::OwnerShared));
    }
}
