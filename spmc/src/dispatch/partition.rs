//! The door of partitions: their calls, by `SMC`, `HVC` or from S-EL0 `SVC`, with identical results
//! (FF-A v1.0 section 2.3).

use crate::error::Result;
use crate::ffa::{Answer, FunctionId, SmcFrame, call_table, function};
use crate::hal::{Context, Hal};
use crate::spmc::{Pe, Spmc};

use super::Instance;
use super::calls::setup;
use crate::dispatch::context::{Current, complete};
use crate::dispatch::run::Flow;

const RESP2: u32 = function::MSG_SEND_DIRECT_RESP2;

/// The result of SMCCC for a function that does not exist.
const SMCCC_UNKNOWN: u64 = -1_i64 as u64;

impl<H: Hal> Spmc<H> {
    /// Handles the call that `current` made. A call that completes at once leaves its results in
    /// the registers of `current`, an error as `FFA_ERROR`.
    #[inline(always)]
    pub(super) fn partition_call<'s>(
        &'s self,
        pe: &mut Pe,
        current: &mut Current<'s, H::Context>,
        frame: &mut SmcFrame,
    ) -> Flow {
        let id = FunctionId::from_reg(current.vcpu.context.gprs()[0]);
        // Both forms of the direct messages come first: they are what is called most.
        let form = id.0 & !function::IS_64;
        let result = if form == function::MSG_SEND_DIRECT_RESP_32 {
            // Who has a request to answer has called FFA_MSG_WAIT, so that its version is settled.
            let endpoint = &current.partition.endpoint;
            let response = self.direct_response(pe, id, current, frame);
            response.inspect_err(|_| endpoint.end_negotiation())
        } else if form == function::MSG_SEND_DIRECT_REQ_32 {
            self.partition_request(pe, id, current)
        } else {
            match id.0 {
                RESP2
                | function::MSG_SEND_DIRECT_REQ2
                | function::MSG_WAIT
                | function::RUN
                | function::YIELD
                | function::ERROR
                | function::MSG_WAIT_64
                | function::RUN_64
                | function::YIELD_64
                | function::ERROR_64
                | function::ABORT_32
                | function::ABORT_64 => self.leaving_call(pe, id, current, frame),
                _ => self.local_call(pe, id, current).map(|()| Flow::Continue),
            }
        };
        match result {
            Ok(flow) => flow,
            Err(error) => {
                complete(current, &Answer::error(error));
                Flow::Continue
            }
        }
    }

    /// Handles the calls that may pass the PE on, except FFA_MSG_SEND_DIRECT_REQ and its response.
    #[inline(never)]
    fn leaving_call<'s>(
        &'s self,
        pe: &mut Pe,
        id: FunctionId,
        current: &mut Current<'s, H::Context>,
        frame: &mut SmcFrame,
    ) -> Result<Flow> {
        let instance = Instance::Partition(current.partition);
        let registers = current.vcpu.context.gprs();
        // Fast calls name their row, so that the compiler can evaluate its checks.
        match id.0 {
            function::MSG_WAIT => instance.begin_by(&call_table::MSG_WAIT, registers),
            RESP2 => instance.begin(FunctionId(RESP2), registers),
            _ => instance.begin(id, registers),
        }?;
        match id.0 {
            RESP2 => self.direct_response2(pe, current, frame),
            function::MSG_SEND_DIRECT_REQ2 => self.partition_request2(pe, current),
            function::MSG_WAIT => self.msg_wait(pe, current, frame),
            function::MSG_WAIT_64 => self.msg_wait(pe, current, frame),
            function::RUN | function::RUN_64 => self.partition_run(pe, current, frame),
            function::YIELD | function::YIELD_64 => self.partition_yield(pe, current, frame),
            function::ERROR | function::ERROR_64 => self.partition_error(pe, current, frame),
            _ => self.partition_abort(current, frame),
        }
    }

    /// Handles a call that is completed without leaving the partition.
    fn local_call(
        &self,
        pe: &mut Pe,
        id: FunctionId,
        current: &mut Current<'_, H::Context>,
    ) -> Result<()> {
        if !id.is_ffa() {
            match self.paravirtual_call(id.0, current) {
                Some(result) => current.vcpu.context.gprs_mut()[0] = result,
                None if self.el3_call(id, current) => {}
                None => current.vcpu.context.gprs_mut()[0] = SMCCC_UNKNOWN,
            }
            return Ok(());
        }
        if id.0 == function::ID_GET {
            // FFA_ID_GET has no arguments, so the registers need not be copied.
            current.partition.endpoint.end_negotiation();
            complete(current, &Self::id_get(&current.partition.endpoint));
            return Ok(());
        }
        let mut call = SmcFrame::ZERO;
        for (to, from) in call.x.iter_mut().zip(current.vcpu.context.gprs()) {
            *to = *from;
        }
        let instance = Instance::Partition(current.partition);
        instance.begin(id, &call.x)?;
        // An answer is long: leave it where it is, and copy it once.
        let mut result = match id.0 {
            function::SECONDARY_EP_REGISTER_32 | function::SECONDARY_EP_REGISTER_64 => {
                self.secondary_ep_register(current, setup::address(id, call.x[1]))
            }
            function::CONSOLE_LOG_32 | function::CONSOLE_LOG_64 => {
                self.console_log(current, id, &call)
            }
            function::MEM_PERM_GET_32 | function::MEM_PERM_GET_64 => {
                self.mem_perm_get(current, id, &call)
            }
            function::MEM_PERM_SET_32 | function::MEM_PERM_SET_64 => {
                self.mem_perm_set(current, id, &call)
            }
            function::PARTITION_INFO_GET_REGS | function::NOTIFICATION_GET2 => {
                let answer = self.wide_call(pe, &instance, id, &call)?;
                // The results go on up to x17.
                let registers = current.vcpu.context.gprs_mut().iter_mut();
                registers.zip(answer.x).for_each(|(to, from)| *to = from);
                current.trace("gets");
                if current.partition.may_have_interrupts() {
                    // As below.
                    self.signal(current);
                }
                return Ok(());
            }
            _ => self.call(pe, &instance, id, &call),
        };
        let answer = result.as_mut().map_err(|error| *error)?;
        self.finish_for_partition(pe, current, answer)?;
        if current.partition.may_have_interrupts() {
            // The call may have fetched an interrupt, which must not be signalled any more.
            self.signal(current);
        }
        complete(current, answer);
        Ok(())
    }
}
