//! Device trees that tests build, change and compile, and the manifests that most tests start from.

use spmc::addr::{Pa, PageRange};

use spmc::manifest::config::{PackageEntry, PartitionConfig};
use spmc::manifest::{ManifestError, Name, Report, partition_manifest};
use vm_fdt::FdtWriter;

/// A node with its properties and children.
#[derive(Clone, Default)]
pub struct Node {
    name: String,
    properties: Vec<(String, Vec<u8>)>,
    children: Vec<Node>,
}

impl Node {
    /// Creates a node without properties. The root has an empty name.
    pub fn new(name: &str) -> Self {
        Self {
            name: name.into(),
            ..Self::default()
        }
    }

    /// Adds a property of cells.
    pub fn cells(mut self, name: &str, cells: &[u32]) -> Self {
        self.put("", name, cells);
        self
    }

    /// Adds a string property.
    pub fn string(mut self, name: &str, value: &str) -> Self {
        self.put_string("", name, value);
        self
    }

    /// Adds an empty property.
    pub fn flag(self, name: &str) -> Self {
        self.cells(name, &[])
    }

    /// Adds a child.
    pub fn child(mut self, child: Node) -> Self {
        self.children.push(child);
        self
    }

    /// Sets a property of the node at `path`, where "" is this node. Nodes are created as needed.
    pub fn put(&mut self, path: &str, name: &str, cells: &[u32]) {
        self.put_bytes(
            path,
            name,
            cells.iter().flat_map(|cell| cell.to_be_bytes()).collect(),
        );
    }

    /// Sets a string property.
    pub fn put_string(&mut self, path: &str, name: &str, value: &str) {
        self.put_bytes(path, name, [value.as_bytes(), b"\0"].concat());
    }

    /// Sets a property to raw bytes.
    pub fn put_bytes(&mut self, path: &str, name: &str, value: Vec<u8>) {
        let node = self.at(path);
        node.properties.retain(|(other, _)| other != name);
        node.properties.push((name.into(), value));
    }

    /// Removes a property, which must exist.
    pub fn remove(&mut self, path: &str, name: &str) {
        let node = self.at(path);
        let before = node.properties.len();
        node.properties.retain(|(other, _)| other != name);
        assert_ne!(node.properties.len(), before, "{path} has no {name}");
    }

    /// Removes a child, which must exist.
    pub fn remove_node(&mut self, name: &str) {
        let before = self.children.len();
        self.children.retain(|child| child.name != name);
        assert_ne!(self.children.len(), before, "no node {name}");
    }

    fn at(&mut self, path: &str) -> &mut Node {
        let mut node = self;
        for name in path.split('/').filter(|name| !name.is_empty()) {
            let found = node.children.iter().position(|child| child.name == name);
            let index = found.unwrap_or_else(|| {
                node.children.push(Node::new(name));
                node.children.len() - 1
            });
            node = &mut node.children[index];
        }
        node
    }

    /// Returns the flattened tree.
    pub fn to_dtb(&self) -> Vec<u8> {
        let mut writer = FdtWriter::new().unwrap();
        self.write(&mut writer);
        writer.finish().unwrap()
    }

    fn write(&self, writer: &mut FdtWriter) {
        let node = writer.begin_node(&self.name).unwrap();
        for (name, value) in &self.properties {
            writer.property(name, value).unwrap();
        }
        for child in &self.children {
            child.write(writer);
        }
        writer.end_node(node).unwrap();
    }
}

/// Returns what the SPMC manifest says about the package of [`manifest`].
pub fn entry() -> PackageEntry {
    PackageEntry {
        index: 0,
        name: Name::from("sp1").unwrap(),
        memory: range(0x0630_0000, 0x100),
        vcpu_count: 1,
        smc_whitelist: vec![0xc200_0001],
        smc_whitelist_permissive: false,
    }
}

/// Reads the manifest of a partition as boot does.
pub fn parse_partition(dtb: &[u8], entry: &PackageEntry) -> Result<PartitionConfig, ManifestError> {
    let report = Report::new();
    let config = partition_manifest::read(dtb, entry, &report);
    report.verdict().map(|()| config)
}

/// Returns a range of pages.
pub fn range(base: u64, pages: u64) -> PageRange<Pa> {
    PageRange::new(Pa::new(base), pages).unwrap()
}

/// Returns the node of a memory or device region.
pub fn region(name: &str, base: u32, pages: u32, attributes: u32) -> Node {
    Node::new(name)
        .cells("base-address", &[0, base])
        .cells("pages-count", &[pages])
        .cells("attributes", &[attributes])
}

/// Returns a manifest that has everything except what causes a warning.
pub fn manifest() -> Node {
    Node::new("")
        .string("compatible", "arm,ffa-manifest-1.0")
        .string("description", "a partition")
        .cells("ffa-version", &[0x1_0001])
        .cells(
            "uuid",
            &[0xb491_4f7c, 0x4d69_7ff8, 0x0f0b_1a38, 0x45b6_f7c4],
        )
        .cells("id", &[1])
        .cells("execution-ctx-count", &[1])
        .cells("exception-level", &[2])
        .cells("execution-state", &[0])
        .cells("load-address", &[0, 0x0630_0000])
        .cells("entrypoint-offset", &[0x4000])
        .cells("xlat-granule", &[0])
        .cells("boot-order", &[3])
        .cells("messaging-method", &[3])
        .cells("ns-interrupts-action", &[0])
        .cells("gp-register-num", &[2])
        .child(
            Node::new("boot-info")
                .string("compatible", "arm,ffa-manifest-boot-info")
                .flag("ffa_manifest"),
        )
        .child(
            Node::new("rx_tx-info")
                .string("compatible", "arm,ffa-manifest-rx_tx-buffer")
                .cells("rx-buffer", &[11])
                .cells("tx-buffer", &[12]),
        )
        .child(
            Node::new("memory-regions")
                .string("compatible", "arm,ffa-manifest-memory-regions")
                .child(region("rx", 0x0640_0000, 1, 1).cells("phandle", &[11]))
                .child(region("tx", 0x0640_1000, 1, 3).cells("phandle", &[12]))
                .child(
                    Node::new("heap")
                        .string("description", "inside the package")
                        .cells("load-address-relative-offset", &[0, 0x8_0000])
                        .cells("pages-count", &[4])
                        .cells("attributes", &[3]),
                )
                .child(region("shared", 0x4000_0000, 16, 0xb)),
        )
        .child(
            Node::new("device-regions")
                .string("compatible", "arm,ffa-manifest-device-regions")
                .child(region("uart", 0x0904_0000, 1, 3).flag("exclusive-access"))
                .child(region("rtc", 0x0901_0000, 1, 9)),
        )
}

/// Makes the usual partition one that can be replaced while the system runs.
pub fn with_live_activation(tree: &mut Node) {
    tree.put("", "lifecycle-support", &[]);
    tree.put("", "live-activation-support", &[]);
    tree.put("", "live-activation-register", &[1]);
    tree.put("", "image-uuid", &[1, 2, 3, 4]);
    let compatible = "arm,ffa-manifest,live-state-buffer";
    tree.put_string("live-state-buffer-info", "compatible", compatible);
    tree.put("live-state-buffer-info", "live-state-buffer", &[21]);
    let buffer = [
        ("base-address", &[0, 0x0641_0000][..]),
        ("pages-count", &[2]),
        ("attributes", &[3]),
        ("phandle", &[21]),
    ];
    for (name, cells) in buffer {
        tree.put("memory-regions/state", name, cells);
    }
}

/// Returns an SPMC manifest that fits [`manifest`].
pub fn spmc_manifest() -> Node {
    let vm = |name: &str, base: u32| {
        Node::new(name)
            .flag("is_ffa_partition")
            .string("debug_name", name)
            .cells("load_address", &[0, base])
            .cells("mem_size", &[0x10_0000])
            .cells("vcpu_count", &[1])
    };
    let memory = |name: &str, kind: &str, reg: &[u32]| {
        Node::new(name)
            .string("device_type", kind)
            .cells("reg", reg)
    };
    let cpu = |name: &str, affinity: u32| {
        Node::new(name)
            .string("device_type", "cpu")
            .cells("reg", &[0, affinity])
    };
    Node::new("")
        .string("compatible", "arm,ffa-core-manifest-1.0")
        .cells("#address-cells", &[2])
        .cells("#size-cells", &[2])
        .child(
            Node::new("attribute")
                .cells("spmc_id", &[0x8000])
                .cells("maj_ver", &[1])
                .cells("min_ver", &[1])
                .cells("exec_state", &[0])
                .cells("load_address", &[0, 0x0610_0000])
                .cells("entrypoint", &[0, 0x0610_0000])
                .cells("binary_size", &[0x8_0000]),
        )
        .child(
            Node::new("hypervisor")
                .string("compatible", "hafnium,hafnium")
                .child(vm("vm1", 0x0630_0000))
                .child(vm("vm2", 0x0650_0000)),
        )
        .child(
            Node::new("cpus")
                .cells("#address-cells", &[2])
                .cells("#size-cells", &[0])
                .child(cpu("cpu@0", 0))
                .child(cpu("cpu@100", 0x100)),
        )
        .child(memory(
            "memory@6000000",
            "memory",
            &[0, 0x0600_0000, 0, 0x0200_0000],
        ))
        .child(memory(
            "memory@40000000",
            "ns-memory",
            &[0, 0x4000_0000, 0, 0x1000_0000],
        ))
        .child(memory(
            "memory@9040000",
            "device-memory",
            &[0, 0x0904_0000, 0, 0x1000],
        ))
        .child(memory(
            "memory@9000000",
            "ns-device-memory",
            &[0, 0x0900_0000, 0, 0x2_0000],
        ))
}
