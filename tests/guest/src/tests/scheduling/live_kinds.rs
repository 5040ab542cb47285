//! More kinds of partitions that are replaced while the system runs: at S-EL0, and without a state
//! to hand over. Only for the layout `live/kinds`, in which `init-timeout-ms` is short.

use crate::board;
use crate::ffa::error::{BUSY, DENIED};
use crate::ffa::{self, NWD, SP3, SP4, id, route};
use crate::nwd::{Nwd, Test, ask};
use crate::rt::call::call;
use crate::rt::check::{Check, equal};
use crate::rt::wait_until;
use crate::support::helper_call::request;
use crate::test;

use super::live_activation::{
    BEGIN, finish_next, finish_of, has_status, served_by, start_next, start_of,
};

/// The tests of this file. In the first one, sp3 runs its first image.
pub const TESTS: &[Test] = &[
    test!(
        overdue_activation,
        "Nobody has the new image of sp3 entered, and the old one goes on"
    ),
    test!(
        stateless_activation,
        "sp4 is replaced without a state, and begins to count anew"
    ),
];

/// The package of another image of sp4.
const NEXT: u64 = board::package(9);

/// `init-timeout-ms` of the layout.
const LIMIT_MS: u64 = 6_000;

/// Fails unless that image serves the request, as the last one of `number` in a row, and after that
/// many images took over from another one.
#[track_caller]
fn serves(partition: u16, number: u64, image: u64, takeovers: u64) -> Check {
    let [its, served, took_over, _] = served_by(NWD, partition, 0, number)?;
    equal(its, image)?;
    equal(served, number)?;
    equal(took_over, takeovers)
}

/// Fails unless sp3 is busy.
#[track_caller]
fn is_busy() -> Check {
    let message = request(id::DIRECT_REQ_64, route(NWD, SP3), BEGIN, [0; 4]);
    ffa::refused(&call(ffa::conduit(), message), BUSY)
}

// req: LIVE-09, LIVE-05
fn overdue_activation(_: &Nwd) -> Check {
    ask(SP3, BEGIN, [0; 4])?;
    serves(SP3, 1, 1, 0)?;
    start_next()?;
    is_busy()?;
    wait_until(LIMIT_MS + 1, || false);
    // The one who is refused now has the old image entered, which finds what it had handed over.
    is_busy()?;
    has_status(finish_of(SP3)?, DENIED)?;
    serves(SP3, 2, 1, 1)?;
    start_next()?;
    finish_next()?;
    serves(SP3, 3, 2, 2)
}

// req: LIVE-02, LIVE-05, LIVE-11
fn stateless_activation(_: &Nwd) -> Check {
    ask(SP4, BEGIN, [0; 4])?;
    for number in 1..=3 {
        serves(SP4, number, 1, 0)?;
    }
    for _ in 0..3 {
        has_status(start_of(SP4, NEXT)?, 0)?;
        has_status(finish_of(SP4)?, 0)?;
        for number in 1..=3 {
            serves(SP4, number, 2, 1)?;
        }
    }
    Ok(())
}
