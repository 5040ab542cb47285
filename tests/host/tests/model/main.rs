//! The model: random memory calls of everybody against a table that says for each page who owns it, who has it, and how.
//!
//! After every call the stage-2 tables must say exactly what the table says, and every access of a partition must end as the table
//! says. A failure is shrunk to few calls. `HOST_MODEL_CASES` sets how many sequences are tried, `HOST_MODEL_SEED` which.

mod steps;
mod table;

use host_tests::schedule::Random;
use proptest::collection::vec;
use proptest::prelude::any;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestRng, TestRunner};

use table::Model;

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name)
        .ok()
        .and_then(|value| value.parse().ok())
        .unwrap_or(default)
}

// req: MEMO-03, MEMO-08, MEMO-09, MEMO-10, MEMO-11, MEMO-15, MEMO-16, MEMO-17, MEMO-18, MEMO-25, MEMO-27, MEMO-28, MEMO-30
// req: MEMO-33, MEMO-35, MEMD-38, MEMD-40, MEMD-82, MEMX-09, MEMX-18, MEMX-20, MEMRL-08, MEMRL-14, MEMRC-06, MEMRC-10, GEN-03
#[test]
fn every_page_is_in_one_state_and_tables_say_which() {
    let config = Config {
        cases: number("HOST_MODEL_CASES", 32) as u32,
        failure_persistence: None,
        max_shrink_iters: 400,
        ..Config::default()
    };
    let mut seed = [0; 32];
    seed[..8].copy_from_slice(&number("HOST_MODEL_SEED", 1).to_le_bytes());
    let random = TestRng::from_seed(RngAlgorithm::ChaCha, &seed);
    let outcome =
        TestRunner::new_with_rng(config, random).run(&vec(any::<u64>(), 1..80), |steps| {
            let mut model = Model::new(steps[0]);
            for step in &steps {
                model.step(&mut Random::new(*step));
                model.check();
            }
            model.end();
            Ok::<(), TestCaseError>(())
        });
    if let Err(failure) = outcome {
        panic!("{failure}");
    }
}
