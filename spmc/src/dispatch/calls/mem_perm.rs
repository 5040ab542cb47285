//! `FFA_MEM_PERM_GET` and `FFA_MEM_PERM_SET` (FF-A v1.1 sections 16.8 and 16.9; page counts of
//! 1.3): an S-EL0 partition, which has no stage 1 of its own, gives its pages their permissions
//! while it initialises.
//!
//! Nothing here makes a page writable and executable, or gives more access than the partition was
//! given. A page of its image may get any other permissions, a page of a region those in the
//! manifest, and any other page (of a device, shared with others, or donated) at most those that it
//! has now.

use crate::addr::{Ipa, PAGE_SIZE, Pa, PageRange, World};
use crate::error::{FfaError, Result};
use crate::ffa::{Answer, FunctionId, SmcFrame};
use crate::hal::Hal;
use crate::manifest::config::{ExceptionLevel, PartitionConfig, Permissions};
use crate::mm::{AddressSpace, Attributes, Change, ChangeError, Leaf, State};
use crate::partition::vcpu::Model;
use crate::spmc::Spmc;

use super::setup::address;
use crate::dispatch::context::Current;
use crate::invariant::Invariant;

/// Bits 1:0 of the permissions: none, read-write, read-only.
const DATA: u32 = 0b11;
const DATA_READ_WRITE: u32 = 0b01;
const DATA_READ_ONLY: u32 = 0b11;
/// Bit 2 of the permissions.
const EXECUTE_NEVER: u32 = 1 << 2;

/// How many pages one `FFA_MEM_PERM_GET` looks at.
const MAX_PAGES: u64 = 512;

/// Decodes permissions. Returns `None` for reserved values, and for pages that are writable and
/// executable, or executable but not readable.
fn decode(word: u32) -> Option<Permissions> {
    let mut permissions = match word & DATA {
        0 => Permissions::empty(),
        DATA_READ_WRITE => Permissions::READ | Permissions::WRITE,
        DATA_READ_ONLY => Permissions::READ,
        _ => return None,
    };
    match word & !DATA {
        0 if permissions == Permissions::READ => permissions |= Permissions::EXECUTE,
        EXECUTE_NEVER => {}
        _ => return None,
    }
    Some(permissions)
}

fn encode(permissions: Permissions) -> u32 {
    let data = if permissions.contains(Permissions::WRITE) {
        DATA_READ_WRITE
    } else if permissions.contains(Permissions::READ) {
        DATA_READ_ONLY
    } else {
        0
    };
    let never = !permissions.contains(Permissions::EXECUTE);
    data | if never { EXECUTE_NEVER } else { 0 }
}

/// The arguments of `FFA_MEM_PERM_GET`.
struct Query {
    base: u64,
    /// How many pages to look at, from 1 to [`MAX_PAGES`].
    pages: u64,
}

impl Query {
    /// Decodes x1 and w2. `INVALID_PARAMETERS` if w2 is -1, for no pages at all.
    fn decode(id: FunctionId, frame: &SmcFrame) -> Result<Self> {
        let more = frame.w(2);
        let pages = more.checked_add(1).ok_or(FfaError::InvalidParameters)?;
        Ok(Self {
            base: address(id, frame.x[1]),
            pages: u64::from(pages).min(MAX_PAGES),
        })
    }
}

/// The arguments of `FFA_MEM_PERM_SET`.
struct Request {
    range: PageRange<Ipa>,
    permissions: Permissions,
}

impl Request {
    /// Decodes x1, w2 and w3. `INVALID_PARAMETERS` for a range or permissions that are not any.
    fn decode(id: FunctionId, frame: &SmcFrame) -> Result<Self> {
        let base = Ipa::new(address(id, frame.x[1]));
        let range = PageRange::new(base, frame.w(2).into());
        Ok(Self {
            range: range.ok_or(FfaError::InvalidParameters)?,
            permissions: decode(frame.w(3)).ok_or(FfaError::InvalidParameters)?,
        })
    }
}

impl<H: Hal> Spmc<H> {
    /// Handles `FFA_MEM_PERM_GET`: returns the permissions of the page at x1 and, in w3, how many
    /// of the w2 pages behind it have the same. As for Hafnium, pages of different kinds do not
    /// count together: buffers and other memory, for example.
    ///
    /// `DENIED` as [`check_caller`]; `INVALID_PARAMETERS` for an address that is not of a page that
    /// the partition has, and for no pages.
    pub(in crate::dispatch) fn mem_perm_get(
        &self,
        current: &Current<'_, H::Context>,
        id: FunctionId,
        frame: &SmcFrame,
    ) -> Result<Answer> {
        check_caller(current)?;
        let Query { base, pages } = Query::decode(id, frame)?;
        let memory = current.partition.endpoint.memory.lock();
        let page = |index: u64| {
            let at = base.checked_add(index.checked_mul(PAGE_SIZE)?)?;
            let page = PageRange::new(Ipa::new(at), 1)?;
            let found = memory.inspect(&self.hal, [page].into_iter());
            found.filter(|(_, leaf)| leaf.is_valid())
        };
        let first = page(0).ok_or(FfaError::InvalidParameters)?;
        let more = (1..pages).take_while(|index| page(*index) == Some(first));
        let (_, leaf) = first;
        let permissions = encode(leaf.attributes().permissions);
        Ok(Answer::success([permissions, more.count() as u32]))
    }

    /// Handles `FFA_MEM_PERM_SET`: sets the permissions of the w2 pages from x1 on to those in w3.
    ///
    /// `DENIED` as [`check_caller`], for pages in a memory transaction, and for more access than
    /// the partition was given, by its manifest or by the donor; `INVALID_PARAMETERS` for a
    /// malformed range, malformed permissions, and executable devices; `NO_MEMORY` if no page is
    /// left for a table. A call that fails changes nothing.
    pub(in crate::dispatch) fn mem_perm_set(
        &self,
        current: &Current<'_, H::Context>,
        id: FunctionId,
        frame: &SmcFrame,
    ) -> Result<Answer> {
        check_caller(current)?;
        let Request { range, permissions } = Request::decode(id, frame)?;
        let config = &current.frozen.config;
        let mut memory = current.partition.endpoint.memory.lock();
        let first = self.judge_run(&memory, config, range, permissions)?;
        let (mut last, mut rest) = (first, behind(range, first.range));
        while let Some(unjudged) = rest {
            last = self.judge_run(&memory, config, unjudged, permissions)?;
            rest = behind(unjudged, last.range);
        }
        // Only blocks at the two ends of the range can need to be split: where leaves differ within
        // the range, there is a table already. So nothing can fail once both ends are changed.
        self.change_run(&mut memory, first)?;
        if last.range != first.range
            && let Err(error) = self.change_run(&mut memory, last)
        {
            let undone = self.change_run(&mut memory, first.inverse());
            Invariant::Undo.expect(undone.is_ok());
            return Err(error);
        }
        let mut rest = behind(range, first.range);
        while let Some(run) = rest.filter(|rest| rest.base() < last.range.base()) {
            let run = self.judge_run(&memory, config, run, permissions)?;
            self.change_run(&mut memory, run)?;
            rest = behind(range, run.range);
        }
        Ok(Answer::success([]))
    }

    /// Returns the change that gives `permissions` to the pages at the start of `range` that have
    /// one leaf in common. Errors as [`Self::mem_perm_set`].
    fn judge_run(
        &self,
        memory: &AddressSpace,
        config: &PartitionConfig,
        range: PageRange<Ipa>,
        permissions: Permissions,
    ) -> Result<Run> {
        let (range, world, leaf) = self
            .first_run(memory, range)
            .ok_or(FfaError::InvalidParameters)?;
        let Attributes {
            permissions: before,
            memory: kind,
        } = leaf.attributes();
        if permissions.contains(Permissions::EXECUTE) && !kind.is_normal() {
            return Err(FfaError::InvalidParameters);
        }
        let (state, most) = match leaf.state() {
            Some(state @ (State::OwnerExclusive | State::Mailbox)) if kind.is_normal() => {
                let given = given_by_manifest(config, world, range.identity());
                (state, given.unwrap_or(before))
            }
            Some(state @ (State::OwnerExclusive | State::Fixed)) => (state, before),
            _ => return Err(FfaError::Denied),
        };
        if !most.contains(permissions) {
            return Err(FfaError::Denied);
        }
        let attributes = Attributes {
            permissions,
            memory: kind,
        };
        let to = Leaf::new(attributes, state);
        let change = Change { from: leaf, to };
        Ok(Run {
            range,
            world,
            change,
        })
    }

    /// Returns the pages at the start of `range` that have one leaf in common, with their world and
    /// that leaf. `None` if the first page has no leaf.
    fn first_run(
        &self,
        memory: &AddressSpace,
        range: PageRange<Ipa>,
    ) -> Option<(PageRange<Ipa>, World, Leaf)> {
        if let Some((world, leaf)) = memory.inspect(&self.hal, [range].into_iter()) {
            return Some((range, world, leaf));
        }
        let (world, leaf) = memory.first_leaf(&self.hal, range)?;
        let mut run = PageRange::new(range.base(), 1)?;
        while let Some(next) = behind(range, run)
            && memory.first_leaf(&self.hal, next) == Some((world, leaf))
        {
            run = PageRange::new(range.base(), run.pages().saturating_add(1))?;
        }
        Some((run, world, leaf))
    }

    fn change_run(&self, memory: &mut AddressSpace, run: Run) -> Result<()> {
        memory
            .change(&self.hal, run.world, [run.range].into_iter(), run.change)
            .map_err(|error| match error {
                ChangeError::Mismatch => FfaError::InvalidParameters,
                ChangeError::NoMemory => FfaError::NoMemory,
            })
    }
}

/// A change of consecutive pages that have one leaf in common.
#[derive(Clone, Copy)]
struct Run {
    range: PageRange<Ipa>,
    world: World,
    change: Change,
}

impl Run {
    /// Returns the run that undoes this one.
    fn inverse(self) -> Self {
        Self {
            change: self.change.inverse(),
            ..self
        }
    }
}

/// Returns the pages of `range` that follow `run`, a part of it; `None` if there are none.
fn behind(range: PageRange<Ipa>, run: PageRange<Ipa>) -> Option<PageRange<Ipa>> {
    let left = range.end().raw().saturating_sub(run.end().raw());
    PageRange::new(run.end(), left / PAGE_SIZE)
}

/// Returns the most access that the manifest gives a partition to all pages of `range`: any access
/// to pages of its image and of regions that it may write, and that of the region to pages in
/// another region. `None` if the manifest does not give the partition all of these pages.
///
/// Pages that a partition may write can become executable, since the partition could write the same
/// code to its image. StandaloneMm loads drivers to its heap, which manifests do not give as
/// executable.
fn given_by_manifest(
    config: &PartitionConfig,
    world: World,
    range: PageRange<Pa>,
) -> Option<Permissions> {
    let mut most = Permissions::all();
    let mut given = common_pages(&config.memory, &range);
    for region in &config.memory_regions {
        let pages = common_pages(&region.range, &range);
        if pages == 0 {
            continue;
        }
        if !region.permissions.contains(Permissions::WRITE) {
            most &= region.permissions;
        }
        if !region.in_package {
            given = given.saturating_add(pages);
        }
    }
    (world == World::Secure && given == range.pages()).then_some(most)
}

/// Returns how many pages two ranges have in common.
fn common_pages(one: &PageRange<Pa>, other: &PageRange<Pa>) -> u64 {
    let start = one.base().max(other.base()).raw();
    let end = one.end().min(other.end()).raw();
    end.saturating_sub(start) / PAGE_SIZE
}

/// Checks that the caller is an S-EL0 partition that initialises. `DENIED` otherwise.
fn check_caller<C>(current: &Current<'_, C>) -> Result<()> {
    let is_el0 = current.frozen.config.exception_level == ExceptionLevel::SEl0;
    if is_el0 && current.vcpu.model() == Model::Init {
        Ok(())
    } else {
        Err(FfaError::Denied)
    }
}
