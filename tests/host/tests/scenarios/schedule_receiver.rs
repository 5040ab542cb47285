//! The schedule receiver interrupt (FF-A v1.1 section 10.7): it is raised as long as there is
//! something that its handler was not told.

use host_tests::ffa::*;
use host_tests::{PartitionSpec, System};

use super::indirect::{Message, send};
use super::interrupts::{ENABLE, GET, LINE, with_device};
use super::notification::{both, caller, done, info};

const SP1: u16 = 0x8001;

/// Hafnium's call by which partitions send an IPI, and an interrupt that they send each other.
const SEND_IPI: u64 = 0xff0a;
const IPI: u64 = 9;
const NOTIFICATION: u64 = 5;
const NONE: u64 = 0xffff_ffff;

/// Returns the PEs on which the interrupt was raised since the last call of this function.
fn raised(system: &System) -> Vec<usize> {
    std::mem::take(&mut system.machine.journal().schedule_receiver)
}

// An SGI is lost with its PE: Linux does not look for it when a PE goes off.
// req: NTF-35
#[test]
fn one_that_is_lost_is_followed_by_another() {
    let system = System::boot([caller("sender")]);
    system.turn_on(1);
    let nwd = system.nwd();
    nwd.call([NOTIFICATION_BITMAP_CREATE, 0, 1]).success();
    nwd.call([NOTIFICATION_BIND, both(SP1, 0), 0, 0b11])
        .success();
    let set = |pe, map| {
        done(
            &system.pe(pe),
            SP1,
            [NOTIFICATION_SET, both(SP1, 0), 0, map],
        )
    };
    set(1, 0b01);
    assert_eq!(raised(&system), [1]);
    // PE 1 is turned off before it takes the interrupt. The next interrupt is raised on the PE
    // where a notification is set, even if it is the same notification.
    set(0, 0b10);
    assert_eq!(raised(&system), [0]);
    set(0, 0b10);
    assert_eq!(raised(&system), [0]);
    assert_eq!(info(&nwd).0[..4], [SUCCESS_64, 0, 1 << 7, 0]);
    // The scheduler knows everything, so no interrupt is raised in vain.
    set(0, 0b10);
    assert_eq!(raised(&system), []);
    assert_eq!(info(&nwd).error(), Some(NO_DATA));
    nwd.call([NOTIFICATION_GET, 0, 1]).success();
    set(0, 0b10);
    assert_eq!(raised(&system), [0]);
}

// A receiver that polls RX does not ask for the notification of each message.
// req: NTF-29, NTF-35
#[test]
fn each_message_is_news() {
    let system = System::boot([caller("receiver")
        .with(|spec| spec.messaging = 7)
        .script(|sp| {
            sp.map_buffers();
            sp.serve(|sp, _| {
                sp.call([RX_RELEASE]).success();
                [0; 5]
            })
        })]);
    let nwd = system.nwd();
    nwd.map_buffers();
    for _ in 0..3 {
        let message = Message::new(V1_2, 0, SP1, &[1, 2, 3]);
        assert_eq!(send(&nwd, V1_2, &message), None);
        assert_eq!(raised(&system), [0]);
        assert_eq!(info(&nwd).0[..4], [SUCCESS_64, 0, 1 << 7, SP1.into()]);
        assert_eq!(info(&nwd).error(), Some(NO_DATA));
        nwd.ask(SP1, [0; 5]);
    }
}

// More contexts want cycles for their interrupts than a list has room for.
// req: NTF-32, SINT-17, SINT-19
#[test]
fn contexts_that_are_not_told_now_are_told_next() {
    let system = System::boot([PartitionSpec::new("sp")
        .vcpus(6)
        .property("sri-interrupts-policy", 1)
        .script(|sp| {
            sp.call([ENABLE, IPI, 1, 0]);
            sp.serve(|sp, _| {
                for vcpu in 1..6 {
                    assert_eq!(sp.call([SEND_IPI, vcpu]).0[0], 0);
                }
                [0; 5]
            })
        })]);
    for pe in 1..6 {
        system.turn_on(pe);
    }
    let nwd = system.nwd();
    nwd.ask(SP1, [0; 5]);
    for pe in 1..6 {
        system.pe(pe).call([INTERRUPT]);
    }
    assert_eq!(raised(&system), [1, 2, 3, 4, 5]);
    let ids = |first: u64, count: u64| {
        (0..count).fold(u64::from(SP1), |ids, n| ids | (first + n) << (16 * (n + 1)))
    };
    assert_eq!(info(&nwd).0[2..4], [1 | 3 << 12 | 1 << 7, ids(1, 3)]);
    assert_eq!(info(&nwd).0[2..4], [2 << 12 | 1 << 7, ids(4, 2)]);
    assert_eq!(info(&nwd).error(), Some(NO_DATA));
}

/// Returns a partition that leaves an interrupt unhandled in a request, and wants cycles for it.
fn wants_cycles(name: &str) -> PartitionSpec {
    PartitionSpec::new(name)
        .property("sri-interrupts-policy", 3)
        .script(|sp| {
            sp.call([ENABLE, IPI, 1, 0]);
            sp.serve(|sp, request| {
                assert_eq!(sp.call([SEND_IPI, sp.vcpu.into()]).0[0], 0);
                request.payload()
            })
        })
}

// FF-A v1.1 section 16.7: ten ids fit into the 32-bit form.
// req: NTF-31, NTF-32, SINT-18, SINT-19
#[test]
fn who_wants_cycles_is_told_when_there_is_room() {
    const WANT: [(u16, u64); 2] = [(0x8002, 0), (0x8003, 1)];
    for (filled, (id, vcpus)) in [(10, WANT[0]), (9, WANT[1]), (0, WANT[0]), (0, WANT[1])] {
        let system = System::boot([
            caller("sender"),
            wants_cycles("up"),
            wants_cycles("mp").vcpus(4),
            caller("one"),
            caller("two"),
        ]);
        let nwd = system.nwd();
        // As many receivers of a global notification: VMs, and two partitions.
        for vm in 0..filled.min(8) {
            nwd.call([NOTIFICATION_BITMAP_CREATE, vm, 1]).success();
            let ids = both(SP1, vm as u16);
            nwd.call([NOTIFICATION_BIND, ids, 0, 1]).success();
            done(&nwd, SP1, [NOTIFICATION_SET, ids, 0, 1]);
        }
        for receiver in [0x8004, 0x8005].into_iter().take(filled as usize % 8) {
            let ids = both(SP1, receiver);
            done(&nwd, receiver, [NOTIFICATION_BIND, ids, 0, 1]);
            done(&nwd, SP1, [NOTIFICATION_SET, ids, 0, 1]);
        }
        nwd.ask(id, [0; 5]);
        let info = || nwd.call([NOTIFICATION_INFO_GET_32]);
        if filled > 0 {
            assert_eq!(info().success()[0], 1 | filled << 7);
        }
        // A context of an MP partition is named, even the first one.
        let expected = [vcpus << 12 | 1 << 7, id.into(), 0, 0, 0, 0];
        assert_eq!(info().success(), expected);
        assert_eq!(info().error(), Some(NO_DATA));
    }
}

/// Returns a partition that releases RX and answers which interrupts are pending.
fn tells(spec: PartitionSpec) -> PartitionSpec {
    spec.with(|spec| spec.messaging = 7).script(|sp| {
        sp.map_buffers();
        let bind = [NOTIFICATION_BIND, both(1, sp.id), 0, 1];
        sp.call(bind);
        sp.serve(|sp, _| {
            sp.call([RX_RELEASE]);
            [sp.call([GET]).0[0], sp.call([GET]).0[0], 0, 0, 0]
        })
    })
}

// FF-A v1.1 section 10.6.
// req: RXTX-13, NTF-33, NTF-37
#[test]
fn a_message_interrupts_a_receiver_that_gets_notifications_and_no_other() {
    let system = System::boot([tells(caller("told")), tells(PartitionSpec::new("deaf"))]);
    let nwd = system.nwd();
    nwd.map_buffers();
    for (id, is_told) in [(SP1, true), (0x8002, false)] {
        let message = Message::new(V1_2, 0, id, &[1, 2, 3]);
        assert_eq!(send(&nwd, V1_2, &message), None);
        let expected: &[usize] = if is_told { &[0] } else { &[] };
        assert_eq!(raised(&system), expected);
        let interrupt = if is_told { NOTIFICATION } else { NONE };
        assert_eq!(nwd.ask(id, [0; 5]), [interrupt, NONE, 0, 0, 0]);
    }
}

// FF-A v1.1 section 10.6: the interrupt is raised for what becomes pending.
// req: NTF-37
#[test]
fn a_receiver_is_not_interrupted_for_what_it_knows() {
    let system = System::boot([tells(caller("told"))]);
    let nwd = system.nwd();
    for expected in [NOTIFICATION, NONE] {
        nwd.call([NOTIFICATION_SET, both(1, SP1), 0, 1]).success();
        assert_eq!(nwd.ask(SP1, [0; 5])[..2], [expected, NONE]);
    }
}

// FF-A v1.1 section 9, sri-interrupts-policy.
// req: INT-05, SINT-17
#[test]
fn cycles_for_interrupts_are_asked_for_at_once() {
    let owner = with_device(PartitionSpec::new("owner"), &[LINE], &[]);
    let owner = owner.property("sri-interrupts-policy", 1).script(|sp| {
        assert_eq!(sp.call([ENABLE, LINE.into(), 1, 0]).0[0], 0);
        sp.msg_wait();
    });
    let other = PartitionSpec::new("other").script(|sp| {
        sp.serve(|sp, request| {
            sp.gic(|gic| gic.pulse(LINE));
            sp.poll();
            assert_eq!(sp.journal(|journal| journal.schedule_receiver.len()), 1);
            request.payload()
        })
    });
    let system = System::boot([owner, other]);
    assert_eq!(system.nwd().ask(0x8002, [3; 5]), [3; 5]);
}
