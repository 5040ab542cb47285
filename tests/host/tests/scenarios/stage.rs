//! A Normal world and three partitions under remote control: the stage for all memory scenarios.

use host_tests::ffa::*;
use host_tests::system::Builder;
use host_tests::{Nwd, PartitionSpec, Regs, Remote, Sp, System};
use spmc::addr::World;
use spmc::addr::World::Secure;

/// Offset of memory of partitions that tests may share: pages of the image behind the buffers.
pub const OWN_PAGES: u64 = 0x4_0000;

pub const SP1: u16 = 0x8001;
pub const SP2: u16 = 0x8002;
pub const SP3: u16 = 0x8003;

/// Three partitions and the Normal world with its buffers.
pub struct Stage {
    pub system: System,
    remotes: Vec<Remote>,
}

impl Stage {
    pub fn new() -> Self {
        Self::with(|spec| spec)
    }

    /// Boots a stage, with `change` applied to each partition.
    pub fn with(change: impl Fn(PartitionSpec) -> PartitionSpec) -> Self {
        Self::of(|builder| builder, change)
    }

    pub fn of(
        configure: impl FnOnce(Builder) -> Builder,
        change: impl Fn(PartitionSpec) -> PartitionSpec,
    ) -> Self {
        let mut builder = configure(System::builder());
        let mut remotes = Vec::new();
        for name in ["sp1", "sp2", "sp3"] {
            let (spec, remote) = Remote::control(change(PartitionSpec::new(name)));
            builder = builder.sp(spec);
            remotes.push(remote);
        }
        let system = builder.boot();
        system.nwd().map_buffers();
        Self { system, remotes }
    }

    pub fn nwd(&self) -> Nwd<'_> {
        self.system.nwd()
    }

    /// Runs `task` in a partition.
    #[track_caller]
    pub fn run<T: Send + 'static>(
        &self,
        id: u16,
        task: impl FnOnce(&mut Sp) -> T + Send + 'static,
    ) -> T {
        self.remotes[usize::from(id - SP1)].run(self.nwd(), id, task)
    }

    /// Keeps `task` for the next request to a partition.
    pub fn leave(&self, id: u16, task: impl FnOnce(&mut Sp) + Send + 'static) {
        self.remotes[usize::from(id - SP1)].leave(task);
    }

    /// Makes `receiver` retrieve.
    #[track_caller]
    pub fn retrieve(&self, receiver: u16, request: Transaction) -> Result<Transaction, i32> {
        self.run(receiver, move |sp| sp.retrieve(&request))
    }

    /// Makes `receiver` send a retrieve request that must be refused with `code` and change
    /// nothing.
    #[track_caller]
    pub fn retrieve_refused(&self, receiver: u16, request: Transaction, code: i32) {
        self.run(receiver, move |sp| {
            let layout = sp.layout;
            sp.memory_refused(MEM_RETRIEVE_REQ_64, &request.encode(layout), code);
        });
    }

    #[track_caller]
    pub fn relinquish(&self, receiver: u16, handle: u64) {
        self.run(receiver, move |sp| sp.relinquish(handle, 0))
            .success();
    }

    /// Makes a partition without exception vectors fault. Returns how the request ended that the
    /// partition was serving.
    pub fn kill(&self, id: u16) -> Regs {
        self.leave(id, |sp| {
            sp.peek(Secure, 0);
        });
        self.nwd().request(id, [0; 5])
    }

    /// Returns what a partition can do with a page: read, write, execute.
    pub fn access(&self, id: u16, world: World, at: u64) -> [bool; 3] {
        self.run(id, move |sp| {
            let byte = sp.peek(world, at);
            let written = sp.poke(world, at, byte.unwrap_or(0));
            [byte.is_some(), written, sp.execute(world, at).is_ok()]
        })
    }
}

pub const NONE: [bool; 3] = [false; 3];
pub const READ: [bool; 3] = [true, false, false];
pub const READ_WRITE: [bool; 3] = [true, true, false];
pub const READ_EXECUTE: [bool; 3] = [true, false, true];
pub const ALL: [bool; 3] = [true; 3];

/// The type of a transaction in the flags of requests and responses.
pub const TYPE_SHARE: u32 = 1 << 3;
pub const TYPE_LEND: u32 = 2 << 3;
pub const TYPE_DONATE: u32 = 3 << 3;
