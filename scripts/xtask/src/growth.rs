//! `cargo xtask growth`: how the cost of calls grows with constituents, live handles, partitions
//! and PEs.
//!
//! The measure is the number of executions of basic blocks, taken from the counters of
//! `-Cinstrument-coverage`: it is exact, independent of the machine, and close to the number of
//! branches. `bench` counts instructions on the board.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::build::{cargo_command, host};
use crate::process::{output, run};
use crate::workspace::target;

/// The steps of `host_tests::growth`, in their order.
const STEPS: [&str; 10] = [
    "send",
    "retrieve",
    "relinquish",
    "reclaim",
    "direct message",
    "notification set",
    "info get",
    "notification get",
    "interrupt",
    "end of a partition",
];

/// The first steps, which are those of a memory transaction.
const OF_MEMORY: usize = 4;

/// The numbers that a cost can depend on: constituents, live handles, partitions and PEs.
type Point = [u64; 4];

/// Prints the tables. Fails if a cost is not linear in the constituents, or if it depends on live
/// handles, partitions or PEs.
pub fn growth() -> Result<()> {
    let program = build()?;
    let constituents: Vec<u64> = (0..=16).map(|power| 1 << power).collect();
    let costs = table(&program, "constituents", &constituents, OF_MEMORY, |n| {
        [n, 1, 2, 4]
    })?;
    // A cost is linear if the last rows of the table cost no more for each constituent than the
    // middle ones.
    for (step, middle, last) in steps(&costs[11], &costs[16]) {
        ensure!(last <= middle * 32 * 11 / 10, "{step} is not linear");
    }
    let handles = [1, 2, 4, 8, 16, 32, 64];
    flat(&table(
        &program,
        "live handles",
        &handles,
        OF_MEMORY,
        |n| [16, n, 2, 4],
    )?)?;
    let all = STEPS.len();
    let partitions = [1, 2, 8, 32, 62];
    flat(&table(&program, "partitions", &partitions, all, |n| {
        [16, 1, n, 4]
    })?)?;
    let pes = [1, 2, 8, 64, 512];
    flat(&table(&program, "PEs", &pes, all, |n| [16, 1, 2, n])?)
}

/// Returns each step with its cost in two rows.
fn steps(one: &[u64], other: &[u64]) -> impl Iterator<Item = (&'static str, u64, u64)> {
    STEPS
        .into_iter()
        .zip(one.iter().zip(other))
        .map(|(step, (one, other))| (step, *one, *other))
}

/// Fails unless all rows are equal within three percent: a set with more than 64 members has
/// another word.
fn flat(costs: &[Vec<u64>]) -> Result<()> {
    for row in costs {
        for (step, first, cost) in steps(&costs[0], row) {
            ensure!(
                cost.abs_diff(first) * 100 <= 3 * first,
                "{step} is not constant"
            );
        }
    }
    Ok(())
}

fn table(
    program: &Path,
    what: &str,
    values: &[u64],
    shown: usize,
    point: impl Fn(u64) -> Point,
) -> Result<Vec<Vec<u64>>> {
    let line = "|---".repeat(shown + 1);
    println!("| {what} | {} |\n{line}|", STEPS[..shown].join(" | "));
    let mut costs = Vec::new();
    for value in values {
        let mut cost = vec![0; shown];
        let mut before = count(program, point(*value), 0)?;
        for (index, cost) in cost.iter_mut().enumerate() {
            let after = count(program, point(*value), index + 1)?;
            *cost = after.saturating_sub(before);
            before = after;
        }
        let texts: Vec<_> = cost.iter().map(u64::to_string).collect();
        println!("| {value} | {} |", texts.join(" | "));
        costs.push(cost);
    }
    println!();
    Ok(costs)
}

fn build() -> Result<PathBuf> {
    let host = host()?;
    run(cargo_command("build")
        .args(["--quiet", "--profile=fuzz", "--package=host-tests"])
        .args(["--example=growth", "--target", &host])
        .env("RUSTFLAGS", "-Cinstrument-coverage"))?;
    Ok(target().join(host).join("fuzz/examples/growth"))
}

/// Runs one point up to a step and returns the sum of all counters.
fn count(program: &Path, point: Point, steps: usize) -> Result<u64> {
    let profile = target().join("growth.profraw");
    output(
        Command::new(program)
            .args(point.map(|number| number.to_string()))
            .arg(steps.to_string())
            .env("LLVM_PROFILE_FILE", &profile),
    )?;
    let bytes = fs::read(&profile).with_context(|| profile.display().to_string())?;
    counters(&bytes)
}

/// Returns the sum of the counters in a raw LLVM profile, which consists of a header of 16 words,
/// build ids, a record for each function, and the counters.
fn counters(profile: &[u8]) -> Result<u64> {
    const RECORD: u64 = 64;
    let words: Vec<u64> = profile
        .as_chunks::<8>()
        .0
        .iter()
        .map(|word| u64::from_le_bytes(*word))
        .collect();
    let header = words.get(..16).context("a raw profile")?;
    ensure!(header[0] == 0xff6c_7072_6f66_7281, "not a raw profile");
    ensure!(header[1] & 0xff == 10, "a raw profile of another version");
    let (ids, records, padding, count) = (header[2], header[3], header[4], header[5]);
    let start = (16 * 8 + ids + records * RECORD + padding) / 8;
    let counters = words.get(start as usize..(start + count) as usize);
    Ok(counters.context("a whole raw profile")?.iter().sum())
}
