//! The decision when to give up a boot: after silence, and not because the boot is slow.
//!
//! A busy machine makes a boot slow, but a boot that makes progress writes to a console now and
//! then. A boot that writes nothing is stuck.

use std::fmt;
use std::time::{Duration, Instant};

/// The time that a boot may take.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Patience {
    /// The longest time without a byte on any console.
    pub silence: Duration,
    /// The longest time in total, for a boot that writes without end.
    pub whole: Duration,
}

/// The reason why a boot was given up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum GivenUp {
    /// No console delivered a byte for that long.
    Silent(Duration),
    /// The boot wrote to a console, but did not end within that time.
    Endless(Duration),
    /// A console showed what was waited for.
    Told,
}

/// The clock of a boot. The caller passes the current time.
#[derive(Debug)]
pub struct Watch {
    patience: Patience,
    begun: Instant,
    heard: Instant,
    longest: Duration,
}

impl Patience {
    /// The patience for guests of this repository: those that work for long write a line every ten
    /// seconds.
    pub const USUAL: Self = Self::of_silence(Duration::from_secs(120));

    /// Returns the patience that ends after this silence, or after four hours in total.
    pub const fn of_silence(silence: Duration) -> Self {
        Self {
            silence,
            whole: Duration::from_secs(4 * 60 * 60),
        }
    }
}

impl Watch {
    /// Starts the clock.
    pub fn new(patience: Patience, now: Instant) -> Self {
        Self {
            patience,
            begun: now,
            heard: now,
            longest: Duration::ZERO,
        }
    }

    /// Notes that a console delivered something.
    pub fn hear(&mut self, now: Instant) {
        self.longest = self.longest.max(now.duration_since(self.heard));
        self.heard = self.heard.max(now);
    }

    /// Returns how long to go on listening, or the reason to give up.
    pub fn left(&self, now: Instant) -> Result<Duration, GivenUp> {
        let Patience { silence, whole } = self.patience;
        let left = |limit: Duration, since| limit.checked_sub(now.duration_since(since));
        let of_whole = left(whole, self.begun).filter(|left| !left.is_zero());
        let of_silence = left(silence, self.heard).filter(|left| !left.is_zero());
        match (of_whole, of_silence) {
            (None, _) => Err(GivenUp::Endless(whole)),
            (_, None) => Err(GivenUp::Silent(silence)),
            (Some(whole), Some(silence)) => Ok(whole.min(silence)),
        }
    }

    /// Returns the longest silence after which something came.
    pub fn longest_silence(&self) -> Duration {
        self.longest
    }
}

impl fmt::Display for GivenUp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Silent(time) => write!(f, "no console said anything for {} s", time.as_secs()),
            Self::Endless(time) => write!(f, "it did not end within {} s", time.as_secs()),
            Self::Told => write!(f, "nothing more was wanted"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const PATIENCE: Patience = Patience {
        silence: Duration::from_secs(90),
        whole: Duration::from_secs(1000),
    };

    #[test]
    fn a_slow_boot_that_says_something_is_not_given_up() {
        let begun = Instant::now();
        let mut watch = Watch::new(PATIENCE, begun);
        // In total far more than the silence, but never that much at once.
        for n in 1..=11 {
            let now = begun + 89 * n * SECOND;
            assert_eq!(watch.left(now), Ok(SECOND));
            watch.hear(now);
            assert_eq!(
                watch.left(now),
                Ok((90 * SECOND).min(1000 * SECOND - 89 * n * SECOND))
            );
        }
        assert_eq!(watch.longest_silence(), 89 * SECOND);
    }

    #[test]
    fn silence_ends_it() {
        let begun = Instant::now();
        let mut watch = Watch::new(PATIENCE, begun);
        assert_eq!(
            watch.left(begun + 90 * SECOND),
            Err(GivenUp::Silent(90 * SECOND))
        );
        watch.hear(begun + 5 * SECOND);
        assert_eq!(watch.left(begun + 94 * SECOND), Ok(SECOND));
        assert_eq!(
            watch.left(begun + 95 * SECOND),
            Err(GivenUp::Silent(90 * SECOND))
        );
        assert_eq!(
            watch.left(begun + 500 * SECOND),
            Err(GivenUp::Silent(90 * SECOND))
        );
    }

    #[test]
    fn endless_chatter_ends_it() {
        let begun = Instant::now();
        let mut watch = Watch::new(PATIENCE, begun);
        for n in 0..1000 {
            let now = begun + n * SECOND;
            watch.hear(now);
            assert_eq!(
                watch.left(now),
                Ok((90 * SECOND).min(1000 * SECOND - n * SECOND))
            );
        }
        watch.hear(begun + 1000 * SECOND);
        let endless = Err(GivenUp::Endless(1000 * SECOND));
        assert_eq!(watch.left(begun + 1000 * SECOND), endless);
    }

    #[test]
    fn a_clock_that_was_read_late_does_not_go_back() {
        let begun = Instant::now() + 10 * SECOND;
        let mut watch = Watch::new(PATIENCE, begun);
        watch.hear(begun + 20 * SECOND);
        watch.hear(begun + 10 * SECOND);
        assert_eq!(watch.left(begun + 100 * SECOND), Ok(10 * SECOND));
    }
}
