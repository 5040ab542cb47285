//! SINT: the timers of partitions, by the state of the context when they expire.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use host_tests::ffa::*;
use host_tests::{PartitionSpec, Sp, System};

use crate::interrupts::{DEACTIVATE, ENABLE, GET};

const SP1: u16 = 0x8001;
const SP2: u16 = 0x8002;
const TIMER: u64 = 3;
const NONE: u64 = 0xffff_ffff;

/// Payloads of requests to [`sleeper`]: arms the timer for 1000 microseconds from now, disarms it,
/// lets it expire, is preempted, fetches what is signalled, and calls the second partition.
const ARM: [u64; 5] = [1; 5];
const DISARM: [u64; 5] = [2; 5];
const EXPIRE: [u64; 5] = [3; 5];
const PREEMPT: [u64; 5] = [4; 5];
const FETCH: [u64; 5] = [5; 5];
const CALL: [u64; 5] = [6; 5];
const DISABLE: [u64; 5] = [7; 5];

fn get(sp: &mut Sp) -> u64 {
    sp.call([GET]).0[0]
}

fn arm(sp: &mut Sp) {
    let now = sp.gic(|gic| gic.now());
    sp.arm_timer(Some(now + 1000));
}

/// Makes a partition that counts the times that it is run for its timer.
fn sleeper(name: &str, count: &Arc<AtomicU64>) -> PartitionSpec {
    let count = Arc::clone(count);
    PartitionSpec::new(name).script(move |sp: &mut Sp| {
        assert_eq!(sp.call([ENABLE, TIMER, 1, 0]).0[0], 0);
        let mut next = sp.msg_wait();
        loop {
            if next.0[0] == INTERRUPT {
                assert_eq!(next.0[..3], [INTERRUPT, 0, TIMER]);
                assert_eq!((sp.signals(), get(sp)), ((true, false), TIMER));
                assert_eq!(sp.call([DEACTIVATE, TIMER, TIMER]).0[0], 0);
                count.fetch_add(1, SeqCst);
                next = sp.msg_wait();
                continue;
            }
            let payload = next.payload();
            match payload {
                ARM => arm(sp),
                DISARM => sp.arm_timer(None),
                EXPIRE => sp.set_timer(true),
                PREEMPT => assert!(sp.interrupt()),
                FETCH => assert_eq!((sp.signals(), get(sp)), ((true, false), TIMER)),
                CALL => {
                    let to_sp2 = u64::from(SP1) << 16 | u64::from(SP2);
                    let answer = sp.call([DIRECT_REQ_64, to_sp2]);
                    assert_eq!(answer.0[0], DIRECT_RESP_64, "the callee was stopped");
                }
                DISABLE => assert_eq!(sp.call([ENABLE, TIMER, 0, 0]).0[0], 0),
                _ => {}
            }
            next = sp.respond(&next, payload);
        }
    })
}

/// Lets time pass. Returns whether the Normal world was stopped on that PE.
fn pass(system: &System, pe: usize, time: u64) -> bool {
    system.machine.gic().pass(time);
    let (alarm, now) = {
        let gic = system.machine.gic();
        (gic.alarm(pe), gic.now())
    };
    let is_due = alarm.is_some_and(|alarm| alarm <= now) || system.machine.gic().is_to_look(pe);
    if is_due {
        let answer = system.pe(pe).call([INTERRUPT]);
        assert_eq!(answer.0[0], NORMAL_WORLD_RESUME);
    }
    is_due
}

// req: SINT-25, SINT-29
#[test]
fn a_context_that_waits_runs_when_its_timer_expires() {
    let count = Arc::default();
    let system = System::boot([sleeper("one", &count)]);
    let nwd = system.nwd();
    nwd.ask(SP1, ARM);
    assert!(!pass(&system, 0, 999));
    assert_eq!(count.load(SeqCst), 0);
    assert!(pass(&system, 0, 1));
    assert_eq!(count.load(SeqCst), 1);
    assert!(!pass(&system, 0, 10_000), "once is enough");
    // A timer that is set anew counts from then on.
    nwd.ask(SP1, ARM);
    pass(&system, 0, 600);
    nwd.ask(SP1, ARM);
    pass(&system, 0, 600);
    assert_eq!(count.load(SeqCst), 1);
    pass(&system, 0, 400);
    assert_eq!(count.load(SeqCst), 2);
    // One that was disarmed does not expire.
    nwd.ask(SP1, ARM);
    nwd.ask(SP1, DISARM);
    pass(&system, 0, 10_000);
    assert_eq!(count.load(SeqCst), 2);
    assert!(!pass(&system, 0, 10_000));
    // Nor does one whose interrupt is disabled make its context run.
    nwd.ask(SP1, DISABLE);
    nwd.ask(SP1, ARM);
    pass(&system, 0, 10_000);
    assert_eq!(count.load(SeqCst), 2);
}

// req: SINT-29
#[test]
fn several_contexts_wait_for_their_timers() {
    let counts: [Arc<AtomicU64>; 2] = Default::default();
    let system = System::boot([sleeper("one", &counts[0]), sleeper("two", &counts[1])]);
    let now = || [&counts[0], &counts[1]].map(|count| count.load(SeqCst));
    let nwd = system.nwd();
    nwd.ask(SP2, ARM);
    assert!(!pass(&system, 0, 300));
    nwd.ask(SP1, ARM);
    assert!(pass(&system, 0, 700));
    assert_eq!(now(), [0, 1]);
    assert!(!pass(&system, 0, 299));
    assert!(pass(&system, 0, 1));
    assert_eq!(now(), [1, 1]);
    // At the same time, while another partition runs.
    nwd.ask(SP1, ARM);
    nwd.ask(SP2, ARM);
    system.machine.gic().pass(2000);
    nwd.ask(SP1, [0; 5]);
    assert_eq!(now(), [1, 1], "timers are watched in the Normal world only");
    assert!(pass(&system, 0, 0));
    assert_eq!(now(), [2, 2]);
}

// req: SINT-29
#[test]
fn a_timer_expires_in_a_context_that_does_not_wait() {
    let count = Arc::default();
    let callee = PartitionSpec::new("callee").script(|sp: &mut Sp| {
        sp.serve(|sp, request| {
            sp.gic(|gic| gic.look_again_here(0));
            sp.poll();
            request.payload()
        })
    });
    let system = System::boot([sleeper("one", &count), callee]);
    system.turn_on(1);
    let nwd = system.nwd();
    // The callee of a context whose timer has expired is not stopped for that.
    nwd.ask(SP1, EXPIRE);
    assert_eq!(count.load(SeqCst), 0);
    nwd.ask(SP1, CALL);
    nwd.ask(SP1, FETCH);
    // A preempted context moves to another PE, and its timer moves with it.
    nwd.ask(SP1, ARM);
    assert_eq!(nwd.request(SP1, PREEMPT).0[0], INTERRUPT);
    pass(&system, 0, 2000);
    assert_eq!(count.load(SeqCst), 0, "a preempted context is not run");
    let resumed = system.pe(1).call([RUN, u64::from(SP1) << 16]);
    assert_eq!(resumed.0[0], DIRECT_RESP_64);
    // It waits on the other PE, where its timer expires at once.
    assert!(pass(&system, 1, 0));
    assert_eq!(count.load(SeqCst), 1);
    assert!(!pass(&system, 0, 0));
}

// A context that waits with an expired timer that it has not fetched runs at once.
// req: SINT-29
#[test]
fn a_context_begins_to_wait_with_an_expired_timer() {
    let count = Arc::default();
    let system = System::boot([sleeper("one", &count)]);
    system.nwd().ask(SP1, EXPIRE);
    assert!(pass(&system, 0, 0));
    assert_eq!(count.load(SeqCst), 1);
}

const CPU_OFF: u64 = 0x8400_0002;

fn spmd(system: &System, pe: usize, kind: u64, argument: u64) {
    let answer = system
        .pe(pe)
        .call([DIRECT_REQ_32, 0xffff_8000, kind, argument]);
    assert_eq!((answer.0[0], answer.0[3]), (DIRECT_RESP_32, 0));
}

// req: SINT-30
#[test]
fn a_timer_outlives_the_pe_on_which_its_context_waited() {
    let count = Arc::default();
    let system = System::boot([sleeper("one", &count)]);
    for pe in [1, 2] {
        system.turn_on(pe);
    }
    system.pe(1).ask(SP1, ARM);
    spmd(&system, 1, 0x8000_0000, CPU_OFF);
    assert!(pass(&system, 2, 0), "another PE takes over");
    assert!(pass(&system, 2, 1000));
    assert_eq!(count.load(SeqCst), 1);
    // A PE that loses its own timer when it is suspended watches again after that.
    system.pe(2).ask(SP1, ARM);
    system.machine.gic().lose_alarm(2);
    spmd(&system, 2, 0x8000_0001, 0);
    assert!(pass(&system, 2, 1000));
    assert_eq!(count.load(SeqCst), 2);
}

// A partition at S-EL0 has no virtual interrupts, so it is told by FFA_INTERRUPT alone.
// req: SINT-29
#[test]
fn a_partition_at_s_el0_is_told_of_its_timer() {
    let count = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&count);
    let spec = PartitionSpec::new("one")
        .s_el0()
        .script(move |sp: &mut Sp| {
            assert_eq!(sp.call([ENABLE, TIMER, 1, 0]).0[0], 0);
            let mut next = sp.msg_wait();
            loop {
                if next.0[0] == INTERRUPT {
                    assert_eq!(next.0[..3], [INTERRUPT, 0, TIMER]);
                    assert_eq!(get(sp), NONE, "there is nothing to fetch");
                    counted.fetch_add(1, SeqCst);
                    next = sp.msg_wait();
                } else {
                    arm(sp);
                    let payload = next.payload();
                    next = sp.respond(&next, payload);
                }
            }
        });
    let system = System::boot([spec]);
    for n in 1..=3 {
        system.nwd().ask(SP1, [0; 5]);
        assert!(pass(&system, 0, 1000));
        assert_eq!(count.load(SeqCst), n);
        assert!(!pass(&system, 0, 0));
    }
}

// req: SINT-30
#[test]
fn a_timer_that_leaves_the_pe_to_nobody_is_masked() {
    for in_handler in [false, true] {
        let count = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&count);
        let spec = PartitionSpec::new("one").script(move |sp: &mut Sp| {
            assert_eq!(sp.call([ENABLE, TIMER, 1, 0]).0[0], 0);
            let mut next = sp.msg_wait();
            loop {
                if next.0[0] == INTERRUPT {
                    counted.fetch_add(1, SeqCst);
                    get(sp);
                }
                sp.work(100);
                if in_handler {
                    sp.set_timer(true);
                } else {
                    let now = sp.gic(|gic| gic.now());
                    sp.arm_timer(Some(now));
                }
                let payload = next.payload();
                next = if next.0[0] == INTERRUPT {
                    sp.msg_wait()
                } else {
                    sp.respond(&next, payload)
                };
            }
        });
        let system = System::boot([spec]);
        system.nwd().ask(SP1, [0; 5]);
        let stopped = (0..1000).take_while(|_| pass(&system, 0, 0)).count();
        let ran = count.load(SeqCst);
        assert!(
            (256..300).contains(&ran),
            "{in_handler}: {ran} times in {stopped} stops"
        );
    }
}
