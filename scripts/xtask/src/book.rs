//! `cargo xtask book`: makes the documents a book of web pages, and checks its links.
//!
//! mdBook needs one folder with all chapters, but README and other documents are beside `docs`. So
//! mdBook gets a folder of symbolic links that mirrors the tree: links between documents, and from
//! documents to sources, are valid in both.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use crate::figures;
use crate::links;
use crate::process::output;
use crate::tools::Tool;
use crate::workspace::{root, target};

/// mdBook, without its server and its search index.
const MDBOOK: Tool = Tool {
    name: "mdbook",
    version: "0.5.4",
    asking: &["--version"],
    features: &["--no-default-features"],
};

/// The parts of the tree that are chapters, or to which chapters link.
const TREE: &[&str] = &[
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "LICENSE-APACHE",
    "LICENSE-MIT",
    "README.md",
    "SECURITY.md",
    "docs",
    "manifests",
    "platform",
    "spmc",
    "tests",
];

/// Builds the book and returns its first page. With `check`, fails if a figure in the tree differs
/// from its source; otherwise draws the figures.
pub fn book(check: bool) -> Result<PathBuf> {
    figures::figures(check)?;
    let program = mdbook()?;
    let folder = target().join("book");
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    let chapters = folder.join("src");
    fs::create_dir_all(&chapters)?;
    let settings = root().join("docs/book");
    for name in ["book.toml", "style.css"] {
        fs::copy(settings.join(name), folder.join(name))?;
    }
    fs::copy(settings.join("SUMMARY.md"), chapters.join("SUMMARY.md"))?;
    for name in TREE {
        symlink(root().join(name), chapters.join(name)).with_context(|| name.to_string())?;
    }

    output(Command::new(program).arg("build").arg(&folder))?;
    let pages = folder.join("html");
    links::check(&pages)?;
    Ok(pages.join("index.html"))
}

/// Returns the path of mdBook. Builds mdBook if this version is not there.
pub fn mdbook() -> Result<PathBuf> {
    MDBOOK.get()
}
