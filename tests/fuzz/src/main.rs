//! Runs the fuzz targets under libFuzzer. `FUZZ_TARGET` names the target, or is `list`.
//! `FUZZ_SEEDS` names a folder, into which the inputs to begin with are written.
//!
//! `host_tests::fuzz` defines what a target does with an input. The compiler flags in
//! `scripts/xtask/src/fuzz.rs` add the instrumentation.

#![no_main]

use std::fs;
use std::path::Path;
use std::process::exit;
use std::sync::OnceLock;

use host_tests::fuzz::{TARGETS, Target, target};
use libfuzzer_sys::fuzz_target;

static TARGET: OnceLock<&'static Target> = OnceLock::new();

/// Finds the target by its name, and writes its seeds.
fn prepare() {
    let name = std::env::var("FUZZ_TARGET").expect("FUZZ_TARGET names the target");
    if name == "list" {
        TARGETS
            .iter()
            .for_each(|target| println!("{} {}", target.name, target.max_len));
        exit(0);
    }
    let target = target(&name).expect("a target of that name");
    if let Ok(folder) = std::env::var("FUZZ_SEEDS") {
        for (number, seed) in (target.seeds)().into_iter().enumerate() {
            let file = Path::new(&folder).join(format!("seed-{number}"));
            fs::write(file, seed).expect("a folder for seeds");
        }
    }
    assert!(TARGET.set(target).is_ok(), "prepared twice");
}

fuzz_target!(init: prepare(), |input: &[u8]| {
    let target = TARGET.get().expect("it was prepared");
    (target.run)(input);
});
