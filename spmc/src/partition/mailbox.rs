//! The RX/TX pair of one endpoint and who owns RX (FF-A v1.0 section 4.2.2).
//!
//! TX belongs to the endpoint except while the SPMC copies from it, which happens under the mailbox lock and within one call; so
//! only RX has a recorded owner.

use crate::addr::{Pa, PageRange, World};
use crate::error::{FfaError, Result};
use crate::hal::Hal;

/// The registered buffers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Buffers {
    /// The endpoint writes, the SPMC reads.
    pub tx: PageRange<Pa>,
    /// The SPMC writes, the endpoint reads.
    pub rx: PageRange<Pa>,
    /// Where both lie.
    pub world: World,
}

/// One endpoint's mailbox.
#[derive(Debug)]
pub struct Mailbox {
    /// `None` is written as zeros, unlike `Option<Buffers>`: the endpoint table takes no room in the image.
    mapped: bool,
    tx: u64,
    rx: u64,
    pages: u64,
    secure: bool,
    rx_full: bool,
}

impl Default for Mailbox {
    fn default() -> Self {
        Self::new()
    }
}

impl Mailbox {
    /// No buffers.
    pub const fn new() -> Self {
        Self {
            mapped: false,
            tx: 0,
            rx: 0,
            pages: 0,
            secure: false,
            rx_full: false,
        }
    }

    /// The registered pair.
    pub fn buffers(&self) -> Option<Buffers> {
        if !self.mapped {
            return None;
        }
        Some(Buffers {
            tx: PageRange::new(Pa::new(self.tx), self.pages)?,
            rx: PageRange::new(Pa::new(self.rx), self.pages)?,
            world: if self.secure {
                World::Secure
            } else {
                World::NonSecure
            },
        })
    }

    /// Registers a pair of equal sizes; RX starts empty. `DENIED` if there is one already.
    pub fn map(&mut self, buffers: Buffers) -> Result<()> {
        if self.mapped {
            return Err(FfaError::Denied);
        }
        *self = Self {
            mapped: true,
            tx: buffers.tx.base().raw(),
            rx: buffers.rx.base().raw(),
            pages: buffers.tx.pages().min(buffers.rx.pages()),
            secure: buffers.world == World::Secure,
            rx_full: false,
        };
        Ok(())
    }

    /// Gives the pair back. `INVALID_PARAMETERS` if there is none.
    pub fn unmap(&mut self) -> Result<Buffers> {
        let buffers = self.buffers().ok_or(FfaError::InvalidParameters)?;
        *self = Self::new();
        Ok(buffers)
    }

    /// Copies the first bytes of TX into `to`. Errors as [`Self::read_tx_at`].
    pub fn read_tx<H: Hal>(&self, hal: &H, to: &mut [u8]) -> Result<()> {
        self.read_tx_at(hal, 0, to)
    }

    /// Copies bytes of TX from `offset` on into `to`. `INVALID_PARAMETERS` without a pair or if TX is shorter, `ABORTED` if
    /// the memory system refuses the access.
    pub fn read_tx_at<H: Hal>(&self, hal: &H, offset: usize, to: &mut [u8]) -> Result<()> {
        let buffers = self.buffers().ok_or(FfaError::InvalidParameters)?;
        let from = within(buffers.tx, offset, to.len()).ok_or(FfaError::InvalidParameters)?;
        hal.read(buffers.world, from, to)
            .map_err(|_| FfaError::Aborted)
    }

    /// Whether `bytes` can be put into RX now: `BUSY` if RX is full or there is none, `NO_MEMORY` if it is too short.
    pub fn check_rx(&self, bytes: usize) -> Result<()> {
        let buffers = self.buffers().ok_or(FfaError::Busy)?;
        if self.rx_full {
            return Err(FfaError::Busy);
        }
        if bytes as u64 > buffers.rx.size() {
            return Err(FfaError::NoMemory);
        }
        Ok(())
    }

    /// Writes `from` to the start of RX and passes RX to the endpoint. Errors as [`Self::check_rx`], and `ABORTED` if the memory system
    /// refuses the access; RX stays empty then.
    pub fn fill_rx<H: Hal>(&mut self, hal: &H, from: &[u8]) -> Result<()> {
        self.write_rx_at(hal, 0, from)?;
        self.pass_rx();
        Ok(())
    }

    /// Writes `from` to RX at `offset`, for an answer that is put together piece by piece and then [passed](Self::pass_rx). Errors as
    /// [`Self::fill_rx`].
    pub fn write_rx_at<H: Hal>(&self, hal: &H, offset: usize, from: &[u8]) -> Result<()> {
        self.check_rx(offset.saturating_add(from.len()))?;
        let buffers = self.buffers().ok_or(FfaError::Busy)?;
        let to = within(buffers.rx, offset, from.len()).ok_or(FfaError::NoMemory)?;
        hal.write(buffers.world, to, from)
            .map_err(|_| FfaError::Aborted)
    }

    /// Passes RX to the endpoint.
    pub fn pass_rx(&mut self) {
        self.rx_full = true;
    }

    /// Passes RX back to the SPMC (`FFA_RX_RELEASE`). `DENIED` if the endpoint does not own it.
    pub fn release_rx(&mut self) -> Result<()> {
        if !self.rx_full {
            return Err(FfaError::Denied);
        }
        self.rx_full = false;
        Ok(())
    }
}

/// Where in `buffer` the bytes at `offset` start; `None` if there are not so many.
fn within(buffer: PageRange<Pa>, offset: usize, bytes: usize) -> Option<Pa> {
    let end = offset.checked_add(bytes)?;
    (end as u64 <= buffer.size()).then(|| Pa::new(buffer.base().raw().wrapping_add(offset as u64)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn buffers() -> Buffers {
        let page = |base| PageRange::new(Pa::new(base), 1).unwrap();
        Buffers {
            tx: page(0x1000),
            rx: page(0x2000),
            world: World::NonSecure,
        }
    }

    // req: RXTX-21, RXTX-26, RXTX-27
    #[test]
    fn one_pair_at_a_time() {
        let mut mailbox = Mailbox::new();
        assert_eq!(mailbox.unmap(), Err(FfaError::InvalidParameters));
        mailbox.map(buffers()).unwrap();
        assert_eq!(mailbox.buffers(), Some(buffers()));
        assert_eq!(mailbox.map(buffers()), Err(FfaError::Denied));
        assert_eq!(mailbox.unmap(), Ok(buffers()));
        mailbox.map(buffers()).unwrap();
    }

    // req: RXTX-15, RXTX-30, PINFO-09, PINFO-11
    #[test]
    fn rx_needs_a_pair_that_is_empty_and_long_enough() {
        let mut mailbox = Mailbox::new();
        assert_eq!(mailbox.check_rx(8), Err(FfaError::Busy));
        assert_eq!(mailbox.release_rx(), Err(FfaError::Denied));
        mailbox.map(buffers()).unwrap();
        assert_eq!(mailbox.check_rx(4097), Err(FfaError::NoMemory));
        assert_eq!(mailbox.check_rx(4096), Ok(()));
        assert_eq!(mailbox.release_rx(), Err(FfaError::Denied));
    }
}
