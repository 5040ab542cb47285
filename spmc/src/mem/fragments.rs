//! `FFA_MEM_FRAG_TX`, `FFA_MEM_FRAG_RX` (FF-A v1.0 section 12.2.2): descriptors that are longer
//! than a buffer.
//!
//! What a sender sends arrives with `FFA_MEM_FRAG_TX`; what a retrieval is answered with is fetched
//! with `FFA_MEM_FRAG_RX`. Both know their transaction by its handle and keep what they need in its
//! share, so any number of them can be under way, on any PE.
//!
//! A register that is wrong costs nothing: the fragment can be sent again. What is wrong with the
//! descriptor, or with the memory that it names, is the answer to the call that the first fragment
//! came with, and ends it: everything is as before that call.
//!
//! Nothing obliges a sender to go on. So it is its own pages that the list is kept in, taken for
//! what has arrived and not for what is announced; at most
//! [`MAX_ARRIVING`](crate::limits::MAX_ARRIVING) transactions of an endpoint can be half there, and
//! the oldest is given up for one too many, or for one that would otherwise find no room.

use super::channel::Channel;
use super::send::{Piece, completion};
use super::share::{Reader, Share, Stage};
use super::shares::{Arrival, Found};
use super::{Endpoints, Engine};
use crate::error::{FfaError, Result};
use crate::ffa::memory_descriptor::{
    CONSTITUENT, DescriptorBuffer, Layout, Response, write_constituents,
};
use crate::ffa::{Answer, Handle, SmcFrame, function};
use crate::hal::Hal;
use crate::id::PartitionId;
use crate::mm::{AddressSpace, Pages};
use crate::partition::Endpoint;

impl<H: Hal, E: Endpoints> Engine<'_, H, E> {
    /// `FFA_MEM_FRAG_TX`: takes the next fragment of a descriptor from where the first one was. The
    /// answer asks for more, or is that of the call that the first fragment came with.
    ///
    /// `INVALID_PARAMETERS` if the handle is not of a transaction that the caller has begun, the
    /// length is 0, more than is missing or than TX holds, or splits a constituent, w4 is not the
    /// id that was asked with, or registers are not zero that must be; the fragment can be sent
    /// again then. `ABORTED` if TX does not answer or a receiver has died, and whatever a send or a
    /// retrieval may return: the transaction has ended.
    pub(crate) fn fragment_tx(
        &self,
        buffer: &mut DescriptorBuffer,
        caller: &Endpoint,
        frame: &SmcFrame,
    ) -> Result<Answer> {
        loop {
            let crowded = match self.take_fragment(buffer, caller, frame)? {
                Taken::Answered(answer) => return Ok(answer),
                Taken::Crowded(arrival) => arrival,
            };
            // Others that are half there make room, which need not be locked for that one after the
            // other; then all is judged anew.
            if !self.drop_oldest(None, caller.id(), 0, Some(crowded)) {
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
        frame: &SmcFrame,
    ) -> Result<Taken> {
        let invalid = FfaError::InvalidParameters;
        let (handle, length) = (Handle::of_call(frame), frame.w(3) as usize);
        if length == 0 || !length.is_multiple_of(CONSTITUENT) {
            return Err(invalid);
        }
        let mailbox = Channel::open(caller, None);
        let mut found = self.shares.find_any(handle)?;
        let share = found.share()?;
        if frame.w(4) != asked_with(caller, share.owner) {
            return Err(invalid);
        }
        let Stage::Arriving {
            received,
            total,
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
        if !share.is_sent_by(caller.id()) || length > total.saturating_sub(received) {
            return Err(invalid);
        }

        let room = share.regions.reserve(
            Pages::of(self.hal),
            caller.memory.lock().pool(),
            length / CONSTITUENT,
        );
        if room.is_err() {
            return found.arrival().map(Taken::Crowded).ok_or(invalid);
        }
        let received = received.saturating_add(length);
        let recorded = self.record(&channel, buffer, &mut share.regions, Piece::NOTHING, length);
        drop(channel);
        let outcome = recorded.and_then(|()| {
            if received != total {
                share.stage = Stage::Arriving {
                    received,
                    total,
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
            Ok(true)
        });
        match outcome {
            Ok(true) => {
                let answer = completion(share.stage, handle);
                found.has_arrived();
                Ok(Taken::Answered(answer))
            }
            Ok(false) => {
                let answer = Self::ask_for_more(caller, share.owner, handle, received);
                Ok(Taken::Answered(answer))
            }
            Err(error) => {
                self.discard(found);
                Err(error)
            }
        }
    }

    /// Returns the answer that asks the sender for the next fragment.
    pub(super) fn ask_for_more(
        caller: &Endpoint,
        owner: PartitionId,
        handle: Handle,
        received: usize,
    ) -> Answer {
        let [low, high] = handle.halves();
        Answer::new([
            function::MEM_FRAG_RX as u64,
            low,
            high,
            received as u64,
            asked_with(caller, owner) as u64,
        ])
    }

    /// Ends a transaction of which fragments are missing, that could not be sent, or of which only
    /// the response was left. One that is sent stays, whoever says that it should end.
    pub(super) fn discard(&self, mut found: Found<'_>) {
        let Ok(share) = found.share() else { return };
        match share.stage {
            Stage::Arriving { .. } | Stage::Void | Stage::Given => {}
            Stage::Sent | Stage::Paused(_) => return,
        }
        if let Some(owner) = self.endpoints.estate(share.owner) {
            let mut space = owner.memory.lock();
            share.regions.release(Pages::of(self.hal), space.pool());
        }
        found.vacate();
    }

    /// The Hypervisor does not send the rest of what it began with `handle` (section 12.2.2.3, 9).
    pub(crate) fn sender_aborted(&self, handle: Handle) {
        let Ok(mut found) = self.shares.find_any(handle) else {
            return;
        };
        let is_arriving = found.arrival().is_some();
        if is_arriving && found.share().is_ok_and(|share| !share.owner.is_secure()) {
            self.discard(found);
        }
    }

    /// `FFA_MEM_FRAG_RX`: puts the next fragment of a response into the caller's RX, or the last
    /// one again. The answer is `FFA_MEM_FRAG_TX`.
    ///
    /// `INVALID_PARAMETERS` if the handle is not of a region that the caller has retrieved and not
    /// relinquished, the offset is neither where the next fragment starts nor where the last one
    /// did, all has been sent, w4 is not what it must be, or registers are not zero that must be;
    /// `BUSY` if RX is not free; `ABORTED` if it does not answer. The same call can be made again
    /// then.
    pub(crate) fn fragment_rx(
        &self,
        buffer: &mut DescriptorBuffer,
        caller: &Endpoint,
        frame: &SmcFrame,
    ) -> Result<Answer> {
        let invalid = FfaError::InvalidParameters;
        let (handle, offset) = (Handle::of_call(frame), frame.w(3) as usize);
        let mailbox = Channel::open(caller, None);
        let mut found = self.shares.find_any(handle)?;
        let share = found.share()?;
        let (reader, reading) = share.reading(caller.id(), offset).ok_or(invalid)?;
        let reading = *reading;
        let mut channel = mailbox.through(caller, reading.buffer);
        let total = total_size(share, reading.layout);
        if frame.w(4) != asked_with(caller, share.owner) || offset >= total {
            return Err(invalid);
        }
        let space = caller.memory.lock();
        let length = self.put_fragment(
            &mut channel,
            &space,
            buffer,
            reading.layout,
            share,
            None,
            offset,
        )?;
        drop(space);
        let next = offset.saturating_add(length);
        let [low, high] = handle.halves();
        let answer = Answer::new([
            function::MEM_FRAG_TX as u64,
            low,
            high,
            length as u64,
            asked_with(caller, share.owner) as u64,
        ]);
        if share.stage == Stage::Given && reader == Reader::Borrower && next == total {
            // The new owner has read all that was kept for it. The Hypervisor, who may read too,
            // ends nothing.
            self.discard(found);
        } else if let Some((_, reading)) = share.reading(caller.id(), offset) {
            reading.last = offset;
            reading.next = next;
        }
        Ok(answer)
    }

    /// Puts that part of a response into the caller's RX or buffer that starts at `offset` and
    /// fits, and passes it. Returns its length. At offset 0, and only there, `head` is the
    /// response.
    #[allow(
        clippy::too_many_arguments,
        reason = "all that a caller has at hand: its way, its memory, its copy"
    )]
    pub(super) fn put_fragment(
        &self,
        channel: &mut Channel<'_>,
        space: &AddressSpace,
        buffer: &mut DescriptorBuffer,
        layout: Layout,
        share: &Share,
        head: Option<&Response>,
        offset: usize,
    ) -> Result<usize> {
        let head_size = Response::head_size(layout);
        let first = offset.saturating_sub(head_size) / CONSTITUENT;
        let mut ranges = share.regions.iter_from(Pages::of(self.hal), first);
        let total = head.map_or_else(|| total_size(share, layout), Response::size);
        let room = channel.room(self.hal, space)?;
        let length = total.saturating_sub(offset).min(room);
        let mut start = 0;
        if let Some(head) = head {
            head.write_head(buffer)?;
            start = head_size;
        }
        let mut done = 0_usize;
        while done < length {
            let size = length.saturating_sub(done).min(buffer.len());
            let piece = buffer.get_mut(..size).unwrap_or(&mut []);
            write_constituents(piece.get_mut(start..).unwrap_or(&mut []), ranges.by_ref());
            channel.write(self.hal, space, done, piece)?;
            done = done.saturating_add(size);
            start = 0;
        }
        channel.pass()?;
        Ok(length)
    }
}

/// The fate of a fragment.
enum Taken {
    /// Its call is answered.
    Answered(Answer),
    /// Nothing was taken: there is no room for the ranges of this one.
    Crowded(Arrival),
}

/// w4 of the calls about a transaction of `owner`: whose it is, where one caller speaks for many.
fn asked_with(caller: &Endpoint, owner: PartitionId) -> u32 {
    if caller.id().is_secure() {
        0
    } else {
        (owner.0 as u32) << 16
    }
}

/// Bytes of a response in that layout.
fn total_size(share: &Share, layout: Layout) -> usize {
    Response::head_size(layout).saturating_add(share.regions.count().saturating_mul(CONSTITUENT))
}
