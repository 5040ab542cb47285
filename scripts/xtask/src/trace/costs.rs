//! `demo --costs`: the times of a boot, and the instructions that the SPMC executes in it, by kind
//! of call.
//!
//! The plugin of traces sums them up while QEMU runs, since the records of all calls of a long boot
//! would fill the disk.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use spmc::ffa::FunctionId;

use super::text::grouped;
use super::{decode, machine_with};
use crate::consoles::Boot;
use crate::qemu::Machine;
use crate::workspace::target;

/// The sums of a boot under way.
pub struct Costs {
    file: PathBuf,
}

/// The way in which the SPMC was entered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Origin {
    /// By EL3: a call of the Normal world, or the start of a PE.
    El3,
    /// By a framework message of EL3.
    Framework,
    /// By a call of a partition.
    Partition,
    /// From a partition, but by no call.
    Interrupt,
}

/// The sum of all calls of one kind.
#[derive(PartialEq, Eq, Debug)]
struct Row {
    origin: Origin,
    function: u32,
    count: u64,
    instructions: u64,
}

impl Row {
    fn name(&self) -> String {
        match (self.origin, self.function) {
            (Origin::Interrupt, _) => "interrupts and faults of partitions".into(),
            (Origin::Framework, _) => "framework messages of EL3".into(),
            (Origin::El3, 0) => "boot".into(),
            (Origin::Partition, id) => format!("{} of partitions", decode::name(FunctionId(id))),
            (Origin::El3, id) => decode::name(FunctionId(id)),
        }
    }

    /// Returns whether the row is of direct requests of the Normal world.
    fn is_request(&self) -> bool {
        let name = decode::name(FunctionId(self.function));
        self.origin == Origin::El3 && name.starts_with("FFA_MSG_SEND_DIRECT_REQ")
    }
}

/// The sums of a whole boot.
#[derive(PartialEq, Eq, Debug)]
struct Sums {
    /// Instructions of all PEs.
    all: u64,
    /// Those of the SPMC.
    spmc: u64,
    /// The times, from the start of QEMU, at which the SPMC had booted, of the first and of the
    /// last direct request of the Normal world, and of the end. The requests are at 0 if there is
    /// none.
    booted: Duration,
    first: Duration,
    last: Duration,
    end: Duration,
    rows: Vec<Row>,
}

impl Sums {
    /// Parses the file of the plugin.
    fn parse(text: &str) -> Result<Self> {
        let mut sums = Self {
            all: 0,
            spmc: 0,
            booted: Duration::ZERO,
            first: Duration::ZERO,
            last: Duration::ZERO,
            end: Duration::ZERO,
            rows: Vec::new(),
        };
        let ms = |word: &str| -> Result<Duration> { Ok(Duration::from_millis(word.parse()?)) };
        for line in text.lines() {
            let words: Vec<&str> = line.split(' ').collect();
            match words[..] {
                ["executed", all, spmc] => {
                    (sums.all, sums.spmc) = (all.parse()?, spmc.parse()?);
                }
                ["times", booted, first, last, end] => {
                    (sums.booted, sums.first) = (ms(booted)?, ms(first)?);
                    (sums.last, sums.end) = (ms(last)?, ms(end)?);
                }
                ["call", origin, function, count, instructions] => sums.rows.push(Row {
                    origin: match origin {
                        "1" => Origin::Framework,
                        "2" => Origin::El3,
                        "4" => Origin::Partition,
                        _ => Origin::Interrupt,
                    },
                    function: u32::from_str_radix(function, 16)?,
                    count: count.parse()?,
                    instructions: instructions.parse()?,
                }),
                _ => anyhow::bail!("the plugin wrote `{line}`"),
            }
        }
        ensure!(sums.all > 0, "the plugin counted no instruction");
        sums.rows
            .sort_by_key(|row| std::cmp::Reverse(row.instructions));
        Ok(sums)
    }

    /// Returns the table, with the peak of QEMU's memory in KiB.
    fn table(&self, memory: u64) -> String {
        let share = |part: u64, of: u64| part as f64 * 100.0 / of.max(1) as f64;
        let mut table = format!(
            "    the SPMC had booted after {:.1} s, the end came after {:.1} s, QEMU held {} MiB\n",
            self.booted.as_secs_f32(),
            self.end.as_secs_f32(),
            memory / 1024
        );
        let requests = self.rows.iter().filter(|row| row.is_request());
        let requests: u64 = requests.map(|row| row.count).sum();
        let span = self.last.saturating_sub(self.first).as_secs_f64();
        if requests > 0 {
            let _ = writeln!(
                table,
                "    first direct request after {:.1} s, {} requests in the {span:.1} s up to the \
                 last one: {:.0} a second",
                self.first.as_secs_f32(),
                grouped(requests),
                requests as f64 / span.max(0.001)
            );
        }
        let _ = writeln!(
            table,
            "    instructions: {} of all PEs, {} of them in the SPMC: {:.3} %",
            grouped(self.all),
            grouped(self.spmc),
            share(self.spmc, self.all)
        );
        let [calls, cost, each, part] = ["calls", "instructions", "each", "share"];
        let _ = writeln!(table, "    {calls:>12} {cost:>16} {each:>10} {part:>7}");
        for row in self.rows.iter().filter(|row| row.count > 0) {
            let _ = writeln!(
                table,
                "    {:>12} {:>16} {:>10} {:>5.1} %  {}",
                grouped(row.count),
                grouped(row.instructions),
                grouped(row.instructions / row.count),
                share(row.instructions, self.spmc),
                row.name()
            );
        }
        table
    }
}

impl Costs {
    /// Makes the machine sum up what it executes in a boot of the flash image. `part` becomes a
    /// part of the name of the file.
    pub fn record(machine: &mut Machine, flash: &Path, part: &str) -> Result<Self> {
        let file = target().join(format!("costs-{part}.txt"));
        machine_with(machine, flash, &format!("costs={}", file.display()))?;
        Ok(Self { file })
    }

    /// Prints the table, after the boot.
    pub fn show(&self, boot: &Boot) -> Result<()> {
        let file = self.file.display();
        let text = fs::read_to_string(&self.file);
        let text = text.with_context(|| format!("cannot read {file}"))?;
        let sums = Sums::parse(&text).with_context(|| format!("in {file}"))?;
        print!("{}", sums.table(boot.memory));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "\
executed 2000000 4000
times 1500 2000 4000 9000
call 2 0 1 1000
call 2 8400006f 10 1000
call 2 c400008d 30 500
call 4 84000070 40 1400
call 1 8400006f 7 60
call 5 0 2 100
call 5 1 0 0
";

    #[test]
    fn sums_become_a_table() {
        let sums = Sums::parse(FILE).unwrap();
        let table = sums.table(300 * 1024);
        for text in [
            "the SPMC had booted after 1.5 s, the end came after 9.0 s, QEMU held 300 MiB",
            "first direct request after 2.0 s, 40 requests in the 2.0 s up to the last one: 20 a \
             second",
            "2,000,000 of all PEs, 4,000 of them in the SPMC: 0.200 %",
            "          40            1,400         35  35.0 %  FFA_MSG_SEND_DIRECT_RESP_32 of \
             partitions",
            "           2              100         50   2.5 %  interrupts and faults of partitions",
            "           7               60          8   1.5 %  framework messages of EL3",
            "           1            1,000      1,000  25.0 %  boot",
        ] {
            assert!(table.contains(text), "no `{text}` in\n{table}");
        }
        assert_eq!(table.lines().count(), 4 + 6, "{table}");
        let of_partitions = table.find("of partitions").unwrap();
        assert!(of_partitions < table.find("boot\n").unwrap(), "by cost");
    }

    #[test]
    fn a_boot_without_requests_has_no_rate() {
        let text = "executed 10 5\ntimes 1 0 0 2\ncall 2 0 1 5\n";
        let table = Sums::parse(text).unwrap().table(0);
        assert!(!table.contains("request"), "{table}");
    }

    #[test]
    fn a_file_of_something_else_is_refused() {
        for wrong in [
            "",
            "executed 0 0\n",
            "executed 1\n",
            "call 2 x 1 1\n",
            "hello\n",
        ] {
            assert!(Sums::parse(wrong).is_err(), "{wrong}");
        }
    }
}
