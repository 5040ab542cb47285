//! The list of mutants that may survive, with reasons.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};

use crate::place::{Mutant, single_spaces};

/// The list of reasons.
#[derive(Default)]
pub struct Reasons {
    /// The keys of the mutants in the list.
    keys: BTreeSet<String>,
}

impl Reasons {
    /// Parses a list: tables `[[survivor]]` with `file`, `function`, `reason` and `changes`, which
    /// are pairs of the original and the changed lines.
    pub fn read(text: &str) -> Result<Self> {
        let table: toml::Table = toml::from_str(text)?;
        let mut keys = BTreeSet::new();
        let empty = Vec::new();
        let survivors = table.get("survivor").and_then(toml::Value::as_array);
        for entry in survivors.unwrap_or(&empty) {
            let word = |name: &str| {
                let value = entry.get(name).and_then(toml::Value::as_str);
                value.with_context(|| format!("no `{name}` in {entry}"))
            };
            ensure!(
                !word("reason")?.trim().is_empty(),
                "an empty reason in {entry}"
            );
            let changes = entry.get("changes").and_then(toml::Value::as_array);
            for change in changes.with_context(|| format!("no `changes` in {entry}"))? {
                let pair = change.as_array().map(Vec::as_slice);
                let Some([toml::Value::String(original), toml::Value::String(mutated)]) = pair
                else {
                    anyhow::bail!("{change} is no pair of texts");
                };
                keys.insert(key(word("file")?, word("function")?, original, mutated));
            }
        }
        Ok(Self { keys })
    }

    /// Returns whether the list has a reason why `mutant` may survive.
    pub fn explain(&self, mutant: &Mutant) -> bool {
        self.keys.contains(&mutant.key())
    }

    /// Returns the keys that match none of `mutants`, because their code has changed.
    pub fn stale(&self, mutants: &[Mutant]) -> Vec<&String> {
        let present: BTreeSet<String> = mutants.iter().map(Mutant::key).collect();
        self.keys
            .iter()
            .filter(|key| !present.contains(*key))
            .collect()
    }
}

fn key(file: &str, function: &str, original: &str, mutated: &str) -> String {
    let mutant = Mutant {
        file: file.into(),
        line: 0,
        function: function.into(),
        operator: "",
        original: single_spaces(original),
        mutated: single_spaces(mutated),
    };
    mutant.key()
}
