//! Regions from send to reclaim: states, mappings and answers.

use super::*;

// req: MEMS-01, MEMS-03, MEMX-01, MEMX-02, MEMX-12, MEMD-12, MEMD-14, MEMD-59, MEMO-24, MEMO-29
// req: MEMRC-01, MEMRC-13, MEMRC-14
#[test]
fn the_bytes_that_u_boot_sends() {
    let machine = Machine::with(&[Version::V1_0, Version::V1_1], 7, 2);
    let before = machine.snapshot();
    let mut tx = vec![0; 32];
    tx[2] = 0x2f;
    tx[16..24].copy_from_slice(&0x1122_3344_5566_7788_u64.to_le_bytes());
    tx[28] = 2;
    for id in [A, B] {
        tx.extend(id.to_le_bytes());
        tx.extend([2, 0]);
        tx.extend(64_u32.to_le_bytes());
        tx.extend([0; 8]);
    }
    tx.extend([1, 0, 0, 0, 1, 0, 0, 0]);
    tx.extend([0; 8]);
    tx.extend(0x4800_5000_u64.to_le_bytes());
    tx.extend([1, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(tx.len(), 64 + 16 * 2);
    let answer = machine.call_with(NS, function::MEM_SHARE_32, &tx).unwrap();
    assert_eq!(answer.x[0], 0x8400_0061);
    assert!(answer.x[2] <= u32::MAX as u64 && answer.x[3] < 1 << 31);
    let handle = answer.x[3] << 32 | answer.x[2];
    assert_ne!(handle, 0);
    assert_eq!(machine.state(NS, 0x4800_5000), Some(State::OwnerShared));
    assert_eq!(
        machine.access(A, World::NonSecure, 0x4800_5000),
        None,
        "not before it retrieves"
    );
    machine.reclaim(NS, handle, 0).unwrap();
    machine.refuses(InvalidParameters, || machine.reclaim(NS, handle, 0));
    let after = machine.snapshot();
    assert_eq!((after.leaves, after.pools), (before.leaves, before.pools));
}

// req: MEMO-01, MEMO-04, MEMO-20, MEMO-22, MEMO-24, MEMO-28, MEMO-30, MEMO-32, MEMO-33, MEMO-34
// req: MEMO-35, MEMS-02, MEMS-03, MEMS-05, MEMS-07, MEMD-38, MEMD-46, MEMD-57, MEMD-60
// req: MEMD-61, MEMD-65, MEMD-77, MEMD-93, MEMD-94, MEMRQ-01, MEMRQ-07, MEMRQ-11, MEMRQ-13
// req: MEMRQ-15, MEMRQ-17, MEMRQ-18, MEMRL-01, MEMRL-08, MEMRL-14
// req: MEMRC-06, MEMRC-11
#[test]
fn a_shared_region_lives_from_send_to_reclaim_in_every_mix_of_versions() {
    for (owner, borrower) in VERSIONS.into_iter().flat_map(|a| VERSIONS.map(|b| (a, b))) {
        let machine = Machine::with(&[owner, borrower], 10, 1);
        let before = machine.snapshot();
        let ranges = [
            (RAM + 0x20_3000, 2),
            (RAM + 0x8000, 1),
            (RAM + 0x60_0000, 513),
            (RAM + 0x9000, 3),
            (RAM + 0xf000, 1),
        ];
        let offer = Descriptor::offer(NS, WB, &[(A, RW)], &ranges).with(|d| d.tag = 77);
        let handle = machine.send(NS, SHARE, &offer).unwrap();
        let request = Descriptor::request(NS, handle, A, RW)
            .with(|d| (d.tag, d.flags, d.attributes) = (77, 0x08, WB));
        for _ in 0..2 {
            let response = machine.retrieve(A, &request).unwrap();
            let security = if borrower < Version::V1_1 { 0 } else { 0x40 };
            let mut expected = Descriptor::offer(NS, WB | security, &[(A, RW | XN)], &ranges);
            (expected.tag, expected.flags, expected.handle) = (77, 0x08, handle);
            assert_eq!(response, expected.bytes(borrower), "{owner} {borrower}");
            for (address, count) in ranges {
                for page in [address, address + (count as u64 - 1) * 0x1000] {
                    assert_eq!(
                        machine.access(A, World::NonSecure, page),
                        Some((true, false))
                    );
                    assert_eq!(machine.access(A, World::Secure, page), None);
                    assert_eq!(machine.state(A, page), Some(State::BorrowedShared));
                }
            }
            machine.refuses(Denied, || machine.reclaim(NS, handle, 0));
            let invalidations = machine.hal.invalidations.load(Ordering::Relaxed);
            machine.relinquish(A, handle).unwrap();
            assert_eq!(
                machine.hal.invalidations.load(Ordering::Relaxed),
                invalidations + 1
            );
            assert_eq!(machine.access(A, World::NonSecure, RAM + 0x8000), None);
            assert_eq!(machine.state(NS, RAM + 0x8000), Some(State::OwnerShared));
            machine.refuses(Denied, || machine.relinquish(A, handle));
        }
        machine.reclaim(NS, handle, 0).unwrap();
        machine.refuses(InvalidParameters, || machine.retrieve(A, &request));
        machine.refuses(InvalidParameters, || machine.relinquish(A, handle));
        let after = machine.snapshot();
        assert_eq!((after.leaves, after.pools), (before.leaves, before.pools));
    }
}

// req: MEMD-09, MEMO-09, MEMO-16, MEMO-17, MEMO-27, MEML-01, MEML-02, MEML-03, MEML-05, MEML-08
// req: MEMRQ-11, MEMD-39, MEMD-47, MEMD-58, MEMRC-10, MEMX-20
#[test]
fn a_lent_region_is_its_borrowers_alone() {
    let machine = Machine::new();
    let page = home(A) + 0x5000;
    let before = machine.snapshot();
    assert_eq!(machine.access(A, World::Secure, page), Some((true, true)));
    let handle = machine
        .send(A, LEND, &Descriptor::lend(A, B, page, 2))
        .unwrap();
    assert_eq!(
        machine.access(A, World::Secure, page),
        None,
        "before anybody retrieves"
    );
    assert_eq!(
        machine.access(A, World::Secure, page - 0x1000),
        Some((true, true))
    );
    assert_eq!(machine.state(A, page), Some(State::OwnerNoAccess));
    machine
        .retrieve(
            B,
            &Descriptor::request(A, handle, B, RW).with(|d| d.flags = 0x10),
        )
        .unwrap();
    assert_eq!(machine.access(B, World::Secure, page), Some((true, false)));
    assert_eq!(
        machine.state(B, page + 0x1000),
        Some(State::BorrowedExclusive)
    );
    machine.relinquish(B, handle).unwrap();
    assert_eq!(
        machine.access(A, World::Secure, page),
        None,
        "before it reclaims"
    );
    machine.reclaim(A, handle, 0).unwrap();
    assert_eq!(machine.access(A, World::Secure, page), Some((true, true)));
    let after = machine.snapshot();
    assert_eq!((after.leaves, after.pools), (before.leaves, before.pools));
}

// req: MEMO-08, MEMO-11, MEMO-25, MEMO-26, MEMO-31, MEMDN-01, MEMDN-02, MEMDN-03, MEMDN-05
// req: MEMDN-06, MEMDN-07, MEMDN-08, MEMRL-16
#[test]
fn a_donated_region_goes_from_hand_to_hand() {
    let machine = Machine::new();
    let page = RAM + 0x7000;
    let aborted = machine
        .send(NS, DONATE, &Descriptor::donate(NS, A, page, 3))
        .unwrap();
    machine.reclaim(NS, aborted, 0).unwrap();
    machine.refuses(InvalidParameters, || {
        machine.retrieve(A, &Descriptor::request(NS, aborted, A, 0))
    });
    let mut owner = NS;
    for receiver in [A, B, C, A] {
        let handle = machine
            .send(owner, DONATE, &Descriptor::donate(owner, receiver, page, 3))
            .unwrap();
        assert_eq!(machine.state(owner, page), Some(State::OwnerNoAccess));
        let third = [A, B, C]
            .into_iter()
            .find(|id| *id != owner && *id != receiver)
            .unwrap();
        machine.refuses(Denied, || {
            machine.send(owner, SHARE, &Descriptor::share(owner, third, page, 1))
        });
        let request = Descriptor::request(owner, handle, receiver, RW);
        machine.retrieve(receiver, &request).unwrap();
        assert_eq!(
            machine.access(receiver, World::NonSecure, page + 0x2000),
            Some((true, false))
        );
        assert_eq!(machine.state(receiver, page), Some(State::OwnerExclusive));
        assert_eq!(
            machine.state(owner, page),
            if owner == NS {
                Some(State::Ceded)
            } else {
                None
            }
        );
        machine.refuses(InvalidParameters, || machine.reclaim(owner, handle, 0));
        machine.refuses(InvalidParameters, || machine.relinquish(receiver, handle));
        machine.refuses(InvalidParameters, || machine.retrieve(receiver, &request));
        machine.refuses(Denied, || {
            machine.send(owner, SHARE, &Descriptor::share(owner, third, page, 1))
        });
        owner = receiver;
    }
    assert_eq!(machine.shares.live(), 0);
    let handle = machine
        .send(A, LEND, &Descriptor::lend(A, B, page, 1))
        .unwrap();
    machine
        .retrieve(B, &Descriptor::request(A, handle, B, 0))
        .unwrap();
    assert_eq!(
        machine.access(B, World::NonSecure, page),
        Some((true, false))
    );
}

// req: MEMO-14, MEMO-18, MEMD-25, MEMD-26, MEMD-27, MEMD-34, MEMD-70, MEMD-73, MEMD-76, MEMD-90
// req: MEML-04, MEML-06, MEMRQ-11, MEMRC-07, MEMD-53
#[test]
fn several_borrowers() {
    let machine = Machine::with(&[Version::V1_2], 7, 3);
    let page = home(A) + 0x8000;
    for (function, flags, state) in [
        (SHARE, 0x08, State::OwnerShared),
        (LEND, 0x10, State::OwnerNoAccess),
    ] {
        let mut offer = Descriptor::offer(A, WB, &[(B, RW), (C, RO)], &[(page, 2)]);
        offer.entries[0].implementation_defined = [1, 2];
        let handle = machine.send(A, function, &offer).unwrap();
        assert_eq!(machine.state(A, page), Some(state));
        let mut all = Descriptor::request(A, handle, B, RW).with(|d| d.flags = flags);
        all.entries[0].implementation_defined = [1, 2];
        all.entries.push(Entry {
            flags: 1,
            ..entry(C, RO)
        });
        let refuses = |error, change: &dyn Fn(&mut Descriptor)| {
            machine.refuses(error, || machine.retrieve(B, &all.clone().with(change)));
        };
        refuses(InvalidParameters, &|d| d.entries.truncate(1));
        refuses(InvalidParameters, &|d| d.entries[0].flags = 1);
        refuses(InvalidParameters, &|d| d.entries[1].offset = Some(112));
        refuses(InvalidParameters, &|d| d.entries[1].id = A);
        refuses(InvalidParameters, &|d| {
            d.entries[1] = Entry {
                flags: 1,
                ..d.entries[0].clone()
            }
        });
        refuses(InvalidParameters, &|d| d.entries[1].permissions |= XN);
        refuses(InvalidParameters, &|d| {
            d.entries[0].implementation_defined = [1, 3]
        });
        refuses(InvalidParameters, &|d| d.entries[0].permissions |= XN);
        refuses(Denied, &|d| d.entries[1].permissions = RW);
        refuses(InvalidParameters, &|d| d.flags |= 1 << 10);
        // A borrower may leave open what it does not know of the other borrower.
        all.entries[1].permissions = 0;
        let response = machine.retrieve(B, &all).unwrap();
        let mut expected = Descriptor::offer(A, WB, &[(B, RW | XN)], &[(page, 2)]);
        (expected.flags, expected.handle) = (flags, handle);
        expected.entries[0].implementation_defined = [1, 2];
        assert_eq!(response, expected.bytes(Version::V1_2));
        // C retrieves alone, and does not list the other borrower.
        machine
            .retrieve(
                C,
                &Descriptor::request(A, handle, C, RO).with(|d| d.flags = flags | 1 << 10),
            )
            .unwrap();
        assert_eq!(machine.access(B, World::Secure, page), Some((true, false)));
        assert_eq!(machine.access(C, World::Secure, page), Some((false, false)));
        assert_eq!(machine.state(B, page), Some(State::BorrowedShared));
        machine.relinquish(B, handle).unwrap();
        machine.refuses(Denied, || machine.reclaim(A, handle, 0));
        machine.relinquish(C, handle).unwrap();
        machine.reclaim(A, handle, 0).unwrap();
        assert_eq!(machine.access(A, World::Secure, page), Some((true, true)));
    }
    // A borrower of an older version has no field for the value, and need not repeat it.
    let machine = Machine::with(&[Version::V1_2, Version::V1_1], 7, 1);
    let mut offer = Descriptor::share(NS, A, RAM + 0x5000, 1);
    offer.entries[0].implementation_defined = [1, 2];
    let handle = machine.send(NS, SHARE, &offer).unwrap();
    machine
        .retrieve(A, &Descriptor::request(NS, handle, A, RW))
        .unwrap();
}

// req: MEMD-82, MEMD-84, MEMD-85, MEMD-86, MEMD-88, MEMD-93, MEMRL-11, MEMRL-13, MEMRC-09, MEMX-21
#[test]
fn zeroing_when_it_was_asked_for_and_only_then() {
    let machine = Machine::new();
    let page = home(A) + 0x8000;
    let fill = || {
        machine
            .hal
            .write(World::Secure, Pa::new(page), &[0xa5; 8])
            .unwrap()
    };
    let is_zero = || {
        let mut bytes = [1; 8];
        machine
            .hal
            .read(World::Secure, Pa::new(page), &mut bytes)
            .unwrap();
        bytes == [0; 8]
    };
    let lend = |flags| {
        machine
            .send(
                A,
                LEND,
                &Descriptor::lend(A, B, page, 1).with(|d| d.flags = flags),
            )
            .unwrap()
    };
    let request = |handle, flags| Descriptor::request(A, handle, B, RW).with(|d| d.flags = flags);
    // The owner asks for zeroing when it sends, and the borrower is told.
    fill();
    let handle = lend(1);
    assert!(is_zero());
    let response = machine.retrieve(B, &request(handle, 1)).unwrap();
    assert_eq!(response[4], 0x11);
    fill();
    machine.relinquish(B, handle).unwrap();
    assert!(!is_zero());
    machine.refuses(InvalidParameters, || {
        machine.retrieve(B, &request(handle, 1))
    });
    machine.reclaim(A, handle, 0).unwrap();
    assert!(!is_zero());
    // The borrower announces at retrieval that it will ask for zeroing.
    let handle = lend(0);
    machine.refuses(Denied, || machine.retrieve(B, &request(handle, 1)));
    machine.retrieve(B, &request(handle, 4)).unwrap();
    machine.relinquish_with(B, handle, 1, &[B]).unwrap();
    assert!(is_zero());
    fill();
    machine.retrieve(B, &request(handle, 4)).unwrap();
    machine.relinquish(B, handle).unwrap();
    assert!(!is_zero(), "taken back");
    // The borrower asks for zeroing when it relinquishes. That is denied if it could not write.
    fill();
    machine
        .retrieve(B, &Descriptor::request(A, handle, B, RO))
        .unwrap();
    machine.refuses(Denied, || machine.relinquish_with(B, handle, 1, &[B]));
    machine.relinquish(B, handle).unwrap();
    assert!(!is_zero());
    machine.retrieve(B, &request(handle, 0)).unwrap();
    machine.relinquish_with(B, handle, 1, &[B]).unwrap();
    assert!(is_zero());
    // The owner asks for zeroing when it reclaims.
    fill();
    machine.reclaim(A, handle, 1).unwrap();
    assert!(is_zero());
    // The region is not zeroed before the last borrower has relinquished it.
    let both = Descriptor::offer(A, WB, &[(B, RW), (C, RW)], &[(page, 1)]);
    let handle = machine.send(A, LEND, &both).unwrap();
    let other = |id| Descriptor::request(A, handle, id, RW).with(|d| d.flags = 1 << 10);
    machine.retrieve(B, &other(B)).unwrap();
    machine.retrieve(C, &other(C)).unwrap();
    fill();
    machine.relinquish_with(B, handle, 1, &[B]).unwrap();
    assert!(!is_zero());
    machine.relinquish(C, handle).unwrap();
    assert!(is_zero());
    machine.reclaim(A, handle, 0).unwrap();
    let handle = machine
        .send(A, SHARE, &Descriptor::share(A, B, page, 1))
        .unwrap();
    machine
        .retrieve(B, &Descriptor::request(A, handle, B, RW))
        .unwrap();
    machine.refuses(InvalidParameters, || {
        machine.relinquish_with(B, handle, 1, &[B])
    });
}

// req: MEMD-62, MEMX-07, MEMX-08, MEMX-14, MEMO-19, MEMRC-15
#[test]
fn the_normal_world_sends_for_its_vms() {
    let machine = Machine::new();
    let handle = machine
        .send(NS, SHARE, &Descriptor::share(0x7fff, A, RAM + 0x5000, 1))
        .unwrap();
    machine.refuses(Denied, || {
        machine.retrieve(A, &Descriptor::request(NS, handle, A, RW))
    });
    let response = machine
        .retrieve(A, &Descriptor::request(0x7fff, handle, A, RW))
        .unwrap();
    assert_eq!(response[..2], [0xff, 0x7f]);
    machine.relinquish(A, handle).unwrap();
    machine.reclaim(NS, handle, 0).unwrap();
}

// req: MEMRQ-20, MEMRQ-21, MEMRQ-22, MEMRQ-23
#[test]
fn the_hypervisor_asks_by_handle_alone() {
    let machine = Machine::with(&[Version::V1_1], 7, 2);
    let ranges = [(RAM + 0x5000, 2), (RAM + 0x9000, 1)];
    let handle = machine
        .send(NS, LEND, &Descriptor::offer(3, 0, &[(A, RW)], &ranges))
        .unwrap();
    let ask = |handle: u64| {
        let mut bytes = vec![0; 48];
        bytes[8..16].copy_from_slice(&handle.to_le_bytes());
        bytes
    };
    let before = machine.snapshot();
    let answer = machine
        .call_with(NS, function::MEM_RETRIEVE_REQ_32, &ask(handle))
        .unwrap();
    let mut expected = Descriptor::offer(3, 0x40, &[(A, RW)], &ranges);
    (expected.flags, expected.handle) = (0x10, handle);
    let expected = expected.bytes(Version::V1_1);
    assert_eq!(
        (answer.w(0), answer.w(1) as usize),
        (function::MEM_RETRIEVE_RESP, expected.len())
    );
    assert_eq!(machine.rx(NS, expected.len()), expected);
    machine.refuses(Busy, || {
        machine.call_with(NS, function::MEM_RETRIEVE_REQ_32, &ask(handle))
    });
    machine.of(NS).mailbox.lock().release_rx().unwrap();
    assert_eq!(machine.snapshot(), before);
    for at in [0, 2, 4, 16, 36] {
        let mut wrong = ask(handle);
        wrong[at] = 1;
        machine.refuses(InvalidParameters, || {
            machine.call_with(NS, function::MEM_RETRIEVE_REQ_32, &wrong)
        });
    }
    let own = machine
        .send(A, LEND, &Descriptor::lend(A, B, home(A) + 0x8000, 1))
        .unwrap();
    for handle in [0, handle + 1, own] {
        machine.refuses(InvalidParameters, || {
            machine.call_with(NS, function::MEM_RETRIEVE_REQ_32, &ask(handle))
        });
    }
    machine.refuses(InvalidParameters, || {
        machine.call_with(A, function::MEM_RETRIEVE_REQ_32, &ask(own))
    });
}

// req: MEMO-12, MEMD-88
#[test]
fn a_dead_partition_holds_nobody_up() {
    let machine = Machine::new();
    let page = home(A) + 0x8000;
    let lent = machine
        .send(A, LEND, &Descriptor::lend(A, B, page, 1))
        .unwrap();
    machine
        .retrieve(
            B,
            &Descriptor::request(A, lent, B, RW).with(|d| d.flags = 4),
        )
        .unwrap();
    machine
        .hal
        .write(World::Secure, Pa::new(page), &[0xa5; 8])
        .unwrap();
    let own = home(B) + 0x8000;
    let kept = machine
        .send(B, SHARE, &Descriptor::share(B, A, own, 1))
        .unwrap();
    machine
        .retrieve(A, &Descriptor::request(B, kept, A, RW))
        .unwrap();
    let waiting = machine
        .send(B, LEND, &Descriptor::lend(B, A, own + 0x1000, 1))
        .unwrap();

    machine.refuses(Denied, || machine.reclaim(A, lent, 0));
    assert!(machine.engine().bury(machine.of(B)));
    machine.reclaim(A, lent, 0).unwrap();
    let mut bytes = [1; 8];
    machine
        .hal
        .read(World::Secure, Pa::new(page), &mut bytes)
        .unwrap();
    assert_eq!(bytes, [0; 8], "as the borrower asked");
    assert_eq!(machine.access(A, World::Secure, page), Some((true, true)));
    let request = Descriptor::request(B, waiting, A, RW);
    machine.refuses(InvalidParameters, || machine.retrieve(A, &request));
    assert_eq!(machine.access(A, World::Secure, own), Some((true, false)));
    machine.relinquish(A, kept).unwrap();
    assert_eq!(machine.access(A, World::Secure, own), None);
    assert_eq!(machine.shares.live(), 0);
}

// req: MEMD-08, MEMX-18, MEMO-08, MEMO-17
#[test]
fn random_calls_keep_one_owner_per_page() {
    let mut seed = 0x2545_f491_4f6c_dd1d_u64;
    let mut random = |limit: u64| {
        seed ^= seed >> 12;
        seed ^= seed << 25;
        seed ^= seed >> 27;
        (seed.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % limit
    };
    let machine = Machine::with(&[Version::V1_2, Version::V1_0, Version::V1_1], 10, 3);
    let ids = [NS, A, B, C];
    let mut handles: Vec<(u16, u16, u64)> = vec![(NS, A, 0)];
    let mut successes = [0; 4];
    for _ in 0..1000 {
        let recent = handles.len() - 1 - random(handles.len().min(6) as u64) as usize;
        let (owner, borrower, handle) = handles[recent];
        let caller = ids[random(4) as usize];
        let other = ids[random(4) as usize];
        let kind = random(6) as usize;
        let or_anybody = |id, chance| if chance == 0 { caller } else { id };
        let before = machine.snapshot();
        let outcome = match kind {
            0..=2 => {
                let base = if random(3) == 0 { other } else { caller };
                let base = if base == NS {
                    RAM + 0x1f_c000
                } else {
                    home(base) + 0x8000
                };
                let ranges: Vec<_> = (0..=random(2))
                    .map(|_| (base + random(8) * 0x1000, 1 + random(3) as u32))
                    .collect();
                let (function, attributes, permissions) =
                    [(SHARE, WB, RW), (LEND, 0, RW), (DONATE, 0, 0)][kind];
                let mut offer =
                    Descriptor::offer(caller, attributes, &[(other, permissions)], &ranges);
                offer.flags = (random(4) == 0) as u32;
                machine
                    .send(caller, function, &offer)
                    .map(|handle| handles.push((caller, other, handle)))
            }
            3 => {
                let id = or_anybody(borrower, random(4));
                machine
                    .retrieve(id, &Descriptor::request(owner, handle, id, 0))
                    .map(drop)
            }
            4 => {
                let id = or_anybody(borrower, random(4));
                machine
                    .relinquish_with(id, handle, (random(4) == 0) as u32, &[id])
                    .map(drop)
            }
            _ => machine
                .reclaim(or_anybody(owner, random(4)), handle, random(2))
                .map(drop),
        };
        match outcome {
            Ok(()) => successes[kind.saturating_sub(2)] += 1,
            Err(_) => assert_eq!(machine.snapshot(), before),
        }
        for (owner, base) in [
            (NS, RAM + 0x1f_c000),
            (A, home(A) + 0x8000),
            (B, home(B) + 0x8000),
            (C, home(C) + 0x8000),
        ] {
            let world = if owner == NS {
                World::NonSecure
            } else {
                World::Secure
            };
            for page in (0..10).map(|n| base + n * 0x1000) {
                let states = ids.map(|id| machine.state(id, page));
                let count = |wanted: &[State]| {
                    states
                        .iter()
                        .flatten()
                        .filter(|state| wanted.contains(state))
                        .count()
                };
                let owners = count(&[
                    State::OwnerExclusive,
                    State::OwnerShared,
                    State::OwnerNoAccess,
                ]);
                assert_eq!(owners, 1, "{page:#x} {states:?}");
                let borrowers = count(&[State::BorrowedExclusive, State::BorrowedShared]);
                assert!(
                    count(&[State::OwnerExclusive]) == 0 || borrowers == 0,
                    "{states:?}"
                );
                assert!(
                    count(&[State::BorrowedExclusive]) == 0
                        || borrowers == 1 && count(&[State::OwnerNoAccess]) == 1
                );
                for id in [A, B, C] {
                    let seen = machine.access(id, world, page).is_some();
                    let state = machine.state(id, page);
                    assert_eq!(
                        seen,
                        !matches!(state, None | Some(State::OwnerNoAccess)),
                        "{state:?}"
                    );
                }
            }
        }
    }
    assert!(successes.iter().all(|count| *count > 10), "{successes:?}");
}
