//! The manifest of one partition (`arm,ffa-manifest-1.0` and `-1.1`; FF-A v1.0 section 3.2 in TF-A's device tree binding).
//!
//! Each property is typed and checked on its own here, and against the others of the same manifest; [`super::validate`] compares with
//! the rest of the system. Unknown properties are passed over: the binding grows.
//!
//! A property that asks for a feature which this SPMC does not have yet is noted and costs one warning, unless isolation would be weaker
//! than the manifest says: then the partition is refused.

use arrayvec::ArrayVec;

use super::config::{BootInfo, ExceptionLevel, NsInterruptAction, PackageEntry, PartitionConfig};
use super::dtb::{Item, Path, Property, Reader};
use super::error::{Found, ManifestError};
use super::regions::Regions;
use super::services::{Format, Services};
use crate::addr::Pa;
use crate::ffa::Version;
use crate::id::PartitionId;
use crate::limits::MAX_VCPUS;

/// `compatible` of a manifest with `uuid` and `messaging-method`.
pub const COMPATIBLE_1_0: &[u8] = b"arm,ffa-manifest-1.0";
/// `compatible` of a manifest with a `services` node.
pub const COMPATIBLE_1_1: &[u8] = b"arm,ffa-manifest-1.1";

/// `boot-order` of partitions that boot last, as if they had none.
const BOOT_ORDER_LAST: u32 = 0xffff;

/// The bits of `power-management-messages` that have a meaning: CPU_OFF, CPU_SUSPEND, resume.
const POWER_MESSAGES: u32 = 7;

/// Names of properties that are accepted but have no effect yet, each once.
#[derive(Default)]
pub(super) struct Ignored(ArrayVec<&'static str, 24>);

impl Ignored {
    /// Notes a property. There are fewer such names than places.
    pub fn note(&mut self, property: &'static str) {
        if !self.0.contains(&property) {
            let _ = self.0.try_push(property);
        }
    }
}

/// The properties of the root node and of its small children while they are read.
#[derive(Default)]
struct Draft {
    format: Option<Format>,
    ffa_version: Option<Version>,
    requested_id: Option<PartitionId>,
    auxiliary_id: Option<u16>,
    services: Services,
    contexts: Option<u16>,
    exception_level: Option<ExceptionLevel>,
    execution_state: Option<u32>,
    load_address: Option<u64>,
    mem_size: Option<u64>,
    entrypoint_offset: u64,
    boot_order: Option<u16>,
    boot_register: Option<u8>,
    boot_info: Option<BootInfo>,
    ns_interrupts: Option<NsInterruptAction>,
    queues_other_interrupts: bool,
    managed_exit: bool,
    managed_exit_virq: bool,
    notifications: bool,
    power_messages: u32,
    vm_messages: u32,
    lifecycle: Lifecycle,
    /// Phandles of `rx-buffer` and `tx-buffer`.
    rx_tx: Option<(u32, u32)>,
    ignored: Ignored,
}

/// The properties of FF-A 1.3 that depend on each other.
#[derive(Default)]
struct Lifecycle {
    support: bool,
    abort_action: bool,
    live_activation: bool,
    live_activation_register: Option<u32>,
}

/// Parses the manifest in `dtb` of the package that `entry` describes, and logs a warning for each property without effect.
///
/// Errors: not a device tree of that kind; a mandatory property missing; a value that the binding does not allow, that contradicts
/// another or that asks for what this SPMC cannot isolate; more regions or services than [`crate::limits`] allows.
pub fn parse(dtb: &[u8], entry: &PackageEntry) -> Result<PartitionConfig, ManifestError> {
    let mut reader = Reader::new(dtb)?;
    let mut draft = Draft::default();
    let mut regions = Regions::new(entry.memory);
    loop {
        match reader.next()? {
            Item::Property(property) => draft.set(&property)?,
            Item::Node(node) => match node.name() {
                b"services" => draft.services.parse(&mut reader)?,
                b"boot-info" => draft.parse_boot_info(&mut reader)?,
                b"rx_tx-info" => draft.parse_rx_tx(&mut reader)?,
                b"memory-regions" => regions.parse_memory(&mut reader, &mut draft.ignored)?,
                b"device-regions" => regions.parse_devices(&mut reader, &mut draft.ignored)?,
                b"live-state-buffer-info" => {
                    draft.ignored.note("live-state-buffer-info");
                    reader.skip_node()?;
                }
                _ => reader.skip_node()?,
            },
            Item::End => break,
        }
    }
    draft.finish(regions, entry)
}

impl Draft {
    /// One property of the root node.
    fn set(&mut self, property: &Property) -> Result<(), ManifestError> {
        match property.name {
            b"compatible" => self.format = Some(format(property)?),
            b"ffa-version" => self.ffa_version = Some(version(property)?),
            b"id" => self.requested_id = Some(requested_id(property)?),
            b"auxiliary-id" => {
                self.auxiliary_id = Some(property.u32_up_to(0xffff, "a 16-bit id")? as u16);
                self.ignored.note("auxiliary-id");
            }
            b"uuid" => self.services.set_uuids(property)?,
            b"messaging-method" => self.services.set_methods(property)?,
            b"execution-ctx-count" => self.contexts = Some(context_count(property)?),
            b"exception-level" => self.exception_level = Some(exception_level(property)?),
            b"execution-state" => {
                self.execution_state = Some(property.u32_up_to(0, "0 (AArch64)")?);
            }
            b"load-address" => self.load_address = Some(property.u64()?),
            b"mem-size" => self.mem_size = Some(property.u64()?),
            b"entrypoint-offset" => self.entrypoint_offset = property.u64()?,
            b"xlat-granule" => {
                property.u32_up_to(0, "0 (4 KiB)")?;
            }
            b"boot-order" => {
                let order = property.u32_up_to(BOOT_ORDER_LAST, "at most 0xffff")?;
                self.boot_order = (order != BOOT_ORDER_LAST).then_some(order as u16);
            }
            b"gp-register-num" => {
                self.boot_register = Some(property.u32_up_to(3, "0 to 3")? as u8);
            }
            b"managed-exit" => self.managed_exit = property.flag()?,
            b"managed-exit-virq" => {
                self.managed_exit_virq = property.flag()?;
                self.ignored.note("managed-exit-virq");
            }
            b"ns-interrupts-action" => {
                self.ns_interrupts = Some(match property.u32()? {
                    0 => NsInterruptAction::Queued,
                    1 => NsInterruptAction::ManagedExit,
                    2 => NsInterruptAction::Signaled,
                    other => return Err(property.error("0 to 2", Found::Number(other.into()))),
                });
            }
            b"other-s-interrupts-action" => {
                self.queues_other_interrupts = property.u32_up_to(1, "0 or 1")? == 0;
                self.ignored.note("other-s-interrupts-action");
            }
            b"notification-support" => {
                self.notifications = property.flag()?;
                self.ignored.note("notification-support");
            }
            b"power-management-messages" => {
                self.power_messages = property.u32()? & POWER_MESSAGES;
            }
            b"vm-availability-messages" => {
                self.vm_messages = property.u32_up_to(3, "bits 0 and 1 only")?;
            }
            b"has-primary-scheduler" => {
                return Err(property.error(
                    "a partition without a primary scheduler",
                    Found::text(b"one"),
                ));
            }
            _ => return self.set_rare(property),
        }
        Ok(())
    }

    /// Properties that only add to the warnings.
    fn set_rare(&mut self, property: &Property) -> Result<(), ManifestError> {
        match property.name {
            b"sri-interrupts-policy" => {
                property.u32_up_to(3, "bits 0 and 1 only")?;
                self.ignored.note("sri-interrupts-policy");
            }
            b"time-slice-mem" => {
                property.flag()?;
                self.ignored.note("time-slice-mem");
            }
            b"run-time-model" => {
                property.u32()?;
                self.ignored.note("run-time-model");
            }
            b"stream-endpoint-ids" => {
                let _ids = property.cells::<1>("a list of ids")?;
                self.ignored.note("stream-endpoint-ids");
            }
            b"lifecycle-support" => {
                self.lifecycle.support = property.flag()?;
                self.ignored.note("lifecycle-support");
            }
            b"abort-action" => {
                property.u32_up_to(3, "0 to 3")?;
                self.lifecycle.abort_action = true;
                self.ignored.note("abort-action");
            }
            b"live-activation-support" => {
                self.lifecycle.live_activation = property.flag()?;
                self.ignored.note("live-activation-support");
            }
            b"live-activation-register" => {
                let register = property.u32()?;
                if !matches!(register, 0..=3 | 5..=7) {
                    return Err(property.error("0 to 3 or 5 to 7", Found::Count(register.into())));
                }
                self.lifecycle.live_activation_register = Some(register);
                self.ignored.note("live-activation-register");
            }
            b"image-uuid" => self.ignored.note("image-uuid"),
            _ => {}
        }
        Ok(())
    }

    fn parse_boot_info(&mut self, reader: &mut Reader) -> Result<(), ManifestError> {
        let node = reader.path();
        let mut compatible = false;
        let mut boot_info = BootInfo::default();
        while let Some(property) = reader.next_property()? {
            match property.name {
                b"compatible" => compatible = property.has_string(b"arm,ffa-manifest-boot-info"),
                b"ffa_manifest" => boot_info.ffa_manifest = property.flag()?,
                b"hob_list" => {
                    boot_info.hob_list = property.flag()?;
                    self.ignored.note("hob_list");
                }
                _ => {}
            }
        }
        self.boot_info = Some(boot_info);
        require(compatible, node, "\"arm,ffa-manifest-boot-info\"")
    }

    fn parse_rx_tx(&mut self, reader: &mut Reader) -> Result<(), ManifestError> {
        let node = reader.path();
        let mut compatible = false;
        let mut rx = None;
        let mut tx = None;
        while let Some(property) = reader.next_property()? {
            match property.name {
                b"compatible" => compatible = property.has_string(b"arm,ffa-manifest-rx_tx-buffer"),
                b"rx-buffer" => rx = Some(property.u32()?),
                b"tx-buffer" => tx = Some(property.u32()?),
                _ => {}
            }
        }
        require(compatible, node, "\"arm,ffa-manifest-rx_tx-buffer\"")?;
        let rx = rx.ok_or_else(|| node.missing("rx-buffer", "a phandle of a memory region"))?;
        let tx = tx.ok_or_else(|| node.missing("tx-buffer", "a phandle of a memory region"))?;
        self.rx_tx = Some((rx, tx));
        Ok(())
    }

    /// Checks what properties say together and builds the configuration.
    fn finish(
        mut self,
        regions: Regions,
        entry: &PackageEntry,
    ) -> Result<PartitionConfig, ManifestError> {
        let root = Path::ROOT;
        let cell = "one 32-bit cell";
        let format = self
            .format
            .ok_or_else(|| root.missing("compatible", "\"arm,ffa-manifest-1.0\" or \"-1.1\""))?;
        let ffa_version = self
            .ffa_version
            .ok_or_else(|| root.missing("ffa-version", cell))?;
        let vcpu_count = self
            .contexts
            .ok_or_else(|| root.missing("execution-ctx-count", cell))?;
        let exception_level = self
            .exception_level
            .ok_or_else(|| root.missing("exception-level", cell))?;
        self.execution_state
            .ok_or_else(|| root.missing("execution-state", cell))?;

        if exception_level == ExceptionLevel::SEl0 && vcpu_count != 1 {
            return Err(root.error(
                "execution-ctx-count",
                "1 for an S-EL0 partition",
                Found::Count(vcpu_count.into()),
            ));
        }
        let services =
            core::mem::take(&mut self.services).finish(format, ffa_version, &mut self.ignored)?;
        if self.entrypoint_offset >= entry.memory.size()
            || !self.entrypoint_offset.is_multiple_of(4)
        {
            return Err(root.error(
                "entrypoint-offset",
                "an instruction inside the package",
                Found::Number(self.entrypoint_offset),
            ));
        }
        let ns_interrupts = self.ns_interrupts()?;
        self.check_lifecycle(vcpu_count)?;
        if self.power_messages != 0 {
            self.ignored.note("power-management-messages");
        }
        if self.vm_messages != 0 {
            self.ignored.note("vm-availability-messages");
        }
        let rx_tx = match self.rx_tx {
            None => None,
            Some((rx, tx)) => Some((
                regions.buffer("rx-buffer", rx)?,
                regions.buffer("tx-buffer", tx)?,
            )),
        };
        self.warn(entry, vcpu_count);
        Ok(PartitionConfig {
            id: entry.id,
            requested_id: self.requested_id,
            name: entry.name,
            memory: entry.memory,
            ffa_version,
            services,
            vcpu_count,
            exception_level,
            entrypoint_offset: self.entrypoint_offset,
            boot_order: self.boot_order,
            rx_tx,
            boot_register: self.boot_register,
            boot_info: self.boot_info,
            ns_interrupts,
            managed_exit_virq: self.managed_exit_virq,
            notifications: self.notifications,
            // A migratable context is never told of a PE that comes or goes.
            power_messages: if vcpu_count == 1 {
                0
            } else {
                self.power_messages
            },
            vm_messages: self.vm_messages,
            auxiliary_id: self.auxiliary_id,
            memory_regions: regions.memory,
            device_regions: regions.devices,
            smc_whitelist: entry.smc_whitelist.clone(),
            smc_whitelist_permissive: entry.smc_whitelist_permissive,
        })
    }

    fn ns_interrupts(&mut self) -> Result<NsInterruptAction, ManifestError> {
        let action = match self.ns_interrupts {
            _ if self.managed_exit => NsInterruptAction::ManagedExit,
            Some(action) => action,
            None => NsInterruptAction::Signaled,
        };
        if self.queues_other_interrupts && action != NsInterruptAction::Queued {
            return Err(Path::ROOT.error(
                "other-s-interrupts-action",
                "1, as ns-interrupts-action is not 0",
                Found::Count(0),
            ));
        }
        if self.managed_exit {
            self.ignored.note("managed-exit");
        } else if action == NsInterruptAction::ManagedExit {
            self.ignored.note("ns-interrupts-action");
        }
        Ok(action)
    }

    fn check_lifecycle(&self, vcpu_count: u16) -> Result<(), ManifestError> {
        let root = Path::ROOT;
        let Lifecycle {
            support,
            abort_action,
            live_activation,
            live_activation_register,
        } = self.lifecycle;
        if !support && abort_action {
            return Err(root.missing("lifecycle-support", "it together with abort-action"));
        }
        if !support && live_activation {
            return Err(root.missing(
                "lifecycle-support",
                "it together with live-activation-support",
            ));
        }
        if live_activation && vcpu_count != 1 {
            return Err(root.error(
                "execution-ctx-count",
                "1 with live-activation-support",
                Found::Count(vcpu_count.into()),
            ));
        }
        match (live_activation_register, self.boot_register) {
            (Some(live), Some(boot)) if live == boot.into() => Err(root.error(
                "live-activation-register",
                "another register than gp-register-num",
                Found::Count(live.into()),
            )),
            _ => Ok(()),
        }
    }

    /// One line for each thing that the manifest says without effect.
    fn warn(&self, entry: &PackageEntry, vcpu_count: u16) {
        let name = &entry.name;
        for property in &self.ignored.0 {
            log::warn!("{name}: {property}: accepted without effect, not supported yet");
        }
        if let Some(id) = self.requested_id
            && id != entry.id
        {
            log::warn!(
                "{name}: id: the partition has {} by its place in the SPMC manifest, not {id}",
                entry.id
            );
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
        if vcpu_count != entry.vcpu_count {
            log::warn!(
                "{name}: execution-ctx-count: {vcpu_count} contexts, vcpu_count of the SPMC manifest ({}) ignored",
                entry.vcpu_count
            );
        }
    }
}

/// The error for a node whose `compatible` is not what its name promises.
pub(super) fn require(
    compatible: bool,
    node: Path,
    expected: &'static str,
) -> Result<(), ManifestError> {
    if compatible {
        Ok(())
    } else {
        Err(node.error("compatible", expected, Found::text(b"another")))
    }
}

fn format(property: &Property) -> Result<Format, ManifestError> {
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

fn version(property: &Property) -> Result<Version, ManifestError> {
    let word = property.u32()?;
    Version::from_word(word)
        .filter(|version| version.is_compatible())
        .ok_or_else(|| property.error("a version from 1.0 to 1.2", Found::Number(word.into())))
}

/// The id that a partition asks for; small numbers mean 0x8000 and up, as public manifests write them.
fn requested_id(property: &Property) -> Result<PartitionId, ManifestError> {
    let word = property.u32()?;
    let id = PartitionId(word as u16 | PartitionId::SPMC.0);
    if word > 0xffff || id == PartitionId::SPMC || id == PartitionId::SPMD {
        return Err(property.error("a partition id", Found::Number(word.into())));
    }
    Ok(id)
}

fn context_count(property: &Property) -> Result<u16, ManifestError> {
    let count = property.u32()?;
    if count == 0 || count > MAX_VCPUS as u32 {
        return Err(property.error("1 to 8 execution contexts", Found::Count(count.into())));
    }
    Ok(count as u16)
}

fn exception_level(property: &Property) -> Result<ExceptionLevel, ManifestError> {
    match property.u32()? {
        1 => Ok(ExceptionLevel::SEl0),
        2 => Ok(ExceptionLevel::SEl1),
        other => Err(property.error("2 (S-EL1)", Found::Count(other.into()))),
    }
}
