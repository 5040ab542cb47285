//! Many endpoints: transactions that do not share an endpoint, and one with the most borrowers that
//! are possible.

use super::*;

const D: u16 = 0x8004;

#[test]
fn calls_on_different_handles_do_not_wait_for_each_other() {
    let machine = Machine::with(&VERSIONS[2..], 9, 4);
    let first = machine
        .send(A, LEND, &Descriptor::lend(A, B, home(A) + 0x10000, 1))
        .unwrap();
    machine
        .retrieve(B, &Descriptor::request(A, first, B, RW))
        .unwrap();
    // Another PE is in the middle of a call on the first handle, and holds every lock that such a
    // call can hold.
    let mailboxes = [A, B].map(|id| machine.of(id).mailbox.lock());
    let held = machine.shares.find_any(Handle::new(first)).unwrap();
    let spaces = [A, B].map(|id| machine.of(id).memory.lock());
    for (function, offer) in [
        (SHARE, Descriptor::share(C, D, home(C) + 0x10000, 3)),
        (LEND, Descriptor::lend(C, D, home(C) + 0x10000, 3)),
    ] {
        let handle = machine.send(C, function, &offer).unwrap();
        machine
            .retrieve(D, &Descriptor::request(C, handle, D, RW))
            .unwrap();
        machine.relinquish(D, handle).unwrap();
        machine.reclaim(C, handle, 0).unwrap();
    }
    let given = machine
        .send(C, DONATE, &Descriptor::donate(C, D, home(C) + 0x20000, 1))
        .unwrap();
    machine
        .retrieve(D, &Descriptor::request(C, given, D, RW))
        .unwrap();
    drop((spaces, held, mailboxes));
    machine.relinquish(B, first).unwrap();
    machine.reclaim(A, first, 0).unwrap();
}

// req: MEMO-14, MEMO-15, MEMD-61, MEMD-73, MEMRC-06
#[test]
fn as_many_borrowers_as_there_can_be_at_all_versions() {
    let ids: Vec<u16> = (0..MAX_BORROWERS as u16).map(|n| A + n).collect();
    for sender in VERSIONS {
        // Each borrower has the next version in turn.
        let versions: Vec<Version> = (0..=ids.len())
            .map(|n| if n == 0 { sender } else { VERSIONS[n % 3] })
            .collect();
        let machine = Machine::with(&versions, 12, ids.len() as u16);
        let before = machine.snapshot();
        let page = RAM + 0x10_0000;
        for (function, state) in [
            (SHARE, State::BorrowedShared),
            (LEND, State::BorrowedShared),
        ] {
            let receivers: Vec<(u16, u8)> = ids
                .iter()
                .map(|id| (*id, if id % 2 == 0 { RO } else { RW }))
                .collect();
            let offer = Descriptor::offer(NS, WB, &receivers, &[(page, 1), (page + 0x5000, 2)]);
            let handle = machine.send(NS, function, &offer).unwrap();
            for (id, permissions) in &receivers {
                let request = Descriptor::offer(NS, WB, &receivers, &[]).with(|d| {
                    d.handle = handle;
                    for entry in d.entries.iter_mut().filter(|entry| entry.id != *id) {
                        entry.flags = 1;
                    }
                });
                machine.retrieve(*id, &request).unwrap();
                let access = machine.access(*id, World::NonSecure, page + 0x6000);
                assert_eq!(access, Some((*permissions == RW, false)));
                assert_eq!(machine.state(*id, page), Some(state));
            }
            for id in &ids {
                machine.refuses(Denied, || machine.reclaim(NS, handle, 0));
                machine.relinquish(*id, handle).unwrap();
                assert_eq!(machine.access(*id, World::NonSecure, page), None);
            }
            machine.reclaim(NS, handle, 0).unwrap();
        }
        let after = machine.snapshot();
        assert_eq!((after.leaves, after.pools), (before.leaves, before.pools));
    }
}
