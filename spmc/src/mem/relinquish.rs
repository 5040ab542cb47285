//! `FFA_MEM_RELINQUISH` (FF-A v1.0 section 11.6): a borrower gives back its access, or loses it
//! when it dies.

use zerocopy::{FromZeros, IntoBytes};

use super::share::{Operation, Pace, SendKind, Share, Stage, Zeroing};
use super::shares::Found;
use super::slices::paused;
use super::{Endpoints, Engine, FLAG_SLICED, FLAG_ZERO, refused, sliced_flag};
use crate::error::{FfaError, Result};
use crate::ffa::Answer;
use crate::ffa::memory_descriptor::Relinquish;
use crate::hal::Hal;
use crate::id::PartitionId;
use crate::manifest::config::Permissions;
use crate::mm::{AddressSpace, Change, Leaf, Pages};
use crate::partition::Endpoint;

impl<H: Hal, E: Endpoints> Engine<'_, H, E> {
    /// Unmaps the region that the descriptor in the caller's TX names, and zeroes it when nobody
    /// has it any more if any borrower asked for that in this call. What a borrower asked for when
    /// it retrieved the region counts only if it dies. A caller relinquishes for itself or for a
    /// stream endpoint whose proxy it is. A donation whose response is still being read becomes the
    /// donor's again, as it was.
    ///
    /// `DENIED` if the caller has not retrieved the region, or wants zeroed what it can only read;
    /// `ABORTED` if memory does not answer; `INVALID_PARAMETERS` for everything else that is wrong
    /// with the call.
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

        let mut found = self.shares.find_any(descriptor.handle)?;
        let share = found.share()?;
        if share.stage == Stage::Given && !zero {
            let leaf = share.borrower(id).and_then(|borrower| borrower.mapped);
            self.give_back(share, borrower, leaf.ok_or(invalid)?)?;
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
        let mapped = share.borrower(id).ok_or(invalid)?.mapped;
        let leaf = mapped.ok_or(FfaError::Denied)?;
        let writes = leaf.attributes().permissions.contains(Permissions::WRITE);
        if zero && !(writes && share.owner_can_zero()) {
            return Err(FfaError::Denied);
        }
        let pace = Pace::of(descriptor.flags & FLAG_SLICED != 0);
        self.take_back(share, borrower, leaf, zero, pace)?;
        if let Stage::Paused(_) = share.stage {
            return Ok(paused(descriptor.handle));
        }
        Ok(self.relinquished(found))
    }

    /// The end of a relinquish, which may be that of the share.
    pub(super) fn relinquished(&self, mut found: Found<'_>) -> Answer {
        if found
            .share()
            .is_ok_and(|share| share.orphaned && !share.is_retrieved())
        {
            self.end(found);
        }
        Answer::success([])
    }

    /// Unmaps the region that `borrower` has mapped with `leaf`. If nobody has it then and anybody
    /// asked for it, it is zeroed.
    pub(super) fn take_back(
        &self,
        share: &mut Share,
        borrower: &Endpoint,
        leaf: Leaf,
        zero: bool,
        pace: Pace,
    ) -> Result<()> {
        let others = share
            .borrowers
            .iter()
            .filter(|other| other.mapped.is_some())
            .count()
            > 1;
        let zero_after = share.zero_after || zero;
        let mut space = borrower.memory.lock();
        self.unmap(share, &mut space, leaf)?;
        if zero_after && !others {
            let operation = Operation::Relinquish(borrower.id(), leaf);
            return self.zero_for(share, &mut space, operation, pace);
        }
        share.zero_after = zero_after;
        if let Some(borrower) = share.borrower(borrower.id()) {
            borrower.mapped = None;
        }
        Ok(())
    }

    /// Takes the region from the owner of `space`, who has it mapped with `leaf`.
    pub(super) fn unmap(&self, share: &Share, space: &mut AddressSpace, leaf: Leaf) -> Result<()> {
        let ranges = share.regions.iter(Pages::of(self.hal));
        let change = Change {
            from: leaf,
            to: Leaf::NONE,
        };
        space
            .change(self.hal, share.world, ranges, change)
            .map_err(|error| refused(error, FfaError::Aborted))
    }

    /// Ends the part of a dead partition in all shares (FF-A v1.0 section 5.4.1, rule 8): what it
    /// borrowed is taken from it, so that the owners can reclaim; what it owned stays with the
    /// borrowers that have it, goes to nobody else, and is the SPMC's in the end. Must come after
    /// the partition was marked dead: a retrieval that is under way elsewhere sees one or the
    /// other.
    ///
    /// Returns `true` if memory is left that is to be zeroed before anybody gets it:
    /// [`Self::settle`] does.
    pub(crate) fn bury(&self, dead: &Endpoint) -> bool {
        let mut leaves = false;
        for mut found in self.shares.iter() {
            let Ok(share) = found.share() else { continue };
            let from = share.owner == dead.id();
            let to = match share.borrower(dead.id()) {
                Some(borrower) => {
                    // Nobody goes on with it who is loaded anew under that id.
                    borrower.asking = None;
                    true
                }
                None => false,
            };
            // Nor does what it sent come back to that one.
            share.orphaned |= from;
            match share.stage {
                Stage::Arriving { .. } if from => {
                    self.discard(found);
                    continue;
                }
                Stage::Given if to => {
                    // It is its own memory, and its end nobody's business.
                    self.discard(found);
                    continue;
                }
                Stage::Arriving { .. } | Stage::Given | Stage::Void => continue,
                Stage::Paused(zeroing) => Self::bury_paused(share, dead.id(), zeroing),
                Stage::Sent => {}
            }
            self.take_from_dead(share, dead);
            if share.is_estate() {
                leaves = true;
            } else if share.orphaned && !share.is_retrieved() {
                // Nobody has it: it is its owner's again, who may start anew.
                self.end(found);
            }
        }
        leaves
    }

    /// Unmaps the region for `dead`, if that has it. If nobody has it then and anybody asked for
    /// it, it is to be zeroed.
    fn take_from_dead(&self, share: &mut Share, dead: &Endpoint) {
        let Some(borrower) = share.borrower(dead.id()) else {
            return;
        };
        let Some(leaf) = borrower.mapped else { return };
        let zero = borrower.zero_after;
        if self.unmap(share, &mut dead.memory.lock(), leaf).is_err() {
            log::error!("memory that {} borrowed stays out of use", dead.id());
            return;
        }
        if let Some(borrower) = share.borrower(dead.id()) {
            borrower.mapped = None;
        }
        share.zero_after |= zero;
        if share.zero_after && !share.is_retrieved() {
            share.stage = Stage::Paused(Zeroing::ESTATE);
        }
    }

    /// A call was paused: if it is the dead partition's, it ends here. A relinquish is carried out,
    /// anything else of the owner is void.
    fn bury_paused(share: &mut Share, dead: PartitionId, zeroing: Zeroing) {
        match zeroing.operation {
            Operation::Send | Operation::Reclaim if share.owner == dead => {
                share.stage = if share.zero_after {
                    Stage::Paused(Zeroing::ESTATE)
                } else {
                    Stage::Sent
                };
            }
            Operation::Relinquish(borrower, _) if borrower == dead => {
                share.zero_after = true;
                share.stage = Stage::Paused(Zeroing {
                    done: zeroing.done,
                    ..Zeroing::ESTATE
                });
                if let Some(borrower) = share.borrower(borrower) {
                    borrower.mapped = None;
                }
            }
            _ => {}
        }
    }
}
