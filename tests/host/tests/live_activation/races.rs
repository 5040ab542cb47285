//! Races of a live activation with what other PEs do.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use host_tests::ffa::*;
use host_tests::schedule::{Plan, Trace, let_others_go, seeds};
use host_tests::system::NWD_PAGES;
use host_tests::{Nwd, PartitionSpec, System};

use super::stage::*;

type Body<'a> = Box<dyn FnOnce(Nwd<'a>) + Send + 'a>;

/// Runs `race` in random orders. To load an image takes so many steps that a preemption cannot be
/// tried at each of them.
fn explore(race: impl Fn(Plan) -> Trace) {
    for seed in seeds("HOST_INTERLEAVINGS", 40) {
        race(Plan::Random(seed));
    }
}

/// Repeats a step of an activation while the partition works.
fn insist(nwd: Nwd<'_>, step: impl Fn(Nwd<'_>) -> i32) -> i32 {
    for _ in 0..1000 {
        let status = step(nwd);
        if status != RETRY {
            return status;
        }
        let_others_go();
    }
    panic!("the partition works for ever");
}

fn prepared(spec: &PartitionSpec) -> (System, Vec<u8>) {
    let system = System::boot([spec.clone()]);
    system.turn_on(1);
    let package = version(spec, 2);
    stage(&system, &package);
    (system, package)
}

// A request is served by the old image or by the new one, or refused. None is lost or served twice.
// req: LIVE-02, LIVE-13
#[test]
fn requests_are_served_by_one_image_or_the_other() {
    explore(|plan| {
        let spec = live("sp1", &[]).script(count);
        let (system, package) = prepared(&spec);
        let served_meanwhile = AtomicU64::new(0);
        let activate: Body = Box::new(|nwd| {
            assert_eq!(insist(nwd, |nwd| start(nwd, &package)), 0);
            assert_eq!(finish(nwd), 0);
        });
        let ask: Body = Box::new(|nwd| {
            let mut seen = b's';
            for _ in 0..4 {
                let answer = nwd.request(SP1, [0; 5]);
                match answer.error() {
                    Some(code) => assert_eq!(code, BUSY),
                    None => {
                        let number = served_meanwhile.fetch_add(1, SeqCst) + 1;
                        let [image, n, ..] = answer.payload();
                        assert_eq!(n, number, "a request was lost");
                        assert!(image as u8 == seen || image == 2);
                        seen = image as u8;
                    }
                }
            }
        });
        let points = system.interleave_by(plan, vec![activate, ask]);
        assert_eq!(served(system.nwd()), (2, served_meanwhile.load(SeqCst) + 1));
        points
    });
}

// req: LIVE-03, LIVE-07
#[test]
fn two_pes_that_begin_one_activate_once() {
    explore(|plan| {
        let spec = live("sp1", &[]).script(count);
        let (system, package) = prepared(&spec);
        let done = AtomicU64::new(0);
        let body = || -> Body<'_> {
            Box::new(|nwd| {
                let started = insist(nwd, |nwd| start(nwd, &package));
                let finished = finish(nwd);
                assert!([0, DENIED].contains(&started) && [0, DENIED].contains(&finished));
                done.fetch_add(u64::from(started == 0), SeqCst);
                done.fetch_add(u64::from(finished == 0) << 32, SeqCst);
            })
        };
        let points = system.interleave_by(plan, vec![body(), body()]);
        // One of them may have begun, and the other one ended it.
        let done = done.load(SeqCst);
        let (started, finished) = (done as u32 as u64, done >> 32);
        assert!(started >= 1 && started == finished, "{started} {finished}");
        assert_eq!(served(system.nwd()), (2, 1));
        points
    });
}

// req: LIVE-06
#[test]
fn interrupts_reach_one_image_or_the_other() {
    explore(|plan| {
        let handled = Arc::new(AtomicU64::new(0));
        let seen = Arc::clone(&handled);
        let spec = with_device(live("sp1", &[])).script(move |sp| {
            if !takes_over(sp) {
                assert_eq!(sp.call([ENABLE, LINE.into(), 1, 0]).0[0], 0);
            }
            let mut message = sp.msg_wait();
            loop {
                message = if is_stop(&message) {
                    stop(sp, 0)
                } else {
                    while sp.signals().0 {
                        handle(sp);
                        seen.fetch_add(1, SeqCst);
                    }
                    sp.msg_wait()
                };
            }
        });
        let (system, package) = prepared(&spec);
        let activate: Body = Box::new(|nwd| {
            assert_eq!(insist(nwd, |nwd| start(nwd, &package)), 0);
            assert_eq!(finish(nwd), 0);
        });
        let machine = &system.machine;
        let interrupts: Body = Box::new(move |nwd| {
            machine.gic().pulse(LINE);
            nwd.call([INTERRUPT]);
        });
        let points = system.interleave_by(plan, vec![activate, interrupts]);
        for pe in 0..2 {
            system.pe(pe).call([INTERRUPT]);
        }
        assert_eq!(handled.load(SeqCst), 1, "it was lost, or came twice");
        assert!(!system.machine.gic().is_active(LINE));
        points
    });
}

// req: LIVE-06, LIVE-14
#[test]
fn memory_is_sent_and_taken_back_meanwhile() {
    explore(|plan| {
        let spec = live("sp1", &[]).script(count);
        let (system, package) = prepared(&spec);
        system.nwd().map_buffers();
        let before = system.snapshot();
        let activate: Body = Box::new(|nwd| {
            assert_eq!(insist(nwd, |nwd| start(nwd, &package)), 0);
            assert_eq!(finish(nwd), 0);
        });
        let send: Body = Box::new(|nwd| {
            for page in 0..2 {
                let at = NWD_PAGES + page * 0x1000;
                let share = Transaction::share(0, SP1, RW, &[(at, 1)]);
                let handle = nwd.send(MEM_SHARE_64, &share);
                nwd.reclaim(handle).success();
            }
        });
        let points = system.interleave_by(plan, vec![activate, send]);
        assert_eq!(before, system.snapshot());
        assert_eq!(served(system.nwd()), (2, 1));
        points
    });
}

// The partition that fails in its new image is loaded anew by whichever PE is free first.
// req: LIVE-08
#[test]
fn a_new_image_that_fails_is_replaced_once() {
    explore(|plan| {
        let spec = live("sp1", &[]).script(|sp| {
            if image(sp) == 2 {
                sp.call([ABORT_64]);
            }
            count(sp);
        });
        let (system, package) = prepared(&spec);
        let activate: Body = Box::new(|nwd| {
            assert_eq!(insist(nwd, |nwd| start(nwd, &package)), 0);
            assert_eq!(finish(nwd), ABORTED);
        });
        let others: Body = Box::new(|nwd| {
            for _ in 0..3 {
                nwd.call([ID_GET]).success();
            }
        });
        let points = system.interleave_by(plan, vec![activate, others]);
        system.nwd().call([ID_GET]).success();
        assert_eq!(served(system.nwd()), (b's', 1));
        points
    });
}

// req: LIVE-09, LIVE-07
#[test]
fn a_late_end_and_the_way_back_do_not_meet() {
    explore(|plan| {
        let spec = live("sp1", &[]).script(count);
        let (system, package) = prepared(&spec);
        assert_eq!(start(system.nwd(), &package), 0);
        system.machine.gic().pass(30_000_000);
        let finished = AtomicU64::new(0);
        let end: Body = Box::new(|nwd| {
            let status = finish(nwd);
            assert!([0, DENIED].contains(&status), "{status}");
            finished.store(u64::from(status == 0), SeqCst);
        });
        let ask: Body = Box::new(|nwd| {
            let answer = nwd.request(SP1, [0; 5]);
            assert!([None, Some(BUSY)].contains(&answer.error()));
        });
        let points = system.interleave_by(plan, vec![end, ask]);
        system.nwd().call([ID_GET]).success();
        let image = if finished.load(SeqCst) == 1 { 2 } else { b's' };
        assert_eq!(served(system.nwd()).0, image);
        points
    });
}
