//! The life of a partition: it starts, then it serves messages and interrupts for ever.

use arm_ffa::Interface;
use arm_ffa::interface_args::{DirectMsg2Args, DirectMsgArgs, MsgWaitFlags};

use crate::call::{self, call, own_id};
use crate::memory::Memory;
use crate::notification::{self, Pending};
use crate::{interrupt, println, stage1};

/// A direct request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Message {
    /// The endpoint that sent it.
    pub sender: u16,
    /// x3 to x7, or w3 to w7 of a request with 32-bit registers.
    pub words: [u64; 5],
}

/// The answer: x3 to x7 of the direct response, of which a response with 32-bit registers has the
/// lower halves.
pub type Reply = [u64; 5];

/// A direct request of the second kind, which names a service of the partition.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Request {
    /// The endpoint that sent it.
    pub sender: u16,
    /// The UUID of the service, as a number with the first digit in front: one of those in the
    /// partition's manifest.
    pub service: u128,
    /// x4 to x17.
    pub words: [u64; 14],
}

/// A partition.
pub trait Partition: Sized {
    /// Initialises the partition `id`, before the Normal world runs.
    fn start(id: u16, memory: &mut Memory) -> Self;

    /// Answers a message.
    fn message(&mut self, message: Message, memory: &mut Memory) -> Reply;

    /// Answers a direct request of the second kind. The answer is x4 to x17 of the response.
    fn request(&mut self, request: Request, _: &mut Memory) -> [u64; 14] {
        println!("nobody serves {:#034x}", request.service);
        [0; 14]
    }

    /// Uses cycles that no message brought (`FFA_RUN`).
    fn cycles(&mut self, _: &mut Memory) {}

    /// Handles notifications that others set. They are not pending any more.
    fn notified(&mut self, pending: Pending, _: &mut Memory) {
        println!("nobody handles {pending:x?}");
    }

    /// Handles an interrupt that [`interrupt::enable`] turned on. It counts as handled when this
    /// returns: by then the device must have lowered its line.
    fn interrupt(&mut self, id: u32) {
        println!("nobody handles interrupt {id}");
    }
}

/// Runs a partition: what the entry point of an image does.
pub fn serve<P: Partition>() -> ! {
    assert!(
        call::negotiate(),
        "the SPMC does not speak FF-A {:?}",
        call::VERSION
    );
    stage1::protect();
    call::learn_own_id();
    let mut memory = Memory::map().expect("the SPMC takes the RX/TX pair");
    let notifications = notification::interrupt();
    let mut partition = P::start(own_id(), &mut memory);
    let mut reply = wait();
    loop {
        let event = call(reply).expect("a partition may always wait or answer");
        while let Some(id) = interrupt::take() {
            if Some(id) == notifications {
                let pending = notification::get().expect("a partition that is notified may ask");
                partition.notified(pending, &mut memory);
            } else {
                partition.interrupt(id);
            }
            interrupt::deactivate(id);
        }
        reply = match event {
            Interface::MsgSendDirectReq {
                src_id,
                dst_id,
                args: DirectMsgArgs::Args64([a, b, c, d, e, ..]),
            } => {
                let message = Message {
                    sender: src_id,
                    words: [a, b, c, d, e],
                };
                let mut words = [0; 15];
                words[..5].copy_from_slice(&partition.message(message, &mut memory));
                response(dst_id, src_id, DirectMsgArgs::Args64(words))
            }
            Interface::MsgSendDirectReq {
                src_id,
                dst_id,
                args: DirectMsgArgs::Args32(words),
            } => {
                let message = Message {
                    sender: src_id,
                    words: words.map(u64::from),
                };
                let answer = partition.message(message, &mut memory);
                let words = answer.map(|word| word as u32);
                response(dst_id, src_id, DirectMsgArgs::Args32(words))
            }
            Interface::MsgSendDirectReq2 {
                src_id,
                dst_id,
                uuid,
                args: DirectMsg2Args(words),
            } => {
                let request = Request {
                    sender: src_id,
                    service: uuid.as_u128(),
                    words,
                };
                Interface::MsgSendDirectResp2 {
                    src_id: dst_id,
                    dst_id: src_id,
                    args: DirectMsg2Args(partition.request(request, &mut memory)),
                }
            }
            Interface::Run { .. } => {
                partition.cycles(&mut memory);
                wait()
            }
            // The interrupts were handled above.
            Interface::Interrupt { .. } => wait(),
            other => {
                println!("nobody serves {other:?}");
                wait()
            }
        };
    }
}

fn response(src_id: u16, dst_id: u16, args: DirectMsgArgs) -> Interface {
    Interface::MsgSendDirectResp {
        src_id,
        dst_id,
        args,
    }
}

fn wait() -> Interface {
    Interface::MsgWait {
        flags: MsgWaitFlags::default(),
        is_32bit: true,
    }
}

/// Reports an exception of the partition itself, and ends the partition.
pub fn exception(address: usize) -> ! {
    panic!("exception at {address:#x}, of which addr2line knows the line");
}
