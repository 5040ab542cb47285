//! INT: Secure interrupts of a context that is blocked further up in its chain. The context's call
//! ends with `FFA_INTERRUPT`. The chain below it is stopped as a whole, and continues where it was
//! when `FFA_RUN` names its first member.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use host_tests::ffa::*;
use host_tests::{PartitionSpec, Sp, System};

use crate::interrupts::{DEACTIVATE, ENABLE, GET, LINE, with_device};

const A: u16 = 0x8001;
const B: u16 = 0x8002;
const C: u16 = 0x8003;
const D: u16 = 0x8004;
const RUN_A: [u64; 2] = [RUN, (A as u64) << 16];
const RUN_B: [u64; 2] = [RUN, (B as u64) << 16];
const RUN_C: [u64; 2] = [RUN, (C as u64) << 16];
const CPU_OFF: [u64; 4] = [DIRECT_REQ_32, 0xffff_8000, 0x8000_0000, 0x8400_0002];

/// The interrupt of B, or of D.
const OTHER: u32 = LINE + 1;

/// How long only the caller may resume its callee, in microseconds.
const CALLERS_TIME: u64 = 1_000_000;

/// An action of a partition when it is called for an interrupt, or in the middle of a request.
type Act = Arc<dyn Fn(&mut Sp) + Send + Sync>;

fn act(does: impl Fn(&mut Sp) + Send + Sync + 'static) -> Act {
    Arc::new(does)
}

fn ask(sp: &mut Sp, to: u16, payload: u64) -> Regs {
    let ids = u64::from(sp.id) << 16 | u64::from(to);
    sp.call([DIRECT_REQ_64, ids, 0, payload])
}

/// Handles `line`, which is an edge and the partition's only interrupt.
fn handle(sp: &mut Sp, line: u32) {
    assert_eq!(sp.signals(), (true, false));
    assert_eq!(sp.call([GET]).0[0], line.into());
    assert_eq!(sp.call([DEACTIVATE, line.into(), line.into()]).0[0], 0);
    assert_eq!(sp.signals(), (false, false));
}

/// Asks `to`. Each time that it is called for `line`, handles the interrupt, does `act`, and
/// resumes the chain. Returns the answer and how often it was called.
fn ask_and_resume(sp: &mut Sp, to: u16, line: u32, act: &Act) -> (Regs, u64) {
    let mut answer = ask(sp, to, 1);
    let mut count = 0;
    while answer.function() == INTERRUPT {
        assert!(answer.0[1..].iter().all(|x| *x == 0), "{answer:?}");
        handle(sp, line);
        count += 1;
        act(sp);
        answer = sp.call([RUN, u64::from(to) << 16]);
    }
    (answer, count)
}

/// Returns an owner of `line`. In each request it asks the next partition, and answers how often it
/// was called for its interrupt, and with which error the call ended, if it did.
fn owner(name: &str, lines: &'static [u32], when_called: Act) -> PartitionSpec {
    let line = lines[0];
    with_device(PartitionSpec::new(name), lines, &["lifecycle-support"])
        .with(|sp| sp.takes_exceptions = false)
        .script(move |sp| {
            assert_eq!(sp.call([ENABLE, line.into(), 1, 0]).0[0], 0);
            let when_called = Arc::clone(&when_called);
            sp.serve(move |sp, request| {
                if request.payload()[0] == 9 {
                    return [9; 5];
                }
                let (answer, count) = ask_and_resume(sp, sp.id + 1, line, &when_called);
                if answer.error().is_none() {
                    assert_eq!(answer.function(), DIRECT_RESP_64, "{answer:?}");
                }
                [count, answer.error().unwrap_or(0) as u64, 0, 0, 0]
            })
        })
}

/// Returns a partition that asks the next one and does not know about interrupts. It answers with
/// the error of the call, if there was one.
fn middle(name: &str) -> PartitionSpec {
    PartitionSpec::new(name)
        .with(|sp| sp.takes_exceptions = false)
        .script(|sp| {
            sp.serve(|sp, _| {
                let answer = ask(sp, sp.id + 1, 1);
                if answer.error().is_none() {
                    assert_eq!(answer.function(), DIRECT_RESP_64, "{answer:?}");
                }
                [answer.error().unwrap_or(0) as u64; 5]
            })
        })
}

/// Returns the last partition: in a request with 1 in x3 it does `work`, others it echoes.
fn last(name: &str, work: Act) -> PartitionSpec {
    PartitionSpec::new(name)
        .with(|sp| sp.takes_exceptions = false)
        .script(move |sp| {
            let work = Arc::clone(&work);
            sp.serve(move |sp, request| {
                if request.payload()[0] == 1 {
                    work(sp);
                }
                request.payload()
            })
        })
}

/// Raises the lines, and continues when all are handled.
fn raise(sp: &mut Sp, lines: &[u32]) {
    let registers = sp.regs;
    for line in lines {
        sp.gic(|gic| gic.pulse(*line));
    }
    sp.poll();
    for line in lines {
        assert!(!sp.gic(|gic| gic.is_active(*line)), "{line} is unhandled");
    }
    assert_eq!(registers, sp.regs);
    assert_eq!(sp.signals(), (false, false), "not its own");
}

fn nothing() -> Act {
    act(|_| ())
}

// req: INT-08, INT-11, SINT-04
#[test]
fn the_chain_stops_for_whoever_is_further_up() {
    let called = act(|sp| {
        // The owner can neither leave the chain behind nor enter it.
        let requester = u64::from(sp.id) << 16;
        for call in [
            [DIRECT_RESP_64, requester],
            [MSG_WAIT, 0],
            [YIELD, 0],
            [ERROR, 0],
            RUN_C,
            [RUN, u64::from(D) << 16],
        ] {
            sp.refused(call, DENIED);
        }
        for member in [B, C] {
            assert_eq!(ask(sp, member, 0).error(), Some(BUSY));
        }
        // The owner may ask other partitions.
        assert_eq!(ask(sp, D, 8).payload()[0], 8);
    });
    for contexts in [1, 4] {
        let works = act(|sp| {
            raise(sp, &[LINE]);
            raise(sp, &[LINE]);
        });
        let system = System::boot([
            owner("a", &[LINE], Arc::clone(&called)),
            middle("b").vcpus(contexts),
            last("c", works),
            last("d", nothing()),
        ]);
        for _ in 0..2 {
            assert_eq!(system.nwd().ask(A, [1; 5])[..2], [2, 0]);
        }
    }
}

// req: INT-08, INT-02
#[test]
fn the_normal_world_runs_nobody_of_a_stopped_chain() {
    let called = act(|sp| assert!(sp.interrupt(), "masked"));
    let works = act(|sp| raise(sp, &[LINE]));
    let system = System::boot([owner("a", &[LINE], called), middle("b"), last("c", works)]);
    let nwd = system.nwd();
    assert_eq!(nwd.request(A, [1; 5]).0[..2], [INTERRUPT, RUN_A[1]]);
    for (member, run) in [(B, RUN_B), (C, RUN_C)] {
        nwd.refused(run, DENIED);
        assert_eq!(nwd.request(member, [0; 5]).error(), Some(BUSY));
    }
    assert_eq!(nwd.call(RUN_A).payload()[..2], [1, 0]);
}

// A, B and D have interrupts in a chain of four. The nearest owner is called first, then the next.
// req: INT-08, INT-11
#[test]
fn each_owner_in_the_chain_has_its_turn() {
    let order = Arc::<AtomicU64>::default();
    let notes = |number: u64| {
        let order = Arc::clone(&order);
        act(move |_| {
            let before = order.load(SeqCst);
            order.store(before << 4 | number, SeqCst);
        })
    };
    let works = act(|sp| raise(sp, &[LINE, OTHER]));
    let system = System::boot([
        owner("a", &[LINE], notes(1)),
        owner("b", &[OTHER], notes(2)),
        middle("c"),
        last("d", works),
    ]);
    assert_eq!(system.nwd().ask(A, [1; 5])[..2], [1, 0]);
    assert_eq!(order.load(SeqCst), 0x21);
}

// req: INT-08, INT-11
#[test]
fn one_in_between_is_called_when_the_chain_goes_on() {
    let both = act(|sp| {
        sp.gic(|gic| gic.pulse(OTHER));
        sp.poll();
        assert!(sp.gic(|gic| gic.is_active(OTHER)), "it is stopped");
    });
    let works = act(|sp| {
        raise(sp, &[LINE]);
        assert!(!sp.gic(|gic| gic.is_active(OTHER)));
    });
    let seen = Arc::<AtomicU64>::default();
    let count = Arc::clone(&seen);
    let counts = act(move |_| {
        count.fetch_add(1, SeqCst);
    });
    let system = System::boot([
        owner("a", &[LINE], both),
        owner("b", &[OTHER], counts),
        last("c", works),
    ]);
    assert_eq!(system.nwd().ask(A, [1; 5])[..2], [1, 0]);
    assert_eq!(seen.load(SeqCst), 1);
}

// B, which A has asked, handles its own interrupt when A's comes, and is stopped in the middle.
// req: INT-08, INT-11
#[test]
fn who_handles_an_interrupt_is_stopped_for_whoever_is_above() {
    let raises = act(|sp| raise(sp, &[LINE]));
    let works = act(|sp| raise(sp, &[OTHER]));
    let system = System::boot([
        owner("a", &[LINE], nothing()),
        owner("b", &[OTHER], raises),
        middle("c"),
        last("d", works),
    ]);
    assert_eq!(system.nwd().ask(A, [1; 5])[..2], [1, 0]);
}

/// Returns an owner that is not called, but sees its interrupt after the answer.
fn not_called() -> PartitionSpec {
    with_device(PartitionSpec::new("a"), &[LINE], &[]).script(|sp| {
        assert_eq!(sp.call([ENABLE, LINE.into(), 1, 0]).0[0], 0);
        sp.serve(|sp, _| {
            assert_eq!(ask(sp, B, 1).function(), DIRECT_RESP_64);
            handle(sp, LINE);
            [7; 5]
        })
    })
}

// The least permissive action applies, whether the last member has it or one in between.
// req: INT-08, INT-07, INT-10
#[test]
fn nobody_is_stopped_below_one_that_has_interrupts_of_others_queued() {
    let works = act(|sp| {
        sp.gic(|gic| gic.pulse(LINE));
        sp.poll();
        assert!(sp.gic(|gic| gic.is_active(LINE)));
    });
    let queues = |spec: PartitionSpec| {
        spec.with(|sp| sp.ns_interrupts = 0)
            .property("other-s-interrupts-action", 0)
    };
    let last = last("c", works);
    for (b, c) in [
        (queues(middle("b")), last.clone()),
        (middle("b"), queues(last)),
    ] {
        let system = System::boot([not_called(), b, c]);
        assert_eq!(system.nwd().ask(A, [1; 5]), [7; 5]);
    }
}

// An owner that cannot resume is not called, either: the next one up is.
// req: INT-08, SEL0-06
#[test]
fn who_cannot_resume_is_in_nobodys_way() {
    let old = |spec: PartitionSpec| spec.with(|sp| sp.version = 0x1_0000);
    for (name, change) in [
        ("S-EL0", (|spec: PartitionSpec| spec.s_el0()) as fn(_) -> _),
        ("1.0", old),
    ] {
        let works = act(|sp| {
            sp.gic(|gic| gic.pulse(OTHER));
            sp.poll();
            raise(sp, &[LINE]);
            assert!(sp.gic(|gic| gic.is_active(OTHER)), "B was called");
        });
        let b = with_device(PartitionSpec::new("b"), &[OTHER], &[]).script(|sp| {
            assert_eq!(sp.call([ENABLE, OTHER.into(), 1, 0]).0[0], 0);
            let mut message = sp.msg_wait();
            loop {
                if message.function() == DIRECT_REQ_64 {
                    assert_eq!(ask(sp, C, 1).function(), DIRECT_RESP_64);
                    assert_eq!(sp.call([GET]).0[0], OTHER.into());
                    let done = [DEACTIVATE, OTHER.into(), OTHER.into()];
                    assert_eq!(sp.call(done).0[0], 0);
                }
                message = sp.respond(&message, [0; 5]);
            }
        });
        let system = System::boot([owner("a", &[LINE], nothing()), change(b), last("c", works)]);
        assert_eq!(system.nwd().ask(A, [1; 5])[..2], [1, 0], "{name}");
    }
}

/// Returns a partition that fails on PE 1 and does `work` on PE 0.
fn mortal_last(work: Act) -> PartitionSpec {
    last(
        "c",
        act(move |sp| {
            if sp.vcpu == 1 {
                sp.trap(0);
                unreachable!("it is dead");
            }
            work(sp);
        }),
    )
    .vcpus(2)
}

// Its caller continues with `ABORTED`; the owner is not told.
// req: INT-08, MSGD-24
#[test]
fn the_last_one_fails_while_its_chain_is_stopped() {
    let called = act(|sp| assert!(sp.interrupt()));
    let works = act(|sp| raise(sp, &[LINE]));
    let system = System::boot([owner("a", &[LINE], called), middle("b"), mortal_last(works)]);
    system.turn_on(1);
    let nwd = system.nwd();
    assert_eq!(nwd.request(A, [1; 5]).function(), INTERRUPT);
    assert_eq!(system.pe(1).request(C, [1; 5]).error(), Some(ABORTED));
    assert_eq!(nwd.call(RUN_A).payload()[..2], [1, 0]);
}

// The partition that it had called completes its work first.
// req: INT-08, MSGD-24
#[test]
fn one_in_between_fails_while_its_chain_is_stopped() {
    let done = Arc::<AtomicU64>::default();
    let count = Arc::clone(&done);
    let works = act(move |sp| {
        raise(sp, &[LINE]);
        count.fetch_add(1, SeqCst);
    });
    let called = act(|sp| assert!(sp.interrupt()));
    let b = PartitionSpec::new("b")
        .vcpus(2)
        .with(|sp| sp.takes_exceptions = false)
        .script(|sp| {
            sp.serve(|sp, _| {
                if sp.vcpu == 1 {
                    sp.trap(0);
                }
                ask(sp, C, 1).payload()
            })
        });
    let system = System::boot([owner("a", &[LINE], called), b, last("c", works)]);
    system.turn_on(1);
    let nwd = system.nwd();
    assert_eq!(nwd.request(A, [1; 5]).function(), INTERRUPT);
    assert_eq!(system.pe(1).request(B, [1; 5]).error(), Some(ABORTED));
    let aborted = ABORTED as u64;
    assert_eq!(nwd.call(RUN_A).payload()[..2], [1, aborted]);
    assert_eq!(done.load(SeqCst), 1);
    assert_eq!(nwd.ask(C, [3; 5]), [3; 5]);
}

/// Returns A, which dies or starts again when it is called.
fn dies(action: u32) -> PartitionSpec {
    let trap = act(|sp| {
        sp.trap(0);
    });
    owner("a", &[LINE], trap).property("abort-action", action)
}

// req: INT-08, INT-09, MSGW-15
#[test]
fn an_owner_that_fails_leaves_the_chain_to_the_normal_world() {
    const STOP: u32 = 0;
    const RESTART: u32 = 2;
    for action in [STOP, RESTART] {
        // Interrupts are masked for A only, or for B as well.
        for queued_in_b in [false, true] {
            let works = act(move |sp| {
                raise(sp, &[LINE]);
                assert_eq!(sp.interrupt(), !queued_in_b);
            });
            let a = dies(action).with(|sp| sp.ns_interrupts = 0);
            let b = middle("b").with(move |sp| sp.ns_interrupts = if queued_in_b { 0 } else { 2 });
            let system = System::boot([a, b, last("c", works)]);
            let nwd = system.nwd();
            assert_eq!(nwd.request(A, [1; 5]).error(), Some(ABORTED));
            // The chain continues as a whole.
            nwd.refused(RUN_C, DENIED);
            let mut answer = nwd.call(RUN_B);
            if !queued_in_b {
                assert_eq!(answer.0[..2], [INTERRUPT, RUN_B[1]]);
                answer = nwd.call(RUN_B);
            }
            assert_eq!(answer.0[..2], [MSG_WAIT, RUN_B[1]]);
            assert_eq!(nwd.ask(C, [2; 5]), [2; 5]);
            if action == RESTART {
                assert_eq!(nwd.ask(A, [9; 5]), [9; 5]);
            }
        }
    }
}

// req: INT-08, MSGW-15
#[test]
fn an_owner_that_does_not_go_on_loses_the_chain() {
    let called = act(|sp| while sp.interrupt() {});
    let works = act(|sp| raise(sp, &[LINE]));
    let system = System::boot([owner("a", &[LINE], called), middle("b"), last("c", works)]);
    let nwd = system.nwd();
    assert_eq!(nwd.request(A, [1; 5]).function(), INTERRUPT);
    system.machine.gic().pass(CALLERS_TIME - 1);
    nwd.refused(RUN_B, DENIED);
    system.machine.gic().pass(1);
    // Only the first member of the chain can be run.
    nwd.refused(RUN_C, DENIED);
    assert_eq!(nwd.call(RUN_B).0[..2], [MSG_WAIT, RUN_B[1]]);
    assert_eq!(nwd.ask(C, [2; 5]), [2; 5]);
    assert_eq!(nwd.call(RUN_A).function(), INTERRUPT);
}

/// Returns an owner that resumes, and finds that the chain came to its end without it.
fn finds_it_gone() -> PartitionSpec {
    let called = act(|sp| {
        assert!(sp.interrupt());
    });
    owner("a", &[LINE], called)
}

// req: INT-08, MSGW-15
#[test]
fn an_owner_that_comes_too_late_is_told() {
    let works = act(|sp| raise(sp, &[LINE]));
    let system = System::boot([finds_it_gone(), middle("b"), last("c", works)]);
    let nwd = system.nwd();
    assert_eq!(nwd.request(A, [1; 5]).function(), INTERRUPT);
    system.machine.gic().pass(CALLERS_TIME);
    assert_eq!(nwd.call(RUN_B).0[..2], [MSG_WAIT, RUN_B[1]]);
    let aborted = ABORTED as u64;
    assert_eq!(nwd.call(RUN_A).payload()[..2], [1, aborted]);
}

// req: INT-08, INT-14, RUN-13
#[test]
fn a_pinned_member_of_the_chain_keeps_the_owner_on_its_pe() {
    for pinned in [B, C] {
        let called = act(|sp| assert!(sp.interrupt(), "masked"));
        let works = act(|sp| raise(sp, &[LINE]));
        let contexts = |id| if id == pinned { 4 } else { 1 };
        let system = System::boot([
            owner("a", &[LINE], called),
            middle("b").vcpus(contexts(B)),
            last("c", works).vcpus(contexts(C)),
        ]);
        system.turn_on(1);
        assert_eq!(system.nwd().request(A, [1; 5]).function(), INTERRUPT);
        system.pe(1).refused(RUN_A, DENIED);
        assert_eq!(system.nwd().call(RUN_A).payload()[..2], [1, 0]);
    }
}

// req: INT-08, INT-14, RUN-13
#[test]
fn a_chain_of_contexts_that_move_goes_on_elsewhere() {
    let called = act(|sp| assert!(sp.interrupt(), "masked"));
    let works = act(|sp| raise(sp, &[LINE]));
    let system = System::boot([owner("a", &[LINE], called), middle("b"), last("c", works)]);
    system.turn_on(1);
    assert_eq!(system.nwd().request(A, [1; 5]).function(), INTERRUPT);
    assert_eq!(system.pe(1).call(RUN_A).payload()[..2], [1, 0]);
}

// req: INT-08, MSGW-15
#[test]
fn the_pe_of_one_in_between_goes_off() {
    let works = act(|sp| raise(sp, &[LINE]));
    let system = System::boot([finds_it_gone(), middle("b").vcpus(2), last("c", works)]);
    system.turn_on(1);
    let nwd = system.nwd();
    assert_eq!(nwd.request(A, [1; 5]).function(), INTERRUPT);
    nwd.call(CPU_OFF);
    // The call of A is over, and so is the work for it.
    let aborted = ABORTED as u64;
    let elsewhere = system.pe(1);
    assert_eq!(elsewhere.call(RUN_A).payload()[..2], [1, aborted]);
    assert_eq!(elsewhere.call(RUN_C).0[..2], [MSG_WAIT, RUN_C[1]]);
    assert_eq!(elsewhere.ask(C, [2; 5]), [2; 5]);
}

// req: INT-08, MSGW-15
#[test]
fn the_pe_of_the_last_one_goes_off() {
    let works = act(|sp| raise(sp, &[LINE]));
    let system = System::boot([finds_it_gone(), middle("b"), last("c", works).vcpus(2)]);
    system.turn_on(1);
    let nwd = system.nwd();
    assert_eq!(nwd.request(A, [1; 5]).function(), INTERRUPT);
    nwd.call(CPU_OFF);
    // B continues with an error.
    assert_eq!(system.pe(1).call(RUN_A).payload()[..2], [1, 0]);
}
