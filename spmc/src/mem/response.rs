//! Responses to retrieve requests, and `FFA_MEM_FRAG_RX` (FF-A v1.0 section 12.2.2): the reader of
//! a long response fetches it in fragments.

use super::answers::asked_with;
use super::channel::Channel;
use super::share::{Reader, Reading, Share, Stage};
use super::{Endpoints, Engine};
use crate::error::{FfaError, Result};
use crate::ffa::memory_call::FragmentRx;
use crate::ffa::memory_descriptor::{
    CONSTITUENT, DescriptorBuffer, Layout, Receiver, Response, write_constituents,
};
use crate::ffa::{Answer, function};
use crate::hal::Hal;
use crate::mm::{AddressSpace, Pages};
use crate::partition::Endpoint;

impl<H: Hal, E: Endpoints> Engine<'_, H, E> {
    /// Writes the response, or as much of it as fits, to the caller's RX or buffer. Returns how
    /// many bytes fitted.
    #[inline]
    pub(super) fn begin_response(
        &self,
        channel: &mut Channel<'_>,
        space: &AddressSpace,
        buffer: &mut DescriptorBuffer,
        share: &Share,
        response: &Response,
    ) -> Result<usize> {
        response.write_head(buffer)?;
        let shape = Shape {
            head: Response::head_size(response.layout),
            total: response.size(),
        };
        self.put_fragment(channel, space, buffer, share, shape, 0)
    }

    /// Writes the response for the Hypervisor, which lists all receivers of the share, or as much
    /// of it as fits. Returns the completion of the request.
    #[cold]
    pub(super) fn begin_hypervisors_response(
        &self,
        channel: &mut Channel<'_>,
        space: &AddressSpace,
        buffer: &mut DescriptorBuffer,
        share: &mut Share,
        response: &Response,
    ) -> Result<Answer> {
        let receivers = share.borrowers.iter().map(|borrower| Receiver {
            id: borrower.id,
            permissions: borrower.permissions.encode(),
            flags: 0,
            composite_offset: 0,
            implementation_defined: borrower.implementation_defined,
        });
        let count = share.borrowers.len();
        response.write_head_of(receivers, count, buffer)?;
        let shape = Shape::of(share, response.layout, count);
        let length = self.put_fragment(channel, space, buffer, share, shape, 0)?;
        share.hypervisor = rest_of(shape.total, response.layout, length, channel);
        Ok(retrieved(shape.total, length))
    }

    /// `FFA_MEM_FRAG_RX`: puts the next fragment of a response into the caller's RX, or the last
    /// one again. The answer is `FFA_MEM_FRAG_TX`.
    ///
    /// `INVALID_PARAMETERS` if the handle is not of a region that the caller has retrieved and not
    /// relinquished, the offset is neither where the next fragment starts nor where the last one
    /// did, all has been sent, or w4 does not name the owner; `BUSY` if RX is not free; `ABORTED`
    /// if RX does not answer. After an error the call can be repeated.
    pub(crate) fn fragment_rx(
        &self,
        buffer: &mut DescriptorBuffer,
        caller: &Endpoint,
        call: &FragmentRx,
    ) -> Result<Answer> {
        let invalid = FfaError::InvalidParameters;
        let FragmentRx {
            handle,
            offset,
            endpoint,
        } = *call;
        let mailbox = Channel::open(caller, None);
        let mut found = self.shares.find_any(handle)?;
        let share = found.share()?;
        let (reader, reading) = share.reading(caller.id(), offset).ok_or(invalid)?;
        let reading = *reading;
        let mut channel = mailbox.through(caller, reading.buffer);
        let receivers = match reader {
            Reader::Hypervisor => share.borrowers.len(),
            Reader::Borrower => 1,
        };
        let shape = Shape::of(share, reading.layout, receivers);
        let total = shape.total;
        if endpoint != asked_with(caller, share.owner) || offset >= total {
            return Err(invalid);
        }
        let space = caller.memory.lock();
        let length = self.put_fragment(&mut channel, &space, buffer, share, shape, offset)?;
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
            // The new owner has read its response to the end. A response that the Hypervisor reads
            // does not end the share.
            self.discard(found);
        } else if let Some((_, reading)) = share.reading(caller.id(), offset) {
            reading.go_on(offset, next);
        }
        Ok(answer)
    }

    /// Puts as much of a response as fits, from `offset` on, into the caller's RX or buffer, and
    /// passes it to the caller. Returns the length of that part. If `offset` is 0, the head is in
    /// `buffer` already.
    fn put_fragment(
        &self,
        channel: &mut Channel<'_>,
        space: &AddressSpace,
        buffer: &mut DescriptorBuffer,
        share: &Share,
        shape: Shape,
        offset: usize,
    ) -> Result<usize> {
        let first = offset.saturating_sub(shape.head) / CONSTITUENT;
        let mut ranges = share.ranges.iter_from(Pages::of(self.hal), first);
        let room = channel.room(self.hal, space)?;
        let length = shape.total.saturating_sub(offset).min(room);
        let mut start = if offset == 0 { shape.head } else { 0 };
        let mut done = 0_usize;
        while done < length {
            let size = length.saturating_sub(done).min(buffer.len());
            let piece = buffer.get_mut(..size).unwrap_or(&mut []);
            write_constituents(piece.get_mut(start..).unwrap_or(&mut []), ranges.by_ref());
            channel.write(self.hal, space, done, piece)?;
            done = done.saturating_add(size);
            start = 0;
        }
        channel.pass(self.hal, length)?;
        Ok(length)
    }
}

/// The lengths of a response.
#[derive(Clone, Copy)]
struct Shape {
    /// Bytes up to the constituents.
    head: usize,
    /// Bytes of all of it.
    total: usize,
}

impl Shape {
    /// Returns the lengths of a response that describes `share` in that layout, with so many
    /// receivers.
    fn of(share: &Share, layout: Layout, receivers: usize) -> Self {
        let head = Response::head_size_of(layout, receivers);
        let constituents = share.ranges.count().saturating_mul(CONSTITUENT);
        Self {
            head,
            total: head.saturating_add(constituents),
        }
    }
}

/// Returns what remains to be read of a response of `total` bytes in that layout, which began with
/// `length` bytes.
#[inline]
pub(super) fn rest_of(
    total: usize,
    layout: Layout,
    length: usize,
    channel: &Channel<'_>,
) -> Reading {
    if length < total {
        Reading::begin(length, channel.buffer(), layout)
    } else {
        Reading::default()
    }
}

/// Returns the completion of a retrieve request whose response of `total` bytes began with `length`
/// bytes.
#[inline]
pub(super) fn retrieved(total: usize, length: usize) -> Answer {
    Answer::new([
        function::MEM_RETRIEVE_RESP as u64,
        total as u64,
        length as u64,
    ])
}
