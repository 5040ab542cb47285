//! `FFA_MEM_RELINQUISH` (FF-A v1.0 section 11.6): a borrower gives back its access.

use zerocopy::{FromZeros, IntoBytes};

use crate::error::{FfaError, Result};
use crate::ffa::Answer;
use crate::ffa::memory_descriptor::Relinquish;
use crate::hal::Hal;
use crate::id::PartitionId;
use crate::manifest::config::Permissions;
use crate::mem::answers::paused;
use crate::mem::flags::{FLAG_SLICED, FLAG_ZERO, sliced_flag};
use crate::mem::share::{Access, Operation, Pace, SendKind, Share, Stage};
use crate::mem::{Endpoints, Engine};
use crate::mm::Leaf;
use crate::partition::Endpoint;

/// The fate of the contents of a region when its last borrower relinquishes it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum After {
    /// The contents stay, unless another borrower asked for zeroing.
    Keep,
    /// The contents are zeroed.
    Zero,
}

impl<H: Hal, E: Endpoints> Engine<'_, H, E> {
    /// Unmaps the region that the descriptor in the caller's TX names, and zeroes the region when
    /// the last borrower is gone, if any borrower asked for that when it relinquished. A wish that
    /// a borrower stated when it retrieved the region counts only if it dies. A caller relinquishes
    /// for itself or for a stream endpoint whose proxy it is. A donation whose response is still
    /// being read becomes the donor's again, as it was.
    ///
    /// `DENIED` if the caller has not retrieved the region, or wants zeroed what it can only read;
    /// `ABORTED` if memory does not answer; `INVALID_PARAMETERS` for everything else that is wrong
    /// with the call.
    #[inline(never)]
    pub(crate) fn relinquish(&self, caller: &Endpoint) -> Result<Answer> {
        let invalid = FfaError::InvalidParameters;
        let mut descriptor = Relinquish::new_zeroed();
        caller
            .mailbox
            .lock()
            .read_tx(self.hal, descriptor.as_mut_bytes())?;
        if descriptor.flags & !(FLAG_ZERO | sliced_flag(caller)) != 0 || descriptor.count != 1 {
            return Err(invalid);
        }
        let borrower = self
            .spoken_for(PartitionId(descriptor.endpoint), caller)
            .ok_or(invalid)?;
        let id = borrower.id();
        let zero = descriptor.flags & FLAG_ZERO != 0;
        let tell = || {
            log::debug!(
                "memory {:#x}: {id} relinquishes it",
                descriptor.handle.bits()
            )
        };

        let mut found = self.shares.find_any(descriptor.handle)?;
        let share = found.share()?;
        if share.stage == Stage::Given && !zero {
            let leaf = share.borrower(id).and_then(|borrower| borrower.mapped());
            self.give_back(share, borrower, leaf.ok_or(invalid)?)?;
            tell();
            return Ok(Answer::success([]));
        }
        match share.stage {
            Stage::Sent => {}
            Stage::Paused(_) => return Err(FfaError::Busy),
            Stage::Arriving { .. } | Stage::Given | Stage::Void => return Err(invalid),
        }
        if zero && share.kind == SendKind::Share {
            return Err(invalid);
        }
        let mapped = share.borrower(id).ok_or(invalid)?.mapped();
        let leaf = mapped.ok_or(FfaError::Denied)?;
        let writes = leaf.attributes().permissions.contains(Permissions::WRITE);
        if zero && !(writes && share.owner_can_zero()) {
            return Err(FfaError::Denied);
        }
        let after = if zero { After::Zero } else { After::Keep };
        let pace = Pace::of(descriptor.flags & FLAG_SLICED != 0);
        self.take_back(share, borrower, leaf, after, pace)?;
        tell();
        if let Stage::Paused(_) = share.stage {
            return Ok(paused(descriptor.handle));
        }
        Ok(self.relinquished(found))
    }

    /// Unmaps the region that `borrower` has mapped with `leaf`. If that was the last borrower and
    /// anybody asked for zeroing, the region is zeroed.
    fn take_back(
        &self,
        share: &mut Share,
        borrower: &Endpoint,
        leaf: Leaf,
        after: After,
        pace: Pace,
    ) -> Result<()> {
        let others = share
            .borrowers
            .iter()
            .filter(|other| other.mapped().is_some())
            .count()
            > 1;
        let zero_after = share.zero_after || after == After::Zero;
        let mut space = borrower.memory.lock();
        self.unmap(share, &mut space, leaf)?;
        if zero_after && !others {
            let operation = Operation::Relinquish(borrower.id(), leaf);
            return self.zero_for(share, &mut space, operation, pace);
        }
        share.zero_after = zero_after;
        if let Some(borrower) = share.borrower(borrower.id()) {
            borrower.access = Access::None;
        }
        Ok(())
    }
}
