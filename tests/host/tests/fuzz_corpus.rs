//! The fuzz targets without a fuzzer: on the inputs with which fuzzing begins, on those that once
//! caused a failure (`corpus/fuzz/TARGET/*`), and on random changes of both. `HOST_FUZZ_RUNS` is
//! the number of changes.

use std::fs;
use std::path::Path;

use host_tests::fuzz::{TARGETS, Target};
use host_tests::schedule::Random;

/// Returns the inputs of `target` that are kept in the tree.
fn kept(target: &Target) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("corpus/fuzz")
        .join(target.name);
    let mut files: Vec<_> = fs::read_dir(folder)
        .into_iter()
        .flatten()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    files.iter().map(|file| fs::read(file).unwrap()).collect()
}

/// Returns the input with a few bytes changed, removed or added.
fn change(input: &[u8], random: &mut Random) -> Vec<u8> {
    let mut input = input.to_vec();
    for _ in 0..1 + random.below(3) {
        let at = random.below(input.len() as u64 + 1) as usize;
        match (input.get_mut(at), random.below(8)) {
            (Some(_), 0) => input.truncate(at),
            (Some(byte), 1..=3) => *byte = random.pick(&[0, 1, 2, 0x10, 0x20, 0x7f, 0x80, 0xff]),
            (Some(byte), 4..=6) => *byte ^= 1 << random.below(8),
            _ => input.push(random.bits() as u8),
        }
    }
    input
}

// req: GEN-10, GEN-12, GEN-28, MEMX-03
#[test]
fn no_input_breaks_a_target() {
    let runs = std::env::var("HOST_FUZZ_RUNS")
        .ok()
        .and_then(|value| value.parse().ok())
        .unwrap_or(300);
    for target in TARGETS {
        let mut inputs = (target.seeds)();
        assert!(!inputs.is_empty(), "{}", target.name);
        inputs.extend(kept(target));
        for input in &inputs {
            (target.run)(input);
        }
        let mut random = Random::new(1);
        for _ in 0..runs {
            let base = random.below(inputs.len() as u64) as usize;
            (target.run)(&change(&inputs[base], &mut random));
        }
    }
}
