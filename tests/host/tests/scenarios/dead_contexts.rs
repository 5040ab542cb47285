//! Tests what happens to the other contexts of a partition when one of them fails, and to contexts
//! that fail before they are ready.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::thread::{scope, yield_now};

use host_tests::ffa::*;
use host_tests::{PartitionSpec, Sp, System};

const SP1: u16 = 0x8001;
const SP2: u16 = 0x8002;

/// The progress of a script, and the limit that a test sets.
#[derive(Default)]
struct Gate {
    reached: AtomicU64,
    opened: AtomicU64,
}

impl Gate {
    /// Reaches the point `n`, and waits until the test lets the script continue.
    fn pass(&self, n: u64) {
        self.reached.store(n, SeqCst);
        while self.opened.load(SeqCst) < n {
            yield_now();
        }
    }

    fn wait_for(&self, n: u64) {
        while self.reached.load(SeqCst) < n {
            yield_now();
        }
    }
}

fn fails(sp: &mut Sp) -> ! {
    sp.trap(0);
    unreachable!("it is dead")
}

/// Returns a partition with two contexts, the second of which fails in its first request.
fn mortal(script: impl Fn(&mut Sp) + Send + Sync + 'static) -> PartitionSpec {
    PartitionSpec::new("mortal")
        .vcpus(2)
        .with(|spec| spec.takes_exceptions = false)
        .script(move |sp| {
            if sp.vcpu == 1 {
                sp.msg_wait();
                fails(sp)
            }
            script(sp);
        })
}

// req: MSGW-16, RUN-19
#[test]
fn a_context_that_waits_is_not_run_once_its_partition_failed() {
    let system = System::boot([mortal(|sp| {
        sp.msg_wait();
        unreachable!("it is dead");
    })]);
    system.turn_on(1);
    assert_eq!(system.pe(1).request(SP1, [0; 5]).error(), Some(ABORTED));
    let nwd = system.nwd();
    nwd.refused([RUN, u64::from(SP1) << 16], ABORTED);
    nwd.refused([DIRECT_REQ_64, SP1.into()], ABORTED);
}

// req: MSGD-08
#[test]
fn a_context_that_runs_ends_at_its_next_call() {
    let gate = Arc::<Gate>::default();
    let own = Arc::clone(&gate);
    let system = System::boot([
        mortal(move |sp| {
            sp.msg_wait();
            own.pass(1);
            sp.call([DIRECT_REQ_64, 0x8001_8002]);
            unreachable!("it is dead");
        }),
        PartitionSpec::new("other").script(|sp| {
            sp.msg_wait();
            unreachable!("a dead partition sends a request");
        }),
    ]);
    system.turn_on(1);
    scope(|scope| {
        let first = scope.spawn(|| system.nwd().request(SP1, [0; 5]).error());
        gate.wait_for(1);
        assert_eq!(system.pe(1).request(SP1, [0; 5]).error(), Some(ABORTED));
        gate.opened.store(1, SeqCst);
        assert_eq!(first.join().unwrap(), Some(ABORTED));
    });
}

// req: MSGD-08
#[test]
fn a_response_does_not_bring_a_caller_back_that_failed_meanwhile() {
    let gate = Arc::<Gate>::default();
    let own = Arc::clone(&gate);
    let system = System::boot([
        mortal(|sp| {
            sp.msg_wait();
            sp.call([DIRECT_REQ_64, 0x8001_8002]);
            unreachable!("it is dead");
        }),
        PartitionSpec::new("slow").script(move |sp| {
            let own = Arc::clone(&own);
            sp.serve(move |_, request| {
                own.pass(1);
                request.payload()
            })
        }),
    ]);
    system.turn_on(1);
    scope(|scope| {
        let first = scope.spawn(|| system.nwd().request(SP1, [0; 5]).error());
        gate.wait_for(1);
        assert_eq!(system.pe(1).request(SP1, [0; 5]).error(), Some(ABORTED));
        gate.opened.store(1, SeqCst);
        assert_eq!(first.join().unwrap(), Some(ABORTED));
    });
    // The context has answered and waits for requests.
    assert_eq!(system.nwd().ask(SP2, [7; 5]), [7; 5]);
}

// req: BOOT-17, MSGD-08
#[test]
fn a_pe_that_comes_on_starts_nothing_of_a_partition_that_failed() {
    let starts = Arc::<AtomicU64>::default();
    let count = Arc::clone(&starts);
    let spec = PartitionSpec::new("mortal")
        .vcpus(4)
        .with(|spec| spec.takes_exceptions = false)
        .script(move |sp| {
            count.fetch_add(1, SeqCst);
            sp.msg_wait();
            fails(sp)
        });
    let system = System::boot([spec, PartitionSpec::new("other").vcpus(4)]);
    system.turn_on(1);
    assert_eq!(starts.load(SeqCst), 2);
    assert_eq!(system.pe(1).request(SP1, [0; 5]).error(), Some(ABORTED));
    assert_eq!(system.turn_on(2).function(), MSG_WAIT);
    assert_eq!(starts.load(SeqCst), 2);
    assert_eq!(system.pe(2).ask(SP2, [7; 5]), [7; 5]);
}

// A partition that does not complete its initialisation would be loaded again for ever.
#[test]
fn one_that_fails_while_it_starts_anew_is_not_started_again() {
    let lives = Arc::<AtomicU64>::default();
    let count = Arc::clone(&lives);
    let spec = PartitionSpec::new("sp")
        .property("abort-action", 2)
        .with(|spec| {
            spec.takes_exceptions = false;
            spec.extra = Some(Arc::new(|fdt| {
                fdt.property_null("lifecycle-support").unwrap();
            }));
        })
        .script(move |sp| {
            if count.fetch_add(1, SeqCst) == 0 {
                sp.msg_wait();
            }
            fails(sp)
        });
    let system = System::boot([spec, PartitionSpec::new("other")]);
    let nwd = system.nwd();
    assert_eq!(nwd.request(SP1, [0; 5]).error(), Some(ABORTED));
    for _ in 0..3 {
        nwd.refused([DIRECT_REQ_64, SP1.into()], ABORTED);
        nwd.ask(SP2, [0; 5]);
        assert_eq!(lives.load(SeqCst), 2);
    }
}

// The work for which the context was called before is over, too.
// req: MSGD-08, INT-09
#[test]
fn a_context_is_not_called_for_interrupts_once_its_partition_failed() {
    const ENABLE: u64 = 0xff03;
    const SEND_IPI: u64 = 0xff0a;
    const IPI: u64 = 9;
    let count = Arc::<AtomicU64>::default();
    let runs = Arc::clone(&count);
    let spec = PartitionSpec::new("mortal")
        .vcpus(2)
        .with(|spec| spec.takes_exceptions = false)
        .script(move |sp| {
            assert_eq!(sp.call([ENABLE, IPI, 1, 0]).0[0], 0);
            sp.msg_wait();
            if sp.vcpu == 0 {
                assert_eq!(sp.call([SEND_IPI, 1]).0[0], 0);
                fails(sp);
            }
            runs.fetch_add(1, SeqCst);
            sp.msg_wait();
        });
    let system = System::boot([spec]);
    system.turn_on(1);
    assert_eq!(system.nwd().request(SP1, [0; 5]).error(), Some(ABORTED));
    assert!(system.machine.gic().has_interrupt(1));
    let answer = system.pe(1).call([INTERRUPT]);
    assert_eq!(answer.function(), NORMAL_WORLD_RESUME);
    assert_eq!(count.load(SeqCst), 0);
}

// The partition fails once, however many of its contexts end because of that.
// req: MSGD-08
#[test]
fn the_end_of_one_more_context_starts_nobody_anew() {
    let gate = Arc::<Gate>::default();
    let own = Arc::clone(&gate);
    let starts = Arc::<AtomicU64>::default();
    let count = Arc::clone(&starts);
    let bystander = PartitionSpec::new("bystander")
        .property("abort-action", 2)
        .with(|spec| {
            spec.extra = Some(Arc::new(|fdt| {
                fdt.property_null("lifecycle-support").unwrap();
            }));
        })
        .script(move |sp| {
            count.fetch_add(1, SeqCst);
            sp.serve(|_, request| request.payload())
        });
    let mortal = mortal(move |sp| {
        sp.msg_wait();
        own.pass(1);
        sp.call([ID_GET]);
        unreachable!("it is dead");
    });
    let system = System::boot([bystander, mortal]);
    system.turn_on(1);
    scope(|scope| {
        let first = scope.spawn(|| system.nwd().request(SP2, [0; 5]).error());
        gate.wait_for(1);
        assert_eq!(system.pe(1).request(SP2, [0; 5]).error(), Some(ABORTED));
        gate.opened.store(1, SeqCst);
        assert_eq!(first.join().unwrap(), Some(ABORTED));
    });
    assert_eq!(system.nwd().ask(SP1, [7; 5]), [7; 5]);
    assert_eq!(starts.load(SeqCst), 1);
}

// req: MSGW-16, RUN-19
#[test]
fn a_context_that_yielded_does_not_go_on_once_its_partition_failed() {
    let system = System::boot([mortal(|sp| {
        sp.msg_wait();
        sp.call([YIELD]);
        unreachable!("it is dead");
    })]);
    system.turn_on(1);
    let nwd = system.nwd();
    let run = [RUN, u64::from(SP1) << 16];
    assert_eq!(nwd.call(run).function(), YIELD);
    assert_eq!(system.pe(1).request(SP1, [0; 5]).error(), Some(ABORTED));
    assert_eq!(nwd.call(run).error(), Some(ABORTED));
}
