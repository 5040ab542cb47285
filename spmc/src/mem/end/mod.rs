//! The steps by which a share ends: the owner gets its access back, the pages of the range list
//! become free, and the handle becomes invalid.
//!
//! The calls that lead here, and the death of an endpoint, are in files of their own.

mod death;
mod reclaim;
mod relinquish;

use super::share::{Share, Stage};
use super::shares::Found;
use super::{Endpoints, Engine, refused};
use crate::error::{FfaError, Result};
use crate::ffa::Answer;
use crate::hal::Hal;
use crate::mm::{AddressSpace, Change, ChangeError, Leaf, Pages};
use crate::partition::Endpoint;

impl<H: Hal, E: Endpoints> Engine<'_, H, E> {
    /// Gives the owner its access back and ends the share.
    pub(in crate::mem) fn return_to_owner(
        &self,
        mut found: Found<'_>,
        caller: &Endpoint,
    ) -> Result<Answer> {
        let share = found.share()?;
        let mut space = caller.memory.lock();
        self.restore(share, &mut space)
            .map_err(|error| refused(error, FfaError::Aborted))?;
        share.ranges.release(Pages::of(self.hal), space.pool());
        log::debug!(
            "memory {:#x}: {} reclaims it",
            found.handle().bits(),
            caller.id()
        );
        found.vacate();
        Ok(Answer::success([]))
    }

    /// Gives the pages in `space`, which is the owner's, the state that they had before the send.
    /// Each page can be executed if it could before.
    #[inline]
    pub(in crate::mem) fn restore(
        &self,
        share: &Share,
        space: &mut AddressSpace,
    ) -> core::result::Result<(), ChangeError> {
        let change = Change {
            from: share.sent,
            to: share.owned,
        };
        let ranges = share.ranges.iter(Pages::of(self.hal));
        space
            .change_owned(self.hal, share.world, ranges, change)
            .map(drop)
    }

    /// Completes a relinquish, which also ends the share if its owner is dead and nobody else has
    /// the region.
    pub(in crate::mem) fn relinquished(&self, mut found: Found<'_>) -> Answer {
        if found
            .share()
            .is_ok_and(|share| share.orphaned && !share.is_retrieved())
        {
            self.end(found);
        }
        Answer::success([])
    }

    /// Unmaps the region in `space`, where it is mapped with `leaf`.
    #[inline]
    pub(in crate::mem) fn unmap(
        &self,
        share: &Share,
        space: &mut AddressSpace,
        leaf: Leaf,
    ) -> Result<()> {
        let ranges = share.ranges.iter(Pages::of(self.hal));
        let change = Change {
            from: leaf,
            to: Leaf::NONE,
        };
        space
            .change(self.hal, share.world, ranges, change)
            .map_err(|error| refused(error, FfaError::Aborted))
    }

    /// Ends a transaction of which fragments are missing, which could not be sent, or of which only
    /// the response is left. A share that is sent is left alone.
    pub(in crate::mem) fn discard(&self, mut found: Found<'_>) {
        let Ok(share) = found.share() else { return };
        match share.stage {
            Stage::Arriving { .. } | Stage::Void | Stage::Given => {}
            Stage::Sent | Stage::Paused(_) => return,
        }
        if let Some(owner) = self.endpoints.estate(share.owner) {
            let mut space = owner.memory.lock();
            share.ranges.release(Pages::of(self.hal), space.pool());
        }
        found.vacate();
    }

    /// Ends a share that nobody has and whose owner is dead, or died during the send. The owner's
    /// pages get back the state that they had before the send.
    pub(in crate::mem) fn end(&self, mut found: Found<'_>) {
        let Ok(share) = found.share() else { return };
        if let Some(owner) = self.endpoints.estate(share.owner) {
            let mut space = owner.memory.lock();
            if self.restore(share, &mut space).is_err() {
                log::error!("memory that {} sent stays out of use", owner.id());
            }
            share.ranges.release(Pages::of(self.hal), space.pool());
            log::debug!(
                "memory {:#x}: back to {}, which is dead",
                found.handle().bits(),
                owner.id()
            );
        }
        found.vacate();
    }
}
