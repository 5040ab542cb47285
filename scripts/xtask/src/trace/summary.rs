//! The calls of a trace in numbers: by caller and function.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::calls::Call;
use super::decode::{self, Value};
use super::text::{Writer, grouped};

/// The calls of one function by one caller.
#[derive(Default)]
struct Group {
    calls: usize,
    /// Calls that ended with an error.
    errors: usize,
    /// Instructions of the SPMC, of the calls whose cost is known.
    costs: Vec<u64>,
}

/// Returns a table with a line for each caller and function, the greatest share first. Costs are
/// instructions of the SPMC; the share is that of all instructions of the SPMC for calls.
pub fn table<'c>(calls: impl Iterator<Item = &'c Call>, names: &Writer) -> String {
    let mut groups: BTreeMap<(String, String), Group> = BTreeMap::new();
    for call in calls {
        let function = decode::name(call.frame.function());
        let group = groups
            .entry((names.who(call.caller), function))
            .or_default();
        group.calls += 1;
        let results = call.results();
        let is_error = |value: &Value| matches!(value, Value::Error(_));
        group.errors += usize::from(results.iter().any(|field| is_error(&field.value)));
        group.costs.extend(call.cost.map(|cost| cost.spmc));
    }
    let all: u64 = groups.values().flat_map(|group| &group.costs).sum();
    let mut groups: Vec<_> = groups.into_iter().collect();
    let total = |group: &Group| group.costs.iter().sum::<u64>();
    groups.sort_by_key(|(_, group)| std::cmp::Reverse(total(group)));
    let mut text = format!(
        "{:<12} {:<32} {:>7} {:>7} {:>11} {:>11} {:>11} {:>7}\n",
        "caller", "function", "calls", "errors", "least", "median", "most", "share"
    );
    for ((caller, function), mut group) in groups {
        group.costs.sort_unstable();
        let costs = &group.costs;
        let cost = |cost: Option<&u64>| cost.map_or("?".into(), |cost| grouped(*cost));
        let share = 1000 * total(&group) / all.max(1);
        let _ = writeln!(
            text,
            "{caller:<12} {function:<32} {:>7} {:>7} {:>11} {:>11} {:>11} {:>5}.{} %",
            grouped(group.calls as u64),
            grouped(group.errors as u64),
            cost(costs.first()),
            cost(costs.get(costs.len() / 2)),
            cost(costs.last()),
            share / 10,
            share % 10
        );
    }
    text
}
