//! CPU cycles: `FFA_MSG_WAIT`, `FFA_RUN`, and the end of initialisation (FF-A v1.0 chapter 9, v1.1 section 8).

use crate::error::{FfaError, Result};
use crate::ffa::{SmcFrame, Version, function};
use crate::hal::{Context, Hal};
use crate::id::VcpuId;
use crate::partition::Partition;
use crate::partition::vcpu::{Caller, Event, Model, State};
use crate::spmc::{Pe, Spmc};

use super::run::{Current, Flow, deliver};

/// `FFA_MSG_WAIT` w2 bit 0 (1.2): the caller keeps its RX buffer.
const RETAIN_RX: u64 = 1;

impl<H: Hal> Spmc<H> {
    /// `FFA_MSG_WAIT` from a partition: its context waits, and RX goes back to the SPMC.
    ///
    /// `INVALID_PARAMETERS` for a reserved register, `DENIED` while a direct request is processed.
    pub(super) fn msg_wait<'s>(
        &'s self,
        current: &mut Current<'s, H::Context>,
        frame: &mut SmcFrame,
    ) -> Result<Flow> {
        let endpoint = &current.partition.endpoint;
        let registers = current.vcpu.context.gprs();
        let flags = if endpoint.version() >= Version::V1_2 {
            RETAIN_RX
        } else {
            0
        };
        for (n, register) in registers.iter().enumerate().take(8).skip(1) {
            let allowed = if n == 2 { flags } else { 0 };
            if *register as u32 as u64 & !allowed != 0 {
                return Err(FfaError::InvalidParameters);
            }
        }
        let retain = registers[2] & flags != 0;
        if let Model::Request { .. } = current.vcpu.model {
            return Err(FfaError::Denied);
        }
        if !retain {
            // RX that the partition does not own has nothing to be released.
            let _ = endpoint.mailbox.lock().release_rx();
        }
        current.vcpu.step(Event::Wait)?;
        *frame = SmcFrame::new([function::MSG_WAIT as u64, current.id.to_w1()]);
        Ok(self.give_back(current, frame))
    }

    /// `FFA_ERROR` from a partition: its initialisation failed, or so did what it was asked to do.
    ///
    /// A requester gets the code. One that was merely given cycles by `FFA_RUN` had nothing to do: that reads as `FFA_MSG_WAIT`.
    pub(super) fn partition_error<'s>(
        &'s self,
        current: &mut Current<'s, H::Context>,
        frame: &mut SmcFrame,
    ) -> Result<Flow> {
        let code = current.vcpu.context.gprs()[2] as u32 as u64;
        *frame = match current.vcpu.model {
            Model::Init => {
                log::error!(
                    "{}: initialisation failed with FFA_ERROR {}",
                    current.frozen.config.name,
                    code as i32
                );
                return Ok(self.abort(current, frame));
            }
            Model::Request { .. } => SmcFrame::new([function::ERROR as u64, 0, code]),
            Model::Run => SmcFrame::new([function::MSG_WAIT as u64, current.id.to_w1()]),
        };
        current.vcpu.step(Event::Wait)?;
        Ok(self.give_back(current, frame))
    }

    /// `FFA_RUN` from the Normal world: gives cycles to a waiting context, or resumes the chain that was preempted under it.
    ///
    /// `INVALID_PARAMETERS` for a reserved register, an unknown partition or context, or one pinned to another PE; `BUSY` if it
    /// runs on another PE; `DENIED` if the Normal world is not the one who runs it; `ABORTED` if it failed.
    pub(super) fn normal_world_run(&self, pe: &mut Pe, frame: &mut SmcFrame) -> Result<()> {
        self.normal_world.end_negotiation();
        if (2..8).any(|n| frame.w(n) != 0) {
            return Err(FfaError::InvalidParameters);
        }
        let mut current = self.runnable(pe, VcpuId::from_w1(frame.x[1]))?;
        match current.vcpu.state() {
            State::Preempted | State::Blocked if current.partition.is_dead() => {
                // Every state can be aborted.
                let _ = current.vcpu.step(Event::Abort);
                *frame = SmcFrame::error(FfaError::Aborted);
                if let Flow::Leave = self.unblock_caller(&mut current, frame) {
                    return Ok(());
                }
            }
            State::Waiting => {
                current.vcpu.step(Event::Run)?;
                current.vcpu.model = Model::Run;
                current.vcpu.caller = Caller::Outside;
                current.vcpu.root = current.id;
                let run = SmcFrame::new([function::RUN as u64, current.id.to_w1()]);
                deliver(&mut current.vcpu.context, &run);
                self.enter(&mut current, false);
            }
            State::Blocked => {
                // Whom it waits for will never answer.
                current.vcpu.step(Event::Unblock)?;
                deliver(
                    &mut current.vcpu.context,
                    &SmcFrame::error(FfaError::Aborted),
                );
                self.re_enter(&mut current);
            }
            _ => {
                current.vcpu.step(Event::Run)?;
                self.re_enter(&mut current);
            }
        }
        self.run(pe, current, frame);
        Ok(())
    }

    /// The context that `FFA_RUN` on `id` enters: that one, or the end of the chain that starts at it: a preempted context, or one
    /// that is blocked on a context whose PE was turned off meanwhile.
    ///
    /// A chain leads through partitions that failed meanwhile, so that those that they called come to an end.
    fn runnable(&self, pe: &Pe, id: VcpuId) -> Result<Current<'_, H::Context>> {
        let mut current = self.look_at(pe, id)?;
        match current.vcpu.state() {
            State::Preempted | State::Blocked if current.vcpu.caller != Caller::Outside => {
                return Err(FfaError::Denied);
            }
            State::Preempted | State::Blocked => {}
            _ if current.partition.is_dead() => return Err(FfaError::Aborted),
            _ => {}
        }
        while current.vcpu.state() == State::Blocked {
            // A chain stays on its PE, except for contexts that may migrate. One that runs elsewhere cannot be claimed.
            let next = match self.look_at(pe, current.vcpu.callee) {
                Ok(next) => next,
                Err(FfaError::InvalidParameters) => return Err(FfaError::Denied),
                Err(error) => return Err(error),
            };
            if !next.vcpu.works_for(current.id) {
                break;
            }
            current = next;
        }
        Ok(current)
    }

    /// Claims the context `id`, of a partition dead or alive, without changing its state. `INVALID_PARAMETERS` if there is none or it is pinned to
    /// another PE, `BUSY` if another PE has it.
    fn look_at(&self, pe: &Pe, id: VcpuId) -> Result<Current<'_, H::Context>> {
        let partition = self
            .partition(id.partition)
            .ok_or(FfaError::InvalidParameters)?;
        let frozen = partition.frozen().ok_or(FfaError::InvalidParameters)?;
        if id.index >= frozen.config.vcpu_count || id.index != Self::index_on(pe, frozen) {
            return Err(FfaError::InvalidParameters);
        }
        let vcpu = partition
            .vcpus
            .get(id.index as usize)
            .ok_or(FfaError::InvalidParameters)?;
        let vcpu = vcpu.try_lock().ok_or(FfaError::Busy)?;
        Ok(Current {
            partition,
            frozen,
            id,
            vcpu,
        })
    }

    /// `FFA_RUN` from a partition. It may only run a context that it lent cycles to before and that was preempted since; a Non-secure
    /// interrupt stops the whole chain here, so there is never such a context: `DENIED` for every partition, `INVALID_PARAMETERS` for an id
    /// that is not one, `NOT_SUPPORTED` below v1.1.
    pub(super) fn partition_run(&self, current: &Current<'_, H::Context>) -> FfaError {
        if current.partition.endpoint.version() < Version::V1_1 {
            return FfaError::NotSupported;
        }
        let target = VcpuId::from_w1(current.vcpu.context.gprs()[1]);
        let count = self
            .partition(target.partition)
            .and_then(Partition::frozen)
            .map_or(0, |frozen| frozen.config.vcpu_count);
        if target.index < count {
            FfaError::Denied
        } else {
            FfaError::InvalidParameters
        }
    }
}
