//! Limits the lines that a partition may cause in the log: a burst, then so few that the console is
//! free for others most of the time. A line costs time on a UART that all share, with interrupts
//! masked, so a partition must not be able to cause many of them.
//!
//! Time is compared with time only, so the unit does not matter.

/// Lines that may come without a pause.
const BURST: u32 = 64;

/// A pause of this many times what the last line took allows one more.
const PAUSE: u64 = 8;

/// The record of one partition. All zero: nothing was logged yet.
#[derive(Debug)]
pub struct LogQuota {
    /// Lines that no pause has made up for.
    used: u32,
    /// Lines that were left out since the last one that was written.
    left_out: u32,
    /// The time that the last line took.
    cost: u64,
    /// Since when pauses are counted.
    since: u64,
}

impl LogQuota {
    /// Nothing was logged yet.
    pub const fn new() -> Self {
        Self {
            used: 0,
            left_out: 0,
            cost: 0,
            since: 0,
        }
    }

    /// Takes a line at the time `now`. Returns how many were left out before it, or `None` if this
    /// one has to be left out, too.
    pub fn take(&mut self, now: u64) -> Option<u32> {
        let pause = self.cost.max(1).saturating_mul(PAUSE);
        let earned = now
            .saturating_sub(self.since)
            .checked_div(pause)
            .unwrap_or(0);
        if earned > 0 {
            let earned = u32::try_from(earned).unwrap_or(u32::MAX);
            self.used = self.used.saturating_sub(earned);
            self.since = now;
        }
        if self.used == BURST {
            self.left_out = self.left_out.saturating_add(1);
            return None;
        }
        self.used = self.used.saturating_add(1);
        Some(core::mem::take(&mut self.left_out))
    }

    /// Notes that a line was written between `began` and `ended`.
    pub fn written(&mut self, began: u64, ended: u64) {
        self.cost = ended.saturating_sub(began);
        self.since = self.since.max(ended);
    }
}

impl Default for LogQuota {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes lines that take `cost` each, as fast as the quota allows, until `end`. Returns the
    /// number of lines.
    fn flood(quota: &mut LogQuota, mut now: u64, end: u64, cost: u64) -> u32 {
        let mut written = 0;
        while now < end {
            match quota.take(now) {
                Some(_) => {
                    written += 1;
                    quota.written(now, now + cost);
                    now += cost;
                }
                None => now += 1,
            }
        }
        written
    }

    #[test]
    fn a_burst_is_written_whatever_it_takes() {
        let mut quota = LogQuota::new();
        assert_eq!(flood(&mut quota, 1000, 1000 + 64 * 7, 7), 64);
        assert_eq!(quota.take(1000 + 64 * 7), None);
    }

    #[test]
    fn a_flood_has_a_ninth_of_the_time() {
        let mut quota = LogQuota::new();
        flood(&mut quota, 0, 10_000, 10);
        let written = flood(&mut quota, 10_000, 100_000, 10);
        let time = 90_000 / (10 + 10 * PAUSE);
        assert!(
            (time - 2..=time + 2).contains(&u64::from(written)),
            "{written}"
        );
    }

    #[test]
    fn what_was_left_out_is_told_once() {
        let mut quota = LogQuota::new();
        for _ in 0..BURST {
            assert_eq!(quota.take(5), Some(0));
            quota.written(5, 6);
        }
        assert_eq!([quota.take(6), quota.take(7)], [None; 2]);
        assert_eq!(quota.take(6 + PAUSE), Some(2));
        assert_eq!(quota.take(6 + PAUSE), None);
        assert_eq!(quota.take(6 + 2 * PAUSE), Some(1));
    }

    #[test]
    fn silence_gives_the_burst_back_and_no_more() {
        let mut quota = LogQuota::new();
        flood(&mut quota, 0, 1_000, 1);
        let later = 1_000_000;
        for _ in 0..BURST {
            assert!(quota.take(later).is_some());
        }
        assert_eq!(quota.take(later), None);
    }

    #[test]
    fn a_clock_that_stands_still_allows_the_burst() {
        let mut quota = LogQuota::new();
        let allowed = (0..1000).filter(|_| quota.take(0).is_some()).count();
        assert_eq!(allowed, 64);
        quota.written(u64::MAX, 0);
        assert!(quota.take(u64::MAX).is_some());
    }
}
