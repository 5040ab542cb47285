//! Loading a partition a second time (`abort-action` restart).
//!
//! A partition can change all of its memory, its code included, so nothing there can be trusted
//! after it ran. Before the partition first runs, the package is therefore copied to the end of its
//! memory. The copy is not mapped for the partition, which has that much less memory; its manifest
//! is refused if no room is left. A restart copies the package back, zeroes everything else that
//! the partition owns, and loads the partition as at boot. A restart is refused while somebody else
//! has any of that memory.

use arrayvec::ArrayVec;
use zerocopy::IntoBytes;

use crate::addr::{PAGE_SIZE, Pa, PageRange, World};
use crate::hal::Hal;
use crate::invariant::Invariant;
use crate::limits::SLICE_PAGES;
use crate::manifest::config::{PartitionConfig, Permissions};
use crate::manifest::package::Lack;
use crate::mm::{AddressSpace, Attributes, Change, Leaf, State};
use crate::partition::vcpu::{self, Event};
use crate::partition::{Endpoint, Frozen, Partition, Slot};
use crate::spmc::{Pe, Spmc};

use super::load::image;
use super::package::{Copying, copy_pages};
use super::{BootInfo, PackageError, introduce};

impl<H: Hal> Spmc<H> {
    /// Brings a partition that failed back to what it was before it first ran, so that it can be
    /// initialised. Handlers of Secure interrupts run after each slice that is zeroed.
    #[cold]
    #[inline(never)]
    pub(crate) fn reload(
        &self,
        pe: &mut Pe,
        partition: &Partition<H::Context>,
        frozen: &Frozen,
    ) -> Result<BootInfo, PackageError> {
        let config = &frozen.config;
        let good = {
            let mut images = partition.images.lock();
            images.end_trial(false);
            images.good()
        };
        let good = good.ok_or(PackageError::Lack(Lack::RoomForCopy))?;
        let endpoint = &partition.endpoint;
        {
            let mut memory = endpoint.memory.lock();
            for device in &config.device_regions {
                let attributes = Attributes::device(device.permissions);
                let leaf = Leaf::new(attributes, self.device_state(config.id, device));
                self.reset_pages(&mut memory, device.world, device.range, leaf)?;
            }
            for (range, leaf) in owned(config) {
                self.reset_pages(&mut memory, World::Secure, range, leaf)?;
            }
        }
        let mut rest = owned_pages(config).peekable();
        while rest.peek().is_some() {
            for page in rest.by_ref().take(SLICE) {
                let zeroed = self.hal.zero(World::Secure, page);
                zeroed.map_err(|_| PackageError::Unreadable)?;
            }
            self.interrupts_between(pe);
        }
        let copying = Copying {
            from: good.base,
            to: config.memory.base(),
            pages: good.package.pages(),
        };
        copy_pages(&self.hal, copying, self.boot_buffer.lock().as_mut_bytes())?;
        // Of stream endpoints, which have nothing of the partition's: see the check of manifests.
        self.attach_streams(config, &frozen.roots)?;
        let boot_info = self.write_boot_info(config, &good.package)?;
        self.register_buffers(partition, config)
            .map_err(|_| PackageError::OutOfTables)?;
        // Of its former life. From here on what comes is for the new one.
        for index in 0..config.vcpu_count {
            partition.end_life(index);
        }
        self.claim_interrupts(frozen);
        introduce(endpoint, &self.notifications, frozen.index, config);
        for mut context in partition.vcpus.iter().filter_map(Slot::claim) {
            // The others are off already.
            if context.is(vcpu::State::Aborted) {
                Invariant::Transition.expect(context.step(Event::Reload).is_ok());
            }
        }
        partition.revive();
        Ok(boot_info)
    }

    /// Gives pages of a partition the leaf that they had at boot. `InUse` if somebody else has one
    /// of those pages.
    pub(super) fn reset_pages(
        &self,
        memory: &mut AddressSpace,
        world: World,
        range: PageRange<Pa>,
        to: Leaf,
    ) -> Result<(), PackageError> {
        let mut batch = Batch::new(world);
        for page in pages(range) {
            let found = memory.inspect(&self.hal, [page.identity()].into_iter());
            let from = found.filter(|(found, _)| *found == world);
            let (_, from) = from.ok_or(PackageError::InUse)?;
            if from == to {
                continue;
            }
            // The partition itself has changed the permissions of pages that are otherwise as at
            // boot.
            if from.state() != to.state() {
                return Err(PackageError::InUse);
            }
            let change = Change { from, to };
            if !batch.add(page, change) {
                self.make(memory, &batch)?;
                batch = Batch::of(world, page, change);
            }
        }
        self.make(memory, &batch)
    }

    /// Makes the change of a batch.
    fn make(&self, memory: &mut AddressSpace, batch: &Batch) -> Result<(), PackageError> {
        if batch.ranges.is_empty() {
            return Ok(());
        }
        let ranges = batch.ranges.iter().map(PageRange::identity);
        memory
            .change(&self.hal, batch.world, ranges, batch.change)
            .map_err(|_| PackageError::OutOfTables)
    }

    /// Unmaps and zeroes a dead partition's memory, as far as nobody else has it. Handlers of
    /// Secure interrupts run after each slice.
    #[cold]
    #[inline(never)]
    pub(crate) fn scrub(&self, pe: &mut Pe, endpoint: &Endpoint, config: &PartitionConfig) {
        let mut rest = owned_pages(config).peekable();
        while rest.peek().is_some() {
            let slice = rest.by_ref().take(SLICE);
            self.scrub_slice(&mut endpoint.memory.lock(), config, slice);
            self.interrupts_between(pe);
        }
    }

    fn scrub_slice(
        &self,
        memory: &mut AddressSpace,
        config: &PartitionConfig,
        slice: impl Iterator<Item = PageRange<Pa>>,
    ) {
        let mut batch = Batch::new(World::Secure);
        for page in slice {
            let found = memory.inspect(&self.hal, [page.identity()].into_iter());
            let Some((World::Secure, from)) = found else {
                continue;
            };
            let change = Change {
                from,
                to: Leaf::NONE,
            };
            if from.state() == Some(State::OwnerExclusive) && !batch.add(page, change) {
                self.scrub_batch(memory, config, &batch);
                batch = Batch::of(World::Secure, page, change);
            }
        }
        self.scrub_batch(memory, config, &batch);
    }

    fn scrub_batch(&self, memory: &mut AddressSpace, config: &PartitionConfig, batch: &Batch) {
        // A part of a block stays mapped if there is no page for a table. The contents are zeroed
        // anyway.
        let _ = self.make(memory, batch);
        for range in &batch.ranges {
            if self.hal.zero(World::Secure, *range).is_err() {
                log::error!("{}: {range} cannot be zeroed", config.name);
            }
        }
    }
}

/// The number of pages that are zeroed before Secure interrupts are taken.
pub(super) const SLICE: usize = SLICE_PAGES as usize;

/// Ranges of a [`Batch`].
const BATCH: usize = 16;

/// Pages whose leaves are changed together, at the cost of one invalidation.
struct Batch {
    world: World,
    change: Change,
    ranges: ArrayVec<PageRange<Pa>, BATCH>,
}

impl Batch {
    /// No pages.
    fn new(world: World) -> Self {
        let change = Change {
            from: Leaf::NONE,
            to: Leaf::NONE,
        };
        Self {
            world,
            change,
            ranges: ArrayVec::new(),
        }
    }

    /// One page.
    fn of(world: World, page: PageRange<Pa>, change: Change) -> Self {
        let mut batch = Self::new(world);
        batch.add(page, change);
        batch
    }

    /// Adds a page behind all others. Returns whether there was room, and the change is that of the
    /// others.
    fn add(&mut self, page: PageRange<Pa>, change: Change) -> bool {
        if self.ranges.is_empty() {
            self.change = change;
        }
        if self.change != change {
            return false;
        }
        if let Some(last) = self
            .ranges
            .last_mut()
            .filter(|last| last.end() == page.base())
            && let Some(longer) = PageRange::new(last.base(), last.pages().saturating_add(1))
        {
            *last = longer;
            return true;
        }
        self.ranges.try_push(page).is_ok()
    }
}

/// Returns the Secure memory that a partition owns from boot on, with the leaf that the pages have
/// then.
pub(super) fn owned(config: &PartitionConfig) -> impl Iterator<Item = (PageRange<Pa>, Leaf)> {
    let in_package = |page: &PageRange<Pa>| {
        let mut regions = config.memory_regions.iter();
        regions.any(|region| region.in_package && region.range.contains(page))
    };
    let leaf = image(config);
    let image = pages(config.memory)
        .filter(move |page| !in_package(page))
        .map(move |page| (page, leaf));
    let regions = config.memory_regions.iter();
    let regions = regions.filter(|region| region.world == World::Secure);
    image.chain(regions.map(|region| (region.range, own_leaf(region.permissions))))
}

/// Returns the pages of that memory.
fn owned_pages(config: &PartitionConfig) -> impl Iterator<Item = PageRange<Pa>> {
    owned(config).flat_map(|(range, _)| pages(range))
}

fn own_leaf(permissions: Permissions) -> Leaf {
    Leaf::new(Attributes::normal(permissions), State::OwnerExclusive)
}

/// Returns the pages of a range.
pub(super) fn pages(range: PageRange<Pa>) -> impl Iterator<Item = PageRange<Pa>> {
    (0..range.pages()).filter_map(move |page| {
        let offset = page.saturating_mul(PAGE_SIZE);
        PageRange::new(Pa::new(range.base().raw().saturating_add(offset)), 1)
    })
}
