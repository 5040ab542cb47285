//! Every state of systems that are small enough (`host_tests::exhaust`). `cargo xtask explore` visits
//! larger ones.

use host_tests::exhaust::explore;
use host_tests::model::{Size, Small};

// req: MEMO-03, MEMO-08, MEMO-09, MEMO-15, MEMO-25, MEMX-09, MEMX-18, MEMRL-08, MEMRC-06, GEN-03
#[test]
fn two_pages_and_every_memory_call() {
    let figures = explore::<Small>(&Size::PLAIN, 10_000);
    println!("{figures:?}");
    assert!(figures.states > 1_000 && figures.depth > 6, "{figures:?}");
}
