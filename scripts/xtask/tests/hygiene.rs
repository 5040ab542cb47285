//! Checks rules that hold for the whole tree: the places of unsafe code, the form of comments and
//! documents, and the absence of unfinished work.

use std::fs;
use std::path::{Path, PathBuf};

/// Folders below which unsafe code is permitted, and the allocator of the host tests.
const UNSAFE_BELOW: &[&str] = &[
    "platform/",
    "scripts/sdk/",
    "tests/guest/",
    "tests/host/src/allocations.rs",
];

/// The keyword, in halves, so that this file does not contain it.
const KEYWORD: &str = concat!("un", "safe");
const MARKS: &[&str] = &[
    concat!("to", "do!"),
    concat!("un", "implemented!"),
    concat!("FIX", "ME"),
    concat!("TO", "DO"),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Returns the Rust sources of the project, with their paths from the root.
fn sources() -> Vec<(String, String)> {
    let mut sources = Vec::new();
    for folder in ["spmc", "platform", "scripts", "tests"] {
        collect(&root().join(folder), folder, &mut sources);
    }
    assert!(sources.len() > 20, "the sources were not found");
    sources
}

/// Returns the documents of the project, with their paths from the root. Generated tables do not
/// wrap, so they are left out.
fn documents() -> Vec<(String, String)> {
    let mut documents = Vec::new();
    for folder in ["", "docs"] {
        for entry in fs::read_dir(root().join(folder)).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|kind| kind == "md") {
                let name = path.file_name().unwrap().to_string_lossy();
                documents.push((
                    format!("{folder}/{name}"),
                    fs::read_to_string(&path).unwrap(),
                ));
            }
        }
    }
    assert!(documents.len() > 10, "the documents were not found");
    documents
}

fn collect(folder: &Path, name: &str, sources: &mut Vec<(String, String)>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = format!("{name}/{}", path.file_name().unwrap().to_string_lossy());
        if path.is_dir() {
            collect(&path, &name, sources);
        } else if path.extension().is_some_and(|kind| kind == "rs") {
            sources.push((name, fs::read_to_string(&path).unwrap()));
        }
    }
}

/// Returns whether the keyword is a word in the code of a line, and not only in a comment.
fn is_unsafe(line: &str) -> bool {
    let code = line.split("//").next().unwrap_or_default();
    code.split(|c: char| !c.is_alphanumeric() && c != '_')
        .any(|word| word == KEYWORD)
}

#[test]
fn the_keyword_is_found_in_code_only() {
    assert!(is_unsafe(&format!("    {KEYWORD} {{ asm!() }}")));
    assert!(is_unsafe(&format!("pub {KEYWORD} fn f() {{}}")));
    assert!(is_unsafe(&format!("#[{KEYWORD}(no_mangle)]")));
    assert!(!is_unsafe(&format!("// {KEYWORD} in words")));
    assert!(!is_unsafe(&format!("#![forbid({KEYWORD}_code)]")));
}

#[test]
fn no_unsafe_code_outside_platform_and_guests() {
    for (name, text) in sources() {
        if UNSAFE_BELOW.iter().any(|folder| name.starts_with(folder)) {
            continue;
        }
        for (number, line) in text.lines().enumerate() {
            assert!(!is_unsafe(line), "{name}:{}: {line}", number + 1);
        }
    }
}

/// Returns the text of a paragraph of a doc comment that begins on `line`. Returns `None` if it
/// began before, which `before`, the previous line, shows.
fn doc_beginning<'a>(before: &str, line: &'a str) -> Option<&'a str> {
    ["///", "//!"].into_iter().find_map(|mark| {
        let text = line.trim_start().strip_prefix(mark)?;
        let goes_on = before
            .trim_start()
            .strip_prefix(mark)
            .is_some_and(|text| !text.trim().is_empty());
        (!goes_on).then_some(text.trim_start())
    })
}

#[test]
fn doc_comments_begin_where_they_begin() {
    assert_eq!(doc_beginning("", "    /// Returns"), Some("Returns"));
    assert_eq!(doc_beginning("//! One", "/// Two"), Some("Two"));
    assert_eq!(doc_beginning("/// One", "/// two"), None);
    assert_eq!(doc_beginning("    ///", "    /// Two"), Some("Two"));
    assert_eq!(doc_beginning("", "// A comment"), None);
}

#[test]
fn doc_comments_begin_with_what_they_document() {
    for (name, text) in sources() {
        let mut before = "";
        for (number, line) in text.lines().enumerate() {
            let beginning = doc_beginning(before, line).unwrap_or_default();
            for vague in ["Whether ", "What ", "The same ", "If it "] {
                assert!(
                    !beginning.starts_with(vague),
                    "{name}:{}: begin with a verb or a noun: {line}",
                    number + 1
                );
            }
            before = line;
        }
    }
}

/// The most columns of a line with a comment, and of a line in a document, outside of tables.
const COLUMNS: usize = 100;
const DOCUMENT_COLUMNS: usize = 120;

/// Returns whether `line` has a comment, alone or after code.
fn has_comment(line: &str) -> bool {
    ["// ", "/// ", "//! "]
        .into_iter()
        .any(|mark| line.trim_start().starts_with(mark) || line.contains(&format!("; {mark}")))
}

#[test]
fn comments_are_found_alone_and_behind_code() {
    assert!(has_comment("    /// Returns it."));
    assert!(has_comment("    one(); // why"));
    assert!(!has_comment("    \"https://example.org // not\""));
}

#[test]
fn lines_with_comments_are_short() {
    for (name, text) in sources() {
        for (number, line) in text.lines().enumerate() {
            assert!(
                !has_comment(line) || line.chars().count() <= COLUMNS,
                "{name}:{}: more than {COLUMNS} columns: {line}",
                number + 1
            );
        }
    }
}

#[test]
fn documents_wrap() {
    for (name, text) in documents() {
        let mut code = false;
        for (number, line) in text.lines().enumerate() {
            code ^= line.trim_start().starts_with("```");
            let wraps = !code && !line.starts_with(['|', '!', '<']);
            assert!(
                !wraps || line.chars().count() <= DOCUMENT_COLUMNS,
                "{name}:{}: more than {DOCUMENT_COLUMNS} columns: {line}",
                number + 1
            );
        }
    }
}

#[test]
fn nothing_is_left_unfinished() {
    for (name, text) in sources() {
        for (number, line) in text.lines().enumerate() {
            for mark in MARKS {
                assert!(!line.contains(mark), "{name}:{}: {line}", number + 1);
            }
        }
    }
}
