//! `memory-regions` and `device-regions` of a partition's manifest (FF-A v1.0 tables 3.2 and 3.3).
//!
//! A region is checked by itself and against the rest of its manifest. [`super::validate`] decides
//! whether the partition may have the memory.

use alloc::vec::Vec;

use super::config::{
    DeviceInterrupt, DeviceRegion, MemoryRegion, PartitionConfig, Permissions, Streams,
};
use super::error::{Found, Parsed, go_on, limit_text, one_more};
use super::interrupts;
use super::property::{Ignored, Property};
use super::stream_devices::STREAM_IDS;
use super::tree::Node;
use crate::addr::{Pa, PageRange, World};
use crate::id::PartitionId;
use crate::limits::MAX_PARTITION_INTERRUPTS;

/// Bit 3 of `attributes`: the region is Non-secure.
const ATTRIBUTE_NON_SECURE: u32 = 1 << 3;

/// All bits of `attributes` that have a meaning.
const ATTRIBUTE_MASK: u32 = 0xf;

/// The phandle of each memory region of one manifest, 0 if it has none, with the index of the
/// region, or none if the region is refused.
#[derive(Default)]
pub(super) struct Phandles(Vec<(u32, Option<usize>)>);

/// The properties of one region node while they are read.
struct Draft<'n, 'a> {
    node: &'n Node<'a>,
    base: Option<u64>,
    relative_offset: Option<u64>,
    pages: Option<u32>,
    attributes: Option<u32>,
    phandle: u32,
    smmu: Option<u32>,
    stream_ids: Option<Vec<u32>>,
    stream_permissions: Option<Vec<u32>>,
    stream_endpoint: Option<u32>,
    interrupts: Vec<DeviceInterrupt>,
    interrupt_targets: Option<Property<'n, 'a>>,
    exclusive: bool,
}

impl Phandles {
    /// Returns the index of the memory region that `property` of `node` points to, or none if that
    /// region is refused.
    pub fn find(&self, node: &Node, property: &str, phandle: u32) -> Parsed<Option<usize>> {
        self.0
            .iter()
            .find(|(known, _)| *known == phandle && phandle != 0)
            .map(|(_, index)| *index)
            .ok_or_else(|| {
                let expected = "a phandle of a memory region";
                node.error(property, expected, Found::Number(phandle.into()))
            })
    }
}

/// Reads `memory-regions`.
pub(super) fn parse_memory(
    node: &Node,
    config: &mut PartitionConfig,
    phandles: &mut Phandles,
    ignored: &mut Ignored,
) {
    parse_children(node, &mut |draft| {
        let region = draft.memory(config.memory, ignored);
        let index = region.is_ok().then_some(config.memory_regions.len());
        phandles.0.push((draft.phandle, index));
        config.memory_regions.push(region?);
        Ok(())
    });
    go_on(node.require("\"arm,ffa-manifest-memory-regions\""));
}

/// Reads `device-regions`.
pub(super) fn parse_devices(node: &Node, config: &mut PartitionConfig, ignored: &mut Ignored) {
    parse_children(node, &mut |draft| {
        let region = draft.device(ignored)?;
        let devices = config.device_regions.iter();
        let others = devices.flat_map(|device| &device.interrupts);
        for interrupt in &region.interrupts {
            if others.clone().any(|other| other.id == interrupt.id) {
                let found = Found::Number(interrupt.id.into());
                return Err(draft.node.error("interrupts", "each interrupt once", found));
            }
        }
        if others.count().saturating_add(region.interrupts.len()) > MAX_PARTITION_INTERRUPTS {
            let expected = limit_text!("at most ", MAX_PARTITION_INTERRUPTS, " in all regions");
            let found = one_more(MAX_PARTITION_INTERRUPTS);
            return Err(draft.node.error("interrupts", expected, found));
        }
        config.device_regions.push(region);
        Ok(())
    });
    go_on(node.require("\"arm,ffa-manifest-device-regions\""));
}

/// Reads a node that holds one child per region.
fn parse_children(node: &Node, add: &mut dyn FnMut(&Draft) -> Parsed<()>) {
    for node in node.children() {
        let mut draft = Draft::new(&node);
        for property in node.properties() {
            go_on(draft.set(property));
        }
        go_on(add(&draft));
    }
}

impl<'n, 'a> Draft<'n, 'a> {
    fn new(node: &'n Node<'a>) -> Self {
        Self {
            node,
            base: None,
            relative_offset: None,
            pages: None,
            attributes: None,
            phandle: 0,
            smmu: None,
            stream_ids: None,
            stream_permissions: None,
            stream_endpoint: None,
            interrupts: Vec::new(),
            interrupt_targets: None,
            exclusive: false,
        }
    }

    fn set(&mut self, property: Property<'n, 'a>) -> Parsed<()> {
        match property.name {
            "description" => {
                property.str()?;
            }
            "base-address" => self.base = Some(property.u64()?),
            "load-address-relative-offset" => self.relative_offset = Some(property.u64()?),
            "pages-count" => self.pages = Some(property.u32()?),
            "attributes" => self.attributes = Some(property.u32()?),
            "phandle" => self.phandle = property.u32()?,
            "smmu-id" => self.smmu = Some(property.u32()?),
            "stream-ids" => self.stream_ids = Some(property.list(STREAM_IDS)?),
            "stream-ids-access-permissions" => {
                self.stream_permissions = Some(property.list("one value for each stream id")?);
            }
            "stream-endpoint-id" => {
                self.stream_endpoint = Some(property.u32_up_to(0xffff, "a 16-bit id")?);
            }
            "interrupts" => self.interrupts = interrupts::parse(&property)?,
            "interrupts-target" => self.interrupt_targets = Some(property),
            "exclusive-access" => self.exclusive = property.flag()?,
            _ => {}
        }
        Ok(())
    }

    fn memory(&self, package: PageRange<Pa>, ignored: &mut Ignored) -> Parsed<MemoryRegion> {
        let range = self.range(self.memory_base(package));
        let allowed = [
            Permissions::READ,
            Permissions::READ.union(Permissions::WRITE),
            Permissions::READ.union(Permissions::EXECUTE),
            Permissions::all(),
        ];
        let expected = "read, optionally write and execute";
        let attributes = self.attributes(&allowed, expected, ignored);
        let streams = self.streams();
        let range = range?;
        let (permissions, world) = attributes?;
        Ok(MemoryRegion {
            range,
            world,
            permissions,
            relative: self.relative_offset.is_some(),
            in_package: package.contains(&range),
            streams: streams?,
            name: self.node.short_name(),
        })
    }

    /// Returns the base of a memory region, and the property that says it.
    fn memory_base(&self, package: PageRange<Pa>) -> Parsed<(&'static str, u64)> {
        let relative = "load-address-relative-offset";
        match (self.base, self.relative_offset) {
            (Some(base), None) => Ok(("base-address", base)),
            // An address beyond the address space is beyond the package, too, and saturation keeps
            // it there.
            (None, Some(offset)) => Ok((relative, package.base().raw().saturating_add(offset))),
            (Some(_), Some(offset)) => {
                let expected = "no base-address together with it";
                Err(self.node.error(relative, expected, Found::Number(offset)))
            }
            (None, None) => {
                let expected = "an address or load-address-relative-offset";
                Err(self.node.missing("base-address", expected))
            }
        }
    }

    fn device(&self, ignored: &mut Ignored) -> Parsed<DeviceRegion> {
        let base = self
            .base
            .ok_or_else(|| self.node.missing("base-address", "an address"));
        let range = self.range(base.map(|base| ("base-address", base)));
        let allowed = [
            Permissions::READ,
            Permissions::READ.union(Permissions::WRITE),
        ];
        let expected = "read or read-write, never execute";
        let attributes = self.attributes(&allowed, expected, ignored);
        let interrupts = interrupts::targeted(self.interrupts.clone(), self.interrupt_targets);
        let streams = self.streams();
        let stream_endpoint = self.stream_endpoint();
        let (permissions, world) = attributes?;
        Ok(DeviceRegion {
            range: range?,
            world,
            permissions,
            exclusive: self.exclusive,
            interrupts: interrupts?,
            streams: streams?,
            stream_endpoint: stream_endpoint?,
            name: self.node.short_name(),
        })
    }

    /// Returns the pages from a base on, which comes with the property that says it.
    fn range(&self, base: Parsed<(&'static str, u64)>) -> Parsed<PageRange<Pa>> {
        let base = base.and_then(|(property, base)| {
            if Pa::new(base).is_page_aligned() {
                return Ok(Pa::new(base));
            }
            let expected = "a 4 KiB aligned address";
            Err(self.node.error(property, expected, Found::Number(base)))
        });
        let pages = self
            .pages
            .ok_or_else(|| self.node.missing("pages-count", "a count of 4 KiB pages"))?;
        if pages == 0 {
            return Err(self
                .node
                .error("pages-count", "at least 1", Found::Count(0)));
        }
        PageRange::new(base?, pages.into()).ok_or_else(|| {
            self.node.error(
                "pages-count",
                "an end within the 48-bit address space",
                Found::Count(pages.into()),
            )
        })
    }

    /// Returns the permissions, which are among those `allowed`, and the security state.
    fn attributes(
        &self,
        allowed: &[Permissions],
        expected: &'static str,
        ignored: &mut Ignored,
    ) -> Parsed<(Permissions, World)> {
        let bits = self
            .attributes
            .ok_or_else(|| self.node.missing("attributes", "one 32-bit cell"))?;
        if bits & !ATTRIBUTE_MASK != 0 {
            ignored.note("attributes above bit 3");
        }
        let world = if bits & ATTRIBUTE_NON_SECURE == 0 {
            World::Secure
        } else {
            World::NonSecure
        };
        let permissions = Permissions::from_bits_truncate(bits);
        if !allowed.contains(&permissions) {
            let found = Found::Number(bits.into());
            return Err(self.node.error("attributes", expected, found));
        }
        Ok((permissions, world))
    }

    fn streams(&self) -> Parsed<Option<Streams>> {
        let node = self.node;
        let Some(ids) = &self.stream_ids else {
            return match self.stream_permissions {
                Some(_) => Err(node.missing(
                    "stream-ids",
                    "them together with stream-ids-access-permissions",
                )),
                None => Ok(None),
            };
        };
        let smmu = self
            .smmu
            .ok_or_else(|| node.missing("smmu-id", "it together with stream-ids"))?;
        if let Some(permissions) = &self.stream_permissions {
            let refuse =
                |expected, found| Err(node.error("stream-ids-access-permissions", expected, found));
            if permissions.len() != ids.len() {
                let count = permissions.len() as u64;
                return refuse("one value for each stream id", Found::Count(count));
            }
            let first = permissions.first();
            if let Some(other) = permissions.iter().find(|other| Some(*other) != first) {
                return refuse("the same value for all", Found::Number((*other).into()));
            }
        }
        Ok(Some(Streams {
            smmu,
            ids: ids.clone(),
        }))
    }

    fn stream_endpoint(&self) -> Parsed<Option<PartitionId>> {
        if self.stream_endpoint.is_some() && self.stream_ids.is_none() {
            let expected = "them together with stream-endpoint-id";
            return Err(self.node.missing("stream-ids", expected));
        }
        Ok(self.stream_endpoint.map(|id| PartitionId(id as u16)))
    }
}
