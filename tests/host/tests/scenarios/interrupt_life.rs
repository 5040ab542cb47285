//! Interrupts over the lives of their owners: PEs go off and on, partitions start again.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use host_tests::ffa::*;
use host_tests::machine::SECURE_DEVICE;
use host_tests::manifest::Extra;
use host_tests::{PartitionSpec, Regs, Sp, System};

use super::notification::both;

const SP1: u16 = 0x8001;
const LINE: u32 = 40;
const OTHER: u32 = 41;
/// A private interrupt.
const PRIVATE: u32 = 27;

const ENABLE: u64 = 0xff03;
const GET: u64 = 0xff04;
const DEACTIVATE: u64 = 0xff08;
const RECONFIGURE: u64 = 0xff09;
const SEND_IPI: u64 = 0xff0a;
const IPI: u64 = 9;
const NOTIFICATION: u64 = 5;
const NONE: u64 = 0xffff_ffff;

/// Adds a device with these interrupts to the manifest.
fn with_device(spec: PartitionSpec, lines: &'static [u32]) -> PartitionSpec {
    spec.with(|spec| {
        let before: Option<Extra> = spec.extra.take();
        spec.extra = Some(Arc::new(move |fdt| {
            before.iter().for_each(|before| before(fdt));
            let node = fdt.begin_node("device-regions").unwrap();
            fdt.property_string("compatible", "arm,ffa-manifest-device-regions")
                .unwrap();
            let device = fdt.begin_node("device").unwrap();
            fdt.property_u64("base-address", SECURE_DEVICE.start)
                .unwrap();
            fdt.property_u32("pages-count", 1).unwrap();
            fdt.property_u32("attributes", 3).unwrap();
            let kind = |line: u32| if line < 32 { 0x510 } else { 0x910 };
            let cells: Vec<u32> = lines.iter().flat_map(|line| [*line, kind(*line)]).collect();
            fdt.property_array_u32("interrupts", &cells).unwrap();
            fdt.end_node(device).unwrap();
            fdt.end_node(node).unwrap();
        }));
    })
}

fn with_null(spec: PartitionSpec, name: &'static str) -> PartitionSpec {
    spec.with(|spec| {
        let before: Option<Extra> = spec.extra.take();
        spec.extra = Some(Arc::new(move |fdt| {
            fdt.property_null(name).unwrap();
            before.iter().for_each(|before| before(fdt));
        }));
    })
}

/// Makes the call in x3 to x6 of a request. Returns x0 of its completion.
fn call(sp: &mut Sp, request: &Regs) -> [u64; 5] {
    let [a, b, c, d, _] = request.payload();
    [sp.call([a, b, c, d]).0[0], 0, 0, 0, 0]
}

/// Handles pending interrupts, and counts them for the context.
fn handle(sp: &mut Sp, handled: &[AtomicU64; 8]) {
    loop {
        let id = sp.call([GET]).0[0];
        if id == NONE {
            return;
        }
        assert_eq!(sp.call([DEACTIVATE, id, id]).0[0], 0);
        handled[usize::from(sp.vcpu)].fetch_add(1, SeqCst);
    }
}

/// Returns a partition that makes the calls that it is asked to make, and counts for each context
/// the interrupts that it handles while it waits.
fn told(name: &str, handled: &Arc<[AtomicU64; 8]>) -> PartitionSpec {
    let handled = Arc::clone(handled);
    PartitionSpec::new(name).script(move |sp| {
        let mut message = sp.msg_wait();
        loop {
            message = match message.0[0] {
                DIRECT_REQ_64 => {
                    let payload = call(sp, &message);
                    sp.respond(&message, payload)
                }
                INTERRUPT => {
                    handle(sp, &handled);
                    sp.msg_wait()
                }
                _ => sp.msg_wait(),
            }
        }
    })
}

fn turn_on(system: &System, pes: std::ops::Range<usize>) {
    for pe in pes {
        system.turn_on(pe);
    }
}

fn off(system: &System, pe: usize) {
    const CPU_OFF: u64 = 0x8400_0002;
    let answer = system
        .pe(pe)
        .call([DIRECT_REQ_32, 0xffff_8000, 0x8000_0000, CPU_OFF]);
    assert_eq!(answer.0[3], 0);
}

fn ask(system: &System, pe: usize, call: [u64; 4]) -> u64 {
    let [a, b, c, d] = call;
    system.pe(pe).ask(SP1, [a, b, c, d, 0])[0]
}

/// Lets each of these PEs take its interrupts.
fn settle(system: &System, pes: std::ops::Range<usize>) {
    for pe in pes.clone().chain(pes) {
        for _ in 0..20 {
            if system.machine.gic().has_interrupt(pe) {
                system.pe(pe).call([INTERRUPT]);
            }
        }
        assert!(!system.machine.gic().has_interrupt(pe), "PE {pe} for ever");
    }
}

fn counts(handled: &[AtomicU64; 8]) -> [u64; 4] {
    [0, 1, 2, 3].map(|pe: usize| handled[pe].load(SeqCst))
}

// Contexts of the boot PE begin a new life when that PE is turned on again. Interrupts of other
// contexts do not concern them.
// req: INT-04, INT-13
#[test]
fn interrupts_of_other_pes_stay_as_they_are_when_one_goes_off_and_on() {
    for pe in [0, 2] {
        let handled = Arc::default();
        let system = System::boot([with_device(told("mp", &handled), &[LINE, OTHER]).vcpus(4)]);
        turn_on(&system, 1..4);
        for line in [LINE, OTHER] {
            assert_eq!(ask(&system, 1, [ENABLE, line.into(), 1, 0]), 0);
            system.machine.gic().route(line, 1);
        }
        // An interrupt is being handled there.
        system.machine.gic().pulse(OTHER);
        system.pe(1).call([INTERRUPT]);
        off(&system, pe);
        let is_enabled = || system.machine.gic().is_enabled(LINE);
        assert!(is_enabled());
        system.turn_on(pe);
        assert!(is_enabled(), "off and on disabled it");
        assert_eq!(system.machine.gic().target(LINE), 1, "off and on moved it");
        system.machine.gic().pulse(LINE);
        settle(&system, 0..4);
        assert_eq!(counts(&handled), [0, 2, 0, 0]);
    }
}

// Interrupts that are fetched and not deactivated, that wait to be fetched, and that come later.
// req: INT-04, INT-08
#[test]
fn a_pe_that_goes_off_hands_its_interrupts_over() {
    let fetched = with_device(PartitionSpec::new("mp").vcpus(4), &[LINE, OTHER]);
    let handled: Arc<[AtomicU64; 8]> = Arc::default();
    let count = Arc::clone(&handled);
    let system = System::boot([fetched.script(move |sp| {
        let mut message = sp.msg_wait();
        loop {
            message = match message.0[0] {
                DIRECT_REQ_64 => {
                    for line in [LINE, OTHER] {
                        sp.call([ENABLE, line.into(), 1, 0]);
                    }
                    sp.gic(|gic| gic.pulse(LINE));
                    sp.poll();
                    assert_eq!(sp.call([GET]).0[0], LINE.into());
                    sp.gic(|gic| gic.pulse(OTHER));
                    sp.poll();
                    // The context is preempted in the middle of its handler.
                    sp.interrupt();
                    unreachable!()
                }
                INTERRUPT => {
                    handle(sp, &count);
                    sp.msg_wait()
                }
                _ => sp.msg_wait(),
            }
        }
    })]);
    system.turn_on(1);
    for line in [LINE, OTHER] {
        system.machine.gic().route(line, 1);
    }
    assert_eq!(system.pe(1).request(SP1, [0; 5]).function(), INTERRUPT);
    off(&system, 1);
    // The other context had not enabled them.
    settle(&system, 0..1);
    assert_eq!(counts(&handled)[..2], [2, 0]);
    assert!(
        [LINE, OTHER]
            .iter()
            .all(|line| !system.machine.gic().is_active(*line))
    );
    for _ in 0..2 {
        for line in [LINE, OTHER] {
            assert_eq!(system.machine.gic().target(line), 0);
            system.machine.gic().pulse(line);
        }
        settle(&system, 0..1);
        system.turn_on(1);
    }
    assert_eq!(counts(&handled)[..2], [6, 0]);
}

// If the partition has no other context, its interrupts wait for the context that comes back.
// req: INT-04
#[test]
fn interrupts_wait_for_a_pe_that_comes_back() {
    let handled: Arc<[AtomicU64; 8]> = Arc::default();
    let count = Arc::clone(&handled);
    let lines = &[LINE, OTHER, PRIVATE];
    let system = System::boot([
        with_device(PartitionSpec::new("mp").vcpus(4), lines).script(move |sp| {
            for line in lines {
                sp.call([ENABLE, u64::from(*line), 1, 0]);
            }
            sp.call([ENABLE, IPI, 1, 0]);
            if count[0].fetch_add(1, SeqCst) == 0 {
                sp.msg_wait();
                sp.gic(|gic| gic.pulse(LINE));
                sp.poll();
                assert_eq!(sp.call([GET]).0[0], LINE.into());
                sp.gic(|gic| gic.pulse(PRIVATE));
                sp.poll();
                sp.interrupt();
                unreachable!()
            }
            // The private interrupt belonged to the former life.
            assert_eq!(sp.signals(), (true, false));
            assert_eq!(sp.call([DEACTIVATE, LINE.into(), LINE.into()]).0[0], 0);
            assert_eq!(sp.call([GET]).0[0], LINE.into());
            assert_eq!(sp.call([GET]).0[0], NONE);
            assert_eq!(sp.call([DEACTIVATE, LINE.into(), LINE.into()]).0[0], 0);
            sp.serve(|_, request| request.payload())
        }),
    ]);
    assert_eq!(system.nwd().request(SP1, [0; 5]).function(), INTERRUPT);
    off(&system, 0);
    system.turn_on(0);
    assert_eq!(system.nwd().ask(SP1, [1; 5]), [1; 5]);
    let gic = system.machine.gic();
    assert!(!gic.is_active(LINE) && !gic.is_active(PRIVATE) && !gic.has_interrupt(0));
}

// The interrupt of a partition whose context moves must come to a PE that is on.
// req: INT-14
#[test]
fn interrupts_of_a_context_that_moves_leave_a_pe_that_goes_off() {
    let handled = Arc::default();
    let system = System::boot([with_device(told("up", &handled), &[LINE])]);
    turn_on(&system, 1..3);
    assert_eq!(ask(&system, 0, [ENABLE, LINE.into(), 1, 0]), 0);
    for pe in [0, 1] {
        off(&system, pe);
        assert_eq!(system.machine.gic().target(LINE), pe + 1);
        system.machine.gic().pulse(LINE);
        settle(&system, pe + 1..pe + 2);
    }
    assert_eq!(counts(&handled), [2, 0, 0, 0]);
    // The last PE cannot hand over to another one.
    off(&system, 2);
    assert_eq!(system.machine.gic().target(LINE), 2);
    assert!(system.machine.gic().is_enabled(LINE));
}

// A manifest may name a PE that is turned on later.
// req: INT-13
#[test]
fn a_pe_that_comes_late_has_the_interrupts_of_the_manifest() {
    let handled = Arc::default();
    let system = System::boot([told("mp", &handled).vcpus(4).with(|spec| {
        spec.device = true;
        spec.device_properties
            .push(("interrupts", vec![LINE, 0x910]));
        spec.device_properties
            .push(("interrupts-target", vec![LINE, 0, 1 << 8]));
    })]);
    assert_eq!(system.machine.gic().target(LINE), 1);
    system.turn_on(2);
    system.turn_on(1);
    assert_eq!(system.machine.gic().target(LINE), 1);
}

// Interrupts that became pending while a context was off are for its next life, and so are
// notifications that the context was told of and did not fetch.
#[test]
fn what_comes_while_a_pe_is_off_is_not_lost() {
    let handled: Arc<[AtomicU64; 8]> = Arc::default();
    let lives = Arc::clone(&handled);
    let spec = with_null(PartitionSpec::new("mp").vcpus(4), "notification-support");
    let system = System::boot([spec.script(move |sp| {
        let id = sp.id;
        if sp.vcpu == 0 {
            sp.call([NOTIFICATION_BIND, both(1, id), 1, 1]).success();
            sp.serve(|sp, _| [sp.call([SEND_IPI, 1]).0[0], 0, 0, 0, 0])
        }
        sp.call([ENABLE, IPI, 1, 0]);
        let pending = [sp.call([GET]).0[0], sp.call([GET]).0[0]];
        if lives[1].fetch_add(1, SeqCst) == 0 {
            assert_eq!(pending, [NONE; 2]);
            sp.serve(|sp, request| {
                // The context knows of the notification, and of nothing else.
                assert_eq!(sp.call([GET]).0[0], NOTIFICATION);
                request.payload()
            })
        }
        sp.serve(move |sp, _| {
            let map = sp.call([NOTIFICATION_GET, u64::from(id) | 1 << 16, 0xf]).0[4];
            [pending[0], pending[1], map, 0, 0]
        })
    })]);
    system.turn_on(1);
    let nwd = system.nwd();
    nwd.call([NOTIFICATION_SET, both(1, SP1), 1 << 16 | 1, 1])
        .success();
    system.pe(1).ask(SP1, [0; 5]);
    off(&system, 1);
    nwd.ask(SP1, [0; 5]);
    system.turn_on(1);
    assert_eq!(system.pe(1).ask(SP1, [0; 5])[..3], [IPI, NOTIFICATION, 1]);
}

fn mortal(name: &str) -> PartitionSpec {
    with_null(PartitionSpec::new(name), "lifecycle-support")
        .with(|spec| spec.takes_exceptions = false)
        .property("abort-action", 2)
}

// A partition that starts again has no interrupts, and no wish for cycles, of its former life.
// req: INT-04
#[test]
fn a_restarted_partition_has_no_interrupts_of_its_former_life() {
    let system = System::boot([with_device(mortal("sp"), &[LINE, OTHER])
        .property("sri-interrupts-policy", 2)
        .script(|sp| {
            for line in [LINE, OTHER] {
                sp.call([ENABLE, line.into(), 1, 0]);
            }
            let signals = sp.signals();
            let pending = sp.call([GET]).0[0];
            sp.serve(move |sp, request| {
                match request.0[3] {
                    // The interrupt comes and is fetched only later: the scheduler is asked for
                    // cycles.
                    1 => {
                        sp.gic(|gic| gic.pulse(LINE));
                        sp.poll();
                    }
                    2 => {
                        assert_eq!(sp.call([GET]).0[0], LINE.into());
                        sp.gic(|gic| gic.pulse(OTHER));
                        sp.poll();
                        sp.trap(0);
                        unreachable!();
                    }
                    _ => {}
                }
                [pending, signals.0.into(), signals.1.into(), 0, 0]
            })
        })]);
    let nwd = system.nwd();
    let fresh = [NONE, 0, 0, 0, 0];
    assert_eq!(nwd.ask(SP1, [0; 5]), fresh);
    assert_eq!(nwd.ask(SP1, [1; 5]), fresh);
    assert_eq!(nwd.request(SP1, [2; 5]).error(), Some(ABORTED));
    assert_eq!(nwd.ask(SP1, [0; 5]), fresh);
    assert_eq!(nwd.call([NOTIFICATION_INFO_GET_64]).error(), Some(NO_DATA));
    assert!(!system.machine.gic().has_interrupt(0));
    // The new life has interrupts of its own.
    nwd.ask(SP1, [1; 5]);
    assert_eq!(nwd.call([NOTIFICATION_INFO_GET_64]).0[3], SP1.into());
}

// A partition that starts again leaves the interrupts of others alone. Its own interrupts stay
// where they are routed.
// req: INT-13, INT-14
#[test]
fn a_restart_sets_up_interrupts_of_that_partition_only() {
    let handled = Arc::default();
    let other = with_device(told("other", &handled), &[OTHER]);
    let system = System::boot([
        other,
        mortal("sp")
            .with(|spec| {
                spec.device = true;
                spec.device_properties
                    .push(("interrupts", vec![LINE, 0x910]));
                spec.device_properties
                    .push(("interrupts-target", vec![LINE, 0, 0]));
            })
            .script(|sp| {
                sp.call([ENABLE, LINE.into(), 1, 0]);
                sp.serve(|sp, _| {
                    sp.trap(0);
                    unreachable!()
                })
            }),
    ]);
    turn_on(&system, 1..3);
    ask(&system, 0, [ENABLE, OTHER.into(), 1, 0]);
    system.machine.gic().route(OTHER, 2);
    // The interrupts come to the PE that the manifest names, if that PE is on.
    for (n, target) in [0, 1, 0].into_iter().enumerate() {
        match n {
            1 => off(&system, 0),
            2 => turn_on(&system, 0..1),
            _ => {}
        }
        assert_eq!(system.pe(1).request(0x8002, [0; 5]).error(), Some(ABORTED));
        let gic = system.machine.gic();
        assert_eq!((gic.target(LINE), gic.target(OTHER)), (target, 2));
        assert!(gic.is_enabled(OTHER) && gic.is_enabled(LINE));
    }
}

// From then on the interrupt comes to the heir, which may not have enabled it.
// req: INT-04
#[test]
fn what_was_enabled_on_a_pe_that_goes_off_is_enabled_where_it_comes_then() {
    let handled = Arc::default();
    let system = System::boot([with_device(told("mp", &handled), &[LINE]).vcpus(4)]);
    system.turn_on(1);
    assert_eq!(ask(&system, 1, [ENABLE, LINE.into(), 1, 0]), 0);
    system.machine.gic().route(LINE, 1);
    off(&system, 1);
    assert_eq!(system.machine.gic().target(LINE), 0);
    system.machine.gic().pulse(LINE);
    settle(&system, 0..1);
    assert_eq!(counts(&handled), [1, 0, 0, 0]);
}

// req: INT-04, INT-08
#[test]
fn an_heir_is_called_for_what_was_enabled_and_comes_to_it_and_nothing_else() {
    for case in 0..8 {
        let [is_enabled, is_routed, is_unfinished] = [1, 2, 4].map(|bit| case & bit != 0);
        let handled = Arc::default();
        let system = System::boot([with_device(told("mp", &handled), &[LINE]).vcpus(4)]);
        turn_on(&system, 1..3);
        // The GIC forwards the interrupt, whichever context has enabled it.
        assert_eq!(ask(&system, 2, [RECONFIGURE, LINE.into(), 2, 1]), 0);
        let pulse = |pe| {
            system.machine.gic().route(LINE, pe);
            system.machine.gic().pulse(LINE);
        };
        if is_unfinished {
            pulse(1);
            system.pe(1).call([INTERRUPT]);
        }
        if is_enabled {
            assert_eq!(ask(&system, 1, [ENABLE, LINE.into(), 1, 0]), 0);
        }
        system
            .machine
            .gic()
            .route(LINE, if is_routed { 1 } else { 2 });
        off(&system, 1);
        settle(&system, 0..1);
        let finished = u64::from(is_enabled && is_unfinished);
        assert_eq!(counts(&handled), [finished, 0, 0, 0], "case {case}");
        // The next interrupt comes to the heir.
        pulse(0);
        settle(&system, 0..1);
        let next = u64::from(is_enabled && (is_routed || is_unfinished));
        assert_eq!(counts(&handled), [finished + next, 0, 0, 0], "case {case}");
    }
}

// req: INT-04
#[test]
fn a_pe_without_a_context_is_no_heir() {
    let handled = Arc::default();
    let system = System::boot([with_device(told("mp", &handled), &[LINE]).vcpus(2)]);
    assert_eq!(ask(&system, 0, [ENABLE, LINE.into(), 1, 0]), 0);
    system.turn_on(2);
    off(&system, 0);
    assert_eq!(system.machine.gic().target(LINE), 0);
}

// The context may run on any other PE when its PE goes off, or went off without a message.
// req: INT-14
#[test]
fn a_context_that_moves_has_its_interrupts_after_the_only_pe_was_off() {
    for is_told in [false, true] {
        let handled = Arc::default();
        let system = System::boot([with_device(told("up", &handled), &[LINE])]);
        assert_eq!(ask(&system, 0, [ENABLE, LINE.into(), 1, 0]), 0);
        if is_told {
            off(&system, 0);
        }
        system.turn_on(0);
        system.machine.gic().pulse(LINE);
        settle(&system, 0..1);
        assert_eq!(counts(&handled), [1, 0, 0, 0], "told: {is_told}");
    }
}

// EL3 may turn a PE off although the SPMC was not told, or a partition refused.
// req: INT-04, INT-08
#[test]
fn what_was_unfinished_on_a_pe_that_went_off_untold_waits_for_it() {
    let handled: Arc<[AtomicU64; 8]> = Arc::default();
    let count = Arc::clone(&handled);
    let spec = with_device(PartitionSpec::new("mp").vcpus(4), &[LINE]);
    let system = System::boot([spec.script(move |sp| {
        sp.call([ENABLE, LINE.into(), 1, 0]);
        if sp.vcpu == 1 && count[0].fetch_add(1, SeqCst) == 0 {
            sp.msg_wait();
            sp.gic(|gic| gic.pulse(LINE));
            sp.poll();
            assert_eq!(sp.call([GET]).0[0], LINE.into());
            sp.interrupt();
            unreachable!()
        }
        if sp.vcpu == 1 {
            assert_eq!(sp.call([GET]).0[0], LINE.into());
            assert_eq!(sp.call([DEACTIVATE, LINE.into(), LINE.into()]).0[0], 0);
        }
        sp.serve(|_, request| request.payload())
    })]);
    system.turn_on(1);
    system.machine.gic().route(LINE, 1);
    assert_eq!(system.pe(1).request(SP1, [0; 5]).function(), INTERRUPT);
    system.turn_on(1);
    assert_eq!(handled[0].load(SeqCst), 2);
    assert_eq!(system.pe(1).ask(SP1, [1; 5]), [1; 5]);
    assert!(!system.machine.gic().is_active(LINE));
}
