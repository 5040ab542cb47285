//! Faults, each with its place and the reader that complains, and what is worth knowing beside
//! them, as text and as JSON.

use std::collections::HashMap;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use codespan_reporting::diagnostic::{Diagnostic as Shown, Label, Severity as Level};
use codespan_reporting::files::SimpleFiles;
use codespan_reporting::term;
use serde_json::{Value, json};

use crate::shown;

/// The severity of a fault.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Severity {
    /// The boot refuses something, or does something else than the author meant.
    Error,
    /// The boot goes on and logs a warning.
    Warning,
}

/// The reader that complains.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum By {
    /// The SPMC: the boot would print this line.
    Spmc,
    /// TF-A's tools and images, and other readers of the same formats.
    Firmware,
    /// Files of a layout that do not fit together.
    Layout,
    /// No reader: a word that all readers ignore.
    Spelling,
    /// The device tree compiler or the C preprocessor.
    Compiler,
}

impl By {
    const fn name(self) -> &'static str {
        match self {
            Self::Spmc => "spmc",
            Self::Firmware => "firmware",
            Self::Layout => "layout",
            Self::Spelling => "spelling",
            Self::Compiler => "compiler",
        }
    }
}

/// A place in a file. Lines and columns count from 1; line 0 means the file as a whole.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Place {
    /// The file.
    pub file: PathBuf,
    /// The line.
    pub line: usize,
    /// The column, in characters.
    pub column: usize,
    /// Number of characters.
    pub length: usize,
}

impl Place {
    /// Returns the place that means all of a file.
    pub fn whole(file: &Path) -> Self {
        Self {
            file: file.to_path_buf(),
            line: 0,
            column: 0,
            length: 0,
        }
    }
}

/// One fault.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Diagnostic {
    /// The severity.
    pub severity: Severity,
    /// The reader that complains.
    pub by: By,
    /// The place.
    pub place: Place,
    /// The fault, in one line.
    pub message: String,
    /// A hint at the words that may have been meant.
    pub help: Option<String>,
}

impl Diagnostic {
    /// Returns an error.
    pub fn error(by: By, place: Place, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            by,
            place,
            message: message.into(),
            help: None,
        }
    }
}

/// The faults that were found, and lines that tell of no fault.
#[derive(Default)]
pub struct Diagnostics {
    faults: Vec<Diagnostic>,
    notes: Vec<String>,
}

impl Diagnostics {
    /// Adds a fault, unless an equal one is there already.
    pub fn add(&mut self, diagnostic: Diagnostic) {
        let diagnostic = Diagnostic {
            place: Place {
                file: shown(&diagnostic.place.file),
                ..diagnostic.place
            },
            ..diagnostic
        };
        if !self.faults.contains(&diagnostic) {
            self.faults.push(diagnostic);
        }
    }

    /// Adds a line that tells of no fault.
    pub fn note(&mut self, line: String) {
        self.notes.push(line);
    }

    /// Adds an error.
    pub fn error(&mut self, by: By, place: Place, message: impl Into<String>) {
        self.add(Diagnostic::error(by, place, message));
    }

    /// Adds a warning.
    pub fn warn(&mut self, by: By, place: Place, message: impl Into<String>) {
        self.add(Diagnostic {
            severity: Severity::Warning,
            ..Diagnostic::error(by, place, message)
        });
    }

    fn count(&self, severity: Severity) -> usize {
        let of = |one: &&Diagnostic| one.severity == severity;
        self.faults.iter().filter(of).count()
    }

    /// Returns whether the exit status must be that of a faulty input.
    pub fn has_faults(&self, deny_warnings: bool) -> bool {
        self.count(Severity::Error) > 0 || (deny_warnings && !self.faults.is_empty())
    }

    /// Returns the notes, and one line with the numbers of errors and warnings.
    pub fn summary(&self) -> String {
        let (errors, warnings) = (self.count(Severity::Error), self.count(Severity::Warning));
        let plural = |count, word| match count {
            1 => format!("1 {word}"),
            _ => format!("{count} {word}s"),
        };
        let verdict = match (errors, warnings) {
            (0, 0) => "good".into(),
            (0, _) => format!("good, {}", plural(warnings, "warning")),
            _ => format!(
                "{}, {}",
                plural(errors, "error"),
                plural(warnings, "warning")
            ),
        };
        let notes = self.notes.iter().map(|note| format!("{note}\n"));
        notes.chain([verdict]).collect()
    }

    /// Returns all faults as text, each with the line of its file.
    pub fn text(&self) -> String {
        let mut files = SimpleFiles::new();
        let mut known = HashMap::new();
        let mut text = String::new();
        let config = term::Config::default();
        for one in &self.faults {
            let place = &one.place;
            let file = *known.entry(&place.file).or_insert_with(|| {
                let content = fs::read(&place.file).unwrap_or_default();
                let content = String::from_utf8_lossy(&content).into_owned();
                files.add(place.file.display().to_string(), content)
            });
            let level = match one.severity {
                Severity::Error => Level::Error,
                Severity::Warning => Level::Warning,
            };
            let mut shown = Shown::new(level)
                .with_code(one.by.name())
                .with_message(&one.message);
            let content = files.get(file).map_or("", |file| file.source().as_str());
            match range(content, place) {
                Some(range) => shown = shown.with_label(Label::primary(file, range)),
                None => shown = shown.with_note(place.file.display()),
            }
            if let Some(help) = &one.help {
                shown = shown.with_note(format!("help: {help}"));
            }
            if term::emit_to_string(&mut text, &config, &files, &shown).is_err() {
                // The file has changed meanwhile, so that the place does not exist any more.
                let _ = writeln!(text, "{}: {}", place.file.display(), one.message);
            }
        }
        text
    }

    /// Returns all faults as JSON.
    pub fn json(&self) -> Value {
        let faults = self.faults.iter().map(|one| {
            json!({
                "severity": match one.severity {
                    Severity::Error => "error",
                    Severity::Warning => "warning",
                },
                "by": one.by.name(),
                "file": one.place.file,
                "line": one.place.line,
                "column": one.place.column,
                "message": one.message,
                "help": one.help,
            })
        });
        json!({
            "errors": self.count(Severity::Error),
            "warnings": self.count(Severity::Warning),
            "faults": faults.collect::<Vec<_>>(),
            "notes": self.notes,
        })
    }
}

/// Returns the range of bytes that a place covers.
fn range(content: &str, place: &Place) -> Option<std::ops::Range<usize>> {
    let line = place.line.checked_sub(1)?;
    let start: usize = content.split_inclusive('\n').take(line).map(str::len).sum();
    let rest = content.get(start..)?.lines().next()?;
    let bytes =
        |characters: usize| -> usize { rest.chars().take(characters).map(char::len_utf8).sum() };
    let from = place.column.saturating_sub(1);
    Some(start + bytes(from)..start + bytes(from + place.length))
}
