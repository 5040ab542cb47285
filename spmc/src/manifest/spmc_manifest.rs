//! The SPMC manifest (TOS_FW_CONFIG, `arm,ffa-core-manifest-1.0`) as TF-A's SPMD and Hafnium define
//! it.
//!
//! A fault that concerns the whole system is an error of [`parse`]. A fault of a single `vmN` node
//! is listed in [`SpmcManifest::faults`], and only that partition is left out. Unknown nodes and
//! properties are ignored, because other components read the same tree.

use alloc::vec::Vec;
use core::fmt::Write;

use arrayvec::ArrayString;

use super::board::{self, Board, CellCounts, Tree};
use super::config::{PackageEntry, SpmcManifest};
use super::error::{Found, ManifestError, Parsed, Report, go_on, limit_text};
use super::property::Property;
use super::stream_devices;
use super::tree::{Name, Node};
use crate::addr::{PAGE_SIZE, Pa, PageRange};
use crate::ffa::Version;
use crate::id::PartitionId;
use crate::limits::{MAX_MAILBOX_PAGES, MAX_PARTITIONS, MAX_PES, MAX_TABLE_MEMORY_PAGES, MAX_VMS};

/// `compatible` of the root.
pub const COMPATIBLE: &[u8] = b"arm,ffa-core-manifest-1.0";

/// The `hypervisor` node while it is read.
#[derive(Default)]
struct Hypervisor<'a> {
    /// The partitions, by N - 1.
    vms: Vec<Option<Result<PackageEntry, ManifestError>>>,
    /// The first node of a partition beyond the capacity, with its N.
    excess: Option<(Node<'a>, u16)>,
}

/// The properties of one `vmN` node while they are read.
#[derive(Default)]
struct Vm {
    is_ffa_partition: bool,
    name: Option<Name>,
    load_address: Option<u64>,
    mem_size: Option<u64>,
    vcpu_count: Option<u16>,
    smc_whitelist: Vec<u32>,
    smc_whitelist_permissive: bool,
}

/// Parses the SPMC manifest.
///
/// Errors: not a device tree of that kind; `attribute`, `hypervisor` or all memory nodes missing; a
/// wrong value in `attribute`, `cpus`, a memory node or a node of the board; memory that is both
/// Secure and Non-secure; memory for tables that is not Secure memory alone; `vm0`, or more
/// partitions or ranges than [`crate::limits`] allows.
pub fn parse(dtb: &[u8]) -> Result<SpmcManifest, ManifestError> {
    parse_with(dtb, &mut Board::default())
}

/// Parses the SPMC manifest as [`parse`] does. The board's facts are in `board` even if there is an
/// error, which may be logged then.
#[inline(never)]
pub fn parse_with(dtb: &[u8], board: &mut Board) -> Result<SpmcManifest, ManifestError> {
    let report = Report::new();
    let mut manifest = SpmcManifest::default();
    // The report has the fault of a damaged tree.
    let _ = walk(dtb, &report, &mut manifest, board);
    manifest.board = board.clone();
    report.verdict().map(|()| manifest)
}

/// Reads a manifest as [`parse`] does, and leaves all that is wrong with it in `report`. If there
/// are errors, the result has what could be read. Faults of partitions go to both, but do not count
/// for the verdict.
pub fn read<'a>(dtb: &'a [u8], report: &'a Report<'a>) -> SpmcManifest {
    let mut manifest = SpmcManifest::default();
    let mut board = Board::default();
    let _ = walk(dtb, report, &mut manifest, &mut board);
    manifest.board = board;
    manifest
}

#[inline(never)]
fn walk<'a>(
    dtb: &'a [u8],
    report: &'a Report<'a>,
    manifest: &mut SpmcManifest,
    board: &mut Board,
) -> Parsed<()> {
    let root = Node::root(dtb, report)?;
    let mut cells = CellCounts::DEFAULT;
    let mut compatible = false;
    for property in root.properties() {
        match property.name {
            "compatible" => compatible = property.has_string(COMPATIBLE),
            "#address-cells" => cells.address = cell_count(&property).unwrap_or(cells.address),
            "#size-cells" => cells.size = cell_count(&property).unwrap_or(cells.size),
            _ => {}
        }
    }
    let mut attribute = false;
    let mut hypervisor = false;
    for node in root.children() {
        match node.name() {
            "attribute" => {
                parse_attribute(&node, manifest);
                attribute = true;
            }
            "hypervisor" => {
                parse_hypervisor(&node, report, manifest, board);
                hypervisor = true;
            }
            "cpus" => parse_cpus(&node, &mut manifest.cpus),
            "stream-endpoints" => stream_devices::parse(&node, &mut manifest.stream_devices),
            _ if parse_memory(&node, cells, manifest) => {}
            _ => board::read(&node, cells, Tree::Manifest, board),
        }
    }

    let memory = !manifest.memory.is_empty() || !manifest.ns_memory.is_empty();
    for (found, name, expected) in [
        (compatible, "compatible", "\"arm,ffa-core-manifest-1.0\""),
        (attribute, "attribute", "a node"),
        (hypervisor, "hypervisor", "a node"),
        (
            memory,
            "memory@",
            "a node with device_type \"memory\" or \"ns-memory\"",
        ),
    ] {
        if !found {
            root.missing(name, expected);
        }
    }
    for range in &manifest.ns_memory {
        let secure = manifest.memory.iter();
        for other in secure.filter(|other| range.overlaps(other)) {
            let found = Found::Overlap(*range, other.base());
            root.error("ns-memory", "ranges outside Secure memory", found);
        }
    }
    go_on(check_table_memory(&root, manifest));
    Ok(())
}

/// Checks that memory for tables lies in Secure memory, and in no package and no device: nobody but
/// the SPMC may have it.
fn check_table_memory(root: &Node, manifest: &SpmcManifest) -> Parsed<()> {
    let Some(range) = manifest.table_memory else {
        return Ok(());
    };
    let refuse = |expected, found| Err(root.error("table-memory", expected, found));
    if !manifest.memory.iter().any(|node| node.contains(&range)) {
        let expected = "a range inside a memory node";
        return refuse(expected, Found::Range(range));
    }
    let devices = manifest.device_memory.iter();
    let mut devices = devices.chain(&manifest.ns_device_memory);
    if let Some(device) = devices.find(|device| device.overlaps(&range)) {
        return refuse(
            "a range without devices",
            Found::Overlap(range, device.base()),
        );
    }
    let mut packages = manifest.partitions.iter();
    match packages.find(|package| package.memory.overlaps(&range)) {
        Some(package) => refuse(
            "a range that no package has",
            Found::Taken(range, package.id()),
        ),
        None => Ok(()),
    }
}

fn cell_count(property: &Property) -> Parsed<usize> {
    Ok(property.u32_up_to(2, "0 to 2")? as usize)
}

#[inline(never)]
fn parse_attribute(node: &Node, manifest: &mut SpmcManifest) {
    let mut attribute = Attribute::default();
    for property in node.properties() {
        go_on(attribute.set(&property));
    }
    for (missing, name) in [
        (attribute.id.is_none(), "spmc_id"),
        (attribute.major.is_none(), "maj_ver"),
        (attribute.minor.is_none(), "min_ver"),
        (attribute.exec_state.is_none(), "exec_state"),
    ] {
        if missing {
            node.missing(name, "one 32-bit cell");
        }
    }
    manifest.load_address = attribute.load_address;
    manifest.binary_size = attribute.binary_size;
    if let Some(id) = attribute.id {
        manifest.spmc_id = id;
    }
    if let (Some(major), Some(minor)) = (attribute.major, attribute.minor) {
        manifest.version = Version::new(major, minor);
    }
}

/// The properties of `attribute` while they are read.
#[derive(Default)]
struct Attribute {
    id: Option<PartitionId>,
    major: Option<u16>,
    minor: Option<u16>,
    exec_state: Option<u32>,
    load_address: Option<u64>,
    binary_size: Option<u64>,
}

impl Attribute {
    fn set(&mut self, property: &Property) -> Parsed<()> {
        match property.name {
            "spmc_id" => self.id = Some(spmc_id(property)?),
            "maj_ver" => {
                let own = Version::OWN.major();
                let found = property.u32()?;
                if found != own.into() {
                    let expected = "the major version of the SPMC, 1";
                    return Err(property.error(expected, Found::Number(found.into())));
                }
                self.major = Some(own);
            }
            "min_ver" => self.minor = Some(property.u32_up_to(0xffff, "at most 0xffff")? as u16),
            "exec_state" => self.exec_state = Some(property.u32_up_to(0, "0 (AArch64)")?),
            "load_address" => {
                let address = property.u64()?;
                if !Pa::new(address).is_page_aligned() {
                    return Err(property.error("a 4 KiB aligned address", Found::Number(address)));
                }
                self.load_address = Some(address);
            }
            "binary_size" => self.binary_size = Some(property.u64()?),
            _ => {}
        }
        Ok(())
    }
}

/// Reads an id that is Secure, and neither one of EL3 nor one that a partition can get.
fn spmc_id(property: &Property) -> Parsed<PartitionId> {
    let word = property.u32()?;
    u16::try_from(word)
        .ok()
        .map(PartitionId)
        .filter(|id| id.is_secure() && !id.is_el3() && !id.is_of_place())
        .ok_or_else(|| {
            property.error(
                "a Secure id other than those of EL3 and of partitions",
                Found::Number(word.into()),
            )
        })
}

/// Reads `hypervisor` and lists the partitions.
#[inline(never)]
fn parse_hypervisor(node: &Node, report: &Report, manifest: &mut SpmcManifest, board: &mut Board) {
    for property in node.properties() {
        match property.name {
            "log-level" => {
                manifest.log_level = property.u32_up_to(5, "1 (error) to 5 (trace)").ok();
            }
            "memory-transactions" => {
                if let Ok(count) = property.u32_up_to(0xffff, "at most 0xffff") {
                    manifest.transactions = count as u16;
                }
            }
            "rxtx-pages" => {
                let expected = limit_text!("1 to ", MAX_MAILBOX_PAGES as usize, " pages");
                if let Ok(pages) = property.u32_up_to(MAX_MAILBOX_PAGES, expected) {
                    if pages == 0 {
                        property.error(expected, Found::Number(0));
                    }
                    manifest.mailbox_pages = pages;
                }
            }
            "vms" => {
                let expected = limit_text!("at most ", MAX_VMS as usize, "");
                if let Ok(count) = property.u32_up_to(MAX_VMS.into(), expected) {
                    manifest.vms = count as u16;
                }
            }
            "table-memory" => manifest.table_memory = table_memory(&property).ok(),
            "init-timeout-ms" => manifest.init_timeout_ms = property.u32().ok(),
            "live-activation-from-nwd" => {
                manifest.live_activation_from_nwd = property.flag().unwrap_or_default();
            }
            "lends-cpu-interface" => {
                board.lends_cpu_interface = property.flag().unwrap_or_default();
            }
            _ => {}
        }
    }
    let mut hypervisor = Hypervisor::default();
    for child in node.children() {
        match vm_number(child.name()) {
            None => {}
            Some(0) => {
                let found = Found::text(child.name().as_bytes());
                child.error("", "numbers from vm1 on", found);
            }
            Some(number) => hypervisor.parse_vm(&child, report, number),
        }
    }
    hypervisor.store(report, manifest);
}

/// Returns one range, of two cells for its address and two for its size.
fn table_memory(property: &Property) -> Parsed<PageRange<Pa>> {
    let expected = "one range: two cells of address and two of size";
    let mut ranges = property.cells::<4>(expected)?;
    let (Some([base_high, base_low, size_high, size_low]), None) = (ranges.next(), ranges.next())
    else {
        return Err(property.error(expected, Found::Bytes(property.value.len())));
    };
    let long = |high: u32, low: u32| u64::from(high) << 32 | u64::from(low);
    let (base, size) = (long(base_high, base_low), long(size_high, size_low));
    let range = PageRange::from_bytes(Pa::new(base), size).ok_or_else(|| {
        let expected = "a 4 KiB aligned range within the 48-bit address space";
        property.error(expected, Found::Number(base))
    })?;
    if range.pages() > MAX_TABLE_MEMORY_PAGES {
        let expected = limit_text!("at most ", MAX_TABLE_MEMORY_PAGES as usize, " pages");
        return Err(property.error(expected, Found::Count(range.pages())));
    }
    Ok(range)
}

/// Returns N of `vmN`, which has no leading zeros, as with Hafnium.
fn vm_number(name: &str) -> Option<u16> {
    let digits = name.strip_prefix("vm")?;
    let canonical = digits == "0" || digits.starts_with(|first| matches!(first, '1'..='9'));
    canonical.then(|| digits.parse().ok())?
}

impl<'a> Hypervisor<'a> {
    /// Reads `vmN`. Faults of its properties concern this partition alone.
    #[inline(never)]
    fn parse_vm(&mut self, node: &Node<'a>, report: &Report, number: u16) {
        let index = number.saturating_sub(1) as usize;
        let mut vm = Vm::default();
        let mut fault = None;
        for property in node.properties() {
            let found = report.apart(|| go_on(vm.set(&property)));
            fault = fault.or(found);
        }
        if index >= MAX_PARTITIONS {
            self.excess.get_or_insert((*node, number));
            return;
        }
        if index >= self.vms.len() {
            self.vms.resize_with(index.saturating_add(1), || None);
        }
        let mut entry = None;
        let found = report.apart(|| entry = vm.finish(node, index).ok());
        let slot = self.vms.get_mut(index);
        if let Some(slot) = slot {
            *slot = fault.or(found).map(Err).or(entry.map(Ok));
        }
    }

    /// Counts the partitions from vm1 to the first gap, as Hafnium does.
    #[inline(never)]
    fn store(self, report: &Report, manifest: &mut SpmcManifest) {
        if let Some((node, number)) = self.excess
            && self.vms.len() == MAX_PARTITIONS
            && self.vms.iter().all(Option::is_some)
        {
            let expected = limit_text!("at most ", MAX_PARTITIONS, " partitions");
            node.error("", expected, Found::Count(number.into()));
        }
        // A second `hypervisor` node takes the place of the first: both vectors have a place for
        // every vm of one.
        manifest.partitions.clear();
        manifest.faults.clear();
        let mut behind_gap = false;
        for (index, vm) in self.vms.into_iter().enumerate() {
            match vm {
                None => behind_gap = true,
                Some(_) if behind_gap => {
                    let fault = report.apart(|| refuse_behind_gap(report, index));
                    manifest.faults.extend(fault);
                }
                Some(Ok(entry)) => manifest.partitions.push(entry),
                Some(Err(fault)) => manifest.faults.push(fault),
            }
        }
    }
}

/// Notes that the partition of that index will not be there, as an earlier number is missing.
#[cold]
fn refuse_behind_gap(report: &Report, index: usize) {
    let mut node = ArrayString::<32>::new();
    // There is room for any number.
    let _ = write!(node, "/hypervisor/vm{}", index.saturating_add(1));
    report.refuse(
        &node,
        "",
        "each number from vm1 on before it",
        Found::text(b"a gap"),
    );
}

impl Vm {
    fn set(&mut self, property: &Property) -> Parsed<()> {
        match property.name {
            "is_ffa_partition" => self.is_ffa_partition = property.flag()?,
            "debug_name" => self.name = Some(property.short_name()?),
            "load_address" => self.load_address = Some(property.u64()?),
            "mem_size" => self.mem_size = Some(property.u64()?),
            "vcpu_count" => {
                self.vcpu_count = Some(property.u32_up_to(0xffff, "at most 0xffff")? as u16)
            }
            "smc_whitelist" => self.smc_whitelist = property.list("a list of function ids")?,
            "smc_whitelist_permissive" => self.smc_whitelist_permissive = property.flag()?,
            // `hyp_loaded`, `fdt_filename` and others say nothing that a loaded package needs.
            _ => {}
        }
        Ok(())
    }

    fn finish(self, node: &Node, index: usize) -> Parsed<PackageEntry> {
        if !self.is_ffa_partition {
            node.missing("is_ffa_partition", "an FF-A partition");
        }
        let name = self
            .name
            .ok_or_else(|| node.missing("debug_name", "a string"));
        let base = self
            .load_address
            .ok_or_else(|| node.missing("load_address", "an address"));
        let size = self
            .mem_size
            .ok_or_else(|| node.missing("mem_size", "a size"));
        let vcpu_count = self
            .vcpu_count
            .ok_or_else(|| node.missing("vcpu_count", "a count"));
        let (name, base, size, vcpu_count) = (name?, base?, size?, vcpu_count?);
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
            index,
            name,
            memory,
            vcpu_count,
            smc_whitelist: self.smc_whitelist,
            smc_whitelist_permissive: self.smc_whitelist_permissive,
        })
    }
}

/// Reads `cpus`: the MPIDR affinity of each `cpu` node. Where there are more than [`MAX_PES`], it
/// keeps the lowest, which come first when EL3 counts PEs, too.
#[inline(never)]
fn parse_cpus(node: &Node, cpus: &mut Vec<u64>) {
    let mut count = 0_usize;
    for node in node.children() {
        let mut affinity = None;
        let mut is_cpu = true;
        for property in node.properties() {
            match property.name {
                "reg" => affinity = property.u64().ok(),
                "device_type" => is_cpu = property.has_string(b"cpu"),
                _ => {}
            }
        }
        let Some(affinity) = affinity.filter(|_| is_cpu) else {
            continue;
        };
        if cpus.contains(&affinity) {
            let expected = "an affinity that no other CPU has";
            node.error("reg", expected, Found::Number(affinity));
            continue;
        }
        count = count.saturating_add(1);
        if cpus.len() < MAX_PES {
            cpus.push(affinity);
        } else if let Some(highest) = cpus.iter_mut().max() {
            *highest = affinity.min(*highest);
        }
    }
    if count > cpus.len() {
        log::warn!(
            "SPMC manifest: {count} CPUs, but at most {MAX_PES} run partitions: the Normal world has the others to itself"
        );
    }
}

/// Reads a child of the root that may be a memory node; its `device_type` decides. Returns whether
/// it is one.
#[inline(never)]
fn parse_memory(node: &Node, cells: CellCounts, manifest: &mut SpmcManifest) -> bool {
    let mut kind = "";
    let mut reg = None;
    for property in node.properties() {
        match property.name {
            "device_type" => {
                let text = property.value.strip_suffix(b"\0").unwrap_or(property.value);
                kind = str::from_utf8(text).unwrap_or("");
            }
            "reg" => reg = Some(property),
            _ => {}
        }
    }
    let Some(reg) = reg else { return false };
    go_on(match kind {
        "memory" => parse_ranges(&reg, cells, &mut manifest.memory),
        "ns-memory" => parse_ranges(&reg, cells, &mut manifest.ns_memory),
        "device-memory" => parse_ranges(&reg, cells, &mut manifest.device_memory),
        "ns-device-memory" => parse_ranges(&reg, cells, &mut manifest.ns_device_memory),
        _ => return false,
    });
    true
}

fn parse_ranges(reg: &Property, cells: CellCounts, ranges: &mut Vec<PageRange<Pa>>) -> Parsed<()> {
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
        ranges.push(range);
    }
    Ok(())
}

/// A number of one or two cells.
fn join(cells: &[[u8; 4]]) -> u64 {
    cells.iter().fold(0, |number, cell| {
        (number << 32) | u64::from(u32::from_be_bytes(*cell))
    })
}
