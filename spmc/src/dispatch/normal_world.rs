//! The door of the Normal world: whatever the SPMD passes on.
//!
//! A call is handled to its end on the PE that made it: [`Spmc::handle`] runs partitions as needed,
//! and returns when the Normal world gets the PE back. Nothing here waits for another PE, except
//! for a lock that is held for a few instructions.

use crate::error::FfaError;
use crate::ffa::{Answer, SmcFrame, function, trace};
use crate::hal::Hal;
use crate::id::PartitionId;
use crate::spmc::{Pe, Spmc};

use super::Instance;

impl<H: Hal> Spmc<H> {
    /// Handles what the SPMD passed to this PE and leaves in `frame` what goes back.
    ///
    /// That is a call of the Normal world or a framework message of the SPMD; the answer may be its
    /// completion, or `FFA_INTERRUPT` if a Non-secure interrupt came in between.
    pub fn handle(&self, pe: &mut Pe, frame: &mut SmcFrame) {
        let id = frame.function();
        let caller = outside(frame);
        trace(format_args!("{caller}"), "calls", &frame.x);
        let result = match id.0 {
            function::MSG_SEND_DIRECT_REQ_32 | function::MSG_SEND_DIRECT_REQ_64 => {
                self.normal_world_request(pe, id, frame)
            }
            function::MSG_SEND_DIRECT_REQ2 => self.normal_world_request2(pe, frame),
            function::RUN => self.normal_world_run(pe, frame),
            function::ERROR => {
                if frame.w(2) as i32 == FfaError::Aborted as i32 {
                    self.mem_sender_aborted(pe);
                }
                // The SPMD refused what the SPMC sent last: FFA_ABORT in place of an answer, or
                // FFA_NORMAL_WORLD_RESUME while the Normal world was not interrupted. There is
                // nothing to undo: the SPMC waits for the next call.
                match pe.held.take() {
                    Some(held) => *frame = held,
                    None => frame.answer(Answer::new([function::MSG_WAIT as u64])),
                }
                Ok(())
            }
            function::INTERRUPT => {
                self.normal_world_interrupted(pe, frame);
                Ok(())
            }
            function::PARTITION_INFO_GET_REGS
            | function::NOTIFICATION_GET2
            | function::NS_RES_INFO_GET => {
                let instance = Instance::NormalWorld(&self.normal_world);
                instance
                    .begin(id, &frame.x)
                    .and_then(|()| self.wide_call(pe, &instance, id, frame))
                    .map(|answer| *frame = answer)
            }
            _ => {
                let instance = Instance::NormalWorld(&self.normal_world);
                let begun = instance.begin(id, &frame.x);
                begun.and_then(|()| {
                    // An answer is long: leave it where it is, and copy it once.
                    match &mut self.call(pe, &instance, id, frame) {
                        Ok(answer) => {
                            self.finish_for_normal_world(pe, answer)?;
                            frame.answer(*answer);
                            Ok(())
                        }
                        Err(error) => Err(*error),
                    }
                })
            }
        };
        if let Err(error) = result {
            frame.answer(Answer::error(error));
        }
        self.clean_up(pe, frame);
        trace(format_args!("{caller}"), "gets", &frame.x);
    }
}

/// Returns the name of the caller that a frame of the SPMD comes from: the SPMD itself has messages
/// with a Secure source.
fn outside(frame: &SmcFrame) -> &'static str {
    let is_message = matches!(
        frame.function().0,
        function::MSG_SEND_DIRECT_REQ_32
            | function::MSG_SEND_DIRECT_REQ_64
            | function::MSG_SEND_DIRECT_REQ2
    );
    let source = PartitionId((frame.x[1] >> 16) as u16);
    if is_message && source.is_secure() {
        "EL3"
    } else {
        "NWd"
    }
}
