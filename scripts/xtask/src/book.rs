//! `cargo xtask book`: makes the documents a book of web pages, and checks its links.
//!
//! mdBook needs one folder with all chapters, but README and other documents are beside `docs`. So
//! mdBook gets a folder of symbolic links that mirrors the tree: links between documents, and from
//! documents to sources, are valid in both.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::figures;
use crate::links;
use crate::process::{output, run, step};
use crate::workspace::{root, target};

/// The version of mdBook.
const VERSION: &str = "0.5.4";

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
    fs::copy(settings.join("book.toml"), folder.join("book.toml"))?;
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
    let folder = target().join("tools");
    let program = folder.join("bin/mdbook");
    let is_current = || {
        let version = output(Command::new(&program).arg("--version"));
        version.is_ok_and(|text| text.trim() == format!("mdbook v{VERSION}"))
    };
    if !is_current() {
        step("building mdBook", || {
            let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()));
            // Build fast rather than optimise, since mdBook has little to do; it needs neither a
            // server nor a search index.
            cargo
                .args(["install", "mdbook", "--version", VERSION, "--locked"])
                .args(["--quiet", "--force", "--no-default-features", "--debug"])
                .args(["--config", "profile.dev.debug=false", "--root"])
                .arg(&folder);
            run(&mut cargo)
        })?;
        ensure!(
            is_current(),
            "{} is not version {VERSION}",
            program.display()
        );
    }
    Ok(program)
}
