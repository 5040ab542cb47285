//! `cargo xtask mutants`: finds changes of the engine that no test notices.
//!
//! The work is done by a separate program (`scripts/mutants`), because it needs a parser for Rust,
//! which would slow down the build of `xtask`.

use std::process::ExitCode;

use anyhow::Result;

use crate::build::cargo_command;
use crate::process::run;
use crate::workspace::{root, target};

/// Runs the program with `arguments` and returns its exit status.
pub fn mutants(arguments: &[String]) -> Result<ExitCode> {
    run(cargo_command("build").args(["--quiet", "--package", "mutants"]))?;
    let mut program = std::process::Command::new(target().join("debug/mutants"));
    let status = program.current_dir(root()).args(arguments).status()?;
    Ok(if status.success() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
