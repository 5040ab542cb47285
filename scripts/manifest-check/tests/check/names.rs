//! Checks that the program knows each word that the SPMC reads. Otherwise a correct word could be
//! reported as a misspelling of a similar one.

use std::fs;
use std::path::Path;

/// Returns the words in quotes before `=>` or `|`, or after `name ==`: those with which a parser
/// compares names.
fn words(source: &str) -> Vec<&str> {
    let code = source.split("#[cfg(test)]").next().unwrap_or(source);
    let mut words = Vec::new();
    for line in code.lines() {
        let parts: Vec<_> = line.split('"').collect();
        for at in (1..parts.len()).step_by(2) {
            let before = parts.get(at - 1).map_or("", |text| text.trim_end());
            let behind = parts.get(at + 1).map_or("", |text| text.trim_start());
            let compared = behind.starts_with("=>") || before.ends_with("name ==");
            if compared && !parts[at].is_empty() {
                words.push(parts[at]);
            }
        }
    }
    words
}

#[test]
fn every_word_that_the_spmc_reads_is_known() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let known = fs::read_to_string(root.join("src/names.rs")).unwrap();
    let mut seen = 0;
    for file in [
        "partition_manifest",
        "regions",
        "services",
        "spmc_manifest",
        "stream_devices",
    ] {
        let path = root.join(format!("../../spmc/src/manifest/{file}.rs"));
        let source = fs::read_to_string(path).unwrap();
        for word in words(&source) {
            seen += 1;
            assert!(
                known.contains(&format!("\"{word}\"")),
                "{file}.rs reads `{word}`"
            );
        }
    }
    assert!(seen > 80, "{seen}");
}
