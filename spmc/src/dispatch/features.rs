//! `FFA_FEATURES` (FF-A v1.0 section 8.2): what is implemented, as seen by the caller.

use crate::error::{FfaError, Result};
use crate::ffa::{Answer, FunctionId, SmcFrame, Version, function};
use crate::hal::{Hal, SCHEDULE_RECEIVER_INTERRUPT};
use crate::limits::MAX_MAILBOX_PAGES;
use crate::manifest::config::{ExceptionLevel, PartitionConfig};
use crate::spmc::Spmc;

use super::Instance;

/// Feature id: the virtual interrupt that tells a partition of notifications; and that interrupt.
const NOTIFICATION_PENDING: u32 = 1;
const NOTIFICATION_PENDING_INTERRUPT: u32 = 5;
/// Feature id: the virtual interrupt that asks a partition to leave; and that interrupt.
const MANAGED_EXIT: u32 = 3;
const MANAGED_EXIT_INTERRUPT: u32 = 4;
/// Feature id: the interrupt that asks the Normal world to run receivers of notifications.
const SCHEDULE_RECEIVER: u32 = 2;
/// FFA_RXTX_MAP: buffers are multiples of 4 KiB, and aligned so.
const GRANULE_4K: u32 = 0;
/// Calls with a descriptor: it may come in a buffer that the caller allocated.
const DYNAMIC_BUFFER: u32 = 1 << 0;
/// FFA_MEM_RETRIEVE_REQ, w2 in: the caller understands the NS bit. w2 out: it is set in responses.
const NS_BIT: u32 = 1 << 1;
/// FFA_MEM_RETRIEVE_REQ, w2 out: a Hypervisor may retrieve by handle alone.
const HYPERVISOR_RETRIEVE: u32 = 1 << 2;

impl<H: Hal> Spmc<H> {
    /// `FFA_FEATURES`: properties of the function in w1, or `NOT_SUPPORTED` if the caller cannot use it.
    ///
    /// Either form of a function that has a 32- and a 64-bit one can be asked for, but of `FFA_RXTX_MAP` from the Normal world.
    /// `FFA_MSG_WAIT` and the notification calls are told to whoever asks, as Hafnium does, be they for the other world. Of the feature ids (bit 31 clear) each names an interrupt that only its users are told.
    pub(super) fn features(
        &self,
        instance: &Instance<'_, H::Context>,
        frame: &SmcFrame,
    ) -> Result<Answer> {
        let version = instance.endpoint().version();
        let normal_world = matches!(instance, Instance::NormalWorld(_));
        let id = FunctionId(frame.w(1));
        let properties = match id.0 {
            function::ERROR
            | function::SUCCESS_32
            | function::SUCCESS_64
            | function::INTERRUPT
            | function::VERSION
            | function::FEATURES
            | function::RX_RELEASE
            | function::RXTX_UNMAP
            | function::PARTITION_INFO_GET
            | function::ID_GET
            | function::SPM_ID_GET
            | function::MSG_SEND_DIRECT_REQ_32
            | function::MSG_SEND_DIRECT_REQ_64
            | function::MSG_SEND_DIRECT_RESP_32
            | function::MSG_SEND_DIRECT_RESP_64
            | function::MEM_RETRIEVE_RESP
            | function::MEM_RELINQUISH
            | function::MEM_RECLAIM
            | function::MEM_FRAG_RX
            | function::MEM_FRAG_TX => [0, 0],
            // The Normal world has 64-bit addresses.
            function::RXTX_MAP_32 if normal_world => return Err(FfaError::NotSupported),
            function::RXTX_MAP_32 | function::RXTX_MAP_64 => {
                let maximum = if version >= Version::V1_2 {
                    MAX_MAILBOX_PAGES << 16
                } else {
                    0
                };
                [maximum | GRANULE_4K, 0]
            }
            function::MEM_OP_PAUSE | function::MEM_OP_RESUME
                if instance.endpoint().may_be_paused() =>
            {
                [0, 0]
            }
            function::MEM_DONATE_32
            | function::MEM_DONATE_64
            | function::MEM_LEND_32
            | function::MEM_LEND_64
            | function::MEM_SHARE_32
            | function::MEM_SHARE_64 => {
                // From 1.2 on nothing is said of sends.
                let buffer = if version >= Version::V1_2 {
                    0
                } else {
                    DYNAMIC_BUFFER
                };
                [buffer, 0]
            }
            // Whoever retrieves must understand the NS bit, which is there from 1.1 on.
            function::MEM_RETRIEVE_REQ_32 | function::MEM_RETRIEVE_REQ_64
                if !normal_world && version >= Version::V1_1 && frame.w(2) & NS_BIT == 0 =>
            {
                return Err(FfaError::NotSupported);
            }
            function::MEM_RETRIEVE_REQ_32 | function::MEM_RETRIEVE_REQ_64 => {
                if frame.w(2) & NS_BIT != 0 {
                    instance.endpoint().ask_for_security_state();
                }
                let ns_bit = instance.endpoint().is_told_security_state();
                let hypervisor = if normal_world { HYPERVISOR_RETRIEVE } else { 0 };
                // w3 = 0: one retrieval at a time.
                let ns_bit = if ns_bit { NS_BIT } else { 0 };
                [DYNAMIC_BUFFER | ns_bit | hypervisor, 0]
            }
            function::NOTIFICATION_BITMAP_CREATE..=function::NOTIFICATION_INFO_GET_32
            | function::NOTIFICATION_INFO_GET_64
                if version >= Version::V1_1 =>
            {
                [0, 0]
            }
            SCHEDULE_RECEIVER if normal_world && version >= Version::V1_1 && frame.w(2) == 0 => {
                [SCHEDULE_RECEIVER_INTERRUPT, 0]
            }
            function::RX_ACQUIRE if Self::has_rx_acquire(instance) => [0, 0],
            function::PARTITION_INFO_GET_REGS if version >= Version::V1_2 => [0, 0],
            function::MSG_SEND2 if Self::has_indirect(instance) => [0, 0],
            function::CONSOLE_LOG_32 | function::CONSOLE_LOG_64 if !normal_world => [0, 0],
            NOTIFICATION_PENDING if frame.w(2) == 0 && Self::has_notifications(instance) => {
                [NOTIFICATION_PENDING_INTERRUPT, 0]
            }
            MANAGED_EXIT if frame.w(2) == 0 && Self::has_managed_exit(instance) => {
                [MANAGED_EXIT_INTERRUPT, 0]
            }
            function::MSG_WAIT => [0, 0],
            function::RUN if normal_world || version >= Version::V1_1 => [0, 0],
            function::YIELD if !normal_world && version >= Version::V1_1 => [0, 0],
            function::ABORT_32 | function::ABORT_64
                if !normal_world && version >= Version::V1_2 =>
            {
                [0, 0]
            }
            function::MSG_SEND_DIRECT_REQ2 | function::MSG_SEND_DIRECT_RESP2
                if version >= Version::V1_2 =>
            {
                [0, 0]
            }
            function::SECONDARY_EP_REGISTER_32 | function::SECONDARY_EP_REGISTER_64
                if Self::is_partition(instance, |config| !config.is_up()) =>
            {
                [0, 0]
            }
            function::MEM_PERM_GET_32
            | function::MEM_PERM_GET_64
            | function::MEM_PERM_SET_32
            | function::MEM_PERM_SET_64
                if Self::is_partition(instance, |config| {
                    config.exception_level == ExceptionLevel::SEl0
                }) =>
            {
                [0, 0]
            }
            _ => return Err(FfaError::NotSupported),
        };
        Ok(Answer::success(properties))
    }

    /// Returns whether the caller is a partition that is told of notifications by an interrupt; one
    /// at S-EL0 has to ask.
    fn has_notifications(instance: &Instance<'_, H::Context>) -> bool {
        Self::config(instance).is_some_and(|config| {
            config.notifications && config.exception_level == ExceptionLevel::SEl1
        }) && instance.endpoint().version() >= Version::V1_1
    }

    /// Returns true if the caller is a partition that could be asked to leave when a Non-secure interrupt comes: one at S-EL1,
    /// whether or not its manifest wants that.
    fn has_managed_exit(instance: &Instance<'_, H::Context>) -> bool {
        Self::config(instance).is_some_and(|config| config.exception_level == ExceptionLevel::SEl1)
            && instance.endpoint().version() >= Version::V1_1
    }

    fn config<'i>(instance: &Instance<'i, H::Context>) -> Option<&'i PartitionConfig> {
        match instance {
            Instance::NormalWorld(_) => None,
            Instance::Partition(partition) => partition.frozen().map(|frozen| &frozen.config),
        }
    }

    /// Returns whether the caller is a partition of which `property` holds.
    fn is_partition(
        instance: &Instance<'_, H::Context>,
        property: impl FnOnce(&PartitionConfig) -> bool,
    ) -> bool {
        Self::config(instance).is_some_and(property)
    }
}
