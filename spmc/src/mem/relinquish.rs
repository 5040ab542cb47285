//! `FFA_MEM_RELINQUISH` (FF-A v1.0 section 11.6): a borrower gives back its access.

use zerocopy::FromZeros;
use zerocopy::IntoBytes;

use super::shares::SendKind;
use super::{Endpoints, Engine, FLAG_ZERO, refused};
use crate::error::{FfaError, Result};
use crate::ffa::SmcFrame;
use crate::ffa::memory_descriptor::Relinquish;
use crate::hal::Hal;
use crate::id::PartitionId;
use crate::manifest::config::Permissions;
use crate::mm::{Change, Leaf, Pages};
use crate::partition::Endpoint;

impl<H: Hal, E: Endpoints> Engine<'_, H, E> {
    /// Unmaps the region that the descriptor in the caller's TX names, and zeroes it when nobody has it any more if any borrower
    /// asked for that.
    ///
    /// `DENIED` if the caller has not retrieved the region, or wants zeroed what it can only read; `ABORTED` if memory does not answer;
    /// `INVALID_PARAMETERS` for everything else that is wrong with the call.
    pub(crate) fn relinquish(&self, caller: &Endpoint, frame: &SmcFrame) -> Result<SmcFrame> {
        let invalid = FfaError::InvalidParameters;
        if (1..8).any(|n| frame.w(n) != 0) {
            return Err(invalid);
        }
        let mut descriptor = Relinquish::new_zeroed();
        caller
            .mailbox
            .lock()
            .read_tx(self.hal, descriptor.as_mut_bytes())?;
        // There are no stream endpoints here, so a borrower acts for nobody but itself.
        let names_caller = descriptor.count == 1 && PartitionId(descriptor.endpoint) == caller.id();
        if descriptor.flags & !FLAG_ZERO != 0 || !names_caller {
            return Err(invalid);
        }
        let zero = descriptor.flags & FLAG_ZERO != 0;

        let mut found = self.shares.find(descriptor.handle)?;
        let share = found.share()?;
        if zero && share.kind == SendKind::Share {
            return Err(invalid);
        }
        let borrower = share.borrower(caller.id()).ok_or(invalid)?;
        let leaf = borrower.mapped.ok_or(FfaError::Denied)?;
        if zero && !leaf.attributes().permissions.contains(Permissions::WRITE) {
            return Err(FfaError::Denied);
        }
        borrower.mapped = None;
        let zero_after = share.zero_after || zero;
        let zero_now = zero_after && !share.is_retrieved();

        let mut space = caller.memory.lock();
        let ranges = share.regions.iter(Pages::of(self.hal));
        let change = Change {
            from: leaf,
            to: Leaf::NONE,
        };
        let mut outcome = space
            .change(self.hal, share.world, ranges.clone(), change)
            .map_err(|error| refused(error, FfaError::Aborted));
        if outcome.is_ok() && zero_now && self.zero(share.world, ranges.clone()).is_err() {
            let undone = space.change(self.hal, share.world, ranges, change.inverse());
            debug_assert!(undone.is_ok());
            outcome = Err(FfaError::Aborted);
        }
        if let Err(error) = outcome {
            if let Some(borrower) = share.borrower(caller.id()) {
                borrower.mapped = Some(leaf);
            }
            return Err(error);
        }
        share.zero_after = zero_after && !zero_now;
        Ok(SmcFrame::success([]))
    }
}
