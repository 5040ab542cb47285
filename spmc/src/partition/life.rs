//! The life of a partition as a whole (FF-A v1.3, partition lifecycle).
//!
//! Two pure functions hold all rules: [`step`] says what becomes of a partition, and [`admits`]
//! what a message to it, or `FFA_RUN`, gets. States of its contexts are in [`super::vcpu`].

use crate::error::{FfaError, Result};
use crate::ffa::Version;
use crate::ffa::call_table::Origin;

/// The state of a partition.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Life {
    /// Loaded, but its first context has not initialised yet.
    Starting = 0,
    /// Takes messages.
    Running = 1,
    /// Failed; a partition without `lifecycle-support`.
    Aborted = 2,
    /// Failed; a partition with `lifecycle-support`, which may be started again.
    Stopped = 3,
    /// Failed and is gone, as its `abort-action` asks for.
    Destroyed = 4,
    /// Was asked to stop, so that its image can be replaced.
    Stopping = 5,
    /// Stopped by itself for a new image. It is alive: what others send to it waits.
    Halted = 6,
}

impl Life {
    /// Unpacks a number.
    pub(super) const fn from_word(word: u32) -> Self {
        match word {
            0 => Self::Starting,
            1 => Self::Running,
            2 => Self::Aborted,
            3 => Self::Stopped,
            5 => Self::Stopping,
            6 => Self::Halted,
            _ => Self::Destroyed,
        }
    }
}

/// The remains of a partition that fails, by its manifest.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Remains {
    /// There is no `lifecycle-support`.
    Aborted,
    /// `abort-action` stop, restart or propagate.
    Stopped,
    /// `abort-action` destroy.
    Nothing,
}

/// Events in the life of a partition.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Event {
    /// Its first context has initialised.
    Ready,
    /// It fails.
    Fail(Remains),
    /// It was loaded again after it failed.
    Load,
    /// It is asked to stop.
    Stop,
    /// It goes on in place of stopping.
    Resume,
    /// It has stopped.
    Halt,
    /// An image is entered that takes the place of the one that stopped.
    Enter,
}

/// Returns the state after `event`; `None` if nothing changes.
pub const fn step(life: Life, event: Event) -> Option<Life> {
    use Life::{Aborted, Destroyed, Halted, Running, Starting, Stopped, Stopping};
    Some(match (life, event) {
        (Starting, Event::Ready) => Running,
        (Starting | Running | Stopping | Halted, Event::Fail(remains)) => match remains {
            Remains::Aborted => Aborted,
            Remains::Stopped => Stopped,
            Remains::Nothing => Destroyed,
        },
        (Stopped, Event::Load) | (Halted, Event::Enter) => Starting,
        // Its context waits already: another PE is about to let `Ready` happen, which is late then.
        (Starting | Running, Event::Stop) => Stopping,
        (Stopping, Event::Resume) => Running,
        (Stopping, Event::Halt) => Halted,
        _ => return None,
    })
}

/// Checks that a caller of that version can have a partition work now.
///
/// A caller at 1.3 is told apart what is not ready (`NOT_READY`), gone (`INVALID_PARAMETERS`) and
/// aborted (`ABORTED`). The Normal world gets `BUSY` in place of `NOT_READY`: an SPMD that parses
/// answers does not know that code. Older callers do not know these states: `BUSY` for a partition
/// that starts or is replaced, `ABORTED` for one that failed.
pub fn admits(life: Life, origin: Origin, version: Version) -> Result<()> {
    let is_new = version >= Version::V1_3;
    Err(match (life, origin) {
        (Life::Running, _) => return Ok(()),
        (Life::Starting | Life::Stopping | Life::Halted | Life::Stopped, Origin::Partition)
            if is_new =>
        {
            FfaError::NotReady
        }
        (Life::Destroyed, _) if is_new => FfaError::InvalidParameters,
        (Life::Stopped, _) if is_new => FfaError::Busy,
        (Life::Starting | Life::Stopping | Life::Halted, _) => FfaError::Busy,
        (Life::Aborted | Life::Stopped | Life::Destroyed, _) => FfaError::Aborted,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use FfaError::{Aborted as ABORTED, Busy, InvalidParameters, NotReady};
    use Life::{Aborted, Destroyed, Halted, Running, Starting, Stopped, Stopping};

    const ALL: [Life; 7] = [
        Starting, Running, Aborted, Stopped, Destroyed, Stopping, Halted,
    ];

    // req: LIFE-02, LIVE-11
    #[test]
    fn every_state_and_event() {
        let events = [
            Event::Ready,
            Event::Fail(Remains::Aborted),
            Event::Fail(Remains::Stopped),
            Event::Fail(Remains::Nothing),
            Event::Load,
            Event::Stop,
            Event::Resume,
            Event::Halt,
            Event::Enter,
        ];
        let (none, some) = (None, Some);
        let (starting, running) = (some(Starting), some(Running));
        let failing = [some(Aborted), some(Stopped), some(Destroyed)];
        let [aborted, stopped, destroyed] = failing;
        let fails = |ready, [stop, resume, halt, enter]: [Option<Life>; 4]| {
            [
                ready, aborted, stopped, destroyed, none, stop, resume, halt, enter,
            ]
        };
        let expected = [
            fails(running, [some(Stopping), none, none, none]),
            fails(none, [some(Stopping), none, none, none]),
            [none; 9],
            [none, none, none, none, starting, none, none, none, none],
            [none; 9],
            fails(none, [none, running, some(Halted), none]),
            fails(none, [none, none, none, starting]),
        ];
        for (life, row) in ALL.into_iter().zip(expected) {
            assert_eq!(events.map(|event| step(life, event)), row, "{life:?}");
            assert_eq!(Life::from_word(life as u32), life);
        }
    }

    // req: LIFE-03, LIFE-04, LIVE-13
    #[test]
    fn every_state_and_version() {
        let (ready, busy, gone) = (Err(NotReady), Err(Busy), Err(InvalidParameters));
        // What callers get below 1.3, partitions at 1.3, and the Normal world at 1.3.
        let expected = [
            [busy, ready, busy],
            [Ok(()); 3],
            [Err(ABORTED); 3],
            [Err(ABORTED), ready, busy],
            [Err(ABORTED), gone, gone],
            [busy, ready, busy],
            [busy, ready, busy],
        ];
        for (life, [old, partition, normal_world]) in ALL.into_iter().zip(expected) {
            for (origin, new) in [
                (Origin::Partition, partition),
                (Origin::NormalWorld, normal_world),
            ] {
                for version in [Version::V1_0, Version::V1_1, Version::V1_2] {
                    assert_eq!(admits(life, origin, version), old, "{life:?}");
                }
                assert_eq!(admits(life, origin, Version::V1_3), new, "{life:?}");
            }
        }
    }
}
