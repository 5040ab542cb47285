//! Tests of what is in buffers.

use spmc::addr::{Pa, PageRange};
use spmc::manifest::config::SpmcManifest;
use spmc::mm::State;

use super::super::memory::{frames, fullest};
use super::super::picture;
use super::super::record::{Copied, Direction};
use super::*;

impl Run {
    /// Adds what the SPMC copies.
    fn copy(&mut self, pe: usize, direction: Direction, address: u64, bytes: &[u8]) -> &mut Self {
        self.0.push(Event::Copy(Copied {
            pe,
            direction,
            address,
            bytes: bytes.to_vec(),
        }));
        self
    }
}

/// Returns a transaction descriptor of 1.1 from the Normal world for the first partition, with one
/// constituent if a send or a response is wanted.
fn descriptor(handle: u64, access: u8, region: Option<(u64, u32)>) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut add = |word: u64| bytes.extend_from_slice(&word.to_le_bytes());
    // Sender 0; write-back, inner shareable. Receivers of 16 bytes from 48 on, of which one.
    add(0x2f << 16);
    add(handle);
    add(0x77);
    add(1 << 32 | 16);
    add(48);
    add(0);
    let composite = if region.is_some() { 64 } else { 0 };
    add(composite << 32 | u64::from(access) << 16 | 0x8001);
    add(0);
    if let Some((address, pages)) = region {
        add(1 << 32 | u64::from(pages));
        add(0);
        add(address);
        add(pages.into());
    }
    bytes
}

/// Returns a run in which the Normal world shares two pages, which the first partition retrieves,
/// and asks for partitions.
fn share() -> Run {
    let region = Some((0x4000_0000, 2));
    let sent = descriptor(0, 2, region);
    let asked = descriptor(5, 2, None);
    let answer = descriptor(5, 6, region);
    let length = |bytes: &[u8]| bytes.len() as u64;
    let handle = [SUCCESS_32.into(), 0, 5, 0];
    let asks = [MEM_RETRIEVE_REQ_32.into(), length(&asked), length(&asked)];
    let mut run = Run::default();
    run.add(Kind::NwdCall, 0, 0, [VERSION.into(), 0x1_0001])
        .add(Kind::ToNwd, 0, 0, [0x1_0001])
        .add(
            Kind::NwdCall,
            0,
            0,
            [MEM_SHARE_32.into(), length(&sent), length(&sent)],
        )
        .add(Kind::ToSpmc, 0, 0, [MEM_SHARE_32.into()])
        // What another PE copies meanwhile is not of this call.
        .copy(1, Direction::FromMemory, 0x9000, &[0xff; 96])
        .copy(0, Direction::FromMemory, 0x9000, &sent[..48])
        .copy(0, Direction::FromMemory, 0x9030, &sent[48..])
        .add(Kind::SpmcOut, 0, 0, handle)
        .add(Kind::ToNwd, 0, 0, handle)
        .add(Kind::SpCall, 0, 1, asks)
        .copy(0, Direction::FromMemory, 0xa000, &asked)
        // The constituents may be written before the header.
        .copy(0, Direction::ToMemory, 0xb030, &answer[48..])
        .copy(0, Direction::ToMemory, 0xb000, &answer[..48])
        .add(
            Kind::ToSp,
            0,
            1,
            [MEM_RETRIEVE_RESP.into(), length(&answer), length(&answer)],
        )
        .add(Kind::NwdCall, 0, 0, [PARTITION_INFO_GET.into()])
        .copy(
            0,
            Direction::ToMemory,
            0xc000,
            &[2, 0x80, 8, 0, 0x12, 0, 0, 0],
        )
        .copy(0, Direction::ToMemory, 0xc008, &[7; 16])
        .copy(0, Direction::ToMemory, 0xc018, &[1; 24])
        .add(Kind::ToNwd, 0, 0, [SUCCESS_32.into(), 0, 1, 24]);
    run
}

#[test]
fn descriptors_in_buffers_are_decoded() {
    let trace = share().follow();
    let partitions = partitions();
    let lines: Vec<_> = trace
        .calls
        .iter()
        .skip(1)
        .map(|call| writer(&partitions).line(call))
        .map(|line| line.split_once("FFA_").unwrap().1.to_string())
        .map(|line| line.split_once("  <").unwrap().0.to_string())
        .collect();
    let region = "tag=0x77, memory=write-back inner-shareable";
    let ranges = "pages=2, ranges=[0x40000000..0x40002000]";
    assert_eq!(
        lines,
        [
            format!(
                "MEM_SHARE_32(length=96, sender=NWd, {region}, receivers=[{{id=sp1, access=rw?}}], \
                 {ranges}) = FFA_SUCCESS_32(handle=0x5)"
            ),
            format!(
                "MEM_RETRIEVE_REQ_32(length=64, sender=NWd, handle=0x5, {region}, \
                 receivers=[{{id=sp1, access=rw?}}]) = FFA_MEM_RETRIEVE_RESP(length=96, \
                 fragment=96, sender=NWd, handle=0x5, {region}, \
                 receivers=[{{id=sp1, access=rw-}}], {ranges})"
            ),
            "PARTITION_INFO_GET() = FFA_SUCCESS_32(count=1, size=24, partitions=[{id=sp2, \
             contexts=8, properties=send-direct|0x10, uuid=07070707-0707-0707-0707-070707070707}])"
                .into(),
        ]
    );
    let object = json::call(&trace.calls[1], &writer(&partitions));
    assert_eq!(object["arguments"]["receivers"][0]["id"], "0x8001");
    assert_eq!(object["arguments"]["ranges"][0], "0x40000000..0x40002000");
}

#[test]
fn what_is_no_descriptor_is_told_and_not_decoded() {
    for bytes in [&[0xff; 96][..], &[1; 3], &[0; 4096]] {
        let mut run = Run::default();
        let send = [MEM_LEND_32.into(), bytes.len() as u64, bytes.len() as u64];
        run.add(Kind::SpCall, 0, 1, send)
            .copy(0, Direction::FromMemory, 0x9000, bytes)
            .add(
                Kind::ToSp,
                0,
                1,
                [ERROR.into(), 0, FfaError::Denied.to_reg()],
            );
        let line = writer(&partitions()).line(&run.follow().calls[0]);
        let is_told = line.contains("descriptor=malformed") || line.contains("receivers=[]");
        assert!(is_told, "{line}");
    }
}

#[test]
fn a_handle_is_found_in_descriptors() {
    let trace = share().follow();
    let filter = Filter {
        handle: Some(5),
        ..Filter::default()
    };
    let condition = filter.condition(&partitions()).unwrap();
    let shown = trace.calls.iter().map(|call| condition.holds(call));
    assert_eq!(shown.collect::<Vec<_>>(), [false, true, true, false]);
}

#[test]
fn a_map_shows_what_the_normal_world_shares() {
    let mut events = share().0;
    let record = |time| {
        let mut run = Run::default();
        run.add(Kind::ToSp, 0, 1, [0]);
        let Some(Event::Passage(record)) = run.0.pop() else {
            panic!("a record");
        };
        Event::Passage(Record { time, ..record })
    };
    let changed = |byte| Event::Tables(0x1000, vec![byte; 8]);
    events.splice(..0, [changed(1), record(1)]);
    events.extend([changed(2), record(10_000)]);
    let trace = follow(&events, &partitions());
    let manifest = SpmcManifest {
        ns_memory: vec![PageRange::new(Pa::new(0x4000_0000), 0x100).unwrap()],
        ..SpmcManifest::default()
    };
    let own = (0xe10_0000, 0xe20_0000);
    let frames = frames(&events, &trace, &partitions(), &manifest, own);
    let state = |frame: usize| {
        let runs = frames[frame].holders[0].runs.iter();
        runs.map(|run| (run.base, run.end, run.access.state))
            .collect::<Vec<_>>()
    };
    let (owned, shared) = (State::OwnerExclusive, State::OwnerShared);
    assert_eq!(state(0), [(0x4000_0000, 0x4010_0000, owned)]);
    assert_eq!(
        state(1),
        [
            (0x4000_0000, 0x4000_2000, shared),
            (0x4000_2000, 0x4010_0000, owned)
        ]
    );
    assert_eq!((frames.len(), fullest(&frames)), (2, Some(1)));
    let cause = frames[1]
        .call
        .map(|call| trace.calls[call].frame.function().0);
    assert_eq!(cause, Some(MEM_RETRIEVE_REQ_32));

    let partitions = partitions();
    let names = writer(&partitions);
    let svg = picture::draw(&frames[1], Some(&frames[0]), "a < b", &names);
    for text in [
        "0x000040000000 – 0x000040001fff",
        "8 KiB",
        "a &lt; b",
        "NWd",
        "SPMC",
    ] {
        assert!(svg.contains(text), "{text} is not in {svg}");
    }
    // One cell has changed: that of the pages that are shared now.
    assert_eq!(svg.matches("stroke-width=\"2.5\"").count(), 1);
}

#[test]
fn a_summary_counts_calls_by_caller_and_function() {
    let mut run = share();
    for cost in [1, 2, 3] {
        run.add(Kind::SpCall, 0, 1, [ID_GET.into()]);
        for _ in 1..cost {
            run.add(Kind::NwdCall, 1, 0, [ID_GET.into()]);
        }
        let answer = [ERROR.into(), 0, FfaError::Denied.to_reg()];
        run.add(Kind::ToSp, 0, 1, answer);
    }
    let trace = run.follow();
    let partitions = partitions();
    let table = summary::table(trace.calls.iter(), &writer(&partitions));
    let line = |words: [&str; 2]| {
        let mut lines = table.lines().map(|line| line.split_whitespace());
        let found = lines.find(|line| line.clone().take(2).eq(words));
        found.unwrap().skip(2).collect::<Vec<_>>().join(" ")
    };
    // 300 of 300 + 300 + 100 + 50, and what the share cost.
    assert!(line(["sp1", "FFA_ID_GET"]).starts_with("3 3 50 100 150 "));
    assert!(line(["NWd", "FFA_ID_GET"]).starts_with("3 0 ? ? ? 0.0"));
    let shares = table.lines().skip(1).map(|line| {
        let share = line.split_whitespace().rev().nth(1).unwrap();
        share.parse::<f64>().unwrap()
    });
    assert!((shares.sum::<f64>() - 100.0).abs() < 1.0);
}
