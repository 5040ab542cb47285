//! Calls about transactions that are not there: they ended, they never were, or they are not sent
//! yet. All are refused.

use super::lifecycle::request_for;
use super::pages::{Borrower, Kind, Sent};
use super::{Expect, Model, NWD, PARTITIONS};
use crate::ffa::*;

/// Bit 0 of the part of a handle that tells those apart which the same slot has had.
const GENERATION: u64 = 1 << 16;

/// Slots that no engine has.
const NO_SLOT: u64 = GENERATION | 0xfffe;

/// A handle that the caller has no use of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Named {
    /// The handle that the slot of this live transaction had before. Transactions are named by
    /// their first page.
    Before(u64),
    /// The handle that the slot of this live transaction will have next.
    After(u64),
    /// The handle of the transaction that ended last, be it in a former life of its owner.
    Ended,
    /// A handle that no transaction ever has.
    Nobody,
    /// A half-sent transaction, by its place.
    Half(usize),
    /// A live transaction, about which nobody asks for fragments.
    Live(u64),
}

/// A call that names a transaction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Asked {
    /// MEM_RETRIEVE_REQ.
    Retrieve,
    /// MEM_RELINQUISH.
    Relinquish,
    /// MEM_RECLAIM.
    Reclaim,
    /// MEM_FRAG_TX.
    Transmit,
    /// MEM_FRAG_RX.
    Receive,
}

use Asked::{Receive, Reclaim, Relinquish, Retrieve, Transmit};

impl Model {
    /// All such calls that `by` can make.
    pub(super) fn stale_calls(&self, by: u16) -> Vec<(Asked, Named)> {
        let all = [Retrieve, Relinquish, Reclaim, Transmit, Receive];
        let mut calls = Vec::new();
        let mut add = |named, asked: &[Asked]| {
            calls.extend(asked.iter().map(|asked| (*asked, named)));
        };
        add(Named::Ended, &all);
        add(Named::Nobody, &all);
        for sent in self.sent.iter().filter(|sent| sent.live) {
            add(Named::Before(sent.pages[0]), &all);
            add(Named::After(sent.pages[0]), &all);
            add(Named::Live(sent.pages[0]), &[Transmit, Receive]);
        }
        for (place, half) in self.halves.iter().enumerate() {
            let asked = [Retrieve, Relinquish, Reclaim, Receive, Transmit];
            // Whoever sends it may go on.
            let count = if half.by == by { 4 } else { 5 };
            add(Named::Half(place), &asked[..count]);
        }
        calls
    }

    /// `by` makes such a call, and is refused: for the handle, if no transaction has it.
    pub(super) fn stale_one(&mut self, by: u16, asked: Asked, named: Named) {
        let (sent, has_one) = self.named(by, named);
        let handle = sent.handle;
        let (low, high) = (handle & 0xffff_ffff, handle >> 32);
        let regs = match asked {
            Retrieve => {
                let bytes = request_for(&sent, by, 0, false).encode(self.layout(by));
                self.write_tx(by, &bytes);
                let length = bytes.len() as u64;
                [MEM_RETRIEVE_REQ_64, length, length, 0, 0]
            }
            Relinquish => {
                self.write_tx(by, &relinquish(handle, 0, &[by]));
                [MEM_RELINQUISH, 0, 0, 0, 0]
            }
            Reclaim => [MEM_RECLAIM, low, high, 0, 0],
            Transmit => {
                // As good as any fragment: one page.
                let mut bytes = sent.pages[0].to_le_bytes().to_vec();
                bytes.extend(1_u64.to_le_bytes());
                self.write_tx(by, &bytes);
                [MEM_FRAG_TX, low, high, 16, 0]
            }
            Receive => [MEM_FRAG_RX, low, high, 16, 0],
        };
        let (_, answer) = self.judged("stale", by, regs, Expect::Refuse);
        // Who has no buffers is told that first.
        if !has_one && self.has_buffers(by) && !self.rx_full.contains_key(&by) {
            let told = answer.error();
            // The Normal world has nothing to relinquish, whatever it names.
            let right = told == Some(INVALID_PARAMETERS) || by == NWD && asked == Relinquish;
            assert!(right, "{answer:?} to {asked:?} of {named:?} by {by:#x}");
        }
    }

    /// A transaction as `by` may take it for, and whether there is one of that handle.
    fn named(&self, by: u16, named: Named) -> (Sent, bool) {
        let live = |first: u64| {
            let mut live = self.sent.iter().filter(|sent| sent.live);
            let found = live.find(|sent| sent.pages[0] == first);
            found.expect("a transaction that is there").clone()
        };
        let with = |sent: Sent, handle: u64| Sent { handle, ..sent };
        match named {
            Named::Before(first) => {
                let sent = live(first);
                let handle = sent.handle - GENERATION;
                (with(sent, handle), false)
            }
            Named::After(first) => {
                let sent = live(first);
                let handle = sent.handle + GENERATION;
                (with(sent, handle), false)
            }
            Named::Ended => {
                let ended = self.sent.iter().rfind(|sent| !sent.live);
                let ended = ended.cloned();
                (ended.unwrap_or_else(|| self.made_up(by, 0)), false)
            }
            Named::Nobody => (self.made_up(by, NO_SLOT), false),
            Named::Half(place) => (self.made_up(by, self.halves[place].handle), true),
            Named::Live(first) => (live(first), true),
        }
    }

    /// Returns what somebody else might have sent to `by`.
    fn made_up(&self, by: u16, handle: u64) -> Sent {
        let borrower = Borrower {
            id: by,
            write: true,
            held: None,
        };
        Sent {
            kind: Kind::Lend,
            owner: if by == NWD { PARTITIONS[1] } else { NWD },
            handle,
            tag: 0,
            pages: vec![crate::system::NWD_PAGES],
            borrowers: vec![borrower],
            zeroed: false,
            zero_after: false,
            odd: false,
            orphaned: false,
            live: false,
        }
    }
}
