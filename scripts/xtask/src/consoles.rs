//! The consoles of a boot: their lines, and what those of the test OS report.
//!
//! The Normal-world test OS uses a line protocol on UART0: first `TESTS <n>`; then for each test
//! `TEST <name> ok`, `TEST <name> fail: <why>` or `TEST <name> skip: <why>`; at the end `DONE
//! <passed> passed, <failed> failed`, after which it powers off.

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::patience::GivenUp;
use crate::symbols::{Program, Symbols};
use crate::view;

/// The consoles and the result of a boot.
#[derive(Default)]
pub struct Boot {
    /// The lines of both consoles, as displayed.
    pub log: Vec<Line>,
    /// The file below `target/logs` with the same lines.
    pub path: PathBuf,
    /// The exit status of QEMU, or the reason why it was stopped.
    pub end: Option<Result<ExitStatus, GivenUp>>,
    /// The duration of the boot.
    pub time: Duration,
    /// The longest time without a byte on any console.
    pub silence: Duration,
    /// The most memory that QEMU held, in KiB.
    pub memory: u64,
}

/// A line of a console.
pub struct Line {
    pub console: Console,
    pub text: String,
}

/// The source of a line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Console {
    /// UART0: TF-A and the Normal world.
    Uart0,
    /// UART1: the SPMC and its partitions.
    Uart1,
    /// The messages of QEMU itself.
    Qemu,
}

/// A line of the test OS's protocol.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Report {
    Count(usize),
    Test { name: String, verdict: Verdict },
    Done { passed: u32, failed: u32 },
}

/// The result of a test on the target.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verdict {
    Ok,
    Failed(String),
    Skipped(String),
}

impl Report {
    /// Parses a console line. Returns `None` if the line is not one of the protocol.
    pub fn parse(line: &str) -> Option<Self> {
        if let Some(rest) = line.strip_prefix("TEST ") {
            let (name, verdict) = rest.split_once(' ')?;
            let verdict = match verdict.split_once(": ") {
                None if verdict == "ok" => Verdict::Ok,
                Some(("fail", why)) => Verdict::Failed(why.into()),
                Some(("skip", why)) => Verdict::Skipped(why.into()),
                _ => return None,
            };
            let name = name.to_string();
            return Some(Self::Test { name, verdict });
        }
        if let Some(count) = line.strip_prefix("TESTS ") {
            return Some(Self::Count(count.parse().ok()?));
        }
        let rest = line.strip_prefix("DONE ")?;
        let (passed, failed) = rest.split_once(", ")?;
        Some(Self::Done {
            passed: passed.strip_suffix(" passed")?.parse().ok()?,
            failed: failed.strip_suffix(" failed")?.parse().ok()?,
        })
    }
}

impl Boot {
    /// Returns the reports of the test OS, in order.
    pub fn reports(&self) -> Vec<Report> {
        self.log
            .iter()
            .filter(|line| line.console == Console::Uart0)
            .filter_map(|line| Report::parse(&line.text))
            .collect()
    }

    /// Returns whether the test OS came to its end.
    pub fn is_done(&self) -> bool {
        let mut reports = self.reports().into_iter();
        reports.any(|report| matches!(report, Report::Done { .. }))
    }

    /// Prints all lines of the consoles, with the places of faults in these programs.
    pub fn print(&self, programs: &[Program]) {
        let symbols = Symbols::of(programs);
        for line in &self.log {
            println!("{line}");
            if let Some(place) = symbols.explain(&line.text) {
                println!("{}", view::place(&place));
            }
        }
    }

    /// Checks that the machine powered itself off.
    pub fn ended(&self) -> Result<()> {
        match self.end.context("it was not booted")? {
            Ok(status) => ensure!(status.success(), "QEMU failed: {status}"),
            Err(why) => bail!("given up: {why}"),
        }
        Ok(())
    }

    /// Fails unless the test OS reached its end and powered off, at least one test ran, and no test
    /// failed.
    pub fn check(&self) -> Result<()> {
        self.ended()?;
        let mut announced = None;
        let mut seen = 0;
        let mut ok = 0;
        let mut done = None;
        for report in self.reports() {
            match report {
                Report::Count(count) => announced = Some(count),
                Report::Test { verdict, .. } => {
                    seen += 1;
                    ok += u32::from(verdict == Verdict::Ok);
                }
                Report::Done { passed, failed } => done = Some((passed, failed)),
            }
        }
        let announced = announced.context("the test OS did not say how many tests it has")?;
        let (passed, failed) = done.context("the test OS did not say DONE")?;
        ensure!(failed == 0, "{failed} tests failed");
        ensure!(passed > 0, "no test ran");
        ensure!(
            seen == announced,
            "{announced} tests were announced, the console shows {seen}"
        );
        ensure!(
            ok == passed,
            "the test OS counts {passed} passed tests, the console shows {ok}"
        );
        Ok(())
    }

    /// Adds a line to the log, and to the file of the boot.
    pub fn keep(&mut self, line: Line, file: &mut fs::File) -> Result<()> {
        writeln!(file, "{line}")?;
        self.log.push(line);
        Ok(())
    }
}

impl std::fmt::Display for Line {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let console = match self.console {
            Console::Uart0 => "uart0",
            Console::Uart1 => "uart1",
            Console::Qemu => "qemu ",
        };
        write!(f, "{console} | {}", self.text)
    }
}

#[cfg(test)]
impl Boot {
    /// Makes a boot that showed these lines and ended with that status, or was given up.
    pub fn of(lines: &[&str], status: Option<i32>) -> Self {
        use std::os::unix::process::ExitStatusExt;
        let line = |text: &&str| Line {
            console: Console::Uart0,
            text: text.to_string(),
        };
        Self {
            log: lines.iter().map(line).collect(),
            end: Some(status.map_or(Err(GivenUp::Silent(Duration::ZERO)), |code| {
                Ok(ExitStatus::from_raw(code << 8))
            })),
            ..Self::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn test(name: &str, verdict: Verdict) -> Report {
        Report::Test {
            name: name.into(),
            verdict,
        }
    }

    #[test]
    fn protocol_lines_are_read() {
        let parse = Report::parse;
        assert_eq!(parse("TEST a ok"), Some(test("a", Verdict::Ok)));
        let failed = Verdict::Failed("no: answer".into());
        assert_eq!(parse("TEST a fail: no: answer"), Some(test("a", failed)));
        let skipped = Verdict::Skipped("one PE".into());
        assert_eq!(parse("TEST a skip: one PE"), Some(test("a", skipped)));
        let done = Report::Done {
            passed: 12,
            failed: 1,
        };
        assert_eq!(parse("DONE 12 passed, 1 failed"), Some(done));
        assert_eq!(parse("TESTS 13"), Some(Report::Count(13)));
    }

    #[test]
    fn other_lines_are_not() {
        for line in [
            "",
            "TEST",
            "TEST a",
            "TEST a okay",
            "DONE",
            "DONE x passed, 0 failed",
            "INFO: TEST a ok",
        ] {
            assert_eq!(Report::parse(line), None, "{line}");
        }
    }

    #[test]
    fn only_a_whole_and_clean_run_counts() {
        const DONE: &str = "DONE 1 passed, 0 failed";
        let fails = |lines: &[&str]| Boot::of(lines, Some(0)).check().is_err();
        let good = ["TESTS 2", "TEST a ok", "TEST b skip: why", DONE];
        assert!(Boot::of(&good, Some(0)).check().is_ok());
        assert!(Boot::of(&good, Some(1)).check().is_err(), "QEMU failed");
        assert!(Boot::of(&good, None).check().is_err(), "it hung");
        assert!(fails(&good[..3]), "it died midway");
        assert!(fails(&good[1..]), "the count is lost");
        assert!(fails(&["TESTS 2", "TEST a ok", DONE]), "a test is lost");
        assert!(
            fails(&["TESTS 1", "TEST a skip: why", DONE]),
            "another one is counted"
        );
        assert!(
            fails(&["TESTS 0", "DONE 0 passed, 0 failed"]),
            "nothing ran"
        );
        let failed = [
            "TESTS 2",
            "TEST a ok",
            "TEST b fail: why",
            "DONE 1 passed, 1 failed",
        ];
        assert!(fails(&failed));
    }
}
