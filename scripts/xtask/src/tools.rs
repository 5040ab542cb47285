//! Programs of crates.io that commands use: each in one version, built into `target/tools` when it
//! is not there.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Result, ensure};

use crate::process::{output, run, step};
use crate::workspace::target;

/// A program of a crate of the same name.
pub struct Tool {
    /// The crate.
    pub name: &'static str,
    /// The version.
    pub version: &'static str,
    /// The arguments that make the program tell its version.
    pub asking: &'static [&'static str],
    /// More arguments for `cargo install`.
    pub features: &'static [&'static str],
}

impl Tool {
    /// Returns the path of the program. Builds it if this version is not there.
    pub fn get(&self) -> Result<PathBuf> {
        let folder = target().join("tools");
        let program = folder.join("bin").join(self.name);
        let is_current = || {
            let told = output(Command::new(&program).args(self.asking));
            let version = told.unwrap_or_default();
            let version = version.split_whitespace().last().unwrap_or_default();
            version.trim_start_matches('v') == self.version
        };
        if is_current() {
            return Ok(program);
        }
        step(&format!("building {}", self.name), || {
            let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()));
            // Build fast rather than optimise, since these programs have little to do.
            cargo
                .args(["install", self.name, "--version", self.version, "--locked"])
                .args(["--quiet", "--force", "--debug"])
                .args(self.features)
                .args(["--config", "profile.dev.debug=false", "--root"])
                .arg(&folder);
            run(&mut cargo)
        })?;
        ensure!(
            is_current(),
            "{} is not version {}",
            program.display(),
            self.version
        );
        Ok(program)
    }
}
