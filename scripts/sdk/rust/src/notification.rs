//! Notifications: a bit that another endpoint sets, for which it needs neither a buffer nor an
//! answer.
//!
//! A receiver has 64 notifications for partitions and 64 for VMs, of which id 0 is the OS or
//! Hypervisor of the Normal world. [`bind`] says who may set which of them. What becomes pending
//! arrives in [`Partition::notified`](crate::Partition::notified) as soon as the partition runs:
//! when a message or an interrupt comes, or when the scheduler in the Normal world, which the SPMC
//! tells by its schedule receiver interrupt, runs the partition by `FFA_RUN`.
//!
//! The manifest must have `notification-support`. The notifications are global: with one context
//! there is no need for notifications of a context.

use arm_ffa::interface_args::{Feature, FeatureId, SuccessArgsFeatures};
use arm_ffa::notification::{
    NotificationBindFlags, NotificationGetFlags, NotificationSetFlags, SuccessArgsNotificationGet,
};
use arm_ffa::{FfaError, Interface};

use crate::call::{call, own_id};

/// The notifications that were pending, a bit each.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Pending {
    /// Those that partitions set.
    pub partitions: u64,
    /// Those that VMs set.
    pub vms: u64,
    /// Those of the framework, in the order of FF-A: bit 0 says that a partition's message is in
    /// the RX buffer, bit 32 that a VM's message is there.
    pub framework: u64,
}

/// Lets `sender` set these notifications of the partition. `DENIED` if any of them is bound.
pub fn bind(sender: u16, notifications: u64) -> Result<(), FfaError> {
    call(Interface::NotificationBind {
        sender_id: sender,
        receiver_id: own_id(),
        flags: NotificationBindFlags {
            per_vcpu_notification: false,
        },
        bitmap: notifications,
    })
    .map(drop)
}

/// Takes the right to set these notifications from `sender`. `DENIED` if any of them is pending.
pub fn unbind(sender: u16, notifications: u64) -> Result<(), FfaError> {
    call(Interface::NotificationUnbind {
        sender_id: sender,
        receiver_id: own_id(),
        bitmap: notifications,
    })
    .map(drop)
}

/// Sets notifications of `receiver`, which it must have bound to this partition.
///
/// The scheduler is told of the receiver when this partition waits, answers or is preempted: the
/// schedule receiver interrupt does not interrupt the partition itself.
pub fn set(receiver: u16, notifications: u64) -> Result<(), FfaError> {
    call(Interface::NotificationSet {
        sender_id: own_id(),
        receiver_id: receiver,
        flags: NotificationSetFlags {
            delay_schedule_receiver: true,
            vcpu_id: None,
        },
        bitmap: notifications,
    })
    .map(drop)
}

/// Takes all notifications that are pending. [`Partition::notified`](crate::Partition::notified)
/// gets what this function did not take before.
pub fn get() -> Result<Pending, FfaError> {
    let answer = call(Interface::NotificationGet {
        vcpu_id: 0,
        endpoint_id: own_id(),
        flags: NotificationGetFlags {
            sp_bitmap_id: true,
            vm_bitmap_id: true,
            spm_bitmap_id: true,
            hyp_bitmap_id: true,
        },
    })?;
    let Interface::Success { args, .. } = answer else {
        return Err(FfaError::NotSupported);
    };
    let flags = NotificationGetFlags::from(!0);
    let taken = SuccessArgsNotificationGet::try_from((flags, args));
    let taken = taken.map_err(|_| FfaError::NotSupported)?;
    let spm = taken.spm_notifications.unwrap_or_default();
    let hypervisor = taken.hypervisor_notifications.unwrap_or_default();
    Ok(Pending {
        partitions: taken.sp_notifications.unwrap_or_default(),
        vms: taken.vm_notifications.unwrap_or_default(),
        framework: u64::from(hypervisor) << 32 | u64::from(spm),
    })
}

/// Returns the interrupt that says that notifications are pending. Only a partition with
/// `notification-support` in its manifest has one.
pub(crate) fn interrupt() -> Option<u32> {
    let answer = call(Interface::Features {
        feat_id: Feature::FeatureId(FeatureId::NotificationPendingInterrupt),
        input_properties: 0,
    });
    let Ok(Interface::Success { args, .. }) = answer else {
        return None;
    };
    let [id, _] = SuccessArgsFeatures::try_from(args).ok()?.properties;
    Some(id)
}
