//! `cargo xtask manifest check`: judges manifests and layouts as the boot would, before anything is
//! flashed.
//!
//! The checks are the SPMC's own code, in a separate program (`scripts/manifest-check`).

use std::process::{Command, ExitCode};

use anyhow::{Context, Result};

use crate::board::{BOARDS, Board};
use crate::build::cargo_command;
use crate::process::{run, step};
use crate::setup;
use crate::workspace::target;

/// Exit status if the command line is wrong, the same as that of the program.
const USAGE: u8 = 2;

/// Builds the program and runs it on `words`.
pub fn check(words: &[String]) -> Result<ExitCode> {
    let mut words = words.to_vec();
    let board = match board(&mut words) {
        Ok(board) => board,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            return Ok(ExitCode::from(USAGE));
        }
    };
    setup::setup()?;
    step("building the judge of manifests", || {
        run(cargo_command("build").args(["--quiet", "--package", "manifest-check"]))
    })?;
    let program = target().join("debug/manifest-check");
    let status = Command::new(&program)
        .arg("--layouts")
        .arg(board.layouts())
        .arg("--files")
        .arg(board.guests())
        .args(words)
        .status()
        .with_context(|| format!("cannot start {}", program.display()))?;
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    Ok(code.map_or(ExitCode::FAILURE, ExitCode::from))
}

/// Removes `--board BOARD` from the words and returns the board.
fn board(words: &mut Vec<String>) -> Result<&'static Board> {
    let Some(at) = words.iter().position(|word| word == "--board") else {
        return Ok(BOARDS[0]);
    };
    words.remove(at);
    anyhow::ensure!(at < words.len(), "--board needs a value");
    Board::find(&words.remove(at))
}
