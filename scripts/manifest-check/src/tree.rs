//! A device tree with the places of its nodes and properties, parsed from the output of `dtc -T
//! -T`.

use std::path::{Path, PathBuf};

use crate::diagnostic::Place;

/// A device tree.
#[derive(Default)]
pub struct Tree {
    nodes: Vec<Node>,
    /// The file that is the place of whatever has no place of its own.
    file: PathBuf,
}

/// A node.
pub struct Node {
    /// The path; that of the root is `/`.
    pub path: String,
    /// The properties in the order of the tree.
    pub properties: Vec<Property>,
    place: Option<Place>,
}

/// A property.
pub struct Property {
    /// The name.
    pub name: String,
    /// The value as it is in the blob.
    pub value: Vec<u8>,
    place: Option<Place>,
}

impl Node {
    /// Returns the name, with the unit address.
    pub fn name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or("")
    }

    /// Returns the path of the parent.
    pub fn parent(&self) -> &str {
        match self.path.rsplit_once('/') {
            Some(("", _)) | None => "/",
            Some((parent, _)) => parent,
        }
    }

    /// Returns the property of that name.
    pub fn property(&self, name: &str) -> Option<&Property> {
        self.properties.iter().find(|one| one.name == name)
    }
}

impl Property {
    /// Returns the value as 32-bit cells.
    pub fn cells(&self) -> Vec<u32> {
        let (cells, _) = self.value.as_chunks();
        cells.iter().map(|cell| u32::from_be_bytes(*cell)).collect()
    }

    /// Returns the number in a value of one or two cells.
    pub fn number(&self) -> Option<u64> {
        match *self.cells() {
            [low] => Some(low.into()),
            [high, low] => Some(u64::from(high) << 32 | u64::from(low)),
            _ => None,
        }
    }

    /// Returns whether the value, as a list of strings, holds `wanted`.
    pub fn has_string(&self, wanted: &str) -> bool {
        let mut strings = self.value.split(|byte| *byte == 0);
        strings.any(|text| text == wanted.as_bytes())
    }

    /// Returns the first string.
    pub fn text(&self) -> String {
        let first = self.value.split(|byte| *byte == 0).next();
        String::from_utf8_lossy(first.unwrap_or_default()).into_owned()
    }
}

impl Tree {
    /// Parses the output of `dtc -O dts -T -T` for `file`: one line for each property, and for each
    /// start and end of a node.
    pub fn parse(annotated: &str, file: &Path) -> Self {
        let mut tree = Self {
            nodes: Vec::new(),
            file: file.to_path_buf(),
        };
        // Indices of the current node and its ancestors.
        let mut open: Vec<usize> = Vec::new();
        for line in annotated.lines() {
            let (code, place) = split_place(line);
            if code.starts_with("};") {
                open.pop();
            } else if let Some(head) = code.strip_suffix('{') {
                let name = without_labels(head);
                let parent = open.last().and_then(|index| tree.nodes.get(*index));
                let path = match parent.map(|node| node.path.as_str()) {
                    None => "/".into(),
                    Some("/") => format!("/{name}"),
                    Some(parent) => format!("{parent}/{name}"),
                };
                open.push(tree.nodes.len());
                tree.nodes.push(Node {
                    path,
                    properties: Vec::new(),
                    place,
                });
            } else if let Some(code) = code.strip_suffix(';')
                && let Some(node) = open.last().and_then(|index| tree.nodes.get_mut(*index))
            {
                let code = without_labels(code);
                let (name, value) = code.split_once(" = ").unwrap_or((code, ""));
                node.properties.push(Property {
                    name: name.into(),
                    value: bytes(value),
                    place,
                });
            }
        }
        tree
    }

    /// Returns all nodes in their order.
    pub fn nodes(&self) -> impl Iterator<Item = &Node> {
        self.nodes.iter()
    }

    /// Returns the node with that path.
    pub fn node(&self, path: &str) -> Option<&Node> {
        self.nodes.iter().find(|node| node.path == path)
    }

    /// Returns a number that a property holds.
    pub fn number(&self, path: &str, property: &str) -> Option<u64> {
        self.node(path)?.property(property)?.number()
    }

    /// Returns the place of a property. If the property is missing, or if `property` is empty,
    /// returns the place of the node. A fault of the whole tree is at that property if a single
    /// node has it.
    pub fn place(&self, path: &str, property: &str) -> Place {
        // The SPMC cuts off names that do not fit in its messages.
        let node = self.node(path).or_else(|| {
            let mut cut = self.nodes.iter().filter(|node| node.path.starts_with(path));
            cut.next().filter(|_| path != "/")
        });
        let of = |node: &Node| node.property(property)?.place.clone();
        if let Some(place) = node.and_then(of) {
            return place;
        }
        let mut others = self.nodes.iter().filter_map(of);
        if path == "/"
            && let (Some(place), None) = (others.next(), others.next())
        {
            return place;
        }
        let place = node
            .or(self.nodes.first())
            .and_then(|node| node.place.clone());
        place.unwrap_or_else(|| Place::whole(&self.file))
    }
}

/// Splits a line into its code and the first place in the comment at the end of the line.
fn split_place(line: &str) -> (&str, Option<Place>) {
    let line = line.trim();
    let Some((code, comment)) = line
        .strip_suffix(" */")
        .and_then(|line| line.rsplit_once(" /* "))
    else {
        return (line, None);
    };
    let first = comment.split(", ").next().unwrap_or(comment);
    (code.trim(), place(first, code.trim()))
}

/// Parses `file:line:column-line:column`. The column of a node is that of its brace.
fn place(text: &str, code: &str) -> Option<Place> {
    let (start, _end) = text.rsplit_once('-')?;
    let (start, column) = start.rsplit_once(':')?;
    let (file, line) = start.rsplit_once(':')?;
    let file = PathBuf::from(file);
    let line = line.parse().ok()?;
    let column = column.parse().ok()?;
    let name = match code.strip_suffix('{') {
        Some(head) => without_labels(head),
        None => without_labels(code.split([' ', ';']).next().unwrap_or(code)),
    };
    let (column, length) = column_of(&file, line, column, name);
    Some(Place {
        file,
        line,
        column,
        length,
    })
}

/// Returns the column and the length of a name in its line of the source. `dtc` gives the column of
/// a node's brace, and after the C preprocessor it gives columns of the preprocessed text.
fn column_of(file: &Path, line: usize, column: usize, name: &str) -> (usize, usize) {
    let source = std::fs::read(file).unwrap_or_default();
    let source = String::from_utf8_lossy(&source);
    let text = source.lines().nth(line.saturating_sub(1)).unwrap_or("");
    let is_word = |c: char| c.is_ascii_alphanumeric() || "-_,.#@+?".contains(c);
    let found = text.match_indices(name).filter(|(at, _)| {
        let before = text[..*at].chars().next_back();
        let behind = text[at + name.len()..].chars().next();
        !before.is_some_and(is_word) && !behind.is_some_and(is_word)
    });
    let columns = found.map(|(at, _)| text[..at].chars().count() + 1);
    match columns.min_by_key(|found| found.abs_diff(column)) {
        Some(column) if !name.is_empty() => (column, name.chars().count()),
        _ => (column, 1),
    }
}

/// Removes labels (`label: `) before a name.
fn without_labels(head: &str) -> &str {
    let mut head = head.trim();
    while let Some((label, rest)) = head.split_once(": ")
        && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    {
        head = rest.trim();
    }
    head
}

/// Returns the bytes of a value that consists of strings, of cells between `<>` and of bytes
/// between `[]`.
fn bytes(value: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = value;
    while let Some(start) = rest.find(['"', '<', '[']) {
        let (open, behind) = rest[start..].split_at(1);
        match open {
            "\"" => rest = string(behind, &mut bytes),
            _ => {
                let end = behind.find(['>', ']']).unwrap_or(behind.len());
                for word in behind[..end].split_whitespace() {
                    let digits = word.trim_start_matches("0x");
                    let number = u32::from_str_radix(digits, 16).unwrap_or(0);
                    match open {
                        "<" => bytes.extend(number.to_be_bytes()),
                        _ => bytes.push(number as u8),
                    }
                }
                rest = &behind[end..];
            }
        }
    }
    bytes
}

/// Parses a string up to its closing quote. Returns the text after the quote.
fn string<'a>(text: &'a str, bytes: &mut Vec<u8>) -> &'a str {
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => {
                bytes.push(0);
                return &text[at + 1..];
            }
            '\\' => match characters.next().map(|(_, escaped)| escaped) {
                Some('x') => {
                    let digits: String = characters.by_ref().take(2).map(|(_, c)| c).collect();
                    bytes.push(u8::from_str_radix(&digits, 16).unwrap_or(0));
                }
                Some('n') => bytes.push(b'\n'),
                Some('t') => bytes.push(b'\t'),
                Some('r') => bytes.push(b'\r'),
                Some(other) => bytes.extend(other.to_string().bytes()),
                None => {}
            },
            other => bytes.extend(other.to_string().bytes()),
        }
    }
    ""
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_dtc_prints_is_read() {
        let text = r#"/dts-v1/;

/ { /* a b.dts:2:3-8:3, c.dts:1:1-2:2 */
	a = <0x01>, <0x02>; /* a b.dts:3:2-4:7 */
	b = "x;\"y /* z", "2"; /* a b.dts:4:8-4:23 */

	n: m: sub@1 { /* a b.dts:5:11-7:4 */
		l: flag; /* a b.dts:6:3-6:8 */
		phandle = <0x01>; /* <no-file>:<no-line> */
		raw = [00 ff];
	}; /* a b.dts:5:11-7:4 */
}; /* a b.dts:2:3-8:3 */
"#;
        let tree = Tree::parse(text, Path::new("a b.dts"));
        let paths: Vec<_> = tree.nodes().map(|node| node.path.as_str()).collect();
        assert_eq!(paths, ["/", "/sub@1"]);
        assert_eq!(tree.number("/", "a"), Some(0x1_0000_0002));
        let root = tree.node("/").unwrap();
        assert_eq!(root.property("b").unwrap().value, b"x;\"y /* z\x002\0");
        let sub = tree.node("/sub@1").unwrap();
        assert_eq!((sub.name(), sub.parent()), ("sub@1", "/"));
        assert!(sub.property("flag").unwrap().value.is_empty());
        assert_eq!(sub.property("raw").unwrap().value, [0, 0xff]);
        let place = tree.place("/sub@1", "flag");
        assert_eq!((place.line, place.column), (6, 3));
        assert_eq!(place.file, Path::new("a b.dts"));
        // A property without a place, and a missing property, have the place of their node.
        for property in ["phandle", "missing", ""] {
            assert_eq!(tree.place("/sub@1", property).line, 5);
        }
        // A property that the root lacks is found in the only node that has it.
        assert_eq!(tree.place("/", "flag").line, 6);
    }
}
