//! A partition in the style of the Open Device Partnership's secure services (crates `ffa` and
//! `odp-ffa`, `ec-service-lib`).
//!
//! The partition calls by SMC, with zeros in all registers that it does not use. It has several
//! services, which the UUID of the request tells apart, and builds its answer from the request: the
//! UUID stays in x2 and x3. `FFA_YIELD` must complete with 32-bit `FFA_SUCCESS`. A retrieve request
//! has 64 bytes, the header and one receiver of 16, although the partition speaks 1.2. It stops if
//! `FFA_MSG_WAIT` or an answer completes with anything but a direct request or `FFA_ERROR`.

use crate::ffa::memory_descriptor::{NORMAL_WB, access, flag};
use crate::ffa::{self, V1_2, V1_3, id};
use crate::rt::call::Regs;
use crate::rt::check::{Check, Failure, equal, fail};
use crate::sp::{self, Identity};

use super::borrow::{IMAGE, Request, give_back};
use super::{give_up, line, log, send, swapped};

/// UUIDs of the services, as registers of a request have them.
pub const SERVICES: [[u64; 2]; 6] = [ECHO, YIELD, NOTIFY, RAISE, MEMORY, LOG];
/// The service that answers with the complement of all words.
pub const ECHO: [u64; 2] = [0x4e5a_0d11_0f3b_61c1, 0x11a0_9c1d_77e2_5b94];
/// The service that yields as often as the first word says, each time for as many nanoseconds as
/// the second says.
pub const YIELD: [u64; 2] = [0x4e5a_0d11_0f3b_61c2, 0x11a0_9c1d_77e2_5b94];
/// The service that takes the number of a notification, in bits 31 to 23 of the first word.
pub const NOTIFY: [u64; 2] = [0x4e5a_0d11_0f3b_61c3, 0x11a0_9c1d_77e2_5b94];
/// The service that sets that notification for the requester.
pub const RAISE: [u64; 2] = [0x4e5a_0d11_0f3b_61c4, 0x11a0_9c1d_77e2_5b94];
/// The service that adds 1 to the first word of each range of the handle in the first word. The
/// second word is the tag.
pub const MEMORY: [u64; 2] = [0x4e5a_0d11_0f3b_61c5, 0x11a0_9c1d_77e2_5b94];
/// The service that writes to the console.
pub const LOG: [u64; 2] = [0x4e5a_0d11_0f3b_61c6, 0x11a0_9c1d_77e2_5b94];

/// Text for the console.
const TEXT: &str = "battery, thermal, firmware management: all services of this partition are there now, and wait for requests\n";

/// Negotiates, logs, maps the buffers, and serves for ever.
pub fn main(identity: &'static Identity) -> ! {
    let mut services = Services { notification: 0 };
    let mut message = match initialise() {
        Ok(message) => message,
        Err(why) => give_up(identity, &why),
    };
    loop {
        message = match message[0] as u32 {
            id::DIRECT_REQ2 => send(&services.answer(&message)),
            other => panic!("{}: unexpected {other:#x}", identity.name),
        };
    }
}

fn initialise() -> Check<Regs> {
    equal(send(&[id::VERSION.into(), V1_2.into()])[0], V1_3)?;
    log(TEXT, 128)?;
    let map = send(&[
        id::RXTX_MAP_64.into(),
        sp::TX.address(),
        sp::RX.address(),
        1,
    ]);
    equal(map[0], id::SUCCESS)?;
    Ok(send(&[id::MSG_WAIT.into()]))
}

struct Services {
    /// The number of the notification that was set up last.
    notification: u64,
}

impl Services {
    /// Returns the answer to a request: the line of the check that failed, or 0, and a result.
    fn answer(&mut self, request: &Regs) -> Regs {
        let mut answer = *request;
        answer[0] = id::DIRECT_RESP2.into();
        answer[1] = swapped(request[1]);
        let [first, second] = [request[4], request[5]];
        let outcome = match [request[2], request[3]] {
            ECHO => {
                for word in &mut answer[4..] {
                    *word = !*word;
                }
                return answer;
            }
            YIELD => yield_for(first, second).map(|()| 0),
            NOTIFY => {
                self.notification = first >> 23 & 0x1ff;
                Ok(0)
            }
            RAISE => self.raise(answer[1]).map(|()| 0),
            MEMORY => increment_each(request, first, second),
            LOG => log(TEXT, 128).map(|()| 0),
            _ => fail(request[2]),
        };
        answer[4..].fill(0);
        answer[5] = *outcome.as_ref().unwrap_or(&0);
        answer[4] = line(&outcome.map(drop));
        answer
    }

    fn raise(&self, route: u64) -> Check {
        let map = 1_u64 << self.notification;
        let set = send(&[
            id::NOTIFICATION_SET.into(),
            route,
            0,
            map & 0xffff_ffff,
            map >> 32,
        ]);
        equal(set[0], id::SUCCESS)
    }
}

/// Yields the PE to the caller, and fails unless each call succeeds.
fn yield_for(times: u64, nanoseconds: u64) -> Check {
    for _ in 0..times {
        let (low, high) = (nanoseconds & 0xffff_ffff, nanoseconds >> 32);
        equal(send(&[id::YIELD.into(), 0, low, high])[0], id::SUCCESS)?;
    }
    Ok(())
}

/// Borrows a region, increments and relinquishes it, and returns the sum of the first words of its
/// ranges.
fn increment_each(request: &Regs, handle: u64, tag: u64) -> Check<u64> {
    let me = request[1] as u16;
    let borrow = Request {
        buffers: IMAGE,
        function: id::MEM_RETRIEVE_REQ_64,
        me,
        owner: (request[1] >> 16) as u16,
        attributes: NORMAL_WB,
        flags: flag::SHARE,
        handle,
        tag,
        access: access::RW,
        receiver_size: 16,
    };
    let told = borrow.make(send)?;
    give_back(IMAGE, send, me, handle)?;
    Ok(told.sum)
}

/// Asks a service on behalf of a client, and returns the result if no check failed.
#[track_caller]
pub fn outcome(answer: &Regs, partition: u16, me: u16) -> Check<u64> {
    if answer[0] == u64::from(id::ERROR) {
        equal(answer[2], 0u64)?;
    }
    equal(answer[0], id::DIRECT_RESP2)?;
    equal(answer[1], ffa::route(partition, me))?;
    equal(answer[2] | answer[3], 0u64)?;
    if answer[4] != 0 {
        return Err(Failure::Partition {
            at: core::panic::Location::caller(),
            id: partition,
            line: answer[4],
            got: answer[5],
            want: 0,
        });
    }
    Ok(answer[5])
}
