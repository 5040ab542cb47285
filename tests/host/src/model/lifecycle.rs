//! Calls and events after a send: RETRIEVE_REQ, RELINQUISH and RECLAIM; accesses; the end and the
//! restart of partitions.

use spmc::addr::World;
use spmc::hal::Access;

use super::pages::{AROUND, Held, Kind, Sent};
use super::{ENDPOINTS, Expect, Model, NWD, PARTITIONS, Tally};
use crate::ffa::*;
use crate::manifest::{PARTITION_SIZE, partition_base};
use crate::puppet::Act;
use crate::source::Source;

/// The time after which a restart does not count any more, in microseconds.
const RESTART_PRICE: u64 = 10_000_000;

impl Model {
    /// Returns one of the transactions, mostly a live one.
    pub(super) fn choose(&self, source: &mut impl Source) -> Option<usize> {
        let live: Vec<usize> = (0..self.sent.len())
            .filter(|index| self.sent[*index].live)
            .collect();
        if !live.is_empty() && !source.rarely(8) {
            return Some(source.pick(&live));
        }
        let count = self.sent.len() as u64;
        (count > 0).then(|| source.below(count) as usize)
    }

    pub(super) fn retrieve(&mut self, source: &mut impl Source) {
        let Some(index) = self.choose(source) else {
            return;
        };
        let sent = self.sent[index].clone();
        if sent.kind == Kind::Donate && !self.final_steps {
            return;
        }
        let named: Vec<u16> = sent.borrowers.iter().map(|borrower| borrower.id).collect();
        let by = if source.rarely(8) {
            source.pick(&PARTITIONS)
        } else {
            source.pick(&named)
        };
        if self.dead.contains(&by) {
            return;
        }
        let data = source.pick(&[0, RO, RO, RW]);
        let instruction = if source.rarely(4) {
            source.pick(&[NX, X])
        } else {
            0
        };
        let zero_after = source.rarely(6);
        let mut request = request_for(&sent, by, data | instruction, zero_after);
        let right_type = match sent.kind {
            Kind::Share => 1 << 3,
            Kind::Lend => 2 << 3,
            Kind::Donate => 3 << 3,
        };
        let mut fault = true;
        match source.below(24) {
            1 => request.tag += 1,
            2 => request.sender = source.pick(&[0x8000, 5]),
            3 => request.flags |= if right_type == 1 << 3 { 2 << 3 } else { 1 << 3 },
            4 => request.flags |= source.pick(&[1 << 5, 1 << 11]),
            5 => request.receivers[0].flags = 1,
            6..=8 => {
                request.flags |= right_type;
                fault = false;
            }
            _ => fault = false,
        }
        let may = !fault && self.may_retrieve(&sent, by, data | instruction, zero_after);
        let mut expect = Expect::of(may);
        if may && sent.odd {
            expect = Expect::Any;
        }
        let mut bytes = request.encode(self.layout(by));
        if source.rarely(6) {
            // The handle stays as it is, since the region must be known.
            let at = source.below(bytes.len() as u64) as usize;
            if !(8..16).contains(&at) {
                bytes[at] = source.pick(&[0, 1, 2, 0x10, 0x2f, 0x80, 0xff]);
                expect = Expect::Any;
            }
        }
        self.write_tx(by, &bytes);
        let length = bytes.len() as u64;
        let regs = [MEM_RETRIEVE_REQ_64, length, length];
        let (accepted, answer) = self.judged("retrieve", by, regs, expect);
        if accepted {
            let flags = u32::from_le_bytes(bytes[4..8].try_into().expect("four bytes"));
            self.note_retrieval(index, by, &answer, flags & 4 != 0);
            if source.rarely(6) {
                self.rx_full.insert(by, true);
            } else {
                self.call(by, [RX_RELEASE]).success();
            }
        }
    }

    /// Returns whether `by` may retrieve with those permissions. 0 leaves a permission open.
    fn may_retrieve(&self, sent: &Sent, by: u16, permissions: u8, zero_after: bool) -> bool {
        let (data, instruction) = (permissions & 3, permissions & 0xc);
        let borrower = sent.borrowers.iter().position(|borrower| borrower.id == by);
        let granted = borrower.is_some_and(|n| sent.borrowers[n].write);
        let write = data == RW || data == 0 && granted;
        let first = self.page(sent.pages[0]).expect("a page");
        let execute = instruction == X;
        let can_zero = sent.kind != Kind::Share && write && first.is_normal();
        self.has_buffers(by)
            && sent.live
            && !sent.orphaned
            && borrower.is_some_and(|n| sent.borrowers[n].held.is_none())
            && !self.rx_full.contains_key(&by)
            && (granted || !write)
            && (!sent.is_uniform() || instruction == 0)
            && (!execute
                || first.world == World::Secure && self.executes_all(&sent.pages) && !write)
            && (!zero_after || can_zero)
    }

    /// Makes `by` retrieve with those permissions. RX stays full.
    pub(super) fn retrieve_one(&mut self, index: usize, by: u16, data: u8, zero_after: bool) {
        let sent = &self.sent[index];
        let expect = Expect::of(self.may_retrieve(sent, by, data, zero_after));
        let bytes = request_for(sent, by, data, zero_after).encode(self.layout(by));
        self.write_tx(by, &bytes);
        let length = bytes.len() as u64;
        let regs = [MEM_RETRIEVE_REQ_64, length, length];
        let (accepted, answer) = self.judged("retrieve", by, regs, expect);
        if accepted {
            self.note_retrieval(index, by, &answer, zero_after);
            self.rx_full.insert(by, true);
        }
    }

    /// Notes that the engine has given the region to `by`. The response must state the right
    /// permissions.
    pub(super) fn note_retrieval(
        &mut self,
        index: usize,
        by: u16,
        answer: &Regs,
        zero_after: bool,
    ) {
        let sent = self.sent[index].clone();
        assert_eq!(answer.0[..3], [MEM_RETRIEVE_RESP, answer.0[1], answer.0[1]]);
        let bytes = self.read_rx(by, answer.0[1] as usize);
        let response = Transaction::decode(&bytes, self.layout(by));
        let described: Vec<u64> = response
            .constituents
            .iter()
            .flat_map(|(base, count)| (0..u64::from(*count)).map(move |n| base + n * 0x1000))
            .collect();
        assert_eq!(described, sent.pages);
        assert_eq!((response.handle, response.tag), (sent.handle, sent.tag));
        let kind = match sent.kind {
            Kind::Share => 1,
            Kind::Lend => 2,
            Kind::Donate => 3,
        };
        assert_eq!(response.flags, kind << 3 | u32::from(sent.zeroed));
        assert!(sent.live && !sent.orphaned);

        let permissions = response.receivers[0].permissions;
        let held = Held {
            write: permissions & 3 == RW,
            execute: permissions & 0xc == X,
            zero_after,
        };
        let first = self.page(sent.pages[0]).expect("a page");
        let may_execute = first.world == World::Secure && self.executes_all(&sent.pages);
        let entry = &mut self.sent[index];
        let borrower = entry
            .borrowers
            .iter_mut()
            .find(|borrower| borrower.id == by)
            .expect("a receiver");
        assert!(borrower.held.is_none(), "retrieved twice");
        assert!(borrower.write || !held.write, "more than was granted");
        assert!(!held.execute || may_execute && !held.write);
        if sent.kind == Kind::Donate {
            entry.live = false;
            self.moved = true;
            for page in &sent.pages {
                let page = self.page_mut(*page);
                (page.owner, page.write, page.execute) = (by, held.write, held.execute);
                page.memory = response.attributes & 0x3f;
            }
        } else {
            borrower.held = Some(held);
        }
    }

    pub(super) fn relinquish(&mut self, source: &mut impl Source) {
        let Some(index) = self.choose(source) else {
            return;
        };
        let has_it = |borrower: &&super::pages::Borrower| borrower.held.is_some();
        let holder = self.sent[index].borrowers.iter().find(has_it);
        let by = match holder {
            Some(holder) if !source.rarely(4) => holder.id,
            _ => source.pick(&PARTITIONS),
        };
        let zero = source.rarely(4);
        self.relinquish_one(index, by, zero);
    }

    /// Makes `by` relinquish the region.
    pub(super) fn relinquish_one(&mut self, index: usize, by: u16, zero: bool) {
        if self.dead.contains(&by) {
            return;
        }
        let sent = &self.sent[index];
        let held = sent
            .borrowers
            .iter()
            .find(|borrower| borrower.id == by)
            .and_then(|borrower| borrower.held);
        let normal = self
            .page(sent.pages[0])
            .is_some_and(|page| page.is_normal());
        let may = self.has_buffers(by)
            && sent.live
            && held.is_some_and(|held| !zero || held.write && sent.kind == Kind::Lend && normal);
        let descriptor = relinquish(sent.handle, zero.into(), &[by]);
        self.write_tx(by, &descriptor);
        let regs = [MEM_RELINQUISH];
        let (accepted, answer) = self.judged("relinquish", by, regs, Expect::of(may));
        if accepted {
            answer.success();
            self.note_relinquish(index, by, zero);
        }
    }

    pub(super) fn note_relinquish(&mut self, index: usize, by: u16, zero: bool) {
        let sent = &mut self.sent[index];
        for borrower in sent.borrowers.iter_mut().filter(|b| b.id == by) {
            borrower.held = None;
        }
        sent.zero_after |= zero;
        if sent.is_held() {
            return;
        }
        let zeroes = std::mem::take(&mut sent.zero_after);
        if sent.orphaned {
            // No owner is left who could reclaim the region.
            sent.live = false;
        }
        if zeroes {
            let pages = self.sent[index].pages.clone();
            self.zero(&pages);
        }
    }

    pub(super) fn reclaim(&mut self, source: &mut impl Source) {
        let Some(index) = self.choose(source) else {
            return;
        };
        let owner = self.sent[index].owner;
        let by = if source.rarely(4) {
            source.pick(&ENDPOINTS)
        } else {
            owner
        };
        let zero = source.rarely(4);
        self.reclaim_one(index, by, zero);
    }

    /// Makes `by` reclaim the region.
    pub(super) fn reclaim_one(&mut self, index: usize, by: u16, zero: bool) {
        // The Normal world represents all its ids.
        let by = if by >> 15 == 0 { NWD } else { by };
        if self.dead.contains(&by) {
            return;
        }
        let sent = &self.sent[index];
        let owns = if by == NWD {
            sent.owner >> 15 == 0
        } else {
            sent.owner == by
        };
        let (handle, flags) = (sent.handle, u64::from(zero));
        let first = self.page(sent.pages[0]);
        let can_zero = !zero || first.is_some_and(|page| page.write && page.is_normal());
        let may = sent.live && owns && !sent.is_held() && can_zero;
        let regs = [MEM_RECLAIM, handle & 0xffff_ffff, handle >> 32, flags];
        let (accepted, _) = self.judged("reclaim", by, regs, Expect::of(may));
        if accepted {
            self.sent[index].live = false;
            if zero {
                let pages = self.sent[index].pages.clone();
                self.zero(&pages);
            }
        }
    }

    /// Makes an access through the TLBs.
    pub(super) fn touch(&mut self, source: &mut impl Source) {
        let all = Self::favourites();
        let page = source.pick(&all);
        let by = source.pick(&PARTITIONS);
        if self.dead.contains(&by) {
            return;
        }
        let world = self.page(page).expect("a page").world;
        let access = [Access::Read, Access::Write, Access::Execute];
        let wanted = source.below(3) as usize;
        let system = &self.stage.system;
        let can = self.puppet(by).touches(system, world, page, access[wanted]);
        let may = self.access(by, page)[wanted];
        assert_eq!(can, may, "{:?} of {page:#x} by {by:#x}", access[wanted]);
        if can && access[wanted] == Access::Write {
            let byte = source.below(256) as u8;
            let mut memory = system.machine.memory();
            memory.write(world, page, &[byte]).expect("memory");
            // Around the caches, to which the line is fetched by speculation. What is there before
            // and after is the business of whoever accesses memory in both ways, unless the page is
            // zeroed in between.
            let around = memory.write_around(world, page + AROUND, &[byte]);
            around.expect("memory");
            drop(memory);
            self.page_mut(page).byte = byte;
        }
    }

    /// Makes a partition fail. What it borrowed is given back, and what it owns is gone for good.
    pub(super) fn die(&mut self, source: &mut impl Source) {
        let living = self.living();
        let id = source.pick(&PARTITIONS);
        if source.rarely(8) && living.contains(&id) && living.len() >= 3 {
            self.die_one(id);
        }
    }

    pub(super) fn die_one(&mut self, id: u16) {
        self.puppet(id).leave(Act::Crash);
        let answer = self.stage.system.nwd().request(id, [0; 5]);
        assert_eq!(answer.error(), Some(ABORTED), "{answer:?}");
        self.dead.push(id);
        self.moved = true;
        self.halves.retain(|half| half.by != id);
        self.halves
            .iter_mut()
            .for_each(|half| half.expect = Expect::Any);
        for index in 0..self.sent.len() {
            let sent = &self.sent[index];
            if !sent.live {
                continue;
            }
            // Each exit of the SPMC zeroes a region that the dead partition had borrowed.
            self.stage.system.nwd().call([SPM_ID_GET]).success();
            let borrower = sent.borrowers.iter().find(|borrower| borrower.id == id);
            if let Some(held) = borrower.and_then(|borrower| borrower.held) {
                self.note_relinquish(index, id, held.zero_after);
            }
            let sent = &mut self.sent[index];
            sent.orphaned |= sent.owner == id;
            if sent.orphaned && !sent.is_held() {
                sent.live = false;
            }
        }
    }

    /// Makes a partition fail that then starts again. It does so if it still owns everything with
    /// which it booted, and shares nothing of it. Other memory that it was given stays as it is.
    pub(super) fn restart_one(&mut self, id: u16) {
        // Let time pass until an earlier restart does not count any more.
        self.stage.system.machine.gic().pass(RESTART_PRICE);
        self.die_one(id);
        self.rx_full.remove(&id);
        let base = partition_base(usize::from(id - 0x8001));
        let booted_with: Vec<u64> = self
            .touched
            .keys()
            .copied()
            .filter(|page| (base..base + PARTITION_SIZE).contains(page))
            .chain(self.live_pages(base..base + PARTITION_SIZE))
            .collect();
        let is_its_own = |page: &u64| {
            let state = self.page(*page).expect("a page");
            state.owner == id && self.sent_page(*page).is_none()
        };
        let starts = booted_with.iter().all(is_its_own);
        let answer = self.stage.system.nwd().request(id, [0; 5]);
        assert_eq!(answer.error().is_none(), starts, "{id:#x}: {answer:?}");
        if !starts {
            return;
        }
        self.dead.retain(|dead| *dead != id);
        for page in booted_with {
            self.touched.remove(&page);
            // Note the page as touched, so that it is checked in each state.
            self.page_mut(page);
        }
        self.unmapped.retain(|unmapped| *unmapped != id);
        self.unmapped.push(id);
        self.map(id);
    }

    /// Makes all endpoints give everything back. If nothing went for good, the state is then the
    /// initial one.
    pub fn end(mut self) -> Tally {
        for index in 0..self.sent.len() {
            for by in PARTITIONS {
                let sent = &self.sent[index];
                if sent.live
                    && sent
                        .borrowers
                        .iter()
                        .any(|b| b.id == by && b.held.is_some())
                {
                    self.relinquish_one(index, by, false);
                }
            }
            if self.sent[index].live {
                let owner = self.sent[index].owner;
                self.reclaim_one(index, owner, false);
            }
        }
        self.give_up_halves();
        for by in std::mem::take(&mut self.rx_full).into_keys() {
            if !self.dead.contains(&by) {
                self.call(by, [RX_RELEASE]).success();
            }
        }
        self.check();
        if !self.moved {
            assert_eq!(self.state(), self.initial, "pages of pools are conserved");
            self.keep()
        } else {
            self.tally
        }
    }
}

/// Returns the descriptor by which `by` requests a region.
pub(super) fn request_for(sent: &Sent, by: u16, permissions: u8, zero_after: bool) -> Transaction {
    let mut request = Transaction::retrieve(sent.owner, by, sent.handle, permissions);
    request.attributes = 0;
    request.tag = sent.tag;
    for other in sent.borrowers.iter().filter(|borrower| borrower.id != by) {
        let permissions = match (sent.kind, other.write) {
            (Kind::Donate, _) => 0,
            (_, true) => RW,
            (_, false) => RO,
        };
        let mut receiver = Receiver::new(other.id, permissions);
        receiver.flags = 1;
        request.receivers.push(receiver);
    }
    if zero_after {
        request.flags |= 4;
    }
    request
}
