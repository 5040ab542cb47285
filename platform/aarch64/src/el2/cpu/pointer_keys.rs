//! Pointer authentication keys of partitions at S-EL0, which cannot set keys themselves.
//!
//! Each life of a context gets keys of its own. With FEAT_RNG they are random. Without it they
//! differ from those of every other context and life, but are no secret from anybody who can guess
//! when the context started.

use core::arch::asm;
use core::sync::atomic::{AtomicU64, Ordering};

use aarch64_cpu::registers::CNTPCT_EL0;
use tock_registers::interfaces::Readable;

use super::context::PointerKeys;
use super::features;

/// The odd number next to 2^64 divided by the golden ratio: steps of this size fill the range
/// evenly.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// Counts the words that were made, in steps.
static WORDS: AtomicU64 = AtomicU64::new(0);

impl PointerKeys {
    /// Returns new keys.
    #[cold]
    pub fn fresh() -> Self {
        Self {
            ia_low: word(),
            ia_high: word(),
            ib_low: word(),
            ib_high: word(),
            da_low: word(),
            da_high: word(),
            db_low: word(),
            db_high: word(),
            ga_low: word(),
            ga_high: word(),
        }
    }
}

/// Returns a word of a key.
fn word() -> u64 {
    let made = WORDS.fetch_add(STEP, Ordering::Relaxed).wrapping_add(STEP);
    mix(made ^ CNTPCT_EL0.get()) ^ random()
}

/// Spreads each bit over the whole word, one to one: shifts to the right and products with odd
/// numbers can be undone.
const fn mix(mut word: u64) -> u64 {
    word = (word ^ word >> 32).wrapping_mul(STEP);
    word = (word ^ word >> 29).wrapping_mul(STEP);
    word ^ word >> 32
}

/// Returns a random number, or 0 if the PE has none.
fn random() -> u64 {
    /// The generator may have no number for a moment.
    const ATTEMPTS: usize = 64;
    if !features::has_random_numbers() {
        return 0;
    }
    let attempt = || {
        let number: u64;
        let failed: u64;
        // SAFETY: reads RNDR, which the PE has. NZCV tells whether there was a number.
        unsafe {
            asm!("mrs {}, s3_3_c2_c4_0", "cset {}, eq", out(reg) number, out(reg) failed, options(nomem, nostack));
        }
        (failed == 0).then_some(number)
    };
    (0..ATTEMPTS).find_map(|_| attempt()).unwrap_or(0)
}
