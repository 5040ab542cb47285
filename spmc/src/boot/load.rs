//! Loading one partition: stage 2, boot information, and the RX/TX pair that its manifest may ask
//! for.

use arrayvec::ArrayVec;
use zerocopy::IntoBytes;

use crate::addr::{PAGE_SIZE, Pa, World};
use crate::error::{FfaError, Result as FfaResult};
use crate::hal::{Hal, Roots, Stream};
use crate::id::PartitionId;
use crate::invariant::Invariant;
use crate::manifest::boot_info::{self, Content, Kind};
use crate::manifest::config::{
    BootInfo as BootInfoRequest, DeviceRegion, ExceptionLevel, MemoryRegion, PartitionConfig,
    Permissions, StreamDevice, Streams,
};
use crate::manifest::hob::{self, Image};
use crate::manifest::package::{Lack, Package, Piece};
use crate::mm::{AddressSpace, Attributes, BufferPages, Change, Leaf, PagePool, State};
use crate::partition::{Frozen, Partition, Proxy};
use crate::spmc::Spmc;

use super::package::read_manifest;
use super::{BootInfo, FIRST_VMID, PackageError};

/// Returns the leaf of a partition's image. An S-EL1 partition manages its own stage 1, so stage 2
/// permits everything; no other memory is both writable and executable. An S-EL0 partition may read
/// and execute its image, and asks for more by `FFA_MEM_PERM_SET`.
pub(super) fn image(config: &PartitionConfig) -> Leaf {
    let permissions = match config.exception_level {
        ExceptionLevel::SEl1 => Permissions::all(),
        ExceptionLevel::SEl0 => Permissions::READ | Permissions::EXECUTE,
    };
    Leaf::new(Attributes::normal(permissions), State::OwnerExclusive)
}

/// Returns how a partition finds its boot information, if it asks for any.
pub(crate) fn announced(config: &PartitionConfig) -> BootInfo {
    let (register, _) = boot_info::wanted(config)?;
    Some((register, config.memory.base().raw()))
}

/// Returns the streams that a manifest names in one place.
pub(super) fn each_stream(streams: &Streams) -> impl Iterator<Item = Stream> {
    let smmu = streams.smmu;
    let ids = streams.ids.iter();
    ids.map(move |id| Stream { smmu, id: *id })
}

impl<H: Hal> Spmc<H> {
    /// Returns the state of `device`, which is in the manifest of `owner`. A partition owns, and
    /// can lend, a device that no other manifest names, whether or not it asks for exclusive
    /// access. The SPMC owns all other devices (FF-A v1.0 section 2.10).
    pub(super) fn device_state(&self, owner: PartitionId, device: &DeviceRegion) -> State {
        let others = self.partitions.iter().map(|partition| &partition.frozen);
        let is_shared = others
            .filter(|frozen| frozen.config.id != owner)
            .flat_map(|frozen| &frozen.config.device_regions)
            .any(|other| other.range.overlaps(&device.range));
        if is_shared {
            State::Fixed
        } else {
            State::OwnerExclusive
        }
    }

    /// Builds the partition's tables and its boot information. Returns the register and the address
    /// by which the partition finds the latter.
    #[cold]
    #[inline(never)]
    pub(super) fn load(
        &self,
        partition: &Partition<H::Context>,
        frozen: &Frozen,
    ) -> Result<BootInfo, PackageError> {
        let config = &frozen.config;
        self.attach_streams(config, &frozen.roots)?;
        self.map_regions(&mut partition.endpoint.memory.lock(), config)
            .map_err(|_| PackageError::OutOfTables)?;
        let boot_info = self.write_boot_info(config, &partition.package)?;
        self.register_buffers(partition, config)
            .map_err(|_| PackageError::OutOfTables)?;
        Ok(boot_info)
    }

    /// Attaches the streams of all devices to the tables of their endpoints, which are still empty
    /// (FF-A v1.0 section 5.2.1).
    #[cold]
    #[inline(never)]
    pub(super) fn attach_streams(
        &self,
        config: &PartitionConfig,
        own: &Roots,
    ) -> Result<(), PackageError> {
        for device in &config.device_regions {
            let Some(streams) = &device.streams else {
                continue;
            };
            let roots = match device.stream_endpoint {
                Some(id) => self.stream_endpoint(id, Proxy::Partition(config.id))?,
                None => *own,
            };
            self.attach(streams, &roots)?;
        }
        Ok(())
    }

    /// Detaches the streams of all devices of a partition that does not run any more.
    #[cold]
    #[inline(never)]
    pub(crate) fn detach_streams(&self, config: &PartitionConfig) {
        let devices = config.device_regions.iter();
        for streams in devices.filter_map(|device| device.streams.as_ref()) {
            self.detach(streams);
        }
    }

    fn detach(&self, streams: &Streams) {
        for stream in each_stream(streams) {
            self.hal.detach_stream(stream);
        }
    }

    /// Makes the stream endpoint of an independent device.
    #[cold]
    #[inline(never)]
    pub(super) fn admit_device(&self, device: &StreamDevice) -> Result<(), PackageError> {
        let roots = self.stream_endpoint(device.id, Proxy::None)?;
        let attached = self.attach(&device.streams, &roots);
        if attached.is_err() {
            // The next device gets the slot, with its tables and its VMID.
            self.detach(&device.streams);
            let mut streams = self.streams.iter();
            if let Some(stream) = streams.find(|stream| stream.endpoint.id() == device.id) {
                stream.withdraw();
            }
        }
        attached
    }

    fn attach(&self, streams: &Streams, roots: &Roots) -> Result<(), PackageError> {
        for stream in each_stream(streams) {
            self.hal
                .attach_stream(stream, roots)
                .map_err(|_| PackageError::NoSuchStream)?;
        }
        Ok(())
    }

    /// Returns the roots of the stream endpoint `id`, which is made if there is none. A stream
    /// endpoint has no quota: all its tables come from the reserve.
    #[cold]
    #[inline(never)]
    fn stream_endpoint(&self, id: PartitionId, proxy: Proxy) -> Result<Roots, PackageError> {
        if let Some(stream) = self.any_stream(id) {
            return Ok(stream.endpoint.memory.lock().roots());
        }
        let mut slots = self.streams.iter().enumerate();
        let (slot, stream) = slots
            .find(|(_, stream)| !stream.is_there())
            .ok_or(PackageError::OutOfStreamEndpoints)?;
        // All numbers of translations are below 256.
        let index = self.partitions.len().saturating_add(slot);
        let vmid = u8::try_from(index.saturating_add(FIRST_VMID.into()));
        let vmid = vmid.map_err(|_| PackageError::OutOfStreamEndpoints)?.into();
        let mut memory = stream.endpoint.memory.lock();
        // A device that was left out leaves its tables, which are empty, to the VMID.
        if memory.roots() == Roots::NONE {
            memory
                .init(&self.hal, vmid, PagePool::EMPTY)
                .map_err(|_| PackageError::OutOfTables)?;
        }
        stream.init(id, proxy);
        Ok(memory.roots())
    }

    /// Maps the package's memory, then the regions of the manifest. Validation has shown that they
    /// do not overlap.
    #[cold]
    #[inline(never)]
    fn map_regions(&self, space: &mut AddressSpace, config: &PartitionConfig) -> FfaResult<()> {
        let image = image(config);
        let name = config.name;
        space.map(
            &self.hal,
            config.memory.identity(),
            World::Secure,
            image.attributes(),
            State::OwnerExclusive,
        )?;
        let permissions = image.attributes().permissions.letters();
        log::debug!("{name}: has {} {permissions}: its package", config.memory);
        for region in &config.memory_regions {
            self.map_memory_region(space, region, image)?;
            log::debug!(
                "{name}: has {} {}, {:?}: memory-regions/{}",
                region.range,
                region.permissions.letters(),
                region.world,
                region.name
            );
        }
        for device in &config.device_regions {
            self.take_out_device(device)?;
            space.map(
                &self.hal,
                device.range.identity(),
                device.world,
                Attributes::device(device.permissions),
                self.device_state(config.id, device),
            )?;
            log::debug!(
                "{name}: has {} {}, {:?}: device-regions/{}",
                device.range,
                device.permissions.letters(),
                device.world,
                device.name
            );
            for interrupt in &device.interrupts {
                let (id, priority) = (interrupt.id, interrupt.priority());
                log::debug!("{name}: has interrupt {id}, priority {priority:#x}");
            }
        }
        Ok(())
    }

    /// Takes a device that lies in the Normal world's memory, be it Secure or Non-secure, out of
    /// what transactions can name, unless that was done for an earlier partition.
    #[cold]
    #[inline(never)]
    fn take_out_device(&self, device: &DeviceRegion) -> FfaResult<()> {
        let mut normal = self.normal_world.memory.lock();
        for page in device.range.identity().each_page() {
            let leaf = normal.inspect(&self.hal, [page].into_iter());
            if leaf.is_some_and(|(_, leaf)| leaf.state() == Some(State::OwnerExclusive)) {
                normal.fix(&self.hal, page)?;
            }
        }
        Ok(())
    }

    #[cold]
    #[inline(never)]
    fn map_memory_region(
        &self,
        space: &mut AddressSpace,
        region: &MemoryRegion,
        image: Leaf,
    ) -> FfaResult<()> {
        let range = region.range.identity();
        let attributes = Attributes::normal(region.permissions);
        match region.world {
            // The region is a part of the image, and the manifest narrows its permissions.
            World::Secure if region.in_package => {
                let to = Leaf::new(attributes, State::OwnerExclusive);
                let change = Change { from: image, to };
                space
                    .change(&self.hal, World::Secure, [range].into_iter(), change)
                    .map_err(|_| FfaError::NoMemory)
            }
            World::Secure => space.map(
                &self.hal,
                range,
                World::Secure,
                attributes,
                State::OwnerExclusive,
            ),
            // The Normal world owns the region and keeps its access. Neither side may send it to
            // others.
            World::NonSecure => {
                self.normal_world.memory.lock().fix(&self.hal, range)?;
                space.map(&self.hal, range, World::NonSecure, attributes, State::Fixed)
            }
        }
    }

    /// Writes the boot information that the manifest asks for, over the package header, which is
    /// not needed any more, and makes the package visible to a partition that starts without
    /// caches.
    #[cold]
    #[inline(never)]
    pub(super) fn write_boot_info(
        &self,
        config: &PartitionConfig,
        package: &Package,
    ) -> Result<BootInfo, PackageError> {
        let base = config.memory.base();
        if let Some((_, wanted)) = boot_info::wanted(config) {
            self.write_contents(config, package, wanted)?;
        }
        let loaded = package.image_offset().saturating_add(package.image_size());
        self.hal.clean(World::Secure, base, loaded.max(PAGE_SIZE));
        Ok(announced(config))
    }

    /// Writes boot information about the manifest and the HOB list, as far as they are wanted.
    #[cold]
    #[inline(never)]
    fn write_contents(
        &self,
        config: &PartitionConfig,
        package: &Package,
        wanted: BootInfoRequest,
    ) -> Result<(), PackageError> {
        let base = config.memory.base();
        let mut contents = ArrayVec::<Content, 2>::new();
        let offset = self.make_room(config, package)?;
        let mut add = |kind, offset: u64, size: usize| {
            let address = base.raw().saturating_add(offset);
            let size = size as u32;
            let content = Content {
                kind,
                address,
                size,
            };
            Invariant::Capacity.expect(contents.try_push(content).is_ok());
            log::debug!(
                "{}: is told of its {kind:?} at {address:#x}, {size} bytes",
                config.name
            );
        };
        if wanted.ffa_manifest {
            add(Kind::Manifest, offset, package.manifest_size());
        }
        if wanted.hob_list {
            let (list, origin) = match package.hob_list() {
                Some(list) => (list, "of the package"),
                None => (self.make_hob_list(config, package)?, "of the manifest"),
            };
            log::info!("{}: HOB list {origin}, {} bytes", config.name, list.size);
            add(Kind::HobList, list.offset.into(), list.size as usize);
        }
        let mut blob = [0; boot_info::MAX_SIZE];
        boot_info::write(&mut blob, config.ffa_version, &contents);
        self.write_at(base, 0, &blob)
    }

    /// Writes a HOB list behind the boot information, and returns its place.
    #[cold]
    #[inline(never)]
    fn make_hob_list(
        &self,
        config: &PartitionConfig,
        package: &Package,
    ) -> Result<Piece, PackageError> {
        let base = config.memory.base();
        let at = |offset: u64| base.raw().saturating_add(offset);
        let offset = boot_info::MAX_SIZE as u64;
        let image = Image {
            base: at(package.image_offset()),
            size: package.image_size(),
        };
        let mut buffer = self.boot_buffer.lock();
        let bytes = buffer.as_mut_bytes();
        let size = hob::write(bytes, at(offset), config, image);
        let bytes = size.and_then(|size| bytes.get(..size));
        let bytes = bytes.ok_or(Lack::RoomForBootInfo)?;
        self.write_at(base, offset, bytes)?;
        Ok(Piece {
            offset: offset as u32,
            size: bytes.len() as u32,
        })
    }

    /// Returns the offset of a package's manifest, which is moved if the boot information would not
    /// fit in front of it.
    #[cold]
    #[inline(never)]
    fn make_room(&self, config: &PartitionConfig, package: &Package) -> Result<u64, PackageError> {
        let offset = boot_info::offset_of_manifest(config, package)?;
        if offset != package.manifest_offset() {
            let mut buffer = self.boot_buffer.lock();
            let dtb = read_manifest(&self.hal, config.memory, package, buffer.as_mut_bytes())?;
            self.write_at(config.memory.base(), offset, dtb)?;
        }
        Ok(offset)
    }

    fn write_at(&self, base: Pa, offset: u64, bytes: &[u8]) -> Result<(), PackageError> {
        let to = Pa::new(base.raw().saturating_add(offset));
        self.hal
            .write(World::Secure, to, bytes)
            .map_err(|_| PackageError::Unreadable)
    }

    /// Registers the pair that `rx_tx-info` names, as if the partition had called `FFA_RXTX_MAP`.
    #[cold]
    #[inline(never)]
    pub(super) fn register_buffers(
        &self,
        partition: &Partition<H::Context>,
        config: &PartitionConfig,
    ) -> FfaResult<()> {
        let Some((rx, tx)) = config.rx_tx else {
            return Ok(());
        };
        let range = |index: usize| config.memory_regions.get(index).map(|r| r.range.identity());
        let (Some(rx), Some(tx)) = (range(rx), range(tx)) else {
            return Ok(());
        };
        let mut mailbox = partition.endpoint.mailbox.lock();
        let buffers = partition
            .endpoint
            .memory
            .lock()
            .lock_mailbox(&self.hal, BufferPages { tx, rx })?;
        mailbox.map(buffers)
    }
}
