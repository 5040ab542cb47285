//! The table: what every page and every transaction is in, and whether the engine agrees.

use std::collections::BTreeMap;

use host_tests::ffa::*;
use host_tests::manifest::partition_base;
use host_tests::snapshot::Snapshot;
use host_tests::system::NWD_PAGES;
use host_tests::{PartitionSpec, Regs, Remote, System};
use spmc::addr::{Ipa, PageRange, World};
use spmc::hal::Access;
use spmc::mm::State;

pub const NWD: u16 = 0;
pub const PARTITIONS: [u16; 3] = [0x8001, 0x8002, 0x8003];
pub const ENDPOINTS: [u16; 4] = [NWD, 0x8001, 0x8002, 0x8003];
/// Live transactions at most, below what the engine can hold.
pub const MAX_LIVE: usize = 12;

/// Everything that happens to one page.
#[derive(Clone, Copy, Debug)]
pub struct Page {
    pub world: World,
    pub owner: u16,
    /// Whether the owner may write and execute while it has access; it may always read.
    pub write: bool,
    pub execute: bool,
    /// First byte of the content.
    pub byte: u8,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    Share,
    Lend,
    Donate,
}

/// What a borrower has: may it write, may it execute.
pub type Held = (bool, bool);

#[derive(Clone, Debug)]
pub struct Borrower {
    pub id: u16,
    /// Data permission that the owner gave; the owner's own in a donation.
    pub write: bool,
    pub held: Option<Held>,
}

#[derive(Clone, Debug)]
pub struct Sent {
    pub kind: Kind,
    pub owner: u16,
    pub handle: u64,
    pub tag: u64,
    pub pages: Vec<u64>,
    pub borrowers: Vec<Borrower>,
    pub zeroed: bool,
    pub zero_after: bool,
    pub live: bool,
}

impl Sent {
    pub fn is_held(&self) -> bool {
        self.borrowers
            .iter()
            .any(|borrower| borrower.held.is_some())
    }
}

pub struct Model {
    pub system: System,
    pub remotes: Vec<Remote>,
    pub initial: Snapshot,
    /// Pages mapped for each partition apart from those below, in each IPA space.
    pub unmoved: BTreeMap<u16, [usize; 2]>,
    pub pages: BTreeMap<u64, Page>,
    pub sent: Vec<Sent>,
    pub donated: bool,
}

impl Model {
    pub fn new(seed: u64) -> Self {
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
    pub fn memory_call(&self, by: u16, function: u64, transaction: &Transaction) -> Regs {
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

    pub fn run<T: Send + 'static>(
        &self,
        id: u16,
        task: impl FnOnce(&mut host_tests::Sp) -> T + Send + 'static,
    ) -> T {
        self.remotes[usize::from(id - 0x8001)].run(self.system.nwd(), id, task)
    }

    pub fn sent_page(&self, page: u64) -> Option<&Sent> {
        self.sent
            .iter()
            .find(|sent| sent.live && sent.pages.contains(&page))
    }

    /// What `id` can do with `page`: read, write, execute.
    pub fn access(&self, id: u16, page: u64) -> [bool; 3] {
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

    pub fn zero(&mut self, pages: &[u64]) {
        for page in pages {
            self.pages.get_mut(page).unwrap().byte = 0;
        }
    }

    /// Pages mapped for a partition in its Secure and Non-secure IPA space.
    pub fn mapped(&self, id: u16) -> [usize; 2] {
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
    pub fn check(&self) {
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
    pub fn end(&mut self) {
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
