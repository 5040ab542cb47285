//! Descriptors that a sender transmits in fragments (FF-A v1.0 section 12.2.2): the first fragment
//! goes with the send function, the others with `FFA_MEM_FRAG_TX`, each at the start of TX. The
//! relayer asks for each with `FFA_MEM_FRAG_RX`.

use crate::rt::check::{Check, equal};

use super::memory_calls::{Caller, words};
use super::memory_descriptor::{CONSTITUENT, Scatter, Transaction, encode_constituent};
use super::{Answer, call, id};

/// A transmission under way.
pub struct Fragments<'a> {
    caller: &'a Caller,
    transaction: &'a Transaction<'a>,
    list: &'a Scatter,
    /// Constituents sent.
    sent: u32,
    /// Bytes sent.
    offset: usize,
}

impl<'a> Fragments<'a> {
    /// Begins a transmission. The list takes the place of the transaction's ranges.
    pub fn new(caller: &'a Caller, transaction: &'a Transaction<'a>, list: &'a Scatter) -> Self {
        Self {
            caller,
            transaction,
            list,
            sent: 0,
            offset: 0,
        }
    }

    /// Returns whether the last constituent was sent.
    pub fn is_complete(&self) -> bool {
        self.sent == self.list.count
    }

    /// Returns the number of bytes that were sent.
    pub fn offset(&self) -> usize {
        self.offset
    }

    /// Sends the first fragment, of at most `limit` bytes.
    pub fn first(&mut self, function: u32, limit: usize) -> Answer {
        let (version, tx) = (self.caller.version, self.caller.tx);
        let (count, pages) = (self.list.count, self.list.total());
        let head = self.transaction.encode_head(version, count, pages, tx);
        let length = self.fill(head, limit) as u64;
        let total = (head + CONSTITUENT * count as usize) as u64;
        call(function, &[total, length])
    }

    /// Sends the next fragment, of at most `limit` bytes.
    pub fn next(&mut self, handle: u64, limit: usize) -> Answer {
        let length = self.fill(0, limit) as u64;
        let [low, high] = words(handle);
        call(id::MEM_FRAG_TX, &[low, high, length])
    }

    /// Checks that `answer` asks for the next fragment, and returns the handle.
    #[track_caller]
    pub fn wanted(&self, answer: &Answer) -> Check<u64> {
        if answer[0] == id::ERROR as u64 {
            equal(answer[2], 0u64)?;
        }
        equal(answer[0], id::MEM_FRAG_RX)?;
        equal(answer[3], self.offset as u64)?;
        // At the physical instance, the id of the OS kernel, which is 0; at the virtual one,
        // reserved.
        for register in &answer[4..8] {
            equal(*register, 0u64)?;
        }
        Ok(answer[1] | answer[2] << 32)
    }

    /// Writes constituents behind `from` bytes, up to `limit`, and returns the length of the
    /// fragment.
    fn fill(&mut self, from: usize, limit: usize) -> usize {
        let mut end = from;
        while self.sent < self.list.count && end + CONSTITUENT <= limit {
            let address = self.list.constituent(self.sent);
            encode_constituent(self.caller.tx, end, address, self.list.pages);
            self.sent += 1;
            end += CONSTITUENT;
        }
        self.offset += end;
        end
    }
}
