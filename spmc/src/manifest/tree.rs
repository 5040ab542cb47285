//! Nodes and properties of a device tree, with the places that messages name.
//!
//! The `fdt` crate reads them, behind the check of [`super::structure`]. An error of the crate
//! refuses the whole tree, so that nothing unreadable is taken for absent.

#[cfg(test)]
mod damage;

use arrayvec::ArrayString;
use fdt::helpers::UnalignedFallibleNode;
use fdt::nodes::{NodeChildrenIter, NodeName, NodePropertiesIter};
use fdt::parsing::NoPanic;
use fdt::parsing::unaligned::UnalignedParser;

use super::error::{Found, Parsed, Refused, Report, push_lossy};
use super::property::Property;
use super::structure::{CheckedTree, unread};

/// A name for the log.
pub type Name = ArrayString<32>;

/// The name that the crate gives to the root.
const ROOT: &str = "/";

/// The path of a node.
type Path = ArrayString<96>;

type Parser<'a> = (UnalignedParser<'a>, NoPanic);

/// A node whose errors go to a report.
#[derive(Clone, Copy)]
pub struct Node<'a> {
    node: UnalignedFallibleNode<'a>,
    report: &'a Report<'a>,
}

impl<'a> Node<'a> {
    /// Checks a tree and returns its root.
    pub fn root(dtb: &'a [u8], report: &'a Report<'a>) -> Parsed<Self> {
        let node = CheckedTree::check(dtb, report)?.root();
        Ok(Self { node, report })
    }

    /// Returns the name of a node without unit address, and an empty name for others: no node that
    /// is looked up by name has a unit address.
    #[inline(never)]
    pub fn name(&self) -> &'a str {
        match self.node.name() {
            Ok(NodeName {
                name,
                unit_address: None,
            }) => name,
            Ok(_) => "",
            Err(_) => {
                unread(self.report);
                ""
            }
        }
    }

    /// Returns the beginning of the name, for messages.
    #[inline(never)]
    pub fn short_name(&self) -> Name {
        let mut path = Path::new();
        if push_name(&mut path, &self.node).is_none() {
            unread(self.report);
        }
        let mut name = Name::new();
        push_lossy(&mut name, path.as_bytes().get(1..).unwrap_or_default());
        name
    }

    /// Returns the properties in their order.
    #[inline(never)]
    pub fn properties(&self) -> Properties<'_, 'a> {
        let properties = self.node.properties().map(|list| list.iter());
        Properties {
            node: self,
            rest: properties.map_err(|_| unread(self.report)).ok(),
        }
    }

    /// Returns the children in their order.
    #[inline(never)]
    pub fn children(&self) -> Children<'a> {
        let children = self.node.children().map(|list| list.iter());
        Children {
            report: self.report,
            rest: children.map_err(|_| unread(self.report)).ok(),
        }
    }

    /// Notes an error at `property` of the node, or at the node itself if `property` is empty.
    #[cold]
    #[inline(never)]
    pub fn error(&self, property: &str, expected: &'static str, found: Found) -> Refused {
        let mut path = Path::new();
        // Only the root, its children, and their children are read.
        if let Some(parent) = self.node.parent() {
            push_name(&mut path, &parent);
        }
        push_name(&mut path, &self.node);
        let path = if path.is_empty() { "/" } else { &path };
        self.report.refuse(path, property, expected, found)
    }

    /// Notes the error for a mandatory property (or child) that is not there.
    #[cold]
    #[inline(never)]
    pub fn missing(&self, property: &str, expected: &'static str) -> Refused {
        self.error(property, expected, Found::Nothing)
    }

    /// Checks that the node has the `compatible` that goes with its name, given in quotation marks
    /// as messages have it.
    ///
    /// Errors: the node has another `compatible`, or none.
    pub fn require(&self, compatible: &'static str) -> Parsed<()> {
        let is_compatible = |property: Property| {
            property.name == "compatible"
                && matches!(compatible.as_bytes(), [_, text @ .., _] if property.has_string(text))
        };
        if self.properties().any(is_compatible) {
            return Ok(());
        }
        Err(self.error("compatible", compatible, Found::text(b"another")))
    }
}

/// Appends a slash and the name of a node, or nothing for the root. Returns `None` if the name is
/// not text.
#[inline(never)]
fn push_name(to: &mut Path, node: &UnalignedFallibleNode) -> Option<()> {
    let name = node.name().ok()?;
    if name.name != ROOT {
        push_lossy(to, b"/");
        push_lossy(to, name.name.as_bytes());
        if let Some(unit_address) = name.unit_address {
            push_lossy(to, b"@");
            push_lossy(to, unit_address.as_bytes());
        }
    }
    Some(())
}

/// The properties of a node.
pub struct Properties<'n, 'a> {
    node: &'n Node<'a>,
    rest: Option<NodePropertiesIter<'a, Parser<'a>>>,
}

impl<'n, 'a> Iterator for Properties<'n, 'a> {
    type Item = Property<'n, 'a>;

    #[inline(never)]
    fn next(&mut self) -> Option<Property<'n, 'a>> {
        match self.rest.as_mut()?.next()? {
            Ok(property) => Some(Property {
                name: property.name,
                value: property.value,
                node: self.node,
            }),
            Err(_) => {
                self.rest = None;
                unread(self.node.report);
                None
            }
        }
    }
}

/// The children of a node.
pub struct Children<'a> {
    report: &'a Report<'a>,
    rest: Option<NodeChildrenIter<'a, Parser<'a>>>,
}

impl<'a> Iterator for Children<'a> {
    type Item = Node<'a>;

    #[inline(never)]
    fn next(&mut self) -> Option<Node<'a>> {
        let report = self.report;
        match self.rest.as_mut()?.next()? {
            Ok(node) => Some(Node { node, report }),
            Err(_) => {
                self.rest = None;
                unread(report);
                None
            }
        }
    }
}
