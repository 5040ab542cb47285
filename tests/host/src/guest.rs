//! Scripted partitions. A script is a closure that runs as one execution context of a partition and
//! reads like code of that partition: it makes calls, accesses memory through stage 2, is
//! interrupted and causes faults.
//!
//! Each context is a thread, except those of a [`Puppet`], but only one side runs at a time: the
//! engine waits in [`spmc::hal::Hal::run`] until the script does something that leaves the
//! partition, and the script waits until the engine runs the context again.

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, Weak};
use std::thread::{JoinHandle, spawn};

use spmc::addr::World;
use spmc::hal::{Access, Conduit, Exit, Fault, FaultKind, Roots};

use crate::careless::leave_garbage;
use crate::ffa::{self, Layout, Regs, Transaction};
use crate::gic::Gic;
use crate::held::Held;
use crate::machine::{Journal, Machine};
use crate::puppet::Puppet;
use crate::snapshot::Snapshot;
use crate::start;

/// The program of a partition's context.
pub type Script = Arc<dyn Fn(&mut Sp) + Send + Sync>;

/// The script of a partition, and the memory in which its entry points lie.
pub struct Program {
    pub(crate) id: u16,
    pub(crate) memory: Range<u64>,
    pub(crate) takes_exceptions: bool,
    pub(crate) layout: Layout,
    pub(crate) script: Script,
    pub(crate) puppet: Option<Puppet>,
    pub(crate) held: Option<Held>,
}

/// The event that a context finds when it is resumed.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) enum Pending {
    #[default]
    Nothing,
    Abort(Fault),
    Undefined,
}

pub(crate) struct Resume {
    pub(crate) pe: usize,
    pub(crate) masked: bool,
    pub(crate) watchdog: Option<u64>,
    pub(crate) gprs: [u64; 31],
    pub(crate) pending: Pending,
    pub(crate) signals: (bool, bool),
}

pub(crate) type Stop = (Exit, [u64; 31]);

struct Running {
    resume: Sender<Resume>,
    stop: Receiver<Stop>,
    thread: Option<JoinHandle<()>>,
}

/// One incarnation of an execution context, which begins with its reset.
pub struct Guest {
    number: usize,
    id: u16,
    base: u64,
    vcpu: u16,
    entry: u64,
    takes_exceptions: bool,
    layout: Layout,
    script: Script,
    puppet: Option<Puppet>,
    held: Option<Held>,
    running: Mutex<Option<Running>>,
    /// The memory that is checked when the context starts, until it has started.
    unread: Mutex<Option<Range<u64>>>,
    /// The time at which the timer expires that the script has armed.
    timer: Arc<Mutex<Option<u64>>>,
}

/// Unwinds the thread of a script whose system is gone.
struct SystemGone;

impl Guest {
    pub(crate) fn new(machine: &Machine, number: usize, entry: u64, vcpu: u16) -> Self {
        let programs = machine.programs.read().unwrap();
        let program = programs
            .iter()
            .find(|program| program.memory.contains(&entry))
            .unwrap_or_else(|| {
                panic!("guest {number} is entered at {entry:#x}, which is nobody's")
            });
        Self {
            number,
            id: program.id,
            base: program.memory.start,
            vcpu,
            entry,
            takes_exceptions: program.takes_exceptions,
            layout: program.layout,
            script: Arc::clone(&program.script),
            puppet: program.puppet.clone(),
            held: program.held.clone(),
            running: Mutex::new(None),
            // Other contexts start when buffers are in use, which are cached.
            unread: Mutex::new((vcpu == 0).then(|| program.memory.clone())),
            timer: Arc::default(),
        }
    }

    /// Panics if the context starts now and does not find in memory, or in an instruction cache,
    /// what was put there.
    pub(crate) fn check_memory_at_start(&self, machine: &Machine, roots: &Roots) {
        if let Some(memory) = self.unread.lock().unwrap().take() {
            start::check(machine, roots, self.id, &memory);
        }
    }

    /// Returns the time at which the timer expires that the script has armed.
    pub(crate) fn timer(&self) -> Option<u64> {
        *self.timer.lock().unwrap()
    }

    pub(crate) fn takes_exceptions(&self) -> bool {
        match &self.puppet {
            Some(puppet) => !puppet.is_crashing(),
            None => self.takes_exceptions && self.held.is_none(),
        }
    }

    /// Runs the script until it leaves the partition. A panic in the script continues here.
    pub(crate) fn run(&self, machine: &Arc<Machine>, resume: Resume) -> Stop {
        if let Some(puppet) = &self.puppet {
            return puppet.run(machine, self.entry, resume);
        }
        if let Some(held) = &self.held {
            return held.run(self.number, self.id, self.vcpu, resume);
        }
        let mut running = self.running.lock().unwrap();
        let running = running.get_or_insert_with(|| self.start(machine));
        let stop = running
            .resume
            .send(resume)
            .ok()
            .and_then(|()| running.stop.recv().ok());
        stop.unwrap_or_else(|| match running.thread.take().map(JoinHandle::join) {
            Some(Err(panic)) => resume_unwind(panic),
            _ => panic!(
                "{:#x} vcpu {} runs on after the end of its script",
                self.id, self.vcpu
            ),
        })
    }

    fn start(&self, machine: &Arc<Machine>) -> Running {
        let (resume, resumed) = channel();
        let (stopped, stop) = channel();
        let script = Arc::clone(&self.script);
        let mut sp = Sp {
            id: self.id,
            base: self.base,
            vcpu: self.vcpu,
            entry: self.entry,
            regs: [0; 31],
            layout: self.layout,
            negotiated: false,
            wide: false,
            pe: 0,
            masked: false,
            watchdog: None,
            signals: (false, false),
            machine: Arc::downgrade(machine),
            timer: Arc::clone(&self.timer),
            resumed,
            stopped,
        };
        let thread = spawn(move || {
            let outcome = catch_unwind(AssertUnwindSafe(|| {
                sp.wait_for_entry();
                script(&mut sp);
            }));
            if let Err(panic) = outcome
                && !panic.is::<SystemGone>()
            {
                resume_unwind(panic);
            }
        });
        Running {
            resume,
            stop,
            thread: Some(thread),
        }
    }
}

/// The script's view of its execution context.
pub struct Sp {
    /// Partition id.
    pub id: u16,
    base: u64,
    /// Index of the context.
    pub vcpu: u16,
    /// The address at which the context was entered.
    pub entry: u64,
    /// Registers x0 to x30 at the entry or after the last call.
    pub regs: [u64; 31],
    /// The layout of memory transaction descriptors: that of the version in the manifest, unless
    /// the script negotiates another version and sets the layout.
    pub layout: Layout,
    /// Set once the script has called `FFA_VERSION`: `layout` may then differ from the version.
    negotiated: bool,
    /// Set by a script that exchanges direct messages of 1.3, in x3 to x17.
    pub wide: bool,
    pe: usize,
    masked: bool,
    watchdog: Option<u64>,
    signals: (bool, bool),
    machine: Weak<Machine>,
    timer: Arc<Mutex<Option<u64>>>,
    resumed: Receiver<Resume>,
    stopped: Sender<Stop>,
}

impl Sp {
    fn wait_for_entry(&mut self) -> Pending {
        let Ok(resume) = self.resumed.recv() else {
            resume_unwind(Box::new(SystemGone));
        };
        self.regs = resume.gprs;
        self.pe = resume.pe;
        self.masked = resume.masked;
        self.watchdog = resume.watchdog;
        self.signals = resume.signals;
        resume.pending
    }

    fn leave(&mut self, exit: Exit) -> Pending {
        if self.stopped.send((exit, self.regs)).is_err() {
            resume_unwind(Box::new(SystemGone));
        }
        self.wait_for_entry()
    }

    pub(crate) fn machine(&self) -> Arc<Machine> {
        self.machine
            .upgrade()
            .unwrap_or_else(|| resume_unwind(Box::new(SystemGone)))
    }

    /// Returns the PE on which the context runs.
    pub fn pe(&self) -> usize {
        self.pe
    }

    /// Makes a call by SMC. Of x0 to x7, those that are not given are 0 or, if the call does not
    /// use them, garbage; all other registers are kept. Returns x0 to x17 after the call.
    pub fn call<const N: usize>(&mut self, regs: [u64; N]) -> Regs {
        self.call_by(Conduit::Smc, regs)
    }

    /// Makes a call by SMC with all registers given. Returns x0 to x17 after the call.
    pub fn call_with(&mut self, regs: Regs) -> Regs {
        self.regs[8..18].copy_from_slice(&regs.0[8..]);
        let [x0, x1, x2, x3, x4, x5, x6, x7, ..] = regs.0;
        self.call([x0, x1, x2, x3, x4, x5, x6, x7])
    }

    /// Makes a call by `conduit`.
    pub fn call_by<const N: usize>(&mut self, conduit: Conduit, regs: [u64; N]) -> Regs {
        self.regs[..8].fill(0);
        self.regs[..N].copy_from_slice(&regs);
        self.negotiated |= regs[0] == ffa::VERSION;
        if !self.negotiated && self.layout != Layout::V1_0 {
            leave_garbage(&mut self.regs, N);
        }
        let own = self.regs;
        let pending = self.leave(Exit::Call(conduit));
        assert!(
            matches!(pending, Pending::Nothing),
            "a call ended with an exception: {pending:?}"
        );
        let returned = ffa::registers_returned(own[0], self.regs[0], self.wide);
        assert_eq!(
            self.regs[returned..],
            own[returned..],
            "registers that {:x?} does not return",
            &self.regs[..8]
        );
        let mut result = [0; 18];
        result.copy_from_slice(&self.regs[..18]);
        Regs(result)
    }

    /// Makes a call that must be refused with `code` and change nothing.
    #[track_caller]
    pub fn refused<const N: usize>(&mut self, regs: [u64; N], code: i32) -> Regs {
        let before = self.snapshot();
        let answer = self.call(regs);
        assert_eq!(answer.error(), Some(code), "{answer:x?}");
        assert_eq!(before, self.snapshot(), "a refused call changed something");
        answer
    }

    /// Returns the observable state of the engine, without the caller's own registers.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot::take(&self.machine())
    }

    /// Calls `FFA_MSG_WAIT`. Returns the next message.
    pub fn msg_wait(&mut self) -> Regs {
        self.call([ffa::MSG_WAIT])
    }

    /// Answers the direct request `request`. Returns the next message.
    pub fn respond(&mut self, request: &Regs, payload: [u64; 5]) -> Regs {
        let id = if request.0[0] == ffa::DIRECT_REQ_64 {
            ffa::DIRECT_RESP_64
        } else {
            ffa::DIRECT_RESP_32
        };
        let requester = request.0[1] >> 16 & 0xffff;
        let [a, b, c, d, e] = payload;
        self.call([id, (self.id as u64) << 16 | requester, 0, a, b, c, d, e])
    }

    /// Waits for direct requests for ever, and passes each of them to `serve`, whose result is the
    /// payload of the response.
    pub fn serve(&mut self, mut serve: impl FnMut(&mut Self, &Regs) -> [u64; 5]) -> ! {
        let mut message = self.msg_wait();
        loop {
            message = if matches!(message.0[0], ffa::DIRECT_REQ_32 | ffa::DIRECT_REQ_64) {
                let payload = serve(self, &message);
                self.respond(&message, payload)
            } else {
                self.msg_wait()
            };
        }
    }

    /// Repeats an access until it succeeds or the partition takes an abort.
    pub(crate) fn access(&mut self, world: World, ipa: u64, access: Access) -> Result<u64, Fault> {
        loop {
            let found = self
                .machine()
                .translate(self.pe, world, ipa, access, self.entry);
            match found {
                Ok(address) => return Ok(address),
                Err(fault) => self.fault(fault)?,
            }
        }
    }

    /// Takes a fault that hardware reports. Returns `Err` if the partition takes an abort;
    /// otherwise the access may be tried again.
    pub fn fault(&mut self, fault: Fault) -> Result<(), Fault> {
        let registers = self.regs;
        let pending = self.leave(Exit::Fault(fault));
        assert_eq!(registers, self.regs, "a fault changed registers");
        match pending {
            Pending::Nothing => Ok(()),
            Pending::Abort(fault) => Err(fault),
            Pending::Undefined => panic!("an access ended as an undefined instruction"),
        }
    }

    /// Reads from the Secure or Non-secure IPA space. Returns `Err` if the partition takes an
    /// abort.
    pub fn read(&mut self, world: World, ipa: u64, to: &mut [u8]) -> Result<(), Fault> {
        let end = ipa + to.len() as u64;
        let mut at = ipa;
        while at < end {
            let next = end.min((at | 0xfff) + 1);
            let (first, last) = ((at - ipa) as usize, (next - ipa) as usize);
            let address = self.access(world, at, Access::Read)?;
            let outcome = self
                .machine()
                .memory()
                .read(world, address, &mut to[first..last]);
            if outcome.is_err() {
                self.external_abort(at, Access::Read)?;
                continue;
            }
            at = next;
        }
        Ok(())
    }

    /// Writes to the Secure or Non-secure IPA space. Returns `Err` if the partition takes an abort.
    pub fn write(&mut self, world: World, ipa: u64, from: &[u8]) -> Result<(), Fault> {
        let end = ipa + from.len() as u64;
        let mut at = ipa;
        while at < end {
            let next = end.min((at | 0xfff) + 1);
            let (first, last) = ((at - ipa) as usize, (next - ipa) as usize);
            let address = self.access(world, at, Access::Write)?;
            let outcome = self
                .machine()
                .memory()
                .write(world, address, &from[first..last]);
            if outcome.is_err() {
                self.external_abort(at, Access::Write)?;
                continue;
            }
            at = next;
        }
        Ok(())
    }

    /// Fetches an instruction. Returns `Err` if the partition takes an abort.
    pub fn execute(&mut self, world: World, ipa: u64) -> Result<(), Fault> {
        self.access(world, ipa, Access::Execute).map(|_| ())
    }

    fn external_abort(&mut self, va: u64, access: Access) -> Result<(), Fault> {
        self.fault(Fault {
            access,
            kind: FaultKind::External,
            va: Some(va),
            ipa: None,
            on_walk: false,
            pc: self.entry,
        })
    }

    /// Returns the first byte of a page, or `None` if the partition takes an abort.
    pub fn peek(&mut self, world: World, ipa: u64) -> Option<u8> {
        let mut byte = [0];
        self.read(world, ipa, &mut byte).ok().map(|()| byte[0])
    }

    /// Writes one byte. Returns whether that succeeded.
    pub fn poke(&mut self, world: World, ipa: u64, value: u8) -> bool {
        self.write(world, ipa, &[value]).is_ok()
    }

    /// Signals a Non-secure interrupt. Returns, once the partition runs again, whether it was
    /// preempted.
    pub fn interrupt(&mut self) -> bool {
        if self.masked {
            return false;
        }
        let registers = self.regs;
        let pending = self.leave(Exit::NonSecureInterrupt);
        assert!(matches!(pending, Pending::Nothing));
        assert_eq!(registers, self.regs, "preemption changed registers");
        true
    }

    /// Signals a Non-secure interrupt although it is masked, as can happen to an interrupt on its
    /// way to the PE. The partition continues.
    pub fn interrupt_although_masked(&mut self) {
        assert!(self.masked);
        let registers = self.regs;
        let pending = self.leave(Exit::NonSecureInterrupt);
        assert!(matches!(pending, Pending::Nothing));
        assert_eq!(registers, self.regs, "an interrupt changed registers");
    }

    /// Takes pending Secure interrupts, if there are any. Returns when the engine has handled them.
    pub fn poll(&mut self) {
        let machine = self.machine();
        while machine.gic().has_interrupt(self.pe) {
            let registers = self.regs;
            let pending = self.leave(Exit::SecureInterrupt);
            assert!(matches!(pending, Pending::Nothing));
            assert_eq!(registers, self.regs, "an interrupt changed registers");
        }
    }

    /// Reports that the partition's timer expires, or that it is written to after it expired.
    pub fn set_timer(&mut self, expired: bool) {
        let pending = self.leave(Exit::Timer { expired });
        assert!(matches!(pending, Pending::Nothing));
    }

    /// Arms the partition's timer, or disarms it. A timer that expires while the partition runs is
    /// reported by [`Self::set_timer`].
    pub fn arm_timer(&mut self, deadline: Option<u64>) {
        *self.timer.lock().unwrap() = deadline;
        self.set_timer(false);
    }

    /// Returns whether a virtual IRQ and whether a virtual FIQ is signalled.
    pub fn signals(&self) -> (bool, bool) {
        self.signals
    }

    /// Calls `action` with the interrupt controller, so that a script can act as a device.
    pub fn gic<T>(&self, action: impl FnOnce(&mut Gic) -> T) -> T {
        action(&mut self.machine().gic())
    }

    /// Calls `action` with the journal of what the engine has asked the hardware for.
    pub fn journal<T>(&self, action: impl FnOnce(&mut Journal) -> T) -> T {
        action(&mut self.machine().journal())
    }

    /// Executes an instruction that traps. Returns whether the partition takes an Undefined
    /// Instruction exception.
    pub fn trap(&mut self, syndrome: u64) -> bool {
        let pc = self.entry;
        matches!(self.leave(Exit::Trap { syndrome, pc }), Pending::Undefined)
    }

    /// Runs for ever without leaving the partition, so that only the watchdog ends it.
    pub fn hang(&mut self) -> ! {
        let mut last = None;
        loop {
            let end = self.watchdog;
            assert!(
                end.is_some(),
                "{:#x} hangs and no watchdog is armed",
                self.id
            );
            assert_ne!(end, last, "{:#x} runs on after the time was over", self.id);
            last = end;
            self.work(u64::MAX / 2);
        }
    }

    /// Works for that many microseconds, or until the watchdog expires and the partition loses the
    /// PE.
    pub fn work(&mut self, mut time: u64) {
        loop {
            let end = self.watchdog;
            let left = self.gic(|gic| {
                let left = end.map_or(u64::MAX, |end| end.saturating_sub(gic.now()));
                gic.pass(time.min(left));
                left
            });
            if time < left {
                return;
            }
            time -= left;
            let registers = self.regs;
            let pending = self.leave(Exit::Watchdog);
            assert!(matches!(pending, Pending::Nothing));
            assert_eq!(registers, self.regs, "the watchdog changed registers");
        }
    }

    /// Returns the base of the partition's own memory.
    pub fn base(&self) -> u64 {
        self.base
    }

    /// Returns the address of TX after [`Self::map_buffers`]. RX is the next page.
    pub fn tx(&self) -> u64 {
        self.base() + 0x1_0000
    }

    /// Registers one page of TX and one of RX.
    #[track_caller]
    pub fn map_buffers(&mut self) {
        let tx = self.tx();
        self.call([ffa::RXTX_MAP_64, tx, tx + 0x1000, 1]).success();
    }

    /// Makes a memory call with `descriptor` in TX.
    pub fn memory_call(&mut self, function: u64, descriptor: &[u8]) -> Regs {
        self.write(World::Secure, self.tx(), descriptor)
            .expect("its own TX");
        let length = descriptor.len() as u64;
        self.call([function, length, length])
    }

    /// Makes a memory call that must be refused with `code` and change nothing.
    #[track_caller]
    pub fn memory_refused(&mut self, function: u64, descriptor: &[u8], code: i32) {
        let before = self.snapshot();
        let answer = self.memory_call(function, descriptor);
        assert_eq!(answer.error(), Some(code), "{answer:?}");
        assert_eq!(before, self.snapshot(), "a refused call changed something");
    }

    /// Sends memory. Returns the handle.
    #[track_caller]
    pub fn send(&mut self, function: u64, transaction: &Transaction) -> u64 {
        let descriptor = transaction.encode(self.layout);
        self.memory_call(function, &descriptor).handle()
    }

    /// Calls `FFA_MEM_RETRIEVE_REQ`. Releases RX and returns the response, or returns the error.
    #[track_caller]
    pub fn retrieve(&mut self, request: &Transaction) -> Result<Transaction, i32> {
        let descriptor = request.encode(self.layout);
        let answer = self.memory_call(ffa::MEM_RETRIEVE_REQ_64, &descriptor);
        if let Some(code) = answer.error() {
            return Err(code);
        }
        let bytes = self.read_response(&answer);
        self.call([ffa::RX_RELEASE]).success();
        Ok(Transaction::decode(&bytes, self.layout))
    }

    /// Returns the descriptor that an `FFA_MEM_RETRIEVE_RESP` announces.
    #[track_caller]
    pub fn read_response(&mut self, answer: &Regs) -> Vec<u8> {
        let length = answer.0[1];
        assert_eq!(
            answer.0[..8],
            [ffa::MEM_RETRIEVE_RESP, length, length, 0, 0, 0, 0, 0]
        );
        let mut bytes = vec![0; length as usize];
        self.read(World::Secure, self.tx() + 0x1000, &mut bytes)
            .expect("its own RX");
        bytes
    }

    /// Calls `FFA_MEM_RELINQUISH` for the partition itself.
    pub fn relinquish(&mut self, handle: u64, flags: u32) -> Regs {
        let descriptor = ffa::relinquish(handle, flags, &[self.id]);
        self.write(World::Secure, self.tx(), &descriptor)
            .expect("its own TX");
        self.call([ffa::MEM_RELINQUISH])
    }

    /// Calls `FFA_MEM_RECLAIM`.
    pub fn reclaim(&mut self, handle: u64, flags: u64) -> Regs {
        self.call([ffa::MEM_RECLAIM, handle & 0xffff_ffff, handle >> 32, flags])
    }
}
