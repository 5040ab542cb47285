//! The words of the bindings, by which misspelt words are found. The boot ignores words that it
//! does not know, since other readers may know them.

use sp_layout::nearest;

use crate::diagnostic::{By, Diagnostic, Place};
use crate::source::Source;
use crate::tree::{Node, Tree};

/// The words that may stand in a node.
struct Words {
    properties: &'static [&'static str],
    nodes: &'static [&'static str],
}

const PARTITION: Words = Words {
    properties: &[
        "compatible",
        "description",
        "ffa-version",
        "uuid",
        "id",
        "auxiliary-id",
        "execution-ctx-count",
        "exception-level",
        "execution-state",
        "load-address",
        "mem-size",
        "entrypoint-offset",
        "xlat-granule",
        "boot-order",
        "gp-register-num",
        "messaging-method",
        "managed-exit",
        "managed-exit-virq",
        "ns-interrupts-action",
        "other-s-interrupts-action",
        "notification-support",
        "power-management-messages",
        "vm-availability-messages",
        "has-primary-scheduler",
        "sri-interrupts-policy",
        "time-slice-mem",
        "run-time-model",
        "stream-endpoint-ids",
        "lifecycle-support",
        "abort-action",
        "live-activation-support",
        "live-activation-register",
        "image-uuid",
        "branch-target-identification",
        "sve-vector-length",
        "sme-vector-length",
        "phandle",
    ],
    nodes: &[
        "services",
        "boot-info",
        "rx_tx-info",
        "memory-regions",
        "device-regions",
        "live-state-buffer-info",
    ],
};

const BOOT_INFO: Words = leaf(&["compatible", "ffa_manifest", "hob_list"]);
const RX_TX: Words = leaf(&["compatible", "rx-buffer", "tx-buffer"]);
const LIVE_STATE: Words = leaf(&["compatible", "live-state-buffer"]);
const LIST: Words = leaf(&["compatible", "description"]);

const MEMORY_REGION: Words = leaf(&[
    "description",
    "base-address",
    "load-address-relative-offset",
    "pages-count",
    "attributes",
    "phandle",
    "smmu-id",
    "stream-ids",
    "stream-ids-access-permissions",
    "stream-endpoint-id",
]);

const DEVICE_REGION: Words = leaf(&[
    "description",
    "base-address",
    "pages-count",
    "attributes",
    "interrupts",
    "interrupts-target",
    "exclusive-access",
    "smmu-id",
    "stream-ids",
    "stream-ids-access-permissions",
    "stream-endpoint-id",
    "phandle",
]);

const SERVICE: Words = leaf(&["uuid", "messaging-method", "description"]);

const SPMC: Words = Words {
    properties: &["compatible", "#address-cells", "#size-cells"],
    nodes: &["attribute", "hypervisor", "cpus", "stream-endpoints"],
};

const ATTRIBUTE: Words = leaf(&[
    "spmc_id",
    "maj_ver",
    "min_ver",
    "exec_state",
    "load_address",
    "entrypoint",
    "binary_size",
]);

const HYPERVISOR: Words = leaf(&[
    "compatible",
    "log-level",
    "init-timeout-ms",
    "live-activation-from-nwd",
    "memory-transactions",
    "rxtx-pages",
    "vms",
    "table-memory",
    "lends-cpu-interface",
]);

const UART: Words = leaf(&[
    "compatible",
    "reg",
    "status",
    "secure-status",
    "clock-frequency",
    "current-speed",
    "reg-shift",
    "reg-io-width",
    "reg-offset",
]);

const GIC: Words = leaf(&[
    "compatible",
    "reg",
    "#redistributor-regions",
    "redistributor-stride",
]);

const VM: Words = leaf(&[
    "is_ffa_partition",
    "debug_name",
    "load_address",
    "mem_size",
    "vcpu_count",
    "smc_whitelist",
    "smc_whitelist_permissive",
    "hyp_loaded",
    "fdt_filename",
    "kernel_filename",
    "ramdisk_filename",
]);

const CPUS: Words = leaf(&["#address-cells", "#size-cells"]);
const CPU: Words = leaf(&["device_type", "reg", "compatible", "phandle"]);
const MEMORY: Words = leaf(&["device_type", "reg"]);
const STREAM_ENDPOINT: Words = leaf(&["stream-endpoint-id", "smmu-id", "stream-ids"]);

/// The kinds of memory in the SPMC manifest.
const DEVICE_TYPES: [&str; 4] = ["memory", "ns-memory", "device-memory", "ns-device-memory"];

const fn leaf(properties: &'static [&'static str]) -> Words {
    Words {
        properties,
        nodes: &[],
    }
}

/// Returns the words of a node, if the boot reads that node.
fn words(is_spmc: bool, node: &Node) -> Option<&'static Words> {
    Some(match (is_spmc, node.parent(), node.path.as_str()) {
        (false, _, "/") => &PARTITION,
        (false, _, "/boot-info") => &BOOT_INFO,
        (false, _, "/rx_tx-info") => &RX_TX,
        (false, _, "/live-state-buffer-info") => &LIVE_STATE,
        (false, _, "/memory-regions" | "/device-regions" | "/services") => &LIST,
        (false, "/memory-regions", _) => &MEMORY_REGION,
        (false, "/device-regions", _) => &DEVICE_REGION,
        (false, "/services", _) => &SERVICE,
        (true, _, "/") => &SPMC,
        (true, _, "/attribute") => &ATTRIBUTE,
        (true, _, "/hypervisor") => &HYPERVISOR,
        (true, _, "/cpus") => &CPUS,
        (true, "/hypervisor", path) if path.starts_with("/hypervisor/vm") => &VM,
        (true, "/cpus", _) => &CPU,
        (true, "/stream-endpoints", _) => &STREAM_ENDPOINT,
        (true, "/", path) if path.starts_with("/memory@") => &MEMORY,
        (true, "/", path) if path.starts_with("/serial@") => &UART,
        (true, "/", path) if path.starts_with("/interrupt-controller@") => &GIC,
        _ => return None,
    })
}

/// A word that no reader knows, and that was probably meant to be another one.
pub struct Misspelt {
    /// Path of the node in which the right word is missing.
    node: String,
    /// The right word.
    meant: Option<&'static str>,
    /// The fault, in words.
    message: String,
    place: Place,
}

impl Misspelt {
    /// Returns whether `word` is missing in `node` because it is misspelt.
    pub fn explains(&self, node: &str, word: &str) -> bool {
        self.node == node && self.meant == Some(word)
    }

    /// Returns the fault as a diagnostic.
    pub fn diagnostic(&self) -> Diagnostic {
        Diagnostic {
            help: self.meant.map(|meant| format!("did you mean `{meant}`?")),
            ..Diagnostic::error(By::Spelling, self.place.clone(), &self.message)
        }
    }
}

/// Returns the misspelt words of a manifest.
pub fn misspelt(source: &Source) -> Vec<Misspelt> {
    let tree = &source.tree;
    let is_spmc = source.is_spmc();
    let mut found = Vec::new();
    for node in tree.nodes() {
        if let Some(words) = words(is_spmc, node) {
            properties(tree, node, words, &mut found);
            children(tree, node, words, &mut found);
        }
        if is_spmc {
            found.extend(device_type(tree, node));
        }
    }
    found
}

fn properties(tree: &Tree, node: &Node, words: &Words, found: &mut Vec<Misspelt>) {
    for property in &node.properties {
        let meant = nearest(&property.name, words.properties);
        // If the right word is in the node, too, this word is not a misspelling of it.
        if let Some(meant) = meant.filter(|meant| node.property(meant).is_none()) {
            found.push(Misspelt {
                node: node.path.clone(),
                meant: Some(meant),
                message: format!("{}: {}: nobody reads this", node.path, property.name),
                place: tree.place(&node.path, &property.name),
            });
        }
    }
}

fn children(tree: &Tree, node: &Node, words: &Words, found: &mut Vec<Misspelt>) {
    let children = || tree.nodes().filter(|child| child.parent() == node.path);
    for child in children().filter(|child| child.path != "/") {
        let meant = nearest(child.name(), words.nodes);
        let there = |meant: &&str| children().any(|other| other.name() == *meant);
        if let Some(meant) = meant.filter(|meant| !there(meant)) {
            found.push(Misspelt {
                node: node.path.clone(),
                meant: Some(meant),
                message: format!("{}: nobody reads this node", child.path),
                place: tree.place(&child.path, ""),
            });
        }
    }
}

/// Finds a wrong `device_type`, because of which the boot ignores a node that looks like memory or
/// a CPU.
fn device_type(tree: &Tree, node: &Node) -> Option<Misspelt> {
    let (known, like): (&[&str], _) = match node.parent() {
        "/cpus" => (&["cpu"], "cpu@"),
        "/" => (&DEVICE_TYPES, "memory@"),
        _ => return None,
    };
    node.property("reg")?;
    let kind = node.property("device_type");
    let text = kind.map(|kind| kind.text()).unwrap_or_default();
    if known.contains(&text.as_str()) {
        return None;
    }
    let meant = nearest(&text, known);
    let like = node.name().starts_with(like);
    // A CPU node needs no `device_type`.
    let missing = kind.is_none() && (!like || node.parent() == "/cpus");
    if missing || (meant.is_none() && !like) {
        return None;
    }
    let known: Vec<_> = known.iter().map(|kind| format!("\"{kind}\"")).collect();
    Some(Misspelt {
        node: node.path.clone(),
        meant: meant
            .and_then(|meant| DEVICE_TYPES.iter().chain(&["cpu"]).find(|k| **k == meant))
            .copied(),
        message: format!(
            "{}: device_type: expected {}, found \"{text}\": the node is passed over",
            node.path,
            known.join(" or ")
        ),
        place: tree.place(&node.path, "device_type"),
    })
}
