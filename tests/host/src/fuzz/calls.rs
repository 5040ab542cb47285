//! Call scripts: any sequence of calls by anybody, made on the engine and on the model, whose every
//! choice is made by the input.

use crate::model::{Depth, Model};
use crate::schedule::Random;
use crate::source::Bytes;

/// Calls of one script at most.
const LONGEST: usize = 40;

/// One script.
pub fn run(input: &[u8]) {
    let mut source = Bytes(input);
    let mut model = Model::new(&mut source, Depth::Light);
    for _ in 0..LONGEST {
        if source.is_empty() {
            break;
        }
        model.step(&mut source);
    }
    model.end();
}

/// Scripts of random bytes.
pub fn seeds() -> Vec<Vec<u8>> {
    (0..8)
        .map(|seed| {
            let mut random = Random::new(seed);
            (0..200).map(|_| random.bits() as u8).collect()
        })
        .collect()
}
