//! `cargo xtask explore`: visits every reachable state of small systems, with optimised code. The
//! host tests visit the states of the smallest systems.

use std::process::Command;

use anyhow::Result;

use crate::build::cargo_command;
use crate::process::run;
use crate::workspace::target;

/// Explores the systems with those names, or all systems.
pub fn explore(names: &[String]) -> Result<()> {
    run(cargo_command("build").args([
        "--quiet",
        "--profile=explore",
        "--package=host-tests",
        "--example=explore",
    ]))?;
    let mut explorer = Command::new(target().join("explore/examples/explore"));
    explorer.args(names);
    // The explorer allocates and frees thousands of systems. These settings make glibc keep the
    // memory.
    for name in ["MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_"] {
        explorer.env(name, "4000000000");
    }
    run(&mut explorer)
}
