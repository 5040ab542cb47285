//! The partitions of a system that is explored, and the package by which one is replaced.

use std::sync::Arc;

use vm_fdt::FdtWriter;

use spmc::addr::World;

use super::setup::Setup;
use super::{A, LINE};
use crate::held::Held;
use crate::manifest::PartitionSpec;
use crate::memory::PAGE;
use crate::system::System;

/// Where EL3 has the new package.
pub(super) const STAGED: u64 = 0x0ea0_0000;
/// `init-timeout-ms`: longer than any way from state to state takes.
pub(super) const LIMIT_MS: u32 = 4_000_000;

/// A system that has booted.
pub(super) struct Partitions {
    pub system: Arc<System>,
    /// All contexts, by partition and index.
    pub ids: Vec<(u16, u16)>,
    /// The number of pages of the new package.
    pub staged: u64,
}

impl Partitions {
    /// Boots the partitions of `setup`, whose contexts `held` holds, on the first PE.
    pub fn boot(setup: &Setup, held: &Held) -> Self {
        let mut builder = System::builder().pes(setup.pes).tables(128);
        if setup.live {
            builder = builder.setting("init-timeout-ms", LIMIT_MS);
        }
        let mut package = Vec::new();
        let mut ids = Vec::new();
        for (index, action) in setup.actions.iter().enumerate() {
            let vcpus = if index == 0 { setup.first } else { 1 };
            ids.extend((0..vcpus).map(|vcpu| (A + index as u16, vcpu as u16)));
            let spec = PartitionSpec::new(["a", "b", "c"][index])
                .vcpus(vcpus)
                .with(|spec| {
                    spec.messaging = 0x603;
                    spec.ns_interrupts = *action;
                    spec.held = Some(held.clone());
                    spec.device = index == 0 && setup.interrupt;
                    if spec.device {
                        spec.device_properties
                            .push(("interrupts", vec![LINE, 0x910]));
                    }
                    if vcpus == 1 {
                        spec.extra = Some(if index == 0 && setup.live {
                            Arc::new(replaceable)
                        } else {
                            Arc::new(mortal)
                        });
                        spec.properties.push(("abort-action", 2));
                    }
                });
            if index == 0 && setup.live {
                package = spec.package();
            }
            builder = builder.sp(spec);
        }
        let system = Arc::new(builder.boot());
        let bytes = package.len() as u64;
        let mut memory = system.machine.memory();
        memory
            .write(World::Secure, STAGED, &package)
            .expect("memory");
        memory.clean(World::Secure, &(STAGED..STAGED + bytes));
        drop(memory);
        Self {
            system,
            ids,
            staged: bytes.div_ceil(PAGE),
        }
    }
}

/// Writes the properties of a partition that can start again.
fn mortal(fdt: &mut FdtWriter) {
    fdt.property_null("lifecycle-support").expect("a manifest");
}

/// Writes the properties of a partition that can also be activated live.
fn replaceable(fdt: &mut FdtWriter) {
    mortal(fdt);
    fdt.property_null("live-activation-support")
        .and_then(|()| fdt.property_u32("live-activation-register", 1))
        .and_then(|()| fdt.property_array_u32("image-uuid", &[1, 2, 3, 4]))
        .expect("a manifest");
}
