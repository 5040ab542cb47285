//! PEs that a test holds wherever they run a partition. The test decides step by step which PE
//! continues and what the partition on it does next, while other PEs are in the middle of
//! partitions. This covers every order of what partitions do, in steps of one exit of a partition.
//!
//! Each PE is a thread, but only the PE that was told to continue runs, until it is held again.

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
    /// The number of the guest, which changes at each reset.
    pub guest: usize,
    /// The partition.
    pub id: u16,
    /// The index of the context in the partition.
    pub vcpu: u16,
    /// The registers.
    pub gprs: [u64; 31],
    /// Set if Non-secure interrupts stay pending.
    pub masked: bool,
    /// The engine's record of the context.
    pub shown: Shown,
}

/// The place at which a PE is held.
#[derive(Clone, Debug)]
pub enum Report {
    /// The PE is about to run a partition.
    Enters(Entered),
    /// The Normal world has the PE, with that answer.
    Returns(Regs),
    /// The PE panicked.
    Fails,
}

/// Reports it when a PE panics.
struct Failure(Sender<Report>);

impl Drop for Failure {
    fn drop(&mut self) {
        if panicking() {
            let _ = self.0.send(Report::Fails);
        }
    }
}

/// A command to a PE.
#[derive(Clone, Copy, Debug)]
pub enum Command {
    /// The Normal world, or EL3, makes a call.
    Call(Regs),
    /// The PE is turned on.
    TurnOn,
}

type Stop = (Exit, [u64; 31]);

struct Lane {
    report: Sender<Report>,
    stop: Receiver<Stop>,
}

/// Holds the partitions of a system, except while their contexts initialise.
#[derive(Clone)]
pub struct Held {
    lanes: Arc<Vec<Mutex<Lane>>>,
    /// The calls that a context makes before it waits for the first time, by partition.
    first: Arc<BTreeMap<u16, Vec<Vec<u64>>>>,
    /// The number of these calls that each guest has made, while it has not made all of them.
    begun: Arc<Mutex<BTreeMap<usize, usize>>>,
    done: Arc<Mutex<usize>>,
}

/// The test's end of the connection to one PE.
pub struct Holder {
    report: Receiver<Report>,
    stop: Sender<Stop>,
    command: Option<Sender<Command>>,
    back: Sender<Report>,
}

impl Held {
    /// Makes the connections for that many PEs, with the first calls of some partitions.
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
        // The channel is closed: the test has ended.
        stop.unwrap_or_else(|| resume_unwind(Box::new(())))
    }

    /// Makes the next of a guest's first calls.
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
            // Guests initialise one after the other, in the order of their numbers.
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
    /// Connects to that PE of `system`.
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

    /// Makes the Normal world execute a command. Returns the place at which the PE is held then.
    pub fn command(&self, command: Command) -> Report {
        let sender = self.command.as_ref().expect("it has begun");
        sender.send(command).expect("a PE");
        self.wait()
    }

    /// Makes the partition on this PE leave with `exit`. Returns the place at which the PE is held
    /// then.
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
