//! Writes all mutants of a file into its text, each with a question to [`crate::switch`].

use std::cmp::Reverse;
use std::ops::Range;

use crate::place::{Form, Found, Place};

/// A file with its mutants.
#[derive(Default)]
pub struct Written {
    /// The text.
    pub text: String,
    /// Ranges of the text that belong to one mutant, and its number.
    own: Vec<(Range<usize>, u32)>,
    /// Ranges of the text of a place with all its mutants, and their numbers.
    shared: Vec<(Range<usize>, Vec<u32>)>,
}

impl Written {
    /// Returns the mutants that can cause an error in this range of the text: those of the smallest
    /// piece that contains the range, or else those of the pieces in it.
    pub fn suspects(&self, error: &Range<usize>) -> Vec<u32> {
        let covers = |outer: &Range<usize>| outer.start <= error.start && error.end <= outer.end;
        let own = self.own.iter().filter(|(range, _)| covers(range));
        if let Some((_, number)) = own.min_by_key(|(range, _)| range.len()) {
            return vec![*number];
        }
        let shared = self.shared.iter().filter(|(range, _)| covers(range));
        if let Some((_, numbers)) = shared.min_by_key(|(range, _)| range.len()) {
            return numbers.clone();
        }
        self.within(error)
    }

    /// Returns the mutants of the places in this range of the text.
    pub fn within(&self, bytes: &Range<usize>) -> Vec<u32> {
        let within = |place: &Range<usize>| bytes.start <= place.start && place.end <= bytes.end;
        let places = self.shared.iter().filter(|(range, _)| within(range));
        places.flat_map(|(_, numbers)| numbers.clone()).collect()
    }
}

/// Returns `text` with the mutants of `found`, the first of which has the number `first`. Mutants
/// in `skip` are left out, but keep their numbers. Functions for which `is_constant` is true stay
/// `const`, without mutants; all others lose that word.
pub fn write(
    text: &str,
    found: &Found,
    first: u32,
    skip: &dyn Fn(u32) -> bool,
    is_constant: &dyn Fn(&str) -> bool,
) -> Written {
    let (constants, freed): (Vec<_>, Vec<_>) = found
        .constants
        .iter()
        .partition(|constant| is_constant(&constant.name));
    let mut pieces: Vec<Piece> = freed
        .into_iter()
        .map(|constant| Piece {
            range: constant.word.clone(),
            place: None,
        })
        .collect();
    let mut number = first;
    for place in &found.places {
        let within =
            |body: &Range<usize>| body.start <= place.range.start && place.range.end <= body.end;
        if !constants.iter().any(|constant| within(&constant.body)) {
            pieces.push(Piece {
                range: place.range.clone(),
                place: Some((place, number)),
            });
        }
        number += place.alternatives.len() as u32;
    }
    // At the same byte, an insertion comes before a replacement, and an outer place before an inner
    // one.
    pieces.sort_by_key(|piece| {
        let Range { start, end } = piece.range;
        (start, start != end, Reverse(end))
    });
    let mut writer = Writer {
        source: text,
        pieces: &pieces,
        skip,
        written: Written::default(),
    };
    writer.copy(0..text.len(), 0..pieces.len());
    writer.written
}

/// A range of the source that is replaced.
struct Piece<'a> {
    range: Range<usize>,
    /// The place and the number of its first mutant. `None` means that the range is removed.
    place: Option<(&'a Place, u32)>,
}

struct Writer<'a> {
    source: &'a str,
    pieces: &'a [Piece<'a>],
    skip: &'a dyn Fn(u32) -> bool,
    written: Written,
}

impl Writer<'_> {
    /// Copies a range of the source with the pieces of these indices, which lie in the range.
    fn copy(&mut self, bytes: Range<usize>, indices: Range<usize>) {
        let (mut at, mut index) = (bytes.start, indices.start);
        while index < indices.end {
            let Piece { range, place } = &self.pieces[index];
            self.written.text.push_str(&self.source[at..range.start]);
            let inner = index + 1;
            let behind = |index: &usize| self.pieces[*index].range.start >= range.end;
            index = (inner..indices.end).find(behind).unwrap_or(indices.end);
            if let Some((place, first)) = place {
                self.place(place, *first, inner..index);
            }
            at = range.end;
        }
        self.written.text.push_str(&self.source[at..bytes.end]);
    }

    fn place(&mut self, place: &Place, first: u32, inner: Range<usize>) {
        let start = self.written.text.len();
        let numbered = (first..).zip(&place.alternatives);
        let kept: Vec<_> = numbered
            .filter(|(number, _)| !(self.skip)(*number))
            .collect();
        let (open, close) = match place.form {
            _ if kept.is_empty() => ("", ""),
            Form::Expression => ("(", " })"),
            Form::Statement => ("", " }"),
            Form::Entry | Form::Guard | Form::Condition => ("", ""),
        };
        self.written.text.push_str(open);
        for (number, (_, other)) in &kept {
            let own = self.written.text.len();
            let is = format!("crate::mutant::is({number})");
            self.written.text.push_str(&match place.form {
                Form::Expression | Form::Statement => format!("if {is} {{ {other} }} else "),
                Form::Entry => format!(" if {is} {{ {other} }} "),
                Form::Guard => format!(" if !{is}"),
                Form::Condition => format!(" && !{is}"),
            });
            self.written
                .own
                .push((own..self.written.text.len(), *number));
        }
        if !close.is_empty() {
            self.written.text.push_str("{ ");
        }
        self.copy(place.range.clone(), inner);
        self.written.text.push_str(close);
        if !kept.is_empty() {
            let range = start..self.written.text.len();
            let numbers = kept.into_iter().map(|(number, _)| number).collect();
            self.written.shared.push((range, numbers));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operators::find;

    fn written(text: &str, skip: &dyn Fn(u32) -> bool, is_constant: bool) -> Written {
        write(text, &find(text).unwrap(), 1, skip, &|_| is_constant)
    }

    #[test]
    fn each_mutant_is_asked_for_inside_of_those_around_it() {
        let text = "fn f() -> S { a + (b * c) }";
        assert_eq!(
            written(text, &|_| false, false).text,
            "fn f() -> S { (if crate::mutant::is(1) { a - (b * c) } else { a + \
             ((if crate::mutant::is(2) { b + c } else { b * c })) }) }"
        );
        assert_eq!(
            written(text, &|number| number == 1, false).text,
            "fn f() -> S { a + ((if crate::mutant::is(2) { b + c } else { b * c })) }"
        );
        assert_eq!(written(text, &|_| true, false).text, text);
    }

    #[test]
    fn statements_arms_and_entries() {
        assert_eq!(
            written("fn f() { g(); }", &|_| false, false).text,
            "fn f() { if crate::mutant::is(1) { return; }  \
             if crate::mutant::is(2) {  } else { g(); } }"
        );
        assert_eq!(
            written(
                "fn f() -> S { match a { A => b, _ => c } }",
                &|_| false,
                false
            )
            .text,
            "fn f() -> S { match a { A if !crate::mutant::is(1) => b, _ => c } }"
        );
        assert_eq!(
            written(
                "fn f() -> S { if let A = b { c } else { d } }",
                &|_| false,
                false
            )
            .text,
            "fn f() -> S { if let A = b && !crate::mutant::is(1) { c } else { d } }"
        );
    }

    #[test]
    fn a_constant_function_loses_the_word_or_keeps_it_without_mutants() {
        let text = "const fn f() -> S { a + b }";
        assert_eq!(
            written(text, &|_| false, false).text,
            "fn f() -> S { (if crate::mutant::is(1) { a - b } else { a + b }) }"
        );
        assert_eq!(written(text, &|_| false, true).text, text);
    }

    #[test]
    fn an_error_is_blamed_on_the_smallest_piece_around_it() {
        let written = written("fn f() -> S { a + (b * c) }", &|_| false, false);
        let at = |part: &str| {
            let start = written.text.find(part).unwrap();
            written.suspects(&(start..start + part.len()))
        };
        assert_eq!(at("a - (b"), [1]);
        assert_eq!(at("b + c"), [2]);
        assert_eq!(at("else { b"), [2]);
        assert_eq!(at("a + "), [1]);
        assert!(at("S { ").is_empty());
        assert_eq!(written.suspects(&(0..written.text.len())), [2, 1]);
    }
}
