//! `abort-action` restart, many times: no restart is lost, and none keeps PEs busy.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use host_tests::ffa::*;
use host_tests::manifest::Region;
use host_tests::{PartitionSpec, Sp, System};

fn restarts(name: &str) -> PartitionSpec {
    PartitionSpec::new(name)
        .with(|sp| {
            sp.takes_exceptions = false;
            sp.extra = Some(Arc::new(|fdt| {
                fdt.property_null("lifecycle-support").unwrap();
            }));
        })
        .property("abort-action", 2)
}

fn wait(step: &AtomicU64) {
    while step.load(SeqCst) == 0 {
        std::thread::yield_now();
    }
}

/// Fails in a request with 1 in x3.
fn serve(sp: &mut Sp) {
    sp.serve(|sp, request| {
        if request.0[3] == 1 {
            sp.trap(0);
        }
        request.payload()
    })
}
// req: MSGD-08
#[test]
fn one_that_fails_again_while_another_pe_restarts_others_is_restarted() {
    // Three events: B starts for the second time; C was told that A failed; C may continue.
    let steps: Arc<[AtomicU64; 3]> = Arc::default();
    let lives = Arc::<AtomicU64>::default();
    let (b, c) = (Arc::clone(&steps), Arc::clone(&steps));
    let system = System::boot([
        restarts("a").script(serve),
        restarts("b").script(move |sp| {
            if lives.fetch_add(1, SeqCst) == 1 {
                b[0].store(1, SeqCst);
                wait(&b[1]);
            }
            serve(sp);
        }),
        PartitionSpec::new("c").script(move |sp| {
            let c = Arc::clone(&c);
            sp.serve(move |sp, request| {
                let answer = sp.call([DIRECT_REQ_64, 0x8003_8001, 0, 1]);
                assert_eq!(answer.error(), Some(ABORTED));
                c[1].store(1, SeqCst);
                wait(&c[2]);
                request.payload()
            })
        }),
        PartitionSpec::new("d").script(|sp| {
            sp.serve(|sp, request| {
                sp.call([DIRECT_REQ_64, 0x8004_8001, 0, 1]);
                sp.call([DIRECT_REQ_64, 0x8004_8002, 0, 1]);
                request.payload()
            })
        }),
    ]);
    system.turn_on(1);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            wait(&steps[0]);
            system.pe(1).ask(0x8003, [0; 5]);
        });
        system.nwd().ask(0x8004, [0; 5]);
        steps[2].store(1, SeqCst);
    });
    for partition in [0x8001, 0x8002] {
        assert_eq!(system.nwd().ask(partition, [7; 5]), [7; 5]);
    }
}

/// The time that one restart is worth, in microseconds.
const PRICE: u64 = 10_000_000;
// req: MSGD-08
#[test]
fn one_that_fails_again_and_again_has_to_wait() {
    let lives = Arc::<AtomicU64>::default();
    let count = Arc::clone(&lives);
    let system = System::boot([
        restarts("sp1").script(move |sp| {
            count.fetch_add(1, SeqCst);
            serve(sp);
        }),
        PartitionSpec::new("sp2"),
    ]);
    let nwd = system.nwd();
    let fail = || assert_eq!(nwd.request(0x8001, [1; 5]).error(), Some(ABORTED));
    for life in 1..=20 {
        assert_eq!(lives.load(SeqCst), life);
        assert_eq!(nwd.ask(0x8001, [7; 5]), [7; 5]);
        fail();
    }
    for life in 21..24 {
        assert_eq!(nwd.ask(0x8001, [7; 5]), [7; 5]);
        fail();
        assert_eq!(lives.load(SeqCst), life, "it has to wait");
        nwd.refused([DIRECT_REQ_64, 0x8001], ABORTED);
        assert_eq!(nwd.ask(0x8002, [2; 5]), [2; 5]);
        system.machine.gic().pass(PRICE - 1);
        nwd.refused([DIRECT_REQ_64, 0x8001], ABORTED);
        system.machine.gic().pass(1);
        // The next call, of any kind.
        assert_eq!(nwd.ask(0x8002, [2; 5]), [2; 5]);
    }
}
// req: MSGD-08
#[test]
fn one_that_takes_long_to_start_has_to_wait_longer() {
    const START: u64 = 25_000_000;
    let system = System::boot([restarts("sp1").script(move |sp| {
        sp.work(START);
        serve(sp);
    })]);
    let nwd = system.nwd();
    for _ in 0..2 {
        assert_eq!(nwd.request(0x8001, [1; 5]).error(), Some(ABORTED));
    }
    // The partition owes 10 s and 8 times 25 s, and may owe 190 s.
    nwd.refused([DIRECT_REQ_64, 0x8001], ABORTED);
    system
        .machine
        .gic()
        .pass(PRICE + 8 * START - 19 * PRICE - 1);
    nwd.refused([DIRECT_REQ_64, 0x8001], ABORTED);
    system.machine.gic().pass(1);
    nwd.call([FEATURES, RUN]);
    assert_eq!(nwd.ask(0x8001, [7; 5]), [7; 5]);
}

// As if the partition had called FFA_RXTX_MAP before it first ran.
// req: MSGD-08, RXTX-05
#[test]
fn buffers_that_the_manifest_names_are_there_in_each_life() {
    let region = |name, offset| Region {
        name,
        base: offset,
        relative: true,
        pages: 1,
        attributes: 3,
    };
    let spec = restarts("sp1").with(|sp| {
        sp.regions = vec![region("rx", 0x2_0000), region("tx", 0x2_1000)];
        sp.rx_tx = Some(("rx", "tx"));
    });
    let system = System::boot([spec.script(|sp| {
        let base = sp.base();
        let again = [RXTX_MAP_64, base + 0x3_0000, base + 0x3_1000, 1];
        sp.refused(again, DENIED);
        sp.call([PARTITION_INFO_GET]).success();
        sp.call([RX_RELEASE]).success();
        serve(sp);
    })]);
    let nwd = system.nwd();
    for _ in 0..2 {
        assert_eq!(nwd.ask(0x8001, [5; 5]), [5; 5]);
        assert_eq!(nwd.request(0x8001, [1; 5]).error(), Some(ABORTED));
    }
}
