//! Notifications (FF-A v1.1 chapters 10 and 16): who may do what, what is pending, who is told.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::thread::{scope, yield_now};

use host_tests::ffa::*;
use host_tests::{Nwd, PartitionSpec, Regs, Sp, System};
use spmc::limits::MIN_NOTIFIED_VCPUS;

const SP1: u16 = 0x8001;
const SP2: u16 = 0x8002;
const VM1: u16 = 1;

/// w2 of BIND and SET.
const PER_VCPU: u64 = 1;
/// w2 of SET.
const DELAY: u64 = 2;
/// w2 of GET.
const FROM_SPS: u64 = 1;
const FROM_VMS: u64 = 2;
const FROM_SPM: u64 = 4;
const ALL: u64 = 0xf;

/// Returns a partition that makes the call with the registers in the request.
pub fn caller(name: &str) -> PartitionSpec {
    PartitionSpec::new(name)
        .with(|spec| {
            spec.extra = Some(Arc::new(|fdt| {
                fdt.property_null("notification-support").unwrap();
            }));
        })
        .script(|sp: &mut Sp| {
            sp.serve(|sp, request| {
                let [call, w1, w2, w3, _] = request.payload();
                let before = sp.snapshot();
                let answer = sp.call([call, w1, w2, w3]);
                if answer.error().is_some() {
                    assert_eq!(before, sp.snapshot(), "a refused call changed something");
                }
                let code = answer.error().map_or(0, |code| code as u64);
                [code, answer.0[2], answer.0[4], answer.0[6], answer.0[7]]
            })
        })
}

pub fn both(sender: u16, receiver: u16) -> u64 {
    u64::from(sender) << 16 | u64::from(receiver)
}

/// Makes a partition make a call. Returns 0 or the error, and w2, w4, w6, w7.
#[track_caller]
pub fn via(nwd: &Nwd, sp: u16, regs: [u64; 4]) -> (i32, [u64; 4]) {
    let [call, w1, w2, w3] = regs;
    let [code, a, b, c, d] = nwd.ask(sp, [call, w1, w2, w3, 0]);
    (code as i32, [a, b, c, d])
}

#[track_caller]
pub fn done(nwd: &Nwd, sp: u16, regs: [u64; 4]) {
    assert_eq!(via(nwd, sp, regs).0, 0);
}

#[track_caller]
fn denied(nwd: &Nwd, sp: u16, regs: [u64; 4], code: i32) {
    assert_eq!(via(nwd, sp, regs).0, code);
}

pub fn info(nwd: &Nwd) -> Regs {
    nwd.call([NOTIFICATION_INFO_GET_64])
}

fn raised(system: &System) -> usize {
    system.machine.journal().schedule_receiver.len()
}

fn system() -> System {
    System::boot([
        caller("one"),
        caller("two").vcpus(4),
        PartitionSpec::new("deaf"),
    ])
}

// FF-A v1.1 sections 16.1 and 16.2.
// req: NTF-01, NTF-02, NTF-03, NTF-04, NTF-05, NTF-08
#[test]
fn bitmaps_of_vms() {
    let system = system();
    let nwd = system.nwd();
    for (id, count) in [(0x8001, 1), (0x8000, 1), (0x1_0001, 1), (1, 0)] {
        nwd.refused([NOTIFICATION_BITMAP_CREATE, id, count], INVALID_PARAMETERS);
    }
    let one_too_many = u64::from(MIN_NOTIFIED_VCPUS) + 1;
    nwd.refused([NOTIFICATION_BITMAP_CREATE, 0, one_too_many], NO_MEMORY);
    nwd.refused([NOTIFICATION_BITMAP_DESTROY, 0], DENIED);
    nwd.refused([NOTIFICATION_BITMAP_DESTROY, 0x8001], INVALID_PARAMETERS);
    for vm in 0..8 {
        nwd.call([NOTIFICATION_BITMAP_CREATE, vm, 4]).success();
    }
    nwd.refused([NOTIFICATION_BITMAP_CREATE, 0, 4], DENIED);
    nwd.refused([NOTIFICATION_BITMAP_CREATE, 8, 4], NO_MEMORY);
    nwd.call([NOTIFICATION_BITMAP_DESTROY, 3]).success();
    nwd.call([NOTIFICATION_BITMAP_CREATE, 8, 4]).success();
    // Calls that only the Normal world may make.
    for call in [
        NOTIFICATION_BITMAP_CREATE,
        NOTIFICATION_BITMAP_DESTROY,
        NOTIFICATION_INFO_GET_32,
        NOTIFICATION_INFO_GET_64,
    ] {
        denied(&nwd, SP1, [call, 20, 1, 0], NOT_SUPPORTED);
        nwd.call([FEATURES, call]).success();
    }
}

// FF-A v1.1 sections 10.4, 16.3 to 16.6: a partition notifies the Normal world.
// req: NTF-06, NTF-09, NTF-10, NTF-14, NTF-15, NTF-17, NTF-21, NTF-28, NTF-29, NTF-30, NTF-33
#[test]
fn a_partition_notifies_a_vm() {
    let system = system();
    let nwd = system.nwd();
    let bind = [NOTIFICATION_BIND, both(SP1, 0), 0, 0b11];
    nwd.refused(bind, NOT_SUPPORTED);
    nwd.refused([NOTIFICATION_UNBIND, both(SP1, 0), 0, 1], NOT_SUPPORTED);
    // No notification came. Other VMs are not known.
    let nothing = nwd.call([NOTIFICATION_GET, 0, FROM_SPS]);
    assert_eq!(nothing.success(), [0; 6]);
    nwd.refused([NOTIFICATION_GET, 5, FROM_SPS], INVALID_PARAMETERS);
    denied(&nwd, SP1, [NOTIFICATION_SET, both(SP1, 0), 0, 1], DENIED);
    nwd.call([NOTIFICATION_BITMAP_CREATE, 0, 2]).success();
    denied(&nwd, SP1, [NOTIFICATION_SET, both(SP1, 0), 0, 1], DENIED);

    nwd.call(bind).success();
    nwd.refused(bind, DENIED);
    nwd.refused([NOTIFICATION_BIND, both(SP2, 0), 0, 0b110], DENIED);
    denied(&nwd, SP2, [NOTIFICATION_SET, both(SP2, 0), 0, 1], DENIED);
    assert_eq!(raised(&system), 0);

    done(&nwd, SP1, [NOTIFICATION_SET, both(SP1, 0), 0, 0b10]);
    assert_eq!(raised(&system), 1);
    nwd.refused([NOTIFICATION_UNBIND, both(SP1, 0), 0, 0b10], DENIED);
    nwd.refused([NOTIFICATION_BITMAP_DESTROY, 0], DENIED);
    // A notification is reported each time that it is set, until it was asked for: see
    // `schedule_receiver`.
    done(&nwd, SP1, [NOTIFICATION_SET, both(SP1, 0), 0, 0b01]);
    assert_eq!(raised(&system), 2);
    let told = info(&nwd);
    assert_eq!(told.0[..5], [SUCCESS_64, 0, 1 << 7, 0, 0]);
    nwd.refused([NOTIFICATION_INFO_GET_64], NO_DATA);
    nwd.refused([NOTIFICATION_INFO_GET_32], NO_DATA);

    assert_eq!(
        nwd.call([NOTIFICATION_GET, 0, FROM_SPS | FROM_SPM])
            .success(),
        [0b11, 0, 0, 0, 0, 0]
    );
    assert_eq!(nwd.call([NOTIFICATION_GET, 0, FROM_SPS]).success(), [0; 6]);
    done(&nwd, SP1, [NOTIFICATION_SET, both(SP1, 0), 0, 0b01]);
    assert_eq!(raised(&system), 3);
    assert_eq!(
        nwd.call([NOTIFICATION_GET, 1 << 16, FROM_SPS]).success()[0],
        1
    );
    nwd.call([NOTIFICATION_UNBIND, both(SP1, 0), 0, 0b11])
        .success();
    nwd.refused([NOTIFICATION_UNBIND, both(SP1, 0), 0, 0b11], DENIED);
    nwd.call([NOTIFICATION_BITMAP_DESTROY, 0]).success();
}

// FF-A v1.1 sections 10.4, 16.3 to 16.6: a VM and a partition notify a partition.
// req: NTF-17, NTF-21, NTF-23, NTF-27, NTF-30, NTF-33
#[test]
fn a_partition_is_notified() {
    let system = system();
    let nwd = system.nwd();
    let set = [NOTIFICATION_SET, both(VM1, SP1), 0, 1];
    nwd.refused(set, DENIED);
    done(&nwd, SP1, [NOTIFICATION_BIND, both(VM1, SP1), 0, 1]);
    done(&nwd, SP1, [NOTIFICATION_BIND, both(SP2, SP1), 0, 1]);
    // Another VM is another sender.
    nwd.refused([NOTIFICATION_SET, both(2, SP1), 0, 1], DENIED);
    nwd.call(set).success();
    done(&nwd, SP2, [NOTIFICATION_SET, both(SP2, SP1), 0, 1]);
    assert_eq!(raised(&system), 2);
    assert_eq!(info(&nwd).0[..4], [SUCCESS_64, 0, 1 << 7, SP1.into()]);
    let get = |flags| via(&nwd, SP1, [NOTIFICATION_GET, SP1.into(), flags, 0]);
    assert_eq!(get(FROM_VMS), (0, [0, 1, 0, 0]));
    assert_eq!(get(ALL), (0, [1, 0, 0, 0]));
    assert_eq!(get(ALL), (0, [0; 4]));
}

// FF-A v1.1 section 16.5: notifications of one vCPU.
// req: NTF-13, NTF-19, NTF-24, NTF-26, NTF-30
#[test]
fn per_vcpu_notifications() {
    let system = system();
    let nwd = system.nwd();
    nwd.call([NOTIFICATION_BITMAP_CREATE, 0, 3]).success();
    nwd.call([NOTIFICATION_BIND, both(SP1, 0), PER_VCPU, 0b10])
        .success();
    let set = |vcpu: u64| [NOTIFICATION_SET, both(SP1, 0), vcpu << 16 | PER_VCPU, 0b10];
    denied(&nwd, SP1, set(3), INVALID_PARAMETERS);
    let as_global = [NOTIFICATION_SET, both(SP1, 0), 0, 0b10];
    denied(&nwd, SP1, as_global, INVALID_PARAMETERS);
    // In the other direction, too.
    nwd.call([NOTIFICATION_BIND, both(SP1, 0), 0, 1]).success();
    let as_per_vcpu = [NOTIFICATION_SET, both(SP1, 0), 2 << 16 | PER_VCPU, 1];
    denied(&nwd, SP1, as_per_vcpu, INVALID_PARAMETERS);
    done(&nwd, SP1, set(2));
    done(&nwd, SP1, set(1));
    // One list: a receiver and two of its vCPUs.
    let ids = 2 << 32 | 1 << 16;
    assert_eq!(info(&nwd).0[..4], [SUCCESS_64, 0, 2 << 12 | 1 << 7, ids]);
    nwd.refused([NOTIFICATION_INFO_GET_64], NO_DATA);
    nwd.refused([NOTIFICATION_GET, 3 << 16, FROM_SPS], INVALID_PARAMETERS);
    let get = |vcpu: u64| nwd.call([NOTIFICATION_GET, vcpu << 16, FROM_SPS]).success()[0];
    assert_eq!([get(0), get(1), get(1), get(2)], [0, 0b10, 0, 0b10]);
    // A partition with several contexts.
    done(&nwd, SP2, [NOTIFICATION_BIND, both(VM1, SP2), PER_VCPU, 1]);
    nwd.refused(
        [NOTIFICATION_SET, both(VM1, SP2), 4 << 16 | PER_VCPU, 1],
        INVALID_PARAMETERS,
    );
    nwd.call([NOTIFICATION_SET, both(VM1, SP2), PER_VCPU, 1])
        .success();
    let ids = u64::from(SP2);
    assert_eq!(info(&nwd).0[2..4], [1 << 12 | 1 << 7, ids]);
    assert_eq!(
        via(&nwd, SP2, [NOTIFICATION_GET, SP2.into(), FROM_VMS, 0]).1,
        [0, 1, 0, 0]
    );
    // Each context fetches a notification that another one has.
    nwd.call([NOTIFICATION_SET, both(VM1, SP2), 3 << 16 | PER_VCPU, 1])
        .success();
    let get = |vcpu: u64| [NOTIFICATION_GET, vcpu << 16 | u64::from(SP2), FROM_VMS, 0];
    assert_eq!(via(&nwd, SP2, get(0)), (0, [0; 4]));
    assert_eq!(via(&nwd, SP2, get(3)), (0, [0, 1, 0, 0]));
    denied(&nwd, SP2, get(4), INVALID_PARAMETERS);
}

// Each context is interrupted for its own notifications until it fetches them.
// req: NTF-37
#[test]
fn the_notification_pending_interrupt_of_each_context() {
    let spec = caller("sp").vcpus(2).script(|sp| {
        if sp.vcpu == 0 {
            let bind = [NOTIFICATION_BIND, both(VM1, sp.id), PER_VCPU, 1];
            sp.call(bind).success();
        }
        sp.serve(|sp, request| {
            if request.0[3] == 1 {
                let own = u64::from(sp.vcpu) << 16 | u64::from(sp.id);
                let pending = sp.call([NOTIFICATION_GET, own, FROM_VMS]);
                assert_eq!(pending.0[4], 1);
            }
            [sp.signals().0.into(), 0, 0, 0, 0]
        })
    });
    let system = System::boot([spec]);
    system.turn_on(1);
    for vcpu in 0..2 {
        let set = [NOTIFICATION_SET, both(VM1, SP1), vcpu << 16 | PER_VCPU, 1];
        system.nwd().call(set).success();
    }
    let ask = |pe, fetches| system.pe(pe).ask(SP1, [fetches; 5])[0];
    assert_eq!([ask(0, 0), ask(1, 0)], [1, 1]);
    assert_eq!([ask(0, 1), ask(1, 0)], [0, 1]);
    assert_eq!([ask(0, 0), ask(1, 1)], [0, 0]);
}

// FF-A v1.1 section 16.7: more to report than the registers hold.
// req: NTF-32
#[test]
fn long_information_comes_in_parts() {
    let system = system();
    let nwd = system.nwd();
    nwd.call([NOTIFICATION_BITMAP_CREATE, 0, 16]).success();
    nwd.call([NOTIFICATION_BIND, both(SP1, 0), PER_VCPU, 1])
        .success();
    for vcpu in 0..16 {
        done(
            &nwd,
            SP1,
            [NOTIFICATION_SET, both(SP1, 0), vcpu << 16 | PER_VCPU, 1],
        );
    }
    let mut told: Vec<u64> = Vec::new();
    loop {
        let part = nwd.call([NOTIFICATION_INFO_GET_32]);
        let [header, ..] = part.success();
        let ids: Vec<u64> = part.0[3..8]
            .iter()
            .flat_map(|register| [register & 0xffff, register >> 16])
            .collect();
        let mut at = 0;
        for list in 0..header >> 7 & 0x1f {
            let vcpus = (header >> (12 + 2 * list) & 3) as usize;
            assert_eq!(ids[at], 0, "the VM");
            told.extend(&ids[at + 1..at + 1 + vcpus]);
            at += 1 + vcpus;
        }
        if header & 1 == 0 {
            break;
        }
    }
    assert_eq!(told, (0..16).collect::<Vec<u64>>());
    nwd.refused([NOTIFICATION_INFO_GET_32], NO_DATA);
}

// FF-A v1.1 sections 16.3 to 16.6: registers that a call does not allow.
// req: NTF-11, NTF-12, NTF-18, NTF-19, NTF-20, NTF-24, NTF-25
#[test]
fn parameters() {
    let system = system();
    let nwd = system.nwd();
    nwd.call([NOTIFICATION_BITMAP_CREATE, 0, 1]).success();
    let invalid = INVALID_PARAMETERS;
    for call in [NOTIFICATION_BIND, NOTIFICATION_UNBIND] {
        for ids in [
            both(0, 0),
            both(VM1, 0),
            both(0x8009, 0),
            both(0, SP1),
            both(SP2, SP1),
        ] {
            nwd.refused([call, ids, 0, 1], invalid);
        }
        nwd.refused([call, both(SP1, 0), 0, 0], invalid);
        nwd.refused([call, both(SP1, 0), 2, 1], invalid);
        for ids in [
            both(SP1, SP1),
            both(SP2, 0),
            both(SP1, SP2),
            both(0x8009, SP1),
            both(0x8000, SP1),
            both(0xffff, SP1),
        ] {
            denied(&nwd, SP1, [call, ids, 0, 1], invalid);
        }
        denied(&nwd, SP1, [call, both(SP2, SP1), 0x10, 1], invalid);
    }
    nwd.refused([NOTIFICATION_UNBIND, both(SP1, 0), PER_VCPU, 1], invalid);
    for ids in [both(SP1, SP2), both(SP1, 0), both(0, 0), both(0, 0x8009)] {
        nwd.refused([NOTIFICATION_SET, ids, 0, 1], invalid);
    }
    nwd.refused([NOTIFICATION_SET, both(0, SP1), DELAY, 1], invalid);
    nwd.refused([NOTIFICATION_SET, both(0, SP1), 0, 0], invalid);
    for (ids, flags, map) in [
        (both(SP2, SP1), 0, 1),
        (both(SP1, SP1), 0, 1),
        (both(SP1, 0x8009), 0, 1),
        (both(SP1, 0), 0, 0),
        (both(SP1, 0), 4, 1),
        (both(SP1, 0), 1 << 16, 1),
    ] {
        denied(&nwd, SP1, [NOTIFICATION_SET, ids, flags, map], invalid);
    }
    for (id, flags) in [(u64::from(SP1), 1), (0, FROM_VMS), (0, 8), (0, 0x11)] {
        nwd.refused([NOTIFICATION_GET, id, flags], invalid);
    }
    for (id, flags) in [(u64::from(SP2), 1), (0, 1), (u64::from(SP1), 0x10)] {
        denied(&nwd, SP1, [NOTIFICATION_GET, id, flags, 0], invalid);
    }
    denied(&nwd, SP1, [NOTIFICATION_GET, both(1, SP1), ALL, 0], invalid);
}

// FF-A v1.1 section 10.7: the interrupt can be delayed until the sender gives up the PE.
// req: NTF-33, NTF-34
#[test]
fn a_delayed_interrupt() {
    let setter = caller("setter").script(|sp: &mut Sp| {
        let id = sp.id;
        sp.serve(move |sp, request| {
            let [flags, ..] = request.payload();
            for bit in 0..2 {
                sp.call([NOTIFICATION_SET, both(id, 0), flags, 1 << bit])
                    .success();
            }
            [sp.snapshot().raised() as u64, 0, 0, 0, 0]
        })
    });
    let system = System::boot([setter]);
    let nwd = system.nwd();
    nwd.call([NOTIFICATION_BITMAP_CREATE, 0, 1]).success();
    nwd.call([NOTIFICATION_BIND, both(SP1, 0), 0, 3]).success();
    assert_eq!(nwd.ask(SP1, [DELAY, 0, 0, 0, 0])[0], 0, "raised too early");
    assert_eq!(raised(&system), 1);
    info(&nwd);
    nwd.call([NOTIFICATION_GET, 0, FROM_SPS]).success();
    assert_eq!(nwd.ask(SP1, [0; 5])[0], 3, "not raised at once");
    assert_eq!(raised(&system), 3);
}

// FF-A v1.1 section 10.1: a partition that gets notifications states so.
// req: NTF-09, NTF-42, PROP-06
#[test]
fn who_does_not_take_part() {
    let old = caller("old").version(0);
    let deaf_spec = caller("deaf").with(|spec| spec.extra = None);
    let system = System::boot([caller("one"), old, deaf_spec]);
    let nwd = system.nwd();
    let deaf = 0x8003;
    denied(&nwd, SP1, [NOTIFICATION_SET, both(SP1, deaf), 0, 1], DENIED);
    denied(&nwd, SP1, [NOTIFICATION_SET, both(SP1, SP2), 0, 1], DENIED);
    nwd.refused([NOTIFICATION_SET, both(0, deaf), 0, 1], DENIED);
    for call in [NOTIFICATION_BIND, NOTIFICATION_UNBIND] {
        denied(&nwd, deaf, [call, both(SP1, deaf), 0, 1], NOT_SUPPORTED);
    }
    for call in [NOTIFICATION_BIND, NOTIFICATION_SET, NOTIFICATION_GET] {
        denied(&nwd, SP2, [call, both(SP1, SP2), 0, 1], NOT_SUPPORTED);
        denied(&nwd, SP2, [FEATURES, call, 0, 0], NOT_SUPPORTED);
        done(&nwd, SP1, [FEATURES, call, 0, 0]);
    }
    // Property bit 3, as a 1.2 caller sees it.
    nwd.map_buffers();
    nwd.call([PARTITION_INFO_GET]).success();
    let properties = |n: u64| nwd.read(host_tests::system::NWD_RX + 24 * n + 4, 4)[0] & 8;
    assert_eq!([properties(0), properties(2)], [8, 0]);
}

// FF-A v1.1 section 13.3: the schedule receiver interrupt is for the Normal world to know.
// req: NTF-36, NTF-42, FEAT-11, FEAT-12, FEAT-14
#[test]
fn feature_ids() {
    let system = system();
    let nwd = system.nwd();
    assert_eq!(nwd.call([FEATURES, 2]).success()[0], 8);
    denied(&nwd, SP1, [FEATURES, 2, 0, 0], NOT_SUPPORTED);
    // The notification pending interrupt belongs to partitions, and takes no input properties.
    done(&nwd, SP1, [FEATURES, 1, 0, 0]);
    denied(&nwd, SP1, [FEATURES, 1, 1, 0], NOT_SUPPORTED);
    for id in [1, 3, 4] {
        nwd.refused([FEATURES, id], NOT_SUPPORTED);
    }
    let old = System::boot([]);
    assert_eq!(old.nwd().version(V1_0), V1_2);
    for id in [2, NOTIFICATION_BITMAP_CREATE, NOTIFICATION_GET] {
        old.nwd().refused([FEATURES, id], NOT_SUPPORTED);
    }
    old.nwd()
        .refused([NOTIFICATION_BITMAP_CREATE, 0, 1], NOT_SUPPORTED);
}

// FF-A v1.1 section 10.1: a failed partition is not notified, and is not reported as a receiver.
// req: NTF-41
#[test]
fn a_partition_that_failed() {
    let failing = caller("failing").script(|sp: &mut Sp| {
        let id = sp.id;
        sp.call([NOTIFICATION_BIND, both(VM1, id), 0, 1]).success();
        sp.serve(|sp, _| {
            sp.write(spmc::addr::World::Secure, 0, &[0]).unwrap_err();
            [0; 5]
        })
    });
    let system = System::boot([failing.with(|spec| spec.takes_exceptions = false)]);
    let nwd = system.nwd();
    let set = [NOTIFICATION_SET, both(VM1, SP1), 0, 1];
    nwd.call(set).success();
    assert_eq!(nwd.request(SP1, [0; 5]).error(), Some(ABORTED));
    nwd.refused([NOTIFICATION_INFO_GET_64], NO_DATA);
    nwd.refused(set, DENIED);
}

// FF-A v1.1 sections 16.3, 16.5 and 16.6: a map has two registers.
// req: NTF-16, NTF-23
#[test]
fn all_bits_of_the_maps_arrive() {
    const MAP: [u64; 2] = [0x8000_0001, 0xc000_0003];
    const OF_SP: [u64; 2] = [0x8000_0000, 0x4000_0001];
    let receiver = caller("receiver").script(|sp: &mut Sp| {
        sp.serve(|sp, request| {
            if request.0[3] == 0 {
                for sender in [VM1, SP2] {
                    let ids = both(sender, SP1);
                    sp.call([NOTIFICATION_BIND, ids, 0, MAP[0], MAP[1]])
                        .success();
                }
            }
            let maps = [NOTIFICATION_GET, SP1.into(), FROM_SPS | FROM_VMS];
            let [low, high, of_vms, high_of_vms, ..] = sp.call(maps).success();
            [low, high, of_vms, high_of_vms, 0]
        })
    });
    let sender = caller("sender").script(|sp: &mut Sp| {
        sp.serve(|sp, _| {
            let ids = both(SP2, SP1);
            sp.call([NOTIFICATION_SET, ids, 0, OF_SP[0], OF_SP[1]])
                .success();
            [0; 5]
        })
    });
    let system = System::boot([receiver, sender]);
    let nwd = system.nwd();
    assert_eq!(nwd.ask(SP1, [0; 5]), [0; 5]);
    nwd.call([NOTIFICATION_SET, both(VM1, SP1), 0, MAP[0], MAP[1]])
        .success();
    nwd.ask(SP2, [0; 5]);
    let expected = [OF_SP[0], OF_SP[1], MAP[0], MAP[1], 0];
    assert_eq!(nwd.ask(SP1, [1; 5]), expected);
    assert_eq!(nwd.ask(SP1, [1; 5]), [0; 5]);
}

// FF-A v1.1 section 10.6: a context that runs on another PE is signalled the interrupt there.
// req: NTF-38
#[test]
fn a_context_that_runs_on_another_pe_is_told_at_once() {
    let step = Arc::<AtomicU64>::default();
    let own = Arc::clone(&step);
    let spec = caller("mp").vcpus(2).script(move |sp: &mut Sp| {
        if sp.vcpu == 0 {
            let bind = [NOTIFICATION_BIND, both(VM1, SP1), PER_VCPU, 1];
            sp.call(bind).success();
        }
        let own = Arc::clone(&own);
        sp.serve(move |_, request| {
            own.store(1, SeqCst);
            while own.load(SeqCst) == 1 {
                yield_now();
            }
            request.payload()
        })
    });
    let system = System::boot([spec]);
    system.turn_on(1);
    scope(|scope| {
        let running = scope.spawn(|| system.pe(1).ask(SP1, [7; 5]));
        while step.load(SeqCst) == 0 {
            yield_now();
        }
        let set = [NOTIFICATION_SET, both(VM1, SP1), 1 << 16 | PER_VCPU, 1];
        system.nwd().call(set).success();
        let is_told = system.machine.gic().has_interrupt(1);
        step.store(2, SeqCst);
        assert_eq!(running.join().unwrap(), [7; 5]);
        assert!(is_told);
    });
}

// FF-A v1.1 section 16.6: only the requested notifications are fetched.
// req: NTF-22, NTF-39
#[test]
fn who_asks_for_one_map_leaves_the_others() {
    const FROM_HYPERVISOR: u64 = 8;
    let receiver = caller("receiver").with(|sp| sp.messaging = 7);
    let system = System::boot([receiver.script(|sp: &mut Sp| {
        sp.map_buffers();
        sp.serve(|sp, request| {
            let get = |sp: &mut Sp, flags| sp.call([NOTIFICATION_GET, SP1.into(), flags]).success();
            match request.0[3] {
                0 => [0; 5],
                flags => {
                    let [.., spm, hypervisor] = get(sp, flags);
                    [spm, hypervisor, 0, 0, 0]
                }
            }
        })
    })]);
    let nwd = system.nwd();
    nwd.map_buffers();
    let message = super::indirect::Message::new(V1_2, 0, SP1, b"hello");
    nwd.write(host_tests::system::NWD_TX, &message.encode(V1_2));
    nwd.call([MSG_SEND2]).success();
    for flags in [FROM_SPS, FROM_VMS, FROM_SPS | FROM_VMS] {
        assert_eq!(nwd.ask(SP1, [flags; 5])[..2], [0, 0]);
    }
    assert_eq!(nwd.ask(SP1, [FROM_HYPERVISOR; 5])[..2], [0, 1]);
    assert_eq!(nwd.ask(SP1, [FROM_HYPERVISOR; 5])[..2], [0, 0]);
}
