//! The plugins of QEMU in `tests/qemu`, which watch what the guests execute.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use crate::process::output;
use crate::workspace::{root, target};

/// Builds `tests/qemu/NAME.c`, if it is newer than its product, and returns the path of the
/// library.
pub fn build(name: &str) -> Result<PathBuf> {
    let source = root().join("tests/qemu").join(name).with_extension("c");
    let library = target().join(name).with_extension("so");
    if newer(&source, &library) {
        output(
            Command::new("cc")
                .args(["-O2", "-Wall", "-shared", "-fPIC", "-o"])
                .arg(&library)
                .arg(&source),
        )?;
    }
    Ok(library)
}

fn newer(source: &Path, product: &Path) -> bool {
    let time = |path| fs::metadata(path).and_then(|data| data.modified());
    match (time(source), time(product)) {
        (Ok(source), Ok(product)) => source > product,
        _ => true,
    }
}
