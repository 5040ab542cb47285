//! `FFA_NS_RES_INFO_GET` (FF-A v1.3): the Non-secure memory that the Secure world can reach.
//!
//! The answer comes from the maps of the endpoints, not from a list: what a partition has mapped is
//! its own, and what the Normal world has given to somebody, or to the SPMC, without a partition
//! having it, is reachable through the SPMC. The list is made again in each call, so it needs no
//! memory; a caller that continues finds out by [`Spmc::maps`] that it has changed.

use crate::error::{FfaError, Result};
use crate::ffa::ns_resources::{
    ENTRY, EXECUTE, READ, Resource, Retrieval, WRITE, header, privileged,
};
use crate::ffa::{SmcFrame, function};
use crate::hal::Hal;
use crate::id::PartitionId;
use crate::manifest::config::{ExceptionLevel, Permissions};
use crate::mm::{Leaf, State};
use crate::partition::Partition;
use crate::spmc::{Pe, Spmc};

/// x2: x1 names a partition.
const ID_VALID: u64 = 1 << 0;
/// x2: the call continues the retrieval that an earlier one began.
const CONTINUE: u64 = 1 << 4;

/// The rights that are reported for memory that partitions reach through the SPMC: what any of them
/// could get. Non-secure memory is never executed.
const WIDEST: u8 = READ | WRITE | privileged(READ | WRITE);

/// The arguments of the call.
#[derive(Clone, Copy)]
struct NsResInfoGet {
    partition: Option<PartitionId>,
    continues: bool,
}

impl NsResInfoGet {
    /// Decodes x1 and x2. `INVALID_PARAMETERS` for reserved bits and other resources than memory.
    fn decode(frame: &SmcFrame) -> Result<Self> {
        let [_, id, flags, rest @ ..] = frame.x;
        let has_id = flags & ID_VALID != 0;
        let known = id <= u64::from(u16::MAX) && flags & !(ID_VALID | CONTINUE) == 0;
        if !known || (id != 0) != has_id || rest != [0; 15] {
            return Err(FfaError::InvalidParameters);
        }
        Ok(Self {
            partition: has_id.then_some(PartitionId(id as u16)),
            continues: flags & CONTINUE != 0,
        })
    }
}

/// The part of the stream that fits into one answer.
struct Window<'a> {
    /// The first byte of the part, in the stream.
    begin: u64,
    /// The bytes of the stream so far.
    end: u64,
    room: &'a mut [u8],
}

impl Window<'_> {
    /// Adds bytes to the stream. The part that is to be returned is copied.
    fn add(&mut self, bytes: &[u8; ENTRY]) {
        let place = self.end.checked_sub(self.begin);
        let place = place.map(|place| place as usize);
        let to = place.and_then(|place| self.room.get_mut(place..)?.first_chunk_mut());
        if let Some(to) = to {
            *to = *bytes;
        }
        self.end = self.end.saturating_add(ENTRY as u64);
    }
}

impl<H: Hal> Spmc<H> {
    /// Handles `FFA_NS_RES_INFO_GET`: writes the next part of the list to the caller's RX.
    ///
    /// `INVALID_PARAMETERS` for reserved bits and unknown partitions; `RETRY` if RX is missing or
    /// full, or if maps change during the call; `ABORTED` if nothing was begun, or maps have
    /// changed since.
    #[cold]
    #[inline(never)]
    pub(super) fn ns_res_info_get(&self, pe: &mut Pe, frame: &SmcFrame) -> Result<SmcFrame> {
        let NsResInfoGet {
            partition,
            continues,
        } = NsResInfoGet::decode(frame)?;
        if partition.is_some_and(|id| self.live_partition(id).is_none()) {
            return Err(FfaError::InvalidParameters);
        }
        let maps = self.maps();
        let done = if continues {
            let begun = *self.ns_resources.lock();
            let begun = begun.filter(|begun| begun.partition == partition && begun.maps == maps);
            begun.ok_or(FfaError::Aborted)?.done
        } else {
            0
        };
        let mailbox = &self.normal_world.mailbox;
        mailbox.lock().check_rx(0).map_err(|_| FfaError::Retry)?;
        let mut window = Window {
            begin: done,
            end: 0,
            room: &mut pe.scratch.0,
        };
        window.add(&header(0));
        self.resources(partition, |resource| window.add(&resource.bytes()));
        let total = window.end;
        if done == 0 {
            window.end = 0;
            let entries = total.wrapping_shr(ENTRY.trailing_zeros());
            window.add(&header(entries.saturating_sub(1) as u32));
        }
        if self.maps() != maps {
            return Err(FfaError::Retry);
        }
        let left = total.saturating_sub(done);
        let written = left.min(pe.scratch.len() as u64);
        let bytes = pe.scratch.get(..written as usize).unwrap_or(&[]);
        let version = self.normal_world.version();
        let filled = mailbox.lock().fill_rx(&self.hal, bytes, version);
        filled.map_err(|error| match error {
            FfaError::Busy => FfaError::Retry,
            other => other,
        })?;
        let left = left.saturating_sub(written);
        *self.ns_resources.lock() = (left != 0).then_some(Retrieval {
            partition,
            done: done.saturating_add(written),
            maps,
        });
        Ok(SmcFrame::new([
            function::SUCCESS_64.into(),
            0,
            written << 32 | left,
        ]))
    }

    /// Visits each region that the partition `only`, or any, can reach by itself, and each that
    /// partitions can reach through the SPMC.
    fn resources(&self, only: Option<PartitionId>, mut visit: impl FnMut(&Resource)) {
        let asked = self
            .live_partitions()
            .filter(|partition| only.is_none_or(|id| partition.endpoint.id() == id));
        for partition in asked {
            let memory = partition.endpoint.memory.lock();
            let rights = |leaf: Leaf| leaf.is_valid().then(|| rights(partition, leaf));
            memory.survey(&self.hal, rights, |range, permissions| {
                visit(&Resource {
                    range: range.identity(),
                    permissions,
                    endpoint: partition.endpoint.id(),
                    indirect: false,
                });
            });
        }
        let memory = self.normal_world.memory.lock();
        memory.survey(&self.hal, indirect_rights, |range, permissions| {
            visit(&Resource {
                range: range.identity(),
                permissions,
                endpoint: PartitionId::SPMC,
                indirect: true,
            });
        });
    }

    /// Returns a number that grows with every change of a map, and when a partition fails or comes
    /// back.
    fn maps(&self) -> u64 {
        let partitions = self.partitions.iter().map(|partition| {
            let changes = partition.endpoint.memory.lock().changes();
            u64::from(changes).wrapping_add(partition.turns().into())
        });
        let own = self.normal_world.memory.lock().changes().into();
        partitions.fold(own, u64::wrapping_add)
    }
}

/// Returns the rights of a partition to a page that it has mapped. At S-EL0 software is
/// unprivileged.
fn rights<C>(partition: &Partition<C>, leaf: Leaf) -> u8 {
    let permissions = leaf.attributes().permissions;
    let mut rights = 0;
    for (permission, right) in [
        (Permissions::READ, READ),
        (Permissions::WRITE, WRITE),
        (Permissions::EXECUTE, EXECUTE),
    ] {
        if permissions.contains(permission) {
            rights |= right;
        }
    }
    match partition.frozen.config.exception_level {
        ExceptionLevel::SEl0 => rights,
        ExceptionLevel::SEl1 => rights | privileged(rights),
    }
}

/// Returns the rights that partitions can get to a page of the Normal world: one in a transaction,
/// or in a buffer. A page that a partition has for good is among its own.
fn indirect_rights(leaf: Leaf) -> Option<u8> {
    match leaf.state()? {
        State::OwnerShared | State::OwnerNoAccess | State::Mailbox => Some(WIDEST),
        _ => None,
    }
}
