//! MSGD: direct messages.

use host_tests::ffa::*;
use host_tests::{PartitionSpec, Sp, System};

const PAYLOAD: [u64; 5] = [0x1111_2222_3333_4444, u64::MAX, 0, 0x8000_0000, 5];
const PAYLOAD_32: [u64; 5] = [0x3333_4444, 0xffff_ffff, 0, 0x8000_0000, 5];

fn echo(sp: &mut Sp) {
    sp.serve(|_, request| request.payload());
}

/// Passes requests on to 0x8002 and passes the answer back. x3 of the answer shows how the request
/// ended if there was no response.
fn relay(sp: &mut Sp) {
    sp.serve(|sp, request| {
        let [a, b, c, d, e] = request.payload();
        let answer = sp.call([DIRECT_REQ_64, 0x8001_8002, 0, a, b, c, d, e]);
        if answer.function() == DIRECT_RESP_64 {
            assert_eq!(answer.0[1..3], [0x8002_8001, 0]);
            answer.payload()
        } else {
            [
                answer.function(),
                answer.error().map_or(0, |code| code as u64),
                0,
                0,
                0,
            ]
        }
    });
}

// req: MSGD-01, MSGD-02, MSGD-11, MSGD-12, MSGD-14, MSGD-22, RUN-08, RUN-05
#[test]
fn requests_and_responses_carry_their_registers_unchanged() {
    let system = System::boot([PartitionSpec::new("sp1").script(|sp| {
        let request = sp.msg_wait();
        assert_eq!(request.0[..3], [DIRECT_REQ_64, 0x8001, 0]);
        assert_eq!(request.payload(), PAYLOAD);
        let request = sp.respond(&request, PAYLOAD.map(|x| !x));
        assert_eq!(request.0[..3], [DIRECT_REQ_32, 0x0003_8001, 0]);
        assert_eq!(request.payload(), PAYLOAD_32);
        sp.call([DIRECT_RESP_32, 0x8001_0003, 0, u64::MAX, 2, 3, 4, 5]);
    })]);
    let nwd = system.nwd();
    assert_eq!(nwd.ask(0x8001, PAYLOAD), PAYLOAD.map(|x| !x));
    // From a VM, in the 32-bit form.
    let [a, b, c, d, e] = PAYLOAD;
    let answer = nwd.call([DIRECT_REQ_32, 0x0003_8001, 0, a, b, c, d, e]);
    assert_eq!(
        answer.0[..8],
        [DIRECT_RESP_32, 0x8001_0003, 0, 0xffff_ffff, 2, 3, 4, 5]
    );
}

// req: MSGD-18, MSGD-12, MSGW-03
#[test]
fn a_response_completes_with_the_next_request() {
    let system = System::boot([PartitionSpec::new("sp1").script(|sp| {
        let mut message = sp.msg_wait();
        for n in 0.. {
            message = sp.respond(&message, [n, message.0[3], 0, 0, 0]);
        }
    })]);
    for n in 0..10 {
        assert_eq!(
            system.nwd().ask(0x8001, [n * 7, 0, 0, 0, 0])[..2],
            [n, n * 7]
        );
    }
}

// req: MSGD-25, BOOT-03
#[test]
fn registers_that_carry_nothing_leak_nothing() {
    let system = System::boot([PartitionSpec::new("sp1").script(|sp| {
        sp.regs[8..].fill(0x5ec2e7);
        let request = sp.msg_wait();
        assert_eq!(sp.regs[8..], [0x5ec2e7; 23], "they are its own");
        sp.regs[8..].fill(0x5ec2e7);
        sp.respond(&request, [0; 5]);
    })]);
    let mut call = host_tests::Regs::new([DIRECT_REQ_64, 0x8001]);
    call.0[8..].fill(0xa5a5);
    assert_eq!(system.nwd().call_with(call).0[8..], [0xa5a5; 10]);
}

// req: MSGD-04, MSGD-05, MSGD-10, RUN-09, RUN-01
#[test]
fn bad_requests_of_the_normal_world() {
    let system = System::boot([PartitionSpec::new("sp1")]);
    let nwd = system.nwd();
    let wrong_ids = [
        0x0000_8002, // no such partition
        0x0000_8009,
        0x0000_8000, // the SPMC
        0x0000_ffff, // the SPMD
        0x0000_0001, // a VM
        0x0000_0000,
        0x8001_8001, // not the caller's own id
        0x8000_8001,
        0x8002_8001,
    ];
    for id in [DIRECT_REQ_32, DIRECT_REQ_64] {
        for ids in wrong_ids {
            nwd.refused([id, ids, 0, 1, 2, 3, 4, 5], INVALID_PARAMETERS);
        }
        for flags in [1, 0x100, 0x7fff_ffff] {
            nwd.refused([id, 0x8001, flags], INVALID_PARAMETERS);
        }
        // A framework message to a partition from a sender that may not send any.
        nwd.refused([id, 0x8001, 1 << 31], INVALID_PARAMETERS);
    }
    assert_eq!(nwd.ask(0x8001, PAYLOAD), PAYLOAD);
}

// req: MSGD-04, MSGD-05, MSGD-21, RUN-10
#[test]
fn bad_requests_of_a_partition() {
    let system = System::boot([
        PartitionSpec::new("sp2").script(echo),
        PartitionSpec::new("sp1").script(|sp| {
            for id in [DIRECT_REQ_32, DIRECT_REQ_64] {
                for ids in [
                    0x8002_8002, // itself
                    0x8001_8001, // in the name of the receiver
                    0x0000_8001, // in the name of the Normal world
                    0x8002_8003, // to nobody
                    0x8002_8000,
                    0x8002_ffff,
                    0x8002_0000, // to the Normal world
                    0x8002_0001,
                ] {
                    sp.refused([id, ids], INVALID_PARAMETERS);
                }
                sp.refused([id, 0x8002_8001, 1], INVALID_PARAMETERS);
                sp.refused([id, 0x8002_8001, 1 << 31], INVALID_PARAMETERS);
            }
            assert_eq!(sp.call([DIRECT_REQ_64, 0x8002_8001, 0, 9]).payload()[0], 9);
            sp.serve(|_, _| [1; 5])
        }),
    ]);
    assert_eq!(system.nwd().ask(0x8002, [0; 5]), [1; 5]);
}

// req: MSGD-03, MSGD-06, RUN-11
#[test]
fn the_manifest_says_who_sends_and_receives_requests() {
    let system = System::boot([
        PartitionSpec::new("receiver")
            .with(|sp| sp.messaging = 1)
            .script(|sp| {
                sp.serve(|sp, _| {
                    sp.refused([DIRECT_REQ_64, 0x8001_8003], DENIED);
                    [0; 5]
                })
            }),
        PartitionSpec::new("sender").with(|sp| sp.messaging = 2),
        PartitionSpec::new("both"),
    ]);
    let nwd = system.nwd();
    nwd.ask(0x8001, [0; 5]);
    nwd.refused([DIRECT_REQ_32, 0x8002], DENIED);
    nwd.ask(0x8003, [0; 5]);
}

// req: MSGD-20, RUN-10, COMP-08, COMP-09
#[test]
fn partitions_exchange_requests() {
    let system = System::boot([
        PartitionSpec::new("sp1").script(relay),
        PartitionSpec::new("sp2").script(echo),
    ]);
    assert_eq!(system.nwd().ask(0x8001, PAYLOAD), PAYLOAD);
    // Both wait again.
    assert_eq!(system.nwd().ask(0x8002, PAYLOAD), PAYLOAD);
    assert_eq!(system.pe(2).ask(0x8001, PAYLOAD), PAYLOAD);
}

// req: MSGD-12, MSGD-20
#[test]
fn a_request_of_a_partition_arrives_as_it_was_sent() {
    let system = System::boot([
        PartitionSpec::new("sp1").script(relay),
        PartitionSpec::new("sp2").script(|sp| {
            let request = sp.msg_wait();
            assert_eq!(request.0[..3], [DIRECT_REQ_64, 0x8001_8002, 0]);
            let request = sp.respond(&request, PAYLOAD);
            assert_eq!(request.0[..3], [DIRECT_REQ_64, 0x8002, 0]);
            sp.respond(&request, PAYLOAD);
        }),
    ]);
    assert_eq!(system.nwd().ask(0x8001, [0; 5]), PAYLOAD);
    assert_eq!(system.nwd().ask(0x8002, [0; 5]), PAYLOAD);
}

// req: MSGD-07, MSGD-23
#[test]
fn a_cycle_is_refused() {
    let system = System::boot([
        PartitionSpec::new("sp1").script(relay),
        PartitionSpec::new("sp2").script(|sp| {
            sp.serve(|sp, _| {
                sp.refused([DIRECT_REQ_64, 0x8002_8001], BUSY);
                [0xc0; 5]
            })
        }),
    ]);
    assert_eq!(system.nwd().ask(0x8001, [0; 5]), [0xc0; 5]);
}

// req: MSGD-07, MSGD-24, MSGW-12, MSGW-18, RUN-19, RUN-20, RUN-22, INT-01
#[test]
fn a_preempted_partition_takes_no_request_until_it_was_resumed() {
    let system = System::boot([PartitionSpec::new("sp1").script(|sp| {
        sp.serve(|sp, request| {
            sp.regs[8..].fill(77);
            assert!(sp.interrupt());
            assert_eq!(sp.regs[8..], [77; 23]);
            request.payload()
        })
    })]);
    let nwd = system.nwd();
    let interrupt = nwd.request(0x8001, PAYLOAD);
    assert_eq!(interrupt.0[..8], [INTERRUPT, 0x8001_0000, 0, 0, 0, 0, 0, 0]);
    nwd.refused([DIRECT_REQ_64, 0x8001], BUSY);
    system.pe(1).refused([DIRECT_REQ_32, 0x8001], BUSY);
    let answer = nwd.call([RUN, interrupt.0[1]]);
    assert_eq!(answer.0[..3], [DIRECT_RESP_64, 0x8001_0000, 0]);
    assert_eq!(answer.payload(), PAYLOAD);
}

// req: MSGD-15, MSGD-16, MSGD-17, MSGD-19
#[test]
fn bad_responses() {
    let system = System::boot([
        PartitionSpec::new("sp1").script(|sp| {
            // No request yet.
            sp.refused([DIRECT_RESP_64, 0x8001_0000], DENIED);
            sp.refused([DIRECT_RESP_64, 0x8001_8001], INVALID_PARAMETERS);
            let mut request = sp.msg_wait();
            for _ in 0..2 {
                sp.refused([DIRECT_RESP_64, 0x8001_0000, 1], INVALID_PARAMETERS);
                sp.refused([DIRECT_RESP_64, 0x8001_0000, 1 << 31], INVALID_PARAMETERS);
                sp.refused([DIRECT_RESP_64, 0x8002_0000], INVALID_PARAMETERS);
                sp.refused([DIRECT_RESP_64, 0x0000_0000], INVALID_PARAMETERS);
                sp.refused([DIRECT_RESP_64, 0x8001_8005], INVALID_PARAMETERS);
                sp.refused([DIRECT_RESP_64, 0x8001_8001], INVALID_PARAMETERS);
                // These endpoints exist, but did not send the request.
                sp.refused([DIRECT_RESP_64, 0x8001_8002], DENIED);
                sp.refused([DIRECT_RESP_64, 0x8001_0001], DENIED);
                // The response of the other kind.
                sp.refused([DIRECT_RESP2, 0x8001_0000], DENIED);
                request = sp.respond(&request, [4; 5]);
            }
        }),
        PartitionSpec::new("sp2"),
    ]);
    assert_eq!(system.nwd().ask(0x8001, [0; 5]), [4; 5]);
    assert_eq!(system.nwd().ask(0x8001, [0; 5]), [4; 5]);
}
// req: MSGD-14, MSGD-19
#[test]
fn a_response_is_of_either_width() {
    let wide = 0x1234_5678_9abc_def0;
    let system = System::boot([
        PartitionSpec::new("answers").script(move |sp| {
            let mut request = sp.msg_wait();
            loop {
                let back = request.0[1] >> 16 & 0xffff | (request.0[1] & 0xffff) << 16;
                let id = request.0[3];
                request = sp.call([id, back, 0, wide, wide, wide, wide, wide]);
                assert_eq!(request.error(), None);
            }
        }),
        PartitionSpec::new("relays").script(|sp| {
            sp.serve(|sp, request| {
                let [response, id, ..] = request.payload();
                let answer = sp.call([id, 0x8002_8001, 0, response]);
                [answer.0[0], answer.0[3], answer.0[7], 0, 0]
            })
        }),
    ]);
    let nwd = system.nwd();
    for request in [DIRECT_REQ_32, DIRECT_REQ_64] {
        for (response, expected) in [(DIRECT_RESP_32, wide & 0xffff_ffff), (DIRECT_RESP_64, wide)] {
            let answer = nwd.call([request, 0x8001, 0, response]);
            assert_eq!(answer.0[..3], [response, 0x8001_0000, 0]);
            assert_eq!(answer.payload(), [expected; 5]);
            let told = nwd.ask(0x8002, [response, request, 0, 0, 0]);
            assert_eq!(told[..3], [response, expected, expected]);
        }
    }
}

// req: MSGD-08, MSGW-16, BOOT-11
#[test]
fn requests_to_a_partition_that_fails_are_aborted() {
    let system = System::boot([
        PartitionSpec::new("sp1").script(relay),
        PartitionSpec::new("sp2")
            .with(|sp| sp.takes_exceptions = false)
            .script(|sp| {
                sp.serve(|sp, _| {
                    sp.peek(spmc::addr::World::Secure, 0);
                    unreachable!("it cannot take the abort");
                })
            }),
    ]);
    let nwd = system.nwd();
    // The partition in between continues and reports the error.
    assert_eq!(nwd.ask(0x8001, [0; 5])[..2], [ERROR, ABORTED as u64]);
    nwd.refused([DIRECT_REQ_32, 0x8002], ABORTED);
    nwd.refused([RUN, 0x8002_0000], ABORTED);
    assert_eq!(nwd.ask(0x8001, [0; 5])[..2], [ERROR, ABORTED as u64]);
}

// req: MSGD-08, MSGD-11
#[test]
fn failing_under_a_request_of_the_normal_world() {
    let system = System::boot([
        PartitionSpec::new("sp1")
            .with(|sp| sp.takes_exceptions = false)
            .script(|sp| {
                sp.msg_wait();
                sp.trap(0x6200_0000);
            }),
        PartitionSpec::new("sp2").script(echo),
    ]);
    assert_eq!(system.nwd().request(0x8001, PAYLOAD).error(), Some(ABORTED));
    system.nwd().refused([DIRECT_REQ_64, 0x8001], ABORTED);
    assert_eq!(system.nwd().ask(0x8002, PAYLOAD), PAYLOAD);
}

// req: RUN-17, RUN-18, MSGW-06, MODEL-04
#[test]
fn a_request_ends_with_its_response_only() {
    let system = System::boot([PartitionSpec::new("sp1").script(|sp| {
        sp.serve(|sp, request| {
            sp.refused([MSG_WAIT], DENIED);
            sp.refused([RUN, 0x8001_0000], DENIED);
            sp.refused([YIELD, 0, 0, 0, 1], INVALID_PARAMETERS);
            request.payload()
        })
    })]);
    assert_eq!(system.nwd().ask(0x8001, PAYLOAD), PAYLOAD);
}

// req: MSGD-11
#[test]
fn an_error_of_the_receiver_reaches_the_requester() {
    let system = System::boot([
        PartitionSpec::new("sp1").script(relay),
        PartitionSpec::new("sp2").script(|sp| {
            sp.msg_wait();
            loop {
                sp.call([ERROR, 0, 0xffff_fffd]);
            }
        }),
    ]);
    assert_eq!(
        system.nwd().request(0x8002, [0; 5]).error(),
        Some(NO_MEMORY)
    );
    assert_eq!(
        system.nwd().ask(0x8001, [0; 5])[..2],
        [ERROR, NO_MEMORY as u64]
    );
}
