//! `manifest-check`: judges manifests and whole layouts as the boot would.
//!
//! The SPMC's own parser and checks ([`spmc::manifest`]) judge what the SPMC refuses, so that this
//! program and the boot agree. The program adds what the firmware before the SPMC refuses, files
//! that do not fit together, and misspelt words, which all readers ignore.
//!
//! The program is not a part of `xtask`, which calls it, so that `xtask` builds even while the
//! engine does not.

mod arguments;
mod diagnostic;
mod engine;
mod layout;
mod names;
#[allow(dead_code, reason = "the platform uses the rest")]
#[path = "../../../platform/aarch64/src/redistributor.rs"]
mod redistributor;
#[path = "../../../platform/aarch64/src/sizes.rs"]
mod sizes;
mod source;
mod spmc_manifest;
mod tree;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use arguments::Arguments;
use diagnostic::Diagnostics;
use source::Source;

/// Exit status if there are faults.
const FAULTY: u8 = 1;
/// Exit status if the command line is wrong, or names something that does not exist.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    let arguments = match Arguments::parse(std::env::args().skip(1)) {
        Ok(arguments) => arguments,
        Err(error) => {
            eprintln!("manifest check: {error}\n\n{}", arguments::USAGE);
            return ExitCode::from(USAGE);
        }
    };
    if arguments.help {
        println!("{}", arguments::USAGE);
        return ExitCode::SUCCESS;
    }
    engine::listen_to_the_log();
    let mut diagnostics = Diagnostics::default();
    let mut files = Vec::new();
    for input in &arguments.inputs {
        match what_is(input, &arguments) {
            Some(Input::Layout(file)) => layout::judge(&file, &arguments, &mut diagnostics),
            Some(Input::Manifest(file)) => files.push(file),
            None => {
                eprintln!("manifest check: there is no layout and no file `{input}`");
                return ExitCode::from(USAGE);
            }
        }
    }
    judge_files(&files, &arguments, &mut diagnostics);
    if arguments.json {
        println!("{}", diagnostics.json());
    } else {
        print!("{}", diagnostics.text());
        println!("{}", diagnostics.summary());
    }
    match diagnostics.has_faults(arguments.deny_warnings) {
        true => ExitCode::from(FAULTY),
        false => ExitCode::SUCCESS,
    }
}

/// The file or layout that a word of the command line stands for.
enum Input {
    /// An `sp_layout.json`.
    Layout(PathBuf),
    /// A manifest.
    Manifest(PathBuf),
}

fn what_is(input: &str, arguments: &Arguments) -> Option<Input> {
    let named = arguments.layouts.as_ref().map(|dir| dir.join(input));
    let path = match named {
        Some(named) if named.is_dir() => named,
        _ => PathBuf::from(input),
    };
    let layout = if path.is_dir() {
        path.join("sp_layout.json")
    } else {
        path
    };
    if !layout.is_file() {
        return None;
    }
    Some(match layout.extension() {
        Some(kind) if kind == "json" => Input::Layout(layout),
        _ => Input::Manifest(layout),
    })
}

/// Judges manifests that no layout connects. A partition's manifest is judged together with the
/// SPMC manifest, if there is exactly one and it has a package at the partition's load address.
fn judge_files(files: &[PathBuf], arguments: &Arguments, diagnostics: &mut Diagnostics) {
    let read = |path: &PathBuf, diagnostics: &mut Diagnostics| {
        Source::read(path, &arguments.includes, diagnostics)
    };
    let sources: Vec<Source> = files
        .iter()
        .filter_map(|path| read(path, diagnostics))
        .collect();
    let (systems, partitions): (Vec<_>, Vec<_>) = sources.iter().partition(|s| s.is_spmc());
    let judged: Vec<_> = systems
        .iter()
        .map(|system| spmc_manifest::judge(system, diagnostics))
        .collect();
    let system = match judged.as_slice() {
        [system] => Some(system),
        _ => None,
    };
    let mut earlier = Vec::new();
    for partition in partitions {
        let at = partition.tree.number("/", "load-address");
        let entry = system
            .zip(at)
            .and_then(|(system, at)| Some((system, system.package_at(at)?)));
        match entry {
            Some((system, entry)) => {
                let config = engine::partition(partition, entry, system, &earlier, diagnostics);
                earlier.push(config);
            }
            None => engine::alone(partition, diagnostics),
        }
    }
}

/// Returns a path in the form that is printed: without `.` and `..`, and relative to the current
/// folder if it lies there.
fn shown(path: &Path) -> PathBuf {
    let mut clean = PathBuf::new();
    for part in path.components() {
        match part {
            std::path::Component::CurDir => {}
            std::path::Component::ParentDir
                if clean.file_name().is_some_and(|name| name != "..") =>
            {
                clean.pop();
            }
            part => clean.push(part),
        }
    }
    let here = std::env::current_dir().unwrap_or_default();
    match clean.strip_prefix(&here) {
        Ok(below) => below.to_path_buf(),
        Err(_) => clean,
    }
}
