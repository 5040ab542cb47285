//! The device's side of a split virtqueue (virtio 1.2 section 2.7).

use core::sync::atomic::{Ordering, fence};

use super::areas::{Areas, Outside};

/// The most entries that a queue can have.
pub const MAX_SIZE: u32 = 16;

const NEXT: u16 = 1 << 0;
const WRITE: u16 = 1 << 1;

/// The error that a queue contains something that no driver would write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Broken;

impl From<Outside> for Broken {
    fn from(_: Outside) -> Self {
        Self
    }
}

/// A buffer of a request.
#[derive(Clone, Copy, Default)]
pub struct Segment {
    /// Address, with the number of the area in it.
    pub address: u64,
    /// Length in bytes.
    pub length: usize,
    /// Says whether the device writes the buffer; otherwise the driver has written it.
    pub is_written: bool,
}

/// The buffers of one request.
#[derive(Default)]
pub struct Chain {
    /// Index of the first descriptor, which identifies the request.
    head: u16,
    segments: [Segment; Self::MAX],
    count: usize,
}

impl Chain {
    const MAX: usize = 8;

    /// Returns the buffers in order.
    pub fn segments(&self) -> &[Segment] {
        &self.segments[..self.count]
    }
}

/// A queue as the driver described it.
#[derive(Clone, Copy, Default)]
pub struct Ring {
    /// Number of entries: a power of two, or 0 while there is no queue.
    pub size: u32,
    /// Address of the descriptor table.
    pub descriptors: u64,
    /// Address of the ring in which the driver offers buffers.
    pub driver: u64,
    /// Address of the ring in which the device returns used buffers.
    pub device: u64,
    offered: u16,
    used: u16,
}

impl Ring {
    /// Returns a queue that starts anew, or `None` for a size that no queue can have.
    pub fn new(size: u32, descriptors: u64, driver: u64, device: u64) -> Option<Self> {
        (size.is_power_of_two() && size <= MAX_SIZE).then_some(Self {
            size,
            descriptors,
            driver,
            device,
            offered: 0,
            used: 0,
        })
    }

    /// Returns the next request, if the driver offers one.
    pub fn next(&mut self, areas: &Areas) -> Result<Option<Chain>, Broken> {
        if self.size == 0 {
            return Err(Broken);
        }
        let offered = areas.u16(self.driver.wrapping_add(2))?;
        if offered == self.offered {
            return Ok(None);
        }
        // The driver wrote the entry before the index, so the entry is read behind it.
        fence(Ordering::Acquire);
        let entry = u64::from(self.offered) % u64::from(self.size);
        let head = areas.u16(self.driver.wrapping_add(4 + 2 * entry))?;
        self.offered = self.offered.wrapping_add(1);
        self.chain(areas, head).map(Some)
    }

    fn chain(&self, areas: &Areas, head: u16) -> Result<Chain, Broken> {
        let mut chain = Chain {
            head,
            ..Chain::default()
        };
        let mut index = head;
        loop {
            let slot = chain.segments.get_mut(chain.count).ok_or(Broken)?;
            if u32::from(index) >= self.size {
                return Err(Broken);
            }
            let mut bytes = [0; 16];
            areas.read(
                self.descriptors.wrapping_add(16 * u64::from(index)),
                &mut bytes,
            )?;
            let [address @ .., _, _, _, _, _, _, _, _] = bytes;
            let [.., l0, l1, l2, l3, f0, f1, n0, n1] = bytes;
            let flags = u16::from_le_bytes([f0, f1]);
            *slot = Segment {
                address: u64::from_le_bytes(address),
                length: u32::from_le_bytes([l0, l1, l2, l3]) as usize,
                is_written: flags & WRITE != 0,
            };
            chain.count += 1;
            if flags & NEXT == 0 {
                return Ok(chain);
            }
            index = u16::from_le_bytes([n0, n1]);
        }
    }

    /// Gives a request back, with `written` bytes in its buffers.
    pub fn give_back(&mut self, areas: &Areas, chain: &Chain, written: u32) -> Result<(), Broken> {
        let entry = u64::from(self.used) % u64::from(self.size);
        let at = self.device.wrapping_add(4 + 8 * entry);
        areas.write(at, &u32::from(chain.head).to_le_bytes())?;
        areas.write(at.wrapping_add(4), &written.to_le_bytes())?;
        // The entry must be visible before the index.
        fence(Ordering::Release);
        self.used = self.used.wrapping_add(1);
        areas.write(self.device.wrapping_add(2), &self.used.to_le_bytes())?;
        Ok(())
    }
}
