//! Runs each mutant against the tests that reach it.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::sync::Mutex;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::project::{Project, Tree};
use crate::suite::{Suite, Test, Verdict, parallel};

/// The result for a mutant.
#[derive(Clone, PartialEq, Debug)]
pub enum Outcome {
    /// The mutant does not compile.
    Unviable,
    /// No test reaches the place of the mutant.
    Unreached,
    /// This test failed.
    Caught(String),
    /// All tests that reach the place passed.
    Survived,
}

/// The file with the results, below the products.
const RESULTS: &str = "results.jsonl";

/// The results of earlier runs.
pub struct History {
    /// The key of each mutant.
    keys: Vec<String>,
    /// The build in which each key was last judged, and the result.
    last: HashMap<String, (String, Outcome)>,
}

impl History {
    /// Reads the results of earlier runs on the project.
    pub fn read(project: &Project, tree: &Tree) -> Self {
        let results = fs::read_to_string(project.products.join(RESULTS));
        Self {
            keys: unique_keys(tree),
            last: read(&results.unwrap_or_default()),
        }
    }

    /// Returns the build in which the mutant was last judged, and the result.
    pub fn last(&self, mutant: u32) -> Option<&(String, Outcome)> {
        self.last.get(self.key(mutant))
    }

    fn key(&self, mutant: u32) -> &str {
        &self.keys[mutant as usize - 1]
    }
}

/// Milliseconds of tests in the first process of a mutant; each further process has twice as many.
/// So a mutant that a fast test catches costs little, and so does starting processes.
const FIRST: u64 = 20;

/// Judges the mutants with these numbers. Results of an earlier run with the same build are reused.
/// Tests that caught the mutant in another build, or another mutant of the same function, run
/// first.
pub fn judge(
    project: &Project,
    tree: &Tree,
    suite: &Suite,
    history: &History,
    numbers: &[u32],
    jobs: usize,
) -> Result<Vec<Outcome>> {
    let file = project.products.join(RESULTS);
    let log = OpenOptions::new().create(true).append(true).open(&file);
    let log = Mutex::new(log.with_context(|| file.display().to_string())?);
    let neighbours = Mutex::new(HashMap::new());
    let outcomes = parallel(numbers, jobs, |index, number| {
        if tree.unviable.contains(number) {
            return Ok(Outcome::Unviable);
        }
        let before = history.last(*number);
        if let Some((build, outcome)) = before
            && *build == suite.build
        {
            return Ok(outcome.clone());
        }
        let mutant = &tree.mutants[*number as usize - 1];
        let function = (mutant.file.as_str(), mutant.function.as_str());
        let mut hints = Vec::new();
        if let Some((_, Outcome::Caught(test))) = before {
            hints.push(test.clone());
        }
        if let Ok(neighbours) = neighbours.lock() {
            hints.extend(neighbours.get(&function).cloned());
        }
        let outcome = one(suite, *number, &hints)?;
        if let (Outcome::Caught(test), Ok(mut neighbours)) = (&outcome, neighbours.lock()) {
            neighbours.insert(function, test.clone());
        }
        if index % 100 == 0 {
            eprintln!("    mutant {index} of {}", numbers.len());
        }
        note(&log, history.key(*number), &suite.build, &outcome)?;
        Ok(outcome)
    });
    outcomes.into_iter().collect()
}

/// Returns the key of each mutant. Equal keys are made different by a count.
fn unique_keys(tree: &Tree) -> Vec<String> {
    let mut counts = HashMap::new();
    let keys = tree.mutants.iter().map(|mutant| {
        let key = mutant.key();
        let count = counts.entry(key.clone()).or_insert(0);
        *count += 1;
        format!("{key}\t{count}")
    });
    keys.collect()
}

fn one(suite: &Suite, mutant: u32, hints: &[String]) -> Result<Outcome> {
    let reaches = |test: &&Test| test.reached.contains(&mutant);
    let mut tests: Vec<&Test> = suite.tests.iter().filter(reaches).collect();
    if tests.is_empty() {
        return Ok(Outcome::Unreached);
    }
    tests.sort_by_key(|test| !hints.contains(&test.name));
    let mut budget = FIRST;
    while !tests.is_empty() {
        let mut cost = 0;
        let fits = tests.iter().take_while(|test| {
            cost += test.milliseconds;
            cost <= budget
        });
        let count = fits.count().max(1);
        let batch: Vec<&Test> = tests.drain(..count).collect();
        if let Verdict::Failed(name) = suite.judge(mutant, &batch)? {
            return Ok(Outcome::Caught(name));
        }
        budget *= 2;
    }
    Ok(Outcome::Survived)
}

fn note(log: &Mutex<File>, key: &str, build: &str, outcome: &Outcome) -> Result<()> {
    let line = match outcome {
        Outcome::Caught(test) => json!([key, build, "caught", test]),
        Outcome::Survived => json!([key, build, "survived"]),
        Outcome::Unreached | Outcome::Unviable => return Ok(()),
    };
    if let Ok(mut log) = log.lock() {
        log.write_all(format!("{line}\n").as_bytes())?;
    }
    Ok(())
}

/// Returns the last result for each key, and its build.
fn read(text: &str) -> HashMap<String, (String, Outcome)> {
    let mut results = HashMap::new();
    for line in text.lines() {
        // A line may be incomplete if a run was interrupted.
        let value: Value = serde_json::from_str(line).unwrap_or_default();
        let text = |index: usize| value[index].as_str().map(String::from);
        let outcome = match (value[2].as_str(), text(3)) {
            (Some("caught"), Some(test)) => Outcome::Caught(test),
            (Some("survived"), _) => Outcome::Survived,
            _ => continue,
        };
        if let (Some(key), Some(build)) = (text(0), text(1)) {
            results.insert(key, (build, outcome));
        }
    }
    results
}
