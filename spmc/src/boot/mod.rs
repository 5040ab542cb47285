//! Boot: from the SPMC manifest to partitions that wait for messages (FF-A v1.0 sections 3.5 and 8;
//! TF-A's SPMD).
//!
//! All manifests are read and validated before any partition is loaded, so that the resources of
//! each partition are known to be its own before it runs. A partition that fails is left out, and
//! boot goes on without it.

mod load;
mod reload;

use arrayvec::ArrayVec;
use core::sync::atomic::Ordering;
use zerocopy::IntoBytes;

use crate::addr::{Pa, PageRange, World};
use crate::dispatch::{Member, works_for};
use crate::error::FfaError;
use crate::ffa::{Answer, SmcFrame, function};
use crate::hal::{Context, Hal};
use crate::id::PartitionId;
use crate::interrupt::Claims;
use crate::invariant::Invariant;
use crate::limits::MAX_PARTITIONS;
use crate::manifest::config::{ExceptionLevel, PackageEntry, PartitionConfig, SpmcManifest};
use crate::manifest::package::{HEADER_SIZE, NoRoom, Package};
use crate::manifest::{ManifestError, Report, ids, partition_manifest, spmc_manifest, validate};
use crate::mm::{PagePool, Quotas};
use crate::partition::vcpu::{Begin, Caller, Event, State};
use crate::partition::{Endpoint, Frozen, Link, Partition, Slot};

use crate::spmc::{Pe, Spmc};

/// The time that a partition may take to initialise, if the SPMC manifest does not say.
const DEFAULT_INIT_TIMEOUT_MS: u32 = 30_000;

/// VMID or ASID of the first partition. The others follow, and 0 stays unused.
const FIRST_VMID: u16 = 1;

/// Returns the filter for a `log-level` of the SPMC manifest, from 0 (nothing) and 1 (errors) to 5
/// (everything).
fn level_filter(level: u32) -> log::LevelFilter {
    log::LevelFilter::iter()
        .nth(level as usize)
        .unwrap_or(log::LevelFilter::Trace)
}

/// The reasons why a package is not started.
pub(crate) enum PackageError {
    Manifest(ManifestError),
    Unreadable,
    OutOfTables,
    NoRoom(NoRoom),
    InUse,
    OutOfStreamEndpoints,
    NoSuchStream,
    NotConfined,
}

/// The register and the address by which a partition finds its boot information, if it asked for
/// it.
pub(crate) type BootInfo = Option<(u8, u64)>;

impl From<ManifestError> for PackageError {
    fn from(error: ManifestError) -> Self {
        Self::Manifest(error)
    }
}

impl From<NoRoom> for PackageError {
    fn from(error: NoRoom) -> Self {
        Self::NoRoom(error)
    }
}

impl core::fmt::Display for PackageError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Manifest(error) => error.fmt(f),
            Self::Unreadable => f.write_str("the package cannot be read: no memory answers there"),
            Self::OutOfTables => f.write_str("out of translation tables"),
            Self::OutOfStreamEndpoints => f.write_str("too many stream endpoints"),
            Self::NoSuchStream => f.write_str("no SMMU confines the streams of its devices"),
            Self::NotConfined => f.write_str("this system cannot confine partitions at S-EL0"),
            Self::NoRoom(error) => error.fmt(f),
            Self::InUse => f.write_str("others have memory of it"),
        }
    }
}

impl<H: Hal> Spmc<H> {
    /// Boots the system on the first PE: brings up what `manifest` (the TOS_FW_CONFIG device tree)
    /// describes, and leaves in `frame` the answer to the SPMD: `FFA_MSG_WAIT`, or `FFA_ERROR` if
    /// the manifest is unusable. `image` is all memory of the SPMC itself.
    #[cold]
    #[inline(never)]
    pub fn boot(&self, pe: &mut Pe, manifest: &[u8], image: PageRange<Pa>, frame: &mut SmcFrame) {
        let usable = self
            .read_spmc_manifest(manifest)
            .and_then(|manifest| validate::spmc(manifest, &image).map(|()| manifest));
        frame.answer(match usable {
            Ok(manifest) => {
                self.boot_partitions(pe, manifest, image);
                Answer::new([function::MSG_WAIT as u64])
            }
            Err(error) => {
                log::error!("SPMC manifest: {error}");
                Answer::error(FfaError::InvalidParameters)
            }
        });
    }

    /// Parses the SPMC manifest into its place. This is a function of its own, so that its large
    /// stack frame is gone when partitions boot.
    #[cold]
    #[inline(never)]
    fn read_spmc_manifest(&self, dtb: &[u8]) -> Result<&SpmcManifest, ManifestError> {
        self.manifest.try_call_once(|| spmc_manifest::parse(dtb))
    }

    #[cold]
    #[inline(never)]
    fn boot_partitions(&self, pe: &mut Pe, manifest: &SpmcManifest, image: PageRange<Pa>) {
        if let Some(level) = manifest.log_level {
            log::set_max_level(level_filter(level));
        }
        let timeout = manifest.init_timeout_ms.unwrap_or(DEFAULT_INIT_TIMEOUT_MS);
        self.init_timeout_ms.store(timeout, Ordering::Relaxed);
        self.join(pe);
        self.normal_world
            .init(PartitionId::NORMAL_WORLD, crate::ffa::Version::OWN);

        self.add_table_memory(manifest);
        let mut supply = PagePool::all(&self.hal);
        let quotas = Quotas::of::<H>(supply.available());
        let pool = supply.carve(quotas.normal_world);
        let promised = quotas.partition.saturating_mul(manifest.partitions.len());
        let rest = supply.available().saturating_sub(promised);
        supply.carve_reserve(&self.hal, rest);
        let mut shadow = self.normal_world.memory.lock();
        if shadow
            .init_normal_world(&self.hal, pool, &manifest.ns_memory)
            .is_err()
        {
            log::error!("no translation tables for the Normal world's memory");
        }
        drop(shadow);

        for fault in &manifest.faults {
            log::error!("SPMC manifest: {fault}");
        }
        for (index, device) in manifest.stream_devices.iter().enumerate() {
            let earlier = Invariant::part(manifest.stream_devices.get(..index));
            let admitted = validate::stream_device(device, earlier, manifest)
                .map_err(PackageError::from)
                .and_then(|()| self.admit_device(device));
            if let Err(error) = admitted {
                log::error!("{}: not there: {error}", device.name);
            }
        }
        for entry in &manifest.partitions {
            let pool = supply.carve(quotas.partition);
            if let Err(error) = self.admit(entry, manifest, &image, pool) {
                log::error!("{}: not started: {error}", entry.name);
            }
        }
        let order = self.boot_order.call_once(|| self.sort_by_boot_order());
        for partition in order.iter().filter_map(|index| self.partitions.get(*index)) {
            if let Some(frozen) = partition.frozen() {
                self.start(pe, partition, frozen);
            }
        }
        self.booted.store(true, Ordering::Release);
    }

    /// Gives the memory for tables that the manifest names to the pools. If that fails, boot goes
    /// on without it.
    #[cold]
    #[inline(never)]
    fn add_table_memory(&self, manifest: &SpmcManifest) {
        let Some(range) = manifest.table_memory else {
            return;
        };
        let before = self.hal.tables().len();
        match self.hal.add_tables(range) {
            Ok(()) => log::info!(
                "table-memory: {} pages at {}; with those of the image there are {}, of {before}",
                range.pages(),
                range.base(),
                self.hal.tables().len()
            ),
            Err(error) => log::error!("table-memory: not used: {error}"),
        }
    }

    /// Reads and validates the manifest of one package and gives the partition a slot. Nothing of
    /// the partition runs yet.
    #[cold]
    #[inline(never)]
    fn admit(
        &self,
        entry: &PackageEntry,
        manifest: &SpmcManifest,
        image: &PageRange<Pa>,
        pool: PagePool,
    ) -> Result<(), PackageError> {
        validate::package(entry, manifest, image)?;
        let index = entry.index;
        let partition = self
            .partitions
            .get(index)
            .ok_or(PackageError::OutOfTables)?;
        let endpoint = &partition.endpoint;
        let frozen = partition.freeze(|| {
            let config = self.read_config(entry, manifest, image)?;
            if config.exception_level == ExceptionLevel::SEl0 && !self.hal.confines_s_el0() {
                return Err(PackageError::NotConfined);
            }
            self.keep_copy(&config)?;
            let mut memory = endpoint.memory.lock();
            let tag = FIRST_VMID.saturating_add(index as u16);
            match config.exception_level {
                ExceptionLevel::SEl1 => memory.init(&self.hal, tag, pool),
                ExceptionLevel::SEl0 => memory.init_el0(&self.hal, tag, pool),
            }
            .map_err(|_| PackageError::OutOfTables)?;
            let roots = memory.roots();
            drop(memory);
            let messaging = config.messaging();
            let claims = Claims::of(&config);
            Ok::<_, PackageError>(Frozen {
                config,
                roots,
                messaging,
                claims,
            })
        })?;
        self.directory.enter(frozen.config.id, index);
        self.introduce(endpoint, &frozen.config);
        self.count
            .fetch_max(index.saturating_add(1), Ordering::AcqRel);
        Ok(())
    }

    /// Gives an endpoint the properties that it has before its partition first runs.
    fn introduce(&self, endpoint: &Endpoint, config: &PartitionConfig) {
        endpoint.init(config.id, config.ffa_version);
        if config.exception_level == ExceptionLevel::SEl1 {
            endpoint.allow_pauses();
        }
        if config.notifications {
            self.notifications
                .enable_partition(config.index, config.id, config.vcpu_count);
        }
    }

    /// Copies header and manifest of a package out of the partition's memory, parses the copy and
    /// checks it against what was admitted before.
    #[cold]
    #[inline(never)]
    fn read_config(
        &self,
        entry: &PackageEntry,
        manifest: &SpmcManifest,
        image: &PageRange<Pa>,
    ) -> Result<PartitionConfig, PackageError> {
        let mut buffer = self.boot_buffer.lock();
        let package = self.read_package(entry.memory)?;
        let dtb = self.read_manifest(entry.memory, &package, buffer.as_mut_bytes())?;
        let report = Report::new();
        let mut config = partition_manifest::read(dtb, entry, &report);
        report.verdict()?;
        let frozen = self.live_partitions().filter_map(Partition::frozen);
        let earlier = frozen.map(|frozen| &frozen.config);
        ids::settle(&mut config, earlier.clone(), manifest);
        validate::partition(&config, earlier, manifest, image)?;
        package.reserve_copy(&mut config)?;
        Ok(config)
    }

    /// Reads the header of the package in `memory`.
    #[cold]
    #[inline(never)]
    fn read_package(&self, memory: PageRange<Pa>) -> Result<Package, PackageError> {
        let mut header = [0; HEADER_SIZE];
        self.hal
            .read(World::Secure, memory.base(), &mut header)
            .map_err(|_| PackageError::Unreadable)?;
        Ok(Package::parse(&header, memory.size())?)
    }

    /// Copies the manifest of a package into `buffer`. The parser of the header has checked offset
    /// and size.
    #[cold]
    #[inline(never)]
    fn read_manifest<'b>(
        &self,
        memory: PageRange<Pa>,
        package: &Package,
        buffer: &'b mut [u8],
    ) -> Result<&'b [u8], PackageError> {
        let from = Pa::new(
            memory
                .base()
                .raw()
                .saturating_add(package.manifest_offset()),
        );
        let to = buffer
            .get_mut(..package.manifest_size())
            .ok_or(PackageError::Unreadable)?;
        self.hal
            .read(World::Secure, from, to)
            .map_err(|_| PackageError::Unreadable)?;
        Ok(to)
    }

    /// Returns the indices of the admitted partitions in the order in which they boot: by
    /// `boot-order` where it is given, then by place.
    fn sort_by_boot_order(&self) -> ArrayVec<usize, MAX_PARTITIONS> {
        let rank = |index: usize| {
            let frozen = self.partitions.get(index).and_then(Partition::frozen);
            frozen
                .and_then(|frozen| frozen.config.boot_order)
                .map_or(u32::MAX, u32::from)
        };
        let mut order = ArrayVec::<usize, MAX_PARTITIONS>::new();
        let live = self.live_partitions().filter_map(Partition::frozen);
        for frozen in live {
            // There are few entries: insertion takes less code than a sort, and keeps equal ones in
            // the order of their places.
            let index = frozen.config.index;
            let at = order
                .iter()
                .take_while(|earlier| rank(**earlier) <= rank(index))
                .count();
            Invariant::Capacity.expect(order.try_insert(at, index).is_ok());
        }
        order
    }

    /// Loads one partition and runs its boot context until it waits.
    #[cold]
    #[inline(never)]
    fn start(&self, pe: &mut Pe, partition: &Partition<H::Context>, frozen: &Frozen) {
        let config = &frozen.config;
        let boot_info = match self.load(partition, frozen) {
            Ok(boot_info) => boot_info,
            Err(error) => {
                log::error!("{}: not started: {error}", config.name);
                partition.kill();
                self.detach_streams(config);
                return;
            }
        };
        self.claim_interrupts(frozen);
        self.initialise(pe, partition, frozen, config.entry_point(), boot_info);
        if !partition.is_dead() {
            log::info!(
                "{} ({}) is ready, {} execution contexts",
                config.name,
                config.id,
                config.vcpu_count
            );
        }
    }

    /// Runs the context of `partition` for this PE from `entry` until it waits or fails.
    /// `boot_info` names the register and the address that the context finds there.
    #[cold]
    #[inline(never)]
    pub(crate) fn initialise(
        &self,
        pe: &mut Pe,
        partition: &Partition<H::Context>,
        frozen: &Frozen,
        entry: u64,
        boot_info: BootInfo,
    ) {
        let member = Member { partition, frozen };
        let Ok(mut current) = self.claim(pe, member, Begin::Start) else {
            log::error!(
                "{}: has no execution context for PE {}",
                frozen.config.name,
                pe.index
            );
            return;
        };
        current
            .vcpu
            .begin_life(frozen.config.index, current.id.index);
        let vcpu = &mut *current.vcpu;
        let level = frozen.config.exception_level;
        self.hal
            .reset(&mut vcpu.context, level, entry, current.id.index);
        let registers = vcpu.context.gprs_mut();
        // The linear id of the PE, as Hafnium leaves it. All other registers are zero: a partition
        // would take the contents of x0 for boot information.
        registers[4] = pe.index as u64;
        if let Some((register, address)) = boot_info
            && let Some(slot) = registers.get_mut(register as usize)
        {
            *slot = address;
        }
        self.prepare_interrupts(&current);
        self.start_watch(pe, current.vcpu.link());
        self.enter(&mut current, false);
        let mut frame = SmcFrame::ZERO;
        self.run(pe, current, &mut frame);
        self.stop_watch(pe);
    }

    /// Boots a PE that the Normal world turned on: initialises the contexts pinned to that PE, and
    /// leaves `FFA_MSG_WAIT` for the SPMD in `frame`.
    pub fn boot_secondary(&self, pe: &mut Pe, frame: &mut SmcFrame) {
        self.join(pe);
        // EL3 may have turned the PE off although a partition refused.
        self.turn_off(pe);
        for index in self.boot_order.get().into_iter().flatten() {
            let Some(partition) = self.partitions.get(*index) else {
                continue;
            };
            let Some(frozen) = partition.frozen() else {
                continue;
            };
            let config = &frozen.config;
            if partition.is_dead() || config.is_up() || pe.index >= config.vcpu_count {
                continue;
            }
            let entry = partition
                .secondary_entry()
                .map_or_else(|| config.entry_point(), |entry| entry.raw());
            self.initialise(pe, partition, frozen, entry, None);
        }
        frame.answer(Answer::new([function::MSG_WAIT as u64]));
    }

    /// Resets the contexts pinned to a PE that is being turned off: they start from the beginning
    /// when the PE is on again. Contexts that they had called go to the callers of the reset ones.
    pub(crate) fn turn_off(&self, pe: &Pe) {
        // This includes partitions that failed, whose contexts may be part of a chain.
        for partition in &self.partitions {
            let Some(frozen) = partition.frozen() else {
                continue;
            };
            if frozen.config.is_up() {
                continue;
            }
            // No partition runs on this PE, so other PEs only read these contexts.
            let slot = partition.vcpus.get(pe.index as usize);
            let Some(mut vcpu) = slot.and_then(Slot::claim) else {
                continue;
            };
            let (link, state, caller) = (vcpu.link(), vcpu.state(), vcpu.caller());
            Invariant::Transition.expect(vcpu.step(Event::TurnOff).is_ok());
            drop(vcpu);
            if let State::Blocked(callee) = state {
                self.take_out_of_chain(link, caller, callee);
            }
        }
    }

    /// Connects the caller and the callee of a blocked context whose PE went off, so that the rest
    /// of the chain can end. The two changes are not one: a PE that sees only the first one sees a
    /// chain whose end is gone.
    fn take_out_of_chain(&self, link: Link, caller: Caller, callee: Link) {
        // The new caller only runs the callee again, and gets no answer from it.
        let waits = |heir: &Link| {
            self.place(*heir)
                .is_some_and(|place| place.slot.state() == State::Blocked(link))
        };
        let heir = caller.link().filter(waits);
        if let Some(mut callee) = self.follow(callee, |callee| works_for(callee, link)) {
            let caller = heir.map_or(Caller::NOBODY, Caller::Heir);
            callee.vcpu.inherit(caller);
        }
        if let Some(mut heir) = heir.and_then(|heir| self.waiting_for(link, heir)) {
            // The heir is blocked on the context that went off.
            Invariant::Transition.expect(heir.vcpu.step(Event::Rewire(link, callee)).is_ok());
        }
    }

    /// Returns whether all partitions have had their first run.
    pub(crate) fn has_booted(&self) -> bool {
        self.booted.load(Ordering::Acquire)
    }
}
