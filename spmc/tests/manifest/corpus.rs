//! The corpus of `tests/host/corpus/manifests`: sources of manifests in the forms that are found in
//! the field.
//!
//! The first line of each says what the result must be: `// ok`, followed by one line
//! `// warns: ...` for each expected warning, or `// refused: ` and the exact error.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use spmc::manifest::check;

use crate::log_capture::capture;

fn files() -> Vec<PathBuf> {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/host/corpus/manifests");
    let entries = fs::read_dir(corpus)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = entries
        .filter(|path| path.extension().is_some_and(|end| end == "dts"))
        .collect();
    files.sort();
    files
}

fn compile(source: &Path) -> Vec<u8> {
    let output = Command::new("dtc")
        .args(["-q", "-I", "dts", "-O", "dtb"])
        .arg(source)
        .output()
        .expect("dtc is needed: `cargo xtask setup` installs it");
    assert!(output.status.success(), "{}: {output:?}", source.display());
    output.stdout
}

// req: MAN-01, MAN-02, MAN-09, MAN-12, MAN-26, MAN-31
#[test]
fn every_manifest_has_the_outcome_that_its_first_line_names() {
    let files = files();
    assert!(files.len() >= 8, "{files:?}");
    for file in files {
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        let source = fs::read_to_string(&file).unwrap();
        let expectations: Vec<&str> = source
            .lines()
            .map_while(|line| line.strip_prefix("// "))
            .collect();
        let (result, lines) = capture(|| check(&compile(&file)));
        let outcome = match result {
            Ok(_) => "ok".to_string(),
            Err(error) => format!("refused: {error}"),
        };
        let warnings = lines
            .iter()
            .map(|line| line.replace("WARN partition: ", "warns: "));
        let found: Vec<String> = [outcome].into_iter().chain(warnings).collect();
        assert_eq!(found, expectations, "{name}");
    }
}
