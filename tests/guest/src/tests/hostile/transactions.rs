//! Random memory transactions: right, wrong in one field, or random bytes; whole or in fragments.

use super::calls::{Attacker, remember};
use crate::ffa::memory_calls::words;
use crate::ffa::memory_descriptor::{
    CONSTITUENT, CONSTITUENTS, NORMAL_WB, Transaction, encode_relinquish, flag, layout,
};
use crate::ffa::{Answer, NWD, SP1, SP2, SP4, id};
use crate::rt::page::PAGE_SIZE;
use crate::support::sharing::receiver;

impl Attacker {
    /// Shares, lends or donates pages. If the send is accepted, returns the handle that was
    /// forgotten for the new one.
    pub fn send(&mut self) -> Option<u64> {
        let function = self.random.one_of(&[
            id::MEM_SHARE_32,
            id::MEM_SHARE_64,
            id::MEM_SHARE_64,
            id::MEM_LEND_32,
            id::MEM_LEND_64,
            id::MEM_DONATE_64,
        ]);
        // Donations are rare, since donated memory does not come back.
        let function = match function {
            id::MEM_DONATE_64 if !self.random.once_in(16) => id::MEM_SHARE_64,
            function => function,
        };
        let first = self.borrower();
        let receivers: [_; 3] = core::array::from_fn(|n| {
            let others = self.random.one_of(&[SP1, SP2, SP4]);
            receiver(
                if n == 0 { first } else { others },
                self.random.one_of(&[2, 2, 2, 1]),
            )
        });
        let several = if self.random.once_in(4) { 3 } else { 1 };
        // Mostly the list has every second page.
        let page = self.page();
        let ranges: [_; 6] = core::array::from_fn(|n| {
            let there = page + 2 * 4096 * n as u64;
            let address = if self.random.once_in(16) {
                self.page()
            } else {
                there
            };
            (address, self.random.one_of(&[1, 1, 1, 1, 1, 2]))
        });
        let is_share = matches!(function, id::MEM_SHARE_32 | id::MEM_SHARE_64);
        let attributes = match (is_share, several) {
            _ if self.random.once_in(16) => self.random.next() as u16,
            (false, 1) => 0,
            _ => NORMAL_WB,
        };
        let flags = match self.random.below(12) {
            0 => self.random.next() as u32,
            1 | 2 if !is_share => flag::ZERO,
            3 => flag::TIME_SLICE,
            _ => 0,
        };
        let transaction = Transaction {
            sender: self.me.id,
            attributes,
            flags,
            handle: 0,
            tag: if self.random.once_in(16) {
                self.word()
            } else {
                0
            },
            receivers: &receivers[..several],
            ranges: &ranges[..1 + self.random.below(6) as usize],
        };
        let total = transaction.encode(self.me.version, self.me.tx);
        self.spoil(total);
        if self.gives_itself_away(&transaction) {
            return None;
        }
        let first = if self.random.once_in(3) {
            self.random
                .one_of(&[total - 16, total - 32, total / 2, 112])
        } else {
            total
        };
        let mut answer = self.call(function, &[total as u64, first as u64]);
        let mut sent = first;
        while answer[0] as u32 == id::MEM_FRAG_RX && sent < total {
            answer = self.fragment(&answer, &mut sent, total);
        }
        if answer[0] as u32 != id::SUCCESS {
            return None;
        }
        Some(remember(&mut self.random, answer[2] | answer[3] << 32))
    }

    /// Returns whether the descriptor in TX names memory of the image that runs this.
    fn gives_itself_away(&self, transaction: &Transaction) -> bool {
        let composite = layout(self.me.version).composite(transaction.receivers.len());
        (0..transaction.ranges.len()).any(|n| {
            let at = composite + CONSTITUENTS + n * CONSTITUENT;
            self.image.contains(&self.me.tx.u64(at))
        })
    }

    /// Sends the next fragment, or another call, or nothing.
    fn fragment(&mut self, answer: &Answer, sent: &mut usize, total: usize) -> Answer {
        let mut rest = [0; 16];
        let length = rest.len().min(total - *sent);
        // TX may have been overwritten, as by a sender that changes its mind.
        self.me.tx.read(*sent, &mut rest[..length]);
        self.me.tx.write(0, &rest);
        *sent += length;
        if self.random.once_in(8) {
            *sent = total;
        }
        let [mut low, mut high] = [answer[1], answer[2]];
        if self.random.once_in(8) {
            [low, high] = words(self.handle());
        }
        let length = self.random.one_of(&[length, length, length, 32, 0, 8]);
        self.call(id::MEM_FRAG_TX, &[low, high, length as u64])
    }

    /// Returns a borrower, mostly a hostile one, since the others do not know the handle.
    fn borrower(&mut self) -> u16 {
        match self.random.below(8) {
            0 => self.id(),
            n if n < 5 => SP1,
            _ => SP2,
        }
    }

    /// Leaves the descriptor of `length` bytes in TX as it is, or changes one field or all of it.
    fn spoil(&mut self, length: usize) {
        match self.random.below(24) {
            0 => {
                for at in (0..length).step_by(8) {
                    let word = self.word();
                    self.me.tx.write(at.min(PAGE_SIZE - 8), &word.to_le_bytes());
                }
            }
            1..8 => {
                let size = self.random.one_of(&[1, 2, 4, 8]);
                let at = self.random.below((length / size) as u64) as usize * size;
                let value = self.word().to_le_bytes();
                self.me.tx.write(at, &value[..size]);
            }
            _ => {}
        }
    }

    /// Retrieves a region. Returns whether the call succeeded.
    pub fn retrieve(&mut self) -> bool {
        let handle = self.handle();
        let receivers = [receiver(self.me.id, self.random.one_of(&[2, 2, 2, 1, 0]))];
        let transaction = Transaction {
            sender: self.random.one_of(&[NWD, NWD, SP1, SP2]),
            attributes: self.random.one_of(&[NORMAL_WB, NORMAL_WB, 0]),
            flags: self
                .random
                .one_of(&[0, 0, 0, flag::SHARE, flag::ZERO_AFTER]),
            handle,
            tag: 0,
            receivers: &receivers,
            ranges: &[],
        };
        let length = transaction.encode(self.me.version, self.me.tx);
        self.spoil(length);
        let function = self
            .random
            .one_of(&[id::MEM_RETRIEVE_REQ_32, id::MEM_RETRIEVE_REQ_64]);
        let answer = self.call(function, &[length as u64, length as u64]);
        answer[0] as u32 == id::MEM_RETRIEVE_RESP
    }

    /// Relinquishes a region.
    pub fn relinquish(&mut self) -> Answer {
        let handle = self.handle();
        let flags = self.random.one_of(&[0, 0, flag::ZERO]);
        let endpoints = [self.me.id, self.id()];
        let count = if self.random.once_in(8) { 2 } else { 1 };
        encode_relinquish(self.me.tx, handle, flags, &endpoints[..count]);
        if self.random.once_in(8) {
            self.spoil(24);
        }
        self.call(id::MEM_RELINQUISH, &[])
    }

    /// Reclaims a region.
    pub fn reclaim(&mut self, handle: u64) -> Answer {
        let [low, high] = words(handle);
        let flags = self.random.one_of(&[0, 0, 0, 1, 2, 4]);
        self.call(id::MEM_RECLAIM, &[low, high, flags])
    }
}
