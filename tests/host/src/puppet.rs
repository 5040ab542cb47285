//! A partition without a thread: a test tells it what to do next, and it does that when the engine
//! runs it. What a whole system does is then plain function calls, fast enough for millions of
//! them.
//!
//! A puppet with nothing to do answers the request that it works on with that request's payload, or
//! waits.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use spmc::addr::World;
use spmc::hal::{Access, Conduit, Exit, Fault};

use crate::ffa::{self, Layout, Regs};
use crate::guest::{Pending, Resume, Stop};
use crate::machine::Machine;
use crate::manifest::{PartitionSpec, partition_base};
use crate::system::System;

/// One thing that a partition does.
#[derive(Clone, Debug)]
pub enum Act {
    /// A call; all other registers are kept.
    Call(Vec<u64>),
    /// An access to one byte of a page.
    Touch(World, u64, Access),
    /// A Non-secure interrupt comes in while it runs.
    Interrupt,
    /// An instruction that traps, in a partition that has no exception vectors any more: it fails.
    Crash,
}

/// How an act ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// The completion of the call.
    Returned(Regs),
    /// Tells whether the access was made; otherwise the partition took an abort.
    Touched(bool),
    /// It runs on after an interrupt.
    Resumed,
}

#[derive(Default)]
struct State {
    todo: VecDeque<Act>,
    outcomes: VecDeque<Outcome>,
    /// The act that is under way.
    current: Option<Act>,
    /// The direct request that it works on.
    request: Option<[u64; 31]>,
}

/// The strings of one partition.
#[derive(Clone)]
pub struct Puppet {
    /// Partition id.
    pub id: u16,
    /// Layout of its memory transaction descriptors.
    pub layout: Layout,
    state: Arc<Mutex<State>>,
}

impl Puppet {
    /// Makes a puppet of `partition`, the one at `index` of its system.
    pub fn control(partition: PartitionSpec, index: usize) -> (PartitionSpec, Self) {
        let puppet = Self {
            id: 0x8001 + index as u16,
            layout: Layout::of(partition.version.into()),
            state: Arc::default(),
        };
        let partition = partition.with(|partition| partition.puppet = Some(puppet.clone()));
        (partition, puppet)
    }

    /// Lets it do `act` when it runs next.
    pub fn leave(&self, act: Act) {
        self.state.lock().unwrap().todo.push_back(act);
    }

    /// How the oldest act ended of which that was not asked yet.
    pub fn outcome(&self) -> Option<Outcome> {
        self.state.lock().unwrap().outcomes.pop_front()
    }

    /// Lets it do `act` inside a direct request of the Normal world; how that ended.
    #[track_caller]
    pub fn act(&self, system: &System, act: Act) -> Outcome {
        self.leave(act);
        system.nwd().ask(self.id, [0; 5]);
        self.outcome().expect("it came to an end")
    }

    /// Lets it make a call; the completion.
    #[track_caller]
    pub fn call<const N: usize>(&self, system: &System, regs: [u64; N]) -> Regs {
        match self.act(system, Act::Call(regs.to_vec())) {
            Outcome::Returned(regs) => regs,
            other => panic!("a call ended as {other:?}"),
        }
    }

    /// Returns whether it can make the access.
    #[track_caller]
    pub fn touches(&self, system: &System, world: World, ipa: u64, access: Access) -> bool {
        self.act(system, Act::Touch(world, ipa, access)) == Outcome::Touched(true)
    }

    /// Base of its own memory.
    pub fn base(&self) -> u64 {
        partition_base(usize::from(self.id - 0x8001))
    }

    /// Where [`Self::map_buffers`] puts TX; RX is the next page.
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

    /// Puts `bytes` into its TX.
    pub fn write_tx(&self, system: &System, bytes: &[u8]) {
        system
            .machine
            .memory()
            .write(World::Secure, self.tx(), bytes)
            .expect("its own TX");
    }

    /// A memory call with `descriptor` in TX.
    #[track_caller]
    pub fn memory_call(&self, system: &System, function: u64, descriptor: &[u8]) -> Regs {
        self.write_tx(system, descriptor);
        let length = descriptor.len() as u64;
        self.call(system, [function, length, length])
    }

    /// `FFA_MEM_RELINQUISH` for itself.
    #[track_caller]
    pub fn relinquish(&self, system: &System, handle: u64, flags: u32) -> Regs {
        self.write_tx(system, &ffa::relinquish(handle, flags, &[self.id]));
        self.call(system, [ffa::MEM_RELINQUISH])
    }

    /// The first `length` bytes of its RX.
    pub fn read_rx(&self, system: &System, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        system
            .machine
            .memory()
            .read(World::Secure, self.tx() + 0x1000, &mut bytes)
            .expect("its own RX");
        bytes
    }

    /// Returns whether it has no exception vectors any more.
    pub(crate) fn is_crashing(&self) -> bool {
        matches!(self.state.lock().unwrap().current, Some(Act::Crash))
    }

    /// Runs one of its contexts until it leaves the partition.
    pub(crate) fn run(&self, machine: &Machine, entry: u64, resume: Resume) -> Stop {
        let mut state = self.state.lock().unwrap();
        let mut regs = resume.gprs;
        let outcome = match (state.current.take(), resume.pending) {
            (Some(Act::Call(_)), _) => Some(Outcome::Returned(returned(&regs))),
            (Some(Act::Touch(..)), Pending::Abort(_)) => Some(Outcome::Touched(false)),
            // The engine wants it to try again.
            (Some(touch @ Act::Touch(..)), _) => {
                state.todo.push_front(touch);
                None
            }
            (Some(Act::Interrupt), _) => Some(Outcome::Resumed),
            // Only another life of it runs again.
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

    /// Returns the call that a puppet makes when it has nothing to do.
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
