//! The schedule receiver interrupt (FF-A v1.1 section 10.7): raised as long as there is something that its handler was not told.

use host_tests::ffa::*;
use host_tests::{PartitionSpec, System};

use super::indirect::{Message, send};
use super::notification::{both, caller, done, info};

const SP1: u16 = 0x8001;

/// On which PEs it was raised since this was asked last.
fn raised(system: &System) -> Vec<usize> {
    std::mem::take(&mut system.machine.journal().schedule_receiver)
}

// D12: an SGI goes with its PE, and Linux does not look for it when a PE goes off.
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
    // PE 1 is turned off before it takes it. The next is raised wherever it is set, be it the same notification.
    set(0, 0b10);
    assert_eq!(raised(&system), [0]);
    set(0, 0b10);
    assert_eq!(raised(&system), [0]);
    assert_eq!(info(&nwd).0[..4], [SUCCESS_64, 0, 1 << 7, 0]);
    // Its scheduler knows all there is: nothing is raised for nothing.
    set(0, 0b10);
    assert_eq!(raised(&system), []);
    assert_eq!(info(&nwd).error(), Some(NO_DATA));
    nwd.call([NOTIFICATION_GET, 0, 1]).success();
    set(0, 0b10);
    assert_eq!(raised(&system), [0]);
}

// D12, its sibling: a receiver that polls RX does not ask for the notification of each message.
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

// More contexts want cycles for their interrupts than one list has room for.
#[test]
fn contexts_that_are_not_told_now_are_told_next() {
    const ENABLE: u64 = 0xff03;
    const SEND_IPI: u64 = 0xff0a;
    let system = System::boot([PartitionSpec::new("sp")
        .vcpus(6)
        .property("sri-interrupts-policy", 1)
        .script(|sp| {
            sp.call([ENABLE, 9, 1, 0]);
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
