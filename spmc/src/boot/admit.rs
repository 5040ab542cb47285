//! Making the SPMC from its manifest: tables for what the manifests name, and the partitions that
//! may have what they ask for. Nothing of a partition runs yet.
//!
//! All memory of calls is allocated here and in what is called from here. Nothing allocates later.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;

use zerocopy::IntoBytes;

use super::load::each_stream;
use super::package::{Copying, copy_pages, read_manifest, read_package};
use super::{FIRST_VMID, PackageError, introduce};
use crate::activation::Activation;
use crate::addr::{PAGE_SIZE, Pa, PageRange};
use crate::ffa::{SmcFrame, Version, function};
use crate::hal::{Hal, Roots};
use crate::id::PartitionId;
use crate::interrupt::{Calling, Claims, Owners, Places};
use crate::limits::MIN_NOTIFIED_VCPUS;
use crate::manifest::config::{
    Branches, ExceptionLevel, PackageEntry, PartitionConfig, SpmcManifest,
};
use crate::manifest::package::{NOT_REPLACED, Package};
use crate::manifest::{
    Fingerprint, ManifestError, Report, boot_info, ids, partition_manifest, validate,
};
use crate::mem::Shares;
use crate::mm::{PagePool, Quotas};
use crate::notification::Notifications;
use crate::partition::{Directory, Endpoint, Frozen, Partition, Slot, StreamEndpoint, VmMailboxes};
use crate::spmc::Spmc;
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicBool, AtomicU64};

/// Returns the filter for a `log-level` of the SPMC manifest, from 0 (nothing) and 1 (errors) to 5
/// (everything).
fn level_filter(level: u32) -> log::LevelFilter {
    log::LevelFilter::iter()
        .nth(level as usize)
        .unwrap_or(log::LevelFilter::Trace)
}

impl<H: Hal> Spmc<H> {
    /// Makes the SPMC that `manifest` describes, with the partitions that may have what they ask
    /// for. `image` is all memory of the SPMC itself. If there is no usable manifest, there are no
    /// partitions either, and [`Spmc::boot`] tells EL3 so.
    ///
    /// Errors that make a manifest unusable: those of [`validate::spmc`].
    #[cold]
    #[inline(never)]
    pub fn new(
        hal: H,
        manifest: Result<Box<SpmcManifest>, ManifestError>,
        image: PageRange<Pa>,
    ) -> Self {
        let usable =
            manifest.and_then(|manifest| validate::spmc(&manifest, &image).map(|()| manifest));
        let (manifest, fault) = match usable {
            Ok(manifest) => (manifest, None),
            Err(fault) => (Box::default(), Some(fault)),
        };
        if let Some(level) = manifest.log_level {
            let filter = level_filter(level);
            log::set_max_level(filter);
            if filter > log::STATIC_MAX_LEVEL {
                log::warn!("log-level: {level} needs an image with such lines, which this is not");
            }
        }
        if manifest.live_activation_from_nwd {
            log::warn!(
                "live-activation-from-nwd: the Normal world may replace the images of \
                 partitions; this is for tests only"
            );
        }
        hal.set_geometry(manifest.geometry);
        for fault in &manifest.faults {
            log::error!("SPMC manifest: {fault}");
        }
        let mut admission = Admission {
            hal: &hal,
            manifest: &manifest,
            image: &image,
            buffer: vec![0; PAGE_WORDS],
            partitions: Vec::with_capacity(manifest.partitions.len()),
            calling: Arc::new(Calling::new(manifest.most_contexts())),
        };
        for entry in &manifest.partitions {
            if let Err(error) = admission.admit(entry) {
                log::error!("{}: not started: {error}", entry.name);
            }
        }
        let Admission {
            buffer,
            partitions,
            calling,
            ..
        } = admission;
        let mut partitions = partitions.into_boxed_slice();
        let directory = Directory::new();
        let pes = manifest.cpus.len().max(1);
        let contexts = partitions.iter().map(|partition| &partition.frozen.config);
        let notified = contexts.map(|config| {
            if config.notifications {
                config.vcpu_count
            } else {
                0
            }
        });
        let vcpus = MIN_NOTIFIED_VCPUS.max(pes as u16);
        let notifications = Notifications::new(notified, manifest.vms, vcpus);
        for Partition {
            endpoint, frozen, ..
        } in &partitions
        {
            directory.enter(frozen.config.id, frozen.index);
            introduce(endpoint, &notifications, frozen.index, &frozen.config);
        }
        let owners = Owners::new(partitions.iter().map(|partition| &partition.frozen.claims));
        let streams = stream_endpoints(&manifest, &partitions);
        let streams = (0..streams).map(|_| StreamEndpoint::EMPTY).collect();
        let shares = Shares::new(partitions.len(), manifest.transactions, pes);
        let vms = VmMailboxes::new(manifest.vms);
        let places = Mutex::new(Places::new(pes));
        let boot_order = boot_order(&partitions);
        let boot_buffer = Mutex::new(buffer.into());
        let ns_memory = manifest.ns_memory.clone();
        let ns_devices = normal_worlds_devices(&manifest, &partitions);
        // Nothing is allocated from here on.
        hal.make_tables(&manifest);
        add_table_memory(&hal, &manifest);
        let normal_world = give_tables(&hal, (ns_memory, &ns_devices), &mut partitions);
        normal_world.offer(offered_by_el3(&hal, manifest.version));
        Self {
            boot_order,
            partitions,
            directory,
            normal_world,
            vms,
            streams,
            shares,
            notifications,
            ns_resources: Mutex::new(None),
            fault,
            booted: AtomicBool::new(false),
            owners,
            calling,
            wants_cycles: AtomicU64::new(0),
            left_timers: AtomicU64::new(0),
            places,
            aftermath: AtomicU64::new(0),
            boot_buffer,
            activation: Mutex::new(Activation::NONE),
            image,
            manifest,
            hal,
        }
    }
}

/// Returns the newest version that the Normal world can be offered: 1.3 if the SPMC manifest, by
/// which the SPMD treats its calls, and the SPMD itself speak it. Otherwise the SPMD does not pass
/// on all that 1.3 has.
#[cold]
fn offered_by_el3<H: Hal>(hal: &H, declared: Version) -> Version {
    let mut call = SmcFrame::new([function::VERSION.into(), Version::OWN.to_word().into()]);
    hal.call_el3(&mut call);
    let spmd = Version::from_word(call.w(0)).unwrap_or(Version::V1_2);
    declared.min(spmd).clamp(Version::V1_2, Version::OWN)
}

/// Gives the memory for tables that the manifest names to the pools. If that fails, boot goes on
/// without it.
#[cold]
#[inline(never)]
fn add_table_memory<H: Hal>(hal: &H, manifest: &SpmcManifest) {
    let Some(range) = manifest.table_memory else {
        return;
    };
    let before = hal.tables().len();
    match hal.add_tables(range) {
        Ok(()) => log::info!(
            "table-memory: {} pages at {}; with those of the image there are {}, of {before}",
            range.pages(),
            range.base(),
            hal.tables().len()
        ),
        Err(error) => log::error!("table-memory: not used: {error}"),
    }
}

/// Splits the translation tables among all endpoints, and makes their roots. Returns the endpoint
/// of the Normal world. A partition for which there are too few tables is dead.
#[cold]
#[inline(never)]
fn give_tables<H: Hal>(
    hal: &H,
    (ns_memory, ns_devices): (Vec<PageRange<Pa>>, &[PageRange<Pa>]),
    partitions: &mut [Partition<H::Context>],
) -> Endpoint {
    let mut supply = PagePool::all(hal);
    let quotas = Quotas::of(hal.geometry(), supply.available(), partitions.len());
    let pool = supply.carve(quotas.normal_world);
    let promised = quotas.partition.saturating_mul(partitions.len());
    let rest = supply.available().saturating_sub(promised);
    supply.carve_reserve(hal, rest);
    let normal_world = normal_world(hal, ns_memory, ns_devices, pool);
    for partition in partitions {
        let pool = supply.carve(quotas.partition);
        let tag = FIRST_VMID.saturating_add(partition.frozen.index as u16);
        let mut memory = partition.endpoint.memory.lock();
        let made = match partition.frozen.config.exception_level {
            ExceptionLevel::SEl1 => memory.init(hal, tag, pool),
            ExceptionLevel::SEl0 => {
                memory.init_el0(hal, tag, pool, partition.frozen.config.branches)
            }
        };
        partition.frozen.roots = memory.roots();
        drop(memory);
        if made.is_err() {
            let config = &partition.frozen.config;
            log::error!(
                "{}: not started: {}",
                config.name,
                PackageError::OutOfTables
            );
            partition.refuse();
        }
    }
    normal_world
}

/// Returns the devices that the Normal world may lend: its devices without those of partitions, of
/// the GIC, of the console, and in memory.
fn normal_worlds_devices<C>(
    manifest: &SpmcManifest,
    partitions: &[Partition<C>],
) -> Vec<PageRange<Pa>> {
    let of_partitions = partitions
        .iter()
        .flat_map(|partition| &partition.frozen.config.device_regions)
        .map(|device| device.range);
    let of_board = manifest.board.ranges().map(|(_, range)| range);
    let memory = manifest.ns_memory.iter().copied();
    of_partitions.chain(of_board).chain(memory).fold(
        manifest.ns_device_memory.clone(),
        |devices, taken| {
            let free = devices.iter().flat_map(|device| device.outside(&taken));
            free.collect()
        },
    )
}

/// Makes the endpoint of the Normal world, with the memory that it may share, and the devices that
/// it may lend.
fn normal_world<H: Hal>(
    hal: &H,
    ns_memory: Vec<PageRange<Pa>>,
    ns_devices: &[PageRange<Pa>],
    pool: PagePool,
) -> Endpoint {
    let endpoint = Endpoint::new();
    // Until it negotiates: a kernel that does not may know nothing of 1.3.
    endpoint.init(PartitionId::NORMAL_WORLD, Version::V1_2);
    let mut shadow = endpoint.memory.lock();
    for range in &ns_memory {
        log::debug!("the Normal world may share {range}");
    }
    let made = shadow.init_normal_world(hal, pool, ns_memory);
    if made.is_err() {
        log::error!("no translation tables for the Normal world's memory");
    }
    for device in ns_devices {
        log::debug!("the Normal world may lend the device at {device}");
        if shadow.own_device(hal, device).is_err() {
            log::warn!(
                "the Normal world cannot lend the device at {}",
                device.base()
            );
        }
    }
    drop(shadow);
    endpoint
}

/// Returns how many stream endpoints the manifests name, at most.
fn stream_endpoints<C>(manifest: &SpmcManifest, partitions: &[Partition<C>]) -> usize {
    let devices = partitions
        .iter()
        .flat_map(|partition| &partition.frozen.config.device_regions);
    let named = devices.filter(|device| device.stream_endpoint.is_some());
    named.count().saturating_add(manifest.stream_devices.len())
}

/// Returns the indices of the partitions in the order in which they boot: by `boot-order` where it
/// is given, then by place.
fn boot_order<C>(partitions: &[Partition<C>]) -> Box<[usize]> {
    let rank = |index: usize| {
        let partition = partitions.get(index);
        let order = partition.and_then(|partition| partition.frozen.config.boot_order);
        order.map_or(u32::MAX, u32::from)
    };
    let mut order = Vec::with_capacity(partitions.len());
    for index in 0..partitions.len() {
        // There are few entries: insertion takes less code than a sort, and keeps equal ones in the
        // order of their places.
        let before = |earlier: &&usize| rank(**earlier) <= rank(index);
        let at = order.iter().take_while(before).count();
        order.insert(at, index);
    }
    order.into()
}

/// Words of a page.
const PAGE_WORDS: usize = PAGE_SIZE as usize / size_of::<u64>();

/// Partitions while they are admitted.
struct Admission<'a, H: Hal> {
    hal: &'a H,
    manifest: &'a SpmcManifest,
    image: &'a PageRange<Pa>,
    /// Private copy of the manifest that is being read, in words because a device tree is aligned
    /// to 8 bytes. At least a page.
    buffer: Vec<u64>,
    partitions: Vec<Partition<H::Context>>,
    /// Finds the handlers of a PE.
    calling: Arc<Calling>,
}

impl<H: Hal> Admission<'_, H> {
    /// Takes devices out of the manifest of a partition that could reach memory past the SPMC,
    /// since no SMMU confines their streams.
    fn withhold_devices(&self, config: &mut PartitionConfig) {
        let (hal, name) = (self.hal, &config.name);
        config.device_regions.retain(|device| {
            let mut streams = device.streams.iter().flat_map(each_stream);
            let Some(stream) = streams.find(|stream| !hal.knows_stream(*stream)) else {
                return true;
            };
            log::warn!(
                "{name}: device-regions/{}: withheld, no SMMU confines its stream {:#x}",
                device.name,
                stream.id
            );
            false
        });
    }

    /// Reads and validates the manifest of one package, and makes the partition, which has no
    /// tables yet.
    #[cold]
    #[inline(never)]
    fn admit(&mut self, entry: &PackageEntry) -> Result<(), PackageError> {
        validate::package(entry, self.manifest, self.image)?;
        let (mut config, package, manifest) = self.read_config(entry)?;
        let most = self.manifest.most_contexts();
        if config.vcpu_count > most {
            log::warn!(
                "{}: execution-ctx-count: {} contexts, but there are {} PEs",
                config.name,
                config.vcpu_count,
                self.manifest.cpus.len()
            );
            config.vcpu_count = most;
        }
        if config.exception_level == ExceptionLevel::SEl0 && !self.hal.confines_s_el0() {
            return Err(PackageError::NotConfined);
        }
        if config.branches == Branches::ToTargets && !self.hal.has_branch_targets() {
            let name = config.name;
            log::warn!("{name}: branch-target-identification: no effect, the CPU lacks it");
            config.branches = Branches::Anywhere;
        }
        self.withhold_devices(&mut config);
        if let Some(wanted) = config.vectors {
            let longest = self.hal.longest_vectors();
            if longest.is_none_or(|longest| longest < wanted) {
                return Err(PackageError::VectorsTooLong { wanted, longest });
            }
        }
        if config.live_activation.is_some() && config.copies.len() < 2 {
            log::warn!("{}: {NOT_REPLACED}", config.name);
        }
        if let Some(copy) = config.copies.first() {
            let buffer = self.buffer.as_mut_bytes();
            let copying = Copying {
                from: config.memory.base(),
                to: copy.base(),
                pages: package.pages(),
            };
            copy_pages(self.hal, copying, buffer)?;
        }
        let frozen = Frozen {
            index: self.partitions.len(),
            roots: Roots::NONE,
            messaging: config.messaging(),
            claims: Claims::of(&config),
            config,
            manifest,
        };
        let calling = Arc::clone(&self.calling);
        let partition = Partition::new(frozen, package, Endpoint::new(), calling);
        if let Some(length) = partition.frozen.config.vectors {
            for mut context in partition.vcpus.iter().filter_map(Slot::claim) {
                self.hal.give_vectors(&mut context.context, length);
            }
        }
        self.partitions.push(partition);
        Ok(())
    }

    /// Parses a package in the partition's memory, and a copy of its manifest, which is checked
    /// against what was admitted before.
    #[cold]
    #[inline(never)]
    fn read_config(
        &mut self,
        entry: &PackageEntry,
    ) -> Result<(PartitionConfig, Package, Fingerprint), PackageError> {
        let package = read_package(self.hal, entry.memory.base(), entry.memory)?;
        let words = package.manifest_size().div_ceil(size_of::<u64>());
        if self.buffer.len() < words {
            self.buffer.resize(words, 0);
        }
        let buffer = self.buffer.as_mut_bytes();
        let dtb = read_manifest(self.hal, entry.memory, &package, buffer)?;
        let manifest = Fingerprint::of(dtb);
        let report = Report::new();
        let mut config = partition_manifest::read(dtb, entry, &report);
        report.verdict()?;
        let partitions = self.partitions.iter();
        let earlier = partitions.map(|partition| &partition.frozen.config);
        ids::settle(&mut config, earlier.clone(), self.manifest);
        validate::partition(&config, earlier, self.manifest, self.image)?;
        package.reserve_copies(&mut config)?;
        boot_info::offset_of_manifest(&config, &package)?;
        Ok((config, package, manifest))
    }
}
