//! Secure Partitions: frozen configuration, execution contexts, mailbox, address space.

pub mod console;
pub mod endpoint;
pub mod mailbox;
pub mod vcpu;
pub mod vm;

pub use endpoint::Endpoint;
pub use mailbox::Mailbox;
pub use vcpu::Vcpu;
pub use vm::VmMailboxes;

use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use spin::{Mutex, Once};

use crate::addr::Ipa;
use crate::hal::{Context, Stage2Roots};
use crate::limits::MAX_VCPUS;
use crate::manifest::config::{Messaging, PartitionConfig};

/// What boot decided about a partition and nothing changes afterwards.
pub struct Frozen {
    /// From its manifest.
    pub config: PartitionConfig,
    /// Its translation.
    pub roots: Stage2Roots,
    /// Union over the services, kept here because every direct message asks for it.
    pub messaging: Messaging,
}

/// One slot of the partition table. All zero until boot fills it.
pub struct Partition<C> {
    frozen: Once<Frozen>,
    /// Id, mailbox, memory and version: what it shares with the Normal world as an FF-A endpoint.
    pub endpoint: Endpoint,
    /// Claimed with `try_lock` only, except to return to a context that is known to be blocked.
    pub vcpus: [Mutex<Vcpu<C>>; MAX_VCPUS],
    secondary_entry: AtomicU64,
    dead: AtomicBool,
    faults: AtomicU32,
}

impl<C: Context> Partition<C> {
    /// An empty slot.
    #[allow(
        clippy::declare_interior_mutable_const,
        reason = "initial value of the partition table"
    )]
    pub const EMPTY: Self = Self {
        frozen: Once::new(),
        endpoint: Endpoint::new(),
        vcpus: [const { Mutex::new(Vcpu::OFF) }; MAX_VCPUS],
        secondary_entry: AtomicU64::new(0),
        dead: AtomicBool::new(false),
        faults: AtomicU32::new(0),
    };

    /// Fills the slot with what `make` returns, in place; the slot stays empty if it fails.
    pub fn freeze<E>(&self, make: impl FnOnce() -> Result<Frozen, E>) -> Result<&Frozen, E> {
        self.frozen.try_call_once(make)
    }

    /// What boot decided; `None` while the slot is empty.
    pub fn frozen(&self) -> Option<&Frozen> {
        self.frozen.get()
    }

    /// Whether the partition failed and must not run.
    pub fn is_dead(&self) -> bool {
        self.dead.load(Ordering::Acquire)
    }

    /// Marks the partition as failed. Returns whether it was alive until now.
    pub fn kill(&self) -> bool {
        !self.dead.swap(true, Ordering::AcqRel)
    }

    /// Takes back [`Self::kill`]: the partition was loaded anew.
    pub fn revive(&self) {
        self.faults.store(0, Ordering::Relaxed);
        self.dead.store(false, Ordering::Release);
    }

    /// Counts a fault that the partition caused; returns how many there were before.
    pub fn count_fault(&self) -> u32 {
        let before = self.faults.load(Ordering::Relaxed);
        self.faults
            .store(before.saturating_add(1), Ordering::Relaxed);
        before
    }

    /// The entry point of secondary contexts, where one was registered (`FFA_SECONDARY_EP_REGISTER`).
    pub fn secondary_entry(&self) -> Option<Ipa> {
        match self.secondary_entry.load(Ordering::Acquire) {
            0 => None,
            entry => Some(Ipa::new(entry)),
        }
    }

    /// Registers the entry point of secondary contexts; the last call wins.
    pub fn set_secondary_entry(&self, entry: Ipa) {
        self.secondary_entry.store(entry.raw(), Ordering::Release);
    }
}
