//! Interrupts of partitions as state: the virtual lines of each execution context, and the owners
//! of physical interrupts (FF-A v1.1 chapter 9).
//!
//! A partition knows interrupts by id. Here they are *lines*, bits of a word: the lowest are the
//! physical interrupts of its manifest, in their order, and the highest those that the SPMC makes
//! up. The ids of the latter, and the calls that partitions use, are Hafnium's.
//!
//! Nothing here runs a partition or knows hardware; see `dispatch::run::interrupt`.

mod calling;
mod flood;
mod lines;
mod owners;
mod places;

pub use calling::{Calling, Seat, in_turn};
pub use flood::{Flood, Source};
pub use lines::{Left, Lines, Signals};
pub use owners::Owners;
pub use places::Places;

use alloc::boxed::Box;

use crate::bits::ones;
use crate::limits::MAX_PARTITION_INTERRUPTS;
use crate::manifest::config::{DeviceInterrupt, PartitionConfig};

const _: () = assert!(MAX_PARTITION_INTERRUPTS <= Line::PHYSICAL.count_ones() as usize);

/// A line, by the number of its bit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Line(u8);

impl Line {
    /// The first physical interrupt.
    pub(crate) const FIRST: Self = Self(0);
    /// The virtual timer, id 3.
    pub const TIMER: Self = Self(63);
    /// The request to leave because of a Non-secure interrupt, id 4.
    pub const MANAGED_EXIT: Self = Self(62);
    /// Notifications are pending, id 5.
    pub const NOTIFICATION: Self = Self(61);
    /// Another context of the partition calls, id 9.
    pub const IPI: Self = Self(60);

    /// Interrupts of other partitions wait until the context gives the PE up. This line is never
    /// enabled, so no partition sees it.
    pub const QUEUED: Self = Self(59);

    /// Lines that make a waiting context run: interrupts that it must handle itself. Notifications
    /// wait for the Normal world to give it cycles.
    pub const WAKING: u64 = Self::STOPPING | Self::TIMER.bit();
    /// Lines that stop the callee of a blocked context. Its timer waits until it runs again, as the
    /// timers of contexts that are not on a PE are watched in the Normal world only.
    pub const STOPPING: u64 = Self::PHYSICAL | Self::IPI.bit();
    const PHYSICAL: u64 = Self::QUEUED.bit().wrapping_sub(1);

    const VIRTUAL: [(Self, u32); 4] = [
        (Self::TIMER, 3),
        (Self::MANAGED_EXIT, 4),
        (Self::NOTIFICATION, 5),
        (Self::IPI, 9),
    ];

    /// The bit.
    pub const fn bit(self) -> u64 {
        1 << (self.0 & 63)
    }

    /// Returns the lines of a map.
    pub fn all(map: u64) -> impl Iterator<Item = Self> {
        ones(map).map(|bit| Self(bit as u8))
    }

    /// Returns the line that partitions know by `id`, if the SPMC makes it up.
    #[inline]
    pub fn made_up(id: u32) -> Option<Self> {
        let [.., (_, last)] = Self::VIRTUAL;
        if id > last {
            return None;
        }
        let mut all = Self::VIRTUAL.iter();
        all.find(|(_, number)| *number == id).map(|(line, _)| *line)
    }

    /// Returns whether a context that waits must be made to run for the line.
    pub const fn is_waking(self) -> bool {
        self.bit() & Self::WAKING != 0
    }

    /// Returns whether the line is a physical interrupt.
    pub const fn is_physical(self) -> bool {
        self.bit() & Self::PHYSICAL != 0
    }

    /// Returns the number of the line among the physical interrupts of the partition.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// The physical interrupts of one partition, by line.
#[derive(Clone, Debug, Default)]
pub struct Claims(Box<[DeviceInterrupt]>);

impl Claims {
    /// Returns what the manifest claims.
    pub fn of(config: &PartitionConfig) -> Self {
        let regions = config.device_regions.iter();
        Self(
            regions
                .flat_map(|region| &region.interrupts)
                .copied()
                .take(MAX_PARTITION_INTERRUPTS)
                .collect(),
        )
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &DeviceInterrupt> {
        self.0.iter()
    }

    /// The shared ones, each with its line.
    pub fn shared(&self) -> impl Iterator<Item = (Line, &DeviceInterrupt)> {
        let claims = (0..).map(Line).zip(self.iter());
        claims.filter(|(_, claim)| !claim.is_private())
    }

    /// Returns the lines of all of them, a bit for each.
    pub fn lines(&self) -> u64 {
        self.iter()
            .zip(0..)
            .fold(0, |map, (_, bit)| map | Line(bit).bit())
    }

    /// Returns the id by which the partition knows `line`.
    pub fn id(&self, line: Line) -> Option<u32> {
        let claim = self.0.get(line.index()).map(|claim| claim.id);
        let made_up = || Line::VIRTUAL.iter().find(|(other, _)| *other == line);
        claim.or_else(|| made_up().map(|(_, number)| *number))
    }
}
