//! Benchmarks: each call is made a number of times between two marks, and the instruction counter
//! tells how many instructions each component executed in between.
//!
//! `BENCH <n> <name> <iterations>` announces the marks 2n and 2n + 1. Benchmark 0 is the empty
//! loop. A benchmark of several steps, such as a memory transaction, runs a few times; its marks
//! stand around the step in the last round, in whichever image makes that step.

use core::fmt;

use crate::ffa::fragment_calls::Fragments;
use crate::ffa::memory_calls::{completed, reclaim};
use crate::ffa::memory_descriptor::Scatter;
use crate::ffa::{self, Answer, NOBODY, NWD, SP1, SP2, V1_2, id, route};
use crate::nwd::gic;
use crate::nwd::source::{GPIO_INTERRUPT, Source};
use crate::rt::call::call;
use crate::rt::check::{Check, equal, holds};
use crate::rt::mark::mark;
use crate::rt::page::PAGE_SIZE;
use crate::rt::stage1::NON_SECURE_GIB;
use crate::rt::{PATIENCE_MS, wait_until};
use crate::sp::{Command, Sp};
use crate::support::helper_call::{self, ask_from, request};
use crate::support::regions::{Kind, request as borrowing, unsent};
use crate::support::secure_uart::{MASK, TRANSMIT, UART, enable, quieten, uart};
use crate::support::sharing::receiver;
use crate::support::virtual_interrupts::{DEACTIVATE, ENABLE, GET, hf, is_signalled};
use crate::{command, helper, println};

/// Code of the partitions.
pub const HELPERS: &[Command] = &[
    helper!(nothing),
    helper!(release),
    helper!(own_id),
    helper!(ask_sp2),
    helper!(retrieve),
    helper!(relinquish),
    helper!(spin),
    helper!(own_interrupt),
];

/// Number of calls between two marks.
pub const ITERATIONS: u64 = 100;
const WARM_UP: u64 = 3;
/// A number that no benchmark has, so that `xtask` ignores its marks.
const NOT_MEASURED: u64 = 127;

/// The number of the next benchmark.
struct Series(u64);

impl Series {
    /// Announces a benchmark and returns its number.
    fn announce(&mut self, name: impl fmt::Display, iterations: u64) -> u64 {
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

    /// Measures `body` in the last of a few rounds, each of which needs `after` behind it.
    fn measure_once(&mut self, name: &str, mut body: impl FnMut(), mut after: impl FnMut()) {
        let number = self.announce(name, 1);
        for _ in 0..WARM_UP {
            mark(2 * number);
            body();
            mark(2 * number + 1);
            after();
        }
    }

    /// Lets sp1 measure a loop of its own.
    fn measure_in_sp1(&mut self, name: &str, command: u32) {
        let number = self.announce(name, ITERATIONS);
        must(ask_from(NWD, SP1, command, [2 * number, ITERATIONS, 0, 0]).map(drop));
    }

    /// Measures the steps of a memory transaction with sp1, which gives the memory back unless it
    /// is donated.
    fn measure_memory(&mut self, kind: Kind, list: Scatter) {
        let steps = match kind {
            Kind::Donate => &STEPS[..2],
            _ => &STEPS,
        };
        let mut marks = [0; STEPS.len()];
        for (mark, step) in marks.iter_mut().zip(steps) {
            *mark = 2 * self.announce(format_args!("{}_{step}", Memory { kind, list }), 1);
        }
        let [send, retrieve_by, relinquish_by, take_back] = marks;
        for round in 0..WARM_UP {
            let mut list = list;
            if kind == Kind::Donate {
                list.first += round * DONATION;
            }
            let handle = self.send(kind, &list, send);
            let arguments = [handle, retrieve_by, kind as u64, 0];
            must(ask_from(NWD, SP1, command!(retrieve), arguments).map(drop));
            if kind == Kind::Donate {
                continue;
            }
            let arguments = [handle, relinquish_by, 0, 0];
            must(ask_from(NWD, SP1, command!(relinquish), arguments).map(drop));
            mark(take_back);
            let answer = reclaim(handle, 0);
            mark(take_back + 1);
            must(ffa::done(&answer));
        }
    }

    /// Measures reclaiming what sp1 did not retrieve.
    fn measure_reclaim(&mut self, kind: Kind, list: Scatter) {
        let take_back = 2 * self.announce(format_args!("{}_reclaim", Memory { kind, list }), 1);
        for _ in 0..WARM_UP {
            let handle = self.send(kind, &list, 2 * NOT_MEASURED);
            mark(take_back);
            let answer = reclaim(handle, 0);
            mark(take_back + 1);
            must(ffa::done(&answer));
        }
    }

    /// Measures interrupts: a secure one that stops the Normal world, with all calls of its owner;
    /// a Non-secure one that preempts sp1, with the `FFA_RUN` after it; and the calls that fetch
    /// and deactivate an interrupt.
    fn measure_interrupts(&mut self) {
        must(ask_from(NWD, SP1, command!(own_interrupt), [0; 4]).map(drop));
        self.measure("secure_interrupt", || Source::Gpio.raise());

        gic::enable(0);
        gic::fire(0);
        let mut answer = call(
            ffa::conduit(),
            request(id::DIRECT_REQ_64, route(NWD, SP1), command!(spin), [0; 4]),
        );
        self.measure("ns_interrupt_and_run", || {
            expect(answer, id::INTERRUPT);
            answer = ffa::call(id::RUN, &[u64::from(SP1) << 16]);
        });
        must(gic::acknowledge(0));
        answer = ffa::call(id::RUN, &[u64::from(SP1) << 16]);
        expect(answer, id::DIRECT_RESP_64);

        let get = 2 * self.announce("interrupt_get", 1);
        let deactivate = 2 * self.announce("interrupt_deactivate", 1);
        for _ in 0..WARM_UP {
            let arguments = [get, deactivate, 0, 0];
            must(ask_from(NWD, SP1, command!(own_interrupt), arguments).map(drop));
        }
    }

    /// Sends memory to sp1 in as many fragments as needed, between two marks, and returns the
    /// handle.
    fn send(&self, kind: Kind, list: &Scatter, first_mark: u64) -> u64 {
        let caller = super::caller();
        let receivers = [receiver(SP1, kind.granted())];
        let sent = unsent(&caller, kind, &receivers);
        let mut fragments = Fragments::new(&caller, &sent, list);
        mark(first_mark);
        let mut answer = fragments.first(kind.function(), PAGE_SIZE);
        while !fragments.is_complete() {
            let handle = answer[1] | answer[2] << 32;
            answer = fragments.next(handle, PAGE_SIZE);
        }
        mark(first_mark + 1);
        match completed(&answer) {
            Ok(handle) => handle,
            Err(why) => panic!("{why}"),
        }
    }
}

const STEPS: [&str; 4] = ["send", "retrieve", "relinquish", "reclaim"];

/// The name of a benchmark of memory: the transaction, its pages and, if there are several, its
/// constituents.
struct Memory {
    kind: Kind,
    list: Scatter,
}

impl fmt::Display for Memory {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self.kind {
            Kind::Share => "share",
            Kind::Lend => "lend",
            Kind::Donate => "donate",
        })?;
        let (pages, constituents) = (self.list.total(), self.list.count);
        match constituents {
            1 if pages == 1 => Ok(()),
            1 => write!(f, "{pages}"),
            _ => write!(f, "{pages}x{constituents}"),
        }
    }
}

/// The start of the memory that the benchmarks send, in the second GiB, and the distance between
/// donations.
const MEMORY: u64 = NON_SECURE_GIB;
const DONATION: u64 = 0x20_0000;

#[track_caller]
/// Panics if a check failed.
pub fn must(outcome: Check) {
    if let Err(why) = outcome {
        panic!("{why}");
    }
}

/// Panics unless the call completed with `function`.
pub fn expect(answer: Answer, function: u32) {
    assert!(
        answer[0] as u32 == function,
        "got {:#x} {:#x}",
        answer[0],
        answer[2]
    );
}

/// Makes a direct request that a partition answers at once.
pub fn ask_nothing(function: u32, partition: u16) -> Answer {
    let request = request(function, route(NWD, partition), command!(nothing), [0; 4]);
    call(ffa::conduit(), request)
}

/// Makes `FFA_MSG_SEND2` with 16 bytes for sp1, as a sender of 1.2 lays the message out.
fn send_16_bytes() {
    const HEADER: u32 = 40;
    let tx = &super::TX;
    tx.write(0, &[0; HEADER as usize + 16]);
    tx.write(8, &HEADER.to_le_bytes());
    tx.write(12, &SP1.to_le_bytes());
    tx.write(14, &NWD.to_le_bytes());
    tx.write(16, &16u32.to_le_bytes());
    expect(ffa::call(id::MSG_SEND2, &[]), id::SUCCESS);
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
    series.measure("direct2_nwd_sp", || {
        let request = ffa::regs(id::DIRECT_REQ2, &[route(NWD, SP1)]);
        expect(call(ffa::conduit(), request), id::DIRECT_RESP2);
    });
    series.measure("direct_nwd_sp2", || {
        expect(ask_nothing(id::DIRECT_REQ_64, SP2), id::DIRECT_RESP_64);
    });
    series.measure("direct_refused", || {
        expect(ask_nothing(id::DIRECT_REQ_64, NOBODY), id::ERROR)
    });
    series.measure_in_sp1("id_get_sp", command!(own_id));
    series.measure_in_sp1("direct_sp_sp", command!(ask_sp2));
    series.measure_once(
        "partition_info_get",
        || expect(ffa::call(id::PARTITION_INFO_GET, &[]), id::SUCCESS),
        || expect(ffa::call(id::RX_RELEASE, &[]), id::SUCCESS),
    );
    series.measure("partition_info_get_regs", || {
        expect(ffa::call(id::PARTITION_INFO_GET_REGS, &[]), id::SUCCESS_64);
    });
    series.measure_once("msg_send2", send_16_bytes, || {
        must(ask_from(NWD, SP1, command!(release), [0; 4]).map(drop));
    });
    series.measure("rxtx_unmap_map", || {
        expect(unmap(), id::SUCCESS);
        expect(map(), id::SUCCESS);
    });
    series.measure_interrupts();
    for kind in [Kind::Share, Kind::Lend, Kind::Donate] {
        series.measure_memory(kind, Scatter::contiguous(MEMORY, 1));
    }
    series.measure_reclaim(Kind::Donate, Scatter::contiguous(MEMORY + DONATION / 2, 1));
    let many = MEMORY + 8 * DONATION;
    for list in [
        Scatter::contiguous(many, 512),
        Scatter::contiguous(many, 4096),
        Scatter::every_second(many, 512),
        Scatter::every_second(many, 4096),
    ] {
        series.measure_memory(Kind::Share, list);
        series.measure_memory(Kind::Lend, list);
    }
    series.measure_memory(Kind::Share, Scatter::every_second(many, 16_384));
    println!("# end of the benchmarks");
}

fn nothing(_: &Sp, _: [u64; 4]) -> Check<[u64; 4]> {
    Ok([0; 4])
}

/// Puts marks around `iterations` runs of `body`.
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

/// Keeps the PE for a while, in sp1.
fn spin(_: &Sp, _: [u64; 4]) -> Check<[u64; 4]> {
    for _ in 0..1_000 {
        core::hint::spin_loop();
    }
    Ok([0; 4])
}

/// Enables the GPIO's interrupt of sp1. With marks as arguments, measures the handling of an
/// interrupt of the UART between them instead.
fn own_interrupt(_: &Sp, [get, deactivate, ..]: [u64; 4]) -> Check<[u64; 4]> {
    if get == 0 {
        equal(hf(ENABLE, &[GPIO_INTERRUPT, 1, 0]), 0u64)?;
        return Ok([0; 4]);
    }
    measure_handling(get, deactivate)
}

/// Fetches and deactivates the interrupt of the UART, with marks around both calls.
fn measure_handling(get: u64, deactivate: u64) -> Check<[u64; 4]> {
    quieten();
    enable()?;
    uart(MASK, TRANSMIT);
    println!("# an interrupt");
    holds(wait_until(PATIENCE_MS, is_signalled), 0u64)?;
    quieten();
    mark(get);
    let id = hf(GET, &[]);
    mark(get + 1);
    equal(id, UART)?;
    mark(deactivate);
    let done = hf(DEACTIVATE, &[UART, UART]);
    mark(deactivate + 1);
    equal(done, 0u64)?;
    Ok([0; 4])
}

/// Makes `FFA_RX_RELEASE` in sp1.
fn release(_: &Sp, _: [u64; 4]) -> Check<[u64; 4]> {
    ffa::done(&ffa::call(id::RX_RELEASE, &[]))?;
    Ok([0; 4])
}

/// Makes `FFA_ID_GET` in sp1.
fn own_id(_: &Sp, [first, iterations, ..]: [u64; 4]) -> Check<[u64; 4]> {
    marked(first, iterations, || {
        equal(ffa::call(id::ID_GET, &[])[2], SP1)
    })
}

/// Makes round trips from sp1 to sp2.
fn ask_sp2(sp: &Sp, [first, iterations, ..]: [u64; 4]) -> Check<[u64; 4]> {
    let request = request(
        id::DIRECT_REQ_64,
        route(sp.identity.id, SP2),
        command!(nothing),
        [0; 4],
    );
    marked(first, iterations, || {
        let answer = call(ffa::conduit(), request);
        equal(answer[3], helper_call::OK)
    })
}

/// Makes `FFA_MEM_RETRIEVE_REQ` in sp1 for a handle of the Normal world, and takes all fragments of
/// the response.
fn retrieve(sp: &Sp, [handle, first, kind, _]: [u64; 4]) -> Check<[u64; 4]> {
    let caller = sp.caller();
    let kind = Kind::from_number(kind);
    let own = [receiver(caller.id, kind.wanted())];
    let request = borrowing(NWD, kind, handle, &own);
    let length = request.encode(caller.version, caller.tx) as u64;
    mark(first);
    let answer = ffa::call(id::MEM_RETRIEVE_REQ_64, &[length, length]);
    let (total, mut offset) = (answer[1] as usize, answer[2] as usize);
    while answer[0] as u32 == id::MEM_RETRIEVE_RESP && offset < total {
        ffa::done(&ffa::call(id::RX_RELEASE, &[]))?;
        let answer = caller.frag_rx(handle, offset);
        offset += caller.fragment(&answer, handle)?;
    }
    mark(first + 1);
    equal(answer[0], id::MEM_RETRIEVE_RESP)?;
    equal(offset as u64, total as u64)?;
    ffa::done(&ffa::call(id::RX_RELEASE, &[]))?;
    Ok([0; 4])
}

/// Makes `FFA_MEM_RELINQUISH` in sp1.
fn relinquish(sp: &Sp, [handle, first, ..]: [u64; 4]) -> Check<[u64; 4]> {
    let caller = sp.caller();
    crate::ffa::memory_descriptor::encode_relinquish(caller.tx, handle, 0, &[caller.id]);
    mark(first);
    let answer = ffa::call(id::MEM_RELINQUISH, &[]);
    mark(first + 1);
    ffa::done(&answer)?;
    Ok([0; 4])
}
