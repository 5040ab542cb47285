//! SINT: how interrupts are handed over, and how they end, for partitions that are made for
//! Hafnium: those that do not say that they are done, and those at S-EL0.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use host_tests::ffa::*;
use host_tests::{PartitionSpec, Sp, System};

use crate::interrupts::{DEACTIVATE, ENABLE, GET, LINE, with_device};
use crate::s_el0::el0;

const SP1: u16 = 0x8001;
const OTHER: u32 = 41;
const RECONFIGURE: u64 = 0xff09;
/// x2 of RECONFIGURE.
const TARGET: u64 = 0;

/// Makes the device assert an interrupt, and lets the SPMC handle it.
fn interrupt(system: &System, lines: &[u32]) {
    for line in lines {
        system.machine.gic().set_level(*line, true);
    }
    let resume = system.nwd().call([INTERRUPT]).0[0];
    assert_eq!(resume, NORMAL_WORLD_RESUME);
}

/// Returns a partition that fetches its interrupts and never deactivates them. It counts them, and
/// sees another one in each request.
fn forgets(count: &Arc<AtomicU64>) -> PartitionSpec {
    let count = Arc::clone(count);
    with_device(PartitionSpec::new("owner"), &[LINE], &[]).script(move |sp| {
        let fetch = |sp: &mut Sp| {
            assert_eq!(sp.call([GET]).0[0], LINE.into());
            sp.gic(|gic| gic.set_level(LINE, false));
            count.fetch_add(1, SeqCst);
        };
        assert_eq!(sp.call([ENABLE, LINE.into(), 1, 0]).0[0], 0);
        let mut message = sp.msg_wait();
        loop {
            message = if message.0[0] == INTERRUPT {
                fetch(sp);
                sp.msg_wait()
            } else {
                sp.gic(|gic| gic.set_level(LINE, true));
                sp.poll();
                fetch(sp);
                let payload = message.payload();
                sp.respond(&message, payload)
            };
        }
    })
}

// Hafnium deactivates an interrupt when it takes it, and partitions for it leave the call out.
// req: SINT-26
#[test]
fn what_was_fetched_ends_when_its_context_waits_or_responds() {
    let count = Arc::default();
    let system = System::boot([forgets(&count)]);
    for n in 1..4 {
        interrupt(&system, &[LINE]);
        assert_eq!(count.load(SeqCst), 2 * n - 1, "after FFA_MSG_WAIT");
        assert!(!system.machine.gic().is_active(LINE));
        assert_eq!(system.nwd().ask(SP1, [7; 5]), [7; 5]);
        assert_eq!(count.load(SeqCst), 2 * n, "after a response");
        assert!(!system.machine.gic().is_active(LINE));
    }
}

// req: SINT-26
#[test]
fn what_was_fetched_stays_active_while_its_context_works() {
    let other =
        PartitionSpec::new("other").script(|sp: &mut Sp| sp.serve(|_, request| request.payload()));
    let owner = with_device(PartitionSpec::new("owner"), &[LINE], &[]).script(|sp| {
        assert_eq!(sp.call([ENABLE, LINE.into(), 1, 0]).0[0], 0);
        sp.serve(|sp, request| {
            sp.gic(|gic| gic.set_level(LINE, true));
            sp.poll();
            assert_eq!(sp.call([GET]).0[0], LINE.into());
            let ids = u64::from(SP1) << 16 | 0x8002;
            let answer = sp.call([DIRECT_REQ_64, ids, 0, 3, 3, 3, 3, 3]);
            assert_eq!(answer.function(), DIRECT_RESP_64);
            sp.poll();
            assert_eq!(sp.signals(), (false, false), "it is not told again");
            sp.gic(|gic| gic.set_level(LINE, false));
            request.payload()
        })
    });
    let system = System::boot([owner, other]);
    assert_eq!(system.nwd().ask(SP1, [7; 5]), [7; 5]);
    assert!(!system.machine.gic().is_active(LINE));
}

/// Returns a partition at S-EL0 that makes no call to enable or fetch its interrupts, and
/// deactivates them as `deactivates` says. It counts them.
fn told(deactivates: bool, count: &Arc<[AtomicU64; 2]>) -> PartitionSpec {
    let count = Arc::clone(count);
    let owner = el0("owner", move |sp| {
        let mut message = sp.msg_wait();
        loop {
            message = if message.0[0] == INTERRUPT {
                let line = message.0[2] as u32;
                sp.gic(|gic| gic.set_level(line, false));
                if deactivates {
                    let id = u64::from(line);
                    assert_eq!(sp.call([DEACTIVATE, id, id]).0[0], 0);
                }
                count[(line - LINE) as usize].fetch_add(1, SeqCst);
                sp.msg_wait()
            } else {
                let payload = message.payload();
                sp.respond(&message, payload)
            };
        }
    });
    with_device(owner, &[LINE, OTHER], &[])
}

// req: SINT-27, SEL0-06
#[test]
fn a_partition_at_s_el0_need_not_enable_or_fetch_its_interrupts() {
    for deactivates in [false, true] {
        let count = Arc::default();
        let system = System::boot([told(deactivates, &count)]);
        let counts = || [0, 1].map(|line| count[line].load(SeqCst));
        for n in 1..4 {
            interrupt(&system, &[LINE]);
            assert_eq!(counts(), [2 * n - 1, n - 1]);
            // Each of them is told by itself.
            interrupt(&system, &[LINE, OTHER]);
            assert_eq!(counts(), [2 * n, n]);
            assert_eq!(system.nwd().ask(SP1, [7; 5]), [7; 5]);
            let gic = system.machine.gic();
            assert!(!gic.is_active(LINE) && !gic.is_active(OTHER));
        }
    }
}

// req: SINT-23
#[test]
fn an_interrupt_is_routed_to_a_pe_by_its_index() {
    let owner = with_device(PartitionSpec::new("owner").vcpus(4), &[LINE], &[]).script(|sp| {
        sp.serve(|sp, request| {
            let pe = request.payload()[0];
            let result = sp.call([RECONFIGURE, LINE.into(), TARGET, pe]).0[0];
            [result, 0, 0, 0, 0]
        })
    });
    let system = System::boot([owner]);
    for pe in [3, 1, 0] {
        assert_eq!(system.nwd().ask(SP1, [pe, 0, 0, 0, 0])[0], 0);
        assert_eq!(system.machine.gic().target(LINE), pe as usize);
    }
    assert_eq!(system.nwd().ask(SP1, [1 << 8, 0, 0, 0, 0])[0], u64::MAX);
    assert_eq!(system.machine.gic().target(LINE), 0);
}

// req: SINT-28
#[test]
fn interrupts_are_fetched_in_the_order_in_which_they_became_pending() {
    let order = [[LINE, OTHER], [OTHER, LINE]];
    let named: Arc<[AtomicU64; 2]> = Arc::default();
    let names = Arc::clone(&named);
    let owner = with_device(PartitionSpec::new("owner"), &[LINE, OTHER], &[]).script(move |sp| {
        let mut message = sp.msg_wait();
        loop {
            message = if message.0[0] == INTERRUPT {
                let fetched = [sp.call([GET]).0[0], sp.call([GET]).0[0]];
                assert_eq!(message.0[2], fetched[0]);
                for (name, id) in names.iter().zip(fetched) {
                    name.store(id, SeqCst);
                }
                sp.msg_wait()
            } else {
                // They come while they are disabled, one after the other.
                for line in order[message.payload()[0] as usize] {
                    sp.call([ENABLE, line.into(), 0, 0]);
                    sp.call([RECONFIGURE, line.into(), 2, 1]);
                    sp.gic(|gic| gic.pulse(line));
                    sp.poll();
                }
                for line in [LINE, OTHER] {
                    sp.call([ENABLE, line.into(), 1, 0]);
                }
                let payload = message.payload();
                sp.respond(&message, payload)
            };
        }
    });
    let system = System::boot([owner]);
    for n in [0, 1, 0] {
        system.nwd().ask(SP1, [n, 0, 0, 0, 0]);
        assert_eq!(system.nwd().call([INTERRUPT]).0[0], NORMAL_WORLD_RESUME);
        let fetched = [0, 1].map(|place| named[place].load(SeqCst) as u32);
        assert_eq!(fetched, order[n as usize]);
    }
}
