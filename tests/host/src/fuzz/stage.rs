//! A system that is used for many inputs, each of which leaves it as it was before.

use std::cell::RefCell;
use std::sync::{Arc, LazyLock};

use vm_fdt::FdtWriter;

use crate::ffa::{self, Layout, Regs};
use crate::manifest::{PartitionSpec, spmc_manifest};
use crate::puppet::Puppet;
use crate::snapshot::{Counts, Snapshot};
use crate::system::System;

/// The packages, the SPMC manifest and the number of PEs.
type Loaded = (Vec<PartitionSpec>, Vec<u8>, usize);

/// Partitions that stop when they fail.
static LOADED: LazyLock<Loaded> = LazyLock::new(|| load(false, 3, 1));

/// Partitions that start again when they fail.
static RESTARTING: LazyLock<Loaded> = LazyLock::new(|| load(true, 3, 1));

/// Many partitions and PEs.
static CROWDED: LazyLock<Loaded> = LazyLock::new(|| load(false, 32, 64));

fn load(restart: bool, partitions: u32, pes: usize) -> Loaded {
    let spec = |index: u32| {
        let spec = PartitionSpec::new(&format!("sp{}", index + 1)).version(index % 3);
        spec.with(|spec| {
            // Direct and indirect messages.
            spec.messaging = 7;
            if restart {
                spec.properties.push(("abort-action", 2));
                spec.extra = Some(Arc::new(|fdt: &mut FdtWriter| {
                    fdt.property_null("lifecycle-support").expect("a manifest");
                }));
            }
            spec.package = Some(spec.package());
        })
    };
    let specs: Vec<_> = (0..partitions).map(spec).collect();
    let manifest = spmc_manifest(&specs, pes);
    (specs, manifest, pes)
}

/// The Normal world at some version, and partitions of the versions 1.0, 1.1 and 1.2 in turn, all
/// with RX and TX.
pub struct Stage {
    /// The system.
    pub system: System,
    /// The partitions.
    pub puppets: Vec<Puppet>,
    /// The layout of the Normal world's descriptors.
    pub layout: Layout,
}

impl Stage {
    /// Boots a stage. `minor` is the version that the Normal world negotiates, and `seed`
    /// determines what TLBs keep.
    pub fn new(minor: u32, tables: usize, seed: u64) -> Self {
        Self::of(&LOADED, minor, tables, seed)
    }

    /// Boots a stage as [`Self::new`] does, with partitions that start again when they fail.
    pub fn restarting(minor: u32, tables: usize, seed: u64) -> Self {
        Self::of(&RESTARTING, minor, tables, seed)
    }

    /// Boots a stage as [`Self::new`] does, with 64 PEs and 32 partitions.
    pub fn crowded(minor: u32, tables: usize, seed: u64) -> Self {
        let stage = Self::of(&CROWDED, minor, tables, seed);
        let pes = stage.system.machine.pes();
        assert_eq!((stage.puppets.len(), pes), (32, 64));
        for pe in 1..pes {
            stage.system.turn_on(pe);
        }
        stage
    }

    fn of((specs, manifest, pes): &Loaded, minor: u32, tables: usize, seed: u64) -> Self {
        let mut builder = System::builder()
            .spmc_manifest(manifest.clone())
            .pes(*pes)
            .tables(tables)
            .seed(seed);
        let mut puppets = Vec::new();
        for (index, spec) in specs.iter().enumerate() {
            let (spec, puppet) = Puppet::control(spec.clone(), index);
            builder = builder.sp(spec);
            puppets.push(puppet);
        }
        let system = builder.boot();
        let version = ffa::V1_0 | u64::from(minor);
        system.nwd().version(version);
        system.nwd().map_buffers();
        for puppet in &puppets {
            puppet.map_buffers(&system);
        }
        Self {
            system,
            puppets,
            layout: Layout::of(version),
        }
    }

    /// Returns counters, one of which changes with every change of the state.
    pub fn counts(&self) -> Counts {
        Counts::take(&self.system.machine)
    }
}

/// The state before a call, which must be the same after the call is refused.
pub struct Before {
    counts: Counts,
    all: Option<Snapshot>,
}

impl Before {
    /// Records the state. Everything is recorded for one input in 1024 only, since that takes as
    /// long as a thousand calls.
    pub fn take(stage: &Stage, input: &[u8]) -> Self {
        stage.system.machine.journal().clear();
        let sum = input.iter().fold(0_u32, |sum, byte| {
            sum.wrapping_mul(31).wrapping_add((*byte).into())
        });
        Self {
            counts: stage.counts(),
            all: (sum % 1024 == 0).then(|| stage.system.snapshot()),
        }
    }

    /// Panics if the state is different now.
    pub fn check(&self, stage: &Stage, answer: &Regs) {
        assert_eq!(self.counts, stage.counts(), "after {answer:?}");
        if let Some(all) = &self.all {
            assert_eq!(*all, stage.system.snapshot(), "after {answer:?}");
            stage.system.machine.check_tlbs();
        }
    }
}

/// The place in which a stage is kept for the next input.
pub type Kept<T> = RefCell<Option<T>>;

/// Passes the kept stage to `body`. The stage is not used again if `body` panics or returns false.
pub fn with<T>(kept: &Kept<T>, new: impl FnOnce() -> T, body: impl FnOnce(&T) -> bool) {
    let stage = kept.take().unwrap_or_else(new);
    if body(&stage) {
        kept.replace(Some(stage));
    }
}
