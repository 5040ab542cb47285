//! Systems of any size, and calls whose cost must not depend on the size: for `cargo xtask growth`,
//! and for the test that counts what the engine touches.

use std::sync::Arc;

use vm_fdt::FdtWriter;

use crate::ffa::*;
use crate::machine::NORMAL_RAM;
use crate::puppet::Act;
use crate::system::{NWD_PAGES, NWD_TX};
use crate::{PartitionSpec, Puppet, System};

/// The first constituent. Every other page from here on is one.
const PAGES: u64 = NORMAL_RAM.start + 0x100_0000;

/// Bytes of TX.
const BUFFER: usize = 4096;

/// The interrupt of the last partition.
const LINE: u32 = 40;

const ENABLE: u64 = 0xff03;
const GET: u64 = 0xff04;
const DEACTIVATE: u64 = 0xff08;

/// Everything that the cost of a call could grow with.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// Constituents of the transaction.
    pub constituents: u64,
    /// Live transactions, with the one that is measured.
    pub handles: u64,
    /// Partitions. The last one is measured.
    pub partitions: usize,
    /// PEs, of which the first one is used.
    pub pes: usize,
    /// Contexts of each partition.
    pub contexts: u32,
}

/// A system, and how far it is in its steps.
pub struct Subject {
    system: System,
    puppet: Puppet,
    handle: u64,
    size: Size,
}

/// The steps, which can only be made in this order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(
    missing_docs,
    reason = "they are calls of FF-A, or what their names say"
)]
pub enum Step {
    Send,
    Retrieve,
    Relinquish,
    Reclaim,
    DirectMessage,
    NotificationSet,
    NotificationInfo,
    NotificationGet,
    Interrupt,
    End,
}

/// All steps.
pub const STEPS: [Step; 10] = [
    Step::Send,
    Step::Retrieve,
    Step::Relinquish,
    Step::Reclaim,
    Step::DirectMessage,
    Step::NotificationSet,
    Step::NotificationInfo,
    Step::NotificationGet,
    Step::Interrupt,
    Step::End,
];

impl Subject {
    /// Boots a system of that size and prepares the steps.
    pub fn new(size: Size) -> Self {
        let mut builder = System::builder()
            .tables(8192)
            .pes(size.pes)
            .setting("memory-transactions", 1024);
        let mut puppets = Vec::new();
        for index in 0..size.partitions {
            let is_last = index + 1 == size.partitions;
            let spec = PartitionSpec::new(&format!("sp{index}"))
                .vcpus(size.contexts)
                .with(|spec| {
                    spec.takes_exceptions = false;
                    spec.extra = Some(Arc::new(|fdt: &mut FdtWriter| {
                        fdt.property_null("notification-support")
                            .expect("a manifest");
                    }));
                    if is_last {
                        spec.device = true;
                        spec.device_properties
                            .push(("interrupts", vec![LINE, 0x910]));
                    }
                });
            let (spec, puppet) = Puppet::control(spec, index);
            builder = builder.sp(spec);
            puppets.push(puppet);
        }
        let system = builder.boot();
        let puppet = puppets.pop().expect("a partition");
        let id = u64::from(puppet.id);
        let nwd = system.nwd();
        nwd.map_buffers();
        puppet.map_buffers(&system);
        for n in 1..size.handles {
            let page = NWD_PAGES + 0x10_0000 + n * 0x2000;
            let share = Transaction::share(0, puppet.id, RW, &[(page, 1)]);
            nwd.send(MEM_SHARE_64, &share);
        }
        // Each notification is for one vCPU.
        let all = 0xffff_ffff;
        puppet
            .call(&system, [NOTIFICATION_BIND, id, 1, all, all])
            .success();
        puppet.call(&system, [ENABLE, LINE.into(), 1, 0]);
        Self {
            system,
            puppet,
            handle: 0,
            size,
        }
    }

    /// Makes the next step.
    pub fn step(&mut self, step: Step) {
        let (system, puppet) = (&self.system, &self.puppet);
        let (nwd, id) = (system.nwd(), u64::from(puppet.id));
        match step {
            Step::Send => self.handle = self.send(),
            Step::Retrieve => self.retrieve(),
            Step::Relinquish => {
                puppet.relinquish(system, self.handle, 0).success();
            }
            Step::Reclaim => {
                nwd.reclaim(self.handle).success();
            }
            Step::DirectMessage => assert_eq!(nwd.ask(puppet.id, [7; 5]), [7; 5]),
            Step::NotificationSet => {
                nwd.call([NOTIFICATION_SET, id, 1, 1, 0]).success();
            }
            Step::NotificationInfo => {
                let answer = nwd.call([NOTIFICATION_INFO_GET_64]);
                assert_eq!(answer.function(), SUCCESS_64, "{answer:?}");
            }
            Step::NotificationGet => {
                let answer = puppet.call(system, [NOTIFICATION_GET, id, 3]);
                assert_eq!(answer.success()[2], 1);
            }
            Step::Interrupt => {
                system.machine.gic().pulse(LINE);
                puppet.leave(Act::Call(vec![GET]));
                puppet.leave(Act::Call(vec![DEACTIVATE, LINE.into(), LINE.into()]));
                assert_eq!(nwd.call([INTERRUPT]).0[0], NORMAL_WORLD_RESUME);
                assert!(!system.machine.gic().is_active(LINE), "it was handled");
            }
            Step::End => {
                puppet.leave(Act::Crash);
                let answer = nwd.request(puppet.id, [0; 5]);
                assert_eq!(answer.error(), Some(ABORTED));
            }
        }
    }

    /// Sends the descriptor in fragments that fill TX. Returns the handle.
    fn send(&self) -> u64 {
        let nwd = self.system.nwd();
        let count = 0..self.size.constituents;
        let ranges: Vec<(u64, u32)> = count.map(|n| (PAGES + n * 0x2000, 1)).collect();
        let descriptor = Transaction::share(0, self.puppet.id, RW, &ranges).encode(Layout::V1_2);
        let mut sent = descriptor.len().min(BUFFER);
        nwd.write(NWD_TX, &descriptor[..sent]);
        let mut answer = nwd.call([MEM_SHARE_64, descriptor.len() as u64, sent as u64]);
        while answer.function() == MEM_FRAG_RX {
            let [_, low, high, ..] = answer.0;
            let fragment = &descriptor[sent..descriptor.len().min(sent + BUFFER)];
            nwd.write(NWD_TX, fragment);
            sent += fragment.len();
            answer = nwd.call([MEM_FRAG_TX, low, high, fragment.len() as u64]);
        }
        answer.handle()
    }

    /// Retrieves the region, and reads the whole response.
    fn retrieve(&self) {
        let (system, puppet, handle) = (&self.system, &self.puppet, self.handle);
        let (low, high) = (handle & 0xffff_ffff, handle >> 32);
        let request = Transaction::retrieve(0, puppet.id, handle, RW).encode(puppet.layout);
        let answer = puppet.memory_call(system, MEM_RETRIEVE_REQ_64, &request);
        let [id, total, mut received, ..] = answer.0;
        assert_eq!(id, MEM_RETRIEVE_RESP, "{answer:?}");
        puppet.call(system, [RX_RELEASE]).success();
        while received < total {
            let answer = puppet.call(system, [MEM_FRAG_RX, low, high, received]);
            assert_eq!(answer.function(), MEM_FRAG_TX, "{answer:?}");
            received += answer.0[3];
            puppet.call(system, [RX_RELEASE]).success();
        }
    }
}
