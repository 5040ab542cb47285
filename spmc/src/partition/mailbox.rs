//! The RX/TX pair of one endpoint and who owns RX (FF-A v1.0 section 4.2.2).
//!
//! TX belongs to the endpoint except while the SPMC copies from it, with the mailbox locked and
//! within one call. So only RX has a recorded owner, which changes through one pure function,
//! [`rx_step`].

use crate::addr::{Pa, PageRange, World};
use crate::error::{FfaError, Result};
use crate::ffa::Version;
use crate::hal::Hal;

/// The registered buffers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Buffers {
    /// The endpoint writes, the SPMC reads.
    pub tx: PageRange<Pa>,
    /// The SPMC writes, the endpoint reads.
    pub rx: PageRange<Pa>,
    /// The IPA space that both lie in.
    pub world: World,
}

/// Who owns RX.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rx {
    /// There are no buffers.
    Unmapped,
    /// The SPMC: it may write.
    Empty,
    /// The endpoint: it may read.
    Full,
    /// The Hypervisor, which is about to write to the buffer of one of its VMs.
    Acquired,
}

/// Events of RX.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RxEvent {
    /// A pair is registered.
    Map,
    /// The pair is given back.
    Unmap,
    /// The SPMC writes and passes RX on.
    Fill,
    /// The endpoint, or the Hypervisor on its behalf, passes RX back.
    Release,
    /// The Hypervisor wants to write (`FFA_RX_ACQUIRE`).
    Acquire,
}

/// Returns the state after `event`, or the error for the cause of the event; then nothing changes.
#[inline]
pub const fn rx_step(rx: Rx, event: RxEvent) -> Result<Rx> {
    use FfaError::{Busy, Denied, InvalidParameters};
    Ok(match (rx, event) {
        (Rx::Unmapped, RxEvent::Map) => Rx::Empty,
        (Rx::Unmapped, RxEvent::Unmap | RxEvent::Acquire) => return Err(InvalidParameters),
        (_, RxEvent::Unmap) => Rx::Unmapped,
        (Rx::Empty, RxEvent::Fill) => Rx::Full,
        (_, RxEvent::Fill) => return Err(Busy),
        (Rx::Full | Rx::Acquired, RxEvent::Release) => Rx::Empty,
        (Rx::Empty, RxEvent::Acquire) => Rx::Acquired,
        _ => return Err(Denied),
    })
}

/// One endpoint's mailbox.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mailbox {
    tx: u64,
    rx: u64,
    pages: u64,
    secure: bool,
    state: Rx,
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
            tx: 0,
            rx: 0,
            pages: 0,
            secure: false,
            state: Rx::Unmapped,
        }
    }

    /// The registered pair.
    #[inline]
    pub fn buffers(&self) -> Option<Buffers> {
        if self.state == Rx::Unmapped {
            return None;
        }
        Some(Buffers {
            tx: PageRange::again(Pa::new(self.tx), self.pages),
            rx: PageRange::again(Pa::new(self.rx), self.pages),
            world: if self.secure {
                World::Secure
            } else {
                World::NonSecure
            },
        })
    }

    /// Registers a pair of equal sizes; RX starts empty. `DENIED` if there is one already.
    pub fn map(&mut self, buffers: Buffers) -> Result<()> {
        *self = Self {
            state: rx_step(self.state, RxEvent::Map)?,
            tx: buffers.tx.base().raw(),
            rx: buffers.rx.base().raw(),
            pages: buffers.tx.pages().min(buffers.rx.pages()),
            secure: buffers.world == World::Secure,
        };
        Ok(())
    }

    /// Removes the pair and returns it. `INVALID_PARAMETERS` if there is none.
    pub fn unmap(&mut self) -> Result<Buffers> {
        rx_step(self.state, RxEvent::Unmap)?;
        let buffers = self.buffers().ok_or(FfaError::InvalidParameters)?;
        *self = Self::new();
        Ok(buffers)
    }

    /// Copies the first bytes of TX into `to`. Errors as [`Self::read_tx_at`].
    pub fn read_tx<H: Hal>(&self, hal: &H, to: &mut [u8]) -> Result<()> {
        self.read_tx_at(hal, 0, to)
    }

    /// Copies the bytes of TX from `offset` on into `to`. Errors as [`Self::read_tx`].
    #[inline]
    pub fn read_tx_at<H: Hal>(&self, hal: &H, offset: usize, to: &mut [u8]) -> Result<()> {
        let buffers = self.buffers().ok_or(FfaError::InvalidParameters)?;
        let from = part(buffers.tx, offset, to.len()).ok_or(FfaError::InvalidParameters)?;
        hal.read(buffers.world, from, to)
            .map_err(|_| FfaError::Aborted)
    }

    /// Checks that `bytes` can be put into RX now: `BUSY` if RX is not the SPMC's or there is none,
    /// `NO_MEMORY` if it is too short.
    #[inline]
    pub fn check_rx(&self, bytes: usize) -> Result<()> {
        rx_step(self.state, RxEvent::Fill)?;
        let buffers = self.buffers().ok_or(FfaError::Busy)?;
        if bytes as u64 > buffers.rx.size() {
            return Err(FfaError::NoMemory);
        }
        Ok(())
    }

    /// Writes `from` to the start of RX and passes RX to the endpoint, which speaks `version`.
    /// Errors as [`Self::check_rx`], and `ABORTED` if the memory system refuses the access; RX
    /// stays empty then.
    pub fn fill_rx<H: Hal>(&mut self, hal: &H, from: &[u8], version: Version) -> Result<()> {
        self.write_rx_at(hal, 0, from)?;
        self.pass_rx(hal, from.len(), version)
    }

    /// Writes `from` to RX, which stays the SPMC's. Errors as [`Self::fill_rx`].
    pub fn write_rx_at<H: Hal>(&self, hal: &H, offset: usize, from: &[u8]) -> Result<()> {
        rx_step(self.state, RxEvent::Fill)?;
        let buffers = self.buffers().ok_or(FfaError::Busy)?;
        let to = part(buffers.rx, offset, from.len()).ok_or(FfaError::NoMemory)?;
        hal.write(buffers.world, to, from)
            .map_err(|_| FfaError::Aborted)
    }

    /// Passes RX, whose first `written` bytes were written before, to the endpoint, which speaks
    /// `version`. From 1.3 on the rest of RX is zeroed first. `BUSY` if RX was not the SPMC's,
    /// `ABORTED` if the memory system refuses the access.
    #[inline]
    pub fn pass_rx<H: Hal>(&mut self, hal: &H, written: usize, version: Version) -> Result<()> {
        if version >= Version::V1_3 {
            self.zero_tail(hal, written)?;
        }
        self.happens(RxEvent::Fill)
    }

    #[cold]
    #[inline(never)]
    fn zero_tail<H: Hal>(&self, hal: &H, written: usize) -> Result<()> {
        let buffers = self.buffers().ok_or(FfaError::Busy)?;
        let size = buffers.rx.size() as usize;
        let mut done = written;
        while done < size {
            let piece = size.saturating_sub(done).min(ZEROES.len());
            self.write_rx_at(hal, done, ZEROES.get(..piece).unwrap_or(&ZEROES))?;
            done = done.saturating_add(piece);
        }
        Ok(())
    }

    /// Passes RX back to the SPMC (`FFA_RX_RELEASE`). `DENIED` if nobody else owns it.
    pub fn release_rx(&mut self) -> Result<()> {
        self.happens(RxEvent::Release)
    }

    /// Returns whether RX belongs to the endpoint or the Hypervisor, which could pass it back.
    pub fn can_release_rx(&self) -> bool {
        rx_step(self.state, RxEvent::Release).is_ok()
    }

    /// Passes RX of a VM to the Hypervisor (`FFA_RX_ACQUIRE`). `INVALID_PARAMETERS` without a pair,
    /// `DENIED` if RX is not the SPMC's.
    pub fn acquire_rx(&mut self) -> Result<()> {
        self.happens(RxEvent::Acquire)
    }

    fn happens(&mut self, event: RxEvent) -> Result<()> {
        self.state = rx_step(self.state, event)?;
        Ok(())
    }
}

/// Written to RX behind what the SPMC has to say.
static ZEROES: [u8; 256] = [0; 256];

/// Returns the address of the `bytes` bytes at `offset` of `buffer`; `None` unless they all lie in
/// it.
fn part(buffer: PageRange<Pa>, offset: usize, bytes: usize) -> Option<Pa> {
    let end = offset.checked_add(bytes)?;
    (end as u64 <= buffer.size()).then(|| Pa::new(buffer.base().raw().wrapping_add(offset as u64)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use FfaError::{Busy, Denied, InvalidParameters};

    fn buffers() -> Buffers {
        let page = |base| PageRange::new(Pa::new(base), 1).unwrap();
        Buffers {
            tx: page(0x1000),
            rx: page(0x2000),
            world: World::NonSecure,
        }
    }

    // req: RXTX-11, RXTX-14, RXTX-15, RXTX-21, RXTX-26, RXTX-30
    #[test]
    fn every_owner_and_event() {
        let (unmapped, empty, full, acquired) = (
            Ok(Rx::Unmapped),
            Ok(Rx::Empty),
            Ok(Rx::Full),
            Ok(Rx::Acquired),
        );
        let expected = [
            // The columns are Map, Unmap, Fill, Release and Acquire.
            (
                Rx::Unmapped,
                [
                    empty,
                    Err(InvalidParameters),
                    Err(Busy),
                    Err(Denied),
                    Err(InvalidParameters),
                ],
            ),
            (
                Rx::Empty,
                [Err(Denied), unmapped, full, Err(Denied), acquired],
            ),
            (
                Rx::Full,
                [Err(Denied), unmapped, Err(Busy), empty, Err(Denied)],
            ),
            (
                Rx::Acquired,
                [Err(Denied), unmapped, Err(Busy), empty, Err(Denied)],
            ),
        ];
        for (rx, row) in expected {
            let events = [
                RxEvent::Map,
                RxEvent::Unmap,
                RxEvent::Fill,
                RxEvent::Release,
                RxEvent::Acquire,
            ];
            assert_eq!(events.map(|event| rx_step(rx, event)), row, "{rx:?}");
        }
    }

    // req: RXTX-21, RXTX-26, RXTX-27
    #[test]
    fn one_pair_at_a_time() {
        let mut mailbox = Mailbox::new();
        assert_eq!(mailbox.unmap(), Err(InvalidParameters));
        mailbox.map(buffers()).unwrap();
        assert_eq!(mailbox.buffers(), Some(buffers()));
        assert_eq!(mailbox.map(buffers()), Err(Denied));
        assert_eq!(mailbox.unmap(), Ok(buffers()));
        mailbox.map(buffers()).unwrap();
    }

    // req: RXTX-15, RXTX-30, PINFO-09, PINFO-11
    #[test]
    fn rx_needs_a_pair_that_is_empty_and_long_enough() {
        let mut mailbox = Mailbox::new();
        assert_eq!(mailbox.check_rx(8), Err(Busy));
        mailbox.map(buffers()).unwrap();
        assert_eq!(mailbox.check_rx(4097), Err(FfaError::NoMemory));
        assert_eq!(mailbox.check_rx(4096), Ok(()));
        mailbox.happens(RxEvent::Fill).unwrap();
        assert_eq!(mailbox.check_rx(8), Err(Busy));
        mailbox.release_rx().unwrap();
        assert_eq!(mailbox.check_rx(8), Ok(()));
    }

    #[test]
    fn parts_lie_in_the_buffer() {
        let buffer = buffers().tx;
        assert_eq!(part(buffer, 0, 4096), Some(Pa::new(0x1000)));
        assert_eq!(part(buffer, 4096, 0), Some(Pa::new(0x2000)));
        assert_eq!(part(buffer, 1, 4096), None);
        assert_eq!(part(buffer, usize::MAX, 1), None);
    }
}
