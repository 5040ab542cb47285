//! The crates that a package is built of, by `cargo tree`, which resolves features as a build does,
//! and `cargo metadata`, which knows the rest of each crate.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::policy::canonical;
use super::text;
use crate::build::cargo_command;
use crate::process::output;
use crate::workspace::root;

/// The name and the version of a crate. No two crates of the workspace have the same of both.
pub type Key = (String, String);

/// The packages whose crates are looked for.
pub enum Selection {
    /// One package, without its tests.
    Package(&'static str),
    /// Every package of the workspace, with its tests.
    Workspace,
}

/// The crates of a selection.
pub struct Crates(pub BTreeMap<Key, Crate>);

/// A crate.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Crate {
    /// The licence, as an expression of SPDX.
    pub licence: String,
    /// The registry, or `None` for a crate of this repository.
    pub source: Option<String>,
    pub repository: Option<String>,
    /// The SHA-256 of what the registry delivers.
    pub sha256: Option<String>,
    /// Set if the crate only runs in the compiler, or before it: a procedural macro, a build
    /// script, or what these are built of.
    pub builds_only: bool,
    /// The crates of the same selection that it is built of.
    pub needs: BTreeSet<Key>,
}

impl Crates {
    /// Finds the crates of a selection when it is built for `target`.
    pub fn find(selection: &Selection, target: &str) -> Result<Self> {
        let (of, all, linked) = match selection {
            Selection::Package(name) => (
                vec!["--package", *name],
                "normal,build",
                Some("normal,no-proc-macro"),
            ),
            Selection::Workspace => (vec!["--workspace"], "normal,build,dev", None),
        };
        let tree = |edges: &str| -> Result<BTreeSet<Key>> {
            let mut command = cargo_command_without_products("tree");
            command.args(["--locked", "--prefix=none", "--format={p}", "--target"]);
            command.args([target, "--edges", edges]).args(&of);
            // An empty line separates the packages of a workspace.
            let lines = output(&mut command)?;
            lines
                .lines()
                .filter(|line| !line.is_empty())
                .map(key)
                .collect()
        };
        let wanted = tree(all)?;
        let linked = linked.map(tree).transpose()?;
        let mut command = cargo_command_without_products("metadata");
        command.args([
            "--locked",
            "--format-version=1",
            "--filter-platform",
            target,
        ]);
        let metadata: Value = serde_json::from_str(&output(&mut command)?)?;
        let lock = fs::read_to_string(root().join("Cargo.lock"))?;
        let mut crates = Self::select(&metadata, &lock, &wanted)?;
        if let Some(linked) = linked {
            for (key, one) in &mut crates.0 {
                one.builds_only = !linked.contains(key);
            }
        }
        Ok(crates)
    }

    /// Selects crates of the metadata and of the lock file.
    fn select(metadata: &Value, lock: &str, wanted: &BTreeSet<Key>) -> Result<Self> {
        let sums = checksums(lock)?;
        let list = |value: &Value, name: &str| value.get(name).and_then(Value::as_array).cloned();
        let packages = list(metadata, "packages").context("metadata without packages")?;
        let nodes = list(&metadata["resolve"], "nodes").context("metadata without a graph")?;
        let mut ids = BTreeMap::new();
        let mut found = BTreeMap::new();
        for package in &packages {
            let name = text(package, "name").context("a package without a name")?;
            let version = text(package, "version").context("a package without a version")?;
            let key = (name.to_string(), version.to_string());
            let id = text(package, "id").context("a package without an id")?;
            ids.insert(id.to_string(), key.clone());
            if wanted.contains(&key) {
                let licence = text(package, "license");
                let licence = licence.with_context(|| format!("{name} names no licence"))?;
                let one = Crate {
                    licence: canonical(licence).with_context(|| name.to_string())?,
                    source: text(package, "source").map(String::from),
                    repository: text(package, "repository").map(String::from),
                    sha256: sums.get(&key).cloned(),
                    ..Crate::default()
                };
                found.insert(key, one);
            }
        }
        for node in &nodes {
            let own = text(node, "id").and_then(|id| ids.get(id));
            let own = own.context("a node of no package")?;
            if let Some(one) = found.get_mut(own) {
                let needs = list(node, "dependencies").unwrap_or_default();
                let needs = needs.iter().filter_map(|id| ids.get(id.as_str()?));
                one.needs = needs.filter(|key| wanted.contains(*key)).cloned().collect();
            }
        }
        for key in wanted {
            ensure!(
                found.contains_key(key),
                "no metadata of {} {}",
                key.0,
                key.1
            );
        }
        Ok(Self(found))
    }
}

/// Returns a cargo command that builds nothing.
fn cargo_command_without_products(subcommand: &str) -> std::process::Command {
    let mut command = std::process::Command::new(cargo_command(subcommand).get_program());
    command.current_dir(root()).arg(subcommand);
    command
}

/// Parses a line of `cargo tree`, such as `fdt v0.2.0-alpha3` or `syn v2.0.1 (*)`.
fn key(line: &str) -> Result<Key> {
    let mut words = line.split_whitespace();
    let (name, version) = (words.next(), words.next());
    let version = version.and_then(|version| version.strip_prefix('v'));
    let key = name.zip(version).with_context(|| format!("`{line}`"))?;
    Ok((key.0.to_string(), key.1.to_string()))
}

/// Returns the checksums that a lock file has.
fn checksums(lock: &str) -> Result<BTreeMap<Key, String>> {
    let lock: toml::Table = lock.parse()?;
    let packages = lock.get("package").and_then(toml::Value::as_array);
    let mut sums = BTreeMap::new();
    for package in packages.context("a lock file without packages")? {
        let word = |name| package.get(name).and_then(toml::Value::as_str);
        if let (Some(name), Some(version), Some(sum)) =
            (word("name"), word("version"), word("checksum"))
        {
            sums.insert((name.to_string(), version.to_string()), sum.to_string());
        }
    }
    Ok(sums)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    pub fn one(name: &str) -> Key {
        (name.to_string(), "1.0.0".to_string())
    }

    #[test]
    fn lines_of_cargo_tree_are_read() {
        let named = |name: &str, version: &str| (name.to_string(), version.to_string());
        for (line, expected) in [
            ("fdt v0.2.0-alpha3", named("fdt", "0.2.0-alpha3")),
            ("syn v3.0.9 (proc-macro) (*)", named("syn", "3.0.9")),
            ("spmc v0.2.0 (/a b/spmc)", named("spmc", "0.2.0")),
        ] {
            assert_eq!(key(line).unwrap(), expected);
        }
        assert!(key("").is_err());
    }

    #[test]
    fn only_wanted_crates_and_edges_between_them_are_taken() {
        let package = |name: &str| {
            json!({ "name": name, "version": "1.0.0", "id": name, "license": "MIT/Apache-2.0",
                    "source": "registry+x" })
        };
        let metadata = json!({
            "packages": [package("a"), package("b"), package("c")],
            "resolve": { "nodes": [
                { "id": "a", "dependencies": ["b", "c"] },
                { "id": "b", "dependencies": [] },
                { "id": "c", "dependencies": ["b"] },
            ] },
        });
        let lock = "[[package]]\nname = \"a\"\nversion = \"1.0.0\"\nchecksum = \"12\"\n";
        let wanted = BTreeSet::from([one("a"), one("b")]);
        let Crates(found) = Crates::select(&metadata, lock, &wanted).unwrap();
        assert_eq!(found.keys().cloned().collect::<BTreeSet<_>>(), wanted);
        let a = &found[&one("a")];
        assert_eq!(a.needs, BTreeSet::from([one("b")]));
        assert_eq!(a.licence, "MIT OR Apache-2.0");
        assert_eq!(a.sha256.as_deref(), Some("12"));
        assert_eq!(found[&one("b")].sha256, None);

        let unknown = BTreeSet::from([one("d")]);
        assert!(Crates::select(&metadata, lock, &unknown).is_err());
    }
}
