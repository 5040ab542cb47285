//! `cargo xtask fuzz`: the fuzz targets of `host_tests::fuzz` under libFuzzer, on the pinned stable
//! compiler.
//!
//! The compiler's coverage instrumentation needs no unstable flag: it is an LLVM pass. Inputs that
//! reached something new stay below `target/fuzzing/corpus`, so that the next run goes on from
//! there; one that broke something is left in `target/fuzzing/crashes`, and belongs into
//! `tests/host/corpus/fuzz/TARGET` once it is mended: host tests run it from then on.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::build::{cargo_command, host};
use crate::process::{output, run};
use crate::setup;
use crate::workspace::{root, target};

/// Makes the compiler instrument all code with counters that libFuzzer reads.
const INSTRUMENTATION: &[&str] = &[
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-simplifycfg-branch-fold-threshold=0",
    "--cfg=fuzzing",
];

/// Shows libFuzzer the values that are compared, so that it finds numbers that nobody would guess.
const COMPARISONS: &str = "-Cllvm-args=-sanitizer-coverage-trace-compares";

/// How a run that shows them goes on, and one that is to be fast.
const THOROUGH: &[&str] = &["-use_value_profile=1"];
const FAST: &[&str] = &["-entropic=0", "-reduce_inputs=0"];

/// Executions of each target in `cargo xtask test`.
pub const SHORT: u64 = 5_000;

/// Which targets, and how long.
pub struct Options {
    /// One target; all, if there is none.
    pub target: Option<String>,
    /// Executions of each.
    pub runs: u64,
    /// Seed of the mutations; with the same and no corpus of earlier runs the same inputs are
    /// tried.
    pub seed: u64,
    /// Begin with the inputs in the tree alone, and keep nothing.
    pub fresh: bool,
    /// Follow edges alone: several times as many executions a second.
    pub fast: bool,
}

/// Counts what one target executed and found.
struct Outcome {
    name: String,
    executions: u64,
    seconds: u64,
    /// Edges of the program that were reached.
    edges: u64,
    /// Inputs that each reach something that no other does.
    inputs: u64,
}

/// Runs targets and prints what they reached; fails at the first that breaks.
pub fn fuzz(options: &Options) -> Result<()> {
    let program = build(options.fast)?;
    let all = targets(&program)?;
    let wanted = |name: &String| options.target.as_ref().is_none_or(|wanted| wanted == name);
    let chosen: Vec<_> = all.iter().filter(|(name, _)| wanted(name)).collect();
    ensure!(
        !chosen.is_empty(),
        "no such target; there are {}",
        all.iter()
            .map(|(name, _)| name.as_str())
            .collect::<Vec<_>>()
            .join(", ")
    );
    println!(
        "| target | executions | seconds | edges reached | inputs kept |\n|---|---|---|---|---|"
    );
    for (name, length) in chosen {
        let outcome = one(&program, name, length, options)?;
        println!(
            "| {} | {} | {} | {} | {} |",
            outcome.name, outcome.executions, outcome.seconds, outcome.edges, outcome.inputs
        );
    }
    Ok(())
}

/// Builds the targets for this machine, apart from everything else that is built, because of the
/// flags.
fn build(fast: bool) -> Result<PathBuf> {
    setup::setup_for_fuzzing()?;
    let host = host()?;
    let mut flags = INSTRUMENTATION.to_vec();
    if !fast {
        flags.push(COMPARISONS);
    }
    run(cargo_command("build")
        .args([
            "--quiet",
            "--profile=fuzz",
            "--package=fuzz",
            "--target",
            &host,
        ])
        .env("RUSTFLAGS", flags.join(" ")))?;
    Ok(target().join(&host).join("fuzz/fuzz"))
}

/// The targets, as the program lists them: name and longest input.
fn targets(program: &Path) -> Result<Vec<(String, String)>> {
    let list = output(Command::new(program).env("FUZZ_TARGET", "list"))?;
    let pairs = list.lines().filter_map(|line| line.split_once(' '));
    Ok(pairs
        .map(|(name, length)| (name.to_string(), length.to_string()))
        .collect())
}

fn one(program: &Path, name: &str, length: &str, options: &Options) -> Result<Outcome> {
    let folder = target().join("fuzzing");
    let mut corpus = folder.join("corpus").join(name);
    if options.fresh {
        corpus = folder.join("fresh").join(name);
        if corpus.exists() {
            fs::remove_dir_all(&corpus)?;
        }
    }
    let crashes = folder.join("crashes").join(name);
    fs::create_dir_all(&corpus)?;
    fs::create_dir_all(&crashes)?;
    let log = folder.join(format!("{name}.log"));
    let mut command = Command::new(program);
    command
        .env("FUZZ_TARGET", name)
        .env("FUZZ_SEEDS", &corpus)
        .arg(&corpus)
        .arg(format!("-max_len={length}"))
        .arg(format!("-runs={}", options.runs))
        .arg(format!("-seed={}", options.seed))
        .arg(format!("-artifact_prefix={}/", crashes.display()))
        .args(["-print_final_stats=1", "-timeout=20"])
        .args(if options.fast { FAST } else { THOROUGH });
    let kept = root().join("tests/host/corpus/fuzz").join(name);
    if kept.exists() {
        command.arg(kept);
    }
    let status = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(fs::File::create(&log)?)
        .status()
        .with_context(|| format!("cannot start {}", program.display()))?;
    let text = fs::read_to_string(&log)?;
    ensure!(
        status.success(),
        "{name}: {}\n(whole log: {}; the input is in {})",
        failure(&text),
        log.display(),
        crashes.display()
    );
    Ok(Outcome {
        name: name.to_string(),
        executions: statistic(&text, "stat::number_of_executed_units:"),
        seconds: last(&text, " in "),
        edges: last(&text, "cov: "),
        inputs: last(&text, "corp: "),
    })
}

/// The lines that say what went wrong.
fn failure(log: &str) -> String {
    let lines: Vec<&str> = log
        .lines()
        .filter(|line| line.contains("panicked at") || line.contains("ERROR: libFuzzer"))
        .collect();
    lines.join("\n")
}

/// The number behind `key`, 0 if it is not there.
fn statistic(log: &str, key: &str) -> u64 {
    let value = log.lines().find_map(|line| line.strip_prefix(key));
    value.map_or(0, number)
}

/// The number behind the last `key` of the log.
fn last(log: &str, key: &str) -> u64 {
    log.rsplit_once(key).map_or(0, |(_, rest)| number(rest))
}

/// The number that `text` starts with.
fn number(text: &str) -> u64 {
    let text = text.trim_start();
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    text[..end].parse().unwrap_or(0)
}
