//! Which crates are permitted: licences and registries by `deny.toml`, which `cargo deny` reads as
//! well, and the crates of the image by a table that gives a reason for each.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, bail, ensure};
use spdx::{Expression, Licensee};

use super::crates::{Crate, Crates, Key};

/// The document with a reason for each crate of the image.
pub const REASONS: &str = "docs/supply-chain.md";

/// The start of the name that cargo gives to a registry in its metadata.
const REGISTRY: &str = "registry+";

/// The licences that a crate may have, and the registries that it may come from.
pub struct Policy {
    licences: Vec<Licensee>,
    /// Licences that only single crates may have.
    exceptions: BTreeMap<String, Vec<Licensee>>,
    registries: Vec<String>,
}

/// Returns a licence as an expression of SPDX: older crates have `/` in place of `OR`.
pub fn canonical(licence: &str) -> Result<String> {
    let text = Expression::canonicalize(licence)?.unwrap_or_else(|| licence.to_string());
    Expression::parse(&text)?;
    Ok(text)
}

impl Policy {
    /// Reads the configuration of `cargo deny`.
    pub fn read(text: &str) -> Result<Self> {
        let table: toml::Table = text.parse()?;
        let licences = table.get("licenses").context("no [licenses]")?;
        let mut exceptions = BTreeMap::new();
        let list = licences.get("exceptions").and_then(toml::Value::as_array);
        for exception in list.into_iter().flatten() {
            let name = exception.get("crate").and_then(toml::Value::as_str);
            let name = name.context("an exception of no crate")?;
            exceptions.insert(name.to_string(), licensees(exception)?);
        }
        let sources = table.get("sources").context("no [sources]")?;
        Ok(Self {
            licences: licensees(licences)?,
            exceptions,
            registries: strings(sources, "allow-registry")?,
        })
    }

    /// Fails if a crate is not permitted, and names each that is not.
    pub fn check(&self, crates: &Crates) -> Result<()> {
        let wrong = crates.0.iter().filter_map(|(key, one)| {
            let error = self.check_one(&key.0, one).err()?;
            Some(format!("{} {}: {error:#}", key.0, key.1))
        });
        let wrong: Vec<String> = wrong.collect();
        ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
        Ok(())
    }

    fn check_one(&self, name: &str, one: &Crate) -> Result<()> {
        let own = self.exceptions.get(name).into_iter().flatten();
        let permitted: Vec<&Licensee> = self.licences.iter().chain(own).collect();
        let expression = Expression::parse(&one.licence)?;
        let is_permitted = expression
            .evaluate(|required| permitted.iter().any(|licence| licence.satisfies(required)));
        ensure!(
            is_permitted,
            "deny.toml does not permit its licence, {}",
            one.licence
        );
        let Some(source) = &one.source else {
            return Ok(());
        };
        let registry = source.strip_prefix(REGISTRY).unwrap_or(source);
        ensure!(
            self.registries.iter().any(|known| known == registry),
            "deny.toml does not permit its source, {source}"
        );
        ensure!(one.sha256.is_some(), "Cargo.lock has no checksum of it");
        Ok(())
    }
}

fn licensees(table: &toml::Value) -> Result<Vec<Licensee>> {
    let names = strings(table, "allow")?;
    let licences = names.iter().map(|name| Ok(Licensee::parse(name)?));
    licences.collect()
}

fn strings(table: &toml::Value, name: &str) -> Result<Vec<String>> {
    let list = table.get(name).and_then(toml::Value::as_array);
    let list = list.with_context(|| format!("no `{name}`"))?;
    let texts = list.iter().map(|value| value.as_str().map(String::from));
    texts.collect::<Option<_>>().context("not all are texts")
}

/// Fails unless the table in `document` has a row, with a reason, for each crate of the image that
/// others made, and no other row. A new version needs a new look, so a row names the version.
pub fn check_reasons(image: &Crates, document: &str) -> Result<()> {
    let mut rows = BTreeSet::new();
    for row in document.lines().filter_map(row) {
        let [name, version, licence, use_, reason] = row;
        let key = (name.to_string(), version.to_string());
        let Some(one) = image.0.get(&key) else {
            bail!("{REASONS}: {name} {version} is no crate of the image");
        };
        let expected = if one.builds_only { "build" } else { "image" };
        ensure!(
            licence == one.licence && use_ == expected && !reason.is_empty(),
            "{REASONS}: {name} must have the licence {}, the use {expected} and a reason",
            one.licence
        );
        ensure!(rows.insert(key), "{REASONS}: {name} {version} stands twice");
    }
    let others = image.0.iter().filter(|(_, one)| one.source.is_some());
    let missing: Vec<&Key> = others
        .map(|(key, _)| key)
        .filter(|key| !rows.contains(*key))
        .collect();
    ensure!(
        missing.is_empty(),
        "{REASONS} has no row for {missing:?}: look at each, and write down the reason for it"
    );
    Ok(())
}

/// Returns the cells of a row of the table: name, version, licence, use and reason.
fn row(line: &str) -> Option<[&str; 5]> {
    let cells = line.strip_prefix("| `")?.strip_suffix('|')?.split('|');
    let cells = cells.map(|cell| cell.trim().trim_end_matches('`'));
    cells.collect::<Vec<_>>().try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DENY: &str = "
        [licenses]
        allow = [\"MIT\", \"Apache-2.0\"]
        exceptions = [{ crate = \"fdt\", allow = [\"MPL-2.0\"] }]
        [sources]
        allow-registry = [\"here\"]
        ";

    fn crates(list: &[(&str, &str, Option<&str>)]) -> Crates {
        let crates = list.iter().map(|(name, licence, source)| {
            let one = Crate {
                licence: licence.to_string(),
                source: source.map(String::from),
                sha256: Some("12".into()),
                ..Crate::default()
            };
            ((name.to_string(), "1.0.0".to_string()), one)
        });
        Crates(crates.collect())
    }

    #[test]
    fn licences_are_made_expressions() {
        assert_eq!(canonical("MIT/Apache-2.0").unwrap(), "MIT OR Apache-2.0");
        assert_eq!(canonical("MPL-2.0").unwrap(), "MPL-2.0");
        assert!(canonical("Mine").is_err());
    }

    #[test]
    fn a_crate_has_a_permitted_licence_and_source() {
        let policy = Policy::read(DENY).unwrap();
        for (name, licence, source, is_permitted) in [
            ("a", "MIT", Some("registry+here"), true),
            ("a", "MIT", None, true),
            ("a", "MIT", Some("registry+there"), false),
            ("a", "MIT", Some("git+https://here"), false),
            ("a", "GPL-3.0-only OR MIT", Some("registry+here"), true),
            ("a", "GPL-3.0-only AND MIT", Some("registry+here"), false),
            ("a", "MPL-2.0", Some("registry+here"), false),
            ("fdt", "MPL-2.0", Some("registry+here"), true),
        ] {
            let result = policy.check(&crates(&[(name, licence, source)]));
            assert_eq!(result.is_ok(), is_permitted, "{name} {licence} {source:?}");
        }
    }

    #[test]
    fn each_crate_of_others_has_one_row_and_a_reason() {
        let image = crates(&[("a", "MIT", Some("registry+here")), ("own", "MIT", None)]);
        let good = "| crate | version |\n| `a` | 1.0.0 | MIT | image | locks |\n";
        check_reasons(&image, good).unwrap();
        for bad in [
            "",
            "| `a` | 1.0.0 | MIT | image | |",
            "| `a` | 1.0.1 | MIT | image | locks |",
            "| `a` | 1.0.0 | MIT | build | locks |",
            "| `a` | 1.0.0 | MPL-2.0 | image | locks |",
            &good.repeat(2),
            &format!("{good}| `b` | 1.0.0 | MIT | image | locks |"),
        ] {
            assert!(check_reasons(&image, bad).is_err(), "{bad}");
        }
    }
}
