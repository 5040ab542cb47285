//! Stream endpoints (FF-A v1.0 section 5.2.1): DMA that sees memory under an id of its own (SEPID).
//!
//! A stream endpoint is two stage-2 tables, empty at boot, that the SMMU applies to one or more
//! streams. It has no execution contexts and no mailbox, so nothing can be sent to it but memory.

use crate::ffa::Version;
use crate::id::PartitionId;
use crate::sync::atomic::{AtomicU16, Ordering};

use super::Endpoint;

/// Says who acts for a stream endpoint.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Proxy {
    /// Nobody: the device is independent, and what is sent to it is mapped at once.
    None,
    /// The device depends on a partition, which alone retrieves and relinquishes for it.
    Partition(PartitionId),
}

/// One slot of the table. All zero until boot fills it.
pub struct StreamEndpoint {
    /// The id of the partition that acts for it, or 0.
    proxy: AtomicU16,
    /// Id and memory. The id of an empty slot is 0.
    pub endpoint: Endpoint,
}

impl StreamEndpoint {
    /// An empty slot.
    #[allow(
        clippy::declare_interior_mutable_const,
        reason = "only initialises the table of stream endpoints"
    )]
    pub const EMPTY: Self = Self {
        proxy: AtomicU16::new(0),
        endpoint: Endpoint::new(),
    };

    /// Fills the slot. Boot does so before any call can look for it.
    pub fn init(&self, id: PartitionId, proxy: Proxy) {
        self.endpoint.init(id, Version::OWN);
        if let Proxy::Partition(partition) = proxy {
            self.proxy.store(partition.0, Ordering::Relaxed);
        }
    }

    /// Empties the slot: its streams cannot be confined.
    pub fn withdraw(&self) {
        self.endpoint.init(PartitionId::NORMAL_WORLD, Version::OWN);
    }

    /// Returns whether boot has filled the slot.
    pub fn is_there(&self) -> bool {
        self.endpoint.id().is_secure()
    }

    /// Returns who acts for it.
    pub fn proxy(&self) -> Proxy {
        match PartitionId(self.proxy.load(Ordering::Relaxed)) {
            PartitionId::NORMAL_WORLD => Proxy::None,
            partition => Proxy::Partition(partition),
        }
    }
}
