//! Call scripts: sequences of calls by any caller, made on the engine and on the model. The input
//! determines every choice.

use crate::model::{Depth, Model};
use crate::schedule::Random;
use crate::source::Bytes;

/// The largest number of calls in a script.
const LONGEST: usize = 40;

/// Runs one script.
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

/// Returns scripts of random bytes.
pub fn seeds() -> Vec<Vec<u8>> {
    (0..8)
        .map(|seed| {
            let mut random = Random::new(seed);
            (0..200).map(|_| random.bits() as u8).collect()
        })
        .collect()
}
