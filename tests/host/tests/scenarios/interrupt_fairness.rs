//! INT: no partition has its interrupts masked, or waits for ever, because of another partition. No
//! PE is interrupted in vain.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use host_tests::ffa::*;
use host_tests::{PartitionSpec, Sp, System};

const SP1: u16 = 0x8001;
const SP2: u16 = 0x8002;
const VICTIM: u32 = 40;
const FLOOD: u32 = 50;
const FLOOD2: u32 = 51;

const ENABLE: u64 = 0xff03;
const GET: u64 = 0xff04;
const DEACTIVATE: u64 = 0xff08;
const SEND_IPI: u64 = 0xff0a;
const NONE: u64 = 0xffff_ffff;
const IPI: u64 = 9;

/// Returns a partition with these lines, all edges. Its handler does `handle` for each interrupt
/// that it fetches, and then waits. Requests are echoed.
fn owner(
    name: &str,
    lines: &'static [u32],
    handle: impl Fn(&mut Sp, u32) + Send + Sync + 'static,
) -> PartitionSpec {
    PartitionSpec::new(name)
        .with(|spec| {
            spec.device = true;
            let cells = lines.iter().flat_map(|line| [*line, 0x910]).collect();
            spec.device_properties.push(("interrupts", cells));
        })
        .script(move |sp| {
            for line in lines {
                assert_eq!(sp.call([ENABLE, (*line).into(), 1, 0]).0[0], 0);
            }
            let mut message = sp.msg_wait();
            loop {
                message = match message.0[0] {
                    INTERRUPT => {
                        loop {
                            let id = sp.call([GET]).0[0];
                            if id == NONE {
                                break;
                            }
                            assert_eq!(sp.call([DEACTIVATE, id, id]).0[0], 0);
                            handle(sp, id as u32);
                        }
                        sp.msg_wait()
                    }
                    DIRECT_REQ_64 => {
                        let payload = message.payload();
                        sp.respond(&message, payload)
                    }
                    _ => sp.msg_wait(),
                };
            }
        })
}

/// Returns a partition that handles its interrupt in a short time, and counts.
fn victim(count: &Arc<AtomicU64>) -> PartitionSpec {
    let count = Arc::clone(count);
    owner("victim", &[VICTIM], move |sp, _| {
        sp.gic(|gic| gic.pass(10));
        count.fetch_add(1, SeqCst);
    })
}

/// Interrupts the Normal world while an interrupt is pending, at most `most` times. Returns how
/// often.
fn settle(system: &System, most: usize) -> usize {
    for n in 0..most {
        if !system.machine.gic().has_interrupt(0) {
            return n;
        }
        assert_eq!(system.nwd().call([INTERRUPT]).0[0], NORMAL_WORLD_RESUME);
    }
    most
}

// The attacker arranges that the interrupt which exceeds the limit is the victim's.
// req: INT-09
#[test]
fn a_flood_masks_its_own_source() {
    for at in 250..=260 {
        let count = Arc::<AtomicU64>::default();
        let rounds = AtomicU64::new(0);
        let attacker = owner("attacker", &[FLOOD], move |sp, _| {
            sp.gic(|gic| gic.pass(80));
            let round = rounds.fetch_add(1, SeqCst);
            if round + 1 == at {
                sp.gic(|gic| gic.pulse(VICTIM));
            }
            sp.call([ENABLE, FLOOD.into(), 1, 0]);
            if round < 400 {
                sp.gic(|gic| gic.pulse(FLOOD));
            }
            sp.poll();
        });
        let system = System::boot([attacker, victim(&count)]);
        system.machine.gic().pass(1000);
        system.machine.gic().pulse(FLOOD);
        settle(&system, 1000);
        assert_eq!(count.load(SeqCst), 1, "{at}");
        assert!(system.machine.gic().is_enabled(VICTIM), "{at}");
    }
}

// The source of the partition that floods is masked; other sources are left alone, even if they are
// more in number.
// req: INT-09
#[test]
fn the_source_that_comes_most_often_of_who_takes_most_time_is_masked() {
    let count = Arc::<AtomicU64>::default();
    let attacker = owner("attacker", &[FLOOD, FLOOD2], |sp, _| {
        sp.gic(|gic| gic.pass(1000));
    });
    let system = System::boot([attacker, victim(&count)]);
    system.machine.gic().pass(1000);
    for n in 0..600 {
        let mut gic = system.machine.gic();
        gic.pulse(if n % 30 == 10 { FLOOD2 } else { VICTIM });
        if n % 10 == 0 {
            gic.pulse(FLOOD);
        }
        drop(gic);
        assert_eq!(system.nwd().call([INTERRUPT]).0[0], NORMAL_WORLD_RESUME);
        let gic = system.machine.gic();
        assert!(gic.is_enabled(VICTIM) && gic.is_enabled(FLOOD2), "{n}");
        if !gic.is_enabled(FLOOD) {
            return;
        }
    }
    panic!("nothing is masked");
}

// In any order of ids, a partition that is called again has its turn after all others.
// req: INT-04, INT-07
#[test]
fn handlers_take_turns() {
    for (position, id) in [(0, SP1), (1, SP2), (0, 0x9105), (1, 0x9105)] {
        let count = Arc::<AtomicU64>::default();
        let rounds = Arc::<AtomicU64>::default();
        let before = Arc::<AtomicU64>::default();
        let (seen, others, ran) = (Arc::clone(&count), Arc::clone(&before), Arc::clone(&rounds));
        let attacker = owner("attacker", &[FLOOD], move |sp, _| {
            if seen.load(SeqCst) == 0 {
                others.fetch_add(1, SeqCst);
            }
            if ran.fetch_add(1, SeqCst) < 1000 {
                sp.gic(|gic| gic.pulse(FLOOD));
            }
        });
        let mut specs = vec![attacker.id(id), victim(&count)];
        specs.rotate_left(position);
        let system = System::boot(specs);
        for n in 1..4 {
            before.store(0, SeqCst);
            rounds.store(0, SeqCst);
            count.store(0, SeqCst);
            system.machine.gic().pulse(FLOOD);
            system.machine.gic().pulse(VICTIM);
            system.nwd().call([INTERRUPT]);
            assert_eq!(count.load(SeqCst), 1, "round {n}: it had no turn");
            assert!(before.load(SeqCst) <= 1, "round {n}: it was not next");
            rounds.store(1000, SeqCst);
            settle(&system, 1000);
            // The source is masked, since time stands still, or is not masked.
            system.nwd().ask(id, [0; 5]);
        }
    }
}

// Partitions that call for themselves without end have the PE equally often.
// req: INT-04
#[test]
fn turns_are_even() {
    let turns: [Arc<AtomicU64>; 3] = Default::default();
    const LINES: [&[u32]; 3] = [&[60], &[61], &[62]];
    let system = System::boot((0..3).map(|n: usize| {
        let own = Arc::clone(&turns[n]);
        owner("sp", LINES[n], move |sp, line| {
            own.fetch_add(1, SeqCst);
            sp.gic(|gic| gic.pulse(line));
        })
    }));
    for [line] in LINES.map(|lines| [lines[0]]) {
        system.machine.gic().pulse(line);
    }
    for _ in 0..20 {
        system.nwd().call([INTERRUPT]);
        let turns = [0, 1, 2].map(|n: usize| turns[n].load(SeqCst));
        let (least, most) = (turns.iter().min(), turns.iter().max());
        assert!(most.unwrap() - least.unwrap() <= 1, "{turns:?}");
    }
}

// A device that has another interrupt each time is not masked, as long as others have the PE in
// between or the device comes to an end.
// req: INT-04, INT-09
#[test]
fn a_level_that_makes_progress_is_not_masked() {
    let left = Arc::<AtomicU64>::default();
    let fifo = Arc::clone(&left);
    let serial = owner("serial", &[VICTIM], |_, _| {}).script(move |sp| {
        assert_eq!(sp.call([ENABLE, VICTIM.into(), 1, 0]).0[0], 0);
        loop {
            sp.msg_wait();
            let id = sp.call([GET]).0[0];
            if id != NONE {
                let rest = fifo.fetch_sub(1, SeqCst) - 1;
                sp.gic(|gic| {
                    gic.pass(10);
                    gic.set_level(VICTIM, rest != 0);
                });
                sp.call([DEACTIVATE, id, id]);
            }
        }
    });
    let system = System::boot([serial]);
    for _ in 0..5 {
        left.store(200, SeqCst);
        system.machine.gic().pass(1_000);
        system.machine.gic().set_level(VICTIM, true);
        settle(&system, 1000);
        assert_eq!(left.load(SeqCst), 0);
        assert!(system.machine.gic().is_enabled(VICTIM));
    }
}

// A level that its owner never clears takes the owner's own time: neighbours have their interrupts,
// the Normal world has its own, and nothing is masked.
// req: INT-04, INT-07, INT-09
#[test]
fn a_level_that_its_owner_never_clears_while_it_runs_starves_nobody() {
    const ROUNDS: u64 = 1000;
    let count = Arc::<AtomicU64>::default();
    let seen = Arc::clone(&count);
    let stuck = owner("stuck", &[FLOOD], |_, _| {}).script(move |sp| {
        assert_eq!(sp.call([ENABLE, FLOOD.into(), 1, 0]).0[0], 0);
        sp.serve(|sp, request| {
            sp.gic(|gic| gic.set_level(FLOOD, true));
            for round in 1..=ROUNDS {
                sp.poll();
                assert_eq!(sp.call([GET]).0[0], FLOOD.into(), "round {round}");
                if round % 10 == 0 {
                    sp.gic(|gic| gic.pulse(VICTIM));
                    sp.poll();
                    assert_eq!(seen.load(SeqCst), round / 10, "its neighbour had no turn");
                }
                if round % 100 == 0 {
                    assert!(sp.interrupt(), "the Normal world waits for its interrupt");
                }
                sp.gic(|gic| gic.pass(1));
                assert_eq!(sp.call([DEACTIVATE, FLOOD.into(), FLOOD.into()]).0[0], 0);
            }
            sp.gic(|gic| gic.set_level(FLOOD, false));
            request.payload()
        })
    });
    let system = System::boot([stuck, victim(&count)]);
    let mut answer = system.nwd().request(SP1, [7; 5]);
    for _ in 0..ROUNDS / 100 {
        assert_eq!(answer.function(), INTERRUPT, "{answer:?}");
        answer = system.nwd().call([RUN, u64::from(SP1) << 16]);
    }
    assert_eq!(answer.payload(), [7; 5], "{answer:?}");
    let gic = system.machine.gic();
    assert!(gic.is_enabled(FLOOD) && gic.is_enabled(VICTIM));
}

/// Returns a partition with other-s-interrupts-action 0. It raises the interrupt of another
/// partition, and may yield before it answers.
fn queues_others() -> PartitionSpec {
    PartitionSpec::new("queues")
        .with(|spec| spec.ns_interrupts = 0)
        .property("other-s-interrupts-action", 0)
        .script(|sp| {
            sp.serve(|sp, request| {
                sp.gic(|gic| gic.pulse(VICTIM));
                sp.poll();
                if request.0[3] == 1 {
                    sp.call([YIELD]);
                }
                request.payload()
            })
        })
}

// An interrupt that the partition had queued is due when the Normal world gets the PE in any way.
// req: INT-07
#[test]
fn queued_interrupts_of_others_are_due_when_the_normal_world_has_the_pe() {
    let count = Arc::<AtomicU64>::default();
    let system = System::boot([queues_others(), victim(&count)]);
    let nwd = system.nwd();
    for (n, kind) in (1..).zip([1, 0, 1]) {
        let answer = nwd.request(SP1, [kind; 5]);
        assert_eq!(count.load(SeqCst), n - 1, "queued");
        settle(&system, 2);
        assert_eq!(count.load(SeqCst), n, "kind {kind}");
        if answer.function() == YIELD {
            let answer = nwd.call([RUN, u64::from(SP1) << 16]);
            assert_eq!(answer.payload(), [kind; 5]);
        }
    }
}

// req: INT-03, INT-07, SINT-10
#[test]
fn non_secure_interrupts_wait_for_a_handler() {
    let count = Arc::<AtomicU64>::default();
    let seen = Arc::clone(&count);
    let system = System::boot([owner("signaled", &[VICTIM], move |sp, _| {
        assert!(!sp.interrupt(), "a handler is preempted");
        sp.interrupt_although_masked();
        seen.fetch_add(1, SeqCst);
    })]);
    system.machine.gic().pulse(VICTIM);
    assert_eq!(settle(&system, 5), 1);
    assert_eq!(count.load(SeqCst), 1);
}

// An interrupt that was on its way when its owner failed, or a private interrupt of another PE,
// which only that PE can mask.
// req: INT-09
#[test]
fn interrupts_of_a_dead_partition_do_not_stay_active() {
    let dies = owner("dies", &[VICTIM], |sp, _| {
        sp.trap(0);
    })
    .with(|spec| spec.takes_exceptions = false);
    let system = System::boot([dies, PartitionSpec::new("other")]);
    let nwd = system.nwd();
    system.machine.gic().pulse(VICTIM);
    settle(&system, 5);
    assert_eq!(nwd.request(SP1, [0; 5]).error(), Some(ABORTED));
    system.machine.gic().let_through(VICTIM);
    system.machine.gic().pulse(VICTIM);
    settle(&system, 5);
    let gic = system.machine.gic();
    assert!(!gic.is_enabled(VICTIM) && !gic.is_active(VICTIM));
    drop(gic);
    nwd.ask(SP2, [1; 5]);
}

/// Returns how often a PE was told to look for interrupts since there were `before` times.
fn looks(system: &System, before: usize) -> usize {
    system.machine.journal().looks - before
}

// req: INT-04, INT-06
#[test]
fn as_many_as_there_can_be_have_their_turn_in_one_go() {
    static LINES: [u32; 8] = [60, 61, 62, 63, 64, 65, 66, 67];
    let count = Arc::<AtomicU64>::default();
    let system = System::boot(LINES.chunks(1).map(|line| {
        let count = Arc::clone(&count);
        owner("sp", line, move |_, _| {
            count.fetch_add(1, SeqCst);
        })
    }));
    for line in LINES {
        system.machine.gic().pulse(line);
    }
    let before = looks(&system, 0);
    assert_eq!(system.nwd().call([INTERRUPT]).0[0], NORMAL_WORLD_RESUME);
    assert_eq!(count.load(SeqCst), LINES.len() as u64);
    assert_eq!(looks(&system, before), 0);
}

// Handlers follow each other in any case, so an SGI for the next interrupt would be in vain.
// req: INT-04, INT-11
#[test]
fn no_interrupt_is_made_for_what_comes_between_handlers() {
    let count = Arc::<AtomicU64>::default();
    let seen = Arc::clone(&count);
    let calls_itself = owner("calls itself", &[FLOOD], |_, _| {})
        .with(|spec| spec.ns_interrupts = 0)
        .property("other-s-interrupts-action", 0)
        .script(move |sp| {
            for line in [FLOOD.into(), IPI] {
                assert_eq!(sp.call([ENABLE, line, 1, 0]).0[0], 0);
            }
            loop {
                sp.msg_wait();
                let id = sp.call([GET]).0[0];
                sp.call([DEACTIVATE, id, id]);
                if id == FLOOD.into() {
                    assert_eq!(sp.call([SEND_IPI, 0]).0[0], 0);
                }
                seen.fetch_add(1, SeqCst);
            }
        });
    let mut specs = [calls_itself, victim(&count)];
    for n in 1..3 {
        let system = System::boot(specs.clone());
        for line in [FLOOD, VICTIM] {
            system.machine.gic().pulse(line);
        }
        let before = looks(&system, 0);
        assert_eq!(system.nwd().call([INTERRUPT]).0[0], NORMAL_WORLD_RESUME);
        assert_eq!(count.load(SeqCst), 3 * n, "two lines and a call");
        assert_eq!(looks(&system, before), 0);
        specs.reverse();
    }
}

// req: INT-04
#[test]
fn a_handler_is_not_interrupted_by_another() {
    let count = Arc::<AtomicU64>::default();
    let seen = Arc::clone(&count);
    let first = owner("first", &[FLOOD], move |sp, _| {
        sp.gic(|gic| gic.pulse(VICTIM));
        sp.poll();
        assert_eq!(seen.load(SeqCst), 0, "one inside of the other");
    });
    let system = System::boot([first, victim(&count)]);
    system.machine.gic().pulse(FLOOD);
    assert_eq!(system.nwd().call([INTERRUPT]).0[0], NORMAL_WORLD_RESUME);
    assert_eq!(count.load(SeqCst), 1);
}

/// Returns whether something may be pending for a context of the first partition.
fn is_interrupted(system: &System) -> bool {
    system.spmc.partitions[0].may_have_interrupts()
}

// Each call of the partition would cost more as long as an interrupt is noted.
// req: INT-07
#[test]
fn nothing_stays_noted_of_interrupts_that_are_dealt_with() {
    let count = Arc::<AtomicU64>::default();
    let handles = victim(&count).vcpus(4);
    let system = System::boot([handles]);
    system.turn_on(1);
    for pe in [0, 1] {
        system.machine.gic().route(VICTIM, pe);
        system.machine.gic().pulse(VICTIM);
        system.pe(pe).call([INTERRUPT]);
    }
    assert_eq!(count.load(SeqCst), 2);
    assert!(!is_interrupted(&system));

    let system = System::boot([queues_others(), victim(&count)]);
    let nwd = system.nwd();
    assert_eq!(nwd.ask(SP1, [0; 5]), [0; 5]);
    settle(&system, 2);
    assert_eq!(count.load(SeqCst), 3);
    assert!(!is_interrupted(&system));
}

// A line that becomes pending while the partition handles another one is signalled at once.
// req: INT-04, INT-11
#[test]
fn a_handler_sees_what_comes_for_itself() {
    let count = Arc::<AtomicU64>::default();
    let seen = Arc::clone(&count);
    let system = System::boot([owner("owner", &[FLOOD, FLOOD2], move |sp, line| {
        if line == FLOOD {
            assert_eq!(sp.signals(), (false, false));
            sp.gic(|gic| gic.pulse(FLOOD2));
            sp.poll();
            assert_eq!(sp.signals(), (true, false));
        }
        seen.fetch_add(1, SeqCst);
    })]);
    system.machine.gic().pulse(FLOOD);
    assert_eq!(settle(&system, 5), 1);
    assert_eq!(count.load(SeqCst), 2);
}
