//! Limits how often a partition may be restarted.

use crate::sync::atomic::{AtomicU64, Ordering};

/// The number of restarts that may come at once.
const BURST: u64 = 20;
/// The price of a restart beside [`SHARE`] times the time that it took, in milliseconds.
pub const PRICE_MS: u32 = 10_000;
/// Restarts take at most one part in `SHARE + 1` of the time of a PE.
const SHARE: u64 = 8;

/// The debt of one partition. Each restart has a price in time, and a partition may owe the price
/// of as many restarts as may come at once.
pub struct Restarts {
    /// The time when the debt will be paid.
    paid: AtomicU64,
}

impl Restarts {
    /// Nothing is owed.
    pub const fn new() -> Self {
        Self {
            paid: AtomicU64::new(0),
        }
    }

    /// Returns whether one may begin at `now`, where [`PRICE_MS`] are `price`.
    pub fn may_begin(&self, now: u64, price: u64) -> bool {
        let debt = self.paid.load(Ordering::Relaxed).saturating_sub(now);
        debt <= price.saturating_mul(BURST.saturating_sub(1))
    }

    /// One has been made from `began` to `now`.
    pub fn made(&self, began: u64, now: u64, price: u64) {
        let took = now.saturating_sub(began).saturating_mul(SHARE);
        // Once it has begun it may fail, and be started anew by another PE.
        let pay = |paid: u64| {
            let paid = paid.max(now);
            Some(paid.saturating_add(price).saturating_add(took))
        };
        let relaxed = Ordering::Relaxed;
        let _ = self.paid.fetch_update(relaxed, relaxed, pay);
    }
}

impl Default for Restarts {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRICE: u64 = 100;

    #[test]
    fn some_at_once_and_then_one_for_each_price() {
        let restarts = Restarts::new();
        for _ in 0..BURST {
            assert!(restarts.may_begin(5, PRICE));
            restarts.made(5, 5, PRICE);
        }
        for n in 1..4 {
            let next = 5 + n * PRICE;
            assert!(!restarts.may_begin(next - 1, PRICE));
            assert!(restarts.may_begin(next, PRICE));
            restarts.made(next, next, PRICE);
        }
        // A partition that ran long enough owes nothing.
        assert!(restarts.may_begin(100 * PRICE, PRICE));
    }

    #[test]
    fn a_long_one_costs_more() {
        let restarts = Restarts::new();
        restarts.made(0, 3 * PRICE, PRICE);
        let debt = 28 * PRICE;
        let may = debt - (BURST - 1) * PRICE;
        assert!(!restarts.may_begin(may - 1, PRICE));
        assert!(restarts.may_begin(may, PRICE));
    }
}
