//! INT: Secure interrupts of an owner that is blocked. Its callee is stopped, its call ends with
//! `FFA_INTERRUPT`, and it resumes the callee with `FFA_RUN` when it has handled the interrupts.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use host_tests::ffa::*;
use host_tests::{PartitionSpec, Sp, System};
use spmc::hal::Conduit;

use crate::interrupts::{LINE, with_device};

const SP1: u16 = 0x8001;
const SP2: u16 = 0x8002;
const SP3: u16 = 0x8003;
const SP2_CONTEXT: u64 = (SP2 as u64) << 16;

const ENABLE: u64 = 0xff03;
const GET: u64 = 0xff04;
const DEACTIVATE: u64 = 0xff08;

fn route(from: u16, to: u16) -> u64 {
    u64::from(from) << 16 | u64::from(to)
}

fn ask(sp: &mut Sp, to: u16, payload: u64) -> Regs {
    let ids = route(sp.id, to);
    sp.call([DIRECT_REQ_64, ids, 0, payload])
}

/// Handles the interrupt, an edge that is signalled.
fn handle(sp: &mut Sp, count: &AtomicU64) {
    assert_eq!(sp.signals(), (true, false));
    assert_eq!(sp.call([GET]).0[0], LINE.into());
    assert_eq!(sp.call([DEACTIVATE, LINE.into(), LINE.into()]).0[0], 0);
    count.fetch_add(1, SeqCst);
}

/// Returns the owner of [`LINE`]. In each request it asks sp2, does `stopped` each time that it is
/// called for the interrupt, and passes the answer on.
fn owner(
    count: &Arc<AtomicU64>,
    stopped: impl Fn(&mut Sp) + Send + Sync + 'static,
) -> PartitionSpec {
    let count = Arc::clone(count);
    let stopped = Arc::new(stopped);
    let spec = PartitionSpec::new("owner");
    with_device(spec, &[LINE], &["lifecycle-support"]).script(move |sp| {
        assert_eq!(sp.call([ENABLE, LINE.into(), 1, 0]).0[0], 0);
        let (count, stopped) = (Arc::clone(&count), Arc::clone(&stopped));
        sp.serve(move |sp, request| {
            let mut answer = ask(sp, SP2, request.payload()[0]);
            while answer.0[0] == INTERRUPT {
                assert!(answer.0[1..].iter().all(|x| *x == 0), "{answer:?}");
                handle(sp, &count);
                stopped(sp);
                answer = sp.call([RUN, SP2_CONTEXT]);
            }
            assert_eq!(answer.0[0], DIRECT_RESP_64, "{answer:?}");
            answer.payload()
        })
    })
}

/// Raises the interrupt. The owner is blocked on this PE, so no other PE is made to look.
fn raise(sp: &mut Sp) {
    sp.gic(|gic| gic.pulse(LINE));
    sp.poll();
    assert!(!sp.gic(|gic| gic.has_interrupt(1)), "another PE is told");
}

/// Returns a partition that raises the interrupt twice in each request, and continues when it is
/// handled.
fn raises(name: &str) -> PartitionSpec {
    PartitionSpec::new(name).script(|sp: &mut Sp| {
        sp.serve(|sp, request| {
            for _ in 0..2 {
                raise(sp);
                assert!(!sp.gic(|gic| gic.is_active(LINE)));
                assert_eq!(sp.signals(), (false, false), "not its own");
            }
            request.payload()
        })
    })
}

/// Returns a partition that raises the interrupt once in each request, and continues before it is
/// handled.
fn raises_unnoticed(name: &str) -> PartitionSpec {
    PartitionSpec::new(name).script(|sp: &mut Sp| {
        sp.serve(|sp, request| {
            raise(sp);
            assert!(sp.gic(|gic| gic.is_active(LINE)));
            request.payload()
        })
    })
}

// req: INT-08, INT-11, SINT-04, SINT-05, MODEL-09
#[test]
fn its_call_ends_and_it_resumes_the_other() {
    let count = Arc::<AtomicU64>::default();
    let stopped = |sp: &mut Sp| {
        // The owner cannot leave its callee behind.
        let requester = route(sp.id, 0);
        for call in [
            [DIRECT_RESP_64, requester],
            [MSG_WAIT, 0],
            [YIELD, 0],
            [ERROR, 0],
            [RUN, u64::from(SP3) << 16],
        ] {
            sp.refused(call, DENIED);
        }
        assert_eq!(ask(sp, SP2, 0).error(), Some(BUSY));
        // The owner may ask other partitions.
        assert_eq!(ask(sp, SP3, 8).payload()[0], 8);
    };
    let owner = owner(&count, stopped);
    // Partitions have `FFA_RUN` since 1.1.
    let calls = (1..3).map(|minor| (minor, owner.clone().version(minor)));
    for (minor, owner) in calls {
        count.store(0, SeqCst);
        let system = System::boot([owner, raises("other"), PartitionSpec::new("third")]);
        let nwd = system.nwd();
        for n in 1..3 {
            assert_eq!(nwd.ask(SP1, [n; 5])[0], n);
            assert_eq!(count.load(SeqCst), 2 * n, "1.{minor}");
        }
    }
}

/// Returns an owner of line `LINE + 1` that counts what it handles.
fn third(count: &Arc<AtomicU64>) -> PartitionSpec {
    const THIRD: u64 = LINE as u64 + 1;
    let count = Arc::clone(count);
    with_device(PartitionSpec::new("third"), &[LINE + 1], &[]).script(move |sp| {
        assert_eq!(sp.call([ENABLE, THIRD, 1, 0]).0[0], 0);
        loop {
            sp.msg_wait();
            assert_eq!(sp.call([GET]).0[0], THIRD);
            assert_eq!(sp.call([DEACTIVATE, THIRD, THIRD]).0[0], 0);
            count.fetch_add(1, SeqCst);
        }
    })
}

// No context is called again for the same interrupt, even if others come in between.
// req: INT-08, INT-09
#[test]
fn one_that_takes_no_notice_is_called_once() {
    let count = Arc::<AtomicU64>::default();
    let deaf = with_device(PartitionSpec::new("deaf"), &[LINE], &[]).script(|sp| {
        assert_eq!(sp.call([ENABLE, LINE.into(), 1, 0]).0[0], 0);
        sp.serve(|sp, _| {
            assert_eq!(ask(sp, SP2, 7).function(), INTERRUPT);
            let answer = sp.call([RUN, SP2_CONTEXT]);
            assert_eq!(answer.function(), DIRECT_RESP_64, "{answer:?}");
            answer.payload()
        })
    });
    let other = PartitionSpec::new("other").script(|sp| {
        sp.serve(|sp, request| {
            for line in [LINE, LINE + 1] {
                sp.gic(|gic| gic.pulse(line));
                sp.poll();
            }
            request.payload()
        })
    });
    let system = System::boot([deaf, other, third(&count)]);
    assert_eq!(system.nwd().ask(SP1, [0; 5])[0], 7);
    assert_eq!(count.load(SeqCst), 1);
}

// req: INT-08, INT-09
#[test]
fn nobody_is_stopped_for_a_caller_that_is_dead() {
    let count = Arc::<AtomicU64>::default();
    let dies = with_device(PartitionSpec::new("dies"), &[LINE], &[])
        .vcpus(2)
        .with(|spec| spec.takes_exceptions = false)
        .script(|sp| {
            assert_eq!(sp.call([ENABLE, LINE.into(), 1, 0]).0[0], 0);
            sp.serve(|sp, request| {
                if sp.vcpu == 0 {
                    ask(sp, SP2, 0);
                }
                sp.trap(0);
                request.payload()
            })
        });
    let other = PartitionSpec::new("other").script(|sp| {
        sp.serve(|sp, request| {
            if sp.interrupt() {
                sp.gic(|gic| gic.pulse(LINE + 1));
                sp.poll();
            }
            request.payload()
        })
    });
    let system = System::boot([dies, other, third(&count)]);
    system.turn_on(1);
    let nwd = system.nwd();
    assert_eq!(nwd.request(SP1, [0; 5]).function(), INTERRUPT);
    // The owner has an interrupt when it dies.
    system.machine.gic().pulse(LINE);
    nwd.call([INTERRUPT]);
    assert_eq!(system.pe(1).request(SP1, [0; 5]).error(), Some(ABORTED));
    assert_eq!(nwd.call([RUN, u64::from(SP1) << 16]).error(), Some(ABORTED));
    assert_eq!(count.load(SeqCst), 1);
    // The contexts that worked for the owner can complete their work.
    assert_eq!(nwd.request(SP2, [0; 5]).function(), INTERRUPT);
}

// req: INT-08, INT-01, INT-02
#[test]
fn a_non_secure_interrupt_while_it_handles_them() {
    let count = Arc::<AtomicU64>::default();
    let stopped = |sp: &mut Sp| assert!(sp.interrupt(), "masked");
    let system = System::boot([owner(&count, stopped), raises("other")]);
    let nwd = system.nwd();
    let mut answer = nwd.request(SP1, [5; 5]);
    for _ in 0..2 {
        assert_eq!(answer.0[..2], [INTERRUPT, u64::from(SP1) << 16]);
        // The callee continues when the owner says so, and accepts no request meanwhile.
        nwd.refused([RUN, SP2_CONTEXT], DENIED);
        assert_eq!(nwd.request(SP2, [0; 5]).error(), Some(BUSY));
        answer = nwd.call([RUN, u64::from(SP1) << 16]);
    }
    assert_eq!(answer.payload()[0], 5);
    assert_eq!(count.load(SeqCst), 2);
}

// req: INT-08, INT-14, RUN-13
#[test]
fn whom_it_has_to_resume_keeps_it_on_its_pe() {
    let count = Arc::<AtomicU64>::default();
    let stopped = |sp: &mut Sp| assert!(sp.interrupt(), "masked");
    let other = raises("other").vcpus(4);
    let system = System::boot([owner(&count, stopped), other]);
    system.turn_on(1);
    let run = [RUN, u64::from(SP1) << 16];
    let mut answer = system.nwd().request(SP1, [5; 5]);
    for _ in 0..2 {
        assert_eq!(answer.function(), INTERRUPT);
        // The callee is pinned to the PE on which it was stopped.
        system.pe(1).refused(run, DENIED);
        answer = system.nwd().call(run);
    }
    assert_eq!(answer.payload()[0], 5);
    assert_eq!(count.load(SeqCst), 2);
}

// After its PE was off, the callee is in another life, whichever interrupt stops it.
// req: INT-08, INT-14, RUN-13
#[test]
fn whom_it_had_to_resume_keeps_it_nowhere_after_its_end() {
    let owner = |line: u32, lines| {
        with_device(PartitionSpec::new("owner"), lines, &[]).script(move |sp| {
            assert_eq!(sp.call([ENABLE, line.into(), 1, 0]).0[0], 0);
            sp.serve(move |sp, request| {
                assert_eq!(ask(sp, SP3, line.into()).function(), INTERRUPT);
                assert!(sp.interrupt(), "masked");
                let context = u64::from(SP3) << 16;
                assert_eq!(sp.call([RUN, context]).error(), Some(ABORTED));
                request.payload()
            })
        })
    };
    let other = PartitionSpec::new("other").vcpus(4).script(|sp| {
        sp.serve(|sp, request| {
            sp.gic(|gic| gic.pulse(request.0[3] as u32));
            sp.poll();
            request.payload()
        })
    });
    for begins_anew in [false, true] {
        let second = owner(LINE + 1, &[LINE + 1]);
        let system = System::boot([owner(LINE, &[LINE]), second, other.clone()]);
        system.turn_on(1);
        let nwd = system.nwd();
        assert_eq!(nwd.request(SP1, [5; 5]).function(), INTERRUPT);
        const CPU_OFF: u64 = 0x8400_0002;
        nwd.call([DIRECT_REQ_32, 0xffff_8000, 0x8000_0000, CPU_OFF]);
        if begins_anew {
            system.turn_on(0);
            for line in [LINE, LINE + 1] {
                system.machine.gic().route(line, 0);
            }
            assert_eq!(nwd.request(SP2, [6; 5]).function(), INTERRUPT);
        }
        let answer = system.pe(1).call([RUN, u64::from(SP1) << 16]);
        assert_eq!(answer.payload(), [5; 5], "anew: {begins_anew}");
    }
}

// req: INT-08
#[test]
fn who_has_stopped_one_is_not_called_again_before_it_resumes_that_one() {
    let count = Arc::<AtomicU64>::default();
    let seen = Arc::clone(&count);
    let stopped = move |sp: &mut Sp| {
        let answer = ask(sp, SP3, 8);
        assert_eq!((answer.function(), answer.0[3]), (DIRECT_RESP_64, 8));
        // The owner sees the second interrupt now.
        handle(sp, &seen);
    };
    let raises_once = PartitionSpec::new("other").script(|sp: &mut Sp| {
        sp.serve(|sp, request| {
            raise(sp);
            request.payload()
        })
    });
    let third = raises_unnoticed("third");
    let system = System::boot([owner(&count, stopped), raises_once, third]);
    assert_eq!(system.nwd().ask(SP1, [6; 5])[0], 6);
    assert_eq!(count.load(SeqCst), 2);
}

// req: INT-08, BOOT-18, SINT-20
#[test]
fn who_initialises_is_not_called() {
    let count = Arc::<AtomicU64>::default();
    let seen = Arc::clone(&count);
    let spec = PartitionSpec::new("owner").with(|spec| spec.boot_order = Some(1));
    let spec = with_device(spec, &[LINE], &[]).script(move |sp| {
        assert_eq!(sp.call([ENABLE, LINE.into(), 1, 0]).0[0], 0);
        let answer = ask(sp, SP2, 7);
        assert_eq!((answer.function(), answer.0[3]), (DIRECT_RESP_64, 7));
        handle(sp, &seen);
        sp.serve(|_, request| request.payload())
    });
    let other = raises_unnoticed("other").with(|spec| spec.boot_order = Some(0));
    let system = System::boot([spec, other]);
    assert_eq!(count.load(SeqCst), 1);
    assert_eq!(system.nwd().ask(SP1, [3; 5]), [3; 5]);
}

// The owner was not called while it initialised, so it is called when it waits.
// req: INT-05, INT-08, SINT-20
#[test]
fn who_initialises_and_takes_no_notice_is_run_after_that() {
    let count = Arc::<AtomicU64>::default();
    let seen = Arc::clone(&count);
    let spec = PartitionSpec::new("owner").with(|spec| spec.boot_order = Some(1));
    let spec = with_device(spec, &[LINE], &[]).script(move |sp| {
        assert_eq!(sp.call([ENABLE, LINE.into(), 1, 0]).0[0], 0);
        assert_eq!(ask(sp, SP2, 7).function(), DIRECT_RESP_64);
        loop {
            sp.msg_wait();
            handle(sp, &seen);
        }
    });
    let other = raises_unnoticed("other").with(|spec| spec.boot_order = Some(0));
    let system = System::boot([spec, other]);
    assert_eq!(count.load(SeqCst), 0);
    assert!(system.machine.gic().has_interrupt(0));
    system.nwd().call([INTERRUPT]);
    assert_eq!(count.load(SeqCst), 1);
}

// An owner at S-EL0 sees its interrupts when it waits.
// req: INT-08, SEL0-06, SINT-06
#[test]
fn who_runs_at_s_el0_is_not_called() {
    const LINE_ID: u64 = LINE as u64;
    let spec = with_device(PartitionSpec::new("owner").s_el0(), &[LINE], &[]);
    let spec = spec.script(|sp| {
        assert_eq!(sp.call_by(Conduit::Svc, [ENABLE, LINE_ID, 1, 0]).0[0], 0);
        let mut message = sp.msg_wait();
        loop {
            message = if message.0[0] == INTERRUPT {
                assert_eq!(sp.call_by(Conduit::Svc, [GET]).0[0], LINE_ID);
                let done = [DEACTIVATE, LINE_ID, LINE_ID];
                assert_eq!(sp.call_by(Conduit::Svc, done).0[0], 0);
                sp.msg_wait()
            } else {
                let answer = ask(sp, SP2, message.0[3]);
                assert_eq!(answer.function(), DIRECT_RESP_64, "{answer:?}");
                sp.respond(&message, answer.payload())
            };
        }
    });
    let system = System::boot([spec, raises_unnoticed("other")]);
    let nwd = system.nwd();
    assert_eq!(nwd.ask(SP1, [4; 5])[0], 4);
    assert_eq!(nwd.call([INTERRUPT]).function(), NORMAL_WORLD_RESUME);
    assert!(!system.machine.gic().is_active(LINE));
}

/// Returns a variant of [`owner`] that does not expect to be called, and sees the interrupt after
/// the answer.
fn not_called(count: &Arc<AtomicU64>) -> PartitionSpec {
    let count = Arc::clone(count);
    with_device(PartitionSpec::new("owner"), &[LINE], &[]).script(move |sp| {
        assert_eq!(sp.call([ENABLE, LINE.into(), 1, 0]).0[0], 0);
        let count = Arc::clone(&count);
        sp.serve(move |sp, request| {
            let answer = ask(sp, SP2, request.payload()[0]);
            assert_eq!(answer.0[0], DIRECT_RESP_64, "{answer:?}");
            handle(sp, &count);
            answer.payload()
        })
    })
}

// req: INT-08, INT-07, SINT-09
#[test]
fn who_has_them_queued_is_not_stopped() {
    let queued = raises_unnoticed("queued")
        .with(|spec| spec.ns_interrupts = 0)
        .property("other-s-interrupts-action", 0);
    let count = Arc::<AtomicU64>::default();
    let system = System::boot([not_called(&count), queued]);
    assert_eq!(system.nwd().ask(SP1, [4; 5])[0], 4);
    assert_eq!(count.load(SeqCst), 1);
}

// req: INT-08, SINT-22
#[test]
fn who_speaks_1_0_cannot_resume_and_is_not_called() {
    let count = Arc::<AtomicU64>::default();
    let spec = not_called(&count).with(|spec| spec.version = 0x1_0000);
    let system = System::boot([spec, raises_unnoticed("other")]);
    assert_eq!(system.nwd().ask(SP1, [4; 5])[0], 4);
    assert_eq!(count.load(SeqCst), 1);
}

// req: INT-08, INT-09
#[test]
fn an_owner_that_dies_leaves_the_other_to_the_normal_world() {
    const STOP: u32 = 0;
    const RESTART: u32 = 2;
    for action in [STOP, RESTART] {
        let count = Arc::<AtomicU64>::default();
        let dies = owner(&count, |sp| {
            sp.trap(0);
        })
        .with(|spec| spec.takes_exceptions = false)
        .property("abort-action", action);
        let other = PartitionSpec::new("other").script(|sp: &mut Sp| {
            sp.serve(|sp, request| {
                if request.payload()[0] == 1 {
                    sp.gic(|gic| gic.pulse(LINE));
                    sp.poll();
                }
                request.payload()
            })
        });
        let system = System::boot([dies, other]);
        let nwd = system.nwd();
        assert_eq!(nwd.request(SP1, [1; 5]).error(), Some(ABORTED));
        assert_eq!(nwd.request(SP2, [2; 5]).error(), Some(BUSY));
        // Nobody waits for the callee's answer.
        assert_eq!(
            nwd.call([RUN, SP2_CONTEXT]).0[..2],
            [MSG_WAIT, SP2_CONTEXT],
            "action {action}"
        );
        assert_eq!(nwd.ask(SP2, [2; 5]), [2; 5]);
    }
}

// req: INT-08
#[test]
fn one_that_dies_meanwhile_cannot_be_resumed() {
    // The Normal world is told so, too, although for a while only the caller could run the callee.
    for is_run_before in [false, true] {
        dies_meanwhile(is_run_before);
    }
}

fn dies_meanwhile(is_run_before: bool) {
    let count = Arc::<AtomicU64>::default();
    let seen = Arc::clone(&count);
    let spec = with_device(PartitionSpec::new("owner"), &[LINE], &[]).script(move |sp| {
        assert_eq!(sp.call([ENABLE, LINE.into(), 1, 0]).0[0], 0);
        let seen = Arc::clone(&seen);
        sp.serve(move |sp, request| {
            let answer = ask(sp, SP2, 0);
            assert_eq!(answer.0[0], INTERRUPT);
            handle(sp, &seen);
            // Meanwhile another context of sp2 fails.
            assert!(sp.interrupt());
            assert_eq!(sp.call([RUN, SP2_CONTEXT]).error(), Some(ABORTED));
            // The request may be answered.
            request.payload()
        })
    });
    let other = PartitionSpec::new("other")
        .vcpus(4)
        .with(|spec| spec.takes_exceptions = false)
        .script(|sp: &mut Sp| {
            sp.serve(|sp, request| {
                if sp.vcpu == 1 {
                    sp.trap(0);
                }
                sp.gic(|gic| gic.pulse(LINE));
                sp.poll();
                request.payload()
            })
        });
    let system = System::boot([spec, other]);
    system.turn_on(1);
    let nwd = system.nwd();
    assert_eq!(nwd.request(SP1, [3; 5]).0[0], INTERRUPT);
    assert_eq!(system.pe(1).request(SP2, [0; 5]).error(), Some(ABORTED));
    if is_run_before {
        assert_eq!(nwd.call([RUN, SP2_CONTEXT]).error(), Some(ABORTED));
    }
    let answer = nwd.call([RUN, u64::from(SP1) << 16]);
    assert_eq!(answer.payload()[0], 3);
    assert_eq!(count.load(SeqCst), 1);
}

// req: INT-08, INT-14
#[test]
fn the_interrupt_comes_to_another_pe() {
    let count = Arc::<AtomicU64>::default();
    let other = PartitionSpec::new("other").script(|sp: &mut Sp| {
        sp.serve(|sp, request| {
            // This PE is told to look, and the Normal world of the other PE continues.
            sp.gic(|gic| gic.route(LINE, 1));
            sp.gic(|gic| gic.pulse(LINE));
            assert!(sp.interrupt());
            sp.poll();
            assert!(!sp.gic(|gic| gic.is_active(LINE)));
            request.payload()
        })
    });
    // A partition with a context for each PE is resumed by the partition's id alone: its caller
    // moves between PEs and does not know the index.
    let system = System::boot([owner(&count, |_| {}), other.vcpus(4)]);
    system.turn_on(1);
    let nwd = system.nwd();
    assert_eq!(nwd.request(SP1, [9; 5]).0[0], INTERRUPT);
    assert_eq!(system.pe(1).call([INTERRUPT]).0[0], NORMAL_WORLD_RESUME);
    assert_eq!(count.load(SeqCst), 0);
    let answer = nwd.call([RUN, u64::from(SP1) << 16]);
    assert_eq!((answer.payload()[0], count.load(SeqCst)), (9, 1));
}
