//! Going over the members of sets that are words of bits.

use crate::sync::atomic::AtomicU64;

const WORD: usize = u64::BITS as usize;

/// Returns the indices of the bits of a word that are set, in order.
#[inline(always)]
pub fn ones(mut word: u64) -> impl Iterator<Item = usize> {
    core::iter::from_fn(move || {
        let lowest = word.trailing_zeros();
        word &= word.wrapping_sub(1);
        (lowest < u64::BITS).then_some(lowest as usize)
    })
}

/// Returns the indices of the bits of all words that are set, in order. Each word is read once, by
/// `read`, when its first bit is asked for.
pub fn members(
    words: &[AtomicU64],
    read: impl Fn(&AtomicU64) -> u64,
) -> impl Iterator<Item = usize> {
    let numbered = words.iter().zip((0_usize..).step_by(WORD));
    numbered.flat_map(move |(word, first)| ones(read(word)).map(move |bit| first.wrapping_add(bit)))
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use crate::sync::atomic::Ordering::Relaxed;
    use std::vec::Vec;

    #[test]
    fn members_come_in_order() {
        let words = [1 << 63 | 1, 0, 6].map(AtomicU64::new);
        let all: Vec<_> = members(&words, |word| word.load(Relaxed)).collect();
        assert_eq!(all, [0, 63, 129, 130]);
        assert_eq!(ones(u64::MAX).count(), 64);
    }
}
