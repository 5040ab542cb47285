//! ME: a managed exit above partitions that have Non-secure interrupts signaled. The partition's
//! callee is stopped with the chain below it, the call ends with `FFA_INTERRUPT`, and the partition
//! leaves by itself. It may resume the chain at once or in a later request.

use host_tests::ffa::*;
use host_tests::{PartitionSpec, Sp, System};

use crate::interrupts::{DEACTIVATE, ENABLE, GET, LINE, with_device};

const A: u16 = 0x8001;
const B: u16 = 0x8002;
const C: u16 = 0x8003;
const RUN_A: [u64; 2] = [RUN, (A as u64) << 16];
const RUN_B: [u64; 2] = [RUN, (B as u64) << 16];
const RUN_C: [u64; 2] = [RUN, (C as u64) << 16];
const MANAGED_EXIT: u64 = 4;

/// The work in x3 of a request to A: to call B, to resume B by the index in x4, or to answer
/// whether Non-secure interrupts are pending.
const CALL: u64 = 1;
const GO_ON: u64 = 2;
const LOOK: u64 = 3;

/// How long only the caller may resume its callee, in microseconds.
const CALLERS_TIME: u64 = 1_000_000;

fn ask(sp: &mut Sp, to: u16) -> Regs {
    let ids = u64::from(sp.id) << 16 | u64::from(to);
    sp.call([DIRECT_REQ_64, ids, 0, 1])
}

/// Takes the managed exit.
fn take_exit(sp: &mut Sp) {
    assert_eq!(sp.signals(), (false, true));
    assert_eq!(sp.call([GET]).0[0], MANAGED_EXIT);
    assert_eq!(sp.call([DEACTIVATE, MANAGED_EXIT, MANAGED_EXIT]).0[0], 0);
    assert_eq!(sp.signals(), (false, false));
}

/// Returns A's answer about B's answer: the function id, and the error if it is one.
fn outcome(answer: &Regs) -> [u64; 5] {
    let error = answer.error().unwrap_or(0) as u64;
    [answer.function(), error, 0, 0, 0]
}

/// Returns A, which leaves for a Non-secure interrupt as soon as it can.
fn leaves(name: &str) -> PartitionSpec {
    PartitionSpec::new(name)
        .with(|sp| sp.ns_interrupts = 1)
        .script(|sp| {
            sp.serve(|sp, request| match request.payload()[0] {
                CALL => {
                    let answer = ask(sp, B);
                    if answer.function() == INTERRUPT {
                        // FFA_INTERRUPT names the partition to run, and nothing else.
                        assert_eq!(answer.0[1] >> 16, u64::from(B));
                        assert!(answer.0[2..].iter().all(|x| *x == 0), "{answer:?}");
                        assert!(!sp.interrupt(), "it was told");
                        take_exit(sp);
                        return [MANAGED_EXIT; 5];
                    }
                    outcome(&answer)
                }
                GO_ON => outcome(&sp.call([RUN, RUN_B[1] | request.payload()[1]])),
                LOOK => [u64::from(sp.interrupt()), 0, 0, 0, 0],
                _ => request.payload(),
            })
        })
}

/// Returns a partition that passes the request on and does not know about interrupts.
fn passes_on() -> PartitionSpec {
    PartitionSpec::new("b").script(|sp| {
        sp.serve(|sp, request| {
            if request.payload()[0] == 1 {
                let answer = ask(sp, C);
                assert!(answer.function() == DIRECT_RESP_64 || answer.error() == Some(ABORTED));
                assert_eq!(sp.signals(), (false, false));
            }
            request.payload()
        })
    })
}

/// Returns a partition that is interrupted in each request with 1 in x3.
fn interrupted(name: &str) -> PartitionSpec {
    PartitionSpec::new(name)
        .with(|sp| sp.takes_exceptions = false)
        .script(|sp| {
            sp.serve(|sp, request| {
                if request.payload()[0] == 1 {
                    if sp.vcpu == 1 {
                        sp.trap(0);
                    }
                    let registers = sp.regs;
                    assert!(sp.interrupt());
                    assert_eq!(registers, sp.regs);
                    assert_eq!(sp.signals(), (false, false));
                }
                request.payload()
            })
        })
}

/// Returns A with one partition or two below it.
fn chains() -> [Vec<PartitionSpec>; 2] {
    [
        vec![leaves("a"), interrupted("b")],
        vec![leaves("a"), passes_on(), interrupted("c")],
    ]
}

fn call(payload: u64) -> [u64; 5] {
    [payload, 0, 0, 0, 0]
}

// req: ME-02, ME-03, ME-04, ME-05, INT-10, SINT-16
#[test]
fn the_caller_leaves_and_goes_on_in_a_later_request() {
    for specs in chains() {
        let system = System::boot(specs);
        let nwd = system.nwd();
        for _ in 0..2 {
            assert_eq!(nwd.ask(A, call(CALL)), [MANAGED_EXIT; 5]);
            // A waits, and only A can resume the chain.
            assert_eq!(nwd.request(B, [0; 5]).error(), Some(BUSY));
            nwd.refused(RUN_B, DENIED);
            assert_eq!(nwd.ask(A, [7; 5]), [7; 5]);
            assert_eq!(nwd.ask(A, call(GO_ON))[0], DIRECT_RESP_64);
        }
    }
}

// req: ME-05, RUN-13, SINT-16
#[test]
fn contexts_that_move_go_on_elsewhere() {
    for specs in chains() {
        let system = System::boot(specs);
        system.turn_on(1);
        assert_eq!(system.nwd().ask(A, call(CALL)), [MANAGED_EXIT; 5]);
        assert_eq!(system.pe(1).ask(A, call(GO_ON))[0], DIRECT_RESP_64);
    }
}

// req: ME-05, RUN-13, SINT-16
#[test]
fn a_pinned_one_goes_on_where_it_was() {
    let system = System::boot([leaves("a"), passes_on(), interrupted("c").vcpus(2)]);
    system.turn_on(1);
    let nwd = system.nwd();
    assert_eq!(nwd.ask(A, call(CALL)), [MANAGED_EXIT; 5]);
    let denied = [ERROR, DENIED as u64];
    assert_eq!(system.pe(1).ask(A, call(GO_ON))[..2], denied);
    assert_eq!(nwd.ask(A, call(GO_ON))[0], DIRECT_RESP_64);
}

fn go_on(index: u64) -> [u64; 5] {
    [GO_ON, index, 0, 0, 0]
}

// A context that is pinned to another PE could not continue here, so the index is ignored.
// req: ME-05, RUN-13, SINT-16
#[test]
fn any_index_goes_on_with_a_pinned_one() {
    for index in [0, 1, 2, 0xffff] {
        for below in [interrupted("b"), passes_on()] {
            let c = interrupted("c").vcpus(3);
            let system = System::boot([leaves("a"), below.vcpus(3), c]);
            system.turn_on(2);
            let pe = system.pe(2);
            assert_eq!(pe.ask(A, call(CALL)), [MANAGED_EXIT; 5]);
            assert_eq!(pe.ask(A, go_on(index))[0], DIRECT_RESP_64);
            // No chain is left to resume.
            let error = if index == 2 {
                DENIED
            } else {
                INVALID_PARAMETERS
            };
            assert_eq!(pe.ask(A, go_on(index))[..2], [ERROR, error as u64]);
        }
    }
}

// A need not leave. Until it has answered, no context that works for it is interrupted again.
// req: ME-02, ME-04, INT-10, SINT-16
#[test]
fn one_that_goes_on_at_once_has_interrupts_masked_for_all() {
    let a = PartitionSpec::new("a")
        .with(|sp| sp.ns_interrupts = 1)
        .script(|sp| {
            sp.serve(|sp, request| {
                assert_eq!(ask(sp, B).function(), INTERRUPT);
                assert_eq!(sp.call(RUN_B).function(), DIRECT_RESP_64);
                take_exit(sp);
                request.payload()
            })
        });
    let b = PartitionSpec::new("b").script(|sp| {
        sp.serve(|sp, request| {
            assert_eq!(ask(sp, C).function(), DIRECT_RESP_64);
            assert!(!sp.interrupt(), "not masked");
            request.payload()
        })
    });
    let c = PartitionSpec::new("c").script(|sp| {
        sp.serve(|sp, request| {
            assert!(sp.interrupt());
            assert!(!sp.interrupt(), "not masked");
            request.payload()
        })
    });
    let system = System::boot([a, b, c]);
    for _ in 0..2 {
        assert_eq!(system.nwd().ask(A, [5; 5]), [5; 5]);
    }
}

// In the next request, Non-secure interrupts are not masked any more.
// req: ME-04, INT-10, SINT-16
#[test]
fn a_chain_that_goes_on_later_is_interrupted_again() {
    let c = PartitionSpec::new("c").script(|sp| {
        sp.serve(|sp, request| {
            assert!(sp.interrupt());
            assert!(sp.interrupt(), "masked");
            request.payload()
        })
    });
    let a = leaves("a").script(|sp| {
        let mut begun = false;
        sp.serve(move |sp, request| {
            let answer = if begun { sp.call(RUN_B) } else { ask(sp, B) };
            begun = true;
            if answer.function() == INTERRUPT {
                take_exit(sp);
            }
            [answer.function(), request.payload()[0], 0, 0, 0]
        })
    });
    let system = System::boot([a, passes_on(), c]);
    for expected in [INTERRUPT, INTERRUPT, DIRECT_RESP_64] {
        assert_eq!(system.nwd().ask(A, [9; 5])[..2], [expected, 9]);
    }
}

// req: MSGW-15, ME-05
#[test]
fn one_that_comes_too_late_finds_the_chain_gone() {
    let system = System::boot([leaves("a"), passes_on(), interrupted("c")]);
    let nwd = system.nwd();
    assert_eq!(nwd.ask(A, call(CALL)), [MANAGED_EXIT; 5]);
    system.machine.gic().pass(CALLERS_TIME - 1);
    nwd.refused(RUN_B, DENIED);
    system.machine.gic().pass(1);
    nwd.refused(RUN_C, DENIED);
    assert_eq!(nwd.call(RUN_B).0[..2], [MSG_WAIT, RUN_B[1]]);
    assert_eq!(nwd.ask(A, call(GO_ON))[..2], [ERROR, DENIED as u64]);
}

// The Normal world may run the chain from then on, also where the chain is stopped once more.
// req: MSGW-15
#[test]
fn one_that_comes_too_late_does_not_go_on_with_what_the_normal_world_runs() {
    let c = PartitionSpec::new("c").script(|sp| {
        sp.serve(|sp, request| {
            assert!(sp.interrupt());
            assert!(sp.interrupt(), "masked");
            request.payload()
        })
    });
    let system = System::boot([leaves("a"), passes_on(), c]);
    let nwd = system.nwd();
    assert_eq!(nwd.ask(A, call(CALL)), [MANAGED_EXIT; 5]);
    system.machine.gic().pass(CALLERS_TIME);
    assert_eq!(nwd.call(RUN_B).0[..2], [INTERRUPT, RUN_B[1]]);
    assert_eq!(nwd.ask(A, call(GO_ON))[..2], [ERROR, DENIED as u64]);
    assert_eq!(nwd.call(RUN_B).0[..2], [MSG_WAIT, RUN_B[1]]);
}

// req: MSGD-24, ME-05
#[test]
fn whom_it_called_fails_meanwhile() {
    let system = System::boot([leaves("a"), interrupted("b").vcpus(2)]);
    system.turn_on(1);
    let nwd = system.nwd();
    assert_eq!(nwd.ask(A, call(CALL)), [MANAGED_EXIT; 5]);
    assert_eq!(system.pe(1).request(B, [1; 5]).error(), Some(ABORTED));
    for index in [0, 1] {
        assert_eq!(nwd.ask(A, go_on(index))[..2], [ERROR, ABORTED as u64]);
    }
    assert_eq!(nwd.ask(A, [7; 5]), [7; 5]);
}

// Nobody runs a chain that was stopped for another context.
// req: RUN-24
#[test]
fn others_do_not_go_on_with_its_chain() {
    let other = PartitionSpec::new("c").script(|sp| {
        sp.serve(|sp, _| {
            sp.refused(RUN_B, DENIED);
            [1; 5]
        })
    });
    let system = System::boot([leaves("a"), interrupted("b"), other]);
    let nwd = system.nwd();
    assert_eq!(nwd.ask(A, call(CALL)), [MANAGED_EXIT; 5]);
    assert_eq!(nwd.ask(C, [0; 5]), [1; 5]);
    assert_eq!(nwd.ask(A, call(GO_ON))[0], DIRECT_RESP_64);
}

/// Returns a 1.0 partition with a managed exit that asks B and gets B's answer first.
fn waits_for_the_answer() -> PartitionSpec {
    PartitionSpec::new("a")
        .with(|sp| {
            sp.ns_interrupts = 1;
            sp.version = 0x1_0000;
        })
        .script(|sp| {
            sp.serve(|sp, request| {
                assert_eq!(ask(sp, B).function(), DIRECT_RESP_64);
                assert!(sp.interrupt(), "masked");
                take_exit(sp);
                request.payload()
            })
        })
}

// Partitions have FFA_RUN since 1.1. One that cannot resume its callee waits for the answer.
// req: INT-10, SINT-22
#[test]
fn what_works_for_one_that_cannot_resume_finishes_first() {
    let worker = PartitionSpec::new("worker").script(|sp| {
        sp.serve(|sp, request| {
            assert!(sp.interrupt());
            assert_eq!(sp.signals(), (false, false));
            assert!(!sp.interrupt(), "not masked");
            request.payload()
        })
    });
    let system = System::boot([waits_for_the_answer(), worker]);
    assert_eq!(system.nwd().ask(A, [2; 5]), [2; 5]);
}

// Nobody waits for the exit of a partition that failed: the chain is preempted.
// req: ME-02, INT-02
#[test]
fn one_that_failed_makes_no_exit() {
    let a = leaves("a").vcpus(2).with(|sp| sp.takes_exceptions = false);
    let a = a.script(|sp| {
        sp.serve(|sp, _| {
            if sp.vcpu == 1 {
                sp.trap(0);
            }
            ask(sp, B).payload()
        })
    });
    let b = PartitionSpec::new("b").script(|sp| {
        sp.serve(|sp, request| {
            sp.gic(|gic| gic.pulse(LINE));
            sp.poll();
            assert!(sp.interrupt());
            request.payload()
        })
    });
    // C handles an interrupt in place of B, during which A fails on the other PE.
    let system = std::sync::Arc::new(std::sync::OnceLock::<System>::new());
    let inside = std::sync::Arc::clone(&system);
    let c = with_device(PartitionSpec::new("c"), &[LINE], &[]).script(move |sp| {
        assert_eq!(sp.call([ENABLE, LINE.into(), 1, 0]).0[0], 0);
        loop {
            sp.msg_wait();
            let line = u64::from(LINE);
            assert_eq!(sp.call([GET]).0[0], line);
            assert_eq!(sp.call([DEACTIVATE, line, line]).0[0], 0);
            let system = inside.get().expect("it has booted");
            assert_eq!(system.pe(1).request(A, [1; 5]).error(), Some(ABORTED));
        }
    });
    assert!(system.set(System::boot([a, b, c])).is_ok());
    let system = system.get().expect("it has booted");
    system.turn_on(1);
    let nwd = system.nwd();
    assert_eq!(nwd.request(A, [1; 5]).0[..2], [INTERRUPT, RUN_A[1]]);
    assert_eq!(nwd.call(RUN_A).error(), Some(ABORTED));
}

// A managed exit is requested in the middle of an interrupt that the callee handles for itself.
// req: ME-02, INT-08, INT-10
#[test]
fn a_callee_is_stopped_while_it_handles_its_own_interrupt() {
    let b = with_device(PartitionSpec::new("b"), &[LINE], &[]).script(|sp| {
        assert_eq!(sp.call([ENABLE, LINE.into(), 1, 0]).0[0], 0);
        sp.serve(|sp, request| {
            let answer = ask(sp, C);
            assert_eq!(answer.function(), INTERRUPT);
            assert!(sp.interrupt(), "its caller leaves meanwhile");
            let line = u64::from(LINE);
            assert_eq!(sp.call([GET]).0[0], line);
            assert_eq!(sp.call([DEACTIVATE, line, line]).0[0], 0);
            assert_eq!(sp.call(RUN_C).function(), DIRECT_RESP_64);
            request.payload()
        })
    });
    let c = PartitionSpec::new("c").script(|sp| {
        sp.serve(|sp, request| {
            sp.gic(|gic| gic.pulse(LINE));
            sp.poll();
            request.payload()
        })
    });
    let system = System::boot([leaves("a"), b, c]);
    let nwd = system.nwd();
    assert_eq!(nwd.ask(A, call(CALL)), [MANAGED_EXIT; 5]);
    assert_eq!(nwd.ask(A, call(GO_ON))[0], DIRECT_RESP_64);
    // A is as it was before.
    assert_eq!(nwd.ask(A, call(LOOK))[0], 1);
}
