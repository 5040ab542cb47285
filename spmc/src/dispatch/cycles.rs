//! CPU cycles: `FFA_MSG_WAIT`, `FFA_YIELD`, `FFA_RUN`, and the end of initialisation (FF-A v1.0 chapter 9, v1.1 section 8).

use crate::error::{FfaError, Result};
use crate::ffa::{SmcFrame, Version, function};
use crate::hal::{Context, Hal};
use crate::id::VcpuId;
use crate::partition::Partition;
use crate::partition::vcpu::{Call, Caller, Event, Model, State};
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
        pe: &Pe,
        current: &mut Current<'s, H::Context>,
        frame: &mut SmcFrame,
    ) -> Result<Flow> {
        let endpoint = &current.partition.endpoint;
        let [_, x1, x2, x3, x4, x5, x6, x7, ..] = *current.vcpu.context.gprs();
        let flags = if endpoint.version() >= Version::V1_2 {
            RETAIN_RX
        } else {
            0
        };
        if (x1 | x2 & !flags | x3 | x4 | x5 | x6 | x7) as u32 != 0 {
            return Err(FfaError::InvalidParameters);
        }
        let retain = x2 & flags != 0;
        let waits = current.vcpu.model.on(Call::Wait)?;
        if !retain {
            self.release_rx_on_wait(endpoint);
        }
        current.vcpu.step(waits)?;
        self.rest(pe, current);
        // A handler works for nobody who would read it.
        if current.vcpu.model != Model::Interrupt {
            *frame = SmcFrame::new([function::MSG_WAIT as u64, current.id.to_w1()]);
        }
        Ok(self.give_back(current, frame))
    }

    /// `FFA_YIELD` from a partition: whoever lent it the PE gets it back, with the time in w2 and w3 (in nanoseconds) after which the
    /// partition wants to go on; it goes on when `FFA_RUN` says so.
    ///
    /// `NOT_SUPPORTED` below v1.1, `INVALID_PARAMETERS` for a reserved register, `DENIED` by the run-time model.
    pub(super) fn partition_yield<'s>(
        &'s self,
        current: &mut Current<'s, H::Context>,
        frame: &mut SmcFrame,
    ) -> Result<Flow> {
        let version = current.partition.endpoint.version();
        if version < Version::V1_1 {
            return Err(FfaError::NotSupported);
        }
        let [_, w1, w2, w3, rest @ ..] = current.vcpu.context.gprs();
        if rest.iter().take(4).chain([w1]).any(|w| *w as u32 != 0) {
            return Err(FfaError::InvalidParameters);
        }
        let answer = SmcFrame::new([
            function::YIELD as u64,
            current.id.to_w1(),
            *w2 as u32 as u64,
            *w3 as u32 as u64,
        ]);
        let yields = current.vcpu.model.on(Call::Yield(version))?;
        current.vcpu.step(yields)?;
        *frame = answer;
        Ok(self.give_back(current, frame))
    }

    /// `FFA_ERROR` from a partition: its initialisation failed, or so did what it was asked to do.
    ///
    /// A requester gets the code. One that was merely given cycles by `FFA_RUN` had nothing to do: that reads as `FFA_MSG_WAIT`.
    ///
    /// `DENIED` to one that has to resume another first.
    pub(super) fn partition_error<'s>(
        &'s self,
        pe: &Pe,
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
            Model::Resume => return Err(FfaError::Denied),
            Model::Run | Model::Interrupt => {
                SmcFrame::new([function::MSG_WAIT as u64, current.id.to_w1()])
            }
        };
        current.vcpu.step(Event::Wait)?;
        self.rest(pe, current);
        Ok(self.give_back(current, frame))
    }

    /// `FFA_RUN` from the Normal world: gives cycles to a waiting context or to one that yielded, or resumes the chain that was preempted
    /// under it.
    ///
    /// `INVALID_PARAMETERS` for a reserved register, an unknown partition or context, or one pinned to another PE; `BUSY` if it
    /// runs on another PE; `DENIED` if the Normal world is not the one who runs it; `ABORTED` if it failed.
    pub(super) fn normal_world_run(&self, pe: &mut Pe, frame: &mut SmcFrame) -> Result<()> {
        self.normal_world.end_negotiation();
        if (2..8).any(|n| frame.w(n) != 0) {
            return Err(FfaError::InvalidParameters);
        }
        let target = VcpuId::from_w1(frame.x[1]);
        let mut current = self.runnable(pe, target)?;
        pe.root = target;
        match current.vcpu.state() {
            State::Preempted | State::Yielded | State::Blocked if current.partition.is_dead() => {
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
                self.lend_cycles(&mut current, false);
            }
            State::Yielded => {
                current.vcpu.step(Event::Run)?;
                forget_caller(&mut current);
                self.lend_cycles(&mut current, false);
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
                if current.id == target {
                    forget_caller(&mut current);
                }
                self.re_enter(&mut current);
            }
        }
        self.run(pe, current, frame);
        Ok(())
    }

    /// Puts a context on the PE whose `FFA_MSG_WAIT` or `FFA_YIELD` is completed by `FFA_RUN`.
    fn lend_cycles(&self, current: &mut Current<'_, H::Context>, caller_masked: bool) {
        let run = SmcFrame::new([function::RUN as u64, current.id.to_w1()]);
        deliver(&mut current.vcpu.context, &run);
        self.enter(current, caller_masked);
    }

    /// The context that `FFA_RUN` on `id` enters: that one, or the end of the chain that starts at it: a preempted context, or one
    /// that is blocked on a context whose PE was turned off meanwhile.
    ///
    /// A chain leads through partitions that failed meanwhile, so that those that they called come to an end.
    fn runnable(&self, pe: &Pe, id: VcpuId) -> Result<Current<'_, H::Context>> {
        let mut current = self.look_at(pe, id)?;
        match current.vcpu.state() {
            State::Preempted | State::Blocked | State::Yielded
                if current.vcpu.caller.context().is_none() || self.is_abandoned(&current) => {}
            State::Preempted | State::Blocked | State::Yielded => return Err(FfaError::Denied),
            _ if current.partition.is_dead() => return Err(FfaError::Aborted),
            _ => {}
        }
        loop {
            if self.is_held_elsewhere(pe, &current) {
                return Err(FfaError::Denied);
            }
            if current.vcpu.state() != State::Blocked {
                break;
            }
            // One that runs elsewhere cannot be claimed.
            let next = self.context(current.vcpu.callee)?;
            if !next.vcpu.works_for(current.id) {
                break;
            }
            // A chain stays on its PE, except for contexts that may migrate.
            if next.id.index != Self::index_on(pe, next.frozen) {
                return Err(FfaError::Denied);
            }
            current = next;
        }
        Ok(current)
    }

    /// Whether `current` yielded to a context that is no more, or was stopped for it, so that nobody but the Normal world can run it.
    fn is_abandoned(&self, current: &Current<'_, H::Context>) -> bool {
        if current.vcpu.state() == State::Blocked {
            return false;
        }
        let caller = current.vcpu.caller.context();
        // One that cannot be claimed runs. One that is in the same chain gets its answer.
        caller
            .and_then(|id| self.context(id).ok())
            .filter(|caller| !caller.vcpu.waits_for(current.id))
            .is_some_and(|caller| {
                let began_anew = current.vcpu.state() == State::Preempted
                    && !caller.vcpu.must_resume(current.id);
                caller.partition.is_dead() || caller.vcpu.state() == State::Off || began_anew
            })
    }

    /// Claims the context `id`, of a partition dead or alive, without changing its state. `INVALID_PARAMETERS` if there is none or it is pinned to
    /// another PE, `BUSY` if another PE has it.
    pub(super) fn look_at(&self, pe: &Pe, id: VcpuId) -> Result<Current<'_, H::Context>> {
        let frozen = self.partition(id.partition).and_then(Partition::frozen);
        if frozen.is_none_or(|frozen| id.index != Self::index_on(pe, frozen)) {
            return Err(FfaError::InvalidParameters);
        }
        self.context(id)
    }

    /// `FFA_RUN` from a partition: resumes a context that yielded to it, or that was stopped for its interrupts. `current` blocks meanwhile, and is
    /// answered by what that context does next.
    ///
    /// `NOT_SUPPORTED` below v1.1, `INVALID_PARAMETERS` for a reserved register or an id that is not one of a context on this PE, `BUSY` if
    /// another PE has it, `ABORTED` if it failed, `DENIED` if it is no such context or by the run-time model. What a Non-secure interrupt
    /// preempted is nobody's to resume: that stops the whole chain, and the Normal world resumes it as a whole.
    pub(super) fn partition_run<'s>(
        &'s self,
        pe: &Pe,
        current: &mut Current<'s, H::Context>,
    ) -> Result<Flow> {
        if current.partition.endpoint.version() < Version::V1_1 {
            return Err(FfaError::NotSupported);
        }
        let [_, w1, rest @ ..] = current.vcpu.context.gprs();
        if rest.iter().take(6).any(|w| *w as u32 != 0) {
            return Err(FfaError::InvalidParameters);
        }
        let asked = VcpuId::from_w1(*w1);
        let stopped = current.vcpu.has_stopped(asked.partition);
        // A caller that moves cannot know the index of the context that serves it.
        let target = if stopped { current.vcpu.stopped } else { asked };
        if target == current.id || current.vcpu.model == Model::Resume && !stopped {
            return Err(FfaError::Denied);
        }
        let mut callee = match self.resumable(pe, current, target) {
            Err(error) if stopped && error != FfaError::Busy => {
                // It came to its end without that.
                current.vcpu.model = current.vcpu.model_before;
                return Err(FfaError::Aborted);
            }
            callee => callee?,
        };
        let blocks = current.vcpu.model.on(Call::Run)?;
        if stopped {
            current.vcpu.model = current.vcpu.model_before;
        }
        callee.vcpu.step(Event::Run)?;
        // `current` runs, so it can block.
        current.vcpu.step(blocks)?;
        current.vcpu.callee = callee.id;
        let masked = current.vcpu.masked;
        self.hal.save(&mut current.vcpu.context);
        *current = callee;
        if stopped {
            self.re_enter(current);
        } else {
            self.lend_cycles(current, masked);
        }
        Ok(Flow::Continue)
    }
}

/// Whoever `current` gave the PE to, or lost it to, is gone: the Normal world runs it from now on.
fn forget_caller<C>(current: &mut Current<'_, C>) {
    if let Caller::Vcpu(_) = current.vcpu.caller {
        current.vcpu.caller = Caller::Heir(VcpuId::NONE);
    }
}
