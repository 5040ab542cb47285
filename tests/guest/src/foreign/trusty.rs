//! A partition in the style of Trusty.
//!
//! Trusty speaks 1.1. Its retrieve requests specify neither attributes nor type nor permissions,
//! but the responses must describe normal, write-back, inner shareable memory that is shared or
//! lent. Its answers have the width and the flags of the request. It answers an unknown message by
//! `FFA_ERROR`, with a code that fills all of x2.

use crate::ffa::error::NOT_SUPPORTED;
use crate::ffa::memory_descriptor::{NORMAL_WB, NS, flag};
use crate::ffa::{V1_1, id};
use crate::println;
use crate::rt::call::Regs;
use crate::rt::check::{Check, equal, holds};
use crate::rt::wait_until;
use crate::sp::{self, Identity};

use super::borrow::{IMAGE, Request, give_back};
use super::{TRUSTY, give_up, line, send, swapped};

/// x3 of a request to add 1 to the first word of each range of the handle in x4. x5 is the tag.
pub const MEMORY: u64 = 0x3c00_0001;
/// x3 of a request to work for x4 milliseconds and to write to the console.
pub const WORK: u64 = 0x3c00_0002;
/// x3 of a request for the version of the interface, which is x4 of the answer.
pub const API: u64 = 0x3c00_000b;
/// x3 of a message of a later interface, which Trusty does not know.
pub const UNKNOWN: u64 = 0x3c00_00ff;

/// Initialises and serves for ever.
pub fn main(identity: &'static Identity) -> ! {
    if let Err(why) = initialise() {
        give_up(identity, &why);
    }
    let mut message = send(&[id::MSG_WAIT.into()]);
    loop {
        let answer = match message[0] as u32 {
            id::DIRECT_REQ_32 => id::DIRECT_RESP_32,
            id::DIRECT_REQ_64 => id::DIRECT_RESP_64,
            other => panic!("trusty: unexpected {other:#x}"),
        };
        if !matches!(message[3], API | MEMORY | WORK) {
            let code = i64::from(NOT_SUPPORTED) as u64;
            message = send(&[id::ERROR.into(), 0, code]);
            continue;
        }
        let (outcome, value) = match handle(&message) {
            Ok(value) => (0, value),
            Err(why) => (line(&Err(why)), 0),
        };
        let w1 = swapped(message[1]);
        message = send(&[answer.into(), w1, message[2], outcome, value]);
    }
}

fn initialise() -> Check {
    let version = send(&[id::VERSION.into(), V1_1.into()])[0];
    holds(version >> 16 == 1 && version & 0xffff >= 1, version)?;
    equal(send(&[id::ID_GET.into()])[2], TRUSTY)?;
    let features: [&[u64]; 3] = [
        &[id::RX_RELEASE.into()],
        &[id::RXTX_MAP_64.into()],
        &[id::MEM_RETRIEVE_REQ_32.into(), 2],
    ];
    for feature in features {
        let mut call = [0; 3];
        call[0] = id::FEATURES.into();
        call[1..][..feature.len()].copy_from_slice(feature);
        equal(send(&call)[0], id::SUCCESS)?;
    }
    let (tx, rx) = (sp::TX.address(), sp::RX.address());
    equal(send(&[id::RXTX_MAP_64.into(), tx, rx, 1])[0], id::SUCCESS)
}

fn handle(message: &Regs) -> Check<u64> {
    match message[3] {
        MEMORY => borrow(message[1], message[4], message[5]),
        WORK => {
            println!("# trusty works");
            wait_until(message[4], || false);
            Ok(message[4])
        }
        _ => Ok(5),
    }
}

fn borrow(w1: u64, handle: u64, tag: u64) -> Check<u64> {
    let me = w1 as u16;
    let request = Request {
        buffers: IMAGE,
        function: id::MEM_RETRIEVE_REQ_32,
        me,
        owner: (w1 >> 16) as u16,
        attributes: 0,
        flags: 0,
        handle,
        tag,
        access: 0,
        receiver_size: 16,
    };
    let told = request.make(send)?;
    equal(told.attributes & !NS, NORMAL_WB)?;
    let kind = told.flags & flag::DONATE;
    holds(matches!(kind, flag::SHARE | flag::LEND), kind)?;
    give_back(IMAGE, send, me, handle)?;
    Ok(told.sum)
}
