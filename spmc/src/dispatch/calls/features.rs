//! `FFA_FEATURES` (FF-A v1.0 section 8.2): what is implemented, as seen by the caller.

use crate::error::{FfaError, Result};
use crate::ffa::call_table;
use crate::ffa::{Answer, FunctionId, SmcFrame, Version, function};
use crate::hal::Hal;
use crate::manifest::config::{ExceptionLevel, PartitionConfig};
use crate::own_interrupts;
use crate::spmc::Spmc;

use crate::dispatch::Instance;

/// Feature id: the virtual interrupt that tells a partition of notifications; and that interrupt.
const NOTIFICATION_PENDING: u32 = 1;
const NOTIFICATION_PENDING_INTERRUPT: u32 = 5;
/// Feature id: the virtual interrupt that asks a partition to leave; and that interrupt.
const MANAGED_EXIT: u32 = 3;
const MANAGED_EXIT_INTERRUPT: u32 = 4;
/// Feature id: the interrupt that asks the Normal world to run receivers of notifications.
const SCHEDULE_RECEIVER: u32 = 2;
/// Feature id (1.3): how many notifications there are, and of which kinds. Zero stands for 64 from
/// each world, which may be per vCPU.
const NOTIFICATIONS: u32 = 4;
const ALL_NOTIFICATIONS: u32 = 0;
/// FFA_RXTX_MAP: buffers are multiples of 4 KiB, and aligned so.
const GRANULE_4K: u32 = 0;
/// Calls with a descriptor: it may come in a buffer that the caller allocated.
const DYNAMIC_BUFFER: u32 = 1 << 0;
/// FFA_MEM_RETRIEVE_REQ, w2 in: the caller understands the NS bit. w2 out: it is set in responses.
const NS_BIT: u32 = 1 << 1;
/// FFA_MEM_RETRIEVE_REQ, w2 out: a Hypervisor may retrieve by handle alone.
const HYPERVISOR_RETRIEVE: u32 = 1 << 2;

impl<H: Hal> Spmc<H> {
    /// Handles `FFA_FEATURES`: returns the properties of the function in w1, or `NOT_SUPPORTED` if
    /// the caller cannot use it.
    ///
    /// The table of calls says who is told of a function, in its 32- or 64-bit form. A feature id
    /// (bit 31 clear) names an interrupt, which only its users are told, or the notifications that
    /// there are.
    pub(super) fn features(
        &self,
        instance: &Instance<'_, H::Context>,
        frame: &SmcFrame,
    ) -> Result<Answer> {
        let version = instance.endpoint().version();
        let normal_world = matches!(instance, Instance::NormalWorld(_));
        let (id, input) = (FunctionId(frame.w(1)), frame.w(2));
        if !id.is_fast() {
            let feature = Self::feature(instance, id.0, input);
            return Ok(Answer::success([feature?, 0]));
        }
        if !call_table::find(id).is_told(instance.origin(), version) {
            return Err(FfaError::NotSupported);
        }
        let properties = match id.0 {
            function::RXTX_MAP_64 => {
                let maximum = if version >= Version::V1_2 {
                    self.manifest.mailbox_pages << 16
                } else {
                    0
                };
                maximum | GRANULE_4K
            }
            function::MEM_OP_PAUSE | function::MEM_OP_RESUME
                if !instance.endpoint().may_be_paused() =>
            {
                return Err(FfaError::NotSupported);
            }
            // From 1.2 on sends have no properties.
            function::MEM_DONATE_32
            | function::MEM_DONATE_64
            | function::MEM_LEND_32
            | function::MEM_LEND_64
            | function::MEM_SHARE_32
            | function::MEM_SHARE_64
                if version < Version::V1_2 =>
            {
                DYNAMIC_BUFFER
            }
            // Whoever retrieves must understand the NS bit, which is there from 1.1 on.
            function::MEM_RETRIEVE_REQ_32 | function::MEM_RETRIEVE_REQ_64
                if !normal_world && version >= Version::V1_1 && input & NS_BIT == 0 =>
            {
                return Err(FfaError::NotSupported);
            }
            function::MEM_RETRIEVE_REQ_32 | function::MEM_RETRIEVE_REQ_64 => {
                if input & NS_BIT != 0 {
                    instance.endpoint().ask_for_security_state();
                }
                let ns_bit = instance.endpoint().is_told_security_state();
                let hypervisor = if normal_world { HYPERVISOR_RETRIEVE } else { 0 };
                // w3 = 0: one retrieval at a time.
                let ns_bit = if ns_bit { NS_BIT } else { 0 };
                DYNAMIC_BUFFER | ns_bit | hypervisor
            }
            function::SECONDARY_EP_REGISTER_32 | function::SECONDARY_EP_REGISTER_64
                if !Self::is_partition(instance, |config| !config.is_up()) =>
            {
                return Err(FfaError::NotSupported);
            }
            function::MEM_PERM_GET_32
            | function::MEM_PERM_GET_64
            | function::MEM_PERM_SET_32
            | function::MEM_PERM_SET_64
                if !Self::is_partition(instance, |config| {
                    config.exception_level == ExceptionLevel::SEl0
                }) =>
            {
                return Err(FfaError::NotSupported);
            }
            _ => 0,
        };
        Ok(Answer::success([properties, 0]))
    }

    /// Returns what a feature id stands for. `NOT_SUPPORTED` for callers that are not told, and if
    /// `input` is not zero.
    fn feature(instance: &Instance<'_, H::Context>, feature: u32, input: u32) -> Result<u32> {
        let normal_world = matches!(instance, Instance::NormalWorld(_));
        let is_new = instance.endpoint().version() >= Version::V1_1;
        match feature {
            _ if input != 0 || !is_new => Err(FfaError::NotSupported),
            NOTIFICATION_PENDING if Self::has_notifications(instance) => {
                Ok(NOTIFICATION_PENDING_INTERRUPT)
            }
            SCHEDULE_RECEIVER if normal_world => Ok(own_interrupts::SCHEDULE_RECEIVER),
            NOTIFICATIONS if instance.endpoint().version() >= Version::V1_3 => {
                Ok(ALL_NOTIFICATIONS)
            }
            MANAGED_EXIT if Self::has_managed_exit(instance) => Ok(MANAGED_EXIT_INTERRUPT),
            _ => Err(FfaError::NotSupported),
        }
    }

    /// Returns whether the caller is a partition with the notification pending interrupt; a
    /// partition at S-EL0 has to poll.
    fn has_notifications(instance: &Instance<'_, H::Context>) -> bool {
        Self::is_partition(instance, |config| {
            config.notifications && config.exception_level == ExceptionLevel::SEl1
        })
    }

    /// Returns true if the caller is a partition that could be asked to leave when a Non-secure
    /// interrupt comes: one at S-EL1, whether or not its manifest wants that.
    fn has_managed_exit(instance: &Instance<'_, H::Context>) -> bool {
        Self::is_partition(instance, |config| {
            config.exception_level == ExceptionLevel::SEl1
        })
    }

    /// Returns true if the caller is a partition of which `property` holds.
    fn is_partition(
        instance: &Instance<'_, H::Context>,
        property: impl FnOnce(&PartitionConfig) -> bool,
    ) -> bool {
        match instance {
            Instance::NormalWorld(_) => false,
            Instance::Partition(partition) => property(&partition.frozen.config),
        }
    }
}
