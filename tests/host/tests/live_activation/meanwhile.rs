//! Everything that goes on while a partition is replaced, and the things that the new image finds.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use host_tests::ffa::*;
use host_tests::system::NWD_PAGES;
use host_tests::{PartitionSpec, Sp, System};
use spmc::addr::World::{NonSecure, Secure};

use super::stage::*;

const SP2: u16 = 0x8002;

fn starts(system: &System, spec: &PartitionSpec, n: u8) -> i32 {
    let package = version(spec, n);
    stage(system, &package);
    start(system.nwd(), &package)
}

/// Boots the partition, and replaces its image three times.
fn replace_thrice(spec: &PartitionSpec) {
    let system = boot(spec.clone());
    for n in 2..5 {
        assert_eq!(starts(&system, spec, n), 0);
        assert_eq!(finish(system.nwd()), 0);
        assert_eq!(served(system.nwd()).0, n);
    }
}

// req: LIVE-13, LIVE-03, LIVE-07
#[test]
fn callers_are_told_to_wait_each_in_its_own_way() {
    let spec = live("sp1", &[]).version(3).script(|sp| {
        sp.wide = true;
        count(sp);
    });
    let spec = spec.with(|spec| spec.messaging = 0x603);
    for minor in 0..4 {
        let asks = PartitionSpec::new("asks").version(minor).script(move |sp| {
            sp.wide = minor == 3;
            sp.serve(|sp, _| {
                let ids = u64::from(sp.id) << 16 | u64::from(SP1);
                let answer = sp.call([DIRECT_REQ_64, ids]);
                let run = sp.call([RUN, u64::from(SP1) << 16]);
                [answer.0[2] as u32 as u64, run.0[2] as u32 as u64, 0, 0, 0]
            })
        });
        let system = System::builder().el3(3, 3).sp(spec.clone()).sp(asks).boot();
        let nwd = system.nwd();
        nwd.version(V1_0 + u64::from(minor));
        system.is_wide.store(minor == 3, SeqCst);
        assert_eq!(starts(&system, &spec, 2), 0);
        nwd.refused([DIRECT_REQ_32, SP1.into(), 0, 0, 0, 0, 0, 0], BUSY);
        nwd.refused([RUN, u64::from(SP1) << 16], BUSY);
        if minor >= 2 {
            nwd.refused([DIRECT_REQ2, SP1.into(), 0, 0], BUSY);
        }
        let [code, run, ..] = nwd.ask(SP2, [0; 5]);
        let expected = if minor == 3 { NOT_READY } else { BUSY };
        assert_eq!(code as u32 as i32, expected, "1.{minor}");
        let expected = if minor == 0 { NOT_SUPPORTED } else { DENIED };
        assert_eq!(run as u32 as i32, expected, "1.{minor}");
        // Nobody else can end it, and nobody can begin another.
        let before = system.snapshot();
        let id = u64::from(SP1);
        assert_eq!(ask(nwd, FINISH, OTHER_LSP, [id, 0, 0, 0, 0]), DENIED);
        assert_eq!(ask(nwd, START, LSP, [id, STAGED, 5, 0, 0]), DENIED);
        assert_eq!(before, system.snapshot());
        assert_eq!(finish(nwd), 0);
        assert_eq!(finish(nwd), DENIED);
        assert_eq!(served(nwd), (2, 1));
    }
}

// req: LIVE-03
#[test]
fn one_partition_is_replaced_at_a_time() {
    let second = live("sp2", &[]).with(|spec| {
        spec.regions[0].base += 0x10_0000;
        // Images have UUIDs of their own.
        spec.extra = Some(Arc::new(|fdt| {
            for name in ["lifecycle-support", "live-activation-support"] {
                fdt.property_null(name).unwrap();
            }
            fdt.property_u32("live-activation-register", 1).unwrap();
            fdt.property_array_u32("image-uuid", &[5, 6, 7, 8]).unwrap();
        }));
    });
    let first = live("sp1", &[]).script(count);
    let system = System::builder().sp(first.clone()).sp(second).boot();
    let nwd = system.nwd();
    assert_eq!(starts(&system, &first, 2), 0);
    let before = system.snapshot();
    let other = [SP2.into(), STAGED, 5, 0, 0];
    assert_eq!(ask(nwd, START, LSP, other), BUSY);
    assert_eq!(ask(nwd, FINISH, LSP, other), DENIED);
    assert_eq!(before, system.snapshot());
    assert_eq!(finish(nwd), 0);
    assert_eq!(
        ask(nwd, START, LSP, other),
        INVALID_PARAMETERS,
        "it is not its package"
    );
}

// req: LIVE-06
#[test]
fn interrupts_wait_for_the_new_image() {
    let handled = Arc::new(AtomicU64::new(0));
    let seen = Arc::clone(&handled);
    let spec = with_device(live("sp1", &[])).script(move |sp| {
        let version = image(sp);
        if !takes_over(sp) {
            assert_eq!(sp.call([ENABLE, LINE.into(), 1, 0]).0[0], 0);
        }
        let mut message = sp.msg_wait();
        loop {
            message = if is_stop(&message) {
                stop(sp, 0)
            } else if message.0[0] == INTERRUPT {
                assert_eq!(message.0[2], LINE.into());
                assert_eq!(sp.signals(), (true, false));
                handle(sp);
                seen.fetch_add(u64::from(version), SeqCst);
                sp.msg_wait()
            } else {
                sp.respond(&message, [version.into(), 0, 0, 0, 0])
            };
        }
    });
    let system = boot(spec.clone());
    let nwd = system.nwd();
    for n in 2..5 {
        assert_eq!(starts(&system, &spec, n), 0);
        system.machine.gic().set_level(LINE, true);
        let before = handled.load(SeqCst);
        for pe in [0, 1] {
            assert_eq!(
                system.pe(pe).call([INTERRUPT]).function(),
                NORMAL_WORLD_RESUME
            );
        }
        assert_eq!(handled.load(SeqCst), before, "nobody can handle it yet");
        assert_eq!(finish(nwd), 0);
        // The SPMC takes the PE for it as soon as it can.
        nwd.call([INTERRUPT]);
        assert_eq!(handled.load(SeqCst), before + u64::from(n));
        assert!(!system.machine.gic().is_active(LINE));
    }
}

// req: LIVE-06
#[test]
fn notifications_and_messages_reach_the_new_image() {
    const MASK: u64 = 0b101;
    let spec = live("sp1", &["notification-support"])
        .with(|spec| spec.messaging = 7)
        .script(|sp| {
            let version = image(sp);
            let tx = sp.tx() + 0x5_0000;
            if !takes_over(sp) {
                sp.call([RXTX_MAP_64, tx, tx + 0x1000, 1]).success();
                let bind = [NOTIFICATION_BIND, SP1.into(), 0, MASK, 0];
                sp.call(bind).success();
            }
            let mut message = sp.msg_wait();
            loop {
                message = if is_stop(&message) {
                    stop(sp, 0)
                } else if message.0[0] == DIRECT_REQ_64 {
                    let get = sp.call([NOTIFICATION_GET, SP1.into(), 0b1111]).success();
                    let mut bytes = [0; 44];
                    sp.read(Secure, tx + 0x1000, &mut bytes).unwrap();
                    let told = [version.into(), get[2], get[4], get[5], bytes[40].into()];
                    sp.respond(&message, told)
                } else {
                    sp.msg_wait()
                };
            }
        });
    let system = boot(spec.clone());
    let nwd = system.nwd();
    nwd.map_buffers();
    nwd.call([NOTIFICATION_BITMAP_CREATE, 0, 1]).success();
    assert_eq!(starts(&system, &spec, 2), 0);
    nwd.call([NOTIFICATION_SET, u64::from(SP1), 0, 0b100, 0])
        .success();
    send_message(nwd);
    assert_eq!(finish(nwd), 0);
    let told = nwd.ask(SP1, [0; 5]);
    // The kernel's message is announced in the bitmap of the Hypervisor.
    assert_eq!(told, [2, 0b100, 0, 1, 0x5a]);
}

// req: LIVE-06
#[test]
fn memory_stays_where_it_was() {
    const OWN: u64 = 0x4_0000;
    let spec = live("sp1", &[]).script(|sp| {
        let version = image(sp);
        let own = sp.base() + OWN;
        if !takes_over(sp) {
            sp.map_buffers();
            for page in 0..4 {
                assert!(sp.poke(Secure, own + page * 0x1000, 0x40 + page as u8));
            }
        }
        sp.serve_or_stop(version, |sp, request| match request.0[3] {
            // Sends and borrows.
            1 => {
                let lend = Transaction::lend(SP1, SP2, RW, &[(sp.base() + OWN, 1)]);
                let share = Transaction::share(SP1, SP2, RW, &[(sp.base() + OWN + 0x1000, 1)]);
                let lent = sp.send(MEM_LEND_64, &lend);
                let shared = sp.send(MEM_SHARE_64, &share);
                let request = Transaction::retrieve(0, SP1, request.0[4], RW);
                sp.retrieve(&request).expect("it was shared");
                [lent, shared]
            }
            // Looks.
            _ => {
                let own = sp.base() + OWN;
                let seen = [0, 1, 2].map(|n| sp.peek(Secure, own + n * 0x1000));
                assert_eq!(seen, [None, Some(0x41), Some(0)], "lent, shared, zeroed");
                assert_eq!(sp.peek(NonSecure, NWD_PAGES), Some(0x77));
                for handle in &request.0[4..6] {
                    sp.reclaim(*handle, 0).success();
                }
                sp.relinquish(request.0[6], 0).success();
                [sp.peek(Secure, own).unwrap().into(), 0]
            }
        })
    });
    let system = System::builder()
        .sp(spec.clone())
        .sp(PartitionSpec::new("sp2"))
        .boot();
    let nwd = system.nwd();
    nwd.map_buffers();
    nwd.write(NWD_PAGES, &[0x77]);
    let share = Transaction::share(0, SP1, RW, &[(NWD_PAGES, 1)]);
    let handle = nwd.send(MEM_SHARE_64, &share);
    let [_, lent, shared, ..] = nwd.ask(SP1, [1, handle, 0, 0, 0]);
    assert_eq!(starts(&system, &spec, 2), 0);
    // The borrowed page is still borrowed, and more can be sent.
    nwd.refused([MEM_RECLAIM, handle & 0xffff_ffff, handle >> 32], DENIED);
    let more = Transaction::share(0, SP1, RW, &[(NWD_PAGES + 0x1000, 1)]);
    let more = nwd.send(MEM_SHARE_64, &more);
    assert_eq!(finish(nwd), 0);
    let [image, first, ..] = nwd.ask(SP1, [2, lent, shared, handle, 0]);
    assert_eq!((image, first), (2, 0x40));
    for handle in [handle, more] {
        nwd.reclaim(handle).success();
    }
}

// req: LIVE-06, RXTX-02
#[test]
fn the_new_image_may_map_its_buffers_once_more() {
    let spec = live("sp1", &[]).script(|sp| {
        let version = image(sp);
        let tx = sp.tx() + 0x5_0000;
        let map = |tx: u64| [RXTX_MAP_64, tx, tx + 0x1000, 1];
        if !takes_over(sp) {
            sp.call(map(tx)).success();
            sp.refused(map(tx), DENIED);
        } else {
            match version {
                // The pair is the image's own once the old one is given back.
                2 => {
                    sp.call([RXTX_UNMAP]).success();
                    sp.call(map(tx)).success()
                }
                // Another one, which overlaps the old one.
                3 => sp.call(map(tx + 0x1000)).success(),
                // One that cannot be, which changes nothing, and then the same pair.
                4 => {
                    let foreign = sp.call([RXTX_MAP_64, tx, 0x4000_0000, 1]);
                    assert_eq!(foreign.error(), Some(INVALID_PARAMETERS));
                    sp.call(map(tx + 0x1000)).success()
                }
                _ => unreachable!("there are no more"),
            };
            sp.refused(map(tx), DENIED);
        }
        sp.serve_or_stop(version, |sp, _| {
            sp.refused([RXTX_MAP_64, 0x1000, 0x2000, 1], DENIED);
            [0; 2]
        })
    });
    replace_thrice(&spec);
}

// req: LIVE-05, LIVE-06, SEL0-08
#[test]
fn a_partition_at_s_el0_gets_the_permissions_of_boot() {
    let spec = live("sp1", &[])
        .s_el0()
        .with(|spec| spec.boot_register = Some(0));
    let spec = spec.script(|sp| {
        let version = image(sp);
        let base = sp.base();
        let registers = if takes_over(sp) { [base, 1] } else { [base, 0] };
        assert_eq!(sp.regs[..2], registers);
        assert!(sp.regs[2..].iter().all(|x| *x == 0) || !takes_over(sp));
        let data = base + 0x4_0000;
        assert!(sp.execute(Secure, data).is_ok());
        sp.call([MEM_PERM_SET_64, data, 1, 0b101]).success();
        assert!(sp.poke(Secure, data, 7));
        sp.serve_or_stop(version, |_, _| [0; 2])
    });
    replace_thrice(&spec);
}

// req: LIVE-06, VER-13
#[test]
fn the_version_and_its_lock_stay() {
    let spec = live("sp1", &[]).script(|sp| {
        let version = image(sp);
        if !takes_over(sp) {
            assert_eq!(sp.call([VERSION, V1_1]).0[0], V1_3);
        } else {
            assert_eq!(sp.call([VERSION, V1_2]).error(), None);
            assert_eq!(sp.call([VERSION, V1_2]).0[0] as u32 as i32, NOT_SUPPORTED);
        }
        sp.serve_or_stop(version, |_, _| [0; 2])
    });
    let system = boot(spec.clone());
    assert_eq!(starts(&system, &spec, 2), 0);
    assert_eq!(finish(system.nwd()), 0);
    assert_eq!(served(system.nwd()).0, 2);
}

/// Serving requests with the version of an image in front of the answer.
trait Serve {
    /// Answers requests by `serve`, and stops when it is asked to.
    fn serve_or_stop(
        &mut self,
        version: u8,
        serve: impl FnMut(&mut Sp, &host_tests::Regs) -> [u64; 2],
    ) -> !;
}

impl Serve for Sp {
    fn serve_or_stop(
        &mut self,
        version: u8,
        mut serve: impl FnMut(&mut Sp, &host_tests::Regs) -> [u64; 2],
    ) -> ! {
        let mut message = self.msg_wait();
        loop {
            message = if is_stop(&message) {
                stop(self, 0)
            } else if matches!(message.0[0], DIRECT_REQ_32 | DIRECT_REQ_64) {
                let [a, b] = serve(self, &message);
                self.respond(&message, [version.into(), a, b, 0, 0])
            } else {
                self.msg_wait()
            };
        }
    }
}
