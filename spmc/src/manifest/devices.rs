//! `stream-endpoints` of the SPMC manifest: independent devices (FF-A v1.0 section 3.4, tables 3.5 and 3.7), one child each.
//!
//! The node is our own: bindings of others have none, and nothing loads a manifest for a device. A device gets memory by transactions
//! only, so no memory regions may be given.

use arrayvec::ArrayVec;

use super::config::{Name, StreamDevice, Streams};
use super::dtb::{Item, Path, Reader};
use super::error::{Found, Parsed, limit_text, push_lossy};
use crate::id::PartitionId;
use crate::limits::{MAX_DEVICE_STREAMS, MAX_STREAM_ENDPOINTS};

/// What is expected of the streams of a device.
pub(super) const STREAM_IDS: &str = limit_text!("1 to ", MAX_DEVICE_STREAMS, " stream ids");

/// Reads the node to its end.
#[inline(never)]
pub(super) fn parse(
    reader: &mut Reader,
    devices: &mut ArrayVec<StreamDevice, MAX_STREAM_ENDPOINTS>,
) -> Parsed<()> {
    loop {
        match reader.next()? {
            Item::Property(_) => {}
            Item::Node(node) => {
                let device = parse_device(reader, node)?;
                devices.try_push(device).map_err(|_| {
                    let expected =
                        limit_text!("at most ", MAX_STREAM_ENDPOINTS, " stream endpoints");
                    node.error("", expected, Found::Nothing)
                })?;
            }
            Item::End => return Ok(()),
        }
    }
}

fn parse_device(reader: &mut Reader, node: Path) -> Parsed<StreamDevice> {
    let mut id = None;
    let mut smmu = None;
    let mut ids = ArrayVec::<u32, MAX_DEVICE_STREAMS>::new();
    while let Some(property) = reader.next_property()? {
        match property.name {
            "stream-endpoint-id" => id = Some(property.u32_up_to(0xffff, "a 16-bit id")?),
            "smmu-id" => smmu = Some(property.u32()?),
            "stream-ids" => ids = property.list(STREAM_IDS)?,
            "base-address" => {
                let expected = "none: memory comes by transactions only";
                return Err(property.error(expected, Found::Bytes(property.value.len())));
            }
            _ => {}
        }
    }
    let id = id.ok_or_else(|| node.missing("stream-endpoint-id", "a 16-bit id"))?;
    let smmu = smmu.ok_or_else(|| node.missing("smmu-id", "one 32-bit cell"))?;
    if ids.is_empty() {
        return Err(node.missing("stream-ids", STREAM_IDS));
    }
    let mut name = Name::new();
    push_lossy(&mut name, node.name().as_bytes());
    Ok(StreamDevice {
        name,
        id: PartitionId(id as u16),
        streams: Streams { smmu, ids },
    })
}
