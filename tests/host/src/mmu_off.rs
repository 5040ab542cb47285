//! Accesses around the caches, which endpoints make whose MMU is off, and the maintenance that such
//! endpoints owe (FF-A v1.0 section 4.2.2.3).

use std::ops::Range;

use spmc::addr::World;
use spmc::hal::Access;

use crate::guest::Sp;
use crate::memory::PAGE;
use crate::system::Nwd;

impl Sp {
    /// Returns the physical address of memory that the partition can access, within one page.
    #[track_caller]
    fn place(&mut self, world: World, ipa: u64, bytes: usize, access: Access) -> u64 {
        assert!(
            ipa % PAGE + bytes as u64 <= PAGE,
            "an access to several pages"
        );
        self.access(world, ipa, access).expect("its own memory")
    }

    /// Reads its memory within one page, with the MMU off.
    #[track_caller]
    pub fn read_around<const N: usize>(&mut self, world: World, ipa: u64) -> [u8; N] {
        let from = self.place(world, ipa, N, Access::Read);
        let mut bytes = [0; N];
        let machine = self.machine();
        let read = machine.memory().read_around(world, from, &mut bytes);
        read.expect("memory");
        bytes
    }

    /// Writes its memory within one page, with the MMU off.
    #[track_caller]
    pub fn write_around(&mut self, world: World, ipa: u64, bytes: &[u8]) {
        let to = self.place(world, ipa, bytes.len(), Access::Write);
        let machine = self.machine();
        let written = machine.memory().write_around(world, to, bytes);
        written.expect("memory");
    }

    /// Cleans and invalidates the caches for a range of its memory within one page. An invalidation
    /// does the same, since stage 2 is on.
    #[track_caller]
    pub fn maintain(&mut self, world: World, range: Range<u64>) {
        let bytes = (range.end - range.start) as usize;
        let from = self.place(world, range.start, bytes, Access::Read);
        let machine = self.machine();
        let lines = from..from + bytes as u64;
        machine.memory().clean_and_invalidate(world, &lines);
    }
}

impl Nwd<'_> {
    /// Reads Normal-world memory around the caches.
    pub fn read_around<const N: usize>(&self, address: u64) -> [u8; N] {
        let mut bytes = [0; N];
        let memory = self.system.machine.memory();
        let read = memory.read_around(World::NonSecure, address, &mut bytes);
        read.expect("memory");
        bytes
    }

    /// Writes Normal-world memory around the caches.
    pub fn write_around(&self, address: u64, bytes: &[u8]) {
        let mut memory = self.system.machine.memory();
        let written = memory.write_around(World::NonSecure, address, bytes);
        written.expect("memory");
    }

    /// Cleans and invalidates the caches for a range of Normal-world memory.
    pub fn maintain(&self, range: Range<u64>) {
        let mut memory = self.system.machine.memory();
        memory.clean_and_invalidate(World::NonSecure, &range);
    }
}
