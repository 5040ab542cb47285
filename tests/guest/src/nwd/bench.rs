//! Benchmarks: each call is made a number of times between two marks, and the instruction counter tells who executed how much.
//!
//! `BENCH <n> <name> <iterations>` announces the marks 2n and 2n + 1. Benchmark 0 is the loop alone. What takes several steps, such as shared memory, is
//! gone through a few times; its marks stand round the step in the last round, wherever that runs.

use crate::ffa::memory::{NORMAL_WB, Receiver, Transaction, access};
use crate::ffa::transfer::reclaim;
use crate::ffa::{self, Answer, NOBODY, NWD, SP1, SP2, V1_2, id, route};
use crate::message::{self, ask_from, request};
use crate::println;
use crate::rt::call::call;
use crate::rt::mark::mark;
use crate::sp::{Command, Sp};
use crate::{command, helper};

use crate::rt::check::{Check, equal};

/// Code of the partitions.
pub const HELPERS: &[Command] = &[
    helper!(nothing),
    helper!(own_id),
    helper!(ask_sp2),
    helper!(retrieve),
    helper!(relinquish),
];

const ITERATIONS: u64 = 100;
const WARM_UP: u64 = 3;

/// The next benchmark.
struct Series(u64);

impl Series {
    /// Announces a benchmark; its number.
    fn announce(&mut self, name: &str, iterations: u64) -> u64 {
        let number = self.0;
        println!("BENCH {number} {name} {iterations}");
        self.0 += 1;
        number
    }

    /// Measures `body` in this image.
    fn measure(&mut self, name: &str, mut body: impl FnMut()) {
        for _ in 0..WARM_UP {
            body();
        }
        let number = self.announce(name, ITERATIONS);
        mark(2 * number);
        for _ in 0..ITERATIONS {
            body();
        }
        mark(2 * number + 1);
    }

    /// Lets sp1 measure a loop of its own.
    fn measure_in_sp1(&mut self, name: &str, command: u32) {
        let number = self.announce(name, ITERATIONS);
        must(ask_from(NWD, SP1, command, [2 * number, ITERATIONS, 0, 0]).map(drop));
    }

    /// Measures the steps of memory that goes to sp1 and comes back.
    fn measure_memory(&mut self, names: [&str; 4], function: u32, pages: u32) {
        let [send, retrieve_by, relinquish_by, take_back] =
            names.map(|name| 2 * self.announce(name, 1));
        let receivers = [Receiver {
            id: SP1,
            access: access::RW,
            flags: 0,
        }];
        let ranges = [(0x6220_0000, pages)];
        let sent = Transaction {
            sender: NWD,
            attributes: if function == id::MEM_SHARE_64 {
                NORMAL_WB
            } else {
                0
            },
            flags: 0,
            handle: 0,
            tag: 0,
            receivers: &receivers,
            ranges: &ranges,
        };
        let length = sent.encode(V1_2, &super::TX) as u64;
        for _ in 0..WARM_UP {
            mark(send);
            let answer = ffa::call(function, &[length, length]);
            mark(send + 1);
            must(ffa::succeeded(&answer));
            let handle = answer[2] | answer[3] << 32;
            let attributes = sent.attributes as u64;
            let arguments = [handle, retrieve_by, attributes, 0];
            must(ask_from(NWD, SP1, command!(retrieve), arguments).map(drop));
            let arguments = [handle, relinquish_by, 0, 0];
            must(ask_from(NWD, SP1, command!(relinquish), arguments).map(drop));
            mark(take_back);
            let answer = reclaim(handle, 0);
            mark(take_back + 1);
            must(ffa::done(&answer));
        }
    }
}

#[track_caller]
fn must(outcome: Check) {
    if let Err(why) = outcome {
        panic!("{why}");
    }
}

fn expect(answer: Answer, function: u32) {
    assert!(
        answer[0] as u32 == function,
        "got {:#x} {:#x}",
        answer[0],
        answer[2]
    );
}

fn ask_nothing(function: u32, partition: u16) -> Answer {
    let request = request(function, route(NWD, partition), command!(nothing), [0; 4]);
    call(ffa::conduit(), request)
}

/// Runs all benchmarks.
pub fn run() {
    println!("# benchmarks");
    let version = || ffa::call(id::VERSION, &[V1_2 as u64]);
    assert!(version()[0] == V1_2 as u64);
    let (tx, rx) = (super::TX.address(), super::RX.address());
    let map = || ffa::call(id::RXTX_MAP_64, &[tx, rx, 1]);
    let unmap = || ffa::call(id::RXTX_UNMAP, &[]);
    must(ffa::done(&map()));

    let mut series = Series(0);
    series.measure("empty", || {
        core::hint::black_box(());
    });
    series.measure("ffa_version", || assert!(version()[0] == V1_2 as u64));
    series.measure("ffa_features", || {
        expect(
            ffa::call(id::FEATURES, &[id::RXTX_MAP_64 as u64]),
            id::SUCCESS,
        );
    });
    series.measure("direct_nwd_sp", || {
        expect(ask_nothing(id::DIRECT_REQ_64, SP1), id::DIRECT_RESP_64);
    });
    series.measure("direct_nwd_sp_32", || {
        expect(ask_nothing(id::DIRECT_REQ_32, SP1), id::DIRECT_RESP_32);
    });
    series.measure("direct_nwd_sp2", || {
        expect(ask_nothing(id::DIRECT_REQ_64, SP2), id::DIRECT_RESP_64);
    });
    series.measure("direct_refused", || {
        expect(ask_nothing(id::DIRECT_REQ_64, NOBODY), id::ERROR)
    });
    series.measure_in_sp1("id_get_sp", command!(own_id));
    series.measure_in_sp1("direct_sp_sp", command!(ask_sp2));
    series.measure("partition_info_get", || {
        expect(ffa::call(id::PARTITION_INFO_GET, &[]), id::SUCCESS);
        expect(ffa::call(id::RX_RELEASE, &[]), id::SUCCESS);
    });
    series.measure("rxtx_unmap_map", || {
        expect(unmap(), id::SUCCESS);
        expect(map(), id::SUCCESS);
    });
    let share = [
        "share_send",
        "share_retrieve",
        "share_relinquish",
        "share_reclaim",
    ];
    series.measure_memory(share, id::MEM_SHARE_64, 1);
    let share = [
        "share512_send",
        "share512_retrieve",
        "share512_relinquish",
        "share512_reclaim",
    ];
    series.measure_memory(share, id::MEM_SHARE_64, 512);
    let lend = [
        "lend512_send",
        "lend512_retrieve",
        "lend512_relinquish",
        "lend512_reclaim",
    ];
    series.measure_memory(lend, id::MEM_LEND_64, 512);
    println!("# end of the benchmarks");
}

fn nothing(_: &Sp, _: [u64; 4]) -> Check<[u64; 4]> {
    Ok([0; 4])
}

/// Marks round `iterations` times `body`.
fn marked(first: u64, iterations: u64, mut body: impl FnMut() -> Check) -> Check<[u64; 4]> {
    for _ in 0..WARM_UP {
        body()?;
    }
    mark(first);
    for _ in 0..iterations {
        body()?;
    }
    mark(first + 1);
    Ok([0; 4])
}

/// sp1: `FFA_ID_GET`.
fn own_id(_: &Sp, [first, iterations, ..]: [u64; 4]) -> Check<[u64; 4]> {
    marked(first, iterations, || {
        equal(ffa::call(id::ID_GET, &[])[2], SP1)
    })
}

/// sp1: a round trip to sp2.
fn ask_sp2(sp: &Sp, [first, iterations, ..]: [u64; 4]) -> Check<[u64; 4]> {
    let request = request(
        id::DIRECT_REQ_64,
        route(sp.identity.id, SP2),
        command!(nothing),
        [0; 4],
    );
    marked(first, iterations, || {
        let answer = call(ffa::conduit(), request);
        equal(answer[3], message::OK)
    })
}

/// sp1: `FFA_MEM_RETRIEVE_REQ` of a handle of the Normal world.
fn retrieve(sp: &Sp, [handle, first, attributes, _]: [u64; 4]) -> Check<[u64; 4]> {
    let caller = sp.caller();
    let own = [Receiver {
        id: caller.id,
        access: access::RW,
        flags: 0,
    }];
    let request = Transaction {
        sender: NWD,
        attributes: attributes as u16,
        flags: 0,
        handle,
        tag: 0,
        receivers: &own,
        ranges: &[],
    };
    let length = request.encode(caller.version, caller.tx) as u64;
    mark(first);
    let answer = ffa::call(id::MEM_RETRIEVE_REQ_64, &[length, length]);
    mark(first + 1);
    caller.retrieved(&answer, &request)?;
    Ok([0; 4])
}

/// sp1: `FFA_MEM_RELINQUISH`.
fn relinquish(sp: &Sp, [handle, first, ..]: [u64; 4]) -> Check<[u64; 4]> {
    let caller = sp.caller();
    crate::ffa::memory::encode_relinquish(caller.tx, handle, 0, &[caller.id]);
    mark(first);
    let answer = ffa::call(id::MEM_RELINQUISH, &[]);
    mark(first + 1);
    ffa::done(&answer)?;
    Ok([0; 4])
}
