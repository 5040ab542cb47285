//! Checks that the engine and the model agree.

use spmc::addr::{Ipa, PageRange, World};
use spmc::hal::Access;
use spmc::mm::State;

use super::pages::AROUND;
use super::{ENDPOINTS, Model, NWD, PARTITIONS};
use crate::fuzz::stage::Stage;
use crate::hal::FakeHal;
use crate::machine::{NORMAL_RAM, SECURE_RAM};

fn roots(stage: &Stage, id: u16) -> [u64; 2] {
    let partition = &stage.system.spmc.partitions[usize::from(id - 0x8001)];
    let roots = partition.frozen.roots;
    [World::Secure, World::NonSecure].map(|world| roots.of(world).raw())
}

/// Returns the numbers of pages that are mapped for a partition, in its Secure and Non-secure IPA
/// spaces.
pub(super) fn count_mapped(stage: &Stage, id: u16) -> [usize; 2] {
    let tables = stage.system.machine.tables();
    let spaces = [SECURE_RAM, NORMAL_RAM];
    let mut counts = [0; 2];
    for ((root, space), count) in roots(stage, id).into_iter().zip(spaces).zip(&mut counts) {
        tables.for_each(root, &mut |ipa, translation| {
            assert_eq!(translation.page, ipa);
            assert!(
                space.contains(&ipa),
                "{id:#x} has {ipa:#x} of the other world"
            );
            *count += 1;
        });
    }
    counts
}

impl Model {
    /// Panics unless the tables agree with the model, nobody has any other page, and no TLB holds a
    /// stale entry.
    pub fn check(&self) {
        for id in PARTITIONS {
            if !self.dead.contains(&id) {
                self.check_partition(id);
            }
        }
        for (page, state) in &self.touched {
            self.check_page(*page);
            let mut byte = [0xff];
            let memory = self.stage.system.machine.memory();
            memory.read(state.world, *page, &mut byte).expect("memory");
            assert_eq!(byte[0], state.byte, "content of {page:#x}");
            if state.byte == 0 {
                memory
                    .read_around(state.world, *page + AROUND, &mut byte)
                    .expect("memory");
                assert_eq!(byte[0], 0, "memory of {page:#x} around the caches");
            }
        }
        for sent in self.sent.iter().filter(|sent| sent.live) {
            sent.pages.iter().for_each(|page| self.check_page(*page));
        }
        self.stage.system.machine.check_tlbs();
    }

    /// Checks what hardware lets a partition do with the pages of the model, and that the partition
    /// has no other pages.
    fn check_partition(&self, id: u16) {
        let tables = self.stage.system.machine.tables();
        let roots = roots(&self.stage, id);
        let mut expected = self.mapped[&id];
        let mut pages: Vec<u64> = self.touched.keys().copied().collect();
        for sent in self.sent.iter().filter(|sent| sent.live) {
            pages.extend(&sent.pages);
        }
        pages.sort_unstable();
        pages.dedup();
        for page in pages {
            let state = self.page(page).expect("a page");
            let space = usize::from(state.world == World::NonSecure);
            let found = tables.walk(roots[space], page).ok();
            let found = found.map_or([false; 3], |found| {
                [Access::Read, Access::Write, Access::Execute].map(|access| found.permits(access))
            });
            let access = self.access(id, page);
            assert_eq!(found, access, "{id:#x} at {page:#x}");
            let base = crate::manifest::partition_base(usize::from(id - 0x8001));
            let own = base..base + crate::manifest::PARTITION_SIZE;
            expected[space] -= usize::from(own.contains(&page));
            expected[space] += usize::from(access[0]);
        }
        let found = count_mapped(&self.stage, id);
        assert_eq!(found, expected, "{id:#x} has pages that nobody gave it");
    }

    /// Checks ownership and access in the software bits of all living endpoints: a page has one
    /// owner, and exclusive access is exclusive.
    fn check_page(&self, page: u64) {
        let spmc = &self.stage.system.spmc;
        let hal = FakeHal(self.stage.system.machine.clone());
        let range = PageRange::new(Ipa::new(page), 1).expect("a page");
        let states: Vec<(u16, State)> = ENDPOINTS
            .into_iter()
            .filter(|id| !self.dead.contains(id))
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
        let owner = self.page(page).expect("a page").owner;
        let is_owner = |state: &State| {
            matches!(
                state,
                State::OwnerExclusive | State::OwnerShared | State::OwnerNoAccess
            )
        };
        let owners: Vec<u16> = states
            .iter()
            .filter(|(_, state)| is_owner(state))
            .map(|(id, _)| *id)
            .collect();
        if !self.dead.contains(&owner) {
            assert_eq!(owners, [owner], "owners of {page:#x}: {states:?}");
        }
        let exclusive = states
            .iter()
            .any(|(_, state)| matches!(state, State::OwnerExclusive | State::BorrowedExclusive));
        let with_access = states
            .iter()
            .filter(|(_, state)| !matches!(state, State::OwnerNoAccess | State::Ceded))
            .count();
        assert!(
            !exclusive || with_access == 1,
            "exclusive access to {page:#x}: {states:?}"
        );
    }
}
