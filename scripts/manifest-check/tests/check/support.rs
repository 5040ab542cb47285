//! Copies of a good layout, which tests change and then judge.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

/// A copy of the layout for one test.
pub struct Case {
    /// The folder of the copy.
    pub dir: PathBuf,
}

/// A fault as the program reports it.
#[derive(Debug, PartialEq, Eq)]
pub struct Fault {
    /// `file:line:column` of the fault, below the folder of the case.
    pub place: String,
    /// The reader that complains.
    pub by: String,
    /// The message.
    pub message: String,
    /// A hint at the words that may have been meant.
    pub help: Option<String>,
}

/// Runs the program.
pub fn run(arguments: &[&str], dir: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_manifest-check"))
        .args(arguments)
        .current_dir(dir)
        .output()
        .expect("the program is built with its tests")
}

impl Case {
    /// Makes a copy of the good layout.
    pub fn new(name: &str) -> Self {
        let good = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/good");
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(&dir).unwrap();
        for file in fs::read_dir(good).unwrap() {
            let file = file.unwrap();
            fs::copy(file.path(), dir.join(file.file_name())).unwrap();
        }
        Self { dir }
    }

    /// Writes a file.
    pub fn write(self, file: &str, content: impl AsRef<[u8]>) -> Self {
        let path = self.dir.join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
        self
    }

    /// Replaces a text that occurs once in the file.
    pub fn change(self, file: &str, from: &str, to: &str) -> Self {
        let text = self.read(file);
        assert_eq!(text.matches(from).count(), 1, "{file}: {from}");
        self.write(file, text.replace(from, to))
    }

    /// Packs a manifest of the case and an image for 0x6400000.
    pub fn pack(&self, form: sp_layout::Form, manifest: &str, image: &[u8]) -> Vec<u8> {
        let dtb = Command::new("dtc")
            .args(["-q", "-O", "dtb"])
            .arg(self.dir.join(manifest))
            .output()
            .unwrap();
        let contents = sp_layout::Contents {
            manifest: &dtb.stdout,
            image,
            load_address: 0x640_0000,
        };
        let package = sp_layout::pack(form, sp_layout::Offsets::default(), &contents);
        package.unwrap().bytes
    }

    /// Returns the contents of a file.
    pub fn read(&self, file: &str) -> String {
        fs::read_to_string(self.dir.join(file)).unwrap()
    }

    /// Returns `file:line:column` of a text that occurs once in the file.
    pub fn place(&self, file: &str, text: &str) -> String {
        let content = self.read(file);
        let mut found = content.match_indices(text);
        let (at, _) = found.next().unwrap_or_else(|| panic!("{file}: no {text}"));
        assert!(found.next().is_none(), "{file}: {text} twice");
        let before = &content[..at];
        let line = before.matches('\n').count() + 1;
        let column = at - before.rfind('\n').map_or(0, |newline| newline + 1) + 1;
        format!("{file}:{line}:{column}")
    }

    /// Judges the layout. Returns the exit status and all faults.
    pub fn judge(&self, arguments: &[&str]) -> (i32, Vec<Fault>) {
        let output = run(&[&["--json"], arguments].concat(), &self.dir);
        let text = String::from_utf8(output.stdout).unwrap();
        let json: Value = serde_json::from_str(&text).unwrap_or_else(|error| {
            panic!(
                "{error}: {text} {}",
                String::from_utf8_lossy(&output.stderr)
            )
        });
        let text = |value: &Value| value.as_str().map(String::from);
        let fault = |fault: &Value| Fault {
            place: format!(
                "{}:{}:{}",
                fault["file"].as_str().unwrap(),
                fault["line"],
                fault["column"]
            ),
            by: text(&fault["by"]).unwrap(),
            message: text(&fault["message"]).unwrap(),
            help: text(&fault["help"]),
        };
        let faults = json["faults"].as_array().unwrap().iter().map(fault);
        (output.status.code().unwrap(), faults.collect())
    }

    /// Asserts that the layout has exactly these faults, each with the reader that complains, the
    /// file, the text of the file at the fault, and the message.
    #[track_caller]
    pub fn has(&self, expected: &[(&str, &str, &str, &str)]) {
        let (status, found) = self.judge(&["."]);
        let found: Vec<_> = found
            .iter()
            .map(|fault| {
                (
                    fault.by.as_str(),
                    fault.place.clone(),
                    fault.message.as_str(),
                )
            })
            .collect();
        let expected: Vec<_> = expected
            .iter()
            .map(|(by, file, at, message)| (*by, self.place(file, at), *message))
            .collect();
        assert_eq!(found, expected);
        assert_eq!(status, 1);
    }
}

impl Case {
    /// Asserts that the layout has exactly the faults with these messages.
    #[track_caller]
    pub fn has_messages(&self, expected: &[&str]) {
        let (status, found) = self.judge(&["."]);
        let found: Vec<_> = found.iter().map(|fault| fault.message.as_str()).collect();
        assert_eq!((status, found.as_slice()), (1, expected));
    }

    /// Asserts that a file has exactly the faults whose messages begin with these texts.
    #[track_caller]
    pub fn has_in(&self, file: &str, expected: &[&str]) {
        let (status, found) = self.judge(&[file]);
        assert_eq!((status, found.len()), (1, expected.len()), "{found:?}");
        for (fault, expected) in found.iter().zip(expected) {
            assert!(fault.message.starts_with(expected), "{found:?}");
        }
    }
}
