//! Loading another image of a partition that keeps all else that it has (live activation).
//!
//! Whatever can be wrong with a new package is found while the partition runs. The package is
//! copied to memory that only the SPMC has, and judged there: nothing is loaded that EL3 changed
//! after the judgement. Once the partition has stopped, the package takes the place of the old one.
//! Only memory of the package itself changes: regions of the manifest outside of it, memory that
//! others lent, and pages that the partition lent or gave away keep their contents and their
//! places. The package that ran before stays in its own copy, from which it can be loaded in the
//! same way.

use zerocopy::IntoBytes;

use crate::addr::{PAGE_SIZE, Pa, PageRange, World};
use crate::hal::Hal;
use crate::manifest::config::PartitionConfig;
use crate::manifest::package::Package;
use crate::manifest::{Fingerprint, boot_info, validate};
use crate::mm::{AddressSpace, State};
use crate::partition::{Partition, Stored};
use crate::spmc::{Pe, Spmc};

use super::PackageError;
use super::package::{Copying, copy_pages, read_package};
use super::reload::{SLICE, owned, pages};

/// Bytes of a manifest that are read at a time.
const CHUNK: usize = 256;

impl<H: Hal> Spmc<H> {
    /// Copies the new package of a partition from `staged` to where only the SPMC can change it,
    /// and checks it there. Handlers of Secure interrupts run after each slice.
    ///
    /// Errors: `staged` is not Secure memory of nobody, or cannot be read; the partition has no
    /// copy for a package of that length; the package does not fit into the partition's memory, is
    /// broken, or has another manifest than that of boot.
    #[cold]
    #[inline(never)]
    pub(crate) fn stage(
        &self,
        pe: &mut Pe,
        partition: &Partition<H::Context>,
        staged: PageRange<Pa>,
    ) -> Result<(), PackageError> {
        let config = &partition.frozen.config;
        let all = self.partitions.iter().map(|other| &other.frozen.config);
        validate::staged(&staged, all, &self.manifest, &self.image)?;
        // EL3 can change the original while it is read: this only tells how much there is to copy.
        let claimed = self
            .read_new(config, staged.base(), staged.pages())?
            .pages();
        let spare = partition.images.lock().spare();
        let copy = config.copies.get(spare);
        let room = copy.map_or(0, PageRange::pages);
        let base = copy
            .filter(|_| claimed <= room)
            .map(PageRange::base)
            .ok_or(PackageError::LongerThanCopy { claimed, room })?;
        self.copy_slices(pe, staged.base(), base, claimed)?;
        let package = self.judge(partition, base, claimed)?;
        partition.images.lock().stage(Stored {
            base,
            package,
            copy: spare,
        });
        Ok(())
    }

    /// Reads the headers of the package at `base`, which has that many pages at most.
    fn read_new(
        &self,
        config: &PartitionConfig,
        base: Pa,
        pages: u64,
    ) -> Result<Package, PackageError> {
        // It will be loaded to where the partition is.
        let memory = PageRange::new(config.memory.base(), pages.min(config.memory.pages()));
        read_package(&self.hal, base, memory.ok_or(PackageError::Unreadable)?)
    }

    /// Reads the package in the copy at `base`, which has that many pages at most, and checks that
    /// it is one for `partition`.
    fn judge(
        &self,
        partition: &Partition<H::Context>,
        base: Pa,
        pages: u64,
    ) -> Result<Package, PackageError> {
        let config = &partition.frozen.config;
        let package = self.read_new(config, base, pages)?;
        boot_info::offset_of_manifest(config, &package)?;
        let mut found = Fingerprint::EMPTY;
        let from = base.raw().saturating_add(package.manifest_offset());
        let size = package.manifest_size();
        let mut buffer = [0; CHUNK];
        for at in (0..size).step_by(CHUNK) {
            let count = size.saturating_sub(at).min(CHUNK);
            let piece = buffer.get_mut(..count).ok_or(PackageError::Unreadable)?;
            let from = Pa::new(from.saturating_add(at as u64));
            let read = self.hal.read(World::Secure, from, piece);
            read.map_err(|_| PackageError::Unreadable)?;
            found.add(piece);
        }
        if found != partition.frozen.manifest {
            return Err(PackageError::OtherManifest);
        }
        Ok(package)
    }

    /// Returns whether the partition has all pages to itself that its new package needs.
    #[cold]
    #[inline(never)]
    pub(crate) fn has_room_for_new_image(&self, partition: &Partition<H::Context>) -> bool {
        let new = partition.images.lock().new_one();
        let needed = new.map_or(0, |new| new.package.pages());
        let memory = partition.endpoint.memory.lock();
        let mut needed = pages(partition.frozen.config.memory).take(needed as usize);
        needed.all(|page| is_exclusive(&memory, &self.hal, page))
    }

    /// Loads a package in place of the image that has stopped: the rest of the partition's memory
    /// is zeroed, except for pages that are not the partition's alone. What stays for the next
    /// image, which starts without caches, is cleaned. Handlers of Secure interrupts run after each
    /// slice.
    ///
    /// Errors: others have memory that the package needs; no table for changed permissions; a
    /// memory access fails. The memory may then hold parts of both images.
    #[cold]
    #[inline(never)]
    pub(crate) fn load_in_place(
        &self,
        pe: &mut Pe,
        partition: &Partition<H::Context>,
        stored: &Stored,
    ) -> Result<(), PackageError> {
        let config = &partition.frozen.config;
        let needed = stored.package.pages();
        {
            let memory = &mut partition.endpoint.memory.lock();
            let mut image = pages(config.memory).take(needed as usize);
            if !image.all(|page| is_exclusive(memory, &self.hal, page)) {
                return Err(PackageError::InUse);
            }
            let own = owned(config).filter(|(range, _)| config.memory.contains(range));
            for (page, leaf) in own.flat_map(|(range, leaf)| pages(range).map(move |p| (p, leaf))) {
                if is_exclusive(memory, &self.hal, page) {
                    self.reset_pages(memory, World::Secure, page, leaf)?;
                }
            }
        }
        self.copy_slices(pe, stored.base, config.memory.base(), needed)?;
        let mut rest = pages(config.memory).skip(needed as usize).peekable();
        while rest.peek().is_some() {
            {
                let memory = partition.endpoint.memory.lock();
                for page in rest.by_ref().take(SLICE) {
                    if is_exclusive(&memory, &self.hal, page) {
                        let zeroed = self.hal.zero(World::Secure, page);
                        zeroed.map_err(|_| PackageError::Unreadable)?;
                    } else {
                        self.hal.clean(World::Secure, page.base(), page.size());
                    }
                }
            }
            self.interrupts_between(pe);
        }
        self.write_boot_info(config, &stored.package)?;
        let buffer = config.live_activation.and_then(|live| live.state_buffer);
        if let Some(region) = buffer.and_then(|index| config.memory_regions.get(index)) {
            let range = region.range;
            self.hal.clean(World::Secure, range.base(), range.size());
        }
        Ok(())
    }

    /// Copies pages of Secure memory. Handlers of Secure interrupts run after each slice.
    fn copy_slices(&self, pe: &mut Pe, from: Pa, to: Pa, pages: u64) -> Result<(), PackageError> {
        for done in (0..pages).step_by(SLICE) {
            let at = |base: Pa| Pa::new(base.raw().saturating_add(done.saturating_mul(PAGE_SIZE)));
            let slice = Copying {
                from: at(from),
                to: at(to),
                pages: pages.saturating_sub(done).min(SLICE as u64),
            };
            copy_pages(&self.hal, slice, self.boot_buffer.lock().as_mut_bytes())?;
            self.interrupts_between(pe);
        }
        Ok(())
    }
}

/// Returns whether a page of Secure memory is exclusively that endpoint's.
fn is_exclusive<H: Hal>(memory: &AddressSpace, hal: &H, page: PageRange<Pa>) -> bool {
    let found = memory.inspect(hal, [page.identity()].into_iter());
    found.is_some_and(|(world, leaf)| {
        world == World::Secure && leaf.state() == Some(State::OwnerExclusive)
    })
}
