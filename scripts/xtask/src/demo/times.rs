//! The table at the end of a demo: the times of each boot, the rate of its messages, and the memory
//! of QEMU.

use std::fmt::Write;
use std::time::Duration;

use crate::trace::{Sums, grouped};

/// A boot that passed.
pub struct Times {
    /// Which boot of the demo it is.
    pub which: String,
    /// The sums of the plugin, unless the plugin recorded a trace.
    pub sums: Option<Sums>,
    /// The time from the start of QEMU to power-off.
    pub end: Duration,
    /// The most memory that QEMU held, in KiB.
    pub memory: u64,
}

/// Returns the table of these boots.
pub fn table(boots: &[Times]) -> String {
    let widths = boots.iter().map(|boot| boot.which.len());
    let width = widths.max().unwrap_or(0).max(4);
    let mut table = format!(
        "    {:width$} {:>9} {:>13} {:>9} {:>9} {:>9} {:>9}\n",
        "boot", "SPMC up", "first request", "requests", "a second", "power-off", "memory"
    );
    for boot in boots {
        let sums = boot.sums.as_ref();
        let seconds = |time: Option<Duration>| {
            time.map_or("-".into(), |time| format!("{:.1} s", time.as_secs_f64()))
        };
        let _ = writeln!(
            table,
            "    {:width$} {:>9} {:>13} {:>9} {:>9} {:>9} {:>9}",
            boot.which,
            seconds(sums.and_then(Sums::booted)),
            seconds(sums.and_then(Sums::first_request)),
            sums.map_or("-".into(), |sums| grouped(sums.requests())),
            sums.and_then(Sums::rate)
                .map_or("-".into(), |rate| format!("{rate:.1}")),
            seconds(Some(boot.end)),
            format!("{} MiB", boot.memory / 1024)
        );
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_boot_has_a_row() {
        let boot = |which: &str, sums: Option<&str>| Times {
            which: which.into(),
            sums: sums.map(|text| Sums::parse(text).unwrap()),
            end: Duration::from_millis(9040),
            memory: 300 * 1024,
        };
        let requests = "times 1500 2000 4000\ncall 2 8400006f 1201 0\n";
        let table = table(&[
            boot("1 PEs", Some(requests)),
            boot("2 PEs, flash kept", Some("times 700 0 0\ncall 2 0 1 0\n")),
            boot("4 PEs", None),
        ]);
        let lines: Vec<Vec<&str>> = table
            .lines()
            .map(|line| line.split("  ").filter(|word| !word.is_empty()).collect())
            .collect();
        let words = |line: usize| {
            lines[line]
                .iter()
                .map(|word| word.trim())
                .collect::<Vec<_>>()
        };
        assert_eq!(lines.len(), 4, "{table}");
        assert_eq!(
            words(1),
            [
                "1 PEs", "1.5 s", "2.0 s", "1,201", "600.0", "9.0 s", "300 MiB"
            ]
        );
        assert_eq!(
            words(2),
            [
                "2 PEs, flash kept",
                "0.7 s",
                "-",
                "0",
                "-",
                "9.0 s",
                "300 MiB"
            ]
        );
        assert_eq!(words(3), ["4 PEs", "-", "-", "-", "-", "9.0 s", "300 MiB"]);
    }
}
