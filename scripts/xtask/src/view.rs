//! The view of a boot on the terminal: everything on the consoles, or what happens in a few lines.
//!
//! While a test runs, whatever the SPMC warns of is expected: tests attempt what must not work. A
//! warning becomes news if its test fails, and is then shown with all that the test printed.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use crate::consoles::{Console, Line, Report, Verdict};
use crate::process::is_verbose;
use crate::symbols::Symbols;

/// The lines that are shown.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum View {
    /// None.
    Nothing,
    /// Those of a test run that tell what happens, and how far it is.
    Tests,
    /// Those of the SPMC, the partitions and the Normal world.
    Consoles,
    /// Every line, as it comes. Expected warnings are marked.
    Everything,
}

impl View {
    /// Returns this view, or that of everything if the user asked for that.
    pub fn or_everything(self) -> Self {
        if is_verbose() { Self::Everything } else { self }
    }
}

/// The mark of a warning that is expected.
const EXPECTED: &str = "(expected)";

/// The longest time between two lines that tell how far a test run is, if no terminal shows it.
const PACE: Duration = Duration::from_secs(10);

/// The line with which a Normal world says that it turns the board off, and has no tests.
const IDLE: &str = "# The Normal world has nothing to do";

/// The line with which a Normal world says that it greets the partitions of somebody else, and
/// provokes nothing.
const PING: &str = "# The Normal world looks for partitions";

/// A boot as it is shown.
pub struct Screen {
    view: View,
    /// Texts of warnings that the scenario demands.
    expected: Vec<String>,
    start: Instant,
    /// When a line was last shown.
    shown: Instant,
    is_terminal: bool,
    symbols: Symbols,
    tests: Tests,
}

/// The tests so far.
#[derive(Default)]
struct Tests {
    /// The number that was announced, while tests run.
    announced: Option<usize>,
    done: usize,
    skipped: usize,
    /// Warnings of tests that passed.
    warnings: usize,
    /// The lines since the last result.
    pending: Vec<String>,
    /// Set if no test provokes warnings.
    harmless: bool,
    /// Set at the end: lines of the firmware that turns the board off follow.
    over: bool,
}

impl Screen {
    /// Begins to show a boot whose scenario demands some warnings.
    pub fn new(view: View, expected: &[String], symbols: Symbols) -> Self {
        let now = Instant::now();
        Self {
            view,
            expected: expected.to_vec(),
            start: now,
            shown: now,
            is_terminal: std::io::stdout().is_terminal(),
            symbols,
            tests: Tests::default(),
        }
    }

    /// Shows what is new by a line of a console.
    pub fn add(&mut self, line: &Line) {
        let news = match self.view {
            View::Nothing => return,
            View::Everything => self.everything(line),
            View::Consoles => self.consoles(line),
            View::Tests => self.tests(line),
        };
        self.note(line);
        if news.is_empty() {
            return self.progress();
        }
        self.shown = Instant::now();
        self.clear();
        for text in news {
            println!("{text}");
            if let Some(found) = self.symbols.explain(&text) {
                println!("{}", place(&found));
            }
        }
    }

    /// Removes the line that tells how far a test run is.
    pub fn clear(&self) {
        if self.is_terminal && self.view == View::Tests {
            print!("\r\x1b[K");
        }
    }

    fn everything(&self, line: &Line) -> Vec<String> {
        if self.tests.over && is_power_off_noise(&line.text) {
            return Vec::new();
        }
        let is_expected = is_warning(line) && self.is_expected(line);
        let mark = if is_expected { EXPECTED } else { "" };
        vec![format!("{line} {mark}").trim_end().to_string()]
    }

    fn consoles(&self, line: &Line) -> Vec<String> {
        if is_firmware(line) {
            return Vec::new();
        }
        self.everything(line)
    }

    /// Returns what is new in a test run: the steps of the boot, warnings that no test provokes,
    /// tests that fail with all that they printed, and the sum.
    fn tests(&mut self, line: &Line) -> Vec<String> {
        let text = &line.text;
        let tests = &self.tests;
        match Report::parse(text) {
            Some(Report::Count(count)) => {
                return vec![self.event(&format!("the Normal world runs {count} tests"))];
            }
            Some(Report::Test {
                name,
                verdict: Verdict::Failed(why),
            }) => {
                let mut news = vec![self.event(&format!("{name} failed: {why}"))];
                news.extend(
                    tests
                        .pending
                        .iter()
                        .map(|line| format!("           {line}")),
                );
                return news;
            }
            Some(Report::Test { .. }) => return Vec::new(),
            Some(Report::Done { passed, failed }) => {
                let Tests {
                    skipped, warnings, ..
                } = tests;
                let warned = match warnings {
                    0 => String::new(),
                    count => format!("; {count} warnings of the SPMC, as the tests expect"),
                };
                return vec![self.event(&format!(
                    "{passed} passed, {failed} failed, {skipped} skipped{warned}"
                ))];
            }
            None => {}
        }
        if let Some(version) = text.strip_prefix("NOTICE:  BL31: v") {
            let version = version.split('(').next().unwrap_or(version);
            return vec![self.event(&format!("TF-A {version} starts the SPMC"))];
        }
        if let Some(ready) = text
            .strip_prefix("[I] spmc: ")
            .filter(|text| text.contains(") is ready"))
        {
            return vec![self.event(ready)];
        }
        let is_warning = is_warning(line) && tests.announced.is_none();
        if is_warning || line.console == Console::Qemu {
            let mark = if self.is_expected(line) { EXPECTED } else { "" };
            return vec![self.event(format!("{text} {mark}").trim_end())];
        }
        Vec::new()
    }

    /// Returns whether the SPMC's warning is expected.
    fn is_expected(&self, line: &Line) -> bool {
        let demanded = self.expected.iter().any(|text| line.text.contains(text));
        let provoked = self.tests.announced.is_some() && !self.tests.harmless;
        provoked || demanded
    }

    /// Counts.
    fn note(&mut self, line: &Line) {
        let tests = &mut self.tests;
        tests.over |= line.text == IDLE;
        tests.harmless |= line.text == PING;
        match Report::parse(&line.text) {
            Some(Report::Count(count)) => tests.announced = Some(count),
            Some(Report::Test { verdict, .. }) => {
                tests.done += 1;
                tests.skipped += usize::from(matches!(verdict, Verdict::Skipped(_)));
                tests.pending.clear();
            }
            Some(Report::Done { .. }) => {
                tests.announced = None;
                tests.over = true;
            }
            None if tests.announced.is_some() => {
                tests.warnings += usize::from(is_warning(line));
                tests.pending.push(line.to_string());
            }
            None => {}
        }
    }

    /// Shows how far a test run is: at once on a terminal, otherwise from time to time.
    fn progress(&mut self) {
        let Some(count) = self.tests.announced.filter(|_| self.view == View::Tests) else {
            return;
        };
        let text = self.event(&format!("{} of {count} tests", self.tests.done));
        if self.is_terminal {
            print!("\r{text}\x1b[K");
            let _ = std::io::stdout().flush();
        } else if self.shown.elapsed() >= PACE {
            self.shown = Instant::now();
            println!("{text}");
        }
    }

    fn event(&self, text: &str) -> String {
        format!("  {:6.1} s  {text}", self.start.elapsed().as_secs_f32())
    }
}

/// Returns the line that tells the place of an instruction, below the line that names its address.
pub fn place(place: &str) -> String {
    format!("      | in {place}")
}

/// Returns whether a line is a warning or an error of the SPMC.
fn is_warning(line: &Line) -> bool {
    line.console == Console::Uart1
        && ["[W] spmc: ", "[E] spmc: "]
            .iter()
            .any(|start| line.text.starts_with(start))
}

/// Returns whether a line is one of TF-A.
fn is_firmware(line: &Line) -> bool {
    let levels = [
        "NOTICE:",
        "INFO:",
        "VERBOSE:",
        "WARNING:",
        "PANIC at PC",
        "ERROR:   QEMU System Power off",
    ];
    line.console == Console::Uart0 && levels.iter().any(|level| line.text.starts_with(level))
}

/// Returns whether TF-A prints this line while QEMU acts on the power-off request.
fn is_power_off_noise(line: &str) -> bool {
    let noise = [
        "INFO:    PSCI Power Domain Map",
        "INFO:      Domain Node",
        "INFO:      CPU Node",
        "ERROR:   QEMU System Power off",
        "PANIC at PC",
    ];
    noise.iter().any(|start| line.starts_with(start))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(console: Console, text: &str) -> Line {
        Line {
            console,
            text: text.into(),
        }
    }

    /// Returns what a view shows of a boot, without times.
    fn shown(view: View, expected: &[&str], lines: &[(Console, &str)]) -> Vec<String> {
        let expected: Vec<_> = expected.iter().map(|text| text.to_string()).collect();
        let mut screen = Screen::new(view, &expected, Symbols::of(&[]));
        let mut shown = Vec::new();
        for (console, text) in lines {
            let line = line(*console, text);
            shown.extend(match view {
                View::Tests => screen.tests(&line),
                View::Consoles => screen.consoles(&line),
                _ => screen.everything(&line),
            });
            screen.note(&line);
        }
        let without_time = |text: String| match text.split_once(" s  ") {
            Some((_, text)) => text.to_string(),
            None => text.trim_start().to_string(),
        };
        shown.into_iter().map(without_time).collect()
    }

    use Console::{Uart0, Uart1};

    const FAULT: &str = "[W] spmc: sp1 vcpu 0: read of 0x0 failed";
    const BOOT: &[(Console, &str)] = &[
        (Uart0, "INFO:    Loading image id=1 at address 0xe05b000"),
        (Uart0, "NOTICE:  BL31: v2.12.1(release):2.12.1"),
        (
            Uart1,
            "[I] spmc: sp1 (0x8001) is ready, 1 execution contexts",
        ),
        (Uart1, "[W] spmc: sp9: refused"),
        (Uart0, "TESTS 2"),
        (Uart0, "# One"),
        (Uart1, FAULT),
        (Uart0, "TEST one ok"),
        (Uart0, "# Two"),
        (Uart1, "[E] spmc: sp2 is dead"),
    ];

    #[test]
    fn a_test_run_that_passes_is_told_in_a_few_lines() {
        let end: &[_] = &[
            (Uart0, "TEST two skip: why"),
            (Uart0, "DONE 1 passed, 0 failed"),
        ];
        let expected = [
            "TF-A 2.12.1 starts the SPMC",
            "sp1 (0x8001) is ready, 1 execution contexts",
            "[W] spmc: sp9: refused",
            "the Normal world runs 2 tests",
            "1 passed, 0 failed, 1 skipped; 2 warnings of the SPMC, as the tests expect",
        ];
        assert_eq!(shown(View::Tests, &[], &[BOOT, end].concat()), expected);
        let marked = shown(View::Tests, &["sp9: refused"], BOOT);
        assert_eq!(marked[2], "[W] spmc: sp9: refused (expected)");
    }

    #[test]
    fn a_test_that_fails_is_shown_with_its_lines() {
        let shown = shown(
            View::Tests,
            &[],
            &[BOOT, &[(Uart0, "TEST two fail: no")]].concat(),
        );
        let end = [
            "two failed: no",
            "uart0 | # Two",
            "uart1 | [E] spmc: sp2 is dead",
        ];
        assert_eq!(shown[shown.len() - 3..], end);
    }

    #[test]
    fn everything_is_shown_with_expected_warnings_marked() {
        let all = shown(View::Everything, &[], BOOT);
        assert_eq!(all.len(), BOOT.len());
        assert_eq!(all[3], "uart1 | [W] spmc: sp9: refused");
        assert_eq!(all[6], format!("uart1 | {FAULT} (expected)"));
        let consoles = shown(View::Consoles, &[], BOOT);
        assert_eq!(consoles, all[2..]);
    }

    #[test]
    fn nobody_expects_the_faults_of_a_partition_that_is_greeted() {
        let greeting: &[_] = &[(Uart0, PING)];
        let all = shown(View::Consoles, &[], &[greeting, BOOT].concat());
        assert!(all.contains(&format!("uart1 | {FAULT}")), "{all:?}");
    }
}
