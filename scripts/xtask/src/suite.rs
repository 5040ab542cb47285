//! `cargo xtask test`: every check, on the host and on the board.
//!
//! Fast ones first: formatting, lints, documentation, host tests, the conformance table. Then each layout with a `scenario.json` is booted
//! with each PE count that it names, and what its consoles show is reported as tests. The last line sums everything up.

use std::io::{BufRead, BufReader};
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, anyhow, ensure};
use libtest_mimic::{Arguments, Failed, Trial};

use crate::bench;
use crate::board::{BOARDS, Board};
use crate::build::{TARGET, build_other_boards, cargo_command};
use crate::conformance::conformance;
use crate::demo;
use crate::fuzz;
use crate::image::{Components, assemble};
use crate::layout::{Layout, Scenario};
use crate::process::{run, step};
use crate::qemu::{Boot, Machine, Report, Verdict};

/// Packages that only make sense on the target.
const BARE_METAL: &[&str] = &[
    "platform-aarch64",
    "fvp-base",
    "qemu-virt",
    "qemu-sbsa",
    "guest",
];

/// PE counts of a scenario that names none.
const SMP: &[u32] = &[4];

/// How many tests ended how.
#[derive(Default)]
struct Tally {
    passed: usize,
    failed: usize,
    ignored: usize,
}

/// Runs the checks; without `fast` also those on QEMU, with `systems` also each demo.
pub fn test(fast: bool, systems: bool) -> Result<ExitCode> {
    let start = Instant::now();
    let mut tally = Tally::default();
    tally.check("formatting", || run(cargo_fmt().args(["--all", "--check"])));
    tally.check("lints of what runs on the host", || {
        run(cargo_command("clippy").args(["--quiet", "--all-targets", "--", "-D", "warnings"]))
    });
    tally.check("lints of what runs on the target", || {
        run(bare_metal("clippy").args(["--", "-D", "warnings"]))
    });
    tally.check("documentation", || {
        run(cargo_doc(cargo_command("doc").arg("--quiet")))?;
        run(cargo_doc(&mut bare_metal("doc")))
    });
    tally.check("the conformance table", || conformance(true));
    tally.host_tests()?;
    tally.check("fuzz targets, shortly", || {
        fuzz::fuzz(&fuzz::Options {
            target: None,
            runs: fuzz::SHORT,
            seed: 1,
            fresh: true,
            fast: false,
        })
    });
    if !fast {
        tally.check(
            "images of boards that cannot be run here",
            build_other_boards,
        );
        tally.board_tests()?;
    }
    if systems {
        for demo in demo::DEMOS {
            tally.check(&format!("demo {}", demo.name), || demo.run());
        }
    }

    let verdict = if tally.failed == 0 { "ok" } else { "FAILED" };
    println!(
        "\ntest result: {verdict}. {} passed; {} failed; {} ignored; 0 measured; 0 filtered out; finished in {:.2}s",
        tally.passed,
        tally.failed,
        tally.ignored,
        start.elapsed().as_secs_f32()
    );
    Ok(if tally.failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

impl Tally {
    /// One check that is a test of its own.
    fn check(&mut self, what: &str, work: impl FnOnce() -> Result<()>) {
        match step(what, work) {
            Ok(()) => self.passed += 1,
            Err(error) => {
                println!("{what}: {error:#}");
                self.failed += 1;
            }
        }
    }

    /// `cargo test`, whose result lines are counted while they pass by.
    fn host_tests(&mut self) -> Result<()> {
        eprintln!("==> host tests");
        let mut child = cargo_command("test")
            .args(["--quiet", "--no-fail-fast"])
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start cargo")?;
        let before = self.failed;
        if let Some(pipe) = child.stdout.take() {
            for line in BufReader::new(pipe).lines() {
                let line = line?;
                println!("{line}");
                self.add(&line);
            }
        }
        if !child.wait()?.success() && self.failed == before {
            println!("cargo test failed without a failed test");
            self.failed += 1;
        }
        Ok(())
    }

    /// Counts a line such as `test result: ok. 3 passed; 0 failed; 1 ignored; ...`.
    fn add(&mut self, line: &str) {
        let Some((_, counts)) = line
            .strip_prefix("test result: ")
            .and_then(|rest| rest.split_once(". "))
        else {
            return;
        };
        for part in counts.split("; ") {
            match part.split_once(' ') {
                Some((count, "passed")) => self.passed += count.parse().unwrap_or(0),
                Some((count, "failed")) => self.failed += count.parse().unwrap_or(0),
                Some((count, "ignored")) => self.ignored += count.parse().unwrap_or(0),
                _ => {}
            }
        }
    }

    fn board_tests(&mut self) -> Result<()> {
        let mut trials = Vec::new();
        for board in BOARDS {
            trials.extend(tests_on(board)?);
        }
        trials.extend(bench_trials(&Components::build()?));

        let arguments = Arguments {
            test_threads: Some(1),
            ..Arguments::default()
        };
        let conclusion = libtest_mimic::run(&arguments, trials);
        self.passed += conclusion.num_passed as usize;
        self.failed += conclusion.num_failed as usize;
        self.ignored += conclusion.num_ignored as usize;
        Ok(())
    }
}

/// Boots every layout of a board; what was seen, as tests.
fn tests_on(board: &'static Board) -> Result<Vec<Trial>> {
    let components = Components::build_for(board, None)?;
    let mut trials = Vec::new();
    for layout in Layout::scenarios(board)? {
        let flash = assemble(&components, &layout, None)?;
        let counts = match layout.scenario.smp.as_slice() {
            [] => SMP,
            counts => counts,
        };
        for &smp in counts {
            let mut name = format!("{}/smp{smp}", layout.name);
            if !board.is_default() {
                name = format!("{}/{name}", board.name);
            }
            let mut machine = Machine {
                board,
                smp,
                live: false,
                ..Machine::default()
            };
            machine.apply(&layout.scenario);
            let boot = step(
                &format!("booting {name}: {}", layout.scenario.about),
                || machine.boot(&flash, &name.replace('/', "-")),
            )?;
            trials.extend(board_trials(&name, &layout.scenario, &boot)?);
        }
    }
    Ok(trials)
}

/// A cargo command for all that runs on the target.
fn bare_metal(subcommand: &str) -> Command {
    let mut command = cargo_command(subcommand);
    command.args(["--quiet", "--target", TARGET]);
    for package in BARE_METAL {
        command.args(["--package", package]);
    }
    command
}

/// Refuses links that lead nowhere. Those to private items are for readers of the source.
fn cargo_doc(command: &mut Command) -> &mut Command {
    let flags = "-D warnings -A rustdoc::private_intra_doc_links";
    command
        .args(["--no-deps", "--document-private-items"])
        .env("RUSTDOCFLAGS", flags)
}

fn cargo_fmt() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(crate::workspace::root()).arg("fmt");
    command
}

/// What a boot showed, as tests: each that the test OS reported, the end of the boot, and each text that was expected.
fn board_trials(name: &str, scenario: &Scenario, boot: &Boot) -> Result<Vec<Trial>> {
    let trial = |test: &str, outcome: Result<()>| {
        let outcome = outcome.with_context(|| boot.path.display().to_string());
        Trial::test(format!("{name}::{test}"), || outcome.map_err(failed))
    };
    let shown = |text: &str| boot.log.iter().any(|line| line.text.contains(text));

    let mut trials = Vec::new();
    for report in boot.reports() {
        if let Report::Test { name, verdict } = report {
            trials.push(match verdict {
                Verdict::Ok => trial(&name, Ok(())),
                Verdict::Failed(why) => trial(&name, Err(anyhow!(why))),
                Verdict::Skipped(_) => trial(&name, Ok(())).with_ignored_flag(true),
            });
        }
    }
    trials.push(trial("comes_to_its_end", boot.check()));
    for text in &scenario.expect {
        let check = || {
            ensure!(shown(text), "no console shows it");
            Ok(())
        };
        trials.push(trial(&format!("shows `{text}`"), check()));
    }
    for text in &scenario.forbid {
        let check = || {
            ensure!(!shown(text), "a console shows it");
            Ok(())
        };
        trials.push(trial(&format!("never shows `{text}`"), check()));
    }
    Ok(trials)
}

/// The limits, and that a second run measures the same.
fn bench_trials(components: &Components) -> Vec<Trial> {
    let measured = bench::measure(components)
        .and_then(|first| Ok((bench::measure(components)? == first, first.limits())));
    let (repeats, limits) = match measured {
        Ok(measured) => measured,
        Err(error) => return vec![Trial::test("bench", || Err(failed(error)))],
    };
    let mut trials: Vec<Trial> = limits
        .into_iter()
        .map(|limit| {
            let name = format!("bench::{}", limit.name);
            Trial::test(name, move || limit.check().map_err(failed))
        })
        .collect();
    trials.push(Trial::test("bench::repeats_exactly", move || {
        let difference = || "two runs measured different counts".into();
        repeats.then_some(()).ok_or_else(difference)
    }));
    trials
}

fn failed(error: anyhow::Error) -> Failed {
    format!("{error:#}").into()
}
