//! Logical partitions of the SPMD (ids 0xffc0 to 0xfffe), which send direct requests from EL3.
//! Until such a request is answered, EL3 accepts no other call that leaves the PE.

use std::sync::Arc;

use host_tests::ffa::*;
use host_tests::system::{NWD_PAGES, NWD_TX};
use host_tests::{Nwd, PartitionSpec, Regs, Sp, System};

use super::indirect::{Message, partition, tell};
use super::interrupts::{DEACTIVATE, ENABLE, GET, LINE, with_device};
use super::notification::{caller, via};

const FIRST: u16 = 0xffc0;
const LAST: u16 = 0xfffe;
const SP1: u16 = 0x8001;
const SP2: u16 = 0x8002;
const SP3: u16 = 0x8003;
const SP1_CONTEXT: u64 = (SP1 as u64) << 16;
const SP2_CONTEXT: u64 = (SP2 as u64) << 16;

/// `init-timeout-ms`, in microseconds.
const LIMIT: u64 = 30_000_000;

fn route(from: u16, to: u16) -> u64 {
    u64::from(from) << 16 | u64::from(to)
}

/// Sends a request of the first logical partition. Returns what EL3 gets.
fn request(nwd: Nwd<'_>, to: u16, x3: u64) -> Regs {
    nwd.call([DIRECT_REQ_32, route(FIRST, to), 0, x3, 4, 0, 0, 0])
}

/// Sends a request of the first logical partition that is answered in the 32-bit form. Returns w3.
#[track_caller]
fn ask(nwd: Nwd<'_>, to: u16, x3: u64) -> u64 {
    let answer = request(nwd, to, x3);
    let head = [DIRECT_RESP_32, route(to, FIRST), 0];
    assert_eq!(answer.0[..3], head, "{answer:x?}");
    answer.0[3]
}

/// Returns a partition that serves by `serve`, with the given `ns-interrupts-action`.
fn serves(
    name: &str,
    action: u32,
    serve: impl Fn(&mut Sp, u64) -> u64 + Send + Sync + Clone + 'static,
) -> PartitionSpec {
    PartitionSpec::new(name)
        .with(|spec| spec.ns_interrupts = action)
        .script(move |sp| {
            let serve = serve.clone();
            sp.serve(move |sp, request| [serve(sp, request.0[3]), 0, 0, 0, 0])
        })
}

fn echo(name: &str) -> PartitionSpec {
    serves(name, 2, |_, x3| x3)
}

/// Passes a request on to `to`. Returns the answer, or 0 if the call did not end with a response.
fn pass_on(sp: &mut Sp, to: u16, x3: u64) -> u64 {
    let answer = sp.call([DIRECT_REQ_64, route(sp.id, to), 0, x3]);
    match answer.function() {
        DIRECT_RESP_64 => answer.0[3],
        _ => 0,
    }
}

/// Checks that a Non-secure interrupt neither preempts the partition nor requests a managed exit.
fn stays(sp: &mut Sp) {
    assert!(!sp.interrupt());
    sp.interrupt_although_masked();
    assert_eq!(sp.signals(), (false, false));
}

// req: MSGD-01, MSGD-02, MSGD-12, MSGD-14, LSP-01
#[test]
fn a_request_carries_its_registers_there_and_back() {
    const PAYLOAD: [u64; 5] = [1 << 40, 2, 3, 4, u64::MAX];
    let system = System::boot([PartitionSpec::new("sp1").script(|sp| {
        let mut next = sp.msg_wait();
        for (lp, id) in [(FIRST, DIRECT_REQ_32), (LAST, DIRECT_REQ_64)] {
            let mask = if id == DIRECT_REQ_64 {
                u64::MAX
            } else {
                u32::MAX.into()
            };
            assert_eq!(next.0[..3], [id, route(lp, SP1), 0]);
            assert_eq!(next.payload(), PAYLOAD.map(|x| x & mask));
            // The answer cannot be sent to anybody else.
            sp.refused([DIRECT_RESP_64, SP1_CONTEXT], DENIED);
            sp.refused([DIRECT_RESP_64, route(SP1, FIRST + 1)], DENIED);
            sp.refused([DIRECT_RESP2, route(SP1, lp)], DENIED);
            sp.refused([MSG_WAIT], DENIED);
            next = sp.respond(&next, PAYLOAD.map(|x| !x));
        }
    })]);
    let nwd = system.nwd();
    let [a, b, c, d, e] = PAYLOAD;
    let answer = nwd.call([DIRECT_REQ_32, route(FIRST, SP1), 0, a, b, c, d, e]);
    assert_eq!(answer.0[..3], [DIRECT_RESP_32, route(SP1, FIRST), 0]);
    assert_eq!(answer.payload(), PAYLOAD.map(|x| !x & 0xffff_ffff));
    let answer = nwd.call([DIRECT_REQ_64, route(LAST, SP1), 0, a, b, c, d, e]);
    assert_eq!(answer.0[..3], [DIRECT_RESP_64, route(SP1, LAST), 0]);
    assert_eq!(answer.payload(), PAYLOAD.map(|x| !x));
}

fn second(uuid: [u32; 4], to: u16) -> [u64; 18] {
    let [a, b, c, d] = uuid.map(u64::from);
    let ids = route(LAST, to);
    std::array::from_fn(|n| match n {
        0 => DIRECT_REQ2,
        1 => ids,
        2 => a | b << 32,
        3 => c | d << 32,
        n => n as u64 * 0x1_0000_0001,
    })
}

// req: MSGD-01, MSGD-12, MSGD-14, MSGD-19, DIR2-01, DIR2-04, DIR2-06, DIR2-11, LSP-02, LSP-09
#[test]
fn a_request_of_the_second_kind_is_checked_as_that_of_the_normal_world() {
    let spec = PartitionSpec::new("sp1").with(|sp| sp.messaging = 0x603);
    let uuid = spec.uuids[0];
    let system = System::boot([
        spec.script(move |sp| {
            let mut next = sp.msg_wait();
            loop {
                assert_eq!(next.0, second(uuid, SP1));
                sp.refused([DIRECT_RESP_64, route(SP1, LAST)], DENIED);
                let mut answer = second([0; 4], SP1);
                answer[..2].copy_from_slice(&[DIRECT_RESP2, route(SP1, LAST)]);
                next = sp.call(answer);
            }
        }),
        echo("sp2"),
    ]);
    let nwd = system.nwd();
    let answer = nwd.call(second(uuid, SP1));
    assert_eq!(answer.0[..4], [DIRECT_RESP2, route(SP1, LAST), 0, 0]);
    assert_eq!(answer.0[4..], second(uuid, SP1)[4..]);
    nwd.refused(second([1, 2, 3, 4], SP1), INVALID_PARAMETERS);
    nwd.refused(second([0; 4], SP2), DENIED);
    for source in [0x8000, SP1, SP2, FIRST - 1, 0xffff] {
        let mut call = second(uuid, SP1);
        call[1] = route(source, SP1);
        nwd.refused(call, INVALID_PARAMETERS);
    }
    nwd.version(V1_1);
    nwd.refused(second(uuid, SP1), NOT_SUPPORTED);
    // No call here was a call of the Normal world.
    assert_eq!(nwd.version(V1_2), V1_2);
    nwd.call(second(uuid, SP1));
    assert_eq!(ask(nwd, SP2, 5), 5);
    assert_eq!(nwd.version(V1_1), V1_2);
    nwd.refused(second(uuid, SP1), NOT_SUPPORTED);
}

// req: MSGD-04, MSGD-05, MSGD-10, RUN-09, LSP-03, LSP-04
#[test]
fn bad_requests() {
    let deaf = echo("deaf").with(|sp| sp.messaging = 2);
    let system = System::boot([echo("sp1"), deaf]);
    let nwd = system.nwd();
    for id in [DIRECT_REQ_32, DIRECT_REQ_64] {
        for to in [0, 1, 0x8000, SP3, FIRST, LAST, 0xffff] {
            nwd.refused([id, route(FIRST, to)], INVALID_PARAMETERS);
        }
        for source in [0x8000, SP1, SP2, SP3, FIRST - 1] {
            nwd.refused([id, route(source, SP1)], INVALID_PARAMETERS);
        }
        // No framework message may come from a logical partition, neither to a partition nor to the
        // SPMC, but those of a live activation to the SPMC.
        for kind in [
            1,
            1 << 31,
            0x8000_0004,
            0x8000_0008,
            0x8000_000a,
            0x8000_0010,
        ] {
            for to in [SP1, 0x8000] {
                nwd.refused([id, route(FIRST, to), kind], INVALID_PARAMETERS);
            }
        }
        for kind in [0x8000_000c, 0x8000_000e] {
            nwd.refused([id, route(FIRST, SP1), kind], INVALID_PARAMETERS);
        }
        nwd.refused([id, route(FIRST, SP2)], DENIED);
    }
    assert_eq!(ask(nwd, SP1, 5), 5);
}

// req: MSGD-04, NTF-11, NTF-18, NTF-24, IND-05, IND-06, DIR2-05, LSP-04
#[test]
fn it_is_nobody_to_everybody_else() {
    let asks = caller("sp1");
    let sends = partition("sp2", tell);
    let system = System::boot([asks, sends]);
    let nwd = system.nwd();
    for lp in [FIRST, LAST] {
        for call in [
            [DIRECT_REQ_32, route(SP1, lp), 0, 0],
            [DIRECT_REQ_64, route(SP1, lp), 0, 0],
            [DIRECT_REQ2, route(SP1, lp), 0, 0],
            [RUN, u64::from(lp) << 16, 0, 0],
            [NOTIFICATION_BIND, route(lp, SP1), 0, 1],
            [NOTIFICATION_UNBIND, route(lp, SP1), 0, 1],
            [NOTIFICATION_SET, route(SP1, lp), 0, 1],
            [NOTIFICATION_GET, lp.into(), 1, 0],
        ] {
            assert_eq!(via(&nwd, SP1, call).0, INVALID_PARAMETERS, "{call:x?}");
        }
    }
    nwd.map_buffers();
    for lp in [FIRST, LAST] {
        for call in [
            [DIRECT_REQ_64, lp.into(), 0],
            [RUN, u64::from(lp) << 16, 0],
            [NOTIFICATION_BITMAP_CREATE, lp.into(), 1],
            [NOTIFICATION_BIND, route(lp, 0), 0],
            [NOTIFICATION_SET, lp.into(), 0],
            [NOTIFICATION_GET, lp.into(), 1],
        ] {
            nwd.refused(call, INVALID_PARAMETERS);
        }
        for message in [
            Message::new(V1_2, lp, SP2, &[1; 16]),
            Message::new(V1_2, 0, lp, &[1; 16]),
        ] {
            nwd.write(NWD_TX, &message.encode(V1_2));
            nwd.refused([MSG_SEND2], INVALID_PARAMETERS);
        }
        for (sender, receiver, code) in [(0, lp, INVALID_PARAMETERS), (lp, SP1, DENIED)] {
            let share = Transaction::share(sender, receiver, RW, &[(NWD_PAGES, 1)]);
            nwd.memory_refused(MEM_SHARE_64, &share.encode(Layout::V1_2), code);
        }
    }
}

// req: LSP-05
#[test]
fn no_non_secure_interrupt_takes_the_pe_from_whom_it_asks() {
    for actions in [[0, 1, 2], [1, 2, 0], [2, 0, 1], [1; 3], [2; 3]] {
        let link = |name: &str, action, to: Option<u16>| {
            let spec = PartitionSpec::new(name);
            spec.with(|spec| spec.ns_interrupts = action)
                .script(move |sp| {
                    sp.serve(move |sp, request| {
                        stays(sp);
                        let x3 = request.0[3];
                        let x3 = to.map_or(x3, |to| pass_on(sp, to, x3));
                        stays(sp);
                        [x3, 0, 0, 0, 0]
                    })
                })
        };
        let system = System::boot([
            link("sp1", actions[0], Some(SP2)),
            link("sp2", actions[1], Some(SP3)),
            link("sp3", actions[2], None),
        ]);
        assert_eq!(ask(system.nwd(), SP1, 9), 9, "{actions:?}");
        assert_eq!(ask(system.pe(1), SP2, 8), 8, "{actions:?}");
    }
}

// req: STAT-04
#[test]
fn who_worked_for_it_is_preempted_afterwards_as_before() {
    // x3 selects whether the partition is preempted.
    let sp2 = serves("sp2", 2, |sp, x3| {
        assert_eq!(sp.interrupt(), x3 != 0);
        x3
    });
    let sp1 = serves("sp1", 2, |sp, x3| pass_on(sp, SP2, x3));
    let system = System::boot([sp1, sp2]);
    let nwd = system.nwd();
    for _ in 0..2 {
        let answer = nwd.request(SP1, [1; 5]);
        assert_eq!(answer.0[..2], [INTERRUPT, SP1_CONTEXT]);
        let answer = nwd.call([RUN, SP1_CONTEXT]);
        assert_eq!(answer.0[..4], [DIRECT_RESP_64, SP1_CONTEXT, 0, 1]);
        assert_eq!(ask(nwd, SP1, 0), 0);
    }
}

// req: MSGW-10, RUN-18, LSP-06
#[test]
fn yielding_does_nothing() {
    let yields = |sp: &mut Sp, x3: u64| {
        assert_eq!(sp.call([YIELD, 0, 1000, 7]).success(), [0; 6]);
        x3 + 1
    };
    let sp1 = serves("sp1", 2, move |sp, x3| {
        let x3 = yields(sp, x3);
        let x3 = pass_on(sp, SP2, x3);
        yields(sp, x3)
    });
    let system = System::boot([sp1, serves("sp2", 2, yields)]);
    let nwd = system.nwd();
    assert_eq!(ask(nwd, SP1, 1), 4);
    assert_eq!(ask(nwd, SP2, 1), 2);
    // For all other callers the partition behaves as before.
    assert_eq!(nwd.request(SP2, [1; 5]).0[..2], [YIELD, SP2_CONTEXT]);
    let answer = nwd.call([RUN, SP2_CONTEXT]);
    assert_eq!(answer.0[..4], [DIRECT_RESP_64, SP2_CONTEXT, 0, 2]);
}

// req: MSGW-10, RUN-18, LSP-06
#[test]
fn who_yielded_before_goes_on_without_a_pause() {
    let sp1 = serves("sp1", 2, |sp, x3| match x3 {
        0 => {
            let answer = sp.call([DIRECT_REQ_64, route(SP1, SP2), 0, 6]);
            assert_eq!(answer.0[..2], [YIELD, SP2_CONTEXT]);
            0
        }
        _ => sp.call([RUN, SP2_CONTEXT]).0[3],
    });
    let sp2 = serves("sp2", 2, |sp, x3| {
        assert_eq!(sp.call([YIELD]).success(), [0; 6]);
        stays(sp);
        assert_eq!(sp.call([YIELD]).success(), [0; 6]);
        x3
    });
    let system = System::boot([sp1, sp2]);
    let nwd = system.nwd();
    assert_eq!(nwd.ask(SP1, [0; 5]), [0; 5]);
    assert_eq!(ask(nwd, SP1, 1), 6);
}

// req: RUN-19, LSP-07, MSGD-07
#[test]
fn whoever_is_at_work_is_busy_and_others_are_not() {
    let sp1 = serves("sp1", 2, |sp, x3| {
        sp.interrupt();
        pass_on(sp, SP2, x3)
    });
    let sp2 = serves("sp2", 2, |sp, x3| {
        sp.interrupt();
        x3
    });
    // Contexts of the partition's own chain, and requests from another PE.
    let sp3 = serves("sp3", 2, |sp, x3| {
        sp.refused([DIRECT_REQ_64, route(SP3, SP1)], BUSY);
        x3
    });
    let system = System::boot([sp1, sp2, sp3]);
    let nwd = system.nwd();
    assert_eq!(nwd.request(SP1, [3; 5]).0[..2], [INTERRUPT, SP1_CONTEXT]);
    nwd.refused([DIRECT_REQ_32, route(FIRST, SP1)], BUSY);
    assert_eq!(ask(nwd, SP3, 4), 4);
    assert_eq!(
        nwd.call([RUN, SP1_CONTEXT]).0[..2],
        [INTERRUPT, SP1_CONTEXT]
    );
    for busy in [SP1, SP2] {
        nwd.refused([DIRECT_REQ_32, route(FIRST, busy)], BUSY);
    }
    assert_eq!(ask(system.pe(1), SP3, 4), 4);
    let answer = nwd.call([RUN, SP1_CONTEXT]);
    assert_eq!(answer.0[..4], [DIRECT_RESP_64, SP1_CONTEXT, 0, 3]);
    assert_eq!(ask(nwd, SP1, 6), 6);
}

/// Returns a partition that fails as x3 says, or echoes it.
fn frail(name: &str, action: u32) -> PartitionSpec {
    serves(name, 2, |sp, x3| match x3 {
        1 => {
            sp.trap(0);
            0
        }
        2 => sp.call([ABORT_32]).0[3],
        3 => sp.hang(),
        4 => sp.call([ERROR, 0, BUSY as u32 as u64]).0[3],
        x3 => x3,
    })
    .with(|spec| {
        spec.takes_exceptions = false;
        spec.extra = Some(Arc::new(|fdt| {
            fdt.property_null("lifecycle-support").unwrap();
        }));
    })
    .property("abort-action", action)
}

// req: LSP-07, MSGD-08
#[test]
fn who_fails_is_aborted_and_who_refuses_says_so() {
    for fault in 1..4 {
        // Stopped, or started again before the answer; alone and in a chain.
        for action in [0, 2] {
            let sp2 = serves("sp2", 2, |sp, x3| {
                let answer = sp.call([DIRECT_REQ_64, route(SP2, SP1), 0, x3]);
                answer.error().map_or(0, |code| code as u32 as u64)
            });
            let system = System::boot([frail("sp1", action), sp2]);
            let nwd = system.nwd();
            assert_eq!(ask(nwd, SP1, 9), 9);
            assert_eq!(request(nwd, SP1, fault).error(), Some(ABORTED));
            if action == 0 {
                nwd.refused([DIRECT_REQ_32, route(FIRST, SP1)], ABORTED);
                continue;
            }
            assert_eq!(ask(nwd, SP1, 9), 9);
            // The time limit of a chain is that of its receiver.
            if fault != 3 {
                assert_eq!(ask(nwd, SP2, fault), u64::from(ABORTED as u32));
                assert_eq!(ask(nwd, SP1, 9), 9);
            }
        }
    }
    let system = System::boot([echo("sp1"), frail("sp2", 0)]);
    assert_eq!(request(system.nwd(), SP2, 4).error(), Some(BUSY));
}

// EL3 refuses FFA_ABORT and gets the answer after that.
#[test]
fn a_failure_that_el3_is_told_of_ends_with_the_answer() {
    let system = System::boot([frail("sp1", 3)]);
    let nwd = system.nwd();
    assert_eq!(request(nwd, SP1, 1).function(), ABORT_32);
    let answer = nwd.call([ERROR, 0, NOT_SUPPORTED as u32 as u64]);
    assert_eq!(answer.error(), Some(ABORTED));
}

// req: MSGD-08, LSP-07
#[test]
fn whom_its_receiver_called_works_too_long() {
    for (time, left) in [(LIMIT + 10, false), (3 * LIMIT, true)] {
        let sp1 = serves("sp1", 2, |sp, x3| pass_on(sp, SP2, x3));
        let sp2 = serves("sp2", 2, move |sp, x3| {
            if x3 == 1 {
                stays(sp);
                sp.work(time);
                // No caller waits for the answer that could not be interrupted.
                assert_eq!(sp.interrupt(), left);
            }
            x3
        });
        let system = System::boot([sp1, sp2]);
        let nwd = system.nwd();
        let begin = system.machine.gic().now();
        assert_eq!(request(nwd, SP1, 1).error(), Some(ABORTED));
        let end = system.machine.gic().now();
        assert_eq!(end - begin, if left { 2 * LIMIT } else { time });
        nwd.refused([DIRECT_REQ_32, route(FIRST, SP1)], ABORTED);
        if left {
            nwd.refused([DIRECT_REQ_32, route(FIRST, SP2)], BUSY);
            for expected in [INTERRUPT, MSG_WAIT] {
                assert_eq!(nwd.call([RUN, SP2_CONTEXT]).0[..2], [expected, SP2_CONTEXT]);
            }
        }
        assert_eq!(ask(nwd, SP2, 7), 7);
    }
}

/// Returns an owner of [`LINE`] that handles it and answers how often. If x3 is 1, it asks sp2 to
/// raise the interrupt; if x3 is 2, it raises the interrupt itself.
fn owner() -> PartitionSpec {
    with_device(PartitionSpec::new("owner"), &[LINE], &[]).script(|sp| {
        let line = u64::from(LINE);
        let mut handled = 0;
        assert_eq!(sp.call([ENABLE, line, 1, 0]).0[0], 0);
        let mut handle = move |sp: &mut Sp| {
            assert_eq!(sp.call([GET]).0[0], line);
            assert_eq!(sp.call([DEACTIVATE, line, line]).0[0], 0);
            stays(sp);
            handled += 1;
            handled
        };
        let mut last = 0;
        let mut next = sp.msg_wait();
        loop {
            next = match (next.0[0], next.0[3]) {
                (INTERRUPT, _) => {
                    last = handle(sp);
                    sp.msg_wait()
                }
                (_, 1) => {
                    let answer = sp.call([DIRECT_REQ_64, route(SP1, SP2), 0, 5]);
                    assert_eq!(answer.function(), INTERRUPT);
                    last = handle(sp);
                    let answer = sp.call([RUN, SP2_CONTEXT]);
                    assert_eq!(answer.0[3], 5);
                    sp.respond(&next, [last; 5])
                }
                (_, 2) => {
                    sp.gic(|gic| gic.pulse(LINE));
                    sp.poll();
                    last = handle(sp);
                    sp.respond(&next, [last; 5])
                }
                _ => sp.respond(&next, [last; 5]),
            };
        }
    })
}

// req: INT-05, INT-08, LSP-08
#[test]
fn secure_interrupts_are_handled_meanwhile() {
    let sp2 = serves("sp2", 2, |sp, x3| {
        sp.gic(|gic| gic.pulse(LINE));
        sp.poll();
        assert!(!sp.gic(|gic| gic.is_active(LINE)), "it was handled");
        stays(sp);
        x3
    });
    let system = System::boot([owner(), sp2]);
    let nwd = system.nwd();
    assert_eq!(ask(nwd, SP1, 0), 0);
    // In place of the partition that it asked, for the caller of that partition, and in the
    // partition itself.
    assert_eq!(ask(nwd, SP2, 8), 8);
    assert_eq!(ask(nwd, SP1, 0), 1);
    assert_eq!(ask(nwd, SP1, 1), 2);
    assert_eq!(ask(nwd, SP1, 2), 3);
    assert_eq!(ask(nwd, SP2, 8), 8);
    assert_eq!(ask(nwd, SP1, 0), 4);
}

// req: LSP-10, PREG-11, PREG-09
#[test]
fn partitions_find_them_in_registers_behind_all_others() {
    const HEAD: u64 = 2 << 32 | 1 << 16;
    let lists = |name: &str| {
        PartitionSpec::new(name).script(|sp| {
            sp.serve(|sp, request| {
                let [low, high, position, ..] = request.payload();
                let answer = sp.call([PARTITION_INFO_GET_REGS, low, high, position]);
                let first = request.0[6] as usize;
                let [a, b, c] = [0, 1, 2].map(|n| answer.0[first + n]);
                [answer.0[0], answer.0[2], a, b, c]
            })
        })
    };
    let system = System::boot([lists("one"), lists("two")]);
    let nwd = system.nwd();
    let before = nwd.call([PARTITION_INFO_GET_REGS, 0, 0, 0]);
    let query = |uuid: [u64; 2], position: u64, register: u64| {
        let [id, position, found @ ..] = nwd.ask(SP1, [uuid[0], uuid[1], position, register, 0]);
        (id, position & 0xffff_ffff, position >> 32 & 0xffff, found)
    };
    // EL3 has no logical partitions.
    let (id, position, ..) = query([0, 0], 0, 9);
    assert_eq!((id, position), (SUCCESS_64, 1 << 16 | 1));
    let unknown = query([5, 6], 0, 3);
    assert_eq!((unknown.0, unknown.1), (ERROR, 0xffff_fffe));
    let [first, second] = [FIRST, LAST].map(|id| [HEAD | u64::from(id), 5, 6]);
    // Ids in EL3's answer that are not in its range are not listed.
    let foreign = [HEAD | u64::from(SP2), 7, 8];
    system.machine.journal().logical_partitions = vec![first, foreign, second];
    let (id, position, tag, found) = query([0, 0], 0, 9);
    assert_eq!((id, position, found), (SUCCESS_64, 3 << 16 | 3, first));
    let (id, position, _, found) = query([0, 0], tag << 16 | 3, 3);
    assert_eq!((id, position, found), (SUCCESS_64, 3 << 16 | 3, second));
    // By a UUID that no partition has.
    let (id, position, _, found) = query([5, 6], 0, 6);
    assert_eq!((id, position, found), (SUCCESS_64, 1 << 16 | 1, second));
    // The Normal world cannot be sent requests by logical partitions.
    assert_eq!(nwd.call([PARTITION_INFO_GET_REGS, 0, 0, 0]), before);
}
