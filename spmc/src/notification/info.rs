//! The result of `FFA_NOTIFICATION_INFO_GET` (FF-A v1.1 section 16.7): lists of 16-bit ids, packed
//! into registers.
//!
//! A list is the id of a receiver, followed by the ids of its vCPUs that have notifications of
//! their own.

use arrayvec::ArrayVec;

use crate::ffa::{Answer, function};
use crate::id::PartitionId;
use crate::invariant::Invariant;

/// The number of ids that x3 to x7 hold.
const MAX_IDS: usize = 20;

/// The lists while they are being built.
pub struct InfoList {
    is_64: bool,
    ids: ArrayVec<u16, MAX_IDS>,
    lists: u64,
    /// The number of vCPUs in each list, in two bits for each.
    counts: u64,
}

impl InfoList {
    /// The largest number of vCPUs in one list.
    pub const MAX_VCPUS: usize = 3;

    /// Begins without lists, for the 32-bit or the 64-bit form of the call.
    pub fn new(is_64: bool) -> Self {
        Self {
            is_64,
            ids: ArrayVec::new(),
            lists: 0,
            counts: 0,
        }
    }

    /// Returns how many more ids fit: each takes 16 bits, and there are five registers.
    fn room(&self) -> usize {
        let capacity = if self.is_64 { MAX_IDS } else { MAX_IDS / 2 };
        capacity.saturating_sub(self.ids.len())
    }

    /// Returns how many vCPUs the next list can have.
    pub fn room_for_vcpus(&self) -> usize {
        self.room().saturating_sub(1).min(Self::MAX_VCPUS)
    }

    /// Adds the list of `receiver` with these vCPUs, at most [`Self::MAX_VCPUS`]. Returns `false`
    /// if the list does not fit.
    pub fn push(&mut self, receiver: PartitionId, vcpus: &[u16]) -> bool {
        if vcpus.len() >= self.room() || vcpus.len() > Self::MAX_VCPUS {
            return false;
        }
        let pushed = self.ids.try_push(receiver.0).is_ok();
        Invariant::Capacity.expect(pushed && self.ids.try_extend_from_slice(vcpus).is_ok());
        // The 32-bit form has at most ten lists, so the counts of all lists fit into w2.
        let shift = self.lists.saturating_mul(2) as u32;
        self.counts |= (vcpus.len() as u64).checked_shl(shift).unwrap_or(0);
        self.lists = self.lists.saturating_add(1);
        true
    }

    /// Returns whether there are no lists.
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// Returns the registers of `FFA_SUCCESS`.
    pub fn answer(&self, more: bool) -> Answer {
        let mut frame = Answer::new([]);
        let (success, per_register) = if self.is_64 {
            (function::SUCCESS_64, 4)
        } else {
            (function::SUCCESS_32, 2)
        };
        let header = u64::from(more) | self.lists << 7 | self.counts << 12;
        let (head, registers) = frame.x.split_at_mut(3);
        head.copy_from_slice(&[success as u64, 0, header]);
        for (register, ids) in registers.iter_mut().zip(self.ids.chunks(per_register)) {
            *register = ids
                .iter()
                .rev()
                .fold(0, |packed, id| packed << 16 | u64::from(*id));
        }
        frame
    }
}
