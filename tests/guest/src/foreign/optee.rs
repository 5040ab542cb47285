//! A partition in the style of OP-TEE.
//!
//! OP-TEE makes most calls by HVC, and those that give up the PE by SMC. It answers in the width of
//! the request. It retrieves a handle when the handle is first used, keeps the memory until it is
//! told to let go, and makes the 32-bit form of the call, with receivers of 16 bytes although it
//! speaks 1.2. Its notifications delay the schedule receiver interrupt. It answers unknown messages
//! by `FFA_ERROR`.

use crate::ffa::error::NOT_SUPPORTED;
use crate::ffa::memory_descriptor::{NORMAL_WB, access, flag};
use crate::ffa::{SPMC, V1_2, V1_3, id};
use crate::rt::call::{Conduit, Regs};
use crate::rt::check::{Check, equal};
use crate::rt::stage1;
use crate::sp::{self, Identity, secondary_entry};

use super::borrow::{IMAGE, Request, give_back};
use super::{OPTEE, give_up, line, log, send, send_by, swapped};

/// w3 of a request for the revision, which is w4 of the answer.
pub const VERSION: u64 = 1;
/// w3 of a request to let go of the handle in w4 and w5.
pub const UNREGISTER: u64 = 3;
/// w3 of a request to retrieve the handle in w4 and w5, to add 1 to the first word of each range,
/// and to keep the memory.
pub const USE: u64 = 5;
/// w3 of such a request for memory that was lent.
pub const PROTECT: u64 = 6;
/// w3 of a request to set the notification in w4 for the requester.
pub const NOTIFY: u64 = 7;
/// w3 of a request for the number of VMs that came and went, which is w4 of the answer.
pub const VMS: u64 = 8;

/// The revision.
pub const REVISION: u64 = 0x0004_0006;

/// w2 of the framework message that says that a VM was created.
pub const VM_CREATED: u64 = 0x8000_0004;
/// w2 of the framework message that says that a VM was destroyed.
pub const VM_DESTROYED: u64 = 0x8000_0006;

/// Initialises and serves for ever.
pub fn main(identity: &'static Identity) -> ! {
    if let Err(why) = initialise() {
        give_up(identity, &why);
    }
    serve()
}

secondary_entry!(secondary, secondary_main);

extern "C" fn secondary_main(_: &[u64; 8]) -> ! {
    stage1::enable_el1();
    serve()
}

fn yielding(registers: &[u64]) -> Regs {
    send_by(Conduit::Smc, registers)
}

fn initialise() -> Check {
    equal(send(&[id::VERSION.into(), V1_2.into()])[0], V1_3)?;
    for function in [id::CONSOLE_LOG_64, id::NOTIFICATION_SET] {
        equal(
            send(&[id::FEATURES.into(), function.into()])[0],
            id::SUCCESS,
        )?;
    }
    log("I/TC: primary CPU initializing\n", 48)?;
    equal(send(&[id::ID_GET.into()])[2], OPTEE)?;
    equal(send(&[id::SPM_ID_GET.into()])[2], SPMC)?;
    let (tx, rx) = (sp::TX.address(), sp::RX.address());
    equal(send(&[id::RXTX_MAP_64.into(), tx, rx, 1])[0], id::SUCCESS)?;
    let entry = secondary as *const () as u64;
    let register = yielding(&[id::SECONDARY_EP_REGISTER.into(), entry]);
    equal(register[0], id::SUCCESS)
}

/// Serves for ever.
fn serve() -> ! {
    let mut vms = 0;
    let mut message = yielding(&[id::MSG_WAIT.into()]);
    loop {
        let answer = match message[0] as u32 {
            id::DIRECT_REQ_32 => id::DIRECT_RESP_32,
            id::DIRECT_REQ_64 => id::DIRECT_RESP_64,
            id::INTERRUPT => {
                message = yielding(&[id::MSG_WAIT.into()]);
                continue;
            }
            _ => {
                let error = u64::from(NOT_SUPPORTED as u32);
                message = yielding(&[id::ERROR.into(), 0, error]);
                continue;
            }
        };
        let back = [answer.into(), swapped(message[1])];
        message = if matches!(message[2], VM_CREATED | VM_DESTROYED) {
            vms += 1;
            yielding(&[back[0], back[1], message[2] + 1, 0])
        } else {
            let (outcome, value) = match message[3] {
                VMS => (0, vms),
                _ => match handle(&message) {
                    Ok(value) => (0, value),
                    Err(why) => (line(&Err(why)), 0),
                },
            };
            yielding(&[back[0], back[1], 0, outcome, value])
        };
    }
}

fn handle(message: &Regs) -> Check<u64> {
    let me = message[1] as u16;
    let handle = message[4] | message[5] << 32;
    match message[3] {
        VERSION => Ok(REVISION),
        UNREGISTER => give_back(IMAGE, send, me, handle).map(|()| 0),
        USE => borrow(message, flag::SHARE, handle),
        PROTECT => borrow(message, flag::LEND, handle),
        NOTIFY => {
            let map = 1_u64 << message[4];
            let [low, high] = [map & 0xffff_ffff, map >> 32];
            let set = [
                id::NOTIFICATION_SET.into(),
                swapped(message[1]),
                2,
                low,
                high,
            ];
            equal(send(&set)[0], id::SUCCESS).map(|()| 0)
        }
        other => equal(other, VERSION).map(|()| 0),
    }
}

fn borrow(message: &Regs, flags: u32, handle: u64) -> Check<u64> {
    let request = Request {
        buffers: IMAGE,
        function: id::MEM_RETRIEVE_REQ_32,
        me: message[1] as u16,
        owner: (message[1] >> 16) as u16,
        attributes: NORMAL_WB,
        flags,
        handle,
        tag: 0,
        access: access::RW,
        receiver_size: 16,
    };
    Ok(request.make(send)?.sum)
}
