//! Races in which a partition or a context stops or starts while another PE works with it. The
//! schedules are those of `races.rs`.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use host_tests::ffa::*;
use host_tests::schedule::{explore, explore_in, let_others_go};
use host_tests::{Nwd, PartitionSpec, Regs, Sp, System};

type Body<'a> = Box<dyn FnOnce(Nwd<'a>) + Send + 'a>;

const SP1: u16 = 0x8001;
const SP2: u16 = 0x8002;
const SP3: u16 = 0x8003;
const LINE: u32 = 40;

const ENABLE: u64 = 0xff03;
const GET: u64 = 0xff04;
const DEACTIVATE: u64 = 0xff08;
/// `PSCI_CPU_OFF` in a message of the SPMD.
const CPU_OFF: u64 = 0x8400_0002;

/// The value of x3 in a request that makes the partition fail. Other requests are echoed.
const DIE: u64 = 1;
const CALL: u64 = 2;

fn die(sp: &mut Sp) -> ! {
    sp.trap(0);
    unreachable!("it is dead");
}

/// Returns a partition that is restarted when it fails.
fn restarting(name: &str) -> PartitionSpec {
    PartitionSpec::new(name)
        .with(|sp| {
            sp.takes_exceptions = false;
            sp.extra = Some(Arc::new(|fdt| {
                fdt.property_null("lifecycle-support").unwrap();
            }));
        })
        .property("abort-action", 2)
        .script(|sp| {
            sp.serve(|sp, request| match request.0[3] {
                DIE => die(sp),
                _ => request.payload(),
            })
        })
}

/// Repeats a request while another PE has the partition.
fn insist(nwd: Nwd<'_>, to: u16, payload: [u64; 5]) -> Regs {
    for _ in 0..1000 {
        let answer = nwd.request(to, payload);
        if answer.error() != Some(BUSY) {
            return answer;
        }
        let_others_go();
    }
    panic!("{to:#x} is busy for ever");
}

/// Returns a partition that asks each of `victims` to die, and then works for a while.
fn killer(victims: &'static [u16]) -> PartitionSpec {
    PartitionSpec::new("killer").script(move |sp| {
        sp.serve(move |sp, _| {
            for victim in victims {
                let own = u64::from(sp.id);
                sp.call([DIRECT_REQ_64, own << 16 | u64::from(*victim), 0, DIE]);
            }
            for _ in 0..50 {
                sp.call([ID_GET]).success();
            }
            [0; 5]
        })
    })
}
// req: MSGD-08, MSGW-16
#[test]
fn a_partition_fails_again_while_others_are_restarted() {
    explore(|plan| {
        let system = System::boot([
            restarting("a"),
            restarting("b"),
            killer(&[SP1, SP2]),
            killer(&[SP1]),
        ]);
        system.turn_on(1);
        let both: Body = Box::new(|nwd| {
            assert_eq!(insist(nwd, SP3, [0; 5]).error(), None);
        });
        let again: Body = Box::new(|nwd| {
            assert_eq!(insist(nwd, 0x8004, [0; 5]).error(), None);
        });
        let points = system.interleave_by(plan, vec![both, again]);
        // A partition that is to be restarted is restarted during the next call.
        system.nwd().call([ID_GET]).success();
        for partition in [SP1, SP2] {
            assert_eq!(system.nwd().ask(partition, [7; 5]), [7; 5], "it runs again");
        }
        points
    });
}

// The other PE restarts the partition as soon as the PE on which the partition failed no longer
// uses it, and not before.
// req: MSGD-08, MSGW-16
#[test]
fn a_partition_is_restarted_by_another_pe_than_it_failed_on() {
    explore(|plan| {
        let system = System::boot([restarting("a")]);
        let kill: Body = Box::new(|nwd| {
            let answer = nwd.request(SP1, [DIE, 0, 0, 0, 0]);
            assert_eq!(answer.error(), Some(ABORTED));
        });
        let other: Body = Box::new(|nwd| {
            for _ in 0..2 {
                nwd.call([ID_GET]).success();
            }
        });
        let points = system.interleave_by(plan, vec![kill, other]);
        assert_eq!(system.nwd().ask(SP1, [7; 5]), [7; 5], "it runs again");
        points
    });
}

/// Returns a partition with two contexts. The second fails when it is called. The first is stopped
/// in its work by an interrupt of the owner of [`LINE`].
fn stopped_and_dead() -> PartitionSpec {
    PartitionSpec::new("callee")
        .vcpus(2)
        .with(|sp| sp.takes_exceptions = false)
        .script(|sp| {
            sp.serve(|sp, request| {
                if sp.vcpu == 1 {
                    die(sp);
                }
                sp.gic(|gic| gic.pulse(LINE));
                sp.poll();
                request.payload()
            })
        })
}

/// Asks `callee`, and repeats the request while another PE has it.
fn ask(sp: &mut Sp, callee: u64) -> Regs {
    loop {
        let answer = sp.call([DIRECT_REQ_64, u64::from(sp.id) << 16 | callee]);
        if answer.error() != Some(BUSY) {
            return answer;
        }
        let_others_go();
    }
}

/// Returns a partition that owns [`LINE`]. In a request it calls the next partition and resumes it.
fn calling_owner() -> PartitionSpec {
    PartitionSpec::new("owner")
        .with(|sp| {
            sp.device = true;
            sp.device_properties.push(("interrupts", vec![LINE, 0x910]));
        })
        .script(|sp| {
            sp.call([ENABLE, LINE.into(), 1, 0]);
            sp.serve(|sp, request| {
                if request.0[3] != CALL {
                    return request.payload();
                }
                let callee = u64::from(sp.id) + 1;
                let mut answer = ask(sp, callee);
                while answer.function() == INTERRUPT || answer.error() == Some(BUSY) {
                    if sp.call([GET]).0[0] == u64::from(LINE) {
                        sp.call([DEACTIVATE, LINE.into(), LINE.into()]);
                    }
                    let_others_go();
                    answer = sp.call([RUN, callee << 16]);
                }
                assert!(
                    answer.function() == DIRECT_RESP_64 || answer.error() == Some(ABORTED),
                    "{answer:?}"
                );
                [0; 5]
            })
        })
}
// req: MSGD-08, INT-08
#[test]
fn a_callee_dies_while_it_is_stopped_for_its_caller() {
    explore(|plan| {
        let system = System::boot([calling_owner(), stopped_and_dead()]);
        system.turn_on(1);
        let call: Body = Box::new(|nwd| {
            let answer = nwd.request(SP1, [CALL, 0, 0, 0, 0]);
            assert_eq!(answer.function(), DIRECT_RESP_64, "{answer:?}");
        });
        let kill: Body = Box::new(|nwd| {
            let answer = nwd.request(SP2, [0; 5]);
            assert_eq!(answer.error(), Some(ABORTED));
        });
        let points = system.interleave_by(plan, vec![call, kill]);
        let nwd = system.nwd();
        let run = nwd.call([RUN, u64::from(SP2) << 16]);
        assert_eq!(run.error(), Some(ABORTED));
        assert_eq!(nwd.ask(SP1, [7; 5]), [7; 5], "its caller has gone on");
        points
    });
}

/// Returns a partition that passes each request on to sp3.
fn passes_on() -> PartitionSpec {
    PartitionSpec::new("middle").script(|sp| {
        sp.serve(|sp, _| {
            let answer = ask(sp, SP3.into());
            assert!(
                answer.function() == DIRECT_RESP_64 || answer.error() == Some(ABORTED),
                "{answer:?}"
            );
            [0; 5]
        })
    })
}

// req: MSGD-08, RUN-23, INT-08
#[test]
fn the_last_one_dies_while_its_chain_is_stopped_for_its_owner() {
    explore(|plan| {
        let system = System::boot([calling_owner(), passes_on(), stopped_and_dead()]);
        system.turn_on(1);
        let call: Body = Box::new(|nwd| {
            let answer = nwd.request(SP1, [CALL, 0, 0, 0, 0]);
            assert_eq!(answer.function(), DIRECT_RESP_64, "{answer:?}");
        });
        let kill: Body = Box::new(|nwd| {
            let answer = nwd.request(SP3, [0; 5]);
            assert_eq!(answer.error(), Some(ABORTED));
        });
        let points = system.interleave_by(plan, vec![call, kill]);
        let nwd = system.nwd();
        assert_eq!(nwd.ask(SP1, [7; 5]), [7; 5]);
        assert_eq!(nwd.ask(SP2, [7; 5]), [0; 5], "it has gone on");
        points
    });
}

// The Normal world may run the stopped context once the time of the interrupt's owner is over.
// req: MSGW-15, INT-08
#[test]
fn a_chain_is_taken_over_while_its_owner_resumes_it() {
    explore(|plan| {
        let raises_once = PartitionSpec::new("callee").script(|sp| {
            sp.serve(|sp, request| {
                if request.0[3] != 7 {
                    sp.gic(|gic| gic.pulse(LINE));
                    sp.poll();
                }
                request.payload()
            })
        });
        let system = System::boot([calling_owner(), passes_on(), raises_once]);
        system.turn_on(1);
        let call: Body = Box::new(|nwd| {
            let answer = nwd.request(SP1, [CALL, 0, 0, 0, 0]);
            assert_eq!(answer.function(), DIRECT_RESP_64, "{answer:?}");
        });
        let machine = &system.machine;
        let take: Body = Box::new(|nwd| {
            machine.gic().pass(2_000_000);
            let last = nwd.call([RUN, u64::from(SP3) << 16]);
            assert!(
                matches!(last.error(), Some(BUSY | DENIED)) || last.function() == MSG_WAIT,
                "{last:?}"
            );
            let chain = nwd.call([RUN, u64::from(SP2) << 16]);
            assert!(
                matches!(chain.error(), Some(BUSY | DENIED | ABORTED))
                    || matches!(chain.function(), MSG_WAIT | INTERRUPT),
                "{chain:?}"
            );
        });
        let points = system.interleave_by(plan, vec![call, take]);
        let nwd = system.nwd();
        for member in [SP1, SP3] {
            assert_eq!(nwd.ask(member, [7; 5]), [7; 5]);
        }
        points
    });
}

/// Returns a partition that the Normal world can notify.
fn notified(vcpus: u32) -> PartitionSpec {
    PartitionSpec::new("notified")
        .vcpus(vcpus)
        .with(|sp| {
            sp.extra = Some(Arc::new(|fdt| {
                fdt.property_null("notification-support").unwrap();
            }));
        })
        .script(|sp| {
            if sp.vcpu == 0 {
                let own = u64::from(sp.id);
                sp.call([NOTIFICATION_BIND, own, 0, 0xffff_ffff, 0xffff_ffff])
                    .success();
            }
            sp.serve(|_, request| request.payload())
        })
}

fn notify(nwd: Nwd<'_>) {
    for bit in 0..2 {
        nwd.call([NOTIFICATION_SET, SP1.into(), 0, 1 << bit])
            .success();
    }
}
// req: MSGD-07, MSGD-24
#[test]
fn a_partition_that_waits_is_not_busy_because_it_is_notified() {
    for vcpus in [1, 2] {
        explore(|plan| {
            let system = System::boot([notified(vcpus)]);
            system.turn_on(1);
            let ask: Body = Box::new(|nwd| {
                for _ in 0..2 {
                    assert_eq!(nwd.ask(SP1, [7; 5]), [7; 5]);
                }
            });
            system.interleave_by(plan, vec![ask, Box::new(notify)])
        });
    }
}

// A context gets its PE's power management message even if another PE is looking at the context.
// req: FWK-04
#[test]
fn a_power_message_comes_while_its_partition_is_notified() {
    explore(|plan| {
        let told = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&told);
        let partition = notified(2)
            .property("power-management-messages", 7)
            .script(move |sp| {
                if sp.vcpu == 0 {
                    let own = u64::from(sp.id);
                    sp.call([NOTIFICATION_BIND, own, 0, 0xffff_ffff, 0xffff_ffff])
                        .success();
                }
                let message = sp.msg_wait();
                assert_eq!(message.0[1..4], [0x8000_8001, 0x8000_0000, CPU_OFF]);
                count.fetch_add(1, SeqCst);
                sp.call([DIRECT_RESP_32, 0x8001_8000, 0x8000_0002, 0]);
                unreachable!("it is off");
            });
        let system = System::boot([partition]);
        system.turn_on(1);
        let off: Body = Box::new(|nwd| {
            let answer = nwd.call([DIRECT_REQ_32, 0xffff_8000, 0x8000_0000, CPU_OFF]);
            assert_eq!(answer.0[2..4], [0x8000_0002, 0], "{answer:?}");
        });
        let points = system.interleave_by(plan, vec![Box::new(notify), off]);
        assert_eq!(told.load(SeqCst), 1);
        points
    });
}
// req: BOOT-17
#[test]
fn a_context_starts_while_its_partition_is_notified() {
    explore(|plan| {
        let system = System::boot([notified(2)]);
        let on: Body = Box::new(|_| assert_eq!(system.turn_on(1).error(), None));
        let points = system.interleave_by(plan, vec![Box::new(notify), on]);
        assert_eq!(system.pe(1).ask(SP1, [7; 5]), [7; 5]);
        points
    });
}

/// Lists all partitions by `FFA_PARTITION_INFO_GET_REGS`, from number `start` on. Returns the
/// number of the last partition, the tag, and the descriptors.
fn list(nwd: Nwd<'_>, start: u64, tag: u64) -> Result<(u64, u64, Vec<u64>), Option<i32>> {
    let answer = nwd.call([PARTITION_INFO_GET_REGS, 0, 0, tag << 16 | start]);
    if answer.function() != SUCCESS_64 {
        return Err(answer.error());
    }
    let last = answer.0[2] & 0xffff;
    let told = 3 * (last + 1 - start) as usize;
    Ok((
        last,
        answer.0[2] >> 32 & 0xffff,
        answer.0[3..3 + told].to_vec(),
    ))
}
// req: PINFO-12
#[test]
fn a_list_of_partitions_does_not_change_between_its_parts() {
    explore_in(1000, |plan| {
        let mortal = PartitionSpec::new("mortal")
            .with(|sp| sp.takes_exceptions = false)
            .script(|sp| sp.serve(|sp, _| die(sp)));
        let system = System::boot([mortal, notified(1), notified(1)]);
        system.turn_on(1);
        let kill: Body = Box::new(|nwd| {
            assert_eq!(nwd.request(SP1, [0; 5]).error(), Some(ABORTED));
        });
        let look: Body = Box::new(|nwd| {
            let (last, tag, all) = list(nwd, 0, 0).unwrap();
            match list(nwd, 1, tag) {
                Ok(rest) => assert_eq!(rest, (last, tag, all[3..].to_vec())),
                Err(error) => assert_eq!(error, Some(RETRY)),
            }
        });
        system.interleave_by(plan, vec![kill, look])
    });
}

// The cost of restarts adds up, whichever PEs make them.
// req: MSGW-16
#[test]
fn restarts_on_two_pes_are_both_paid_for() {
    const PRICE: u64 = 100;
    explore(|plan| {
        let system = System::boot([PartitionSpec::new("sp1")]);
        let restarts = &system.spmc.partitions[0].restarts;
        let body = || -> Body {
            Box::new(|_| {
                for _ in 0..10 {
                    assert!(restarts.may_begin(0, PRICE));
                    restarts.made(0, 0, PRICE);
                }
            })
        };
        let points = system.interleave_by(plan, vec![body(), body()]);
        assert!(
            !restarts.may_begin(PRICE - 1, PRICE),
            "twenty were paid for"
        );
        assert!(restarts.may_begin(PRICE, PRICE));
        points
    });
}

/// Returns a partition with two contexts that owns [`LINE`]. The first enables it, both handle it.
fn two_handlers(handled: &Arc<AtomicUsize>) -> PartitionSpec {
    let handled = Arc::clone(handled);
    PartitionSpec::new("mp")
        .vcpus(2)
        .with(|sp| {
            sp.device = true;
            sp.device_properties.push(("interrupts", vec![LINE, 0x910]));
        })
        .script(move |sp| {
            if sp.vcpu == 0 {
                sp.call([ENABLE, LINE.into(), 1, 0]);
            }
            loop {
                let message = sp.msg_wait();
                assert_eq!(message.function(), INTERRUPT);
                while sp.call([GET]).0[0] == u64::from(LINE) {
                    assert_eq!(sp.call([DEACTIVATE, LINE.into(), LINE.into()]).0[0], 0);
                    handled.fetch_add(1, SeqCst);
                }
            }
        })
}

// A context inherits an interrupt that one PE hands over, even if the context is only about to
// start.
// req: INT-04
#[test]
fn a_pe_goes_off_while_the_one_that_inherits_from_it_comes() {
    explore(|plan| {
        let handled = Arc::default();
        let system = System::boot([two_handlers(&handled)]);
        let off: Body = Box::new(|nwd| {
            let answer = nwd.call([DIRECT_REQ_32, 0xffff_8000, 0x8000_0000, CPU_OFF]);
            assert_eq!(answer.0[3], 0, "{answer:?}");
        });
        let on: Body = Box::new(|_| assert_eq!(system.turn_on(1).error(), None));
        let points = system.interleave_by(plan, vec![off, on]);
        let gic = || system.machine.gic();
        // In all other orders there was no context yet that could inherit the interrupt.
        if gic().target(LINE) == 1 {
            gic().pulse(LINE);
            while gic().has_interrupt(1) {
                system.pe(1).call([INTERRUPT]);
            }
            assert_eq!(handled.load(SeqCst), 1);
        }
        points
    });
}
