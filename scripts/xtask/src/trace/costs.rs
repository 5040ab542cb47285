//! `demo` and `demo --costs`: the times of a boot, and the instructions that the SPMC executes in
//! it, by kind of call.
//!
//! The plugin of traces sums them up while QEMU runs, since the records of all calls of a long boot
//! would fill the disk.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::machine_with;
use super::sums::Sums;
use super::text::grouped;
use crate::qemu::Machine;
use crate::workspace::target;

/// The sums of a boot under way.
pub struct Costs {
    file: PathBuf,
}

/// Chooses what is summed up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Summed {
    /// The times of direct requests and their number, which hardly slows QEMU down.
    Times,
    /// The instructions of all kinds of calls, too.
    Instructions,
}

impl Costs {
    /// Makes the machine sum up what it executes in a boot of the flash image. `part` becomes a
    /// part of the name of the file.
    pub fn record(machine: &mut Machine, flash: &Path, part: &str, summed: Summed) -> Result<Self> {
        let file = target().join(format!("costs-{part}.txt"));
        let argument = match summed {
            Summed::Times => "times",
            Summed::Instructions => "costs",
        };
        machine_with(machine, flash, &format!("{argument}={}", file.display()))?;
        Ok(Self { file })
    }

    /// Returns the sums, after the boot.
    pub fn read(&self) -> Result<Sums> {
        let file = self.file.display();
        let text = fs::read_to_string(&self.file);
        let text = text.with_context(|| format!("cannot read {file}"))?;
        Sums::parse(&text).with_context(|| format!("in {file}"))
    }
}

/// Returns the table of instructions.
pub fn table(sums: &Sums) -> String {
    let share = |part: u64, of: u64| part as f64 * 100.0 / of.max(1) as f64;
    let mut table = format!(
        "    instructions: {} of all PEs, {} of them in the SPMC: {:.3} %\n",
        grouped(sums.all),
        grouped(sums.spmc),
        share(sums.spmc, sums.all)
    );
    let [calls, cost, each, part] = ["calls", "instructions", "each", "share"];
    let _ = writeln!(table, "    {calls:>12} {cost:>16} {each:>10} {part:>7}");
    for row in sums.rows.iter().filter(|row| row.count > 0) {
        let _ = writeln!(
            table,
            "    {:>12} {:>16} {:>10} {:>5.1} %  {}",
            grouped(row.count),
            grouped(row.instructions),
            grouped(row.instructions / row.count),
            share(row.instructions, sums.spmc),
            row.name()
        );
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::sums::tests::FILE;

    #[test]
    fn sums_become_a_table() {
        let sums = Sums::parse(FILE).unwrap();
        let table = table(&sums);
        for text in [
            "2,000,000 of all PEs, 4,000 of them in the SPMC: 0.200 %",
            "          40            1,400         35  35.0 %  FFA_MSG_SEND_DIRECT_RESP_32 of \
             partitions",
            "           2              100         50   2.5 %  interrupts and faults of partitions",
            "           7               60          8   1.5 %  framework messages of EL3",
            "           1            1,000      1,000  25.0 %  boot",
        ] {
            assert!(table.contains(text), "no `{text}` in\n{table}");
        }
        assert_eq!(table.lines().count(), 2 + 6, "{table}");
        let of_partitions = table.find("of partitions").unwrap();
        assert!(of_partitions < table.find("boot\n").unwrap(), "by cost");
    }
}
