//! `FFA_MEM_DONATE`, `FFA_MEM_LEND`, `FFA_MEM_SHARE` (FF-A v1.0 sections 11.1 to 11.3): an owner
//! offers memory to others.
//!
//! Constituents are recorded as they arrive, with the call itself or in fragments behind it
//! ([`super::intake`]). The pages themselves are checked, and taken from the owner, once the last
//! constituent has arrived.

use super::answers::completion;
use super::channel::Channel;
use super::intake::Piece;
use super::share::{Operation, Pace, Progress, SendKind, Share, Stage};
use super::{Endpoints, Engine, refused};
use crate::error::{FfaError, Result};
use crate::ffa::memory::DataAccess;
use crate::ffa::memory_call::DescriptorCall;
use crate::ffa::memory_descriptor::{CONSTITUENT, DescriptorBuffer, Transaction};
use crate::ffa::{Answer, Version};
use crate::hal::Hal;
use crate::manifest::config::Permissions;
use crate::mm::{Change, Leaf, Pages, State};
use crate::partition::Endpoint;

impl<H: Hal, E: Endpoints> Engine<'_, H, E> {
    /// Validates the descriptor in the caller's TX or buffer, takes access from the caller as
    /// `kind` demands, and records the share. The answer carries the handle; it is
    /// `FFA_MEM_FRAG_RX` if more fragments must come, and `FFA_MEM_OP_PAUSE` if there is more to be
    /// zeroed than a slice, and the caller agrees.
    ///
    /// `DENIED` if the sender is not the caller, a partition sends to the Normal world, or the
    /// region is not the caller's alone, with all that it offers; `NO_MEMORY` if the share or the
    /// change of the caller's tables cannot be recorded; `ABORTED` if memory does not answer;
    /// `INVALID_PARAMETERS` for everything else that is wrong with the call.
    pub(crate) fn send(
        &self,
        buffer: &mut DescriptorBuffer,
        caller: &Endpoint,
        kind: SendKind,
        call: &DescriptorCall,
    ) -> Result<Answer> {
        let DescriptorCall {
            total,
            fragment,
            buffer: through,
        } = *call;
        let channel = Channel::open(caller, through);
        let bytes = channel.read_first(self.hal, buffer, fragment)?;
        let read = bytes.len();
        let transaction = Transaction::parse(bytes, caller.version())?;
        // A share is large: build it in place, and copy it once, into its slot.
        let mut share = Share::new(kind, transaction.sender);
        let composite = self
            .judge(&transaction, caller, &mut share, total)
            .inspect_err(|_| self.shares.crowds.dismiss(&mut share.borrowers))?;

        let store = Pages::of(self.hal);
        let partition = self.endpoints.index(caller.id());
        let vacancy = self
            .with_room(caller, || self.shares.claim(partition))
            .inspect_err(|_| self.shares.crowds.dismiss(&mut share.borrowers))?;
        // Reserve room for what has arrived. What is only announced may never come.
        let here = fragment.saturating_sub(composite.start) / CONSTITUENT;
        let reserved = self.with_room(caller, || {
            let mut space = caller.memory.lock();
            share.ranges.reserve(store, space.pool(), here)
        });
        let piece = Piece {
            read,
            start: composite.start,
            end: read,
        };
        let recorded = reserved
            .and_then(|()| self.record(&channel, buffer, &mut share.ranges, piece, fragment));
        drop(channel);
        let whole = fragment == total;
        let sent = recorded.and_then(|()| {
            if whole {
                self.complete(caller, &mut share, composite.pages)
            } else {
                share.stage = Stage::Arriving {
                    progress: Progress::new(fragment, total),
                    pages: composite.pages,
                    buffer: through,
                    age: self.shares.age(),
                };
                Ok(())
            }
        });
        if let Err(error) = sent {
            share.ranges.release(store, caller.memory.lock().pool());
            self.shares.crowds.dismiss(&mut share.borrowers);
            return Err(error);
        }

        let (owner, stage) = (share.owner, share.stage);
        let handle = vacancy.fill(share);
        if !whole {
            self.limit_arriving(owner);
        }
        if self.endpoints.endpoint(caller.id()).is_none() {
            // The caller died meanwhile, and the PE that looked for its shares may have missed this
            // one.
            self.bury(caller);
            return Err(FfaError::Aborted);
        }
        Ok(match stage {
            Stage::Arriving { .. } => Self::ask_for_more(caller, owner, handle, fragment),
            stage => completion(stage, handle),
        })
    }

    /// Sends the share, all constituents of which have arrived.
    pub(super) fn complete(&self, caller: &Endpoint, share: &mut Share, pages: u32) -> Result<()> {
        if share.ranges.pages() != u64::from(pages) {
            return Err(FfaError::InvalidParameters);
        }
        self.take_access(caller, share)?;
        if share.stage == Stage::Sent && share.has_devices() {
            // A paused send maps the region when all is zeroed.
            self.map_for_devices(caller, share)?;
        }
        Ok(())
    }

    /// Checks the owner's pages, takes away the access that the owner gives up, and zeroes the
    /// pages if the owner asked for that.
    fn take_access(&self, caller: &Endpoint, share: &mut Share) -> Result<()> {
        let mut space = caller.memory.lock();
        let ranges = share.ranges.iter(Pages::of(self.hal));
        let (world, owned) = ranges
            .clone()
            .next()
            .and_then(|first| space.first_leaf(self.hal, first))
            .ok_or(FfaError::Denied)?;
        if !may_offer(caller, owned, share) {
            return Err(FfaError::Denied);
        }
        let state = match share.kind {
            SendKind::Share => State::OwnerShared,
            SendKind::Lend | SendKind::Donate => State::OwnerNoAccess,
        };
        let change = Change {
            from: owned,
            to: owned.with_state(state),
        };
        // The change itself finds pages that differ from the first one. Only then is it worth
        // asking what is wrong.
        let made = match space.change_owned(self.hal, world, ranges.clone(), change) {
            Ok(made) => made,
            Err(error) => {
                return Err(if space.are_alike(self.hal, ranges) {
                    // A page is in the region twice.
                    refused(error, FfaError::InvalidParameters)
                } else {
                    FfaError::Denied
                });
            }
        };
        share.stage = Stage::Sent;
        share.world = world;
        share.owned = made.from;
        share.sent = made.to;
        if share.zeroed {
            let pace = Pace::of(share.sliced);
            self.zero_for(share, &mut space, Operation::Send, pace)?;
        }
        Ok(())
    }
}

/// Returns whether the owner of pages with the leaf `owned` may offer them as `share` says. A
/// device can only be lent, to one partition, and is never zeroed; FF-A v1.0 knows no transactions
/// of devices (section 2.10).
fn may_offer(owner: &Endpoint, owned: Leaf, share: &Share) -> bool {
    let own = owned.attributes();
    let to_one_partition = share.kind == SendKind::Lend
        && !share.is_uniform()
        && share.borrowers.iter().all(|b| b.proxy.is_none());
    let fits_device = owner.version() >= Version::V1_1 && to_one_partition && !share.zeroed;
    let gives_write = share.zeroed
        || share
            .borrowers
            .iter()
            .any(|b| b.permissions.data == Some(DataAccess::ReadWrite));
    owned.state() == Some(State::OwnerExclusive)
        && (own.memory.is_normal() || fits_device)
        && share.memory.is_none_or(|memory| own.memory.allows(memory))
        && own.permissions.contains(Permissions::READ)
        && (own.permissions.contains(Permissions::WRITE) || !gives_write)
}
