//! The model as a system to explore whole: few pages, few transactions, every memory call.

use super::{Depth, Kind, Model, NWD, Sent, check};
use crate::exhaust::System;
use crate::ffa::*;
use crate::fuzz::stage::Stage;
use crate::manifest::partition_base;
use crate::system::NWD_PAGES;

/// The two partitions; they speak 1.1 and 1.2.
const P: u16 = 0x8002;
const Q: u16 = 0x8003;
/// Everybody.
const CALLERS: [u16; 3] = [NWD, P, Q];

/// What pages hold at first, where contents matter.
const CONTENT: u8 = 0x5a;

/// What is explored.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// One page of the Normal world, and another one of it or of the first partition.
    pub secure: bool,
    /// Transactions at a time, half-sent ones among them.
    pub slots: usize,
    /// Read-only grants and retrievals, beside those with write access.
    pub read_only: bool,
    /// The flags that ask for zeroing, and writes that undo it.
    pub zeroing: bool,
    /// Descriptors in two fragments.
    pub fragments: bool,
    /// RX/TX pairs come and go, and RX stays full until it is released.
    pub buffers: bool,
}

impl Size {
    /// Two pages of the Normal world, and none of what else there is.
    pub const PLAIN: Self = Self {
        secure: false,
        slots: 2,
        read_only: false,
        zeroing: false,
        fragments: false,
        buffers: false,
    };

    /// [`Self::PLAIN`], and with each of what else there is.
    pub const fn all() -> [(&'static str, Self); 6] {
        let mut all = [("plain", Self::PLAIN); 6];
        all[1] = (
            "secure",
            Self {
                secure: true,
                ..Self::PLAIN
            },
        );
        all[2] = (
            "read-only",
            Self {
                read_only: true,
                ..Self::PLAIN
            },
        );
        all[3] = (
            "zeroing",
            Self {
                zeroing: true,
                ..Self::PLAIN
            },
        );
        all[4] = (
            "fragments",
            Self {
                fragments: true,
                ..Self::PLAIN
            },
        );
        all[5] = (
            "buffers",
            Self {
                buffers: true,
                ..Self::PLAIN
            },
        );
        all
    }
}

/// A system of that size.
pub struct Small {
    model: Model,
    size: Size,
    pages: [u64; 2],
    /// The transaction that the last move named, as it was before.
    before: Option<Sent>,
}

/// One call, or the end of a partition. Transactions are named by their first page, half-sent ones by
/// their place in an order of their contents.
#[derive(Clone, Debug)]
pub enum Move {
    /// SHARE, LEND or DONATE.
    Send {
        /// The caller, who is also the sender.
        by: u16,
        /// Which of the three.
        kind: Kind,
        /// Single pages.
        pages: Vec<u64>,
        /// Receivers and their permissions.
        receivers: Vec<(u16, u8)>,
        /// Zero before.
        zero: bool,
        /// Otherwise the last range is left for another fragment.
        whole: bool,
    },
    /// The last fragment.
    Complete(usize),
    /// RETRIEVE_REQ by a partition, with permissions, and whether to zero afterwards.
    Retrieve(u64, u16, u8, bool),
    /// RELINQUISH by a partition, and whether to zero.
    Relinquish(u64, u16, bool),
    /// RECLAIM by anybody, and whether to zero.
    Reclaim(u64, u16, bool),
    /// RXTX_MAP.
    Map(u16),
    /// RXTX_UNMAP.
    Unmap(u16),
    /// RX_RELEASE.
    Release(u16),
    /// A write to a page.
    Write(u64, u16),
    /// The end of a partition.
    Die(u16),
}

impl Small {
    /// Place of the live transaction whose first page that is.
    fn sent(&self, first: u64) -> usize {
        let mut sent = self.model.sent.iter();
        let found = sent.position(|sent| sent.live && sent.pages[0] == first);
        found.expect("a transaction that was there")
    }

    /// All sets of receivers but the caller; of those that are wrong anyway one each.
    fn receivers(&self, by: u16, kind: Kind) -> Vec<Vec<(u16, u8)>> {
        let others: Vec<u16> = CALLERS.into_iter().filter(|id| *id != by).collect();
        let permissions: &[u8] = match kind {
            Kind::Donate => &[0],
            _ if self.size.read_only => &[RW, RO],
            _ => &[RW],
        };
        let mut sets: Vec<_> = others
            .iter()
            .flat_map(|id| permissions.iter().map(|p| vec![(*id, *p)]))
            .collect();
        for first in permissions {
            for second in permissions {
                sets.push(vec![(others[0], *first), (others[1], *second)]);
            }
        }
        sets
    }

    fn sends(&self, moves: &mut Vec<Move>, by: u16) {
        let [first, second] = self.pages;
        let zeroes: &[bool] = if self.size.zeroing {
            &[false, true]
        } else {
            &[false]
        };
        let fragments: &[bool] = if self.size.fragments {
            &[true, false]
        } else {
            &[true]
        };
        for kind in [Kind::Share, Kind::Lend, Kind::Donate] {
            for receivers in self.receivers(by, kind) {
                for pages in [vec![first], vec![second], vec![first, second]] {
                    for zero in zeroes {
                        for whole in fragments {
                            moves.push(Move::Send {
                                by,
                                kind,
                                pages: pages.clone(),
                                receivers: receivers.clone(),
                                zero: *zero,
                                whole: *whole,
                            });
                        }
                    }
                }
            }
        }
    }

    /// Transactions have a canonical order; what is over is forgotten, but for the last one.
    fn settle(&mut self) {
        let model = &mut self.model;
        let mut over: Vec<_> = model
            .sent
            .iter()
            .filter(|sent| !sent.live)
            .cloned()
            .collect();
        model.sent.retain(|sent| sent.live);
        model.sent.sort_by_key(|sent| sent.pages[0]);
        model.sent.extend(over.pop());
        let order = |half: &super::send::Half| (half.by, half.kind as u8, half.bytes.clone());
        model.halves.sort_by_cached_key(order);
        model.unmapped.sort_unstable();
        model.dead.sort_unstable();
        model.stage.system.machine.journal().clear();
    }

    /// RX is released at once where it makes no state of its own.
    fn release(&mut self, by: u16) {
        if !self.size.buffers && self.model.rx_full.contains_key(&by) {
            self.model.release_by(by);
        }
    }

    fn send(&mut self, chosen: &Move) {
        let Move::Send {
            by,
            kind,
            pages,
            receivers,
            zero,
            whole,
        } = chosen
        else {
            return;
        };
        let ranges: Vec<(u64, u32)> = pages.iter().map(|page| (*page, 1)).collect();
        let mut offer = Transaction::share(*by, 0, 0, &ranges);
        let uniform = *kind == Kind::Share || receivers.len() > 1;
        offer.attributes = if uniform { NORMAL } else { 0 };
        offer.flags = (*zero).into();
        let receivers = receivers.iter();
        offer.receivers = receivers.map(|(id, p)| Receiver::new(*id, *p)).collect();
        self.model.send_one(*by, *kind, &offer, *whole);
    }
}

impl System for Small {
    type Setup = Size;
    type Move = Move;

    fn boot(size: &Size) -> Self {
        const TABLES: usize = 256;
        let stage = Stage::new(2, TABLES, 1);
        let mapped = super::PARTITIONS.map(|id| (id, check::count_mapped(&stage, id)));
        let model = Model::of(stage, mapped.into(), (2, TABLES), Depth::Light, true);
        let second = if size.secure {
            partition_base(usize::from(P - 0x8001)) + 0x4_0000
        } else {
            NWD_PAGES + 0x1000
        };
        let mut small = Self {
            model,
            size: *size,
            pages: [NWD_PAGES, second],
            before: None,
        };
        if size.zeroing {
            for page in small.pages {
                let world = small.model.page(page).expect("a page").world;
                let mut memory = small.model.stage.system.machine.memory();
                memory.write(world, page, &[CONTENT]).expect("memory");
                drop(memory);
                small.model.page_mut(page).byte = CONTENT;
            }
        }
        small
    }

    fn moves(&self) -> Vec<Move> {
        let mut moves = Vec::new();
        let model = &self.model;
        let zeroes: &[bool] = if self.size.zeroing {
            &[false, true]
        } else {
            &[false]
        };
        let permissions: &[u8] = if self.size.read_only {
            &[0, RO, RW]
        } else {
            &[RW]
        };
        let live: Vec<u64> = model
            .sent
            .iter()
            .filter(|sent| sent.live)
            .map(|sent| sent.pages[0])
            .collect();
        let callers = CALLERS.into_iter().filter(|id| !model.dead.contains(id));
        for by in callers {
            if live.len() + model.halves.len() < self.size.slots {
                self.sends(&mut moves, by);
            }
            for first in &live {
                for zero in zeroes {
                    moves.push(Move::Reclaim(*first, by, *zero));
                    if by != NWD {
                        moves.push(Move::Relinquish(*first, by, *zero));
                        for data in permissions {
                            moves.push(Move::Retrieve(*first, by, *data, *zero));
                        }
                    }
                }
            }
            if self.size.buffers {
                moves.extend([Move::Map(by), Move::Unmap(by), Move::Release(by)]);
            }
            if self.size.zeroing && by != NWD {
                moves.extend(self.pages.map(|page| Move::Write(page, by)));
            }
            if by != NWD {
                moves.push(Move::Die(by));
            }
        }
        moves.extend((0..model.halves.len()).map(Move::Complete));
        moves
    }

    fn make(&mut self, chosen: &Move) -> bool {
        let before = self.model.tally.values().map(|[yes, _]| yes).sum::<usize>();
        let halves = self.model.halves.len();
        if let Move::Relinquish(first, ..) | Move::Reclaim(first, ..) = *chosen {
            self.before = Some(self.model.sent[self.sent(first)].clone());
        }
        match *chosen {
            Move::Send { .. } => self.send(chosen),
            Move::Complete(index) => self.model.complete(index),
            Move::Retrieve(first, by, data, zero) => {
                self.model.retrieve_one(self.sent(first), by, data, zero);
                self.release(by);
            }
            Move::Relinquish(first, by, zero) => {
                self.model.relinquish_one(self.sent(first), by, zero);
            }
            Move::Reclaim(first, by, zero) => self.model.reclaim_one(self.sent(first), by, zero),
            Move::Map(by) => self.model.map(by),
            Move::Unmap(by) => self.model.unmap(by),
            Move::Release(by) => self.model.release_by(by),
            Move::Write(page, by) => return self.model.write_one(page, by, CONTENT),
            Move::Die(by) => {
                self.model.die_one(by);
                self.settle();
                return true;
            }
        }
        let after = self.model.tally.values().map(|[yes, _]| yes).sum::<usize>();
        let changed = after > before || self.model.halves.len() != halves;
        if changed {
            self.settle();
        }
        changed
    }

    fn undo(&mut self, made: &Move) -> bool {
        let before = self.before.take();
        let live = |first: u64| {
            let mut sent = self.model.sent.iter();
            sent.position(|sent| sent.live && sent.pages[0] == first)
        };
        match (made, before) {
            (Move::Send { pages, .. }, _) => {
                let Some(index) = live(pages[0]) else {
                    return false;
                };
                let owner = self.model.sent[index].owner;
                self.model.reclaim_one(index, owner, false);
            }
            (Move::Retrieve(first, by, ..), _) => {
                // Not a donation: that is not live any more.
                let Some(index) = live(*first) else {
                    return false;
                };
                if self.model.rx_full.contains_key(by) {
                    self.model.release_by(*by);
                }
                self.model.relinquish_one(index, *by, false);
            }
            (Move::Relinquish(first, by, _), Some(before)) => {
                let mut borrowers = before.borrowers.iter();
                let held = borrowers.find_map(|b| b.held.filter(|_| b.id == *by));
                let Some((index, held)) = live(*first).zip(held) else {
                    return false;
                };
                let data = if held.write { RW } else { RO };
                let zero = held.zero_after;
                self.model.retrieve_one(index, *by, data, zero);
                self.release(*by);
            }
            (Move::Reclaim(..), Some(before)) => self.send(&Move::Send {
                by: before.owner,
                kind: before.kind,
                receivers: permissions_of(&before),
                zero: before.zeroed,
                whole: true,
                pages: before.pages,
            }),
            (Move::Map(by), _) => self.model.unmap(*by),
            (Move::Unmap(by), _) => self.model.map(*by),
            _ => return false,
        }
        self.settle();
        true
    }

    fn state(&self) -> String {
        let model = &self.model;
        let pages = self.pages.map(|page| model.page(page).expect("a page"));
        let sent = model.sent.iter().filter(|sent| sent.live);
        let sent: Vec<_> = sent
            .map(|s| {
                (
                    s.kind,
                    s.owner,
                    &s.pages,
                    &s.borrowers,
                    s.zeroed,
                    s.zero_after,
                )
            })
            .collect();
        let halves: Vec<_> = model
            .halves
            .iter()
            .map(|half| (half.by, half.kind, &half.bytes, half.expect))
            .collect();
        let lists = (&model.rx_full, &model.dead, &model.unmapped);
        let engine = model.stage.system.snapshot();
        format!("{pages:?} {sent:?} {halves:?} {lists:?} {engine:?}")
    }

    fn check(&self) {
        self.model.check();
    }
}

/// The receivers of a transaction and what they may do, as its owner said.
fn permissions_of(sent: &Sent) -> Vec<(u16, u8)> {
    let permissions = |write| match (sent.kind, write) {
        (Kind::Donate, _) => 0,
        (_, true) => RW,
        (_, false) => RO,
    };
    let borrowers = sent.borrowers.iter();
    borrowers.map(|b| (b.id, permissions(b.write))).collect()
}

impl Model {
    /// `by` writes `byte` to a page if it can. Returns whether that changed the content.
    fn write_one(&mut self, page: u64, by: u16, byte: u8) -> bool {
        let state = self.page(page).expect("a page");
        let system = &self.stage.system;
        let access = spmc::hal::Access::Write;
        let can = self.puppet(by).touches(system, state.world, page, access);
        assert_eq!(can, self.access(by, page)[1], "{by:#x} writes to {page:#x}");
        if !can || state.byte == byte {
            return false;
        }
        let mut memory = system.machine.memory();
        memory.write(state.world, page, &[byte]).expect("memory");
        drop(memory);
        self.page_mut(page).byte = byte;
        true
    }
}
