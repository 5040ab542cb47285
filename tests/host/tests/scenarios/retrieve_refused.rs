//! Retrieve, relinquish and reclaim calls that must be refused without any effect, one fault at a
//! time.

use host_tests::System;
use host_tests::ffa::*;
use host_tests::system::NWD_PAGES;
use spmc::addr::World::{NonSecure, Secure};

use crate::stage::{
    NONE, OWN_PAGES, READ_WRITE, SP1, SP2, Stage, TYPE_DONATE, TYPE_LEND, TYPE_SHARE,
};

const V12: Layout = Layout::V1_2;

/// A fault in a retrieve request for a share of `NWD_PAGES` with `SP1` alone.
type RequestFault = (&'static str, fn(&mut Transaction), i32);

#[rustfmt::skip]
const REQUEST_FAULTS: &[RequestFault] = &[
    ("handle of nobody", |t| t.handle ^= 1 << 40, INVALID_PARAMETERS),
    ("next handle", |t| t.handle += 1, INVALID_PARAMETERS),
    ("handle 0", |t| t.handle = 0, INVALID_PARAMETERS),
    ("handle of the Hypervisor", |t| t.handle |= 1 << 63, INVALID_PARAMETERS),
    ("all ones", |t| t.handle = u64::MAX, INVALID_PARAMETERS),
    ("sender", |t| t.sender = SP2, DENIED),
    ("sender, another VM", |t| t.sender = 1, DENIED),
    ("tag", |t| t.tag += 1, INVALID_PARAMETERS),
    ("attributes: NS", |t| t.attributes |= 1 << 6, INVALID_PARAMETERS),
    ("attributes: reserved", |t| t.attributes |= 1 << 7, INVALID_PARAMETERS),
    ("attributes: more shareable", |t| t.attributes = 0x2e, DENIED),
    ("flags: zeroed before", |t| t.flags |= 1, INVALID_PARAMETERS),
    ("flags: zero after", |t| t.flags |= 4, INVALID_PARAMETERS),
    ("flags: lend", |t| t.flags |= TYPE_LEND, INVALID_PARAMETERS),
    ("flags: donate", |t| t.flags |= TYPE_DONATE, INVALID_PARAMETERS),
    ("flags: hint that is not valid", |t| t.flags |= 1 << 5, INVALID_PARAMETERS),
    ("flags: bypass with one borrower", |t| t.flags |= 1 << 10, INVALID_PARAMETERS),
    ("flags: bit 11", |t| t.flags |= 1 << 11, INVALID_PARAMETERS),
    ("flags: bit 31", |t| t.flags |= 1 << 31, INVALID_PARAMETERS),
    ("no receiver", |t| t.receivers.clear(), INVALID_PARAMETERS),
    ("another receiver", |t| t.receivers[0].id = SP2, INVALID_PARAMETERS),
    ("one receiver too many", |t| { t.receivers.push(Receiver { flags: 1, ..Receiver::new(SP2, RW) }) }, INVALID_PARAMETERS),
    ("twice itself", |t| t.receivers.push(t.receivers[0]), INVALID_PARAMETERS),
    ("not who retrieves", |t| t.receivers[0].flags = 1, INVALID_PARAMETERS),
    ("receiver flags", |t| t.receivers[0].flags = 4, INVALID_PARAMETERS),
    ("reserved data access", |t| t.receivers[0].permissions = 3, INVALID_PARAMETERS),
    ("reserved permissions", |t| t.receivers[0].permissions |= 0x40, INVALID_PARAMETERS),
    ("execution of a share", |t| t.receivers[0].permissions |= X, INVALID_PARAMETERS),
    ("execution specified", |t| t.receivers[0].permissions |= NX, INVALID_PARAMETERS),
    ("addresses chosen", |t| t.constituents = vec![(NWD_PAGES + 0x10_0000, 1)], INVALID_PARAMETERS),
    ("addresses hinted at", |t| t.receivers[0].offset = Some(80), INVALID_PARAMETERS),
    ("implementation defined", |t| t.receivers[0].implementation_defined[1] = 9, INVALID_PARAMETERS),
];

// req: MEMD-25, MEMD-26, MEMD-27, MEMD-41, MEMD-53, MEMD-64, MEMD-66, MEMD-70, MEMD-73, MEMD-75
// req: MEMD-86, MEMD-87, MEMD-88
// req: MEMD-89, MEMD-90, MEMD-91, MEMD-92, MEMD-94, MEMRQ-04, MEMRQ-06, MEMRQ-25, MEMD-15, GEN-30
// req: DSC-07, DSC-08
#[test]
fn requests_with_one_fault() {
    let stage = Stage::new();
    let mut share = Transaction::share(0, SP1, RW, &[(NWD_PAGES, 1)]);
    share.tag = 77;
    share.receivers[0].implementation_defined = [3, 4];
    let handle = stage.nwd().send(MEM_SHARE_64, &share);
    let mut request = Transaction::retrieve(0, SP1, handle, RW);
    request.tag = 77;
    request.receivers[0].implementation_defined = [3, 4];
    for (what, fault, code) in REQUEST_FAULTS {
        let mut faulty = request.clone();
        fault(&mut faulty);
        stage.run(SP1, move |sp| {
            let before = sp.snapshot();
            let answer = sp.memory_call(MEM_RETRIEVE_REQ_64, &faulty.encode(V12));
            assert_eq!(answer.error(), Some(*code), "{what}");
            assert_eq!(before, sp.snapshot(), "{what}");
        });
    }
    // Bytes missing at the end, and additional ones.
    let bytes = request.encode(V12);
    stage.run(SP1, move |sp| {
        sp.memory_refused(MEM_RETRIEVE_REQ_64, &bytes[..79], INVALID_PARAMETERS);
        sp.memory_refused(
            MEM_RETRIEVE_REQ_64,
            &[&bytes[..], &[0; 16]].concat(),
            INVALID_PARAMETERS,
        );
    });
    // An endpoint that was not named gets nothing, in any other name either.
    for id in [SP1, SP2] {
        let mut foreign = request.clone();
        foreign.receivers[0].id = id;
        stage.retrieve_refused(SP2, foreign, INVALID_PARAMETERS);
    }
    assert_eq!(stage.access(SP1, NonSecure, NWD_PAGES), NONE);
    request.flags = TYPE_SHARE;
    let response = stage.retrieve(SP1, request).unwrap();
    assert_eq!(response.receivers[0].implementation_defined, [3, 4]);
}

// req: MEMD-33, MEMD-53, MEMD-90, MEMD-91
#[test]
fn borrowers_do_not_exceed_what_was_granted() {
    let stage = Stage::new();
    let nwd = stage.nwd();
    let mut share = Transaction::share(0, SP1, RO, &[(NWD_PAGES, 1)]);
    // Non-cacheable.
    share.attributes = 0x27;
    let handle = nwd.send(MEM_SHARE_64, &share);
    let request = |permissions, attributes, flags| Transaction {
        attributes,
        flags,
        ..Transaction::retrieve(0, SP1, handle, permissions)
    };
    stage.retrieve_refused(SP1, request(RW, 0x27, 0), DENIED);
    stage.retrieve_refused(SP1, request(RO, NORMAL, 0), DENIED);
    // An alignment that the addresses have, and one that they do not have.
    let aligned = |log2: u32| 1 << 9 | log2 << 5;
    stage.retrieve_refused(SP1, request(RO, 0x27, aligned(15)), DENIED);
    // One range of the two has the alignment.
    let uneven = [(NWD_PAGES + 0x4000, 1), (NWD_PAGES + 0x7000, 1)];
    let other = nwd.send(MEM_SHARE_64, &Transaction::share(0, SP1, RO, &uneven));
    let both = Transaction {
        flags: aligned(1),
        ..Transaction::retrieve(0, SP1, other, RO)
    };
    stage.retrieve_refused(SP1, both, DENIED);
    let response = stage.retrieve(SP1, request(0, 0, aligned(1))).unwrap();
    assert_eq!(
        response.attributes,
        0x27 | NON_SECURE,
        "what the owner said applies"
    );
    assert_eq!(
        stage.access(SP1, NonSecure, NWD_PAGES),
        [true, false, false]
    );
    stage.relinquish(SP1, handle);
    // A weaker memory type is always possible: Device memory.
    let response = stage.retrieve(SP1, request(RO, 0x10, 0)).unwrap();
    assert_eq!(response.attributes, 0x10 | NON_SECURE);
}

/// Shares a page with partitions at 1.`minor`. Returns the first one's request with the bypass
/// flag.
/// flag.
fn with_bypass_flag(minor: u32) -> (Stage, Transaction) {
    let stage = Stage::with(|spec| spec.version(minor));
    let mut share = Transaction::share(0, SP1, RW, &[(NWD_PAGES, 1)]);
    share.receivers.push(Receiver::new(SP2, RO));
    let handle = stage.nwd().send(MEM_SHARE_64, &share);
    let request = Transaction {
        flags: 1 << 10,
        ..Transaction::retrieve(0, SP1, handle, RW)
    };
    (stage, request)
}

// req: MEMD-92, MEMD-90
#[test]
fn the_bypass_flag_is_unknown_to_1_0() {
    let (stage, request) = with_bypass_flag(0);
    stage.retrieve_refused(SP1, request, INVALID_PARAMETERS);
}

// req: MEMD-92, MEMD-90
#[test]
fn the_bypass_flag_is_known_to_1_1() {
    let (stage, request) = with_bypass_flag(1);
    stage.retrieve(SP1, request).unwrap();
    assert_eq!(stage.access(SP1, NonSecure, NWD_PAGES), READ_WRITE);
}

// req: MEMRQ-06, FRAG-06, MEMD-75
#[test]
fn who_has_a_region_is_not_asked_for_the_rest_of_another_request() {
    let stage = Stage::new();
    let ranges = [(NWD_PAGES, 1), (NWD_PAGES + 0x2000, 1)];
    let lend = Transaction::lend(0, SP1, RW, &ranges);
    let handle = stage.nwd().send(MEM_LEND_64, &lend);
    let request = Transaction {
        attributes: 0,
        constituents: ranges.to_vec(),
        ..Transaction::retrieve(0, SP1, handle, RW)
    };
    stage.run(SP1, move |sp| {
        let bytes = request.encode(sp.layout);
        let total = bytes.len() as u64;
        let first = [MEM_RETRIEVE_REQ_64, total, total - 16];
        sp.write(Secure, sp.tx(), &bytes).unwrap();
        assert_eq!(sp.call(first).function(), MEM_FRAG_RX);
        // The request begins again, in one piece.
        let whole = sp.call([MEM_RETRIEVE_REQ_64, total, total]);
        assert_eq!(whole.function(), MEM_RETRIEVE_RESP);
        sp.call([RX_RELEASE]).success();
        sp.refused(first, DENIED);
        let (low, high) = (handle & 0xffff_ffff, handle >> 32);
        sp.write(Secure, sp.tx(), &bytes[bytes.len() - 16..])
            .unwrap();
        sp.refused([MEM_FRAG_TX, low, high, 16], INVALID_PARAMETERS);
    });
    stage.relinquish(SP1, handle);
    stage.nwd().reclaim(handle).success();
}

// req: MEMRL-01, MEMRL-03, MEMRL-04, MEMRL-05, MEMRL-06, MEMRL-07, MEMRL-11, MEMRL-12, MEMO-30
#[test]
fn relinquishing_with_one_fault() {
    let stage = Stage::new();
    let nwd = stage.nwd();
    let handle = nwd.send(
        MEM_SHARE_64,
        &Transaction::share(0, SP1, RW, &[(NWD_PAGES, 1)]),
    );
    let refused = |id: u16, descriptor: Vec<u8>, code| {
        stage.run(id, move |sp| {
            sp.write(Secure, sp.tx(), &descriptor).unwrap();
            sp.refused([MEM_RELINQUISH], code);
        });
    };
    // Not retrieved yet.
    refused(SP1, relinquish(handle, 0, &[SP1]), DENIED);
    stage
        .retrieve(SP1, Transaction::retrieve(0, SP1, handle, RW))
        .unwrap();
    for flags in [1, 4, 1 << 31] {
        // A shared region is not zeroed.
        refused(SP1, relinquish(handle, flags, &[SP1]), INVALID_PARAMETERS);
    }
    let endpoints: [&[u16]; 6] = [&[], &[SP2], &[0], &[SP1, SP2], &[SP1, SP1], &[SP2, SP1]];
    for endpoints in endpoints {
        refused(SP1, relinquish(handle, 0, endpoints), INVALID_PARAMETERS);
    }
    let mut many = relinquish(handle, 0, &[SP1]);
    many[12..16].fill(0xff);
    refused(SP1, many, INVALID_PARAMETERS);
    for other in [0, handle + 1, handle ^ 1 << 33, handle | 1 << 63, u64::MAX] {
        refused(SP1, relinquish(other, 0, &[SP1]), INVALID_PARAMETERS);
    }
    refused(SP2, relinquish(handle, 0, &[SP2]), INVALID_PARAMETERS);
    refused(SP2, relinquish(handle, 0, &[SP1]), INVALID_PARAMETERS);
    assert_eq!(stage.access(SP1, NonSecure, NWD_PAGES), READ_WRITE);
    stage.relinquish(SP1, handle);
    refused(SP1, relinquish(handle, 0, &[SP1]), DENIED);
}

// req: MEMRC-01, MEMRC-02, MEMRC-03, MEMRC-04, MEMRC-16, MEMRC-13, MEMD-13, MEMD-15
#[test]
fn reclaiming_with_one_fault() {
    let stage = Stage::new();
    let nwd = stage.nwd();
    let handle = nwd.send(
        MEM_LEND_64,
        &Transaction::lend(0, SP1, RW, &[(NWD_PAGES, 1)]),
    );
    let (low, high) = (handle & 0xffff_ffff, handle >> 32);
    for flags in [2, 4, 1 << 31] {
        nwd.refused([MEM_RECLAIM, low, high, flags], INVALID_PARAMETERS);
    }
    for other in [0, handle + 1, handle ^ 1 << 33, handle | 1 << 63, u64::MAX] {
        nwd.refused(
            [MEM_RECLAIM, other & 0xffff_ffff, other >> 32],
            INVALID_PARAMETERS,
        );
    }
    for id in [SP1, SP2] {
        stage.run(id, move |sp| {
            sp.refused([MEM_RECLAIM, low, high], INVALID_PARAMETERS)
        });
    }
    nwd.reclaim(handle).success();
    // Handles are not reused.
    for _ in 0..200 {
        let next = nwd.send(
            MEM_LEND_64,
            &Transaction::lend(0, SP1, RW, &[(NWD_PAGES, 1)]),
        );
        assert_ne!(next, handle);
        nwd.refused([MEM_RECLAIM, low, high], INVALID_PARAMETERS);
        nwd.reclaim(next).success();
    }
}

// req: MEMRQ-20, MEMRQ-21, MEMRQ-22, MEMRQ-23, FEAT-13, MEMRC-15
#[test]
fn a_hypervisor_retrieves_by_handle_alone() {
    let stage = Stage::new();
    let nwd = stage.nwd();
    let mut share = Transaction::share(5, SP1, RW, &[(NWD_PAGES, 1), (NWD_PAGES + 0x4000, 2)]);
    share.tag = 9;
    let handle = nwd.send(MEM_SHARE_64, &share);
    let request = Transaction {
        sender: 0,
        attributes: 0,
        flags: 0,
        handle,
        tag: 0,
        receivers: Vec::new(),
        constituents: Vec::new(),
    };
    let memory = |system: &System| system.snapshot();
    let before = memory(&stage.system);
    let mut bytes = request.encode(V12);
    // Without receivers, their size and place have no meaning.
    bytes[24..36].fill(0);
    let answer = nwd.memory_call(MEM_RETRIEVE_REQ_64, &bytes);
    assert_eq!(answer.function(), MEM_RETRIEVE_RESP);
    let response = Transaction::decode(
        &nwd.read(host_tests::system::NWD_RX, answer.0[1] as usize),
        V12,
    );
    assert_eq!((response.sender, response.handle), (5, handle));
    assert_eq!(response.constituents, share.constituents);
    assert_eq!(response.receivers.len(), 1);
    nwd.call([RX_RELEASE]).success();
    assert_eq!(before, memory(&stage.system), "nothing is mapped");

    for fault in [
        |t: &mut Transaction| t.handle += 1,
        |t: &mut Transaction| t.sender = 5,
        |t: &mut Transaction| t.attributes = NORMAL,
        |t: &mut Transaction| t.tag = 9,
        |t: &mut Transaction| t.flags = TYPE_SHARE,
        |t: &mut Transaction| t.receivers = vec![Receiver::new(5, RW)],
        |t: &mut Transaction| t.receivers = vec![Receiver::new(SP1, RW)],
    ] {
        let mut faulty = request.clone();
        fault(&mut faulty);
        nwd.memory_refused(MEM_RETRIEVE_REQ_64, &faulty.encode(V12), INVALID_PARAMETERS);
    }
    let longer = [&request.encode(V12)[..], &[0; 16]].concat();
    nwd.memory_refused(MEM_RETRIEVE_REQ_64, &longer, INVALID_PARAMETERS);
    // The Hypervisor is not told about memory that partitions share with each other.
    let secret = stage.run(SP1, |sp| {
        let page = sp.base() + OWN_PAGES;
        sp.send(
            MEM_SHARE_64,
            &Transaction::share(SP1, SP2, RW, &[(page, 1)]),
        )
    });
    let request = Transaction {
        handle: secret,
        ..request
    };
    nwd.memory_refused(
        MEM_RETRIEVE_REQ_64,
        &request.encode(V12),
        INVALID_PARAMETERS,
    );
    nwd.refused(
        [MEM_RECLAIM, secret & 0xffff_ffff, secret >> 32],
        INVALID_PARAMETERS,
    );
}
