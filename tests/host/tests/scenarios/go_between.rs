//! RustedFirmware-A at EL3: the parts of calls and answers that `arm-ffa` cannot carry. Each row of
//! the tables in [`host_tests::go_between`] is needed here, so that a superfluous row is found. All
//! other tests find differences that no row covers.

use std::panic::catch_unwind;

use arm_ffa::interface_args::{DirectMsgArgs, VersionFlags, VersionQueryType, WarmBootType};
use arm_ffa::{Error, Interface, Version};
use host_tests::ffa::*;
use host_tests::go_between::*;
use host_tests::{Nwd, PartitionSpec, System};

const SPMD: u16 = 0xffff;
const SPMC: u16 = 0x8000;

/// Returns a message with `value` in `register` and no other parameter.
fn message(function: u64, register: usize, value: u64) -> [u64; 18] {
    let mut message = [0; 18];
    message[0] = function;
    message[register] = value;
    message
}

#[test]
fn what_is_dropped_is_what_the_tables_say() {
    for loss in LOST_OF_CALLS.iter().chain(LOST_OF_ANSWERS) {
        for function in loss.functions {
            let message = message(*function, loss.register, loss.bits | loss.beside);
            let anew = written_anew(&message).unwrap();
            assert_eq!(anew[loss.register], loss.beside, "{function:#x} {loss:x?}");
        }
    }
    for function in UNKNOWN_ANSWERS {
        assert_eq!(
            written_anew(&message(*function, 1, 0)),
            Err(Error::UnrecognisedFunctionId(*function as u32))
        );
    }
}

#[test]
fn what_is_in_no_table_is_found() {
    let answers = [
        message(ERROR, 2, 0xffff_fff6), // an error code of 1.3
        message(ERROR, 4, 1),
        message(SUCCESS_32, 2, 1 << 32),
        message(INTERRUPT, 3, 1),
        message(MSG_WAIT, 3, 1),
        message(YIELD, 4, 1),
        message(DIRECT_RESP_64, 2, 1),
        message(MEM_RETRIEVE_RESP, 3, 1),
        message(MEM_FRAG_RX, 4, 1),
    ];
    for answer in answers.map(Regs) {
        assert!(
            catch_unwind(|| check_answer(&answer)).is_err(),
            "{answer:?}"
        );
    }
    let success = Regs::new([SUCCESS_32]);
    let denied = Regs::new([ERROR, 0, DENIED as u32 as u64]);
    let calls = [
        (message(MSG_SEND2, 2, 1), success),
        (message(MSG_SEND2, 2, 1), denied),
        (message(NOTIFICATION_SET, 2, 4), success),
    ];
    for (call, answer) in calls.map(|(call, answer)| (Regs(call), answer)) {
        let check = || check_call(&call, &answer);
        assert!(catch_unwind(check).is_err(), "{call:?} {answer:?}");
    }
}

// req: COMP-22
#[test]
fn calls_that_the_firmware_refuses() {
    let otherwise = [
        // `arm-ffa` has no error code for these calls.
        ([MEM_RECLAIM, 0, 0, 4, 0, 0], INVALID_PARAMETERS),
        ([NOTIFICATION_SET, 0x8001, 4, 1, 0, 0], INVALID_PARAMETERS),
        ([PARTITION_INFO_GET, 0, 0, 0, 0, 2], INVALID_PARAMETERS),
    ];
    let system = System::boot([PartitionSpec::new("sp1")]);
    let nwd = system.nwd();
    let instead = |call| instead_of(&written_anew(&Regs::new(call).0).unwrap_err());
    // `arm-ffa` takes the hint about SVE registers for a part of the function id.
    let call = [FEATURES | 1 << 16, RUN, 0, 0, 0, 0];
    assert_eq!(instead(call), Instead::Take);
    nwd.call(call).success();
    for (call, code) in otherwise {
        assert_eq!(instead(call), Instead::RefuseOtherwise, "{call:x?}");
        assert_eq!(nwd.call(call).error(), Some(code), "{call:x?}");
    }
    // The tag of a list, although no list has begun.
    let call = [PARTITION_INFO_GET_REGS, 0, 0, 1 << 16, 0, 0];
    assert_eq!(instead(call), Instead::Refuse(RETRY));
    nwd.refused(call, RETRY);
    let call = [MSG_SEND2, 0, 1, 0, 0, 0];
    assert_eq!(instead(call), Instead::Refuse(INVALID_PARAMETERS));
    nwd.map_buffers();
    assert_eq!(nwd.call(call).error(), Some(INVALID_PARAMETERS));
}

/// Sends a message of the firmware itself. Returns the payload of the answer.
fn ask(nwd: Nwd<'_>, args: DirectMsgArgs) -> DirectMsgArgs {
    let mut call = [0; 18];
    let request = Interface::MsgSendDirectReq {
        src_id: SPMD,
        dst_id: SPMC,
        args,
    };
    request.to_regs(Version(1, 3), &mut call);
    let answer = Interface::from_regs(Version(1, 3), &nwd.call_with(Regs(call)).0);
    let Ok(Interface::MsgSendDirectResp {
        src_id: SPMC,
        dst_id: SPMD,
        args,
    }) = answer
    else {
        panic!("{answer:?}");
    };
    args
}

// req: BOOT-17
#[test]
fn messages_of_the_firmware_itself() {
    let system = System::boot([PartitionSpec::new("sp1").vcpus(2)]);
    system.turn_on(1);
    let flags = VersionFlags {
        query_type: VersionQueryType::Negotiate,
    };
    for (asked, told) in [
        (Version(1, 1), Some(Version(1, 2))),
        (Version(1, 3), Some(Version(1, 2))),
        (Version(0, 9), None),
    ] {
        assert_eq!(
            ask(
                system.nwd(),
                DirectMsgArgs::VersionReq {
                    version: asked,
                    flags
                }
            ),
            DirectMsgArgs::VersionResp { version: told }
        );
    }
    let boot_type = WarmBootType::ExitFromLowPower;
    let cpu_off = [0x8400_0002, 0, 0, 0];
    for args in [
        DirectMsgArgs::PowerWarmBootReq { boot_type },
        DirectMsgArgs::PowerPsciReq64 {
            params: [0xc400_0001, 1, 2, 3],
        },
        DirectMsgArgs::PowerPsciReq64 { params: cpu_off },
    ] {
        assert_eq!(
            ask(system.pe(1), args),
            DirectMsgArgs::PowerPsciResp { psci_status: 0 }
        );
    }
    let registers = system.turn_on(1);
    assert_eq!(registers.function(), MSG_WAIT);
}
