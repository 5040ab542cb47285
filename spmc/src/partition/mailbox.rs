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
    buffers: Option<Buffers>,
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
            buffers: None,
            rx_full: false,
        }
    }

    /// The registered pair.
    pub fn buffers(&self) -> Option<&Buffers> {
        self.buffers.as_ref()
    }

    /// Registers a pair; RX starts empty. `DENIED` if there is one already.
    pub fn map(&mut self, buffers: Buffers) -> Result<()> {
        if self.buffers.is_some() {
            return Err(FfaError::Denied);
        }
        self.buffers = Some(buffers);
        self.rx_full = false;
        Ok(())
    }

    /// Gives the pair back. `INVALID_PARAMETERS` if there is none.
    pub fn unmap(&mut self) -> Result<Buffers> {
        self.rx_full = false;
        self.buffers.take().ok_or(FfaError::InvalidParameters)
    }

    /// Copies the first bytes of TX into `to`. `INVALID_PARAMETERS` without a pair or if TX is shorter, `ABORTED` if
    /// the memory system refuses the access.
    pub fn read_tx<H: Hal>(&self, hal: &H, to: &mut [u8]) -> Result<()> {
        let buffers = self.buffers.as_ref().ok_or(FfaError::InvalidParameters)?;
        if to.len() as u64 > buffers.tx.size() {
            return Err(FfaError::InvalidParameters);
        }
        hal.read(buffers.world, buffers.tx.base(), to)
            .map_err(|_| FfaError::Aborted)
    }

    /// Whether `bytes` can be put into RX now: `BUSY` if RX is full or there is none, `NO_MEMORY` if it is too short.
    pub fn check_rx(&self, bytes: usize) -> Result<()> {
        let buffers = self.buffers.as_ref().ok_or(FfaError::Busy)?;
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
        self.check_rx(from.len())?;
        let buffers = self.buffers.as_ref().ok_or(FfaError::Busy)?;
        hal.write(buffers.world, buffers.rx.base(), from)
            .map_err(|_| FfaError::Aborted)?;
        self.rx_full = true;
        Ok(())
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
