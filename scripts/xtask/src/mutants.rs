//! `cargo xtask mutants`: which changes of the engine no test notices.
//!
//! A program of its own (`scripts/mutants`), as it parses Rust: what that needs would slow down the
//! build of everything else here.

use std::process::ExitCode;

use anyhow::Result;

use crate::build::cargo_command;
use crate::process::run;
use crate::workspace::{root, target};

/// Hands `arguments` over, and returns how it ended.
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
