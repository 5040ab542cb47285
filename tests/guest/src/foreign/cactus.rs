//! A partition in the style of TF-A's test partitions (Cactus, Ivy).
//!
//! It asks who it is before it negotiates, and does so only in the middle of its tests; the call that registers the entry of its other contexts leaves what the stack held in the registers that it does not set. It
//! discovers everybody in both ways. Its answers are of 64 bits, whatever the request was. `FFA_INTERRUPT` and `FFA_RUN` are
//! answered by `FFA_MSG_WAIT`; anything else but a direct request is its end.

use crate::ffa::error::{INVALID_PARAMETERS, NOT_SUPPORTED};
use crate::ffa::memory::{NORMAL_WB, access, flag};
use crate::ffa::{SPMC, V1_2, id};
use crate::rt::call::Regs;
use crate::rt::check::{Check, equal, holds};
use crate::rt::stage1;
use crate::sp::{self, Identity, secondary_entry};

use super::borrow::{Request, give_back};
use super::{CACTUS, ODP, give_up, line, odp, send, swapped};

/// x3 of requests: answers with the word in x4.
pub const ECHO: u64 = 0x6563_686f;
/// Borrows the handle in x4 that was sent by the function in x5, and increments.
pub const MEMORY: u64 = 0x4d45_4d00;

/// Values of registers that it did not set.
const STACK: u64 = 0xdead_beef_0bad_cafe;

/// UUID of its manifest.
pub const UUID: [u64; 4] = [0x8d1c_5a2b, 0x40e7_93f4, 0x1f6e_2d8a, 0x77c0_b953];

/// Initialises, tests, and serves for ever.
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

fn initialise() -> Check {
    let me = send(&[id::ID_GET.into()]);
    equal(me[0], id::SUCCESS)?;
    equal(me[2], CACTUS)?;
    let entry = secondary as *const () as u64;
    let mut register = [STACK; 18];
    [register[0], register[1]] = [id::SECONDARY_EP_REGISTER.into(), entry];
    equal(send(&register)[0], id::SUCCESS)?;
    let (tx, rx) = (sp::TX.address(), sp::RX.address());
    equal(send(&[id::RXTX_MAP_64.into(), tx, rx, 1])[0], id::SUCCESS)?;
    // The interrupts of managed exit and of notifications, and not the Normal world's.
    for (feature, there) in [(3, true), (2, false), (1, true), (0xffff, false)] {
        let answer = send(&[id::FEATURES.into(), feature]);
        let wanted = if there { id::SUCCESS } else { id::ERROR };
        equal(answer[0], wanted)?;
        holds(there || answer[2] as i32 == NOT_SUPPORTED, answer[2])?;
    }
    for function in [
        id::YIELD,
        id::RUN,
        id::NOTIFICATION_BITMAP_CREATE,
        id::MSG_WAIT,
    ] {
        equal(
            send(&[id::FEATURES.into(), function.into()])[0],
            id::SUCCESS,
        )?;
    }
    let understands = [id::FEATURES.into(), id::MEM_RETRIEVE_REQ_32.into(), 2];
    equal(send(&understands)[0], id::SUCCESS)?;
    // After all of that.
    equal(send(&[id::VERSION.into(), V1_2.into()])[0], V1_2)?;
    equal(send(&[id::SPM_ID_GET.into()])[2], SPMC)?;
    discover()
}

/// Finds itself, everybody, and nobody, in memory and in registers.
fn discover() -> Check {
    let [a, b, c, d] = UUID;
    let own = send(&[id::PARTITION_INFO_GET.into(), a, b, c, d]);
    equal(own[0], id::SUCCESS)?;
    equal(own[2], 1u64)?;
    equal(own[3], 24u64)?;
    equal(sp::RX.u16(0), CACTUS)?;
    // Who asks by UUID is not told it.
    equal(sp::RX.u64(8) | sp::RX.u64(16), 0u64)?;
    equal(send(&[id::RX_RELEASE.into()])[0], id::SUCCESS)?;
    let all = send(&[id::PARTITION_INFO_GET.into()]);
    equal(all[0], id::SUCCESS)?;
    holds(all[2] > odp::SERVICES.len() as u64, all[2])?;
    equal(sp::RX.u16(0), ODP)?;
    equal(send(&[id::RX_RELEASE.into()])[0], id::SUCCESS)?;
    let nobody = send(&[id::PARTITION_INFO_GET.into(), 1]);
    equal(nobody[0], id::ERROR)?;
    equal(nobody[2] as u32, INVALID_PARAMETERS as u32)?;
    let own = send(&[id::PARTITION_INFO_GET_REGS.into(), b << 32 | a, d << 32 | c]);
    equal(own[0], id::SUCCESS_64)?;
    equal(own[2], 24u64 << 48 | own[2] & 0xffff_0000_0000)?;
    equal(own[3] & 0xffff, CACTUS)?;
    equal(own[4] | own[5], 0u64)
}

/// Serves for ever.
fn serve() -> ! {
    let mut message = send(&[id::MSG_WAIT.into()]);
    loop {
        message = match message[0] as u32 {
            id::DIRECT_REQ_32 | id::DIRECT_REQ_64 => {
                let (outcome, value) = handle(&message);
                let answer = id::DIRECT_RESP_64.into();
                send(&[answer, swapped(message[1]), 0, outcome, value])
            }
            id::INTERRUPT | id::RUN => send(&[id::MSG_WAIT.into()]),
            other => panic!("cactus: unexpected {other:#x}, code {}", message[2] as i32),
        };
    }
}

/// Returns the line of the check that failed, or 0, and a result.
fn handle(message: &Regs) -> (u64, u64) {
    match message[3] {
        ECHO => (0, message[4]),
        MEMORY => match borrow(message[1], message[4], message[5]) {
            Ok(sum) => (0, sum),
            Err(why) => (line(&Err(why)), 0),
        },
        other => (1, other),
    }
}

fn borrow(w1: u64, handle: u64, function: u64) -> Check<u64> {
    let me = w1 as u16;
    let (kind, access) = match function as u32 {
        id::MEM_SHARE_32 => (flag::SHARE, access::RW),
        id::MEM_LEND_32 => (flag::LEND, access::RW | access::XN),
        _ => (flag::DONATE, access::RW | access::XN),
    };
    let request = Request {
        function: id::MEM_RETRIEVE_REQ_32,
        me,
        owner: (w1 >> 16) as u16,
        attributes: NORMAL_WB,
        flags: kind,
        handle,
        tag: 0,
        access,
        receiver_size: 32,
    };
    let told = request.make(send)?;
    if kind != flag::DONATE {
        give_back(send, me, handle)?;
    }
    Ok(told.sum)
}
