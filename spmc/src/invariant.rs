//! Invariants of the engine that no type can carry.
//!
//! No guest can panic the engine, so code that finds an invariant broken goes on, in the way that
//! gives nobody more than they had. It says so here, in one way: the first time of each kind is
//! logged, all are counted, and the counts are logged whenever a partition ends. A build with
//! debug assertions, which all host tests are, panics at the place instead.

use core::sync::atomic::{AtomicU64, Ordering};

/// A kind of invariant.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Invariant {
    /// A change that is taken back finds its tables there and the entries as it left them.
    Undo,
    /// The state of a claimed context allows the event that the holder of the claim chose for it.
    Transition,
    /// An index that was computed from a list lies in it.
    Bounds,
    /// A list has the capacity for all that can be put into it.
    Capacity,
}

impl Invariant {
    const ALL: [Self; 4] = [Self::Undo, Self::Transition, Self::Bounds, Self::Capacity];

    const fn name(self) -> &'static str {
        match self {
            Self::Undo => "undo",
            Self::Transition => "transition",
            Self::Bounds => "bounds",
            Self::Capacity => "capacity",
        }
    }

    /// Notes that the invariant is broken unless `holds`.
    #[inline(always)]
    pub(crate) fn expect(self, holds: bool) {
        if !holds {
            self.is_broken();
        }
    }

    /// Returns the part of a list, or an empty one in place of a part that does not lie in it.
    #[inline(always)]
    pub(crate) fn part<T>(part: Option<&[T]>) -> &[T] {
        part.unwrap_or_else(|| {
            Self::Bounds.is_broken();
            &[]
        })
    }

    #[cold]
    #[inline(never)]
    fn is_broken(self) {
        debug_assert!(false, "invariant broken: {}", self.name());
        if BROKEN.note(self) {
            self.tell(1);
        }
    }

    #[cold]
    #[inline(never)]
    fn tell(self, count: u64) {
        log::error!(
            "invariant broken: {}, {count} times since boot",
            self.name()
        );
    }
}

/// Counts since boot, of the whole image: most places that note something know no object. Nothing
/// depends on their order, so they are no atomics of `sync`, which also keeps this file below all
/// others.
static BROKEN: Counts = Counts::none();

/// Logs how often invariants were broken, those that were.
#[cold]
pub(crate) fn report() {
    for (kind, count) in BROKEN.broken() {
        kind.tell(count);
    }
}

/// How often each kind of invariant was broken.
struct Counts([AtomicU64; Invariant::ALL.len()]);

impl Counts {
    const fn none() -> Self {
        Self([const { AtomicU64::new(0) }; Invariant::ALL.len()])
    }

    /// Counts one more. Returns whether it is the first of its kind.
    fn note(&self, kind: Invariant) -> bool {
        let count = self.0.get(kind as usize);
        count.is_some_and(|count| count.fetch_add(1, Ordering::Relaxed) == 0)
    }

    /// Returns the kinds that were broken, each with its count.
    fn broken(&self) -> impl Iterator<Item = (Invariant, u64)> {
        let counts = self.0.iter().map(|count| count.load(Ordering::Relaxed));
        Invariant::ALL
            .into_iter()
            .zip(counts)
            .filter(|(_, count)| *count != 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_each_kind_is_told_from_the_others() {
        let counts = Counts::none();
        assert_eq!(counts.broken().count(), 0);
        assert!(counts.note(Invariant::Bounds));
        assert!(!counts.note(Invariant::Bounds));
        assert!(counts.note(Invariant::Undo));
        let broken = [(Invariant::Undo, 1), (Invariant::Bounds, 2)];
        assert!(counts.broken().eq(broken));
    }

    #[test]
    fn what_holds_is_not_noted() {
        Invariant::Undo.expect(true);
        assert_eq!(Invariant::part([1, 2].get(1..)), [2]);
    }

    #[test]
    #[should_panic(expected = "invariant broken: undo")]
    fn what_does_not_hold_panics_on_the_host() {
        Invariant::Undo.expect(false);
    }

    #[test]
    #[should_panic(expected = "invariant broken: bounds")]
    fn a_part_that_is_not_there_panics_on_the_host() {
        let _ = Invariant::part([1, 2].get(3..));
    }
}
