//! The manifest of one partition (`arm,ffa-manifest-1.0` and `-1.1`; FF-A v1.0 section 3.2 in
//! TF-A's device tree binding).
//!
//! Each property is typed and checked here, by itself and against the others of the same manifest;
//! [`super::validate`] compares it with the rest of the system. Unknown properties are ignored,
//! because the binding grows.
//!
//! A property that asks for a feature that this SPMC does not have is noted in a warning. If
//! isolation would be weaker than the manifest says, the partition is refused.

use alloc::vec::Vec;

use arrayvec::ArrayVec;

use super::config::{
    AbortAction, BootInfo, Branches, ExceptionLevel, NsInterruptAction, PackageEntry,
    PartitionConfig, PowerMessages, SriPolicy, VmMessages,
};
use super::error::{Found, Parsed, Report, go_on};
use super::life_cycle::LifeCycle;
use super::preemption::Preemption;
use super::processor;
use super::property::{Ignored, Property};
use super::regions::{self, Phandles};
use super::services::{self, Format, Services};
use super::tree::Node;
use crate::addr::Pa;
use crate::ffa::Version;
use crate::id::{PartitionId, Uuid};
use crate::limits::MAX_PES;

/// `compatible` of a manifest with `uuid` and `messaging-method`.
pub const COMPATIBLE_1_0: &[u8] = b"arm,ffa-manifest-1.0";
/// `compatible` of a manifest with a `services` node.
pub const COMPATIBLE_1_1: &[u8] = b"arm,ffa-manifest-1.1";

/// `boot-order` of partitions that boot last, as if they had none.
const BOOT_ORDER_LAST: u32 = 0xffff;

/// Says in errors what `stream-endpoint-ids` may hold.
const STREAM_ENDPOINTS: &str = "a list of ids";

/// The contents of the root node and its children, while they are read. `config` has the values
/// that need no further check.
struct Draft<'a, 'c> {
    config: &'c mut PartitionConfig,
    format: Option<Format>,
    ffa_version: Option<Version>,
    services: Services,
    contexts: Option<u16>,
    exception_level: Option<ExceptionLevel>,
    execution_state: Option<u32>,
    load_address: Option<u64>,
    mem_size: Option<u64>,
    preemption: Preemption,
    life_cycle: LifeCycle<'a>,
    phandles: Phandles,
    /// The node with the phandles of `rx-buffer` and `tx-buffer`.
    rx_tx: Option<(Node<'a>, u32, u32)>,
    ignored: Ignored,
}

/// Reads the manifest in `dtb` of the package that `entry` describes, leaves all that is wrong with
/// it in `report`, and logs a warning for each property without effect. If there are errors, the
/// configuration has what could be read.
///
/// Wrong are: a device tree of another kind; a mandatory property missing; a value that the binding
/// does not allow, that contradicts another or that asks for what this SPMC cannot isolate; more
/// regions or services than [`crate::limits`] allows.
#[inline(never)]
pub fn read<'a>(dtb: &'a [u8], entry: &PackageEntry, report: &'a Report<'a>) -> PartitionConfig {
    let mut config = initial(entry);
    // The report has the fault of a damaged tree.
    let _ = walk(dtb, entry, report, &mut config);
    config
}

/// Returns the values of a manifest that says nothing.
#[inline]
fn initial(entry: &PackageEntry) -> PartitionConfig {
    PartitionConfig {
        index: entry.index,
        id: entry.id(),
        requested_id: None,
        name: entry.name,
        memory: entry.memory,
        ffa_version: Version::OWN,
        services: Vec::new(),
        vcpu_count: 1,
        exception_level: ExceptionLevel::SEl1,
        vectors: None,
        branches: Branches::Anywhere,
        entrypoint_offset: 0,
        boot_order: None,
        rx_tx: None,
        boot_register: None,
        boot_info: None,
        ns_interrupts: NsInterruptAction::Signaled,
        queues_other_interrupts: false,
        sri_policy: SriPolicy::empty(),
        managed_exit_virq: false,
        notifications: false,
        power_messages: PowerMessages::empty(),
        vm_messages: VmMessages::empty(),
        lifecycle: false,
        abort_action: AbortAction::Stop,
        image_uuid: Uuid::NIL,
        live_activation: None,
        copies: ArrayVec::new_const(),
        auxiliary_id: None,
        memory_regions: Vec::new(),
        stream_endpoints: Vec::new(),
        device_regions: Vec::new(),
        smc_whitelist: entry.smc_whitelist.clone(),
        smc_whitelist_permissive: entry.smc_whitelist_permissive,
    }
}

#[inline(never)]
fn walk<'a>(
    dtb: &'a [u8],
    entry: &PackageEntry,
    report: &'a Report<'a>,
    config: &mut PartitionConfig,
) -> Parsed<()> {
    let root = Node::root(dtb, report)?;
    let mut draft = Draft::new(config);
    for property in root.properties() {
        go_on(draft.set(&property));
    }
    for node in root.children() {
        draft.parse_node(&node);
    }
    draft.check(&root);
    if report.is_good() {
        draft.warn(entry);
    }
    Ok(())
}

impl<'a, 'c> Draft<'a, 'c> {
    fn new(config: &'c mut PartitionConfig) -> Self {
        Self {
            config,
            format: None,
            ffa_version: None,
            services: Services::default(),
            contexts: None,
            exception_level: None,
            execution_state: None,
            load_address: None,
            mem_size: None,
            preemption: Preemption::default(),
            life_cycle: LifeCycle::default(),
            phandles: Phandles::default(),
            rx_tx: None,
            ignored: Ignored::default(),
        }
    }

    /// Reads one child of the root node.
    #[inline(never)]
    fn parse_node(&mut self, node: &Node<'a>) {
        let ignored = &mut self.ignored;
        match node.name() {
            "services" => self.services.parse(node),
            "boot-info" => self.parse_boot_info(node),
            "rx_tx-info" => self.parse_rx_tx(node),
            "memory-regions" => {
                regions::parse_memory(node, self.config, &mut self.phandles, ignored);
            }
            "device-regions" => regions::parse_devices(node, self.config, ignored),
            "live-state-buffer-info" => self.life_cycle.parse_buffer(node),
            _ => {}
        }
    }

    /// Reads one property of the root node.
    fn set(&mut self, property: &Property) -> Parsed<()> {
        match property.name {
            "compatible" => self.format = Some(format(property)?),
            "ffa-version" => self.ffa_version = Some(version(property)?),
            "id" => self.config.requested_id = Some(requested_id(property)?),
            "auxiliary-id" => {
                self.config.auxiliary_id = Some(property.u32_up_to(0xffff, "a 16-bit id")? as u16);
                self.ignored.note("auxiliary-id");
            }
            "uuid" => self.services.set_uuids(property)?,
            "messaging-method" => self.services.set_methods(property)?,
            "execution-ctx-count" => self.contexts = Some(context_count(property)?),
            "exception-level" => self.exception_level = Some(exception_level(property)?),
            "execution-state" => {
                self.execution_state = Some(property.u32_up_to(0, "0 (AArch64)")?);
            }
            "load-address" => self.load_address = Some(property.u64()?),
            "mem-size" => self.mem_size = Some(property.u64()?),
            "entrypoint-offset" => self.config.entrypoint_offset = property.u64()?,
            "xlat-granule" => {
                property.u32_up_to(0, "0 (4 KiB)")?;
            }
            "boot-order" => {
                let order = property.u32_up_to(BOOT_ORDER_LAST, "at most 0xffff")?;
                self.config.boot_order = (order != BOOT_ORDER_LAST).then_some(order as u16);
            }
            "gp-register-num" => {
                self.config.boot_register = Some(property.u32_up_to(3, "0 to 3")? as u8);
            }
            "managed-exit-virq" => {
                self.config.managed_exit_virq = property.flag()?;
            }
            "ns-interrupts-action" | "managed-exit" | "run-time-model" => {
                self.preemption.set(property)?;
            }
            "other-s-interrupts-action" => {
                self.config.queues_other_interrupts = property.u32_up_to(1, "0 or 1")? == 0;
            }
            "notification-support" => {
                self.config.notifications = property.flag()?;
            }
            "power-management-messages" => {
                self.config.power_messages = PowerMessages::from_bits_truncate(property.u32()?);
            }
            "vm-availability-messages" => {
                let messages = property.u32_up_to(3, "bits 0 and 1 only")?;
                self.config.vm_messages = VmMessages::from_bits_truncate(messages);
            }
            "has-primary-scheduler" => {
                return Err(property.error(
                    "a partition without a primary scheduler",
                    Found::text(b"one"),
                ));
            }
            _ => return self.set_rare(property),
        }
        Ok(())
    }

    /// Reads properties that few manifests have.
    fn set_rare(&mut self, property: &Property) -> Parsed<()> {
        match property.name {
            "sri-interrupts-policy" => {
                let policy = property.u32_up_to(3, "bits 0 and 1 only")?;
                self.config.sri_policy = SriPolicy::from_bits_truncate(policy as u8);
            }
            "time-slice-mem" => {
                property.flag()?;
                self.ignored.note("time-slice-mem");
            }
            "stream-endpoint-ids" => {
                for id in property.list(STREAM_ENDPOINTS)? {
                    let sepid = u16::try_from(id).map(PartitionId).ok();
                    let listed = &mut self.config.stream_endpoints;
                    match sepid.filter(|id| !listed.contains(id)) {
                        Some(sepid) => listed.push(sepid),
                        None => {
                            let found = Found::Number(id.into());
                            return Err(property.error("16-bit ids, each once", found));
                        }
                    }
                }
            }
            "lifecycle-support" => {
                self.config.lifecycle = property.flag()?;
            }
            "abort-action" | "live-activation-support" | "live-activation-register" => {
                self.life_cycle.set(property)?;
            }
            "image-uuid" => self.config.image_uuid = services::uuid(property)?,
            _ => processor::set(self.config, property)?,
        }
        Ok(())
    }

    fn parse_boot_info(&mut self, node: &Node) {
        let mut boot_info = BootInfo::default();
        for property in node.properties() {
            match property.name {
                "ffa_manifest" => boot_info.ffa_manifest = property.flag().is_ok(),
                "hob_list" => boot_info.hob_list = property.flag().is_ok(),
                _ => {}
            }
        }
        self.config.boot_info = Some(boot_info);
        go_on(node.require("\"arm,ffa-manifest-boot-info\""));
    }

    fn parse_rx_tx(&mut self, node: &Node<'a>) {
        let mut rx = None;
        let mut tx = None;
        for property in node.properties() {
            match property.name {
                "rx-buffer" => rx = property.u32().ok(),
                "tx-buffer" => tx = property.u32().ok(),
                _ => {}
            }
        }
        go_on(node.require("\"arm,ffa-manifest-rx_tx-buffer\""));
        let rx = rx.ok_or_else(|| node.missing("rx-buffer", "a phandle of a memory region"));
        let tx = tx.ok_or_else(|| node.missing("tx-buffer", "a phandle of a memory region"));
        if let (Ok(rx), Ok(tx)) = (rx, tx) {
            self.rx_tx = Some((*node, rx, tx));
        }
    }

    /// Checks what properties say together and completes the configuration.
    #[inline(never)]
    fn check(&mut self, root: &Node) {
        let cell = "one 32-bit cell";
        if self.format.is_none() {
            root.missing("compatible", "\"arm,ffa-manifest-1.0\" or \"-1.1\"");
        }
        for (missing, name) in [
            (self.ffa_version.is_none(), "ffa-version"),
            (self.contexts.is_none(), "execution-ctx-count"),
            (self.exception_level.is_none(), "exception-level"),
            (self.execution_state.is_none(), "execution-state"),
        ] {
            if missing {
                root.missing(name, cell);
            }
        }
        // A missing value is noted as a fault. Any value that contradicts no other may stand in its
        // place.
        let ffa_version = self.ffa_version.unwrap_or(Version::OWN);
        let vcpu_count = self.contexts.unwrap_or(1);
        let exception_level = self.exception_level.unwrap_or(ExceptionLevel::SEl1);

        if exception_level == ExceptionLevel::SEl0 && vcpu_count != 1 {
            root.error(
                "execution-ctx-count",
                "1 for an S-EL0 partition",
                Found::Count(vcpu_count.into()),
            );
        }
        if let Some(format) = self.format
            && let Ok(services) = self.services.finish(root, format, ffa_version)
        {
            self.config.services = services;
        }
        let image = self.config.image_uuid;
        if self
            .config
            .services
            .iter()
            .any(|service| service.uuid == image)
        {
            let found = Found::text(b"a service's UUID");
            root.error("image-uuid", "a UUID of its own", found);
        }
        let entry_point = self.config.entrypoint_offset;
        if entry_point >= self.config.memory.size() || !entry_point.is_multiple_of(4) {
            root.error(
                "entrypoint-offset",
                "an instruction inside the package",
                Found::Number(entry_point),
            );
        }
        let queues_others = self.config.queues_other_interrupts;
        let preemption = &self.preemption;
        self.config.ns_interrupts = preemption.check(root, self.exception_level, queues_others);
        if vcpu_count == 1 {
            // A migratable context gets no messages about PEs that go on or off.
            self.config.power_messages = PowerMessages::empty();
        }
        if let Some((node, rx, tx)) = self.rx_tx {
            let rx = self.phandles.find(&node, "rx-buffer", rx);
            let tx = self.phandles.find(&node, "tx-buffer", tx);
            if let (Ok(Some(rx)), Ok(Some(tx))) = (rx, tx) {
                self.config.rx_tx = Some((rx, tx));
            }
        }
        self.life_cycle
            .check(root, vcpu_count, &self.phandles, self.config);
        self.check_stream_endpoints(root);
        if self.config.boot_info.is_some_and(|wanted| wanted.hob_list) {
            self.check_hob_list(root, ffa_version);
        }
        self.config.ffa_version = ffa_version;
        // Contexts of PEs beyond the capacity never run.
        self.config.vcpu_count = vcpu_count.min(MAX_PES as u16);
        self.config.exception_level = exception_level;
    }

    /// Checks that devices name stream endpoints whose proxy the partition is. An endpoint that no
    /// device names has no effect.
    fn check_stream_endpoints(&mut self, root: &Node) {
        let config = &mut *self.config;
        let named = config
            .device_regions
            .iter()
            .filter_map(|device| device.stream_endpoint);
        if let Some(other) = named
            .clone()
            .find(|id| !config.stream_endpoints.contains(id))
        {
            root.error(
                "stream-endpoint-ids",
                "the stream-endpoint-id of every device",
                Found::Number(other.0.into()),
            );
        }
        let listed = config.stream_endpoints.len();
        config
            .stream_endpoints
            .retain(|id| named.clone().any(|named| named == *id));
        if config.stream_endpoints.len() < listed {
            self.ignored.note("stream-endpoint-ids");
        }
    }

    /// Checks that a HOB list can be passed to the partition, which would go on without knowing its
    /// memory otherwise.
    fn check_hob_list(&self, root: &Node, ffa_version: Version) {
        let nothing = Found::text(b"none");
        if ffa_version == Version::V1_0 {
            root.error(
                "ffa-version",
                "1.1 or later with hob_list",
                Found::text(b"1.0"),
            );
        }
        if self.config.boot_register.is_none() {
            root.error("gp-register-num", "it together with hob_list", nothing);
        }
    }

    /// Logs one line for each property without effect.
    #[inline(never)]
    fn warn(&self, entry: &PackageEntry) {
        let name = &entry.name;
        let vcpu_count = self.contexts.unwrap_or(0);
        for property in &self.ignored.0 {
            log::warn!("{name}: {property}: accepted without effect, not supported yet");
        }
        for property in self.life_cycle.without_support() {
            log::warn!(
                "{name}: {property}: without effect, as there is no live-activation-support"
            );
        }
        for region in &self.config.memory_regions {
            if region.streams.is_some() {
                // Streams belong to devices, and see what the endpoint of their device sees.
                let region = &region.name;
                log::warn!("{name}: memory-regions/{region}: stream-ids: accepted without effect");
            }
        }
        if self.preemption.overrules_model() {
            log::warn!("{name}: run-time-model: overruled by the action on Non-secure interrupts");
        }
        if let Some(address) = self.load_address
            && Pa::new(address) != entry.memory.base()
        {
            log::warn!(
                "{name}: load-address: the package is at {}, not {address:#x}",
                entry.memory.base()
            );
        }
        if let Some(size) = self.mem_size
            && size != entry.memory.size()
        {
            log::warn!(
                "{name}: mem-size: the SPMC manifest gives {:#x} bytes, not {size:#x}",
                entry.memory.size()
            );
        }
        if vcpu_count != self.config.vcpu_count {
            log::warn!(
                "{name}: execution-ctx-count: {vcpu_count} contexts, but at most {MAX_PES} PEs run partitions"
            );
        }
        if vcpu_count != entry.vcpu_count {
            log::warn!(
                "{name}: execution-ctx-count: {vcpu_count} contexts, vcpu_count of the SPMC manifest ({}) ignored",
                entry.vcpu_count
            );
        }
    }
}

fn format(property: &Property) -> Parsed<Format> {
    if property.has_string(COMPATIBLE_1_0) {
        Ok(Format::V1_0)
    } else if property.has_string(COMPATIBLE_1_1) {
        Ok(Format::V1_1)
    } else {
        Err(property.error(
            "\"arm,ffa-manifest-1.0\" or \"-1.1\"",
            Found::text(property.value),
        ))
    }
}

fn version(property: &Property) -> Parsed<Version> {
    let word = property.u32()?;
    Version::from_word(word)
        .filter(|version| version.is_compatible())
        .ok_or_else(|| property.error("a version from 1.0 to 1.3", Found::Number(word.into())))
}

/// Reads the id that a partition asks for.
fn requested_id(property: &Property) -> Parsed<PartitionId> {
    let word = property.u32()?;
    let id = PartitionId(word as u16);
    if word > 0xffff || matches!(word & 0x7fff, 0 | 0x7fff) {
        return Err(property.error("a partition id", Found::Number(word.into())));
    }
    Ok(id)
}

fn context_count(property: &Property) -> Parsed<u16> {
    let count = property.u32()?;
    match u16::try_from(count) {
        Ok(count) if count != 0 => Ok(count),
        _ => Err(property.error("1 to 65535 execution contexts", Found::Count(count.into()))),
    }
}

fn exception_level(property: &Property) -> Parsed<ExceptionLevel> {
    match property.u32()? {
        1 => Ok(ExceptionLevel::SEl0),
        2 => Ok(ExceptionLevel::SEl1),
        other => Err(property.error("1 (S-EL0) or 2 (S-EL1)", Found::Count(other.into()))),
    }
}
