//! Sparse physical memory: a Secure and a Non-secure address space, each with declared ranges.
//!
//! A page that was never written reads as zero. An access that touches undeclared memory, or a page
//! that was [protected](Memory::protect), fails as a whole.
//!
//! The memory has caches. What the SPMC stores stays in them until it is cleaned: cacheable
//! accesses see it, and an observer that goes around the caches sees what was there before. This
//! is the worst case: hardware may write a line back at any time, but need not. Such an observer is
//! a partition at S-EL1 that starts, since its MMU is off.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use spmc::addr::World;
use spmc::hal::AccessFault;

/// Bytes of a page.
pub const PAGE: u64 = 4096;

/// The contents of physical memory.
#[derive(Default)]
pub struct Memory {
    pages: BTreeMap<(World, u64), Box<[u8; PAGE as usize]>>,
    declared: Vec<(World, Range<u64>)>,
    protected: Vec<(World, Range<u64>)>,
    /// Cache lines that the SPMC wrote and that memory does not have yet, by number.
    dirty: BTreeSet<(World, u64)>,
}

/// Bytes of a cache line.
const LINE: u64 = 64;

/// Returns the numbers of the lines that a range touches.
fn lines(range: &Range<u64>) -> Range<u64> {
    range.start / LINE..range.end.div_ceil(LINE)
}

impl Memory {
    /// Puts memory at `range`.
    pub fn declare(&mut self, world: World, range: Range<u64>) {
        self.declared.push((world, range));
    }

    /// Makes accesses to `range` fail, as a granule protection check does after memory was assigned
    /// to another world.
    pub fn protect(&mut self, world: World, range: Range<u64>) {
        self.protected.push((world, range));
    }

    /// Undoes every [`Self::protect`].
    pub fn unprotect_all(&mut self) {
        self.protected.clear();
    }

    fn check(&self, world: World, from: u64, bytes: u64) -> Result<(), AccessFault> {
        let end = from.checked_add(bytes).ok_or(AccessFault)?;
        let declared = self
            .declared
            .iter()
            .any(|(w, range)| *w == world && range.start <= from && end <= range.end);
        let protected = self
            .protected
            .iter()
            .any(|(w, range)| *w == world && range.start < end && from < range.end);
        if declared && !protected {
            Ok(())
        } else {
            Err(AccessFault)
        }
    }

    /// Copies from memory.
    pub fn read(&self, world: World, from: u64, to: &mut [u8]) -> Result<(), AccessFault> {
        self.check(world, from, to.len() as u64)?;
        let mut address = from;
        let mut rest = to;
        while !rest.is_empty() {
            let offset = (address % PAGE) as usize;
            let count = rest.len().min(PAGE as usize - offset);
            let (head, tail) = rest.split_at_mut(count);
            match self.pages.get(&(world, address / PAGE)) {
                Some(page) => head.copy_from_slice(&page[offset..offset + count]),
                None => head.fill(0),
            }
            address += count as u64;
            rest = tail;
        }
        Ok(())
    }

    /// Copies to memory.
    pub fn write(&mut self, world: World, to: u64, from: &[u8]) -> Result<(), AccessFault> {
        self.check(world, to, from.len() as u64)?;
        let mut address = to;
        let mut rest = from;
        while !rest.is_empty() {
            let offset = (address % PAGE) as usize;
            let count = rest.len().min(PAGE as usize - offset);
            let (head, tail) = rest.split_at(count);
            let page = self
                .pages
                .entry((world, address / PAGE))
                .or_insert_with(|| Box::new([0; PAGE as usize]));
            page[offset..offset + count].copy_from_slice(head);
            address += count as u64;
            rest = tail;
        }
        Ok(())
    }

    /// Copies to memory by stores that stay in a cache.
    pub fn write_to_cache(
        &mut self,
        world: World,
        to: u64,
        from: &[u8],
    ) -> Result<(), AccessFault> {
        self.write(world, to, from)?;
        let written = lines(&(to..to + from.len() as u64));
        self.dirty.extend(written.map(|line| (world, line)));
        Ok(())
    }

    /// Writes the lines of a range back, as a clean to the point of coherency does.
    pub fn clean(&mut self, world: World, range: Range<u64>) {
        let cleaned = lines(&range);
        self.dirty
            .retain(|(of, line)| *of != world || !cleaned.contains(line));
    }

    /// Returns the lines of a range of which an observer without caches sees old contents, by
    /// address.
    pub fn stale(&self, world: World, range: Range<u64>) -> impl Iterator<Item = u64> + '_ {
        let seen = lines(&range);
        let dirty = self.dirty.range((world, seen.start)..(world, seen.end));
        dirty.map(|(_, line)| line * LINE)
    }

    /// Fills whole pages with zeros.
    pub fn zero(&mut self, world: World, from: u64, bytes: u64) -> Result<(), AccessFault> {
        self.check(world, from, bytes)?;
        for page in from / PAGE..(from + bytes) / PAGE {
            self.pages.remove(&(world, page));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_stale_for_others_until_it_is_cleaned() {
        let mut memory = Memory::default();
        memory.declare(World::Secure, 0x1000..0x4000);
        let stale = |memory: &Memory| memory.stale(World::Secure, 0x1000..0x2000).next();
        memory
            .write_to_cache(World::Secure, 0x1070, &[1; 32])
            .unwrap();
        assert_eq!(stale(&memory), Some(0x1040));
        memory.clean(World::Secure, 0x1000..0x1080);
        assert_eq!(stale(&memory), Some(0x1080));
        memory.clean(World::NonSecure, 0x1080..0x10c0);
        assert_eq!(stale(&memory), Some(0x1080));
        memory.clean(World::Secure, 0x108f..0x1090);
        assert_eq!(stale(&memory), None);
    }

    #[test]
    fn accesses_cross_pages_and_stay_inside_what_is_declared() {
        let mut memory = Memory::default();
        memory.declare(World::Secure, 0x1000..0x4000);
        memory.write(World::Secure, 0x1ffe, &[1, 2, 3, 4]).unwrap();
        let mut back = [0; 6];
        memory.read(World::Secure, 0x1ffd, &mut back).unwrap();
        assert_eq!(back, [0, 1, 2, 3, 4, 0]);
        assert_eq!(
            memory.read(World::NonSecure, 0x1000, &mut back),
            Err(AccessFault)
        );
        assert_eq!(
            memory.write(World::Secure, 0x3fff, &[0, 0]),
            Err(AccessFault)
        );
        memory.protect(World::Secure, 0x2000..0x3000);
        assert_eq!(
            memory.read(World::Secure, 0x1fff, &mut back),
            Err(AccessFault)
        );
    }
}
