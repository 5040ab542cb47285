//! The death of an endpoint (FF-A v1.0 section 5.4.1, rule 8): what it borrowed is taken from it,
//! and zeroed before anybody gets it if anybody asked for that.

use crate::hal::Hal;
use crate::id::PartitionId;
use crate::mem::share::{Operation, Share, Stage, Zeroing};
use crate::mem::{Endpoints, Engine};
use crate::partition::Endpoint;

impl<H: Hal, E: Endpoints> Engine<'_, H, E> {
    /// Ends the part of a dead partition in all shares (FF-A v1.0 section 5.4.1, rule 8): what it
    /// borrowed is taken from it, so that the owners can reclaim; what it owned stays with the
    /// borrowers that have it, goes to nobody else, and is the SPMC's in the end. Must come after
    /// the partition was marked dead: a retrieval that is under way elsewhere sees one or the
    /// other.
    ///
    /// Returns `true` if memory is left that is to be zeroed before anybody gets it:
    /// [`Self::settle`] does.
    pub(crate) fn bury(&self, dead: &Endpoint) -> bool {
        for stream in self.endpoints.streams_of(dead.id()) {
            self.bury_one(stream);
        }
        // Finds what its stream endpoints left as well.
        self.bury_one(dead)
    }

    /// Ends the part of one endpoint: see [`Self::bury`].
    fn bury_one(&self, dead: &Endpoint) -> bool {
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

    /// Zeroes the next slice of what the dead had borrowed, so that no exit to the Normal world
    /// takes longer than that. Returns `true` if there may be more to do.
    pub(crate) fn settle(&self) -> bool {
        for mut found in self.shares.iter() {
            let Ok(share) = found.share() else { continue };
            if !share.is_estate() {
                continue;
            }
            // Of the endpoint that may get it next.
            let Some(owner) = self.endpoints.estate(share.owner) else {
                continue;
            };
            if self.zero_on(share, &mut owner.memory.lock()).is_err() {
                log::error!(
                    "memory of {} cannot be zeroed and stays out of use",
                    share.owner
                );
                continue;
            }
            if share.stage == Stage::Sent {
                self.relinquished(found);
            }
            return true;
        }
        false
    }
}
