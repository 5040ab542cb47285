//! PEs that a test holds wherever they run a partition. So it decides step by step which PE goes on
//! and what the partition there does next, while others are in the middle of their work: every
//! order of what partitions do, one exit of a partition at a time.
//!
//! Each PE is a thread, but only the one that was told to go on does, until it is held again.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::panic::resume_unwind;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::{panicking, spawn};

use spmc::hal::{Conduit, Exit};
use spmc::partition::vcpu::{Caller, Model};
use spmc::sync::watch;

use crate::ffa::{self, Regs};
use crate::guest::Resume;
use crate::schedule::watch_locks;
use crate::system::System;

/// The engine's record of a context that runs.
pub type Shown = (Model, Caller, bool);

thread_local! {
    static SHOWN: Cell<Option<Shown>> = const { Cell::new(None) };
}

/// A context that is about to run.
#[derive(Clone, Debug)]
pub struct Entered {
    /// Number of the guest: another one after each reset.
    pub guest: usize,
    /// Its partition.
    pub id: u16,
    /// Its index in the partition.
    pub vcpu: u16,
    /// Its registers.
    pub gprs: [u64; 31],
    /// Non-secure interrupts stay pending.
    pub masked: bool,
    /// The engine's record of it.
    pub shown: Shown,
}

/// Where a PE is held.
#[derive(Clone, Debug)]
pub enum Report {
    /// It runs a partition.
    Enters(Entered),
    /// The Normal world has it, with that answer.
    Returns(Regs),
    /// It failed.
    Fails,
}

/// Says so when a PE fails.
struct Failure(Sender<Report>);

impl Drop for Failure {
    fn drop(&mut self) {
        if panicking() {
            let _ = self.0.send(Report::Fails);
        }
    }
}

/// A call of the Normal world, or of EL3, on a PE.
#[derive(Clone, Copy, Debug)]
pub enum Command {
    /// A call.
    Call(Regs),
    /// The PE is turned on.
    TurnOn,
}

type Stop = (Exit, [u64; 31]);

struct Lane {
    report: Sender<Report>,
    stop: Receiver<Stop>,
}

/// Holds the partitions of a system, and lets each of their contexts initialise by itself.
#[derive(Clone)]
pub struct Held {
    lanes: Arc<Vec<Mutex<Lane>>>,
    /// Calls that a context makes before it waits for the first time, by partition.
    first: Arc<BTreeMap<u16, Vec<Vec<u64>>>>,
    /// How many of them each guest has made that is not done yet.
    begun: Arc<Mutex<BTreeMap<usize, usize>>>,
    done: Arc<Mutex<usize>>,
}

/// The other end: one for each PE.
pub struct Holder {
    report: Receiver<Report>,
    stop: Sender<Stop>,
    command: Option<Sender<Command>>,
    back: Sender<Report>,
}

impl Held {
    /// Makes one for so many PEs, and the first calls of some partitions.
    pub fn new(pes: usize, first: BTreeMap<u16, Vec<Vec<u64>>>) -> (Self, Vec<Holder>) {
        watch_locks();
        watch(|model, caller, masked| SHOWN.set(Some((model, caller, masked))));
        let (lanes, holders) = (0..pes)
            .map(|_| {
                let (report, reports) = channel();
                let (stop, stops) = channel();
                let holder = Holder {
                    report: reports,
                    stop,
                    command: None,
                    back: report.clone(),
                };
                (
                    Mutex::new(Lane {
                        report,
                        stop: stops,
                    }),
                    holder,
                )
            })
            .unzip();
        let held = Self {
            lanes: Arc::new(lanes),
            first: Arc::new(first),
            begun: Arc::default(),
            done: Arc::default(),
        };
        (held, holders)
    }

    /// Runs one of the contexts until it leaves the partition.
    pub(crate) fn run(&self, guest: usize, id: u16, vcpu: u16, resume: Resume) -> Stop {
        if let Some(stop) = self.initialise(guest, id, &resume) {
            return stop;
        }
        let lane = self.lanes[resume.pe].lock().unwrap();
        let entered = Entered {
            guest,
            id,
            vcpu,
            gprs: resume.gprs,
            masked: resume.masked,
            shown: SHOWN.get().expect("the engine shows what it runs"),
        };
        let stop = lane.report.send(Report::Enters(entered)).ok();
        let stop = stop.and_then(|()| lane.stop.recv().ok());
        drop(lane);
        // Nobody holds it any more.
        stop.unwrap_or_else(|| resume_unwind(Box::new(())))
    }

    /// Makes the first calls of a guest.
    fn initialise(&self, guest: usize, id: u16, resume: &Resume) -> Option<Stop> {
        let (mut begun, mut done) = (self.begun.lock().unwrap(), self.done.lock().unwrap());
        if guest < *done {
            return None;
        }
        let calls = self.first.get(&id).map_or(&[][..], Vec::as_slice);
        let made = begun.entry(guest).or_default();
        let mut gprs = resume.gprs;
        gprs[..8].fill(0);
        if let Some(call) = calls.get(*made) {
            gprs[..call.len()].copy_from_slice(call);
        } else {
            gprs[0] = ffa::MSG_WAIT;
            // One after the other: guests are numbered in the order in which they begin.
            *done = guest + 1;
        }
        *made += 1;
        if *done > guest {
            begun.remove(&guest);
        }
        Some((Exit::Call(Conduit::Smc), gprs))
    }
}

impl Holder {
    /// From now on this is that PE of `system`.
    pub fn begin(&mut self, system: &Arc<System>, pe: usize) {
        let (command, commands) = channel();
        let (system, back) = (Arc::clone(system), self.back.clone());
        spawn(move || {
            let _failure = Failure(back.clone());
            while let Ok(command) = commands.recv() {
                let answer = match command {
                    Command::Call(regs) => system.pe(pe).call_with(regs),
                    Command::TurnOn => system.turn_on(pe),
                };
                if back.send(Report::Returns(answer)).is_err() {
                    return;
                }
            }
        });
        self.command = Some(command);
    }

    /// The Normal world does something; where the PE is held then.
    pub fn command(&self, command: Command) -> Report {
        let sender = self.command.as_ref().expect("it has begun");
        sender.send(command).expect("a PE");
        self.wait()
    }

    /// The partition on this PE does something; where the PE is held then.
    pub fn exit(&self, exit: Exit, gprs: [u64; 31]) -> Report {
        self.stop.send((exit, gprs)).expect("a PE");
        self.wait()
    }

    fn wait(&self) -> Report {
        match self.report.recv() {
            Ok(Report::Fails) | Err(_) => panic!("a PE failed"),
            Ok(report) => report,
        }
    }
}
