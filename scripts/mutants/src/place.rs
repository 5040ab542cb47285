//! Mutants, and the places in a file that they change.

use std::ops::Range;

/// A change of the source that a test should notice.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mutant {
    /// Path of the file from the root of the workspace.
    pub file: String,
    /// Line of its first character, from 1.
    pub line: usize,
    /// The function that it is in.
    pub function: String,
    /// The kind of change.
    pub operator: &'static str,
    /// The lines that it changes, with single spaces between words.
    pub original: String,
    /// The original lines with the change made.
    pub mutated: String,
}

impl Mutant {
    /// Returns what names the mutant as long as its code stays as it is, wherever the code moves in
    /// its file. Two places of a function with equal lines have the same key.
    pub fn key(&self) -> String {
        format!(
            "{}\t{}\t{}\t{}",
            self.file, self.function, self.original, self.mutated
        )
    }
}

/// How the mutants of a place are written into the source.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Form {
    /// An expression that becomes `(if is(1) { other } else { it })`.
    Expression,
    /// A statement that becomes `if is(1) { other } else { it }`.
    Statement,
    /// Nothing becomes `if is(1) { other }`, at the start of a body.
    Entry,
    /// Nothing becomes `if !is(1)`, behind the pattern of a match arm.
    Guard,
    /// Nothing becomes `&& !is(1)`, behind the value of an `if let`.
    Condition,
}

/// A place in a file that can be something else.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Place {
    /// Bytes of the file that are replaced; empty where something is inserted.
    pub range: Range<usize>,
    /// How it is written.
    pub form: Form,
    /// Its replacements, each with the kind of change.
    pub alternatives: Vec<(&'static str, String)>,
    /// The function that it is in.
    pub function: String,
}

/// A `const fn`. It can ask nothing at run time, so it is written without the word `const` unless
/// something that is computed at build time calls it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Constant {
    /// Its name.
    pub name: String,
    /// Bytes of the word `const` and the space behind it.
    pub word: Range<usize>,
    /// Bytes of its body.
    pub body: Range<usize>,
}

/// The places of a file.
#[derive(Clone, Default, Debug)]
pub struct Found {
    /// The places; of two, one contains the other or they do not overlap.
    pub places: Vec<Place>,
    /// The functions that are `const`.
    pub constants: Vec<Constant>,
    /// Names of the modules that lie in files of their own.
    pub modules: Vec<String>,
}

/// Returns the mutants of `place` in a file with this `path` and `text`.
pub fn mutants<'a>(
    path: &'a str,
    text: &'a str,
    place: &'a Place,
) -> impl Iterator<Item = Mutant> + 'a {
    let Range { start, end } = place.range;
    let from = text[..start].rfind('\n').map_or(0, |at| at + 1);
    let to = text[end..].find('\n').map_or(text.len(), |at| end + at);
    place.alternatives.iter().map(move |(operator, other)| {
        let changed = match place.form {
            Form::Expression | Form::Statement | Form::Entry => other.clone(),
            Form::Guard => " if false".into(),
            Form::Condition => " && false".into(),
        };
        let mutated = [&text[from..start], &changed, &text[end..to]].concat();
        Mutant {
            file: path.into(),
            line: text[..start].matches('\n').count() + 1,
            function: place.function.clone(),
            operator,
            original: single_spaces(&text[from..to]),
            mutated: single_spaces(&mutated),
        }
    })
}

/// Returns the words of `text` with single spaces between them.
pub fn single_spaces(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
