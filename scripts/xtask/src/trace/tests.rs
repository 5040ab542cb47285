//! Tests of whole traces: records of a made-up run become calls, lines, objects and a picture.

use spmc::error::FfaError;
use spmc::ffa::function::*;
use spmc::ffa::{SmcFrame, Version};
use spmc::id::PartitionId;

use super::calls::{Call, Trace, Who, follow};
use super::filter::Filter;
use super::record::{Count, Event, Kind, Record};
use super::system::Partition;
use super::text::Writer;
use super::tracks::{Point, Slice, Subject};
use super::{decode, json, summary};

mod descriptors;

const SP1: PartitionId = PartitionId(0x8001);
const SP2: PartitionId = PartitionId(0x8002);

fn partitions() -> Vec<Partition> {
    let sp = |index: u16, is_mp| Partition {
        tag: u64::from(index),
        id: PartitionId(0x8000 + index),
        name: format!("sp{index}"),
        version: Version::V1_1,
        is_mp,
    };
    vec![sp(1, false), sp(2, true)]
}

/// A run under construction. Each record is 100 instructions after the one before, of which a half
/// is the SPMC's.
#[derive(Default)]
struct Run(Vec<Event>);

impl Run {
    fn add<const N: usize>(
        &mut self,
        kind: Kind,
        pe: usize,
        tag: u64,
        words: [u64; N],
    ) -> &mut Self {
        let time = 100 * (1 + self.0.len() as u64);
        self.0.push(Event::Passage(Record {
            kind,
            pe,
            time,
            executed: Count {
                all: time,
                spmc: time / 2,
            },
            tag,
            frame: SmcFrame::new(words),
        }));
        self
    }

    fn follow(&self) -> Trace {
        follow(&self.0, &partitions())
    }
}

fn writer(partitions: &[Partition]) -> Writer<'_> {
    Writer {
        partitions,
        is_coloured: false,
    }
}

fn request(route: u64) -> [u64; 4] {
    [MSG_SEND_DIRECT_REQ_64.into(), route, 0, 0x77]
}

fn response(route: u64) -> [u64; 4] {
    [MSG_SEND_DIRECT_RESP_64.into(), route, 0, 0x88]
}

/// Returns a run in which the Normal world asks the first partition, which asks the second.
fn two_requests() -> Run {
    let mut run = Run::default();
    run.add(Kind::NwdCall, 3, 0, request(0x8001))
        .add(Kind::ToSpmc, 3, 0, request(0x8001))
        .add(Kind::ToSp, 3, 1, request(0x8001))
        .add(Kind::SpCall, 3, 1, request(0x8001_8002))
        .add(Kind::ToSp, 3, 2, request(0x8001_8002))
        .add(Kind::SpCall, 3, 2, response(0x8002_8001))
        .add(Kind::ToSp, 3, 1, response(0x8002_8001))
        .add(Kind::SpCall, 3, 1, response(0x8001_0000))
        .add(Kind::SpmcOut, 3, 0, response(0x8001_0000))
        .add(Kind::ToNwd, 3, 0, response(0x8001_0000));
    run
}

fn ends(call: &Call) -> (Who, Who) {
    (call.caller, call.callee)
}

#[test]
fn calls_return_to_their_callers() {
    let trace = two_requests().follow();
    let nwd = Who::NormalWorld(PartitionId::NORMAL_WORLD);
    let [sp1, sp2] = [SP1, SP2].map(Who::Partition);
    let found: Vec<_> = trace.calls.iter().map(ends).collect();
    assert_eq!(found, [(nwd, sp1), (sp1, sp2), (sp2, sp1), (sp1, nwd)]);
    let costs: Vec<_> = trace
        .calls
        .iter()
        .map(|call| call.cost.unwrap().all)
        .collect();
    // Responses cost until the SPMC passes the PE on.
    assert_eq!(costs, [900, 300, 100, 100]);
    let answers: Vec<_> = trace
        .calls
        .iter()
        .map(|call| call.answer.map(|x| x.x[1]))
        .collect();
    assert_eq!(answers, [Some(0x8001_0000), Some(0x8002_8001), None, None]);
}

#[test]
fn lines_are_as_of_strace() {
    let trace = two_requests().follow();
    let partitions = partitions();
    let line = writer(&partitions).line(&trace.calls[1]);
    assert_eq!(
        line,
        "         400 pe3  sp1 -> sp2               \
         FFA_MSG_SEND_DIRECT_REQ_64(sender=sp1, receiver=sp2, x3=0x77) = \
         FFA_MSG_SEND_DIRECT_RESP_64(sender=sp2, receiver=sp1, x3=0x88)  <300, 150>\n"
    );
    let coloured = Writer {
        is_coloured: true,
        ..writer(&partitions)
    };
    assert!(
        coloured
            .line(&trace.calls[1])
            .contains("\x1b[1mFFA_MSG_SEND_DIRECT_REQ_64\x1b[0m")
    );
}

#[test]
fn contexts_of_several_pes_have_calls_of_their_own() {
    let wait = [MSG_WAIT.into()];
    let mut run = Run::default();
    // The second partition has a context for each PE; the first has one, which moves.
    for (tag, next) in [(2, 0), (1, 1)] {
        run.add(Kind::SpCall, 0, tag, wait)
            .add(Kind::SpmcOut, 0, 0, wait);
        run.add(Kind::ToSp, 1, tag, request(0x8000 + tag));
        let trace = run.follow();
        let waits = trace
            .calls
            .iter()
            .filter(|call| call.frame.x[0] as u32 == MSG_WAIT);
        let returned = waits.filter(|call| call.answer.is_some() && call.caller != Who::Spmc);
        assert_eq!(returned.count(), next, "partition {tag}");
    }
}

#[test]
fn the_spmc_and_el3_make_calls_too() {
    let mut run = Run::default();
    let version = [
        MSG_SEND_DIRECT_REQ_32.into(),
        0xffff_8000,
        0x8000_0008,
        0x1_0001,
    ];
    run.add(Kind::ToSpmc, 0, 0, [0x0e00_2000])
        .add(Kind::SpmcOut, 0, 0, [VERSION.into(), 0x1_0003])
        .add(Kind::ToSpmc, 0, 0, [0x1_0002])
        .add(Kind::SpmcOut, 0, 0, [MSG_WAIT.into()])
        .add(Kind::NwdCall, 0, 0, [VERSION.into(), 0x1_0001])
        .add(Kind::ToSpmc, 0, 0, version)
        .add(
            Kind::SpmcOut,
            0,
            0,
            [
                MSG_SEND_DIRECT_RESP_32.into(),
                0x8000_ffff,
                0x8000_0009,
                0x1_0002,
            ],
        )
        .add(Kind::ToNwd, 0, 0, [0x1_0002])
        .add(Kind::NwdCall, 0, 0, [ID_GET.into()])
        .add(Kind::ToNwd, 0, 0, [SUCCESS_32.into()]);
    let trace = run.follow();
    let nwd = Who::NormalWorld(PartitionId::NORMAL_WORLD);
    let found: Vec<_> = trace.calls.iter().map(ends).collect();
    let expected = [
        (Who::Spmc, Who::Spmd),
        (Who::Spmc, Who::Spmd),
        (nwd, Who::Spmc),
        (Who::Spmd, Who::Spmc),
        // EL3 answers by itself.
        (nwd, Who::Spmd),
    ];
    assert_eq!(found, expected);
    let versions: Vec<_> = trace.calls.iter().map(|call| call.version).collect();
    assert_eq!(versions[2..], [Version::V1_0, Version::OWN, Version::V1_1]);
    let partitions = partitions();
    let line = writer(&partitions).line(&trace.calls[3]);
    assert!(
        line.contains("framework=\"version request\", x3=0x10001"),
        "{line}"
    );
    assert!(
        writer(&partitions)
            .line(&trace.calls[2])
            .contains("(version=1.1) = version=1.2")
    );
}

#[test]
fn what_begins_anew_answers_nothing() {
    let mut run = Run::default();
    run.add(Kind::SpCall, 0, 2, [MSG_WAIT.into()])
        .add(
            Kind::SpmcOut,
            0,
            0,
            [MSG_SEND_DIRECT_RESP_32.into(), 0x8000_ffff, 0x8000_0002],
        )
        // The PE is turned off and on.
        .add(
            Kind::ToSpmc,
            0,
            0,
            [MSG_SEND_DIRECT_RESP_32.into(), 0x8000_ffff, 0x8000_0002],
        )
        .add(Kind::ToSp, 0, 2, [0, 0, 0, 0, 5])
        .add(Kind::SpCall, 0, 2, [ID_GET.into()]);
    let trace = run.follow();
    let sp2 = (Who::Partition(SP2), Who::Spmc);
    let found: Vec<_> = trace.calls.iter().map(ends).collect();
    assert_eq!(found, [sp2, (Who::Spmc, Who::Spmd), sp2]);
    assert!(trace.calls.iter().all(|call| call.answer.is_none()));
}

/// Returns the fields of a call as text.
fn fields<const N: usize>(version: Version, words: [u64; N]) -> String {
    let fields = decode::arguments(&SmcFrame::new(words), version);
    let fields = fields
        .iter()
        .map(|field| format!("{}={}", field.name, field.value));
    fields.collect::<Vec<_>>().join(" ")
}

#[test]
fn arguments_are_decoded_by_the_version_of_the_caller() {
    let info = [PARTITION_INFO_GET.into(), 0, 0, 0, 0, 1];
    assert_eq!(fields(Version::V1_0, info), "");
    assert_eq!(fields(Version::V1_1, info), "flags=0x1");
    let wait = [MSG_WAIT.into(), 0, 1];
    assert_eq!(fields(Version::V1_1, wait), "");
    assert_eq!(fields(Version::V1_2, wait), "flags=0x1");
}

#[test]
fn arguments_are_as_wide_as_the_convention() {
    let wide = 0x1_0000_2000;
    let map = [RXTX_MAP_64.into(), wide, 0x3000, 1];
    assert_eq!(
        fields(Version::V1_1, map),
        "tx=0x100002000 rx=0x3000 pages=1"
    );
    let map = [RXTX_MAP_32.into(), wide, 0x3000, 1];
    assert_eq!(fields(Version::V1_1, map), "tx=0x2000 rx=0x3000 pages=1");
    let text = u64::from_le_bytes(*b"hello, w");
    assert_eq!(
        fields(Version::V1_2, [CONSOLE_LOG_64.into(), 5, text]),
        "text=\"hello\""
    );
    assert_eq!(
        fields(Version::V1_2, [CONSOLE_LOG_32.into(), 5, text, text]),
        "text=\"hellh\""
    );
}

#[test]
fn memory_calls_show_lengths_handles_and_errors() {
    let share = [MEM_SHARE_32.into(), 96, 64];
    assert_eq!(fields(Version::V1_1, share), "length=96 fragment=64");
    // A fragment that is longer than the whole is shown as it came.
    assert_eq!(
        fields(Version::V1_1, [MEM_SHARE_32.into(), 1, 2]),
        "x1=0x1 x2=0x2"
    );
    let reclaim = [MEM_RECLAIM.into(), 5, 1 << 31, 1];
    assert_eq!(
        fields(Version::V1_1, reclaim),
        "handle=0x8000000000000005 flags=0x1"
    );
    let result = |answer| {
        let asked = SmcFrame::new(share);
        decode::results(&asked, &SmcFrame::new(answer), Version::V1_1)[0]
            .value
            .to_string()
    };
    assert_eq!(
        result([SUCCESS_32.into(), 0, 5, 1 << 31]),
        "0x8000000000000005"
    );
    let denied = [ERROR.into(), 0, FfaError::Denied.to_reg(), 0];
    assert_eq!(result(denied), "DENIED");
}

#[test]
fn every_function_of_the_framework_is_decoded_whatever_its_arguments() {
    for function in (FIRST..=LAST).flat_map(|id| [id, id | IS_64]) {
        for fill in [0, 1, u64::MAX] {
            let mut frame = SmcFrame { x: [fill; 18] };
            frame.x[0] = function.into();
            for version in [Version::V1_0, Version::V1_1, Version::V1_2, Version::V1_3] {
                decode::arguments(&frame, version);
                decode::results(&frame, &frame, version);
            }
        }
    }
}

#[test]
fn filters_choose_by_function_endpoint_and_handle() {
    let mut run = two_requests();
    run.add(Kind::SpCall, 0, 1, [MEM_RECLAIM.into(), 5, 0, 0])
        .add(Kind::ToSp, 0, 1, [SUCCESS_32.into()]);
    let trace = run.follow();
    let partitions = partitions();
    let shown = |filter: Filter| {
        let condition = filter.condition(&partitions).unwrap();
        trace
            .calls
            .iter()
            .filter(|call| condition.holds(call))
            .count()
    };
    let text = |text: &str| Some(text.to_string());
    assert_eq!(shown(Filter::default()), 5);
    assert_eq!(
        shown(Filter {
            function: text("direct_resp"),
            ..Filter::default()
        }),
        2
    );
    for name in ["sp2", "0x8002", "32770"] {
        assert_eq!(
            shown(Filter {
                endpoint: text(name),
                ..Filter::default()
            }),
            2,
            "{name}"
        );
    }
    assert_eq!(
        shown(Filter {
            handle: Some(5),
            ..Filter::default()
        }),
        1
    );
    assert_eq!(
        shown(Filter {
            handle: Some(6),
            ..Filter::default()
        }),
        0
    );
    let unknown = Filter {
        endpoint: text("sp9"),
        ..Filter::default()
    }
    .condition(&partitions);
    assert!(unknown.err().unwrap().to_string().contains("sp1, sp2"));
}

fn nest(slices: &[Slice]) {
    for (n, a) in slices.iter().enumerate() {
        for b in &slices[n + 1..] {
            let apart = a.pe != b.pe || b.start >= a.end;
            assert!(apart || b.end <= a.end, "{a:?} {b:?}");
        }
    }
}

#[test]
fn slices_nest_and_messages_lead_from_call_to_partition() {
    let trace = two_requests().follow();
    nest(&trace.tracks.slices);
    let run = |who, start| Slice {
        pe: 3,
        start,
        end: start + 100,
        subject: Subject::Run(who),
    };
    for slice in [
        run(Who::Spmc, 200),
        run(Who::Partition(SP1), 300),
        run(Who::Spmc, 400),
        run(Who::Partition(SP2), 500),
        run(Who::Partition(SP1), 700),
    ] {
        assert!(
            trace.tracks.slices.contains(&slice),
            "{slice:?}: {:?}",
            trace.tracks.slices
        );
    }
    let point = |time| Point { pe: 3, time };
    let messages = [(100, 300), (400, 500), (600, 700), (800, 1000)];
    assert_eq!(
        trace.tracks.messages,
        messages.map(|(from, to)| (point(from), point(to)))
    );
}

#[test]
fn a_request_that_is_preempted_is_cut_where_the_normal_world_goes_on() {
    let mut run = Run::default();
    let interrupt = [INTERRUPT.into(), 0x8001_0000];
    run.add(Kind::NwdCall, 0, 0, request(0x8001))
        .add(Kind::ToSpmc, 0, 0, request(0x8001))
        .add(Kind::ToSp, 0, 1, request(0x8001))
        .add(Kind::SpCall, 0, 1, request(0x8001_8002))
        .add(Kind::ToSp, 0, 2, request(0x8001_8002))
        .add(Kind::SpmcOut, 0, 0, interrupt)
        .add(Kind::ToNwd, 0, 0, interrupt)
        .add(Kind::NwdCall, 1, 0, [RUN.into(), 0x8001_0000])
        .add(Kind::ToSpmc, 1, 0, [RUN.into(), 0x8001_0000])
        .add(Kind::ToSp, 1, 2, [0])
        .add(Kind::SpCall, 1, 2, response(0x8002_8001))
        .add(Kind::ToSp, 1, 1, response(0x8002_8001));
    let trace = run.follow();
    nest(&trace.tracks.slices);
    let between = &trace.calls[1];
    assert_eq!(
        (between.answer.map(|x| x.x[3]), between.cost),
        (Some(0x88), None)
    );
}

#[test]
fn perfetto_gets_a_track_a_pe_slices_and_arrows() {
    let trace = two_requests().follow();
    let partitions = partitions();
    let names = writer(&partitions);
    let events = json::events(&trace, &names, |_| true);
    let events = events["traceEvents"].as_array().unwrap();
    let count = |phase: &str| events.iter().filter(|event| event["ph"] == phase).count();
    assert_eq!((count("M"), count("s"), count("f")), (3, 4, 4));
    assert_eq!(count("X"), trace.tracks.slices.len());
    let call = events.iter().find(|event| event["cat"] == "call").unwrap();
    assert_eq!(call["name"], "FFA_MSG_SEND_DIRECT_REQ_64");
    assert_eq!(
        (call["ts"].as_f64(), call["dur"].as_f64()),
        (Some(0.1), Some(0.9))
    );
    assert_eq!(call["args"]["callee"]["name"], "sp1");
    assert_eq!(call["args"]["arguments"]["receiver"], "0x8001");
    assert_eq!(call["args"]["instructions"]["spmc"], 450);
    // The last response ends inside of the call that it answers.
    let arrow = events.iter().rfind(|event| event["ph"] == "f").unwrap();
    assert_eq!(arrow["ts"].as_f64(), Some(0.999));
}
