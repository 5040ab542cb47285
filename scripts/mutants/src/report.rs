//! Reports of the results.

use std::collections::BTreeMap;

use crate::judge::Outcome;
use crate::place::Mutant;
use crate::reasons::Reasons;

/// The numbers of a folder's mutants, by result.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Tally {
    /// Mutants that were chosen.
    pub generated: usize,
    /// Mutants that do not compile.
    pub unviable: usize,
    /// Mutants that no test reaches.
    pub unreached: usize,
    /// Mutants that a test catches.
    pub caught: usize,
    /// Mutants with which all tests pass.
    pub survived: usize,
    /// Unreached and surviving mutants with a reason in the list.
    pub explained: usize,
}

impl Tally {
    fn add(&mut self, outcome: &Outcome, is_explained: bool) {
        self.generated += 1;
        match outcome {
            Outcome::Unviable => self.unviable += 1,
            Outcome::Unreached => self.unreached += 1,
            Outcome::Caught(_) => self.caught += 1,
            Outcome::Survived => self.survived += 1,
        }
        self.explained += usize::from(is_explained);
    }

    /// Returns the number of mutants that are neither caught nor explained by a reason.
    pub fn unexplained(&self) -> usize {
        self.unreached + self.survived - self.explained
    }

    /// Returns that number as a percentage of the mutants that compile.
    pub fn percent(&self) -> f64 {
        let viable = (self.generated - self.unviable).max(1);
        self.unexplained() as f64 * 100.0 / viable as f64
    }
}

/// Returns the tally of each folder, and that of all folders together.
pub fn tallies(
    judged: &[(&Mutant, Outcome)],
    reasons: &Reasons,
) -> (BTreeMap<String, Tally>, Tally) {
    let mut folders = BTreeMap::<String, Tally>::new();
    let mut all = Tally::default();
    for (mutant, outcome) in judged {
        let folder = mutant
            .file
            .rsplit_once('/')
            .map_or("", |(folder, _)| folder);
        let is_explained = needs_reason(outcome) && reasons.explain(mutant);
        folders
            .entry(folder.into())
            .or_default()
            .add(outcome, is_explained);
        all.add(outcome, is_explained);
    }
    (folders, all)
}

fn needs_reason(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Unreached | Outcome::Survived)
}

/// Prints the tallies as a table.
pub fn print(folders: &BTreeMap<String, Tally>, all: &Tally) {
    println!(
        "| folder | generated | unviable | caught | survived | unreached | explained | left |\n\
         |---|---|---|---|---|---|---|---|"
    );
    let rows = folders.iter().map(|(name, tally)| (name.as_str(), tally));
    for (name, tally) in rows.chain([("all", all)]) {
        println!(
            "| {name} | {} | {} | {} | {} | {} | {} | {} ({:.1} %) |",
            tally.generated,
            tally.unviable,
            tally.caught,
            tally.survived,
            tally.unreached,
            tally.explained,
            tally.unexplained(),
            tally.percent()
        );
    }
}

/// Prints the mutants that need a test or a reason, in the format of the list.
pub fn print_unexplained(judged: &[(&Mutant, Outcome)], reasons: &Reasons) {
    for (mutant, outcome) in judged {
        if needs_reason(outcome) && !reasons.explain(mutant) {
            let what = if *outcome == Outcome::Survived {
                "survived"
            } else {
                "unreached"
            };
            let Mutant {
                file,
                line,
                function,
                operator,
                original,
                mutated,
            } = mutant;
            println!(
                "\n# {file}:{line}: {what} ({operator})\n[[survivor]]\nfile = {file:?}\n\
                 function = {function:?}\nchanges = [\n    [{}, {}],\n]\nreason = \"\"",
                toml::Value::from(original.as_str()),
                toml::Value::from(mutated.as_str())
            );
        }
    }
}
