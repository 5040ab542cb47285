//! `cargo xtask fuzz`: the fuzz targets of `host_tests::fuzz` under libFuzzer, on the pinned stable
//! compiler.
//!
//! The compiler's coverage instrumentation is an LLVM pass and needs no unstable flag. Inputs that
//! reach something new are kept in `target/fuzzing/corpus`, from which the next run continues. An
//! input that causes a failure is left in `target/fuzzing/crashes`. After the fix it belongs in
//! `tests/host/corpus/fuzz/TARGET`, where the host tests run it from then on.

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

/// Shows libFuzzer the values in comparisons, so that it finds numbers that random changes would
/// not.
const COMPARISONS: &str = "-Cllvm-args=-sanitizer-coverage-trace-compares";

/// Flags of libFuzzer for a run with comparisons, and for a fast run.
const THOROUGH: &[&str] = &["-use_value_profile=1"];
const FAST: &[&str] = &["-entropic=0", "-reduce_inputs=0"];

/// Executions of each target in `cargo xtask test`.
pub const SHORT: u64 = 5_000;

/// Options of a fuzzing run.
pub struct Options {
    /// The target, or `None` for all targets.
    pub target: Option<String>,
    /// Executions of each target.
    pub runs: u64,
    /// Seed of the mutations. The same seed, without a corpus of earlier runs, tries the same
    /// inputs.
    pub seed: u64,
    /// Starts from the inputs in the tree only, and keeps no new inputs.
    pub fresh: bool,
    /// Observes edges only, which allows several times as many executions per second.
    pub fast: bool,
}

/// The counts of one target's run.
struct Outcome {
    name: String,
    executions: u64,
    seconds: u64,
    /// Edges of the program that were reached.
    edges: u64,
    /// Inputs each of which reaches something that no other input reaches.
    inputs: u64,
}

/// Runs targets and prints what they reached. Fails at the first failure of a target.
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

/// Builds the targets for this machine, in a folder of their own because of the flags.
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

/// Returns the targets that the program lists: name and longest input.
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

/// Returns the lines that describe the failure.
fn failure(log: &str) -> String {
    let lines: Vec<&str> = log
        .lines()
        .filter(|line| line.contains("panicked at") || line.contains("ERROR: libFuzzer"))
        .collect();
    lines.join("\n")
}

/// Returns the number after `key` at the beginning of a line, or 0 if there is none.
fn statistic(log: &str, key: &str) -> u64 {
    let value = log.lines().find_map(|line| line.strip_prefix(key));
    value.map_or(0, number)
}

/// Returns the number after the last `key` of the log.
fn last(log: &str, key: &str) -> u64 {
    log.rsplit_once(key).map_or(0, |(_, rest)| number(rest))
}

/// Returns the number at the beginning of `text`.
fn number(text: &str) -> u64 {
    let text = text.trim_start();
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    text[..end].parse().unwrap_or(0)
}
