//! A benchmark of a partition that is replaced while the system runs: the time for which nobody is
//! served is that of both messages, with what passes between them in EL3.

use crate::ffa::{self, V1_2, id};
use crate::println;
use crate::rt::mark::mark;
use crate::tests::scheduling::live_activation::{finish_next, start_next};

use super::bench::must;

/// How often the partition is replaced; the last time counts.
const ROUNDS: u64 = 3;

/// Runs the benchmark.
pub fn run() {
    assert!(ffa::call(id::VERSION, &[V1_2 as u64])[0] == V1_2 as u64);
    println!("BENCH 0 live_activation_start 1");
    println!("BENCH 1 live_activation_finish 1");
    for _ in 0..ROUNDS {
        mark(0);
        must(start_next());
        mark(1);
        mark(2);
        must(finish_next());
        mark(3);
    }
}
