//! Fuzz targets: what is done with the bytes of an input, and what must hold then. `tests/fuzz`
//! runs them under a fuzzer; `tests/fuzz_corpus.rs` runs them on the inputs that once caused a
//! failure.
//!
//! A target for a layout passes bytes to the engine's public calls, and judges the result by an
//! independent parser: what is accepted must be valid, and a refused call must have changed
//! nothing. `calls` does so for whole sequences of calls.

mod calls;
mod fragments;
mod mailbox;
mod manifests;
mod packages;
pub mod reading;
mod retrieve;
mod send;
pub mod stage;

/// A fuzz target.
pub struct Target {
    /// The name of the target, and of its folder in the corpus.
    pub name: &'static str,
    /// The greatest length of an input that makes sense, in bytes.
    pub max_len: usize,
    /// Tests one input. Panics if something is wrong.
    pub run: fn(&[u8]),
    /// Returns the inputs with which fuzzing begins.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

/// All targets.
pub const TARGETS: &[Target] = &[
    Target {
        name: "send-1.0",
        max_len: 1024,
        run: |input| send::run(0, input),
        seeds: || send::seeds(0),
    },
    Target {
        name: "send-1.1",
        max_len: 1024,
        run: |input| send::run(1, input),
        seeds: || send::seeds(1),
    },
    Target {
        name: "send-1.2",
        max_len: 1024,
        run: |input| send::run(2, input),
        seeds: || send::seeds(2),
    },
    Target {
        name: "retrieve-1.0",
        max_len: 256,
        run: |input| retrieve::run(0, input),
        seeds: || retrieve::seeds(0),
    },
    Target {
        name: "retrieve-1.1",
        max_len: 256,
        run: |input| retrieve::run(1, input),
        seeds: || retrieve::seeds(1),
    },
    Target {
        name: "retrieve-1.2",
        max_len: 384,
        run: |input| retrieve::run(2, input),
        seeds: || retrieve::seeds(2),
    },
    Target {
        name: "relinquish",
        max_len: 64,
        run: retrieve::relinquish,
        seeds: retrieve::relinquish_seeds,
    },
    Target {
        name: "fragments",
        max_len: 64,
        run: fragments::run,
        seeds: fragments::seeds,
    },
    Target {
        name: "rxtx-1.0",
        max_len: 256,
        run: |input| mailbox::map(0, input),
        seeds: || mailbox::map_seeds(0),
    },
    Target {
        name: "rxtx-1.1",
        max_len: 256,
        run: |input| mailbox::map(1, input),
        seeds: || mailbox::map_seeds(1),
    },
    Target {
        name: "message-1.1",
        max_len: 128,
        run: |input| mailbox::message(1, input),
        seeds: || mailbox::message_seeds(1),
    },
    Target {
        name: "message-1.2",
        max_len: 128,
        run: |input| mailbox::message(2, input),
        seeds: || mailbox::message_seeds(2),
    },
    Target {
        name: "manifest-sp",
        max_len: 4096,
        run: manifests::partition,
        seeds: manifests::partition_seeds,
    },
    Target {
        name: "manifest-spmc",
        max_len: 4096,
        run: manifests::spmc,
        seeds: manifests::spmc_seeds,
    },
    Target {
        name: "package",
        max_len: 28,
        run: packages::spkg,
        seeds: packages::spkg_seeds,
    },
    Target {
        name: "transfer-list",
        max_len: packages::MAX_LIST,
        run: packages::transfer_list,
        seeds: packages::transfer_list_seeds,
    },
    Target {
        name: "boot-info",
        max_len: 16,
        run: manifests::boot_info,
        seeds: manifests::boot_info_seeds,
    },
    Target {
        name: "calls",
        max_len: 240,
        run: calls::run,
        seeds: calls::seeds,
    },
];

/// Returns the target of that name.
pub fn target(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}
