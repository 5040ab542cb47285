//! Links between execution contexts: who gave the PE to whom. Links that are left of former work do
//! not reach a context that has begun a new life or has continued otherwise, and no context is
//! stuck because another one does not continue.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use host_tests::ffa::*;
use host_tests::schedule::watch_locks;
use host_tests::{Nwd, PartitionSpec, Sp, System};

use crate::interrupts::{LINE, with_device};

const ENABLE: u64 = 0xff03;
const GET: u64 = 0xff04;
const DEACTIVATE: u64 = 0xff08;
const SEND_IPI: u64 = 0xff0a;
const IPI: u64 = 9;

const A: u16 = 0x8001;
const B: u16 = 0x8002;
const C: u16 = 0x8003;
const RUN_A: [u64; 2] = [RUN, (A as u64) << 16];
const RUN_B: [u64; 2] = [RUN, (B as u64) << 16];
const RUN_C: [u64; 2] = [RUN, (C as u64) << 16];

/// How long only the caller may resume a context that gave the PE back to it, in microseconds.
const CALLERS_TIME: u64 = 1_000_000;

/// Returns a partition that fails when it traps, and then starts again.
fn restarts(name: &str) -> PartitionSpec {
    with_device(PartitionSpec::new(name), &[LINE], &["lifecycle-support"])
        .with(|sp| sp.takes_exceptions = false)
        .property("abort-action", 2)
}

fn ask(sp: &mut Sp, to: u16, payload: u64) -> Regs {
    let ids = u64::from(sp.id) << 16 | u64::from(to);
    sp.call([DIRECT_REQ_64, ids, 0, payload])
}

/// Asks B, which raises an interrupt for the caller and is stopped for it.
fn stop_b(sp: &mut Sp) {
    assert_eq!(ask(sp, B, 0).function(), INTERRUPT);
    assert_eq!(sp.call([GET]).0[0], LINE.into());
    assert_eq!(sp.call([DEACTIVATE, LINE.into(), LINE.into()]).0[0], 0);
}

/// Returns B, which raises an interrupt in each request. On PE 1 it fails.
fn raises() -> PartitionSpec {
    PartitionSpec::new("b")
        .vcpus(2)
        .with(|sp| sp.takes_exceptions = false)
        .script(|sp| {
            sp.serve(|sp, request| {
                if sp.vcpu == 1 {
                    sp.trap(0);
                    unreachable!("it is dead");
                }
                sp.gic(|gic| gic.pulse(LINE));
                sp.poll();
                request.payload()
            })
        })
}

fn yields_once(sp: &mut Sp) {
    sp.serve(|sp, request| {
        sp.call([YIELD]);
        request.payload()
    })
}

fn power_off(nwd: Nwd<'_>) {
    let answer = nwd.call([DIRECT_REQ_32, 0xffff_8000, 0x8000_0000, 0x8400_0002]);
    assert_eq!(answer.0[..4], [DIRECT_RESP_32, 0x8000_ffff, 0x8000_0002, 0]);
}

/// Lets the Normal world run a context whose caller is gone. The context then accepts requests
/// again.
#[track_caller]
fn is_seen_to_its_end(nwd: Nwd<'_>) {
    assert_eq!(nwd.request(B, [0; 5]).error(), Some(BUSY));
    assert_eq!(nwd.call(RUN_B).0[..2], [MSG_WAIT, RUN_B[1]]);
    assert_ne!(nwd.request(B, [0; 5]).error(), Some(BUSY));
}
// req: MSGW-15, MSGW-16
#[test]
fn one_that_yielded_to_a_partition_that_began_anew() {
    let a = restarts("a").script(|sp| {
        sp.serve(|sp, request| {
            if request.0[3] == 1 {
                assert_eq!(ask(sp, B, 0).function(), YIELD);
                sp.trap(0);
            }
            request.payload()
        })
    });
    let system = System::boot([a, PartitionSpec::new("b").script(yields_once)]);
    let nwd = system.nwd();
    assert_eq!(nwd.request(A, [1; 5]).error(), Some(ABORTED));
    assert_eq!(nwd.ask(A, [7; 5]), [7; 5]);
    is_seen_to_its_end(nwd);
}
// req: MSGW-15
#[test]
fn one_that_yielded_to_a_context_that_began_anew() {
    let a = PartitionSpec::new("a").vcpus(4).script(|sp| {
        sp.serve(|sp, request| {
            if request.0[3] == 1 {
                assert_eq!(ask(sp, B, 0).function(), YIELD);
            }
            request.payload()
        })
    });
    let system = System::boot([a, PartitionSpec::new("b").script(yields_once)]);
    system.turn_on(1);
    assert_eq!(system.pe(1).ask(A, [1; 5]), [1; 5]);
    system.nwd().refused(RUN_B, DENIED);
    power_off(system.pe(1));
    system.turn_on(1);
    assert_eq!(system.pe(1).ask(A, [7; 5]), [7; 5]);
    is_seen_to_its_end(system.nwd());
}

// The caller lives on, but never runs its callee again.
// req: MSGW-15
#[test]
fn one_that_yielded_to_a_caller_that_does_not_go_on() {
    // The timeout in w2 and w3 has more than 32 bits, and is a multiple of a millisecond.
    const WISH: u64 = 4_300_000_000;
    let a = PartitionSpec::new("a").script(|sp| {
        sp.serve(|sp, _| [ask(sp, B, 0).function(), 0, 0, 0, 0]);
    });
    let b = PartitionSpec::new("b").script(|sp| {
        sp.serve(|sp, request| {
            sp.call([YIELD, 0, WISH & 0xffff_ffff, WISH >> 32]);
            request.payload()
        })
    });
    let system = System::boot([a, b]);
    let nwd = system.nwd();
    assert_eq!(nwd.ask(A, [0; 5])[0], YIELD);
    nwd.refused(RUN_B, DENIED);
    // The context asked for a timeout of some seconds, and its caller has another limit.
    // Milliseconds are counted.
    let wish = WISH / 1_000_000 * 1000;
    system.machine.gic().pass(CALLERS_TIME + wish - 1);
    nwd.refused(RUN_B, DENIED);
    system.machine.gic().pass(1);
    is_seen_to_its_end(nwd);
}

// A link to nobody could be taken for one to the first context, which would wait for its own claim.
// req: MSGW-15
#[test]
fn the_first_context_gives_the_pe_back_to_nobody() {
    watch_locks();
    let a = PartitionSpec::new("a").script(|sp| {
        sp.serve(|sp, request| {
            sp.call([YIELD]);
            sp.call([YIELD]);
            request.payload()
        })
    });
    let b = PartitionSpec::new("b").script(|sp| {
        sp.serve(|sp, _| [ask(sp, A, 0).function(), 0, 0, 0, 0]);
    });
    let system = System::boot([a, b]);
    let nwd = system.nwd();
    assert_eq!(nwd.ask(B, [0; 5])[0], YIELD);
    system.machine.gic().pass(CALLERS_TIME);
    assert_eq!(nwd.call(RUN_A).function(), YIELD);
    assert_eq!(nwd.call(RUN_A).function(), MSG_WAIT);
    assert_eq!(nwd.request(A, [0; 5]).function(), YIELD);
}

/// Returns a partition that stops B for its interrupt and then only gives up the PE.
fn never_resumes() -> PartitionSpec {
    with_device(PartitionSpec::new("a"), &[LINE], &[]).script(|sp| {
        sp.call([ENABLE, LINE.into(), 1, 0]);
        sp.serve(|sp, _| {
            stop_b(sp);
            while sp.interrupt() {}
            // B came to its end without this partition.
            assert_eq!(sp.call(RUN_B).error(), Some(ABORTED));
            [1; 5]
        })
    })
}
// req: INT-08, MSGW-15
#[test]
fn one_that_was_stopped_for_a_caller_that_does_not_go_on() {
    let system = System::boot([never_resumes(), raises()]);
    let nwd = system.nwd();
    assert_eq!(nwd.request(A, [0; 5]).function(), INTERRUPT);
    for _ in 0..3 {
        assert_eq!(nwd.call(RUN_A).function(), INTERRUPT);
        nwd.refused(RUN_B, DENIED);
        nwd.refused([DIRECT_REQ_64, B.into()], BUSY);
    }
    system.machine.gic().pass(CALLERS_TIME - 1);
    nwd.refused(RUN_B, DENIED);
    system.machine.gic().pass(1);
    is_seen_to_its_end(nwd);
    assert_eq!(nwd.call(RUN_A).function(), INTERRUPT);
}

// Non-secure interrupts were masked for the sake of the caller.
// req: INT-08, INT-10
#[test]
fn one_that_is_taken_over_inherits_nothing() {
    let a = with_device(PartitionSpec::new("a"), &[LINE], &[])
        .with(|sp| {
            sp.ns_interrupts = 0;
            sp.takes_exceptions = false;
        })
        .script(|sp| {
            sp.call([ENABLE, LINE.into(), 1, 0]);
            sp.serve(|sp, _| {
                stop_b(sp);
                sp.trap(0);
                unreachable!("it is dead");
            })
        });
    let b = PartitionSpec::new("b").script(|sp| {
        sp.serve(|sp, _| {
            assert!(!sp.interrupt(), "its caller has them queued");
            sp.gic(|gic| gic.pulse(LINE));
            sp.poll();
            assert!(sp.interrupt(), "nobody has them queued any more");
            [1; 5]
        })
    });
    let system = System::boot([a, b]);
    let nwd = system.nwd();
    assert_eq!(nwd.request(A, [0; 5]).error(), Some(ABORTED));
    assert_eq!(nwd.call(RUN_B).0[..2], [INTERRUPT, RUN_B[1]]);
    assert_eq!(nwd.call(RUN_B).0[..2], [MSG_WAIT, RUN_B[1]]);
}

// The interrupt is only an IPI from another PE.
// req: INT-08
#[test]
fn one_that_was_stopped_for_an_ipi_of_its_caller() {
    let steps: Arc<[AtomicU64; 2]> = Arc::default();
    let wait = |step: &AtomicU64| {
        while step.load(SeqCst) == 0 {
            std::thread::yield_now();
        }
    };
    let (a, b) = (Arc::clone(&steps), Arc::clone(&steps));
    let system = System::boot([
        PartitionSpec::new("a").vcpus(2).script(move |sp| {
            sp.call([ENABLE, IPI, 1, 0]);
            let a = Arc::clone(&a);
            sp.serve(move |sp, _| {
                if sp.vcpu == 1 {
                    wait(&a[0]);
                    sp.call([SEND_IPI, 0]);
                    a[1].store(1, SeqCst);
                    return [0; 5];
                }
                assert_eq!(ask(sp, B, 0).function(), INTERRUPT);
                sp.call([GET]);
                loop {
                    sp.interrupt();
                }
            })
        }),
        PartitionSpec::new("b").script(move |sp| {
            let b = Arc::clone(&b);
            sp.serve(move |sp, request| {
                b[0].store(1, SeqCst);
                wait(&b[1]);
                sp.poll();
                request.payload()
            })
        }),
    ]);
    system.turn_on(1);
    let nwd = system.nwd();
    std::thread::scope(|scope| {
        scope.spawn(|| system.pe(1).ask(A, [0; 5]));
        assert_eq!(nwd.request(A, [0; 5]).function(), INTERRUPT);
    });
    nwd.refused(RUN_B, DENIED);
    system.machine.gic().pass(CALLERS_TIME);
    is_seen_to_its_end(nwd);
}

/// Serves requests: does `first` if x3 is 1, does `second` if x3 is 2, and echoes other requests.
fn on_request(
    sp: &mut Sp,
    first: impl Fn(&mut Sp) -> [u64; 5],
    second: impl Fn(&mut Sp) -> [u64; 5],
) -> ! {
    sp.call([ENABLE, LINE.into(), 1, 0]);
    sp.serve(|sp, request| match request.0[3] {
        1 => first(sp),
        2 => second(sp),
        _ => request.payload(),
    })
}

/// Makes A ask B and fail while B is stopped for it. Then B fails on another PE.
fn both_failed(system: &System) {
    system.turn_on(1);
    assert_eq!(system.nwd().request(A, [1; 5]).error(), Some(ABORTED));
}

fn dies_of_b(sp: &mut Sp) -> [u64; 5] {
    stop_b(sp);
    sp.trap(0);
    unreachable!("it is dead");
}
// req: MSGW-15, MSGW-16
#[test]
fn a_partition_that_began_anew_is_not_the_caller_of_one_that_failed() {
    let a = restarts("a").script(|sp| on_request(sp, dies_of_b, |_| [0; 5]));
    let system = System::boot([a, raises()]);
    both_failed(&system);
    let nwd = system.nwd();
    assert_eq!(nwd.ask(A, [7; 5]), [7; 5]);
    assert_eq!(system.pe(1).request(B, [0; 5]).error(), Some(ABORTED));
    assert_eq!(nwd.call(RUN_B).error(), Some(ABORTED));
    assert_eq!(nwd.ask(A, [7; 5]), [7; 5]);
    assert_eq!(nwd.call(RUN_A).function(), MSG_WAIT);
}
// req: MSGW-15, MSGW-16
#[test]
fn a_partition_that_began_anew_and_works_is_not_the_caller_of_one_that_failed() {
    let a = restarts("a").script(|sp| on_request(sp, dies_of_b, |sp| ask(sp, C, 5).payload()));
    let c = PartitionSpec::new("c").script(|sp| {
        sp.serve(|sp, request| {
            sp.interrupt();
            request.payload()
        })
    });
    let system = System::boot([a, raises(), c]);
    both_failed(&system);
    let nwd = system.nwd();
    assert_eq!(nwd.request(A, [2, 0, 0, 0, 0]).function(), INTERRUPT);
    assert_eq!(system.pe(1).request(B, [0; 5]).error(), Some(ABORTED));
    assert_eq!(nwd.call(RUN_B).error(), Some(ABORTED));
    // A's own call ends normally.
    assert_eq!(nwd.call(RUN_A).payload()[0], 5);
    assert_eq!(nwd.ask(A, [7; 5]), [7; 5]);
    assert_eq!(nwd.request(C, [7; 5]).function(), INTERRUPT);
}

/// Makes A ask B, which is stopped and then fails. A continues with `next`.
fn went_on(next: impl Fn(&mut Sp) -> [u64; 5] + Send + Sync + 'static) -> PartitionSpec {
    with_device(PartitionSpec::new("a"), &[LINE], &[]).script(move |sp| {
        let first = |sp: &mut Sp| {
            stop_b(sp);
            assert!(sp.interrupt());
            assert_eq!(sp.call(RUN_B).error(), Some(ABORTED));
            next(sp)
        };
        on_request(sp, first, |_| [0; 5])
    })
}

fn fails_meanwhile(system: &System) -> Regs {
    system.turn_on(1);
    let nwd = system.nwd();
    assert_eq!(nwd.request(A, [1; 5]).function(), INTERRUPT);
    assert_eq!(system.pe(1).request(B, [0; 5]).error(), Some(ABORTED));
    nwd.call(RUN_A)
}
// req: MSGW-15, MSGW-18, MSGD-24
#[test]
fn a_call_to_another_is_not_ended_by_one_that_failed() {
    let done = Arc::<AtomicU64>::default();
    let count = Arc::clone(&done);
    let a = went_on(|sp| ask(sp, C, 5).payload());
    let c = PartitionSpec::new("c").script(move |sp| {
        sp.serve(|sp, request| {
            sp.interrupt();
            count.fetch_add(1, SeqCst);
            request.payload()
        })
    });
    let system = System::boot([a, raises(), c]);
    let nwd = system.nwd();
    assert_eq!(
        fails_meanwhile(&system).function(),
        INTERRUPT,
        "C is preempted"
    );
    assert_eq!(nwd.call(RUN_B).error(), Some(ABORTED));
    assert_eq!(done.load(SeqCst), 0);
    nwd.refused(RUN_C, DENIED);
    assert_eq!(nwd.call(RUN_A).payload()[0], 5);
    assert_eq!(done.load(SeqCst), 1);
}
// req: MSGW-15, MSGW-16
#[test]
fn a_partition_that_waits_is_not_the_caller_of_one_that_failed() {
    let system = System::boot([went_on(|_| [9; 5]), raises()]);
    let nwd = system.nwd();
    let answer = fails_meanwhile(&system);
    assert_eq!(
        (answer.function(), answer.payload()),
        (DIRECT_RESP_64, [9; 5])
    );
    assert_eq!(nwd.call(RUN_B).error(), Some(ABORTED));
    assert_eq!(nwd.ask(A, [7; 5]), [7; 5]);
    assert_eq!(
        nwd.call([PARTITION_INFO_GET_REGS]).0[2] & 0xffff,
        0,
        "one is listed"
    );
}
// req: MSGD-04
#[test]
fn a_pe_without_a_context() {
    let system = System::boot([
        PartitionSpec::new("a").vcpus(2),
        PartitionSpec::new("b").script(|sp| {
            sp.serve(|sp, _| {
                sp.refused(
                    [DIRECT_REQ_64, u64::from(B) << 16 | 0x8001],
                    INVALID_PARAMETERS,
                );
                [1; 5]
            })
        }),
    ]);
    system.turn_on(3);
    system
        .pe(3)
        .refused([DIRECT_REQ_64, A.into()], INVALID_PARAMETERS);
    assert_eq!(system.pe(3).ask(B, [0; 5]), [1; 5]);
}

/// The contents of x8 to x30 of every context in this test.
const SECRET: u64 = 0xdead_beef_cafe_f00d;

/// Returns the registers that contain [`SECRET`] or a part of it.
fn leaks(registers: &[u64]) -> Vec<usize> {
    let registers = registers.iter().enumerate();
    let leaked = registers.filter(|(_, register)| **register >> 32 == SECRET >> 32);
    leaked.map(|(n, _)| n).collect()
}
// req: GEN-31, MSGD-25
#[test]
fn registers_that_a_call_does_not_return_stay_the_callers() {
    let own = |n: u64| {
        (8..31)
            .map(|register| n << 32 | register)
            .collect::<Vec<u64>>()
    };
    let system = System::boot([
        PartitionSpec::new("a").script(move |sp| {
            sp.serve(|sp, _| {
                sp.regs[8..].copy_from_slice(&own(1));
                for to in [B, B, C, A + 8] {
                    let answer = ask(sp, to, 1);
                    assert_eq!(answer.error().is_some(), to > C);
                    assert_eq!(sp.regs[8..], own(1), "{answer:x?}");
                }
                // C yields.
                assert_eq!(sp.call(RUN_C).function(), DIRECT_RESP_64);
                assert_eq!(sp.regs[8..], own(1));
                [0; 5]
            })
        }),
        PartitionSpec::new("b").script(move |sp| {
            sp.regs[8..].copy_from_slice(&own(2));
            sp.serve(|sp, request| {
                assert_eq!(sp.regs[8..], own(2), "nor does it see the requester's");
                request.payload()
            })
        }),
        PartitionSpec::new("c").script(move |sp| {
            sp.regs[8..].copy_from_slice(&own(3));
            sp.serve(|sp, request| {
                sp.call([YIELD]).success();
                assert_eq!(sp.regs[8..], own(3));
                request.payload()
            })
        }),
    ]);
    let mut call = Regs::new([DIRECT_REQ_64, A.into()]);
    call.0[8..].fill(SECRET);
    let answer = system.nwd().call_with(call);
    assert_eq!(answer.function(), DIRECT_RESP_64);
    assert_eq!(answer.0[8..], [SECRET; 10]);
}

// req: MSGD-25
#[test]
fn no_message_shows_registers_of_others() {
    let garbage = |x: u64| SECRET & !0xffff_ffff | x;
    let system = System::boot([
        PartitionSpec::new("a").script(move |sp| {
            sp.regs[8..].fill(SECRET);
            sp.serve(|sp, request| {
                match request.0[3] {
                    1 => drop(sp.call([YIELD, 0, 0, 0, 0, 0, 0, 0].map(garbage))),
                    2 => drop(sp.interrupt()),
                    3 => drop(sp.call([ERROR, 0, 0xffff_fffd, 0, 0, 0, 0, 0].map(garbage))),
                    4 => assert_eq!(leaks(&ask(sp, B, 1).0[..8]), [0; 0]),
                    _ => {}
                }
                [0; 5]
            })
        }),
        PartitionSpec::new("b").script(|sp| {
            sp.serve(|sp, _| {
                assert_eq!(leaks(&sp.regs), [0; 0]);
                [0; 5]
            })
        }),
    ]);
    let nwd = system.nwd();
    for n in [0, 1, 2, 4, 3] {
        let mut call = Regs::new([DIRECT_REQ_32, A.into(), 0, n]);
        call.0[8..].fill(1);
        let mut answer = nwd.call_with(call);
        assert_eq!(leaks(&answer.0), [0; 0], "{n}");
        if matches!(answer.0[0], YIELD | INTERRUPT) {
            answer = nwd.call(RUN_A);
            assert_eq!(leaks(&answer.0), [0; 0], "{n}");
        }
    }
}

// Only a call that has ended is reported as ended.
// req: INT-08, MSGW-16
#[test]
fn one_that_was_stopped_and_runs_elsewhere_is_busy() {
    // Three events: the Normal world may run B; B runs on PE 1; B's caller has asked for it.
    let steps: Arc<[AtomicU64; 3]> = Arc::default();
    let wait = |step: &AtomicU64| {
        while step.load(SeqCst) == 0 {
            std::thread::yield_now();
        }
    };
    let (own, others) = (Arc::clone(&steps), Arc::clone(&steps));
    let a = with_device(PartitionSpec::new("a"), &[LINE], &[]).script(move |sp| {
        assert_eq!(sp.call([ENABLE, LINE.into(), 1, 0]).0[0], 0);
        let own = Arc::clone(&own);
        sp.serve(move |sp, request| {
            stop_b(sp);
            sp.gic(|gic| gic.pass(CALLERS_TIME));
            own[0].store(1, SeqCst);
            wait(&own[1]);
            let answer = sp.call(RUN_B);
            own[2].store(1, SeqCst);
            assert_eq!(answer.error(), Some(BUSY), "{answer:?}");
            loop {
                match sp.call(RUN_B).error() {
                    Some(BUSY) => std::thread::yield_now(),
                    error => break assert_eq!(error, Some(ABORTED)),
                }
            }
            request.payload()
        })
    });
    let b = PartitionSpec::new("b").script(move |sp| {
        let others = Arc::clone(&others);
        sp.serve(move |sp, request| {
            sp.gic(|gic| gic.pulse(LINE));
            sp.poll();
            others[1].store(1, SeqCst);
            wait(&others[2]);
            request.payload()
        })
    });
    let system = System::boot([a, b]);
    std::thread::scope(|scope| {
        let first = scope.spawn(|| system.nwd().ask(A, [4; 5]));
        wait(&steps[0]);
        assert_eq!(system.pe(1).call(RUN_B).function(), MSG_WAIT);
        assert_eq!(first.join().unwrap(), [4; 5]);
    });
}
