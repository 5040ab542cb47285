//! Calls of partitions to EL3 that are not calls of FF-A: those that `smc_whitelist` and
//! `smc_whitelist_permissive` of the SPMC manifest let through.

use crate::ffa::{FunctionId, SmcFrame};
use crate::hal::{Context, Hal};
use crate::manifest::config::PartitionConfig;
use crate::spmc::Spmc;

use crate::dispatch::context::Current;

impl<H: Hal> Spmc<H> {
    /// Passes the call of `current` on to EL3, which answers in x0 to x17. Returns `false`, and
    /// does nothing, if the partition may not make the call.
    #[inline(never)]
    pub(in crate::dispatch) fn el3_call(
        &self,
        id: FunctionId,
        current: &mut Current<'_, H::Context>,
    ) -> bool {
        let config = &current.frozen.config;
        if !may_pass(id, config) {
            return false;
        }
        let count = current.partition.count_el3_call();
        // Enough to see what goes on, and little enough for a partition that makes such calls all
        // the time.
        if count.is_power_of_two() {
            let (name, vcpu) = (config.name, current.id.index);
            self.log_of(current.partition, name, || {
                log::info!(
                    "{name} vcpu {vcpu}: call {:#x} goes to EL3; {count} so far",
                    id.0
                );
            });
        }
        let registers = current.vcpu.context.gprs_mut();
        let mut call = SmcFrame::ZERO;
        for (to, from) in call.x.iter_mut().zip(registers.iter()) {
            *to = *from;
        }
        // SMCCC: the function is in w0.
        call.x[0] &= u32::MAX as u64;
        self.hal.call_el3(&mut call);
        for (to, from) in registers.iter_mut().zip(call.x) {
            *to = from;
        }
        true
    }
}

/// Returns whether a call may go to EL3 in the name of the SPMC. Calls of the framework and of PSCI
/// are the SPMC's own business, whatever the manifest says, and a yielding call could come back in
/// the middle of something else.
fn may_pass(id: FunctionId, config: &PartitionConfig) -> bool {
    let is_listed = config.smc_whitelist_permissive || config.smc_whitelist.contains(&id.0);
    is_listed && id.is_fast() && !id.is_reserved()
}
