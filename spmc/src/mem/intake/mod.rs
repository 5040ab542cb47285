//! `FFA_MEM_FRAG_TX` (FF-A v1.0 section 12.2.2): the rest of a descriptor that is longer than its
//! buffer.
//!
//! A fragment names its transaction by the handle. The share holds all that the next fragment
//! needs, so any number of transactions can be under way, on any PE.
//!
//! A wrong register does no harm: the fragment can be sent again. An error in the descriptor, or in
//! the memory that it names, is the answer to the call of the first fragment and ends the
//! transaction: everything is as before that call.
//!
//! The list of ranges is kept in pages of the sender's quota. They are taken for ranges that have
//! arrived, not for those that are announced.

mod admission;
mod pieces;

pub(super) use pieces::Piece;

use admission::Crowd;

use super::answers::{asked_with, completion};
use super::channel::Channel;
use super::share::Stage;
use super::shares::Arrival;
use super::{Endpoints, Engine};
use crate::error::{FfaError, Result};
use crate::ffa::Answer;
use crate::ffa::memory_call::FragmentTx;
use crate::ffa::memory_descriptor::{CONSTITUENT, DescriptorBuffer};
use crate::hal::Hal;
use crate::mm::Pages;
use crate::partition::Endpoint;

impl<H: Hal, E: Endpoints> Engine<'_, H, E> {
    /// `FFA_MEM_FRAG_TX`: takes the next fragment of a descriptor, from the same buffer as the
    /// first one. The answer asks for more, or is the answer to the call of the first fragment.
    ///
    /// `INVALID_PARAMETERS` if the handle is not of a transaction that the caller has begun, the
    /// length is 0, more than is missing or than TX holds, or splits a constituent, or w4 does not
    /// name the owner; the fragment can be sent again then. `ABORTED` if TX does not answer or a
    /// receiver has died, and whatever a send or a retrieval may return: the transaction has ended.
    pub(crate) fn fragment_tx(
        &self,
        buffer: &mut DescriptorBuffer,
        caller: &Endpoint,
        call: &FragmentTx,
    ) -> Result<Answer> {
        loop {
            let crowded = match self.take_fragment(buffer, caller, call)? {
                Taken::Answered(answer) => return Ok(answer),
                Taken::Crowded(arrival) => arrival,
            };
            // Let the oldest of the other arriving transactions make room. The slot of this one is
            // unlocked for that, so everything is judged again.
            if !self.drop_oldest(Crowd::Endpoint(caller.id()), 0, Some(crowded)) {
                if let Some(found) = self.shares.find_arriving(crowded) {
                    self.discard(found);
                }
                return Err(FfaError::NoMemory);
            }
        }
    }

    /// Takes a fragment, or nothing of it if there is no room for its ranges. Errors as
    /// [`Self::fragment_tx`].
    fn take_fragment(
        &self,
        buffer: &mut DescriptorBuffer,
        caller: &Endpoint,
        call: &FragmentTx,
    ) -> Result<Taken> {
        let invalid = FfaError::InvalidParameters;
        let FragmentTx {
            handle,
            length,
            endpoint,
        } = *call;
        if length == 0 || !length.is_multiple_of(CONSTITUENT) {
            return Err(invalid);
        }
        let mailbox = Channel::open(caller, None);
        let mut found = self.shares.find_any(handle)?;
        let share = found.share()?;
        if endpoint != asked_with(caller, share.owner) {
            return Err(invalid);
        }
        let Stage::Arriving {
            progress,
            pages,
            buffer: through,
            age,
        } = share.stage
        else {
            return self
                .retrieve_more(found, buffer, caller, mailbox, length)
                .map(Taken::Answered);
        };
        let channel = mailbox.through(caller, through);
        channel.check_length(length)?;
        let progress = progress.after(length).ok_or(invalid)?;
        if !share.is_sent_by(caller.id()) {
            return Err(invalid);
        }

        let room = share.ranges.reserve(
            Pages::of(self.hal),
            caller.memory.lock().pool(),
            length / CONSTITUENT,
        );
        if room.is_err() {
            return found.arrival().map(Taken::Crowded).ok_or(invalid);
        }
        let recorded = self.record(&channel, buffer, &mut share.ranges, Piece::NOTHING, length);
        drop(channel);
        let outcome = recorded.and_then(|()| {
            if !progress.is_whole() {
                share.stage = Stage::Arriving {
                    progress,
                    pages,
                    buffer: through,
                    age,
                };
                return Ok(false);
            }
            let mut receivers = share.borrowers.iter();
            if !receivers.all(|borrower| self.endpoints.endpoint(borrower.id).is_some()) {
                return Err(FfaError::Aborted);
            }
            self.complete(caller, share, pages)?;
            share.tell_sent(handle);
            Ok(true)
        });
        match outcome {
            Ok(true) => {
                let answer = completion(share.stage, handle);
                found.has_arrived();
                Ok(Taken::Answered(answer))
            }
            Ok(false) => {
                let received = progress.received();
                let answer = Self::ask_for_more(caller, share.owner, handle, received);
                Ok(Taken::Answered(answer))
            }
            Err(error) => {
                self.discard(found);
                Err(error)
            }
        }
    }
}

/// The fate of a fragment: taken, or not.
enum Taken {
    /// The fragment was taken, or refused: this is the answer.
    Answered(Answer),
    /// The fragment was not taken: there is no room for its ranges.
    Crowded(Arrival),
}
