//! Contains faults of partitions: the SPMC names the fault in the log, tells the partition of it if
//! that one can take it, and stops the partition if it cannot. Everything else goes on.

use crate::addr::World;
use crate::ffa::SmcFrame;
use crate::hal::{Access, Fault, FaultKind, Hal};
use crate::manifest::config::{ExceptionLevel, Name};
use crate::partition::Partition;
use crate::spmc::Spmc;

use super::Flow;
use crate::dispatch::context::Current;

impl<H: Hal> Spmc<H> {
    /// A fault or external abort: reflected into the partition as an abort, as if its own hardware
    /// had raised it. An S-EL0 partition has nobody to take it.
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

    /// Returns whether the fault came of tables in the middle of a change that another PE made, so
    /// that the access can be tried again: it is allowed now. Each change is a reason only once;
    /// the fault may be one of the other IPA space, which would come back for ever.
    fn met_a_change(&self, current: &mut Current<'_, H::Context>, fault: &Fault) -> bool {
        let Some(ipa) = fault.ipa.filter(|_| fault.kind == FaultKind::Translation) else {
            return false;
        };
        let access = if fault.on_walk {
            Access::Read
        } else {
            fault.access
        };
        // Whoever changes the tables holds the lock.
        let memory = current.partition.endpoint.memory.lock();
        let is_news = current.vcpu.changes_seen != memory.changes();
        current.vcpu.changes_seen = memory.changes();
        is_news
            && [World::Secure, World::NonSecure]
                .into_iter()
                .any(|world| memory.permits(&self.hal, world, ipa, access))
    }

    /// An instruction that the partition may not use: undefined, as far as it can tell.
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
                "{name} vcpu {vcpu}: instruction not available, syndrome {syndrome:#x}, pc {pc:#x}"
            );
        });
        if has_vectors(current) && self.hal.inject_undefined(&mut current.vcpu.context) {
            return Flow::Continue;
        }
        log::error!("{name}: cannot take the undefined instruction exception, pc {pc:#x}");
        self.abort(current, frame)
    }

    /// Writes a line that a partition caused, by `write`, unless it caused more than its share of
    /// them. The next one that is written tells how many were left out.
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

/// Returns whether the partition can take an exception itself.
fn has_vectors<C>(current: &Current<'_, C>) -> bool {
    current.frozen.config.exception_level == ExceptionLevel::SEl1
}
