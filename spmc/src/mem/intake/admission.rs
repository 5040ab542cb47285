//! Admits transactions of which fragments are missing, and gives up the oldest ones.
//!
//! Nothing obliges a sender to send the rest. So only so many transactions of an endpoint can be
//! half there (`MIN_ARRIVING`). The oldest one is given up if there is one more, or if another send
//! finds no room.

use crate::error::{FfaError, Result};
use crate::ffa::Handle;
use crate::hal::Hal;
use crate::id::PartitionId;
use crate::mem::shares::Arrival;
use crate::mem::{Endpoints, Engine};
use crate::partition::Endpoint;

/// A set of transactions in which the oldest one makes room for another.
#[derive(Clone, Copy)]
pub(in crate::mem) enum Crowd {
    /// The transactions of one sender id.
    Sender(PartitionId),
    /// The transactions of the endpoint with that id. All ids of the Normal world are one endpoint.
    Endpoint(PartitionId),
}

impl Crowd {
    /// Returns whether the transactions of `owner` belong to the set.
    fn has(self, owner: PartitionId) -> bool {
        match self {
            Self::Sender(sender) => owner == sender,
            Self::Endpoint(id) => owner == id || !owner.is_secure() && !id.is_secure(),
        }
    }
}

impl<H: Hal, E: Endpoints> Engine<'_, H, E> {
    /// Makes `attempt`, and repeats it for lack of memory as long as a transaction of which
    /// fragments are missing can make room.
    pub(in crate::mem) fn with_room<T>(
        &self,
        caller: &Endpoint,
        mut attempt: impl FnMut() -> Result<T>,
    ) -> Result<T> {
        loop {
            match attempt() {
                Err(FfaError::NoMemory)
                    if self.drop_oldest(Crowd::Endpoint(caller.id()), 0, None) => {}
                result => return result,
            }
        }
    }

    /// Ends the oldest unfinished transactions of `sender` and of its endpoint, if there are too
    /// many. The caller has begun its own transaction before, so that PEs that begin at the same
    /// time count each other's.
    pub(in crate::mem) fn limit_arriving(&self, sender: PartitionId) {
        let (of_sender, of_endpoint) = (
            self.shares.arriving_of_sender,
            self.shares.arriving_of_endpoint,
        );
        while self.drop_oldest(Crowd::Sender(sender), of_sender, None) {}
        while self.drop_oldest(Crowd::Endpoint(sender), of_endpoint, None) {}
    }

    /// Ends the oldest transaction of `crowd` of which fragments are missing, if there are more
    /// than `keep` of them beside `spared`. Returns whether there were: if the oldest has become
    /// whole or has ended meanwhile on another PE, it is left alone, and the caller looks again.
    pub(in crate::mem) fn drop_oldest(
        &self,
        crowd: Crowd,
        keep: usize,
        spared: Option<Arrival>,
    ) -> bool {
        let (mut count, mut oldest) = (0_usize, None::<Arrival>);
        for mut found in self.shares.arriving() {
            let Some(arrival) = found.arrival().filter(|it| Some(*it) != spared) else {
                continue;
            };
            let Ok(share) = found.share() else { continue };
            if crowd.has(share.owner) {
                count = count.saturating_add(1);
                if oldest.is_none_or(|oldest| arrival.is_older_than(&oldest)) {
                    oldest = Some(arrival);
                }
            }
        }
        let Some(oldest) = oldest.filter(|_| count > keep) else {
            return false;
        };
        if let Some(found) = self.shares.find_arriving(oldest) {
            self.discard(found);
        }
        true
    }

    /// Ends the transaction `handle`, of which the Hypervisor does not send the rest (section
    /// 12.2.2.3, 9).
    pub(crate) fn sender_aborted(&self, handle: Handle) {
        let Ok(mut found) = self.shares.find_any(handle) else {
            return;
        };
        let is_arriving = found.arrival().is_some();
        if is_arriving && found.share().is_ok_and(|share| !share.owner.is_secure()) {
            self.discard(found);
        }
    }
}
