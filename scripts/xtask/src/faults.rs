//! `cargo xtask faults`: reverts fixes, one at a time and in a copy of the tree, and requires that
//! the test which guards each fix fails. This shows that the harness still detects such faults.
//! Each fault is a patch in `tests/host/faults`, the first line of which names a test binary of
//! `host-tests` and a test in that binary. A patch that does not apply any more is an error: it
//! must follow the engine.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::process::{output, run, step};
use crate::workspace::{self, root, target};

/// The start of the first line of each patch.
const HEADER: &str = "Test: ";

/// A fix that can be reverted.
struct Fault {
    name: String,
    patch: PathBuf,
    /// The test binary and its test.
    test: [String; 2],
}

/// Tries the faults with those names, or all faults.
pub fn faults(names: &[String]) -> Result<()> {
    let mut all = all()?;
    if let Some(unknown) = names
        .iter()
        .find(|name| all.iter().all(|f| f.name != **name))
    {
        bail!("there is no fault `{unknown}`");
    }
    all.retain(|fault| names.is_empty() || names.contains(&fault.name));
    let tree = target().join("faults/tree");
    workspace::copy(&tree)?;
    let mut unseen = Vec::new();
    for fault in &all {
        let found = step(&format!("without the fix of {}", fault.name), || {
            fault.patch(&tree, &[])?;
            let found = fault.is_found(&tree);
            fault.patch(&tree, &["--reverse"])?;
            found
        })?;
        println!(
            "{}: {}",
            fault.name,
            if found { "found" } else { "NOT FOUND" }
        );
        if !found {
            unseen.push(fault.name.as_str());
        }
    }
    ensure!(
        unseen.is_empty(),
        "no test fails without the fix of {unseen:?}"
    );
    Ok(())
}

/// Returns all faults, by name.
fn all() -> Result<Vec<Fault>> {
    let mut all = Vec::new();
    for entry in fs::read_dir(root().join("tests/host/faults"))? {
        let patch = entry?.path();
        let text = fs::read_to_string(&patch)?;
        let header = text
            .lines()
            .next()
            .and_then(|line| line.strip_prefix(HEADER));
        let test = header.and_then(|header| header.split_once(' '));
        let (binary, test) = test.with_context(|| format!("{}: which test?", patch.display()))?;
        let name = patch.file_stem().unwrap_or_default();
        all.push(Fault {
            name: name.to_string_lossy().into_owned(),
            test: [binary.to_string(), test.to_string()],
            patch,
        });
    }
    all.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(all)
}

impl Fault {
    fn patch(&self, tree: &Path, arguments: &[&str]) -> Result<()> {
        let mut command = Command::new("patch");
        command
            .current_dir(tree)
            .args(["--strip=1", "--silent", "--forward", "--fuzz=0", "--input"])
            .arg(&self.patch)
            .args(arguments);
        output(&mut command).map(drop)
    }

    /// Returns whether the test fails. The test must be built already.
    fn is_found(&self, tree: &Path) -> Result<bool> {
        let [binary, test] = &self.test;
        let cargo = |arguments: &[&str]| {
            let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
            let mut command = Command::new(program);
            command
                .current_dir(tree)
                .args(["test", "--quiet", "--package=host-tests", "--test", binary])
                // A separate folder of products: cargo takes a package for unchanged if it was
                // built from another tree.
                .arg("--target-dir")
                .arg(target().join("faults/products"))
                .args(arguments);
            command
        };
        run(&mut cargo(&["--no-run"]))?;
        let mut list = cargo(&[test, "--", "--list"]);
        ensure!(
            output(&mut list)?.contains(": test"),
            "there is no test `{test}`"
        );
        let told = cargo(&[test]).output().context("cannot start cargo")?;
        Ok(!told.status.success())
    }
}
