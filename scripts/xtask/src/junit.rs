//! The results of tests, as a file in the format of JUnit, which CI systems show.

use std::fmt::Write;
use std::time::Duration;

use libtest_mimic::Trial;

use crate::consoles::Verdict;

/// The result of a test or check.
pub struct Case {
    /// The kind of check, or the boot, that it belongs to.
    pub class: String,
    /// The name.
    pub name: String,
    /// The result.
    pub verdict: Verdict,
    /// How long it took, where that is known.
    pub time: Duration,
}

impl Case {
    /// Returns a case that passed.
    pub fn new(class: &str, name: &str) -> Self {
        Self {
            class: class.into(),
            name: name.into(),
            verdict: Verdict::Ok,
            time: Duration::ZERO,
        }
    }

    /// Returns a case that failed if `outcome` is an error.
    pub fn of(class: &str, name: &str, outcome: anyhow::Result<()>) -> Self {
        let verdict =
            outcome.map_or_else(|why| Verdict::Failed(format!("{why:#}")), |()| Verdict::Ok);
        Self {
            verdict,
            ..Self::new(class, name)
        }
    }

    /// Returns whether the case failed.
    pub fn has_failed(&self) -> bool {
        matches!(self.verdict, Verdict::Failed(_))
    }

    /// Parses a line such as `test tests::one ... ok`, which `cargo test` prints.
    pub fn of_libtest(line: &str) -> Option<Self> {
        let (name, result) = line.strip_prefix("test ")?.rsplit_once(" ... ")?;
        let verdict = match result {
            "ok" => Verdict::Ok,
            "FAILED" => Verdict::Failed("the log has its output".into()),
            _ if result.starts_with("ignored") => Verdict::Skipped(result.into()),
            _ => return None,
        };
        Some(Self {
            verdict,
            ..Self::new("host", name)
        })
    }

    /// Returns the case as a test that gives this result.
    pub fn trial(&self) -> Trial {
        let name = match self.class.as_str() {
            "" => self.name.clone(),
            class => format!("{class}::{}", self.name),
        };
        let skipped = matches!(self.verdict, Verdict::Skipped(_));
        let outcome = match &self.verdict {
            Verdict::Failed(why) => Err(why.into()),
            Verdict::Ok | Verdict::Skipped(_) => Ok(()),
        };
        Trial::test(name, || outcome).with_ignored_flag(skipped)
    }
}

/// Returns the report of all cases, which took `time` in total.
pub fn report(cases: &[Case], time: Duration) -> String {
    let count = |wanted: fn(&Verdict) -> bool| {
        let cases = cases.iter().filter(|case| wanted(&case.verdict));
        cases.count()
    };
    let failures = count(|verdict| matches!(verdict, Verdict::Failed(_)));
    let skipped = count(|verdict| matches!(verdict, Verdict::Skipped(_)));
    let totals = format!(
        "tests=\"{}\" failures=\"{failures}\" skipped=\"{skipped}\" time=\"{:.3}\"",
        cases.len(),
        time.as_secs_f32()
    );
    let mut xml = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites {totals}>\n<testsuite name=\"xtask\" {totals}>\n"
    );
    for case in cases {
        let inside = match &case.verdict {
            Verdict::Ok => String::new(),
            Verdict::Failed(why) => format!("<failure message=\"{}\"/>", escaped(why)),
            Verdict::Skipped(why) => format!("<skipped message=\"{}\"/>", escaped(why)),
        };
        // Writing to a string does not fail.
        let _ = writeln!(
            xml,
            "<testcase classname=\"{}\" name=\"{}\" time=\"{:.3}\">{inside}</testcase>",
            escaped(&case.class),
            escaped(&case.name),
            case.time.as_secs_f32()
        );
    }
    xml + "</testsuite>\n</testsuites>\n"
}

/// Returns a text as it stands in an attribute. XML has no place for most control characters.
fn escaped(text: &str) -> String {
    let mut escaped = String::new();
    for letter in text.chars() {
        match letter {
            '&' => escaped += "&amp;",
            '<' => escaped += "&lt;",
            '>' => escaped += "&gt;",
            '"' => escaped += "&quot;",
            '\n' => escaped += "&#10;",
            '\t' => escaped += "&#9;",
            letter if letter.is_control() => escaped.push('\u{fffd}'),
            letter => escaped.push(letter),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_cargo_test_are_read() {
        let verdict = |line| Case::of_libtest(line).map(|case| (case.name, case.verdict));
        let named = |name: &str, verdict| Some((name.to_string(), verdict));
        assert_eq!(verdict("test a::b ... ok"), named("a::b", Verdict::Ok));
        let should_panic = "test a::b - should panic ... ok";
        assert_eq!(
            verdict(should_panic),
            named("a::b - should panic", Verdict::Ok)
        );
        assert!(matches!(
            verdict("test a ... FAILED"),
            Some((_, Verdict::Failed(_)))
        ));
        assert!(matches!(
            verdict("test a ... ignored, why"),
            Some((_, Verdict::Skipped(_)))
        ));
        for line in [
            "",
            "running 3 tests",
            "test result: ok. 3 passed; 0 failed",
            "test a ... ",
        ] {
            assert_eq!(verdict(line), None, "{line}");
        }
    }

    #[test]
    fn a_report_counts_and_escapes() {
        let cases = [
            Case::new("boot", "a"),
            Case::of(
                "boot",
                "shows `<&\">`",
                Err(anyhow::anyhow!("it\ndid \u{1b}not")),
            ),
            Case {
                verdict: Verdict::Skipped("one PE".into()),
                ..Case::new("boot", "b")
            },
        ];
        let text = report(&cases, Duration::from_millis(1500));
        assert!(
            text.contains("tests=\"3\" failures=\"1\" skipped=\"1\" time=\"1.500\""),
            "{text}"
        );
        assert!(
            text.contains("name=\"shows `&lt;&amp;&quot;&gt;`\""),
            "{text}"
        );
        assert!(
            text.contains("<failure message=\"it&#10;did \u{fffd}not\"/>"),
            "{text}"
        );
        assert!(text.contains("<skipped message=\"one PE\"/>"), "{text}");
    }
}
