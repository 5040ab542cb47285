//! Responses to retrieve requests, and `FFA_MEM_FRAG_RX` (FF-A v1.0 section 12.2.2): the reader of
//! a long response fetches it in fragments.

use super::answers::asked_with;
use super::channel::Channel;
use super::share::{Reader, Reading, Share, Stage};
use super::{Endpoints, Engine};
use crate::error::{FfaError, Result};
use crate::ffa::memory_call::FragmentRx;
use crate::ffa::memory_descriptor::{
    CONSTITUENT, DescriptorBuffer, Layout, Response, write_constituents,
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
        let layout = response.layout;
        self.put_fragment(channel, space, buffer, layout, share, Some(response), 0)
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
        let total = total_size(share, reading.layout);
        if endpoint != asked_with(caller, share.owner) || offset >= total {
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
            // The new owner has read its response to the end. A response that the Hypervisor reads
            // does not end the share.
            self.discard(found);
        } else if let Some((_, reading)) = share.reading(caller.id(), offset) {
            reading.go_on(offset, next);
        }
        Ok(answer)
    }

    /// Puts as much of a response as fits, from `offset` on, into the caller's RX or buffer, and
    /// passes it to the caller. Returns the length of that part. `head` is the response if `offset`
    /// is 0, and `None` otherwise.
    #[allow(
        clippy::too_many_arguments,
        reason = "the caller's buffers, memory and copy of the response"
    )]
    fn put_fragment(
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
        let mut ranges = share.ranges.iter_from(Pages::of(self.hal), first);
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
        channel.pass(self.hal, length)?;
        Ok(length)
    }
}

/// Returns what remains to be read of a response that began with `length` bytes.
#[inline]
pub(super) fn rest_of(response: &Response, length: usize, channel: &Channel<'_>) -> Reading {
    if length < response.size() {
        Reading::begin(length, channel.buffer(), response.layout)
    } else {
        Reading::default()
    }
}

/// Returns the completion of a retrieve request whose response began with `length` bytes.
#[inline]
pub(super) fn retrieved(response: &Response, length: usize) -> Answer {
    let total = response.size();
    Answer::new([
        function::MEM_RETRIEVE_RESP as u64,
        total as u64,
        length as u64,
    ])
}

/// Returns the length of a response in that layout.
fn total_size(share: &Share, layout: Layout) -> usize {
    Response::head_size(layout).saturating_add(share.ranges.count().saturating_mul(CONSTITUENT))
}
