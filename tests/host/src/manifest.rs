//! Builds what TF-A loads: the SPMC manifest and SP packages.

use std::ops::Range;
use std::sync::Arc;

use spmc::addr::World;
use spmc::hal::Stream;
use vm_fdt::FdtWriter;

use crate::guest::{Script, Sp};
use crate::hal::affinity_of;
use crate::held::Held;
use crate::machine::{MORE_SECURE_RAM, NORMAL_RAM, SECURE_DEVICE, SECURE_RAM};
use crate::puppet::Puppet;

/// Bytes of each partition's memory.
pub const PARTITION_SIZE: u64 = 0x10_0000;
/// Offset of the entry point in that memory.
pub const ENTRY: u64 = 0x4000;
/// Offset of the manifest in a package.
const MANIFEST: u64 = 0x1000;

/// Returns the base of the memory of the partition at `index`.
pub const fn partition_base(index: usize) -> u64 {
    let first = SECURE_RAM.start + index as u64 * PARTITION_SIZE;
    if first < SECURE_RAM.end {
        first
    } else {
        MORE_SECURE_RAM.start + (first - SECURE_RAM.end)
    }
}

/// One node of `memory-regions`.
#[derive(Clone, Debug)]
pub struct Region {
    /// The name of the node, to which `rx_tx-info` refers.
    pub name: &'static str,
    /// Base address.
    pub base: u64,
    /// Set if the base is an offset from the load address.
    pub relative: bool,
    /// The number of pages.
    pub pages: u32,
    /// 1 read, 2 write, 4 execute, 8 Non-secure.
    pub attributes: u32,
}

/// A function that writes more of a manifest's root node.
pub type Extra = Arc<dyn Fn(&mut FdtWriter) + Send + Sync>;

/// A partition: its manifest, package and script.
#[derive(Clone)]
pub struct PartitionSpec {
    /// `debug_name`.
    pub name: String,
    /// `ffa-version`.
    pub version: u32,
    /// `uuid`, each as four cells.
    pub uuids: Vec<[u32; 4]>,
    /// `messaging-method`, for all UUIDs.
    pub messaging: u32,
    /// `messaging-method` for each UUID, instead of one for all.
    pub methods: Vec<u32>,
    /// Further properties of the partition's node in the SPMC manifest.
    pub vm: Vec<(&'static str, Vec<u32>)>,
    /// Further properties of one cell.
    pub properties: Vec<(&'static str, u32)>,
    /// `exception-level`.
    pub exception_level: u32,
    /// `execution-ctx-count` and `vcpu_count`.
    pub vcpus: u32,
    /// `boot-order`.
    pub boot_order: Option<u32>,
    /// `ns-interrupts-action`.
    pub ns_interrupts: u32,
    /// `gp-register-num`. If set, `boot-info` asks for the manifest.
    pub boot_register: Option<u32>,
    /// `memory-regions`.
    pub regions: Vec<Region>,
    /// Names of the regions of `rx_tx-info`: RX and TX.
    pub rx_tx: Option<(&'static str, &'static str)>,
    /// `device-regions` with the Secure device.
    pub device: bool,
    /// Further properties of that device.
    pub device_properties: Vec<(&'static str, Vec<u32>)>,
    /// Further properties of the root node.
    pub extra: Option<Extra>,
    /// Set if the partition has exception vectors.
    pub takes_exceptions: bool,
    /// The program of the partition's contexts.
    pub script: Script,
    /// A puppet that replaces the script.
    pub puppet: Option<Puppet>,
    /// The test that holds the partition, instead of a script.
    pub held: Option<Held>,
    /// The partition's id, if it is not the one of its place.
    pub id: Option<u16>,
    /// A package that replaces the generated one.
    pub package: Option<Vec<u8>>,
    /// The address of the partition, if it is not the one of its place.
    pub base: Option<u64>,
}

impl PartitionSpec {
    /// Makes a partition of version 1.2 with one context. It sends and receives direct requests,
    /// and answers each request with the request's payload.
    pub fn new(name: &str) -> Self {
        let mut seed = [0; 4];
        for (n, byte) in name.bytes().enumerate() {
            seed[n % 4] = seed[n % 4] << 8 | u32::from(byte);
        }
        Self {
            name: name.to_string(),
            version: 0x1_0002,
            uuids: vec![[
                0x1111_2222 ^ seed[0],
                0x3333_4444 ^ seed[1],
                0x5555_6666 ^ seed[2],
                0x7777_8888 ^ seed[3],
            ]],
            messaging: 3,
            methods: Vec::new(),
            vm: Vec::new(),
            properties: Vec::new(),
            exception_level: 2,
            vcpus: 1,
            boot_order: None,
            ns_interrupts: 2,
            boot_register: None,
            regions: Vec::new(),
            rx_tx: None,
            device: false,
            device_properties: Vec::new(),
            extra: None,
            takes_exceptions: true,
            script: Arc::new(|sp| sp.serve(|_, request| request.payload())),
            puppet: None,
            held: None,
            id: None,
            package: None,
            base: None,
        }
    }

    /// Replaces the script.
    pub fn script(mut self, script: impl Fn(&mut Sp) + Send + Sync + 'static) -> Self {
        self.script = Arc::new(script);
        self
    }

    /// Sets `ffa-version` to 1.`minor`.
    pub fn version(mut self, minor: u32) -> Self {
        self.version = 0x1_0000 | minor;
        self
    }

    /// Makes the partition run at S-EL0.
    pub fn s_el0(mut self) -> Self {
        self.exception_level = 1;
        self
    }

    /// Sets the number of contexts.
    pub fn vcpus(mut self, vcpus: u32) -> Self {
        self.vcpus = vcpus;
        self
    }

    /// Adds a property of one cell to the root node.
    pub fn property(mut self, name: &'static str, value: u32) -> Self {
        self.properties.push((name, value));
        self
    }

    /// Makes the partition ask for an id that is free.
    pub fn id(mut self, id: u16) -> Self {
        self.id = Some(id);
        self.property("id", id.into())
    }

    /// Applies any other change.
    pub fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    /// Returns the SP manifest as a device tree.
    pub fn manifest(&self) -> Vec<u8> {
        let mut fdt = FdtWriter::new().unwrap();
        let root = fdt.begin_node("").unwrap();
        fdt.property_string("compatible", "arm,ffa-manifest-1.0")
            .unwrap();
        fdt.property_string("description", &self.name).unwrap();
        fdt.property_u32("ffa-version", self.version).unwrap();
        fdt.property_array_u32("uuid", &self.uuids.concat())
            .unwrap();
        fdt.property_u32("execution-ctx-count", self.vcpus).unwrap();
        fdt.property_u32("exception-level", self.exception_level)
            .unwrap();
        fdt.property_u32("execution-state", 0).unwrap();
        fdt.property_u32("entrypoint-offset", ENTRY as u32).unwrap();
        fdt.property_u32("xlat-granule", 0).unwrap();
        let methods = if self.methods.is_empty() {
            &[self.messaging]
        } else {
            self.methods.as_slice()
        };
        fdt.property_array_u32("messaging-method", methods).unwrap();
        for (name, value) in &self.properties {
            fdt.property_u32(name, *value).unwrap();
        }
        fdt.property_u32("ns-interrupts-action", self.ns_interrupts)
            .unwrap();
        if let Some(order) = self.boot_order {
            fdt.property_u32("boot-order", order).unwrap();
        }
        if let Some(register) = self.boot_register {
            fdt.property_u32("gp-register-num", register).unwrap();
        }
        if let Some(extra) = &self.extra {
            extra(&mut fdt);
        }
        if self.boot_register.is_some() {
            let node = fdt.begin_node("boot-info").unwrap();
            fdt.property_string("compatible", "arm,ffa-manifest-boot-info")
                .unwrap();
            fdt.property_null("ffa_manifest").unwrap();
            fdt.end_node(node).unwrap();
        }
        self.write_regions(&mut fdt);
        if let Some((rx, tx)) = self.rx_tx {
            let node = fdt.begin_node("rx_tx-info").unwrap();
            fdt.property_string("compatible", "arm,ffa-manifest-rx_tx-buffer")
                .unwrap();
            fdt.property_u32("rx-buffer", self.phandle(rx)).unwrap();
            fdt.property_u32("tx-buffer", self.phandle(tx)).unwrap();
            fdt.end_node(node).unwrap();
        }
        if self.device {
            let node = fdt.begin_node("device-regions").unwrap();
            fdt.property_string("compatible", "arm,ffa-manifest-device-regions")
                .unwrap();
            let uart = fdt.begin_node("uart").unwrap();
            fdt.property_u64("base-address", SECURE_DEVICE.start)
                .unwrap();
            fdt.property_u32("pages-count", 1).unwrap();
            fdt.property_u32("attributes", 3).unwrap();
            for (name, cells) in &self.device_properties {
                fdt.property_array_u32(name, cells).unwrap();
            }
            fdt.end_node(uart).unwrap();
            fdt.end_node(node).unwrap();
        }
        fdt.end_node(root).unwrap();
        fdt.finish().unwrap()
    }

    fn write_regions(&self, fdt: &mut FdtWriter) {
        if self.regions.is_empty() {
            return;
        }
        let node = fdt.begin_node("memory-regions").unwrap();
        fdt.property_string("compatible", "arm,ffa-manifest-memory-regions")
            .unwrap();
        for region in &self.regions {
            let child = fdt.begin_node(region.name).unwrap();
            let base = if region.relative {
                "load-address-relative-offset"
            } else {
                "base-address"
            };
            fdt.property_u64(base, region.base).unwrap();
            fdt.property_u32("pages-count", region.pages).unwrap();
            fdt.property_u32("attributes", region.attributes).unwrap();
            fdt.property_phandle(self.phandle(region.name)).unwrap();
            fdt.end_node(child).unwrap();
        }
        fdt.end_node(node).unwrap();
    }

    fn phandle(&self, region: &str) -> u32 {
        let index = self
            .regions
            .iter()
            .position(|r| r.name == region)
            .expect("a region of that name");
        index as u32 + 1
    }

    /// Returns the package, of version 2, with an image that contains the name.
    pub fn package(&self) -> Vec<u8> {
        if let Some(package) = &self.package {
            return package.clone();
        }
        let manifest = self.manifest();
        let mut package = vec![0; ENTRY as usize];
        let header = [
            0x474b_5053,
            2,
            MANIFEST as u32,
            manifest.len() as u32,
            ENTRY as u32,
            0x1000,
        ];
        for (to, word) in package.chunks_exact_mut(4).zip(header) {
            to.copy_from_slice(&word.to_le_bytes());
        }
        package[MANIFEST as usize..][..manifest.len()].copy_from_slice(&manifest);
        package.extend(self.name.bytes());
        package.resize(ENTRY as usize + 0x1000, 0);
        package
    }
}

/// Returns the SPMC manifest for `partitions` and that many PEs.
pub fn spmc_manifest(partitions: &[PartitionSpec], pes: usize) -> Vec<u8> {
    spmc_manifest_with(partitions, pes, &[])
}

/// Returns an SPMC manifest with independent devices, each a SEPID with streams of one SMMU.
pub fn spmc_manifest_with(
    partitions: &[PartitionSpec],
    pes: usize,
    devices: &[(u16, Vec<Stream>)],
) -> Vec<u8> {
    spmc_manifest_of(partitions, pes, devices, &[], &[], &[])
}

/// Returns an SPMC manifest with further device memory, and further properties of the node
/// `hypervisor`; `min_ver` is one of the node `attribute`.
pub fn spmc_manifest_of(
    partitions: &[PartitionSpec],
    pes: usize,
    devices: &[(u16, Vec<Stream>)],
    device_memory: &[(World, Range<u64>)],
    normal_memory: &[Range<u64>],
    settings: &[(&str, Vec<u32>)],
) -> Vec<u8> {
    let mut fdt = FdtWriter::new().unwrap();
    let root = fdt.begin_node("").unwrap();
    fdt.property_string("compatible", "arm,ffa-core-manifest-1.0")
        .unwrap();
    fdt.property_u32("#address-cells", 2).unwrap();
    fdt.property_u32("#size-cells", 2).unwrap();

    let attribute = fdt.begin_node("attribute").unwrap();
    fdt.property_u32("spmc_id", 0x8000).unwrap();
    fdt.property_u32("maj_ver", 1).unwrap();
    let minor = settings.iter().find(|(name, _)| *name == "min_ver");
    let minor = minor.map_or(2, |(_, cells)| cells[0]);
    fdt.property_u32("min_ver", minor).unwrap();
    fdt.property_u32("exec_state", 0).unwrap();
    fdt.property_u64("load_address", 0x0e10_0000).unwrap();
    fdt.property_u64("entrypoint", 0x0e10_0000).unwrap();
    fdt.property_u32("binary_size", 0x20_0000).unwrap();
    fdt.end_node(attribute).unwrap();

    let hypervisor = fdt.begin_node("hypervisor").unwrap();
    fdt.property_string("compatible", "hafnium,hafnium")
        .unwrap();
    if !settings
        .iter()
        .any(|(name, _)| *name == "memory-transactions")
    {
        // Systems are booted by the thousand: one with few slots takes less time for that.
        fdt.property_u32("memory-transactions", 96).unwrap();
    }
    for (name, cells) in settings.iter().filter(|(name, _)| *name != "min_ver") {
        fdt.property_array_u32(name, cells).unwrap();
    }
    for (index, partition) in partitions.iter().enumerate() {
        let vm = fdt.begin_node(&format!("vm{}", index + 1)).unwrap();
        fdt.property_null("is_ffa_partition").unwrap();
        fdt.property_string("debug_name", &partition.name).unwrap();
        fdt.property_u64("load_address", partition_base(index))
            .unwrap();
        fdt.property_u64("mem_size", PARTITION_SIZE).unwrap();
        fdt.property_u32("vcpu_count", partition.vcpus).unwrap();
        for (name, cells) in &partition.vm {
            fdt.property_array_u32(name, cells).unwrap();
        }
        fdt.end_node(vm).unwrap();
    }
    fdt.end_node(hypervisor).unwrap();

    if !devices.is_empty() {
        let node = fdt.begin_node("stream-endpoints").unwrap();
        for (index, (id, streams)) in devices.iter().enumerate() {
            let device = fdt.begin_node(&format!("device{index}")).unwrap();
            fdt.property_u32("stream-endpoint-id", (*id).into())
                .unwrap();
            fdt.property_u32("smmu-id", streams[0].smmu).unwrap();
            let ids: Vec<_> = streams.iter().map(|stream| stream.id).collect();
            fdt.property_array_u32("stream-ids", &ids).unwrap();
            fdt.end_node(device).unwrap();
        }
        fdt.end_node(node).unwrap();
    }

    let cpus = fdt.begin_node("cpus").unwrap();
    fdt.property_u32("#address-cells", 2).unwrap();
    fdt.property_u32("#size-cells", 0).unwrap();
    for pe in 0..pes {
        let cpu = fdt.begin_node(&format!("cpu@{pe}")).unwrap();
        fdt.property_string("device_type", "cpu").unwrap();
        fdt.property_u64("reg", affinity_of(pe)).unwrap();
        fdt.end_node(cpu).unwrap();
    }
    fdt.end_node(cpus).unwrap();

    let ranges = [
        ("memory", &SECURE_RAM),
        ("ns-memory", &NORMAL_RAM),
        ("device-memory", &SECURE_DEVICE),
    ];
    let device_memory = device_memory.iter().map(|(world, range)| match world {
        World::Secure => ("device-memory", range),
        World::NonSecure => ("ns-device-memory", range),
    });
    let normal_memory = normal_memory.iter().map(|range| ("ns-memory", range));
    let reaches = partition_base(partitions.len()) > SECURE_RAM.end;
    let more = reaches.then_some(("memory", &MORE_SECURE_RAM));
    let ranges = ranges.into_iter().chain(more).chain(device_memory);
    for (kind, range) in ranges.chain(normal_memory) {
        let node = fdt
            .begin_node(&format!("memory@{:x}", range.start))
            .unwrap();
        fdt.property_string("device_type", kind).unwrap();
        fdt.property_array_u64("reg", &[range.start, range.end - range.start])
            .unwrap();
        fdt.end_node(node).unwrap();
    }
    fdt.end_node(root).unwrap();
    fdt.finish().unwrap()
}
