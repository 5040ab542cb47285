//! The SPMC and the guests, from Rust sources to raw images.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use crate::elf::{self, Executable};
use crate::process::{output, run, step};
use crate::workspace::{guests, root, target};

/// The bare-metal target.
pub const TARGET: &str = "aarch64-unknown-none-softfloat";

/// The SPMC's products.
pub struct Spmc {
    /// The raw image: BL32.
    pub bin: PathBuf,
    /// Its addresses.
    pub executable: Executable,
}

/// Builds everything that runs on the target.
pub fn build() -> Result<Spmc> {
    step("building the SPMC and the guests", || {
        cargo("qemu-virt")?;
        cargo("guest")
    })?;
    fs::create_dir_all(guests())?;
    for entry in fs::read_dir(root().join("tests/guest/src/bin"))? {
        let source = entry?.path();
        if let Some(name) = source.file_stem().and_then(|name| name.to_str()) {
            let executable = read(&artefact(name))?;
            fs::write(guests().join(format!("{name}.bin")), executable.image)?;
        }
    }

    let elf = target().join("spmc.elf");
    let bin = target().join("spmc.bin");
    fs::copy(artefact("spmc"), &elf)?;
    let executable = read(&elf)?;
    fs::write(&bin, &executable.image)?;
    Ok(Spmc { bin, executable })
}

/// Links the images of boards that cannot be run here.
pub fn build_other_boards() -> Result<()> {
    cargo("fvp-base")
}

/// The target of programs that run on this machine. Named, flags for it do not reach what runs while building.
pub fn host() -> Result<String> {
    let version = output(Command::new("rustc").current_dir(root()).arg("-vV"))?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(String::from)
        .context("rustc does not say what it runs on")
}

/// A `cargo` that works on this workspace and puts its products where ours are.
pub fn cargo_command(subcommand: &str) -> Command {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command
        .current_dir(root())
        .arg(subcommand)
        .arg("--target-dir")
        .arg(target());
    command
}

fn cargo(package: &str) -> Result<()> {
    run(cargo_command("build").args([
        "--release",
        "--target",
        TARGET,
        "--package",
        package,
        "--bins",
    ]))
}

fn artefact(name: &str) -> PathBuf {
    target().join(TARGET).join("release").join(name)
}

fn read(path: &PathBuf) -> Result<Executable> {
    let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    elf::load(&bytes).with_context(|| path.display().to_string())
}
