//! `cargo xtask mutants`: judges mutants of the engine by all tests on the host.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail, ensure};
use mutants::judge::{History, Outcome, judge};
use mutants::place::Mutant;
use mutants::project::Project;
use mutants::reasons::Reasons;
use mutants::report;
use mutants::suite::Suite;

const USAGE: &str = "\
usage: cargo xtask mutants [PATH...] [--sample N [--seed S]] [--shard K/N] [--again] [--explained]
                           [--longest MS] [--jobs N] [--list]

  PATH        files or folders of spmc/src (default: those that guests can reach)
  --sample N  only N of the mutants that compile, evenly spread; --seed S picks others
  --shard K/N only the K-th of N parts, so that a long run can be had in pieces
  --again     only those that no test noticed the last time, with whatever build
  --explained run those too that have a reason: a test may have come that notices them
  --longest MS
              leave out tests that take longer than so many milliseconds: a first look
  --jobs N    so many processes at once (default: as many as there are processors)
  --list      say which mutants there are, and run none";

/// Folders of the engine that are mutated if no paths are given.
const FOLDERS: &[&str] = &[
    "boot",
    "dispatch",
    "interrupt",
    "mem",
    "mm",
    "notification",
    "partition",
];

/// The list of reasons.
const REASONS: &str = "tests/mutants.toml";

/// The accepted percentage of survivors without a reason.
const ACCEPTED: f64 = 3.0;

/// Sizes of random tests. They are small, since each test runs for many mutants.
const SIZES: &[(&str, &str)] = &[
    ("HOST_MODEL_CASES", "24"),
    ("HOST_INTERLEAVINGS", "4"),
    ("HOST_RESTLESS", "2"),
    ("HOST_POINTS", "40"),
    ("HOST_PAIRS", "20"),
    ("HOST_CORPUS_CALLS", "10000"),
    ("HOST_FUZZ_RUNS", "100"),
    ("PROPTEST_CASES", "32"),
];

/// Tests that would take minutes, because each place asks which mutant is on. Mutants that only
/// these tests would notice count as survivors.
const LEFT_OUT: &[&str] = &["two_pages_and_every_memory_call"];

#[derive(Default)]
struct Options {
    paths: Vec<String>,
    sample: Option<usize>,
    seed: u64,
    shard: Option<(usize, usize)>,
    again: bool,
    explained: bool,
    longest: Option<u64>,
    jobs: Option<usize>,
    list: bool,
}

fn main() -> ExitCode {
    match read(std::env::args().skip(1)).and_then(run) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("mutants: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn read(mut words: impl Iterator<Item = String>) -> Result<Options> {
    let mut options = Options::default();
    while let Some(word) = words.next() {
        let mut value = || {
            words
                .next()
                .with_context(|| format!("{word} needs a value"))
        };
        match word.as_str() {
            "--sample" => options.sample = Some(value()?.parse()?),
            "--seed" => options.seed = value()?.parse()?,
            "--jobs" => options.jobs = Some(value()?.parse()?),
            "--again" => options.again = true,
            "--explained" => options.explained = true,
            "--longest" => options.longest = Some(value()?.parse()?),
            "--list" => options.list = true,
            "--shard" => {
                let shard = value()?;
                let (index, count) = shard.split_once('/').context("--shard K/N")?;
                let (index, count) = (index.parse()?, count.parse()?);
                ensure!(
                    (1..=count).contains(&index),
                    "--shard {shard}: there is no such part"
                );
                options.shard = Some((index, count));
            }
            path if !path.starts_with('-') => options.paths.push(path.trim_end_matches('/').into()),
            _ => bail!("`{word}` is not understood here\n\n{USAGE}"),
        }
    }
    Ok(options)
}

fn run(options: Options) -> Result<ExitCode> {
    let root = root()?;
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or("target".into(), PathBuf::from);
    let products = root.join(target).join("mutants");
    let everywhere = options.paths.is_empty();
    let chosen = if everywhere {
        FOLDERS
            .iter()
            .map(|folder| format!("spmc/src/{folder}/"))
            .collect()
    } else {
        options.paths
    };
    let project = Project {
        root: root.clone(),
        products,
        members: vec!["spmc".into(), "tests/host".into()],
        needed: vec!["manifests".into(), "tests/cases".into()],
        chosen,
        environment: SIZES
            .iter()
            .map(|(name, value)| (name.to_string(), value.to_string()))
            .collect(),
        left_out: LEFT_OUT.iter().map(|name| name.to_string()).collect(),
    };
    eprintln!("==> writing and building the mutants");
    let tree = project.build()?;
    let viable: Vec<u32> = (1..=tree.mutants.len() as u32)
        .filter(|number| options.sample.is_none() || !tree.unviable.contains(number))
        .collect();
    let numbers = sample(&viable, options.sample, options.seed);
    let (part, parts) = options.shard.unwrap_or((1, 1));
    let mut numbers: Vec<u32> = numbers.into_iter().skip(part - 1).step_by(parts).collect();
    let history = History::read(&project, &tree);
    if options.again {
        numbers.retain(|number| !matches!(history.last(*number), Some((_, Outcome::Caught(_)))));
    }
    let mutant = |number: u32| &tree.mutants[number as usize - 1];
    if options.list {
        for number in numbers {
            let Mutant {
                file,
                line,
                operator,
                original,
                mutated,
                ..
            } = mutant(number);
            println!("{file}:{line}: {operator}\n    {original}\n    {mutated}");
        }
        return Ok(ExitCode::SUCCESS);
    }
    let jobs = options
        .jobs
        .unwrap_or_else(|| std::thread::available_parallelism().map_or(1, Into::into));
    eprintln!("==> running each test, to see which mutants it reaches");
    let mut suite = Suite::record(&project, &tree, jobs)?;
    if let Some(longest) = options.longest {
        suite.tests.retain(|test| test.milliseconds <= longest);
        suite.build += "in part";
    }
    let reasons = fs::read_to_string(root.join(REASONS)).context(REASONS)?;
    let reasons = Reasons::read(&reasons).context(REASONS)?;
    let is_explained = |number: &u32| !options.explained && reasons.explain(mutant(*number));
    let (explained, numbers): (Vec<u32>, Vec<u32>) = numbers.into_iter().partition(is_explained);
    eprintln!("==> running {} mutants", numbers.len());
    let outcomes = judge(&project, &tree, &suite, &history, &numbers, jobs)?;
    let explained = explained.iter().map(|n| (mutant(*n), Outcome::Survived));
    let judged = numbers.iter().map(|n| mutant(*n)).zip(outcomes);
    let judged: Vec<_> = judged.chain(explained).collect();

    let (folders, all) = report::tallies(&judged, &reasons);
    report::print_unexplained(&judged, &reasons);
    println!();
    report::print(&folders, &all);
    if everywhere && options.shard.is_none() && options.sample.is_none() {
        for key in reasons.stale(&tree.mutants) {
            println!("{REASONS}: no such mutant: {}", key.replace('\t', " | "));
        }
    }
    Ok(if all.percent() <= ACCEPTED {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Returns the root of the workspace that contains the current folder.
fn root() -> Result<PathBuf> {
    let here = std::env::current_dir()?;
    let is_root = |path: &&Path| path.join("spmc/src/lib.rs").exists();
    let root = here.ancestors().find(is_root);
    Ok(root
        .context("this is not below the root of the workspace")?
        .into())
}

/// Returns `count` of the numbers, evenly spread. `seed` selects the first one.
fn sample(numbers: &[u32], count: Option<usize>, seed: u64) -> Vec<u32> {
    let Some(count) = count.filter(|count| *count < numbers.len()) else {
        return numbers.to_vec();
    };
    // Fractional parts of multiples of the golden ratio are evenly spread.
    let offset = (seed as f64 * 0.618_033_988_749_895).fract();
    let step = numbers.len() as f64 / count as f64;
    let at = |index: usize| numbers[((index as f64 + offset) * step) as usize];
    (0..count).map(at).collect()
}
