//! The source of random choices: a seed, or bytes that a fuzzer may change one by one.

use crate::schedule::Random;

/// A source of choices.
pub trait Source {
    /// Returns a number below `limit`, which is not 0.
    fn below(&mut self, limit: u64) -> u64;

    /// Returns any 64 bits.
    fn bits(&mut self) -> u64;

    /// Returns one of `choices`.
    fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len() as u64) as usize]
    }

    /// Returns true once in `chance` times.
    fn rarely(&mut self, chance: u64) -> bool {
        self.below(chance) == chance - 1
    }
}

impl Source for Random {
    fn below(&mut self, limit: u64) -> u64 {
        Random::below(self, limit)
    }

    fn bits(&mut self) -> u64 {
        Random::bits(self)
    }
}

/// Choices by the bytes of an input. Each choice takes as few bytes as it needs. After the end of
/// the input, every choice is 0.
pub struct Bytes<'a>(pub &'a [u8]);

impl Bytes<'_> {
    /// Returns whether all further choices are 0.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn take(&mut self, bytes: usize) -> u64 {
        let (head, tail) = self.0.split_at(bytes.min(self.0.len()));
        self.0 = tail;
        head.iter()
            .rev()
            .fold(0, |value, byte| value << 8 | u64::from(*byte))
    }
}

impl Source for Bytes<'_> {
    fn below(&mut self, limit: u64) -> u64 {
        match limit {
            0..=1 => 0,
            2..=0x100 => self.take(1) % limit,
            0x101..=0x1_0000 => self.take(2) % limit,
            _ => self.take(8) % limit,
        }
    }

    fn bits(&mut self) -> u64 {
        self.take(8)
    }
}
