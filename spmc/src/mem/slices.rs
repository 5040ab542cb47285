//! `FFA_MEM_OP_PAUSE`, `FFA_MEM_OP_RESUME` (FF-A v1.0 section 12.2.3): calls in slices.
//!
//! Zeroing a large region is the slow part of a call; it is done `SLICE_PAGES` pages at a time.
//! Changes of access are never left half done. While a call is paused, nobody has access to its
//! region, and no other call can name it. A caller that agreed to pauses resumes its call, on any
//! PE; the SPMC goes on with the calls of others ([`Engine::unfinished`]).

use super::answers::{paused, success};
use super::share::{Access, Operation, Pace, Share, Stage, Zeroing};
use super::{Endpoints, Engine};
use crate::addr::World;
use crate::error::{FfaError, Result};
use crate::ffa::{Answer, Handle, function};
use crate::hal::{AccessFault, Hal};
use crate::limits::SLICE_PAGES;
use crate::mm::{AddressSpace, Change, Leaf, Pages};
use crate::partition::Endpoint;

use super::range_list::{Position, RangeList};

impl<H: Hal, E: Endpoints> Engine<'_, H, E> {
    /// `FFA_MEM_OP_RESUME`: goes on with the call of the caller that was paused with
    /// `handle`. The answer is `FFA_MEM_OP_PAUSE` again, or that of the call.
    ///
    /// `INVALID_PARAMETERS` if no call of the caller is paused with `handle`. `ABORTED` if memory
    /// does not answer, and the errors of the call itself: the call has ended then, and everything
    /// is as before.
    #[inline(never)]
    pub(crate) fn resume(&self, caller: &Endpoint, handle: Handle) -> Result<Answer> {
        self.go_on(caller, handle, Pace::Caller)
    }

    /// Returns the handle if `answer` says that a call is paused whose caller did not agree to
    /// that. [`Self::finish`] goes on with such a call. No lock is held in between.
    #[inline]
    pub(crate) fn unfinished(&self, answer: &Answer) -> Option<Handle> {
        let [function, low, high, ..] = answer.x;
        if function != function::MEM_OP_PAUSE.into() {
            return None;
        }
        let handle = Handle::from_halves([low, high]);
        let mut found = self.shares.find_any(handle).ok()?;
        match found.share().ok()?.stage {
            Stage::Paused(zeroing) => (zeroing.pace == Pace::Spmc).then_some(handle),
            _ => None,
        }
    }

    /// Zeroes the next slice for an unfinished call of `caller`. The answer and the errors are
    /// those of [`Self::resume`].
    pub(crate) fn finish(&self, caller: &Endpoint, handle: Handle) -> Result<Answer> {
        self.go_on(caller, handle, Pace::Spmc)
    }

    /// Goes on with a call of `caller` that is paused at that pace.
    fn go_on(&self, caller: &Endpoint, handle: Handle, expected: Pace) -> Result<Answer> {
        let invalid = FfaError::InvalidParameters;
        let mut found = self.shares.find_any(handle)?;
        let share = found.share()?;
        let Stage::Paused(Zeroing {
            operation, pace, ..
        }) = share.stage
        else {
            return Err(invalid);
        };
        if pace != expected {
            return Err(invalid);
        }
        // The endpoint whose access the operation changes: the caller, or an endpoint that the
        // caller speaks for.
        let party = match operation {
            Operation::Send | Operation::Reclaim => {
                Some(caller).filter(|caller| share.is_sent_by(caller.id()))
            }
            Operation::Relinquish(borrower, _) => self.spoken_for(borrower, caller),
            Operation::Estate => None,
        };
        let party = party.ok_or(invalid)?;
        let zeroed = self.zero_on(share, &mut party.memory.lock());
        if let Err(error) = zeroed {
            if operation == Operation::Send {
                self.discard(found);
            }
            return Err(error);
        }
        if let Stage::Paused(_) = share.stage {
            return Ok(paused(handle));
        }
        match operation {
            Operation::Send => {
                let mapped = self.map_for_devices(caller, share);
                if let Err(error) = mapped {
                    self.discard(found);
                    return Err(error);
                }
                share.tell_sent(handle);
                Ok(success(handle))
            }
            Operation::Relinquish(..) | Operation::Estate => Ok(self.relinquished(found)),
            Operation::Reclaim => self.return_to_owner(found, caller),
        }
    }

    /// Begins to zero a region that nobody has access to, for an operation of the owner of `space`,
    /// at that pace. Afterwards the share is paused, or sent and the operation can be finished.
    /// `ABORTED` if memory does not answer: the operation is undone.
    pub(super) fn zero_for(
        &self,
        share: &mut Share,
        space: &mut AddressSpace,
        operation: Operation,
        pace: Pace,
    ) -> Result<()> {
        let done = match share.stage {
            Stage::Paused(estate) => estate.done,
            _ => Position::START,
        };
        share.stage = Stage::Paused(Zeroing {
            operation,
            pace,
            done,
        });
        self.zero_on(share, space)
    }

    /// Zeroes the next slice of a paused share. `space` is that of the endpoint whose access the
    /// operation changes, locked so that the tables that undoing the operation needs stay.
    pub(super) fn zero_on(&self, share: &mut Share, space: &mut AddressSpace) -> Result<()> {
        let Stage::Paused(mut zeroing) = share.stage else {
            return Ok(());
        };
        if self
            .zero(share.world, &share.ranges, &mut zeroing.done)
            .is_err()
        {
            self.undo(share, space, zeroing.operation);
            return Err(FfaError::Aborted);
        }
        if !zeroing.done.is_end(&share.ranges) {
            share.stage = Stage::Paused(zeroing);
            return Ok(());
        }
        share.stage = Stage::Sent;
        share.zero_after = false;
        if let Operation::Relinquish(id, _) = zeroing.operation
            && let Some(borrower) = share.borrower(id)
        {
            borrower.access = Access::None;
        }
        Ok(())
    }

    /// Undoes the operation: access is again what it was before.
    fn undo(&self, share: &mut Share, space: &mut AddressSpace, operation: Operation) {
        share.stage = Stage::Sent;
        let undone = match operation {
            Operation::Send => {
                share.stage = Stage::Void;
                self.restore(share, space)
            }
            Operation::Relinquish(_, leaf) => {
                let change = Change {
                    from: Leaf::NONE,
                    to: leaf,
                };
                let ranges = share.ranges.iter(Pages::of(self.hal));
                space.change(self.hal, share.world, ranges, change)
            }
            Operation::Reclaim | Operation::Estate => {
                // The region must still be zeroed before the owner gets it back.
                if share.zero_after {
                    share.stage = Stage::Paused(Zeroing::ESTATE);
                }
                return;
            }
        };
        if undone.is_err() {
            // This can happen only after a pause, if the tables that the operation took are gone.
            log::error!("memory of {} stays out of use", share.owner);
        }
    }

    /// Fills the next slice with zeros, from `done` on. No endpoint may have access to it
    /// meanwhile.
    fn zero(
        &self,
        world: World,
        list: &RangeList,
        done: &mut Position,
    ) -> core::result::Result<(), AccessFault> {
        let mut rest = done.rest(list, Pages::of(self.hal));
        let mut left = SLICE_PAGES;
        while let Some(range) = done.take(&mut rest, left) {
            self.hal.zero(world, range.identity())?;
            left = left.saturating_sub(range.pages());
        }
        Ok(())
    }
}
