//! `cargo xtask test`: every check, on the host and on the board.
//!
//! Fast checks come first: formatting, lints, documentation, the requirements and their tests, host
//! tests. Then each layout with a `scenario.json` is booted with each number of PEs that it names,
//! in parallel as far as the machine has processors. The output on the consoles is reported as
//! tests. The last line is the total.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, anyhow, ensure};
use libtest_mimic::Arguments;

use crate::bench::{Bench, Report};
use crate::board::{BOARDS, Board};
use crate::book::book;
use crate::build::{BARE_METAL, TARGET, cargo_command};
use crate::conformance::conformance;
use crate::consoles::{self, Boot, Verdict};
use crate::demo::{self, Variant};
use crate::fuzz;
use crate::image::{Components, assemble};
use crate::junit::{self, Case};
use crate::layout::{Layout, Scenario};
use crate::log_levels;
use crate::new_sp::{self, Language};
use crate::parallel;
use crate::places;
use crate::process::{Progress, detail, is_verbose, run, step};
use crate::qemu::Machine;
use crate::sbom;
use crate::sizes;
use crate::trace;
use crate::twice;
use crate::workspace::target;

/// Packages that can be built for the target only.
const ON_TARGET: &[&str] = &["platform-aarch64", "guest", "partition", "signer"];

/// Texts that no console of any boot may show: a PE came near the end of its stack at EL2, or the
/// engine found one of its invariants broken.
const FORBIDDEN: &[&str] = &["bytes of its stack: fewer than", "invariant broken"];

/// Numbers of PEs for a scenario that names none.
const SMP: &[u32] = &[4];

/// The number of tests with each result, and each of them.
#[derive(Default)]
struct Tally {
    passed: usize,
    failed: usize,
    ignored: usize,
    cases: Vec<Case>,
    /// A part of the names of the checks that run.
    only: String,
}

/// Runs the checks, or those whose names contain `only`. Without `fast` runs those on QEMU, too;
/// with `systems` runs each demo, too. The result of each is written to the file `junit`, if there
/// is one.
pub fn test(fast: bool, systems: bool, only: &str, junit: Option<&Path>) -> Result<ExitCode> {
    let start = Instant::now();
    let mut tally = Tally {
        only: only.to_string(),
        ..Tally::default()
    };
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
    tally.check("licences and sources of crates", || sbom::judge().map(drop));
    tally.check("the requirements and their tests", || conformance(true));
    tally.check("the book and its links", || book(true).map(drop));
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
        tally.board_tests()?;
    }
    if !fast {
        tally.check("a second build elsewhere is equal", twice::check);
        tally.check("a trace of a boot", || trace::check(&Components::build()?));
        tally.check("the log at each level", log_levels::check);
        tally.check("a ring of calls", trace::check_ring);
        tally.check("the place of a fault of the SPMC", places::of_spmc);
        tally.check("a new partition in Rust", || {
            new_sp::try_out(Language::Rust)
        });
        tally.check("a new partition in C", || new_sp::try_out(Language::C));
    }
    if systems {
        for demo in demo::DEMOS {
            let what = format!("demo {}", demo.name);
            tally.check(&what, || demo.run(&Variant::default()));
        }
        let fire = Variant {
            has_fire: true,
            ..Variant::default()
        };
        for demo in demo::DEMOS.iter().filter(|demo| demo.has_fire()) {
            let what = format!("demo {} under fire", demo.name);
            tally.check(&what, || demo.run(&fire));
        }
    }

    ensure!(
        tally.passed + tally.failed > 0,
        "no check has a name with `{only}`"
    );
    if let Some(file) = junit {
        let report = junit::report(&tally.cases, start.elapsed());
        fs::write(file, report).with_context(|| format!("cannot write {}", file.display()))?;
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
    fn wants(&self, name: &str) -> bool {
        name.contains(&self.only)
    }

    /// Runs a check that counts as one test.
    fn check(&mut self, what: &str, work: impl FnOnce() -> Result<()>) {
        if !self.wants(what) {
            return;
        }
        let start = Instant::now();
        let mut case = Case::new("checks", what);
        match step(what, work) {
            Ok(()) => self.passed += 1,
            Err(error) => {
                println!("{what}: {error:#}");
                self.failed += 1;
                case.verdict = Verdict::Failed(format!("{error:#}"));
            }
        }
        case.time = start.elapsed();
        self.cases.push(case);
    }

    /// Runs `cargo test` and counts its result lines while it prints. Lines about tests that passed
    /// are not shown.
    fn host_tests(&mut self) -> Result<()> {
        if !self.wants("host tests") {
            return Ok(());
        }
        eprintln!("==> host tests");
        let start = Instant::now();
        let mut child = cargo_command("test")
            .args(["--no-fail-fast"])
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start cargo")?;
        let before = self.failed;
        if let Some(pipe) = child.stdout.take() {
            for line in BufReader::new(pipe).lines() {
                let line = line?;
                let case = Case::of_libtest(&line);
                if !matches!(&case, Some(case) if case.verdict == Verdict::Ok) && !is_noise(&line) {
                    println!("{line}");
                }
                self.cases.extend(case);
                self.add(&line);
            }
        }
        if !child.wait()?.success() && self.failed == before {
            println!("cargo test failed without a failed test");
            self.failed += 1;
        }
        eprintln!("    done in {:.1} s", start.elapsed().as_secs_f32());
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
        // No boot has a name with a space, and the guests of all boards take a while.
        if self.only.contains(' ') {
            return Ok(());
        }
        let mut plans = Vec::new();
        for board in BOARDS {
            plans.extend(plans_of(board, &|name| self.wants(name))?);
        }
        let mut jobs = Vec::new();
        if self.wants("bench") {
            jobs.extend([Job::Bench("first"), Job::Bench("again")]);
        }
        jobs.extend(plans.iter().map(Job::Boot));
        if jobs.is_empty() {
            return Ok(());
        }
        let bench = Bench::prepare(&Components::build()?)?;
        // The longest jobs come first, so that others run beside them.
        jobs.sort_by_key(|job| !job.is_long());
        let at_a_time = parallel::boots_at_a_time();
        let what = format!("{} boots, {at_a_time} at a time", jobs.len());
        let progress = Progress::of(jobs.len());
        let outcomes = step(&what, || {
            let outcomes = parallel::for_each(&jobs, at_a_time, |job| {
                let outcome = job.run(&bench);
                progress.advance();
                outcome
            });
            progress.end();
            Ok(outcomes)
        })?;

        let mut cases = Vec::new();
        let mut reports = Vec::new();
        for outcome in outcomes {
            match outcome? {
                Outcome::Boot(plan, boot) => {
                    let found = board_cases(&plan.name, &plan.scenario, &boot);
                    if found.iter().any(Case::has_failed) {
                        println!("{} failed. Its consoles show:", plan.name);
                        boot.print(&plan.machine.programs);
                    }
                    cases.extend(found);
                }
                Outcome::Bench(report) => reports.push(report),
            }
        }
        if !reports.is_empty() {
            cases.extend(bench_cases(&reports));
        }
        if self.only.is_empty() {
            let same = the_same_image_boots_everywhere(&plans);
            cases.push(Case::of("", "one_image_boots_on_every_board", same));
        }

        self.conclude(&cases);
        self.cases.append(&mut cases);
        Ok(())
    }
}

impl Tally {
    /// Counts tests on the board, and shows those that failed, or all of them if the user wants to
    /// see everything.
    fn conclude(&mut self, cases: &[Case]) {
        if is_verbose() {
            let arguments = Arguments {
                test_threads: Some(1),
                ..Arguments::default()
            };
            // The counts below are those of all tests.
            let _ = libtest_mimic::run(&arguments, cases.iter().map(Case::trial).collect());
        }
        for case in cases {
            match &case.verdict {
                Verdict::Ok => self.passed += 1,
                Verdict::Skipped(_) => self.ignored += 1,
                Verdict::Failed(why) => {
                    println!("{}::{} failed: {why}", case.class, case.name);
                    self.failed += 1;
                }
            }
        }
    }
}

/// A layout, to be booted with a number of PEs.
struct Plan {
    name: String,
    scenario: Scenario,
    flash: PathBuf,
    machine: Machine,
}

/// Returns the boots that the layouts of a board ask for and that have a wanted name.
fn plans_of(board: &'static Board, is_wanted: &dyn Fn(&str) -> bool) -> Result<Vec<Plan>> {
    let components = Components::build_for(board, None)?;
    let mut plans = Vec::new();
    for layout in Layout::scenarios(board)? {
        let mut flash = None;
        let counts = match layout.scenario.smp.as_slice() {
            [] => SMP,
            counts => counts,
        };
        let seeds = match layout.scenario.seeds.as_slice() {
            [] => &[0],
            seeds => seeds,
        };
        for (&smp, &seed) in counts
            .iter()
            .flat_map(|smp| seeds.iter().map(move |s| (smp, s)))
        {
            let mut name = format!("{}/smp{smp}", layout.name);
            if seed != 0 {
                name += &format!("/seed{seed}");
            }
            if !board.is_default() {
                name = format!("{}/{name}", board.name);
            }
            if !is_wanted(&name) {
                continue;
            }
            let flash = match &flash {
                Some(flash) => flash,
                None => flash.insert(assemble(&components, &layout, None)?),
            };
            let mut machine = Machine {
                board,
                smp,
                parameters: [seed, 0],
                ..Machine::default()
            };
            machine.apply(&layout);
            plans.push(Plan {
                name,
                scenario: layout.scenario.clone(),
                flash: flash.clone(),
                machine,
            });
        }
    }
    Ok(plans)
}

/// One boot of the suite. Boots run in parallel.
enum Job<'a> {
    Boot(&'a Plan),
    /// The benchmark. The word distinguishes its runs.
    Bench(&'static str),
}

/// The result of a job.
enum Outcome<'a> {
    Boot(&'a Plan, Boot),
    Bench(Result<Report>),
}

impl<'a> Job<'a> {
    fn is_long(&self) -> bool {
        match self {
            Self::Boot(plan) => plan.scenario.long,
            Self::Bench(_) => true,
        }
    }

    /// Runs the job and prints how long it took. A boot that cannot be started is an error.
    fn run(&self, bench: &Bench) -> Result<Outcome<'a>> {
        let start = Instant::now();
        match self {
            Self::Boot(plan) => {
                let boot = plan
                    .machine
                    .boot(&plan.flash, &plan.name.replace('/', "-"))?;
                detail(format_args!(
                    "{} done in {:.1} s, silent for {:.1} s at most: {}",
                    plan.name,
                    boot.time.as_secs_f32(),
                    boot.silence.as_secs_f32(),
                    plan.scenario.about
                ));
                Ok(Outcome::Boot(plan, boot))
            }
            Self::Bench(run) => {
                let report = bench.measure(run);
                let time = start.elapsed().as_secs_f32();
                detail(format_args!("benchmark, {run}: done in {time:.1} s"));
                Ok(Outcome::Bench(report))
            }
        }
    }
}

/// Returns whether a line of `cargo test` tells of no failure, and is for those who want to see
/// everything.
fn is_noise(line: &str) -> bool {
    let starts = ["running ", "test result: ok. "];
    let is_result = starts.iter().any(|start| line.starts_with(start));
    !is_verbose() && (is_result || line.is_empty())
}

/// Returns a cargo command for all packages that run on the target.
fn bare_metal(subcommand: &str) -> Command {
    let mut command = cargo_command(subcommand);
    command.args(["--quiet", "--target", TARGET]);
    command.args(["--features", BARE_METAL, "--features", "signer/bare-metal"]);
    for package in ON_TARGET {
        command.args(["--package", package]);
    }
    command
}

/// Makes `cargo doc` refuse links that lead nowhere. Links to private items are allowed: readers of
/// the source can follow them.
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

/// Checks that the flash images of each board hold the SPMC's image, byte by byte, in every plan
/// that has no image of its own.
fn the_same_image_boots_everywhere(plans: &[Plan]) -> Result<()> {
    let spmc = fs::read(target().join("spmc.bin"))?;
    for board in BOARDS {
        let plans = plans
            .iter()
            .filter(|plan| plan.machine.board.name == board.name);
        let plans: Vec<_> = plans.collect();
        ensure!(!plans.is_empty(), "{} boots no common image", board.name);
        for plan in plans {
            let flash = fs::read(&plan.flash)?;
            ensure!(
                flash.windows(spmc.len()).any(|part| part == spmc),
                "{} does not boot target/spmc.bin",
                plan.name
            );
        }
    }
    Ok(())
}

/// Turns a boot into tests: each test that the test OS reported, the end of the boot, and each
/// expected text.
fn board_cases(name: &str, scenario: &Scenario, boot: &Boot) -> Vec<Case> {
    let case = |test: &str, outcome: Result<()>| {
        let outcome = outcome.with_context(|| boot.path.display().to_string());
        Case::of(name, test, outcome)
    };
    let shown = |text: &str| boot.log.iter().any(|line| line.text.contains(text));

    let mut cases = Vec::new();
    for report in boot.reports() {
        if let consoles::Report::Test {
            name: test,
            verdict,
        } = report
        {
            cases.push(match verdict {
                Verdict::Failed(why) => case(&test, Err(anyhow!(why))),
                verdict => Case {
                    verdict,
                    ..Case::new(name, &test)
                },
            });
        }
    }
    cases.push(Case {
        time: boot.time,
        ..case("comes_to_its_end", boot.check())
    });
    for text in &scenario.expect {
        let check = || {
            ensure!(shown(text), "no console shows it");
            Ok(())
        };
        cases.push(case(&format!("shows `{text}`"), check()));
    }
    let forbidden = scenario.forbid.iter().map(String::as_str);
    for text in forbidden.chain(FORBIDDEN.iter().copied()) {
        let check = || {
            ensure!(!shown(text), "a console shows it");
            Ok(())
        };
        cases.push(case(&format!("never shows `{text}`"), check()));
    }
    let lines = boot.log.iter().map(|line| line.text.as_str());
    if let Some([needed, used]) = lines.filter_map(memory).next() {
        let check = || {
            let least = sizes::LEAST_TABLES * sizes::PAGE / 1024;
            ensure!(
                used + least <= needed,
                "{needed} KiB needed, but {used} used, and {least} for tables"
            );
            Ok(())
        };
        cases.push(case("takes no more memory than it says", check()));
    }
    cases
}

/// Returns how many KiB of memory are needed and used by the SPMC's line about that.
fn memory(line: &str) -> Option<[u64; 2]> {
    let (_, numbers) = line.split_once("memory: ")?;
    let (needed, rest) = numbers.split_once(" KiB needed, ")?;
    let (used, _) = rest.split_once(" used, ")?;
    Some([needed.parse().ok()?, used.parse().ok()?])
}

/// Turns the measurements into tests: the limits hold, and every run measures the same.
fn bench_cases(reports: &[Result<Report>]) -> Vec<Case> {
    let mut measured = Vec::new();
    for report in reports {
        match report {
            Ok(report) => measured.push(report),
            Err(error) => return vec![Case::of("", "bench", Err(anyhow!("{error:#}")))],
        }
    }
    let limits = measured
        .first()
        .into_iter()
        .flat_map(|first| first.limits());
    let mut cases: Vec<Case> = limits
        .map(|limit| Case::of("bench", limit.name, limit.check()))
        .collect();
    let repeats = measured.windows(2).all(|runs| runs[0] == runs[1]);
    let repeats = repeats
        .then_some(())
        .context("two runs measured different counts");
    cases.push(Case::of("bench", "repeats_exactly", repeats));
    cases
}
