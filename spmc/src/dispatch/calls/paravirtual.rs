//! The calls by which partitions control and fetch their interrupts. They are Hafnium's, and not
//! part of FF-A. A partition uses `HVC`, `SMC` or `SVC` with the function in x0, and gets 0 there,
//! or -1 if the arguments are wrong; GET returns an id.

use crate::error::{FfaError, Result};
use crate::hal::{Context, Hal};
use crate::interrupt::{Line, Lines};
use crate::manifest::config::ExceptionLevel;
use crate::spmc::Spmc;

use crate::dispatch::context::Current;

/// Function ids.
mod call {
    /// x1 id, x2 on or off, x3 IRQ or FIQ.
    pub const ENABLE: u32 = 0xff03;
    /// Returns the id.
    pub const GET: u32 = 0xff04;
    /// x1 and x2 id.
    pub const DEACTIVATE: u32 = 0xff08;
    /// x1 id, x2 what, x3 value.
    pub const RECONFIGURE: u32 = 0xff09;
    /// x1 index of the context.
    pub const SEND_IPI: u32 = 0xff0a;
}

/// The id that GET returns, and that a handler is started with, if nothing is pending.
pub(in crate::dispatch) const NO_INTERRUPT: u64 = 0xffff_ffff;
/// The result of the other calls.
const OK: u64 = 0;
const FAILED: u64 = -1_i64 as u64;

/// x2 of RECONFIGURE.
mod what {
    pub const TARGET: u64 = 0;
    pub const SECURITY: u64 = 1;
    pub const STATUS: u64 = 2;
}

/// x3 of RECONFIGURE for the security state: all interrupts of partitions are Secure.
const SECURE: u64 = 1;

impl<H: Hal> Spmc<H> {
    /// Handles a call that is not one of FF-A. Returns the value for x0, or `None` if the function
    /// is not one of this file.
    #[inline(never)]
    pub(in crate::dispatch) fn paravirtual_call(
        &self,
        function: u32,
        current: &mut Current<'_, H::Context>,
    ) -> Option<u64> {
        let [_, x1, x2, x3, ..] = *current.vcpu.context.gprs();
        let result = match function {
            call::ENABLE => {
                let result = self.interrupt_enable(current, x1 as u32, x2, x3);
                self.signal(current);
                result
            }
            call::GET => return Some(self.interrupt_get(current)),
            call::DEACTIVATE => self.interrupt_deactivate(current, x1 as u32, x2 as u32),
            call::RECONFIGURE => self.interrupt_reconfigure(current, x1 as u32, x2, x3),
            call::SEND_IPI => {
                let result = self.send_ipi(current, x1);
                self.signal(current);
                result
            }
            _ => return None,
        };
        Some(if result.is_ok() { OK } else { FAILED })
    }

    /// The lines of this context, and the one that it knows by `id`. `INVALID_PARAMETERS` if there
    /// is none.
    #[inline(always)]
    fn line_of<'s>(&self, current: &Current<'s, H::Context>, id: u32) -> Result<(&'s Lines, Line)> {
        let line = Line::made_up(id).or_else(|| self.owners.line(current.frozen.index, id));
        let lines = current.partition.lines(current.id.index);
        match (lines, line) {
            (Some((lines, _)), Some(line)) => Ok((lines, line)),
            _ => Err(FfaError::InvalidParameters),
        }
    }

    /// Lets a line be signalled to this context, or not.
    fn interrupt_enable(
        &self,
        current: &Current<'_, H::Context>,
        id: u32,
        enable: u64,
        kind: u64,
    ) -> Result<()> {
        let (lines, line) = self.line_of(current, id)?;
        if enable & 1 == 0 {
            lines.disable(line);
            return Ok(());
        }
        lines.enable(line, kind & 1 != 0);
        if line.is_physical() {
            self.hal.enable_interrupt(id, true);
        }
        // It may have become pending before.
        Ok(())
    }

    fn interrupt_get(&self, current: &mut Current<'_, H::Context>) -> u64 {
        let taken = current
            .partition
            .lines(current.id.index)
            .and_then(|(lines, _)| lines.take());
        let id = taken.and_then(|line| current.frozen.claims.id(line));
        self.show(current);
        id.map_or(NO_INTERRUPT, u64::from)
    }

    /// The owner is done with an interrupt: it may come again, unless it does so every time at
    /// once. The call succeeds for an interrupt that is not active, too, and then does nothing.
    fn interrupt_deactivate(
        &self,
        current: &Current<'_, H::Context>,
        id: u32,
        same: u32,
    ) -> Result<()> {
        let (lines, line) = self.line_of(current, id)?;
        if id != same {
            return Err(FfaError::InvalidParameters);
        }
        if lines.deactivate(line) {
            self.finish_interrupt(current, lines, line);
        }
        Ok(())
    }

    /// Finishes a line that was active: if it is a physical interrupt, it may come again.
    pub(in crate::dispatch) fn finish_interrupt(
        &self,
        current: &Current<'_, H::Context>,
        lines: &Lines,
        line: Line,
    ) {
        let id = current.frozen.claims.id(line);
        let Some(id) = id.filter(|_| line.is_physical()) else {
            return;
        };
        if current.frozen.config.exception_level == ExceptionLevel::SEl0 {
            // The context was told of the interrupt, and need not have fetched it.
            lines.clear(line);
        }
        self.hal.deactivate_interrupt(id);
    }

    fn interrupt_reconfigure(
        &self,
        current: &Current<'_, H::Context>,
        id: u32,
        what: u64,
        value: u64,
    ) -> Result<()> {
        if self.owners.line(current.frozen.index, id).is_none() {
            return Err(FfaError::InvalidParameters);
        }
        match (what, value) {
            (what::STATUS, 0 | 1) => self.hal.enable_interrupt(id, value == 1),
            (what::SECURITY, SECURE) => {}
            (what::TARGET, pe) if self.hal.route_interrupt(id, pe) => {}
            _ => return Err(FfaError::InvalidParameters),
        }
        Ok(())
    }

    /// Interrupts a context of the same partition, be it the caller's own.
    fn send_ipi(&self, current: &Current<'_, H::Context>, index: u64) -> Result<()> {
        let count = current.frozen.config.vcpu_count;
        if index >= u64::from(count) {
            return Err(FfaError::InvalidParameters);
        }
        current.partition.pend(index as u16, Line::IPI);
        if index != u64::from(current.id.index) {
            // Whether it runs or waits, its own PE sees to it.
            self.hal.look_again_elsewhere();
        }
        Ok(())
    }
}
