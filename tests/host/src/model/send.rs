//! DONATE, LEND and SHARE, whole or in fragments.

use super::pages::{Borrower, Kind, Sent};
use super::{ENDPOINTS, Expect, Model, NWD, PARTITIONS};
use crate::ffa::*;
use crate::fuzz::reading::Reading;
use crate::source::Source;

/// The largest number of live and half-sent transactions, which is less than the engine can hold.
const MAX_LIVE: usize = 12;

/// A descriptor of which only a part was sent.
pub struct Half {
    /// The sender.
    pub by: u16,
    /// The handle that the engine gave, and the id by which it asks for fragments.
    pub(super) handle: u64,
    pub(super) asked_with: u64,
    pub(super) bytes: Vec<u8>,
    /// The number of bytes that the engine has.
    done: usize,
    pub(super) kind: Kind,
    pub(super) expect: Expect,
}

const fn function(kind: Kind) -> u64 {
    match kind {
        Kind::Share => MEM_SHARE_64,
        Kind::Lend => MEM_LEND_64,
        Kind::Donate => MEM_DONATE_64,
    }
}

impl Model {
    fn busy(&self) -> bool {
        let live = self.sent.iter().filter(|sent| sent.live).count();
        live + self.halves.len() >= MAX_LIVE
    }

    /// Returns ranges that mostly start in pages of `by`.
    fn choose_ranges(&self, source: &mut impl Source, by: u16) -> Vec<(u64, u32)> {
        let all = Self::favourites();
        let own: Vec<u64> = all
            .iter()
            .copied()
            .filter(|page| self.page(*page).is_some_and(|page| page.owner == by))
            .filter(|page| source.rarely(8) || self.sent_page(*page).is_none())
            .collect();
        let anywhere = own.is_empty() || source.rarely(16);
        let from = if anywhere { &all } else { &own };
        (0..source.pick(&[1, 1, 2, 3]))
            .map(|_| (source.pick(from), source.pick(&[1, 1, 2])))
            .collect()
    }

    /// Returns a descriptor and its expected result.
    fn offer(&self, source: &mut impl Source, by: u16, kind: Kind) -> (Transaction, Expect) {
        let mut receivers = vec![source.pick(&PARTITIONS)];
        while receivers.len() < 3 && source.rarely(3) {
            receivers.push(source.pick(&ENDPOINTS));
        }
        let uniform = kind == Kind::Share || receivers.len() > 1;
        let ranges = self.choose_ranges(source, by);
        let mut offer = Transaction::share(by, receivers[0], 0, &ranges);
        offer.tag = source.below(3);
        offer.attributes = if uniform { NORMAL } else { 0 };
        offer.receivers = receivers
            .iter()
            .map(|id| match kind {
                Kind::Donate => Receiver::new(*id, 0),
                _ => Receiver::new(*id, source.pick(&[RW, RO])),
            })
            .collect();
        let zero = source.rarely(5);
        offer.flags = zero.into();
        let mut fault = true;
        match source.below(24) {
            1 => offer.flags |= 4,
            2 => offer.handle = 1 + source.below(3),
            3 => {
                offer.sender = source.pick(&[0x8001, 0x8002, 0x8003, 0x8000]);
                fault = offer.sender != by;
            }
            4 => offer.attributes ^= source.pick(&[0x80, 0x10, 0x2f]),
            5 => offer.receivers[0].permissions |= source.pick(&[3, 8, 0x10]),
            6 => offer.receivers[0].id = source.pick(&[0x8000, 0x8009, 0xffff]),
            _ => fault = false,
        }
        let may = !fault && self.may_offer(by, kind, &offer);
        (offer, Expect::of(may))
    }

    /// Returns whether `by` may send the offer, as far as that depends on its deliberate contents.
    fn may_offer(&self, by: u16, kind: Kind, offer: &Transaction) -> bool {
        let receivers: Vec<u16> = offer.receivers.iter().map(|r| r.id).collect();
        let uniform = kind == Kind::Share || receivers.len() > 1;
        let zero = offer.flags & 1 != 0;
        let ranges = offer.constituents.iter();
        let pages: Vec<u64> = ranges
            .flat_map(|(base, count)| (0..u64::from(*count)).map(move |n| base + n * 0x1000))
            .collect();
        let wants_write = zero || offer.receivers.iter().any(|r| r.permissions & 3 == RW);
        let distinct = receivers
            .iter()
            .enumerate()
            .all(|(n, id)| !receivers[..n].contains(id));
        self.has_buffers(by)
            && self.may_send(by, &pages)
            && (!uniform
                || self
                    .page(pages[0])
                    .is_some_and(|page| page.memory == NORMAL))
            && (self.page(pages[0]).is_some_and(|page| page.is_normal())
                || kind == Kind::Lend && !uniform && !zero && self.layout(by) != Layout::V1_0)
            && distinct
            && receivers
                .iter()
                .all(|id| PARTITIONS.contains(id) && *id != by && !self.dead.contains(id))
            && (receivers.len() == 1 || kind != Kind::Donate)
            && !(zero && kind == Kind::Share)
            && (!wants_write || self.page(pages[0]).is_some_and(|page| page.write))
    }

    /// Makes `by` send the offer, whole or without its last range.
    pub(super) fn send_one(&mut self, by: u16, kind: Kind, offer: &Transaction, whole: bool) {
        let expect = Expect::of(self.may_offer(by, kind, offer));
        let bytes = offer.encode(self.layout(by));
        self.write_tx(by, &bytes);
        let total = bytes.len();
        if !whole {
            self.begin(by, kind, bytes, total - 16, expect);
            return;
        }
        let regs = [function(kind), total as u64, total as u64];
        let (accepted, answer) = self.judged("send", by, regs, expect);
        if accepted {
            self.accept(by, kind, &bytes, answer.handle(), expect);
        }
    }

    pub(super) fn send(&mut self, source: &mut impl Source) {
        if self.busy() {
            return;
        }
        let living = self.living();
        let by = source.pick(&living);
        let kind = source.pick(&[
            Kind::Share,
            Kind::Lend,
            Kind::Donate,
            Kind::Lend,
            Kind::Share,
        ]);
        let (offer, mut expect) = self.offer(source, by, kind);
        let mut bytes = offer.encode(self.layout(by));
        if source.rarely(6) {
            for _ in 0..1 + source.below(3) {
                let at = source.below(bytes.len() as u64) as usize;
                bytes[at] = source.pick(&[0, 1, 2, 0x10, 0x2f, 0x80, 0xff]);
            }
            expect = Expect::Any;
        }
        if source.rarely(16) {
            bytes = super::wild::bytes(source);
            expect = Expect::Any;
        }
        let total = bytes.len();
        let head = offer.composite_offset(self.layout(by)) + 16;
        let first = match source.below(5) {
            1 => head + 16 * source.below(offer.constituents.len() as u64) as usize,
            2 if source.rarely(4) => source.below(total as u64) as usize,
            _ => total,
        };
        self.write_tx(by, &bytes);
        if first < total {
            self.begin(by, kind, bytes, first, expect);
            return;
        }
        let regs = [function(kind), total as u64, total as u64];
        let (accepted, answer) = self.judged("send", by, regs, expect);
        if accepted {
            self.accept(by, kind, &bytes, answer.handle(), expect);
        }
    }

    /// Sends the first fragment. The engine refuses one that is too short, and may refuse a
    /// descriptor whose beginning is wrong.
    fn begin(&mut self, by: u16, kind: Kind, bytes: Vec<u8>, first: usize, expect: Expect) {
        if self.halves.iter().filter(|half| half.by == by).count() >= 3 {
            // With one more, the engine would drop the oldest one.
            return;
        }
        let regs = [function(kind), bytes.len() as u64, first as u64];
        let (accepted, answer) = self.judged("send in fragments", by, regs, Expect::Any);
        if !accepted {
            return;
        }
        let [id, low, high, offset, endpoint, ..] = answer.0;
        assert_eq!(id, MEM_FRAG_RX, "{answer:?}");
        assert_eq!(offset as usize, first, "{answer:?}");
        assert!(by == NWD || endpoint == 0, "{answer:?}");
        self.halves.push(Half {
            by,
            handle: low | high << 32,
            asked_with: endpoint,
            bytes,
            done: first,
            kind,
            expect,
        });
    }

    /// Sends another fragment, or a fragment that the engine did not ask for.
    pub(super) fn go_on(&mut self, source: &mut impl Source) {
        if self.halves.is_empty() {
            return;
        }
        let index = source.below(self.halves.len() as u64) as usize;
        let living = self.living();
        let (by, handle, done) = {
            let half = &self.halves[index];
            (half.by, half.handle, half.done)
        };
        if !living.contains(&by) {
            self.halves.remove(index);
            return;
        }
        let rest = self.halves[index].bytes.len() - done;
        let mut regs = [
            MEM_FRAG_TX,
            handle & 0xffff_ffff,
            handle >> 32,
            0,
            self.halves[index].asked_with,
        ];
        let mut length = rest;
        let mut caller = by;
        match source.below(14) {
            1 => regs[1] ^= 1 << source.below(20),
            2 => caller = source.pick(&living),
            3 => length = 0,
            4 => regs[4] ^= 1 << (16 * source.below(2)),
            5 => length = 1 + source.below(rest as u64) as usize,
            6..=9 => length = 16 * (1 + source.below(1 + rest as u64 / 16) as usize),
            _ => {}
        }
        length = length.min(rest);
        regs[3] = length as u64;
        let half = &self.halves[index];
        let misdirected =
            regs[1] != handle & 0xffff_ffff || caller != by || regs[4] != half.asked_with;
        let is_ours = |other: &Half| other.by == caller && other.handle & 0xffff_ffff == regs[1];
        if misdirected && self.halves.iter().any(is_ours) && regs[4] == half.asked_with {
            // The fragment is valid for another transaction.
            return;
        }
        let bytes = half.bytes[done..done + length].to_vec();
        self.write_tx(caller, &bytes);
        if misdirected || length == 0 || !length.is_multiple_of(16) {
            self.judged("fragment", caller, regs, Expect::Refuse);
            return;
        }
        self.send_rest(index, regs, length == rest);
    }

    /// Sends the fragment that the engine asked for, which is in TX. The last one completes the
    /// transaction.
    fn send_rest(&mut self, index: usize, regs: [u64; 5], is_last: bool) {
        let (by, length) = (self.halves[index].by, regs[3] as usize);
        let answer = self.call(by, regs);
        self.tally.entry("fragment").or_default()[usize::from(answer.error().is_some())] += 1;
        if answer.error().is_some() {
            let half = self.halves.remove(index);
            let right = is_last && half.expect == Expect::Accept;
            let ranges = Reading::new(&half.bytes, self.layout(by));
            assert!(
                !right || self.scarce || !self.may_send(by, &ranges.pages()),
                "{answer:?} to {regs:x?}"
            );
            return;
        }
        if !is_last {
            assert_eq!(answer.function(), MEM_FRAG_RX, "{answer:?}");
            assert_eq!(
                answer.0[3] as usize,
                self.halves[index].done + length,
                "{answer:?}"
            );
            self.halves[index].done += length;
            return;
        }
        let half = self.halves.remove(index);
        assert_eq!(answer.handle(), half.handle);
        self.accept(by, half.kind, &half.bytes, half.handle, half.expect);
    }

    /// Sends the rest of a half-sent descriptor.
    pub(super) fn complete(&mut self, index: usize) {
        let half = &self.halves[index];
        let (by, bytes) = (half.by, half.bytes[half.done..].to_vec());
        let (low, high) = (half.handle & 0xffff_ffff, half.handle >> 32);
        let regs = [MEM_FRAG_TX, low, high, bytes.len() as u64, half.asked_with];
        self.write_tx(by, &bytes);
        if !self.has_buffers(by) {
            self.judged("fragment", by, regs, Expect::Refuse);
            return;
        }
        self.send_rest(index, regs, true);
    }

    /// Ends all half-sent descriptors, by fragments that cannot continue any descriptor.
    pub(super) fn give_up_halves(&mut self) {
        while !self.halves.is_empty() {
            if self.dead.contains(&self.halves[0].by) {
                self.halves.remove(0);
            } else {
                self.spoil(0);
            }
        }
    }

    /// Ends a half-sent descriptor by such a fragment, if its sender can send any.
    pub(super) fn spoil(&mut self, index: usize) {
        let half = &self.halves[index];
        let by = half.by;
        let (low, high) = (half.handle & 0xffff_ffff, half.handle >> 32);
        let regs = [MEM_FRAG_TX, low, high, 16, half.asked_with];
        self.write_tx(by, &[0xff; 16]);
        let answer = self.call(by, regs);
        assert!(answer.error().is_some(), "{answer:?}");
        if self.has_buffers(by) {
            self.halves.remove(index);
        }
    }

    /// Parses the descriptor in `bytes`, which the engine has accepted, checks that it is valid,
    /// and notes it.
    fn accept(&mut self, by: u16, kind: Kind, bytes: &[u8], handle: u64, expect: Expect) {
        assert!(
            self.sent.iter().all(|sent| sent.handle != handle),
            "a handle came back"
        );
        let reading = Reading::new(bytes, self.layout(by));
        assert!(reading.header_is_clean() && reading.handle() == 0);
        if by == NWD {
            assert_eq!(reading.sender() >> 15, 0);
        } else {
            assert_eq!(reading.sender(), by);
        }
        let receivers = reading.receivers();
        let pages = reading.pages();
        assert!(self.may_send(by, &pages), "{by:#x} may not send {pages:x?}");
        let first = self.page(pages[0]).expect("a page");
        let zeroed = reading.flags() & 1 != 0;
        for (n, receiver) in receivers.iter().enumerate() {
            assert!(PARTITIONS.contains(&receiver.id) && receiver.id != by);
            assert!(!self.dead.contains(&receiver.id));
            assert!(receivers[..n].iter().all(|other| other.id != receiver.id));
            assert!(first.write || !zeroed && receiver.permissions & 3 != RW);
        }
        assert!(receivers.len() == 1 || kind != Kind::Donate);
        if zeroed {
            self.zero(&pages);
        }
        self.sent.push(Sent {
            kind,
            owner: reading.sender(),
            handle,
            tag: reading.tag(),
            borrowers: receivers
                .iter()
                .map(|receiver| Borrower {
                    id: receiver.id,
                    write: if kind == Kind::Donate {
                        first.write
                    } else {
                        receiver.permissions & 3 == RW
                    },
                    held: None,
                })
                .collect(),
            pages,
            zeroed,
            zero_after: false,
            odd: expect == Expect::Any,
            orphaned: false,
            live: true,
        });
    }
}
