//! Firmware at EL3 that parses each message and encodes it again, as RustedFirmware-A does with the
//! crate `arm-ffa`.
//!
//! In all tests of this crate, [`check_call`] and [`check_answer`] pass each call of the Normal
//! world and each answer through `arm-ffa`. The result may differ from the original only as the
//! tables here state.

use arm_ffa::{Error, FfaError, Interface, Version};

use crate::careless::ignored_from;
use crate::ffa::*;

/// The version by which RustedFirmware-A parses all messages.
const AT_EL3: Version = Version(1, 3);
/// Bit 16 of a function id: the caller has no live state in its SVE registers.
const SVE_HINT: u64 = 1 << 16;
/// The id of the firmware itself. Its messages are not those of the Normal world.
const SPMD: u64 = 0xffff;
/// The bits of a register that holds a 32-bit value.
const WORD: u64 = 0xffff_ffff;

/// Bits of a message that `arm-ffa` may drop.
#[derive(Debug)]
pub struct Loss {
    /// The functions of the messages.
    pub functions: &'static [u64],
    /// The register with the bits.
    pub register: usize,
    /// The bits that may be dropped.
    pub bits: u64,
    /// The value of the other bits in a message of which all these bits are dropped.
    pub beside: u64,
}

impl Loss {
    const fn of(functions: &'static [u64], register: usize, bits: u64) -> Self {
        Self {
            functions,
            register,
            bits,
            beside: 0,
        }
    }
}

/// Calls whose descriptor may be in a buffer that the caller allocated.
const WITH_BUFFER: &[u64] = &[
    MEM_DONATE_32,
    MEM_DONATE_64,
    MEM_LEND_32,
    MEM_LEND_64,
    MEM_SHARE_32,
    MEM_SHARE_64,
    MEM_RETRIEVE_REQ_32,
    MEM_RETRIEVE_REQ_64,
];

/// Bits of calls that may be dropped.
pub const LOST_OF_CALLS: &[Loss] = &[
    // A buffer needs both an address and a page count.
    Loss::of(WITH_BUFFER, 3, u64::MAX),
    Loss::of(WITH_BUFFER, 4, WORD),
    // Only the low byte of a feature id is read, if such a feature exists.
    Loss {
        beside: 1,
        ..Loss::of(&[FEATURES], 1, 0xffff_ff00)
    },
    // Flags of a partition message.
    Loss::of(&[DIRECT_REQ_32, DIRECT_REQ_64], 2, 0x7fff_ffff),
    // The bits beside a 16-bit id.
    Loss::of(&[RX_ACQUIRE, RX_RELEASE], 1, 0xffff_0000),
    Loss::of(&[RXTX_UNMAP, MSG_SEND2], 1, 0xffff),
    Loss::of(&[MEM_FRAG_RX, MEM_FRAG_TX], 4, 0xffff),
    // Flags without a meaning.
    Loss::of(&[NOTIFICATION_BIND], 2, 0xffff_fffe),
    Loss::of(&[NOTIFICATION_UNBIND], 2, WORD),
    Loss::of(&[NOTIFICATION_GET], 2, 0xffff_fff0),
];

/// Bits of answers that may be dropped: the context that waits or yields, and the time for which it
/// yields.
pub const LOST_OF_ANSWERS: &[Loss] = &[
    Loss::of(&[MSG_WAIT, YIELD], 1, WORD),
    Loss::of(&[YIELD], 2, WORD),
    Loss::of(&[YIELD], 3, WORD),
];

/// Answers that `arm-ffa` does not know, so that EL3 refuses them.
pub const UNKNOWN_ANSWERS: &[u64] = &[ABORT_32];

/// The engine's possible answers to a call that `arm-ffa` refuses.
#[derive(Debug, PartialEq, Eq)]
pub enum Instead {
    /// The engine refuses the call with that code, or as one that the caller's version lacks.
    Refuse(i32),
    /// The engine refuses the call with any code.
    RefuseOtherwise,
    /// The engine accepts the call.
    Take,
}

/// Returns the engine's expected answer to a call that `arm-ffa` refuses.
pub fn instead_of(error: &Error) -> Instead {
    match error {
        // `arm-ffa` takes the hint for a part of the id.
        Error::UnrecognisedFunctionId(id) if u64::from(*id) & SVE_HINT != 0 => Instead::Take,
        // The conversion of these errors to a code recurses for ever in `arm-ffa`.
        Error::MemoryManagementError(_)
        | Error::NotificationError(_)
        | Error::PartitionInfoError(_) => Instead::RefuseOtherwise,
        error => Instead::Refuse(FfaError::from(*error) as i32),
    }
}

/// Parses a message and encodes it again.
pub fn written_anew(message: &[u64; 18]) -> Result<[u64; 18], Error> {
    let parsed = Interface::from_regs(AT_EL3, message)?;
    let mut registers = *message;
    parsed.to_regs(AT_EL3, &mut registers);
    Ok(registers)
}

/// Returns the bits of a register that may be dropped.
fn may_lose(losses: &[Loss], function: u64, register: usize) -> u64 {
    losses
        .iter()
        .filter(|loss| loss.register == register && loss.functions.contains(&function))
        .fold(0, |bits, loss| bits | loss.bits)
}

/// Returns whether EL3 passes on that call from the Normal world.
fn is_passed_on(function: u64) -> bool {
    WITH_BUFFER.contains(&function)
        || matches!(
            function,
            FEATURES
                | RX_ACQUIRE
                | RX_RELEASE
                | RXTX_MAP_32
                | RXTX_MAP_64
                | RXTX_UNMAP
                | PARTITION_INFO_GET
                | PARTITION_INFO_GET_REGS
                | RUN
                | MSG_SEND2
                | DIRECT_REQ_32
                | DIRECT_REQ_64
                | DIRECT_REQ2
                | NOTIFICATION_BITMAP_CREATE
                | NOTIFICATION_BITMAP_DESTROY
                | NOTIFICATION_BIND
                | NOTIFICATION_UNBIND
                | NOTIFICATION_SET
                | NOTIFICATION_GET
                | NOTIFICATION_INFO_GET_32
                | NOTIFICATION_INFO_GET_64
                | MEM_RECLAIM
                | MEM_OP_RESUME
                | MEM_FRAG_RX
                | MEM_FRAG_TX
        )
}

/// Returns the bits of a register from x1 on that have a meaning in a call of version 1.1 or later.
fn meaningful(call: &[u64; 18], register: usize) -> u64 {
    let function = call[0] & WORD;
    let (end, addresses) = match function {
        // Every framework message uses w3.
        DIRECT_REQ_32 | DIRECT_REQ_64 if call[2] >> 31 & 1 == 1 => (4, 0..0),
        DIRECT_REQ_64 => (18, 3..18),
        DIRECT_REQ2 => (18, 2..18),
        PARTITION_INFO_GET_REGS => (4, 1..3),
        RXTX_MAP_64 => (4, 1..3),
        MEM_DONATE_64 | MEM_LEND_64 | MEM_SHARE_64 | MEM_RETRIEVE_REQ_64 => (5, 3..4),
        _ => (ignored_from(function), 0..0),
    };
    if register >= end {
        0
    } else if addresses.contains(&register) {
        u64::MAX
    } else {
        WORD
    }
}

/// Checks that EL3 passes on every meaningful bit of a call, or that EL3 and the engine both refuse
/// the call.
///
/// # Panics
///
/// Panics if there is a difference that no table states.
#[track_caller]
pub fn check_call(call: &Regs, answer: &Regs) {
    let function = call.0[0] & WORD;
    let is_of_the_spmd = function & !(1 << 30) == DIRECT_REQ_32 && call.0[1] >> 16 & 0xffff == SPMD;
    if is_of_the_spmd || is_of_an_activation(&call.0) || !is_passed_on(function & !SVE_HINT) {
        return;
    }
    match written_anew(&call.0) {
        Ok(anew) => {
            // A 64-bit call without a buffer of the caller becomes the 32-bit call.
            let width = u64::from(WITH_BUFFER.contains(&function)) << 30;
            assert_eq!(anew[0] | width, function | width, "EL3 changes {call:x?}");
            for (register, (before, after)) in call.0.iter().zip(anew).enumerate().skip(1) {
                let lost = before & !after & meaningful(&call.0, register);
                let is_known = lost & !may_lose(LOST_OF_CALLS, function, register) == 0;
                assert!(
                    is_known && after & !before == 0,
                    "EL3 changes x{register} of {call:x?}"
                );
            }
        }
        Err(error) => {
            let code = answer.error();
            let is_so = match instead_of(&error) {
                Instead::Refuse(expected) => [Some(expected), Some(NOT_SUPPORTED)].contains(&code),
                Instead::RefuseOtherwise => code.is_some(),
                Instead::Take => true,
            };
            assert!(
                is_so,
                "EL3 refuses {call:x?} ({error:?}), we answer {answer:x?}"
            );
        }
    }
}

/// Returns whether a message is one of a live activation, which the crate does not know.
fn is_of_an_activation(registers: &[u64; 18]) -> bool {
    let function = registers[0] & WORD & !(1 << 30);
    matches!(function, DIRECT_REQ_32 | DIRECT_RESP_32)
        && matches!(registers[2], 0x8000_000a..=0x8000_000f)
}

/// Checks that EL3 passes on the whole answer.
///
/// # Panics
///
/// Panics if there is a difference that no table states.
#[track_caller]
pub fn check_answer(answer: &Regs) {
    let function = answer.function();
    if is_of_an_activation(&answer.0)
        || !matches!(function & !(1 << 30), 0x8400_0060..=0x8400_00ef)
        || UNKNOWN_ANSWERS.contains(&function)
    {
        return;
    }
    match written_anew(&answer.0) {
        Ok(anew) => {
            for (register, (before, after)) in answer.0.iter().zip(anew).enumerate() {
                let expected = before & !may_lose(LOST_OF_ANSWERS, function, register);
                assert_eq!(after, expected, "EL3 changes x{register} of {answer:x?}");
            }
        }
        Err(error) => panic!("EL3 refuses {answer:x?}: {error:?}"),
    }
}
