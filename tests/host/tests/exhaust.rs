//! Visits every state of systems that are small enough (`host_tests::exhaust`, `host_tests::walk`).
//! `cargo xtask explore` visits larger systems.

use host_tests::chains::{Chains, Setup};
use host_tests::exhaust::explore;
use host_tests::model::{Size, Small};
use host_tests::walk::walk;

// req: MEMO-03, MEMO-08, MEMO-09, MEMO-15, MEMO-25, MEMX-09, MEMX-18, MEMRL-08, MEMRC-06, GEN-03
#[test]
fn two_pages_and_every_memory_call() {
    let figures = explore::<Small>(&Size::PLAIN, 10_000);
    println!("{figures:?}");
    assert!(figures.states > 1_000 && figures.depth > 6, "{figures:?}");
}

// A partition gets its pages back one by one from new owners, and then sends them together.
// req: MEMO-02, MEMDN-06, MEMX-18, MEMRC-10
#[test]
fn two_pages_of_which_one_is_executed() {
    let figures = explore::<Small>(&Size::of("executed"), 10_000);
    println!("{figures:?}");
    assert!(figures.states > 500 && figures.depth > 6, "{figures:?}");
}

// req: MEMO-12, MEMD-64, MEMRQ-24, MEMRC-13, FRAG-13, FRAG-16
#[test]
fn handles_of_nobody_and_partitions_that_start_anew() {
    let figures = explore::<Small>(&Size::of("restarts"), 10_000);
    println!("{figures:?}");
    assert!(figures.states > 500 && figures.depth > 6, "{figures:?}");
}

// req: MSGD-07, MSGD-08, RUN-19, RUN-23, RUN-24
#[test]
fn two_pes_that_go_off_and_on_and_every_action() {
    // Where PEs go off, there is more than one state without work.
    for (name, least, at_rest) in [
        ("pair-off", 2_000, 2),
        ("pair-actions", 1_000, 1),
        ("lone-pinned", 400, 2),
    ] {
        let figures = walk::<Chains>(&Setup::of(name), 20_000);
        println!("{name}: {figures:?}");
        assert!(
            figures.states > least && figures.at_rest >= at_rest,
            "{figures:?}"
        );
    }
}

// req: MSGD-07, MSGD-08, MSGW-15, MSGW-16, RUN-19, RUN-23, RUN-24
#[test]
fn three_contexts_and_every_call_that_schedules() {
    let figures = walk::<Chains>(&Setup::of("one"), 20_000);
    println!("{figures:?}");
    assert!(figures.states > 5_000 && figures.depth > 10, "{figures:?}");
    assert_eq!(figures.at_rest, 1, "{figures:?}");
}

// req: LIVE-03, LIVE-07, LIVE-09, LIVE-13
#[test]
fn an_image_is_replaced_whatever_its_partition_does() {
    let figures = walk::<Chains>(&Setup::of("live"), 20_000);
    println!("{figures:?}");
    assert!(figures.states > 200 && figures.depth > 10, "{figures:?}");
    assert_eq!(figures.at_rest, 1, "{figures:?}");
}
