//! The format `sp_layout.json`, parsed with the place of each value.

use std::ops::Range;

use jsonc_parser::ast::{Object, ObjectProp, Value};
use jsonc_parser::common::Ranged;
use jsonc_parser::{CollectOptions, ParseOptions, parse_to_ast};

use crate::package::{Form, Offsets};
use crate::spelling::nearest;

/// A value, and its place in the file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Spanned<T> {
    /// The value.
    pub value: T,
    /// The bytes of the value in the file.
    pub span: Range<usize>,
}

/// An entry of the layout, for one Secure Partition.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    /// The key of the entry.
    pub name: Spanned<String>,
    /// The source of the package.
    pub source: Source,
    /// `uuid`, which names the package in the FIP. The default is the manifest's first UUID.
    pub uuid: Option<Spanned<String>>,
    /// `physical-load-address`. The default is the manifest's `load-address`.
    pub load_address: Option<Spanned<u64>>,
    /// `staged`, an extension of this project: no partition begins with the package, which waits in
    /// Secure memory for a live activation.
    pub staged: bool,
}

/// The source of a package.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Source {
    /// `image` and `pm`, to be packed.
    Parts {
        /// The raw image.
        image: Part,
        /// The partition's manifest.
        manifest: Part,
        /// `package`, and for a transfer list `size`.
        form: Form,
    },
    /// `package-file`, an extension of this project: a package that is used unchanged.
    File(Spanned<String>),
}

/// A file that becomes part of a package: `"file"` or `{ "file": "file", "offset": "0x2000" }`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Part {
    /// Path of the file, relative to the layout.
    pub file: Spanned<String>,
    /// Offset of the part in the package, if the layout states one.
    pub offset: Option<Spanned<u64>>,
}

impl Entry {
    /// Returns the offsets of the parts in the package.
    pub fn offsets(&self) -> Offsets {
        let Source::Parts {
            image, manifest, ..
        } = &self.source
        else {
            return Offsets::default();
        };
        let of = |part: &Part| part.offset.as_ref().map(|offset| offset.value);
        Offsets {
            manifest: of(manifest),
            image: of(image),
        }
    }
}

/// A fault at which TF-A's generator would fail.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fault {
    /// The fault, in words.
    pub message: String,
    /// The bytes of the faulty text.
    pub span: Range<usize>,
}

impl Fault {
    /// Returns the line and the column of the fault in `text`, both from 1 on.
    pub fn position(&self, text: &str) -> (usize, usize) {
        position(text, self.span.start)
    }
}

/// Returns the line and the column of a byte of `text`, both from 1 on.
pub fn position(text: &str, at: usize) -> (usize, usize) {
    let before = text.get(..at).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
    (line, column)
}

/// The list to which parsing adds faults.
type Faults = Vec<Fault>;

/// Parses a layout. Returns the entries that can be read, in the order of their names, and all
/// faults.
pub fn parse(text: &str) -> (Vec<Entry>, Vec<Fault>) {
    let strict = ParseOptions {
        allow_comments: false,
        allow_loose_object_property_names: false,
        allow_trailing_commas: false,
        allow_missing_commas: false,
        allow_single_quoted_strings: false,
        allow_hexadecimal_numbers: false,
        allow_unary_plus_numbers: false,
        allow_bare_decimal_point_numbers: false,
        allow_non_finite_numbers: false,
        allow_extended_string_escapes: false,
    };
    let mut faults = Faults::new();
    let value = match parse_to_ast(text, &CollectOptions::default(), &strict) {
        Ok(parsed) => parsed.value,
        Err(error) => {
            let range = error.range();
            faults.push(Fault {
                message: format!("no JSON: {}", error.kind()),
                span: range.start..range.end,
            });
            return (Vec::new(), faults);
        }
    };
    let Some(Value::Object(object)) = value else {
        fault(&mut faults, 0..text.len().min(1), "an object is wanted");
        return (Vec::new(), faults);
    };
    let mut entries: Vec<Entry> = Vec::new();
    for property in &object.properties {
        let name = Spanned {
            value: property.name.as_str().to_string(),
            span: span(&property.name),
        };
        if entries.iter().any(|other| other.name.value == name.value) {
            let message = format!("`{}` is there twice", name.value);
            fault(&mut faults, name.span.clone(), &message);
        }
        let Value::Object(entry) = &property.value else {
            fault(&mut faults, span(&property.value), "an object is wanted");
            continue;
        };
        entries.extend(parse_entry(name, entry, &mut faults));
    }
    entries.sort_by(|one, other| one.name.value.cmp(&other.name.value));
    (entries, faults)
}

fn parse_entry(name: Spanned<String>, object: &Object, faults: &mut Faults) -> Option<Entry> {
    let (mut image, mut manifest, mut package, mut uuid, mut load_address) = Default::default();
    let (mut is_list, mut size, mut staged) = (false, None, false);
    for property in &object.properties {
        let value = &property.value;
        match property.name.as_str() {
            "image" => image = Some(part(value, faults)),
            "pm" => manifest = Some(part(value, faults)),
            "package-file" => package = Some(string(value, faults)),
            "uuid" => uuid = string(value, faults),
            "physical-load-address" => load_address = number(value, faults),
            "package" => {
                let kind = string(value, faults);
                match kind.as_ref().map(|kind| kind.value.as_str()) {
                    Some("tl_pkg") => is_list = true,
                    Some("sp_pkg") | None => {}
                    Some(_) => {
                        let message = "a package is a `sp_pkg` or a `tl_pkg`";
                        fault(faults, span(value), message);
                    }
                }
            }
            "staged" => match value {
                Value::BooleanLit(is_staged) => staged = is_staged.value,
                _ => fault(faults, span(value), "true or false is wanted"),
            },
            "size" => size = number(value, faults).map(|size| size.value),
            _ => unknown(property, &KEYS, faults),
        }
    }
    let mut wanted = |part: Option<Option<Part>>, key: &str| {
        if part.is_none() {
            fault(faults, name.span.clone(), &format!("`{key}` is missing"));
        }
        part.flatten()
    };
    let source = match package {
        Some(file) => Source::File(file?),
        None => {
            let (image, manifest) = (wanted(image, "image"), wanted(manifest, "pm"));
            Source::Parts {
                image: image?,
                manifest: manifest?,
                form: match is_list {
                    true => Form::TransferList { size },
                    false => Form::V2,
                },
            }
        }
    };
    Some(Entry {
        name,
        source,
        uuid,
        load_address,
        staged,
    })
}

/// Keys of an entry: those that TF-A's generator knows, and those of this project.
const KEYS: [&str; 9] = [
    "image",
    "pm",
    "uuid",
    "owner",
    "physical-load-address",
    "package",
    "size",
    "package-file",
    "staged",
];

/// Keys of a part.
const PART_KEYS: [&str; 2] = ["file", "offset"];

/// Refuses a misspelt key. The generator ignores such a key and silently uses a default.
fn unknown(property: &ObjectProp, known: &[&str], faults: &mut Faults) {
    let key = property.name.as_str();
    if let Some(meant) = nearest(key, known) {
        let message = format!("`{key}` has no meaning: did you mean `{meant}`?");
        fault(faults, span(&property.name), &message);
    }
}

fn part(value: &Value, faults: &mut Faults) -> Option<Part> {
    let Value::Object(object) = value else {
        let file = string(value, faults)?;
        return Some(Part { file, offset: None });
    };
    let mut file = None;
    let mut offset = None;
    for property in &object.properties {
        match property.name.as_str() {
            "file" => file = Some(string(&property.value, faults)),
            "offset" => offset = offset_of(&property.value, faults),
            _ => unknown(property, &PART_KEYS, faults),
        }
    }
    if file.is_none() {
        fault(faults, span(object), "`file` is missing");
    }
    let file = file??;
    Some(Part { file, offset })
}

/// Parses a number in a string. The generator fails if the value is a JSON number.
fn offset_of(value: &Value, faults: &mut Faults) -> Option<Spanned<u64>> {
    match value {
        Value::StringLit(_) => number(value, faults),
        _ => {
            fault(faults, span(value), "a string with a number is wanted");
            None
        }
    }
}

fn string(value: &Value, faults: &mut Faults) -> Option<Spanned<String>> {
    match value {
        Value::StringLit(text) => Some(Spanned {
            value: text.value.to_string(),
            span: span(value),
        }),
        _ => {
            fault(faults, span(value), "a string is wanted");
            None
        }
    }
}

/// Parses a JSON number, or a string with a decimal number or, after `0x`, a hexadecimal one.
fn number(value: &Value, faults: &mut Faults) -> Option<Spanned<u64>> {
    let text: &str = match value {
        Value::StringLit(text) => &text.value,
        Value::NumberLit(number) => number.value,
        _ => "",
    };
    let parsed = match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    };
    if parsed.is_none() {
        fault(
            faults,
            span(value),
            "a number is wanted, like \"0x0e300000\"",
        );
    }
    parsed.map(|number| Spanned {
        value: number,
        span: span(value),
    })
}

fn span(of: &impl Ranged) -> Range<usize> {
    of.start()..of.end()
}

fn fault(faults: &mut Faults, span: Range<usize>, message: &str) {
    faults.push(Fault {
        message: message.into(),
        span,
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns each fault as `line:column: message`.
    fn faults(text: &str) -> Vec<String> {
        let line = |fault: &Fault| {
            let (line, column) = fault.position(text);
            format!("{line}:{column}: {}", fault.message)
        };
        parse(text).1.iter().map(line).collect()
    }

    #[test]
    fn all_forms_are_read() {
        let text = r#"{
            "b": { "image": { "file": "b.bin", "offset": "0x2000" }, "pm": "b.dts",
                   "owner": "Plat", "vendor": 1, "uuid": "u", "physical-load-address": "0x6300000" },
            "a": { "package-file": "a.pkg", "physical-load-address": 4096 },
            "c": { "image": "c.bin", "pm": { "file": "c.dts", "offset": "8192" } },
            "d": { "image": "d.bin", "pm": "d.dts", "package": "tl_pkg" },
            "e": { "image": "e.bin", "pm": "e.dts", "size": "0x3000", "package": "tl_pkg" },
            "f": { "image": "f.bin", "pm": "f.dts", "staged": true },
            "g": { "image": "g.bin", "pm": "g.dts", "staged": false }
        }"#;
        let (entries, faults) = parse(text);
        assert_eq!(faults, []);
        let names: Vec<_> = entries.iter().map(|e| e.name.value.as_str()).collect();
        assert_eq!(names, ["a", "b", "c", "d", "e", "f", "g"]);
        let staged: Vec<_> = entries.iter().map(|entry| entry.staged).collect();
        assert_eq!(staged, [false, false, false, false, false, true, false]);
        assert!(matches!(&entries[0].source, Source::File(file) if file.value == "a.pkg"));
        let address = |entry: &Entry| entry.load_address.as_ref().map(|a| a.value);
        assert_eq!(address(&entries[0]), Some(0x1000));
        assert_eq!(address(&entries[1]), Some(0x630_0000));
        assert_eq!(address(&entries[2]), None);
        let offsets = |manifest, image| Offsets { manifest, image };
        assert_eq!(entries[1].offsets(), offsets(None, Some(0x2000)));
        assert_eq!(entries[2].offsets(), offsets(Some(0x2000), None));
        let form = |entry: &Entry| match entry.source {
            Source::Parts { form, .. } => Some(form),
            Source::File(_) => None,
        };
        let forms = entries.iter().map(form).collect::<Vec<_>>();
        let list = |size| Some(Form::TransferList { size });
        let usual = Some(Form::V2);
        let lists = [list(None), list(Some(0x3000))];
        assert_eq!(forms[..3], [None, usual, usual]);
        assert_eq!(forms[3..5], lists);
        let uuid = entries[1].uuid.as_ref().unwrap();
        assert_eq!(&text[uuid.span.clone()], "\"u\"");
    }

    #[test]
    fn every_fault_has_its_place() {
        let text = r#"{
            "a": { "image": 5, "pm": { "offset": "0x1000" } },
            "b": { "imgae": "b.bin", "pm": { "file": "b.dts", "offset": 4096 } },
            "c": { "image": "c.bin", "pm": "c.dts", "physical-load-address": "0xg",
                   "package": "tlpkg", "staged": "yes" },
            "c": 7
        }"#;
        assert_eq!(
            faults(text),
            [
                "2:29: a string is wanted",
                "2:38: `file` is missing",
                "3:20: `imgae` has no meaning: did you mean `image`?",
                "3:73: a string with a number is wanted",
                "3:13: `image` is missing",
                "4:78: a number is wanted, like \"0x0e300000\"",
                "5:31: a package is a `sp_pkg` or a `tl_pkg`",
                "5:50: true or false is wanted",
                "6:13: `c` is there twice",
                "6:18: an object is wanted",
            ]
        );
    }

    #[test]
    fn what_is_no_object_is_refused() {
        assert_eq!(faults("[]"), ["1:1: an object is wanted"]);
        assert!(faults("{ \"a\": }")[0].starts_with("1:8: no JSON: "));
        assert!(faults("{ /* comment */ }")[0].contains("no JSON: "));
    }
}
