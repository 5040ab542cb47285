//! Direct messages (FF-A v1.0 sections 10.2 and 10.3, v1.2 for `FFA_MSG_SEND_DIRECT_REQ2`): the hot
//! path.
//!
//! Requests come from the Normal world, from EL3 or from a partition, responses from the partition
//! that processes the request. The payload, x3 to x7 or x4 to x17, is copied and never interpreted.
//! The order of checks is: reserved registers, ids, UUID, permission to send and receive,
//! availability, run-time model.

mod el3;

use crate::error::{FfaError, Result};
use crate::ffa::call_table::Origin;
use crate::ffa::{FunctionId, SmcFrame, Version, framework, function};
use crate::hal::{Context, Hal};
use crate::id::{PartitionId, Uuid};
use crate::manifest::config::Messaging;
use crate::partition::Endpoint;
use crate::partition::life::{Life, admits};
use crate::partition::vcpu::{self, Begin, Caller, Event, Leave, Message, Model, State};
use crate::spmc::{Pe, Spmc};

use super::Flow;
use crate::dispatch::Instance;
use crate::dispatch::context::{Current, Member};

/// w1 of a direct message.
struct Route {
    source: PartitionId,
    destination: PartitionId,
}

impl Route {
    fn from_w1(w1: u64) -> Self {
        Self {
            source: PartitionId((w1 >> 16) as u16),
            destination: PartitionId(w1 as u16),
        }
    }

    /// Returns whether the message goes from `sender` to another endpoint.
    fn leads_away_from(&self, sender: PartitionId) -> bool {
        self.source == sender && self.destination != sender
    }
}

/// Tells the two kinds of direct messages apart.
trait Kind {
    /// The kind as a value.
    const MESSAGE: Message;

    /// Copies a message. Registers that the kind does not use keep the receiver's values.
    fn pass(id: FunctionId, w2: u32, from: &[u64], to: &mut [u64]);
}

/// `FFA_MSG_SEND_DIRECT_REQ` and its response: x0 to x7, without upper halves in the 32-bit form.
struct DirectReq;

/// `FFA_MSG_SEND_DIRECT_REQ2` and its response: x0 to x17.
struct DirectReq2;

impl Kind for DirectReq {
    const MESSAGE: Message = Message::DirectReq;

    #[inline(always)]
    fn pass(id: FunctionId, w2: u32, from: &[u64], to: &mut [u64]) {
        let mask = if id.is_64() {
            u64::MAX
        } else {
            u32::MAX as u64
        };
        if let (Some(from), Some(to)) = (from.first_chunk::<8>(), to.first_chunk_mut::<8>()) {
            let [_, route, _, payload @ ..] = from;
            let [x3, x4, x5, x6, x7] = payload.map(|register| register & mask);
            // Ids are in w1 in both forms, and w2 was checked. All registers are written in one
            // assignment, so that the compiler makes four stores of it.
            let (id, route, w2) = (id.0 as u64, route & u32::MAX as u64, w2 as u64);
            *to = [id, route, w2, x3, x4, x5, x6, x7];
        }
    }
}

impl Kind for DirectReq2 {
    const MESSAGE: Message = Message::DirectReq2;

    fn pass(id: FunctionId, _: u32, from: &[u64], to: &mut [u64]) {
        if let (Some(from), Some(to)) = (from.first_chunk::<18>(), to.first_chunk_mut::<18>()) {
            *to = *from;
            let [x0, x1, x2, x3, ..] = to;
            *x0 = id.0 as u64;
            *x1 &= u32::MAX as u64;
            if id.0 == function::MSG_SEND_DIRECT_RESP2 {
                (*x2, *x3) = (0, 0);
            }
        }
    }
}

/// A request that has been checked.
#[derive(Clone, Copy)]
struct Request {
    id: FunctionId,
    source: PartitionId,
    /// 0, or the kind of framework message.
    message: u32,
}

impl Request {
    /// Returns the work of whoever processes the request for `caller`.
    #[inline(always)]
    fn work<K: Kind>(self, caller: Caller) -> Begin {
        let request = vcpu::Request {
            requester: self.source,
            kind: K::MESSAGE,
            message: match self.message {
                0 => 0,
                kind => framework::answer_to(kind),
            },
        };
        Begin::Request(request, caller)
    }
}

impl<H: Hal> Spmc<H> {
    /// `FFA_MSG_SEND_DIRECT_REQ` from the Normal world.
    ///
    /// `INVALID_PARAMETERS` for a reserved register or an id that names nobody, `DENIED` if the
    /// receiver does not take requests, `BUSY` if its context on this PE does not wait, `ABORTED`
    /// if it failed. Requests of EL3 come in the same way.
    pub(in crate::dispatch) fn normal_world_request(
        &self,
        pe: &mut Pe,
        id: FunctionId,
        frame: &mut SmcFrame,
    ) -> Result<()> {
        let Route {
            source,
            destination,
        } = Route::from_w1(frame.x[1]);
        if source.is_secure() {
            return self.el3_request(pe, id, frame);
        }
        self.normal_world.end_negotiation();
        if frame.w(2) != 0 {
            return self.kernel_message(pe, id, frame);
        }
        let receiver = self.receiver(destination, &self.normal_world)?;
        let request = Request {
            id,
            source,
            message: 0,
        };
        self.call_for_normal_world::<DirectReq>(pe, receiver, request, frame)
    }

    /// Handles a framework message of the Normal world: of its Hypervisor to a partition, or for
    /// tests one of a live activation, if the SPMC manifest allows that.
    #[cold]
    #[inline(never)]
    fn kernel_message(&self, pe: &mut Pe, id: FunctionId, frame: &mut SmcFrame) -> Result<()> {
        let source = Route::from_w1(frame.x[1]).source;
        if let framework::START_REQUEST | framework::FINISH_REQUEST = frame.w(2)
            && self.manifest.live_activation_from_nwd
            && source == PartitionId::NORMAL_WORLD
        {
            return self.live_activation(pe, source, frame);
        }
        self.vm_message(pe, id, frame)
    }

    /// Handles a framework message of a Hypervisor to a partition. `INVALID_PARAMETERS` if w2 names
    /// none, `DENIED` if the partition did not subscribe to such messages; otherwise as for
    /// requests.
    ///
    /// Xen destroys the bitmaps of a VM before it says that the VM is destroyed, and does not look
    /// at the answer. So what is pending then is dropped when the partition has been told.
    fn vm_message(&self, pe: &mut Pe, id: FunctionId, frame: &mut SmcFrame) -> Result<()> {
        let Route {
            source,
            destination,
        } = Route::from_w1(frame.x[1]);
        let message = frame.w(2);
        Self::check_framework_message(id, source, message)?;
        let receiver = self.live_member(destination, &self.normal_world)?;
        if !Self::subscribes(receiver.frozen, message) {
            return Err(FfaError::Denied);
        }
        let request = Request {
            id,
            source,
            message,
        };
        let vm = PartitionId(frame.w(5) as u16);
        self.call_for_normal_world::<DirectReq>(pe, receiver, request, frame)?;
        let is_vm = !vm.is_secure() && vm != PartitionId::NORMAL_WORLD;
        if message == framework::VM_DESTROYED && is_vm {
            self.notifications.end_vm(vm);
        }
        Ok(())
    }

    /// `FFA_MSG_SEND_DIRECT_REQ2` from the Normal world. Errors as for the first kind,
    /// `INVALID_PARAMETERS` for a UUID that is not the receiver's, `DENIED` if it is a service that
    /// does not take such requests, `NOT_SUPPORTED` below 1.2.
    #[inline(never)]
    pub(in crate::dispatch) fn normal_world_request2(
        &self,
        pe: &mut Pe,
        frame: &mut SmcFrame,
    ) -> Result<()> {
        let Route {
            source,
            destination,
        } = Route::from_w1(frame.x[1]);
        if source.is_secure() {
            return self.el3_request2(pe, frame);
        }
        Instance::<H::Context>::NormalWorld(&self.normal_world)
            .begin(FunctionId(function::MSG_SEND_DIRECT_REQ2), &frame.x)?;
        let uuid = Uuid::from_registers([frame.x[2], frame.x[3]]);
        let receiver = self.receiver2(destination, &uuid, &self.normal_world)?;
        let request = Request {
            id: FunctionId(function::MSG_SEND_DIRECT_REQ2),
            source,
            message: 0,
        };
        self.call_for_normal_world::<DirectReq2>(pe, receiver, request, frame)
    }

    /// Runs the context of `receiver` on this PE with `request`, until the Normal world gets the PE
    /// back.
    #[inline(always)]
    fn call_for_normal_world<K: Kind>(
        &self,
        pe: &mut Pe,
        receiver: Member<'_, H::Context>,
        request: Request,
        frame: &mut SmcFrame,
    ) -> Result<()> {
        let work = request.work::<K>(Caller::Outside);
        let claimed = self.claim(pe, receiver, work);
        let mut callee =
            claimed.map_err(|error| self.why_not(receiver, error, &self.normal_world))?;
        pe.root = callee.id;
        let registers = callee.vcpu.context.gprs_mut();
        K::pass(request.id, request.message, &frame.x, registers);
        if K::MESSAGE == Message::DirectReq && self.normal_world.is_at_1_3() {
            widen(&mut callee, request.id, &frame.x);
        }
        callee.trace("gets");
        self.enter(&mut callee, false);
        self.run(pe, callee, frame);
        Ok(())
    }

    /// `FFA_MSG_SEND_DIRECT_REQ` from a partition: `current` blocks and the receiver becomes
    /// current.
    ///
    /// Errors as from the Normal world, and `DENIED` if the manifest does not let the partition
    /// send requests, or its run-time model does not permit it. The Normal world cannot be a
    /// receiver (v1.1 rule, for all versions).
    #[inline(always)]
    pub(in crate::dispatch) fn partition_request<'s>(
        &'s self,
        pe: &mut Pe,
        id: FunctionId,
        current: &mut Current<'s, H::Context>,
    ) -> Result<Flow> {
        current.partition.endpoint.end_negotiation();
        let registers = current.vcpu.context.gprs();
        let route = Route::from_w1(registers[1]);
        if registers[2] as u32 != 0 || !route.leads_away_from(current.id.partition) {
            return Err(FfaError::InvalidParameters);
        }
        let receiver = self.receiver(route.destination, &current.partition.endpoint)?;
        if !current.frozen.messaging.contains(Messaging::SEND_DIRECT) {
            return Err(FfaError::Denied);
        }
        self.call_for_partition::<DirectReq>(pe, receiver, id, current)
    }

    /// `FFA_MSG_SEND_DIRECT_REQ2` from a partition. Errors as for the first kind, and for the UUID
    /// as from the Normal world.
    pub(in crate::dispatch) fn partition_request2<'s>(
        &'s self,
        pe: &mut Pe,
        current: &mut Current<'s, H::Context>,
    ) -> Result<Flow> {
        let registers = current.vcpu.context.gprs();
        let route = Route::from_w1(registers[1]);
        if !route.leads_away_from(current.id.partition) {
            return Err(FfaError::InvalidParameters);
        }
        let uuid = Uuid::from_registers([registers[2], registers[3]]);
        let sender = &current.partition.endpoint;
        let receiver = self.receiver2(route.destination, &uuid, sender)?;
        if !current.frozen.messaging.contains(Messaging::SEND_DIRECT2) {
            return Err(FfaError::Denied);
        }
        let id = FunctionId(function::MSG_SEND_DIRECT_REQ2);
        self.call_for_partition::<DirectReq2>(pe, receiver, id, current)
    }

    /// Puts the context of `receiver` on this PE with the request that `current` makes.
    #[inline(always)]
    fn call_for_partition<'s, K: Kind>(
        &'s self,
        pe: &mut Pe,
        receiver: Member<'s, H::Context>,
        id: FunctionId,
        current: &mut Current<'s, H::Context>,
    ) -> Result<Flow> {
        if current.vcpu.model().permits(Leave::Request).is_err() {
            return Err(Self::why_not_from_this_model(pe, receiver));
        }
        let request = Request {
            id,
            source: current.id.partition,
            message: 0,
        };
        let work = request.work::<K>(Caller::Vcpu(current.vcpu.link()));
        let mut callee = match self.claim(pe, receiver, work) {
            Ok(callee) => callee,
            Err(error) => {
                let error = self.why_not(receiver, error, &current.partition.endpoint);
                return Err(self.why_refused(current, receiver, error));
            }
        };
        let registers = current.vcpu.context.gprs();
        K::pass(id, 0, registers, callee.vcpu.context.gprs_mut());
        if K::MESSAGE == Message::DirectReq && current.partition.endpoint.is_at_1_3() {
            widen(&mut callee, id, registers);
        }
        callee.trace("gets");

        // `current` runs, so it can block.
        current.vcpu.step(Event::Block(callee.vcpu.link()))?;
        let masked = current.vcpu.masked;
        self.hal.save(&mut current.vcpu.context);
        *current = callee;
        self.enter(current, masked);
        Ok(Flow::Continue)
    }

    /// Returns the error of a request that the run-time model of the sender forbids: `BUSY` if the
    /// receiver is busy as well, otherwise `DENIED`.
    #[cold]
    fn why_not_from_this_model(pe: &Pe, receiver: Member<'_, H::Context>) -> FfaError {
        let index = usize::from(Self::index_on(pe, receiver.frozen));
        match receiver.partition.vcpus.get(index) {
            Some(slot) if slot.state() == State::Waiting => FfaError::Denied,
            _ => FfaError::Busy,
        }
    }

    /// Returns the error of a request to `receiver` that failed with `error`. A receiver in the
    /// caller's own chain that has cycles from `FFA_RUN` is not permitted as a receiver: `DENIED`
    /// in place of `BUSY`.
    #[cold]
    fn why_refused(
        &self,
        current: &Current<'_, H::Context>,
        receiver: Member<'_, H::Context>,
        error: FfaError,
    ) -> FfaError {
        let own = receiver.frozen.config.id;
        if self.any_caller(current, |member| {
            member.id.partition == own && member.vcpu.model() == Model::Run
        }) {
            FfaError::Denied
        } else {
            error
        }
    }

    /// Handles `FFA_MSG_SEND_DIRECT_RESP` from a partition: its context waits for the next message,
    /// and the requester gets the PE.
    ///
    /// `INVALID_PARAMETERS` for a reserved register, a source that is not the caller, or a
    /// destination that is the caller or does not exist; `DENIED` if no request is being processed,
    /// or if kind or destination are not those of the request. The response may be of either width,
    /// whichever the request had.
    #[inline(always)]
    pub(in crate::dispatch) fn direct_response<'s>(
        &'s self,
        pe: &mut Pe,
        id: FunctionId,
        current: &mut Current<'s, H::Context>,
        frame: &mut SmcFrame,
    ) -> Result<Flow> {
        match current.vcpu.context.gprs()[2] as u32 {
            0 => self.respond::<DirectReq>(pe, id, 0, Event::Wait, current, frame),
            w2 => self.framework_response(pe, id, w2, current, frame),
        }
    }

    /// Handles the response to a framework message. `INVALID_PARAMETERS` for another type than the
    /// message asks for, `DENIED` for one by which the partition stops without having been asked.
    /// Errors of a partition that stops as for [`Self::may_halt`], otherwise as for all responses.
    #[cold]
    #[inline(never)]
    fn framework_response<'s>(
        &'s self,
        pe: &mut Pe,
        id: FunctionId,
        w2: u32,
        current: &mut Current<'s, H::Context>,
        frame: &mut SmcFrame,
    ) -> Result<Flow> {
        if w2 != current.vcpu.model().response_message() {
            return Err(match w2 {
                framework::STOP_RESPONSE => FfaError::Denied,
                _ => FfaError::InvalidParameters,
            });
        }
        let registers = current.vcpu.context.gprs();
        let (route, status) = (Route::from_w1(registers[1]), registers[3] as u32);
        let stops = w2 == framework::STOP_RESPONSE
            && status == 0
            && (route.source, route.destination) == (current.id.partition, self.spmc_id());
        let event = if stops {
            self.may_halt(id, current)?;
            // From here on it takes no request, although it is done with this one.
            Event::Halt
        } else {
            Event::Wait
        };
        self.respond::<DirectReq>(pe, id, w2, event, current, frame)
    }

    /// `FFA_MSG_SEND_DIRECT_RESP2` from a partition. Errors as for the first kind, but that x2 and
    /// x3 may hold anything: partitions leave the UUID of the request there. The requester gets
    /// zeroes.
    pub(in crate::dispatch) fn direct_response2<'s>(
        &'s self,
        pe: &mut Pe,
        current: &mut Current<'s, H::Context>,
        frame: &mut SmcFrame,
    ) -> Result<Flow> {
        let id = FunctionId(function::MSG_SEND_DIRECT_RESP2);
        self.respond::<DirectReq2>(pe, id, 0, Event::Wait, current, frame)
    }

    /// Ends the work of `current` with the response in its registers, which lets `event` happen to
    /// it.
    #[inline(always)]
    fn respond<'s, K: Kind>(
        &'s self,
        pe: &mut Pe,
        id: FunctionId,
        w2: u32,
        event: Event,
        current: &mut Current<'s, H::Context>,
        frame: &mut SmcFrame,
    ) -> Result<Flow> {
        let registers = current.vcpu.context.gprs();
        let route = Route::from_w1(registers[1]);
        if route.source != current.id.partition {
            return Err(FfaError::InvalidParameters);
        }
        match current.vcpu.model() {
            Model::Request(request)
                if request.requester == route.destination
                    && request.kind == K::MESSAGE
                    && request.message == w2 => {}
            _ if K::MESSAGE == Message::DirectReq
                && self.is_wide_response(id, &route, w2, current, frame) => {}
            _ => return Err(self.why_no_response(&route)),
        }
        current.vcpu.model().permits(Leave::Respond)?;
        current.vcpu.step(event)?;
        self.end_work(pe, current);
        let registers = current.vcpu.context.gprs();
        let callee = current.vcpu.link();
        if let Caller::Vcpu(caller) = current.vcpu.caller()
            && let Some(mut caller) = self.waiting_for(callee, caller)
            && !caller.partition.is_dead()
            && caller.vcpu.step(Event::Unblock(callee)).is_ok()
        {
            K::pass(id, w2, registers, caller.vcpu.context.gprs_mut());
            caller.trace("gets");
            self.hal.save(&mut current.vcpu.context);
            self.re_enter(&mut caller);
            *current = caller;
            return Ok(Flow::Continue);
        }
        K::pass(id, w2, registers, &mut frame.x);
        if current.vcpu.caller() == Caller::Outside {
            self.hal.save(&mut current.vcpu.context);
            return Ok(Flow::Leave);
        }
        Ok(self.return_pe(current, frame))
    }

    /// Returns whether a response of the first kind answers a request with x8 to x17. Then it gives
    /// the requester these registers, too, if it has the 64-bit form; the rest is passed as in all
    /// responses.
    #[cold]
    #[inline(never)]
    fn is_wide_response(
        &self,
        id: FunctionId,
        route: &Route,
        w2: u32,
        current: &mut Current<'_, H::Context>,
        frame: &mut SmcFrame,
    ) -> bool {
        let fits = matches!(current.vcpu.model(), Model::Request(request)
            if request.kind == Message::WideDirectReq
                && request.requester == route.destination
                && request.message == w2);
        if fits && id.is_64() {
            let registers = current.vcpu.context.gprs();
            match current.vcpu.caller() {
                Caller::Outside => pass_wide(registers, &mut frame.x),
                Caller::Vcpu(caller) => {
                    if let Some(mut caller) = self.waiting_for(current.vcpu.link(), caller) {
                        pass_wide(registers, caller.vcpu.context.gprs_mut());
                    }
                }
                Caller::Heir(_) => {}
            }
        }
        fits
    }

    /// Returns the error of a response along `route` that answers no request.
    #[cold]
    fn why_no_response(&self, route: &Route) -> FfaError {
        let destination = route.destination;
        let exists = destination == self.spmc_id()
            || destination.is_logical()
            || self.endpoint(destination).is_some();
        if exists && destination != route.source {
            FfaError::Denied
        } else {
            FfaError::InvalidParameters
        }
    }

    /// Returns the partition that a request of `sender` names. `INVALID_PARAMETERS` if there is
    /// none, the error of [`admits`] if it failed, `DENIED` if it does not take direct requests.
    #[inline(always)]
    fn receiver(&self, id: PartitionId, sender: &Endpoint) -> Result<Member<'_, H::Context>> {
        let receiver = self.live_member(id, sender)?;
        let messaging = receiver.frozen.messaging;
        if !messaging.contains(Messaging::RECEIVE_DIRECT) {
            return Err(FfaError::Denied);
        }
        Ok(receiver)
    }

    /// Returns the partition that a request with a UUID names. Errors as for [`Self::receiver`],
    /// `INVALID_PARAMETERS` if none of its services has the UUID, `DENIED` if the service does not
    /// take such requests, or one side speaks a version without them.
    #[inline]
    fn receiver2(
        &self,
        id: PartitionId,
        uuid: &Uuid,
        sender: &Endpoint,
    ) -> Result<Member<'_, H::Context>> {
        let receiver = self.live_member(id, sender)?;
        let messaging = if uuid.is_nil() {
            receiver.frozen.messaging
        } else {
            let mut services = receiver.frozen.config.services.iter();
            let service = services.find(|service| service.uuid == *uuid);
            service.ok_or(FfaError::InvalidParameters)?.messaging
        };
        let version = receiver.partition.endpoint.version().min(sender.version());
        if !messaging.contains(Messaging::RECEIVE_DIRECT2) || version < Version::V1_2 {
            return Err(FfaError::Denied);
        }
        Ok(receiver)
    }

    /// Returns the partition with that id. `INVALID_PARAMETERS` if there is none, the error of
    /// [`admits`] if it failed.
    #[inline(always)]
    fn live_member(&self, id: PartitionId, sender: &Endpoint) -> Result<Member<'_, H::Context>> {
        let member = self.member(id).ok_or(FfaError::InvalidParameters)?;
        if member.partition.is_dead() {
            return Err(self.why_not(member, FfaError::Aborted, sender));
        }
        Ok(member)
    }
    /// Returns the error of a message of `sender` to `receiver`, whose context refused it with
    /// `error`: the partition as a whole may be the reason.
    #[cold]
    #[inline(never)]
    pub(super) fn why_not(
        &self,
        receiver: Member<'_, H::Context>,
        error: FfaError,
        sender: &Endpoint,
    ) -> FfaError {
        if !matches!(error, FfaError::Busy | FfaError::Aborted) {
            return error;
        }
        let life = receiver.partition.life();
        if life == Life::Halted {
            self.look_for_overdue();
        }
        let origin = if sender.id().is_secure() {
            Origin::Partition
        } else {
            Origin::NormalWorld
        };
        admits(life, origin, sender.version())
            .err()
            .unwrap_or(error)
    }
}

/// Adds x8 to x17 to a request from an endpoint at 1.3, if it has the 64-bit form and the receiver
/// is at 1.3, too: an older endpoint neither sends nor sees these registers.
#[cold]
#[inline(never)]
fn widen<C: Context>(callee: &mut Current<'_, C>, id: FunctionId, from: &[u64]) {
    if id.is_64() && callee.partition.endpoint.is_at_1_3() {
        callee.vcpu.widen();
        pass_wide(from, callee.vcpu.context.gprs_mut());
    }
}

/// Copies x8 to x17.
fn pass_wide(from: &[u64], to: &mut [u64]) {
    if let (Some(from), Some(to)) = (from.get(8..18), to.get_mut(8..18)) {
        to.copy_from_slice(from);
    }
}
