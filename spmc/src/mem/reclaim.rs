//! `FFA_MEM_RECLAIM` (FF-A v1.0 section 11.7): an owner takes back what nobody uses any more.

use super::{Endpoints, Engine, FLAG_ZERO, refused};
use crate::error::{FfaError, Result};
use crate::ffa::SmcFrame;
use crate::hal::Hal;
use crate::manifest::config::Permissions;
use crate::mm::{Change, Pages};
use crate::partition::Endpoint;

impl<H: Hal, E: Endpoints> Engine<'_, H, E> {
    /// Gives the owner the access that it had before it sent the region named by w1 and w2, and ends the handle.
    ///
    /// `DENIED` if a borrower still has the region, or the owner wants zeroed what it can only read; `ABORTED` if memory does not answer;
    /// `INVALID_PARAMETERS` for a handle that is not one of the caller's regions, unknown flags, and registers that must be zero.
    pub(crate) fn reclaim(&self, caller: &Endpoint, frame: &SmcFrame) -> Result<SmcFrame> {
        let invalid = FfaError::InvalidParameters;
        let handle = (frame.w(2) as u64) << 32 | frame.w(1) as u64;
        let flags = frame.w(3);
        if flags & !FLAG_ZERO != 0 || (4..8).any(|n| frame.w(n) != 0) {
            return Err(invalid);
        }
        let mut found = self.shares.find(handle)?;
        let share = found.share()?;
        let is_owner = if caller.id().is_secure() {
            share.owner == caller.id()
        } else {
            !share.owner.is_secure()
        };
        if !is_owner {
            return Err(invalid);
        }
        let can_zero = share
            .owned
            .attributes()
            .permissions
            .contains(Permissions::WRITE);
        let zero = flags & FLAG_ZERO != 0;
        if share.must_be_relinquished() || zero && !can_zero {
            return Err(FfaError::Denied);
        }
        self.unmap_for_devices(share)?;

        let store = Pages::of(self.hal);
        let mut space = caller.memory.lock();
        let ranges = share.regions.iter(store);
        if zero && self.zero(share.world, ranges.clone()).is_err() {
            return Err(FfaError::Aborted);
        }
        let change = Change {
            from: share.sent,
            to: share.owned,
        };
        space
            .change(self.hal, share.world, ranges, change)
            .map_err(|error| refused(error, FfaError::Aborted))?;
        share.regions.release(store, space.pool());
        found.vacate();
        Ok(SmcFrame::success([]))
    }
}
