//! CPU cycles: `FFA_MSG_WAIT`, `FFA_YIELD`, `FFA_RUN`, and the end of initialisation (FF-A v1.0
//! chapter 9, v1.1 section 8).

use crate::error::{FfaError, Result, Status};
use crate::ffa::{Answer, FunctionId, SmcFrame, function};
use crate::hal::{Context, Hal};
use crate::id::{PartitionId, VcpuId};
use crate::invariant::Invariant;
use crate::partition::vcpu::{Begin, Caller, Event, Leave, Model, State};
use crate::spmc::{Pe, Spmc};

use super::Flow;
use crate::dispatch::Instance;
use crate::dispatch::context::{Current, Place, complete};

/// `FFA_MSG_WAIT` w2 bit 0 (1.2): the caller keeps its RX buffer.
const RETAIN_RX: u64 = 1;

/// The time, in milliseconds, in which only the caller may resume a callee that yielded or was
/// stopped. After that the Normal world may resume the callee, too. A well-behaved caller needs
/// microseconds, and the Normal world resumes only contexts that it was told of.
const CALLER_MS: u32 = 1000;

impl<H: Hal> Spmc<H> {
    /// Handles `FFA_MSG_WAIT` from a partition: its context waits, and RX goes back to the SPMC.
    ///
    /// `DENIED` while a direct request is processed.
    pub(in crate::dispatch) fn msg_wait<'s>(
        &'s self,
        pe: &mut Pe,
        current: &mut Current<'s, H::Context>,
        frame: &mut SmcFrame,
    ) -> Result<Flow> {
        let endpoint = &current.partition.endpoint;
        // The table of calls makes sure that w2 is zero below v1.2.
        let retain = current.vcpu.context.gprs()[2] & RETAIN_RX != 0;
        current.vcpu.model().permits(Leave::Wait)?;
        if !retain {
            self.release_rx_on_wait(endpoint);
        }
        current.vcpu.step(Event::Wait)?;
        self.end_work(pe, current);
        // The answer of a handler of interrupts is read by nobody.
        if current.vcpu.model() != Model::Interrupt {
            frame.answer(Answer::new([function::MSG_WAIT as u64, current.id.to_w1()]));
        }
        Ok(self.return_pe(current, frame))
    }

    /// Handles `FFA_YIELD` from a partition: its caller gets the PE back, with the time in w2 and
    /// w3 (in nanoseconds) after which the partition wants to go on. `FFA_RUN` resumes the
    /// partition, with `FFA_SUCCESS`. The partition goes on at once if it handles secure
    /// interrupts, as there is nobody to yield to, or if EL3 waits for an answer.
    ///
    /// `DENIED` if the run-time model does not permit the call.
    pub(in crate::dispatch) fn partition_yield<'s>(
        &'s self,
        pe: &Pe,
        current: &mut Current<'s, H::Context>,
        frame: &mut SmcFrame,
    ) -> Result<Flow> {
        let version = current.partition.endpoint.version();
        let [_, _, w2, w3, ..] = current.vcpu.context.gprs();
        let answer = Answer::new([
            function::YIELD as u64,
            current.id.to_w1(),
            *w2 as u32 as u64,
            *w3 as u32 as u64,
        ]);
        let wish = *w3 << 32 | *w2 as u32 as u64;
        current.vcpu.model().permits(Leave::Yield(version))?;
        if current.vcpu.model() == Model::Interrupt || pe.el3_waits {
            complete(current, &Answer::success([]));
            return Ok(Flow::Continue);
        }
        current.vcpu.step(Event::Yield(self.time_of_caller(wish)))?;
        frame.answer(answer);
        Ok(self.return_pe(current, frame))
    }

    /// Handles `FFA_ERROR` from a partition: its initialisation or its work failed.
    ///
    /// A requester gets the code. A context that was given cycles by `FFA_RUN` had no request to
    /// fail: its caller reads `FFA_MSG_WAIT`.
    ///
    /// `DENIED` for a context that has a stopped chain to resume.
    pub(in crate::dispatch) fn partition_error<'s>(
        &'s self,
        pe: &mut Pe,
        current: &mut Current<'s, H::Context>,
        frame: &mut SmcFrame,
    ) -> Result<Flow> {
        let code = current.vcpu.context.gprs()[2] as u32 as u64;
        let answer = match current.vcpu.model() {
            Model::Init => {
                log::error!(
                    "{}: initialisation failed with FFA_ERROR {}",
                    current.frozen.config.name,
                    Status(code)
                );
                return Ok(self.abort(current, frame));
            }
            Model::Request(_) => Answer::new([function::ERROR as u64, 0, code]),
            Model::Resume { .. } => return Err(FfaError::Denied),
            Model::Run | Model::Interrupt => {
                Answer::new([function::MSG_WAIT as u64, current.id.to_w1()])
            }
        };
        frame.answer(answer);
        current.vcpu.step(Event::Wait)?;
        self.end_work(pe, current);
        Ok(self.return_pe(current, frame))
    }

    /// Handles `FFA_RUN` from the Normal world: gives cycles to a context that waits, or resumes
    /// the chain that begins at a context that yielded, was stopped, or was preempted.
    ///
    /// `INVALID_PARAMETERS` for a reserved register, an unknown partition or context, or a context
    /// that is pinned to another PE; `BUSY` if the context runs on another PE; `DENIED` if it is
    /// another caller's to resume; `ABORTED` if its partition failed.
    pub(in crate::dispatch) fn normal_world_run(
        &self,
        pe: &mut Pe,
        frame: &mut SmcFrame,
    ) -> Result<()> {
        Instance::<H::Context>::NormalWorld(&self.normal_world)
            .begin(FunctionId(function::RUN), &frame.x)?;
        let target = VcpuId::from_w1(frame.x[1]);
        let error_for = |error| match self.member(target.partition) {
            Some(member) => self.why_not(member, error, &self.normal_world),
            None => error,
        };
        let mut current = self.runnable(pe, target).map_err(error_for)?;
        pe.root = target;
        match current.vcpu.state() {
            // All of these but `Waiting` are errors.
            State::Off | State::Waiting | State::Running | State::Aborted | State::Halted => {
                current.vcpu.begin(Begin::Run).map_err(error_for)?;
                let run = Answer::new([function::RUN as u64, current.id.to_w1()]);
                self.enter_with(&mut current, &run, false);
            }
            state => {
                if state != State::Preempted {
                    take_over(self, &mut current, target);
                    self.mask_chain(&mut current, false);
                }
                if let Flow::Leave = self.go_on(&mut current, false, frame) {
                    return Ok(());
                }
            }
        }
        self.run(pe, current, frame);
        Ok(())
    }

    /// Resumes `current`, the last member of a chain that lost the PE in the middle of its work.
    fn go_on<'s>(
        &'s self,
        current: &mut Current<'s, H::Context>,
        caller_masked: bool,
        frame: &mut SmcFrame,
    ) -> Flow {
        // The claim keeps the state as it is, so each of these events is allowed.
        match current.vcpu.state() {
            _ if current.partition.is_dead() => {
                Invariant::Transition.expect(current.vcpu.step(Event::Abort).is_ok());
                frame.answer(Answer::error(FfaError::Aborted));
                return self.unblock_caller(current, frame);
            }
            State::Yielded(_) => {
                Invariant::Transition.expect(current.vcpu.step(Event::Resume).is_ok());
                self.enter_with(current, &Answer::success([]), caller_masked);
                return Flow::Continue;
            }
            State::Blocked(callee) => {
                // The callee has failed or gone off, and will never answer.
                Invariant::Transition.expect(current.vcpu.step(Event::Unblock(callee)).is_ok());
                complete(current, &Answer::error(FfaError::Aborted));
            }
            _ => {
                Invariant::Transition.expect(current.vcpu.step(Event::Resume).is_ok());
            }
        }
        self.re_enter(current);
        Flow::Continue
    }

    /// Puts a context on the PE. `answer` completes the call by which the context had left the PE.
    #[inline(never)]
    fn enter_with(
        &self,
        current: &mut Current<'_, H::Context>,
        answer: &Answer,
        caller_masked: bool,
    ) {
        complete(current, answer);
        self.enter(current, caller_masked);
    }

    /// Returns the time until which only the caller may resume a callee that wants to go on in
    /// `wish` nanoseconds.
    pub(super) fn time_of_caller(&self, wish: u64) -> u64 {
        let wish = u32::try_from(wish / 1_000_000).unwrap_or(u32::MAX);
        let time = self.hal.ticks(wish.saturating_add(CALLER_MS));
        self.hal.now().saturating_add(time)
    }

    /// Claims the context that `FFA_RUN` on `id` enters: the last member of the chain that begins
    /// at `id`.
    ///
    /// Members whose partitions failed stay in the chain, so that the contexts that they called can
    /// finish.
    fn runnable(&self, pe: &Pe, id: VcpuId) -> Result<Current<'_, H::Context>> {
        if self.id_on(pe, id.partition)? != id {
            return Err(FfaError::InvalidParameters);
        }
        loop {
            let root = self.context(id)?;
            if let State::Off | State::Waiting | State::Running | State::Aborted | State::Halted =
                root.vcpu.state()
            {
                let is_dead = root.partition.is_dead();
                return if is_dead {
                    Err(FfaError::Aborted)
                } else {
                    Ok(root)
                };
            }
            let hold = self.hold_on(&root);
            if hold == Hold::Waits {
                return Err(FfaError::Denied);
            }
            if let Some(end) = self.end_of_chain(pe, root)? {
                let is_held = match end.vcpu.state() {
                    State::Yielded(until) | State::Stopped(until) => {
                        // If the last member failed, anybody may run the chain, to be told so.
                        hold == Hold::MayRun && !end.partition.is_dead() && self.hal.now() < until
                    }
                    _ => false,
                };
                return if is_held {
                    Err(FfaError::Denied)
                } else {
                    Ok(end)
                };
            }
        }
    }

    /// Returns the hold that the caller of `root`, which is in the middle of its work, still has on
    /// it.
    fn hold_on(&self, root: &Current<'_, H::Context>) -> Hold {
        let link = root.vcpu.caller().link();
        let place = link.and_then(|link| Some((link, self.place(link)?)));
        match place {
            Some((link, Place { partition, slot })) if slot.link() == link => {
                if slot.state() == State::Blocked(root.vcpu.link()) {
                    Hold::Waits
                } else if partition.is_dead() || slot.state() == State::Off {
                    Hold::Ended
                } else {
                    Hold::MayRun
                }
            }
            _ => Hold::Ended,
        }
    }

    /// Returns the id of the context of `partition`, dead or alive, that serves calls on this PE.
    /// `INVALID_PARAMETERS` if there is no such partition.
    #[inline]
    pub(super) fn id_on(&self, pe: &Pe, partition: PartitionId) -> Result<VcpuId> {
        let frozen = self.partition(partition).map(|partition| &partition.frozen);
        let index = Self::index_on(pe, frozen.ok_or(FfaError::InvalidParameters)?);
        Ok(VcpuId { partition, index })
    }

    /// Handles `FFA_RUN` from a partition: resumes a context that yielded to `current`, or a chain
    /// that was stopped for it. `current` blocks, and its call completes with what that context
    /// does next.
    ///
    /// `INVALID_PARAMETERS` for an id that does not name a context on this PE, except that any
    /// context of the partition names a stopped chain; `BUSY` if another PE runs the context;
    /// `ABORTED` if its partition failed; `DENIED` if the context is not one that `current` may
    /// resume, or if the run-time model does not permit the call. A partition never resumes what a
    /// Non-secure interrupt preempted: the interrupt preempts the whole chain, and the Normal world
    /// resumes the whole chain.
    pub(in crate::dispatch) fn partition_run<'s>(
        &'s self,
        pe: &Pe,
        current: &mut Current<'s, H::Context>,
        frame: &mut SmcFrame,
    ) -> Result<Flow> {
        let asked = VcpuId::from_w1(current.vcpu.context.gprs()[1]);
        let stopped = current.vcpu.model().stopped();
        // `current` may run nobody else before it has resumed the stopped chain.
        let stopped_at = stopped.and_then(|link| self.name(link));
        if stopped_at.is_some_and(|id| id.partition != asked.partition) {
            return Err(FfaError::Denied);
        }
        let (callee, mut end) = match self.resumable(pe, current, asked) {
            Err(error) if stopped.is_some() && error != FfaError::Busy => {
                // The stopped chain has ended without `current`.
                current.vcpu.forget_stopped();
                return Err(FfaError::Aborted);
            }
            found => found?,
        };
        current.vcpu.model().permits(Leave::Run)?;
        // Whatever masks interrupts for `current` masks them for all contexts that work for it.
        let masked = current.vcpu.masked;
        self.mask_chain(&mut end, masked);
        // `current` runs, so the event is allowed.
        current.vcpu.block_to_resume(callee)?;
        self.hal.save(&mut current.vcpu.context);
        *current = end;
        let flow = self.go_on(current, masked, frame);
        if let Flow::Continue = flow
            && !pe.handles_interrupts
        {
            // Blocked members of the chain may have got interrupts meanwhile.
            self.stop_for_caller(current);
        }
        Ok(flow)
    }
}

/// Tells which hold a caller has on a context that it called.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Hold {
    /// None: the caller has ended, or is the Normal world.
    Ended,
    /// The caller goes on, and may resume the context.
    MayRun,
    /// The caller is blocked on the context.
    Waits,
}

/// Makes the chain from `root` to `end` the Normal world's to run, in place of the former caller's.
fn take_over<H: Hal>(spmc: &Spmc<H>, end: &mut Current<'_, H::Context>, root: VcpuId) {
    let leave = |member: &mut Current<'_, H::Context>| {
        if member.id == root && member.vcpu.caller() != Caller::Outside {
            member.vcpu.inherit(Caller::NOBODY);
        }
        member.id == root
    };
    if !leave(end) {
        spmc.any_caller(end, leave);
    }
}
