//! The SPMC's own checks of one device tree blob: `manifest-check FILE.dtb`.
//!
//! A program of its own, so that `xtask`, which calls it, can be built while the engine cannot.

use std::process::ExitCode;

use spmc::manifest::{self, Kind};

fn main() -> ExitCode {
    let Some(file) = std::env::args().nth(1) else {
        println!("usage: manifest-check FILE.dtb");
        return ExitCode::FAILURE;
    };
    let blob = match std::fs::read(&file) {
        Ok(blob) => blob,
        Err(error) => {
            println!("cannot be read: {error}");
            return ExitCode::FAILURE;
        }
    };
    match manifest::check(&blob) {
        Ok(Kind::Spmc) => println!("a good SPMC manifest"),
        Ok(Kind::Partition) => println!("a good partition manifest"),
        Err(error) => {
            println!("{error}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}
