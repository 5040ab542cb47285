//! SEL0: partitions in the EL2&0 regime, and the permissions for which they ask.

use std::sync::Arc;

use host_tests::ffa::*;
use host_tests::manifest::partition_base;
use host_tests::system::NWD_PAGES;
use host_tests::{PartitionSpec, Sp, System};
use spmc::addr::World::{NonSecure, Secure};
use spmc::hal::Conduit;

use crate::interrupts::{LINE, with_device};

/// Permissions in `FFA_MEM_PERM_GET` and `FFA_MEM_PERM_SET`.
pub const READ_WRITE: u64 = 0b101;
pub const READ_ONLY: u64 = 0b111;
pub const READ_EXECUTE: u64 = 0b011;
pub const NO_ACCESS: u64 = 0b100;

/// The last page that EL2 leaves to S-EL0 partitions. EL2's own addresses follow.
pub const LAST: u64 = (1 << 39) - (1 << 30) - 0x1000;

/// Returns a partition at S-EL0 with that script.
pub fn el0(name: &str, script: impl Fn(&mut Sp) + Send + Sync + 'static) -> PartitionSpec {
    PartitionSpec::new(name).s_el0().script(script)
}

/// Boots a system with one partition, which is at S-EL0.
pub fn alone(script: impl Fn(&mut Sp) + Send + Sync + 'static) -> System {
    System::boot([el0("sp1", script)])
}

pub fn set(sp: &mut Sp, address: u64, pages: u64, permissions: u64) {
    let answer = sp.call_by(Conduit::Svc, [MEM_PERM_SET_64, address, pages, permissions]);
    assert_eq!(answer.success(), [0; 6]);
}

/// Returns the answer of `FFA_MEM_PERM_GET` for the page at `address`, and for the pages behind it.
pub fn get(sp: &mut Sp, address: u64, more: u64) -> (u64, u64) {
    let answer = sp.call_by(Conduit::Svc, [MEM_PERM_GET_64, address, more]);
    let [permissions, count, rest @ ..] = answer.success();
    assert_eq!(rest, [0; 4]);
    (permissions, count)
}

pub fn serve(sp: &mut Sp) -> ! {
    sp.serve(|_, request| request.payload())
}

/// Makes the partition's buffers writable and maps them.
pub fn map_buffers(sp: &mut Sp) {
    let tx = sp.tx();
    set(sp, tx, 2, READ_WRITE);
    sp.map_buffers();
}

/// Runs `script` in a partition that initialises, which must be dead afterwards.
#[track_caller]
pub fn dies(script: impl Fn(&mut Sp) + Send + Sync + 'static) {
    let system = alone(move |sp| {
        script(sp);
        panic!("it still runs");
    });
    assert_eq!(system.nwd().request(0x8001, [0; 5]).error(), Some(ABORTED));
}

// req: SEL0-08, MEMO-01, MEMO-02, BOOT-01
#[test]
fn an_image_comes_readable_and_executable() {
    let system = alone(|sp| {
        let base = sp.base();
        for page in [base, base + 0x4000, base + 0xf_f000] {
            assert!(sp.peek(Secure, page).is_some());
            assert!(sp.execute(Secure, page).is_ok());
        }
        assert_eq!(get(sp, base, 0), (READ_EXECUTE, 0));
        assert_eq!(get(sp, base, 300), (READ_EXECUTE, 255));
        serve(sp)
    });
    assert_eq!(system.nwd().ask(0x8001, [1, 2, 3, 4, 5]), [1, 2, 3, 4, 5]);
    dies(|sp| assert!(!sp.poke(Secure, sp.base() + 0x4000, 1)));
    dies(|sp| assert!(sp.peek(Secure, sp.base() + 0x10_0000).is_none()));
    dies(|sp| assert!(sp.peek(NonSecure, sp.base()).is_none()));
    dies(|sp| assert!(sp.peek(NonSecure, NWD_PAGES).is_none()));
    dies(|sp| assert!(sp.peek(Secure, LAST + 0x1000).is_none()));
}

// req: TIME-01, TIME-06
#[test]
fn calls_of_an_s_el0_partition_are_not_paused() {
    const SLICED: u32 = 1 << 1;
    let partition = el0("sp1", |sp| {
        for call in [MEM_OP_PAUSE, MEM_OP_RESUME] {
            sp.refused([FEATURES, call], NOT_SUPPORTED);
            sp.refused([call], NOT_SUPPORTED);
        }
        map_buffers(sp);
        let (own, id) = (sp.base() + 0x3_0000, sp.id);
        set(sp, own, 1, READ_WRITE);
        let layout = sp.layout;
        let lend = Transaction::lend(id, 0x8002, RW, &[(own, 1)]);
        let sliced = |transaction: Transaction| Transaction {
            flags: SLICED,
            ..transaction
        };
        for (function, transaction) in [
            (MEM_LEND_64, lend.clone()),
            (
                MEM_SHARE_64,
                Transaction::share(id, 0x8002, RW, &[(own, 1)]),
            ),
            (MEM_DONATE_64, Transaction::donate(id, 0x8002, &[(own, 1)])),
        ] {
            let bytes = sliced(transaction).encode(layout);
            sp.memory_refused(function, &bytes, INVALID_PARAMETERS);
        }
        let handle = sp.send(MEM_LEND_64, &lend);
        let [low, high] = [handle & 0xffff_ffff, handle >> 32];
        sp.refused([MEM_RECLAIM, low, high, SLICED.into()], INVALID_PARAMETERS);
        sp.refused([MEM_OP_RESUME, low, high], NOT_SUPPORTED);
        sp.reclaim(handle, 0).success();

        let borrow = |sp: &mut Sp, request: &Regs| {
            let handle = request.0[3];
            let retrieve = Transaction::retrieve(0, sp.id, handle, RO);
            let bytes = sliced(retrieve.clone()).encode(sp.layout);
            sp.memory_refused(MEM_RETRIEVE_REQ_64, &bytes, INVALID_PARAMETERS);
            sp.retrieve(&retrieve).unwrap();
            let code = sp.relinquish(handle, SLICED).error();
            assert_eq!(code, Some(INVALID_PARAMETERS));
            sp.relinquish(handle, 0).success();
            [0; 5]
        };
        sp.serve(borrow)
    });
    let system = System::boot([partition, PartitionSpec::new("sp2")]);
    let nwd = system.nwd();
    nwd.map_buffers();
    let share = Transaction::share(0, 0x8001, RO, &[(NWD_PAGES, 1)]);
    let handle = nwd.send(MEM_SHARE_64, &share);
    nwd.ask(0x8001, [handle, 0, 0, 0, 0]);
    nwd.reclaim(handle).success();
}

// req: SEL0-03, GEN-08, COMP-15, COMP-16
#[test]
fn calls_by_svc_are_as_by_smc_and_hvc() {
    let system = System::boot([
        el0("sp1", |sp| {
            for conduit in [Conduit::Svc, Conduit::Smc] {
                assert_eq!(sp.call_by(conduit, [ID_GET]).success()[0], 0x8001);
                for call in [MSG_POLL, MSG_SEND] {
                    assert_eq!(sp.call_by(conduit, [call]).error(), Some(NOT_SUPPORTED));
                }
            }
            serve(sp)
        }),
        el0("sp2", |sp| {
            sp.call_by(Conduit::Svc, [ERROR, 0, NO_MEMORY as u32 as u64]);
        }),
    ]);
    system.nwd().ask(0x8001, [0; 5]);
    assert_eq!(system.nwd().request(0x8002, [0; 5]).error(), Some(ABORTED));
}

// req: SEL0-02
#[test]
fn several_share_the_uuid_of_their_service() {
    const MM: [u32; 4] = [0x32d8_b6c3, 0x1b1f_48c6, 0x9f2a_7b58, 0x64d5_1a0e];
    let same = |name| el0(name, serve_all).with(|sp| sp.uuids = vec![MM]);
    fn serve_all(sp: &mut Sp) {
        serve(sp)
    }
    let system = System::boot([same("mm1"), PartitionSpec::new("sp2"), same("mm2")]);
    let nwd = system.nwd();
    nwd.map_buffers();
    let [a, b, c, d] = MM.map(u64::from);
    assert_eq!(nwd.call([PARTITION_INFO_GET, a, b, c, d]).success()[0], 2);
    for id in [0x8001, 0x8003] {
        assert_eq!(nwd.ask(id, [9; 5]), [9; 5]);
    }
}

// req: SEL0-01, SEL0-04, GEN-21
#[test]
fn the_context_moves_and_takes_one_request_at_a_time() {
    let system = System::builder()
        .sp(el0("sp1", |sp| {
            sp.serve(|sp, _| {
                let before = sp.pe() as u64;
                let preempted = sp.interrupt();
                [before, sp.pe() as u64, preempted.into(), 0, 0]
            })
        }))
        .pes(2)
        .boot();
    system.turn_on(1);
    for (first, second) in [(0, 1), (1, 1), (1, 0)] {
        let answer = system.pe(first).request(0x8001, [0; 5]);
        assert_eq!(answer.0[..2], [INTERRUPT, 0x8001_0000]);
        for pe in [0, 1] {
            assert_eq!(system.pe(pe).request(0x8001, [0; 5]).error(), Some(BUSY));
        }
        let answer = system.pe(second).call([RUN, 0x8001_0000]);
        assert_eq!(answer.payload()[..3], [first as u64, second as u64, 1]);
    }
}

// req: SEL0-05
#[test]
fn one_that_runs_to_completion_is_not_preempted() {
    let system = System::boot([
        el0("sp1", |sp| sp.serve(|sp, _| [sp.interrupt().into(); 5]))
            .with(|sp| sp.ns_interrupts = 0),
    ]);
    assert_eq!(system.nwd().ask(0x8001, [7; 5]), [0; 5]);
}

// req: SEL0-07, MEMO-01, MEMRQ-26, MEMD-09
#[test]
fn it_borrows_memory_of_the_normal_world() {
    let system = alone(|sp| {
        map_buffers(sp);
        sp.serve(|sp, request| {
            let [handle, pages, ..] = request.payload();
            let retrieve = Transaction::retrieve(0, sp.id, handle, RW);
            let got = sp.retrieve(&retrieve).unwrap();
            assert_eq!(got.constituents, [(NWD_PAGES, pages as u32)]);
            assert_eq!(got.attributes, NORMAL | NON_SECURE);
            assert_eq!(sp.retrieve(&retrieve).unwrap_err(), DENIED);
            assert_eq!(sp.peek(NonSecure, NWD_PAGES), Some(1));
            assert!(sp.poke(NonSecure, NWD_PAGES + (pages - 1) * 0x1000, 2));
            sp.relinquish(handle, 0).success();
            [0; 5]
        })
    });
    let nwd = system.nwd();
    nwd.map_buffers();
    let before = system.snapshot();
    for pages in [1, 16] {
        nwd.write(NWD_PAGES, &[1]);
        let handle = nwd.send(
            MEM_SHARE_64,
            &Transaction::share(0, 0x8001, RW, &[(NWD_PAGES, pages)]),
        );
        nwd.ask(0x8001, [handle, pages.into(), 0, 0, 0]);
        assert_eq!(
            nwd.read(NWD_PAGES + (u64::from(pages) - 1) * 0x1000, 1),
            [2]
        );
        nwd.reclaim(handle).success();
        assert_eq!(before, system.snapshot());
    }
}

// req: SEL0-07, MEMD-30, MEMD-52, MEMD-09
#[test]
fn it_offers_no_more_than_its_pages_permit() {
    let system = System::boot([
        el0("sp1", |sp| {
            map_buffers(sp);
            let (id, page) = (sp.id, sp.base() + 0x2_0000);
            let lend = |permissions| Transaction::lend(id, 0x8002, permissions, &[(page, 1)]);
            let encode = |transaction: Transaction| transaction.encode(Layout::V1_2);
            // Readable and executable.
            sp.memory_refused(MEM_LEND_64, &encode(lend(RW)), DENIED);
            set(sp, page, 1, READ_ONLY);
            sp.memory_refused(MEM_LEND_64, &encode(lend(RW)), DENIED);
            let handle = sp.send(MEM_LEND_64, &lend(RO));
            sp.reclaim(handle, 0).success();
            set(sp, page, 1, NO_ACCESS);
            sp.memory_refused(MEM_LEND_64, &encode(lend(RO)), DENIED);
            set(sp, page, 1, READ_WRITE);
            assert!(sp.poke(Secure, page, 5));
            let handle = sp.send(MEM_LEND_64, &lend(RW));
            sp.serve(move |sp, request| {
                if request.payload()[0] == 0 {
                    return [handle, page, 0, 0, 0];
                }
                sp.reclaim(handle, 0).success();
                [sp.peek(Secure, page).unwrap().into(), 0, 0, 0, 0]
            })
        }),
        PartitionSpec::new("sp2").script(|sp| {
            sp.map_buffers();
            sp.serve(|sp, request| {
                let [handle, page, ..] = request.payload();
                sp.retrieve(&Transaction::retrieve(0x8001, sp.id, handle, RW))
                    .unwrap();
                assert_eq!(sp.peek(Secure, page), Some(5));
                assert!(sp.poke(Secure, page, 6));
                sp.relinquish(handle, 0).success();
                [0; 5]
            })
        }),
    ]);
    let nwd = system.nwd();
    let [handle, page, ..] = nwd.ask(0x8001, [0; 5]);
    nwd.ask(0x8002, [handle, page, 0, 0, 0]);
    assert_eq!(nwd.ask(0x8001, [1; 5])[0], 6);
}

// req: SEL0-06, INT-04, STAT-05, SINT-06
#[test]
fn its_interrupts_come_when_it_waits() {
    const DEACTIVATE: u64 = 0xff08;
    const ENABLE: u64 = 0xff03;
    const GET: u64 = 0xff04;
    let line = u64::from(LINE);
    let owner = el0("sp1", move |sp| {
        assert_eq!(sp.call_by(Conduit::Svc, [ENABLE, line, 1, 0]).0[0], 0);
        let mut handled = 0;
        let mut message = sp.msg_wait();
        loop {
            message = if message.0[0] == INTERRUPT {
                assert_eq!(message.0[1..8], [0, line, 0, 0, 0, 0, 0]);
                assert_eq!(sp.call_by(Conduit::Svc, [GET]).0[0], line);
                sp.gic(|gic| gic.set_level(LINE, false));
                assert_eq!(sp.call_by(Conduit::Svc, [DEACTIVATE, line, line]).0[0], 0);
                handled += 1;
                sp.msg_wait()
            } else {
                let payload = message.payload();
                if payload[0] == 1 {
                    sp.gic(|gic| gic.set_level(LINE, true));
                    sp.poll();
                }
                sp.respond(&message, [handled, 0, 0, 0, 0])
            };
        }
    });
    let system = System::boot([with_device(owner, &[LINE], &[])]);
    let nwd = system.nwd();
    system.machine.gic().set_level(LINE, true);
    assert_eq!(nwd.call([INTERRUPT]).0[0], NORMAL_WORLD_RESUME);
    assert_eq!(nwd.ask(0x8001, [0; 5])[0], 1);
    // While the partition runs, it does not see the interrupt. When the Normal world gets the PE,
    // it is stopped for the interrupt.
    assert_eq!(nwd.ask(0x8001, [1; 5])[0], 1);
    assert!(system.machine.gic().has_interrupt(0));
    assert_eq!(nwd.call([INTERRUPT]).0[0], NORMAL_WORLD_RESUME);
    assert!(!system.machine.gic().has_interrupt(0));
    assert_eq!(nwd.ask(0x8001, [0; 5])[0], 2);
}

// req: FEAT-12, NTF-43
#[test]
fn no_interrupt_tells_it_of_notifications() {
    const NOTIFICATION_PENDING: u64 = 1;
    const MANAGED_EXIT: u64 = 3;
    let notified = |spec: PartitionSpec| {
        spec.with(|sp| {
            sp.extra = Some(Arc::new(|fdt| {
                fdt.property_null("notification-support").unwrap()
            }));
        })
    };
    let system = System::boot([
        notified(el0("sp1", |sp| {
            for feature in [NOTIFICATION_PENDING, MANAGED_EXIT] {
                sp.refused([FEATURES, feature], NOT_SUPPORTED);
            }
            serve(sp)
        })),
        notified(PartitionSpec::new("sp2").script(|sp| {
            sp.call([FEATURES, NOTIFICATION_PENDING]).success();
            serve(sp)
        })),
    ]);
    for id in [0x8001, 0x8002] {
        system.nwd().ask(id, [0; 5]);
    }
}

/// Returns a partition that executes a trapping instruction in each request.
fn traps(name: &str, syndrome: u64) -> PartitionSpec {
    el0(name, move |sp| {
        sp.msg_wait();
        sp.trap(syndrome);
        panic!("it still runs");
    })
}

// req: SEL0-07, MEMO-01, MEMRC-13
#[test]
fn a_fault_is_its_end_and_what_it_borrowed_comes_back() {
    let system = System::boot([
        el0("sp1", |sp| {
            map_buffers(sp);
            let request = sp.msg_wait();
            let handle = request.payload()[0];
            sp.retrieve(&Transaction::retrieve(0, sp.id, handle, RW))
                .unwrap();
            sp.peek(Secure, partition_base(1));
            panic!("it still runs");
        }),
        PartitionSpec::new("sp2"),
        traps("sp3", 0x0200_0000),
        // An MRS of ID_AA64PFR0_EL1.
        traps("sp4", 0x6232_0001),
    ]);
    let nwd = system.nwd();
    nwd.map_buffers();
    let handle = nwd.send(
        MEM_SHARE_64,
        &Transaction::share(0, 0x8001, RW, &[(NWD_PAGES, 1)]),
    );
    assert_eq!(
        nwd.request(0x8001, [handle, 0, 0, 0, 0]).error(),
        Some(ABORTED)
    );
    nwd.reclaim(handle).success();
    for id in [0x8003, 0x8004] {
        assert_eq!(nwd.request(id, [0; 5]).error(), Some(ABORTED));
    }
    for id in [0x8001, 0x8003, 0x8004] {
        nwd.refused([DIRECT_REQ_64, id], ABORTED);
    }
    assert_eq!(nwd.ask(0x8002, [3; 5]), [3; 5]);
}
