//! Independent devices as borrowers (FF-A v1.0 sections 11.1.1.2 to 11.3.1.2, step 11, and
//! 11.7.1.2, step 3).
//!
//! Nobody speaks for such a device: it neither retrieves nor relinquishes. It has the region from
//! the send to the reclaim.

use super::share::{Access, SendKind, Share, Stage};
use super::{Endpoints, Engine, refused};
use crate::error::{FfaError, Result};
use crate::ffa::memory::DataAccess;
use crate::hal::Hal;
use crate::invariant::Invariant;
use crate::manifest::config::Permissions;
use crate::mm::{Attributes, Change, Leaf, Pages, State};
use crate::partition::Endpoint;

impl<H: Hal, E: Endpoints> Engine<'_, H, E> {
    /// Maps the region, which `owner` has just sent, for all independent devices among its
    /// borrowers. If that fails, nobody has the region but its owner, as before the send:
    /// `NO_MEMORY` if there are no tables, `DENIED` if a device has the pages already.
    pub(super) fn map_for_devices(&self, owner: &Endpoint, share: &mut Share) -> Result<()> {
        let state = if share.kind == SendKind::Lend && !share.is_uniform() {
            State::BorrowedExclusive
        } else {
            State::BorrowedShared
        };
        let memory = share.memory();
        let ranges = share.ranges.iter(Pages::of(self.hal));
        let mut outcome = Ok(());
        for borrower in share.borrowers.iter_mut() {
            if !borrower.is_independent() {
                continue;
            }
            let mut permissions = Permissions::READ;
            permissions.set(
                Permissions::WRITE,
                borrower.permissions.data == Some(DataAccess::ReadWrite),
            );
            let attributes = Attributes {
                permissions,
                memory,
            };
            let change = Change {
                from: Leaf::NONE,
                to: Leaf::new(attributes, state),
            };
            let device = self.endpoints.endpoint(borrower.id);
            outcome = device.ok_or(FfaError::Aborted).and_then(|device| {
                let mut space = device.memory.lock();
                space
                    .change(self.hal, share.world, ranges.clone(), change)
                    .map_err(|error| refused(error, FfaError::Denied))
            });
            if outcome.is_err() {
                break;
            }
            borrower.access = Access::mapped(change.to);
        }
        if outcome.is_err() {
            self.unmap_for_devices(share)?;
            let undone = self.restore(share, &mut owner.memory.lock());
            Invariant::Undo.expect(undone.is_ok());
            share.stage = Stage::Void;
        }
        outcome
    }

    /// Unmaps the region for all independent devices that have it. `ABORTED` if a device is gone,
    /// or has lost the region.
    pub(super) fn unmap_for_devices(&self, share: &mut Share) -> Result<()> {
        loop {
            let mut having = share.borrowers.iter().filter(|b| b.is_independent());
            let Some((id, leaf)) = having.find_map(|b| Some((b.id, b.mapped()?))) else {
                return Ok(());
            };
            let device = self.endpoints.endpoint(id).ok_or(FfaError::Aborted)?;
            self.unmap(share, &mut device.memory.lock(), leaf)?;
            if let Some(borrower) = share.borrower(id) {
                borrower.access = Access::None;
            }
        }
    }
}
