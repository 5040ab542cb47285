//! The model as a system that is explored completely: few pages, few transactions, every memory
//! call.

use super::stale::{Asked, Named};
use super::{Depth, Kind, Model, NWD, Sent, Size, check};
use crate::exhaust::System;
use crate::ffa::*;
use crate::fuzz::stage::Stage;
use crate::manifest::partition_base;
use crate::system::NWD_PAGES;

/// The two partitions, of the versions 1.1 and 1.2.
const P: u16 = 0x8002;
const Q: u16 = 0x8003;
/// All callers.
const CALLERS: [u16; 3] = [NWD, P, Q];

/// The initial contents of pages, in systems in which contents matter.
const CONTENT: u8 = 0x5a;

/// A system of a small size.
pub struct Small {
    model: Model,
    size: Size,
    pages: Vec<u64>,
    /// The transaction that the last move named, as it was before the move.
    before: Option<Sent>,
    /// The handle of the half-sent transaction that the last move began.
    begun: Option<u64>,
}

/// One call, or the end of a partition. Transactions are identified by their first page, half-sent
/// ones by their position in an order by contents.
#[derive(Clone, Debug)]
pub enum Move {
    /// SHARE, LEND or DONATE.
    Send {
        /// The caller, which is also the sender.
        by: u16,
        /// Which of the three.
        kind: Kind,
        /// Single pages.
        pages: Vec<u64>,
        /// Receivers and their permissions.
        receivers: Vec<(u16, u8)>,
        /// Set if the flag asks for zeroing before.
        zero: bool,
        /// Clear if the last range is left for another fragment.
        whole: bool,
    },
    /// The last fragment of a half-sent transaction.
    Complete(usize),
    /// A fragment that ends a half-sent transaction.
    Spoil(usize),
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
    /// The end of a partition, or of one of its lives.
    Die(u16),
    /// A call about a transaction that does not exist.
    Stale(u16, Asked, Named),
}

impl Small {
    /// Returns the index of the live transaction with that first page.
    fn sent(&self, first: u64) -> usize {
        let mut sent = self.model.sent.iter();
        let found = sent.position(|sent| sent.live && sent.pages[0] == first);
        found.expect("a transaction that was there")
    }

    /// Returns all sets of receivers without the caller. Of the sets that are wrong in any case,
    /// returns one of each kind.
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
        let zeroes: &[bool] = if self.size.zeroing {
            &[false, true]
        } else {
            &[false]
        };
        let first = self.pages[0];
        let sets: Vec<(Vec<u64>, bool)> = match self.pages[..] {
            _ if self.size.fragments => vec![(vec![first], true), (self.pages.clone(), false)],
            [_, second] => vec![
                (vec![first], true),
                (vec![second], true),
                (self.pages.clone(), true),
            ],
            _ => vec![(vec![first], true)],
        };
        for kind in [Kind::Share, Kind::Lend, Kind::Donate] {
            for receivers in self.receivers(by, kind) {
                // Only a few kinds of pairs: systems of one page have them all.
                let is_wrong = receivers.iter().any(|(id, _)| *id == NWD);
                let is_many = kind == Kind::Share || receivers.len() > 1 || is_wrong;
                for (pages, whole) in &sets {
                    if !whole && pages.len() > 1 && is_many {
                        continue;
                    }
                    for zero in zeroes {
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

    /// Puts transactions into a canonical order, and forgets those that have ended, except the last
    /// one.
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

    /// Releases RX at once, in systems in which a full RX is not a part of the state.
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
        let halves = self.model.halves.len();
        self.model.send_one(*by, *kind, &offer, *whole);
        let begun = self.model.halves.get(halves);
        self.begun = begun.map(|half| half.handle);
    }
}

impl System for Small {
    type Setup = Size;
    type Move = Move;

    fn boot(size: &Size) -> Self {
        const TABLES: usize = 256;
        let stage = if size.restarts {
            Stage::restarting(2, TABLES, 1)
        } else {
            Stage::new(2, TABLES, 1)
        };
        let mapped = super::PARTITIONS.map(|id| (id, check::count_mapped(&stage, id)));
        let model = Model::of(stage, mapped.into(), (2, TABLES), Depth::Light, true);
        let mut pages = vec![NWD_PAGES, NWD_PAGES + 0x1000];
        pages.truncate(size.pages);
        let own = partition_base(usize::from(P - 0x8001)) + 0x4_0000;
        for (page, n) in pages.iter_mut().rev().zip(0..).take(size.secure) {
            *page = own + n * 0x1000;
        }
        let mut small = Self {
            model,
            size: *size,
            pages,
            before: None,
            begun: None,
        };
        if size.zeroing {
            for page in small.pages.clone() {
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
                moves.extend(self.pages.iter().map(|page| Move::Write(*page, by)));
            }
            if by != NWD {
                moves.push(Move::Die(by));
            }
            if self.size.stale {
                let calls = model.stale_calls(by).into_iter();
                moves.extend(calls.map(|(asked, named)| Move::Stale(by, asked, named)));
            }
        }
        let halves = 0..model.halves.len();
        moves.extend(halves.flat_map(|half| [Move::Complete(half), Move::Spoil(half)]));
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
            Move::Spoil(index) => self.model.spoil(index),
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
            Move::Stale(by, asked, named) => {
                self.model.stale_one(by, asked, named);
                return false;
            }
            Move::Die(by) => {
                if self.size.restarts {
                    self.model.restart_one(by);
                } else {
                    self.model.die_one(by);
                }
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
            (Move::Send { whole: false, .. }, _) => {
                let begun = self.begun.take();
                let mut halves = self.model.halves.iter();
                let Some(index) = halves.position(|half| Some(half.handle) == begun) else {
                    return false;
                };
                self.model.spoil(index);
            }
            (Move::Send { pages, .. }, _) => {
                let Some(index) = live(pages[0]) else {
                    return false;
                };
                let owner = self.model.sent[index].owner;
                self.model.reclaim_one(index, owner, false);
            }
            (Move::Retrieve(first, by, ..), _) => {
                // A donation cannot be meant, since it is not live any more.
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
        let pages = self.pages.iter();
        let pages: Vec<_> = pages
            .map(|page| model.page(*page).expect("a page"))
            .collect();
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
                    s.orphaned,
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

/// Returns the receivers of a transaction, with the permissions that the owner gave them.
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
    /// Writes `byte` to a page on behalf of `by`, if it has access. Returns whether the contents
    /// changed.
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
