//! A partition in the style of TF-A's test partitions (Cactus, Ivy).
//!
//! Cactus asks for its id before it negotiates, and negotiates only in the middle of its tests. The
//! call that registers the entry point of other contexts leaves stack contents in the registers
//! that it does not set. Cactus discovers partitions in both ways. Its answers have 64 bits,
//! whatever the request had. It answers `FFA_INTERRUPT` and `FFA_RUN` by `FFA_MSG_WAIT`, and stops
//! at any message that is no direct request. Its manifest gives it its buffers. It makes managed
//! exits in the middle of requests, and handles the interrupt of its device.

use core::sync::atomic::{AtomicU64, Ordering};

use super::borrow::{Buffers, Request, give_back};
use super::{CACTUS, ODP, give_up, line, odp, send, swapped};
use crate::ffa::error::{DENIED, INVALID_PARAMETERS, NOT_SUPPORTED};
use crate::ffa::memory_descriptor::{NORMAL_WB, access, flag};
use crate::ffa::{SPMC, V1_2, V1_3, id};
use crate::rt::call::Regs;
use crate::rt::check::{Check, equal, holds};
use crate::rt::page::{PAGE_SIZE, Shared};
use crate::rt::stage1::{self, Attributes};
use crate::rt::wait_until;
use crate::sp::{Identity, secondary_entry};
use crate::support::secure_uart::{UART, enable, let_uart_through, quieten};
use crate::support::virtual_interrupts::{DEACTIVATE, ENABLE, GET, hf, signals};

/// x3 of a request that is answered with the word in x4.
pub const ECHO: u64 = 0x6563_686f;
/// x3 of a request to borrow the handle in x4, which was sent by the function in x5, and to
/// increment.
pub const MEMORY: u64 = 0x4d45_4d00;

/// x3 of a request to work for x4 milliseconds. If the partition has to leave the PE to the Normal
/// world before, the answer is [`EXITED`].
pub const SLEEP: u64 = 0x736c_6565;
/// x3 of a request to go on after [`EXITED`]. The answer is the one to [`SLEEP`].
pub const RESUME: u64 = 0x7265_7375;
/// x3 of the answer in a managed exit.
pub const EXITED: u64 = 0x6d65_6974;
/// x3 of a request to let the interrupt of its device through.
pub const ARM: u64 = 0x6172_6d00;
/// x3 of a request for the number of interrupts that were handled since the last such request.
pub const HANDLED: u64 = 0x6861_6e64;

/// Addresses of the buffers that its manifest gives it.
const RX: u64 = 0x0ea0_0000;
const TX: u64 = 0x0ea0_1000;

/// The virtual interrupt that asks for a managed exit.
const MANAGED_EXIT: u64 = 4;

static COUNT: AtomicU64 = AtomicU64::new(0);

/// The value of registers that a call does not set.
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
    for buffer in [TX, RX] {
        stage1::map(buffer, Attributes::Data);
    }
    // The manifest has mapped the buffers already.
    let again = send(&[id::RXTX_MAP_64.into(), TX, RX, 1]);
    equal(again[0], id::ERROR)?;
    equal(again[2] as u32, DENIED as u32)?;
    equal(hf(ENABLE, &[MANAGED_EXIT, 1, 1]), 0u64)?;
    // Features: the interrupts of managed exit and of notifications, but not the schedule receiver
    // interrupt.
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
    // Cactus negotiates after these calls.
    equal(send(&[id::VERSION.into(), V1_2.into()])[0], V1_3)?;
    equal(send(&[id::SPM_ID_GET.into()])[2], SPMC)?;
    discover()
}

/// Discovers itself, everybody, and nobody, by buffer and by registers.
fn discover() -> Check {
    let [a, b, c, d] = UUID;
    let own = send(&[id::PARTITION_INFO_GET.into(), a, b, c, d]);
    equal(own[0], id::SUCCESS)?;
    equal(own[2], 1u64)?;
    equal(own[3], 24u64)?;
    equal(buffers().rx.u16(0), CACTUS)?;
    // A caller that asks by UUID gets no UUID.
    equal(buffers().rx.u64(8) | buffers().rx.u64(16), 0u64)?;
    equal(send(&[id::RX_RELEASE.into()])[0], id::SUCCESS)?;
    let all = send(&[id::PARTITION_INFO_GET.into()]);
    equal(all[0], id::SUCCESS)?;
    holds(all[2] > odp::SERVICES.len() as u64, all[2])?;
    equal(buffers().rx.u16(0), ODP)?;
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
            id::INTERRUPT => {
                equal(message[2], UART).expect("it is its own");
                take_interrupt();
                send(&[id::MSG_WAIT.into()])
            }
            id::RUN => send(&[id::MSG_WAIT.into()]),
            other => panic!("cactus: unexpected {other:#x}, code {}", message[2] as i32),
        };
    }
}

/// Returns the line of the check that failed, or 0, and a result.
fn handle(message: &Regs) -> (u64, u64) {
    match message[3] {
        ECHO => (0, message[4]),
        SLEEP => sleep(message),
        ARM => {
            quieten();
            let enabled = enable();
            let_uart_through();
            (line(&enabled), 0)
        }
        HANDLED => (0, COUNT.swap(0, Ordering::Relaxed)),
        MEMORY => match borrow(message[1], message[4], message[5]) {
            Ok(sum) => (0, sum),
            Err(why) => (line(&Err(why)), 0),
        },
        other => (1, other),
    }
}

/// Works, and makes a managed exit if it has to.
fn sleep(message: &Regs) -> (u64, u64) {
    let done = message[4];
    if !wait_until(done, || signals() != 0) {
        return (0, done);
    }
    let interrupt = hf(GET, &[]);
    if interrupt != MANAGED_EXIT {
        return (2, interrupt);
    }
    hf(DEACTIVATE, &[interrupt, interrupt]);
    let answer = id::DIRECT_RESP_64.into();
    let resume = send(&[answer, swapped(message[1]), 0, 0, EXITED]);
    match (resume[1], resume[3]) {
        (w1, RESUME) if w1 == message[1] => (0, done),
        (_, other) => (3, other),
    }
}

/// Handles the interrupt of its device.
fn take_interrupt() {
    let interrupt = hf(GET, &[]);
    quieten();
    hf(DEACTIVATE, &[interrupt, interrupt]);
    COUNT.fetch_add(u64::from(interrupt == UART), Ordering::Relaxed);
}

fn buffers() -> Buffers {
    let at = |address: u64| {
        // SAFETY: a page of the manifest's, which nothing else is in; it is mapped before it is
        // used.
        unsafe { &*(address as *const Shared<PAGE_SIZE>) }
    };
    Buffers {
        tx: at(TX),
        rx: at(RX),
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
        buffers: buffers(),
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
        give_back(buffers(), send, me, handle)?;
    }
    Ok(told.sum)
}
