//! `cargo xtask book`: the documents as a book of web pages, without a link that leads nowhere.
//!
//! mdBook wants one folder with all chapters, but README and others stand beside `docs`. So it gets
//! a folder of symbolic links that mirrors the tree: links between documents, and from them to
//! sources, are right in both.

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

/// The parts of the tree that are chapters, or that chapters link to.
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

/// Builds the book and returns its first page. With `check` the figures in the tree must be those
/// that their sources describe; else they are drawn anew.
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

/// Returns the path of mdBook, which is built if it is not there in that version.
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
            // As fast to build as can be: it has little to do. It needs neither a server nor a
            // search index.
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
