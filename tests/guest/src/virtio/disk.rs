//! The device: a small disk in the memory of the partition (virtio 1.2 section 5.2), with one
//! queue.

use crate::rt::page::Shared;

use super::areas::Areas;
use super::ring::{Broken, Chain, Ring, Segment};

/// Device id of a block device.
pub const DEVICE_ID: u32 = 2;
/// VIRTIO_F_VERSION_1.
pub const VERSION_1: u64 = 1 << 32;
/// VIRTIO_BLK_F_FLUSH.
pub const FLUSH: u64 = 1 << 9;

/// Bytes of a sector.
pub const SECTOR: usize = 512;
const SECTORS: usize = 64;
/// Size of the device configuration. The number of sectors comes first; the rest reads as zero.
pub const CONFIG_SIZE: u32 = 60;

/// Bits of the device status.
#[allow(missing_docs)]
pub mod status {
    pub const FEATURES_OK: u32 = 8;
    pub const DRIVER_OK: u32 = 4;
    pub const NEEDS_RESET: u32 = 64;
}

const READ: u32 = 0;
const WRITE: u32 = 1;
const FLUSH_REQUEST: u32 = 4;

const OK: u8 = 0;
const IO_ERROR: u8 = 1;
const UNSUPPORTED: u8 = 2;

static SECTOR_DATA: Shared<{ SECTORS * SECTOR }> = Shared::new();

/// The state of the disk that the driver sets up.
#[derive(Default)]
pub struct Disk {
    /// Device status.
    pub status: u32,
    /// Features that the driver accepted.
    pub features: u64,
    /// The queue.
    pub ring: Ring,
}

impl Disk {
    /// Sets the status. Zero resets the device; features that were not offered are not accepted.
    pub fn set_status(&mut self, value: u32) {
        if value == 0 {
            *self = Self::default();
            return;
        }
        self.status = value;
        if self.features & VERSION_1 == 0 || self.features & !(VERSION_1 | FLUSH) != 0 {
            self.status &= !status::FEATURES_OK;
        }
    }

    /// Returns one byte of the configuration.
    pub fn config(offset: usize) -> u8 {
        let capacity = (SECTORS as u64).to_le_bytes();
        capacity.get(offset).copied().unwrap_or(0)
    }

    /// Processes all requests that the driver offers, and returns whether any buffer was used. A
    /// malformed queue stops the device until it is reset.
    pub fn process(&mut self, areas: &Areas) -> bool {
        if self.status & status::DRIVER_OK == 0 || self.status & status::NEEDS_RESET != 0 {
            return false;
        }
        let mut used = false;
        // A driver can offer no more than the queue holds.
        for _ in 0..self.ring.size {
            match self.process_one(areas) {
                Ok(true) => used = true,
                Ok(false) => return used,
                Err(Broken) => {
                    self.status |= status::NEEDS_RESET;
                    return used;
                }
            }
        }
        used
    }

    fn process_one(&mut self, areas: &Areas) -> Result<bool, Broken> {
        let Some(chain) = self.ring.next(areas)? else {
            return Ok(false);
        };
        let written = serve(areas, &chain)?;
        self.ring.give_back(areas, &chain, written)?;
        Ok(true)
    }
}

/// Serves a request of header, data and status byte, and returns the number of bytes written.
fn serve(areas: &Areas, chain: &Chain) -> Result<u32, Broken> {
    let [header, data @ .., last] = chain.segments() else {
        return Err(Broken);
    };
    if header.is_written || header.length < 16 || !last.is_written || last.length == 0 {
        return Err(Broken);
    }
    let mut bytes = [0; 16];
    areas.read(header.address, &mut bytes)?;
    let [k0, k1, k2, k3, _, _, _, _, sector @ ..] = bytes;
    let (kind, sector) = (
        u32::from_le_bytes([k0, k1, k2, k3]),
        u64::from_le_bytes(sector),
    );
    let mut written = 0;
    let outcome = match kind {
        READ | WRITE => transfer(areas, kind == READ, sector, data, &mut written)?,
        FLUSH_REQUEST => OK,
        _ => UNSUPPORTED,
    };
    areas.write(last.address, &[outcome])?;
    Ok(written + 1)
}

fn transfer(
    areas: &Areas,
    is_read: bool,
    sector: u64,
    data: &[Segment],
    written: &mut u32,
) -> Result<u8, Broken> {
    let mut at = (sector as usize).saturating_mul(SECTOR);
    for segment in data {
        let end = at.saturating_add(segment.length);
        if segment.is_written != is_read || !segment.length.is_multiple_of(SECTOR) {
            return Err(Broken);
        }
        if end > SECTORS * SECTOR {
            return Ok(IO_ERROR);
        }
        let mut copy = [0; SECTOR];
        for offset in (0..segment.length).step_by(SECTOR) {
            let address = segment.address.wrapping_add(offset as u64);
            if is_read {
                SECTOR_DATA.read(at + offset, &mut copy);
                areas.write(address, &copy)?;
                *written += SECTOR as u32;
            } else {
                areas.read(address, &mut copy)?;
                SECTOR_DATA.write(at + offset, &copy);
            }
        }
        at = end;
    }
    Ok(OK)
}
