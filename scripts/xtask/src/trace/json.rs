//! A trace for other programs: as lines of JSON, one a call, and as the events that Perfetto reads
//! (the trace event format of Chrome).

use std::collections::HashSet;

use serde_json::{Map, Value as Json, json};

use super::calls::{Call, Trace, Who};
use super::decode::{self, Field, Value};
use super::text::Writer;
use super::tracks::{Point, Subject};

/// The number of the process whose threads the PEs are. A viewer marks the thread with the number
/// of the process, so no PE has it.
const PROCESS: u32 = 1000;

/// Returns a call as an object. Numbers that may exceed 53 bits are strings.
pub fn call(call: &Call, names: &Writer) -> Json {
    let mut object = json!({
        "time": call.time,
        "pe": call.pe,
        "caller": end(call.caller, names),
        "callee": end(call.callee, names),
        "function": decode::name(call.frame.function()),
        "version": call.version.to_string(),
        "arguments": fields(&call.arguments()),
        "registers": registers(&call.frame.x),
        "result": Json::Null,
    });
    if let Some(answer) = call.answer {
        object["result"] = json!({
            "function": decode::result_name(&call.frame, &answer),
            "values": fields(&call.results()),
            "registers": registers(&answer.x),
        });
    }
    if let Some(cost) = call.cost {
        object["instructions"] = json!({ "all": cost.all, "spmc": cost.spmc });
    }
    object
}

fn end(who: Who, names: &Writer) -> Json {
    json!({ "id": who.id().map(|id| id.to_string()), "name": names.who(who) })
}

fn registers(x: &[u64]) -> Vec<String> {
    x.iter().map(|x| format!("{x:#x}")).collect()
}

fn fields(fields: &[Field]) -> Json {
    let pairs = fields
        .iter()
        .map(|field| (field.name.to_string(), value(&field.value)));
    Json::Object(pairs.collect::<Map<_, _>>())
}

fn value(of: &Value) -> Json {
    match of {
        Value::Number(number) => json!(number),
        Value::Text(text) => json!(text),
        Value::List(values) => values.iter().map(value).collect(),
        Value::Record(record) => fields(record),
        other => json!(other.to_string()),
    }
}

/// Returns the trace as events. An instruction is shown as a nanosecond. The calls for which
/// `shown` returns false are left out.
pub fn events(trace: &Trace, names: &Writer, shown: impl Fn(&Call) -> bool) -> Json {
    let microseconds = |instructions: u64| instructions as f64 / 1000.0;
    let mut events = vec![json!({
        "ph": "M", "name": "process_name", "pid": PROCESS, "args": { "name": "FF-A" },
    })];
    let mut pes: Vec<usize> = trace.tracks.slices.iter().map(|slice| slice.pe).collect();
    pes.sort_unstable();
    pes.dedup();
    for pe in pes {
        let name = json!({ "name": format!("PE {pe}") });
        events.push(json!({
            "ph": "M", "name": "thread_name", "pid": PROCESS, "tid": pe + 1, "args": name,
        }));
        events.push(json!({
            "ph": "M", "name": "thread_sort_index", "pid": PROCESS, "tid": pe + 1,
            "args": { "sort_index": pe },
        }));
    }
    for slice in &trace.tracks.slices {
        let (name, kind, arguments) = match slice.subject {
            Subject::Run(who) => (names.who(who), "execution", json!({})),
            Subject::Call(index) => {
                let made = &trace.calls[index];
                if !shown(made) {
                    continue;
                }
                (
                    decode::name(made.frame.function()),
                    "call",
                    call(made, names),
                )
            }
        };
        events.push(json!({
            "ph": "X", "name": name, "cat": kind, "pid": PROCESS, "tid": slice.pe + 1,
            "ts": microseconds(slice.start), "dur": microseconds(slice.end - slice.start),
            "args": arguments,
        }));
    }
    let starts: HashSet<_> = trace
        .tracks
        .slices
        .iter()
        .map(|slice| (slice.pe, slice.start))
        .collect();
    for (id, (from, to)) in trace.tracks.messages.iter().enumerate() {
        // An arrow ends inside of a slice: one that begins there, or that of the caller.
        let begins = starts.contains(&(to.pe, to.time));
        let end = if begins { to.time } else { to.time - 1 };
        let arrow = |phase: &str, point: &Point, time: u64| {
            json!({
                "ph": phase, "bp": "e", "id": id, "name": "message", "cat": "message", "pid": PROCESS,
                "tid": point.pe + 1, "ts": microseconds(time),
            })
        };
        events.push(arrow("s", from, from.time));
        events.push(arrow("f", to, end));
    }
    json!({ "displayTimeUnit": "ns", "traceEvents": events })
}
