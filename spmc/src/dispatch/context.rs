//! The contexts of partitions: finding them, claiming them, following links to them.
//!
//! The PE that runs a context holds its claim; a caller that cannot get the claim is told `BUSY`.
//! Nobody holds the claim of a context that is blocked or preempted: its state says who may enter
//! it. Other PEs take the claim for a moment, to look.
//!
//! A PE holds the claim of the context that runs on it, and of a second one while it switches. A PE
//! that holds a lock, or the claim of a context that does not run, must not wait for a claim
//! ([`Slot::claim`] checks this on the host). There is one exception: a context that ends its work
//! waits for the claim of its caller ([`Slot::claim_caller_of`]), as long as the caller is blocked
//! on that context.

use crate::error::{FfaError, Result};
use crate::ffa::{Answer, trace};
use crate::hal::{Context, Hal};
use crate::id::{PartitionId, VcpuId};
use crate::partition::vcpu::{Begin, State};
use crate::partition::{Claim, Frozen, Link, Partition, Slot};
use crate::spmc::{Pe, Spmc};

/// Names a partition that takes part in a call, dead or alive.
pub(crate) struct Member<'s, C> {
    pub(crate) partition: &'s Partition<C>,
    pub(crate) frozen: &'s Frozen,
}

// By hand: a context need not be `Copy`.
impl<C> Clone for Member<'_, C> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<C> Copy for Member<'_, C> {}

/// A claimed execution context.
pub(crate) struct Current<'s, C> {
    pub(crate) partition: &'s Partition<C>,
    pub(crate) frozen: &'s Frozen,
    pub(crate) id: VcpuId,
    pub(crate) vcpu: Claim<'s, C>,
}

/// The slot of a context, whichever life the context is in.
pub(crate) struct Place<'s, C> {
    pub(crate) partition: &'s Partition<C>,
    pub(crate) slot: &'s Slot<C>,
}

impl<H: Hal> Spmc<H> {
    /// Returns the partition with that id, dead or alive.
    #[inline(always)]
    pub(crate) fn member(&self, id: PartitionId) -> Option<Member<'_, H::Context>> {
        let member = self.member_at(self.directory.index(id))?;
        (member.frozen.config.id == id).then_some(member)
    }

    /// Returns the partition at that index of the partition table, dead or alive.
    #[inline(always)]
    pub(crate) fn member_at(&self, index: usize) -> Option<Member<'_, H::Context>> {
        let partition = self.partitions.get(index)?;
        let frozen = &partition.frozen;
        Some(Member { partition, frozen })
    }

    /// Returns the index of the context that serves calls to the partition on this PE: the only
    /// one, or the one that is pinned here.
    #[inline(always)]
    pub(crate) fn index_on(pe: &Pe, frozen: &Frozen) -> u16 {
        if frozen.config.is_up() { 0 } else { pe.index }
    }

    /// Claims the context of a partition on this PE and gives it `work`.
    ///
    /// `INVALID_PARAMETERS` if there is no context for this PE, `BUSY` if the context runs on
    /// another PE, otherwise the error of [`begin`](crate::partition::vcpu::begin).
    #[inline(always)]
    pub(crate) fn claim<'s>(
        &self,
        pe: &Pe,
        Member { partition, frozen }: Member<'s, H::Context>,
        work: Begin,
    ) -> Result<Current<'s, H::Context>> {
        let index = Self::index_on(pe, frozen);
        if index >= frozen.config.vcpu_count {
            return Err(FfaError::InvalidParameters);
        }
        let slot = partition.vcpus.get(index as usize);
        let slot = slot.ok_or(FfaError::InvalidParameters)?;
        let mut vcpu = slot.claim().ok_or(FfaError::Busy)?;
        vcpu.begin(work)?;
        let id = VcpuId {
            partition: frozen.config.id,
            index,
        };
        Ok(Current {
            partition,
            frozen,
            id,
            vcpu,
        })
    }

    /// Claims the context `id` and leaves its state as it is. The partition may be dead, and the
    /// context pinned to another PE. `INVALID_PARAMETERS` if there is no such context, `BUSY` if it
    /// runs.
    #[inline]
    pub(crate) fn context(&self, id: VcpuId) -> Result<Current<'_, H::Context>> {
        let Member { partition, frozen } = self
            .member(id.partition)
            .filter(|member| id.index < member.frozen.config.vcpu_count)
            .ok_or(FfaError::InvalidParameters)?;
        let slot = partition.vcpus.get(id.index as usize);
        let slot = slot.ok_or(FfaError::InvalidParameters)?;
        let vcpu = slot.claim().ok_or(FfaError::Busy)?;
        Ok(Current {
            partition,
            frozen,
            id,
            vcpu,
        })
    }

    /// Returns the slot that `link` leads to, whichever life is in it now.
    #[inline(always)]
    pub(crate) fn place(&self, link: Link) -> Option<Place<'_, H::Context>> {
        let (index, vcpu) = link.indices();
        let partition = self.partitions.get(index)?;
        let slot = partition.vcpus.get(vcpu)?;
        Some(Place { partition, slot })
    }

    /// Returns the id of the context whose slot `link` leads to.
    pub(super) fn name(&self, link: Link) -> Option<VcpuId> {
        let frozen = &self.place(link)?.partition.frozen;
        Some(VcpuId {
            partition: frozen.config.id,
            index: link.vcpu(),
        })
    }

    /// Claims the context that `link` names. Returns `None` if the context is in another life, or
    /// if `leads_back` finds that no link of the context leads back. No other function follows a
    /// link.
    #[inline(always)]
    pub(crate) fn follow<'s>(
        &'s self,
        link: Link,
        leads_back: impl FnOnce(&Claim<'s, H::Context>) -> bool,
    ) -> Option<Current<'s, H::Context>> {
        let Place { partition, slot } = self.place(link)?;
        // A link that leads nowhere is not waited for: this PE may hold that claim itself.
        if slot.link() != link {
            return None;
        }
        Self::arrive(link, partition, slot.claim()?, leads_back)
    }

    /// Checks both ends of `link`, with the claim taken: the second half of [`Self::follow`].
    #[inline(always)]
    pub(super) fn arrive<'s>(
        link: Link,
        partition: &'s Partition<H::Context>,
        vcpu: Claim<'s, H::Context>,
        leads_back: impl FnOnce(&Claim<'s, H::Context>) -> bool,
    ) -> Option<Current<'s, H::Context>> {
        let frozen = &partition.frozen;
        if vcpu.link() != link || !leads_back(&vcpu) {
            return None;
        }
        Some(Current {
            partition,
            frozen,
            id: VcpuId {
                partition: frozen.config.id,
                index: link.vcpu(),
            },
            vcpu,
        })
    }

    /// Claims the context `caller`, if it waits for `callee`. The PE that holds the claim of
    /// `callee` may call this even when `callee` does not run any more.
    #[inline(always)]
    pub(crate) fn waiting_for(
        &self,
        callee: Link,
        caller: Link,
    ) -> Option<Current<'_, H::Context>> {
        let Place { partition, slot } = self.place(caller)?;
        let vcpu = slot.claim_caller_of(callee)?;
        Self::arrive(caller, partition, vcpu, |caller| {
            caller.is(State::Blocked(callee))
        })
    }
}

/// Writes `answer` to x0 to x7 of a context, as the completion of its call or as a message. Its
/// other registers keep their values.
#[inline(always)]
pub(crate) fn complete<C: Context>(current: &mut Current<'_, C>, answer: &Answer) {
    if let Some(to) = current.vcpu.context.gprs_mut().first_chunk_mut() {
        answer.put(to);
    }
    current.trace("gets");
}

impl<C: Context> Current<'_, C> {
    /// Logs, at level `trace`, that the context `calls` with its registers, or what it `gets` in
    /// them.
    #[inline(always)]
    pub(crate) fn trace(&self, does: &str) {
        let (name, vcpu) = (self.frozen.config.name, self.id.index);
        let registers = self.vcpu.context.gprs();
        trace(format_args!("{name} vcpu {vcpu}"), does, registers);
    }
}
