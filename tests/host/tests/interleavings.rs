//! Interleavings: the Normal world makes calls on several PEs at once, and at each access to the
//! hardware another PE may run first. Each scenario runs with many seeds: `HOST_INTERLEAVINGS` is
//! the number of seeds, and `HOST_SEED` selects them. Races of memory calls are in `races.rs`.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use host_tests::ffa::*;
use host_tests::schedule::{explore, seeds};
use host_tests::system::NWD_RX;
use host_tests::{Nwd, PartitionSpec, Regs, Sp, System, restless};
use spmc::addr::World::{NonSecure, Secure};

/// Runs a race in random orders, some of them with background activity ([`restless`]).
fn orders(mut race: impl FnMut(u64)) {
    for seed in seeds("HOST_INTERLEAVINGS", 60) {
        race(seed);
    }
    for seed in seeds("HOST_RESTLESS", 10) {
        restless::with(|| race(seed));
    }
}

type Body<'a> = Box<dyn FnOnce(Nwd<'a>) + Send + 'a>;

fn echo(sp: &mut Sp) {
    sp.serve(|_, request| request.payload());
}

/// Runs a preempted partition until it answers. Returns the answer.
fn finish(nwd: Nwd<'_>, mut answer: Regs) -> Regs {
    for _ in 0..1000 {
        if answer.function() != INTERRUPT {
            return answer;
        }
        answer = nwd.call([RUN, answer.0[1]]);
    }
    panic!("it never ends: {answer:?}");
}

// req: MSGD-07, RUN-24, GEN-19, RXTX-16
#[test]
fn one_up_partition_and_two_callers() {
    let mut busy = 0;
    orders(|seed| {
        let served = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&served);
        let system = System::boot([PartitionSpec::new("up").script(move |sp| {
            sp.serve(|_, request| {
                count.fetch_add(1, Ordering::Relaxed);
                request.payload()
            })
        })]);
        let answered = AtomicUsize::new(0);
        let body = |nwd: Nwd<'_>| {
            for n in 0..3 {
                let answer = nwd.request(0x8001, [n; 5]);
                match answer.error() {
                    Some(code) => assert_eq!(code, BUSY),
                    None => {
                        assert_eq!(
                            (answer.function(), answer.payload()),
                            (DIRECT_RESP_64, [n; 5])
                        );
                        answered.fetch_add(1, Ordering::Relaxed);
                    }
                }
            }
        };
        system.interleave(seed, vec![Box::new(body), Box::new(body), Box::new(body)]);
        let answered = answered.into_inner();
        assert_eq!(
            answered,
            served.load(Ordering::Relaxed),
            "each answer was served once"
        );
        assert!(answered > 0, "somebody gets through");
        busy += 9 - answered;
        system.nwd().ask(0x8001, [1; 5]);
    });
    assert!(busy > 0, "no two callers ever met");
}

// req: MSGD-07, MSGD-24, MSGW-14, RUN-23, RUN-24
#[test]
fn a_request_and_a_run_of_the_same_partition() {
    orders(|seed| {
        let system = System::boot([PartitionSpec::new("up").script(|sp| {
            sp.serve(|sp, request| {
                sp.interrupt();
                sp.interrupt();
                request.payload()
            })
        })]);
        let responses = AtomicUsize::new(0);
        let requests = AtomicUsize::new(0);
        let body = |nwd: Nwd<'_>| {
            for _ in 0..4 {
                let request = nwd.request(0x8001, [7; 5]);
                if request.error() != Some(BUSY) {
                    requests.fetch_add(1, Ordering::Relaxed);
                }
                // Any PE may resume a context that is not pinned.
                for answer in [request, nwd.call([RUN, 0x8001_0000])] {
                    match answer.function() {
                        DIRECT_RESP_64 => {
                            assert_eq!(answer.payload(), [7; 5]);
                            responses.fetch_add(1, Ordering::Relaxed);
                        }
                        INTERRUPT | MSG_WAIT => assert_eq!(answer.0[1], 0x8001_0000),
                        _ => assert_eq!(answer.error(), Some(BUSY)),
                    }
                }
            }
        };
        system.interleave(seed, vec![Box::new(body), Box::new(body)]);
        // Complete what is still in progress.
        let rest = system.nwd().call([RUN, 0x8001_0000]);
        let rest = finish(system.nwd(), rest);
        if rest.function() == DIRECT_RESP_64 {
            responses.fetch_add(1, Ordering::Relaxed);
        }
        assert_eq!(
            responses.into_inner(),
            requests.into_inner(),
            "one response to each request"
        );
    });
}

// req: MSGD-07, MSGD-20, MSGD-23
#[test]
fn partitions_that_call_each_other_do_not_dead_lock() {
    let call = |peer: u64| {
        move |sp: &mut Sp| {
            sp.serve(|sp, request| {
                let own = u64::from(sp.id);
                if request.0[3] == 0 {
                    return [9, 0, 0, 0, 0];
                }
                let answer = sp.call([DIRECT_REQ_64, own << 16 | peer, 0, 0]);
                match answer.error() {
                    Some(code) => [code as u64, 0, 0, 0, 0],
                    None => answer.payload(),
                }
            })
        }
    };
    let mut busy = 0;
    orders(|seed| {
        let system = System::boot([
            PartitionSpec::new("sp1").script(call(0x8002)),
            PartitionSpec::new("sp2").script(call(0x8001)),
        ]);
        let met = AtomicUsize::new(0);
        let body = |to: u16| {
            let met = &met;
            move |nwd: Nwd<'_>| {
                for _ in 0..3 {
                    let answer = nwd.request(to, [1; 5]);
                    if answer.error() != Some(BUSY) {
                        assert_eq!(answer.function(), DIRECT_RESP_64);
                        assert!(answer.0[3] == 9 || answer.0[3] == BUSY as u64, "{answer:?}");
                        if answer.0[3] == 9 {
                            continue;
                        }
                    }
                    met.fetch_add(1, Ordering::Relaxed);
                }
            }
        };
        system.interleave(seed, vec![Box::new(body(0x8001)), Box::new(body(0x8002))]);
        busy += met.into_inner();
        assert_eq!(system.nwd().ask(0x8001, [1; 5])[0], 9);
        assert_eq!(system.nwd().ask(0x8002, [1; 5])[0], 9);
    });
    assert!(busy > 0, "they never met");
}

// req: RXTX-16, RXTX-27, RXTX-15
#[test]
fn discovery_against_unmap() {
    orders(|seed| {
        let system = System::boot([PartitionSpec::new("sp1")]);
        system.nwd().map_buffers();
        let partitions = system.spmc.partitions.len() as u64;
        let query: Body = Box::new(|nwd| {
            for _ in 0..3 {
                let answer = nwd.call([PARTITION_INFO_GET]);
                match answer.error() {
                    Some(code) => assert_eq!(code, BUSY),
                    // A failed partition is not listed. The background partition fails now and
                    // then.
                    None => assert!((1..=partitions).contains(&answer.success()[0])),
                }
            }
        });
        let unmap: Body = Box::new(|nwd| {
            nwd.call([RXTX_UNMAP]).success();
            // From here on the page is ordinary memory, to which only this test writes.
            nwd.write(NWD_RX, &[0x5a; 64]);
            assert_eq!(nwd.call([RX_RELEASE]).error(), Some(DENIED));
            assert_eq!(nwd.read(NWD_RX, 64), [0x5a; 64]);
        });
        system.interleave(seed, vec![query, unmap]);
        assert_eq!(system.nwd().read(NWD_RX, 64), [0x5a; 64]);
        system.nwd().map_buffers();
        system.nwd().call([PARTITION_INFO_GET]).success();
    });
}

// req: MEMX-20, MEML-08, MEMO-09, GEN-03
#[test]
fn tables_change_under_a_running_partition() {
    orders(|seed| {
        // One context lends and reclaims a page; the other uses the pages around it all the time.
        let system = System::boot([
            PartitionSpec::new("mp").vcpus(2).script(|sp| {
                let page = sp.base() + 0x4_0000;
                if sp.vcpu == 0 {
                    sp.map_buffers();
                }
                sp.serve(move |sp, _| {
                    if sp.vcpu == 0 {
                        let lend = Transaction::lend(0x8001, 0x8002, RW, &[(page, 1)]);
                        let handle = sp.send(MEM_LEND_64, &lend);
                        assert!(!sp.poke(Secure, page, 1));
                        sp.reclaim(handle, 0).success();
                        assert!(sp.poke(Secure, page, 1));
                    } else {
                        assert!(
                            sp.poke(Secure, page + 0x1000, 2),
                            "a page that was never lent"
                        );
                        assert!(
                            sp.poke(Secure, page - 0x1000, 2),
                            "a page that was never lent"
                        );
                    }
                    [0; 5]
                })
            }),
            PartitionSpec::new("sp2"),
        ]);
        system.turn_on(1);
        let body = |nwd: Nwd<'_>| {
            for _ in 0..8 {
                nwd.ask(0x8001, [0; 5]);
            }
        };
        system.interleave(seed, vec![Box::new(body), Box::new(body)]);
    });
}

// req: MEMX-20, GEN-03, MEMO-09
#[test]
fn blocks_are_split_under_a_running_partition() {
    const BLOCK: u64 = 0x4200_0000;
    orders(|seed| {
        // The partition owns a whole block. One context lends a page of the block, which splits it,
        // and reclaims the page, which joins the block again.
        let system = System::builder()
            .seed(seed)
            .sp(PartitionSpec::new("mp").vcpus(2).script(|sp| {
                if sp.vcpu == 0 {
                    sp.map_buffers();
                }
                sp.serve(|sp, request| {
                    let handle = request.0[3];
                    if sp.vcpu == 1 {
                        assert!(
                            sp.poke(NonSecure, BLOCK + 0x1000, 1),
                            "a page that was never lent"
                        );
                        assert!(
                            sp.poke(NonSecure, BLOCK + 0x1f_f000, 1),
                            "a page that was never lent"
                        );
                    } else if handle != 0 {
                        let request = Transaction::retrieve(0, 0x8001, handle, RW);
                        sp.retrieve(&Transaction {
                            attributes: 0,
                            ..request
                        })
                        .unwrap();
                    } else {
                        let lend = Transaction::lend(0x8001, 0x8002, RW, &[(BLOCK + 0x5000, 1)]);
                        let handle = sp.send(MEM_LEND_64, &lend);
                        assert!(!sp.poke(NonSecure, BLOCK + 0x5000, 1));
                        sp.reclaim(handle, 0).success();
                        assert!(sp.poke(NonSecure, BLOCK + 0x5000, 1));
                    }
                    [0; 5]
                })
            }))
            .sp(PartitionSpec::new("sp2"))
            .boot();
        system.turn_on(1);
        let nwd = system.nwd();
        nwd.map_buffers();
        let handle = nwd.send(
            MEM_DONATE_64,
            &Transaction::donate(0, 0x8001, &[(BLOCK, 512)]),
        );
        nwd.ask(0x8001, [handle, 0, 0, 0, 0]);
        let body = |nwd: Nwd<'_>| {
            for _ in 0..6 {
                nwd.ask(0x8001, [0; 5]);
            }
        };
        system.interleave(seed, vec![Box::new(body), Box::new(body)]);
    });
}

// req: MSGD-08, MSGW-16, BOOT-11
#[test]
fn a_partition_that_fails_on_one_pe_is_gone_on_all() {
    orders(|seed| {
        let system = System::boot([
            PartitionSpec::new("mp")
                .vcpus(3)
                .with(|sp| sp.takes_exceptions = false)
                .script(|sp| {
                    sp.serve(|sp, request| {
                        if sp.vcpu == 0 && request.0[3] == 2 {
                            sp.trap(0);
                        }
                        request.payload()
                    })
                }),
            PartitionSpec::new("other").vcpus(3).script(echo),
        ]);
        system.turn_on(1);
        system.turn_on(2);
        let body = |nwd: Nwd<'_>| {
            let mut dead = false;
            for n in 0..5 {
                let answer = nwd.request(0x8001, [n; 5]);
                if answer.error().is_some() {
                    assert_eq!(answer.error(), Some(ABORTED));
                    dead = true;
                } else {
                    assert!(!dead, "it came back");
                }
                nwd.ask(0x8002, [n; 5]);
            }
        };
        system.interleave(seed, vec![Box::new(body), Box::new(body), Box::new(body)]);
        for pe in 0..3 {
            system.pe(pe).refused([DIRECT_REQ_64, 0x8001], ABORTED);
        }
    });
}

// A version that one PE negotiates does not reopen the negotiation that another PE has ended.
// req: VER-13
#[test]
fn negotiation_ends_while_another_pe_negotiates() {
    explore(|plan| {
        let system = System::boot([PartitionSpec::new("sp1")]);
        let negotiate: Body = Box::new(|nwd| {
            nwd.call([VERSION, 0x1_0000]);
        });
        let end: Body = Box::new(|nwd| {
            nwd.call([ID_GET]).success();
        });
        let points = system.interleave_by(plan, vec![negotiate, end]);
        // The version is neither the earlier one nor the requested one.
        let answer = system.nwd().call([VERSION, 0x1_0001]);
        assert_eq!(answer.0[0] as u32 as i32, NOT_SUPPORTED);
        points
    });
}

// req: MSGD-07, GEN-19
#[test]
fn sixty_four_pes_call_thirty_two_partitions() {
    const PES: u16 = 64;
    const PARTITIONS: u16 = 32;
    for seed in seeds("HOST_CROWDS", 2) {
        let specs = (0..PARTITIONS).map(|index| {
            let contexts = if index % 2 == 0 { 1 } else { PES };
            PartitionSpec::new(&format!("sp{index}"))
                .vcpus(contexts.into())
                .script(echo)
        });
        let builder = System::builder().pes(PES.into()).tables(1024);
        let system = specs.fold(builder, |builder, spec| builder.sp(spec)).boot();
        for pe in 1..PES {
            system.turn_on(pe.into());
        }
        let answered = AtomicUsize::new(0);
        let body = |pe: u16| -> Body<'_> {
            let answered = &answered;
            Box::new(move |nwd| {
                for id in [0x8001 + pe % PARTITIONS, 0x8001 + (pe + 1) % PARTITIONS] {
                    let answer = nwd.request(id, [pe.into(); 5]);
                    // Only a context that migrates can be on another PE.
                    if answer.error() == Some(BUSY) && id % 2 == 1 {
                        continue;
                    }
                    assert_eq!(answer.payload(), [pe.into(); 5]);
                    answered.fetch_add(1, Ordering::Relaxed);
                }
            })
        };
        system.interleave(seed, (0..PES).map(body).collect());
        assert!(
            answered.into_inner() >= usize::from(PES),
            "those that are pinned answer"
        );
    }
}
