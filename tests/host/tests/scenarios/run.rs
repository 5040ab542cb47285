//! MSGW and RUN: `FFA_MSG_WAIT`, `FFA_RUN`, preemption, states of execution contexts.

use host_tests::ffa::*;
use host_tests::{PartitionSpec, Sp, System};

use super::interrupts::{DEACTIVATE, ENABLE, GET, LINE, with_device};

// req: MSGW-01, MSGW-04, MSGW-05, MSGW-12, MSGW-18, GEN-25, MODEL-12
#[test]
fn run_gives_cycles_to_a_waiting_partition() {
    let system = System::boot([PartitionSpec::new("sp1").script(|sp| {
        for _ in 0..3 {
            let message = sp.msg_wait();
            assert_eq!(message.0[..8], [RUN, 0x8001_0000, 0, 0, 0, 0, 0, 0]);
        }
        sp.msg_wait();
    })]);
    for _ in 0..3 {
        let answer = system.nwd().call([RUN, 0x8001_0000]);
        assert_eq!(answer.0[..8], [MSG_WAIT, 0x8001_0000, 0, 0, 0, 0, 0, 0]);
    }
}

// req: MSGW-11, MSGW-13, MSGW-19
#[test]
fn bad_arguments_of_run() {
    let system = System::boot([PartitionSpec::new("up"), PartitionSpec::new("mp").vcpus(4)]);
    let nwd = system.nwd();
    for target in [
        0x8003_0000, // nobody
        0x8000_0000,
        0xffff_0000,
        0x0000_0000,
        0x0001_0000, // a VM
        0x8001_0001, // no such context
        0x8002_0004,
        0x8002_ffff,
        0x8002_0001, // pinned to another PE
    ] {
        nwd.refused([RUN, target], INVALID_PARAMETERS);
    }
    system.pe(1).refused([RUN, 0x8002_0000], INVALID_PARAMETERS);
    // The PE of the context is off.
    system.pe(1).refused([RUN, 0x8002_0001], BUSY);
}

// req: MSGW-07, MSGW-01
#[test]
fn bad_arguments_of_msg_wait() {
    let script = |version: u64| {
        move |sp: &mut Sp| {
            sp.call([VERSION, version]);
            for n in 1..8 {
                let mut call = [MSG_WAIT, 0, 0, 0, 0, 0, 0, 0];
                call[n] = 1;
                if n != 2 || version < V1_2 {
                    sp.refused(call, INVALID_PARAMETERS);
                }
            }
            // From 1.2 on w2 has a flag; the other bits are ignored.
            if version >= V1_2 {
                let request = sp.call([MSG_WAIT, 0, 0xffff_fffe]);
                sp.respond(&request, [1; 5]);
            }
            sp.serve(|_, _| [1; 5])
        }
    };
    for version in [V1_0, V1_1, V1_2] {
        let system = System::boot([PartitionSpec::new("sp1").script(script(version))]);
        assert_eq!(system.nwd().ask(0x8001, [0; 5]), [1; 5]);
    }
}

// req: COMP-11, COMP-18, MSGW-09, MSGW-10, MSGW-15, MODEL-10, MODEL-11
#[test]
fn partitions_run_nobody() {
    System::boot([
        PartitionSpec::new("old").version(0).script(|sp| {
            sp.refused([RUN, 0x8002_0000], NOT_SUPPORTED);
            sp.refused([YIELD], NOT_SUPPORTED);
            sp.msg_wait();
        }),
        PartitionSpec::new("new").version(1).script(|sp| {
            sp.refused([RUN, 0x8001_0000], DENIED);
            sp.refused([RUN, 0x8001_0001], INVALID_PARAMETERS);
            sp.refused([RUN, 0x8009_0000], INVALID_PARAMETERS);
            sp.refused([RUN, 0], INVALID_PARAMETERS);
            // Itself.
            sp.refused([RUN, 0x8002_0000], DENIED);
            sp.msg_wait();
        }),
    ]);
}

// req: INT-01, INT-02, MSGW-20, RUN-19, RUN-21, RUN-22, STAT-04, SINT-12
#[test]
fn an_interrupt_stops_the_whole_chain_and_run_resumes_it_at_its_end() {
    let system = System::boot([
        PartitionSpec::new("sp1").script(|sp| {
            sp.serve(|sp, request| {
                sp.call([DIRECT_REQ_64, 0x8001_8002, 0, request.0[3] * 2])
                    .payload()
            })
        }),
        PartitionSpec::new("sp2").script(|sp| {
            sp.serve(|sp, request| {
                let preempted = sp.interrupt() && sp.interrupt();
                [request.0[3] + 1, preempted.into(), 0, 0, 0]
            })
        }),
    ]);
    let nwd = system.nwd();
    let mut answer = nwd.request(0x8001, [20, 0, 0, 0, 0]);
    for _ in 0..2 {
        // FFA_INTERRUPT names the partition that the Normal world called.
        assert_eq!(answer.0[..8], [INTERRUPT, 0x8001_0000, 0, 0, 0, 0, 0, 0]);
        nwd.refused([DIRECT_REQ_64, 0x8001], BUSY);
        nwd.refused([DIRECT_REQ_64, 0x8002], BUSY);
        // The Normal world cannot run the partition that was interrupted.
        nwd.refused([RUN, 0x8002_0000], DENIED);
        answer = nwd.call([RUN, answer.0[1]]);
    }
    assert_eq!(answer.0[..5], [DIRECT_RESP_64, 0x8001_0000, 0, 41, 1]);
}

// req: RUN-23, GEN-19, RUN-20
#[test]
fn a_preempted_up_partition_is_resumed_on_another_pe() {
    let system = System::boot([PartitionSpec::new("sp1").script(|sp| {
        sp.serve(|sp, _| {
            let before = sp.pe() as u64;
            sp.interrupt();
            [before, sp.pe() as u64, 0, 0, 0]
        })
    })]);
    assert_eq!(system.pe(1).request(0x8001, [0; 5]).function(), INTERRUPT);
    let answer = system.pe(3).call([RUN, 0x8001_0000]);
    assert_eq!(answer.function(), DIRECT_RESP_64);
    assert_eq!(answer.payload()[..2], [1, 3]);
}

// req: MSGW-12, RUN-19
#[test]
fn a_partition_that_was_given_cycles_is_resumed_too() {
    let system = System::boot([PartitionSpec::new("sp1").script(|sp| {
        let message = sp.msg_wait();
        assert_eq!(message.function(), RUN);
        assert!(sp.interrupt());
        sp.msg_wait();
    })]);
    let nwd = system.nwd();
    assert_eq!(
        nwd.call([RUN, 0x8001_0000]).0[..2],
        [INTERRUPT, 0x8001_0000]
    );
    nwd.refused([DIRECT_REQ_64, 0x8001], BUSY);
    assert_eq!(nwd.call([RUN, 0x8001_0000]).0[..2], [MSG_WAIT, 0x8001_0000]);
}

// req: INT-03, INT-10, ME-09, SINT-11, SINT-14
#[test]
fn queued_interrupts_wait_for_the_whole_chain() {
    let system = System::boot([
        PartitionSpec::new("queued")
            .with(|sp| sp.ns_interrupts = 0)
            .script(|sp| {
                sp.serve(|sp, _| {
                    assert!(!sp.interrupt());
                    sp.call([DIRECT_REQ_64, 0x8001_8002]).payload()
                })
            }),
        PartitionSpec::new("signaled")
            .script(|sp| sp.serve(|sp, _| [sp.interrupt().into(), 0, 0, 0, 0])),
    ]);
    let nwd = system.nwd();
    assert_eq!(nwd.ask(0x8001, [0; 5])[0], 0);
    // Called directly, the partition is preempted.
    assert_eq!(nwd.request(0x8002, [0; 5]).function(), INTERRUPT);
    assert_eq!(nwd.call([RUN, 0x8002_0000]).0[3], 1);
}

// req: RUN-17, MSGW-15, MODEL-03
#[test]
fn a_partition_that_only_got_cycles_may_send_requests() {
    let system = System::boot([
        PartitionSpec::new("sp1").script(|sp| {
            sp.msg_wait();
            let answer = sp.call([DIRECT_REQ_64, 0x8001_8002, 0, 8]);
            assert_eq!(answer.0[3], 8);
            sp.refused([DIRECT_RESP_64, 0x8001_0000], DENIED);
            sp.msg_wait();
        }),
        PartitionSpec::new("sp2"),
    ]);
    assert_eq!(system.nwd().call([RUN, 0x8001_0000]).function(), MSG_WAIT);
}

// req: MSGW-18
#[test]
fn nothing_to_do_after_run_reads_as_msg_wait() {
    let system = System::boot([PartitionSpec::new("sp1").script(|sp| {
        sp.msg_wait();
        loop {
            sp.call([ERROR, 0, 0xffff_fffe]);
        }
    })]);
    for _ in 0..2 {
        assert_eq!(
            system.nwd().call([RUN, 0x8001_0000]).0[..2],
            [MSG_WAIT, 0x8001_0000]
        );
    }
}

// req: MSGW-15, RUN-21
#[test]
fn the_chain_of_an_interrupted_partition_that_failed_can_go_on() {
    let system = System::boot([
        PartitionSpec::new("sp1").script(|sp| {
            sp.serve(|sp, _| {
                let answer = sp.call([DIRECT_REQ_64, 0x8001_8002]);
                [answer.error().map_or(0, |code| code as u64), 0, 0, 0, 0]
            })
        }),
        PartitionSpec::new("sp2")
            .vcpus(2)
            .with(|sp| sp.takes_exceptions = false)
            .script(|sp| {
                sp.serve(|sp, _| {
                    if sp.vcpu == 0 {
                        sp.interrupt();
                    } else {
                        sp.trap(0);
                    }
                    [1; 5]
                })
            }),
    ]);
    system.turn_on(1);
    assert_eq!(system.nwd().request(0x8001, [0; 5]).function(), INTERRUPT);
    // Another context of the callee fails, and with it the partition.
    assert_eq!(system.pe(1).request(0x8002, [0; 5]).error(), Some(ABORTED));
    let answer = system.nwd().call([RUN, 0x8001_0000]);
    assert_eq!(
        (answer.function(), answer.0[3]),
        (DIRECT_RESP_64, ABORTED as u64)
    );
}

// req: MSGW-16, MSGD-08, RUN-22
#[test]
fn a_partition_outlives_an_interrupted_chain_whose_other_members_failed() {
    // The caller is the Normal world, or sp1 on its behalf.
    for direct in [true, false] {
        let system = System::boot([
            PartitionSpec::new("sp1").script(|sp| {
                sp.serve(|sp, _| {
                    let answer = sp.call([DIRECT_REQ_64, 0x8001_8002]);
                    [answer.error().map_or(0, |code| code as u64), 0, 0, 0, 0]
                })
            }),
            PartitionSpec::new("sp2")
                .vcpus(2)
                .with(|sp| sp.takes_exceptions = false)
                .script(|sp| {
                    sp.serve(|sp, _| {
                        if sp.vcpu == 0 {
                            sp.call([DIRECT_REQ_64, 0x8002_8003]);
                        } else {
                            sp.trap(0);
                        }
                        [1; 5]
                    })
                }),
            PartitionSpec::new("sp3").script(|sp| {
                sp.serve(|sp, _| [sp.interrupt().into(), 0, 0, 0, 0]);
            }),
        ]);
        system.turn_on(1);
        let nwd = system.nwd();
        let root = if direct { 0x8002 } else { 0x8001 };
        let preempted = nwd.request(root, [0; 5]);
        assert_eq!(preempted.function(), INTERRUPT);
        // Another context of sp2 fails, and with it the partition, which waits for sp3.
        assert_eq!(system.pe(1).request(0x8002, [0; 5]).error(), Some(ABORTED));

        let answer = nwd.call([RUN, preempted.0[1]]);
        if direct {
            assert_eq!(answer.error(), Some(ABORTED));
        } else {
            assert_eq!(
                (answer.function(), answer.0[3]),
                (DIRECT_RESP_64, ABORTED as u64)
            );
        }
        // sp3 has completed its work meanwhile and accepts another request.
        assert_eq!(nwd.request(0x8003, [0; 5]).function(), INTERRUPT);
        assert_eq!(nwd.call([RUN, 0x8003_0000]).payload()[0], 1);
        nwd.refused([RUN, 0x8002_0000], ABORTED);
    }
}

// req: MSGW-15, RUN-21
#[test]
fn the_chain_of_an_interrupted_partition_whose_pe_was_turned_off_can_go_on() {
    let system = System::boot([
        PartitionSpec::new("sp1").script(|sp| {
            sp.serve(|sp, _| {
                let answer = sp.call([DIRECT_REQ_64, 0x8001_8002]);
                [answer.error().map_or(0, |code| code as u64), 0, 0, 0, 0]
            })
        }),
        PartitionSpec::new("sp2").vcpus(2).script(|sp| {
            sp.serve(|sp, _| {
                sp.interrupt();
                [0; 5]
            })
        }),
    ]);
    system.turn_on(1);
    let pe = system.pe(1);
    // sp1 continues there when the PE is on again, or meanwhile on another PE.
    for goes_on in [1, 0] {
        assert_eq!(pe.request(0x8001, [0; 5]).function(), INTERRUPT);
        // PSCI_CPU_OFF from the SPMD: the context of sp2 starts again when the PE comes back, and
        // its work for sp1 is lost.
        pe.call([DIRECT_REQ_32, 0xffff_8000, 0x8000_0000, 0x8400_0002]);
        if goes_on == 1 {
            system.turn_on(1);
        }
        let answer = system.pe(goes_on).call([RUN, 0x8001_0000]);
        assert_eq!(
            (answer.function(), answer.0[3]),
            (DIRECT_RESP_64, ABORTED as u64)
        );
    }
    system.turn_on(1);
    assert_eq!(pe.request(0x8002, [0; 5]).function(), INTERRUPT);
}

// The partition ends its work with an error, and has not seen its interrupt.
// req: INT-05
#[test]
fn who_ends_with_an_error_is_run_for_its_interrupts() {
    let spec = with_device(PartitionSpec::new("sp1"), &[LINE], &[]);
    let system = System::boot([spec.script(|sp| {
        assert_eq!(sp.call([ENABLE, LINE.into(), 1, 0]).0[0], 0);
        sp.msg_wait();
        sp.gic(|gic| gic.pulse(LINE));
        sp.poll();
        let next = sp.call([ERROR, 0, 0xffff_fffe]);
        assert_eq!(next.0[..3], [INTERRUPT, 0, LINE.into()]);
        assert_eq!(sp.call([GET]).0[0], LINE.into());
        assert_eq!(sp.call([DEACTIVATE, LINE.into(), LINE.into()]).0[0], 0);
        sp.msg_wait();
    })]);
    let nwd = system.nwd();
    assert_eq!(nwd.request(0x8001, [0; 5]).function(), ERROR);
    assert!(system.machine.gic().has_interrupt(0));
    nwd.call([INTERRUPT]);
    assert!(!system.machine.gic().is_active(LINE));
}

// req: MSGW-11, MSGW-13
#[test]
fn a_pe_beyond_the_contexts_of_a_partition_runs_none() {
    let system = System::boot([PartitionSpec::new("mp").vcpus(2)]);
    for pe in 2..4 {
        let target = 0x8001_0000 | pe as u64;
        system.pe(pe).refused([RUN, target], INVALID_PARAMETERS);
        let request = [DIRECT_REQ_64, 0x8001];
        system.pe(pe).refused(request, INVALID_PARAMETERS);
    }
}

// A reserved register is checked before the run-time model.
// req: MSGD-15, MSGD-16
#[test]
fn a_response_to_nothing_with_a_reserved_register() {
    let system = System::boot([PartitionSpec::new("sp1").script(|sp| {
        for _ in 0..2 {
            for w2 in [1, 0x8000_0002, 0x8000_0005] {
                sp.refused([DIRECT_RESP_64, 0x8001_0000, w2], INVALID_PARAMETERS);
            }
            sp.refused([DIRECT_RESP_64, 0x8001_0000], DENIED);
            sp.msg_wait();
        }
    })]);
    let answer = system.nwd().call([RUN, 0x8001_0000]);
    assert_eq!(answer.function(), MSG_WAIT);
}
