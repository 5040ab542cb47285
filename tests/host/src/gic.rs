//! The interrupt controller: Secure Group 1 interrupts, as far as the engine and the tests use it.
//!
//! Shared interrupts go to the PE that they are routed to, the first one unless somebody says
//! otherwise. Private ones are not told apart by PE: tests use them on one PE only.

use std::collections::{BTreeMap, BTreeSet};

use spmc::limits::MAX_PES;

/// Shared interrupts from here on are not there, but for 32 extended ones.
pub const FIRST_MISSING: u32 = 288;

const FIRST_SHARED: u32 = 32;

/// State of the controller.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct Gic {
    configured: BTreeSet<u32>,
    enabled: BTreeSet<u32>,
    pending: BTreeSet<u32>,
    active: BTreeSet<u32>,
    /// Sources that stay asserted.
    asserted: BTreeSet<u32>,
    targets: BTreeMap<u32, usize>,
    /// PEs that are to look again.
    look_again: [bool; MAX_PES],
    /// PEs that are to look again when the Normal world has them.
    look_again_on_return: [bool; MAX_PES],
    now: u64,
}

impl Gic {
    /// An edge.
    pub fn pulse(&mut self, id: u32) {
        self.pending.insert(id);
    }

    /// A level that stays until it is taken back.
    pub fn set_level(&mut self, id: u32, asserted: bool) {
        if asserted {
            self.asserted.insert(id);
        } else {
            self.asserted.remove(&id);
        }
    }

    /// Sends a shared interrupt to that PE.
    pub fn route(&mut self, id: u32, pe: usize) {
        self.targets.insert(id, pe);
    }

    /// Returns whether the interrupt is let through.
    pub fn is_enabled(&self, id: u32) -> bool {
        self.enabled.contains(&id)
    }

    /// Returns whether the interrupt was acknowledged and not deactivated.
    pub fn is_active(&self, id: u32) -> bool {
        self.active.contains(&id)
    }

    fn first(&self, pe: usize) -> Option<u32> {
        let mut ids = self.pending.union(&self.asserted);
        ids.find(|id| {
            self.enabled.contains(id) && !self.active.contains(id) && self.target(**id) == pe
        })
        .copied()
    }

    /// All but the time.
    pub fn without_time(&self) -> Self {
        Self {
            now: 0,
            ..self.clone()
        }
    }

    /// Returns true if the interrupt was raised and not acknowledged.
    pub fn is_pending(&self, id: u32) -> bool {
        self.pending.contains(&id)
    }

    /// Returns true if the PE is to look again, now or when the Normal world has it.
    pub fn is_to_look(&self, pe: usize) -> bool {
        self.look_again[pe] || self.look_again_on_return[pe]
    }

    /// Returns whether the PE has an interrupt to take.
    pub fn has_interrupt(&self, pe: usize) -> bool {
        self.look_again[pe] || self.first(pe).is_some()
    }

    pub(crate) fn acknowledge(&mut self, pe: usize) -> Option<u32> {
        self.look_again[pe] = false;
        let id = self.first(pe)?;
        self.pending.remove(&id);
        self.active.insert(id);
        Some(id)
    }

    pub(crate) fn deactivate(&mut self, id: u32) {
        assert!(
            self.configured.contains(&id) || self.active.contains(&id),
            "interrupt {id}, which is nobody's, is deactivated"
        );
        self.active.remove(&id);
    }

    pub(crate) fn configure(&mut self, id: u32, target: usize) -> bool {
        let is_there = id < FIRST_MISSING || (4096..4128).contains(&id);
        if is_there {
            self.configured.insert(id);
            self.enabled.remove(&id);
            self.active.remove(&id);
            self.pending.remove(&id);
            if id >= FIRST_SHARED {
                self.route(id, target);
            }
        }
        is_there
    }

    /// The PE that a shared interrupt is sent to.
    pub fn target(&self, id: u32) -> usize {
        self.targets.get(&id).copied().unwrap_or(0)
    }

    pub(crate) fn move_from(&mut self, id: u32, from: usize, to: usize) -> bool {
        let is_there = self.target(id) == from;
        if is_there {
            self.route(id, to);
        }
        is_there
    }

    pub(crate) fn enable(&mut self, id: u32, enable: bool) {
        if enable {
            if id >= FIRST_MISSING && !self.configured.contains(&id) {
                return;
            }
            assert!(
                self.configured.contains(&id),
                "interrupt {id} is enabled before it was configured"
            );
            self.enabled.insert(id);
        } else {
            self.enabled.remove(&id);
        }
    }

    pub(crate) fn look_again_elsewhere(&mut self, this: usize) {
        for (pe, flag) in self.look_again.iter_mut().enumerate() {
            *flag |= pe != this;
        }
    }

    pub(crate) fn look_again_here(&mut self, pe: usize) {
        self.look_again[pe] = true;
    }

    pub(crate) fn look_again_on_return(&mut self, pe: usize) {
        self.look_again_on_return[pe] = true;
    }

    /// The Normal world gets the PE back.
    pub(crate) fn leave(&mut self, pe: usize) {
        self.look_again[pe] |= std::mem::take(&mut self.look_again_on_return[pe]);
    }

    /// Lets time go on, which stands still otherwise.
    pub fn pass(&mut self, time: u64) {
        self.now += time;
    }

    /// The time, in microseconds.
    pub fn now(&self) -> u64 {
        self.now
    }

    /// For a test that wants an interrupt that nobody claimed.
    pub fn let_through(&mut self, id: u32) {
        self.enabled.insert(id);
    }
}
