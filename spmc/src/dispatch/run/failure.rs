//! Contains faults of partitions. The SPMC logs the fault and injects it into the partition if the
//! partition can take an exception; otherwise it stops the partition. Everything else goes on.

use crate::addr::World;
use crate::ffa::SmcFrame;
use crate::hal::{Access, Fault, FaultKind, Hal};
use crate::manifest::Name;
use crate::manifest::config::ExceptionLevel;
use crate::partition::Partition;
use crate::spmc::Spmc;

use super::Flow;
use crate::dispatch::context::Current;

impl<H: Hal> Spmc<H> {
    /// Handles a fault or external abort: injects it into the partition as an abort. An S-EL0
    /// partition has no exception vectors, so it is stopped.
    pub(super) fn fault<'s>(
        &'s self,
        current: &mut Current<'s, H::Context>,
        fault: &Fault,
        frame: &mut SmcFrame,
    ) -> Flow {
        if self.met_a_change(current, fault) {
            return Flow::Continue;
        }
        if has_vectors(current) {
            let (name, vcpu) = (current.frozen.config.name, current.id.index);
            self.log_of(current.partition, name, || {
                log::warn!("{name} vcpu {vcpu}: {fault}");
            });
            if self.hal.inject_abort(&mut current.vcpu.context, fault) {
                return Flow::Continue;
            }
        }
        log::error!(
            "{}: cannot take the abort: {fault}",
            current.frozen.config.name
        );
        self.abort(current, frame)
    }

    /// Returns whether another PE was changing the table, so that a retry is safe: the access is
    /// permitted now. Each change allows one retry, since the fault may belong to the other IPA
    /// space and would recur for ever.
    fn met_a_change(&self, current: &mut Current<'_, H::Context>, fault: &Fault) -> bool {
        let Some(ipa) = fault.ipa.filter(|_| fault.kind == FaultKind::Translation) else {
            return false;
        };
        let access = if fault.on_walk {
            Access::Read
        } else {
            fault.access
        };
        // A PE that changes the tables holds the lock.
        let memory = current.partition.endpoint.memory.lock();
        let is_news = current.vcpu.changes_seen != memory.changes();
        current.vcpu.changes_seen = memory.changes();
        is_news
            && [World::Secure, World::NonSecure]
                .into_iter()
                .any(|world| memory.permits(&self.hal, world, ipa, access))
    }

    /// Handles an instruction that the partition may not use: injects an Undefined Instruction
    /// exception.
    pub(super) fn trap<'s>(
        &'s self,
        current: &mut Current<'s, H::Context>,
        syndrome: u64,
        pc: u64,
        frame: &mut SmcFrame,
    ) -> Flow {
        let name = current.frozen.config.name;
        let vcpu = current.id.index;
        self.log_of(current.partition, name, || {
            log::warn!(
                "{name} vcpu {vcpu}: {}, syndrome {syndrome:#x}, pc {pc:#x}",
                cause(syndrome)
            );
        });
        if has_vectors(current) && self.hal.inject_undefined(&mut current.vcpu.context) {
            return Flow::Continue;
        }
        log::error!("{name}: cannot take the undefined instruction exception, pc {pc:#x}");
        self.abort(current, frame)
    }

    /// Calls `write` to log a line that a partition caused, unless the partition has used up its
    /// quota. The next line that is written tells how many were left out.
    pub(in crate::dispatch) fn log_of(
        &self,
        partition: &Partition<H::Context>,
        name: Name,
        write: impl FnOnce(),
    ) {
        let began = self.hal.now();
        let Some(left_out) = partition.log_quota.lock().take(began) else {
            return;
        };
        if left_out > 0 {
            log::warn!("{name}: {left_out} lines were left out here");
        }
        write();
        let ended = self.hal.now();
        partition.log_quota.lock().written(began, ended);
    }
}

/// Says by the exception class of a syndrome why an instruction did not succeed (Arm ARM,
/// ESR_EL2.EC).
fn cause(syndrome: u64) -> &'static str {
    match syndrome >> 26 & 0x3f {
        0x07 => "FP not available",
        0x09 => "pointer authentication not available",
        0x0d => "branch to an instruction that is no target",
        0x18 => "system register not available",
        0x19 => "SVE not available",
        0x1c => "pointer authentication failed",
        0x1d => "SME not available",
        _ => "instruction not available",
    }
}

/// Returns whether the partition can take an exception itself.
fn has_vectors<C>(current: &Current<'_, C>) -> bool {
    current.frozen.config.exception_level == ExceptionLevel::SEl1
}
