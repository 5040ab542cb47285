//! `FFA_MEM_RECLAIM` (FF-A v1.0 section 11.7): an owner takes back a region that no borrower has
//! any more.

use crate::error::{FfaError, Result};
use crate::ffa::{Answer, Handle};
use crate::hal::Hal;
use crate::mem::answers::paused;
use crate::mem::flags::{FLAG_SLICED, FLAG_ZERO, sliced_flag};
use crate::mem::share::{Operation, Pace, Stage};
use crate::mem::{Endpoints, Engine};
use crate::partition::Endpoint;

impl<H: Hal, E: Endpoints> Engine<'_, H, E> {
    /// Gives the owner the access that it had before it sent the region that `handle` names, and
    /// invalidates the handle.
    ///
    /// `DENIED` if a borrower still has the region, or the owner wants zeroed what it can only
    /// read; `ABORTED` if memory does not answer; `INVALID_PARAMETERS` for a handle that is not one
    /// of the caller's regions, and unknown flags.
    #[inline(never)]
    pub(crate) fn reclaim(&self, caller: &Endpoint, handle: Handle, flags: u32) -> Result<Answer> {
        let invalid = FfaError::InvalidParameters;
        if flags & !(FLAG_ZERO | sliced_flag(caller)) != 0 {
            return Err(invalid);
        }
        let mut found = self.shares.find_any(handle)?;
        let share = found.share()?;
        match share.stage {
            Stage::Sent => {}
            // A reclaim of an estate zeroes the rest of the region.
            Stage::Paused(_) if share.is_estate() => {}
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
}
