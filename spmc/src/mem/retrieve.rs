//! `FFA_MEM_RETRIEVE_REQ` (FF-A v1.0 section 11.4): a receiver asks for access to a region that was
//! sent to it. The region is mapped for the receiver and described in the response.
//!
//! [`super::grant`] judges the request. A receiver that names addresses for the region can only
//! name those that the region has; its list is compared as it arrives, in fragments if it is long.

use super::channel::Channel;
use super::grant::{describe, describe_to_hypervisor, is_unplaced, judge, retrieving};
use super::intake::Piece;
use super::range_list::Position;
use super::response::{rest_of, retrieved};
use super::share::{Access, Asking, Grant, Progress, SendKind, Stage};
use super::shares::Found;
use super::{Endpoints, Engine, refused};
use crate::error::{FfaError, Result};
use crate::ffa::memory_call::DescriptorCall;
use crate::ffa::memory_descriptor::{DescriptorBuffer, Transaction};
use crate::ffa::{Answer, Handle};
use crate::hal::Hal;
use crate::invariant::Invariant;
use crate::mm::{Change, Leaf, Pages};
use crate::partition::Endpoint;

/// The endpoints that take part in a retrieval.
#[derive(Clone, Copy)]
struct Parties<'e> {
    /// The endpoint that makes the call, and reads the response.
    caller: &'e Endpoint,
    /// The endpoint that gets the region: the caller, or a stream endpoint that the caller speaks
    /// for.
    receiver: &'e Endpoint,
}

impl<H: Hal, E: Endpoints> Engine<'_, H, E> {
    /// Validates the request in the caller's TX or buffer against the share that it names, maps the
    /// region for the caller, and describes it in the caller's RX or that buffer. The answer is
    /// `FFA_MEM_RETRIEVE_RESP`, or `FFA_MEM_FRAG_RX` if more of the request must come.
    ///
    /// `DENIED` if the sender is not the owner, the request exceeds what was granted, or the caller
    /// has the region already; `BUSY` if RX is not free; `NO_MEMORY` if the region cannot be
    /// mapped; `ABORTED` if RX does not answer; `INVALID_PARAMETERS` for everything else that is
    /// wrong with the call.
    pub(crate) fn retrieve(
        &self,
        buffer: &mut DescriptorBuffer,
        caller: &Endpoint,
        call: &DescriptorCall,
    ) -> Result<Answer> {
        let invalid = FfaError::InvalidParameters;
        let mut channel = Channel::open(caller, call.buffer);
        let bytes = channel.read_first(self.hal, buffer, call.fragment)?;
        let read = bytes.len();
        let request = Transaction::parse(bytes, caller.version())?;
        let handle = request.handle;
        let mut found = self.shares.find(handle)?;
        let share = found.share()?;
        if self.endpoints.endpoint(caller.id()).is_none() {
            // The caller died meanwhile on another PE: it would never relinquish the region.
            return Err(FfaError::Denied);
        }
        // A request without addresses has arrived in full.
        let bare = request.receivers_end() == call.total;
        if !caller.id().is_secure() {
            if !bare {
                return Err(invalid);
            }
            let response = describe_to_hypervisor(share, &request, caller)?;
            let space = caller.memory.lock();
            return self.begin_hypervisors_response(&mut channel, &space, buffer, share, &response);
        }
        if !bare && is_unplaced(&request) {
            return Err(invalid);
        }
        let receiver = retrieving(&request)
            .find_map(|id| self.spoken_for(id, caller))
            .filter(|receiver| receiver.id() == caller.id() || call.buffer.is_none())
            .ok_or(invalid)?;
        let (grant, composite_offset) =
            judge(share, &request, caller, receiver.id(), Pages::of(self.hal))?;
        let parties = Parties { caller, receiver };
        if !grant.placed {
            return if bare {
                self.map(found, handle, &grant, buffer, parties, channel)
            } else {
                Err(invalid)
            };
        }
        let composite = request.composite(composite_offset, call.total)?;
        if u64::from(composite.pages) != share.ranges.pages() {
            return Err(invalid);
        }
        let asking = Asking {
            grant,
            progress: Progress::new(0, call.total),
            buffer: call.buffer,
            compared: Position::START,
        };
        let piece = Piece {
            read,
            start: composite.start,
            end: read,
        };
        self.compare(
            found,
            handle,
            asking,
            buffer,
            parties,
            channel,
            piece,
            call.fragment,
        )
    }

    /// Takes the next `length` bytes of a request: see [`Self::fragment_tx`].
    pub(super) fn retrieve_more(
        &self,
        mut found: Found<'_>,
        buffer: &mut DescriptorBuffer,
        caller: &Endpoint,
        mailbox: Channel<'_>,
        length: usize,
    ) -> Result<Answer> {
        let invalid = FfaError::InvalidParameters;
        let handle = found.handle();
        let share = found.share()?;
        let is_sent = share.stage == Stage::Sent;
        let mut spoken_for = share
            .borrowers
            .iter_mut()
            .filter(|borrower| is_sent && borrower.is_spoken_for_by(caller.id()));
        let borrower = spoken_for
            .find(|borrower| matches!(borrower.access, Access::Asking(_)))
            .ok_or(invalid)?;
        let Access::Asking(asking) = borrower.access else {
            return Err(invalid);
        };
        let receiver = borrower.id;
        let channel = mailbox.through(caller, asking.buffer);
        channel.check_length(length)?;
        asking.progress.after(length).ok_or(invalid)?;
        // The request ends here, unless the fragment is in order.
        borrower.access = Access::None;
        if share.orphaned || self.endpoints.endpoint(caller.id()).is_none() {
            return Err(FfaError::Aborted);
        }
        let receiver = self.spoken_for(receiver, caller).ok_or(FfaError::Aborted)?;
        self.compare(
            found,
            handle,
            asking,
            buffer,
            Parties { caller, receiver },
            channel,
            Piece::NOTHING,
            length,
        )
    }

    /// Compares the constituents of one fragment with those of the share, and grants the request if
    /// it was the last one.
    #[allow(
        clippy::too_many_arguments,
        reason = "the request, its source and its progress"
    )]
    fn compare(
        &self,
        mut found: Found<'_>,
        handle: Handle,
        mut asking: Asking,
        buffer: &mut DescriptorBuffer,
        parties: Parties<'_>,
        channel: Channel<'_>,
        piece: Piece,
        length: usize,
    ) -> Result<Answer> {
        let invalid = FfaError::InvalidParameters;
        let share = found.share()?;
        let mut is_next = asking.compared.compare(&share.ranges, Pages::of(self.hal));
        self.each_piece(&channel, buffer, piece, length, |mut ranges| {
            ranges.try_for_each(|range| is_next(range?).then_some(()).ok_or(invalid))
        })?;
        drop(is_next);
        asking.progress = asking.progress.after(length).ok_or(invalid)?;
        if asking.progress.is_whole() {
            return if asking.compared.is_end(&share.ranges) {
                self.map(found, handle, &asking.grant, buffer, parties, channel)
            } else {
                Err(invalid)
            };
        }
        let Parties { caller, receiver } = parties;
        let answer = Self::ask_for_more(caller, share.owner, handle, asking.progress.received());
        if let Some(borrower) = share.borrower(receiver.id()) {
            borrower.access = Access::Asking(asking);
        }
        Ok(answer)
    }

    /// Maps the region for the receiver, and describes it to the caller.
    fn map(
        &self,
        mut found: Found<'_>,
        handle: Handle,
        grant: &Grant,
        buffer: &mut DescriptorBuffer,
        Parties { caller, receiver }: Parties<'_>,
        mut channel: Channel<'_>,
    ) -> Result<Answer> {
        let share = found.share()?;
        let response = describe(share, grant, handle, caller, receiver.id())?;
        let tell = || {
            log::debug!(
                "memory {:#x}: {} retrieves it",
                handle.bits(),
                receiver.id()
            )
        };
        if share.kind == SendKind::Donate {
            let given = self.give(found, grant, &response, buffer, receiver, &mut channel);
            return given.inspect(|_| tell());
        }
        let mut space = receiver.memory.lock();
        channel.room(self.hal, &space)?;
        let change = Change {
            from: Leaf::NONE,
            to: grant.leaf,
        };
        let ranges = share.ranges.iter(Pages::of(self.hal));
        space
            .change(self.hal, share.world, ranges.clone(), change)
            .map_err(|error| refused(error, FfaError::Denied))?;
        let begun = self.begin_response(&mut channel, &space, buffer, share, &response);
        let length = match begun {
            Ok(length) => length,
            Err(error) => {
                let undone = space.change(self.hal, share.world, ranges, change.inverse());
                Invariant::Undo.expect(undone.is_ok());
                return Err(error);
            }
        };
        if let Some(borrower) = share.borrower(receiver.id()) {
            borrower.access = Access::Mapped {
                leaf: grant.leaf,
                reading: rest_of(response.size(), response.layout, length, &channel),
            };
            borrower.has_retrieved = true;
            borrower.zero_after = grant.zero_after;
        }
        tell();
        Ok(retrieved(response.size(), length))
    }
}
