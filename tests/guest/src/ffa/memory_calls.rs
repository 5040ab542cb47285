//! The memory calls as an owner and as a borrower make them (FF-A v1.0 chapter 11).

use crate::rt::check::{Check, equal, holds};
use crate::rt::page::{PAGE_SIZE, Shared};

use super::fragment_calls::Fragments;
use super::memory_descriptor::{
    CONSTITUENT, CONSTITUENTS, Scatter, Transaction, encode_relinquish, layout,
};
use super::{Answer, V1_0, call, done, id, succeeded};

/// An endpoint that makes memory calls, with its version and its buffers.
#[derive(Clone, Copy)]
pub struct Caller {
    /// Endpoint id.
    pub id: u16,
    /// Version that the endpoint negotiated.
    pub version: u32,
    /// The buffer that the caller writes.
    pub tx: &'static Shared<PAGE_SIZE>,
    /// The buffer that the caller reads.
    pub rx: &'static Shared<PAGE_SIZE>,
}

/// Holds the contents of a retrieve response.
#[derive(Clone, Copy, Debug)]
pub struct Retrieved {
    /// Memory region attributes.
    pub attributes: u16,
    /// Transaction flags.
    pub flags: u32,
    /// Permissions of the caller.
    pub access: u8,
    /// Total number of 4 KiB pages.
    pub pages: u32,
    /// Number of ranges.
    pub ranges: u32,
    /// Start of the first range.
    pub first: u64,
    /// Start of the last range.
    pub last: u64,
}

impl Caller {
    /// Describes the transaction in TX and makes the call: a send function or
    /// `FFA_MEM_RETRIEVE_REQ`.
    pub fn send(&self, function: u32, transaction: &Transaction) -> Answer {
        let length = transaction.encode(self.version, self.tx) as u64;
        call(function, &[length, length])
    }

    /// Makes a send that must succeed, and returns the handle.
    #[track_caller]
    pub fn sent(&self, function: u32, transaction: &Transaction) -> Check<u64> {
        completed(&self.send(function, transaction))
    }

    /// Sends a list of constituents of any length, in as few fragments as TX allows.
    #[track_caller]
    pub fn sent_scattered(
        &self,
        function: u32,
        transaction: &Transaction,
        list: &Scatter,
    ) -> Check<u64> {
        let mut fragments = Fragments::new(self, transaction, list);
        let mut answer = fragments.first(function, PAGE_SIZE);
        while !fragments.is_complete() {
            let handle = fragments.wanted(&answer)?;
            answer = fragments.next(handle, PAGE_SIZE);
        }
        completed(&answer)
    }

    /// Reads the completion of a retrieve request that must have succeeded, and releases RX.
    #[track_caller]
    pub fn retrieved(&self, answer: &Answer, request: &Transaction) -> Check<Retrieved> {
        self.retrieved_each(answer, request, |_, _, _| Ok(()))
    }

    /// Like [`Self::retrieved`], but hands number, address and pages of every constituent to
    /// `each`. The response may come in fragments.
    #[track_caller]
    pub fn retrieved_each(
        &self,
        answer: &Answer,
        request: &Transaction,
        mut each: impl FnMut(u32, u64, u32) -> Check,
    ) -> Check<Retrieved> {
        if answer[0] == id::ERROR as u64 {
            equal(answer[2], 0u64)?;
        }
        equal(answer[0], id::MEM_RETRIEVE_RESP)?;
        for register in &answer[3..8] {
            equal(*register, 0u64)?;
        }
        let (total, mut length) = (answer[1] as usize, answer[2] as usize);
        // A descriptor that fits into RX comes in one piece.
        let fits = total <= PAGE_SIZE;
        holds(length == total || !fits && length < total, length as u64)?;
        holds(length <= PAGE_SIZE, length as u64)?;
        let (mut at, mut retrieved) = self.read_head(request, total)?;

        let mut offset = length;
        let (mut n, mut pages) = (0, 0);
        loop {
            while at < length {
                let (address, size) = (self.rx.u64(at), self.rx.u32(at + 8));
                holds(address.is_multiple_of(PAGE_SIZE as u64), address)?;
                equal(self.rx.u32(at + 12), 0u32)?;
                if n == 0 {
                    retrieved.first = address;
                }
                retrieved.last = address;
                each(n, address, size)?;
                pages += size;
                n += 1;
                at += CONSTITUENT;
            }
            equal(at as u64, length as u64)?;
            done(&call(id::RX_RELEASE, &[]))?;
            if offset == total {
                break;
            }
            let answer = self.frag_rx(request.handle, offset);
            length = self.fragment(&answer, request.handle)?;
            offset += length;
            holds(offset <= total, offset as u64)?;
            at = 0;
        }
        equal(n, retrieved.ranges)?;
        equal(pages, retrieved.pages)?;
        Ok(retrieved)
    }

    /// Makes `FFA_MEM_FRAG_RX` as a borrower.
    pub fn frag_rx(&self, handle: u64, offset: usize) -> Answer {
        let [low, high] = words(handle);
        call(id::MEM_FRAG_RX, &[low, high, offset as u64])
    }

    /// Checks that `answer` is `FFA_MEM_FRAG_TX` for this handle, and returns the length of the
    /// fragment in RX.
    #[track_caller]
    pub fn fragment(&self, answer: &Answer, handle: u64) -> Check<usize> {
        if answer[0] == id::ERROR as u64 {
            equal(answer[2], 0u64)?;
        }
        let [low, high] = words(handle);
        equal(answer[0], id::MEM_FRAG_TX)?;
        equal(answer[1], low)?;
        equal(answer[2], high)?;
        for register in &answer[4..8] {
            equal(*register, 0u64)?;
        }
        let length = answer[3] as usize;
        holds(length > 0 && length <= PAGE_SIZE, length as u64)?;
        Ok(length)
    }

    /// Checks every field of the descriptor in RX up to the first constituent, and returns the
    /// offset of that constituent and what the fields say. `total` is the length of the descriptor.
    #[track_caller]
    fn read_head(&self, request: &Transaction, total: usize) -> Check<(usize, Retrieved)> {
        let rx = self.rx;
        let expected = layout(self.version);
        equal(rx.u16(0), request.sender)?;
        equal(rx.u64(8), request.handle)?;
        equal(rx.u64(16), request.tag)?;
        let old = self.version == V1_0;
        if old {
            equal(rx.u16(2) >> 8, 0u16)?;
            equal(rx.u32(24), 0u32)?;
        } else {
            equal(rx.u32(24), expected.receiver_size as u32)?;
            holds(
                rx.u32(32) >= 48 && rx.u32(32).is_multiple_of(16),
                rx.u32(32),
            )?;
            equal(rx.u32(36) | rx.u32(40) | rx.u32(44), 0u32)?;
        }
        let array = if old {
            expected.receivers
        } else {
            rx.u32(32) as usize
        };
        let count = rx.u32(expected.count);
        holds(count >= 1, count)?;
        let own = array;
        // A request without receivers is the Hypervisor's, which is no borrower.
        if !request.receivers.is_empty() {
            equal(rx.u16(own), self.id)?;
        }
        let composite = rx.u32(own + 4) as usize;
        holds(
            composite >= array + expected.receiver_size * count as usize,
            composite as u64,
        )?;
        holds(composite.is_multiple_of(8), composite as u64)?;
        for offset in (8..expected.receiver_size).step_by(8) {
            equal(rx.u64(own + offset), 0u64)?;
        }

        let (pages, ranges) = (rx.u32(composite), rx.u32(composite + 4));
        equal(rx.u64(composite + 8), 0u64)?;
        let first = composite + CONSTITUENTS;
        equal(total as u64, (first + CONSTITUENT * ranges as usize) as u64)?;
        let head = Retrieved {
            attributes: rx.u16(2),
            flags: rx.u32(4),
            access: (rx.u32(own) >> 16) as u8,
            pages,
            ranges,
            first: 0,
            last: 0,
        };
        Ok((first, head))
    }

    /// Makes `FFA_MEM_RELINQUISH` for the caller alone.
    pub fn relinquish(&self, handle: u64, flags: u32) -> Answer {
        encode_relinquish(self.tx, handle, flags, &[self.id]);
        call(id::MEM_RELINQUISH, &[])
    }
}

/// Checks that `answer` completes a send, and returns the handle.
#[track_caller]
pub fn completed(answer: &Answer) -> Check<u64> {
    succeeded(answer)?;
    for register in &answer[4..8] {
        equal(*register, 0u64)?;
    }
    // A handle is two 32-bit words, whatever the width of the call.
    holds(answer[2] >> 32 == 0 && answer[3] >> 32 == 0, answer[2])?;
    let handle = answer[2] | answer[3] << 32;
    // Bit 63 marks handles of the Hypervisor, and a handle of all ones is invalid.
    equal(handle >> 63, 0u64)?;
    Ok(handle)
}

/// Returns the two registers that carry a handle.
pub const fn words(handle: u64) -> [u64; 2] {
    [handle & 0xffff_ffff, handle >> 32]
}

/// Makes `FFA_MEM_RECLAIM`.
pub fn reclaim(handle: u64, flags: u64) -> Answer {
    let [low, high] = words(handle);
    call(id::MEM_RECLAIM, &[low, high, flags])
}
