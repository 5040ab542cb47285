//! Takes the constituents of one fragment, piece by piece: a fragment can be longer than the
//! scratch buffer of a PE.

use crate::error::{FfaError, Result};
use crate::ffa::memory_descriptor::{CONSTITUENT, Constituents, DescriptorBuffer, constituents};
use crate::hal::Hal;
use crate::invariant::Invariant;
use crate::mem::channel::Channel;
use crate::mem::range_list::RangeList;
use crate::mem::{Endpoints, Engine};
use crate::mm::Pages;

/// Part of a fragment that is already copied.
pub(in crate::mem) struct Piece {
    /// Bytes of the fragment that have been copied so far.
    pub(in crate::mem) read: usize,
    /// Offsets in the copy: of the next constituent, and of the end of the copied bytes.
    pub(in crate::mem) start: usize,
    pub(in crate::mem) end: usize,
}

impl Piece {
    /// Nothing is copied yet.
    pub(in crate::mem) const NOTHING: Self = Self {
        read: 0,
        start: 0,
        end: 0,
    };
}

impl<H: Hal, E: Endpoints> Engine<'_, H, E> {
    /// Records the constituents of one fragment. Errors as [`Self::each_piece`].
    pub(in crate::mem) fn record(
        &self,
        channel: &Channel<'_>,
        buffer: &mut DescriptorBuffer,
        list: &mut RangeList,
        piece: Piece,
        length: usize,
    ) -> Result<()> {
        let store = Pages::of(self.hal);
        self.each_piece(channel, buffer, piece, length, |ranges| {
            list.append(store, ranges)
        })
    }

    /// Hands on the constituents of one fragment of `length` bytes: those that are copied already,
    /// and then the rest of what the caller sends, piece by piece. `INVALID_PARAMETERS` if one is
    /// not whole, the errors of [`Channel::read`], and the errors of `take`.
    pub(in crate::mem) fn each_piece(
        &self,
        channel: &Channel<'_>,
        buffer: &mut DescriptorBuffer,
        piece: Piece,
        length: usize,
        mut take: impl FnMut(Constituents<'_>) -> Result<()>,
    ) -> Result<()> {
        let Piece {
            mut read,
            mut start,
            mut end,
        } = piece;
        loop {
            let bytes = Invariant::part(buffer.get(start..end));
            take(constituents(bytes))?;
            let rest = bytes.len() % CONSTITUENT;
            if read >= length {
                // A fragment ends where a constituent ends.
                return if rest == 0 {
                    Ok(())
                } else {
                    Err(FfaError::InvalidParameters)
                };
            }
            buffer.copy_within(end.saturating_sub(rest)..end, 0);
            let more = length
                .saturating_sub(read)
                .min(buffer.len().saturating_sub(rest));
            (start, end) = (0, rest.saturating_add(more));
            let free = buffer.get_mut(rest..end).unwrap_or(&mut []);
            channel.read(self.hal, read, free)?;
            read = read.saturating_add(more);
        }
    }
}
