//! Direct messages (FF-A v1.0 sections 10.2 and 10.3): the hot path.
//!
//! Requests come from the Normal world or from a partition, responses from the partition that processes the request.
//! The payload, x3 to x7, is passed on and never looked at. Checks go in this order: reserved registers, ids, who may send what, availability.

use crate::error::{FfaError, Result};
use crate::ffa::{FunctionId, SmcFrame, function};
use crate::hal::{Context, Hal};
use crate::id::PartitionId;
use crate::manifest::config::Messaging;
use crate::partition::Partition;
use crate::partition::vcpu::{Caller, Event, Model};
use crate::spmc::{Pe, Spmc};

use super::run::{Current, Flow};

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
}

/// Passes a message on: x0 to x7 of the sender, without upper halves in the 32-bit form, and zeros in the registers up to x17, so
/// that they show nothing of the sender or of the SPMC.
fn pass(id: FunctionId, from: &[u64], to: &mut [u64]) {
    let mask = if id.is_64() {
        u64::MAX
    } else {
        u32::MAX as u64
    };
    if let (Some(from), Some(to)) = (from.first_chunk::<8>(), to.first_chunk_mut::<18>()) {
        let [_, route, _, payload @ ..] = from;
        let [x3, x4, x5, x6, x7] = payload.map(|register| register & mask);
        // Ids travel in w1 in both forms; w2 was checked to be zero. Written out, so that it becomes nine stores.
        let (id, route) = (id.0 as u64, route & u32::MAX as u64);
        *to = [
            id, route, 0, x3, x4, x5, x6, x7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
        ];
    }
}

/// The function id of the response to a request: same width.
fn response_to(id: FunctionId) -> u32 {
    if id.is_64() {
        function::MSG_SEND_DIRECT_RESP_64
    } else {
        function::MSG_SEND_DIRECT_RESP_32
    }
}

impl<H: Hal> Spmc<H> {
    /// `FFA_MSG_SEND_DIRECT_REQ` from the Normal world.
    ///
    /// `INVALID_PARAMETERS` for a reserved register or an id that is not one, `DENIED` if the receiver does not take requests, `BUSY`
    /// if it has no idle context on this PE, `ABORTED` if it failed. The SPMD's framework messages come in this way too.
    pub(super) fn normal_world_request(
        &self,
        pe: &mut Pe,
        id: FunctionId,
        frame: &mut SmcFrame,
    ) -> Result<()> {
        let route = Route::from_w1(frame.x[1]);
        if route.source == PartitionId::SPMD {
            return self.framework_message(pe, frame);
        }
        self.normal_world.end_negotiation();
        if frame.w(2) != 0 || route.source.is_secure() {
            return Err(FfaError::InvalidParameters);
        }
        let partition = self.receiver(route.destination)?;
        let mut callee = self.claim(pe, partition, Event::Request)?;
        callee.vcpu.model = Model::Request {
            requester: route.source,
            response: response_to(id),
        };
        callee.vcpu.caller = Caller::Outside;
        callee.vcpu.root = callee.id;
        pass(id, &frame.x, callee.vcpu.context.gprs_mut());
        self.enter(&mut callee, false);
        self.run(pe, callee, frame);
        Ok(())
    }

    /// `FFA_MSG_SEND_DIRECT_REQ` from a partition: `current` blocks and the receiver becomes current.
    ///
    /// Errors as from the Normal world, and `DENIED` if the manifest does not let the partition send requests. The Normal world cannot
    /// be a receiver (v1.1 rule, for all versions).
    pub(super) fn partition_request<'s>(
        &'s self,
        pe: &mut Pe,
        id: FunctionId,
        current: &mut Current<'s, H::Context>,
    ) -> Result<Flow> {
        let registers = current.vcpu.context.gprs();
        let route = Route::from_w1(registers[1]);
        if registers[2] as u32 != 0
            || route.source != current.id.partition
            || route.destination == route.source
        {
            return Err(FfaError::InvalidParameters);
        }
        let partition = self.receiver(route.destination)?;
        if !current.frozen.messaging.contains(Messaging::SEND_DIRECT) {
            return Err(FfaError::Denied);
        }
        let mut callee = self.claim(pe, partition, Event::Request)?;
        callee.vcpu.model = Model::Request {
            requester: route.source,
            response: response_to(id),
        };
        callee.vcpu.caller = Caller::Vcpu(current.id);
        callee.vcpu.root = current.vcpu.root;
        pass(id, registers, callee.vcpu.context.gprs_mut());

        // `current` runs, so it can block.
        current.vcpu.step(Event::Block)?;
        current.vcpu.callee = callee.id;
        let masked = current.vcpu.masked;
        self.hal.save(&mut current.vcpu.context);
        *current = callee;
        self.enter(current, masked);
        Ok(Flow::Continue)
    }

    /// `FFA_MSG_SEND_DIRECT_RESP` from a partition: it waits for the next message, the requester gets the PE.
    ///
    /// `INVALID_PARAMETERS` for a reserved register, a source that is not the caller, or a destination that does not exist;
    /// `DENIED` if no request is being processed, or if kind, width or destination are not those of the request.
    pub(super) fn direct_response<'s>(
        &'s self,
        id: FunctionId,
        current: &mut Current<'s, H::Context>,
        frame: &mut SmcFrame,
    ) -> Result<Flow> {
        let registers = current.vcpu.context.gprs();
        let route = Route::from_w1(registers[1]);
        if registers[2] as u32 != 0 || route.source != current.id.partition {
            return Err(FfaError::InvalidParameters);
        }
        match current.vcpu.model {
            Model::Request {
                requester,
                response,
            } if requester == route.destination && response == id.0 => {}
            _ if self.endpoint(route.destination).is_none() => {
                return Err(FfaError::InvalidParameters);
            }
            _ => return Err(FfaError::Denied),
        }
        pass(id, registers, &mut frame.x);
        current.vcpu.step(Event::Wait)?;
        Ok(self.give_back(current, frame))
    }

    /// The partition that a request names. `INVALID_PARAMETERS` if there is none, `ABORTED` if it failed, `DENIED` if
    /// it does not take direct requests.
    fn receiver(&self, id: PartitionId) -> Result<&Partition<H::Context>> {
        let partition = self.partition(id).ok_or(FfaError::InvalidParameters)?;
        let frozen = partition.frozen().ok_or(FfaError::InvalidParameters)?;
        if partition.is_dead() {
            return Err(FfaError::Aborted);
        }
        if !frozen.messaging.contains(Messaging::RECEIVE_DIRECT) {
            return Err(FfaError::Denied);
        }
        Ok(partition)
    }
}
