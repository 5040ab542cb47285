//! How far a live activation has come. There is one at a time in a system.
//!
//! All rules are in the transitions of [`Activation`], which say who may do the next step. The work
//! of each step is in `dispatch::run::live`.

use crate::error::{FfaError, Result};
use crate::id::PartitionId;

/// The steps of an activation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Step {
    /// None is under way.
    Idle,
    /// A package is checked, the partition stopped, and the new image loaded.
    Starting,
    /// The new image is loaded, and is to be entered until that time.
    Loaded(u64),
    /// The time is over: the old image is to be entered.
    Overdue,
    /// An image is entered.
    Entering,
}

/// The activation that is under way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Activation {
    step: Step,
    /// The index of the partition.
    partition: usize,
    /// Who asked for it.
    source: PartitionId,
}

impl Activation {
    /// None is under way.
    pub const NONE: Self = Self {
        step: Step::Idle,
        partition: 0,
        source: PartitionId::NORMAL_WORLD,
    };

    /// Begins one of the partition at that index. `DENIED` if one of that partition is under way,
    /// `BUSY` if one of another is.
    pub fn start(&mut self, partition: usize, source: PartitionId) -> Result<()> {
        match self.step {
            Step::Idle => {
                *self = Self {
                    step: Step::Starting,
                    partition,
                    source,
                };
                Ok(())
            }
            _ if self.partition == partition => Err(FfaError::Denied),
            _ => Err(FfaError::Busy),
        }
    }

    /// Notes that the new image is loaded, and is to be entered until that time.
    pub fn loaded(&mut self, until: u64) {
        self.step = Step::Loaded(until);
    }

    /// Lets `source` have the new image of the partition entered. `DENIED` unless it is loaded, and
    /// `source` began the activation.
    pub fn finish(&mut self, partition: usize, source: PartitionId) -> Result<()> {
        let is_asked_for = (self.partition, self.source) == (partition, source);
        if !matches!(self.step, Step::Loaded(_)) || !is_asked_for {
            return Err(FfaError::Denied);
        }
        self.step = Step::Entering;
        Ok(())
    }

    /// Returns the partition whose new image was not entered in time, once.
    pub fn take_overdue(&mut self, now: u64) -> Option<usize> {
        match self.step {
            Step::Loaded(until) if until <= now => {
                self.step = Step::Overdue;
                Some(self.partition)
            }
            _ => None,
        }
    }

    /// Returns whether the old image of the partition is to be entered now. The caller does so.
    pub fn take_back(&mut self, partition: usize) -> bool {
        let is_due = self.step == Step::Overdue && self.partition == partition;
        if is_due {
            self.step = Step::Entering;
        }
        is_due
    }

    /// Ends the activation.
    pub fn end(&mut self) {
        self.step = Step::Idle;
    }

    /// Returns the number of the step, and whether the time of a loaded image is over at `now`.
    #[cfg(feature = "explore")]
    pub fn shown(&self, now: u64) -> (u8, bool) {
        match self.step {
            Step::Idle => (0, false),
            Step::Starting => (1, false),
            Step::Loaded(until) => (2, until <= now),
            Step::Overdue => (3, true),
            Step::Entering => (4, false),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LSP: PartitionId = PartitionId(0xffc0);
    const OTHER: PartitionId = PartitionId(0xffc1);

    /// Returns an activation of partition 1 for [`LSP`] at each step.
    fn at_each_step() -> [Activation; 5] {
        [
            Step::Idle,
            Step::Starting,
            Step::Loaded(10),
            Step::Overdue,
            Step::Entering,
        ]
        .map(|step| Activation {
            step,
            partition: 1,
            source: LSP,
        })
    }

    // req: LIVE-03
    #[test]
    fn one_begins_while_there_is_none() {
        for (n, before) in at_each_step().into_iter().enumerate() {
            for (partition, refusal) in [(1, FfaError::Denied), (2, FfaError::Busy)] {
                let mut activation = before;
                let started = activation.start(partition, OTHER);
                if n == 0 {
                    assert_eq!(started, Ok(()));
                    assert_eq!(
                        (activation.partition, activation.source),
                        (partition, OTHER)
                    );
                    assert_eq!(activation.step, Step::Starting);
                } else {
                    assert_eq!((started, activation), (Err(refusal), before));
                }
            }
        }
    }

    // req: LIVE-07
    #[test]
    fn only_who_began_ends_it_when_the_image_is_loaded() {
        for (n, before) in at_each_step().into_iter().enumerate() {
            for (partition, source) in [(1, LSP), (2, LSP), (1, OTHER)] {
                let mut activation = before;
                let finished = activation.finish(partition, source);
                if n == 2 && (partition, source) == (1, LSP) {
                    assert_eq!(finished, Ok(()));
                    assert_eq!(activation.step, Step::Entering);
                } else {
                    assert_eq!((finished, activation), (Err(FfaError::Denied), before));
                }
            }
        }
    }

    // req: LIVE-09
    #[test]
    fn an_image_that_is_not_entered_in_time_is_taken_back_once() {
        for (n, before) in at_each_step().into_iter().enumerate() {
            for now in [9, 10, 11] {
                let mut activation = before;
                let overdue = activation.take_overdue(now);
                assert_eq!(overdue.is_some(), n == 2 && now >= 10);
                assert_eq!(activation.take_overdue(now), None);
                assert!(!activation.take_back(2));
                let is_due = overdue.is_some() || n == 3;
                assert_eq!(activation.take_back(1), is_due);
                assert!(!activation.take_back(1));
            }
        }
    }
}
