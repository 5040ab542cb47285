//! A partition in the style of EDK2's StandaloneMm.
//!
//! StandaloneMm runs at S-EL0, sets the permissions of its image page by page, section by section,
//! and has a buffer of the Normal world, which its manifest gives it. Its answers have
//! `FFA_SUCCESS` in x3.

use crate::ffa::{SPMC, V1_2, id};
use crate::rt::check::{Check, equal, holds};
use crate::rt::page::{PAGE_SIZE, Shared};
use crate::sp::{self, Identity, el0};

use super::{STMM, give_up, send, swapped};

/// Address of the buffer in its manifest. The first word is a request.
pub const BUFFER: u64 = 0x6800_0000;

/// UUID of the protocol that UEFI looks for, as registers have it.
pub const UUID: [u64; 4] = [0x378d_aedc, 0x8945_4806, 0xd7f8_4084, 0x8b35_5c71];

/// x3 of answers.
pub const DONE: u64 = id::SUCCESS_64 as u64;

/// Pages that are writable first, then constants, then code.
static SECTION: Shared<{ 2 * PAGE_SIZE }> = Shared::new();

/// Permissions of a page in `FFA_MEM_PERM_SET`.
mod permission {
    pub const RW: u64 = 0b101;
    pub const RO: u64 = 0b111;
    pub const RX: u64 = 0b011;
}

/// Initialises and serves for ever.
pub fn main(identity: &'static Identity, entry: &[u64; 8]) -> ! {
    el0::prepare(identity, entry);
    if let Err(why) = initialise() {
        give_up(identity, &why);
    }
    let mut message = send(&[id::MSG_WAIT.into()]);
    loop {
        message = match message[0] as u32 {
            id::DIRECT_REQ_32 | id::DIRECT_REQ_64 => {
                handle(message[3]);
                let w1 = swapped(message[1]);
                send(&[id::DIRECT_RESP_64.into(), w1, 0, DONE])
            }
            other => panic!("stmm: unexpected {other:#x}"),
        };
    }
}

fn initialise() -> Check {
    let version = send(&[id::VERSION.into(), V1_2.into()])[0];
    holds(version >> 16 == 1 && version & 0xffff >= 1, version)?;
    equal(send(&[id::SPM_ID_GET.into()])[2], SPMC)?;
    equal(send(&[id::ID_GET.into()])[2], STMM)?;
    let start = SECTION.address();
    SECTION.write(0, &[1; 2 * PAGE_SIZE]);
    for page in [start, start + PAGE_SIZE as u64] {
        let mut now = permission::RW;
        for next in [permission::RO, permission::RX] {
            let told = send(&[id::MEM_PERM_GET_32.into(), page]);
            equal(told[0], id::SUCCESS)?;
            equal(told[2], now)?;
            let set = send(&[id::MEM_PERM_SET_32.into(), page, 1, next]);
            equal(set[0], id::SUCCESS)?;
            now = next;
        }
    }
    let (tx, rx) = (sp::TX.address(), sp::RX.address());
    equal(send(&[id::RXTX_MAP_64.into(), tx, rx, 1])[0], id::SUCCESS)
}

/// Answers in the buffer with the complement of the request.
fn handle(buffer: u64) {
    assert_eq!(buffer, BUFFER, "stmm: not its buffer");
    let word = buffer as *mut u64;
    // SAFETY: the SPMC mapped the buffer, and the requester lets it alone until it has the answer.
    unsafe { word.write_volatile(!word.read_volatile()) };
}
