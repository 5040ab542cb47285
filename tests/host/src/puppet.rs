//! A partition without a thread: a test tells it what to do next, and it does so when the engine
//! runs it. A whole system then consists of plain function calls, fast enough for millions of them.
//!
//! A puppet with nothing to do answers the current request with the request's payload, or waits.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use spmc::addr::World;
use spmc::hal::{Access, Conduit, Exit, Fault};

use crate::ffa::{self, Layout, Regs};
use crate::guest::{Pending, Resume, Stop};
use crate::machine::Machine;
use crate::manifest::{PartitionSpec, partition_base};
use crate::system::System;

/// An action of a partition.
#[derive(Clone, Debug)]
pub enum Act {
    /// A call; all other registers are kept.
    Call(Vec<u64>),
    /// An access to one byte of a page.
    Touch(World, u64, Access),
    /// A Non-secure interrupt comes in while the partition runs.
    Interrupt,
    /// An instruction that traps in a partition without exception vectors, so that the partition
    /// fails.
    Crash,
}

/// The result of an act.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// The completion of the call.
    Returned(Regs),
    /// The access was made if true; otherwise the partition took an abort.
    Touched(bool),
    /// The partition continued after an interrupt.
    Resumed,
}

#[derive(Default)]
struct State {
    todo: VecDeque<Act>,
    outcomes: VecDeque<Outcome>,
    /// The act that is in progress.
    current: Option<Act>,
    /// The direct request that the partition serves.
    request: Option<[u64; 31]>,
}

/// The test's handle to a puppet.
#[derive(Clone)]
pub struct Puppet {
    /// Partition id.
    pub id: u16,
    /// The layout of the partition's memory transaction descriptors.
    pub layout: Layout,
    state: Arc<Mutex<State>>,
}

impl Puppet {
    /// Makes a puppet of `partition`, which is at `index` in its system.
    pub fn control(partition: PartitionSpec, index: usize) -> (PartitionSpec, Self) {
        let puppet = Self {
            id: 0x8001 + index as u16,
            layout: Layout::of(partition.version.into()),
            state: Arc::default(),
        };
        let partition = partition.with(|partition| partition.puppet = Some(puppet.clone()));
        (partition, puppet)
    }

    /// Makes the partition do `act` when it runs next.
    pub fn leave(&self, act: Act) {
        self.state.lock().unwrap().todo.push_back(act);
    }

    /// Returns the result of the oldest act whose result was not taken yet.
    pub fn outcome(&self) -> Option<Outcome> {
        self.state.lock().unwrap().outcomes.pop_front()
    }

    /// Makes the partition do `act` inside a direct request of the Normal world. Returns the
    /// result.
    #[track_caller]
    pub fn act(&self, system: &System, act: Act) -> Outcome {
        self.leave(act);
        system.nwd().ask(self.id, [0; 5]);
        self.outcome().expect("it came to an end")
    }

    /// Makes the partition make a call. Returns the completion.
    #[track_caller]
    pub fn call<const N: usize>(&self, system: &System, regs: [u64; N]) -> Regs {
        match self.act(system, Act::Call(regs.to_vec())) {
            Outcome::Returned(regs) => regs,
            other => panic!("a call ended as {other:?}"),
        }
    }

    /// Returns whether the partition can make the access.
    #[track_caller]
    pub fn touches(&self, system: &System, world: World, ipa: u64, access: Access) -> bool {
        self.act(system, Act::Touch(world, ipa, access)) == Outcome::Touched(true)
    }

    /// Returns the base of the partition's own memory.
    pub fn base(&self) -> u64 {
        partition_base(usize::from(self.id - 0x8001))
    }

    /// Returns the address of TX after [`Self::map_buffers`]. RX is the next page.
    pub fn tx(&self) -> u64 {
        self.base() + 0x1_0000
    }

    /// Registers one page of TX and one of RX.
    #[track_caller]
    pub fn map_buffers(&self, system: &System) {
        let tx = self.tx();
        self.call(system, [ffa::RXTX_MAP_64, tx, tx + 0x1000, 1])
            .success();
    }

    /// Writes `bytes` to the partition's TX.
    pub fn write_tx(&self, system: &System, bytes: &[u8]) {
        system
            .machine
            .memory()
            .write(World::Secure, self.tx(), bytes)
            .expect("its own TX");
    }

    /// Makes a memory call with `descriptor` in TX.
    #[track_caller]
    pub fn memory_call(&self, system: &System, function: u64, descriptor: &[u8]) -> Regs {
        self.write_tx(system, descriptor);
        let length = descriptor.len() as u64;
        self.call(system, [function, length, length])
    }

    /// Calls `FFA_MEM_RELINQUISH` for the partition itself.
    #[track_caller]
    pub fn relinquish(&self, system: &System, handle: u64, flags: u32) -> Regs {
        self.write_tx(system, &ffa::relinquish(handle, flags, &[self.id]));
        self.call(system, [ffa::MEM_RELINQUISH])
    }

    /// Returns the first `length` bytes of the partition's RX.
    pub fn read_rx(&self, system: &System, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        system
            .machine
            .memory()
            .read(World::Secure, self.tx() + 0x1000, &mut bytes)
            .expect("its own RX");
        bytes
    }

    /// Returns whether the partition has no exception vectors any more.
    pub(crate) fn is_crashing(&self) -> bool {
        matches!(self.state.lock().unwrap().current, Some(Act::Crash))
    }

    /// Runs one of the partition's contexts until it leaves the partition.
    pub(crate) fn run(&self, machine: &Machine, entry: u64, resume: Resume) -> Stop {
        let mut state = self.state.lock().unwrap();
        let mut regs = resume.gprs;
        let outcome = match (state.current.take(), resume.pending) {
            (Some(Act::Call(_)), _) => Some(Outcome::Returned(returned(&regs))),
            (Some(Act::Touch(..)), Pending::Abort(_)) => Some(Outcome::Touched(false)),
            // The engine makes the partition repeat the access.
            (Some(touch @ Act::Touch(..)), _) => {
                state.todo.push_front(touch);
                None
            }
            (Some(Act::Interrupt), _) => Some(Outcome::Resumed),
            // The context runs only in its next life.
            (Some(Act::Crash), _) => {
                state.request = None;
                None
            }
            (None, _) => {
                let is_request = matches!(regs[0], ffa::DIRECT_REQ_32 | ffa::DIRECT_REQ_64);
                state.request = is_request.then_some(regs);
                None
            }
        };
        state.outcomes.extend(outcome);
        loop {
            let act = match state.todo.pop_front() {
                Some(Act::Interrupt) if resume.masked => {
                    state.outcomes.push_back(Outcome::Resumed);
                    continue;
                }
                Some(act) => act,
                None => {
                    let request = state.request.take();
                    return (Exit::Call(Conduit::Smc), self.answer(regs, request));
                }
            };
            let exit = match &act {
                Act::Call(call) => {
                    regs[..8].fill(0);
                    regs[..call.len()].copy_from_slice(call);
                    Exit::Call(Conduit::Smc)
                }
                Act::Touch(world, ipa, access) => {
                    match machine.translate(resume.pe, *world, *ipa, *access, entry) {
                        Ok(_) => {
                            state.outcomes.push_back(Outcome::Touched(true));
                            continue;
                        }
                        Err(fault) => Exit::Fault(Fault { ..fault }),
                    }
                }
                Act::Interrupt => Exit::NonSecureInterrupt,
                Act::Crash => Exit::Trap {
                    syndrome: 0,
                    pc: entry,
                },
            };
            state.current = Some(act);
            return (exit, regs);
        }
    }

    /// Returns the call that a puppet makes if it has nothing to do.
    fn answer(&self, mut regs: [u64; 31], request: Option<[u64; 31]>) -> [u64; 31] {
        regs[..8].fill(0);
        let Some(request) = request else {
            regs[0] = ffa::MSG_WAIT;
            return regs;
        };
        regs[0] = if request[0] == ffa::DIRECT_REQ_64 {
            ffa::DIRECT_RESP_64
        } else {
            ffa::DIRECT_RESP_32
        };
        regs[1] = u64::from(self.id) << 16 | request[1] >> 16 & 0xffff;
        regs[3..8].copy_from_slice(&request[3..8]);
        regs
    }
}

fn returned(regs: &[u64; 31]) -> Regs {
    let mut result = [0; 18];
    result.copy_from_slice(&regs[..18]);
    Regs(result)
}
