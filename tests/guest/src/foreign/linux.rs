//! A Normal world in the style of Linux' `arm_ffa` driver (6.12 and later), and of what sits on it.
//!
//! Linux speaks 1.2 and falls back where `FFA_FEATURES` says that something is missing. It judges
//! an answer by the function id, so an answer of the other width is an error. After `FFA_INTERRUPT`
//! and `FFA_YIELD` it goes on with `FFA_RUN`, with w1 as it came. Its descriptors are as large as
//! its buffer and go on in fragments; receivers have 16 bytes up to 6.17 and 32 from then on.

use super::{ODP, odp};
use crate::ffa::error::{NO_DATA, NOT_SUPPORTED};
use crate::ffa::memory_calls::{Caller, reclaim};
use crate::ffa::memory_descriptor::{NORMAL_WB, Scatter, Transaction, access};
use crate::ffa::{self, NWD, V1_1, V1_2, call, id, route};
use crate::nwd::{self, Nwd, Test, page, peek, poke};
use crate::rt::call::Regs;
use crate::rt::check::{Check, equal, holds};
use crate::support::sharing::receiver;
use crate::test;

/// The tests of this file, in their order.
pub const TESTS: &[Test] = &[
    test!(linux_probes, "Linux finds the framework and sets itself up"),
    test!(
        linux_lists,
        "Linux lists the services by registers, and as older versions do by its buffer"
    ),
    test!(
        linux_asks_services,
        "Linux asks each service of a partition of the Open Device Partnership"
    ),
    test!(
        linux_waits_for_services,
        "Linux runs a service again that yields, as often as it does"
    ),
    test!(
        linux_shares,
        "Linux shares memory, whose descriptor has receivers of 16 or 32 bytes"
    ),
    test!(linux_is_notified, "Linux is notified by a service"),
    test!(linux_leaves, "Linux gives up what it had set up"),
];

/// Properties, in the first register of a descriptor of `FFA_PARTITION_INFO_GET_REGS`.
const DIRECT: u64 = 1 << 32;
const DIRECT2: u64 = 1 << 41;
const AARCH64: u64 = 1 << 40;

/// Number of services of all partitions. Four partitions have one each.
const LISTED: u64 = odp::SERVICES.len() as u64 + 4;

fn feature(id: u32) -> Regs {
    call(id::FEATURES, &[id.into()])
}

fn linux_probes(nwd: &Nwd) -> Check {
    equal(call(id::VERSION, &[V1_2.into()])[0], V1_2)?;
    let me = call(id::ID_GET, &[]);
    ffa::succeeded(&me)?;
    equal(me[2], NWD)?;
    let map = feature(id::RXTX_MAP_64);
    ffa::succeeded(&map)?;
    // The minimum size of buffers is 4 KiB, and there is a maximum.
    equal(map[2] & 0b11, 0u64)?;
    holds(map[2] >> 16 >= 1, map[2])?;
    let (tx, rx) = (nwd::TX.address(), nwd::RX.address());
    ffa::succeeded(&call(id::RXTX_MAP_64, &[tx, rx, 1]))?;
    for function in [
        id::MEM_LEND_64,
        id::MEM_SHARE_64,
        id::DIRECT_REQ2,
        id::DIRECT_RESP2,
        id::NOTIFICATION_BITMAP_CREATE,
        id::PARTITION_INFO_GET_REGS,
    ] {
        ffa::succeeded(&feature(function))?;
    }
    let vcpus = nwd.pes as u64;
    let create = call(id::NOTIFICATION_BITMAP_CREATE, &[NWD.into(), vcpus]);
    ffa::succeeded(&create)?;
    // The Normal world has the schedule receiver interrupt; the notification pending interrupt is a
    // partition's.
    let interrupt = feature(2);
    ffa::succeeded(&interrupt)?;
    holds((8..16).contains(&interrupt[2]), interrupt[2])?;
    ffa::refused(&feature(1), NOT_SUPPORTED)
}

fn linux_lists(_: &Nwd) -> Check {
    let mut found = 0_u64;
    let (mut start, mut tag) = (0, 0);
    loop {
        let answer = call(id::PARTITION_INFO_GET_REGS, &[0, 0, start | tag << 16]);
        equal(answer[0], id::SUCCESS_64)?;
        let [last, current] = [answer[2] & 0xffff, answer[2] >> 16 & 0xffff];
        tag = answer[2] >> 32 & 0xffff;
        equal(answer[2] >> 48, 24u64)?;
        equal(last + 1, LISTED)?;
        holds(start <= current && current <= last, current)?;
        let descriptors = answer[3..].chunks(3).take((current - start + 1) as usize);
        for descriptor in descriptors {
            if descriptor[0] as u16 == ODP {
                let uuid = [descriptor[1], descriptor[2]];
                holds(odp::SERVICES.contains(&uuid), uuid[0])?;
                equal(descriptor[0] >> 16 & 0xffff, 1u64)?;
                let wanted = DIRECT | DIRECT2 | AARCH64;
                equal(descriptor[0] & wanted, wanted)?;
                found += 1;
            }
        }
        if current == last {
            break;
        }
        start = current + 1;
    }
    equal(found, odp::SERVICES.len() as u64)?;
    let count = call(id::PARTITION_INFO_GET, &[0, 0, 0, 0, 1]);
    ffa::succeeded(&count)?;
    equal(count[2], LISTED)?;
    let list = call(id::PARTITION_INFO_GET, &[0, 0, 0, 0, 0]);
    ffa::succeeded(&list)?;
    equal(list[2], LISTED)?;
    holds(list[3] >= 24 && list[3].is_multiple_of(8), list[3])?;
    for n in 0..LISTED as usize {
        let at = n * list[3] as usize;
        holds(nwd::RX.u16(at) >> 15 == 1, nwd::RX.u16(at))?;
        holds(nwd::RX.u64(at + 8) != 0, at as u64)?;
    }
    ffa::succeeded(&call(id::RX_RELEASE, &[]))
}

/// Sends a request of the second kind and resumes the partition until it answers. Returns the
/// answer, and the number of pauses.
fn request2(partition: u16, uuid: [u64; 2], words: [u64; 14]) -> (Regs, u64) {
    let mut request = ffa::regs(id::DIRECT_REQ2, &[route(NWD, partition), uuid[0], uuid[1]]);
    request[4..].copy_from_slice(&words);
    let mut answer = crate::rt::call::call(ffa::conduit(), request);
    let mut pauses = 0;
    while matches!(answer[0] as u32, id::INTERRUPT | id::YIELD) {
        pauses += 1;
        answer = call(id::RUN, &[answer[1]]);
    }
    (answer, pauses)
}

/// Asks a service and returns its result.
#[track_caller]
fn ask(uuid: [u64; 2], first: u64, second: u64) -> Check<u64> {
    let mut words = [0; 14];
    [words[0], words[1]] = [first, second];
    odp::outcome(&request2(ODP, uuid, words).0, ODP, NWD)
}

fn linux_asks_services(_: &Nwd) -> Check {
    let words: [u64; 14] =
        core::array::from_fn(|n| 0x0123_4567_89ab_cdef_u64.rotate_left(n as u32));
    let (answer, _) = request2(ODP, odp::ECHO, words);
    equal(answer[0], id::DIRECT_RESP2)?;
    equal(answer[1], route(ODP, NWD))?;
    for (got, sent) in answer[4..].iter().zip(words) {
        equal(*got, !sent)?;
    }
    ask(odp::LOG, 0, 0).map(drop)
}

fn linux_waits_for_services(_: &Nwd) -> Check {
    let mut words = [0; 14];
    [words[0], words[1]] = [3, 5_000_000_000];
    let (answer, pauses) = request2(ODP, odp::YIELD, words);
    odp::outcome(&answer, ODP, NWD)?;
    holds(pauses >= 3, pauses)
}

fn linux_shares(_: &Nwd) -> Check {
    for version in [V1_1, V1_2] {
        let driver = Caller {
            version,
            ..nwd::caller()
        };
        let receivers = [receiver(ODP, access::RW)];
        for (tag, ranges) in [(0, 1), (0x00c0_ffee, 230)] {
            let list = Scatter::every_second(page(64), ranges);
            for n in 0..ranges {
                poke(list.constituent(n), n.into());
            }
            let share = Transaction {
                sender: NWD,
                attributes: NORMAL_WB,
                flags: 0,
                handle: 0,
                tag,
                receivers: &receivers,
                ranges: &[],
            };
            let handle = driver.sent_scattered(id::MEM_SHARE_64, &share, &list)?;
            let sum = ask(odp::MEMORY, handle, tag)?;
            equal(sum, u64::from(ranges * (ranges - 1) / 2))?;
            for n in 0..ranges {
                equal(peek(list.constituent(n)) as u32, n + 1)?;
            }
            ffa::done(&reclaim(handle, 0))?;
        }
    }
    Ok(())
}

fn linux_is_notified(_: &Nwd) -> Check {
    const NUMBER: u64 = 37;
    let map = 1_u64 << NUMBER;
    let [low, high] = [map & 0xffff_ffff, map >> 32];
    let bind = [route(ODP, NWD), 0, low, high];
    ffa::succeeded(&call(id::NOTIFICATION_BIND, &bind))?;
    ask(odp::NOTIFY, NUMBER << 23, 0)?;
    ask(odp::RAISE, 0, 0)?;
    let told = call(id::NOTIFICATION_INFO_GET_64, &[]);
    equal(told[0], id::SUCCESS_64)?;
    // There is one list, with one id.
    equal(told[2], 1u64 << 7)?;
    equal(told[3], NWD)?;
    ffa::refused(&call(id::NOTIFICATION_INFO_GET_64, &[]), NO_DATA)?;
    let got = call(id::NOTIFICATION_GET, &[NWD.into(), 0b101]);
    ffa::results(&got, [low, high, 0, 0, 0, 0])?;
    ffa::succeeded(&call(id::NOTIFICATION_UNBIND, &bind))
}

fn linux_leaves(_: &Nwd) -> Check {
    ffa::succeeded(&call(id::NOTIFICATION_BITMAP_DESTROY, &[NWD.into()]))?;
    ffa::succeeded(&call(id::RXTX_UNMAP, &[]))
}
