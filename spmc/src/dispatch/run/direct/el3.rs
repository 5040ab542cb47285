//! Direct requests that begin at EL3: framework messages of the SPMD, and requests of its logical
//! partitions.
//!
//! A logical partition lives in EL3, has an id from 0xffc0 to 0xfffe, and calls when EL3 was
//! entered from the Normal world. Until it has the response, or `FFA_ERROR`, the SPMD accepts no
//! other call by which the SPMC would leave the PE. So only secure interrupts take the PE from the
//! chain that works for it, and their handlers return.

use crate::error::{FfaError, Result};
use crate::ffa::framework::{FINISH_REQUEST, START_REQUEST};
use crate::ffa::{Answer, FunctionId, SmcFrame, Version, function};
use crate::hal::{Context, Hal};
use crate::id::{PartitionId, Uuid};
use crate::partition::vcpu::Caller;
use crate::spmc::{Pe, Spmc};

use super::{DirectReq, DirectReq2, Kind, Request, Route};
use crate::dispatch::context::Member;

impl<H: Hal> Spmc<H> {
    /// `FFA_MSG_SEND_DIRECT_REQ` from a Secure id: a message of the SPMD, or a request of a logical
    /// partition.
    ///
    /// This is no call of the Normal world, so it does not end the negotiation of its version.
    /// `INVALID_PARAMETERS` for any other id, and for framework messages of a logical partition but
    /// those of a live activation; otherwise as for requests of the Normal world.
    #[cold]
    #[inline(never)]
    pub(super) fn el3_request(
        &self,
        pe: &mut Pe,
        id: FunctionId,
        frame: &mut SmcFrame,
    ) -> Result<()> {
        let route = Route::from_w1(frame.x[1]);
        if route.source == PartitionId::SPMD {
            return self.framework_message(pe, frame);
        }
        if !route.source.is_logical() {
            return Err(FfaError::InvalidParameters);
        }
        match frame.w(2) {
            0 => {}
            START_REQUEST | FINISH_REQUEST => return self.live_activation(pe, route.source, frame),
            _ => return Err(FfaError::InvalidParameters),
        }
        let receiver = self.receiver(route.destination, &self.normal_world)?;
        let request = Request {
            id,
            source: route.source,
            message: 0,
        };
        self.call_for_logical_partition::<DirectReq>(pe, receiver, request, frame)
    }

    /// `FFA_MSG_SEND_DIRECT_REQ2` from a Secure id. Errors as for the first kind, and for the UUID
    /// as from the Normal world, whose version counts as the sender's.
    #[cold]
    #[inline(never)]
    pub(super) fn el3_request2(&self, pe: &mut Pe, frame: &mut SmcFrame) -> Result<()> {
        let route = Route::from_w1(frame.x[1]);
        if self.normal_world.version() < Version::V1_2 {
            return Err(FfaError::NotSupported);
        }
        if !route.source.is_logical() {
            return Err(FfaError::InvalidParameters);
        }
        let uuid = Uuid::from_registers([frame.x[2], frame.x[3]]);
        let receiver = self.receiver2(route.destination, &uuid, &self.normal_world)?;
        let request = Request {
            id: FunctionId(function::MSG_SEND_DIRECT_REQ2),
            source: route.source,
            message: 0,
        };
        self.call_for_logical_partition::<DirectReq2>(pe, receiver, request, frame)
    }

    /// Runs the context of `receiver` on this PE with `request`, until that is answered.
    fn call_for_logical_partition<K: Kind>(
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
        K::pass(request.id, 0, &frame.x, callee.vcpu.context.gprs_mut());
        self.run_for_el3(pe, callee, frame);
        let is_answer = matches!(
            frame.function().0,
            function::MSG_SEND_DIRECT_RESP_32
                | function::MSG_SEND_DIRECT_RESP_64
                | function::MSG_SEND_DIRECT_RESP2
                | function::ERROR
        );
        if !is_answer {
            // The watchdog stopped the receiver, and its callee ended without it.
            frame.answer(Answer::error(FfaError::Aborted));
        }
        Ok(())
    }
}
