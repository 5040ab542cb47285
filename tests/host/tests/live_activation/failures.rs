//! New images that fail, that cannot be loaded, or that nobody enters.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};

use host_tests::ffa::*;
use host_tests::manifest::{ENTRY, PARTITION_SIZE, partition_base};
use host_tests::{PartitionSpec, Sp, System};
use spmc::addr::World::Secure;

use super::stage::*;

const STOP_IT: u32 = 0;
const DESTROY: u32 = 1;
const RESTART: u32 = 2;

/// `init-timeout-ms`, in microseconds.
const LIMIT: u64 = 30_000_000;

/// Returns a partition whose new images fail by `fail` while they initialise.
fn fails(fail: impl Fn(&mut Sp) + Send + Sync + 'static) -> PartitionSpec {
    live("sp1", &[])
        .script(move |sp| {
            if image(sp) != b's' {
                assert!(takes_over(sp));
                fail(sp);
            }
            count(sp);
        })
        .with(|spec| spec.takes_exceptions = false)
}

fn starts(system: &System, spec: &PartitionSpec, n: u8) -> i32 {
    let package = version(spec, n);
    stage(system, &package);
    start(system.nwd(), &package)
}

// req: LIVE-08
#[test]
fn a_partition_whose_new_image_fails_starts_with_the_old_one() {
    for action in [None, Some(STOP_IT), Some(DESTROY), Some(RESTART)] {
        for way in 0..5 {
            let spec = fails(move |sp| match way {
                0 => drop(sp.call([ABORT_64])),
                1 => drop(sp.call([ERROR, 0, ABORTED as u32 as u64])),
                2 => drop(sp.trap(0)),
                3 => drop(sp.read(Secure, 0x0900_0000, &mut [0])),
                _ => sp.hang(),
            });
            let spec = match action {
                Some(action) => spec.property("abort-action", action),
                None => spec,
            };
            let system = boot(spec.clone());
            let nwd = system.nwd();
            assert_eq!(served(nwd), (b's', 1));
            for _ in 0..2 {
                assert_eq!(starts(&system, &spec, 2), 0);
                assert_eq!(finish(nwd), ABORTED);
                // It starts anew, and has forgotten what it knew.
                assert_eq!(served(nwd), (b's', 1), "{action:?} {way}");
            }
            assert_eq!(finish(nwd), DENIED);
        }
    }
}

// The copies take the package's memory from the partition. Without them there is no way back, and
// nothing runs from memory that EL3 can change.
// req: LIVE-04, LIFE-02
#[test]
fn a_partition_without_room_for_a_copy_is_not_replaced() {
    // Room for none, and for that of a restart alone.
    for (action, pages, copies) in [(STOP_IT, 0x80, 0), (DESTROY, 0x5a, 0), (RESTART, 0x5a, 1)] {
        let large = |spec: &PartitionSpec, n| {
            let mut package = version(spec, n);
            package[20..24].copy_from_slice(&(pages * 0x1000_u32).to_le_bytes());
            package.resize(ENTRY as usize + pages as usize * 0x1000, n);
            package
        };
        let plain = fails(|_| {}).property("abort-action", action);
        let spec = plain.clone().with(|spec| {
            spec.package = Some(large(&plain, b's'));
        });
        let system = boot(spec);
        let nwd = system.nwd();
        let had = &system.spmc.partitions[0].frozen.config.copies;
        assert_eq!(had.len(), copies);
        for n in 1..4 {
            let package = large(&plain, 2);
            stage(&system, &package);
            let before = system.snapshot();
            assert_eq!(start(nwd, &package), NO_MEMORY);
            assert_eq!(before, system.snapshot());
            assert_eq!(finish(nwd), DENIED);
            assert_eq!(served(nwd), (b's', n));
        }
    }
}

// req: LIVE-08
#[test]
fn a_partition_that_fails_later_restarts_with_its_newest_image() {
    let spec = live("sp1", &[]).property("abort-action", RESTART);
    let spec = spec
        .with(|spec| spec.takes_exceptions = false)
        .script(|sp| {
            let version = image(sp);
            let mut message = sp.msg_wait();
            loop {
                message = if is_stop(&message) {
                    stop(sp, 0)
                } else {
                    if message.0[3] == 1 {
                        sp.trap(0);
                    }
                    sp.respond(&message, [version.into(), 0, 0, 0, 0])
                };
            }
        });
    let system = boot(spec.clone());
    let nwd = system.nwd();
    for n in 2..6 {
        assert_eq!(starts(&system, &spec, n), 0);
        assert_eq!(finish(nwd), 0);
        for _ in 0..2 {
            assert_eq!(served(nwd).0, n);
            assert_eq!(nwd.request(SP1, [1; 5]).error(), Some(ABORTED));
        }
        assert_eq!(served(nwd).0, n);
    }
    // A copy has a quarter more pages than the package of boot: seven for five.
    for (pages, status) in [(3, 0), (4, NO_MEMORY)] {
        let mut long = version(&spec, 7);
        long[20..24].copy_from_slice(&(pages * 0x1000_u32).to_le_bytes());
        long.resize(ENTRY as usize + pages as usize * 0x1000, 7);
        stage(&system, &long);
        assert_eq!(start(nwd, &long), status);
        assert_eq!(finish(nwd), if status == 0 { 0 } else { DENIED });
        assert_eq!(served(nwd).0, 7);
        assert_eq!(nwd.request(SP1, [1; 5]).error(), Some(ABORTED));
        assert_eq!(served(nwd).0, 7);
    }
}

// req: LIVE-10
#[test]
fn a_partition_goes_on_with_its_old_image_if_the_new_one_cannot_be_loaded() {
    let base = partition_base(0);
    for others in [0, 1, 4, 5, 100] {
        let spec = live("sp1", &[]).script(count);
        let system = boot(spec.clone());
        let nwd = system.nwd();
        assert_eq!(served(nwd), (b's', 1));
        system
            .machine
            .fail_access(base..base + PARTITION_SIZE - 0x10_000, others);
        assert_eq!(starts(&system, &spec, 2), ABORTED);
        assert!(!system.machine.is_incident_ahead());
        assert_eq!(finish(nwd), DENIED);
        assert_eq!(served(nwd), (b's', 2));
        assert_eq!(starts(&system, &spec, 2), 0);
        assert_eq!(finish(nwd), 0);
        assert_eq!(served(nwd), (2, 3));
    }
}

// req: LIVE-09
#[test]
fn a_partition_goes_on_with_its_old_image_if_nobody_enters_the_new_one() {
    let spec = live("sp1", &[]).script(count);
    for way in 0..4 {
        let system = System::builder()
            .sp(spec.clone())
            .sp(PartitionSpec::new("asks").script(|sp| {
                sp.serve(|sp, _| {
                    let answer = sp.call([DIRECT_REQ_64, route(0x8002, SP1)]);
                    [answer.error().unwrap_or(0) as u64, 0, 0, 0, 0]
                })
            }))
            .boot();
        let nwd = system.nwd();
        assert_eq!(served(nwd), (b's', 1));
        assert_eq!(starts(&system, &spec, 2), 0);
        system.machine.gic().pass(LIMIT - 10);
        nwd.refused([DIRECT_REQ_64, SP1.into()], BUSY);
        system.machine.gic().pass(10);
        // Whoever is refused then has the old image entered.
        match way {
            0 => assert_eq!(nwd.request(SP1, [0; 5]).error(), Some(BUSY)),
            1 => assert_eq!(nwd.ask(0x8002, [0; 5])[0] as i32, BUSY),
            2 => assert_eq!(nwd.call([RUN, u64::from(SP1) << 16]).error(), Some(BUSY)),
            _ => assert_eq!(starts(&system, &spec, 2), DENIED),
        }
        assert_eq!(finish(nwd), DENIED);
        assert_eq!(served(nwd), (b's', 2));
        assert_eq!(starts(&system, &spec, 2), 0);
        // In time, and late but before anybody was refused.
        system
            .machine
            .gic()
            .pass(if way == 0 { LIMIT * 2 } else { 0 });
        assert_eq!(finish(nwd), 0);
        assert_eq!(served(nwd), (2, 3));
    }
}

// req: LIVE-08, LIVE-09
#[test]
fn an_old_image_that_fails_when_it_takes_over_again_starts_anew() {
    let failures = Arc::new(AtomicU32::new(0));
    let count_of = Arc::clone(&failures);
    let spec = live("sp1", &[]).script(move |sp| {
        if takes_over(sp) {
            count_of.fetch_add(1, SeqCst);
            sp.call([ABORT_64]);
        }
        count(sp);
    });
    let system = boot(spec.clone());
    let nwd = system.nwd();
    assert_eq!(starts(&system, &spec, 2), 0);
    system.machine.gic().pass(LIMIT);
    assert_eq!(nwd.request(SP1, [0; 5]).error(), Some(BUSY));
    // What the aftermath leaves waits for the next call.
    nwd.call([FEATURES, MSG_WAIT]);
    assert_eq!(served(nwd), (b's', 1));
    assert_eq!(failures.load(SeqCst), 1);
}
