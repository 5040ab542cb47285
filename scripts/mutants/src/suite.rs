//! The tests, and the mutants that each of them reaches.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, mpsc};
use std::time::{Duration, Instant, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::project::{Program, Project, Tree};

/// A test of a program.
#[derive(Clone, PartialEq, Debug)]
pub struct Test {
    /// The index of the program among those of the tree.
    pub program: usize,
    /// The name in the program.
    pub name: String,
    /// The duration without a mutant, in milliseconds.
    pub milliseconds: u64,
    /// A lower bound: at least half of the places that the test passed.
    pub steps: u64,
    /// The mutants that the test reaches.
    pub reached: BTreeSet<u32>,
}

/// The result of a run of tests.
#[derive(Clone, PartialEq, Debug)]
pub enum Verdict {
    /// All passed.
    Passed,
    /// This test failed, or the process ended or hung while the test ran.
    Failed(String),
}

/// All tests of a tree.
pub struct Suite {
    /// The tests, fastest first.
    pub tests: Vec<Test>,
    /// A value that identifies the build of the programs.
    pub build: String,
    programs: Vec<Program>,
    environment: Vec<(String, String)>,
}

impl Suite {
    /// Runs each test by itself and records which mutants it reaches, unless that is known for this
    /// build. A test that fails is reported and left out, since it would catch every mutant.
    pub fn record(project: &Project, tree: &Tree, jobs: usize) -> Result<Self> {
        let mut suite = Self {
            tests: Vec::new(),
            build: build(&tree.programs)?,
            programs: tree.programs.clone(),
            environment: project.environment.clone(),
        };
        let file = project.products.join("reached.json");
        if let Some(tests) = read(&file, &suite.build) {
            suite.tests = tests;
            return Ok(suite);
        }
        let mut names = Vec::new();
        for (program, (path, _)) in suite.programs.iter().enumerate() {
            let output = Command::new(path)
                .args(["--list", "--format=terse"])
                .output()?;
            ensure!(
                output.status.success(),
                "{}: {}",
                path.display(),
                output.status
            );
            let list = String::from_utf8(output.stdout)?;
            let tests = list.lines().filter_map(|line| line.strip_suffix(": test"));
            let tests = tests.filter(|name| project.left_out.iter().all(|other| other != name));
            names.extend(tests.map(|name| (program, name.to_string())));
        }
        let folder = project.products.join("reached");
        fs::create_dir_all(&folder)?;
        let recorded = parallel(&names, jobs, |index, (program, name)| {
            suite.record_one(&folder.join(index.to_string()), *program, name)
        });
        let recorded: Result<Vec<_>> = recorded.into_iter().collect();
        suite.tests = recorded?.into_iter().flatten().collect();
        suite.tests.sort_by_key(|test| test.milliseconds);
        write(&file, &suite.build, &suite.tests)?;
        Ok(suite)
    }

    fn record_one(&self, log: &Path, program: usize, name: &str) -> Result<Option<Test>> {
        if log.exists() {
            fs::remove_file(log)?;
        }
        let start = Instant::now();
        let setting = ("MUTANT", format!("record:{}", log.display()));
        let verdict = self.run(program, &[name], &[setting], Duration::from_secs(3600))?;
        if verdict != Verdict::Passed {
            eprintln!("    left out, it fails without a mutant: {name}");
            return Ok(None);
        }
        let text = fs::read_to_string(log).unwrap_or_default();
        let passed = text
            .lines()
            .filter_map(|line| line.strip_prefix('~')?.parse().ok());
        Ok(Some(Test {
            program,
            name: name.into(),
            milliseconds: start.elapsed().as_millis() as u64,
            steps: passed.max().unwrap_or(1024),
            reached: text.lines().filter_map(|line| line.parse().ok()).collect(),
        }))
    }

    /// Runs tests with `mutant`, one after the other, until one fails.
    pub fn judge(&self, mutant: u32, tests: &[&Test]) -> Result<Verdict> {
        for program in 0..self.programs.len() {
            let own: Vec<_> = tests
                .iter()
                .filter(|test| test.program == program)
                .collect();
            if own.is_empty() {
                continue;
            }
            let names: Vec<&str> = own.iter().map(|test| test.name.as_str()).collect();
            let steps: u64 = own.iter().map(|test| test.steps).sum();
            let usual: u64 = own.iter().map(|test| test.milliseconds).sum();
            let settings = [
                ("MUTANT", mutant.to_string()),
                ("MUTANT_STEPS", (steps * 8 + 50_000).to_string()),
            ];
            let limit = Duration::from_secs(4) + Duration::from_millis(usual * 10);
            if let Verdict::Failed(name) = self.run(program, &names, &settings, limit)? {
                return Ok(Verdict::Failed(name));
            }
        }
        Ok(Verdict::Passed)
    }

    fn run(
        &self,
        program: usize,
        names: &[&str],
        settings: &[(&str, String)],
        limit: Duration,
    ) -> Result<Verdict> {
        let (path, folder) = &self.programs[program];
        let child = Command::new(path)
            .args(["--exact", "--test-threads=1"])
            .args(names)
            .current_dir(folder)
            .env("RUST_BACKTRACE", "0")
            .envs(self.environment.iter().cloned())
            .envs(settings.iter().cloned())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| format!("cannot start {}", path.display()))?;
        watch(child, names[0], limit)
    }
}

/// Waits for a run of tests. Ends it as soon as one test has failed or the time `limit` is over.
fn watch(mut child: Child, first: &str, limit: Duration) -> Result<Verdict> {
    let (lines, received) = mpsc::channel();
    let pipe = child
        .stdout
        .take()
        .context("the standard output of the tests")?;
    std::thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            if lines.send(line).is_err() {
                return;
            }
        }
    });
    let end = Instant::now() + limit;
    let mut last = first.to_string();
    let mut failed = false;
    while let Ok(line) = received.recv_timeout(end.saturating_duration_since(Instant::now())) {
        let Some((name, verdict)) = line
            .strip_prefix("test ")
            .and_then(|l| l.split_once(" ... "))
        else {
            continue;
        };
        last = name.into();
        failed = verdict.ends_with("FAILED");
        if failed {
            break;
        }
    }
    // Killing has no effect on a program that has ended.
    if failed || Instant::now() >= end {
        child.kill()?;
    }
    let status = child.wait()?;
    Ok(if status.success() && !failed {
        Verdict::Passed
    } else {
        Verdict::Failed(last)
    })
}

/// Works on all `items` with that many threads. Returns the results in the order of the items.
pub fn parallel<T: Sync, R: Send>(
    items: &[T],
    jobs: usize,
    work: impl Fn(usize, &T) -> R + Sync,
) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let results = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..jobs.max(1) {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(item) = items.get(index) else {
                        return;
                    };
                    let result = work(index, item);
                    if let Ok(mut results) = results.lock() {
                        results.push((index, result));
                    }
                }
            });
        }
    });
    let mut results = results.into_inner().unwrap_or_default();
    results.sort_by_key(|(index, _)| *index);
    results.into_iter().map(|(_, result)| result).collect()
}

/// Returns a value that differs for each build.
fn build(programs: &[Program]) -> Result<String> {
    let mut build = String::new();
    for (path, _) in programs {
        let written = path.metadata()?.modified()?.duration_since(UNIX_EPOCH)?;
        build += &format!("{}:{} ", path.display(), written.as_micros());
    }
    Ok(build)
}

fn write(file: &Path, build: &str, tests: &[Test]) -> Result<()> {
    let tests: Vec<Value> = tests
        .iter()
        .map(|test| {
            json!([
                test.program,
                test.name,
                test.milliseconds,
                test.steps,
                test.reached
            ])
        })
        .collect();
    fs::write(file, json!({ "build": build, "tests": tests }).to_string())?;
    Ok(())
}

fn read(file: &Path, build: &str) -> Option<Vec<Test>> {
    let value: Value = serde_json::from_str(&fs::read_to_string(file).ok()?).ok()?;
    if value["build"] != build {
        return None;
    }
    let test = |test: &Value| {
        let reached = test[4].as_array()?.iter();
        Some(Test {
            program: test[0].as_u64()? as usize,
            name: test[1].as_str()?.into(),
            milliseconds: test[2].as_u64()?,
            steps: test[3].as_u64()?,
            reached: reached
                .filter_map(|number| Some(number.as_u64()? as u32))
                .collect(),
        })
    };
    value["tests"].as_array()?.iter().map(test).collect()
}
