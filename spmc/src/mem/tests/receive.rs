//! Calls to retrieve, relinquish and reclaim that are refused, and calls that run out of a
//! resource.

use super::*;

// req: MEMD-25, MEMD-26, MEMD-27, MEMD-33, MEMD-44, MEMD-45, MEMD-53, MEMD-64, MEMD-66, MEMD-73
// req: MEMD-75, MEMD-85, MEMD-86, MEMD-87, MEMD-88, MEMD-89, MEMD-90
// req: MEMD-91, MEMD-92, MEMD-94, MEMRQ-04, MEMRQ-05, MEMRQ-06, MEMRQ-12, MEMRQ-23, MEMRQ-25
// req: MEMD-41, MEMD-31, TIME-01
#[test]
fn requests_for_what_was_not_granted() {
    let machine = Machine::new();
    let page = RAM + 0x5000;
    let shared = machine
        .send(
            NS,
            SHARE,
            &Descriptor::offer(NS, WB, &[(A, RO)], &[(page, 1)]).with(|d| d.tag = 5),
        )
        .unwrap();
    let lent = machine
        .send(
            NS,
            LEND,
            &Descriptor::offer(NS, 0, &[(A, RO)], &[(page + 0x1000, 1)]).with(|d| d.tag = 5),
        )
        .unwrap();
    let [share, lend] = [(shared, 0x08), (lent, 0x10)].map(|(handle, flags)| {
        Descriptor::request(NS, handle, A, RO)
            .with(|d| (d.tag, d.flags, d.attributes) = (5, flags, WB))
    });
    for good in [&share, &lend] {
        let refuses = |error, change: &dyn Fn(&mut Descriptor)| {
            machine.refuses(error, || machine.retrieve(A, &good.clone().with(change)));
        };
        refuses(Denied, &|d| d.sender = B);
        refuses(Denied, &|d| d.sender = 1);
        refuses(InvalidParameters, &|d| d.handle += 1 << 16);
        refuses(InvalidParameters, &|d| d.handle += 0x3f);
        refuses(InvalidParameters, &|d| d.handle |= 1 << 63);
        refuses(InvalidParameters, &|d| d.handle = u64::MAX);
        refuses(InvalidParameters, &|d| d.handle = 0);
        refuses(InvalidParameters, &|d| d.tag = 4);
        refuses(InvalidParameters, &|d| d.attributes = 0x30);
        refuses(InvalidParameters, &|d| d.attributes |= 0x40);
        refuses(Denied, &|d| d.attributes = 0x2e);
        refuses(Denied, &|d| d.entries[0].permissions = RW);
        refuses(InvalidParameters, &|d| d.entries[0].permissions = 0b11);
        refuses(InvalidParameters, &|d| d.entries[0].permissions |= 0x10);
        refuses(InvalidParameters, &|d| d.entries[0].flags = 1);
        refuses(InvalidParameters, &|d| d.entries[0].flags = 4);
        refuses(InvalidParameters, &|d| d.entries[0].flags = 0x80);
        refuses(InvalidParameters, &|d| d.entries[0].offset = Some(64));
        refuses(InvalidParameters, &|d| d.entries.clear());
        refuses(InvalidParameters, &|d| d.entries.push(entry(B, RO)));
        refuses(InvalidParameters, &|d| d.entries.push(d.entries[0].clone()));
        refuses(InvalidParameters, &|d| d.entries[0].id = B);
        // The receiver asks for addresses that are not the owner's.
        refuses(InvalidParameters, &|d| {
            d.constituents = vec![(page + 0x4000, 1)]
        });
        refuses(InvalidParameters, &|d| d.flags |= 0x18);
        // These bits are the bypass flag with only one borrower, the alignment hint without its
        // valid flag, and reserved bits.
        for bit in [5, 6, 7, 8, 10, 11, 12, 31] {
            refuses(InvalidParameters, &|d| d.flags |= 1 << bit);
        }
        // The address is aligned to one page only, but the hint asks for more.
        refuses(Denied, &|d| d.flags |= 1 << 9 | 3 << 5);
        machine.refuses(InvalidParameters, || machine.retrieve(B, good));
    }
    machine.refuses(InvalidParameters, || {
        machine.retrieve(A, &share.clone().with(|d| d.flags |= 1))
    });
    machine.refuses(InvalidParameters, || {
        machine.retrieve(A, &share.clone().with(|d| d.flags |= 4))
    });
    machine.refuses(InvalidParameters, || {
        machine.retrieve(A, &share.clone().with(|d| d.entries[0].permissions |= XN))
    });
    machine.refuses(Denied, || {
        machine.retrieve(A, &lend.clone().with(|d| d.flags |= 1))
    });
    machine.refuses(Denied, || {
        machine.retrieve(A, &lend.clone().with(|d| d.flags |= 4))
    });
    machine.refuses(Denied, || {
        machine.retrieve(A, &lend.clone().with(|d| d.entries[0].permissions |= X))
    });
    machine.refuses(InvalidParameters, || machine.retrieve(NS, &share));
    // The SPMC fills in fields that the request leaves open.
    let response = machine
        .retrieve(
            A,
            &share
                .clone()
                .with(|d| (d.attributes, d.flags, d.entries[0].permissions) = (0, 1 << 9, 0)),
        )
        .unwrap();
    assert_eq!(
        (response[2], response[4], response[50]),
        (0x6f, 0x08, RO | XN)
    );
    assert_eq!(
        machine.access(A, World::NonSecure, page),
        Some((false, false))
    );
    machine.refuses(Denied, || machine.retrieve(A, &share));
    // A request for less permissive memory is granted: Normal non-cacheable, non-shareable.
    let response = machine
        .retrieve(A, &lend.clone().with(|d| d.attributes = 0x24))
        .unwrap();
    assert_eq!(response[2], 0x64);
    let root = machine.of(A).memory.lock().roots().of(World::NonSecure);
    let (descriptor, _) = machine.hal.translate(root, page + 0x1000).unwrap();
    assert_eq!((descriptor >> 2 & 0xf, descriptor >> 8 & 3), (0b0101, 0));
}

// req: MEMRQ-03, MEMRQ-10, RXTX-15, MEMRQ-09
#[test]
fn a_response_needs_room_in_rx() {
    let machine = Machine::new();
    let handle = machine
        .send(NS, SHARE, &Descriptor::share(NS, A, RAM + 0x5000, 1))
        .unwrap();
    let request = Descriptor::request(NS, handle, A, RW);
    machine
        .of(A)
        .mailbox
        .lock()
        .fill_rx(&machine.hal, &[1], Version::V1_2)
        .unwrap();
    machine.refuses(Busy, || machine.retrieve(A, &request));
    machine.of(A).mailbox.lock().release_rx().unwrap();
    machine.retrieve(A, &request).unwrap();
    let mut longer = request.bytes(Version::V1_1);
    longer.extend([0; 16]);
    machine.refuses(InvalidParameters, || {
        machine.call_with(A, function::MEM_RETRIEVE_REQ_32, &longer)
    });
}

// req: MEMD-20, MEMD-37, MEMD-44, MEMD-45, MEMD-46, MEMD-56, MEMO-02, MEMD-40
#[test]
fn execution_is_for_secure_memory_that_nobody_writes() {
    let machine = Machine::new();
    let page = home(A) + 0x8000;
    let handle = machine
        .send(A, LEND, &Descriptor::lend(A, B, page, 1))
        .unwrap();
    machine.refuses(Denied, || {
        machine.retrieve(B, &Descriptor::request(A, handle, B, RW | X))
    });
    machine.refuses(Denied, || {
        machine.retrieve(B, &Descriptor::request(A, handle, B, X))
    });
    let response = machine
        .retrieve(B, &Descriptor::request(A, handle, B, RO | X))
        .unwrap();
    assert_eq!(response[50], RO | X);
    assert_eq!(machine.access(B, World::Secure, page), Some((false, true)));
    let handle = machine
        .send(A, DONATE, &Descriptor::donate(A, B, page + 0x1000, 1))
        .unwrap();
    machine.refuses(Denied, || {
        machine.retrieve(B, &Descriptor::request(A, handle, B, RW | X))
    });
    let response = machine
        .retrieve(B, &Descriptor::request(A, handle, B, 0))
        .unwrap();
    assert_eq!(response[50], RW | XN);
    let handle = machine
        .send(B, DONATE, &Descriptor::donate(B, C, page + 0x1000, 1))
        .unwrap();
    machine.refuses(Denied, || {
        machine.retrieve(C, &Descriptor::request(B, handle, C, RO | X))
    });
    let handle = machine
        .send(NS, LEND, &Descriptor::lend(NS, B, RAM + 0x5000, 1))
        .unwrap();
    machine.refuses(Denied, || {
        machine.retrieve(B, &Descriptor::request(NS, handle, B, RO | X))
    });
}

// req: MEMX-21, MEMX-18, MEMX-03
#[test]
fn memory_that_does_not_answer_aborts_the_call() {
    let machine = Machine::new();
    let faulty = |on| machine.hal.faulty.store(on, Ordering::Relaxed);
    machine.put_tx(NS, &[0; 64]);
    faulty(true);
    machine.refuses(Aborted, || {
        machine.call(NS, SmcFrame::new([SHARE as u64, 64, 64]))
    });
    machine.refuses(Aborted, || {
        machine.call(A, SmcFrame::new([function::MEM_RELINQUISH as u64]))
    });
    faulty(false);
    let handle = machine
        .send(NS, LEND, &Descriptor::lend(NS, A, RAM + 0x5000, 1))
        .unwrap();
    faulty(true);
    machine.refuses(Aborted, || machine.reclaim(NS, handle, 1));
    machine.reclaim(NS, handle, 0).unwrap();
}

// req: MEMRL-02, MEMRL-03, MEMRL-04, MEMRL-05, MEMRL-06, MEMRL-07, MEMRL-12, TIME-01, MEMRC-02
// req: MEMRC-03, MEMRC-16, MEMD-15, MEMO-30
#[test]
fn relinquish_and_reclaim_by_who_has_no_right_to() {
    let machine = Machine::new();
    let page = home(A) + 0x8000;
    let handle = machine
        .send(A, LEND, &Descriptor::lend(A, B, page, 1))
        .unwrap();
    machine.refuses(Denied, || machine.relinquish(B, handle));
    machine
        .retrieve(B, &Descriptor::request(A, handle, B, RW))
        .unwrap();
    for flags in [4, 6, 1 << 31] {
        machine.refuses(InvalidParameters, || {
            machine.relinquish_with(B, handle, flags, &[B])
        });
    }
    for ids in [&[][..], &[A], &[C], &[B, B], &[B, C], &[0]] {
        machine.refuses(InvalidParameters, || {
            machine.relinquish_with(B, handle, 0, ids)
        });
    }
    for wrong in [
        0,
        1,
        u64::MAX,
        handle + 1,
        handle + (1 << 16),
        handle | 1 << 63,
        handle ^ 1 << 40,
    ] {
        machine.refuses(InvalidParameters, || machine.relinquish(B, wrong));
        machine.refuses(InvalidParameters, || machine.reclaim(A, wrong, 0));
    }
    for id in [A, C, NS] {
        machine.refuses(InvalidParameters, || machine.relinquish(id, handle));
    }
    for id in [B, C, NS] {
        machine.refuses(InvalidParameters, || machine.reclaim(id, handle, 0));
    }
    machine.relinquish(B, handle).unwrap();
    machine.reclaim(A, handle, 0).unwrap();
    // The slot is used again, but the handle is not.
    let next = machine
        .send(A, LEND, &Descriptor::lend(A, B, page, 1))
        .unwrap();
    assert_ne!(next, handle);
    machine.refuses(InvalidParameters, || machine.reclaim(A, handle, 0));
}

// req: MEMX-11, MEMX-18, MEMRQ-09, MEMD-13
#[test]
fn running_out_of_slots_and_of_pages_changes_nothing() {
    let machine = Machine::with(&[Version::V1_1], 6, 2);
    let most = usize::from(SHARES) - PARTITIONS * SHARES_PARTITION;
    let handles: Vec<_> = (0..most as u64)
        .map(|n| {
            machine
                .send(
                    NS,
                    SHARE,
                    &Descriptor::share(NS, A, RAM + 0x2000 + n * 0x1000, 1),
                )
                .unwrap()
        })
        .collect();
    assert_eq!(
        handles
            .iter()
            .collect::<std::collections::BTreeSet<_>>()
            .len(),
        most
    );
    let next = Descriptor::share(NS, A, RAM + 0x10_0000, 1);
    machine.refuses(NoMemory, || machine.send(NS, SHARE, &next));
    machine.reclaim(NS, handles[17], 0).unwrap();
    machine
        .reclaim(NS, machine.send(NS, SHARE, &next).unwrap(), 0)
        .unwrap();
    for handle in handles
        .into_iter()
        .enumerate()
        .filter(|(n, _)| *n != 17)
        .map(|(_, handle)| handle)
    {
        machine.reclaim(NS, handle, 0).unwrap();
    }
    assert_eq!(machine.shares.live(), 0);
    // The sender runs out of tables. Each range needs one, and the sender's quota has three left
    // beside the root and the tables for its mailbox.
    let spread = |count: u64| {
        let ranges: Vec<_> = (1..=count).map(|n| (RAM + n * 0x20_0000, 1)).collect();
        Descriptor::offer(NS, WB, &[(A, RW)], &ranges)
    };
    machine.refuses(NoMemory, || machine.send(NS, SHARE, &spread(4)));
    let handle = machine.send(NS, SHARE, &spread(3)).unwrap();
    machine.refuses(NoMemory, || {
        machine.send(
            NS,
            SHARE,
            &spread(1).with(|d| d.constituents[0].0 += 0x1000_0000),
        )
    });
    // The receiver runs out of tables. It has two left beside two roots and the tables for its own
    // memory, and needs one more for the level above.
    machine.refuses(NoMemory, || {
        machine.retrieve(A, &Descriptor::request(NS, handle, A, RW))
    });
    machine.reclaim(NS, handle, 0).unwrap();
    // The sender has no page for the list of ranges.
    let many: Vec<_> = (0..6)
        .map(|n| (RAM + 0x20_0000 * (1 + n / 2) + n * 0x1000, 1))
        .collect();
    machine.refuses(NoMemory, || {
        machine.send(NS, SHARE, &Descriptor::offer(NS, WB, &[(A, RW)], &many))
    });
}

// Another PE of the receiver could use a page even if it is mapped only for a moment.
// req: MEMRQ-03, MEMRQ-10, RXTX-15
#[test]
fn nothing_is_mapped_for_who_has_no_room_in_rx() {
    let machine = Machine::new();
    let lent = machine
        .send(NS, LEND, &Descriptor::lend(NS, A, RAM + 0x5000, 1))
        .unwrap();
    let donated = machine
        .send(NS, DONATE, &Descriptor::donate(NS, A, RAM + 0x6000, 1))
        .unwrap();
    let mailbox = &machine.of(A).mailbox;
    mailbox
        .lock()
        .fill_rx(&machine.hal, &[1], Version::V1_2)
        .unwrap();
    let invalidations = || machine.hal.invalidations.load(Ordering::Relaxed);
    let before = invalidations();
    for handle in [lent, donated] {
        let request = Descriptor::request(NS, handle, A, RW);
        machine.refuses(Busy, || machine.retrieve(A, &request));
        assert_eq!(invalidations(), before, "something was mapped");
    }
    // The response goes to a buffer of A's own that A can only read.
    let code = 0x2000_0000;
    machine.give(A, code, 1, Permissions::READ | Permissions::EXECUTE);
    let before = invalidations();
    for handle in [lent, donated] {
        let request = Descriptor::request(NS, handle, A, RW).bytes(Version::V1_2);
        let (at, length) = (Pa::new(code), request.len() as u64);
        machine.hal.write(World::Secure, at, &request).unwrap();
        let retrieve = function::MEM_RETRIEVE_REQ_64 as u64;
        let call = SmcFrame::new([retrieve, length, length, code, 1]);
        machine.refuses(InvalidParameters, || machine.call(A, call));
        assert_eq!(invalidations(), before, "something was mapped");
    }
    mailbox.lock().release_rx().unwrap();
    for handle in [lent, donated] {
        let request = Descriptor::request(NS, handle, A, RW);
        machine.retrieve(A, &request).unwrap();
    }
}

// req: MEMD-25, MEMD-73, MEMRQ-04
#[test]
fn each_borrower_is_named_once() {
    let machine = Machine::with(&VERSIONS[2..], 7, 4);
    let others = [(B, RO), (C, RW), (0x8004, RO)];
    let share = Descriptor::offer(
        NS,
        WB,
        &[(A, RW), others[0], others[1], others[2]],
        &[(RAM + 0x5000, 1)],
    );
    let handle = machine.send(NS, SHARE, &share).unwrap();
    let request = |entries: &[usize]| {
        Descriptor::request(NS, handle, A, RW).with(|d| {
            for n in entries {
                let (id, permissions) = others[*n];
                let flags = 1;
                d.entries.push(Entry {
                    flags,
                    ..entry(id, permissions)
                });
            }
        })
    };
    for entries in [[0, 0, 1], [1, 1, 0], [0, 1, 1], [2, 0, 2]] {
        let twice = request(&entries);
        machine.refuses(InvalidParameters, || machine.retrieve(A, &twice));
    }
    let itself = request(&[0, 1]).with(|d| d.entries.push(d.entries[0].clone()));
    machine.refuses(InvalidParameters, || machine.retrieve(A, &itself));
    // These values of the flags have no meaning.
    for flags in [2, 3, 0x81] {
        let unknown = request(&[0, 1, 2]).with(|d| d.entries[2].flags = flags);
        machine.refuses(InvalidParameters, || machine.retrieve(A, &unknown));
    }
    // But this one is ignored in its own entry.
    let sliced = request(&[2, 0, 1]).with(|d| d.entries[0].flags = 2);
    machine.retrieve(A, &sliced).unwrap();
}

// req: MEMX-11, MEMX-18, MEMRQ-09
#[test]
fn a_donation_for_which_its_receiver_has_no_tables_changes_nothing() {
    let machine = Machine::with(&[Version::V1_1], 6, 2);
    let ranges: Vec<_> = (1..=3).map(|n| (RAM + n * 0x20_0000, 1)).collect();
    let donate = Descriptor::offer(NS, 0, &[(A, 0)], &ranges);
    let handle = machine.send(NS, DONATE, &donate).unwrap();
    machine.refuses(NoMemory, || {
        machine.retrieve(A, &Descriptor::request(NS, handle, A, RW))
    });
    machine.reclaim(NS, handle, 0).unwrap();
}
