//! Decides which mutant is on. The tool puts a copy of this file into the crate that it mutates.
//!
//! `MUTANT=17` turns on mutant 17. `MUTANT=record:FILE` turns on none, and writes to `FILE` the
//! number of each mutant that is reached, one per line, and the number of places that were passed,
//! as `~N`. A process that passes more than `MUTANT_STEPS` places is aborted, since a mutant made
//! it loop.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

/// One more than the largest number that a mutant can have.
pub const LIMIT: usize = 1 << 16;

/// The value of [`ACTIVE`] for no mutant. Numbers of mutants start at 1.
const NONE: u32 = 0;

/// The value of [`ACTIVE`] for no mutant while reached mutants are recorded.
const RECORD: u32 = u32::MAX;

static ACTIVE: AtomicU32 = AtomicU32::new(NONE);

/// Places that were passed. If two threads pass places at the same time, one may not be counted.
static STEPS: AtomicU64 = AtomicU64::new(0);

/// The number of steps at which [`pause`] is called next; 0 until the environment is read.
static PAUSE: AtomicU64 = AtomicU64::new(0);

static REACHED: [AtomicBool; LIMIT] = [const { AtomicBool::new(false) }; LIMIT];

/// The file to which reached mutants are recorded.
static LOG: OnceLock<File> = OnceLock::new();

/// Returns whether `mutant` is on.
#[inline]
pub fn is(mutant: u32) -> bool {
    let steps = STEPS.load(Ordering::Relaxed);
    if steps >= PAUSE.load(Ordering::Acquire) {
        pause(steps);
    }
    STEPS.store(steps.wrapping_add(1), Ordering::Relaxed);
    let active = ACTIVE.load(Ordering::Relaxed);
    active == mutant || (active == RECORD && record(mutant))
}

/// Reads the environment, records that the number of steps has doubled, or aborts a loop.
#[cold]
fn pause(steps: u64) {
    if PAUSE.load(Ordering::Acquire) == 0 {
        configure();
    } else if ACTIVE.load(Ordering::Relaxed) == RECORD {
        write(std::format_args!("~{steps}\n"));
        PAUSE.store(steps.saturating_mul(2), Ordering::Release);
    } else {
        std::eprintln!("more than {steps} steps: the mutant loops");
        std::process::abort();
    }
}

fn configure() {
    let choice = std::env::var("MUTANT").unwrap_or_default();
    if let Some(path) = choice.strip_prefix("record:") {
        LOG.get_or_init(|| {
            let file = OpenOptions::new().create(true).append(true).open(path);
            file.expect("the log of what is reached")
        });
        ACTIVE.store(RECORD, Ordering::Relaxed);
        PAUSE.store(1024, Ordering::Release);
        return;
    }
    let limit = std::env::var("MUTANT_STEPS").ok();
    let limit = limit.and_then(|steps| steps.parse().ok());
    ACTIVE.store(choice.parse().unwrap_or(NONE), Ordering::Relaxed);
    PAUSE.store(limit.unwrap_or(u64::MAX), Ordering::Release);
}

#[cold]
fn record(mutant: u32) -> bool {
    let reached = REACHED.get(mutant as usize);
    if reached.is_some_and(|reached| !reached.swap(true, Ordering::Relaxed)) {
        write(std::format_args!("{mutant}\n"));
    }
    false
}

/// Writes a line in one piece, so that lines of other threads do not mix with it.
fn write(line: std::fmt::Arguments<'_>) {
    if let Some(mut log) = LOG.get() {
        let line = std::format!("{line}");
        log.write_all(line.as_bytes()).expect("the log is written");
    }
}
