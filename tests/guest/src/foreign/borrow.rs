//! Retrieve requests of partitions that borrow memory of the Normal world, each with one receiver.

use crate::ffa::id;
use crate::rt::call::Regs;
use crate::rt::check::{Check, equal, fail, holds};
use crate::rt::page::{PAGE_SIZE, Shared};
use crate::sp;

use super::increment;

/// The buffers of a partition.
#[derive(Clone, Copy)]
pub struct Buffers {
    /// The buffer that the partition writes.
    pub tx: &'static Shared<PAGE_SIZE>,
    /// The buffer that the SPMC writes.
    pub rx: &'static Shared<PAGE_SIZE>,
}

/// The buffers in the images of most partitions.
pub const IMAGE: Buffers = Buffers {
    tx: &sp::TX,
    rx: &sp::RX,
};

/// A retrieve request, with the fields in which borrowers differ.
pub struct Request {
    /// The buffers for the request and the response.
    pub buffers: Buffers,
    /// `FFA_MEM_RETRIEVE_REQ`, 32 or 64 bits.
    pub function: u32,
    /// The borrower.
    pub me: u16,
    /// The owner.
    pub owner: u16,
    /// Memory region attributes.
    pub attributes: u16,
    /// Transaction flags.
    pub flags: u32,
    /// The handle.
    pub handle: u64,
    /// The tag.
    pub tag: u64,
    /// Permissions.
    pub access: u8,
    /// Size of the receiver in bytes.
    pub receiver_size: u32,
}

/// The contents of a response.
pub struct Response {
    /// Memory region attributes.
    pub attributes: u16,
    /// Transaction flags.
    pub flags: u32,
    /// Sum of the first words of all ranges, before they were incremented.
    pub sum: u64,
}

impl Request {
    /// Retrieves by `call`, and adds 1 to the first word of each range. Releases RX after each
    /// fragment.
    pub fn make(&self, call: fn(&[u64]) -> Regs) -> Check<Response> {
        let Buffers { tx, rx } = self.buffers;
        tx.fill(0);
        tx.write(0, &self.owner.to_le_bytes());
        tx.write(2, &self.attributes.to_le_bytes());
        tx.write(4, &self.flags.to_le_bytes());
        tx.write(8, &self.handle.to_le_bytes());
        tx.write(16, &self.tag.to_le_bytes());
        for (offset, number) in [(24, self.receiver_size), (28, 1), (32, 48)] {
            tx.write(offset, &number.to_le_bytes());
        }
        tx.write(48, &self.me.to_le_bytes());
        tx.write(50, &[self.access]);
        let length = u64::from(48 + self.receiver_size);
        let told = call(&[self.function.into(), length, length]);
        if told[0] == u64::from(id::ERROR) {
            return fail(told[2]);
        }
        equal(told[0], id::MEM_RETRIEVE_RESP)?;
        let [total, mut length] = [told[1] as usize, told[2] as usize];
        equal(rx.u32(24), self.receiver_size)?;
        equal(rx.u32(28), 1u32)?;
        let receiver = rx.u32(32) as usize;
        equal(rx.u16(receiver), self.me)?;
        let composite = rx.u32(receiver + 4) as usize;
        holds(composite.is_multiple_of(16), composite as u64)?;
        let ranges = rx.u32(composite + 4) as usize;
        equal(total as u64, (composite + 16 + 16 * ranges) as u64)?;
        let mut response = Response {
            attributes: rx.u16(2),
            flags: rx.u32(4),
            sum: 0,
        };
        let (mut at, mut received) = (composite + 16, length);
        loop {
            for offset in (at..length).step_by(16) {
                match increment(rx.u64(offset)) {
                    Ok(word) => response.sum += u64::from(word),
                    Err(fault) => return fail(fault.0),
                }
            }
            equal(call(&[id::RX_RELEASE.into()])[0], id::SUCCESS)?;
            if received == total {
                return Ok(response);
            }
            let [low, high] = [self.handle & 0xffff_ffff, self.handle >> 32];
            let next = call(&[id::MEM_FRAG_RX.into(), low, high, received as u64]);
            equal(next[0], id::MEM_FRAG_TX)?;
            equal(next[1] | next[2] << 32, self.handle)?;
            (at, length) = (0, next[3] as usize);
            received += length;
        }
    }
}

/// Makes `FFA_MEM_RELINQUISH`.
pub fn give_back(buffers: Buffers, call: fn(&[u64]) -> Regs, me: u16, handle: u64) -> Check {
    let tx = buffers.tx;
    tx.fill(0);
    tx.write(0, &handle.to_le_bytes());
    tx.write(12, &1_u32.to_le_bytes());
    tx.write(16, &me.to_le_bytes());
    equal(call(&[id::MEM_RELINQUISH.into()])[0], id::SUCCESS)
}
