//! Races of Secure interrupts with events of the partition that owns them. Each interrupt is
//! handled exactly once, on whichever PE. Each race runs with a preemption at every point at which
//! one PE can be stopped for another, see `schedule::explore`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use host_tests::ffa::*;
use host_tests::schedule::explore;
use host_tests::{Nwd, PartitionSpec, Sp, System};

const SP1: u16 = 0x8001;
const SP2: u16 = 0x8002;
const SP3: u16 = 0x8003;
const LINES: [u32; 2] = [40, 41];

const ENABLE: u64 = 0xff03;
const GET: u64 = 0xff04;
const DEACTIVATE: u64 = 0xff08;
const SEND_IPI: u64 = 0xff0a;
const NONE: u64 = 0xffff_ffff;
const IPI: u64 = 9;

type Body<'a> = Box<dyn FnOnce(Nwd<'a>) + Send + 'a>;

fn handle(sp: &mut Sp, count: &AtomicU64) {
    loop {
        let line = sp.call([GET]).0[0];
        if line == NONE {
            return;
        }
        count.fetch_add(1, SeqCst);
        assert_eq!(sp.call([DEACTIVATE, line, line]).0[0], 0);
    }
}

/// Returns a UP partition that owns [`LINES`]. While it processes a request, it looks for
/// interrupts only if `looks` is set.
fn owner(count: &Arc<AtomicU64>, looks: bool) -> PartitionSpec {
    let count = Arc::clone(count);
    PartitionSpec::new("owner")
        .with(|spec| {
            spec.device = true;
            let cells = LINES.iter().flat_map(|line| [*line, 0x910]).collect();
            spec.device_properties.push(("interrupts", cells));
        })
        .script(move |sp| {
            for line in LINES {
                assert_eq!(sp.call([ENABLE, line.into(), 1, 0]).0[0], 0);
            }
            let mut message = sp.msg_wait();
            loop {
                sp.poll();
                message = match message.0[0] {
                    DIRECT_REQ_64 => {
                        if looks {
                            handle(sp, &count);
                        }
                        let payload = message.payload();
                        sp.respond(&message, payload)
                    }
                    INTERRUPT => {
                        handle(sp, &count);
                        sp.msg_wait()
                    }
                    other => panic!("{other:#x}"),
                };
            }
        })
}

/// Takes the pending interrupts of `pe`, on which the Normal world runs.
fn take(system: &System, pe: usize) {
    for _ in 0..20 {
        if !system.machine.gic().has_interrupt(pe) {
            return;
        }
        let answer = system.pe(pe).call([INTERRUPT]);
        assert_eq!(answer.0[0], NORMAL_WORLD_RESUME);
    }
    panic!("PE {pe} is interrupted for ever");
}

fn boot(spec: PartitionSpec, pes: usize) -> System {
    let system = System::boot([spec]);
    for pe in 1..pes {
        system.turn_on(pe);
    }
    system
}

/// Checks that the remaining interrupts get handled, and that the partition still works.
fn settle(system: &System, pes: usize) {
    for _ in 0..2 {
        for pe in 0..pes {
            take(system, pe);
        }
    }
    let gic = system.machine.gic();
    assert!(LINES.iter().all(|line| !gic.is_active(*line)));
}

/// Raises `lines` on PE 0 while the other PEs make requests. Each interrupt is handled once.
fn interrupts_against_requests(lines: &'static [u32], callers: usize) {
    for looks in [false, true] {
        explore(|plan| {
            let count = Arc::<AtomicU64>::default();
            let system = boot(owner(&count, looks), callers + 1);
            // The owner has run on another PE.
            system.pe(1).ask(SP1, [0; 5]);
            let interrupted: Body<'_> = Box::new(|_| {
                for line in lines {
                    system.machine.gic().pulse(*line);
                    take(&system, 0);
                }
            });
            let mut bodies = vec![interrupted];
            for pe in 1..=callers {
                let system = &system;
                bodies.push(Box::new(move |nwd| {
                    let answer = nwd.request(SP1, [7; 5]);
                    match answer.error() {
                        None => assert_eq!(answer.payload(), [7; 5]),
                        Some(code) => assert_eq!(code, BUSY),
                    }
                    take(system, pe);
                }));
            }
            let points = system.interleave_by(plan, bodies);
            settle(&system, callers + 1);
            assert_eq!(count.load(SeqCst), lines.len() as u64);
            assert_eq!(system.nwd().ask(SP1, [3; 5]), [3; 5]);
            points
        });
    }
}

// req: INT-05, INT-14
#[test]
fn an_interrupt_while_its_owner_serves_another_pe() {
    interrupts_against_requests(&LINES[..1], 1);
}

// req: INT-05, INT-14
#[test]
fn two_interrupts_while_their_owner_serves_another_pe() {
    interrupts_against_requests(&LINES, 1);
}

// req: INT-05, INT-14
#[test]
fn two_interrupts_while_their_owner_is_called_by_two_pes() {
    interrupts_against_requests(&LINES, 2);
}

// req: INT-05, INT-14
#[test]
fn interrupts_on_two_pes_for_one_owner() {
    explore(|plan| {
        let count = Arc::<AtomicU64>::default();
        let system = boot(owner(&count, true), 2);
        system.machine.gic().route(LINES[1], 1);
        let body = |pe: usize| -> Body<'_> {
            let system = &system;
            Box::new(move |_| {
                for _ in 0..2 {
                    system.machine.gic().pulse(LINES[pe]);
                    take(system, pe);
                }
            })
        };
        let points = system.interleave_by(plan, vec![body(0), body(1)]);
        settle(&system, 2);
        // An interrupt that is raised again before it is acknowledged is one interrupt.
        let handled = count.load(SeqCst);
        assert!((2..=4).contains(&handled), "{handled}");
        points
    });
}

// req: INT-05, INT-07
#[test]
fn contexts_interrupt_each_other_on_two_pes() {
    explore(|plan| {
        let counts: Arc<[AtomicU64; 2]> = Arc::default();
        let seen = Arc::clone(&counts);
        let spec = PartitionSpec::new("many").vcpus(4).script(move |sp| {
            assert_eq!(sp.call([ENABLE, IPI, 1, 0]).0[0], 0);
            let mut message = sp.msg_wait();
            loop {
                sp.poll();
                if message.0[0] == DIRECT_REQ_64 {
                    let other = 1 - u64::from(sp.vcpu);
                    assert_eq!(sp.call([SEND_IPI, other]).0[0], 0);
                    let payload = message.payload();
                    message = sp.respond(&message, payload);
                } else {
                    handle(sp, &seen[usize::from(sp.vcpu)]);
                    message = sp.msg_wait();
                }
            }
        });
        let system = boot(spec, 2);
        let body = |pe: usize| -> Body<'_> {
            let system = &system;
            Box::new(move |nwd| {
                nwd.ask(SP1, [1; 5]);
                take(system, pe);
            })
        };
        let points = system.interleave_by(plan, vec![body(0), body(1)]);
        settle(&system, 2);
        assert_eq!([0, 1].map(|n| counts[n].load(SeqCst)), [1, 1]);
        points
    });
}

/// Returns a partition that asks sp2 in each request, and resumes sp2 if an interrupt stopped it.
fn blocked_owner(count: &Arc<AtomicU64>) -> PartitionSpec {
    let count = Arc::clone(count);
    owner(&Arc::default(), false).script(move |sp| {
        for line in LINES {
            assert_eq!(sp.call([ENABLE, line.into(), 1, 0]).0[0], 0);
        }
        let mut message = sp.msg_wait();
        loop {
            message = if message.0[0] == DIRECT_REQ_64 {
                let mut answer = sp.call([DIRECT_REQ_64, u64::from(SP1) << 16 | u64::from(SP2)]);
                while answer.0[0] == INTERRUPT {
                    handle(sp, &count);
                    sp.poll();
                    answer = sp.call([RUN, u64::from(SP2) << 16]);
                }
                assert_eq!(answer.0[0], DIRECT_RESP_64);
                let payload = message.payload();
                sp.respond(&message, payload)
            } else {
                handle(sp, &count);
                sp.msg_wait()
            };
            sp.poll();
        }
    })
}

/// Returns a partition that looks for interrupts in each request.
fn looks(name: &str) -> PartitionSpec {
    PartitionSpec::new(name).script(|sp| {
        sp.serve(|sp, request| {
            for _ in 0..2 {
                sp.poll();
            }
            request.payload()
        })
    })
}

// req: INT-05, INT-08, INT-14
#[test]
fn two_interrupts_while_their_owner_is_blocked_on_another_pe() {
    two_interrupts_while_their_owner_is_blocked(&[looks("other")]);
}

// req: INT-05, INT-08, INT-14
#[test]
fn two_interrupts_while_their_owner_is_blocked_above_a_chain_on_another_pe() {
    let middle = PartitionSpec::new("middle").script(|sp| {
        sp.serve(|sp, request| {
            sp.poll();
            let ids = u64::from(SP2) << 16 | u64::from(SP3);
            assert_eq!(sp.call([DIRECT_REQ_64, ids]).0[0], DIRECT_RESP_64);
            sp.poll();
            request.payload()
        })
    });
    two_interrupts_while_their_owner_is_blocked(&[middle, looks("last")]);
}

/// Runs a race of two interrupts. `others` are the chain below the owner.
fn two_interrupts_while_their_owner_is_blocked(others: &[PartitionSpec]) {
    explore(|plan| {
        let count = Arc::<AtomicU64>::default();
        let specs = std::iter::once(blocked_owner(&count)).chain(others.iter().cloned());
        let system = System::boot(specs);
        system.turn_on(1);
        let interrupted: Body<'_> = Box::new(|_| {
            for line in LINES {
                system.machine.gic().pulse(line);
                take(&system, 0);
            }
        });
        let caller: Body<'_> = Box::new(|nwd| {
            let mut answer = nwd.request(SP1, [7; 5]);
            while answer.error() == Some(BUSY) {
                answer = nwd.request(SP1, [7; 5]);
            }
            assert_eq!(answer.payload(), [7; 5]);
            take(&system, 1);
        });
        let points = system.interleave_by(plan, vec![interrupted, caller]);
        settle(&system, 2);
        assert_eq!(count.load(SeqCst), 2);
        points
    });
}

// req: INT-09
#[test]
fn an_interrupt_while_its_owner_dies() {
    explore(|plan| {
        let spec = owner(&Arc::default(), true)
            .with(|spec| spec.takes_exceptions = false)
            .script(|sp| {
                assert_eq!(sp.call([ENABLE, LINES[0].into(), 1, 0]).0[0], 0);
                loop {
                    if sp.msg_wait().0[0] == DIRECT_REQ_64 {
                        sp.trap(0);
                    }
                }
            });
        let system = boot(spec, 2);
        let interrupted: Body<'_> = Box::new(|_| {
            system.machine.gic().pulse(LINES[0]);
            take(&system, 0);
        });
        let killer: Body<'_> = Box::new(|nwd| {
            let mut answer = nwd.request(SP1, [0; 5]);
            while answer.error() == Some(BUSY) {
                answer = nwd.request(SP1, [0; 5]);
            }
            assert_eq!(answer.error(), Some(ABORTED));
            take(&system, 1);
        });
        let points = system.interleave_by(plan, vec![interrupted, killer]);
        settle(&system, 2);
        points
    });
}

/// Returns a UP partition that queues interrupts of others. While it processes a request, its
/// interrupt `line` becomes pending; it handles `line` only after the response.
fn queues(name: &str, line: u32, count: &Arc<AtomicU64>) -> PartitionSpec {
    let count = Arc::clone(count);
    PartitionSpec::new(name)
        .with(|spec| {
            spec.device = true;
            spec.device_properties
                .push(("interrupts", vec![line, 0x910]));
            spec.ns_interrupts = 0;
        })
        .property("other-s-interrupts-action", 0)
        .script(move |sp| {
            assert_eq!(sp.call([ENABLE, line.into(), 1, 0]).0[0], 0);
            let mut message = sp.msg_wait();
            loop {
                message = if message.0[0] == DIRECT_REQ_64 {
                    sp.gic(|gic| gic.pulse(line));
                    sp.poll();
                    let payload = message.payload();
                    sp.respond(&message, payload)
                } else {
                    handle(sp, &count);
                    sp.msg_wait()
                };
            }
        })
}

// Each of two contexts begins to wait with pending interrupts, while its PE looks for contexts that
// can handle interrupts. Neither PE waits for a context that the other one has claimed.
// req: INT-05, INT-07
#[test]
fn two_that_leave_their_interrupts_begin_to_wait_on_two_pes() {
    explore(|plan| {
        let counts: [Arc<AtomicU64>; 2] = Default::default();
        let system = System::boot([
            queues("a", LINES[0], &counts[0]),
            queues("b", LINES[1], &counts[1]),
        ]);
        system.turn_on(1);
        system.machine.gic().route(LINES[1], 1);
        // Each PE looks at the other PE's partition first.
        system.machine.gic().pulse(LINES[1]);
        take(&system, 1);
        let body = |pe: usize, to: u16| -> Body<'_> {
            let system = &system;
            Box::new(move |nwd| {
                nwd.ask(to, [7; 5]);
                take(system, pe);
            })
        };
        let points = system.interleave_by(plan, vec![body(0, SP1), body(1, SP2)]);
        settle(&system, 2);
        assert_eq!([0, 1].map(|n| counts[n].load(SeqCst)), [1, 2]);
        points
    });
}
