//! Parser of `docs/rows`: the requirements of the specification, one chapter per file.
//!
//! The first line of a chapter is its title. A row begins with a line with its id, the version
//! since which it applies, and its section, separated by two spaces. The indented requirement
//! follows, and if no test can show it, the reason, which begins with `No test: `.

use std::fs;

use anyhow::{Context, Result, ensure};

use crate::workspace::root;

/// Where the chapters are.
const FOLDER: &str = "docs/rows";

/// Rows whose ids begin with the same letters.
#[derive(Debug)]
pub struct Chapter {
    pub area: String,
    pub title: String,
    pub rows: Vec<Row>,
}

/// One requirement.
#[derive(Debug, PartialEq, Eq)]
pub struct Row {
    pub id: String,
    pub since: String,
    pub section: String,
    pub text: String,
    /// The reason why there is no test.
    pub untested: Option<String>,
}

impl Chapter {
    /// Reads all chapters, in the order of their names.
    pub fn all() -> Result<Vec<Chapter>> {
        let mut files = fs::read_dir(root().join(FOLDER))?
            .map(|entry| Ok(entry?.path()))
            .collect::<Result<Vec<_>>>()?;
        files.sort();
        files
            .iter()
            .map(|path| {
                let area = path.file_stem().context("no name")?.to_string_lossy();
                Chapter::parse(&area, &fs::read_to_string(path)?)
                    .with_context(|| path.display().to_string())
            })
            .collect()
    }

    /// Parses the chapter whose rows are called `area`.
    pub fn parse(area: &str, text: &str) -> Result<Chapter> {
        let mut lines = text.lines().filter(|line| !line.trim().is_empty());
        let title = lines.next().context("no title")?.to_string();
        let mut rows: Vec<Row> = Vec::new();
        for line in lines {
            if let Some(line) = line.strip_prefix(' ') {
                let row = rows.last_mut().context("text above the first row")?;
                row.append(line.trim());
            } else {
                let row = Row::head(line)?;
                let expected = format!("{area}-{:02}", rows.len() + 1);
                ensure!(row.id == expected, "{} where {expected} belongs", row.id);
                rows.push(row);
            }
        }
        for row in &rows {
            ensure!(!row.text.is_empty(), "{} has no text", row.id);
        }
        let area = area.to_string();
        Ok(Chapter { area, title, rows })
    }
}

impl Row {
    fn head(line: &str) -> Result<Row> {
        let mut fields = line.splitn(3, "  ");
        let mut field = || {
            let field = fields.next().map(|field| field.trim().to_string());
            field.with_context(|| format!("`{line}` is not `ID  VERSION  SECTION`"))
        };
        Ok(Row {
            id: field()?,
            since: field()?,
            section: field()?,
            text: String::new(),
            untested: None,
        })
    }

    fn append(&mut self, line: &str) {
        if let Some(reason) = line.strip_prefix("No test: ") {
            self.untested = Some(reason.to_string());
            return;
        }
        let text = self.untested.as_mut().unwrap_or(&mut self.text);
        if !text.is_empty() {
            text.push(' ');
        }
        text.push_str(line);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_may_take_several_lines() {
        let text =
            "Title\n\nA-01  1.0  2.1, T3.4\n    One\n    two.\n    No test: Three\n    four.\n";
        let chapter = Chapter::parse("A", text).unwrap();
        assert_eq!(chapter.title, "Title");
        let row = Row {
            id: "A-01".into(),
            since: "1.0".into(),
            section: "2.1, T3.4".into(),
            text: "One two.".into(),
            untested: Some("Three four.".into()),
        };
        assert_eq!(chapter.rows, [row]);
    }

    #[test]
    fn faulty_chapters_are_refused() {
        let refused = |text| Chapter::parse("A", text).is_err();
        assert!(!refused(
            "Title\nA-01  1.0  2\n  One.\nA-02  1.0  2\n  Two.\n"
        ));
        assert!(refused(""), "no title");
        assert!(refused("Title\n  One.\n"), "text above the first row");
        assert!(refused("Title\nA-01  1.0  2\n"), "no text");
        assert!(refused("Title\nA-01 1.0 2\n  One.\n"), "fields not apart");
        assert!(refused("Title\nA-02  1.0  2\n  One.\n"), "a gap");
        assert!(refused("Title\nB-01  1.0  2\n  One.\n"), "another area");
        let twice = "Title\nA-01  1.0  2\n  One.\nA-01  1.0  2\n  Two.\n";
        assert!(refused(twice), "twice");
    }
}
