//! Stream endpoints of dependent devices (FF-A v1.0 section 5.2.1): DMA that sees memory under an id of its own (SEPID).
//!
//! A stream endpoint is two stage-2 tables, empty at boot, that the SMMU applies to one or more streams. A partition is its proxy: it alone
//! retrieves and relinquishes for it. It has no execution contexts and no mailbox, so nothing can be sent to it but memory.

use core::sync::atomic::{AtomicU16, Ordering};

use crate::ffa::Version;
use crate::id::PartitionId;

use super::Endpoint;

/// One slot of the table. All zero until boot fills it.
pub struct StreamEndpoint {
    /// Id of the partition that speaks for it; 0 in an empty slot.
    proxy: AtomicU16,
    /// Id and memory.
    pub endpoint: Endpoint,
}

impl StreamEndpoint {
    /// An empty slot.
    #[allow(
        clippy::declare_interior_mutable_const,
        reason = "initial value of the table"
    )]
    pub const EMPTY: Self = Self {
        proxy: AtomicU16::new(0),
        endpoint: Endpoint::new(),
    };

    /// Fills the slot. At boot, before anybody looks for it.
    pub fn init(&self, id: PartitionId, proxy: PartitionId) {
        self.endpoint.init(id, Version::OWN);
        self.proxy.store(proxy.0, Ordering::Relaxed);
    }

    /// The partition that speaks for it; `None` in an empty slot.
    pub fn proxy(&self) -> Option<PartitionId> {
        let proxy = PartitionId(self.proxy.load(Ordering::Relaxed));
        proxy.is_secure().then_some(proxy)
    }
}
