//! Call chains: cycles, depth, and the fate of a chain when a PE is turned off (v1.1 section 8.3).

use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::thread;

use host_tests::ffa::*;
use host_tests::{Nwd, PartitionSpec, Sp, System};

use super::meeting::Meeting;

/// Passes a request on to the next partition, up to `last`. The answer counts the partitions.
fn pass_on(last: u16) -> impl Fn(&mut Sp) {
    move |sp| {
        sp.serve(|sp, request| {
            let own = u64::from(sp.id);
            if sp.id == last {
                sp.interrupt();
                return request.payload();
            }
            let answer = sp.call([DIRECT_REQ_64, own << 16 | (own + 1), 0, request.0[3] + 1]);
            match answer.error() {
                Some(code) => [u64::MAX, code as u64, 0, 0, 0],
                None => answer.payload(),
            }
        })
    }
}

fn power_off(nwd: Nwd<'_>) {
    let answer = nwd.call([DIRECT_REQ_32, 0xffff_8000, 0x8000_0000, 0x8400_0002]);
    assert_eq!(answer.0[..4], [DIRECT_RESP_32, 0x8000_ffff, 0x8000_0002, 0]);
}

// req: MSGD-20, MSGD-23, RUN-05, RUN-23
#[test]
fn a_chain_through_all_partitions() {
    let names = ["a", "b", "c", "d", "e", "f", "g", "h"];
    let system = System::boot(names.map(|name| PartitionSpec::new(name).script(pass_on(0x8008))));
    let answer = system.nwd().request(0x8001, [0; 5]);
    assert_eq!(answer.0[..2], [INTERRUPT, 0x8001_0000]);
    for partition in 0x8002..=0x8008 {
        system.nwd().refused([DIRECT_REQ_64, partition], BUSY);
        system.nwd().refused([RUN, partition << 16], DENIED);
    }
    assert_eq!(system.pe(2).call([RUN, 0x8001_0000]).payload()[0], 7);
}

// req: MSGD-07, MSGD-23
#[test]
fn a_cycle_to_one_that_was_run_is_denied_by_its_model() {
    let system = System::boot([
        PartitionSpec::new("sp1").script(|sp| {
            sp.msg_wait();
            sp.call([DIRECT_REQ_64, 0x8001_8002]);
            sp.serve(|sp, _| {
                sp.call([DIRECT_REQ_64, 0x8001_8002]);
                [0; 5]
            })
        }),
        PartitionSpec::new("sp2")
            .script(|sp| sp.serve(|sp, _| sp.call([DIRECT_REQ_64, 0x8002_8003]).payload())),
        PartitionSpec::new("sp3").script(|sp| {
            sp.msg_wait();
            // sp1 has cycles by FFA_RUN, sp2 serves a request.
            sp.refused([DIRECT_REQ_64, 0x8003_8001], DENIED);
            sp.refused([DIRECT_REQ_64, 0x8003_8002], BUSY);
            sp.call([DIRECT_RESP_64, 0x8003_8002]);
            sp.refused([DIRECT_REQ_64, 0x8003_8001], BUSY);
            sp.call([DIRECT_RESP_64, 0x8003_8002]);
        }),
    ]);
    let nwd = system.nwd();
    assert_eq!(nwd.call([RUN, 0x8001_0000]).function(), MSG_WAIT);
    nwd.ask(0x8001, [0; 5]);
}

// req: MSGW-19, RUN-13
#[test]
fn a_chain_with_a_pinned_member_stays_on_its_pe() {
    let system = System::boot([
        PartitionSpec::new("up").script(pass_on(0x8003)),
        PartitionSpec::new("mp").vcpus(4).script(pass_on(0x8003)),
        PartitionSpec::new("up2").script(pass_on(0x8003)),
    ]);
    system.turn_on(1);
    assert_eq!(system.pe(1).request(0x8001, [0; 5]).function(), INTERRUPT);
    system.nwd().refused([RUN, 0x8001_0000], DENIED);
    system.nwd().refused([RUN, 0x8002_0001], INVALID_PARAMETERS);
    system.nwd().refused([RUN, 0x8003_0000], DENIED);
    assert_eq!(system.pe(1).call([RUN, 0x8001_0000]).payload()[0], 2);
}

// req: MSGW-15, MSGW-19, RUN-19, RUN-23
#[test]
fn the_rest_of_a_chain_outlives_a_member_whose_pe_goes_off() {
    for comes_back in [false, true] {
        let system = System::boot([
            PartitionSpec::new("up").script(pass_on(0x8003)),
            PartitionSpec::new("mp").vcpus(2).script(pass_on(0x8003)),
            PartitionSpec::new("up2").script(pass_on(0x8003)),
        ]);
        system.turn_on(1);
        assert_eq!(system.pe(1).request(0x8001, [0; 5]).function(), INTERRUPT);
        power_off(system.pe(1));
        if comes_back {
            system.turn_on(1);
        }
        let nwd = system.nwd();
        nwd.refused([DIRECT_REQ_64, 0x8003], BUSY);
        // up2 completes its work, and up is told that mp will never answer.
        let answer = nwd.call([RUN, 0x8001_0000]);
        assert_eq!(answer.function(), DIRECT_RESP_64);
        assert_eq!(answer.payload()[..2], [u64::MAX, ABORTED as u64]);
        // All partitions accept requests again.
        system.turn_on(1);
        for pe in [0, 1] {
            assert_eq!(system.pe(pe).request(0x8001, [0; 5]).function(), INTERRUPT);
            assert_eq!(system.pe(pe).call([RUN, 0x8001_0000]).payload()[0], 2);
        }
    }
}

// req: MSGW-12, MSGW-15
#[test]
fn a_chain_whose_root_goes_off_is_seen_to_its_end() {
    let system = System::boot([
        PartitionSpec::new("mp").vcpus(2).script(pass_on(0x8003)),
        PartitionSpec::new("mp2").vcpus(2).script(pass_on(0x8003)),
        PartitionSpec::new("up").script(pass_on(0x8003)),
    ]);
    system.turn_on(1);
    assert_eq!(
        system.pe(1).request(0x8001, [0; 5]).0[..2],
        [INTERRUPT, 0x8001_0001]
    );
    power_off(system.pe(1));
    let nwd = system.nwd();
    nwd.refused([DIRECT_REQ_64, 0x8003], BUSY);
    // Nobody waits for the response of sp3. The Normal world sees that it is done.
    let answer = nwd.call([RUN, 0x8003_0000]);
    assert_eq!(answer.0[..8], [MSG_WAIT, 0x8003_0000, 0, 0, 0, 0, 0, 0]);
    assert_eq!(nwd.request(0x8003, [0; 5]).function(), INTERRUPT);
    system.turn_on(1);
    assert_eq!(nwd.call([RUN, 0x8003_0000]).function(), DIRECT_RESP_64);
    assert_eq!(
        system.pe(1).request(0x8001, [0; 5]).0[..2],
        [INTERRUPT, 0x8001_0001]
    );
    assert_eq!(system.pe(1).call([RUN, 0x8001_0001]).payload()[0], 2);
}

// req: MSGW-15, MSGW-16
#[test]
fn a_chain_outlives_a_failed_member_whose_pe_goes_off() {
    let system = System::boot([
        PartitionSpec::new("up").script(pass_on(0x8003)),
        PartitionSpec::new("mp")
            .vcpus(2)
            .with(|sp| sp.takes_exceptions = false)
            .script(|sp| {
                if sp.vcpu == 1 {
                    pass_on(0x8003)(sp);
                }
                sp.msg_wait();
                sp.trap(0);
            }),
        PartitionSpec::new("up2").script(pass_on(0x8003)),
    ]);
    system.turn_on(1);
    assert_eq!(system.pe(1).request(0x8001, [0; 5]).function(), INTERRUPT);
    assert_eq!(system.nwd().request(0x8002, [0; 5]).error(), Some(ABORTED));
    power_off(system.pe(1));
    let answer = system.nwd().call([RUN, 0x8001_0000]);
    assert_eq!(answer.payload()[..2], [u64::MAX, ABORTED as u64]);
    assert_eq!(system.nwd().request(0x8003, [0; 5]).function(), INTERRUPT);
}

// req: MSGW-15
#[test]
fn one_that_yielded_to_a_pe_that_goes_off_is_seen_to_its_end() {
    let system = System::boot([
        PartitionSpec::new("mp").vcpus(2).script(|sp| {
            sp.serve(|sp, _| [sp.call([DIRECT_REQ_64, 0x8001_8002]).function(), 0, 0, 0, 0])
        }),
        PartitionSpec::new("up").script(|sp| {
            sp.serve(|sp, _| {
                sp.call([YIELD]);
                [5; 5]
            })
        }),
    ]);
    system.turn_on(1);
    assert_eq!(system.pe(1).ask(0x8001, [0; 5])[0], YIELD);
    system.nwd().refused([RUN, 0x8002_0000], DENIED);
    power_off(system.pe(1));
    assert_eq!(
        system.nwd().call([RUN, 0x8002_0000]).0[..2],
        [MSG_WAIT, 0x8002_0000]
    );
    assert_eq!(system.nwd().request(0x8002, [0; 5]).function(), YIELD);
    assert_eq!(system.nwd().call([RUN, 0x8002_0000]).payload(), [5; 5]);
}

// The rest of a chain may give the PE back before it is done. The PE then goes to the context that
// waits for the rest now.
// req: MSGW-15, MSGW-16, RUN-23
#[test]
fn the_rest_of_a_chain_may_yield_to_the_heir_of_who_called_it() {
    const RUN_UP2: [u64; 2] = [RUN, 0x8003_0000];
    let up = PartitionSpec::new("up").script(|sp| {
        sp.serve(|sp, _| {
            let answer = sp.call([DIRECT_REQ_64, 0x8001_8002]);
            assert_eq!(answer.0[..2], [YIELD, 0x8003_0000], "{answer:?}");
            let answer = sp.call(RUN_UP2);
            [answer.error().map_or(0, |code| code as u64), 0, 0, 0, 0]
        })
    });
    let mp = PartitionSpec::new("mp").vcpus(2).script(pass_on(0x8003));
    let up2 = PartitionSpec::new("up2").script(|sp| {
        sp.serve(|sp, request| {
            sp.interrupt();
            assert_eq!(sp.call([YIELD]).function(), SUCCESS_32);
            request.payload()
        })
    });
    let system = System::boot([up, mp, up2]);
    system.turn_on(1);
    assert_eq!(system.pe(1).request(0x8001, [0; 5]).function(), INTERRUPT);
    power_off(system.pe(1));
    // The request of mp, whose context is gone, is aborted only when the rest is done.
    let answer = system.nwd().call([RUN, 0x8001_0000]);
    assert_eq!(answer.payload()[0], ABORTED as u64);
}

/// Boots a chain of a partition that moves and a partition that works for it on PE 1. Returns the
/// meeting that the second one attends: in a request if it is told to, and in each new life.
fn meets() -> (System, Meeting) {
    let meeting = Meeting::new();
    let (there, lives) = (meeting.clone(), AtomicU64::new(0));
    let pinned = PartitionSpec::new("pinned").vcpus(2).script(move |sp| {
        if sp.vcpu == 1 && lives.fetch_add(1, SeqCst) > 0 {
            there.attend();
        }
        sp.serve(|sp, request| {
            if request.0[3] == 1 {
                there.attend();
            } else {
                sp.interrupt();
            }
            request.payload()
        })
    });
    let moves = PartitionSpec::new("moves").script(|sp| {
        sp.serve(|sp, request| {
            let answer = sp.call([DIRECT_REQ_64, 0x8001_8002, 0, request.0[3]]);
            let code = answer.error().map_or(0, |code| code as u64);
            [answer.function(), code, 0, 0, 0]
        })
    });
    let system = System::boot([moves, pinned]);
    system.turn_on(1);
    (system, meeting)
}

// req: MSGW-14, RUN-22
#[test]
fn a_chain_that_runs_is_busy() {
    let (system, meeting) = meets();
    thread::scope(|scope| {
        let running = scope.spawn(|| system.pe(1).ask(0x8001, [1; 5]));
        let answer = meeting.hold(|| system.nwd().call([RUN, 0x8001_0000]));
        assert_eq!(answer.error(), Some(BUSY));
        assert_eq!(running.join().unwrap()[0], DIRECT_RESP_64);
    });
}

// The context works for nobody in its new life, so nobody has to wait for it.
// req: MSGW-15, RUN-21
#[test]
fn a_chain_goes_on_while_its_end_begins_anew() {
    let (system, meeting) = meets();
    let pe = system.pe(1);
    assert_eq!(pe.request(0x8001, [0; 5]).function(), INTERRUPT);
    power_off(pe);
    thread::scope(|scope| {
        let begins = scope.spawn(|| system.turn_on(1));
        let answer = meeting.hold(|| system.nwd().call([RUN, 0x8001_0000]));
        assert_eq!(answer.payload()[..2], [ERROR, ABORTED as u64]);
        assert_eq!(begins.join().unwrap().function(), MSG_WAIT);
    });
}
