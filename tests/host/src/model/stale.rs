//! Calls about transactions that do not exist: they have ended, they never existed, or they are not
//! complete yet. All these calls are refused.

use super::lifecycle::request_for;
use super::pages::{Borrower, Kind, Sent};
use super::{Expect, Model, NWD, PARTITIONS};
use crate::ffa::*;

/// Bit 0 of the part of a handle that distinguishes the successive handles of a slot.
const GENERATION: u64 = 1 << 16;

/// The number of a slot that no engine has.
const NO_SLOT: u64 = GENERATION | 0xfffe;

/// A handle that is of no use to the caller.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Named {
    /// The previous handle of the slot of this live transaction. Transactions are identified by
    /// their first page.
    Before(u64),
    /// The handle that the slot of this live transaction will have next.
    After(u64),
    /// The handle of the transaction that ended last, even if in a former life of its owner.
    Ended,
    /// A handle that no transaction ever has.
    Nobody,
    /// A half-sent transaction, by its position.
    Half(usize),
    /// A live transaction, none of whose fragments are requested.
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
    /// Returns all such calls that `by` can make.
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
            // The sender may continue the transaction.
            let count = if half.by == by { 4 } else { 5 };
            add(Named::Half(place), &asked[..count]);
        }
        calls
    }

    /// Makes `by` make such a call, which is refused because of the handle if no transaction has
    /// it.
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
                // One page is as good as any other fragment.
                let mut bytes = sent.pages[0].to_le_bytes().to_vec();
                bytes.extend(1_u64.to_le_bytes());
                self.write_tx(by, &bytes);
                [MEM_FRAG_TX, low, high, 16, 0]
            }
            Receive => [MEM_FRAG_RX, low, high, 16, 0],
        };
        let (_, answer) = self.judged("stale", by, regs, Expect::Refuse);
        // A caller without buffers gets another error first.
        if !has_one && self.has_buffers(by) && !self.rx_full.contains_key(&by) {
            let told = answer.error();
            // The Normal world has nothing to relinquish, whatever handle it names.
            let right = told == Some(INVALID_PARAMETERS) || by == NWD && asked == Relinquish;
            assert!(right, "{answer:?} to {asked:?} of {named:?} by {by:#x}");
        }
    }

    /// Returns the transaction that `by` may think of, and whether one with that handle exists.
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

    /// Returns a transaction that another endpoint could have sent to `by`.
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
