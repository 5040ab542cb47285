//! Tests what happens when a partition fails: `abort-action`, `FFA_ABORT`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use host_tests::ffa::*;
use host_tests::hal::FakeHal;
use host_tests::manifest::{PARTITION_SIZE, Region, partition_base};
use host_tests::system::NWD_PAGES;
use host_tests::{PartitionSpec, Sp, System};
use spmc::addr::World::{NonSecure, Secure};
use spmc::addr::{Ipa, PageRange};

use crate::stage::{READ_WRITE, SP1, SP3, Stage};

const STOP: u32 = 0;
const DESTROY: u32 = 1;
const RESTART: u32 = 2;
const PROPAGATE: u32 = 3;

/// Returns a partition that cannot take exceptions.
fn mortal(name: &str, action: u32) -> PartitionSpec {
    PartitionSpec::new(name)
        .with(|sp| {
            sp.takes_exceptions = false;
            sp.extra = Some(Arc::new(|fdt| {
                fdt.property_null("lifecycle-support").unwrap()
            }));
        })
        .property("abort-action", action)
}

/// Fails on request (x3 = 1 by a fault, 2 by `FFA_ABORT`), and echoes other requests.
fn serve(sp: &mut Sp) -> ! {
    sp.serve(|sp, request| {
        match request.0[3] {
            1 => drop(sp.trap(0)),
            2 => drop(sp.call([ABORT_32])),
            _ => return request.payload(),
        }
        unreachable!("it is dead");
    })
}

fn die(n: u64) -> [u64; 5] {
    [n, 0, 0, 0, 0]
}

// req: MSGD-08, MSGW-16
#[test]
fn a_partition_says_that_it_cannot_go_on() {
    for id in [ABORT_32, ABORT_64] {
        let system = System::boot([
            PartitionSpec::new("in a request").script(move |sp| {
                // The function is one of 1.3, although partitions at 1.2 can call it.
                sp.refused([FEATURES, id], NOT_SUPPORTED);
                sp.serve(move |sp, _| {
                    sp.call([id]);
                    unreachable!("it is dead");
                })
            }),
            PartitionSpec::new("with cycles").script(move |sp| {
                sp.msg_wait();
                sp.call([id]);
            }),
            PartitionSpec::new("at once").script(move |sp| {
                sp.call([id]);
            }),
            PartitionSpec::new("newer").version(3).script(move |sp| {
                sp.call([FEATURES, id]).success();
                sp.serve(move |sp, _| {
                    sp.call([id]);
                    unreachable!("it is dead");
                })
            }),
            PartitionSpec::new("old").version(1).script(move |sp| {
                sp.refused([id], NOT_SUPPORTED);
                sp.refused([FEATURES, id], NOT_SUPPORTED);
                sp.serve(|_, request| request.payload())
            }),
        ]);
        let nwd = system.nwd();
        assert_eq!(nwd.request(0x8001, [0; 5]).error(), Some(ABORTED));
        assert_eq!(nwd.call([RUN, 0x8002_0000]).error(), Some(ABORTED));
        assert_eq!(nwd.request(0x8004, [0; 5]).error(), Some(ABORTED));
        for partition in 0x8001..=0x8004 {
            nwd.refused([DIRECT_REQ_64, partition], ABORTED);
        }
        assert_eq!(nwd.ask(0x8005, [3; 5]), [3; 5]);
        // The function is no call of the Normal world.
        nwd.refused([id], NOT_SUPPORTED);
        nwd.refused([FEATURES, id], NOT_SUPPORTED);
    }
}

fn byte(system: &System, address: u64) -> u8 {
    let mut byte = [0];
    system
        .machine
        .memory()
        .read(Secure, address, &mut byte)
        .expect("memory");
    byte[0]
}

// req: MSGD-08
#[test]
fn a_stopped_partition_keeps_its_memory_and_a_destroyed_one_does_not() {
    const OWN: u64 = 0x0e80_0000;
    for action in [STOP, DESTROY] {
        let region = Region {
            name: "own",
            base: OWN,
            relative: false,
            pages: 2,
            attributes: 3,
        };
        let system = System::boot([mortal("sp1", action)
            .with(|sp| sp.regions = vec![region])
            .script(|sp| {
                for page in [sp.base() + 0x3_0000, OWN + 0x1000] {
                    assert!(sp.poke(Secure, page, 0x77));
                }
                sp.map_buffers();
                assert!(sp.poke(Secure, sp.tx(), 0x77));
                serve(sp)
            })]);
        let nwd = system.nwd();
        assert_eq!(nwd.request(0x8001, die(1)).error(), Some(ABORTED));
        let expected = if action == STOP { 0x77 } else { 0 };
        let base = partition_base(0);
        for page in [base + 0x3_0000, base + 0x1_0000, OWN + 0x1000] {
            assert_eq!(byte(&system, page), expected, "{page:#x}");
        }
        nwd.refused([DIRECT_REQ_64, 0x8001], ABORTED);
        nwd.refused([RUN, 0x8001_0000], ABORTED);
    }
}
// req: MSGD-08
#[test]
fn the_end_of_a_partition_costs_few_invalidations() {
    let count = |action, script: fn(&mut Sp)| {
        let system = System::boot([
            mortal("sp1", action).script(move |sp| {
                sp.map_buffers();
                script(sp);
                serve(sp)
            }),
            PartitionSpec::new("sp2"),
        ]);
        let invalidations = || system.machine.journal().invalidations;
        let before = invalidations();
        assert_eq!(system.nwd().request(0x8001, die(1)).error(), Some(ABORTED));
        invalidations() - before
    };
    let stopped = count(STOP, |_| ());
    // All of the partition's 256 pages together, whether they are mapped by a block or by a table.
    let together = count(DESTROY, |_| ()) - stopped;
    assert!(together <= 2, "{together}");
    // Holes separate pages: 64 of them cost 4 batches, each with a block that is split.
    let apart = count(DESTROY, |sp| {
        let page = |n: u64| (sp.base() + 0x4_0000 + n * 0x2000, 1);
        let holes: Vec<_> = (0..64).map(page).collect();
        sp.send(MEM_LEND_64, &Transaction::lend(sp.id, 0x8002, RW, &holes));
    });
    assert!(apart - stopped <= 16, "{apart} - {stopped}");
}

// Memory that others have stays theirs, with its contents.
// req: MSGD-08, MEMO-12
#[test]
fn all_memory_of_a_destroyed_partition_is_zeroed_but_what_others_have() {
    const PAGES: u64 = PARTITION_SIZE / 0x1000;
    let constants = Region {
        name: "constants",
        base: 0x2_0000,
        relative: true,
        pages: 1,
        attributes: 1,
    };
    // Holes that separate more pages than a batch has.
    let lent: Vec<u64> = (0..20).map(|n| 0x4_0000 + n * 0x3000).collect();
    let (shared, unclaimed) = (0x3_0000, 0x3_5000);
    let theirs = lent.clone();
    let system = System::boot([
        mortal("sp1", DESTROY)
            .with(|sp| sp.regions = vec![constants])
            .script(move |sp| {
                let base = sp.base();
                for page in (0..PAGES).filter(|page| *page != 0x20) {
                    assert!(sp.poke(Secure, base + page * 0x1000, 0x77));
                }
                sp.map_buffers();
                let page = |offset: &u64| (partition_base(0) + offset, 1);
                let lent: Vec<_> = theirs.iter().map(page).collect();
                let sends = [
                    (MEM_LEND_64, Transaction::lend(SP1, 0x8002, RW, &lent)),
                    (
                        MEM_SHARE_64,
                        Transaction::share(SP1, 0x8002, RW, &[page(&shared)]),
                    ),
                    (
                        MEM_SHARE_64,
                        Transaction::share(SP1, 0x8002, RW, &[page(&unclaimed)]),
                    ),
                ];
                let handles = sends.map(|(function, share)| sp.send(function, &share));
                sp.serve(move |sp, request| {
                    if request.0[3] == 1 {
                        sp.trap(0);
                    }
                    [0, handles[0], handles[1], 0, 0]
                })
            }),
        PartitionSpec::new("sp2").script(|sp| {
            sp.map_buffers();
            sp.serve(|sp, request| {
                for handle in &request.0[4..6] {
                    let retrieve = Transaction::retrieve(SP1, 0x8002, *handle, RW);
                    sp.retrieve(&retrieve).expect("it was sent");
                }
                [0; 5]
            })
        }),
    ]);
    let nwd = system.nwd();
    let handles = nwd.ask(SP1, [0; 5]);
    nwd.ask(0x8002, handles);
    assert_eq!(nwd.request(SP1, die(1)).error(), Some(ABORTED));
    for offset in (0..PAGES).map(|page| page * 0x1000) {
        let is_theirs = lent.contains(&offset) || offset == shared;
        let expected = if is_theirs { 0x77 } else { 0 };
        let found = byte(&system, partition_base(0) + offset);
        assert_eq!(found, expected, "{offset:#x}");
    }
    // The partition has no more than what borrowers would give back to it.
    let memory = system.spmc.partitions[0].endpoint.memory.lock();
    let hal = FakeHal(Arc::clone(&system.machine));
    for offset in (0..PAGES).map(|page| page * 0x1000) {
        let page = PageRange::new(Ipa::new(partition_base(0) + offset), 1).unwrap();
        let is_theirs = lent.contains(&offset) || offset == shared;
        assert_eq!(memory.first_leaf(&hal, page).is_some(), is_theirs);
    }
}

/// Returns a script that counts its incarnations, and passes the number of each to `script`.
fn counted(
    lives: &Arc<AtomicU64>,
    script: impl Fn(&mut Sp, u64) + Send + Sync + 'static,
) -> impl Fn(&mut Sp) + Send + Sync + 'static {
    let lives = Arc::clone(lives);
    move |sp| {
        let life = lives.fetch_add(1, Ordering::Relaxed);
        script(sp, life);
    }
}

// req: MSGD-08, MSGD-11, BOOT-02, BOOT-03, BOOT-05
#[test]
fn a_restarted_partition_is_what_it_was() {
    const OWN: u64 = 0x0e80_0000;
    let lives = Arc::new(AtomicU64::new(0));
    let region = |name, base, relative, attributes| Region {
        name,
        base,
        relative,
        pages: 1,
        attributes,
    };
    let system = System::boot([
        mortal("sp1", RESTART)
            .with(|sp| {
                sp.takes_exceptions = true;
                sp.boot_register = Some(2);
                sp.regions = vec![
                    region("own", OWN, false, 3),
                    region("constants", 0x2_0000, true, 1),
                    region("shared", 0x4800_0000, false, 8 | 3),
                ];
            })
            .script(counted(&lives, |sp, life| {
                // All of the partition's memory except the copy of the package.
                assert!(
                    sp.peek(Secure, sp.base() + PARTITION_SIZE - 0x6000)
                        .is_some()
                );
                assert_eq!(sp.regs[2], sp.base());
                assert_eq!(sp.peek(Secure, sp.base()), Some(0xfa), "boot information");
                assert_eq!(sp.peek(Secure, sp.base() + PARTITION_SIZE - 0x5000), None);
                assert_eq!(sp.peek(Secure, sp.base() + 0x4000), Some(b's'), "its image");
                assert_eq!(sp.peek(Secure, sp.base() + 0x3_0000), Some(0));
                assert_eq!(sp.peek(Secure, OWN), Some(0));
                assert!(!sp.poke(Secure, sp.base() + 0x2_0000, 1));
                // The version can be negotiated again.
                for version in [V1_1, V1_2] {
                    assert_eq!(sp.call([VERSION, version]).0[0], V1_3, "{life}");
                }
                sp.map_buffers();
                for page in [sp.base(), sp.base() + 0x4000, sp.base() + 0x3_0000, OWN] {
                    assert!(sp.poke(Secure, page, 0x77));
                }
                assert!(sp.poke(NonSecure, 0x4800_0000, 1));
                serve(sp);
            })),
        PartitionSpec::new("sp2").script(|sp| {
            sp.serve(|sp, request| {
                let answer = sp.call([DIRECT_REQ_64, 0x8002_8001, 0, request.0[3]]);
                // This partition has the PE: the other one starts again afterwards.
                sp.refused([DIRECT_REQ_64, 0x8002_8001], ABORTED);
                [answer.error().map_or(0, |code| code as u64), 0, 0, 0, 0]
            })
        }),
    ]);
    let nwd = system.nwd();
    let before = system.snapshot();
    for life in 1..4 {
        assert_eq!(lives.load(Ordering::Relaxed), life);
        assert_eq!(nwd.ask(0x8001, [9; 5]), [9; 5]);
        assert_eq!(nwd.request(0x8001, die(2)).error(), Some(ABORTED));
        assert_eq!(nwd.ask(0x8001, [9; 5]), [9; 5]);
        assert_eq!(before, system.snapshot(), "{life}");
    }
    // Called by another partition, the partition dies in the middle of a chain.
    assert_eq!(nwd.ask(0x8002, die(2))[0], ABORTED as u64);
    assert_eq!(nwd.ask(0x8001, [9; 5]), [9; 5]);
    assert_eq!(lives.load(Ordering::Relaxed), 5);
}

// req: MSGD-08
#[test]
fn who_fails_while_it_starts_is_not_restarted() {
    let lives = Arc::new(AtomicU64::new(0));
    let system = System::boot([mortal("sp1", RESTART).script(counted(&lives, |sp, life| {
        if life == 1 {
            sp.trap(0);
        }
        serve(sp);
    }))]);
    let nwd = system.nwd();
    assert_eq!(nwd.request(0x8001, die(1)).error(), Some(ABORTED));
    nwd.refused([DIRECT_REQ_64, 0x8001], ABORTED);
    assert_eq!(lives.load(Ordering::Relaxed), 2);
}

// req: MSGD-08
#[test]
fn partitions_that_bring_each_other_down_end() {
    let lives = Arc::new(AtomicU64::new(0));
    let life = |other: u64| {
        counted(&lives, move |sp, life| {
            if life > 1 {
                // Whether the request is answered or not.
                let own = u64::from(sp.id);
                sp.call([DIRECT_REQ_64, own << 16 | other, 0, 1]);
            }
            serve(sp);
        })
    };
    let system = System::boot([
        mortal("sp1", RESTART).script(life(0x8002)),
        mortal("sp2", RESTART).script(life(0x8001)),
    ]);
    assert_eq!(system.nwd().request(0x8001, die(1)).error(), Some(ABORTED));
    assert!(lives.load(Ordering::Relaxed) < 6);
}

// req: MSGD-08, MEMO-12
#[test]
fn a_partition_whose_memory_others_have_is_not_restarted() {
    let system = System::boot([
        mortal("sp1", RESTART).script(|sp| {
            sp.map_buffers();
            sp.serve(|sp, request| {
                if request.0[3] == 1 {
                    sp.trap(0);
                }
                let page = sp.base() + 0x3_0000;
                let share = Transaction::share(0x8001, 0x8002, RW, &[(page, 1)]);
                [sp.send(MEM_SHARE_64, &share), 0, 0, 0, 0]
            })
        }),
        PartitionSpec::new("sp2").script(|sp| {
            sp.map_buffers();
            sp.serve(|sp, request| {
                let handle = request.0[3];
                let retrieve = Transaction::retrieve(0x8001, 0x8002, handle, RW);
                sp.retrieve(&retrieve).expect("it was shared");
                [0; 5]
            })
        }),
    ]);
    let nwd = system.nwd();
    let before = system.snapshot();
    // A region that nobody retrieved is no obstacle.
    nwd.ask(0x8001, [0; 5]);
    assert_eq!(nwd.request(0x8001, die(1)).error(), Some(ABORTED));
    assert_eq!(before, system.snapshot());
    let [handle, ..] = nwd.ask(0x8001, [0; 5]);
    nwd.ask(0x8002, [handle, 0, 0, 0, 0]);
    assert_eq!(nwd.request(0x8001, die(1)).error(), Some(ABORTED));
    nwd.refused([DIRECT_REQ_64, 0x8001], ABORTED);
}

/// Returns the partition's package with that many pages of image.
fn with_image_of(spec: &PartitionSpec, pages: u32) -> Vec<u8> {
    let mut package = spec.package();
    package[20..24].copy_from_slice(&(pages * 0x1000).to_le_bytes());
    package
}

// req: MAN-01
#[test]
fn a_restart_needs_room_for_a_copy() {
    let region = |offset| Region {
        name: "data",
        base: offset,
        relative: true,
        pages: 1,
        attributes: 3,
    };
    let systems = [
        // A region in the place of the copy, and one before it.
        (
            mortal("sp1", RESTART).with(|sp| sp.regions = vec![region(PARTITION_SIZE - 0x1000)]),
            false,
        ),
        (
            mortal("sp1", RESTART).with(|sp| sp.regions = vec![region(PARTITION_SIZE - 0x6000)]),
            true,
        ),
        // Contexts on other PEs cannot be stopped.
        (mortal("sp1", RESTART).vcpus(2), false),
        (mortal("sp1", STOP).vcpus(2), true),
        // Half of the partition's memory.
        (
            mortal("sp1", RESTART).with(|sp| sp.package = Some(with_image_of(sp, 0x7c))),
            true,
        ),
        (
            mortal("sp1", RESTART).with(|sp| sp.package = Some(with_image_of(sp, 0x7d))),
            false,
        ),
    ];
    for (n, (spec, boots)) in systems.into_iter().enumerate() {
        let system = System::boot([spec]);
        let answer = system.nwd().request(0x8001, [1; 5]);
        assert_eq!(answer.error().is_none(), boots, "{n}");
    }
}

// req: MSGD-08
#[test]
fn a_failure_is_propagated_to_el3() {
    let system = System::boot([
        mortal("sp1", PROPAGATE).script(|sp| serve(sp)),
        PartitionSpec::new("sp2").script(|sp| {
            sp.serve(|sp, _| {
                let answer = sp.call([DIRECT_REQ_64, 0x8002_8001, 0, 1]);
                [answer.error().map_or(0, |code| code as u64), 0, 0, 0, 0]
            })
        }),
    ]);
    let nwd = system.nwd();
    assert_eq!(nwd.ask(0x8001, [5; 5]), [5; 5]);
    let told = nwd.request(0x8002, [0; 5]);
    assert_eq!(told.0[..8], [ABORT_32, 0, 0, 0, 0, 0, 0, 0]);
    // An EL3 that does not know the call answers with an error; the partition then goes on as it
    // can.
    let answer = nwd.call([ERROR, 0, 0xffff_ffff]);
    assert_eq!(
        answer.0[..4],
        [DIRECT_RESP_64, 0x8002_0000, 0, ABORTED as u64]
    );
    assert_eq!(nwd.call([ERROR, 0, 0xffff_ffff]).function(), MSG_WAIT);
    nwd.refused([DIRECT_REQ_64, 0x8001], ABORTED);
}

// req: MEMO-13
#[test]
fn memory_of_a_vm_that_is_destroyed_is_its_hypervisors() {
    const DESTROYED: u64 = 0x8000_0006;
    const VM: u16 = 5;
    let stage = Stage::with(|spec| spec.property("vm-availability-messages", 3));
    let nwd = stage.nwd();
    let before = stage.system.snapshot();
    let lend = |page: u64| Transaction::lend(VM, SP1, RW, &[(page, 1)]);
    let retrieved = nwd.send(MEM_LEND_64, &lend(NWD_PAGES));
    let waiting = nwd.send(MEM_LEND_64, &lend(NWD_PAGES + 0x1000));
    let request = |handle| Transaction {
        attributes: 0,
        ..Transaction::retrieve(VM, SP1, handle, RW)
    };
    stage.retrieve(SP1, request(retrieved)).unwrap();

    stage.leave(SP3, |sp| {
        let answer = [DIRECT_RESP_32, u64::from(SP3) << 16, DESTROYED + 1];
        sp.call(answer);
        unreachable!("nobody asks again");
    });
    let told = nwd.call([DIRECT_REQ_32, SP3.into(), DESTROYED, 0, 0, VM.into()]);
    assert_eq!(told.0[2], DESTROYED + 1, "{told:?}");
    // The borrower keeps its access until it relinquishes; the Hypervisor reclaims.
    assert_eq!(stage.access(SP1, NonSecure, NWD_PAGES), READ_WRITE);
    nwd.refused(
        [MEM_RECLAIM, retrieved & 0xffff_ffff, retrieved >> 32],
        DENIED,
    );
    stage.relinquish(SP1, retrieved);
    for handle in [retrieved, waiting] {
        nwd.reclaim(handle).success();
    }
    assert_eq!(before, stage.system.snapshot());
    // Only the Hypervisor has the memory now, and can give it to another VM.
    let share = Transaction::share(VM + 1, SP1, RO, &[(NWD_PAGES, 2)]);
    let handle = nwd.send(MEM_SHARE_64, &share);
    nwd.reclaim(handle).success();
}
