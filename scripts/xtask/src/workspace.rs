//! The locations of the source tree and of the products.

use std::env;
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
