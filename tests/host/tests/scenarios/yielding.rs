//! `FFA_YIELD`, and `FFA_RUN` by partitions on those that yielded to them (v1.1 section 8.2 to 8.5;
//! v1.2 section 14.3).

use host_tests::ffa::*;
use host_tests::{PartitionSpec, Sp, System};

use super::interrupts::{DEACTIVATE, ENABLE, GET, LINE, with_device};

/// Yields once, then answers with the payload plus one. FFA_YIELD ends with FFA_SUCCESS.
fn yield_once(sp: &mut Sp) {
    sp.serve(|sp, request| {
        sp.regs[8..].fill(77);
        let go_on = sp.call([YIELD, 0, 0x1234_5678, 9]);
        assert_eq!(go_on.success(), [0; 6]);
        assert_eq!(sp.regs[18..], [77; 13]);
        request.payload().map(|word| word + 1)
    })
}

// req: MSGW-09, MSGW-10, MSGW-18, MSGW-20, RUN-18, MODEL-06, MODEL-13, MODEL-16, MODEL-17, MODEL-18
#[test]
fn the_normal_world_gets_the_pe_back_and_runs_the_partition_again() {
    let system = System::boot([PartitionSpec::new("sp1").script(yield_once)]);
    for (first, second) in [(0, 0), (1, 3)] {
        let answer = system.pe(first).request(0x8001, [6; 5]);
        let time = [0x1234_5678, 9];
        assert_eq!(
            answer.0[..8],
            [YIELD, 0x8001_0000, time[0], time[1], 0, 0, 0, 0]
        );
        // The partition is still busy.
        system.pe(first).refused([DIRECT_REQ_64, 0x8001], BUSY);
        let answer = system.pe(second).call([RUN, answer.0[1]]);
        assert_eq!(answer.0[..3], [DIRECT_RESP_64, 0x8001_0000, 0]);
        assert_eq!(answer.payload(), [7; 5]);
    }
}

// req: MSGW-10, MSGW-18, RUN-19, MODEL-03, MODEL-18
#[test]
fn a_partition_yields_the_cycles_of_run() {
    let system = System::boot([PartitionSpec::new("sp1").script(|sp| {
        sp.msg_wait();
        loop {
            sp.call([YIELD]).success();
            // A preemption in between changes nothing.
            assert!(sp.interrupt());
            sp.call([YIELD]).success();
            sp.msg_wait();
        }
    })]);
    let nwd = system.nwd();
    for expected in [YIELD, INTERRUPT, YIELD, MSG_WAIT] {
        assert_eq!(nwd.call([RUN, 0x8001_0000]).0[..2], [expected, 0x8001_0000]);
    }
    assert_eq!(nwd.call([RUN, 0x8001_0000]).function(), YIELD);
}
// req: MODEL-19
#[test]
fn yielding_in_a_handler_of_interrupts_changes_nothing() {
    let owner = with_device(PartitionSpec::new("owner"), &[LINE], &[]);
    let system = System::boot([owner.script(move |sp| {
        assert_eq!(sp.call([ENABLE, LINE.into(), 1, 0]).0[0], 0);
        let mut handled = 0;
        let mut next = sp.msg_wait();
        loop {
            next = if next.function() == INTERRUPT {
                let id = sp.call([GET]).0[0];
                sp.gic(|gic| gic.set_level(LINE, false));
                assert_eq!(sp.call([YIELD, 0, 1000, 0]).success(), [0; 6]);
                assert_eq!(sp.call([DEACTIVATE, id, id]).0[0], 0);
                handled += 1;
                sp.msg_wait()
            } else {
                sp.respond(&next, [handled, 0, 0, 0, 0])
            };
        }
    })]);
    let nwd = system.nwd();
    for round in 1..3 {
        system.machine.gic().set_level(LINE, true);
        assert_eq!(nwd.call([INTERRUPT]).function(), NORMAL_WORLD_RESUME);
        assert_eq!(nwd.ask(0x8001, [0; 5])[0], round);
    }
}
// req: MSGW-10, INT-08
#[test]
fn an_interrupt_is_there_when_who_yielded_goes_on() {
    let owner = with_device(PartitionSpec::new("owner"), &[LINE], &[]);
    let system = System::boot([owner.script(move |sp| {
        assert_eq!(sp.call([ENABLE, LINE.into(), 1, 0]).0[0], 0);
        sp.serve(move |sp, _| {
            sp.call([YIELD, 0, 1000, 0]).success();
            let (irq, fiq) = sp.signals();
            let id = sp.call([GET]).0[0];
            sp.gic(|gic| gic.set_level(LINE, false));
            let done = sp.call([DEACTIVATE, id, id]).0[0];
            [irq.into(), fiq.into(), id, done, 0]
        })
    })]);
    let nwd = system.nwd();
    for _ in 0..3 {
        assert_eq!(nwd.request(0x8001, [0; 5]).function(), YIELD);
        system.machine.gic().set_level(LINE, true);
        assert_eq!(nwd.call([INTERRUPT]).function(), NORMAL_WORLD_RESUME);
        let answer = nwd.call([RUN, 0x8001_0000]);
        assert_eq!(answer.function(), DIRECT_RESP_64, "{answer:?}");
        assert_eq!(answer.payload(), [1, 0, LINE.into(), 0, 0]);
    }
}

// req: MSGW-09, MSGW-10, MODEL-01, MODEL-05, MODEL-15, MODEL-20
#[test]
fn when_yielding_is_refused() {
    let system = System::boot([
        PartitionSpec::new("1.0").version(0).script(|sp| {
            sp.refused([YIELD], NOT_SUPPORTED);
            sp.refused([FEATURES, YIELD], NOT_SUPPORTED);
            sp.msg_wait();
        }),
        PartitionSpec::new("1.1").version(1).script(|sp| {
            sp.refused([YIELD], DENIED);
            sp.call([FEATURES, YIELD]).success();
            sp.msg_wait();
            // With cycles of FFA_RUN only, the partition may yield.
            sp.call([YIELD]);
            let request = sp.msg_wait();
            sp.refused([YIELD], DENIED);
            sp.respond(&request, [1; 5]);
        }),
        PartitionSpec::new("1.2").script(|sp| {
            // There is nobody to whom the partition could yield.
            sp.refused([YIELD], DENIED);
            sp.serve(|sp, _| {
                for n in 4..8 {
                    let mut call = [YIELD, 0, 0, 0, 0, 0, 0, 0];
                    call[n] = 1;
                    sp.refused(call, INVALID_PARAMETERS);
                }
                [2; 5]
            })
        }),
    ]);
    let nwd = system.nwd();
    assert_eq!(nwd.call([RUN, 0x8002_0000]).function(), YIELD);
    assert_eq!(nwd.call([RUN, 0x8002_0000]).function(), MSG_WAIT);
    assert_eq!(nwd.ask(0x8002, [0; 5]), [1; 5]);
    assert_eq!(nwd.ask(0x8003, [0; 5]), [2; 5]);
    // The Normal world has nobody to whom it could yield.
    nwd.refused([YIELD], NOT_SUPPORTED);
    nwd.refused([FEATURES, YIELD], NOT_SUPPORTED);
}

// req: MSGW-10, MSGW-11, MSGW-12, MSGW-15, RUN-17, MODEL-04, MODEL-09, MODEL-10, MODEL-14, MODEL-16
#[test]
fn a_partition_runs_whom_it_asked_and_who_yielded() {
    let system = System::boot([
        PartitionSpec::new("sp1").script(|sp| {
            sp.serve(|sp, request| {
                let answer = sp.call([DIRECT_REQ_64, 0x8001_8002, 0, request.0[3]]);
                assert_eq!(
                    answer.0[..8],
                    [YIELD, 0x8002_0000, 0x1234_5678, 9, 0, 0, 0, 0]
                );
                sp.refused([DIRECT_REQ_64, 0x8001_8002], BUSY);
                // Waiting contexts are for messages, not for FFA_RUN.
                sp.refused([RUN, 0x8003_0000], DENIED);
                sp.refused([RUN, 0x8002_0001], INVALID_PARAMETERS);
                let answer = sp.call([RUN, 0x8002_0000]);
                assert_eq!(answer.0[..3], [DIRECT_RESP_64, 0x8002_8001, 0]);
                answer.payload()
            })
        }),
        PartitionSpec::new("sp2").script(yield_once),
        PartitionSpec::new("sp3").script(|sp| {
            sp.serve(|sp, _| {
                // This partition may not run it.
                sp.refused([RUN, 0x8002_0000], DENIED);
                [0; 5]
            })
        }),
    ]);
    assert_eq!(system.nwd().ask(0x8001, [4, 0, 0, 0, 0])[0], 5);
    assert_eq!(system.pe(2).ask(0x8001, [9, 0, 0, 0, 0])[0], 10);
}

// The former caller of a partition has no influence on that.
// req: MSGW-10, MSGW-15, RUN-19, MODEL-09
#[test]
fn who_has_cycles_of_the_normal_world_yields_to_that() {
    let system = System::boot([
        PartitionSpec::new("sp1").script(|sp| {
            sp.serve(|sp, request| {
                let answer = sp.call([DIRECT_REQ_64, 0x8001_8002]);
                assert_eq!(answer.function(), DIRECT_RESP_64);
                // The partition waits, and this one may not run it any more.
                sp.refused([RUN, 0x8002_0000], DENIED);
                request.payload()
            })
        }),
        PartitionSpec::new("sp2").script(|sp| {
            let request = sp.msg_wait();
            sp.respond(&request, [0; 5]);
            sp.call([YIELD]).success();
            sp.msg_wait();
        }),
    ]);
    let nwd = system.nwd();
    nwd.ask(0x8001, [0; 5]);
    for expected in [YIELD, MSG_WAIT] {
        assert_eq!(nwd.call([RUN, 0x8002_0000]).function(), expected);
    }
}

// req: MSGW-15, RUN-19, MODEL-09, MODEL-16
#[test]
fn only_the_one_who_was_yielded_to_goes_on() {
    let system = System::boot([
        PartitionSpec::new("sp1").script(|sp| {
            sp.serve(|sp, request| match request.0[3] {
                0 => {
                    let answer = sp.call([DIRECT_REQ_64, 0x8001_8002]);
                    [answer.function(), 0, 0, 0, 0]
                }
                _ => sp.call([RUN, 0x8002_0000]).payload(),
            })
        }),
        PartitionSpec::new("sp2").script(yield_once),
        PartitionSpec::new("sp3").script(|sp| {
            sp.serve(|sp, _| {
                sp.refused([RUN, 0x8002_0000], DENIED);
                sp.refused([DIRECT_REQ_64, 0x8003_8002], BUSY);
                [3; 5]
            })
        }),
    ]);
    let nwd = system.nwd();
    assert_eq!(nwd.ask(0x8001, [0; 5])[0], YIELD);
    nwd.refused([RUN, 0x8002_0000], DENIED);
    assert_eq!(nwd.ask(0x8003, [0; 5]), [3; 5]);
    // sp1 runs sp2 from another PE, in another request.
    assert_eq!(system.pe(1).ask(0x8001, [1; 5])[1..], [1; 4]);
    assert_eq!(nwd.call([RUN, 0x8002_0000]).function(), MSG_WAIT);
}

// req: INT-01, MSGW-12, RUN-22
#[test]
fn a_chain_that_goes_on_after_yielding_is_preempted_as_a_whole() {
    let system = System::boot([
        PartitionSpec::new("sp1").script(|sp| {
            sp.serve(|sp, _| {
                sp.call([DIRECT_REQ_64, 0x8001_8002]);
                sp.call([RUN, 0x8002_0000]).payload()
            })
        }),
        PartitionSpec::new("sp2").script(|sp| {
            sp.serve(|sp, _| {
                sp.call([YIELD]);
                assert!(sp.interrupt());
                [8; 5]
            })
        }),
    ]);
    let nwd = system.nwd();
    let answer = nwd.request(0x8001, [0; 5]);
    assert_eq!(answer.0[..2], [INTERRUPT, 0x8001_0000]);
    nwd.refused([RUN, 0x8002_0000], DENIED);
    assert_eq!(system.pe(3).call([RUN, 0x8001_0000]).payload(), [8; 5]);
}

// req: MSGW-16, MSGD-08
#[test]
fn nobody_waits_for_ever_for_one_that_failed() {
    let system = System::boot([
        PartitionSpec::new("sp1")
            .with(|sp| sp.takes_exceptions = false)
            .script(|sp| {
                sp.serve(|sp, _| {
                    assert_eq!(sp.call([DIRECT_REQ_64, 0x8001_8002]).function(), YIELD);
                    sp.trap(0);
                    unreachable!("it cannot take it");
                })
            }),
        PartitionSpec::new("sp2").script(yield_once),
        PartitionSpec::new("sp3").script(|sp| {
            sp.serve(|sp, _| {
                let answer = sp.call([DIRECT_REQ_64, 0x8003_8004]);
                assert_eq!(answer.function(), YIELD);
                sp.call([RUN, 0x8004_0000]);
                sp.refused([RUN, 0x8004_0000], ABORTED);
                [4; 5]
            })
        }),
        PartitionSpec::new("sp4")
            .with(|sp| sp.takes_exceptions = false)
            .script(|sp| {
                sp.serve(|sp, _| {
                    sp.call([YIELD]);
                    sp.trap(0);
                    unreachable!("it cannot take it");
                })
            }),
    ]);
    let nwd = system.nwd();
    assert_eq!(nwd.request(0x8001, [0; 5]).error(), Some(ABORTED));
    // sp2 yielded to a partition that is gone: the Normal world runs it to its end.
    nwd.refused([DIRECT_REQ_64, 0x8002], BUSY);
    assert_eq!(
        nwd.call([RUN, 0x8002_0000]).0[..8],
        [MSG_WAIT, 0x8002_0000, 0, 0, 0, 0, 0, 0]
    );
    assert_eq!(nwd.request(0x8002, [0; 5]).function(), YIELD);
    // A partition that fails after it yielded and was run.
    assert_eq!(nwd.ask(0x8003, [0; 5]), [4; 5]);
}

// req: BOOT-18, MODEL-01
#[test]
fn who_initialises_cannot_run_one_that_yielded_to_it() {
    let second = PartitionSpec::new("second")
        .with(|spec| spec.boot_order = Some(1))
        .script(|sp| {
            let answer = sp.call([DIRECT_REQ_64, 0x8001_8002]);
            assert_eq!(answer.function(), YIELD, "{answer:?}");
            sp.refused([RUN, 0x8002_0000], DENIED);
            sp.serve(|sp, _| {
                // Now this partition may run it.
                assert_eq!(sp.call([RUN, 0x8002_0000]).function(), DIRECT_RESP_64);
                [7; 5]
            })
        });
    let first = PartitionSpec::new("first")
        .with(|spec| spec.boot_order = Some(0))
        .script(|sp| {
            sp.serve(|sp, request| {
                sp.call([YIELD]);
                request.payload()
            })
        });
    let system = System::boot([second, first]);
    assert_eq!(system.nwd().ask(0x8001, [0; 5]), [7; 5]);
}
