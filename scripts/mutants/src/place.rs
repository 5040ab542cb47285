//! Mutants, and the places in a file that they change.

use std::ops::Range;

/// A change of the source that a test should notice.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mutant {
    /// Path of the file from the root of the workspace.
    pub file: String,
    /// The line of the first character, counted from 1.
    pub line: usize,
    /// The function that contains the mutant.
    pub function: String,
    /// The kind of change.
    pub operator: &'static str,
    /// The lines that the mutant changes, with single spaces between words.
    pub original: String,
    /// These lines after the change.
    pub mutated: String,
}

impl Mutant {
    /// Returns a name that stays the same while the code of the mutant does, even if the code moves
    /// in its file. Two places of a function with equal lines have the same key.
    pub fn key(&self) -> String {
        format!(
            "{}\t{}\t{}\t{}",
            self.file, self.function, self.original, self.mutated
        )
    }
}

/// The form in which the mutants of a place are written into the source.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Form {
    /// An expression that becomes `(if is(1) { other } else { it })`.
    Expression,
    /// A statement that becomes `if is(1) { other } else { it }`.
    Statement,
    /// An insertion `if is(1) { other }` at the start of a body.
    Entry,
    /// An insertion `if !is(1)` after the pattern of a match arm.
    Guard,
    /// An insertion `&& !is(1)` after the value of an `if let`.
    Condition,
}

/// A place in a file that can be changed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Place {
    /// The range of bytes that is replaced. Empty for an insertion.
    pub range: Range<usize>,
    /// The form of the change.
    pub form: Form,
    /// The replacements, each with the kind of change.
    pub alternatives: Vec<(&'static str, String)>,
    /// The function that contains the place.
    pub function: String,
}

/// A `const fn`. Constant evaluation cannot ask which mutant is on, so the function is written
/// without `const`, unless a constant needs it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Constant {
    /// The name.
    pub name: String,
    /// The range of the word `const` and the space after it.
    pub word: Range<usize>,
    /// The range of the body.
    pub body: Range<usize>,
}

/// The places of a file.
#[derive(Clone, Default, Debug)]
pub struct Found {
    /// The places. Two places either nest or do not overlap.
    pub places: Vec<Place>,
    /// The `const` functions.
    pub constants: Vec<Constant>,
    /// The names of modules in files of their own.
    pub modules: Vec<String>,
}

/// Returns the mutants of `place` in the file with this `path` and `text`.
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
