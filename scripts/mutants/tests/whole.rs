//! Runs the tool on a crate of a few lines, one test of which does not check its result closely.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use mutants::judge::{History, Outcome, judge};
use mutants::project::Project;
use mutants::reasons::Reasons;
use mutants::report::tallies;
use mutants::suite::Suite;

const MANIFEST: &str = "[workspace]\nresolver = \"2\"\nmembers = [\"small\", \"other\"]\n";

const PACKAGE: &str = "[package]\nname = \"small\"\nversion = \"0.1.0\"\nedition = \"2024\"\n";

const LIBRARY: &str = "//! Small.\n#![no_std]\n#![forbid(unsafe_code)]\npub mod room;\n";

const ROOM: &str = r#"
/// Computed at build time, so that it must stay `const`.
pub const fn twice(n: u32) -> u32 {
    n * 2
}

/// Its callers.
pub const ROOM: u32 = twice(4);

/// Nothing calls this at build time.
pub const fn fits(length: u32) -> bool {
    length <= ROOM
}

/// A loop that some mutants never leave.
pub fn halvings(mut n: u32) -> u32 {
    let mut count = 0;
    while n > 1 {
        n /= 2;
        count += 1;
    }
    count
}

/// No operator can change how two texts are added up without an error of the compiler.
pub fn same<'a>(text: &'a str, _: &str) -> &'a str {
    let mut kept = text;
    let first: &str;
    first = kept;
    kept = first;
    kept
}

/// No test comes here.
pub fn forgotten(n: u32) -> u32 {
    n + ROOM
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn not_close_enough() {
        assert!(fits(1));
        assert!(!fits(100));
    }

    #[test]
    fn counts() {
        assert_eq!([0, 1, 2, 8, 9].map(halvings), [0, 0, 1, 3, 3]);
        assert_eq!(same("a", "b"), "a");
    }
}
"#;

fn project(root: &Path) -> Project {
    for (path, text) in [
        ("Cargo.toml", MANIFEST),
        ("small/Cargo.toml", PACKAGE),
        ("small/src/lib.rs", LIBRARY),
        ("small/src/room.rs", ROOM),
    ] {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    Project {
        root: root.into(),
        products: root.join("mutants"),
        members: vec!["small".into()],
        needed: Vec::new(),
        chosen: vec!["small/src/room.rs".into()],
        environment: Vec::new(),
        left_out: Vec::new(),
    }
}

#[test]
fn a_test_that_does_not_look_closely_lets_a_mutant_survive() {
    let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join("whole");
    let project = project(&root);
    let _ = fs::remove_file(project.products.join("results.jsonl"));
    let tree = project.build().unwrap();
    let suite = Suite::record(&project, &tree, 1).unwrap();
    let numbers: Vec<u32> = (1..=tree.mutants.len() as u32).collect();
    let judge = || {
        let history = History::read(&project, &tree);
        judge(&project, &tree, &suite, &history, &numbers, 1).unwrap()
    };
    let outcomes = judge();
    let with = |wanted: &dyn Fn(&Outcome) -> bool| -> BTreeSet<(&str, &str)> {
        let judged = tree.mutants.iter().zip(&outcomes);
        let chosen = judged.filter(|(_, outcome)| wanted(outcome));
        chosen
            .map(|(mutant, _)| (mutant.function.as_str(), mutant.mutated.as_str()))
            .collect()
    };

    assert_eq!(
        with(&|outcome| *outcome == Outcome::Survived),
        [("fits", "length < ROOM")].into()
    );
    let unreached = with(&|outcome| *outcome == Outcome::Unreached);
    assert!(
        unreached
            .iter()
            .all(|(function, _)| *function == "forgotten"),
        "{unreached:?}"
    );
    assert!(unreached.contains(&("forgotten", "n - ROOM")));
    let unviable = with(&|outcome| *outcome == Outcome::Unviable);
    assert!(
        unviable.contains(&("twice", "n + 2")),
        "a constant needs it: {unviable:?}"
    );
    assert!(
        unviable.contains(&("same", "")),
        "nothing would be assigned: {unviable:?}"
    );
    let by = |wanted: &str| {
        let caught = Outcome::Caught(wanted.into());
        with(&|outcome| *outcome == caught)
    };
    assert!(by("room::tests::not_close_enough").contains(&("fits", "length > ROOM")));
    // The loop never ends, which the number of steps shows.
    assert!(by("room::tests::counts").contains(&("halvings", "while n >= 1 {")));
    let sum = [Outcome::Survived, Outcome::Unreached, Outcome::Unviable].map(|wanted| {
        outcomes
            .iter()
            .filter(|outcome| **outcome == wanted)
            .count()
    });
    assert!(
        sum.iter().sum::<usize>() * 2 < outcomes.len(),
        "most are caught: {outcomes:?}"
    );

    // Earlier results are reused, and the reason explains the survivor.
    assert_eq!(judge(), outcomes);
    let history = History::read(&project, &tree);
    let last = numbers.iter().map(|number| history.last(*number));
    for (last, outcome) in last.zip(&outcomes) {
        let noted = !matches!(outcome, Outcome::Unreached | Outcome::Unviable);
        assert_eq!(last.map(|(_, last)| last), noted.then_some(outcome));
    }
    let reasons = Reasons::read(
        "[[survivor]]\nfile = \"small/src/room.rs\"\nfunction = \"fits\"\n\
         reason = \"A test of a test.\"\nchanges = [[\"length <= ROOM\", \"length < ROOM\"]]",
    );
    let judged: Vec<_> = tree.mutants.iter().zip(outcomes).collect();
    let (_, all) = tallies(&judged, &reasons.unwrap());
    assert_eq!(
        (all.survived, all.explained, all.unexplained()),
        (1, 1, all.unreached)
    );
}
