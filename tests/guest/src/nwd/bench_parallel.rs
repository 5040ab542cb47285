//! A benchmark of PEs that make calls at the same time: PE `n` asks the `n`-th of eight partitions,
//! first alone, then while the others ask theirs.
//!
//! Each PE has marks of its own, because the counter counts for each PE separately.

use core::sync::atomic::{AtomicUsize, Ordering};

use crate::ffa::{self, SP1, V1_2, id};
use crate::println;
use crate::rt::check::Check;
use crate::rt::mark::mark;

use super::bench::{ITERATIONS, ask_nothing, expect, must};
use super::pe::{self, Idle};

/// Number of PEs that are ready to begin.
static READY: AtomicUsize = AtomicUsize::new(0);

/// Runs the benchmark on all PEs.
pub fn run() {
    assert!(ffa::call(id::VERSION, &[V1_2 as u64])[0] == V1_2 as u64);
    let pes = pe::start_all(Idle::Spin);
    let mut series = 0;
    let mut together = |first: usize, count: usize, name: &str| {
        READY.store(0, Ordering::Release);
        for pe in first..first + count {
            println!("BENCH {series} {name}_{pe} {ITERATIONS}");
            let job = [pe as u64, series, count as u64, 0];
            if pe != 0 {
                must(pe::start(pe, ask, job));
            }
            series += 1;
        }
        if first == 0 {
            must(ask([0, series - count as u64, count as u64, 0]).map(drop));
        }
        for pe in first.max(1)..first + count {
            must(pe::finish(pe).map(drop));
        }
    };
    for pe in 0..pes {
        together(pe, 1, "alone");
    }
    for count in [2, 4, 8] {
        if count <= pes {
            together(
                0,
                count,
                ["of_2", "of_4", "of_8"][count.ilog2() as usize - 1],
            );
        }
    }
}

/// Waits until all `count` PEs are ready, then asks.
fn ask([pe, number, count, _]: [u64; 4]) -> Check<[u64; 4]> {
    let once = || {
        expect(
            ask_nothing(id::DIRECT_REQ_64, SP1 + pe as u16),
            id::DIRECT_RESP_64,
        )
    };
    once();
    READY.fetch_add(1, Ordering::AcqRel);
    while READY.load(Ordering::Acquire) < count as usize {
        core::hint::spin_loop();
    }
    mark(2 * number);
    for _ in 0..ITERATIONS {
        once();
    }
    mark(2 * number + 1);
    Ok([0; 4])
}
