//! Runs the model ([`host_tests::model`]) on random sequences of calls by all endpoints. A failing
//! sequence is reduced to few calls. `HOST_MODEL_CASES` is the number of sequences, and
//! `HOST_MODEL_SEED` selects them.

use std::cell::RefCell;
use std::collections::BTreeMap;

use host_tests::model::{Depth, Model};
use host_tests::schedule::Random;
use proptest::collection::vec;
use proptest::prelude::any;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestRng, TestRunner};

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name)
        .ok()
        .and_then(|value| value.parse().ok())
        .unwrap_or(default)
}

// req: MEMO-03, MEMO-08, MEMO-09, MEMO-10, MEMO-11, MEMO-15, MEMO-16, MEMO-17, MEMO-18, MEMO-25
// req: MEMO-27, MEMO-28, MEMO-30
// req: MEMO-33, MEMO-35, MEMD-38, MEMD-40, MEMD-82, MEMX-09, MEMX-18, MEMX-20, MEMRL-08, MEMRL-14
// req: MEMRC-06, MEMRC-10, GEN-03
#[test]
fn every_page_is_in_one_state_and_tables_say_which() {
    let config = Config {
        cases: number("HOST_MODEL_CASES", 48) as u32,
        failure_persistence: None,
        max_shrink_iters: 400,
        ..Config::default()
    };
    let mut seed = [0; 32];
    seed[..8].copy_from_slice(&number("HOST_MODEL_SEED", 1).to_le_bytes());
    let random = TestRng::from_seed(RngAlgorithm::ChaCha, &seed);
    let tally = RefCell::new(BTreeMap::<&str, [usize; 2]>::new());
    let outcome =
        TestRunner::new_with_rng(config, random).run(&vec(any::<u64>(), 1..120), |steps| {
            let mut model = Model::new(&mut Random::new(steps[0]), Depth::Full);
            for step in &steps {
                model.step(&mut Random::new(*step));
            }
            for (name, [accepted, refused]) in model.end() {
                let mut tally = tally.borrow_mut();
                let sum = tally.entry(name).or_default();
                *sum = [sum[0] + accepted, sum[1] + refused];
            }
            Ok::<(), TestCaseError>(())
        });
    if let Err(failure) = outcome {
        panic!("{failure}");
    }
    // Sequences whose calls are all refused, or all accepted, would show nothing.
    for name in ["send", "fragment", "retrieve", "relinquish", "reclaim"] {
        let [accepted, refused] = tally.borrow()[name];
        assert!(accepted > 10 && refused > 10, "{:?}", tally.borrow());
    }
}

// req: MEMO-03, MEMO-08, MEMX-09
#[test]
fn pages_are_in_one_state_among_many_partitions_and_pes() {
    let seed = number("HOST_MODEL_SEED", 1);
    for case in 0..number("HOST_MODEL_CROWDS", 2) {
        let mut random = Random::new(seed << 32 | case);
        let mut model = Model::crowded(&mut random);
        for _ in 0..60 {
            model.step(&mut random);
        }
        model.end();
    }
}
