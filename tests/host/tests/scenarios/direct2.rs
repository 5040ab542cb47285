//! Direct messages of the second kind: `FFA_MSG_SEND_DIRECT_REQ2` and its response (v1.2 section
//! 15.3).

use host_tests::ffa::*;
use host_tests::{PartitionSpec, Regs, Sp, System};

/// `messaging-method`: both kinds, in both directions.
const ALL: u32 = 0x603;

/// Returns x0, ids, UUID and the payload x4 to x17.
fn message(id: u64, ids: u64, uuid: [u64; 2], first: u64) -> [u64; 18] {
    let mut regs = [0; 18];
    regs[..4].copy_from_slice(&[id, ids, uuid[0], uuid[1]]);
    for (n, register) in regs[4..].iter_mut().enumerate() {
        *register = first.wrapping_add(n as u64 * 0x1_0000_0001);
    }
    regs
}

fn registers(uuid: [u32; 4]) -> [u64; 2] {
    let [a, b, c, d] = uuid.map(u64::from);
    [a | b << 32, c | d << 32]
}

/// Answers requests of both kinds. For the second kind, x4 is incremented.
fn serve(sp: &mut Sp) {
    let mut next = sp.msg_wait();
    loop {
        let own = u64::from(sp.id);
        next = match next.0[0] {
            DIRECT_REQ2 => {
                let back = own << 16 | next.0[1] >> 16;
                sp.call(message(DIRECT_RESP2, back, [0; 2], next.0[4] + 1))
            }
            _ => {
                let payload = next.payload();
                sp.respond(&next, payload)
            }
        };
    }
}

fn both(name: &str) -> PartitionSpec {
    PartitionSpec::new(name).with(|sp| sp.messaging = ALL)
}

// req: RUN-08, MSGD-01, MSGD-12, MSGD-14, MSGD-19, DIR2-01, DIR2-02, DIR2-03, DIR2-11, GEN-31
#[test]
fn fourteen_registers_go_both_ways() {
    let spec = both("sp1");
    let uuid = registers(spec.uuids[0]);
    let system = System::boot([spec.script(move |sp| {
        for uuid in [[0; 2], uuid] {
            let request = sp.msg_wait();
            assert_eq!(request.0, message(DIRECT_REQ2, 0x8001, uuid, 7));
            let answer = message(DIRECT_RESP2, 0x8001_0000, [0; 2], u64::MAX);
            // The next request, of the first kind, completes the call. The other registers are
            // unchanged.
            let request = sp.call(answer);
            assert_eq!(request.0[..4], [DIRECT_REQ_64, 0x8001, 0, 3]);
            assert_eq!(sp.regs[4..8], [0; 4]);
            assert_eq!(sp.regs[8..18], answer[8..]);
            sp.refused([DIRECT_RESP2, 0x8001_0000], DENIED);
            let next = sp.respond(&request, [5; 5]);
            assert_eq!(next.function(), RUN);
        }
        sp.msg_wait();
    })]);
    let nwd = system.nwd();
    for uuid in [[0; 2], uuid] {
        let answer = nwd.call(message(DIRECT_REQ2, 0x8001, uuid, 7));
        assert_eq!(
            answer.0,
            message(DIRECT_RESP2, 0x8001_0000, [0; 2], u64::MAX)
        );
        assert_eq!(nwd.ask(0x8001, [3, 0, 0, 0, 0]), [5; 5]);
        assert_eq!(nwd.call([RUN, 0x8001_0000]).function(), MSG_WAIT);
    }
}

// A function id is 32 bits wide.
// req: MSGD-12, GEN-29
#[test]
fn the_upper_half_of_x0_goes_nowhere() {
    const UPPER: u64 = 0x1234_5678 << 32;
    let system = System::boot([both("sp1").script(|sp| {
        let request = sp.msg_wait();
        assert_eq!(request.0, message(DIRECT_REQ2, 0x8001, [0; 2], 7));
        sp.call(message(UPPER | DIRECT_RESP2, 0x8001_0000, [0; 2], 8));
    })]);
    let call = Regs(message(UPPER | DIRECT_REQ2, 0x8001, [0; 2], 7));
    let answer = system.nwd().call_with(call);
    assert_eq!(answer.0, message(DIRECT_RESP2, 0x8001_0000, [0; 2], 8));
}

// req: MSGD-20, RUN-10, DIR2-01, DIR2-02, DIR2-16
#[test]
fn between_partitions() {
    let system = System::boot([
        both("sp1").script(|sp| {
            sp.serve(|sp, request| {
                sp.regs[18..].fill(5);
                let answer = sp.call(message(DIRECT_REQ2, 0x8001_8002, [0; 2], request.0[3]));
                assert_eq!(
                    answer.0,
                    message(DIRECT_RESP2, 0x8002_8001, [0; 2], request.0[3] + 1)
                );
                assert_eq!(sp.regs[18..], [5; 13]);
                // And the first kind.
                let answer = sp.call([DIRECT_REQ_32, 0x8001_8002, 0, 1, 2, 3, 4, 5]);
                assert_eq!(answer.0[..3], [DIRECT_RESP_32, 0x8002_8001, 0]);
                answer.payload()
            })
        }),
        both("sp2").script(serve),
    ]);
    assert_eq!(system.nwd().ask(0x8001, [41, 0, 0, 0, 0]), [1, 2, 3, 4, 5]);
}

// req: MSGD-03, MSGD-04, MSGD-06, RUN-11, DIR2-04, DIR2-05, DIR2-06, DIR2-07, DIR2-09
#[test]
fn who_may_send_what() {
    let receiver = both("r").with(|sp| sp.messaging = 0x200);
    let uuid = registers(receiver.uuids[0]);
    let system = System::boot([
        receiver.script(serve),
        PartitionSpec::new("first kind only").script(|sp| {
            sp.serve(|sp, _| {
                sp.refused([DIRECT_REQ2, 0x8002_8001], DENIED);
                sp.refused([DIRECT_REQ_64, 0x8002_8001], DENIED);
                [0; 5]
            })
        }),
        both("sender").script(move |sp| {
            sp.serve(|sp, _| {
                // Ids, then the UUID, then the rights.
                for ids in [
                    0x8001_8001,
                    0x8003_8003,
                    0x8003_8009,
                    0x8003_0000,
                    0x0000_8001,
                ] {
                    sp.refused([DIRECT_REQ2, ids], INVALID_PARAMETERS);
                }
                let [low, high] = uuid;
                sp.refused(
                    [DIRECT_REQ2, 0x8003_8001, low, high ^ 1],
                    INVALID_PARAMETERS,
                );
                sp.refused([DIRECT_REQ2, 0x8003_8001, high, low], INVALID_PARAMETERS);
                sp.refused([DIRECT_REQ2, 0x8003_8002, low, high], INVALID_PARAMETERS);
                sp.refused([DIRECT_REQ2, 0x8003_8002], DENIED);
                let answer = sp.call(message(DIRECT_REQ2, 0x8003_8001, uuid, 1));
                assert_eq!(answer.0[4], 2);
                [0; 5]
            })
        }),
        both("old").version(1).with(|sp| sp.messaging = 3),
    ]);
    let nwd = system.nwd();
    nwd.ask(0x8002, [0; 5]);
    nwd.ask(0x8003, [0; 5]);
    nwd.refused([DIRECT_REQ2, 0x8002], DENIED);
    nwd.refused([DIRECT_REQ2, 0x8004], DENIED);
    nwd.refused([DIRECT_REQ2, 0x8009], INVALID_PARAMETERS);
    nwd.refused([DIRECT_REQ2, 0x8002_8001], INVALID_PARAMETERS);
    nwd.refused([DIRECT_REQ2, 0x8001, 1], INVALID_PARAMETERS);
    nwd.refused([DIRECT_REQ_64, 0x8001], DENIED);
    assert_eq!(nwd.call(message(DIRECT_REQ2, 0x8001, uuid, 1)).0[4], 2);
}

// One service accepts the second kind, the other one the first.
// req: DIR2-03, DIR2-08
#[test]
fn each_service_has_its_own_methods() {
    let spec = both("sp1").with(|sp| {
        sp.uuids = vec![[1, 2, 3, 4], [5, 6, 7, 8]];
        sp.methods = vec![0x200, 0x001];
    });
    let [second, first] = [registers(spec.uuids[0]), registers(spec.uuids[1])];
    let system = System::boot([spec.script(serve)]);
    let nwd = system.nwd();
    assert_eq!(nwd.call(message(DIRECT_REQ2, 0x8001, second, 1)).0[4], 2);
    assert_eq!(nwd.call(message(DIRECT_REQ2, 0x8001, [0; 2], 1)).0[4], 2);
    nwd.refused(message(DIRECT_REQ2, 0x8001, first, 1), DENIED);
    nwd.ask(0x8001, [0; 5]);
}

// req: DIR2-09, DIR2-10
#[test]
fn the_second_kind_needs_1_2_on_both_sides() {
    let system = System::boot([both("sp1").script(|sp| {
        sp.call([VERSION, V1_1]);
        serve(sp);
    })]);
    system.nwd().refused([DIRECT_REQ2, 0x8001], DENIED);
    let system = System::boot([
        both("sp1").script(serve),
        both("sp2").script(|sp| {
            sp.call([VERSION, V1_1]);
            sp.serve(|sp, _| {
                // The function does not exist, as FFA_FEATURES says.
                for id in [DIRECT_REQ2, DIRECT_RESP2] {
                    sp.refused([FEATURES, id], NOT_SUPPORTED);
                    sp.refused([id, 0x8002_8001], NOT_SUPPORTED);
                }
                sp.refused([DIRECT_RESP2, 0x8002_0000], NOT_SUPPORTED);
                [1; 5]
            })
        }),
    ]);
    let nwd = system.nwd();
    nwd.version(V1_1);
    nwd.refused([FEATURES, DIRECT_REQ2], NOT_SUPPORTED);
    nwd.refused([DIRECT_REQ2, 0x8001], NOT_SUPPORTED);
    nwd.ask(0x8002, [0; 5]);
}

// req: MSGD-15, MSGD-16, MSGD-19, DIR2-11, DIR2-12
#[test]
fn bad_responses_of_the_second_kind() {
    let system = System::boot([both("sp1").script(|sp| {
        sp.refused([DIRECT_RESP2, 0x8001_0000], DENIED);
        sp.msg_wait();
        for bad in [
            [DIRECT_RESP2, 0x8002_0000, 0, 0],
            [DIRECT_RESP2, 0x8001_8005, 0, 0],
        ] {
            sp.refused(bad, INVALID_PARAMETERS);
        }
        sp.refused([DIRECT_RESP2, 0x8001_0001], DENIED);
        sp.refused([DIRECT_RESP_64, 0x8001_0000], DENIED);
        sp.refused([DIRECT_RESP_32, 0x8001_0000], DENIED);
        sp.refused([MSG_WAIT], DENIED);
        sp.call(message(DIRECT_RESP2, 0x8001_0000, [0; 2], 9));
    })]);
    let answer = system.nwd().call(message(DIRECT_REQ2, 0x8001, [0; 2], 0));
    assert_eq!(answer.0, message(DIRECT_RESP2, 0x8001_0000, [0; 2], 9));
}

// The same partition is asked again, and answers again.
// req: MSGD-11, DIR2-13
#[test]
fn an_error_ends_a_request_of_either_kind() {
    let system = System::boot([both("sp1").script(|sp| {
        sp.msg_wait();
        loop {
            let next = sp.call([ERROR, 0, INVALID_PARAMETERS as u32 as u64]);
            assert!(
                [DIRECT_REQ_64, DIRECT_REQ2].contains(&next.function()),
                "{next:?}"
            );
        }
    })]);
    let nwd = system.nwd();
    for request in [[DIRECT_REQ2, 0x8001], [DIRECT_REQ_64, 0x8001]].repeat(2) {
        assert_eq!(nwd.call(request).error(), Some(INVALID_PARAMETERS));
    }
}

// Services that build the response from the request leave the UUID in it.
// req: MSGD-14, DIR2-02
#[test]
fn what_a_response_of_the_second_kind_repeats_of_the_uuid_is_ignored() {
    let echo = |sp: &mut host_tests::Sp| {
        let mut next = sp.msg_wait();
        loop {
            assert_eq!(next.function(), DIRECT_REQ2, "{next:?}");
            let back = next.0[1] >> 16 & 0xffff | (next.0[1] & 0xffff) << 16;
            next = sp.call(message(DIRECT_RESP2, back, [u64::MAX, 7], next.0[4]));
        }
    };
    let system = System::boot([
        both("echo").script(echo),
        both("asks").script(|sp| {
            sp.serve(|sp, _| {
                let answer = sp.call(message(DIRECT_REQ2, 0x8002_8001, [0; 2], 6));
                assert_eq!(answer.0, message(DIRECT_RESP2, 0x8001_8002, [0; 2], 6));
                [1; 5]
            });
        }),
    ]);
    let nwd = system.nwd();
    for word in [4, 5] {
        let answer = nwd.call(message(DIRECT_REQ2, 0x8001, [0; 2], word));
        assert_eq!(answer.0, message(DIRECT_RESP2, 0x8001_0000, [0; 2], word));
    }
    assert_eq!(nwd.ask(0x8002, [0; 5]), [1; 5]);
}

// req: MSGD-07, MSGD-24, FEAT-01, DIR2-14, DIR2-15
#[test]
fn a_preempted_request_of_the_second_kind_is_resumed() {
    let system = System::boot([both("sp1").script(|sp| {
        let request = sp.msg_wait();
        assert!(sp.interrupt());
        assert_eq!(
            Regs::new::<18>(sp.regs[..18].try_into().unwrap()).0,
            request.0
        );
        sp.call(message(DIRECT_RESP2, 0x8001_0000, [0; 2], 9));
    })]);
    let nwd = system.nwd();
    let answer = nwd.call(message(DIRECT_REQ2, 0x8001, [0; 2], 3));
    assert_eq!(answer.0[..2], [INTERRUPT, 0x8001_0000]);
    assert_eq!(answer.0[2..8], [0; 6], "nothing of the message leaks");
    nwd.refused([DIRECT_REQ2, 0x8001], BUSY);
    let answer = nwd.call([RUN, 0x8001_0000]);
    assert_eq!(answer.0, message(DIRECT_RESP2, 0x8001_0000, [0; 2], 9));
    for id in [DIRECT_REQ2, DIRECT_RESP2] {
        assert_eq!(nwd.call([FEATURES, id]).success(), [0; 6]);
    }
}

// req: MSGD-12, MSGD-14
#[test]
fn ids_travel_without_what_is_above_them() {
    const ABOVE: u64 = 0xdead_beef << 32;
    let spec = both("sp1").script(|sp| {
        let request = sp.msg_wait();
        assert_eq!(request.0[1], 0x8001);
        sp.call(message(DIRECT_RESP2, ABOVE | 0x8001_0000, [0; 2], 5));
    });
    let system = System::boot([spec]);
    let answer = system
        .nwd()
        .call(message(DIRECT_REQ2, ABOVE | 0x8001, [0; 2], 7));
    assert_eq!(answer.0[..2], [DIRECT_RESP2, 0x8001_0000]);
}
