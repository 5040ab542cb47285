//! `FFA_CONSOLE_LOG` (FF-A v1.2): partitions write to the console of the SPMC.

use crate::ffa::error::{INVALID_PARAMETERS, NOT_SUPPORTED};
use crate::ffa::{self, SP1, SP2, V1_2, id};
use crate::nwd::{Nwd, Test, ask};
use crate::rt::check::Check;
use crate::sp::{Command, Sp};
use crate::{command, helper, test};

/// The tests of this file.
pub const TESTS: &[Test] = &[test!(
    console_log,
    "Partitions write lines to the console, the Normal world has its own"
)];

/// Code of the partitions.
pub const HELPERS: &[Command] = &[helper!(write_line)];

/// Makes `FFA_CONSOLE_LOG` with the text in registers of `width` bytes.
fn write(function: u32, width: usize, text: &str) -> ffa::Answer {
    let mut arguments = [0; 17];
    arguments[0] = text.len() as u64;
    for (n, byte) in text.bytes().enumerate() {
        arguments[1 + n / width] |= u64::from(byte) << (8 * (n % width));
    }
    ffa::call(function, &arguments)
}

// req: GEN-28, COMP-21, CON-02, CON-04
fn console_log(_: &Nwd) -> Check {
    ffa::refused(&ffa::call(id::CONSOLE_LOG_32, &[1]), NOT_SUPPORTED)?;
    ffa::refused(&ffa::call(id::CONSOLE_LOG_64, &[1]), NOT_SUPPORTED)?;
    for partition in [SP1, SP2] {
        ask(partition, command!(write_line), [0; 4])?;
    }
    Ok(())
}

fn write_line(sp: &Sp, _: [u64; 4]) -> Check<[u64; 4]> {
    let maximum: u64 = if sp.identity.version >= V1_2 { 128 } else { 48 };
    for (function, maximum) in [(id::CONSOLE_LOG_32, 24), (id::CONSOLE_LOG_64, maximum)] {
        for count in [0, maximum + 1, 1 << 16 | 1] {
            ffa::refused(&ffa::call(function, &[count]), INVALID_PARAMETERS)?;
        }
    }
    ffa::done(&write(id::CONSOLE_LOG_32, 4, "a line in pieces: "))?;
    ffa::done(&write(
        id::CONSOLE_LOG_64,
        8,
        "first in six registers, then in ",
    ))?;
    if maximum == 128 {
        let long = "sixteen, which take up to one hundred and twenty-eight";
        ffa::done(&write(id::CONSOLE_LOG_64, 8, long))?;
    }
    ffa::done(&write(id::CONSOLE_LOG_32, 4, "\n"))?;
    Ok([0; 4])
}
