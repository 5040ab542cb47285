//! Partition discovery: `FFA_PARTITION_INFO_GET` (FF-A v1.0 section 8.6, v1.1 section 13.8).

use crate::error::{FfaError, Result};
use crate::ffa::partition_info::{Descriptor, Properties, descriptor_size};
use crate::ffa::{SmcFrame, Version};
use crate::hal::Hal;
use crate::id::Uuid;
use crate::manifest::config::Messaging;
use crate::partition::Frozen;
use crate::spmc::{Pe, Spmc};

use super::Instance;

/// w5 bit 0 (1.1): return only the count.
const COUNT_ONLY: u32 = 1;

impl<H: Hal> Spmc<H> {
    /// `FFA_PARTITION_INFO_GET`: descriptors of the partitions with the UUID in w1 to w4, or of all, into the caller's RX.
    ///
    /// `INVALID_PARAMETERS` for an unknown UUID or reserved bits, `BUSY` if RX is full or missing, `NO_MEMORY` if it is too
    /// short. Partitions that failed are not listed.
    pub(super) fn partition_info_get(
        &self,
        pe: &mut Pe,
        instance: &Instance<'_, H::Context>,
        frame: &SmcFrame,
    ) -> Result<SmcFrame> {
        let endpoint = instance.endpoint();
        let version = endpoint.version();
        let flags = if version >= Version::V1_1 {
            COUNT_ONLY
        } else {
            0
        };
        if frame.w(5) & !flags != 0 || frame.w(6) != 0 || frame.w(7) != 0 {
            return Err(FfaError::InvalidParameters);
        }
        let uuid = Uuid::from_words([frame.w(1), frame.w(2), frame.w(3), frame.w(4)]);
        let visible = visible_properties(instance, version);

        let size = descriptor_size(version);
        let mut chunks = pe.scratch.chunks_exact_mut(size);
        let mut count = 0_u32;
        for partition in self.live_partitions() {
            let Some(frozen) = partition.frozen() else {
                continue;
            };
            let mut constant = Properties::AARCH64;
            constant.set(Properties::NOTIFICATIONS, frozen.config.notifications);
            for (uuid, messaging) in matches(frozen, &uuid, version) {
                let descriptor = Descriptor {
                    id: frozen.config.id,
                    contexts: frozen.config.vcpu_count,
                    properties: (Properties::from(messaging) | constant) & visible,
                    uuid,
                };
                descriptor.write(chunks.next().ok_or(FfaError::NoMemory)?);
                count = count.saturating_add(1);
            }
        }
        if count == 0 {
            return Err(FfaError::InvalidParameters);
        }
        if frame.w(5) & COUNT_ONLY != 0 {
            return Ok(SmcFrame::success([count]));
        }
        let bytes = pe
            .scratch
            .get(..size.saturating_mul(count as usize))
            .unwrap_or(&[]);
        endpoint.mailbox.lock().fill_rx(&self.hal, bytes)?;
        // A 1.0 caller knows the size and expects zero.
        let reported = if version >= Version::V1_1 {
            size as u32
        } else {
            0
        };
        Ok(SmcFrame::success([count, reported]))
    }
}

/// What a caller may learn: the properties that its version knows, without what the two cannot exchange, and without what
/// is not implemented.
fn visible_properties<C>(instance: &Instance<'_, C>, version: Version) -> Properties {
    let mut visible = Properties::RECEIVE_DIRECT | Properties::SEND_DIRECT;
    if version >= Version::V1_1 {
        visible |= Properties::AARCH64 | Properties::NOTIFICATIONS;
    }
    if let Instance::NormalWorld(_) = instance {
        // A partition cannot send requests to the Normal world.
        visible.remove(Properties::SEND_DIRECT);
    }
    visible
}

/// The descriptors that a query for `uuid` gets of one partition: UUID to report and messaging of each.
///
/// A nil query lists a partition once, or from 1.2 on once per service; a non-nil one lists it once, with no UUID.
fn matches<'a>(
    frozen: &'a Frozen,
    uuid: &'a Uuid,
    version: Version,
) -> impl Iterator<Item = (Uuid, Messaging)> + 'a {
    let once = if version < Version::V1_2 {
        1
    } else {
        usize::MAX
    };
    frozen
        .config
        .services
        .iter()
        .filter(|service| uuid.is_nil() || service.uuid == *uuid)
        .map(move |service| {
            let reported = if uuid.is_nil() {
                service.uuid
            } else {
                Uuid::NIL
            };
            let messaging = if once == 1 {
                frozen.messaging
            } else {
                service.messaging
            };
            (reported, messaging)
        })
        .take(once)
}
