//! The locations of the source tree and of the products.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use anyhow::{Context, Result};

/// The file, from the root, by which the source tree is known.
const MARK: &str = "scripts/xtask/Cargo.toml";

/// Fails if there is no source tree.
pub fn check() -> Result<()> {
    let start = start().context("the current folder is gone")?;
    around(&start).with_context(|| format!("no folder above {} has {MARK}", start.display()))?;
    Ok(())
}

/// Returns the root of the source tree: of the tree whose `cargo` runs this program, otherwise of
/// the one around the current folder. No path is compiled in, since a tree that was copied or moved
/// may hold programs that were built in another place.
pub fn root() -> PathBuf {
    static ROOT: OnceLock<PathBuf> = OnceLock::new();
    let find = || around(&start()?).map(Path::to_path_buf);
    // `main` has called `check`.
    ROOT.get_or_init(|| find().unwrap_or_default()).clone()
}

/// Returns the folder in or below the tree from which the search for the root begins.
fn start() -> Option<PathBuf> {
    let package = env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
    package.or_else(|| env::current_dir().ok())
}

/// Returns the innermost folder around `start` that is the root of a tree.
fn around(start: &Path) -> Option<&Path> {
    start.ancestors().find(|folder| folder.join(MARK).is_file())
}

/// Returns the folder of products: `CARGO_TARGET_DIR` if that is set, otherwise `target/`.
pub fn target() -> PathBuf {
    match env::var_os("CARGO_TARGET_DIR") {
        Some(dir) => root().join(dir),
        None => root().join("target"),
    }
}

/// Copies the tree to a new folder `to`, without products and without the history. Needs no git,
/// because a tree may come without it.
pub fn copy(to: &Path) -> Result<()> {
    if to.exists() {
        fs::remove_dir_all(to)?;
    }
    let left_out = [root().join("target"), target(), root().join(".git")];
    copy_folder(&root(), to, &left_out)
}

fn copy_folder(from: &Path, to: &Path, left_out: &[PathBuf]) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from).with_context(|| from.display().to_string())? {
        let path = entry?.path();
        let copy = to.join(path.file_name().context("a file of the tree")?);
        if left_out.contains(&path) {
            continue;
        }
        if path.is_dir() {
            copy_folder(&path, &copy, left_out)?;
        } else {
            fs::copy(&path, &copy).with_context(|| path.display().to_string())?;
        }
    }
    Ok(())
}
