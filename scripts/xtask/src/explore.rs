//! `cargo xtask explore`: visits every state that small systems can come to, optimised for speed.
//! The host tests visit those of the smallest ones.

use std::process::Command;

use anyhow::Result;

use crate::build::cargo_command;
use crate::process::run;
use crate::workspace::target;

/// Explores the systems of those names, or all.
pub fn explore(names: &[String]) -> Result<()> {
    run(cargo_command("build").args([
        "--quiet",
        "--profile=explore",
        "--package=host-tests",
        "--example=explore",
    ]))?;
    let mut explorer = Command::new(target().join("explore/examples/explore"));
    explorer.args(names);
    // Systems come and go by the thousand: glibc keeps their memory for the next ones.
    for name in ["MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_"] {
        explorer.env(name, "4000000000");
    }
    run(&mut explorer)
}
