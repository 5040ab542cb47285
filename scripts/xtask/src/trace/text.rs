//! A trace as text, one line a call, as `strace` has it.

use std::fmt::Write;
use std::io::IsTerminal;

use super::calls::{Call, Who};
use super::decode::{self, Field, Value};
use super::system::Partition;

/// Writes calls as text.
pub struct Writer<'s> {
    pub partitions: &'s [Partition],
    pub is_coloured: bool,
}

/// The attributes of a terminal that are used: dim, bold, red, and none.
const DIM: &str = "\x1b[2m";
const BOLD: &str = "\x1b[1m";
const RED: &str = "\x1b[31m";
const PLAIN: &str = "\x1b[0m";

/// The number of values of a list that are shown.
const LONGEST_LIST: usize = 8;

/// The first line: the meaning of the columns.
pub const HEADING: &str =
    "instructions PE  caller -> callee: call = result  <instructions of the call, of the SPMC>\n";

impl<'s> Writer<'s> {
    /// Returns a writer, with colours if the text goes `there` to a terminal that shall have them.
    pub fn of_terminal(partitions: &'s [Partition], there: bool) -> Self {
        Self {
            partitions,
            is_coloured: there
                && std::io::stdout().is_terminal()
                && std::env::var_os("NO_COLOR").is_none(),
        }
    }
}

impl Writer<'_> {
    /// Returns the line of a call.
    pub fn line(&self, call: &Call) -> String {
        let mut line = self.paint(DIM, &format!("{:>12} pe{:<2}", grouped(call.time), call.pe));
        let function = decode::name(call.frame.function());
        let arguments = self.list(&call.arguments());
        let ends = format!("{} -> {}", self.who(call.caller), self.who(call.callee));
        let _ = write!(
            line,
            " {ends:<24} {}({arguments})",
            self.paint(BOLD, &function)
        );
        if let Some(answer) = call.answer {
            let results = call.results();
            let is_error = |field: &Field| matches!(field.value, Value::Error(_));
            let result = match decode::result_name(&call.frame, &answer) {
                Some(name) if !results.is_empty() => format!("{name}({})", self.list(&results)),
                Some(name) => name,
                None => self.list(&results),
            };
            let colour = if results.iter().any(is_error) {
                RED
            } else {
                ""
            };
            line += &format!(" = {}", self.paint(colour, &result));
        } else {
            line += " = ?";
        }
        if let Some(cost) = call.cost {
            let cost = format!("<{}, {}>", grouped(cost.all), grouped(cost.spmc));
            let _ = write!(line, "  {}", self.paint(DIM, &cost));
        }
        line.push('\n');
        line
    }

    fn paint(&self, colour: &str, text: &str) -> String {
        if self.is_coloured && !colour.is_empty() {
            format!("{colour}{text}{PLAIN}")
        } else {
            text.to_string()
        }
    }

    /// Returns the words above a picture: which one it is, when, and after which call.
    pub fn caption(&self, n: usize, of: usize, time: u64, call: Option<&Call>) -> String {
        let after = call.map_or(String::new(), |call| {
            let function = decode::name(call.frame.function());
            format!(", after {function} of {}", self.who(call.caller))
        });
        format!("{n} of {of}, at {} instructions{after}", grouped(time))
    }

    fn list(&self, fields: &[Field]) -> String {
        let fields = fields.iter().map(|field| match &field.value {
            Value::Error(error) => error.name().into(),
            value => format!("{}={}", field.name, self.value(value)),
        });
        fields.collect::<Vec<_>>().join(", ")
    }

    /// Returns a value with endpoints by their names.
    fn value(&self, value: &Value) -> String {
        match value {
            Value::Endpoint(id) => self.who(Who::of(*id)),
            Value::Context(vcpu) => {
                format!("{}.{}", self.who(Who::of(vcpu.partition)), vcpu.index)
            }
            Value::List(values) => {
                let mut shown: Vec<_> = values
                    .iter()
                    .take(LONGEST_LIST)
                    .map(|value| self.value(value))
                    .collect();
                let more = values.len() - shown.len();
                if more > 0 {
                    shown.push(format!("{more} more"));
                }
                format!("[{}]", shown.join(", "))
            }
            Value::Record(fields) => format!("{{{}}}", self.list(fields)),
            value => value.to_string(),
        }
    }

    /// Returns the name of an end of a call.
    pub fn who(&self, who: Who) -> String {
        match who {
            Who::NormalWorld(id) if id.0 == 0 => "NWd".into(),
            Who::NormalWorld(id) => format!("VM {id}"),
            Who::Spmc => "SPMC".into(),
            Who::Spmd => "SPMD".into(),
            Who::Unknown(tag) => format!("VMID {tag}"),
            Who::Partition(id) => {
                let mut all = self.partitions.iter();
                let found = all.find(|partition| partition.id == id);
                found.map_or_else(|| id.to_string(), |found| found.name.clone())
            }
        }
    }
}

/// Returns a number with its digits in groups of three.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (n, digit) in digits.chars().enumerate() {
        if n > 0 && (digits.len() - n).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
