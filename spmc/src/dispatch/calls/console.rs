//! `FFA_CONSOLE_LOG` (FF-A v1.2): characters of partitions for the console, in whole lines with the
//! partition's name.

use core::fmt;

use log::{Level, LevelFilter, Record};

use crate::error::{FfaError, Result};
use crate::ffa::{Answer, FunctionId, SmcFrame, Version};
use crate::hal::Hal;
use crate::spmc::Spmc;

use crate::dispatch::context::Current;

impl<H: Hal> Spmc<H> {
    /// Handles `FFA_CONSOLE_LOG`: takes w1 characters from w2 or x2 on, the first in the lowest
    /// bits.
    ///
    /// `INVALID_PARAMETERS` for none, or more than the registers hold: 24, or with 64-bit registers
    /// 48, from 1.2 on 128.
    pub(in crate::dispatch) fn console_log(
        &self,
        current: &mut Current<'_, H::Context>,
        id: FunctionId,
        frame: &SmcFrame,
    ) -> Result<Answer> {
        let (width, maximum) = if !id.is_64() {
            (4, 24)
        } else if current.partition.endpoint.version() < Version::V1_2 {
            (8, 48)
        } else {
            (8, 128)
        };
        let count = frame.w(1) as usize;
        if count == 0 || count > maximum {
            return Err(FfaError::InvalidParameters);
        }
        let name = current.frozen.config.name;
        let vcpu = current.id.index;
        let characters = frame
            .x
            .iter()
            .skip(2)
            .flat_map(|register| register.to_le_bytes().into_iter().take(width));
        for character in characters.take(count) {
            current.vcpu.console.put(character, |line| {
                self.log_of(current.partition, name, || {
                    print(format_args!("{name} vcpu {vcpu}: {line}"));
                });
            });
        }
        Ok(Answer::success([]))
    }
}

/// Writes a line of a partition to the log. The level of the log is for what the SPMC itself says,
/// so that only level 0, at which there is no log, hides the lines of partitions.
fn print(line: fmt::Arguments<'_>) {
    if log::max_level() != LevelFilter::Off {
        let record = Record::builder().level(Level::Info).args(line).build();
        log::logger().log(&record);
    }
}
