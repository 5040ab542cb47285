//! The interrupt controller, as far as the engine and the tests use it: Secure Group 1 interrupts.
//!
//! A shared interrupt goes to the PE to which it is routed, which is the first PE by default.
//! Private interrupts of different PEs are not distinguished: tests use them on one PE only.

use std::collections::{BTreeMap, BTreeSet};

/// Shared interrupts from this INTID on are not implemented, except 32 extended ones. There are 32
/// extended private interrupts, too.
pub const FIRST_MISSING: u32 = 288;

const FIRST_SHARED: u32 = 32;

/// The first INTID of extended private interrupts.
const EXTENDED_PRIVATE: u32 = 1056;

/// The state of the controller.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Gic {
    configured: BTreeSet<u32>,
    enabled: BTreeSet<u32>,
    pending: BTreeSet<u32>,
    active: BTreeSet<u32>,
    /// Level-sensitive sources that are asserted.
    asserted: BTreeSet<u32>,
    targets: BTreeMap<u32, usize>,
    /// PEs that are due to look at their interrupts again.
    look_again: Vec<bool>,
    /// PEs that are due to look again when the Normal world gets them back.
    look_again_on_return: Vec<bool>,
    /// The time at which the Normal world is stopped on each PE, if there is one.
    alarms: Vec<Option<u64>>,
    now: u64,
}

impl Gic {
    /// Makes the controller of that many PEs.
    pub fn new(pes: usize) -> Self {
        Self {
            configured: BTreeSet::new(),
            enabled: BTreeSet::new(),
            pending: BTreeSet::new(),
            active: BTreeSet::new(),
            asserted: BTreeSet::new(),
            targets: BTreeMap::new(),
            look_again: vec![false; pes],
            look_again_on_return: vec![false; pes],
            alarms: vec![None; pes],
            now: 0,
        }
    }

    /// Makes an edge-triggered interrupt pending.
    pub fn pulse(&mut self, id: u32) {
        self.pending.insert(id);
    }

    /// Asserts or deasserts a level-sensitive interrupt.
    pub fn set_level(&mut self, id: u32, asserted: bool) {
        if asserted {
            self.asserted.insert(id);
        } else {
            self.asserted.remove(&id);
        }
    }

    /// Routes a shared interrupt to that PE.
    pub fn route(&mut self, id: u32, pe: usize) {
        self.targets.insert(id, pe);
    }

    /// Returns whether the interrupt is enabled.
    pub fn is_enabled(&self, id: u32) -> bool {
        self.enabled.contains(&id)
    }

    /// Returns whether the interrupt was acknowledged and not deactivated since.
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

    /// Returns the state without the time.
    pub fn without_time(&self) -> Self {
        Self {
            now: 0,
            ..self.clone()
        }
    }

    /// Returns whether the interrupt was raised and not acknowledged since.
    pub fn is_pending(&self, id: u32) -> bool {
        self.pending.contains(&id)
    }

    /// Returns whether the PE is due to look again, now or when the Normal world gets it back.
    pub fn is_to_look(&self, pe: usize) -> bool {
        self.look_again[pe] || self.look_again_on_return[pe]
    }

    /// Returns whether there is an interrupt for the PE.
    pub fn has_interrupt(&self, pe: usize) -> bool {
        self.look_again[pe] || self.first(pe).is_some()
    }

    pub(crate) fn stop_normal_world_at(&mut self, pe: usize, time: u64) {
        self.alarms[pe] = Some(time);
    }

    /// Returns the time at which the Normal world is stopped on the PE, if there is one.
    pub fn alarm(&self, pe: usize) -> Option<u64> {
        self.alarms[pe]
    }

    /// Makes the PE lose its timer, as at a suspend with loss of power.
    pub fn lose_alarm(&mut self, pe: usize) {
        self.alarms[pe] = None;
    }

    /// Takes the alarm of the PE, if it is due.
    pub(crate) fn take_alarm(&mut self, pe: usize) -> bool {
        self.alarms[pe].take_if(|time| *time <= self.now).is_some()
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
        let is_there = matches!(id, 0..FIRST_MISSING | 4096..4128 | EXTENDED_PRIVATE..1088);
        if is_there {
            self.configured.insert(id);
            self.enabled.remove(&id);
            self.active.remove(&id);
            self.pending.remove(&id);
            if id >= FIRST_SHARED && !(EXTENDED_PRIVATE..1120).contains(&id) {
                self.route(id, target);
            }
        }
        is_there
    }

    /// Returns the PE to which a shared interrupt is routed.
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

    /// Makes the PE look at its interrupts again.
    pub fn look_again_here(&mut self, pe: usize) {
        self.look_again[pe] = true;
    }

    pub(crate) fn look_again_on_return(&mut self, pe: usize) {
        self.look_again_on_return[pe] = true;
    }

    /// Notes that the Normal world gets the PE back.
    pub(crate) fn leave(&mut self, pe: usize) {
        self.look_again[pe] |= std::mem::take(&mut self.look_again_on_return[pe]);
    }

    /// Advances the time, which otherwise stands still.
    pub fn pass(&mut self, time: u64) {
        self.now += time;
    }

    /// Returns the time in microseconds.
    pub fn now(&self) -> u64 {
        self.now
    }

    /// Enables an interrupt that no partition has claimed.
    pub fn let_through(&mut self, id: u32) {
        self.enabled.insert(id);
    }
}
