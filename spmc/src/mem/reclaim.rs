//! `FFA_MEM_RECLAIM` (FF-A v1.0 section 11.7): an owner takes back what nobody uses any more.

use super::share::{Operation, Pace, Share, Stage};
use super::shares::Found;
use super::slices::paused;
use super::{Endpoints, Engine, FLAG_SLICED, FLAG_ZERO, refused, sliced_flag};
use crate::error::{FfaError, Result};
use crate::ffa::{Answer, Handle, SmcFrame};
use crate::hal::Hal;
use crate::mm::{AddressSpace, Change, ChangeError, Pages};
use crate::partition::Endpoint;

impl<H: Hal, E: Endpoints> Engine<'_, H, E> {
    /// Gives the owner the access that it had before it sent the region named by w1 and w2, and
    /// ends the handle.
    ///
    /// `DENIED` if a borrower still has the region, or the owner wants zeroed what it can only
    /// read; `ABORTED` if memory does not answer; `INVALID_PARAMETERS` for a handle that is not one
    /// of the caller's regions, and unknown flags.
    pub(crate) fn reclaim(&self, caller: &Endpoint, frame: &SmcFrame) -> Result<Answer> {
        let invalid = FfaError::InvalidParameters;
        let handle = Handle::of_call(frame);
        let flags = frame.w(3);
        if flags & !(FLAG_ZERO | sliced_flag(caller)) != 0 {
            return Err(invalid);
        }
        let mut found = self.shares.find_any(handle)?;
        let share = found.share()?;
        // Who takes back what a dead borrower left zeroes the rest of it.
        let estate = share.is_estate();
        match share.stage {
            Stage::Sent => {}
            Stage::Paused(_) if estate => {}
            Stage::Paused(_) => return Err(FfaError::Busy),
            Stage::Arriving { .. } | Stage::Given | Stage::Void => return Err(invalid),
        }
        if !share.is_sent_by(caller.id()) {
            return Err(invalid);
        }
        let zero = flags & FLAG_ZERO != 0;
        if share.must_be_relinquished() || zero && !share.owner_can_zero() {
            return Err(FfaError::Denied);
        }
        if share.has_devices() {
            self.unmap_for_devices(share)?;
        }
        if zero || share.zero_after {
            let pace = Pace::of(flags & FLAG_SLICED != 0);
            self.zero_for(share, &mut caller.memory.lock(), Operation::Reclaim, pace)?;
            if let Stage::Paused(_) = share.stage {
                return Ok(paused(handle));
            }
        }
        self.return_to_owner(found, caller)
    }

    /// Gives the owner its access back and ends the share.
    pub(super) fn return_to_owner(
        &self,
        mut found: Found<'_>,
        caller: &Endpoint,
    ) -> Result<Answer> {
        let share = found.share()?;
        let mut space = caller.memory.lock();
        self.restore(share, &mut space)
            .map_err(|error| refused(error, FfaError::Aborted))?;
        share.regions.release(Pages::of(self.hal), space.pool());
        found.vacate();
        Ok(Answer::success([]))
    }

    /// Makes the pages of the owner, whose memory `space` is, again what they were before they were
    /// sent, each with the execution that it had.
    pub(super) fn restore(
        &self,
        share: &Share,
        space: &mut AddressSpace,
    ) -> core::result::Result<(), ChangeError> {
        let change = Change {
            from: share.sent,
            to: share.owned,
        };
        let ranges = share.regions.iter(Pages::of(self.hal));
        space
            .change_owned(self.hal, share.world, ranges, change)
            .map(drop)
    }
}
