//! The caches of all PEs, as far as memory and caches can differ.
//!
//! Cacheable accesses of all PEs see one value, because the data caches of PEs in one Inner
//! Shareable domain are coherent. So one set of lines stands for the data caches of every PE. An
//! access that goes around the caches, with the MMU off or to memory that is mapped as
//! Non-cacheable, sees memory, and memory differs from that value in two cases:
//!
//! - A line is dirty: somebody stored to it. Hardware may write the line back at any time, and need
//!   not before it is cleaned. Here it never does, so that a missing clean is seen.
//! - A line is stale: somebody stored to memory around the caches while a cache had the line.
//!   Nothing but an invalidation makes cacheable accesses see that store.
//!
//! A PE may read any location speculatively that the translation in use maps as Normal cacheable
//! memory, and may keep the line for any time (Arm ARM B2.7.1, Normal memory; D7.5, caches): stage
//! 2 maps all memory of a partition so, the windows of EL2 map so what the SPMC accesses, and the
//! Normal world maps its own memory so. Each of them is in use on some PE at some time, and the
//! line may have been read then. So every line is taken to be in a cache at every moment, which is
//! the worst case: each store around the caches leaves a stale line behind.
//!
//! An invalidation by a partition also cleans, since stage 2 is on (HCR_EL2.VM: DC IVAC behaves as
//! DC CIVAC). A dirty line of somebody else is then written over what the partition stored.
//!
//! Instruction caches see no stores, and those of different PEs are not coherent. Each PE may have
//! fetched any instruction before it was changed, so all that was ever stored is old for
//! instruction caches until they are invalidated on all PEs.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use spmc::addr::World;

/// Bytes of a cache line.
pub const LINE: u64 = 64;

/// The bytes of a line.
pub type Bytes = [u8; LINE as usize];

/// A line for which memory and caches differ, or may differ.
#[derive(Clone, Copy)]
pub struct Apart {
    /// The bytes that memory has.
    pub memory: Bytes,
    /// Set if caches have what was stored last and write it back; clear if memory has.
    pub dirty: bool,
}

/// The lines and instructions that caches hold and memory does not have.
#[derive(Default)]
pub struct Caches {
    apart: BTreeMap<(World, u64), Apart>,
    /// Pages of which instruction caches may hold old instructions.
    old_instructions: BTreeSet<(World, u64)>,
}

/// Returns the numbers of the lines that a range touches.
pub fn lines(range: &Range<u64>) -> Range<u64> {
    range.start / LINE..range.end.div_ceil(LINE)
}

impl Caches {
    /// Returns the line, if memory and caches differ there.
    pub fn apart(&self, world: World, line: u64) -> Option<&Apart> {
        self.apart.get(&(world, line))
    }

    /// Notes a store that goes through the caches to a line of which they hold `bytes` so far.
    pub fn store(&mut self, world: World, line: u64, bytes: impl FnOnce() -> Bytes) {
        let apart = self.apart.entry((world, line)).or_insert_with(|| Apart {
            memory: bytes(),
            dirty: true,
        });
        apart.dirty = true;
    }

    /// Returns what memory has in a line of which the caches hold `bytes`, for a store around the
    /// caches.
    pub fn store_around(
        &mut self,
        world: World,
        line: u64,
        bytes: impl FnOnce() -> Bytes,
    ) -> &mut Bytes {
        let apart = self.apart.entry((world, line)).or_insert_with(|| Apart {
            memory: bytes(),
            dirty: false,
        });
        &mut apart.memory
    }

    /// Notes a store to a page, by whatever way, as far as instruction caches go.
    pub fn change_instructions(&mut self, world: World, page: u64) {
        self.old_instructions.insert((world, page));
    }

    /// Returns whether an instruction cache may hold old instructions of a page.
    pub fn has_old_instructions(&self, world: World, page: u64) -> bool {
        self.old_instructions.contains(&(world, page))
    }

    /// Invalidates the instruction caches of all PEs, as IC IALLUIS does.
    pub fn drop_instructions(&mut self) {
        self.old_instructions.clear();
    }

    /// Writes the dirty lines of a range back, as DC CVAC does. Stale lines stay.
    pub fn clean(&mut self, world: World, range: &Range<u64>) {
        for line in self.list(world, range, |apart| apart.dirty) {
            self.apart.remove(&(world, line));
        }
    }

    /// Removes the lines of a range. Returns those that were stale, with what memory has.
    pub fn drop_lines(&mut self, world: World, range: &Range<u64>) -> Vec<(u64, Bytes)> {
        let all = self.list(world, range, |_| true);
        let removed = all
            .into_iter()
            .filter_map(|line| Some((line, self.apart.remove(&(world, line))?)));
        removed
            .filter(|(_, apart)| !apart.dirty)
            .map(|(line, apart)| (line, apart.memory))
            .collect()
    }

    /// Returns the first dirty line of a range, by address.
    pub fn dirty<'a>(
        &'a self,
        world: World,
        range: &Range<u64>,
    ) -> impl Iterator<Item = u64> + use<'a> {
        self.within(world, range)
            .filter(|(_, apart)| apart.dirty)
            .map(|(line, _)| line * LINE)
    }

    fn within<'a>(
        &'a self,
        world: World,
        range: &Range<u64>,
    ) -> impl Iterator<Item = (u64, &'a Apart)> + use<'a> {
        let lines = lines(range);
        let found = self.apart.range((world, lines.start)..(world, lines.end));
        found.map(|((_, line), apart)| (*line, apart))
    }

    fn list(&self, world: World, range: &Range<u64>, wanted: fn(&Apart) -> bool) -> Vec<u64> {
        let found = self.within(world, range);
        found
            .filter(|(_, apart)| wanted(apart))
            .map(|(line, _)| line)
            .collect()
    }
}
