//! The layouts of the repository. All of them are good, except those that show what happens with
//! faults.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::support;

/// Layouts that are faulty on purpose, with the message for each.
const FAULTY: [(&str, &str); 2] = [
    (
        "manifests/faults/bad-manifest",
        "/memory-regions/stolen: base-address: expected a range that no package has, found \
         0xe400000..0xe401000, which 0x8002 has",
    ),
    (
        "manifests/faults/no-entry-point",
        "/attribute: binary_size: expected the bytes of the SPMC, without which it has one PE \
         alone, found nothing",
    ),
];

fn layouts(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in folder.read_dir().unwrap() {
        let path = entry.unwrap().path();
        if path.join("sp_layout.json").exists() {
            found.push(path.clone());
        }
        if path.is_dir() {
            layouts(&path, found);
        }
    }
}

#[test]
fn every_layout_of_the_repository_is_judged_right() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    for folder in ["manifests", "platform/qemu-sbsa/manifests"] {
        let mut found = Vec::new();
        layouts(&root.join(folder), &mut found);
        assert!(found.len() >= 3, "{folder}");
        for layout in found {
            let layout = layout.strip_prefix(&root).unwrap().to_str().unwrap();
            let output = support::run(&["--json", "--layouts", folder, layout], &root);
            let json: Value = serde_json::from_slice(&output.stdout).unwrap();
            let faults = json["faults"].as_array().unwrap();
            let errors: Vec<_> = faults
                .iter()
                .filter(|fault| fault["severity"] == "error")
                .map(|fault| fault["message"].as_str().unwrap())
                .collect();
            let expected: Vec<_> = FAULTY
                .iter()
                .filter(|(name, _)| *name == layout)
                .map(|(_, message)| *message)
                .collect();
            assert_eq!(errors, expected, "{layout}");
            let status = i32::from(!errors.is_empty());
            assert_eq!(output.status.code(), Some(status), "{layout}");
        }
    }
}
