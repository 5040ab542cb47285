//! The hand-over of a donation (FF-A v1.0 section 11.4): the receiver becomes the owner when it
//! retrieves the region, and can give it back while it still reads the response.

use super::channel::Channel;
use super::response::{rest_of, retrieved};
use super::share::{Access, Grant, Reading, Share, Stage};
use super::shares::Found;
use super::{Endpoints, Engine, refused};
use crate::error::{FfaError, Result};
use crate::ffa::Answer;
use crate::ffa::memory_descriptor::{DescriptorBuffer, Response};
use crate::hal::Hal;
use crate::invariant::Invariant;
use crate::mm::{AddressSpace, Change, Leaf, Pages};
use crate::partition::Endpoint;
use crate::sync::MutexGuard;

impl<H: Hal, E: Endpoints> Engine<'_, H, E> {
    /// Ends a donation: the receiver owns the region, the donor has lost it, and the handle is
    /// invalid.
    pub(super) fn give(
        &self,
        mut found: Found<'_>,
        grant: &Grant,
        response: &Response,
        buffer: &mut DescriptorBuffer,
        receiver: &Endpoint,
        channel: &mut Channel<'_>,
    ) -> Result<Answer> {
        let share = found.share()?;
        let store = Pages::of(self.hal);
        let donor = self
            .endpoints
            .endpoint(share.owner)
            .ok_or(FfaError::Denied)?;
        let Sides {
            donor: mut donor_space,
            receiver: mut space,
        } = Sides::lock(donor, receiver);
        channel.room(self.hal, &space)?;
        let ranges = share.ranges.iter(store);
        let taken = Change {
            from: Leaf::NONE,
            to: grant.leaf,
        };
        let given = Change {
            from: share.sent,
            to: donor_space.given_away(share.sent),
        };
        space
            .change(self.hal, share.world, ranges.clone(), taken)
            .map_err(|error| refused(error, FfaError::Denied))?;
        let begun = self.begin_response(channel, &space, buffer, share, response);
        let length = match begun {
            Ok(length) => length,
            Err(error) => {
                let undone = space.change(self.hal, share.world, ranges, taken.inverse());
                Invariant::Undo.expect(undone.is_ok());
                return Err(error);
            }
        };
        // This change comes last, because it cannot be undone: it forgets which pages the donor
        // could execute. It needs no tables but those of the send.
        let gone = donor_space.change_owned(self.hal, share.world, ranges, given);
        Invariant::Undo.expect(gone.is_ok());
        let reading = rest_of(response.size(), response.layout, length, channel);
        if reading == Reading::default() {
            share.ranges.release(store, donor_space.pool());
            found.vacate();
            return Ok(retrieved(response.size(), length));
        }
        share.stage = Stage::Given;
        if let Some(borrower) = share.borrower(receiver.id()) {
            borrower.access = Access::Mapped {
                leaf: grant.leaf,
                reading,
            };
        }
        Ok(retrieved(response.size(), length))
    }

    /// Undoes the retrieval of a donation whose response the new owner does not read to its end
    /// (section 12.2.2.3, 8): the donor owns the region again. If the donor could execute some of
    /// its pages and not others, it can execute none of them now.
    ///
    /// `DENIED` if the receiver has used its ownership already, or the donor is dead or was
    /// restarted; `NO_MEMORY` if there are no tables for the donor.
    pub(super) fn give_back(
        &self,
        share: &mut Share,
        receiver: &Endpoint,
        leaf: Leaf,
    ) -> Result<()> {
        let donor = self
            .endpoints
            .endpoint(share.owner)
            .filter(|_| !share.orphaned)
            .ok_or(FfaError::Denied)?;
        let Sides {
            donor: mut donor_space,
            receiver: mut space,
        } = Sides::lock(donor, receiver);
        let ranges = share.ranges.iter(Pages::of(self.hal));
        let untaken = Change {
            from: leaf,
            to: Leaf::NONE,
        };
        let back = Change {
            from: donor_space.given_away(share.sent),
            to: share.sent,
        };
        space
            .change(self.hal, share.world, ranges.clone(), untaken)
            .map_err(|error| refused(error, FfaError::Denied))?;
        if let Err(error) = donor_space.change(self.hal, share.world, ranges.clone(), back) {
            let undone = space.change(self.hal, share.world, ranges, untaken.inverse());
            Invariant::Undo.expect(undone.is_ok());
            return Err(refused(error, FfaError::Aborted));
        }
        share.stage = Stage::Sent;
        if let Some(borrower) = share.borrower(receiver.id()) {
            borrower.access = Access::None;
        }
        Ok(())
    }
}

/// The memory of both sides of a donation, locked.
struct Sides<'e> {
    donor: MutexGuard<'e, AddressSpace>,
    receiver: MutexGuard<'e, AddressSpace>,
}

impl<'e> Sides<'e> {
    /// Locks both in ascending order of their ids.
    fn lock(donor: &'e Endpoint, receiver: &'e Endpoint) -> Self {
        if donor.id() < receiver.id() {
            let donor = donor.memory.lock();
            Self {
                donor,
                receiver: receiver.memory.lock(),
            }
        } else {
            let receiver = receiver.memory.lock();
            Self {
                donor: donor.memory.lock(),
                receiver,
            }
        }
    }
}
