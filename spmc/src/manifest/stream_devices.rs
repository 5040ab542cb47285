//! `stream-endpoints` of the SPMC manifest: independent devices (FF-A v1.0 section 3.4, tables 3.5
//! and 3.7), one child each.
//!
//! The node belongs to this project's binding: other bindings have none, and no package carries a
//! manifest for a device. A device gets memory by transactions alone, so it may have no memory
//! regions.

use alloc::vec::Vec;

use super::config::{StreamDevice, Streams};
use super::error::{Found, Parsed, go_on};
use super::property::Property;
use super::tree::Node;
use crate::id::PartitionId;

/// Says in errors which stream ids a device may have.
pub(super) const STREAM_IDS: &str = "a list of stream ids";

/// Reads the node.
#[inline(never)]
pub(super) fn parse(node: &Node, devices: &mut Vec<StreamDevice>) {
    for node in node.children() {
        if let Ok(device) = parse_device(&node) {
            devices.push(device);
        }
    }
}

/// The properties of a device, as far as they are read.
#[derive(Default)]
struct Draft {
    id: Option<u32>,
    smmu: Option<u32>,
    stream_ids: Vec<u32>,
}

fn parse_device(node: &Node) -> Parsed<StreamDevice> {
    let mut draft = Draft::default();
    for property in node.properties() {
        go_on(draft.set(&property));
    }
    draft.finish(node)
}

impl Draft {
    fn set(&mut self, property: &Property) -> Parsed<()> {
        match property.name {
            "stream-endpoint-id" => self.id = Some(property.u32_up_to(0xffff, "a 16-bit id")?),
            "smmu-id" => self.smmu = Some(property.u32()?),
            "stream-ids" => self.stream_ids = property.list(STREAM_IDS)?,
            "base-address" => {
                let expected = "none: memory comes by transactions only";
                return Err(property.error(expected, Found::Bytes(property.value.len())));
            }
            _ => {}
        }
        Ok(())
    }

    fn finish(self, node: &Node) -> Parsed<StreamDevice> {
        let id = self
            .id
            .ok_or_else(|| node.missing("stream-endpoint-id", "a 16-bit id"));
        let smmu = self
            .smmu
            .ok_or_else(|| node.missing("smmu-id", "one 32-bit cell"));
        if self.stream_ids.is_empty() {
            return Err(node.missing("stream-ids", STREAM_IDS));
        }
        Ok(StreamDevice {
            name: node.short_name(),
            id: PartitionId(id? as u16),
            streams: Streams {
                smmu: smmu?,
                ids: self.stream_ids,
            },
        })
    }
}
