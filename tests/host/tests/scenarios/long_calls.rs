//! Zeroing of a large region that no caller resumes, in calls and after the end of a partition.
//! Secure interrupts are handled between slices.

use std::sync::{Arc, Mutex};

use host_tests::ffa::*;
use host_tests::manifest::Region;
use host_tests::{Nwd, PartitionSpec, System};
use spmc::limits::SLICE_PAGES;

use crate::interrupts::{DEACTIVATE, ENABLE, GET, LINE, with_device};
use crate::s_el0;

const BORROWER: u16 = 0x8002;
const LAND: u64 = 0x4200_0000;
const PAGES: u64 = 3 * SLICE_PAGES - 1;

/// How many pages had been zeroed when the device's interrupt was handled, for each interrupt.
type Seen = Arc<Mutex<Vec<u64>>>;

/// Returns a partition with a device, and the record of what it saw.
fn owner() -> (PartitionSpec, Seen) {
    let seen = Seen::default();
    let notes = Arc::clone(&seen);
    let spec = with_device(PartitionSpec::new("owner"), &[LINE], &[]).script(move |sp| {
        assert_eq!(sp.call([ENABLE, LINE.into(), 1, 0]).0[0], 0);
        loop {
            let message = sp.msg_wait();
            assert_eq!(message.0[0], INTERRUPT);
            let id = sp.call([GET]).0[0];
            sp.gic(|gic| gic.set_level(LINE, false));
            let pages = sp.journal(|journal| journal.pages_zeroed());
            notes.lock().unwrap().push(pages);
            assert_eq!(sp.call([DEACTIVATE, id, id]).0[0], 0);
        }
    });
    (spec, seen)
}

/// Returns a partition that retrieves the handle in x3 of a request, or relinquishes it with
/// zeroing if x4 is not 0.
fn borrower(at_el0: bool) -> PartitionSpec {
    let spec = PartitionSpec::new("borrower");
    let spec = if at_el0 { spec.s_el0() } else { spec };
    spec.script(move |sp| {
        if at_el0 {
            s_el0::map_buffers(sp);
        } else {
            sp.map_buffers();
        }
        sp.serve(|sp, message| {
            let [handle, returns, ..] = message.payload();
            if returns != 0 {
                sp.relinquish(handle, 1).success();
            } else {
                let request = Transaction {
                    attributes: 0,
                    ..Transaction::retrieve(0, BORROWER, handle, RW)
                };
                sp.retrieve(&request).unwrap();
            }
            [0; 5]
        })
    })
}

fn lend(nwd: Nwd<'_>, flags: u32) -> u64 {
    let transaction = Transaction {
        flags,
        ..Transaction::lend(0, BORROWER, RW, &[(LAND, PAGES as u32)])
    };
    nwd.send(MEM_LEND_64, &transaction)
}

/// Lends the region to the borrower, which retrieves it.
fn retrieved(nwd: Nwd<'_>) -> u64 {
    nwd.map_buffers();
    let handle = lend(nwd, 0);
    nwd.ask(BORROWER, [handle, 0, 0, 0, 0]);
    handle
}

/// Asserts the device's interrupt before `call`. Checks that the handler has run when the first
/// slice was zeroed.
#[track_caller]
fn is_handled_after_a_slice<T>(system: &System, seen: &Seen, call: impl FnOnce() -> T) -> T {
    system.machine.journal().clear();
    system.machine.gic().set_level(LINE, true);
    let result = call();
    assert_eq!(*seen.lock().unwrap(), [SLICE_PAGES]);
    seen.lock().unwrap().clear();
    let rest = system.machine.journal().pages_zeroed();
    assert_eq!(rest, PAGES - SLICE_PAGES, "not all was zeroed");
    result
}

// req: TIME-09, MEMD-78, MEMRC-09
#[test]
fn a_handler_does_not_wait_for_what_the_normal_world_has_zeroed() {
    let (owner, seen) = owner();
    let system = System::boot([owner, PartitionSpec::new("borrower")]);
    let nwd = system.nwd();
    nwd.map_buffers();
    let before = system.snapshot();
    let handle = is_handled_after_a_slice(&system, &seen, || lend(nwd, 1));
    is_handled_after_a_slice(&system, &seen, || {
        let words = [MEM_RECLAIM, handle & 0xffff_ffff, handle >> 32, 1];
        nwd.call(words).success()
    });
    assert_eq!(system.spmc.shares.live(), 0);
    assert_eq!(before, system.snapshot());
}

// req: TIME-02, MEMRL-11
#[test]
fn a_handler_does_not_wait_for_what_a_partition_has_zeroed() {
    for at_el0 in [false, true] {
        let borrower = borrower(at_el0);
        let (owner, seen) = owner();
        let system = System::boot([owner, borrower]);
        let nwd = system.nwd();
        let handle = retrieved(nwd);
        is_handled_after_a_slice(&system, &seen, || {
            nwd.ask(BORROWER, [handle, 1, 0, 0, 0]);
        });
        nwd.reclaim(handle).success();
    }
}

/// Returns a partition with [`PAGES`] pages beside its image. In a request it retrieves the handle
/// in x3 or, if x4 is not 0, makes the device assert its interrupt and fails. The interrupt waits
/// until the partition is off the PE.
fn mortal(abort_action: u32) -> PartitionSpec {
    let spec = PartitionSpec::new("borrower")
        .with(|sp| {
            sp.takes_exceptions = false;
            sp.ns_interrupts = 0;
            sp.regions = vec![Region {
                name: "heap",
                base: HEAP,
                relative: false,
                pages: PAGES as u32,
                attributes: 3,
            }];
            sp.extra = Some(Arc::new(|fdt| {
                fdt.property_null("lifecycle-support").unwrap();
            }));
        })
        .property("abort-action", abort_action)
        .property("other-s-interrupts-action", 0);
    spec.script(|sp| {
        sp.map_buffers();
        sp.serve(|sp, message| {
            let [handle, fails, ..] = message.payload();
            if fails != 0 {
                sp.gic(|gic| gic.set_level(LINE, true));
                sp.trap(0);
            }
            let request = Transaction {
                attributes: 0,
                flags: ZERO_AFTER,
                ..Transaction::retrieve(0, BORROWER, handle, RW)
            };
            sp.retrieve(&request).unwrap();
            [0; 5]
        })
    })
}

const HEAP: u64 = 0x0e80_0000;
const ZERO_AFTER: u32 = 1 << 2;
const FAIL: [u64; 5] = [0, 1, 0, 0, 0];

// req: MSGD-08, MEMO-12
#[test]
fn a_handler_does_not_wait_for_the_memory_of_a_partition_that_failed() {
    const DESTROY: u32 = 1;
    const RESTART: u32 = 2;
    for action in [DESTROY, RESTART] {
        let (owner, seen) = owner();
        let system = System::boot([owner, mortal(action)]);
        system.machine.journal().pages_zeroed();
        let failed = system.nwd().request(BORROWER, FAIL);
        assert_eq!(failed.error(), Some(ABORTED));
        assert_eq!(*seen.lock().unwrap(), [SLICE_PAGES]);
        assert!(system.machine.journal().pages_zeroed() >= PAGES - SLICE_PAGES);
    }
}

// req: MEMO-12, MEMD-88
#[test]
fn each_exit_zeroes_a_slice_of_what_a_partition_that_failed_had_borrowed() {
    const STOP: u32 = 0;
    let system = System::boot([owner().0, mortal(STOP)]);
    let nwd = system.nwd();
    let handle = retrieved(nwd);
    system.machine.journal().pages_zeroed();
    assert_eq!(nwd.request(BORROWER, FAIL).error(), Some(ABORTED));
    assert_eq!(system.machine.journal().pages_zeroed(), SLICE_PAGES);
    for left in [SLICE_PAGES, SLICE_PAGES - 1, 0] {
        nwd.call([FEATURES, RUN]);
        assert_eq!(system.machine.journal().pages_zeroed(), left);
    }
    nwd.reclaim(handle).success();
    assert_eq!(
        (
            system.spmc.shares.live(),
            system.machine.journal().pages_zeroed()
        ),
        (0, 0)
    );
}

// The interrupt came while no PE looked. The context that works for the owner is stopped when it
// continues.
// req: INT-08, INT-11
#[test]
fn an_interrupt_of_the_caller_is_found_when_the_call_is_over() {
    let owner = with_device(PartitionSpec::new("owner"), &[LINE], &[]).script(|sp| {
        assert_eq!(sp.call([ENABLE, LINE.into(), 1, 0]).0[0], 0);
        sp.serve(|sp, request| {
            let [handle, returns, ..] = request.payload();
            let ids = 0x8001_0000 | u64::from(BORROWER);
            let mut answer = sp.call([DIRECT_REQ_64, ids, 0, handle, returns]);
            let is_stopped = answer.0[0] == INTERRUPT;
            if is_stopped {
                assert_eq!(sp.call([GET]).0[0], LINE.into());
                assert_eq!(sp.call([DEACTIVATE, LINE.into(), LINE.into()]).0[0], 0);
                answer = sp.call([RUN, u64::from(BORROWER) << 16]);
            }
            assert_eq!(answer.0[0], DIRECT_RESP_64, "{answer:?}");
            [is_stopped.into(), 0, 0, 0, 0]
        })
    });
    let borrower = PartitionSpec::new("borrower").script(|sp| {
        sp.map_buffers();
        sp.serve(|sp, request| {
            let [handle, returns, ..] = request.payload();
            if returns != 0 {
                sp.gic(|gic| gic.pulse(LINE));
                sp.relinquish(handle, 1).success();
                sp.poll();
                return [0; 5];
            }
            let retrieve = Transaction {
                attributes: 0,
                ..Transaction::retrieve(0, BORROWER, handle, RW)
            };
            sp.retrieve(&retrieve).unwrap();
            [0; 5]
        })
    });
    let system = System::boot([owner, borrower]);
    let nwd = system.nwd();
    let handle = retrieved(nwd);
    assert_eq!(nwd.ask(0x8001, [handle, 1, 0, 0, 0])[0], 1);
    nwd.reclaim(handle).success();
}

// Handlers run one after the other.
// req: INT-07
#[test]
fn a_handler_that_zeroes_much_is_not_interrupted_by_another_one() {
    const OTHER: u32 = LINE + 1;
    let borrower = with_device(PartitionSpec::new("borrower"), &[OTHER], &[]).script(|sp| {
        sp.map_buffers();
        assert_eq!(sp.call([ENABLE, OTHER.into(), 1, 0]).0[0], 0);
        let request = sp.msg_wait();
        let handle = request.0[3];
        let retrieve = Transaction {
            attributes: 0,
            ..Transaction::retrieve(0, BORROWER, handle, RW)
        };
        sp.retrieve(&retrieve).unwrap();
        let message = sp.respond(&request, [0; 5]);
        assert_eq!(message.0[0], INTERRUPT);
        assert_eq!(sp.call([GET]).0[0], OTHER.into());
        sp.gic(|gic| {
            gic.set_level(OTHER, false);
            gic.set_level(LINE, true);
        });
        sp.relinquish(handle, 1).success();
        assert_eq!(sp.call([DEACTIVATE, OTHER.into(), OTHER.into()]).0[0], 0);
        sp.msg_wait();
    });
    let (owner, seen) = owner();
    let system = System::boot([owner, borrower]);
    let nwd = system.nwd();
    let handle = retrieved(nwd);
    system.machine.journal().clear();
    system.machine.gic().set_level(OTHER, true);
    nwd.call([INTERRUPT]);
    assert_eq!(*seen.lock().unwrap(), [PAGES]);
    nwd.reclaim(handle).success();
}

// req: INT-07
#[test]
fn who_has_interrupts_of_others_queued_zeroes_without_a_handler_in_between() {
    let borrower = borrower(false)
        .with(|spec| spec.ns_interrupts = 0)
        .property("other-s-interrupts-action", 0);
    let (owner, seen) = owner();
    let system = System::boot([owner, borrower]);
    let nwd = system.nwd();
    let handle = retrieved(nwd);
    system.machine.gic().set_level(LINE, true);
    nwd.ask(BORROWER, [handle, 1, 0, 0, 0]);
    assert!(seen.lock().unwrap().is_empty(), "handled in between");
    nwd.call([INTERRUPT]);
    assert_eq!(seen.lock().unwrap().len(), 1);
    nwd.reclaim(handle).success();
}
