//! The observable state of the engine, by which tests show that a refused call changed nothing.

use std::hash::{Hash, Hasher};
use std::sync::Weak;

use spmc::addr::{Ipa, PageRange, World};
use spmc::ffa::Version;
use spmc::id::PartitionId;
use spmc::partition::Endpoint;
use spmc::partition::life::Life;
use spmc::partition::mailbox::Mailbox;
use spmc::partition::vcpu::State;

use crate::machine::{Machine, NORMAL_RAM};

/// The number of pages of the Normal world that tests use, and that a snapshot contains.
pub const WATCHED_PAGES: u64 = 64;
/// The first of these pages.
pub const WATCHED: u64 = NORMAL_RAM.start + 0x10_0000;

/// The state of one endpoint.
#[derive(Clone, PartialEq, Eq, Debug)]
struct EndpointState {
    id: u16,
    version: Version,
    mailbox: Mailbox,
    pool: usize,
    /// A digest of ownership and access of every page that the endpoint has or that tests use.
    memory: u64,
    alive: bool,
    life: Option<Life>,
}

/// The state of all endpoints, of their execution contexts, and of the live transactions.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Snapshot {
    endpoints: Vec<EndpointState>,
    contexts: Vec<String>,
    watchdogs: Vec<bool>,
    vms: Vec<String>,
    shares: usize,
    notifications: Vec<String>,
    raised: usize,
}

impl Snapshot {
    /// Takes a snapshot. To be called only while the engine holds no lock except the claims of
    /// running contexts.
    pub fn take(machine: &Machine) -> Self {
        let spmc = machine
            .spmc
            .get()
            .and_then(Weak::upgrade)
            .expect("a booted system");
        let mut endpoints = vec![endpoint(machine, &spmc.normal_world, true)];
        let mut contexts = Vec::new();
        for partition in &spmc.partitions {
            endpoints.push(EndpointState {
                life: Some(partition.life()),
                ..endpoint(machine, &partition.endpoint, !partition.is_dead())
            });
            for vcpu in &partition.vcpus {
                contexts.push(match vcpu.try_claim() {
                    // The other fields have no meaning while the context does not run.
                    Some(vcpu) if matches!(vcpu.state(), State::Off | State::Waiting) => {
                        format!("{:?}", vcpu.state())
                    }
                    Some(vcpu) => {
                        format!("{:?} {:?} {:?}", vcpu.state(), vcpu.model(), vcpu.caller())
                    }
                    None => "claimed".to_string(),
                });
            }
        }
        let mut notifications = Vec::new();
        spmc.notifications
            .for_each(|id, receiver| notifications.push(format!("{id} {receiver:?}")));
        let watchdogs = (0..machine.pes.len())
            .map(|pe| machine.pe(pe).watchdog.is_some())
            .collect();
        Self {
            endpoints,
            contexts,
            watchdogs,
            vms: (0..0x20)
                .filter_map(|id| spmc.vms.find(PartitionId(id)))
                .map(|mailbox| format!("{mailbox:?}"))
                .collect(),
            shares: spmc.shares.live(),
            notifications,
            raised: machine.journal().schedule_receiver.len(),
        }
    }
}

impl Snapshot {
    /// Returns how often the schedule receiver interrupt was raised.
    pub fn raised(&self) -> usize {
        self.raised
    }
}

fn endpoint(machine: &Machine, endpoint: &Endpoint, alive: bool) -> EndpointState {
    let hal = crate::hal::FakeHal(machine.this());
    let mut digest = Digest::default();
    let mut memory = endpoint.memory.lock();
    let roots = memory.roots();
    if roots.tag() != 0 {
        let second = (!roots.is_stage1()).then_some(("non-secure", World::NonSecure));
        let first = ("secure", World::Secure);
        for (name, world) in [Some(first), second].into_iter().flatten() {
            name.hash(&mut digest);
            machine.tables().digest(&roots, world, &mut digest);
        }
    }
    for page in 0..WATCHED_PAGES {
        let range = PageRange::new(Ipa::new(WATCHED + page * 4096), 1).expect("a page");
        let known = memory.inspect(&hal, [range].into_iter());
        let known = known.map(|(world, leaf)| (world == World::Secure, leaf));
        known.hash(&mut digest);
    }
    EndpointState {
        id: endpoint.id().0,
        version: endpoint.version(),
        mailbox: endpoint.mailbox.lock().clone(),
        pool: memory.pool().held(),
        memory: digest.finish(),
        alive,
        life: None,
    }
}

/// A digest that is fast enough to be made millions of times: one multiplication for each word, by
/// which inputs that differ in one word always have different digests.
#[derive(Default)]
struct Digest(u64);

impl Hasher for Digest {
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u64((*byte).into()));
    }

    fn write_u64(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(29) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// Counters that every change of the engine's state changes. They contain less than a [`Snapshot`]
/// and are much faster to take.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Counts {
    /// The mailbox of each endpoint, and the number of pages that it has taken from the pools.
    endpoints: Vec<(Mailbox, usize)>,
    shares: usize,
}

impl Counts {
    /// Takes the counters.
    pub fn take(machine: &Machine) -> Self {
        let spmc = machine
            .spmc
            .get()
            .and_then(Weak::upgrade)
            .expect("a booted system");
        let partitions = spmc.partitions.iter().map(|partition| &partition.endpoint);
        let endpoints = std::iter::once(&spmc.normal_world)
            .chain(partitions)
            .map(|endpoint| {
                let mailbox = endpoint.mailbox.lock().clone();
                (mailbox, endpoint.memory.lock().pool().held())
            })
            .collect();
        Self {
            endpoints,
            shares: spmc.shares.live(),
        }
    }
}
