//! Carries descriptors: in the RX/TX pair of the caller, or in a buffer that it allocated for this
//! one (FF-A v1.0 section 12.2.1).
//!
//! A buffer must be Normal memory that the caller owns exclusively. That is checked again for every
//! piece that is copied: the SPMC remembers no more than the address of a buffer, so no buffer
//! stays mapped.

use crate::addr::{Ipa, Pa, PageRange, World};
use crate::error::{FfaError, Result};
use crate::ffa::Version;
use crate::ffa::memory_descriptor::DescriptorBuffer;
use crate::hal::Hal;
use crate::manifest::config::Permissions;
use crate::mm::{AddressSpace, State};
use crate::partition::{Endpoint, Mailbox};
use crate::sync::MutexGuard;

/// The way to and from one caller, open for one call.
pub(super) enum Channel<'e> {
    /// TX for what the caller, which speaks that version, sends, and RX for the answer. The mailbox
    /// stays locked, because a region must not be mapped if RX has no room for its description.
    Mailbox(MutexGuard<'e, Mailbox>, Version),
    /// One buffer for both directions.
    Buffer(&'e Endpoint, PageRange<Ipa>),
}

impl<'e> Channel<'e> {
    /// Opens the channel of `caller`, through `buffer` if there is one.
    pub(super) fn open(caller: &'e Endpoint, buffer: Option<PageRange<Ipa>>) -> Self {
        match buffer {
            None => Self::Mailbox(caller.mailbox.lock(), caller.version()),
            Some(buffer) => Self::Buffer(caller, buffer),
        }
    }

    /// Returns the channel through `buffer`, if there is one, in place of the mailbox. The buffer
    /// of a fragment is known only once its transaction is locked, and the mailbox is locked before
    /// that.
    pub(super) fn through(self, caller: &'e Endpoint, buffer: Option<PageRange<Ipa>>) -> Self {
        match buffer {
            None => self,
            Some(buffer) => Self::Buffer(caller, buffer),
        }
    }

    /// Returns the buffer, if the channel goes through one.
    pub(super) fn buffer(&self) -> Option<PageRange<Ipa>> {
        match self {
            Self::Mailbox(..) => None,
            Self::Buffer(_, buffer) => Some(*buffer),
        }
    }

    /// Checks that a fragment of `length` bytes fits. `INVALID_PARAMETERS` if it does not, or if
    /// there is no TX.
    #[inline]
    pub(super) fn check_length(&self, length: usize) -> Result<()> {
        let size = match self {
            Self::Mailbox(mailbox, _) => mailbox.buffers().map_or(0, |buffers| buffers.tx.size()),
            Self::Buffer(_, buffer) => buffer.size(),
        };
        if length as u64 > size {
            return Err(FfaError::InvalidParameters);
        }
        Ok(())
    }

    /// Copies the first `length` bytes, or as many as the copy can hold. Errors as
    /// [`Self::check_length`] and [`Self::read`].
    #[inline]
    pub(super) fn read_first<'b, H: Hal>(
        &self,
        hal: &H,
        copy: &'b mut DescriptorBuffer,
        length: usize,
    ) -> Result<&'b [u8]> {
        self.check_length(length)?;
        let first = length.min(copy.len());
        let copy = copy.get_mut(..first).ok_or(FfaError::InvalidParameters)?;
        self.read(hal, 0, copy)?;
        Ok(copy)
    }

    /// Copies bytes from `offset` on. `INVALID_PARAMETERS` if the channel is shorter or the caller
    /// may not read the buffer; `ABORTED` if the memory system refuses the access.
    pub(super) fn read<H: Hal>(&self, hal: &H, offset: usize, to: &mut [u8]) -> Result<()> {
        match self {
            Self::Mailbox(mailbox, _) => mailbox.read_tx_at(hal, offset, to),
            Self::Buffer(caller, buffer) => {
                // The space is locked until all is read, so that the buffer cannot be sent to
                // others meanwhile.
                let space = caller.memory.lock();
                let world = world_of(hal, &space, *buffer, Permissions::READ)?;
                let from = at(*buffer, offset, to.len())?;
                hal.read(world, from, to).map_err(|_| FfaError::Aborted)
            }
        }
    }

    /// Returns how many bytes of an answer fit. `BUSY` if RX is full or there is none,
    /// `INVALID_PARAMETERS` if the caller may not write the buffer.
    #[inline]
    pub(super) fn room<H: Hal>(&self, hal: &H, space: &AddressSpace) -> Result<usize> {
        match self {
            Self::Mailbox(mailbox, _) => {
                mailbox.check_rx(0)?;
                let buffers = mailbox.buffers().ok_or(FfaError::Busy)?;
                Ok(buffers.rx.size() as usize)
            }
            Self::Buffer(_, buffer) => {
                world_of(hal, space, *buffer, Permissions::WRITE)?;
                Ok(buffer.size() as usize)
            }
        }
    }

    /// Writes to `offset` of RX or buffer. `space` is the caller's. Errors as [`Self::room`], and
    /// `ABORTED` if the memory system refuses the access.
    pub(super) fn write<H: Hal>(
        &self,
        hal: &H,
        space: &AddressSpace,
        offset: usize,
        from: &[u8],
    ) -> Result<()> {
        match self {
            Self::Mailbox(mailbox, _) => mailbox.write_rx_at(hal, offset, from),
            Self::Buffer(_, buffer) => {
                let world = world_of(hal, space, *buffer, Permissions::WRITE)?;
                let to = at(*buffer, offset, from.len())?;
                hal.write(world, to, from).map_err(|_| FfaError::Aborted)
            }
        }
    }

    /// Passes the `written` bytes that were written to the caller. Errors as [`Mailbox::pass_rx`].
    pub(super) fn pass<H: Hal>(&mut self, hal: &H, written: usize) -> Result<()> {
        match self {
            Self::Mailbox(mailbox, version) => mailbox.pass_rx(hal, written, *version),
            Self::Buffer(..) => Ok(()),
        }
    }
}

/// Returns the security state of `buffer`, if it is Normal memory that the caller owns exclusively,
/// with the permission `needed`.
#[inline]
fn world_of<H: Hal>(
    hal: &H,
    space: &AddressSpace,
    buffer: PageRange<Ipa>,
    needed: Permissions,
) -> Result<World> {
    space
        .inspect(hal, [buffer].into_iter())
        .filter(|(_, leaf)| {
            let attributes = leaf.attributes();
            leaf.state() == Some(State::OwnerExclusive)
                && attributes.memory.is_normal()
                && attributes.permissions.contains(needed)
        })
        .map(|(world, _)| world)
        .ok_or(FfaError::InvalidParameters)
}

fn at(buffer: PageRange<Ipa>, offset: usize, bytes: usize) -> Result<Pa> {
    let end = offset.saturating_add(bytes) as u64;
    if end > buffer.size() {
        return Err(FfaError::InvalidParameters);
    }
    Ok(Pa::new(buffer.base().raw().wrapping_add(offset as u64)))
}
