//! Tracks which PEs are on, and where each of them is.

use alloc::boxed::Box;

/// The affinity of each PE that is on, with [`ON`]; 0 for one that is off.
///
/// A PE holds the lock of the places while it goes off, so that two PEs do not hand interrupts over
/// to each other.
pub struct Places(Box<[u64]>);

const ON: u64 = 1 << 63;

impl Places {
    /// No PE is on, of so many.
    pub fn new(pes: usize) -> Self {
        Self((0..pes).map(|_| 0).collect())
    }

    /// Notes that the PE with index `pe` and that affinity is on. Returns whether it was on
    /// already.
    pub fn arrive(&mut self, pe: u16, affinity: u64) -> bool {
        self.set(pe, affinity | ON) != 0
    }

    /// Notes that the PE with index `pe` goes off.
    pub fn leave(&mut self, pe: u16) {
        self.set(pe, 0);
    }

    /// Sets the place of a PE, and returns the one that it had.
    fn set(&mut self, pe: u16, place: u64) -> u64 {
        let entry = self.0.get_mut(usize::from(pe));
        entry.map_or(0, |entry| core::mem::replace(entry, place))
    }

    /// Returns the first PE that is on among the first `count`: its index and its affinity.
    pub fn first(&self, count: usize) -> Option<(u16, u64)> {
        let mut places = (0..).zip(self.0.iter().take(count));
        let (index, place) = places.find(|(_, place)| **place != 0)?;
        Some((index, place & !ON))
    }

    /// Returns whether a PE with that affinity is on.
    pub fn has(&self, affinity: u64) -> bool {
        self.0.contains(&(affinity | ON))
    }
}
