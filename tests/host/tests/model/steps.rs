//! The calls: each is made with random arguments, and must end as the table says.

use host_tests::ffa::*;
use host_tests::schedule::Random;
use spmc::addr::World;

use crate::table::*;

impl Model {
    /// One random call. Its outcome must be what the table says.
    pub fn step(&mut self, random: &mut Random) {
        match random.below(12) {
            0..=2 => self.send(random),
            3..=5 => self.retrieve(random),
            6..=7 => self.relinquish(random),
            8..=9 => self.reclaim(random),
            _ => self.touch(random),
        }
    }

    /// Ranges that start in pages of the table, mostly of `by`.
    fn choose_ranges(&self, random: &mut Random, by: u16) -> Vec<(u64, u32)> {
        let all: Vec<u64> = self.pages.keys().copied().collect();
        let own: Vec<u64> = all
            .iter()
            .copied()
            .filter(|page| self.pages[page].owner == by)
            .collect();
        let from = if own.is_empty() || random.below(8) == 0 {
            &all
        } else {
            &own
        };
        (0..1 + random.below(3))
            .map(|_| (random.pick(from), 1 + random.below(2) as u32))
            .collect()
    }

    fn send(&mut self, random: &mut Random) {
        let by = random.pick(&ENDPOINTS);
        let kind = random.pick(&[
            Kind::Share,
            Kind::Share,
            Kind::Lend,
            Kind::Lend,
            Kind::Donate,
        ]);
        let ranges = self.choose_ranges(random, by);
        let mut receivers = vec![random.pick(&PARTITIONS)];
        if random.below(3) == 0 {
            receivers.push(random.pick(&ENDPOINTS));
        }
        let uniform = kind == Kind::Share || receivers.len() > 1;
        let mut transaction = Transaction::share(by, receivers[0], 0, &ranges);
        transaction.tag = random.below(3);
        transaction.attributes = if uniform { NORMAL } else { 0 };
        transaction.receivers = receivers
            .iter()
            .map(|id| {
                Receiver::new(
                    *id,
                    if kind == Kind::Donate {
                        0
                    } else {
                        random.pick(&[RO, RW])
                    },
                )
            })
            .collect();
        let zero = random.below(5) == 0;
        transaction.flags = zero.into();
        let fault = random.below(12);
        match fault {
            0 => transaction.flags |= 2,
            1 => transaction.handle = 1 + random.below(3),
            2 => transaction.sender = random.pick(&[0x8001, 0x8002, 0x8003, 0x8000]),
            3 => transaction.attributes ^= random.pick(&[0x40, 0x80, 0x30, 0x2f]),
            4 => transaction.receivers[0].permissions |= random.pick(&[3, 4, 8, 0x10]),
            _ => {}
        }
        let pages: Vec<u64> = ranges
            .iter()
            .flat_map(|(base, count)| (0..u64::from(*count)).map(move |n| base + n * 0x1000))
            .collect();
        let wants_write = zero
            || transaction
                .receivers
                .iter()
                .any(|r| r.permissions & 3 == RW);
        let mut distinct = pages.clone();
        distinct.sort_unstable();
        distinct.dedup();
        let first = self.pages.get(&pages[0]).copied();
        let owned = first.is_some_and(|first| {
            pages.iter().all(|page| {
                self.pages.get(page).is_some_and(|state| {
                    state.owner == by
                        && self.sent_page(*page).is_none()
                        && (state.world, state.write, state.execute)
                            == (first.world, first.write, first.execute)
                })
            })
        });
        let may = owned
            && distinct.len() == pages.len()
            && receivers
                .iter()
                .all(|id| PARTITIONS.contains(id) && *id != by)
            && (receivers.len() == 1 || receivers[0] != receivers[1] && kind != Kind::Donate)
            && (fault > 4 || fault == 2 && transaction.sender == by)
            && !(zero && kind == Kind::Share)
            && (first.is_some_and(|first| first.write) || !wants_write);
        let unlisted = pages.iter().any(|page| !self.pages.contains_key(page));
        if unlisted || self.sent.iter().filter(|sent| sent.live).count() >= MAX_LIVE {
            // A page behind those of the table: nothing is known of it.
            return;
        }
        let function = match kind {
            Kind::Share => MEM_SHARE_64,
            Kind::Lend => MEM_LEND_64,
            Kind::Donate => MEM_DONATE_64,
        };
        let answer = self.memory_call(by, function, &transaction);
        assert_eq!(
            answer.error().is_none(),
            may,
            "{kind:?} by {by:#x}: {transaction:x?}: {answer:?}"
        );
        if !may {
            return;
        }
        let handle = answer.handle();
        assert!(
            self.sent.iter().all(|sent| sent.handle != handle),
            "a handle came back"
        );
        if zero {
            self.zero(&pages);
        }
        let own_write = first.is_some_and(|first| first.write);
        self.sent.push(Sent {
            kind,
            owner: by,
            handle,
            tag: transaction.tag,
            pages,
            borrowers: transaction
                .receivers
                .iter()
                .map(|receiver| Borrower {
                    id: receiver.id,
                    write: if kind == Kind::Donate {
                        own_write
                    } else {
                        receiver.permissions == RW
                    },
                    held: None,
                })
                .collect(),
            zeroed: zero,
            zero_after: false,
            live: true,
        });
    }

    fn retrieve(&mut self, random: &mut Random) {
        if self.sent.is_empty() {
            return;
        }
        // Mostly the latest, sometimes one long gone.
        let limit = random.below(self.sent.len() as u64);
        let back = random.below(1 + limit) as usize;
        let index = self.sent.len() - 1 - back;
        let sent = self.sent[index].clone();
        let named = random.pick(&sent.borrowers.iter().map(|b| b.id).collect::<Vec<_>>());
        let by = if random.below(8) == 0 {
            random.pick(&PARTITIONS)
        } else {
            named
        };
        let uniform = sent.kind == Kind::Share || sent.borrowers.len() > 1;
        let data = random.pick(&[0, RO, RO, RW]);
        let instruction = if random.below(4) == 0 {
            random.pick(&[NX, X])
        } else {
            0
        };
        let mut request = Transaction::retrieve(sent.owner, by, sent.handle, data | instruction);
        request.attributes = random.pick(&[0, NORMAL]);
        request.tag = sent.tag;
        let other = |borrower: &Borrower| Receiver {
            flags: 1,
            ..Receiver::new(borrower.id, if borrower.write { RW } else { RO })
        };
        request
            .receivers
            .extend(sent.borrowers.iter().filter(|b| b.id != by).map(other));
        let zero_after = random.below(6) == 0;
        if zero_after {
            request.flags |= 4;
        }
        let right_type = match sent.kind {
            Kind::Share => 1 << 3,
            Kind::Lend => 2 << 3,
            Kind::Donate => 3 << 3,
        };
        let fault = random.below(14);
        match fault {
            0 => request.tag += 1,
            1 => request.sender = random.pick(&[0x8000, 5]),
            2 => request.flags |= if right_type == 1 << 3 { 2 << 3 } else { 1 << 3 },
            3 => request.flags |= random.pick(&[2, 1 << 5, 1 << 11]),
            4 => request.receivers[0].flags = 1,
            5..=8 => request.flags |= right_type,
            _ => {}
        }
        let borrower = sent.borrowers.iter().position(|borrower| borrower.id == by);
        let granted = borrower.is_some_and(|n| sent.borrowers[n].write);
        let write = data == RW || data == 0 && granted;
        let first = self.pages[&sent.pages[0]];
        let execute = instruction == X;
        let may = sent.live
            && borrower.is_some_and(|n| sent.borrowers[n].held.is_none())
            && (granted || !write)
            && (!uniform || instruction == 0)
            && (!execute || first.world == World::Secure && first.execute && !write)
            && !(zero_after && (sent.kind == Kind::Share || !write))
            && fault > 4;
        let answer = self.memory_call(by, MEM_RETRIEVE_REQ_64, &request);
        assert_eq!(
            answer.error().is_none(),
            may,
            "by {by:#x}: {request:x?} of {sent:x?}: {answer:?}"
        );
        let (true, Some(borrower)) = (may, borrower) else {
            return;
        };
        let response = self.run(by, move |sp| {
            let bytes = sp.read_response(&answer);
            sp.call([RX_RELEASE]).success();
            Transaction::decode(&bytes, sp.layout)
        });
        let described: Vec<u64> = response
            .constituents
            .iter()
            .flat_map(|(base, count)| (0..u64::from(*count)).map(move |n| base + n * 0x1000))
            .collect();
        assert_eq!(described, sent.pages);
        assert_eq!(response.flags, right_type | u32::from(sent.zeroed));
        let expected = if write { RW } else { RO } | if execute { X } else { NX };
        assert_eq!(response.receivers[0].permissions, expected);
        let entry = &mut self.sent[index];
        if sent.kind == Kind::Donate {
            entry.live = false;
            self.donated = true;
            for page in &sent.pages {
                let state = self.pages.get_mut(page).unwrap();
                (state.owner, state.write, state.execute) = (by, write, execute);
            }
        } else {
            entry.borrowers[borrower].held = Some((write, execute));
            entry.zero_after |= zero_after;
        }
    }

    fn relinquish(&mut self, random: &mut Random) {
        if self.sent.is_empty() {
            return;
        }
        let index = random.below(self.sent.len() as u64) as usize;
        let by = random.pick(&PARTITIONS);
        let zero = random.below(4) == 0;
        self.relinquish_one(index, by, zero);
    }

    pub fn relinquish_one(&mut self, index: usize, by: u16, zero: bool) {
        let sent = &self.sent[index];
        let held = sent
            .borrowers
            .iter()
            .find(|b| b.id == by)
            .and_then(|b| b.held);
        let may =
            sent.live && held.is_some_and(|(write, _)| !zero || write && sent.kind == Kind::Lend);
        let handle = sent.handle;
        let answer = self.run(by, move |sp| sp.relinquish(handle, zero.into()));
        assert_eq!(
            answer.error().is_none(),
            may,
            "relinquish by {by:#x} of {sent:x?}: {answer:?}"
        );
        if !may {
            return;
        }
        let sent = &mut self.sent[index];
        sent.borrowers
            .iter_mut()
            .filter(|b| b.id == by)
            .for_each(|b| b.held = None);
        sent.zero_after |= zero;
        if sent.zero_after && !sent.is_held() {
            sent.zero_after = false;
            let pages = sent.pages.clone();
            self.zero(&pages);
        }
    }

    fn reclaim(&mut self, random: &mut Random) {
        if self.sent.is_empty() {
            return;
        }
        let index = random.below(self.sent.len() as u64) as usize;
        let owner = self.sent[index].owner;
        let by = if random.below(4) == 0 {
            random.pick(&ENDPOINTS)
        } else {
            owner
        };
        self.reclaim_one(index, by, random.below(4) == 0);
    }

    pub fn reclaim_one(&mut self, index: usize, by: u16, zero: bool) {
        let sent = &self.sent[index];
        let (handle, flags) = (sent.handle, u64::from(zero));
        let can_zero = !zero || self.pages[&sent.pages[0]].write;
        let may = sent.live && sent.owner == by && !sent.is_held() && can_zero;
        let answer = if by == NWD {
            self.system
                .nwd()
                .call([MEM_RECLAIM, handle & 0xffff_ffff, handle >> 32, flags])
        } else {
            self.run(by, move |sp| sp.reclaim(handle, flags))
        };
        assert_eq!(
            answer.error().is_none(),
            may,
            "reclaim by {by:#x} of {sent:x?}: {answer:?}"
        );
        if may {
            self.sent[index].live = false;
            if zero {
                let pages = self.sent[index].pages.clone();
                self.zero(&pages);
            }
        }
    }

    /// An access through the TLBs.
    fn touch(&mut self, random: &mut Random) {
        let all: Vec<u64> = self.pages.keys().copied().collect();
        let page = random.pick(&all);
        let by = random.pick(&PARTITIONS);
        let world = self.pages[&page].world;
        let byte = random.below(256) as u8;
        let [read, write, execute] = self.access(by, page);
        let (seen, written, executed) = self.run(by, move |sp| {
            (
                sp.peek(world, page),
                sp.poke(world, page, byte),
                sp.execute(world, page).is_ok(),
            )
        });
        let expected = read.then_some(self.pages[&page].byte);
        assert_eq!(
            (seen, written, executed),
            (expected, write, execute),
            "{by:#x} at {page:#x}"
        );
        if write {
            self.pages.get_mut(&page).unwrap().byte = byte;
        }
    }
}
