//! The state of memory when a partition starts. Its first context starts with the MMU off at S-EL1,
//! and with caches that may hold instructions of any time before, at either level.
//!
//! FF-A v1.0 section 3.5.1: all memory of the partition is clean to the point of coherency, and no
//! instruction cache holds stale copies of its executable memory.

use std::ops::Range;

use spmc::addr::World;
use spmc::hal::Roots;

use crate::machine::Machine;
use crate::memory::PAGE;

/// Panics unless the partition `id` with these roots can start in `memory`.
pub fn check(machine: &Machine, roots: &Roots, id: u16, memory: &Range<u64>) {
    let physical = machine.memory();
    let tables = machine.tables();
    tables.for_each_of(roots, World::Secure, &mut |_, found| {
        let page = found.page..found.page + PAGE;
        if !memory.contains(&page.start) {
            return;
        }
        // At S-EL0 the MMU is on from the beginning.
        let dirty = physical.dirty(World::Secure, &page).next();
        assert!(
            dirty.is_none() || roots.is_stage1(),
            "{id:#x} starts with its MMU off and does not see what was written to {dirty:x?}"
        );
        assert!(
            !found.execute || !physical.has_old_instructions(World::Secure, page.start),
            "{id:#x} starts and may execute old instructions of {page:x?}"
        );
    });
}
