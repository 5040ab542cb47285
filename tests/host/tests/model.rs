//! The model: random memory calls of everybody against a table that says for each page who owns it, who has it, and how.
//!
//! After every call the stage-2 tables must say exactly what the table says, and every access of a partition must end as the table
//! says. A failure is shrunk to few calls. `HOST_MODEL_CASES` sets how many sequences are tried, `HOST_MODEL_SEED` which.

use std::collections::BTreeMap;

use host_tests::ffa::*;
use host_tests::manifest::partition_base;
use host_tests::schedule::Random;
use host_tests::snapshot::Snapshot;
use host_tests::system::NWD_PAGES;
use host_tests::{PartitionSpec, Regs, Remote, System};
use proptest::collection::vec;
use proptest::prelude::any;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestRng, TestRunner};
use spmc::addr::{Ipa, PageRange, World};
use spmc::hal::Access;
use spmc::mm::State;

const NWD: u16 = 0;
const PARTITIONS: [u16; 3] = [0x8001, 0x8002, 0x8003];
const ENDPOINTS: [u16; 4] = [NWD, 0x8001, 0x8002, 0x8003];
/// Live transactions at most, below what the engine can hold.
const MAX_LIVE: usize = 12;

/// Everything that happens to one page.
#[derive(Clone, Copy, Debug)]
struct Page {
    world: World,
    owner: u16,
    /// Whether the owner may write and execute while it has access; it may always read.
    write: bool,
    execute: bool,
    /// First byte of the content.
    byte: u8,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Share,
    Lend,
    Donate,
}

/// What a borrower has: may it write, may it execute.
type Held = (bool, bool);

#[derive(Clone, Debug)]
struct Borrower {
    id: u16,
    /// Data permission that the owner gave; the owner's own in a donation.
    write: bool,
    held: Option<Held>,
}

#[derive(Clone, Debug)]
struct Sent {
    kind: Kind,
    owner: u16,
    handle: u64,
    tag: u64,
    pages: Vec<u64>,
    borrowers: Vec<Borrower>,
    zeroed: bool,
    zero_after: bool,
    live: bool,
}

impl Sent {
    fn is_held(&self) -> bool {
        self.borrowers
            .iter()
            .any(|borrower| borrower.held.is_some())
    }
}

struct Model {
    system: System,
    remotes: Vec<Remote>,
    initial: Snapshot,
    /// Pages mapped for each partition apart from those below, in each IPA space.
    unmoved: BTreeMap<u16, [usize; 2]>,
    pages: BTreeMap<u64, Page>,
    sent: Vec<Sent>,
    donated: bool,
}

impl Model {
    fn new(seed: u64) -> Self {
        let mut builder = System::builder().tables(1024).seed(seed);
        let mut remotes = Vec::new();
        for (index, name) in ["sp1", "sp2", "sp3"].into_iter().enumerate() {
            // One partition of each version.
            let (spec, remote) = Remote::control(PartitionSpec::new(name).version(index as u32));
            builder = builder.sp(spec);
            remotes.push(remote);
        }
        let system = builder.boot();
        system.nwd().map_buffers();
        let mut pages = BTreeMap::new();
        let mut add = |base: u64, count: u64, world, owner, execute| {
            for n in 0..count {
                pages.insert(
                    base + n * 0x1000,
                    Page {
                        world,
                        owner,
                        write: true,
                        execute,
                        byte: 0,
                    },
                );
            }
        };
        add(NWD_PAGES, 4, World::NonSecure, NWD, false);
        // Around a border of 2 MiB.
        add(0x423f_e000, 4, World::NonSecure, NWD, false);
        for (index, id) in PARTITIONS.into_iter().enumerate() {
            add(partition_base(index) + 0x4_0000, 4, World::Secure, id, true);
        }
        let mut model = Self {
            initial: system.snapshot(),
            system,
            remotes,
            unmoved: BTreeMap::new(),
            pages,
            sent: Vec::new(),
            donated: false,
        };
        for id in PARTITIONS {
            let mapped = model.mapped(id);
            model.unmoved.insert(id, [mapped[0] - 4, mapped[1]]);
        }
        model
    }

    /// Runs a call with a descriptor for any endpoint.
    fn memory_call(&self, by: u16, function: u64, transaction: &Transaction) -> Regs {
        if by == NWD {
            return self
                .system
                .nwd()
                .memory_call(function, &transaction.encode(Layout::V1_2));
        }
        let transaction = transaction.clone();
        self.run(by, move |sp| {
            let layout = sp.layout;
            sp.memory_call(function, &transaction.encode(layout))
        })
    }

    fn run<T: Send + 'static>(
        &self,
        id: u16,
        task: impl FnOnce(&mut host_tests::Sp) -> T + Send + 'static,
    ) -> T {
        self.remotes[usize::from(id - 0x8001)].run(self.system.nwd(), id, task)
    }

    fn sent_page(&self, page: u64) -> Option<&Sent> {
        self.sent
            .iter()
            .find(|sent| sent.live && sent.pages.contains(&page))
    }

    /// What `id` can do with `page`: read, write, execute.
    fn access(&self, id: u16, page: u64) -> [bool; 3] {
        let state = &self.pages[&page];
        let sent = self.sent_page(page);
        if state.owner == id {
            let has = sent.is_none_or(|sent| sent.kind == Kind::Share);
            return [has, has && state.write, has && state.execute];
        }
        let held = sent
            .and_then(|sent| sent.borrowers.iter().find(|borrower| borrower.id == id))
            .and_then(|borrower| borrower.held);
        held.map_or([false; 3], |(write, execute)| [true, write, execute])
    }

    fn zero(&mut self, pages: &[u64]) {
        for page in pages {
            self.pages.get_mut(page).unwrap().byte = 0;
        }
    }

    /// One random call. Its outcome must be what the table says.
    fn step(&mut self, random: &mut Random) {
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

    fn relinquish_one(&mut self, index: usize, by: u16, zero: bool) {
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

    fn reclaim_one(&mut self, index: usize, by: u16, zero: bool) {
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

    /// Pages mapped for a partition in its Secure and Non-secure IPA space.
    fn mapped(&self, id: u16) -> [usize; 2] {
        let roots = self.roots(id);
        [(World::Secure, roots.0), (World::NonSecure, roots.1)].map(|(world, root)| {
            let mut count = 0;
            self.system
                .machine
                .tables()
                .for_each(root, &mut |ipa, translation| {
                    assert_eq!(translation.page, ipa);
                    let range = match world {
                        World::Secure => host_tests::machine::SECURE_RAM,
                        World::NonSecure => host_tests::machine::NORMAL_RAM,
                    };
                    assert!(
                        range.contains(&ipa),
                        "{id:#x} has {ipa:#x} of the other world"
                    );
                    count += 1;
                });
            count
        })
    }

    fn roots(&self, id: u16) -> (u64, u64) {
        let partition = &self.system.spmc.partitions[usize::from(id - 0x8001)];
        let roots = partition.frozen().expect("it boots").roots;
        (roots.secure.raw(), roots.non_secure.raw())
    }

    /// The tables say what the model says.
    fn check(&self) {
        let machine = &self.system.machine;
        let spmc = &self.system.spmc;
        let hal = host_tests::hal::FakeHal(machine.clone());
        for id in PARTITIONS {
            let (secure, non_secure) = self.roots(id);
            let mut expected = self.unmoved[&id];
            for (page, state) in &self.pages {
                let root = if state.world == World::Secure {
                    secure
                } else {
                    non_secure
                };
                let access = self.access(id, *page);
                let found = machine
                    .tables()
                    .walk(root, *page)
                    .ok()
                    .map_or([false; 3], |found| {
                        [Access::Read, Access::Write, Access::Execute]
                            .map(|access| found.permits(access))
                    });
                assert_eq!(found, access, "{id:#x} at {page:#x}");
                expected[usize::from(state.world == World::NonSecure)] += usize::from(access[0]);
            }
            assert_eq!(
                self.mapped(id),
                expected,
                "{id:#x} has pages that nobody gave it"
            );
        }
        for (page, state) in &self.pages {
            let range = PageRange::new(Ipa::new(*page), 1).unwrap();
            let states: Vec<(u16, State)> = ENDPOINTS
                .into_iter()
                .filter_map(|id| {
                    let endpoint = if id == NWD {
                        &spmc.normal_world
                    } else {
                        &spmc.partitions[usize::from(id - 0x8001)].endpoint
                    };
                    let (_, leaf) = endpoint.memory.lock().inspect(&hal, [range].into_iter())?;
                    Some((id, leaf.state()?))
                })
                .collect();
            let owners: Vec<u16> = states
                .iter()
                .filter(|(_, state)| {
                    matches!(
                        state,
                        State::OwnerExclusive | State::OwnerShared | State::OwnerNoAccess
                    )
                })
                .map(|(id, _)| *id)
                .collect();
            assert_eq!(owners, [state.owner], "owners of {page:#x}: {states:?}");
            let exclusive = states.iter().any(|(_, state)| {
                matches!(state, State::OwnerExclusive | State::BorrowedExclusive)
            });
            let with_access = states
                .iter()
                .filter(|(_, state)| !matches!(state, State::OwnerNoAccess | State::Ceded))
                .count();
            assert!(
                !exclusive || with_access == 1,
                "exclusive access to {page:#x}: {states:?}"
            );
        }
        machine.check_tlbs();
    }

    /// Everybody gives everything back; without donations all is then as it was.
    fn end(&mut self) {
        for index in 0..self.sent.len() {
            for by in PARTITIONS {
                let held = self.sent[index]
                    .borrowers
                    .iter()
                    .any(|b| b.id == by && b.held.is_some());
                if self.sent[index].live && held {
                    self.relinquish_one(index, by, false);
                }
            }
            if self.sent[index].live {
                let owner = self.sent[index].owner;
                self.reclaim_one(index, owner, false);
            }
        }
        self.check();
        if !self.donated {
            assert_eq!(
                self.system.snapshot(),
                self.initial,
                "pool pages are conserved"
            );
        }
    }
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name)
        .ok()
        .and_then(|value| value.parse().ok())
        .unwrap_or(default)
}

// req: MEMO-03, MEMO-08, MEMO-09, MEMO-10, MEMO-11, MEMO-15, MEMO-16, MEMO-17, MEMO-18, MEMO-25, MEMO-27, MEMO-28, MEMO-30
// req: MEMO-33, MEMO-35, MEMD-38, MEMD-40, MEMD-82, MEMX-09, MEMX-18, MEMX-20, MEMRL-08, MEMRL-14, MEMRC-06, MEMRC-10, GEN-03
#[test]
fn every_page_is_in_one_state_and_tables_say_which() {
    let config = Config {
        cases: number("HOST_MODEL_CASES", 32) as u32,
        failure_persistence: None,
        max_shrink_iters: 400,
        ..Config::default()
    };
    let mut seed = [0; 32];
    seed[..8].copy_from_slice(&number("HOST_MODEL_SEED", 1).to_le_bytes());
    let random = TestRng::from_seed(RngAlgorithm::ChaCha, &seed);
    let outcome =
        TestRunner::new_with_rng(config, random).run(&vec(any::<u64>(), 1..80), |steps| {
            let mut model = Model::new(steps[0]);
            for step in &steps {
                model.step(&mut Random::new(*step));
                model.check();
            }
            model.end();
            Ok::<(), TestCaseError>(())
        });
    if let Err(failure) = outcome {
        panic!("{failure}");
    }
}
