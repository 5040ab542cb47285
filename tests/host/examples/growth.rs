//! One point of the growth table (`cargo xtask growth`): boots a system, prepares it, and makes the
//! first steps of [`STEPS`]. The cost of a step is the difference between two runs, so that all
//! other costs cancel out.
//!
//! Arguments: constituents, live handles, partitions, PEs, number of steps.

use host_tests::growth::{STEPS, Size, Subject};

fn main() {
    let arguments: Vec<u64> = std::env::args()
        .skip(1)
        .map(|argument| argument.parse().expect("a number"))
        .collect();
    let [constituents, handles, partitions, pes, steps] = arguments[..] else {
        panic!("constituents, handles, partitions, PEs, steps");
    };
    let mut subject = Subject::new(Size {
        constituents,
        handles,
        partitions: partitions as usize,
        pes: pes as usize,
        contexts: 1,
    });
    for step in &STEPS[..steps as usize] {
        subject.step(*step);
    }
}
