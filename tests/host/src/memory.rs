//! Sparse physical memory: a Secure and a Non-secure address space, each with declared ranges.
//!
//! A page that was never written reads as zero. An access that touches undeclared memory, or a page
//! that was [protected](Memory::protect), fails as a whole.
//!
//! Accesses go through the [caches](crate::caches), except those `around` them: those of a
//! partition whose MMU is off, or of whoever maps memory as Non-cacheable.

use std::collections::BTreeMap;
use std::ops::Range;

use spmc::addr::World;
use spmc::hal::AccessFault;

use crate::caches::{Bytes, Caches, LINE, lines};

/// Bytes of a page.
pub const PAGE: u64 = 4096;

/// The contents of pages, by number.
type Pages = BTreeMap<(World, u64), Box<[u8; PAGE as usize]>>;

/// The contents of physical memory.
#[derive(Default)]
pub struct Memory {
    /// The contents that cacheable accesses see.
    pages: Pages,
    declared: Vec<(World, Range<u64>)>,
    protected: Vec<(World, Range<u64>)>,
    caches: Caches,
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

    /// Copies from memory, as the caches show it.
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

    /// Copies to memory by stores that stay in the caches.
    pub fn write(&mut self, world: World, to: u64, from: &[u8]) -> Result<(), AccessFault> {
        let bytes = from.len() as u64;
        self.check(world, to, bytes)?;
        for line in lines(&(to..to + bytes)) {
            self.caches
                .store(world, line, || line_of(&self.pages, world, line));
        }
        self.store(world, to, from);
        Ok(())
    }

    /// Changes what the caches show.
    fn store(&mut self, world: World, to: u64, from: &[u8]) {
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
            self.caches.change_instructions(world, address / PAGE);
            address += count as u64;
            rest = tail;
        }
    }

    /// Copies from memory, around the caches.
    pub fn read_around(&self, world: World, from: u64, to: &mut [u8]) -> Result<(), AccessFault> {
        self.read(world, from, to)?;
        let range = from..from + to.len() as u64;
        for line in lines(&range) {
            if let Some(apart) = self.caches.apart(world, line) {
                let (there, here) = overlap(line, &range);
                to[here].copy_from_slice(&apart.memory[there]);
            }
        }
        Ok(())
    }

    /// Copies to memory, around the caches, which keep what they hold.
    pub fn write_around(&mut self, world: World, to: u64, from: &[u8]) -> Result<(), AccessFault> {
        let range = to..to + from.len() as u64;
        self.check(world, to, from.len() as u64)?;
        for line in lines(&range) {
            let (there, here) = overlap(line, &range);
            let old = || line_of(&self.pages, world, line);
            let memory = self.caches.store_around(world, line, old);
            memory[there].copy_from_slice(&from[here]);
            self.caches.change_instructions(world, line * LINE / PAGE);
        }
        Ok(())
    }

    /// Cleans a range to the point of coherency, as DC CVAC does.
    pub fn clean(&mut self, world: World, range: &Range<u64>) {
        self.caches.clean(world, range);
    }

    /// Cleans and invalidates a range to the point of coherency, as DC CIVAC does, and DC IVAC of a
    /// partition.
    pub fn clean_and_invalidate(&mut self, world: World, range: &Range<u64>) {
        for (line, memory) in self.caches.drop_lines(world, range) {
            self.store(world, line * LINE, &memory);
        }
    }

    /// Invalidates the instruction caches of all PEs.
    pub fn drop_instructions(&mut self) {
        self.caches.drop_instructions();
    }

    /// Returns the dirty lines of a range, by address: an observer without caches sees old contents
    /// there, and loses what it stores.
    pub fn dirty(&self, world: World, range: &Range<u64>) -> impl Iterator<Item = u64> + '_ {
        self.caches.dirty(world, range)
    }

    /// Returns whether an instruction cache may hold old instructions of the page at `address`.
    pub fn has_old_instructions(&self, world: World, address: u64) -> bool {
        self.caches.has_old_instructions(world, address / PAGE)
    }

    /// Fills whole pages with zeros and cleans them to the point of coherency. Each line is written
    /// as a whole, so that none of it is stale afterwards.
    pub fn zero(&mut self, world: World, from: u64, bytes: u64) -> Result<(), AccessFault> {
        self.check(world, from, bytes)?;
        let range = from..from + bytes;
        self.caches.drop_lines(world, &range);
        for page in from / PAGE..(from + bytes) / PAGE {
            self.pages.remove(&(world, page));
            self.caches.change_instructions(world, page);
        }
        Ok(())
    }
}

/// Returns the bytes of a line.
fn line_of(pages: &Pages, world: World, line: u64) -> Bytes {
    let page = pages.get(&(world, line * LINE / PAGE));
    let offset = (line * LINE % PAGE) as usize;
    let bytes = page.and_then(|page| page[offset..].first_chunk());
    bytes.copied().unwrap_or([0; LINE as usize])
}

/// Returns the part of a line that lies in `range`, as offsets in the line and in the range.
fn overlap(line: u64, range: &Range<u64>) -> (Range<usize>, Range<usize>) {
    let first = (line * LINE).max(range.start);
    let end = ((line + 1) * LINE).min(range.end);
    let from = |base: u64| (first - base) as usize..(end - base) as usize;
    (from(line * LINE), from(range.start))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn memory() -> Memory {
        let mut memory = Memory::default();
        memory.declare(World::Secure, 0x1000..0x4000);
        memory
    }

    /// Returns the byte as the caches show it, and as memory has it.
    fn both(memory: &Memory, at: u64) -> [u8; 2] {
        let [mut cached, mut around] = [[0xff]; 2];
        memory.read(World::Secure, at, &mut cached).unwrap();
        memory.read_around(World::Secure, at, &mut around).unwrap();
        [cached[0], around[0]]
    }

    #[test]
    fn what_is_written_is_in_memory_when_it_is_cleaned() {
        let mut memory = memory();
        let dirty = |memory: &Memory| memory.dirty(World::Secure, &(0x1000..0x2000)).next();
        memory.write(World::Secure, 0x1070, &[1; 32]).unwrap();
        assert_eq!(dirty(&memory), Some(0x1040));
        assert_eq!(both(&memory, 0x1070), [1, 0]);
        memory.clean(World::Secure, &(0x1000..0x1080));
        assert_eq!(dirty(&memory), Some(0x1080));
        assert_eq!(both(&memory, 0x1070), [1, 1]);
        memory.clean(World::NonSecure, &(0x1080..0x10c0));
        assert_eq!(dirty(&memory), Some(0x1080));
        memory.clean(World::Secure, &(0x108f..0x1090));
        assert_eq!(dirty(&memory), None);
    }

    #[test]
    fn what_goes_around_the_caches_is_seen_when_they_are_invalidated() {
        let mut memory = memory();
        memory
            .write_around(World::Secure, 0x103e, &[1, 2, 3])
            .unwrap();
        assert_eq!(both(&memory, 0x1040), [0, 3]);
        // A clean of a clean line does nothing.
        memory.clean(World::Secure, &(0x1000..0x2000));
        assert_eq!(both(&memory, 0x1040), [0, 3]);
        memory.clean_and_invalidate(World::Secure, &(0x1040..0x1041));
        assert_eq!(both(&memory, 0x1040), [3, 3]);
        assert_eq!(both(&memory, 0x103f), [0, 2]);
    }

    #[test]
    fn a_dirty_line_is_written_over_what_went_around_it() {
        let mut memory = memory();
        memory.write(World::Secure, 0x1000, &[1; 4]).unwrap();
        memory.write_around(World::Secure, 0x1000, &[2; 8]).unwrap();
        assert_eq!(both(&memory, 0x1004), [0, 2]);
        memory.clean_and_invalidate(World::Secure, &(0x1000..0x1008));
        assert_eq!(both(&memory, 0x1000), [1, 1]);
        assert_eq!(both(&memory, 0x1004), [0, 0]);
    }

    #[test]
    fn zeroing_reaches_memory_and_caches() {
        let mut memory = memory();
        memory.write(World::Secure, 0x1000, &[1; 4]).unwrap();
        memory.write_around(World::Secure, 0x1040, &[2; 4]).unwrap();
        memory.zero(World::Secure, 0x1000, PAGE).unwrap();
        assert_eq!(both(&memory, 0x1000), [0, 0]);
        assert_eq!(both(&memory, 0x1040), [0, 0]);
    }

    #[test]
    fn instruction_caches_see_no_stores() {
        let mut memory = memory();
        let old = |memory: &Memory| memory.has_old_instructions(World::Secure, 0x1ffc);
        memory.write(World::Secure, 0x1000, &[1; 4]).unwrap();
        memory.clean(World::Secure, &(0x1000..0x2000));
        assert!(old(&memory));
        memory.drop_instructions();
        assert!(!old(&memory));
        memory.write_around(World::Secure, 0x1040, &[1; 4]).unwrap();
        assert!(old(&memory));
    }

    #[test]
    fn accesses_cross_pages_and_stay_inside_what_is_declared() {
        let mut memory = memory();
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
