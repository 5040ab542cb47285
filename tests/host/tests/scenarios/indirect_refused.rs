//! Indirect messages that are refused, without any effect.

use host_tests::ffa::*;
use host_tests::manifest::partition_base;
use host_tests::system::{NWD_PAGES, NWD_RX, NWD_TX};
use host_tests::{PartitionSpec, Sp, System};
use spmc::addr::World::{NonSecure, Secure};

use super::indirect::{DELAY_SRI, Message, SENT, code, partition, send, send_to, tell};

// req: IND-04, IND-05, IND-06, IND-07, IND-08, IND-09
#[test]
fn headers_that_do_not_hold() {
    let system = System::boot([partition("sp1", tell), partition("sp2", tell)]);
    let nwd = system.nwd();
    let good = Message::new(V1_2, 0, 0x8001, &[1; 16]);
    nwd.refused([MSG_SEND2], INVALID_PARAMETERS);
    nwd.map_buffers();
    let changes: [fn(&mut Message); 18] = [
        |m| m.flags = 1,
        |m| m.flags = 1 << 31,
        |m| m.sender = 0x8002,
        |m| m.sender = 1,
        |m| m.receiver = 0,
        |m| m.receiver = 1,
        |m| m.receiver = 0x8003,
        |m| m.receiver = 0x8000,
        |m| m.receiver = 0xffff,
        |m| m.offset = 20,
        |m| m.offset = 4096 - 15,
        |m| m.offset = u32::MAX,
        |m| m.size = u32::MAX,
        |m| m.offset = 39,
        // Ends behind TX, also if the sum overflows 32 bits.
        |m| (m.offset, m.size) = (4096, 1),
        |m| (m.offset, m.size) = (4097, 0),
        |m| (m.offset, m.size) = (u32::MAX - 3, 8),
        |m| (m.offset, m.size) = (1 << 31, 1 << 31),
    ];
    for change in changes {
        let mut bad = good.clone();
        change(&mut bad);
        nwd.write(NWD_TX, &bad.encode(V1_2));
        nwd.refused([MSG_SEND2], INVALID_PARAMETERS);
    }
    nwd.write(NWD_TX, &good.encode(V1_2));
    for registers in [
        [MSG_SEND2, 0x8001_0000, 0],
        // A VM without buffers; a delay from the Normal world; reserved flags.
        [MSG_SEND2, 0x0001_0000, 0],
        [MSG_SEND2, 0, DELAY_SRI],
        [MSG_SEND2, 0, 1],
        [MSG_SEND2, 0, 1 << 31],
    ] {
        nwd.refused(registers, INVALID_PARAMETERS);
    }
    assert_eq!(send(&nwd, V1_2, &good), SENT);
    // A message that ends with TX.
    let mut last = Message::new(V1_2, 0, 0x8002, &[]);
    last.offset = 4096;
    assert_eq!(send(&nwd, V1_2, &last), SENT);
}

// req: IND-05, IND-08, IND-09
#[test]
fn a_partition_speaks_for_itself_only() {
    let script = |sp: &mut Sp| {
        let to_itself = Message::new(V1_2, sp.id, sp.id, &[1]);
        let for_another = Message::new(V1_2, 0x8002, 0, &[1]);
        let for_itself = Message::new(V1_2, sp.id, 0, &[1]);
        sp.write(Secure, sp.tx(), &to_itself.encode(V1_2)).unwrap();
        sp.refused([MSG_SEND2], INVALID_PARAMETERS);
        sp.map_buffers();
        sp.refused([MSG_SEND2], INVALID_PARAMETERS);
        sp.write(Secure, sp.tx(), &for_another.encode(V1_2))
            .unwrap();
        sp.refused([MSG_SEND2], INVALID_PARAMETERS);
        for registers in [
            [MSG_SEND2, 0x8001_0000, 0],
            [MSG_SEND2, 1 << 16, 0],
            [MSG_SEND2, 0, 4],
        ] {
            for message in [&for_another, &for_itself] {
                sp.write(Secure, sp.tx(), &message.encode(V1_2)).unwrap();
                sp.refused(registers, INVALID_PARAMETERS);
            }
        }
        sp.msg_wait();
    };
    System::boot([
        PartitionSpec::new("sp1")
            .with(|sp| sp.messaging = 7)
            .script(script),
        PartitionSpec::new("sp2").with(|sp| sp.messaging = 7),
    ]);
}

// The message is still in TX of a partition.
// req: IND-05
#[test]
fn the_normal_world_speaks_for_no_partition() {
    let system = System::boot([partition("sp1", send_to), partition("sp2", tell)]);
    let nwd = system.nwd();
    assert_eq!(nwd.ask(0x8001, [0x8002, 4, 0, 0, 0])[0], 0);
    assert_eq!(nwd.ask(0x8002, [0; 5])[..2], [0x8001, 4]);
    nwd.refused([MSG_SEND2, 0x8001_0000], INVALID_PARAMETERS);
}

// req: IND-10, IND-18, RUN-04, RUN-14
#[test]
fn both_sides_need_indirect_messages() {
    let system = System::boot([
        partition("sp1", send_to),
        partition("sp2", send_to).with(|sp| sp.messaging = 3),
        // At 1.0 there are no such messages between partitions.
        partition("old", |_, _| [0; 5]).version(0),
        partition("sp4", |_, _| [0; 5]).with(|sp| sp.messaging = 3),
    ]);
    let nwd = system.nwd();
    nwd.map_buffers();
    assert_eq!(nwd.ask(0x8002, [0, 4, 0, 0, 0])[0], code(DENIED));
    for receiver in [0x8002, 0x8003, 0x8004] {
        let message = Message::new(V1_2, 0, receiver, &[1]);
        assert_eq!(send(&nwd, V1_2, &message), Some(DENIED));
        assert_eq!(
            nwd.ask(0x8001, [receiver.into(), 4, 0, 0, 0])[0],
            code(DENIED)
        );
    }
}

// req: RXTX-15, RXTX-27, IND-13, IND-14
#[test]
fn the_receiver_needs_a_buffer_that_is_long_enough() {
    let serve = |sp: &mut Sp, _: [u64; 5]| {
        sp.map_buffers();
        [0; 5]
    };
    let system = System::boot([PartitionSpec::new("sp1")
        .with(|sp| sp.messaging = 7)
        .script(move |sp| sp.serve(move |sp, request| serve(sp, request.payload())))]);
    let nwd = system.nwd();
    nwd.call([RXTX_MAP_64, NWD_PAGES, NWD_PAGES + 0x2000, 2])
        .success();
    let message = Message::new(V1_2, 0, 0x8001, &[1; 4096 - 40]);
    nwd.write(NWD_PAGES, &message.encode(V1_2));
    nwd.refused([MSG_SEND2], BUSY);
    nwd.ask(0x8001, [0; 5]);
    let longer = Message::new(V1_2, 0, 0x8001, &[1; 4096 - 39]);
    nwd.write(NWD_PAGES, &longer.encode(V1_2));
    nwd.refused([MSG_SEND2], NO_MEMORY);
    nwd.write(NWD_PAGES, &message.encode(V1_2));
    nwd.call([MSG_SEND2]).success();
}

// req: IND-20
#[test]
fn a_buffer_that_is_taken_away_leaves_rx_empty() {
    let system = System::boot([partition("sp1", send_to)]);
    let nwd = system.nwd();
    nwd.map_buffers();
    nwd.call([NOTIFICATION_BITMAP_CREATE, 0, 1]).success();
    system
        .machine
        .memory()
        .protect(NonSecure, NWD_RX..NWD_RX + 0x1000);
    assert_eq!(nwd.ask(0x8001, [0, 4, 0, 0, 0])[0], code(ABORTED));
    system.machine.memory().unprotect_all();
    assert_eq!(nwd.ask(0x8001, [0, 4, 0, 0, 0])[0], 0);
}

// Header and payload are read and written one after the other.
// req: IND-20
#[test]
fn a_message_of_which_one_access_fails_is_not_sent() {
    let both = |sp: &mut Sp, request: [u64; 5]| match request[4] {
        0 => send_to(sp, request),
        _ => tell(sp, request),
    };
    let system = System::boot([partition("sp1", both)]);
    let nwd = system.nwd();
    nwd.map_buffers();
    nwd.call([NOTIFICATION_BITMAP_CREATE, 0, 1]).success();
    system
        .machine
        .memory()
        .protect(NonSecure, NWD_TX..NWD_TX + 0x1000);
    nwd.refused([MSG_SEND2], ABORTED);
    system.machine.memory().unprotect_all();

    let tx = partition_base(0) + 0x1_0000;
    let fails = |page: u64, others: u64, send: &dyn Fn() -> u64| {
        system.machine.fail_access(page..page + 0x1000, others);
        let answer = send();
        let fails = !system.machine.is_incident_ahead();
        assert_eq!(answer, if fails { code(ABORTED) } else { 0 }, "{others}");
        fails
    };
    let from_sp = || nwd.ask(0x8001, [0, 4, 0, 0, 0])[0];
    assert_eq!(
        [0, 1, 2].map(|n| fails(tx, n, &from_sp)),
        [true, true, false]
    );
    let message = Message::new(V1_2, 0, 0x8001, &[1; 4]);
    let from_nwd = || super::indirect::send(&nwd, V1_2, &message).map_or(0, code);
    let rx = tx + 0x1000;
    assert_eq!(
        [0, 1, 2].map(|n| fails(rx, n, &from_nwd)),
        [true, true, false]
    );
    assert_eq!(nwd.ask(0x8001, [0, 0, 0, 0, 1])[..3], [0, 4, 1]);
}

// req: MSGW-25, COMP-12, IND-19, VMB-11
#[test]
fn callers_below_1_1_have_no_indirect_messages() {
    let system = System::boot([partition("sp1", |sp, _| {
        let functions = [MSG_SEND2, MSG_SEND, MSG_POLL];
        let [a, b, c] = functions.map(|function| code(sp.call([function]).error().unwrap()));
        [a, b, c, 0, 0]
    })
    .version(0)]);
    let nwd = system.nwd();
    nwd.version(V1_0);
    for function in [MSG_SEND2, MSG_SEND, MSG_POLL, RX_ACQUIRE] {
        nwd.refused([function], NOT_SUPPORTED);
        nwd.refused([FEATURES, function], NOT_SUPPORTED);
    }
    let refused = code(NOT_SUPPORTED);
    assert_eq!(nwd.ask(0x8001, [0; 5]), [refused, refused, refused, 0, 0]);
}

// The RX of a Hypervisor is also that of its own calls: one that is never told of a message, as Xen
// 4.20, would have no results any more.
// req: IND-25
#[test]
fn a_hypervisor_that_cannot_be_told_gets_no_message() {
    let system = System::boot([partition("sp1", send_to)]);
    let nwd = system.nwd();
    nwd.map_buffers();
    let sent = || nwd.ask(0x8001, [0, 4, 0, 0, 0])[0];
    for _ in 0..2 {
        let before = system.snapshot();
        assert_eq!(sent(), code(DENIED));
        assert_eq!(before, system.snapshot());
        nwd.call([PARTITION_INFO_GET]).success();
        nwd.call([RX_RELEASE]).success();

        nwd.call([NOTIFICATION_BITMAP_CREATE, 0, 1]).success();
        assert_eq!([sent(), sent()], [0, code(BUSY)]);
        nwd.call([RX_RELEASE]).success();
        nwd.call([NOTIFICATION_GET, 0, 4]).success();
        nwd.call([NOTIFICATION_BITMAP_DESTROY, 0]).success();
    }
}

// A receiver that does not know indirect messages would find one in RX, where it expects nothing.
// req: RXTX-14, IND-18
#[test]
fn receivers_below_1_1_have_no_indirect_messages() {
    let system = System::boot([partition("sp1", send_to)]);
    let nwd = system.nwd();
    nwd.version(V1_0);
    nwd.map_buffers();
    let before = system.snapshot();
    for receiver in [0, 3] {
        assert_eq!(nwd.ask(0x8001, [receiver, 4, 0, 0, 0])[0], code(DENIED));
    }
    assert_eq!(before, system.snapshot());
    // RX is still free.
    nwd.call([PARTITION_INFO_GET]).success();
}

// req: IND-17
#[test]
fn a_failed_receiver() {
    let system = System::boot([PartitionSpec::new("sp1")
        .with(|sp| sp.messaging = 7)
        .script(|sp| {
            sp.call([ERROR, 0, 0xffff_fffe]);
        })]);
    let nwd = system.nwd();
    nwd.map_buffers();
    let message = Message::new(V1_2, 0, 0x8001, &[1]);
    assert_eq!(send(&nwd, V1_2, &message), Some(ABORTED));
}

// A message that is copied in several pieces is checked as a whole first.
// req: RXTX-13, RXTX-18, IND-07
#[test]
fn a_message_that_ends_behind_tx_writes_nothing() {
    const PAGES: u64 = 16;
    let (sp_tx, sp_rx) = (partition_base(0) + 0x2_0000, partition_base(0) + 0x4_0000);
    let system = System::boot([PartitionSpec::new("sp1")
        .with(|sp| sp.messaging = 7)
        .script(move |sp| {
            sp.call([RXTX_MAP_64, sp_tx, sp_rx, PAGES]).success();
            sp.serve(|_, request| request.payload())
        })]);
    let nwd = system.nwd();
    nwd.call([RXTX_MAP_64, NWD_PAGES, NWD_PAGES + 0x1_0000, PAGES])
        .success();
    nwd.write(NWD_PAGES, &[0x5a; PAGES as usize * 4096]);
    let mut message = Message::new(V1_2, 0, 0x8001, &[]);
    for over in [1, 16, 4096] {
        message.size = PAGES as u32 * 4096 - 40 + over;
        nwd.write(NWD_PAGES, &message.encode(V1_2));
        nwd.refused([MSG_SEND2], INVALID_PARAMETERS);
        let mut received = [0; 4096];
        let memory = system.machine.memory();
        memory.read(Secure, sp_rx, &mut received).unwrap();
        assert_eq!(received, [0; 4096], "{over}");
    }
    message.size = PAGES as u32 * 4096 - 40;
    nwd.write(NWD_PAGES, &message.encode(V1_2));
    nwd.call([MSG_SEND2]).success();
}
