//! `cargo xtask bench`: executed instructions per call, split by the component that executes them.
//!
//! The test OS runs each call a number of times between two marks. On the console it announces the
//! marks by `BENCH <n> <name> <iterations>`: 2n and 2n+1. The cost of the entry named `empty`,
//! which is a loop without a call, is subtracted from the others. A QEMU plugin counts instructions
//! (`tests/qemu/insn-count.c`). With `-icount` and one PE, a run repeats exactly.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use serde_json::{Map, Value, json};

use crate::consoles::{Boot, Console};
use crate::image::{Components, assemble};
use crate::layout::Layout;
use crate::plugin;
use crate::process::step;
use crate::qemu::Machine;
use crate::selection::Selection;
use crate::sizes;
use crate::workspace::target;

/// The components and their addresses in the layout of the benchmarks.
const REGIONS: [(&str, u64, u64); 5] = [
    ("nwd", 0x6000_0000, 0x7000_0000),
    ("el3", 0x0e00_0000, 0x0e10_0000),
    ("spmc", 0x0e10_0000, 0x0e30_0000),
    ("sp1", 0x0e30_0000, 0x0e40_0000),
    ("sp2", 0x0e40_0000, 0x0e50_0000),
];
const NWD: usize = 0;
const SPMC: usize = 2;

/// The kinds of system instructions of the SPMC that are counted beside, in the plugin's order.
const KINDS: [&str; 6] = ["msr", "mrs", "isb", "dsb", "tlbi", "eret"];
const MSR: usize = REGIONS.len();
const MRS: usize = MSR + 1;
const ISB: usize = MSR + 2;

/// All columns of the table.
const COLUMNS: usize = REGIONS.len() + KINDS.len();

/// Limits the cost of a call while other PEs make calls, in percent of its cost alone.
const PARALLEL: (&str, u64) = ("direct_in_parallel_percent", 105);

/// Limits the cost of each measured operation.
const LIMITS: &[(&str, u64)] = &[
    ("ffa_version", 300),
    ("ffa_features", 300),
    ("id_get_sp", 300),
    ("partition_info_get", 1_500),
    ("partition_info_get_regs", 1_500),
    ("msg_send2", 2_000),
    ("direct_nwd_sp", 560),
    ("direct_nwd_sp_32", 560),
    ("direct2_nwd_sp", 700),
    ("direct_nwd_sp2", 560),
    ("direct_sp_sp", 650),
    ("direct_refused", 350),
    // Includes the calls that the handler makes.
    ("secure_interrupt", 1_850),
    ("ns_interrupt_and_run", 740),
    ("interrupt_get", 250),
    ("interrupt_deactivate", 250),
    // One page.
    ("share_send", 2_200),
    ("share_retrieve", 2_300),
    ("share_relinquish", 1_300),
    ("share_reclaim", 1_010),
    ("lend_send", 2_200),
    ("lend_retrieve", 2_300),
    ("lend_relinquish", 1_300),
    ("lend_reclaim", 1_010),
    ("donate_send", 2_900),
    ("donate_retrieve", 3_500),
    ("donate_reclaim", 1_200),
    // 16 MiB in one constituent.
    ("share4096_send", 4_000),
    ("share4096_retrieve", 3_800),
    ("share4096_relinquish", 2_500),
    ("share4096_reclaim", 2_400),
    ("lend4096_send", 4_000),
    ("lend4096_retrieve", 3_800),
    ("lend4096_relinquish", 2_500),
    ("lend4096_reclaim", 2_400),
    // 512 separate pages, in three fragments.
    ("share512x512_send", 40_000),
    ("share512x512_retrieve", 36_000),
    ("share512x512_relinquish", 20_000),
    ("share512x512_reclaim", 20_000),
    ("lend512x512_send", 40_000),
    ("lend512x512_retrieve", 36_000),
    ("lend512x512_relinquish", 20_000),
    ("lend512x512_reclaim", 20_000),
    // 4,096 separate pages, in 17 fragments.
    ("share4096x4096_send", 300_000),
    ("share4096x4096_retrieve", 270_000),
    ("share4096x4096_relinquish", 150_000),
    ("share4096x4096_reclaim", 160_000),
    ("lend4096x4096_send", 300_000),
    ("lend4096x4096_retrieve", 270_000),
    ("lend4096x4096_relinquish", 150_000),
    ("lend4096x4096_reclaim", 160_000),
    ("boot", 360_000),
    // Hafnium takes 214 KiB.
    ("image_bytes", 304 * 1024),
    // While a partition with an image of 188 KiB is replaced, for as long as nobody is served.
    ("live_activation_start", 1_300_000),
    ("live_activation_finish", 5_800),
    // What the SPMC needs for 4 PEs and two partitions. Hafnium takes 1,216 KiB.
    ("memory_bytes", 1_188 * 1024),
];

/// Limits system instructions of the SPMC in a call, for which a core pays more than for others:
/// the name of the limit, the call, the columns that count together, and the limit.
const SYSTEM_LIMITS: &[(&str, &str, &[usize], u64)] = &[
    ("direct_nwd_sp_registers", "direct_nwd_sp", &[MSR, MRS], 112),
    ("direct_nwd_sp_isb", "direct_nwd_sp", &[ISB], 0),
    ("direct_sp_sp_registers", "direct_sp_sp", &[MSR, MRS], 128),
    ("direct_sp_sp_isb", "direct_sp_sp", &[ISB], 0),
];

/// Instructions of each region, then of each kind in the SPMC.
type Counts = [u64; COLUMNS];

/// Returns the names of the columns.
fn columns() -> impl Iterator<Item = &'static str> {
    REGIONS.into_iter().map(|(region, ..)| region).chain(KINDS)
}

/// A measured call: instructions per iteration.
#[derive(Clone, Debug, PartialEq)]
struct Row {
    name: String,
    counts: Counts,
}

/// Holds the results of a measurement.
#[derive(PartialEq)]
pub struct Report {
    rows: Vec<Row>,
    /// Direct messages on several PEs: `alone_PE`, then `of_N_PE`.
    parallel: Vec<Row>,
    /// Instructions of the SPMC before the Normal world starts.
    boot: u64,
    /// Size of the raw image.
    image_bytes: u64,
    /// Size of the image with all memory that the SPMC uses.
    memory_bytes: u64,
}

/// A limit and what was measured against it.
pub struct Limit {
    pub name: &'static str,
    pub limit: u64,
    /// The value, or `None` if it was not measured.
    pub measured: Option<u64>,
}

/// Measures, prints the table and writes `target/bench.json`.
pub fn bench() -> Result<ExitCode> {
    let components = Components::build()?;
    let bench = Bench::prepare(&components)?;
    let report = step("measuring on QEMU", || bench.measure("once"))?;
    println!("{report}");
    let path = target().join("bench.json");
    fs::write(&path, format!("{:#}\n", report.json()))?;
    println!("{}", path.display());
    let exceeded = report
        .limits()
        .into_iter()
        .any(|limit| limit.check().is_err());
    Ok(if exceeded {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

/// The benchmarks, ready to be booted.
pub struct Bench {
    plugin: PathBuf,
    parts: [Part; 3],
    image_bytes: u64,
    memory_bytes: u64,
}

/// A layout, and the test OS's selection of benchmarks for it.
struct Part {
    flash: PathBuf,
    name: &'static str,
    smp: u32,
    selection: Selection,
}

impl Bench {
    /// Builds the plugin and the flash images.
    pub fn prepare(components: &Components) -> Result<Self> {
        let part = |name, smp, selection| {
            let flash = assemble(components, &Layout::find(name)?, None)?;
            Ok::<_, anyhow::Error>(Part {
                flash,
                name,
                smp,
                selection,
            })
        };
        let executable = &components.spmc.executable;
        let counts = sizes::Counts {
            pes: 4,
            partitions: 2,
            transactions: 1024,
            vms: 8,
        };
        Ok(Self {
            plugin: plugin::build("insn-count")?,
            parts: [
                part("bench", 1, Selection::Bench)?,
                part("soak", 8, Selection::BenchParallel)?,
                part("live", 1, Selection::BenchLive)?,
            ],
            image_bytes: executable.image.len() as u64,
            memory_bytes: executable.end - executable.base + counts.needed() - sizes::IMAGE_SIZE,
        })
    }

    /// Boots the benchmarks with the counting plugin. `run` is a part of the names of the files.
    pub fn measure(&self, run: &str) -> Result<Report> {
        let [single, many, live] = &self.parts;
        let (boot, mut rows) = self.count(single, run)?;
        rows.extend(self.count(live, run)?.1);
        let (_, parallel) = self.count(many, run)?;
        Ok(Report {
            rows,
            parallel,
            boot,
            image_bytes: self.image_bytes,
            memory_bytes: self.memory_bytes,
        })
    }

    /// Boots one part. Returns the cost of the SPMC's boot and the costs of the benchmarks.
    fn count(&self, part: &Part, run: &str) -> Result<(u64, Vec<Row>)> {
        let name = format!("bench-{}-{run}", part.name);
        let counts = target().join(format!("{name}-counts.txt"));
        let mut argument = format!("{},out={}", self.plugin.display(), counts.display());
        for (_, start, end) in REGIONS {
            argument += &format!(",region={start:x}:{end:x}");
        }
        argument += &format!(",kinds={SPMC}");
        let arguments = ["-icount", "shift=0,sleep=off", "-plugin", &argument];
        let machine = Machine {
            smp: part.smp,
            selection: part.selection,
            arguments: arguments.map(String::from).to_vec(),
            ..Machine::default()
        };
        let boot = machine.boot(&part.flash, &name)?;
        let read = || {
            boot.ended()?;
            evaluate(&announced(&boot), &fs::read_to_string(&counts)?)
        };
        read().with_context(|| format!("see {}", boot.path.display()))
    }
}

/// Returns the contents of the `BENCH` lines: number, name and iterations.
fn announced(boot: &Boot) -> Vec<(u64, String, u64)> {
    boot.log
        .iter()
        .filter(|line| line.console == Console::Uart0)
        .filter_map(|line| {
            let mut words = line.text.strip_prefix("BENCH ")?.split(' ');
            let number = words.next()?.parse().ok()?;
            let name = words.next()?.to_string();
            let iterations = words.next()?.parse().ok()?;
            Some((number, name, iterations))
        })
        .collect()
}

/// Returns the cost of the SPMC's boot and, for each announced benchmark, the cost of an iteration.
fn evaluate(announced: &[(u64, String, u64)], marks: &str) -> Result<(u64, Vec<Row>)> {
    let mut at: BTreeMap<u64, Counts> = BTreeMap::new();
    let mut boot = None;
    for line in marks.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let [kind, number, counts @ ..] = words.as_slice() else {
            continue;
        };
        let counts = counts.iter().map(|count| count.parse());
        match *kind {
            "mark" => {
                let counts = counts.collect::<Result<Vec<u64>, _>>()?;
                let counts = counts.try_into();
                at.insert(
                    number.parse()?,
                    counts
                        .ok()
                        .context("a mark with another number of counts")?,
                );
            }
            "first" if number.parse() == Ok(NWD) => {
                let counts = counts.collect::<Result<Vec<u64>, _>>()?;
                boot = counts.get(SPMC).copied();
            }
            _ => {}
        }
    }
    let boot = boot.context("the Normal world never started")?;

    let mut rows = Vec::new();
    let mut empty = [0; COLUMNS];
    ensure!(!announced.is_empty(), "the test OS announced no benchmark");
    for (number, name, iterations) in announced {
        let mark = |mark| {
            at.get(&mark)
                .with_context(|| format!("benchmark {name}: mark {mark} is missing"))
        };
        let (begin, end) = (mark(2 * number)?, mark(2 * number + 1)?);
        ensure!(*iterations > 0, "benchmark {name} has no iterations");
        let counts = std::array::from_fn(|i| (end[i] - begin[i]) / iterations);
        if name == "empty" {
            empty = counts;
        } else {
            rows.push(Row {
                name: name.clone(),
                counts,
            });
        }
    }
    for row in &mut rows {
        for (count, empty) in row.counts.iter_mut().zip(empty) {
            *count = count.saturating_sub(empty);
        }
    }
    Ok((boot, rows))
}

impl Limit {
    /// Fails if a limit is exceeded.
    pub fn check(&self) -> Result<()> {
        let measured = self
            .measured
            .with_context(|| format!("{} was not measured", self.name))?;
        ensure!(
            measured <= self.limit,
            "{}: {measured}, but {} is the limit",
            self.name,
            self.limit
        );
        Ok(())
    }
}

impl Report {
    /// Returns the cost of the most expensive call on one of several PEs, in percent of its cost
    /// alone.
    fn parallel_percent(&self) -> Option<u64> {
        let cost = |row: &Row| row.counts[SPMC];
        let percent = |row: &Row| {
            let (kind, pe) = row.name.rsplit_once('_')?;
            let alone = format!("alone_{pe}");
            let alone = self.parallel.iter().find(|row| row.name == alone)?;
            (kind != "alone").then(|| (100 * cost(row)).div_ceil(cost(alone).max(1)))
        };
        self.parallel.iter().filter_map(percent).max()
    }

    /// Returns the costs of a call.
    fn row(&self, call: &str) -> Option<&Row> {
        self.rows.iter().find(|row| row.name == call)
    }

    /// Returns every limit with its measured value.
    pub fn limits(&self) -> Vec<Limit> {
        let measured = |name: &str| match name {
            "boot" => Some(self.boot),
            "image_bytes" => Some(self.image_bytes),
            "memory_bytes" => Some(self.memory_bytes),
            name if name == PARALLEL.0 => self.parallel_percent(),
            call => Some(self.row(call)?.counts[SPMC]),
        };
        let limit = |&(name, limit): &(&'static str, u64)| Limit {
            name,
            limit,
            measured: measured(name),
        };
        let system = |&(name, call, columns, limit): &(&'static str, &str, &[usize], u64)| Limit {
            name,
            limit,
            measured: self
                .row(call)
                .map(|row| columns.iter().map(|column| row.counts[*column]).sum()),
        };
        LIMITS
            .iter()
            .chain([&PARALLEL])
            .map(limit)
            .chain(SYSTEM_LIMITS.iter().map(system))
            .collect()
    }

    fn json(&self) -> Value {
        let calls: Map<String, Value> = self
            .rows
            .iter()
            .map(|row| {
                let counts = columns().zip(row.counts);
                let counts: Map<String, Value> = counts
                    .map(|(column, count)| (column.to_string(), count.into()))
                    .collect();
                (row.name.clone(), counts.into())
            })
            .collect();
        let limits: Map<String, Value> = self
            .limits()
            .iter()
            .map(|limit| {
                let value = json!({ "limit": limit.limit, "measured": limit.measured });
                (limit.name.to_string(), value)
            })
            .collect();
        json!({
            "instructions_per_call": calls,
            "spmc_boot_instructions": self.boot,
            "image_bytes": self.image_bytes,
            "memory_bytes": self.memory_bytes,
            "limits": limits,
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "instructions per call; from msr on those of the SPMC")?;
        write!(f, "{:<26}", "")?;
        for column in columns() {
            write!(f, "{column:>8}")?;
        }
        writeln!(f)?;
        for row in &self.rows {
            write!(f, "{:<26}", row.name)?;
            for count in row.counts {
                write!(f, "{count:>8}")?;
            }
            writeln!(f)?;
        }
        writeln!(f, "\n{:<36}{:>10}{:>10}", "the SPMC's", "measured", "limit")?;
        for limit in self.limits() {
            let (measured, verdict) = match limit.measured {
                None => ("?".to_string(), "  NOT MEASURED"),
                Some(value) if value > limit.limit => (value.to_string(), "  EXCEEDED"),
                Some(value) => (value.to_string(), ""),
            };
            writeln!(
                f,
                "{:<36}{measured:>10}{:>10}{verdict}",
                limit.name, limit.limit
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MARKS: &str = "\
        first 1 0 0 0 0 0 0 0 0 0 0 0\n\
        first 2 0 9 0 0 0 0 0 0 0 0 0\n\
        first 0 0 9 500 0 0 9 9 9 9 9 9\n\
        mark 0 10 9 500 0 0 9 9 9 9 9 9\n\
        mark 1 30 9 500 0 0 9 9 9 9 9 9\n\
        mark 2 40 9 500 0 0 9 9 9 9 9 9\n\
        mark 3 140 209 8500 100 0 19 29 9 39 49 59\n\
        end 150 300 9000 100 0 20 30 9 40 50 60\n";

    #[test]
    fn costs_are_per_iteration_and_without_the_loop() {
        let announced = [(0, "empty".into(), 10), (1, "call".into(), 10)];
        let (boot, rows) = evaluate(&announced, MARKS).unwrap();
        assert_eq!(boot, 500);
        let call = Row {
            name: "call".into(),
            counts: [8, 20, 800, 10, 0, 1, 2, 0, 3, 4, 5],
        };
        assert_eq!(rows, [call]);
    }

    #[test]
    fn a_benchmark_without_its_marks_is_an_error() {
        assert!(evaluate(&[(2, "lost".into(), 10)], MARKS).is_err());
        assert!(evaluate(&[], MARKS).is_err());
        assert!(evaluate(&[(0, "empty".into(), 10)], "").is_err());
    }

    #[test]
    fn limits_hold_up_to_their_value() {
        let limit = |measured| Limit {
            name: "boot",
            limit: 10,
            measured,
        };
        assert!(limit(Some(10)).check().is_ok());
        assert!(limit(Some(11)).check().is_err());
        assert!(limit(None).check().is_err());
    }
}
