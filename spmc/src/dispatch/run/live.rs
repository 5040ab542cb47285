//! Live activation: the image of a partition is replaced by another version while everything else
//! goes on (FF-A v1.3, framework messages 10 to 15).
//!
//! EL3 asks for it in two messages. `START` has the new package checked, the partition stopped and
//! the new image loaded; `FINISH` has the new image entered. A package that is not good is refused
//! before anything has stopped. The partition stops itself, by its response to a stop message.
//! Until the new image has initialised, requests to the partition get `BUSY` or `NOT_READY`; what
//! needs no context of it goes on: notifications, interrupts, memory, indirect messages.
//!
//! A new image that fails, or that is not entered in time, gives way to the package that was known
//! to be good.

use core::sync::atomic::Ordering;

use crate::addr::{Pa, PageRange};
use crate::boot::{Entry, PackageError, announced};
use crate::error::{FfaError, Result};
use crate::ffa::framework::{
    FINISH_RESPONSE, FOR_LIVE_ACTIVATION, START_REQUEST, START_RESPONSE, STOP_REQUEST,
    STOP_RESPONSE,
};
use crate::ffa::{Answer, FunctionId, SmcFrame, function};
use crate::hal::{Context, Hal};
use crate::id::{PartitionId, VcpuId};
use crate::partition::life::Life;
use crate::partition::vcpu::{Begin, Caller, Message, Request, State};
use crate::partition::{Partition, Slot, Stored};
use crate::spmc::{Pe, Spmc};

use crate::dispatch::context::{Current, Member, complete};

impl<H: Hal> Spmc<H> {
    /// Answers a message by which `source` begins or ends a live activation. `INVALID_PARAMETERS`
    /// if the message is not for the SPMC; all other errors are in the answer.
    #[cold]
    #[inline(never)]
    pub(super) fn live_activation(
        &self,
        pe: &mut Pe,
        source: PartitionId,
        frame: &mut SmcFrame,
    ) -> Result<()> {
        let spmc = self.spmc_id();
        if PartitionId(frame.w(1) as u16) != spmc {
            return Err(FfaError::InvalidParameters);
        }
        let id = frame.function();
        let [x4, x5] = [frame.x[4], frame.x[5]].map(|x| if id.is_64() { x } else { x & LOW });
        let named = u16::try_from(frame.w(3)).ok();
        let member = named.and_then(|id| self.member(PartitionId(id)));
        let member = member
            .filter(|member| member.partition.life() != Life::Destroyed)
            .ok_or(FfaError::InvalidParameters);
        let (kind, status) = if frame.w(2) == START_REQUEST {
            let started =
                member.and_then(|member| self.start_activation(pe, member, source, x4, x5));
            (START_RESPONSE, started)
        } else {
            let finished = member.and_then(|member| self.finish_activation(pe, member, source));
            (FINISH_RESPONSE, finished)
        };
        let status = status.err().map_or(0, FfaError::to_reg);
        frame.answer(Answer::new([
            function::MSG_SEND_DIRECT_RESP_32 as u64,
            u64::from(spmc.0) << 16 | u64::from(source.0),
            kind.into(),
            status,
        ]));
        Ok(())
    }

    /// Stops a partition and loads its new package, which is at `base` and has at most that many
    /// pages.
    ///
    /// `INVALID_PARAMETERS` for a range that is not Secure memory of nobody, or a package that is
    /// not one for this partition; `NO_MEMORY` without room for a copy of the package;
    /// `NOT_SUPPORTED` without `live-activation-support`; `DENIED` if the partition is activated
    /// already, or has not initialised; `BUSY` if another one is activated; `ABORTED` if it failed;
    /// `RETRY` while it works. Nothing has changed then. The partition's own code if it refuses to
    /// stop; `ABORTED` if it fails over that, or if the new image cannot be loaded, and the old one
    /// goes on.
    fn start_activation(
        &self,
        pe: &mut Pe,
        member: Member<'_, H::Context>,
        source: PartitionId,
        base: u64,
        count: u64,
    ) -> Result<()> {
        let base = Pa::new(base);
        let staged = PageRange::new(base, count)
            .filter(|_| base.is_page_aligned() && base.raw() != 0 && count != 0)
            .ok_or(FfaError::InvalidParameters)?;
        let Member { partition, frozen } = member;
        if frozen.config.live_activation.is_none() {
            return Err(FfaError::NotSupported);
        }
        let begun = self.activation.lock().start(frozen.index, source);
        begun.inspect_err(|_| self.look_for_overdue())?;
        let stopped = self
            .stage_for(pe, member, staged)
            .and_then(|()| self.stop_for_activation(pe, member));
        if let Err(error) = stopped {
            self.activation.lock().end();
            return Err(error);
        }
        partition.halt();
        let new = partition.images.lock().new_one();
        if !self.load_stopped(pe, member, new) {
            self.go_back(pe, member);
            return Err(FfaError::Aborted);
        }
        let until = self.limit();
        self.activation.lock().loaded(until);
        Ok(())
    }

    /// Checks that the partition could stop now, and that the package is good. Errors as
    /// [`Self::start_activation`].
    fn stage_for(
        &self,
        pe: &mut Pe,
        Member { partition, frozen }: Member<'_, H::Context>,
        staged: PageRange<Pa>,
    ) -> Result<()> {
        let state = partition.vcpus.first().map(|slot| slot.state());
        match (partition.life(), state) {
            (Life::Running, Some(State::Waiting)) => {}
            (Life::Running, _) => return Err(FfaError::Retry),
            (Life::Aborted | Life::Stopped | Life::Destroyed, _) => return Err(FfaError::Aborted),
            (Life::Starting | Life::Stopping | Life::Halted, _) => return Err(FfaError::Denied),
        }
        self.stage(pe, partition, staged).map_err(|error| {
            log::warn!("{}: no new image: {error}", frozen.config.name);
            match error {
                PackageError::LongerThanCopy { .. } => FfaError::NoMemory,
                _ => FfaError::InvalidParameters,
            }
        })
    }

    /// Asks the partition to stop, on this PE. Errors as [`Self::start_activation`].
    fn stop_for_activation(&self, pe: &mut Pe, member: Member<'_, H::Context>) -> Result<()> {
        let Member { partition, frozen } = member;
        let spmc = self.spmc_id();
        let request = Request {
            requester: spmc,
            kind: Message::DirectReq,
            message: STOP_RESPONSE,
        };
        let work = Begin::Request(request, Caller::Outside);
        let claimed = self.claim(pe, member, work);
        let mut current = claimed.map_err(|error| match error {
            FfaError::Busy => FfaError::Retry,
            error => error,
        })?;
        partition.begin_stop();
        pe.root = current.id;
        let message = Answer::new([
            function::MSG_SEND_DIRECT_REQ_32 as u64,
            u64::from(spmc.0) << 16 | u64::from(frozen.config.id.0),
            STOP_REQUEST.into(),
            FOR_LIVE_ACTIVATION.into(),
        ]);
        complete(&mut current, &message);
        let mut answer = SmcFrame::ZERO;
        self.run_for_el3(pe, current, &mut answer);
        let refusal = match answer.function().0 {
            function::MSG_SEND_DIRECT_RESP_32 | function::MSG_SEND_DIRECT_RESP_64 => {
                match answer.w(3) {
                    0 => return Ok(()),
                    code => FfaError::from_reg(code.into()).unwrap_or(FfaError::Denied),
                }
            }
            function::ERROR if !partition.is_dead() => {
                FfaError::from_reg(answer.x[2]).unwrap_or(FfaError::Denied)
            }
            _ => FfaError::Aborted,
        };
        partition.resume();
        Err(refusal)
    }

    /// Checks the response by which `current` stops: a state that it hands over must be where its
    /// manifest says, and the pages of the new image must be its own.
    ///
    /// `INVALID_PARAMETERS` for any other state, `DENIED` while such a page is an RX or TX buffer,
    /// lent, shared or donated.
    pub(super) fn may_halt(&self, id: FunctionId, current: &Current<'_, H::Context>) -> Result<()> {
        let config = &current.frozen.config;
        let regions = &config.memory_regions;
        let buffer = config
            .live_activation
            .and_then(|live| regions.get(live.state_buffer?))
            .map_or([0, 0], |region| {
                [region.range.base().raw(), region.range.size()]
            });
        // The 32-bit form has whole registers where the address needs them.
        let is_wide = id.is_64() || buffer.iter().any(|value| *value > LOW);
        let [_, _, _, _, x4, x5, ..] = *current.vcpu.context.gprs();
        let told = [x4, x5].map(|x| if is_wide { x } else { x & LOW });
        if told != buffer {
            return Err(FfaError::InvalidParameters);
        }
        if !self.has_room_for_new_image(current.partition) {
            return Err(FfaError::Denied);
        }
        Ok(())
    }

    /// Has the new image of a partition entered, which takes its place from now on.
    ///
    /// `NOT_SUPPORTED` without `live-activation-support`; `ABORTED` if the partition failed, or if
    /// it fails in its initialisation, and the old package is loaded again; `DENIED` unless
    /// `source` had the new image loaded.
    fn finish_activation(
        &self,
        pe: &mut Pe,
        member: Member<'_, H::Context>,
        source: PartitionId,
    ) -> Result<()> {
        let Member { partition, frozen } = member;
        if frozen.config.live_activation.is_none() {
            return Err(FfaError::NotSupported);
        }
        if partition.is_dead() {
            return Err(FfaError::Aborted);
        }
        self.activation.lock().finish(frozen.index, source)?;
        pe.el3_waits = true;
        let entered = self.enter_image(pe, member, true);
        pe.el3_waits = false;
        self.activation.lock().end();
        if !entered {
            return Err(FfaError::Aborted);
        }
        log::info!("{} runs a new image", frozen.config.name);
        Ok(())
    }

    /// Enters the image that was loaded in place of one that stopped. Returns whether it has
    /// initialised; if it `is_new`, its package is the good one then.
    fn enter_image(&self, pe: &mut Pe, member: Member<'_, H::Context>, is_new: bool) -> bool {
        let Member { partition, frozen } = member;
        let config = &frozen.config;
        self.clean_buffers(partition);
        partition.begin_trial();
        let turns = partition.turns();
        let entry = Entry {
            address: config.entry_point(),
            boot_info: announced(config),
            live: config.live_activation.map(|live| live.register),
        };
        self.initialise(pe, partition, frozen, &entry);
        // Other PEs can call the partition by now. If it has failed since, or failed and was loaded
        // again, the good package is the old one.
        let mut images = partition.images.lock();
        let is_well = partition.turns() == turns && partition.life() == Life::Running;
        if is_well {
            images.end_trial(is_new);
        }
        is_well
    }

    /// Makes what came in RX since the partition stopped visible to an image that starts without
    /// caches.
    fn clean_buffers(&self, partition: &Partition<H::Context>) {
        let mailbox = partition.endpoint.mailbox.lock();
        if let Some(buffers) = mailbox.buffers() {
            let rx = buffers.rx;
            self.hal.clean(buffers.world, rx.base(), rx.size());
        }
    }

    /// Loads a package in place of the image that has stopped. Returns whether that went well.
    fn load_stopped(
        &self,
        pe: &mut Pe,
        Member { partition, frozen }: Member<'_, H::Context>,
        stored: Option<Stored>,
    ) -> bool {
        let Some(stored) = stored else { return false };
        let loaded = self.load_in_place(pe, partition, &stored);
        if let Err(error) = &loaded {
            log::error!("{}: the image is not loaded: {error}", frozen.config.name);
        }
        loaded.is_ok()
    }

    /// Brings the image back that was known to be good, in place of one that was not entered. It
    /// finds what it handed over. The partition ends if that image cannot be loaded either.
    pub(super) fn go_back(&self, pe: &mut Pe, member: Member<'_, H::Context>) {
        let Member { partition, frozen } = member;
        let good = partition.images.lock().good();
        if self.load_stopped(pe, member, good) {
            if self.enter_image(pe, member, false) {
                log::info!("{} runs its former image again", frozen.config.name);
            }
        } else if let Some(vcpu) = partition.vcpus.first().and_then(Slot::claim) {
            // It runs nowhere, and takes no work.
            let id = VcpuId {
                partition: frozen.config.id,
                index: 0,
            };
            self.end(&mut Current {
                partition,
                frozen,
                id,
                vcpu,
            });
        }
        self.activation.lock().end();
    }

    /// Has a partition go back to its former image if the new one was not entered in time.
    #[cold]
    pub(super) fn look_for_overdue(&self) {
        let now = self.hal.now();
        let overdue = self.activation.lock().take_overdue(now);
        if let Some(member) = overdue.and_then(|index| self.member_at(index)) {
            let name = member.frozen.config.name;
            log::error!("{name}: its new image was not entered in time");
            let bit = 1_u64.wrapping_shl(member.frozen.index as u32);
            self.aftermath.fetch_or(bit, Ordering::AcqRel);
        }
    }
}

/// The lower half of a register.
const LOW: u64 = u32::MAX as u64;
