//! The SPMC as one object, and the state of one PE.

use alloc::boxed::Box;
use alloc::sync::Arc;

use crate::activation::Activation;
use crate::addr::{Pa, PageRange};
use crate::ffa::memory_descriptor::DescriptorBuffer;
use crate::ffa::ns_resources::Retrieval;
use crate::ffa::{Handle, SmcFrame};
use crate::hal::Hal;
use crate::id::{PartitionId, VcpuId};
use crate::interrupt::{Calling, Flood, Owners, Places};
use crate::manifest::ManifestError;
use crate::manifest::config::SpmcManifest;
use crate::mem::Shares;
use crate::notification::Notifications;
use crate::partition::{
    Directory, Endpoint, Link, Mailbox, Partition, Proxy, StreamEndpoint, VmMailboxes,
};
use crate::sync::atomic::{AtomicBool, AtomicU64};
use crate::sync::{Mutex, MutexGuard};

/// The whole state of the SPMC. There is one per system, shared by all PEs; after boot only what is
/// behind locks changes.
pub struct Spmc<H: Hal> {
    /// The hardware.
    pub hal: H,
    /// The partitions that boot admitted, in the order of their places in the SPMC manifest.
    pub partitions: Box<[Partition<H::Context>]>,
    /// Finds the index of a partition among these.
    pub(crate) directory: Directory,
    /// The Hypervisor or OS kernel, and on its behalf all VMs.
    pub normal_world: Endpoint,
    /// RX/TX pairs of VMs.
    pub vms: VmMailboxes,
    /// Stream endpoints of the partitions' devices.
    pub streams: Box<[StreamEndpoint]>,
    /// Live memory transactions.
    pub shares: Shares,
    /// Notifications of all receivers.
    pub notifications: Notifications,
    /// How far the Normal world has come with `FFA_NS_RES_INFO_GET`. No other lock is taken while
    /// this one is held.
    pub(crate) ns_resources: Mutex<Option<Retrieval>>,
    /// The live activation that is under way. No other lock is taken while this one is held.
    pub(crate) activation: Mutex<Activation>,
    /// All memory of the SPMC itself, except for tables that the manifest gives memory for.
    pub(crate) image: PageRange<Pa>,
    pub(crate) manifest: Box<SpmcManifest>,
    /// The reason why there is no manifest: then `manifest` is one that says nothing.
    pub(crate) fault: Option<ManifestError>,
    pub(crate) booted: AtomicBool,
    /// The owners of physical interrupts.
    pub(crate) owners: Owners,
    /// Finds the handlers of a PE.
    pub(crate) calling: Arc<Calling>,
    /// Partitions that may have contexts in [`Partition::wants_cycles`], a bit for each.
    pub(crate) wants_cycles: AtomicU64,
    /// Partitions whose timers a PE left when it went off: [`Pe::timers`] of nobody.
    pub(crate) left_timers: AtomicU64,
    /// Which PEs are on.
    pub(crate) places: Mutex<Places>,
    /// Work that partitions that failed leave to be done when a PE is free: see
    /// `dispatch::run::lifecycle`.
    pub(crate) aftermath: AtomicU64,
    /// Indices of the partitions in the order in which they boot.
    pub(crate) boot_order: Box<[usize]>,
    /// Private copy of a manifest or of a page while a partition is loaded, in words because a
    /// device tree is aligned to 8 bytes.
    pub(crate) boot_buffer: Mutex<Box<[u64]>>,
}

impl<H: Hal> Spmc<H> {
    /// Returns the partition with that id, dead or alive.
    #[inline(never)]
    pub fn partition(&self, id: PartitionId) -> Option<&Partition<H::Context>> {
        self.member(id).map(|member| member.partition)
    }

    /// Returns the partition with that id if it has not failed.
    pub fn live_partition(&self, id: PartitionId) -> Option<&Partition<H::Context>> {
        self.partition(id).filter(|partition| !partition.is_dead())
    }

    /// Returns all partitions that have not failed, by place.
    pub fn live_partitions(&self) -> impl Iterator<Item = &Partition<H::Context>> + Clone {
        self.partitions
            .iter()
            .filter(|partition| !partition.is_dead())
    }

    /// Returns the partitions that discovery lists, by place.
    pub(crate) fn listed_partitions(&self) -> impl Iterator<Item = &Partition<H::Context>> + Clone {
        self.partitions
            .iter()
            .filter(|partition| partition.is_listed())
    }

    /// The endpoint that a partition id stands for: every Non-secure id means the Normal world,
    /// whose VMs only its Hypervisor can tell apart.
    #[inline]
    pub fn endpoint(&self, id: PartitionId) -> Option<&Endpoint> {
        if id.is_secure() {
            self.live_partition(id).map(|partition| &partition.endpoint)
        } else {
            Some(&self.normal_world)
        }
    }

    /// The mailbox of a partition, of the Normal world, or of one of its VMs, locked; `None` if
    /// there is no such partition, or the VM has no buffers.
    #[inline]
    pub(crate) fn mailbox(&self, id: PartitionId) -> Option<MutexGuard<'_, Mailbox>> {
        if id.is_secure() || id == PartitionId::NORMAL_WORLD {
            self.endpoint(id).map(|endpoint| endpoint.mailbox.lock())
        } else {
            self.vms.find(id)
        }
    }
}

#[cfg(feature = "explore")]
impl<H: Hal> Spmc<H> {
    /// Returns the live activation that is under way.
    pub fn activation(&self) -> Activation {
        *self.activation.lock()
    }
}

impl<H: Hal> Spmc<H> {
    /// The stream endpoint with that id, if its proxy has not failed.
    pub fn stream(&self, id: PartitionId) -> Option<&StreamEndpoint> {
        let stream = self.any_stream(id)?;
        match stream.proxy() {
            Proxy::Partition(proxy) if self.live_partition(proxy).is_none() => None,
            _ => Some(stream),
        }
    }

    /// Returns the stream endpoint with that id, whether or not its proxy has failed.
    pub(crate) fn any_stream(&self, id: PartitionId) -> Option<&StreamEndpoint> {
        let mut streams = self.streams.iter().filter(|stream| stream.is_there());
        streams.find(|stream| stream.endpoint.id() == id)
    }
}

/// The work whose time the watchdog of a PE limits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Watch {
    /// Nothing.
    Off,
    /// The time of a context, which is over then.
    Of(Link, u64),
    /// The work that goes on for a context whose time was over; it ends at that time.
    Rest(u64),
}

/// The state of one PE. No other PE can reach it, so it has no lock.
pub struct Pe {
    /// Linear index of the PE; also the index of the contexts pinned to it.
    pub index: u16,
    /// The context that the Normal world called in the stay under way, and is told of when a chain
    /// is preempted.
    pub(crate) root: VcpuId,
    /// The frame that the Normal world gets if EL3 does not take `FFA_ABORT`.
    pub(crate) held: Option<SmcFrame>,
    /// Handlers of secure interrupts run, one after the other, in place of what was interrupted.
    pub handles_interrupts: bool,
    /// EL3 waits for an answer, and takes no other call by which the PE would be left.
    pub(crate) el3_waits: bool,
    /// The watchdog of this PE.
    pub(crate) watch: Watch,
    /// Notes whether they leave the PE to others.
    pub(crate) flood: Flood,
    /// The partitions whose context began to wait here with an armed timer, a bit for each.
    pub(crate) timers: u64,
    /// The time at which the first of these timers expires, or earlier.
    pub(crate) next_timer: u64,
    /// Index of the partition whose handler runs, or was the last to run.
    pub(crate) handler: usize,
    /// Private copy of the descriptor that is being parsed, or the answer that is being built.
    pub scratch: DescriptorBuffer,
    /// Handle of the transaction that the last `FFA_MEM_FRAG_RX` from here asked to go on with.
    pub(crate) fragment_asked: Option<Handle>,
}

impl Pe {
    /// Bytes that are allocated for each partition, beside the state itself.
    pub const PARTITION_SIZE: usize = Flood::PARTITION_SIZE;

    /// State of the PE with that linear index, in a system with that many partitions.
    pub fn new(index: u16, partitions: usize) -> Self {
        Self {
            index,
            root: VcpuId::NONE,
            held: None,
            handles_interrupts: false,
            el3_waits: false,
            watch: Watch::Off,
            flood: Flood::new(partitions),
            timers: 0,
            next_timer: u64::MAX,
            handler: 0,
            scratch: DescriptorBuffer::new(),
            fragment_asked: None,
        }
    }
}
