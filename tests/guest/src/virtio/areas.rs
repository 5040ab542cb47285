//! Shared memory as the device sees it: the areas that the device has retrieved, and accesses that
//! stay inside them.
//!
//! Shared memory can change at any time and hold anything. Each address is checked, and each access
//! is volatile.

use crate::ffa::memory_calls::Caller;
use crate::ffa::memory_descriptor::{NORMAL_WB, Receiver, Transaction, access, flag};
use crate::ffa::{self, id};
use crate::rt::page::PAGE_SIZE;
use crate::rt::stage1::{self, Attributes};

use super::AREA_SHIFT;

const MAX: usize = 4;

#[derive(Clone, Copy)]
struct Area {
    number: u16,
    handle: u64,
    base: u64,
    pages: usize,
}

/// An address outside all areas.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outside;

/// The areas of one driver.
pub struct Areas {
    caller: Caller,
    areas: [Option<Area>; MAX],
}

impl Areas {
    /// Returns an empty set of areas of the partition `caller`.
    pub const fn new(caller: Caller) -> Self {
        Self {
            caller,
            areas: [None; MAX],
        }
    }

    /// Retrieves the memory behind `handle`, which `owner` shares, as area `number`. Returns
    /// whether that worked.
    pub fn add(&mut self, owner: u16, number: u16, handle: u64, tag: u64, pages: u32) -> bool {
        let known = self
            .areas
            .iter()
            .flatten()
            .any(|area| area.number == number);
        let Some(free) = self.areas.iter_mut().find(|area| area.is_none()) else {
            return false;
        };
        if known || number > 0xff {
            return false;
        }
        let receivers = [Receiver {
            id: self.caller.id,
            access: access::RW,
            flags: 0,
        }];
        let request = Transaction {
            sender: owner,
            attributes: NORMAL_WB,
            flags: flag::SHARE,
            handle,
            tag,
            receivers: &receivers,
            ranges: &[],
        };
        let answer = self.caller.send(id::MEM_RETRIEVE_REQ_64, &request);
        let Ok(retrieved) = self.caller.retrieved(&answer, &request) else {
            return false;
        };
        if retrieved.pages != pages || retrieved.ranges != 1 {
            let _ = self.caller.relinquish(handle, 0);
            return false;
        }
        let area = Area {
            number,
            handle,
            base: retrieved.first,
            pages: pages as usize,
        };
        stage1::map_range(area.base, area.pages, Attributes::NonSecure);
        *free = Some(area);
        true
    }

    /// Relinquishes the memory of area `number`. Returns whether there was such an area.
    pub fn remove(&mut self, number: u16) -> bool {
        let mut areas = self.areas.iter_mut();
        let Some(slot) = areas.find(|area| area.is_some_and(|area| area.number == number)) else {
            return false;
        };
        let Some(area) = slot.take() else {
            return false;
        };
        for page in 0..area.pages {
            stage1::unmap(area.base + (page * PAGE_SIZE) as u64);
        }
        ffa::done(&self.caller.relinquish(area.handle, 0)).is_ok()
    }

    /// Returns the number of one of the areas, if there are any.
    pub fn any(&self) -> Option<u16> {
        self.areas.iter().flatten().next().map(|area| area.number)
    }

    /// Returns the address in memory of `length` bytes at `address`.
    fn translate(&self, address: u64, length: usize) -> Result<u64, Outside> {
        let number = (address >> AREA_SHIFT) as u16;
        let offset = address & ((1 << AREA_SHIFT) - 1);
        let mut areas = self.areas.iter().flatten();
        let area = areas.find(|area| area.number == number).ok_or(Outside)?;
        let end = offset.checked_add(length as u64).ok_or(Outside)?;
        if end > (area.pages * PAGE_SIZE) as u64 {
            return Err(Outside);
        }
        Ok(area.base + offset)
    }

    /// Copies bytes from `address` on.
    pub fn read(&self, address: u64, to: &mut [u8]) -> Result<(), Outside> {
        let from = self.translate(address, to.len())? as *const u8;
        for (n, byte) in to.iter_mut().enumerate() {
            // SAFETY: inside an area, which is mapped while it is in the list.
            *byte = unsafe { from.add(n).read_volatile() };
        }
        Ok(())
    }

    /// Copies bytes to `address`.
    pub fn write(&self, address: u64, from: &[u8]) -> Result<(), Outside> {
        let to = self.translate(address, from.len())? as *mut u8;
        for (n, byte) in from.iter().enumerate() {
            // SAFETY: as above.
            unsafe { to.add(n).write_volatile(*byte) };
        }
        Ok(())
    }

    /// Reads the 16 bits at `address`.
    pub fn u16(&self, address: u64) -> Result<u16, Outside> {
        let mut bytes = [0; 2];
        self.read(address, &mut bytes)?;
        Ok(u16::from_le_bytes(bytes))
    }
}
