//! The death of an endpoint (FF-A v1.0 section 5.4.1, rule 8): what it borrowed is taken from it,
//! and zeroed if anybody asked for that.

use crate::hal::Hal;
use crate::id::PartitionId;
use crate::mem::share::{Access, Operation, Share, Stage, Zeroing};
use crate::mem::{Endpoints, Engine};
use crate::partition::Endpoint;

impl<H: Hal, E: Endpoints> Engine<'_, H, E> {
    /// Ends the part of a dead partition in all shares (FF-A v1.0 section 5.4.1, rule 8): what it
    /// borrowed is taken from it, so that the owners can reclaim; what it owned stays with the
    /// borrowers that have it, goes to nobody else, and is the SPMC's in the end. The partition
    /// must be marked dead before: a retrieval that is under way on another PE then sees either the
    /// mark or the change.
    ///
    /// Returns `true` if memory is left that must be zeroed before anybody gets it, which
    /// [`Self::settle`] does.
    pub(crate) fn bury(&self, dead: &Endpoint) -> bool {
        for stream in self.endpoints.streams_of(dead.id()) {
            self.bury_one(stream);
        }
        // This also finds estates that the stream endpoints left.
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
                    // A restarted partition must not go on with the request of its former life.
                    borrower.drop_request();
                    true
                }
                None => false,
            };
            // Nor may it get back what its former life sent.
            share.orphaned |= from;
            match share.stage {
                Stage::Arriving { .. } if from => {
                    self.discard(found);
                    continue;
                }
                Stage::Given if to => {
                    // The dead partition owns this memory already: only the response is dropped.
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
                // Nobody has the region: return it to its owner, which may be restarted.
                self.end(found);
            }
        }
        leaves
    }

    /// Unmaps the region for `dead`, if that has it. If it was the last borrower and anybody asked
    /// for zeroing, the region becomes an estate.
    fn take_from_dead(&self, share: &mut Share, dead: &Endpoint) {
        let Some(borrower) = share.borrower(dead.id()) else {
            return;
        };
        let Some(leaf) = borrower.mapped() else {
            return;
        };
        let zero = borrower.zero_after;
        if self.unmap(share, &mut dead.memory.lock(), leaf).is_err() {
            log::error!("memory that {} borrowed stays out of use", dead.id());
            return;
        }
        if let Some(borrower) = share.borrower(dead.id()) {
            borrower.access = Access::None;
        }
        share.zero_after |= zero;
        if share.zero_after && !share.is_retrieved() {
            share.stage = Stage::Paused(Zeroing::ESTATE);
        }
    }

    /// Ends a paused call, if it is one of the dead partition: a relinquish is carried out, a send
    /// or a reclaim is dropped.
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
                    borrower.access = Access::None;
                }
            }
            _ => {}
        }
    }

    /// Zeroes the next slice of the estates. One slice bounds the time that an exit to the Normal
    /// world takes. Returns `true` if there may be more to do.
    pub(crate) fn settle(&self) -> bool {
        for mut found in self.shares.iter() {
            let Ok(share) = found.share() else { continue };
            if !share.is_estate() {
                continue;
            }
            // Lock the space of the endpoint that may get the region next.
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
