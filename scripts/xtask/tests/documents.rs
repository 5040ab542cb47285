//! Checks that documents name files that exist, and that the table of modules names all files that
//! it must name.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::fs;
use std::path::{Path, PathBuf};

/// The document that lists source files.
const MODULES: &str = "docs/modules.md";

/// Folders whose sources the table lists.
const LISTED: &[&str] = &["spmc/src", "platform"];

/// The documents outside of the folder `docs`.
const TOP: &[&str] = &[
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "README.md",
    "SECURITY.md",
];

/// The table of contents of the book.
const CONTENTS: &str = "docs/book/SUMMARY.md";

/// A file with more lines than this must be listed.
const LONG: usize = 100;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Returns the paths, from the root, of all files below `folder` whose names end in `.kind`.
fn files(folder: &str, kind: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(root().join(folder)).unwrap() {
        let path = entry.unwrap().path();
        let name = format!("{folder}/{}", path.file_name().unwrap().to_string_lossy());
        if path.is_dir() {
            found.extend(files(&name, kind));
        } else if path.extension().is_some_and(|extension| extension == kind) {
            found.push(name);
        }
    }
    found
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Fails with a list of the items in `found`, each of which has the same fault.
fn assert_none(found: impl IntoIterator<Item = impl Display>, fault: &str) {
    let lines: Vec<String> = found
        .into_iter()
        .map(|item| format!("{item} {fault}"))
        .collect();
    assert!(lines.is_empty(), "\n{}\n", lines.join("\n"));
}

/// Returns the texts between single backticks on a line.
fn code_spans(line: &str) -> impl Iterator<Item = &str> {
    line.split('`').skip(1).step_by(2)
}

/// Returns the paths, from the root, of the sources that a table of modules names. A name without a
/// folder belongs to the folder in the heading above it.
fn listed(text: &str) -> BTreeSet<String> {
    let mut folder = "";
    let mut names = BTreeSet::new();
    for line in text.lines() {
        if line.starts_with('#') {
            folder = code_spans(line).next().unwrap_or_default();
        }
        for name in code_spans(line).filter(|name| name.ends_with(".rs")) {
            let is_path = LISTED
                .iter()
                .any(|top| name.starts_with(&format!("{top}/")));
            names.insert(if is_path {
                name.to_string()
            } else {
                format!("{folder}/{name}")
            });
        }
    }
    names
}

#[test]
fn names_belong_to_the_folder_above_them() {
    let text =
        "# `spmc/src/mm`\n| `walk.rs` | `pool` and `tests/map.rs` |\n## Other\n`platform/a.rs`";
    let names = [
        "platform/a.rs",
        "spmc/src/mm/tests/map.rs",
        "spmc/src/mm/walk.rs",
    ];
    assert_eq!(listed(text), names.map(String::from).into());
}

#[test]
fn the_table_of_modules_is_complete() {
    let listed = listed(&read(MODULES));
    let gone = listed.iter().filter(|name| !root().join(name).is_file());
    assert_none(gone, "is in the table of modules and not in the tree");

    let sources = LISTED.iter().flat_map(|folder| files(folder, "rs"));
    let missing = sources
        .filter(|name| read(name).lines().count() > LONG)
        .filter(|name| !listed.contains(name));
    assert_none(missing, "is long and not in the table of modules");
}

/// Returns whether a code span is the path of a file or folder of this repository, without a line
/// number or a pattern.
fn is_path(span: &str) -> bool {
    const TOP: &[&str] = &[
        "docs",
        "linker",
        "manifests",
        "platform",
        "scripts",
        "spmc",
        "tests",
    ];
    span.split_once('/').is_some_and(|(top, rest)| {
        TOP.contains(&top) && !rest.contains([' ', '<', '*', ':', '{', '$'])
    })
}

#[test]
fn documents_name_what_is_there() {
    let top = TOP.iter().map(|name| name.to_string());
    let mut gone = Vec::new();
    for document in top.chain(files("docs", "md")) {
        for (number, line) in read(&document).lines().enumerate() {
            let paths = code_spans(line).filter(|span| is_path(span));
            gone.extend(
                paths
                    .filter(|path| !root().join(path).exists())
                    .map(|path| format!("{document}:{}: {path}", number + 1)),
            );
        }
    }
    assert_none(gone, "is not there");
}

#[test]
fn the_book_has_every_document() {
    let contents = read(CONTENTS);
    let documents = files("docs", "md")
        .into_iter()
        .filter(|name| name != CONTENTS);
    let missing = documents
        .chain(TOP.iter().map(|name| name.to_string()))
        .filter(|name| !contents.contains(&format!("({name})")));
    assert_none(missing, "is not in the table of contents");
}
