//! `cargo xtask sbom`: which crates the image and the tools are made of, as CycloneDX documents.
//!
//! Before a document is written, each crate is judged: its licence and its source by `deny.toml`,
//! and those of the image by the table of `docs/supply-chain.md` ([`policy`]). Nothing in a
//! document depends on when and where it is made.

mod crates;
mod cyclonedx;
mod policy;

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::board::QEMU_VIRT;
use crate::build::{self, Extras, SPMC_PACKAGE, TARGET};
use crate::process::output;
use crate::workspace::{root, target};
use crates::{Crates, Selection};
use cyclonedx::Product;
use policy::Policy;

/// Judges the crates of the image and of the tools, and writes a document for each. Returns the
/// paths of the documents.
pub fn sbom() -> Result<[PathBuf; 2]> {
    let [image, tools] = judge()?;
    build::build(&QEMU_VIRT, Some("default"), Extras::default())?;
    let folder = target().join("sbom");
    fs::create_dir_all(&folder)?;
    let mut products = [
        Product {
            name: "spmc",
            kind: "firmware",
            sha256: Some(sha256(&target().join("spmc.bin"))?),
            compiler: Some(compiler()?),
            crates: image,
        },
        Product {
            name: "tools",
            kind: "application",
            sha256: None,
            compiler: None,
            crates: tools,
        },
    ];
    let mut paths = Vec::new();
    for product in &mut products {
        let path = folder.join(format!("{}.cdx.json", product.name));
        let text = serde_json::to_string_pretty(&product.document()?)?;
        fs::write(&path, text + "\n")?;
        paths.push(path);
    }
    paths.try_into().ok().context("two documents")
}

/// Finds the crates of the image and of the tools, and fails if one of them is not permitted.
pub fn judge() -> Result<[Crates; 2]> {
    let host = build::host()?;
    let image = Crates::find(&Selection::Package(SPMC_PACKAGE), TARGET)?;
    let tools = Crates::find(&Selection::Workspace, &host)?;
    let policy = Policy::read(&fs::read_to_string(root().join("deny.toml"))?)?;
    for crates in [&image, &tools] {
        policy.check(crates)?;
    }
    let reasons = fs::read_to_string(root().join(policy::REASONS))?;
    policy::check_reasons(&image, &reasons)?;
    Ok([image, tools])
}

fn sha256(path: &std::path::Path) -> Result<String> {
    let sum = output(Command::new("sha256sum").arg(path))?;
    let digits = sum.split_whitespace().next();
    digits
        .map(String::from)
        .context("sha256sum prints no digits")
}

/// Returns the version of the compiler, whose libraries are part of the image.
fn compiler() -> Result<String> {
    let version = output(Command::new("rustc").current_dir(root()).arg("--version"))?;
    let number = version.split_whitespace().nth(1);
    number
        .map(String::from)
        .context("rustc does not say its version")
}

/// Returns a text of a JSON object.
fn text<'a>(value: &'a Value, name: &str) -> Option<&'a str> {
    value.get(name)?.as_str()
}
