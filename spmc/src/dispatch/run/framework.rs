//! Framework messages: version of the Normal world and power management from the SPMD, availability
//! of VMs from a Hypervisor (FF-A v1.1 sections 18.2 and 18.3).
//!
//! Messages of the SPMD come as direct requests from id 0xffff with bit 31 of w2 set, and do not
//! count as calls of the Normal world. Messages of power management are passed on to the partitions
//! that subscribed to them, one after the other, on the PE that they are about.

use crate::error::{FfaError, Result};
use crate::ffa::framework::{
    FRAMEWORK, PSCI_REQUEST, PSCI_RESPONSE, VERSION_REQUEST, VERSION_RESPONSE, VM_CREATED,
    VM_DESTROYED, WARM_BOOT,
};
use crate::ffa::{Answer, FunctionId, SmcFrame, function};
use crate::hal::Hal;
use crate::id::PartitionId;
use crate::manifest::config::{PowerMessages, VmMessages};
use crate::partition::Frozen;
use crate::partition::vcpu::{Begin, Caller, Message, Request};
use crate::spmc::{Pe, Spmc};

use crate::dispatch::context::{Member, complete};

/// PSCI function ids, with the bit of the 64-bit convention taken off.
mod psci {
    pub const CPU_SUSPEND: u32 = 0x8400_0001;
    pub const CPU_OFF: u32 = 0x8400_0002;
    pub const CPU_DEFAULT_SUSPEND: u32 = 0x8400_000c;
    pub const SYSTEM_SUSPEND: u32 = 0x8400_000e;
    pub const SMC64: u32 = 1 << 30;

    pub const SUCCESS: i32 = 0;
    pub const DENIED: i32 = -3;
}

impl<H: Hal> Spmc<H> {
    /// Answers a framework message of the SPMD. `INVALID_PARAMETERS` if w2 does not name one or the
    /// destination is not the SPMC, `NOT_SUPPORTED` for one that is not known.
    #[cold]
    pub(super) fn framework_message(&self, pe: &mut Pe, frame: &mut SmcFrame) -> Result<()> {
        let spmc = self.spmc_id();
        let destination = PartitionId(frame.w(1) as u16);
        let (message, argument) = (frame.w(2), frame.w(3));
        if destination != spmc || message & FRAMEWORK == 0 {
            return Err(FfaError::InvalidParameters);
        }
        let (kind, status) = match message {
            VERSION_REQUEST => {
                // An SPMD that knows no flags leaves zero in w4.
                let version = self.normal_world.negotiate(argument, frame.w(4));
                (VERSION_RESPONSE, version)
            }
            PSCI_REQUEST | WARM_BOOT => (PSCI_RESPONSE, self.power_message(pe, frame) as u32),
            _ => return Err(FfaError::NotSupported),
        };
        frame.answer(Answer::new([
            function::MSG_SEND_DIRECT_RESP_32 as u64,
            (spmc.0 as u64) << 16 | PartitionId::SPMD.0 as u64,
            kind as u64,
            status as u64,
        ]));
        Ok(())
    }

    /// Passes a message of power management of this PE on to the partitions that subscribed to it,
    /// the last to boot first, until one refuses. Returns the PSCI status.
    #[cold]
    fn power_message(&self, pe: &mut Pe, frame: &SmcFrame) -> i32 {
        let (message, psci_function) = (frame.w(2), frame.w(3) & !psci::SMC64);
        let wanted = match (message, psci_function) {
            (WARM_BOOT, _) => PowerMessages::RESUME,
            (_, psci::CPU_OFF) => PowerMessages::CPU_OFF,
            (_, psci::CPU_SUSPEND | psci::CPU_DEFAULT_SUSPEND | psci::SYSTEM_SUSPEND) => {
                PowerMessages::CPU_SUSPEND
            }
            _ => PowerMessages::empty(),
        };
        for index in self.boot_order.iter().rev() {
            let Some(member) = self.member_at(*index) else {
                continue;
            };
            let messages = member.frozen.config.power_messages;
            if !messages.intersects(wanted) || member.partition.is_dead() {
                continue;
            }
            let status = self.ask_for_power(pe, member, frame);
            if status != psci::SUCCESS && wanted != PowerMessages::RESUME {
                return status;
            }
        }
        if wanted == PowerMessages::RESUME {
            self.watch_timers(pe);
        }
        if wanted == PowerMessages::CPU_OFF {
            self.leave(pe);
            self.turn_off(pe);
        }
        psci::SUCCESS
    }

    /// Passes a power management message on to the context of `partition` on this PE; returns its
    /// PSCI status.
    ///
    /// An answer with an error is a refusal. A context that does not wait cannot be asked, and a
    /// partition that fails does not refuse.
    fn ask_for_power(
        &self,
        pe: &mut Pe,
        member: Member<'_, H::Context>,
        message: &SmcFrame,
    ) -> i32 {
        let name = member.frozen.config.name;
        let spmc = self.spmc_id();
        let work = Request {
            requester: spmc,
            kind: Message::DirectReq,
            message: PSCI_RESPONSE,
        };
        let work = Begin::Request(work, Caller::Outside);
        let Ok(mut current) = self.claim(pe, member, work) else {
            log::warn!(
                "{name}: busy on PE {}, not told of its power management",
                pe.index
            );
            return psci::SUCCESS;
        };
        pe.root = current.id;
        let mut request = message.head();
        for register in &mut request.x {
            *register &= u32::MAX as u64;
        }
        request.x[0] = function::MSG_SEND_DIRECT_REQ_32 as u64;
        request.x[1] = (spmc.0 as u64) << 16 | member.frozen.config.id.0 as u64;
        complete(&mut current, &request);
        let mut answer = SmcFrame::ZERO;
        self.run_for_el3(pe, current, &mut answer);
        let status = match answer.function().0 {
            function::MSG_SEND_DIRECT_RESP_32 | function::MSG_SEND_DIRECT_RESP_64 => {
                answer.w(3) as i32
            }
            _ if member.partition.is_dead() => psci::SUCCESS,
            _ => psci::DENIED,
        };
        if status == psci::SUCCESS {
            return psci::SUCCESS;
        }
        log::info!(
            "{name}: refuses power management of PE {}: {status}",
            pe.index
        );
        // PSCI has no positive status.
        if status < 0 { status } else { psci::DENIED }
    }

    /// Checks that a framework message of the Normal world is one that a Hypervisor sends:
    /// `INVALID_PARAMETERS` for all others.
    #[cold]
    pub(super) fn check_framework_message(
        id: FunctionId,
        source: PartitionId,
        message: u32,
    ) -> Result<()> {
        let known = matches!(message, VM_CREATED | VM_DESTROYED);
        if known && source == PartitionId::NORMAL_WORLD && !id.is_64() {
            Ok(())
        } else {
            Err(FfaError::InvalidParameters)
        }
    }

    /// Returns whether a partition subscribed to framework messages of that kind.
    #[cold]
    pub(super) fn subscribes(frozen: &Frozen, message: u32) -> bool {
        let wanted = if message == VM_CREATED {
            VmMessages::CREATED
        } else {
            VmMessages::DESTROYED
        };
        frozen.config.vm_messages.contains(wanted)
    }
}
