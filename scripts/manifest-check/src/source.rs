//! Manifests as files: sources, which go through the C preprocessor and `dtc`, and blobs.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use crate::diagnostic::{By, Diagnostic, Diagnostics, Place};
use crate::tree::Tree;

/// A manifest that was read.
pub struct Source {
    /// Path of the file.
    pub path: PathBuf,
    /// The flattened device tree.
    pub dtb: Vec<u8>,
    /// The tree with the places of its nodes. Empty if the blob is damaged.
    pub tree: Tree,
}

impl Source {
    /// Reads a manifest. Adds the compilers' complaints to `diagnostics`, and returns `None` if
    /// there are errors.
    pub fn read(path: &Path, includes: &[PathBuf], diagnostics: &mut Diagnostics) -> Option<Self> {
        let read = match path.extension() {
            Some(kind) if kind == "dtb" => Self::blob(path),
            _ => Self::compile(path, includes),
        };
        match read {
            Ok(source) => Some(source),
            Err(faults) => {
                faults.into_iter().for_each(|fault| diagnostics.add(fault));
                None
            }
        }
    }

    /// Returns whether the tree says that it is an SPMC manifest.
    pub fn is_spmc(&self) -> bool {
        let root = self.tree.node("/");
        let compatible = root.and_then(|root| root.property("compatible"));
        compatible.is_some_and(|value| value.has_string("arm,ffa-core-manifest-1.0"))
    }

    fn blob(path: &Path) -> Result<Self, Vec<Diagnostic>> {
        let dtb = fs::read(path).map_err(|error| failed(path, &error.to_string()))?;
        let mut command = Command::new("dtc");
        command.args(["-q", "-I", "dtb", "-O", "dts"]).arg(path);
        // The SPMC's own reader judges a damaged tree.
        let text = output(&mut command, None, path).unwrap_or_default();
        Ok(Self {
            path: path.to_path_buf(),
            tree: Tree::parse(&String::from_utf8_lossy(&text), path),
            dtb,
        })
    }

    fn compile(path: &Path, includes: &[PathBuf]) -> Result<Self, Vec<Diagnostic>> {
        let text = fs::read_to_string(path).map_err(|error| failed(path, &error.to_string()))?;
        let preprocessed = match uses_preprocessor(&text) {
            true => Some(preprocess(path, includes)?),
            false => None,
        };
        let dtc = |output_format: &[&str]| {
            let mut command = Command::new("dtc");
            command.args(["-q", "-I", "dts"]).args(output_format);
            for folder in path
                .parent()
                .into_iter()
                .chain(includes.iter().map(|i| &**i))
            {
                command.arg("-i").arg(folder);
            }
            command.arg(match preprocessed {
                Some(_) => Path::new("-"),
                None => path,
            });
            output(&mut command, preprocessed.as_deref(), path)
        };
        let dtb = dtc(&["-O", "dtb"])?;
        let annotated = dtc(&["-O", "dts", "-T", "-T"])?;
        Ok(Self {
            path: path.to_path_buf(),
            dtb,
            tree: Tree::parse(&String::from_utf8_lossy(&annotated), path),
        })
    }
}

fn uses_preprocessor(text: &str) -> bool {
    let directives = ["#include", "#define", "#if", "#undef"];
    let is_directive = |line: &str| directives.iter().any(|word| line.starts_with(word));
    text.lines().any(is_directive)
}

/// Runs the C preprocessor. Returns its output, with line markers.
fn preprocess(path: &Path, includes: &[PathBuf]) -> Result<Vec<u8>, Vec<Diagnostic>> {
    let mut command = Command::new("cc");
    command.args(["-E", "-nostdinc", "-undef", "-x", "assembler-with-cpp"]);
    for folder in includes {
        command.arg("-I").arg(folder);
    }
    output(command.arg(path), None, path)
}

/// Runs a compiler and returns what it prints.
fn output(
    command: &mut Command,
    input: Option<&[u8]>,
    path: &Path,
) -> Result<Vec<u8>, Vec<Diagnostic>> {
    let program = command.get_program().to_string_lossy().into_owned();
    let mut run = || -> std::io::Result<Output> {
        let mut child = command
            .env("LC_ALL", "C")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let stdin = child.stdin.take();
        std::thread::scope(|scope| {
            scope.spawn(move || {
                // The process may have ended already; its status then tells the reason.
                let _ = stdin.map(|mut pipe| pipe.write_all(input.unwrap_or_default()));
            });
            child.wait_with_output()
        })
    };
    let output = run().map_err(|error| failed(path, &format!("{program}: {error}")))?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    let mut faults: Vec<Diagnostic> = text.lines().filter_map(complaint).collect();
    if faults.is_empty() {
        faults = failed(path, &format!("{program}: {}", text.trim()));
    }
    Err(faults)
}

fn failed(path: &Path, message: &str) -> Vec<Diagnostic> {
    let place = Place::whole(path);
    vec![Diagnostic::error(By::Compiler, place, message)]
}

/// Parses a compiler's complaint, such as `Error: a.dts:4.2-3 syntax error` or `a.dts:2:10: fatal
/// error: b.h: No such file`.
fn complaint(line: &str) -> Option<Diagnostic> {
    let line = line
        .strip_prefix("Error: ")
        .or_else(|| line.strip_prefix("Lexical error: "))
        .unwrap_or(line);
    let (place, message) = line.split_once(' ')?;
    let place = place.trim_end_matches(':');
    let (file, position) = place.rsplit_once(':')?;
    let numbers = |text: &str| {
        let (line, column) = text.split_once(['.', ':'])?;
        let column = column.split('-').next()?;
        Some((line.parse().ok()?, column.parse().ok()?))
    };
    let (file, (line, column)) = match numbers(position) {
        Some(found) => (file, found),
        None => {
            let (file, line) = file.rsplit_once(':')?;
            (file, numbers(&format!("{line}:{position}"))?)
        }
    };
    let place = Place {
        file: file.into(),
        line,
        column,
        length: 1,
    };
    Some(Diagnostic::error(By::Compiler, place, message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn complaints_have_their_places() {
        for (line, file, at, message) in [
            (
                "Error: a.dts:4.2-3 syntax error",
                "a.dts",
                (4, 2),
                "syntax error",
            ),
            (
                "a.dts:5.18-21: ERROR (duplicate_node_names): /n: Duplicate node name",
                "a.dts",
                (5, 18),
                "ERROR (duplicate_node_names): /n: Duplicate node name",
            ),
            (
                "dir/a.dts:2:10: fatal error: a.h: No such file or directory",
                "dir/a.dts",
                (2, 10),
                "fatal error: a.h: No such file or directory",
            ),
        ] {
            let found = complaint(line).unwrap();
            assert_eq!(found.place.file, Path::new(file));
            assert_eq!((found.place.line, found.place.column), at);
            assert_eq!(found.message, message);
        }
        assert_eq!(complaint("FATAL ERROR: Unable to parse input tree"), None);
    }
}
