//! INT: Secure interrupts at inconvenient times: in a row, in the middle of work, before their
//! owner can handle them, after it died. Also: who runs an owner that left interrupts unhandled.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use host_tests::ffa::*;
use host_tests::{PartitionSpec, Sp, System};

use crate::interrupts::{LINE, with_device};

const SP1: u16 = 0x8001;
const SP2: u16 = 0x8002;
const OTHER: u32 = LINE + 1;

const ENABLE: u64 = 0xff03;
const GET: u64 = 0xff04;
const DEACTIVATE: u64 = 0xff08;
const RECONFIGURE: u64 = 0xff09;
const NONE: u64 = 0xffff_ffff;

fn counter() -> Arc<AtomicU64> {
    Arc::default()
}

fn enable(sp: &mut Sp, line: u32) {
    assert_eq!(sp.call([ENABLE, line.into(), 1, 0]).0[0], 0);
}

fn get(sp: &mut Sp) -> u64 {
    sp.call([GET]).0[0]
}

fn deactivate(sp: &mut Sp, line: u32) {
    let line = u64::from(line);
    assert_eq!(sp.call([DEACTIVATE, line, line]).0[0], 0);
}

/// Handles all pending interrupts, which are edges.
fn handle_all(sp: &mut Sp, count: &AtomicU64) {
    loop {
        match get(sp) {
            NONE => return,
            line => deactivate(sp, line as u32),
        }
        count.fetch_add(1, SeqCst);
    }
}

/// Returns an owner of [`LINE`] and [`OTHER`]. It counts what it handles when it gets
/// `FFA_INTERRUPT`, and answers requests without looking for interrupts.
fn owner(count: &Arc<AtomicU64>, more: &'static [&str]) -> PartitionSpec {
    let count = Arc::clone(count);
    with_device(PartitionSpec::new("owner"), &[LINE, OTHER], more).script(move |sp| {
        enable(sp, LINE);
        enable(sp, OTHER);
        let mut message = sp.msg_wait();
        loop {
            message = match message.0[0] {
                DIRECT_REQ_64 => {
                    sp.poll();
                    let payload = message.payload();
                    sp.respond(&message, payload)
                }
                _ => {
                    handle_all(sp, &count);
                    sp.msg_wait()
                }
            };
        }
    })
}

/// Returns a partition that raises interrupts of others in each request.
fn raises(name: &str, lines: &'static [u32]) -> PartitionSpec {
    PartitionSpec::new(name).script(move |sp: &mut Sp| {
        sp.serve(move |sp, request| {
            for line in lines {
                sp.gic(|gic| gic.pulse(*line));
                sp.poll();
            }
            request.payload()
        })
    })
}

fn interrupted(system: &System) {
    assert_eq!(system.nwd().call([INTERRUPT]).0[0], NORMAL_WORLD_RESUME);
}

// req: INT-04
#[test]
fn two_in_a_row_before_the_first_is_done_with() {
    let spec = with_device(PartitionSpec::new("owner"), &[LINE, OTHER], &[]).script(|sp| {
        enable(sp, LINE);
        enable(sp, OTHER);
        sp.serve(|sp, request| {
            for _ in 0..2 {
                sp.gic(|gic| gic.set_level(LINE, true));
                sp.poll();
                assert_eq!(get(sp), LINE.into());
                sp.gic(|gic| gic.pulse(OTHER));
                sp.poll();
                assert_eq!(
                    sp.signals(),
                    (true, false),
                    "the second, inside of the first"
                );
                assert_eq!(get(sp), OTHER.into());
                assert_eq!(get(sp), NONE);
                sp.gic(|gic| gic.pulse(OTHER));
                // The first interrupt is deactivated, and its source is asserted all the time. The
                // second one was raised again, but is still active.
                deactivate(sp, LINE);
                sp.poll();
                assert_eq!(get(sp), LINE.into());
                assert_eq!(get(sp), NONE);
                deactivate(sp, OTHER);
                sp.poll();
                assert_eq!(get(sp), OTHER.into());
                sp.gic(|gic| gic.set_level(LINE, false));
                deactivate(sp, OTHER);
                deactivate(sp, LINE);
                sp.poll();
                assert_eq!(sp.signals(), (false, false));
                assert_eq!(get(sp), NONE);
            }
            request.payload()
        })
    });
    let system = System::boot([spec]);
    assert_eq!(system.nwd().ask(SP1, [5; 5]), [5; 5]);
}

// req: INT-10, INT-07
#[test]
fn queued_non_secure_interrupts_stay_queued_behind_secure_ones() {
    let count = counter();
    let queued = PartitionSpec::new("queued")
        .with(|spec| spec.ns_interrupts = 0)
        .script(|sp: &mut Sp| {
            sp.serve(|sp, request| {
                for _ in 0..3 {
                    assert!(!sp.interrupt(), "preempted");
                    sp.gic(|gic| gic.pulse(LINE));
                    sp.poll();
                    assert!(sp.gic(|gic| !gic.is_active(LINE)), "not handled at once");
                    assert!(!sp.interrupt(), "preempted after a secure interrupt");
                }
                request.payload()
            })
        });
    let preemptible = PartitionSpec::new("preemptible").script(|sp: &mut Sp| {
        sp.serve(|sp, request| {
            assert!(sp.interrupt());
            sp.gic(|gic| gic.pulse(LINE));
            sp.poll();
            assert!(sp.interrupt(), "masked after a secure interrupt");
            request.payload()
        })
    });
    let system = System::boot([owner(&count, &[]), queued, preemptible]);
    let nwd = system.nwd();
    assert_eq!(nwd.ask(SP2, [7; 5]), [7; 5]);
    assert_eq!(count.load(SeqCst), 3);
    let mut answer = nwd.request(0x8003, [1; 5]);
    for _ in 0..2 {
        assert_eq!((answer.0[0], answer.0[1]), (INTERRUPT, 0x8003_0000));
        answer = nwd.call([RUN, 0x8003_0000]);
    }
    assert_eq!(answer.0[0], DIRECT_RESP_64);
    assert_eq!(count.load(SeqCst), 4);
}

// req: INT-13, INT-09
#[test]
fn before_its_owner_wants_it() {
    let count = counter();
    let seen = Arc::clone(&count);
    let spec = with_device(PartitionSpec::new("owner"), &[LINE], &[]).script(move |sp| {
        sp.gic(|gic| gic.pulse(LINE));
        sp.poll();
        assert_eq!((sp.signals(), get(sp)), ((false, false), NONE));
        let mut message = sp.msg_wait();
        loop {
            match message.0[0] {
                DIRECT_REQ_64 => {
                    match message.payload()[0] {
                        // The GIC forwards the interrupt, but this context has not enabled it.
                        1 => assert_eq!(sp.call([RECONFIGURE, LINE.into(), 2, 1]).0[0], 0),
                        _ => enable(sp, LINE),
                    }
                    sp.poll();
                    let payload = message.payload();
                    message = sp.respond(&message, payload);
                }
                _ => {
                    handle_all(sp, &seen);
                    message = sp.msg_wait();
                }
            }
        }
    });
    let system = System::boot([spec]);
    let nwd = system.nwd();
    assert!(!system.machine.gic().has_interrupt(0), "not enabled");
    nwd.ask(SP1, [1; 5]);
    assert!(system.machine.gic().is_active(LINE));
    assert!(!system.machine.gic().has_interrupt(0));
    interrupted(&system);
    assert_eq!(count.load(SeqCst), 0, "run for what it does not want");
    nwd.ask(SP1, [2; 5]);
    interrupted(&system);
    assert_eq!(count.load(SeqCst), 1);
    assert!(!system.machine.gic().is_active(LINE));
}

// req: INT-09
#[test]
fn an_owner_that_dies_in_the_middle_of_it() {
    for fetches in [false, true] {
        let dies = with_device(PartitionSpec::new("dies"), &[LINE], &[])
            .with(|spec| spec.takes_exceptions = false)
            .script(move |sp| {
                enable(sp, LINE);
                sp.msg_wait();
                if fetches {
                    assert_eq!(get(sp), LINE.into());
                }
                sp.trap(0);
            });
        let system = System::boot([dies, raises("other", &[LINE])]);
        let nwd = system.nwd();
        // The other partition continues.
        assert_eq!(nwd.ask(SP2, [3; 5]), [3; 5]);
        assert_eq!(nwd.request(SP1, [0; 5]).error(), Some(ABORTED));
        system.machine.gic().set_level(LINE, true);
        let gic = system.machine.gic();
        assert!(!gic.has_interrupt(0) && !gic.is_enabled(LINE) && !gic.is_active(LINE));
    }
}

// req: INT-05
#[test]
fn what_its_owner_leaves_behind_makes_it_run_at_once() {
    let count = counter();
    let asks = PartitionSpec::new("asks").script(|sp: &mut Sp| {
        sp.serve(|sp, request| {
            let id = u64::from(sp.id);
            let answer = sp.call([DIRECT_REQ_64, id << 16 | u64::from(SP1)]);
            assert_eq!(answer.0[0], DIRECT_RESP_64);
            assert!(sp.gic(|gic| gic.has_interrupt(sp.pe())));
            sp.poll();
            request.payload()
        })
    });
    let system = System::boot([owner(&count, &[]), asks]);
    let nwd = system.nwd();
    // The interrupt comes in a request, which the owner answers without looking for it.
    system.machine.gic().pulse(LINE);
    assert_eq!(nwd.ask(SP1, [1; 5]), [1; 5]);
    assert_eq!(count.load(SeqCst), 0);
    assert!(system.machine.gic().has_interrupt(0));
    interrupted(&system);
    assert_eq!(count.load(SeqCst), 1);
    // Now another partition waits for the answer, and continues after that.
    system.machine.gic().pulse(OTHER);
    assert_eq!(nwd.ask(SP2, [2; 5]), [2; 5]);
    assert_eq!(count.load(SeqCst), 2);
    assert!(!system.machine.gic().has_interrupt(0));
}

// req: INT-09
#[test]
fn an_owner_that_takes_no_notice_is_run_once_each_time() {
    let runs = counter();
    let seen = Arc::clone(&runs);
    let spec = with_device(PartitionSpec::new("deaf"), &[LINE, OTHER], &[]).script(move |sp| {
        enable(sp, LINE);
        enable(sp, OTHER);
        loop {
            sp.msg_wait();
            seen.fetch_add(1, SeqCst);
        }
    });
    let system = System::boot([spec]);
    for (line, expected) in [(LINE, 1), (OTHER, 2)] {
        system.machine.gic().pulse(line);
        interrupted(&system);
        interrupted(&system);
        assert_eq!(runs.load(SeqCst), expected);
        assert!(!system.machine.gic().has_interrupt(0));
    }
}

// req: INT-09
#[test]
fn the_normal_world_gets_through_between_handlers() {
    let count = counter();
    let seen = Arc::clone(&count);
    let busy = with_device(PartitionSpec::new("busy"), &[LINE], &[]).script(move |sp| {
        enable(sp, LINE);
        loop {
            sp.msg_wait();
            handle_all(sp, &seen);
            // Too late to be an interrupt that the owner did not clear.
            sp.gic(|gic| gic.pulse(LINE));
            sp.poll();
        }
    });
    let system = System::boot([busy]);
    system.machine.gic().pulse(LINE);
    for _ in 0..3 {
        let before = count.load(SeqCst);
        interrupted(&system);
        let handled = count.load(SeqCst) - before;
        assert!(0 < handled && handled <= 8, "{handled} in one go");
        assert!(system.machine.gic().has_interrupt(0), "forgotten");
    }
}

// FF-A v1.1 section 9, sri-interrupts-policy.
// req: INT-05, SINT-17, SINT-18, SINT-19
#[test]
fn the_scheduler_runs_it_if_its_manifest_says_so() {
    for policy in 0..4_u32 {
        let count = counter();
        let system = System::boot([
            owner(&count, &[]).property("sri-interrupts-policy", policy),
            raises("other", &[LINE]),
        ]);
        let nwd = system.nwd();
        let raised = || std::mem::take(&mut system.machine.journal().schedule_receiver).len();
        let list = || {
            let answer = nwd.call([NOTIFICATION_INFO_GET_64]);
            (answer.0[2], answer.0[3])
        };
        // While the owner waits.
        system.machine.gic().pulse(LINE);
        interrupted(&system);
        if policy & 1 == 0 {
            assert_eq!((count.load(SeqCst), raised()), (1, 0));
            assert_eq!(nwd.call([NOTIFICATION_INFO_GET_64]).error(), Some(NO_DATA));
        } else {
            assert_eq!((count.load(SeqCst), raised()), (0, 1));
            assert_eq!(list(), (1 << 7, SP1.into()));
            assert_eq!(nwd.call([NOTIFICATION_INFO_GET_64]).error(), Some(NO_DATA));
            assert_eq!(nwd.call([RUN, u64::from(SP1) << 16]).0[0], MSG_WAIT);
            assert_eq!(count.load(SeqCst), 1);
            // Nor in place of another partition.
            assert_eq!(nwd.ask(SP2, [2; 5]), [2; 5]);
            assert_eq!((count.load(SeqCst), raised()), (1, 1));
            list();
            nwd.call([RUN, u64::from(SP1) << 16]);
            assert_eq!(count.load(SeqCst), 2);
        }
        // The owner begins to wait.
        let before = count.load(SeqCst);
        system.machine.gic().pulse(OTHER);
        nwd.ask(SP1, [3; 5]);
        interrupted(&system);
        if policy == 0 {
            assert_eq!((count.load(SeqCst), raised()), (before + 1, 0));
        } else {
            assert_eq!(
                (count.load(SeqCst), raised()),
                (before, 1),
                "policy {policy}"
            );
            assert_eq!(list(), (1 << 7, SP1.into()));
            nwd.call([RUN, u64::from(SP1) << 16]);
            assert_eq!(count.load(SeqCst), before + 1);
        }
    }
}

/// Returns a partition that takes the time `handling` for its interrupts, which are edges.
fn flooded(handling: u64) -> PartitionSpec {
    with_device(PartitionSpec::new("flooded"), &[LINE, OTHER], &[]).script(move |sp| {
        enable(sp, LINE);
        enable(sp, OTHER);
        loop {
            sp.msg_wait();
            sp.gic(|gic| gic.pass(handling));
            handle_all(sp, &AtomicU64::new(0));
        }
    })
}

// req: INT-09
#[test]
fn a_flood_of_edges_is_masked_and_nothing_else() {
    for (pause, is_flood) in [(100, false), (20, false), (10, true), (0, true)] {
        let system = System::boot([flooded(100)]);
        system.turn_on(1);
        system.machine.gic().route(OTHER, 1);
        let mut came = 0;
        while came < 1000 && system.machine.gic().is_enabled(LINE) {
            let mut gic = system.machine.gic();
            gic.pass(pause);
            gic.pulse(LINE);
            drop(gic);
            interrupted(&system);
            came += 1;
        }
        assert_eq!(came < 1000, is_flood, "pause {pause}: {came}");
        assert!(came > 200);
        // An interrupt on another PE is not affected, and neither is the partition.
        system.machine.gic().pulse(OTHER);
        system.pe(1).call([INTERRUPT]);
        let gic = system.machine.gic();
        assert!(gic.is_enabled(OTHER) && !gic.is_active(OTHER) && !gic.is_active(LINE));
    }
}

// req: INT-04, INT-09
#[test]
fn many_interrupts_of_an_owner_that_runs_are_no_flood() {
    let count = counter();
    let seen = Arc::clone(&count);
    let spec = with_device(PartitionSpec::new("owner"), &[LINE], &[]).script(move |sp| {
        enable(sp, LINE);
        let seen = Arc::clone(&seen);
        sp.serve(move |sp, request| {
            sp.gic(|gic| gic.pulse(LINE));
            sp.poll();
            handle_all(sp, &seen);
            request.payload()
        })
    });
    let system = System::boot([spec]);
    for n in 1..1000 {
        system.machine.gic().pass(1);
        system.nwd().ask(SP1, [n; 5]);
        assert_eq!(count.load(SeqCst), n);
    }
    assert!(system.machine.gic().is_enabled(LINE));
}

// req: INT-09
#[test]
fn a_flood_inside_of_a_handler_is_masked() {
    let spec = with_device(PartitionSpec::new("flooded"), &[LINE], &[]).script(|sp| {
        enable(sp, LINE);
        loop {
            sp.msg_wait();
            // Each time after the interrupt was deactivated, so that it does not look like one that
            // was never cleared.
            let mut times = 0;
            while get(sp) == u64::from(LINE) {
                deactivate(sp, LINE);
                sp.gic(|gic| gic.pulse(LINE));
                sp.poll();
                times += 1;
                assert!(times < 1000, "the Normal world never has the PE again");
            }
        }
    });
    let system = System::boot([spec]);
    system.machine.gic().pulse(LINE);
    interrupted(&system);
    assert!(!system.machine.gic().is_enabled(LINE));
}

// req: INT-04, INT-13
#[test]
fn extended_interrupts_as_far_as_there_are_any() {
    const SHARED: u32 = 4096;
    const PRIVATE: u32 = 1056;
    const MISSING: u32 = 5000;
    let count = counter();
    let seen = Arc::clone(&count);
    let shared = with_device(
        PartitionSpec::new("owner"),
        &[SHARED, PRIVATE, MISSING],
        &[],
    );
    let spec = shared.script(move |sp| {
        enable(sp, SHARED);
        enable(sp, PRIVATE);
        // The interrupt never comes; nothing else happens.
        enable(sp, MISSING);
        loop {
            sp.msg_wait();
            handle_all(sp, &seen);
        }
    });
    let system = System::boot([spec]);
    for (n, interrupt) in [SHARED, PRIVATE].into_iter().enumerate() {
        system.machine.gic().pulse(interrupt);
        interrupted(&system);
        assert_eq!(count.load(SeqCst), n as u64 + 1);
    }
}
