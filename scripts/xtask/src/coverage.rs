//! `cargo xtask coverage`: the lines of the engine that no test on the host reaches.
//!
//! `cargo-llvm-cov` builds the tests with LLVM's source-based instrumentation, runs them, and
//! writes how often each line ran. Tests that are in the files of the engine do not count.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::process::{is_verbose, output, run, step, which};
use crate::tools::Tool;
use crate::workspace::{root, target};

const CARGO_LLVM_COV: Tool = Tool {
    name: "cargo-llvm-cov",
    version: "0.9.1",
    asking: &["llvm-cov", "--version"],
    features: &[],
};

/// The engine, from the root of the tree.
const ENGINE: &str = "spmc/src";

/// The packages whose tests run the engine.
const TESTS: &[&str] = &["spmc", "host-tests", "manifest-check"];

/// Sizes of the races that fit an instrumented build.
const SIZES: &[(&str, &str)] = &[
    ("HOST_INTERLEAVINGS", "3"),
    ("HOST_POINTS", "25"),
    ("HOST_PAIRS", "10"),
    ("HOST_RESTLESS", "1"),
];

/// How often each line of the files ran: by path from the root, then by line.
type Counts = BTreeMap<String, BTreeMap<usize, u64>>;

/// Runs the tests, prints which lines they do not reach, and in the end how many they reach.
pub fn coverage() -> Result<()> {
    let program = CARGO_LLVM_COV.get()?;
    llvm_tools()?;
    let report = target().join("coverage.lcov");
    step("running the tests of the engine, instrumented", || {
        let mut command = Command::new(program);
        command
            .current_dir(root())
            .args(["llvm-cov", "--no-fail-fast", "--quiet"])
            .args(TESTS.iter().flat_map(|package| ["--package", package]))
            .args(["--lcov", "--output-path"])
            .arg(&report)
            .envs(SIZES.iter().copied());
        if is_verbose() {
            return run(&mut command);
        }
        output(&mut command).map(drop)
    })?;
    let report = fs::read_to_string(&report)?;
    let counts = read(&report, &root())?;
    ensure!(!counts.is_empty(), "no line of {ENGINE} is in the report");
    show(&leave_tests_out(counts)?)
}

/// Fails, or installs them, unless the tools of the compiler's LLVM are there.
fn llvm_tools() -> Result<()> {
    let library = output(Command::new("rustc").args(["--print", "target-libdir"]))?;
    let programs = Path::new(library.trim()).with_file_name("bin");
    if programs.join("llvm-cov").is_file() {
        return Ok(());
    }
    let rustup = which("rustup").context("the toolchain lacks its component llvm-tools")?;
    step("installing llvm-tools", || {
        run(Command::new(rustup)
            .current_dir(root())
            .args(["component", "add", "llvm-tools"]))
    })
}

/// Reads the lines of the engine from a report in lcov's format.
fn read(report: &str, root: &Path) -> Result<Counts> {
    let mut counts = Counts::new();
    let mut file = None;
    for line in report.lines() {
        if let Some(path) = line.strip_prefix("SF:") {
            let path = Path::new(path).strip_prefix(root).ok();
            let engine = path.filter(|path| path.starts_with(ENGINE));
            file = engine.map(|path| path.display().to_string());
        } else if let (Some(file), Some(count)) = (&file, line.strip_prefix("DA:")) {
            let parts = count.split_once(',');
            let (number, count) = parts.with_context(|| format!("`{line}` is no count"))?;
            let lines = counts.entry(file.clone()).or_default();
            // A line may be in several instances of a generic function.
            *lines.entry(number.parse()?).or_default() += count.parse::<u64>()?;
        }
    }
    Ok(counts)
}

/// Removes the tests: files that are modules for tests, and what follows the first line of a module
/// for tests, which is the last item of its file.
fn leave_tests_out(mut counts: Counts) -> Result<Counts> {
    let mut sources = BTreeMap::new();
    for file in counts.keys() {
        sources.insert(file.clone(), fs::read_to_string(root().join(file))?);
    }
    for (file, text) in &sources {
        for (number, module) in test_modules(text) {
            match module.strip_suffix(';') {
                Some(name) => {
                    let folder = folder_of(file);
                    counts.remove(&format!("{folder}/{name}.rs"));
                }
                None => {
                    if let Some(lines) = counts.get_mut(file) {
                        lines.split_off(&number);
                    }
                }
            }
        }
    }
    Ok(counts)
}

/// Returns the modules that only tests have: their lines, and their names, with a semicolon if they
/// are in files of their own.
fn test_modules(text: &str) -> Vec<(usize, &str)> {
    let lines: Vec<&str> = text.lines().collect();
    let pairs = lines.array_windows().enumerate();
    pairs
        .filter_map(|(n, [attribute, item])| {
            let (_, name) = item.split_once("mod ")?;
            (*attribute == "#[cfg(test)]").then_some((n + 2, name))
        })
        .collect()
}

/// Returns the folder with the modules of a file.
fn folder_of(file: &str) -> String {
    let stem = file.trim_end_matches(".rs");
    let stem = stem.trim_end_matches("/mod").trim_end_matches("/lib");
    stem.to_string()
}

/// Prints the lines that did not run by file, and how many ran.
fn show(counts: &Counts) -> Result<()> {
    let (mut total, mut missed) = (0, 0);
    for (file, lines) in counts {
        let missing: Vec<usize> = lines
            .iter()
            .filter(|(_, count)| **count == 0)
            .map(|(number, _)| *number)
            .collect();
        total += lines.len();
        missed += missing.len();
        if missing.is_empty() {
            continue;
        }
        println!("{file}: {}", ranges(&missing));
        if is_verbose() {
            let text = fs::read_to_string(root().join(file))?;
            let texts: Vec<&str> = text.lines().collect();
            for number in missing {
                let text = texts.get(number - 1).copied().unwrap_or_default();
                println!("{number:6} {text}");
            }
        }
    }
    let reached = total - missed;
    println!(
        "{reached} of {total} lines of the engine are reached, {:.2} %; {missed} are not.",
        100.0 * reached as f64 / total as f64
    );
    Ok(())
}

/// Returns numbers in ascending order as text, neighbours as a range.
fn ranges(numbers: &[usize]) -> String {
    let mut text = Vec::new();
    for run in numbers.chunk_by(|one, next| one + 1 == *next) {
        match run {
            [first, .., last] => text.push(format!("{first}-{last}")),
            _ => text.extend(run.iter().map(usize::to_string)),
        }
    }
    text.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPORT: &str = "\
SF:/tree/spmc/src/a.rs
FN:1,f
DA:1,3
DA:2,0
DA:2,4
DA:5,0
end_of_record
SF:/tree/tests/host/src/lib.rs
DA:1,0
end_of_record
";

    #[test]
    fn lines_of_the_engine_are_counted_once() {
        let counts = read(REPORT, Path::new("/tree")).unwrap();
        let lines = BTreeMap::from([(1, 3), (2, 4), (5, 0)]);
        assert_eq!(counts, BTreeMap::from([("spmc/src/a.rs".into(), lines)]));
        assert!(read("SF:/tree/spmc/src/a.rs\nDA:1\n", Path::new("/tree")).is_err());
    }

    #[test]
    fn modules_for_tests_are_found() {
        let text = "#[cfg(test)]\nmod damage;\nfn f() {}\n\n#[cfg(test)]\nmod tests {\n}\n";
        assert_eq!(test_modules(text), [(2, "damage;"), (6, "tests {")]);
        assert!(test_modules("mod tests;\n    #[cfg(test)]\n    fn f() {}\n").is_empty());
        assert_eq!(folder_of("spmc/src/mm/mod.rs"), "spmc/src/mm");
        assert_eq!(
            folder_of("spmc/src/manifest/tree.rs"),
            "spmc/src/manifest/tree"
        );
        assert_eq!(folder_of("spmc/src/lib.rs"), "spmc/src");
    }

    #[test]
    fn neighbours_are_a_range() {
        assert_eq!(ranges(&[3, 5, 6, 7, 9]), "3 5-7 9");
    }
}
