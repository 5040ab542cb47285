//! The services of a partition: their UUIDs and messaging methods.
//!
//! `arm,ffa-manifest-1.0` has them in the root's `uuid` and `messaging-method`, `-1.1` in a
//! `services` node. Both become the same list.

use alloc::vec::Vec;

use super::config::{Messaging, Service};
use super::error::{Found, Parsed, go_on};
use super::property::Property;
use super::tree::Node;
use crate::ffa::Version;
use crate::id::Uuid;

/// Offsets of the dashes in the text form of a UUID.
const DASHES: [usize; 4] = [8, 13, 18, 23];

/// The place in a manifest that describes the services.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// In `uuid` and `messaging-method`.
    V1_0,
    /// In the `services` node.
    V1_1,
}

/// The parts of a manifest that are about services, while they are read.
#[derive(Default)]
pub(super) struct Services {
    /// The UUIDs of the root.
    uuids: Vec<Uuid>,
    /// `messaging-method` of the root: one for all UUIDs, or one for each.
    methods: Vec<Messaging>,
    /// The UUIDs of children of the `services` node.
    listed: Vec<Uuid>,
    /// Children of the `services` node.
    nodes: Vec<Service>,
}

impl Services {
    /// Reads `uuid` of the root.
    pub fn set_uuids(&mut self, property: &Property) -> Parsed<()> {
        for words in property.cells("UUIDs of four cells each")? {
            let uuid = Uuid::from_words(words);
            new_uuid(uuid, &self.uuids, property)?;
            self.uuids.push(uuid);
        }
        Ok(())
    }

    /// Reads `messaging-method` of the root.
    pub fn set_methods(&mut self, property: &Property) -> Parsed<()> {
        let methods = property.cells("one value, or one for each UUID")?;
        self.methods = methods
            .map(|[bits]| messaging(property, bits))
            .collect::<Result<_, _>>()?;
        Ok(())
    }

    /// Reads the `services` node.
    pub fn parse(&mut self, node: &Node) {
        for child in node.children() {
            if let Ok(service) = self.parse_service(&child) {
                self.nodes.push(service);
            }
        }
        go_on(node.require("\"arm,ffa-manifest-services\""));
    }

    fn parse_service(&mut self, node: &Node) -> Parsed<Service> {
        let mut uuid = None;
        let mut method = None;
        for property in node.properties() {
            match property.name {
                "uuid" => uuid = self.service_uuid(&property).ok(),
                "messaging-method" => {
                    let bits = property.u32();
                    method = bits.and_then(|bits| messaging(&property, bits)).ok();
                }
                _ => {}
            }
        }
        let uuid = uuid.ok_or_else(|| node.missing("uuid", "a UUID"));
        let method = method.ok_or_else(|| node.missing("messaging-method", "one 32-bit cell"));
        Ok(Service {
            uuid: uuid?,
            messaging: method?,
        })
    }

    fn service_uuid(&mut self, property: &Property) -> Parsed<Uuid> {
        let uuid = uuid(property)?;
        new_uuid(uuid, &self.listed, property)?;
        self.listed.push(uuid);
        Ok(uuid)
    }

    /// Returns the services of a manifest of that format.
    pub fn finish(
        &self,
        root: &Node,
        format: Format,
        ffa_version: Version,
    ) -> Parsed<Vec<Service>> {
        let services = match format {
            Format::V1_0 => self.pair(root)?,
            Format::V1_1 if self.nodes.is_empty() => {
                return Err(root.missing("services", "a node with at least one service"));
            }
            Format::V1_1 => self.nodes.clone(),
        };
        self.check_other_form(root, format, &services)?;
        let used = services
            .iter()
            .fold(Messaging::empty(), |used, service| used | service.messaging);
        let direct2 = Messaging::RECEIVE_DIRECT2 | Messaging::SEND_DIRECT2;
        if used.intersects(direct2) && ffa_version < Version::V1_2 {
            return Err(root.error(
                "messaging-method",
                "bits 9 and 10 only with ffa-version 1.2",
                Found::Number(used.bits().into()),
            ));
        }
        Ok(services)
    }

    /// Checks that the form that does not count has no service of its own, which nobody would find.
    fn check_other_form(&self, root: &Node, format: Format, services: &[Service]) -> Parsed<()> {
        let (others, property, expected) = match format {
            Format::V1_0 => (&self.listed, "services", "no others than uuid has"),
            Format::V1_1 => (&self.uuids, "uuid", "no others than services have"),
        };
        let counts = |uuid: &Uuid| services.iter().any(|service| service.uuid == *uuid);
        if others.iter().all(counts) {
            return Ok(());
        }
        Err(root.error(property, expected, Found::text(b"another")))
    }

    /// Returns the UUIDs of the root with their messaging methods.
    fn pair(&self, root: &Node) -> Parsed<Vec<Service>> {
        if self.uuids.is_empty() {
            return Err(root.missing("uuid", "four cells"));
        }
        let expected = "one value, or one for each UUID";
        let count = self.methods.len();
        let Some(first) = self.methods.first() else {
            return Err(root.missing("messaging-method", expected));
        };
        if count != 1 && count != self.uuids.len() {
            return Err(root.error("messaging-method", expected, Found::Count(count as u64)));
        }
        let methods = self.methods.iter().chain(core::iter::repeat(first));
        Ok(self
            .uuids
            .iter()
            .zip(methods)
            .map(|(uuid, messaging)| Service {
                uuid: *uuid,
                messaging: *messaging,
            })
            .collect())
    }
}

/// Reads one UUID: text, or four cells. Text never has 16 bytes.
pub(super) fn uuid(property: &Property) -> Parsed<Uuid> {
    let expected = "a UUID like 01234567-89ab-cdef-0123-456789abcdef";
    let uuid = if property.value.len() == 16 {
        property.cells(expected)?.next().map(Uuid::from_words)
    } else {
        parse_uuid(property.str()?.as_bytes())
    };
    let uuid = uuid.ok_or_else(|| property.error(expected, Found::text(property.value)))?;
    not_nil(uuid, property)?;
    Ok(uuid)
}

/// Checks a UUID against those that were read before.
fn new_uuid(uuid: Uuid, earlier: &[Uuid], property: &Property) -> Parsed<()> {
    not_nil(uuid, property)?;
    if earlier.contains(&uuid) {
        return Err(property.error("each UUID once", Found::text(b"one twice")));
    }
    Ok(())
}

fn not_nil(uuid: Uuid, property: &Property) -> Parsed<()> {
    if uuid.is_nil() {
        return Err(property.error("a UUID other than nil", Found::text(b"nil")));
    }
    Ok(())
}

fn messaging(property: &Property, bits: u32) -> Parsed<Messaging> {
    Messaging::from_bits(bits)
        .ok_or_else(|| property.error("bits 0, 1, 2, 9 and 10 only", Found::Number(bits.into())))
}

/// Parses the text form of a UUID: hexadecimal digits in groups of 8, 4, 4, 4 and 12.
fn parse_uuid(text: &[u8]) -> Option<Uuid> {
    let dashed = DASHES.iter().all(|at| text.get(*at) == Some(&b'-'));
    if text.len() != 36 || !dashed {
        return None;
    }
    let mut uuid = Uuid::NIL;
    let mut digits = text
        .iter()
        .enumerate()
        .filter(|(at, _)| !DASHES.contains(at));
    for byte in &mut uuid.0 {
        let mut digit = || char::from(*digits.next()?.1).to_digit(16);
        *byte = (digit()? << 4 | digit()?) as u8;
    }
    Some(uuid)
}
