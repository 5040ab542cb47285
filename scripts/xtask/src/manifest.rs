//! `cargo xtask manifest check FILE...`: what the SPMC would say about a manifest, said before anything is flashed.
//!
//! The checks are the SPMC's own code (`scripts/manifest-check`). Source files go through `dtc` first.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};

use crate::build::cargo_command;
use crate::image::{compile, source};
use crate::process::run;
use crate::setup;
use crate::workspace::target;

/// Checks each file and says what is wrong with it.
pub fn check(files: &[String]) -> Result<ExitCode> {
    setup::setup()?;
    run(cargo_command("build").args(["--quiet", "--package", "manifest-check"]))?;
    let program = target().join("debug/manifest-check");
    let mut code = ExitCode::SUCCESS;
    for file in files {
        let output = std::process::Command::new(&program)
            .arg(blob(Path::new(file))?)
            .output()
            .with_context(|| format!("cannot start {}", program.display()))?;
        print!("{file}: {}", String::from_utf8_lossy(&output.stdout));
        if !output.status.success() {
            code = ExitCode::FAILURE;
        }
    }
    Ok(code)
}

/// The device tree blob of a `.dtb`, or of anything else that `dtc` compiles.
fn blob(file: &Path) -> Result<PathBuf> {
    if file.extension().is_some_and(|kind| kind == "dtb") {
        return Ok(file.to_path_buf());
    }
    fs::create_dir_all(target())?;
    let dtb = target().join("manifest-check.dtb");
    let include = file.parent().unwrap_or(Path::new("."));
    compile(&source(file)?, include, &dtb).with_context(|| file.display().to_string())?;
    Ok(dtb)
}
