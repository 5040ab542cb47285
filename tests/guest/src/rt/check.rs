//! Checks and their failures: a check that fails carries where it stands, what it found, and what
//! it wanted.

use core::fmt;
use core::panic::Location;

/// The reason why a test did not pass.
#[derive(Clone, Copy, Debug)]
pub enum Failure {
    /// A check at this place failed.
    Check {
        /// The place of the check.
        at: &'static Location<'static>,
        /// The value that was found.
        got: u64,
        /// The value that the check wanted.
        want: u64,
    },
    /// A check inside a partition failed, in the helper that the test called.
    Partition {
        /// The call of the helper.
        at: &'static Location<'static>,
        /// The partition.
        id: u16,
        /// Line of the check in the file of the helper.
        line: u64,
        /// The value that was found.
        got: u64,
        /// The value that the check wanted.
        want: u64,
    },
    /// The test cannot run on this machine.
    Skip(&'static str),
}

/// The result of a test or of a part of it.
pub type Check<T = ()> = Result<T, Failure>;

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Check { at, got, want } => {
                write!(
                    f,
                    "{}:{}: got {got:#x}, want {want:#x}",
                    at.file(),
                    at.line()
                )
            }
            Self::Partition {
                at,
                id,
                line,
                got,
                want,
            } => write!(
                f,
                "{}:{}: partition {id:#x} line {line}: got {got:#x}, want {want:#x}",
                at.file(),
                at.line()
            ),
            Self::Skip(why) => f.write_str(why),
        }
    }
}

/// Fails unless both values are equal.
#[track_caller]
pub fn equal(got: impl Into<u64>, want: impl Into<u64>) -> Check {
    let (got, want) = (got.into(), want.into());
    if got == want {
        return Ok(());
    }
    Err(Failure::Check {
        at: Location::caller(),
        got,
        want,
    })
}

/// Fails unless `condition` holds, and shows `got` then.
#[track_caller]
pub fn holds(condition: bool, got: impl Into<u64>) -> Check {
    if condition {
        return Ok(());
    }
    Err(Failure::Check {
        at: Location::caller(),
        got: got.into(),
        want: 1,
    })
}

/// Fails with the line of the caller.
#[track_caller]
pub fn fail<T>(got: impl Into<u64>) -> Check<T> {
    Err(Failure::Check {
        at: Location::caller(),
        got: got.into(),
        want: 0,
    })
}
