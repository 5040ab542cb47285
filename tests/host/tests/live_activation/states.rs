//! Activations that are asked for while the partition has something else to do, and what the other
//! PEs can do in each step of an activation.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use host_tests::ffa::*;
use host_tests::schedule::{Plan, let_others_go};
use host_tests::system::NWD_PAGES;
use host_tests::{Nwd, PartitionSpec, Regs, Sp, System};
use spmc::addr::World::{NonSecure, Secure};

use super::stage::*;

type Body<'a> = Box<dyn FnOnce(Nwd<'a>) + Send + 'a>;

const SP2: u16 = 0x8002;
/// The notification that the Normal world can set for sp1.
const NOTIFICATION: u64 = 0b100;
/// Handles of sp1 are at this place of its live state, behind what [`count`] has there.
const BORROWED: u64 = STATE + 0x100;

/// x3 of requests to sp1: what it does before it answers.
const YIELD_FIRST: u64 = 1;
const BE_PREEMPTED: u64 = 2;
const CALL_PREEMPTED: u64 = 3;
const WAIT: u64 = 4;
const CALL_WAITING: u64 = 5;
const DIE: u64 = 6;
const BORROW: u64 = 7;
const LOOK: u64 = 8;

/// Holds a partition up on its PE, until another PE is done.
#[derive(Clone, Default)]
struct Gate(Arc<AtomicU64>);

impl Gate {
    const SHUT: u64 = 1;
    const REACHED: u64 = 2;

    /// Shuts the gate, so that who comes next waits there.
    fn shut(&self) {
        self.0.store(Self::SHUT, SeqCst);
    }

    /// Waits at the gate, if it is shut.
    fn pass(&self, sp: &mut Sp) {
        if self.0.load(SeqCst) == Self::SHUT {
            self.0.store(Self::REACHED, SeqCst);
            // Other PEs may go on during a call.
            self.wait(0, || {
                sp.call([ID_GET]).success();
            });
        }
    }

    /// Opens the gate after `meanwhile`, which begins when somebody waits there.
    fn open_after(&self, meanwhile: impl FnOnce()) {
        self.wait(Self::REACHED, let_others_go);
        meanwhile();
        self.0.store(0, SeqCst);
    }

    fn wait(&self, state: u64, mut pass: impl FnMut()) {
        for _ in 0..200_000 {
            if self.0.load(SeqCst) == state {
                return;
            }
            pass();
        }
        panic!("nobody comes");
    }
}

/// Returns a partition that does what it is asked to, with all its images. It waits at the gate in
/// each initialisation, in each stop, and in each interrupt that it handles.
fn busy(gate: &Gate) -> PartitionSpec {
    let gate = gate.clone();
    let spec = live("sp1", &["notification-support"])
        .version(3)
        .property("abort-action", 2);
    with_device(spec)
        .with(|spec| {
            spec.messaging = 7;
            spec.takes_exceptions = false;
        })
        .script(move |sp| live_on(sp, &gate))
}

fn live_on(sp: &mut Sp, gate: &Gate) {
    let image = image(sp);
    if !takes_over(sp) {
        sp.map_buffers();
        let bind = [NOTIFICATION_BIND, SP1.into(), 0, NOTIFICATION, 0];
        sp.call(bind).success();
        assert_eq!(sp.call([ENABLE, LINE.into(), 1, 0]).0[0], 0);
    }
    gate.pass(sp);
    let mut message = sp.msg_wait();
    loop {
        message = match message.0[0] {
            DIRECT_REQ_32 if is_stop(&message) => {
                gate.pass(sp);
                stop(sp, 0)
            }
            DIRECT_REQ_64 => {
                let results = answer(sp, gate, &message);
                let [a, b, c, d] = results;
                sp.respond(&message, [image.into(), a, b, c, d])
            }
            INTERRUPT => {
                gate.pass(sp);
                // That of the notification may come first.
                if sp.gic(|gic| gic.is_active(LINE)) {
                    let mut fetched = (0..2).map(|_| sp.call([GET]).0[0]);
                    assert!(fetched.any(|id| id == u64::from(LINE)));
                    sp.gic(|gic| gic.set_level(LINE, false));
                    sp.call([DEACTIVATE, LINE.into(), LINE.into()]);
                }
                sp.msg_wait()
            }
            _ => sp.msg_wait(),
        };
    }
}

fn answer(sp: &mut Sp, gate: &Gate, request: &Regs) -> [u64; 4] {
    let [_, _, _, what, handle, ..] = request.0;
    let calls = |sp: &mut Sp| {
        let call = [DIRECT_REQ_64, route(SP1, SP2), 0, what];
        assert_eq!(sp.call(call).function(), DIRECT_RESP_64);
    };
    match what {
        YIELD_FIRST => drop(sp.call([YIELD])),
        BE_PREEMPTED => assert!(sp.interrupt()),
        CALL_PREEMPTED | CALL_WAITING => calls(sp),
        WAIT => gate.pass(sp),
        DIE => drop(sp.trap(0)),
        BORROW => {
            let request = Transaction::retrieve(0, SP1, handle, RW);
            sp.retrieve(&request).expect("it was shared");
            sp.write(Secure, BORROWED, &handle.to_le_bytes()).unwrap();
        }
        LOOK => {
            let get = sp.call([NOTIFICATION_GET, SP1.into(), 0b1111]).success();
            let byte = sp.peek(NonSecure, NWD_PAGES).expect("it was borrowed");
            let mut handle = [0; 8];
            sp.read(Secure, BORROWED, &mut handle).unwrap();
            sp.relinquish(u64::from_le_bytes(handle), 0).success();
            let mut message = [0; 1];
            let rx = sp.tx() + 0x1000;
            sp.read(Secure, rx + 40, &mut message).unwrap();
            return [get[2], byte.into(), get[5], message[0].into()];
        }
        _ => {}
    }
    [0; 4]
}

/// Returns a partition that sp1 calls.
fn callee(gate: &Gate) -> PartitionSpec {
    let gate = gate.clone();
    PartitionSpec::new("sp2").script(move |sp| {
        sp.serve(|sp, request| {
            match request.0[3] {
                CALL_PREEMPTED => assert!(sp.interrupt()),
                CALL_WAITING => gate.pass(sp),
                _ => {}
            }
            [0; 5]
        })
    })
}

/// Things that sp1 has before an activation, and must have after it.
struct Belongings {
    handle: u64,
}

impl Belongings {
    /// Shares memory with sp1, and notifies it.
    fn give(system: &System) -> Self {
        let nwd = system.nwd();
        nwd.map_buffers();
        nwd.call([NOTIFICATION_BITMAP_CREATE, 0, 1]).success();
        nwd.write(NWD_PAGES, &[0x77]);
        let share = Transaction::share(0, SP1, RW, &[(NWD_PAGES, 1)]);
        let handle = nwd.send(MEM_SHARE_64, &share);
        nwd.ask(SP1, [BORROW, handle, 0, 0, 0]);
        let set = [NOTIFICATION_SET, SP1.into(), 0, NOTIFICATION, 0];
        nwd.call(set).success();
        Self { handle }
    }

    /// Fails unless sp1 still has all of it, with that image.
    #[track_caller]
    fn are_there(self, system: &System, image: u8) {
        let nwd = system.nwd();
        nwd.refused(
            [MEM_RECLAIM, self.handle & 0xffff_ffff, self.handle >> 32],
            DENIED,
        );
        let found = nwd.ask(SP1, [LOOK, 0, 0, 0, 0]);
        assert_eq!(found[..3], [image.into(), NOTIFICATION, 0x77]);
        nwd.reclaim(self.handle).success();
    }
}

fn prepared(gate: &Gate) -> (System, Vec<u8>) {
    let spec = busy(gate);
    let system = System::builder()
        .el3(3, 3)
        .sp(spec.clone())
        .sp(callee(gate))
        .boot();
    system.turn_on(1);
    let package = version(&spec, 2);
    stage(&system, &package);
    (system, package)
}

/// Runs `work` on one PE, and `meanwhile` on another one when sp1 waits at the gate.
fn while_held(
    system: &System,
    gate: &Gate,
    work: impl FnOnce(Nwd<'_>) + Send,
    meanwhile: impl FnOnce(Nwd<'_>) + Send,
) {
    gate.shut();
    let work: Body = Box::new(work);
    let meanwhile: Body = Box::new(|nwd| gate.open_after(|| meanwhile(nwd)));
    system.interleave_by(Plan::Random(1), vec![work, meanwhile]);
}

/// Fails unless the activation is refused, nobody else can end one, and nothing changes.
#[track_caller]
fn is_refused(system: &System, nwd: Nwd<'_>, package: &[u8], code: i32) {
    let before = system.snapshot();
    assert_eq!(start(nwd, package), code);
    let end = [SP1.into(), 0, 0, 0, 0];
    assert_eq!(ask(nwd, FINISH, OTHER_LSP, end), DENIED);
    assert_eq!(before, system.snapshot());
}

// req: LIVE-03, LIVE-06
#[test]
fn a_partition_that_was_stopped_or_yielded_is_not_replaced() {
    for work in [YIELD_FIRST, BE_PREEMPTED, CALL_PREEMPTED] {
        let gate = Gate::default();
        let (system, package) = prepared(&gate);
        let nwd = system.nwd();
        let belongings = Belongings::give(&system);
        let asked = nwd.request(SP1, [work, 0, 0, 0, 0]);
        let left = if work == YIELD_FIRST {
            YIELD
        } else {
            INTERRUPT
        };
        assert_eq!(asked.function(), left);
        is_refused(&system, nwd, &package, RETRY);
        is_refused(&system, system.pe(1), &package, RETRY);
        let answer = nwd.call([RUN, u64::from(SP1) << 16]);
        assert_eq!(answer.payload()[0], b's'.into(), "{answer:x?}");
        assert_eq!(start(nwd, &package), 0);
        assert_eq!(finish(nwd), 0);
        belongings.are_there(&system, 2);
    }
}

// req: LIVE-03, LIVE-06
#[test]
fn a_partition_at_work_on_another_pe_is_not_replaced() {
    for work in [WAIT, CALL_WAITING, INTERRUPT] {
        let gate = Gate::default();
        let (system, package) = prepared(&gate);
        let belongings = Belongings::give(&system);
        while_held(
            &system,
            &gate,
            |nwd| {
                if work == INTERRUPT {
                    system.machine.gic().set_level(LINE, true);
                    nwd.call([INTERRUPT]);
                } else {
                    assert_eq!(nwd.ask(SP1, [work, 0, 0, 0, 0])[0], b's'.into());
                }
            },
            |nwd| is_refused(&system, nwd, &package, RETRY),
        );
        assert!(!system.machine.gic().is_active(LINE));
        assert_eq!(start(system.nwd(), &package), 0);
        assert_eq!(finish(system.nwd()), 0);
        belongings.are_there(&system, 2);
    }
}

// req: LIVE-03
#[test]
fn a_partition_that_starts_anew_is_not_replaced_before_it_runs() {
    let gate = Gate::default();
    let (system, package) = prepared(&gate);
    while_held(
        &system,
        &gate,
        |nwd| {
            assert_eq!(nwd.request(SP1, [DIE, 0, 0, 0, 0]).error(), Some(ABORTED));
        },
        |nwd| is_refused(&system, nwd, &package, DENIED),
    );
    assert_eq!(start(system.nwd(), &package), 0);
    assert_eq!(finish(system.nwd()), 0);
    assert_eq!(system.nwd().ask(SP1, [0; 5])[0], 2);
}

// Nobody comes between the steps, and what needs no context of the partition goes on in each.
// req: LIVE-03, LIVE-06, LIVE-07, LIVE-13
#[test]
fn each_step_is_for_one_pe_and_the_rest_goes_on() {
    /// The step in which the other PE comes.
    #[derive(Clone, Copy, PartialEq, Debug)]
    enum Step {
        Stopping,
        Halted,
        Entering,
    }
    for step in [Step::Stopping, Step::Halted, Step::Entering] {
        let gate = Gate::default();
        let (system, package) = prepared(&gate);
        let nwd = system.nwd();
        nwd.map_buffers();
        nwd.call([NOTIFICATION_BITMAP_CREATE, 0, 1]).success();
        nwd.write(NWD_PAGES, &[0x77]);
        let share = Transaction::share(0, SP1, RW, &[(NWD_PAGES, 1)]);
        let kept = nwd.send(MEM_SHARE_64, &share);
        nwd.ask(SP1, [BORROW, kept, 0, 0, 0]);
        let meanwhile = |nwd: Nwd<'_>| {
            is_refused(&system, nwd, &package, DENIED);
            if step != Step::Halted {
                assert_eq!(finish(nwd), DENIED);
            }
            let other = [SP2.into(), STAGED, 5, 0, 0];
            assert_eq!(ask(nwd, START, LSP, other), NOT_SUPPORTED);
            nwd.refused([DIRECT_REQ_64, SP1.into()], BUSY);
            nwd.refused([RUN, u64::from(SP1) << 16], BUSY);
            assert_eq!(nwd.request(SP2, [0; 5]).error(), None);
            let set = [NOTIFICATION_SET, SP1.into(), 0, NOTIFICATION, 0];
            nwd.call(set).success();
            let share = Transaction::share(0, SP1, RW, &[(NWD_PAGES + 0x1000, 1)]);
            let more = nwd.send(MEM_SHARE_64, &share);
            nwd.reclaim(more).success();
            send_message(nwd);
        };
        let starts = |nwd: Nwd<'_>| assert_eq!(start(nwd, &package), 0);
        let finishes = |nwd: Nwd<'_>| assert_eq!(finish(nwd), 0);
        if step == Step::Stopping {
            while_held(&system, &gate, starts, meanwhile);
        } else {
            starts(nwd);
        }
        if step == Step::Halted {
            meanwhile(nwd);
        }
        if step == Step::Entering {
            while_held(&system, &gate, finishes, meanwhile);
        } else {
            finishes(nwd);
        }
        let found = nwd.ask(SP1, [LOOK, 0, 0, 0, 0]);
        assert_eq!(found, [2, NOTIFICATION, 0x77, 1, 0x5a], "{step:?}");
        nwd.reclaim(kept).success();
    }
}

// A partition that fails in any step leaves nothing of the activation behind.
// req: LIVE-03, LIVE-08
#[test]
fn a_partition_that_dies_meanwhile_is_replaced_or_starts_anew() {
    let mut codes = Vec::new();
    for seed in 0..60 {
        let gate = Gate::default();
        let (system, package) = prepared(&gate);
        let code = AtomicU64::new(0);
        let activate: Body = Box::new(|nwd| {
            let started = start(nwd, &package);
            code.store(started as u32 as u64, SeqCst);
            if started == 0 {
                assert_eq!(finish(nwd), 0);
            }
        });
        let kill: Body = Box::new(|nwd| {
            let answer = nwd.request(SP1, [DIE, 0, 0, 0, 0]);
            assert!([ABORTED, BUSY].contains(&answer.error().expect("it is not served")));
        });
        system.interleave_by(Plan::Random(seed), vec![activate, kill]);
        let nwd = system.nwd();
        nwd.call([ID_GET]).success();
        let image = nwd.ask(SP1, [0; 5])[0];
        assert!([b's'.into(), 2].contains(&image));
        assert_eq!(start(nwd, &package), 0);
        assert_eq!(finish(nwd), 0);
        assert_eq!(nwd.ask(SP1, [0; 5])[0], 2);
        codes.push(code.into_inner() as u32 as i32);
    }
    for code in [0, RETRY] {
        assert!(codes.contains(&code), "{codes:?}");
    }
    assert!(
        codes
            .iter()
            .all(|code| [0, RETRY, DENIED, ABORTED].contains(code)),
        "{codes:?}"
    );
}
