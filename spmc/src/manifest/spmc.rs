//! The SPMC manifest (TOS_FW_CONFIG, `arm,ffa-core-manifest-1.0`) as TF-A's SPMD and Hafnium define it.
//!
//! What concerns the whole system is an error of [`parse`]; what concerns one `vmN` node alone is reported in
//! [`SpmcManifest::faults`] and costs only that partition. Unknown nodes and properties are passed over: other components read the
//! same tree.

use arrayvec::ArrayVec;

use super::config::{Name, PackageEntry, SpmcManifest};
use super::dtb::{Item, Path, Property, Reader};
use super::error::{Found, ManifestError};
use crate::addr::{PAGE_SIZE, Pa, PageRange};
use crate::ffa::Version;
use crate::id::PartitionId;
use crate::limits::{MAX_PARTITIONS, MAX_PES, MAX_SMC_WHITELIST};

/// `compatible` of the root.
pub const COMPATIBLE: &[u8] = b"arm,ffa-core-manifest-1.0";

/// The `hypervisor` node while it is read.
#[derive(Default)]
struct Hypervisor {
    /// By N - 1.
    vms: [Option<Result<PackageEntry, ManifestError>>; MAX_PARTITIONS],
    /// The node of a partition beyond the last that we can hold.
    excess: Option<ManifestError>,
    log_level: Option<u32>,
    init_timeout_ms: Option<u32>,
}

/// The properties of one `vmN` node while they are read.
#[derive(Default)]
struct Vm {
    is_ffa_partition: bool,
    name: Option<Name>,
    load_address: Option<u64>,
    mem_size: Option<u64>,
    vcpu_count: Option<u16>,
    smc_whitelist: ArrayVec<u32, MAX_SMC_WHITELIST>,
    smc_whitelist_permissive: bool,
}

/// The `attribute` node while it is read.
#[derive(Default)]
struct Attribute {
    spmc_id: Option<PartitionId>,
    major: Option<u16>,
    minor: Option<u16>,
    exec_state: Option<u32>,
    load_address: Option<u64>,
}

/// `#address-cells` and `#size-cells`, with the defaults of the Devicetree Specification.
#[derive(Clone, Copy)]
struct CellCounts {
    address: usize,
    size: usize,
}

/// Parses the SPMC manifest.
///
/// Errors: not a device tree of that kind; `attribute`, `hypervisor` or all memory nodes missing; a wrong value in `attribute`, `cpus`
/// or a memory node; `vm0`, or more partitions, PEs or ranges than [`crate::limits`] allows.
pub fn parse(dtb: &[u8]) -> Result<SpmcManifest, ManifestError> {
    let mut reader = Reader::new(dtb)?;
    let mut cells = CellCounts {
        address: 2,
        size: 1,
    };
    let mut compatible = false;
    let mut attribute = None;
    let mut hypervisor = None;
    let mut manifest = SpmcManifest {
        spmc_id: PartitionId::SPMC,
        version: Version::OWN,
        load_address: None,
        partitions: ArrayVec::new(),
        faults: ArrayVec::new(),
        cpus: ArrayVec::new(),
        memory: ArrayVec::new(),
        ns_memory: ArrayVec::new(),
        device_memory: ArrayVec::new(),
        ns_device_memory: ArrayVec::new(),
        log_level: None,
        init_timeout_ms: None,
    };
    loop {
        match reader.next()? {
            Item::Property(property) => match property.name {
                b"compatible" => compatible = property.has_string(COMPATIBLE),
                b"#address-cells" => cells.address = cell_count(&property)?,
                b"#size-cells" => cells.size = cell_count(&property)?,
                _ => {}
            },
            Item::Node(node) => match node.name() {
                b"attribute" => attribute = Some(parse_attribute(&mut reader)?),
                b"hypervisor" => hypervisor = Some(parse_hypervisor(&mut reader)?),
                b"cpus" => parse_cpus(&mut reader, &mut manifest.cpus)?,
                _ => parse_memory(&mut reader, cells, &mut manifest)?,
            },
            Item::End => break,
        }
    }

    let root = Path::ROOT;
    if !compatible {
        return Err(root.missing("compatible", "\"arm,ffa-core-manifest-1.0\""));
    }
    let attribute = attribute.ok_or_else(|| root.missing("attribute", "a node"))?;
    attribute.store(&mut manifest)?;
    let hypervisor = hypervisor.ok_or_else(|| root.missing("hypervisor", "a node"))?;
    hypervisor.store(&mut manifest)?;
    if manifest.memory.is_empty() && manifest.ns_memory.is_empty() {
        return Err(root.missing(
            "memory@",
            "a node with device_type \"memory\" or \"ns-memory\"",
        ));
    }
    Ok(manifest)
}

fn cell_count(property: &Property) -> Result<usize, ManifestError> {
    Ok(property.u32_up_to(2, "0 to 2")? as usize)
}

fn parse_attribute(reader: &mut Reader) -> Result<Attribute, ManifestError> {
    let mut attribute = Attribute::default();
    while let Some(property) = reader.next_property()? {
        match property.name {
            b"spmc_id" => attribute.spmc_id = Some(spmc_id(&property)?),
            b"maj_ver" => {
                let own = Version::OWN.major();
                let major = property.u32()?;
                if major != own.into() {
                    return Err(property.error(
                        "the major version of the SPMC, 1",
                        Found::Number(major.into()),
                    ));
                }
                attribute.major = Some(own);
            }
            b"min_ver" => {
                attribute.minor = Some(property.u32_up_to(0xffff, "at most 0xffff")? as u16)
            }
            b"exec_state" => attribute.exec_state = Some(property.u32_up_to(0, "0 (AArch64)")?),
            b"load_address" => {
                let address = property.u64()?;
                if !Pa::new(address).is_page_aligned() {
                    return Err(property.error("a 4 KiB aligned address", Found::Number(address)));
                }
                attribute.load_address = Some(address);
            }
            _ => {}
        }
    }
    Ok(attribute)
}

/// A Secure id that is not the SPMD's nor one that a partition can get.
fn spmc_id(property: &Property) -> Result<PartitionId, ManifestError> {
    let word = property.u32()?;
    u16::try_from(word)
        .ok()
        .map(PartitionId)
        .filter(|id| id.is_secure() && *id != PartitionId::SPMD && id.index() >= MAX_PARTITIONS)
        .ok_or_else(|| {
            property.error(
                "a Secure id other than the SPMD's and those of partitions",
                Found::Number(word.into()),
            )
        })
}

impl Attribute {
    fn store(self, manifest: &mut SpmcManifest) -> Result<(), ManifestError> {
        let missing =
            |name| ManifestError::new("/attribute", name, "one 32-bit cell", Found::Nothing);
        manifest.spmc_id = self.spmc_id.ok_or_else(|| missing("spmc_id"))?;
        let major = self.major.ok_or_else(|| missing("maj_ver"))?;
        let minor = self.minor.ok_or_else(|| missing("min_ver"))?;
        self.exec_state.ok_or_else(|| missing("exec_state"))?;
        manifest.version = Version::new(major, minor);
        manifest.load_address = self.load_address;
        Ok(())
    }
}

fn parse_hypervisor(reader: &mut Reader) -> Result<Hypervisor, ManifestError> {
    let mut hypervisor = Hypervisor::default();
    loop {
        match reader.next()? {
            Item::Property(property) => match property.name {
                b"log-level" => {
                    hypervisor.log_level = Some(property.u32_up_to(5, "1 (error) to 5 (trace)")?)
                }
                b"init-timeout-ms" => hypervisor.init_timeout_ms = Some(property.u32()?),
                _ => {}
            },
            Item::Node(node) => match vm_number(node.name()) {
                None => reader.skip_node()?,
                Some(0) => {
                    return Err(node.error("", "numbers from vm1 on", Found::text(node.name())));
                }
                Some(number) => {
                    let index = number.saturating_sub(1) as usize;
                    let entry = parse_vm(reader, node, PartitionId::from_index(index))?;
                    match hypervisor.vms.get_mut(index) {
                        Some(slot) => *slot = Some(entry),
                        None => {
                            let error =
                                node.error("", "at most 8 partitions", Found::Count(number.into()));
                            hypervisor.excess.get_or_insert(error);
                        }
                    }
                }
            },
            Item::End => return Ok(hypervisor),
        }
    }
}

/// N of `vmN`, written as Hafnium writes it: no leading zeros.
fn vm_number(name: &[u8]) -> Option<u16> {
    let digits = name.strip_prefix(b"vm")?;
    let canonical = digits == b"0" || matches!(digits.first(), Some(b'1'..=b'9'));
    canonical.then(|| core::str::from_utf8(digits).ok()?.parse().ok())?
}

/// Reads one `vmN` node to its end. The inner result is what concerns this partition alone.
fn parse_vm(
    reader: &mut Reader,
    node: Path,
    id: PartitionId,
) -> Result<Result<PackageEntry, ManifestError>, ManifestError> {
    let mut vm = Vm::default();
    let mut fault = None;
    while let Some(property) = reader.next_property()? {
        if let Err(error) = vm.set(&property) {
            fault.get_or_insert(error);
        }
    }
    Ok(match fault {
        Some(error) => Err(error),
        None => vm.finish(node, id),
    })
}

impl Vm {
    fn set(&mut self, property: &Property) -> Result<(), ManifestError> {
        match property.name {
            b"is_ffa_partition" => self.is_ffa_partition = property.flag()?,
            b"debug_name" => self.name = Some(property.short_name()?),
            b"load_address" => self.load_address = Some(property.u64()?),
            b"mem_size" => self.mem_size = Some(property.u64()?),
            b"vcpu_count" => {
                self.vcpu_count = Some(property.u32_up_to(0xffff, "at most 0xffff")? as u16)
            }
            b"smc_whitelist" => self.set_smc_whitelist(property)?,
            b"smc_whitelist_permissive" => self.smc_whitelist_permissive = property.flag()?,
            // `hyp_loaded`, `fdt_filename` and others say nothing that a loaded package needs.
            _ => {}
        }
        Ok(())
    }

    /// Calls beyond what the list can hold stay blocked.
    fn set_smc_whitelist(&mut self, property: &Property) -> Result<(), ManifestError> {
        let ids = property.cells("a list of function ids")?;
        if ids.len() > MAX_SMC_WHITELIST {
            log::warn!("SPMC manifest: smc_whitelist: only {MAX_SMC_WHITELIST} ids are used");
        }
        self.smc_whitelist = ids.map(|[id]| id).take(MAX_SMC_WHITELIST).collect();
        Ok(())
    }

    fn finish(self, node: Path, id: PartitionId) -> Result<PackageEntry, ManifestError> {
        if !self.is_ffa_partition {
            return Err(node.missing("is_ffa_partition", "an FF-A partition"));
        }
        let name = self
            .name
            .ok_or_else(|| node.missing("debug_name", "a string"))?;
        let base = self
            .load_address
            .ok_or_else(|| node.missing("load_address", "an address"))?;
        let size = self
            .mem_size
            .ok_or_else(|| node.missing("mem_size", "a size"))?;
        let vcpu_count = self
            .vcpu_count
            .ok_or_else(|| node.missing("vcpu_count", "a count"))?;
        if !Pa::new(base).is_page_aligned() {
            return Err(node.error(
                "load_address",
                "a 4 KiB aligned address",
                Found::Number(base),
            ));
        }
        let pages = size.div_ceil(PAGE_SIZE);
        let memory = PageRange::new(Pa::new(base), pages).ok_or_else(|| {
            node.error(
                "mem_size",
                "at least 1, within the 48-bit address space",
                Found::Number(size),
            )
        })?;
        if vcpu_count == 0 {
            return Err(node.error("vcpu_count", "at least 1", Found::Count(0)));
        }
        Ok(PackageEntry {
            id,
            name,
            memory,
            vcpu_count,
            smc_whitelist: self.smc_whitelist,
            smc_whitelist_permissive: self.smc_whitelist_permissive,
        })
    }
}

impl Hypervisor {
    /// Counts from vm1 to the first gap, as Hafnium does.
    fn store(self, manifest: &mut SpmcManifest) -> Result<(), ManifestError> {
        manifest.log_level = self.log_level;
        manifest.init_timeout_ms = self.init_timeout_ms;
        let is_full = self.vms.iter().all(Option::is_some);
        let mut behind_gap = false;
        for (index, vm) in self.vms.into_iter().enumerate() {
            match vm {
                None => behind_gap = true,
                Some(_) if behind_gap => {
                    log::warn!(
                        "SPMC manifest: vm{} ignored: numbers have a gap before it",
                        index.saturating_add(1)
                    );
                }
                // Both vectors have a place for every vm.
                Some(Ok(entry)) => manifest.partitions.push(entry),
                Some(Err(fault)) => manifest.faults.push(fault),
            }
        }
        match self.excess {
            Some(error) if is_full => Err(error),
            _ => Ok(()),
        }
    }
}

/// Reads `cpus`: the MPIDR affinity of each `cpu` node.
fn parse_cpus(reader: &mut Reader, cpus: &mut ArrayVec<u64, MAX_PES>) -> Result<(), ManifestError> {
    loop {
        match reader.next()? {
            Item::Property(_) => {}
            Item::Node(node) => {
                let mut affinity = None;
                let mut is_cpu = true;
                while let Some(property) = reader.next_property()? {
                    match property.name {
                        b"reg" => affinity = Some(property.u64()?),
                        b"device_type" => is_cpu = property.has_string(b"cpu"),
                        _ => {}
                    }
                }
                let Some(affinity) = affinity.filter(|_| is_cpu) else {
                    continue;
                };
                if cpus.contains(&affinity) {
                    return Err(node.error(
                        "reg",
                        "an affinity that no other CPU has",
                        Found::Number(affinity),
                    ));
                }
                if cpus.try_push(affinity).is_err() {
                    return Err(node.error("", "at most 8 CPUs", Found::Number(affinity)));
                }
            }
            Item::End => return Ok(()),
        }
    }
}

/// Reads a child of the root that may be a memory node; its `device_type` decides.
fn parse_memory(
    reader: &mut Reader,
    cells: CellCounts,
    manifest: &mut SpmcManifest,
) -> Result<(), ManifestError> {
    let mut kind: &[u8] = &[];
    let mut reg = None;
    while let Some(property) = reader.next_property()? {
        match property.name {
            b"device_type" => kind = property.value.strip_suffix(b"\0").unwrap_or(property.value),
            b"reg" => reg = Some(property),
            _ => {}
        }
    }
    let Some(reg) = reg else { return Ok(()) };
    match kind {
        b"memory" => parse_ranges(&reg, cells, &mut manifest.memory),
        b"ns-memory" => parse_ranges(&reg, cells, &mut manifest.ns_memory),
        b"device-memory" => parse_ranges(&reg, cells, &mut manifest.device_memory),
        b"ns-device-memory" => parse_ranges(&reg, cells, &mut manifest.ns_device_memory),
        _ => Ok(()),
    }
}

fn parse_ranges<const CAP: usize>(
    reg: &Property,
    cells: CellCounts,
    ranges: &mut ArrayVec<PageRange<Pa>, CAP>,
) -> Result<(), ManifestError> {
    let (words, rest) = reg.value.as_chunks::<4>();
    let entry = cells.address.saturating_add(cells.size);
    if cells.address == 0
        || cells.size == 0
        || words.is_empty()
        || !rest.is_empty()
        || !words.len().is_multiple_of(entry)
    {
        let expected = "ranges of #address-cells and #size-cells";
        return Err(reg.error(expected, Found::Bytes(reg.value.len())));
    }
    for entry in words.chunks_exact(entry) {
        let (address, size) = entry.split_at(cells.address);
        let (address, size) = (join(address), join(size));
        let range = PageRange::from_bytes(Pa::new(address), size).ok_or_else(|| {
            reg.error(
                "4 KiB aligned ranges within the 48-bit address space",
                Found::Number(address),
            )
        })?;
        ranges.try_push(range).map_err(|_| {
            reg.error(
                "fewer ranges of this kind",
                Found::Count(CAP.saturating_add(1) as u64),
            )
        })?;
    }
    Ok(())
}

/// A number of one or two cells.
fn join(cells: &[[u8; 4]]) -> u64 {
    cells.iter().fold(0, |number, cell| {
        (number << 32) | u64::from(u32::from_be_bytes(*cell))
    })
}
