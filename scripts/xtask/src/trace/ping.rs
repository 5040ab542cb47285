//! A test of the whole way, from the plugin to the calls: a boot in which the Normal world greets
//! the test partitions.

use anyhow::{Context, Result, ensure};
use spmc::ffa::function::PARTITION_INFO_GET;

use super::calls::{self, Call, Trace, Who};
use super::decode::Value;
use super::record::Event;
use super::system::Partition;
use super::text::Writer;
use super::{Format, Options, Place, Recording, STANDARD_OUTPUT, decode, memory, system};
use crate::image::{Components, assemble};
use crate::layout::Layout;
use crate::qemu::Machine;
use crate::selection::Selection;

/// The calls from the first one of the Normal world on, with what answered them.
const EXPECTED: &[&str] = &[
    "NWd -> SPMC: FFA_VERSION = 1.2",
    // EL3 tells the SPMC by a message.
    "SPMD -> SPMC: FFA_MSG_SEND_DIRECT_REQ_32 = FFA_MSG_SEND_DIRECT_RESP_32",
    "NWd -> SPMC: FFA_RXTX_MAP_64 = FFA_SUCCESS_32",
    "NWd -> SPMC: FFA_PARTITION_INFO_GET = FFA_SUCCESS_32",
    "NWd -> SPMC: FFA_RX_RELEASE = FFA_SUCCESS_32",
    "NWd -> sp1: FFA_MSG_SEND_DIRECT_REQ_64 = FFA_MSG_SEND_DIRECT_RESP_64",
    "sp1 -> NWd: FFA_MSG_SEND_DIRECT_RESP_64 = ?",
    "NWd -> sp2: FFA_MSG_SEND_DIRECT_REQ_64 = FFA_MSG_SEND_DIRECT_RESP_64",
    "sp2 -> NWd: FFA_MSG_SEND_DIRECT_RESP_64 = ?",
    // The SPMC that ships has no ring.
    "NWd -> SPMC: FFA_MSG_SEND_DIRECT_REQ_64 = FFA_ERROR",
];

/// Boots, and compares the calls from the first one of the Normal world on.
pub fn check(components: &Components) -> Result<()> {
    let flash = assemble(components, &Layout::find("default")?, None)?;
    let mut machine = Machine {
        selection: Selection::Ping,
        ..Machine::default()
    };
    let options = Options {
        file: Some(STANDARD_OUTPUT.into()),
        format: Some(Format::Map),
        ..Options::default()
    };
    let recording = options.record(&mut machine, &flash, Some("ping"))?;
    let recording = recording.context("nothing is recorded")?;
    machine.boot(&flash, "trace")?.check()?;
    let partitions = system::partitions(&recording.images)?;
    let names = Writer {
        partitions: &partitions,
        is_coloured: false,
    };
    let is_early = |call: &&Call| !matches!(call.caller, Who::NormalWorld(_));
    let events = recording.events()?;
    let trace = calls::follow(&events, &partitions);
    check_memory(&recording, &events, &trace, &partitions)?;
    let calls = trace.calls.iter().skip_while(is_early);
    let found: Vec<_> = calls.clone().map(|call| brief(call, &names)).collect();
    ensure!(
        found == EXPECTED,
        "the trace is\n{}\nnot\n{}",
        found.join("\n"),
        EXPECTED.join("\n")
    );
    let asked = calls
        .clone()
        .find(|call| call.frame.function().0 == PARTITION_INFO_GET);
    let told = asked.map(|call| call.results()).unwrap_or_default();
    for id in partitions.iter().map(|partition| partition.id) {
        let is_told = told
            .iter()
            .any(|field| field.value.any(&|value| *value == Value::Endpoint(id)));
        ensure!(is_told, "partition information without {id}: {told:?}");
    }
    for call in calls {
        let cost = call.cost.unwrap_or_default();
        let is_plausible = 0 < cost.spmc && cost.spmc < cost.all;
        ensure!(is_plausible, "{} cost {cost:?}", brief(call, &names));
    }
    Ok(())
}

/// Demands that in the end each partition, and nobody else, owns the memory that the SPMC manifest
/// gives it, as its translation tables have it.
fn check_memory(
    recording: &Recording,
    events: &[Event],
    trace: &Trace,
    partitions: &[Partition],
) -> Result<()> {
    let place = Place::find(&recording.images)?;
    let own = (place.linked.0, place.end);
    let frames = memory::frames(events, trace, partitions, &place.manifest, own);
    let last = frames
        .last()
        .context("no translation tables are recorded")?;
    for entry in &place.manifest.partitions {
        let (base, end) = (entry.memory.base().raw(), entry.memory.end().raw());
        for page in (base..end).step_by(4096) {
            let with_access = last
                .holders
                .iter()
                .filter(|holder| holder.at(page).is_some());
            let found: Vec<_> = with_access.map(|holder| holder.who).collect();
            let expected = [Who::Partition(entry.id())];
            ensure!(
                found == expected,
                "{page:#x} is of {found:?}, not of {expected:?}"
            );
        }
    }
    Ok(())
}

/// Returns a call without its arguments, and what answered it.
fn brief(call: &Call, names: &Writer) -> String {
    let ends = format!("{} -> {}", names.who(call.caller), names.who(call.callee));
    let result = call.answer.map_or("?".into(), |answer| {
        let values = call.results();
        decode::result_name(&call.frame, &answer)
            .or_else(|| values.first().map(|field| field.value.to_string()))
            .unwrap_or_default()
    });
    format!("{ends}: {} = {result}", decode::name(call.frame.function()))
}
