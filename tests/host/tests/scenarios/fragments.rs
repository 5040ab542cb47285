//! Fragments against the whole engine: partitions that die in the middle, and a Hypervisor that
//! gives up.

use host_tests::ffa::*;
use host_tests::manifest::partition_base;
use host_tests::system::{NWD_PAGES, NWD_TX};
use host_tests::{Regs, Sp};
use spmc::addr::World::Secure;

use crate::stage::{OWN_PAGES, SP1, SP2, SP3, Stage};

const V12: Layout = Layout::V1_2;

fn scattered(count: u64) -> Vec<(u64, u32)> {
    (0..count).map(|n| (NWD_PAGES + n * 0x2000, 1)).collect()
}

/// Sends all but the last constituent from the Normal world. Returns the handle.
#[track_caller]
fn begin(stage: &Stage, bytes: &[u8]) -> u64 {
    let (total, first) = (bytes.len() as u64, bytes.len() as u64 - 16);
    stage.nwd().write(NWD_TX, &bytes[..first as usize]);
    let asked = stage.nwd().call([MEM_SHARE_64, total, first]);
    assert_eq!((asked.0[0], asked.0[3]), (MEM_FRAG_RX, first));
    asked.0[1] | asked.0[2] << 32
}

/// Sends the last constituent.
fn finish(stage: &Stage, bytes: &[u8], handle: u64) -> Regs {
    stage.nwd().write(NWD_TX, &bytes[bytes.len() - 16..]);
    let (low, high) = (handle & 0xffff_ffff, handle >> 32);
    stage.nwd().call([MEM_FRAG_TX, low, high, 16, 0])
}
// req: FRAG-07
#[test]
fn a_first_fragment_with_more_than_was_announced() {
    let stage = Stage::new();
    let nwd = stage.nwd();
    let before = stage.system.snapshot();
    // So few ranges that no page was reserved, and so many that they would fill several pages.
    for (announced, sent) in [(1, 2), (4, 5), (4, 12), (5, 200)] {
        let bytes = Transaction::share(0, SP1, RW, &scattered(sent)).encode(V12);
        let total = bytes.len() as u64 - 16 * (sent - announced);
        let head = bytes.len() - 16 * sent as usize;
        let mut bytes = bytes;
        bytes[head - 12..head - 8].copy_from_slice(&(announced as u32).to_le_bytes());
        nwd.write(NWD_TX, &bytes);
        let answer = nwd.call([MEM_SHARE_64, total, bytes.len() as u64]);
        assert_eq!(
            answer.error(),
            Some(INVALID_PARAMETERS),
            "{announced} {sent}"
        );
        assert_eq!(stage.system.snapshot(), before);
    }
}

// req: FRAG-19
#[test]
fn a_hypervisor_gives_up() {
    let stage = Stage::new();
    let bytes = Transaction::share(0, SP1, RW, &scattered(3)).encode(V12);
    let handle = begin(&stage, &bytes);
    // An error of another kind, which the SPMD may report, does not concern the transaction.
    stage.nwd().call([ERROR, 0, DENIED as u32 as u64]);
    assert_eq!(finish(&stage, &bytes, handle).handle(), handle);
    stage.nwd().reclaim(handle).success();
    let handle = begin(&stage, &bytes);
    stage.nwd().call([ERROR, 0, ABORTED as u32 as u64]);
    let late = finish(&stage, &bytes, handle);
    assert_eq!(late.error(), Some(INVALID_PARAMETERS));
    // The transaction can be sent again as a whole.
    let handle = begin(&stage, &bytes);
    assert_eq!(finish(&stage, &bytes, handle).handle(), handle);
    stage.nwd().call([ERROR, 0, ABORTED as u32 as u64]);
    stage.nwd().reclaim(handle).success();
}

// req: FRAG-19
#[test]
fn a_hypervisor_gives_up_what_it_was_asked_for_last() {
    let stage = Stage::new();
    let bytes = Transaction::share(0, SP1, RW, &scattered(3)).encode(V12);
    let (total, first) = (bytes.len() as u64, bytes.len() as u64 - 32);
    stage.nwd().write(NWD_TX, &bytes[..first as usize]);
    let given_up = stage.nwd().call([MEM_SHARE_64, total, first]);
    let [_, low, high, ..] = given_up.0;
    let kept = begin(&stage, &bytes);
    stage.nwd().write(NWD_TX, &bytes[first as usize..]);
    let asked = stage.nwd().call([MEM_FRAG_TX, low, high, 16, 0]);
    assert_eq!(asked.0[..4], [MEM_FRAG_RX, low, high, first + 16]);
    stage.nwd().call([ERROR, 0, ABORTED as u32 as u64]);
    let late = finish(&stage, &bytes, low | high << 32);
    assert_eq!(late.error(), Some(INVALID_PARAMETERS));
    assert_eq!(finish(&stage, &bytes, kept).handle(), kept);
}

// req: FRAG-19
#[test]
fn a_hypervisor_gives_up_after_a_call_that_asked_for_nothing() {
    let stage = Stage::new();
    let bytes = Transaction::share(0, SP1, RW, &scattered(3)).encode(V12);
    let given_up = begin(&stage, &bytes);
    let whole = [(NWD_PAGES + 0x8000, 1)];
    let kept = stage
        .nwd()
        .send(MEM_SHARE_64, &Transaction::share(0, SP1, RW, &whole));
    stage.nwd().call([ERROR, 0, ABORTED as u32 as u64]);
    let late = finish(&stage, &bytes, given_up);
    assert_eq!(late.error(), Some(INVALID_PARAMETERS));
    stage.nwd().reclaim(kept).success();
}

// req: FRAG-19
#[test]
fn a_hypervisor_gives_up_nothing_of_a_partition() {
    let stage = Stage::new();
    let page = partition_base(0) + OWN_PAGES;
    let bytes = Transaction::share(SP1, SP2, RW, &[(page, 1), (page + 0x2000, 1)]).encode(V12);
    let (head, last) = bytes.split_at(bytes.len() - 16);
    let (total, first) = (bytes.len() as u64, head.to_vec());
    let [low, high] = stage.run(SP1, move |sp| {
        sp.write(Secure, sp.tx(), &first).unwrap();
        let asked = sp.call([MEM_SHARE_64, total, first.len() as u64]);
        assert_eq!(asked.function(), MEM_FRAG_RX, "{asked:?}");
        [asked.0[1], asked.0[2]]
    });
    stage.nwd().call([ERROR, 0, ABORTED as u32 as u64]);
    let last = last.to_vec();
    stage.run(SP1, move |sp| {
        sp.write(Secure, sp.tx(), &last).unwrap();
        sp.call([MEM_FRAG_TX, low, high, 16]).success();
    });
}

// req: FRAG-17, MEMO-12
#[test]
fn a_receiver_dies_while_fragments_are_missing() {
    let stage = Stage::with(|spec| spec.with(|sp| sp.takes_exceptions = false));
    let mut share = Transaction::share(0, SP1, RW, &scattered(3));
    share.receivers.push(Receiver::new(SP2, RO));
    let bytes = share.encode(V12);
    let handle = begin(&stage, &bytes);
    assert_eq!(stage.kill(SP2).error(), Some(ABORTED));
    assert_eq!(finish(&stage, &bytes, handle).error(), Some(ABORTED));
    let late = finish(&stage, &bytes, handle);
    assert_eq!(late.error(), Some(INVALID_PARAMETERS));
    // The memory still belongs to the sender.
    let share = Transaction::share(0, SP1, RW, &scattered(3));
    let handle = stage.nwd().send(MEM_SHARE_64, &share);
    stage.nwd().reclaim(handle).success();
}

// req: FRAG-17, FRAG-20, MEMO-12
#[test]
fn a_sender_dies_while_fragments_are_missing() {
    let stage = Stage::with(|spec| spec.with(|sp| sp.takes_exceptions = false));
    let before = stage.system.spmc.shares.live();
    stage.run(SP1, |sp: &mut Sp| {
        let page = sp.base() + OWN_PAGES;
        let ranges = [(page, 1), (page + 0x2000, 1)];
        let bytes = Transaction::share(SP1, SP2, RW, &ranges).encode(sp.layout);
        sp.write(Secure, sp.tx(), &bytes).unwrap();
        let (total, first) = (bytes.len() as u64, bytes.len() as u64 - 16);
        let asked = sp.call([MEM_SHARE_64, total, first]);
        assert_eq!(
            asked.0[..8],
            [MEM_FRAG_RX, asked.0[1], asked.0[2], first, 0, 0, 0, 0]
        );
    });
    assert_eq!(stage.system.spmc.shares.live(), before + 1);
    assert_eq!(stage.kill(SP1).error(), Some(ABORTED));
    assert_eq!(stage.system.spmc.shares.live(), before);
}

/// Fetches the fragments of a response from `offset` on, to its end.
fn read_on(call: &mut impl FnMut([u64; 5]) -> Regs, handle: u64, mut offset: u64, total: u64) {
    while offset < total {
        let (low, high) = (handle & 0xffff_ffff, handle >> 32);
        let answer = call([MEM_FRAG_RX, low, high, offset, 0]);
        assert_eq!(answer.function(), MEM_FRAG_TX, "{answer:?}");
        offset += answer.0[3];
        call([RX_RELEASE, 0, 0, 0, 0]).success();
    }
}
// req: FRAG-15, FRAG-16, MEMRQ-20, MEMDN-06
#[test]
fn a_response_belongs_to_its_reader() {
    let stage = Stage::new();
    let nwd = stage.nwd();
    let ranges: Vec<_> = (0..600).map(|n| (0x4200_0000 + n * 0x2000, 1)).collect();
    let bytes = Transaction::donate(0, SP1, &ranges).encode(V12);
    let length = bytes.len() as u64;
    nwd.write(0x4400_0000, &bytes);
    let handle = nwd
        .call([MEM_DONATE_64, length, length, 0x4400_0000, 3])
        .handle();
    // Both the Hypervisor and then the new owner begin to read where the region lies.
    let by_handle = Transaction {
        receivers: Vec::new(),
        attributes: 0,
        ..Transaction::retrieve(0, SP1, handle, RW)
    };
    let answer = nwd.memory_call(MEM_RETRIEVE_REQ_64, &by_handle.encode(V12));
    let total = answer.0[1];
    assert_eq!(
        (answer.0[0], answer.0[2]),
        (MEM_RETRIEVE_RESP, 4096),
        "{answer:?}"
    );
    nwd.call([RX_RELEASE]).success();
    stage.run(SP1, move |sp| {
        let request = Transaction {
            attributes: 0,
            ..Transaction::retrieve(0, SP1, handle, RW)
        };
        let answer = sp.memory_call(MEM_RETRIEVE_REQ_64, &request.encode(sp.layout));
        assert_eq!(answer.0[..3], [MEM_RETRIEVE_RESP, total, 4096]);
        sp.call([RX_RELEASE]).success();
    });
    // The Hypervisor reads its response to the end first. The other response is not affected.
    read_on(&mut |regs| nwd.call(regs), handle, 4096, total);
    stage.run(SP1, move |sp| {
        read_on(&mut |regs| sp.call(regs), handle, 4096, total);
        let (low, high) = (handle & 0xffff_ffff, handle >> 32);
        sp.refused([MEM_FRAG_RX, low, high, 4096, 0], INVALID_PARAMETERS);
    });
    assert_eq!(stage.system.spmc.shares.live(), 0);
}

// The owner dies between two fragments of a request. Another borrower keeps its access, and nobody
// gets more.
// req: FRAG-17, MEMO-12, MEMD-75
#[test]
fn an_owner_dies_while_fragments_of_a_request_are_missing() {
    let stage = Stage::with(|spec| {
        let dies = spec.name == "sp1";
        spec.with(|sp| sp.takes_exceptions = !dies)
    });
    let (handle, ranges) = stage.run(SP1, |sp: &mut Sp| {
        let page = sp.base() + OWN_PAGES;
        let ranges = [(page, 1), (page + 0x2000, 1)];
        let mut share = Transaction::share(SP1, SP2, RO, &ranges);
        share.receivers.push(Receiver::new(SP3, RO));
        (sp.send(MEM_SHARE_64, &share), ranges)
    });
    let request = |own: u16, other: u16| {
        let mut request = Transaction::retrieve(SP1, own, handle, RO);
        request.receivers.push(Receiver {
            flags: 1,
            offset: Some(0),
            ..Receiver::new(other, RO)
        });
        request
    };
    stage.retrieve(SP3, request(SP3, SP2)).unwrap();
    let placed = Transaction {
        constituents: ranges.to_vec(),
        ..request(SP2, SP3)
    };
    let (low, high) = (handle & 0xffff_ffff, handle >> 32);
    stage.run(SP2, move |sp| {
        let bytes = placed.encode(sp.layout);
        let total = bytes.len() as u64;
        sp.write(Secure, sp.tx(), &bytes).unwrap();
        let asked = sp.call([MEM_RETRIEVE_REQ_64, total, total - 16]);
        assert_eq!(asked.0[..4], [MEM_FRAG_RX, low, high, total - 16]);
        sp.write(Secure, sp.tx(), &bytes[bytes.len() - 16..])
            .unwrap();
    });
    assert_eq!(stage.kill(SP1).error(), Some(ABORTED));
    stage.retrieve_refused(SP2, request(SP2, SP3), DENIED);
    let (first, _) = ranges[0];
    stage.run(SP2, move |sp| {
        let last = sp.call([MEM_FRAG_TX, low, high, 16]);
        assert_eq!(last.error(), Some(ABORTED));
        assert_eq!(sp.peek(Secure, first), None);
        sp.refused([MEM_FRAG_TX, low, high, 16], INVALID_PARAMETERS);
    });
    assert!(stage.run(SP3, move |sp| sp.peek(Secure, first)).is_some());
}

// A region that was sent whole has a new owner, who reads where the region lies.
// req: FRAG-19, FRAG-15
#[test]
fn a_hypervisor_that_gives_up_too_late_ends_nothing() {
    let stage = Stage::new();
    let nwd = stage.nwd();
    let ranges: Vec<_> = (0..300).map(|n| (0x4200_0000 + n * 0x2000, 1)).collect();
    let bytes = Transaction::donate(0, SP1, &ranges).encode(V12);
    let (total, first) = (bytes.len() as u64, bytes.len() - 16);
    nwd.write(0x4400_0000, &bytes[..first]);
    let asked = nwd.call([MEM_DONATE_64, total, first as u64, 0x4400_0000, 2]);
    assert_eq!(asked.function(), MEM_FRAG_RX, "{asked:?}");
    nwd.write(0x4400_0000, &bytes[first..]);
    let last = [MEM_FRAG_TX, asked.0[1], asked.0[2], 16, 0];
    let handle = nwd.call(last).handle();
    let total = stage.run(SP1, move |sp| {
        let request = Transaction {
            attributes: 0,
            ..Transaction::retrieve(0, SP1, handle, RW)
        };
        let answer = sp.memory_call(MEM_RETRIEVE_REQ_64, &request.encode(sp.layout));
        assert_eq!((answer.0[0], answer.0[2]), (MEM_RETRIEVE_RESP, 4096));
        sp.call([RX_RELEASE]).success();
        answer.0[1]
    });
    nwd.call([ERROR, 0, ABORTED as u32 as u64]);
    stage.run(SP1, move |sp| {
        read_on(&mut |regs| sp.call(regs), handle, 4096, total);
    });
}
