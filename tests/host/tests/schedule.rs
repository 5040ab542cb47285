//! Tests the harness for races: an order depends only on its plan, and a deadlock of two PEs is
//! found.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use host_tests::ffa::*;
use host_tests::schedule::{Plan, Schedule, Trace};
use host_tests::system::NWD_PAGES;
use host_tests::{Nwd, PartitionSpec, System, restless};
use spmc::limits::SHARES_PARTITION;
use spmc::sync::Mutex;

type Body<'a> = Box<dyn FnOnce() + Send + 'a>;

/// Sends and reclaims on two PEs, which need the same locks all the time.
fn crowd(plan: Plan) -> Trace {
    let system = System::boot([PartitionSpec::new("sp1")]);
    system.nwd().map_buffers();
    let body = |page: u64| {
        move |nwd: Nwd<'_>| {
            let bytes = Transaction::share(0, 0x8001, RW, &[(page, 1)]).encode(Layout::V1_2);
            nwd.write(page + 0x8000, &bytes);
            let length = bytes.len() as u64;
            let buffer = page + 0x8000;
            let handle = nwd.call([MEM_SHARE_64, length, length, buffer, 1]).handle();
            nwd.reclaim(handle).success();
        }
    };
    let bodies = [NWD_PAGES, NWD_PAGES + 0x1000].map(|page| Box::new(body(page)) as _);
    system.interleave_by(plan, bodies.into())
}

#[test]
fn the_order_depends_on_the_plan_alone() {
    let mut orders = Vec::new();
    for seed in 0..20 {
        let order = crowd(Plan::Random(seed));
        assert_eq!(order, crowd(Plan::Random(seed)), "seed {seed}");
        orders.push(order);
    }
    for point in [0, 7, 20, 40] {
        let plan = Plan::Preempt {
            first: 1,
            at: vec![point],
        };
        let order = crowd(plan.clone());
        assert_eq!(order, crowd(plan), "stopped at {point}");
        orders.push(order);
    }
    orders.dedup();
    assert_eq!(orders.len(), 24, "each plan has an order of its own");
}

#[test]
fn a_restless_partition_uses_up_what_it_has_and_leaves_nothing() {
    let most = AtomicUsize::new(0);
    for seed in 0..10 {
        restless::with(|| {
            let system = System::boot([PartitionSpec::new("sp1")]);
            let before = system.snapshot();
            let look = |nwd: Nwd<'_>| {
                for _ in 0..300 {
                    nwd.call([ID_GET]);
                    most.fetch_max(system.spmc.shares.live(), SeqCst);
                }
            };
            system.interleave(seed, vec![Box::new(look)]);
            assert_eq!(before, system.snapshot());
            let restarted = system.spmc.partitions[1].turns();
            assert_eq!(restarted, 2, "it failed once and started anew");
        });
    }
    assert!(most.into_inner() > SHARES_PARTITION);
}

/// Runs two PEs, each of which takes two locks in its order of `orders`.
fn take(plan: Plan, orders: [[usize; 2]; 2]) {
    let locks = [Mutex::new(0), Mutex::new(0)];
    let bodies = orders.map(|order| -> Body<'_> {
        let locks = &locks;
        Box::new(move || {
            let [mut first, mut second] = order.map(|lock| locks[lock].lock());
            *first += 1;
            *second += 1;
        })
    });
    Arc::new(Schedule::new(plan, 2)).run(bodies.into());
    assert_eq!([*locks[0].lock(), *locks[1].lock()], [2, 2]);
}

#[test]
fn a_dead_lock_is_found() {
    let found = |orders| {
        let dead = |point: &usize| {
            let plan = Plan::Preempt {
                first: 0,
                at: vec![*point],
            };
            catch_unwind(AssertUnwindSafe(|| take(plan, orders))).is_err()
        };
        (0..8).filter(dead).collect::<Vec<_>>()
    };
    assert_eq!(found([[0, 1], [0, 1]]), [], "the same order");
    assert_eq!(found([[0, 1], [1, 0]]), [1], "stopped between both");
}
